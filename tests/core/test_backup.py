"""Backup while a node works, and restore into an empty place: nothing that was acknowledged before is missing or unreadable."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, select, text

from core import backup, commands, limits
from core.clock import SystemClock
from core.delivery import Frozen, State
from core.errors import Fatal, PayloadError, UsageError
from core.keys import create_kek
from core.ledger import parcels
from core.ledger.claiming import Claim
from core.ledger.tables import delivery, metadata
from core.parcel import Judgement
from core.settings import NodeSettings
from tests.core.nodes import ARCHIVE, LARGE, SENDER, Site, make_settings, received


def quiet(facts: Any) -> None:
    """Nobody watches."""


@pytest.fixture
def elsewhere(tmp_path: Path, ledger_url: str, request: pytest.FixtureRequest) -> Callable[..., NodeSettings]:
    """Another home on an empty database of the same kind, with the first one's keys."""

    def make(name: str = "other", url: str | None = None, **changes: Any) -> NodeSettings:
        home = tmp_path / name
        shutil.copytree(tmp_path / "home" / "keys", home / "keys")
        if url is None:
            url = request.getfixturevalue("new_postgresql")() if ledger_url else ""
        return make_settings(home, url, **changes)

    return make


async def made(site: Site, folder: Path) -> dict[str, Any]:
    """A backup, made as the node makes it: in a thread while the loop goes on."""
    return await asyncio.to_thread(backup.make, site.runtime, folder, quiet)


def restored(settings: NodeSettings, folder: Path) -> dict[str, Any]:
    """A restored backup."""
    return backup.restore(settings, folder, SystemClock(), quiet)


def contents(site: Site) -> dict[str, list[bytes]]:
    """Every payload of every parcel, read through the store."""
    found = site.runtime.read_now(parcels.load_many, site.parcels())
    return {
        name: [b"".join(site.kernel.read_now(one, payload)) for payload in one.payloads] for name, one in found.items()
    }


@pytest.mark.timeout(120)
async def test_a_backup_under_load_holds_all_that_was_acknowledged_before(
    live: Site, elsewhere: Callable[..., NodeSettings], tmp_path: Path
):
    """Writers go on all the time; the copy is one moment: whole, readable, and not older than the moment it was asked for."""
    acknowledged: dict[str, list[bytes]] = {}
    going = True

    async def write(number: int) -> None:
        count = 0
        while going:
            octets = f"letter {number}.{count}".encode()
            large = octets * (limits.INLINE_PAYLOAD // len(octets) + 2) if count % 3 == 0 else octets
            one = await live.accept(octets, large, kind="circular" if count % 2 else "leaflet", key=f"{number}.{count}")
            acknowledged[one.parcel_id] = [octets, large]
            count += 1

    async def lend() -> None:
        while going:
            for lease in await live.kernel.pull(ARCHIVE, limit=3, wait=0):
                await live.kernel.ack(lease)
            await asyncio.sleep(0.01)

    async with live.dispatching():
        # The ledger is to be larger than what one step of a copy takes.
        await asyncio.gather(*(live.accept(os.urandom(60_000)) for _ in range(120)))
        workers = [asyncio.create_task(write(number)) for number in range(4)] + [asyncio.create_task(lend())]
        while len(acknowledged) < 8:
            await asyncio.sleep(0.01)
        before = dict(acknowledged)
        result = await asyncio.wait_for(made(live, tmp_path / "copy"), 20)
        during = len(acknowledged) - len(before)
        going = False
        await asyncio.gather(*workers)
    assert during > 0, "nothing was accepted while the backup was made"
    assert result["missing"] == []

    settings = elsewhere()
    outcome = restored(settings, tmp_path / "copy")
    assert (outcome["objects"], outcome["backup_of"][:2]) == (result["objects"], "20")
    again = Site(settings)
    found = contents(again)
    assert {name: found.get(name) for name in before} == before
    assert {name: found[name] for name in found if name in acknowledged} == {
        name: acknowledged[name] for name in found if name in acknowledged
    }
    assert not {d.state for d in again.deliveries()} & {State.READY, State.AWAITING}
    assert outcome["held"] == sum(d.state is State.HELD for d in again.deliveries()) > 0
    # A sender that retries what it had an answer for is still recognised.
    name, octets = next(iter(before.items()))
    key = next(k for k in again.runtime.read_now(_keys) if k[1] == name)[0]
    known = await again.accept(*octets, key=key)
    assert (known.judgement, known.parcel_id) == (Judgement.KNOWN, name)
    again.runtime.close()


def _keys(connection: Any) -> list[tuple[str, str]]:
    return [tuple(row) for row in connection.execute(text("SELECT value, parcel_id FROM idempotency"))]


async def test_what_was_open_starts_held_and_old_attempts_are_fenced(
    site: Site, elsewhere: Callable[..., NodeSettings], tmp_path: Path
):
    """What happened since is unknown: nothing moves by itself, and what an attempt from before reports is stale."""
    for kind in ("letter", "leaflet", "stray"):
        await site.accept(kind=kind)
    now = site.clock.now()
    work = await site.runtime.do(commands.CLAIM, Claim(1, "x", now, now + limits.LEASE))
    await made(site, tmp_path / "copy")
    settings = elsewhere()
    assert restored(settings, tmp_path / "copy")["held"] == 2
    again = Site(settings, site.clock)
    assert {d.state for d in again.deliveries()} == {State.HELD}
    (push,) = [d for d in again.deliveries() if d.gateway]
    row = again.row(push.id)
    assert (push.epoch, row.lease_owner, row.last_code) == (work.deliveries[0].epoch + 1, "", "restored")
    async with again.dispatching():
        assert await again.kernel.pull(ARCHIVE, limit=10, wait=0) == []
        await again.written()
    assert again.paper.attempts == []
    await again.kernel.settle(received(push))
    assert again.row(push.id).state == "delivered"
    again.runtime.close()


async def test_every_row_comes_back_as_it_was(site: Site, elsewhere: Callable[..., NodeSettings], tmp_path: Path):
    """Evidence, wires, names, trace, alarms: table by table; the chain verifies, and what is settled stays settled."""
    await site.accept(LARGE, key="k-1")
    one = site.delivery()
    await site.kernel.freeze(one, Frozen(one.id, ("m-1",), b"wire"))
    await site.kernel.settle(received(one, outside_id="m-1"))
    await site.accept(kind="stray")
    before = {t.name: site.runtime.read_now(_all, t) for t in metadata.sorted_tables}
    await made(site, tmp_path / "copy")
    settings = elsewhere()
    assert restored(settings, tmp_path / "copy")["held"] == 0
    again = Site(settings, site.clock)
    after = {t.name: again.runtime.read_now(_all, t) for t in metadata.sorted_tables}
    assert after == before
    assert {name for name, rows in before.items() if rows} >= {"receipt", "frozen", "outside_id", "alarm", "trace"}
    # Numbers the database gives go on where they were.
    await again.kernel.freeze(one, Frozen(one.id, ("m-1",), b"wire again"))
    newest = await again.kernel.frozen(one.id)
    assert newest is not None
    assert newest.wire == b"wire again"
    again.runtime.close()


def _all(connection: Any, table: Any) -> list[tuple[Any, ...]]:
    return sorted(tuple(row) for row in connection.execute(select(table)))


async def test_prepared_parts_of_what_failed_are_kept_for_its_resend(site: Site, tmp_path: Path):
    """A delivery that may be sent again as it was frozen takes its parts along; one that arrived does not."""
    await site.accept()
    one = site.delivery()
    parcel = site.runtime.read_now(parcels.load, one.parcel_id)
    keeper = site.kernel.keep(parcel)
    keeper.write(b"prepared")
    keeper.commit()
    await site.kernel.freeze(one, Frozen(one.id, ("m-1",), b"wire", (keeper.object_id,)))
    for state, there in (("failed", True), ("held", True), ("quarantined", True), ("delivered", False)):
        await site.runtime.do(commands.CALL, commands.Call(_state, (state,)))
        await made(site, tmp_path / state)
        assert (tmp_path / state / "objects" / keeper.object_id).exists() is there


def _state(connection: Any, state: str) -> None:
    connection.execute(delivery.update().values(state=state))


# --- what a backup looks like -----------------------------------------------------------------------------------------


async def test_a_backup_is_its_owners_alone_and_holds_no_key(site: Site, tmp_path: Path):
    """Descriptions are personal enough: folder and files are closed to others, and key files are not among them."""
    mask = os.umask(0o022)
    try:
        await site.accept(LARGE)
        await made(site, tmp_path / "deep" / "copy")
    finally:
        os.umask(mask)
    folder = tmp_path / "deep" / "copy"
    files = [p for p in folder.rglob("*") if p.is_file()]
    assert {p.name for p in files} == {"ledger.db", "manifest.json", *site.objects()}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    private = [p for p in files if p.name != "manifest.json"]
    assert {stat.S_IMODE(p.stat().st_mode) for p in private} == {0o600}
    kek = (tmp_path / "home" / "keys" / "kek-1.kek").read_bytes()
    assert not any(kek in p.read_bytes() or LARGE[:64] in p.read_bytes() for p in files)


async def test_the_manifest_proves_every_file(site: Site, tmp_path: Path):
    """Who made it and when, under which keys, and the SHA-256 of everything; the ledger is SQLite whatever the node's is."""
    await site.accept(LARGE)
    result = await made(site, tmp_path / "copy")
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    assert (manifest["node"], manifest["at"]) == ("birkelund-a", "2026-03-01T12:00:00.000Z")
    assert (manifest["format"], manifest["keys"], manifest["missing"]) == (1, ["kek-1"], [])
    assert sorted(manifest["files"]) == ["ledger.db", *(f"objects/{name}" for name in site.objects())]
    assert result == {"directory": str(tmp_path / "copy"), "objects": 1, "missing": []}
    assert (tmp_path / "copy" / "ledger.db").read_bytes()[:15] == b"SQLite format 3"


async def test_what_is_missing_in_the_store_is_said(site: Site, tmp_path: Path):
    """An object that somebody removed is named; the rest is there."""
    await site.accept(LARGE)
    await site.accept(LARGE)
    gone, there = site.objects()
    site.runtime.store.delete(gone)
    assert (await made(site, tmp_path / "copy"))["missing"] == [gone]
    assert [p.name for p in (tmp_path / "copy" / "objects").iterdir()] == [there]


async def test_nothing_is_deleted_while_a_backup_is_made(site: Site, tmp_path: Path):
    """Deletion that is asked for waits until the copy is whole."""
    await site.accept(LARGE)
    (name,) = site.objects()
    seen = []

    def progress(facts: Any) -> None:
        if not seen:
            site.runtime.delete_later([name])
        seen.append(facts["what"])

    result = await asyncio.to_thread(backup.make, site.runtime, tmp_path / "copy", progress)
    assert (result["objects"], result["missing"], seen) == (1, [], ["ledger", "objects"])
    site.runtime.deletions.shutdown()
    assert site.objects() == []


async def test_a_folder_that_is_not_empty_is_not_touched(site: Site, tmp_path: Path):
    """Neither a former backup nor anything else is written over."""
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "mine").write_text("mine")
    with pytest.raises(UsageError, match="is not empty; a backup gets a folder of its own"):
        backup.make(site.runtime, tmp_path / "copy", quiet)
    assert [p.name for p in (tmp_path / "copy").iterdir()] == ["mine"]


# --- what is not restored ---------------------------------------------------------------------------------------------


@pytest.fixture
async def copy(site: Site, tmp_path: Path) -> AsyncIterator[Path]:
    """A backup of one parcel with two payloads."""
    await site.accept(b"small", LARGE)
    await made(site, tmp_path / "copy")
    yield tmp_path / "copy"


def rewritten(copy: Path, **changes: Any) -> None:
    """The manifest with other words."""
    path = copy / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def empty(settings: NodeSettings) -> bool:
    """Whether nothing was written into a home."""
    return not settings.data_path.exists() or not any(settings.data_path.iterdir())


@pytest.mark.parametrize(
    "octets", [b"", b"{", b"[]", b"null", b"{}", b'{"files": 1, "format": 1, "keys": []}', b"\xff", b"[" * 100_000]
)
async def test_what_is_no_manifest_is_refused(copy: Path, elsewhere: Callable[..., NodeSettings], octets: bytes):
    """Whatever stands there, nothing is written."""
    settings = elsewhere()
    (copy / "manifest.json").write_bytes(octets)
    with pytest.raises(UsageError, match=r"holds no readable manifest\.json"):
        restored(settings, copy)
    assert empty(settings)


@pytest.mark.parametrize(
    "name",
    [
        "objects/../../../keys/kek-2.kek",
        "/objects/x",
        "objects/" + "A" * 32,
        "objects/" + "a" * 32 + "/x",
        "ledger.db2",
        "",
    ],
)
async def test_a_manifest_leads_nowhere_else(copy: Path, elsewhere: Callable[..., NodeSettings], name: str):
    """A name that no backup has is refused before a file is looked at."""
    settings = elsewhere()
    files = json.loads((copy / "manifest.json").read_text())["files"]
    rewritten(copy, files={**files, name: files["ledger.db"]})
    with pytest.raises(UsageError, match="no backup looks so"):
        restored(settings, copy)
    assert empty(settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format": 2}, "format 2; this program reads 1"),
        ({"files": {}}, "no backup looks so"),
        ({"keys": ["kek-1", "kek-9"]}, "lacks the key-encryption keys kek-9; bring them first"),
    ],
)
async def test_a_backup_that_does_not_fit_is_refused(
    copy: Path, elsewhere: Callable[..., NodeSettings], changes: dict[str, Any], words: str
):
    """Format, content and keys are each named."""
    settings = elsewhere()
    rewritten(copy, **changes)
    with pytest.raises(UsageError, match=words):
        restored(settings, copy)
    assert empty(settings)


@pytest.mark.parametrize("what", ["ledger.db", "object"])
@pytest.mark.parametrize("how", ["changed", "cut", "gone"])
async def test_damage_is_found_before_anything_is_written(
    copy: Path, elsewhere: Callable[..., NodeSettings], what: str, how: str
):
    """One octet is enough."""
    settings = elsewhere()
    path = copy / "ledger.db" if what == "ledger.db" else next((copy / "objects").iterdir())
    octets = path.read_bytes()
    path.write_bytes({"changed": octets[:-1] + bytes([octets[-1] ^ 1]), "cut": octets[:-1], "gone": b""}[how])
    if how == "gone":
        path.unlink()
    with pytest.raises(UsageError, match=f"{path.name}: is missing or damaged; nothing was restored"):
        restored(settings, copy)
    assert empty(settings)


async def test_another_key_of_the_same_name_is_found(
    copy: Path, elsewhere: Callable[..., NodeSettings], tmp_path: Path
):
    """With it not one payload could be read: the restore says so instead of seeming to succeed."""
    settings = elsewhere()
    shutil.rmtree(settings.keys_path)
    with pytest.raises(Fatal, match="no key-encryption key"):
        restored(settings, copy)
    create_kek(settings.keys_path, "kek-1")
    with pytest.raises(UsageError, match="another key of that name"):
        restored(settings, copy)
    assert empty(settings)


async def test_a_place_that_is_not_empty_is_refused(site: Site, copy: Path, elsewhere: Callable[..., NodeSettings]):
    """A ledger that is there is never written over, also one that has no delivery yet."""
    settings = elsewhere()
    other = Site(settings, site.clock)
    await other.kernel.note("p", "seen", {})
    other.runtime.close()
    before = other.parcels() if settings.database else []
    with pytest.raises(UsageError, match=r"(exists; restore into an empty|is not empty; restore into an empty)"):
        restored(settings, copy)
    assert (before, list((settings.store_path / "objects").rglob("?" * 32))) == ([], [])


async def test_a_restore_that_was_cut_short_can_be_begun_again(
    copy: Path, elsewhere: Callable[..., NodeSettings], monkeypatch: pytest.MonkeyPatch
):
    """The ledger comes last, held already: until then there is no node that could send anything."""
    settings = elsewhere()

    def cut(*_: Any) -> int:
        raise OSError("cut")

    with monkeypatch.context() as patch:
        patch.setattr(backup, "_hold", cut)
        with pytest.raises(OSError, match="cut"):
            restored(settings, copy)
    assert not (settings.data_path / "ledger.db").exists()
    assert restored(settings, copy)["held"] == 1
    again = Site(settings)
    assert list(contents(again).values()) == [[b"small", LARGE]]
    again.runtime.close()


async def test_a_backup_may_lie_where_nothing_can_be_written(copy: Path, elsewhere: Callable[..., NodeSettings]):
    """Reading it leaves no file beside it."""
    before = sorted(p.name for p in copy.iterdir())
    restored(elsewhere(), copy)
    assert sorted(p.name for p in copy.iterdir()) == before == ["ledger.db", "manifest.json", "objects"]
    engine = create_engine(f"sqlite:///{copy / 'ledger.db'}")
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "delete"
    engine.dispose()


async def test_a_ledger_moves_between_the_databases(
    site: Site, copy: Path, elsewhere: Callable[..., NodeSettings], request: pytest.FixtureRequest
):
    """A backup of one kind is restored into the other."""
    other_kind = "" if site.runtime.settings.database else request.getfixturevalue("new_postgresql")()
    settings = elsewhere(url=other_kind)
    restored(settings, copy)
    again = Site(settings, site.clock)
    assert contents(again) == contents(site)
    assert (await again.accept(b"new")).judgement is Judgement.NEW
    assert {SENDER} == {again.runtime.read_now(parcels.load, name).sender for name in again.parcels()}
    again.runtime.close()


async def test_octets_that_were_damaged_before_the_backup_are_found_when_read(
    site: Site, copy: Path, elsewhere: Callable[..., NodeSettings]
):
    """A backup keeps what is there; the seal on each chunk tells."""
    path = next((copy / "objects").iterdir())
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    files = json.loads((copy / "manifest.json").read_text())["files"]
    rewritten(copy, files={**files, f"objects/{path.name}": backup._digest(path)})
    settings = elsewhere()
    restored(settings, copy)
    again = Site(settings, site.clock)
    with pytest.raises(PayloadError, match="is damaged"):
        contents(again)
    again.runtime.close()
