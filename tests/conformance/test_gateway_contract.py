"""The contract for gateway authors, shown on a small gateway: it passes, and each way of breaking it fails the test it should.

`FolderGateway` is what a first gateway may look like: files come from one folder and go to another.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from pydantic import BaseModel, ConfigDict

from conformance.gateway_contract import GatewayContract
from conformance.workbench import PATIENCE, Behaviour, Bench, World, opened
from core.asking import Kernel
from core.config import Configuration, Problem
from core.delivery import Delivery
from core.description import Description
from core.errors import Refused
from core.gateway import Outcome
from core.keys import create_kek
from core.parcel import Item, Judgement, Key, Parcel
from core.receipt import Level, Receipt, Verdict
from core.schedule import RetryPlan


class Folders(BaseModel):
    """Node-local settings of the gateway."""

    model_config = ConfigDict(extra="forbid")

    inbox: Path
    outbox: Path


class FolderGateway:
    """Takes files that others leave in ``inbox``, under their file name as key; leaves files in ``outbox``."""

    name: ClassVar[str] = "folder"
    kinds: ClassVar[Mapping[str, type[BaseModel]]] = {}
    Settings: ClassVar[type[BaseModel]] = Folders

    def __init__(self, kernel: Kernel, settings: Folders) -> None:
        self._kernel, self._settings = kernel, settings

    @classmethod
    def check(cls, _configuration: Configuration) -> Iterable[Problem]:
        """Nothing can be wrong between its documents: it has none."""
        return ()

    @classmethod
    def explain(cls, code: str) -> str:
        """Its one code."""
        return (
            "the outbox is not there. What to do: make the folder, or correct its path" if code == "no-outbox" else ""
        )

    def configure(self, configuration: Configuration) -> None:
        """It only keeps the version's number."""
        self._version = configuration.number

    async def run(self) -> None:
        """Look into the inbox until cancelled."""
        while True:
            for path in sorted(self._settings.inbox.glob("*.in")):
                await self._take(path)
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        """It holds nothing."""

    async def _take(self, path: Path) -> None:
        staging = self._kernel.stage(size_limit=1 << 30)
        try:
            item = await asyncio.to_thread(self._item, staging, path)
            (acceptance,) = await self._kernel.accept(item)
        except Refused:
            staging.abort()
            path.rename(path.with_suffix(".refused"))
            return
        refused = acceptance.judgement is Judgement.CONFLICT
        path.rename(path.with_suffix(".refused" if refused else ".accepted"))

    def _item(self, staging: Any, path: Path) -> Item:
        octets = path.read_bytes()
        sink = staging.sink()
        sink.write(octets)
        payload = sink.finish(name=path.stem, media_type="application/octet-stream")
        described = Description(type="note", sender="birkelund-notes")
        facts = (described.sender, "notes", described, (payload,), self._kernel.clock.now())
        parcel = Parcel(staging.parcel_id, *facts, staging.key_id, staging.wrapped_key, self._version)
        return Item(parcel, self.key(path.stem), self.fingerprint(octets), b"taken")

    def key(self, name: str) -> Key:
        """The key of a file."""
        return Key("folder:birkelund-notes", name)

    def fingerprint(self, octets: bytes) -> bytes:
        """What makes a file the same file."""
        return hashlib.sha256(octets).digest()

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Write the payload beside its name, then give it that name: a file that can be seen is whole."""
        outbox = self._settings.outbox
        if not outbox.is_dir():
            return Outcome(code="no-outbox", reason=f"{outbox} is not there")
        half = outbox / f"{delivery.id}.half"
        try:
            with half.open("wb") as out:
                async for chunk in self._kernel.read(parcel, parcel.payloads[0]):
                    out.write(chunk)
            while (outbox / "lock").exists():
                await asyncio.sleep(0.01)
            half.rename(outbox / delivery.id)
        finally:
            half.unlink(missing_ok=True)
        return Outcome(receipt=self.evidence(delivery))

    def evidence(self, delivery: Delivery) -> Receipt:
        """That the file lies there."""
        now = self._kernel.clock.now()
        return Receipt(delivery.id, Level.TRANSPORT, Verdict.ACCEPTED, now, raw=f"written {delivery.id}".encode())

    def retry_plan(self, _delivery: Delivery) -> RetryPlan:
        """The usual one."""
        return RetryPlan()


DOCUMENTS: list[dict[str, Any]] = [
    {"kind": "system", "id": "birkelund-notes", "authority": "birkelund"},
    {"kind": "system", "id": "egedal-notes", "authority": "egedal"},
    {"kind": "integration", "id": "notes", "title": "Notes", "types": ["note"]},
    *(
        {
            "kind": "service-agreement",
            "id": f"notes-{system}",
            "integration": "notes",
            "system": system,
            "may": "both",
            "approved_by": "egedal",
        }
        for system in ("birkelund-notes", "egedal-notes")
    ),
    {
        "kind": "route",
        "id": "notes-by-folder",
        "title": "Notes go to Egedal's folder",
        "match": {"sender": "birkelund-notes"},
        "to": [{"system": "egedal-notes", "gateway": "folder", "destination": "outbox"}],
    },
]


class FolderWorld:
    """Two folders, and somebody who puts files into one and empties the other."""

    sender = "birkelund-notes"
    integration = "notes"

    def __init__(self, folder: Path, gateway: type[Any] = FolderGateway) -> None:
        self.gateway, self.home = gateway, folder / "home"
        self._inbox, self._outbox = folder / "inbox", folder / "outbox"
        for path in (self.home / "config", self._inbox):
            path.mkdir(parents=True)
        create_kek(self.home / "keys", "kek-1")
        (self.home / "config" / "all.yaml").write_text(yaml.safe_dump_all(DOCUMENTS))
        settings = {"inbox": str(self._inbox), "outbox": str(self._outbox)}
        node = {"node": "notes", "gateways": {"folder": settings}}
        (self.home / "node.yaml").write_text(yaml.safe_dump(node))

    async def bring_in(self, _bench: Bench, key: str, octets: bytes) -> bool:
        """Put a file there, and see under which name it is afterwards."""
        half = self._inbox / key
        half.write_bytes(octets)
        half.rename(self._inbox / f"{key}.in")
        for _ in range(int(PATIENCE * 50)):
            for said in ("accepted", "refused"):
                with suppress(FileNotFoundError):
                    (self._inbox / f"{key}.{said}").unlink()
                    return said == "accepted"
            await asyncio.sleep(0.02)
        raise AssertionError("nobody took the file")

    async def neighbour(self, behaviour: Behaviour) -> None:
        """No folder, a folder, or one that is locked."""
        if behaviour != "down":
            self._outbox.mkdir(exist_ok=True)
        if behaviour == "silent":
            (self._outbox / "lock").touch()
        else:
            (self._outbox / "lock").unlink(missing_ok=True)

    async def left(self) -> Mapping[str, bytes]:
        """Every file, half ones too."""
        return {path.name: path.read_bytes() for path in self._outbox.glob("*")}


@pytest.mark.requirement("R96")
class TestFolderGateway(GatewayContract):
    """A gateway of a page keeps every rule."""

    @pytest.fixture
    def world(self, tmp_path: Path) -> FolderWorld:
        """Two folders."""
        return FolderWorld(tmp_path)


# --- broken on purpose ------------------------------------------------------------------------------------------------


class AcceptsTwice(FolderGateway):
    """Every file is another item."""

    def key(self, name: str) -> Key:
        """A new one every time."""
        return Key("folder:birkelund-notes", f"{name}-{os.urandom(4).hex()}")


class Overwrites(FolderGateway):
    """Whatever comes under a known name is called the same."""

    def fingerprint(self, octets: bytes) -> bytes:
        """None."""
        return b""


class SwallowsCancellation(FolderGateway):
    """Reports a failed attempt where it was told to stop."""

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Catches too much."""
        try:
            return await super().deliver(delivery, parcel)
        except asyncio.CancelledError:
            return Outcome(code="no-outbox", reason="cancelled")


class LeavesHalves(FolderGateway):
    """Does not clean up after itself, and shows what is half-written."""

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Writes under the final name at once."""
        outbox = self._settings.outbox
        if not outbox.is_dir():
            return Outcome(code="no-outbox", reason="no")
        with (outbox / delivery.id).open("wb") as out:
            async for chunk in self._kernel.read(parcel, parcel.payloads[0]):
                out.write(chunk)
        while (outbox / "lock").exists():
            await asyncio.sleep(0.01)
        return Outcome(receipt=self.evidence(delivery))


class NewNames(FolderGateway):
    """Every attempt is a new thing to the neighbour."""

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Another name for each attempt."""
        outcome = await super().deliver(delivery, parcel)
        (self._settings.outbox / delivery.id).rename(self._settings.outbox / f"{delivery.id}-{delivery.attempts}")
        return outcome


class Hides(FolderGateway):
    """Calls everything delivered."""

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Whatever happened."""
        with suppress(Exception):  # the fault on show
            await super().deliver(delivery, parcel)
        return Outcome(receipt=self.evidence(delivery))


class Refuses(FolderGateway):
    """Takes an outage for a refusal."""

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Never again."""
        outcome = await super().deliver(delivery, parcel)
        return outcome if outcome.receipt else Outcome(refused=True, code=outcome.code, reason=outcome.reason)


class Mumbles(FolderGateway):
    """Fails with a code that nothing explains."""

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """E42."""
        outcome = await super().deliver(delivery, parcel)
        return outcome if outcome.receipt else Outcome(code="E42", reason=outcome.reason)


class SaysBoth(FolderGateway):
    """Delivered, and refused."""

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """Both."""
        await super().deliver(delivery, parcel)
        return Outcome(receipt=self.evidence(delivery), refused=True, code="no-outbox", reason="both")


class NoEvidence(FolderGateway):
    """A receipt that holds nothing."""

    def evidence(self, delivery: Delivery) -> Receipt:
        """Only a word."""
        return Receipt(delivery.id, Level.TRANSPORT, Verdict.ACCEPTED, self._kernel.clock.now())


class LooseFolders(Folders):
    """Takes any field."""

    model_config = ConfigDict(extra="ignore")


class LooseSettings(FolderGateway):
    """Reads over misspelt fields."""

    Settings: ClassVar[type[BaseModel]] = LooseFolders


class EndsByItself(FolderGateway):
    """Looks once."""

    async def run(self) -> None:
        """And that is that."""


class NeverEnds(FolderGateway):
    """Cannot be stopped while the test looks."""

    async def run(self) -> None:
        """Until it has been told for a while."""
        for _ in range(4):
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(0.5)


BROKEN: list[tuple[type[FolderGateway], str, tuple[Any, ...], str]] = [
    (AcceptsTwice, "test_an_item_counts_once_per_key", (), "one key is one parcel"),
    (AcceptsTwice, "test_other_content_under_a_known_key_is_refused", (), "was called accepted"),
    (Overwrites, "test_other_content_under_a_known_key_is_refused", (), "was called accepted"),
    (SwallowsCancellation, "test_a_cancelled_attempt_leaves_nothing", (), "cancellation was swallowed"),
    (LeavesHalves, "test_a_cancelled_attempt_leaves_nothing", (), "half-made was left with the neighbour"),
    (NewNames, "test_an_attempt_may_be_repeated", (5,), "under another name"),
    (Hides, "test_a_neighbour_that_is_away_is_tried_again", (), "nobody took it"),
    (Hides, "test_what_goes_wrong_inside_is_never_delivered", (), "half a payload was called delivered"),
    (LeavesHalves, "test_what_goes_wrong_inside_is_never_delivered", (), "half a payload was left"),
    (Refuses, "test_a_neighbour_that_is_away_is_tried_again", (), "nobody took it"),
    (Mumbles, "test_a_neighbour_that_is_away_is_tried_again", (), "nothing explains the code 'E42'"),
    (SaysBoth, "test_an_attempt_may_be_repeated", (5,), "says one thing"),
    (NoEvidence, "test_an_attempt_may_be_repeated", (5,), "evidence is kept"),
    (LooseSettings, "test_unknown_settings_are_refused", (), "extra='forbid'"),
    (EndsByItself, "test_it_serves_until_it_is_cancelled", (), "ended by itself"),
    (NeverEnds, "test_it_serves_until_it_is_cancelled", (), "goes on though"),
]


@pytest.mark.parametrize(("gateway", "test", "arguments", "words"), BROKEN, ids=lambda v: getattr(v, "__name__", None))
async def test_a_broken_gateway_fails_where_it_is_broken(
    tmp_path: Path,
    gateway: type[FolderGateway],
    test: str,
    arguments: tuple[Any, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
):
    """The test that fails names what is wrong."""
    monkeypatch.setattr("conformance.gateway_contract.PATIENCE", 0.3)
    world, contract = FolderWorld(tmp_path, gateway), GatewayContract()
    async with AsyncExitStack() as stack:
        with pytest.raises((AssertionError, pytest.fail.Exception), match=words):
            if test == "test_unknown_settings_are_refused":
                contract.test_unknown_settings_are_refused(world)
            else:
                bench = await stack.enter_async_context(opened(world))
                await _run(contract, test, world, bench, arguments, monkeypatch)


async def _run(
    contract: GatewayContract,
    test: str,
    world: World,
    bench: Bench,
    arguments: tuple[Any, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One test of the contract, as pytest would run it."""
    if test == "test_it_serves_until_it_is_cancelled":
        await contract.test_it_serves_until_it_is_cancelled(bench)
    elif test == "test_what_goes_wrong_inside_is_never_delivered":
        await contract.test_what_goes_wrong_inside_is_never_delivered(world, bench, monkeypatch)
    else:
        await getattr(contract, test)(world, bench, *arguments)


async def test_a_world_that_leads_nowhere_is_told_so(tmp_path: Path):
    """A contract that proves nothing must not pass: the route has to lead out through the gateway."""
    world = FolderWorld(tmp_path)
    world.sender = "egedal-notes"
    async with opened(world) as bench:
        with pytest.raises(AssertionError, match="route leads elsewhere"):
            await GatewayContract().test_an_attempt_may_be_repeated(world, bench, 5)
