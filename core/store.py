"""The payload store: plaintext in, sealed octets on disk; sealed octets in, checked plaintext out.

Rules:

1. Object ids are random. The plaintext's SHA-256 is a fact about the payload, checked on every read, never a name: content
   addressing would let deletion race acceptance and would leak equality.
2. Order: write to ``incoming/`` → fsync the file → rename into ``objects/`` → fsync the directories. Only then may a commit
   speak of it. An fsync that fails stops the node: what the page cache holds can no longer be trusted.
3. Chunks are sealed under a key derived for the object; the nonce is the chunk's number and whether it is the last, so that
   reordering, cutting and appending are all detected.
4. Never a whole payload in memory: one chunk at a time, whatever the size.
5. All file operations go through `Disk`, so that a test can record them and rebuild every state a power cut may leave.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from core import failpoint, limits
from core.disk import Disk
from core.errors import PayloadError, TooLarge
from core.keys import KeyRing, derive, seal, unseal
from core.parcel import Payload

_TAG: Final = 16


class ObjectWriter(Protocol):
    """Takes one object's plaintext."""

    object_id: str

    def write(self, octets: bytes) -> None:
        """The next octets."""
        ...

    def commit(self) -> None:
        """Make it durable under its id."""
        ...

    def abort(self) -> None:
        """Forget it."""
        ...


class Store(Protocol):
    """Where payload octets live: three methods, so that an object store can be a second implementation."""

    def create(self, key: bytes) -> ObjectWriter:
        """A new object under a random id, sealed with a parcel's data key."""
        ...

    def open(self, object_id: str, key: bytes, first: int = 0) -> Iterator[bytes]:
        """Its plaintext in chunks, from the ``first``-th on. Raises `PayloadError` when it is not what was written."""
        ...

    def delete(self, object_id: str) -> None:
        """Remove it; nothing happens when it is not there."""
        ...


class FileStore:
    """Objects as files under ``root``: ``incoming/`` while written, ``objects/ab/…`` once durable."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self.root, self.disk = root, disk or Disk()
        self._incoming, self._objects = root / "incoming", root / "objects"
        above = [folder for folder in reversed(root.parents) if not folder.exists()]
        for folder in (*above, root, self._incoming, self._objects, *(self._objects / f"{i:02x}" for i in range(256))):
            self.disk.make_directory(folder)
        self.disk.sync_directory(self._objects)
        for folder in (root, *_above_on_the_same_disk(root)):
            self.disk.sync_directory(folder)

    def create(self, key: bytes) -> ObjectWriter:
        """A new object."""
        return _FileWriter(self, key)

    def path(self, object_id: str) -> Path:
        """Where a durable object is."""
        return self._objects / object_id[:2] / object_id

    def incoming(self, object_id: str) -> Path:
        """Where an object is while it is written."""
        return self._incoming / object_id

    def open(self, object_id: str, key: bytes, first: int = 0) -> Iterator[bytes]:
        """Plaintext chunks, from the ``first``-th on. Raises `PayloadError`."""
        own = AESGCM(derive(key, object_id.encode()))
        size = limits.STORE_CHUNK + _TAG
        try:
            file = self.path(object_id).open("rb")
        except FileNotFoundError:
            raise PayloadError(f"object {object_id} is not in the store") from None
        with file:
            file.seek(first * size)
            number, sealed = first, file.read(size)
            while True:
                following = file.read(size)
                try:
                    yield own.decrypt(_nonce(number, last=not following), sealed, None)
                except InvalidTag:
                    raise PayloadError(f"object {object_id} is damaged in chunk {number}") from None
                if not following:
                    return
                number, sealed = number + 1, following

    def delete(self, object_id: str) -> None:
        """Remove an object."""
        self.disk.unlink(self.path(object_id))

    def clear_incoming(self, before: int | None = None) -> int:
        """Remove what a killed process left half-written: all of it, or what nobody has touched since ``before`` (in UTC
        microseconds). Call once at start. Gives how many.
        """
        left = 0
        for path in self._incoming.iterdir():
            with contextlib.suppress(FileNotFoundError):  # another node's, which is durable now
                if before is None or path.stat().st_mtime_ns // 1000 < before:
                    self.disk.unlink(path)
                    left += 1
        return left

    def ids(self) -> Iterator[tuple[str, int]]:
        """All durable objects with their modification time in UTC microseconds."""
        for folder in self._objects.iterdir():
            for path in folder.iterdir():
                with contextlib.suppress(FileNotFoundError):
                    yield path.name, path.stat().st_mtime_ns // 1000

    @staticmethod
    def make_durable(root: Path) -> None:
        """Make every file and name below ``root`` durable: for what was copied rather than written here."""
        disk = Disk()
        for path in (root, *root.rglob("*")):
            if path.is_dir():
                disk.sync_directory(path)
            elif path.is_file():
                descriptor = os.open(path, os.O_RDONLY)
                try:
                    disk.sync(descriptor)
                finally:
                    os.close(descriptor)

    def free(self) -> int:
        """Free octets on the file system."""
        return shutil.disk_usage(self.root).free


def _above_on_the_same_disk(root: Path) -> Iterator[Path]:
    """The directories whose names lead to ``root``, as far as they are on its file system and may be opened."""
    device = root.stat().st_dev
    for folder in root.absolute().parents:
        if folder.stat().st_dev != device or not os.access(folder, os.R_OK):
            return
        yield folder


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + (b"\x01" if last else b"\x00")


class _FileWriter:
    def __init__(self, store: FileStore, key: bytes) -> None:
        self.object_id = uuid.uuid4().hex
        self._store, self._disk = store, store.disk
        self._key = AESGCM(derive(key, self.object_id.encode()))
        self._path = store.incoming(self.object_id)
        self._file: int | None = self._disk.create(self._path)
        self._named = False
        self._held = bytearray()
        self._number = 0

    def write(self, octets: bytes) -> None:
        self._held += octets
        # The last chunk is sealed as the last, so one is always held back.
        while len(self._held) > limits.STORE_CHUNK:
            self._put(bytes(memoryview(self._held)[: limits.STORE_CHUNK]), last=False)
            del self._held[: limits.STORE_CHUNK]

    def _put(self, chunk: bytes, *, last: bool) -> None:
        assert self._file is not None
        self._disk.write(self._file, self._key.encrypt(_nonce(self._number, last=last), chunk, None))
        self._number += 1

    def commit(self) -> None:
        assert self._file is not None, "committed or aborted already"
        self._put(bytes(self._held), last=True)
        self._held.clear()
        self._disk.sync(self._file)
        self._disk.close(self._file)
        self._file = None
        failpoint.reach("object-synced")
        target = self._store.path(self.object_id)
        self._disk.rename(self._path, target)
        self._named = True
        failpoint.reach("object-renamed")
        self._disk.sync_directory(target.parent)

    def abort(self) -> None:
        if self._file is not None:
            self._disk.close(self._file)
            self._file = None
        if not self._named:
            self._disk.unlink(self._path)


# --- staging ----------------------------------------------------------------------------------------------------------


class StagedSink:
    """One payload of a parcel being put together: small ones stay inline, large ones become an object."""

    def __init__(self, store: Store, key: bytes, size_limit: int, place: bytes) -> None:
        self._store, self._key, self._limit, self._place = store, key, size_limit, place
        self._hash = hashlib.sha256()
        self._size = 0
        self._small: bytearray | None = bytearray()
        self._object: ObjectWriter | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Take the next octets. Raises `TooLarge`."""
        self._size += len(data)
        if self._size > self._limit:
            raise TooLarge(f"payload: more than {self._limit} octets, the limit of its integration")
        self._hash.update(data)
        if self._small is not None:
            self._small += data
            if len(self._small) > limits.INLINE_PAYLOAD:
                self._object = self._store.create(self._key)
                self._object.write(bytes(self._small))
                self._small = None
        elif self._object is not None:
            self._object.write(bytes(data))

    def finish(self, *, name: str, media_type: str, attributes: Mapping[str, str] | None = None) -> Payload:
        """Describe it; a large one is durable when this returns."""
        digest = self._hash.digest()
        inline, object_id = None, None
        if self._small is not None:
            inline = seal(self._key, bytes(self._small), self._place)
        elif self._object is not None:
            self._object.commit()
            object_id = self._object.object_id
        return Payload(name, media_type, self._size, digest, inline, object_id, dict(attributes or {}))

    def abort(self) -> None:
        """Forget it."""
        if self._object is not None:
            self._object.abort()


class Stage:
    """A parcel being put together; see `core.gateway.Staging`."""

    def __init__(self, store: Store, ring: KeyRing, parcel_id: str, size_limit: int) -> None:
        self.parcel_id = parcel_id
        self.key, self.wrapped_key, self.key_id = ring.new()
        self._store, self._limit = store, size_limit
        self._sinks: list[StagedSink] = []

    def sink(self) -> StagedSink:
        """A place for the next payload. Raises `TooLarge` for one too many."""
        if len(self._sinks) >= limits.PAYLOADS_PER_PARCEL:
            raise TooLarge(f"payloads: more than {limits.PAYLOADS_PER_PARCEL}")
        place = inline_place(self.parcel_id, len(self._sinks))
        sink = StagedSink(self._store, self.key, self._limit, place)
        self._sinks.append(sink)
        return sink

    def abort(self) -> None:
        """Forget everything not yet accepted; objects already durable are swept as unreferenced."""
        for sink in self._sinks:
            sink.abort()


def inline_place(parcel_id: str, ordinal: int) -> bytes:
    """What binds inline octets to their place, so that rows cannot be swapped."""
    return f"{parcel_id}/{ordinal}".encode()


def read_part(store: Store, key: bytes, place: bytes, payload: Payload, begin: int, end: int) -> Iterator[bytes]:
    """A payload's plaintext from octet ``begin`` to before ``end``, opening only the chunks it is in. Raises `PayloadError`."""
    if payload.object_id is not None:
        first = begin // limits.STORE_CHUNK
        at, chunks = first * limits.STORE_CHUNK, store.open(payload.object_id, key, first)
    elif payload.inline is not None:
        at, chunks = 0, iter((unseal(key, payload.inline, place),))
    else:
        raise PayloadError("the payload is no longer stored")
    for chunk in chunks:
        if part := chunk[max(0, begin - at) : end - at]:
            yield part
        at += len(chunk)
        if at >= end:
            return
    raise PayloadError(f"payload {place.decode()} is shorter than it was")


def read_payload(store: Store, key: bytes, place: bytes, payload: Payload, inline: bytes | None) -> Iterator[bytes]:
    """A payload's plaintext, compared with its size and digest at the end. Raises `PayloadError`."""
    digest, size = hashlib.sha256(), 0
    chunks: Iterator[bytes]
    if payload.object_id is not None:
        chunks = store.open(payload.object_id, key)
    elif inline is not None:
        chunks = iter((unseal(key, inline, place),))
    else:
        raise PayloadError("the payload is no longer stored")
    for chunk in chunks:
        digest.update(chunk)
        size += len(chunk)
        yield chunk
    if size != payload.size or digest.digest() != payload.sha256:
        raise PayloadError(f"payload {place.decode()} does not have the digest it was stored under")
