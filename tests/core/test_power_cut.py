"""A power cut at any moment: every parcel that was acknowledged, or that a repetition would find known, is there whole.

SIGKILL leaves the page cache; a power cut does not. So the file operations of real acceptances are recorded, and for every moment
every state that the disk may be in is rebuilt and read with the real store. That a commit of the ledger is durable is the
database's promise, whose settings are checked at start (`tests/core/ledger/test_engine.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event, text

from core import limits
from core.errors import PayloadError
from core.keys import KeyRing, create_kek
from core.ledger.parcels import Accept, accept_many, load_many
from core.parcel import Item, Key, Parcel, new_id
from core.store import FileStore, Stage, inline_place, read_payload
from core.writer import Kind, Writer
from tests.core.making import NOW, a_delivery, a_parcel
from tests.core.power import Machine, Op, RecordingDisk

SMALL, MEDIUM, LARGE = b"inline octets", b"m" * 700, bytes(range(256)) * 9
ACCEPT = Kind("accept", accept_many)


class Site:
    """A node's store, ledger and keys on a recording disk."""

    def __init__(self, folder: Path, engine: Engine, disk: RecordingDisk) -> None:
        create_kek(folder / "keys", "k1")
        self.ring, self.disk = KeyRing(folder / "keys"), disk
        self.store = FileStore(folder / "data" / "store", disk)
        self._scratch = FileStore(folder / "scratch")
        self._verdicts: dict[tuple[str, bytes | None], bool] = {}
        self.writer = Writer(engine, "node-a.1", lambda error: None)

        @event.listens_for(engine, "commit")
        def before_commit(connection: Connection) -> None:
            ids = connection.execute(text("SELECT id FROM parcel")).scalars().all()
            self.disk.log.append(Op("commit", parcels=tuple(load_many(connection, ids).values())))

        self.writer.start()

    def stage(self, *payloads: bytes) -> tuple[Stage, Parcel]:
        """Put a parcel together, octet by octet in turn, as messages that arrive side by side do."""
        stage = Stage(self.store, self.ring, new_id(NOW), 10**6)
        sinks = [stage.sink() for _ in payloads]
        for at in range(0, max(map(len, payloads)), 100):
            for sink, octets in zip(sinks, payloads, strict=True):
                sink.write(octets[at : at + 100])
        finished = [sink.finish(name=f"{i}.bin", media_type="x/y") for i, sink in enumerate(sinks)]
        keys = {"key_id": stage.key_id, "wrapped_key": stage.wrapped_key}
        return stage, a_parcel(*finished, id=stage.parcel_id, **keys)

    def accept(self, *parcels: Parcel) -> None:
        """P, D+O, R: commit, then answer."""
        items = [Item(p, Key("paper/birkelund-post", p.id), b"f", b"receipt") for p in parcels]
        futures = [self.writer.submit(ACCEPT, Accept(i, (a_delivery(i.parcel.id),), "paper")) for i in items]
        for future in futures:
            future.result(10)
        self.answer(*parcels)

    def answer(self, *parcels: Parcel) -> None:
        """The receipt leaves."""
        self.disk.log.append(Op("answer", parcels=parcels))

    # -- the checker

    def faults(self) -> Iterator[str]:
        """What is wrong in any state that a cut at any moment may leave."""
        made = {op.path for op in self.disk.log if op.what == "mkdir"}
        for moment in range(len(self.disk.log) + 1):
            machine = Machine(self.disk.log[:moment])
            stored = {p.id for p in machine.parcels}
            yield from (f"{moment}: {p} was answered and is not stored" for p in machine.answered - stored)
            objects = [p.object_id for parcel in machine.parcels for p in parcel.payloads if p.object_id]
            for state in machine.states([self.store.path(name) for name in objects], made):
                for parcel in machine.parcels:
                    for ordinal in range(len(parcel.payloads)):
                        if not self._readable(parcel, ordinal, state):
                            yield f"{moment}: payload {ordinal} of {parcel.id} is lost"

    def _readable(self, parcel: Parcel, ordinal: int, state: dict[Path, bytes | None]) -> bool:
        payload = parcel.payloads[ordinal]
        octets = state[self.store.path(payload.object_id)] if payload.object_id else payload.inline
        known = (f"{parcel.id}/{ordinal}", octets and hashlib.sha256(octets).digest())
        if known not in self._verdicts:
            self._verdicts[known] = self._read(parcel, ordinal, octets)
        return self._verdicts[known]

    def _read(self, parcel: Parcel, ordinal: int, octets: bytes | None) -> bool:
        payload = parcel.payloads[ordinal]
        if payload.object_id:
            path = self._scratch.path(payload.object_id)
            path.unlink(missing_ok=True)
            if octets is not None:
                path.write_bytes(octets)
        key = self.ring.unwrap(parcel.wrapped_key, parcel.key_id)
        try:
            chunks = read_payload(self._scratch, key, inline_place(parcel.id, ordinal), payload, payload.inline)
            return hashlib.sha256(b"".join(chunks)).digest() == payload.sha256
        except PayloadError:
            return False


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks and writes for each object, without megabytes."""
    monkeypatch.setattr(limits, "STORE_CHUNK", 512)
    monkeypatch.setattr(limits, "INLINE_PAYLOAD", 256)


@pytest.fixture
def new_site(tmp_path: Path, sqlite_engine: Engine) -> Iterator[Callable[[RecordingDisk], Site]]:
    """Makes the site once the kind of disk is known."""
    made: list[Site] = []

    def make(disk: RecordingDisk) -> Site:
        made.append(Site(tmp_path, sqlite_engine, disk))
        return made[0]

    yield make
    for site in made:
        site.writer.close()


def a_busy_hour(site: Site) -> None:
    """Parcels of every shape: inline, one object, both, two in one batch, one given up half-way, one deleted."""
    site.accept(site.stage(SMALL)[1])
    site.accept(site.stage(LARGE)[1])
    first, second = site.stage(MEDIUM, SMALL)[1], site.stage(LARGE, MEDIUM)[1]
    site.accept(first, second)
    given_up = Stage(site.store, site.ring, new_id(NOW), 10**6)
    given_up.sink().write(LARGE)
    given_up.abort()
    never_accepted = site.stage(LARGE)[1]
    site.store.delete(str(never_accepted.payloads[0].object_id))
    site.accept(site.stage(MEDIUM)[1])


def test_no_power_cut_loses_what_was_acknowledged(new_site: Callable[[RecordingDisk], Site]):
    """Every state after a cut at every moment: what is stored is readable with its digest, what was answered is stored."""
    site = new_site(RecordingDisk())
    a_busy_hour(site)
    kinds = {op.what for op in site.disk.log}
    assert kinds == {"mkdir", "create", "write", "sync", "rename", "sync-directory", "unlink", "commit", "answer"}
    assert len(Machine(site.disk.log).answered) == 5
    assert list(site.faults()) == []


def test_an_aborted_payload_leaves_no_file(new_site: Callable[[RecordingDisk], Site]):
    """After the busy hour only the objects that parcels refer to are on the disk."""
    site = new_site(RecordingDisk())
    a_busy_hour(site)
    parcels = Machine(site.disk.log).parcels
    assert {name for name, _ in site.store.ids()} == {p.object_id for q in parcels for p in q.payloads if p.object_id}
    assert site.store.clear_incoming() == 0


def test_the_model_leaves_every_subset_of_what_is_not_settled():
    """One file with two durable and two further octets, renamed and neither folder synced: all fates, no others."""
    root, old, new = Path("/d"), Path("/d/old"), Path("/e/new")
    log = [Op("create", old, inode=1), Op("write", inode=1, octets=b"ab"), Op("sync", inode=1)]
    log += [Op("sync-directory", root), Op("write", inode=1, octets=b"cd"), Op("rename", old, new)]
    left = {(state[old], state[new]) for state in Machine(log).states([old, new], set())}
    fates = {b"ab", b"abc", b"abcd", b"ab\0\0"}
    expected = {(x, y) for x in (*fates, None) for y in (*fates, None)}
    assert left == expected
    log += [Op("sync", inode=1), Op("sync-directory", Path("/e")), Op("sync-directory", root)]
    assert list(Machine(log).states([old, new], set())) == [{old: None, new: b"abcd"}]


# --- the check can fail -----------------------------------------------------------------------------------------------


class NoFileSync(RecordingDisk):
    """Forgets to make octets durable."""

    def sync(self, descriptor: int) -> None:
        """Nothing, for a file."""
        if descriptor not in self._inodes:
            super().sync(descriptor)


class NoDirectorySync(RecordingDisk):
    """Forgets to make the name of an object durable; directories at the opening are."""

    def sync_directory(self, path: Path) -> None:
        """Nothing, for a folder of objects."""
        if len(path.name) != 2:
            super().sync_directory(path)


class NoFoldersSync(RecordingDisk):
    """Forgets to make the names of its own folders durable."""

    def sync_directory(self, path: Path) -> None:
        """Nothing, except for a folder of objects."""
        if len(path.name) == 2:
            super().sync_directory(path)


class NoRootSync(RecordingDisk):
    """Makes what is in the store's folder durable, and not the name of that folder itself."""

    def sync_directory(self, path: Path) -> None:
        """Nothing above the store's own folder."""
        if "store" in path.parts:
            super().sync_directory(path)


class LateSync(RecordingDisk):
    """Moves the file first and makes its octets durable when the next one comes."""

    def __init__(self) -> None:
        super().__init__()
        self._late: list[Op] = []

    def sync(self, descriptor: int) -> None:
        """Later."""
        if descriptor in self._inodes:
            self.log += self._late
            self._late = [Op("sync", inode=self._inodes[descriptor])]


@pytest.mark.parametrize("disk", [NoFileSync, NoDirectorySync, NoFoldersSync, NoRootSync, LateSync])
def test_a_forgotten_fsync_is_caught(new_site: Callable[[RecordingDisk], Site], disk: type[RecordingDisk]):
    """The same checker, the same hour, one fsync left out: a parcel is found lost."""
    site = new_site(disk())
    a_busy_hour(site)
    assert any("is lost" in fault for fault in site.faults())


def test_an_answer_before_the_commit_is_caught(new_site: Callable[[RecordingDisk], Site]):
    """The receipt leaves first: at that moment the sender believes what the ledger does not hold."""
    site = new_site(RecordingDisk())
    parcel = site.stage(LARGE)[1]
    site.answer(parcel)
    site.accept(parcel)
    assert any("is not stored" in fault for fault in site.faults())


def test_a_commit_before_the_payload_is_durable_is_caught(new_site: Callable[[RecordingDisk], Site]):
    """D+O before P: the ledger speaks of a payload that a cut may take."""
    site = new_site(RecordingDisk())
    parcel = site.stage(LARGE)[1]
    log = site.disk.log
    begun = next(i for i, op in enumerate(log) if op.what == "create")
    payload_operations = log[begun:]
    del log[begun:]
    site.accept(parcel)
    log += payload_operations
    assert any("is lost" in fault for fault in site.faults())
