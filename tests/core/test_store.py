"""The payload store under hostile conditions: failed fsync, full disk, damage, swapped and cut files."""

from __future__ import annotations

import errno
import hashlib
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import limits
from core.errors import DurabilityLost, Fatal, Overloaded, PayloadError, Refused, TooLarge
from core.keys import KeyRing, create_kek
from core.parcel import Payload
from core.store import Disk, FileStore, Stage, inline_place, read_part, read_payload

KEY = bytes(range(32))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks without megabytes."""
    monkeypatch.setattr(limits, "STORE_CHUNK", 1000)
    monkeypatch.setattr(limits, "INLINE_PAYLOAD", 500)


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> KeyRing:
    """One key-encryption key."""
    folder = tmp_path_factory.mktemp("keys")
    create_kek(folder, "k1")
    return KeyRing(folder)


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An empty store."""
    return FileStore(tmp_path / "store")


def put(store: FileStore, *octets: bytes, key: bytes = KEY) -> str:
    """Store an object; gives its id."""
    writer = store.create(key)
    for part in octets:
        writer.write(part)
    writer.commit()
    return writer.object_id


def get(store: FileStore, object_id: str, key: bytes = KEY) -> bytes:
    """An object's plaintext."""
    return b"".join(store.open(object_id, key))


def files(store: FileStore) -> list[Path]:
    """Every file in the store, durable or not."""
    return [path for path in store.root.rglob("*") if path.is_file()]


# --- what goes in comes out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 1999, 2000, 2001, 5500])
def test_an_object_comes_out_as_it_went_in(store: FileStore, size: int):
    """At every size around a chunk's, and not in clear on the disk."""
    octets = os.urandom(size)
    object_id = put(store, octets)
    assert get(store, object_id) == octets
    stored = store.path(object_id).read_bytes()
    assert len(stored) == size + 16 * max(1, -(-size // 1000))
    assert size < 16 or octets[:16] not in stored


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(st.binary(max_size=1500), max_size=8))
def test_however_it_is_split_the_object_is_the_same(store: FileStore, parts: list[bytes]):
    """Any split of the input gives the same plaintext."""
    assert get(store, put(store, *parts)) == b"".join(parts)


def test_one_chunk_is_all_that_is_held_of_a_payload(store: FileStore, ring: KeyRing, monkeypatch: pytest.MonkeyPatch):
    """Twenty mebioctets go in and out within a few chunks' memory."""
    monkeypatch.setattr(limits, "STORE_CHUNK", 65536)
    stage = Stage(store, ring, "p1", 2**30)
    part = b"x" * 50_000
    tracemalloc.start()
    sink = stage.sink()
    for _ in range(400):
        sink.write(part)
    payload = sink.finish(name="large", media_type="x/y")
    size = sum(len(chunk) for chunk in read_payload(store, stage.key, b"", payload, None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size == 400 * 50_000
    assert peak < 20 * 65536


def test_the_same_octets_twice_are_two_objects_that_do_not_look_alike(store: FileStore):
    """Ids are random and keys their own: equality does not leak."""
    one, two = put(store, b"same"), put(store, b"same")
    assert one != two
    assert store.path(one).read_bytes() != store.path(two).read_bytes()


def test_files_and_folders_are_their_owners_alone(store: FileStore):
    """Nobody else may read the store."""
    put(store, b"x")
    assert all(path.stat().st_mode & 0o077 == 0 for path in (store.root, *store.root.rglob("*")))


# --- damage -----------------------------------------------------------------------------------------------------------

DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "one bit": lambda b: bytes([b[0] ^ 1]) + b[1:],
    "the last octet": lambda b: b[:-1] + bytes([b[-1] ^ 1]),
    "cut within a chunk": lambda b: b[:-1],
    "cut after a chunk": lambda b: b[: 1016 * 2],
    "cut to nothing": lambda b: b"",
    "cut below a tag": lambda b: b[:7],
    "something appended": lambda b: b + b"x",
    "a chunk appended": lambda b: b + b[:1016],
    "chunks swapped": lambda b: b[1016:2032] + b[:1016] + b[2032:],
    "a chunk left out": lambda b: b[1016:],
    "zeros": lambda b: bytes(len(b)),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found(store: FileStore, what: str):
    """Every way to change a file is a documented error, never other octets."""
    object_id = put(store, os.urandom(2500))
    path = store.path(object_id)
    path.write_bytes(DAMAGE[what](path.read_bytes()))
    with pytest.raises(PayloadError, match=object_id):
        get(store, object_id)


def test_another_objects_octets_do_not_open(store: FileStore):
    """Two objects of one parcel cannot be exchanged, nor opened with another parcel's key."""
    one, two = put(store, b"one"), put(store, b"two")
    store.path(one).write_bytes(store.path(two).read_bytes())
    for object_id, key in ((one, KEY), (two, bytes(32))):
        with pytest.raises(PayloadError):
            get(store, object_id, key)


def test_what_is_not_there_says_so(store: FileStore):
    """Deleted and never stored are one error; deleting again is harmless."""
    object_id = put(store, b"x")
    store.delete(object_id)
    store.delete(object_id)
    with pytest.raises(PayloadError, match="not in the store"):
        get(store, object_id)


# --- staging ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 500, 501, 3000])
def test_a_payload_is_described_and_reads_back(store: FileStore, ring: KeyRing, size: int):
    """Small ones inline and sealed, large ones as objects; size and digest are the plaintext's."""
    octets = os.urandom(size)
    stage = Stage(store, ring, "p1", 10_000)
    first, sink = stage.sink(), stage.sink()
    first.write(b"first")
    sink.write(memoryview(octets)[: size // 2])
    sink.write(octets[size // 2 :])
    payload = sink.finish(name="a", media_type="x/y", attributes={"as4.part": "1"})
    assert (payload.size, payload.sha256) == (size, hashlib.sha256(octets).digest())
    assert (payload.inline is None, payload.object_id is not None) == (size > 500, size > 500)
    assert payload.attributes == {"as4.part": "1"}
    assert ring.unwrap(stage.wrapped_key, stage.key_id) == stage.key
    read = read_payload(store, stage.key, inline_place("p1", 1), payload, payload.inline)
    assert b"".join(read) == octets


def test_inline_octets_are_bound_to_their_place(store: FileStore, ring: KeyRing):
    """Rows of one parcel cannot be swapped in the database."""
    stage = Stage(store, ring, "p1", 100)
    payload = stage.sink().finish(name="a", media_type="x/y")
    for place in (inline_place("p1", 1), inline_place("p2", 0)):
        with pytest.raises(PayloadError):
            list(read_payload(store, stage.key, place, payload, payload.inline))


@pytest.mark.parametrize(("size", "digest"), [(4, hashlib.sha256(b"right").digest()), (5, b"x" * 32)])
def test_a_payload_that_is_not_what_was_stored_is_found(store: FileStore, size: int, digest: bytes):
    """Size and digest are checked on every read; what is said of it names the place, never the file, which may be a person's."""
    payload = Payload("Jens-Peter.pdf", "x/y", size, digest, None, put(store, b"right"))
    with pytest.raises(PayloadError, match=r"^payload p1/0 does not have the digest") as caught:
        list(read_payload(store, KEY, inline_place("p1", 0), payload, None))
    assert "Jens-Peter" not in str(caught.value)


def test_a_payload_whose_octets_retention_removed_says_so(store: FileStore):
    """Neither inline nor an object."""
    with pytest.raises(PayloadError, match="no longer stored"):
        list(read_payload(store, KEY, b"", Payload("a", "x/y", 1, b""), None))


@pytest.mark.parametrize("limit", [10, 700])
def test_a_payload_above_its_limit_is_refused_before_it_is_stored(store: FileStore, ring: KeyRing, limit: int):
    """At the first octet too many, inline or not; aborting leaves no file."""
    stage = Stage(store, ring, "p1", limit)
    sink = stage.sink()
    sink.write(b"x" * limit)
    with pytest.raises(TooLarge, match=str(limit)):
        sink.write(b"x")
    stage.abort()
    assert files(store) == []


def test_a_parcel_has_so_many_payloads_and_no_more(store: FileStore, ring: KeyRing, monkeypatch: pytest.MonkeyPatch):
    """The count is refused before memory is spent."""
    monkeypatch.setattr(limits, "PAYLOADS_PER_PARCEL", 3)
    stage = Stage(store, ring, "p1", 10)
    for _ in range(3):
        stage.sink()
    with pytest.raises(TooLarge):
        stage.sink()


def test_abort_after_finish_keeps_what_is_durable_and_drops_the_rest(store: FileStore, ring: KeyRing):
    """Harmless after acceptance: only unfinished payloads go."""
    stage = Stage(store, ring, "p1", 10_000)
    done, undone = stage.sink(), stage.sink()
    done.write(b"d" * 2000)
    payload = done.finish(name="d", media_type="x/y")
    undone.write(b"u" * 2000)
    assert len(files(store)) == 2
    stage.abort()
    stage.abort()
    assert [path.name for path in files(store)] == [payload.object_id]


# --- the disk fails ---------------------------------------------------------------------------------------------------


class FailingDisk(Disk):
    """Fails the n-th call of one operation with an error number."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, number: int, at: int = 1) -> None:
        self.lost: list[BaseException] = []
        super().__init__(self.lost.append)
        self._patch, self._name, self._number, self._left = monkeypatch, name, number, at
        self.armed = False

    def arm(self) -> None:
        """Fail from now on: the real system call behind the operation."""
        owner, attribute = {"rename": (Path, "rename"), "create": (os, "open")}.get(self._name, (os, self._name))
        real = getattr(owner, attribute)

        def instead(*args: object, **options: object) -> object:
            self._left -= 1
            if self._left == 0:
                raise OSError(self._number, os.strerror(self._number))
            return real(*args, **options)

        self._patch.setattr(owner, attribute, instead)


@pytest.mark.parametrize("at", [1, 2])
def test_a_failed_fsync_is_fatal_and_stays_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ring: KeyRing, at: int):
    """Of the file or of its folder: the node is told, nothing is acknowledged, and no later fsync may say otherwise."""
    disk = FailingDisk(monkeypatch, "fsync", errno.EIO, at)
    store = FileStore(tmp_path / "store", disk)
    stage = Stage(store, ring, "p1", 10_000)
    sink = stage.sink()
    sink.write(b"x" * 2000)
    disk.arm()
    with pytest.raises(DurabilityLost) as caught:
        sink.finish(name="a", media_type="x/y")
    assert isinstance(caught.value, Fatal)
    assert disk.lost == [caught.value]
    with pytest.raises(DurabilityLost):
        put(store, b"another")
    assert len(disk.lost) == 1
    stage.abort()
    if at == 1:
        assert files(store) == []


def test_a_failed_fsync_at_the_opening_refuses_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder that cannot be made durable is no place for a store."""
    disk = Disk()
    monkeypatch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(errno.EIO, "Input/output error")))
    with pytest.raises(DurabilityLost, match="Input/output error"):
        FileStore(tmp_path / "store", disk)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
@pytest.mark.parametrize(("operation", "at"), [("create", 1), ("write", 1), ("write", 3), ("rename", 1)])
def test_a_full_disk_is_a_documented_refusal_with_nothing_half_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ring: KeyRing, operation: str, at: int, number: int
):
    """Wherever the room ends the sender is asked to come back, the node goes on, and abort leaves no file."""
    disk = FailingDisk(monkeypatch, operation, number, at)
    store = FileStore(tmp_path / "store", disk)
    stage = Stage(store, ring, "p1", 10_000)
    sink = stage.sink()
    disk.arm()

    def whole() -> None:
        sink.write(b"x" * 2500)
        sink.finish(name="a", media_type="x/y")

    with pytest.raises(Overloaded, match="no room") as caught:
        whole()
    assert isinstance(caught.value, Refused)
    stage.abort()
    assert files(store) == []
    assert disk.lost == []
    assert get(store, put(store, b"room again")) == b"room again"


def test_any_other_error_of_the_disk_is_not_called_a_full_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """An input or output error while writing is itself."""
    disk = FailingDisk(monkeypatch, "write", errno.EIO)
    store = FileStore(tmp_path / "store", disk)
    disk.arm()
    with pytest.raises(OSError, match="Input/output"):
        put(store, b"x" * 3000)


def test_a_short_write_is_continued(store: FileStore, monkeypatch: pytest.MonkeyPatch):
    """The system may take less than it is given: the rest follows."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, octets: write(fd, bytes(octets[:7])))
    object_id = put(store, b"y" * 1500)
    monkeypatch.undo()
    monkeypatch.setattr(limits, "STORE_CHUNK", 1000)
    assert get(store, object_id) == b"y" * 1500


# --- housekeeping -----------------------------------------------------------------------------------------------------


def test_what_a_killed_process_left_is_cleared_at_start(store: FileStore):
    """Half-written objects go; durable ones stay."""
    kept = put(store, b"kept")
    store.create(KEY).write(b"x" * 3000)
    again = FileStore(store.root)
    assert again.clear_incoming() == 1
    assert [path.name for path in files(again)] == [kept]
    assert get(again, kept) == b"kept"


def test_what_is_young_may_be_another_nodes_and_is_left(store: FileStore):
    """Two nodes share a store: only what nobody has touched for long is half-written for good."""
    writers = {age: store.create(KEY) for age in (99, 100, 101)}
    for at, writer in writers.items():
        os.utime(store.incoming(writer.object_id), (at, at))
    assert store.clear_incoming(100 * 1_000_000) == 1
    assert {path.name for path in files(store)} == {writers[100].object_id, writers[101].object_id}


def test_ids_lists_durable_objects_with_their_age(store: FileStore):
    """What is being written is not listed; times are microseconds of now."""
    made = {put(store, bytes([i])) for i in range(3)}
    store.create(KEY)
    listed = dict(store.ids())
    assert set(listed) == made
    now = max(listed.values())
    assert all(abs(at - now) < 60_000_000 for at in listed.values())
    assert store.free() > 0


def test_a_store_below_folders_that_others_own_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder above that may not be opened ends the way up instead of the start."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path and access(path, mode))
    assert FileStore(tmp_path / "a" / "b").root.is_dir()


def test_what_was_copied_is_made_durable_name_by_name(store: FileStore, monkeypatch: pytest.MonkeyPatch):
    """Every file and every folder below is synced, and nothing else."""
    put(store, b"copied")
    synced: set[str] = set()
    monkeypatch.setattr(os, "fsync", lambda fd: synced.add(os.readlink(f"/proc/self/fd/{fd}")))
    (store.root / "link").symlink_to(store.root / "nowhere")
    FileStore.make_durable(store.root)
    assert synced == {str(p) for p in (store.root, *store.root.rglob("*")) if p.is_dir() or p.is_file()}


# --- parts ------------------------------------------------------------------------------------------------------------


def part(store: FileStore, payload: Payload, begin: int, end: int, key: bytes = KEY) -> bytes:
    """Octets of a payload from the middle."""
    return b"".join(read_part(store, key, inline_place("p1", 0), payload, begin, end))


@pytest.mark.parametrize("size", [10, 499, 1000, 1001, 3500])
def test_a_part_is_what_the_whole_has_there(store: FileStore, ring: KeyRing, size: int):
    """At chunk borders, at both ends, across all of it; inline and as a file."""
    octets, stage = os.urandom(size), Stage(store, ring, "p1", 10_000)
    sink = stage.sink()
    sink.write(octets)
    payload = sink.finish(name="a", media_type="x/y")
    for begin in {0, 1, 999, 1000, 1001, size - 1} & set(range(size)):
        for end in {begin + 1, 1000, 1001, 2000, size} & set(range(begin + 1, size + 1)):
            assert part(store, payload, begin, end, stage.key) == octets[begin:end], (begin, end)


def test_a_part_opens_the_chunks_it_lies_in_alone(store: FileStore):
    """Damage elsewhere is not seen; damage there is; and what was cut off is missed."""
    object_id = put(store, bytes(3500))
    payload = Payload("a", "x/y", 3500, b"", None, object_id)
    path = store.path(object_id)
    octets = bytearray(path.read_bytes())
    octets[5] ^= 1
    path.write_bytes(octets)
    assert part(store, payload, 1000, 3500) == bytes(2500)
    with pytest.raises(PayloadError, match="chunk 0"):
        part(store, payload, 999, 1001)
    path.write_bytes(octets[: 2 * 1016])
    with pytest.raises(PayloadError):
        part(store, payload, 1000, 2500)


def test_a_part_of_what_is_gone_or_shorter_is_refused(store: FileStore):
    """Deleted, or not as long as was said."""
    with pytest.raises(PayloadError, match="no longer stored"):
        part(store, Payload("a", "x/y", 1, b""), 0, 1)
    with pytest.raises(PayloadError, match="shorter"):
        part(store, Payload("a", "x/y", 9000, b"", None, put(store, b"x")), 0, 9000)
