"""What people can ask of a node: send, take, resend, apply, roll back, rewrap, back up; asked as the command line asks."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from core import commands, limits
from core.clock import FrozenClock
from core.commands import Settlement
from core.config import Configuration
from core.delivery import Event, State
from core.desk.uploads import Uploads
from core.errors import NotAllowed, NotFound, Overloaded, PayloadError, TooLarge, UsageError
from core.kernel import NodeKernel
from core.keys import KeyRing, create_kek
from core.ledger import looking, parcels
from core.ledger.deliveries import Settle
from core.operations import Operations
from tests.core.nodes import ARCHIVE, DOCUMENTS, JOURNAL, LARGE, SENDER, Site, make_settings, received


class Asked:
    """The operations of a site; remembers progress and which configuration was stored."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.progress: list[Any] = []
        self.changed: list[Configuration] = []
        kernel = NodeKernel(site.runtime, "local", site.mail)
        self.reasons: list[str] = []
        self.table = Operations(site.runtime, kernel, self._follow, lambda: self.reasons).table()

    def _follow(self, configuration: Configuration) -> None:
        self.changed.append(configuration)
        self.site.runtime.configuration = configuration

    async def __call__(self, op: str, **args: Any) -> Any:
        """Ask; what comes back must fit through the local socket."""
        answer = await self.table[op](args, self.progress.append)
        return json.loads(json.dumps(answer))

    async def send(self, *paths: Path, **args: Any) -> Any:
        """Send files as the town's post."""
        facts: dict[str, Any] = {"sender": SENDER, "integration": "letters"} | args
        return await self("send", paths=[str(path) for path in paths], **facts)


@pytest.fixture
async def ask(site: Site) -> AsyncIterator[Asked]:
    """Operations on either database."""
    yield Asked(site)


@pytest.fixture
def letter(tmp_path: Path) -> Path:
    """A file to send."""
    path = tmp_path / "letter.txt"
    path.write_text("Dear neighbour,")
    return path


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A larger one."""
    path = tmp_path / "film.bin"
    path.write_bytes(LARGE)
    return path


async def settled(site: Site, delivery_id: str, event: Event) -> None:
    """Something happens to a delivery."""
    await site.runtime.do(commands.SETTLE, Settlement(Settle(delivery_id, event, site.clock.now(), code="x"), {}))


async def test_status_says_who_the_node_is_and_what_it_has_to_do(ask: Asked, letter: Path):
    """Name, version, process, deliveries by state, and what the writer did."""
    await ask.send(letter)
    await ask.site.written()
    status = await ask("status")
    assert (status["node"], status["version"], status["pid"]) == ("birkelund-a", 1, os.getpid())
    assert (status["deliveries"], status["commands"]) == ({"ready": 1}, 3)  # the parcel, the usage log, the barrier
    assert status["not_ready"] == []
    ask.reasons.append("the node is starting")
    assert (await ask("status"))["not_ready"] == ["the node is starting"]


@pytest.mark.requirement("R81", "R102", "R129", "R132")
async def test_what_is_asked_for_is_in_the_usage_log(ask: Asked, site: Site, letter: Path, tmp_path: Path):
    """Who, what, about which system, parcel or version, and what came of it; a look at the node's state is not."""
    await ask.send(letter, who="clerk-1")
    with pytest.raises(NotFound):
        await ask("resend", reference="nothing", who="clerk-2", why="")
    await ask("take", system=ARCHIVE, out=str(tmp_path / "out"), who="clerk-1")
    await ask("status", who="clerk-3")
    await site.written()
    looks = site.runtime.read_now(looking.find, looking.Asked(), 10)
    assert sorted((one.who, one.action, one.object, one.outcome) for one in looks) == [
        ("clerk-1", "command send", SENDER, "ok"),
        ("clerk-1", "command take", ARCHIVE, "ok"),
        ("clerk-2", "command resend", "nothing", "NotFound"),
    ]


# --- send -------------------------------------------------------------------------------------------------------------


async def test_files_become_one_parcel(ask: Asked, site: Site, letter: Path, film: Path):
    """Payloads in order, described by the integration and what was said; progress is told in octets."""
    description = {"correlation_id": "case-1", "receiver": {"system": None, "function": "children"}}
    sent = await ask.send(letter, film, media_type="text/plain", description=description)
    assert sent["judgement"] == "new"
    stored = site.runtime.read_now(parcels.load, sent["parcel"])
    octets = [b"".join(site.kernel.read_now(stored, payload)) for payload in stored.payloads]
    assert octets == [b"Dear neighbour,", LARGE]
    assert [(p.name, p.media_type) for p in stored.payloads] == [
        ("letter.txt", "text/plain"),
        ("film.bin", "text/plain"),
    ]
    d = stored.description
    assert (d.type, d.sender, d.size, d.correlation_id) == ("letter", SENDER, 15 + len(LARGE), "case-1")
    assert (d.digest, d.receiver.function) == (hashlib.sha256(b"Dear neighbour,").hexdigest(), "children")
    assert ask.progress[-1] == {"what": "reading", "done": 15 + len(LARGE), "of": 15 + len(LARGE)}
    assert site.trace(stored.id)[0][1]["by"] == "command line"


async def test_a_key_counts_once_for_each_sender(ask: Asked, site: Site, letter: Path, film: Path):
    """The same again is the same parcel; other content, or the same content described otherwise, is a conflict."""
    first = await ask.send(letter, key="k-1")
    site.clock.tick(60_000_000)
    assert await ask.send(letter, key="k-1") == {"parcel": first["parcel"], "judgement": "known"}
    for other in (film, letter):
        answer = await ask.send(other, key="k-1", description={"correlation_id": "else"})
        assert answer == {"parcel": first["parcel"], "judgement": "conflict"}
    assert site.parcels() == [first["parcel"]]


@pytest.mark.parametrize(
    ("args", "error", "words"),
    [
        ({"integration": "bills"}, UsageError, "integration: nothing is called 'bills'; known: letters"),
        ({"sender": "somebody"}, NotAllowed, "somebody may not send under letters"),
        ({"description": {"type": "bill"}}, NotAllowed, "'bill' is not moved under letters"),
        ({"description": {"colour": "red"}}, UsageError, "colour: Extra inputs are not permitted"),
        ({"description": {"priority": "at once"}}, UsageError, "priority: "),
        ({"media_type": "a\nb"}, UsageError, "media_type: "),
    ],
)
async def test_what_cannot_be_sent_says_why_and_leaves_nothing(
    ask: Asked, site: Site, film: Path, args: dict[str, Any], error: type[Exception], words: str
):
    """Nothing is stored, nothing is half-written."""
    with pytest.raises(error, match=words):
        await ask.send(film, **args)
    assert (site.parcels(), site.incoming()) == ([], [])


async def test_a_file_that_cannot_be_read_is_named(ask: Asked, site: Site, letter: Path, tmp_path: Path):
    """One that is not there, and one that is a folder."""
    with pytest.raises(UsageError, match=r"none\.txt: No such file"):
        await ask.send(letter, tmp_path / "none.txt")
    with pytest.raises(UsageError, match="Is a directory"):
        await ask.send(letter, tmp_path)
    assert site.parcels() == []


async def test_a_file_above_the_limit_stops_half_way(ask: Asked, site: Site, tmp_path: Path):
    """The integration's limit; what was written so far is removed."""
    large = tmp_path / "large.bin"
    large.write_bytes(b"x" * 2_000_001)
    with pytest.raises(TooLarge, match="more than 2000000 octets"):
        await ask.send(large)
    assert (site.incoming(), site.objects(), site.parcels()) == ([], [], [])


async def test_below_the_reserve_nothing_is_sent(tmp_path: Path, letter: Path, clock: FrozenClock):
    """As for every other way in."""
    site = Site(make_settings(tmp_path / "home", free_space_reserve=1 << 62), clock)
    with pytest.raises(Overloaded, match="below the reserve"):
        await Asked(site).send(letter)
    site.runtime.close()


# --- take -------------------------------------------------------------------------------------------------------------


async def test_taking_writes_the_files_and_then_acknowledges(
    ask: Asked, site: Site, letter: Path, film: Path, tmp_path: Path
):
    """Octet for octet, under names that never clash; a second take finds nothing."""
    for _ in range(2):
        await ask.send(letter, film, description={"type": "leaflet"})
    taken = await ask("take", system=ARCHIVE, out=str(tmp_path / "out"))
    assert [sorted(Path(f).read_bytes() for f in one["files"]) for one in taken] == [
        sorted([b"Dear neighbour,", LARGE])
    ] * 2
    names = [Path(f).name for one in taken for f in one["files"]]
    assert len(set(names)) == 4
    assert names[0] == f"{taken[0]['parcel']}-0-letter.txt"
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(names)
    assert {d.state for d in site.deliveries()} == {State.DELIVERED}
    assert await ask("take", system=ARCHIVE, out=str(tmp_path / "out")) == []


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("../../etc/passwd", "passwd"),
        ("..", ".."),
        ("", "payload"),
        ("a b;c$(d).txt", "a_b_c__d_.txt"),
        ("blåbær.pdf", "blåbær.pdf"),
        ("x" * 400 + ".pdf", "x" * 116 + ".pdf"),
        ("con\x01trol\n", "con_trol_"),
        ("/", "payload"),
    ],
)
async def test_a_payloads_name_leads_nowhere(ask: Asked, site: Site, tmp_path: Path, name: str, written: str):
    """Whatever a sender calls its file, it is written in the folder that was named."""
    stage = site.kernel.stage(size_limit=100)
    sink = stage.sink()
    sink.write(b"octets")
    payload = sink.finish(name=name, media_type="text/plain")
    made = site.make(kind="leaflet")
    keys = {"id": stage.parcel_id, "key_id": stage.key_id, "wrapped_key": stage.wrapped_key}
    await site.kernel.accept(site.item(replace(made, payloads=(payload,), **keys)))
    (one,) = await ask("take", system=ARCHIVE, out=str(tmp_path / "out"))
    (file,) = one["files"]
    assert Path(file).parent == tmp_path / "out"
    tail = Path(file).name.removeprefix(f"{one['parcel']}-0-")
    assert tail == written


async def test_one_damaged_parcel_stands_in_nobodys_way(
    ask: Asked, site: Site, film: Path, letter: Path, tmp_path: Path
):
    """The others are taken; it comes back later, with an alarm; alone, its error is the answer."""
    bad = await ask.send(film, description={"type": "leaflet"})
    await ask.send(letter, description={"type": "leaflet"})
    (name,) = site.objects()
    site.runtime.store.path(name).write_bytes(b"damaged")
    taken = await ask("take", system=ARCHIVE, out=str(tmp_path / "out"))
    assert [Path(one["files"][0]).read_bytes() for one in taken] == [b"Dear neighbour,"]
    assert [(a.code, a.parcel_id) for a in site.alarms()] == [("payload", bad["parcel"])]
    assert [p.suffix for p in (tmp_path / "out").iterdir()] == [".txt"]
    site.clock.tick(limits.LEASE)
    with pytest.raises(PayloadError, match="is damaged"):
        await ask("take", system=ARCHIVE, out=str(tmp_path / "out"))


async def test_a_folder_that_cannot_be_written_costs_nothing(ask: Asked, site: Site, letter: Path):
    """The mistake is named, and what was lent can be taken again at once."""
    for _ in range(2):
        await ask.send(letter, description={"type": "leaflet"})
    with pytest.raises(UsageError, match=r"letter\.txt"):
        await ask("take", system=ARCHIVE, out=str(letter / "below"))
    assert len(await site.kernel.pull(ARCHIVE, limit=5, wait=0)) == 2


async def test_a_system_nobody_knows_takes_nothing(ask: Asked):
    """The message lists those there are."""
    with pytest.raises(UsageError, match=f"system: nothing is called 'nobody'; known: {SENDER}, {JOURNAL}, {ARCHIVE}"):
        await ask("take", system="nobody", out="x")


# --- resend -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("event", [Event.EXHAUSTED, Event.REFUSED, Event.DIED, Event.HOLD, Event.ACKNOWLEDGED])
async def test_what_ended_can_be_sent_again(ask: Asked, site: Site, letter: Path, event: Event):
    """By parcel or by delivery; the trace says who and why."""
    sent = await ask.send(letter)
    one = site.delivery()
    for reference in (sent["parcel"], one.id):
        await settled(site, one.id, event)
        (done,) = await ask("resend", reference=reference, who="clerk", why="the scanner was off")
        assert done == {"delivery": one.id, "receiver": JOURNAL, "state": "ready"}
        assert (site.delivery().state, site.delivery().due_at) == (State.READY, site.clock.now())
    name, facts = site.trace(sent["parcel"])[-1]
    assert (name, facts["by"]) == ("release" if event is Event.HOLD else "resend", "clerk")
    assert facts["reason"] == "the scanner was off"


async def test_a_resent_delivery_is_attempted(site: Site, ask: Asked, letter: Path):
    """At once, by the dispatcher that runs."""
    sent = await ask.send(letter)
    await settled(site, site.delivery().id, Event.EXHAUSTED)
    async with site.dispatching():
        await ask("resend", reference=sent["parcel"], who="clerk")
        await site.until(State.DELIVERED)


@pytest.mark.parametrize("event", [None, Event.SENT, Event.BUSINESS_ACCEPTED])
async def test_what_is_on_its_way_or_accepted_is_not_sent_again(
    ask: Asked, site: Site, letter: Path, event: Event | None
):
    """Nor is what nobody knows."""
    sent = await ask.send(letter)
    if event:
        await settled(site, site.delivery().id, event)
    for reference in (sent["parcel"], site.delivery().id, "no-such", ""):
        with pytest.raises(NotFound, match="nothing to send again"):
            await ask("resend", reference=reference, who="clerk")


async def test_everything_held_goes_on_together(ask: Asked, site: Site, letter: Path):
    """As after a restore; what is not held is left alone."""
    for kind in ("letter", "leaflet", "letter"):
        await ask.send(letter, description={"type": kind})
    *held, failed = site.deliveries()
    for one in held:
        await settled(site, one.id, Event.HOLD)
    await settled(site, failed.id, Event.EXHAUSTED)
    done = await ask("resend", held=True, who="clerk")
    assert sorted(d["delivery"] for d in done) == sorted(d.id for d in held)
    assert site.row(failed.id).state == "failed"
    with pytest.raises(NotFound):
        await ask("resend", held=True, who="clerk")


@pytest.mark.requirement("R37")
async def test_what_lies_in_the_residual_mailbox_is_routed_anew(ask: Asked, site: Site, letter: Path, tmp_path: Path):
    """Without a route it stays, and says why; with one it goes where the route says, with its history."""
    sent = await ask.send(letter, description={"type": "stray"})
    one = site.delivery()
    (still,) = await ask("resend", reference=sent["parcel"], who="clerk")
    assert still == {"delivery": one.id, "receiver": "residual", "state": "held", "cause": "no route matches"}
    route = {
        "kind": "route",
        "id": "strays",
        "match": {"type": "stray"},
        "to": [{"system": ARCHIVE}, {"system": JOURNAL, "gateway": "paper"}],
    }
    await ask("apply", directory=str(documents(tmp_path / "new", [*DOCUMENTS, route])), who="clerk", why="strays")
    (done,) = await ask("resend", reference=sent["parcel"], who="clerk")
    assert done == {"delivery": one.id, "receiver": ARCHIVE, "state": "ready", "route": "strays"}
    assert [(d.receiver, d.gateway, d.state) for d in site.deliveries()] == [
        (JOURNAL, "paper", State.READY),
        (ARCHIVE, "", State.READY),
    ]
    assert [name for name, _ in site.trace(sent["parcel"])] == ["accepted", "redirected"]
    (lease,) = await site.kernel.pull(ARCHIVE, limit=5, wait=0)
    assert lease.parcel.id == sent["parcel"]


# --- configuration ----------------------------------------------------------------------------------------------------


def documents(folder: Path, wanted: list[dict[str, Any]]) -> Path:
    """A configuration directory."""
    folder.mkdir(exist_ok=True)
    (folder / "all.yaml").write_text(yaml.safe_dump_all(wanted))
    return folder


async def test_alarms_are_cleared(ask: Asked, site: Site):
    """Those that were named, and no others."""
    for code in ("wet", "dry"):
        await site.kernel.alarm(code, "look")
    wet = next(a for a in site.alarms() if a.code == "wet")
    assert await ask("clear", alarms=[wet.id]) == {"cleared": 1}
    assert [a.code for a in site.alarms()] == ["dry"]


# --- keeping ----------------------------------------------------------------------------------------------------------


async def test_rewrapping_moves_every_data_key_under_the_newest(ask: Asked, site: Site, letter: Path, film: Path):
    """Payloads stay where they are and read as before, without the old key; a second time there is nothing to do."""
    sent = [(await ask.send(path))["parcel"] for path in (letter, film)]
    uploads = Uploads(site.runtime)
    begun = await uploads.begin(SENDER, name="a", media_type="x/y", size=1)
    create_kek(site.runtime.settings.keys_path, "kek-2")
    site.runtime.ring = KeyRing(site.runtime.settings.keys_path)
    assert await ask("rewrap") == {"rewrapped": 2, "key": "kek-2"}
    assert await ask("rewrap") == {"rewrapped": 0, "key": "kek-2"}
    (site.runtime.settings.keys_path / "kek-1.kek").unlink()
    site.runtime.ring = KeyRing(site.runtime.settings.keys_path)
    assert (await uploads.look(SENDER, begun.id)).key_id == "kek-2"
    stored = [site.runtime.read_now(parcels.load, name) for name in sent]
    octets = [b"".join(site.kernel.read_now(one, one.payloads[0])) for one in stored]
    assert octets == [b"Dear neighbour,", LARGE]


async def test_a_backup_is_made_while_work_goes_on(ask: Asked, site: Site, film: Path, tmp_path: Path):
    """The answer counts what it holds."""
    await ask.send(film)
    made = await ask("backup", directory=str(tmp_path / "copy"))
    assert made == {"directory": str(tmp_path / "copy"), "objects": 1, "missing": []}
    assert {fact["what"] for fact in ask.progress} == {"reading", "ledger", "objects"}
    await site.kernel.settle(received(site.delivery()))
    assert site.delivery().state is State.DELIVERED
