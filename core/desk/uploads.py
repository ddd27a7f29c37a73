"""Uploads that can be resumed: octets come in pieces, each durable before it is said to have come.

Rules:

1. A piece is an object of the store like a payload's, sealed under the upload's own data key. Order: object durable → row says
   so → answer. After a crash the row says where to go on, and what it does not speak of is swept.
2. What came before a connection broke is kept; where a checksum was promised for the whole of it, it is all or nothing.
3. A long piece is cut, so that a crash costs one cut and no more.
4. Nothing is held in memory beyond what has just come.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from core import commands, limits
from core.commands import Call
from core.errors import BadChecksum, NotFound, PayloadError, Refused, TooLarge, WrongOffset, WrongState
from core.ledger import uploads
from core.ledger.uploads import Bounds, Piece, Upload
from core.parcel import new_id
from core.runtime import Runtime
from core.store import ObjectWriter

BOUNDS: Final = Bounds(limits.UPLOADS, limits.UPLOAD_OCTETS)
ALGORITHMS: Final = ("sha1", "sha256")
"""How a checksum may be made."""


@dataclass(frozen=True, slots=True)
class Checksum:
    """What the octets of one piece must come to."""

    algorithm: str
    digest: bytes


class Uploads:
    """Begins, takes, gives back and forgets uploads."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.busy: set[str] = set()
        """Those that are written to."""

    async def begin(self, system: str, *, name: str, media_type: str, size: int) -> Upload:
        """A new upload. Raises `TooLarge`, `Overloaded` below the free-space reserve, `Refused` for one too many."""
        if size > limits.PAYLOAD_SIZE:
            raise TooLarge(f"upload: larger than {limits.PAYLOAD_SIZE} octets, the most there is")
        self._runtime.demand_space()
        now = self._runtime.clock.now()
        _, wrapped, key_id = self._runtime.ring.new()
        expires = now + limits.UPLOAD_LIFE
        made = Upload(new_id(now), system, name, media_type, size, 0, key_id, wrapped, (), expires)
        if cause := await self._call(uploads.add, made, BOUNDS, now):
            raise Refused(cause)
        return made

    async def look(self, system: str, upload_id: str) -> Upload:
        """One of a system's uploads. Raises `NotFound`."""
        found = await self._runtime.read(uploads.get, upload_id, system, self._runtime.clock.now())
        if found is None:
            raise NotFound(f"no upload {upload_id}")
        return found

    async def take(
        self, system: str, upload_id: str, offset: int, octets: AsyncIterator[bytes], check: Checksum | None = None
    ) -> Upload:
        """Octets from ``offset`` on; gives how far it has come. What breaks off is kept, and the cause raised.

        Raises `NotFound`, `WrongOffset`, `WrongState` while another is writing, `TooLarge`, `BadChecksum`, `Overloaded`.
        """
        upload = await self.look(system, upload_id)
        if upload_id in self.busy:
            raise WrongState("another request is writing to this upload; wait until it has ended")
        if offset != upload.received:
            raise WrongOffset(upload.received)
        self.busy.add(upload_id)
        try:
            self._runtime.demand_space()
            return await _Taking(self._runtime, upload, check).all(octets)
        finally:
            self.busy.discard(upload_id)

    async def forget(self, system: str, upload_id: str) -> None:
        """It is not needed. Raises `NotFound`, `WrongState` while it is written."""
        await self.look(system, upload_id)
        if upload_id in self.busy:
            raise WrongState("another request is writing to this upload; wait until it has ended")
        self._runtime.delete_later(await self._call(uploads.remove, upload_id))

    def read_now(self, upload: Upload) -> Iterator[bytes]:
        """Its plaintext in chunks; blocking. Raises `PayloadError`."""
        key = self._runtime.ring.unwrap(upload.wrapped_key, upload.key_id)
        for piece in upload.pieces:
            size = 0
            for chunk in self._runtime.store.open(piece.object_id, key):
                size += len(chunk)
                yield chunk
            if size != piece.size:
                raise PayloadError(f"object {piece.object_id} of an upload is not as long as it was")

    async def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._runtime.do(commands.CALL, Call(function, arguments))


class _Taking:
    """One piece while it comes."""

    def __init__(self, runtime: Runtime, upload: Upload, check: Checksum | None) -> None:
        self._runtime, self._upload, self._check = runtime, upload, check
        self._key = runtime.ring.unwrap(upload.wrapped_key, upload.key_id)
        self._hash = hashlib.new(check.algorithm, usedforsecurity=False) if check is not None else None
        self._writer: ObjectWriter | None = None
        self._written = 0
        self._unsaid: list[Piece] = []
        """Durable, and no row speaks of them yet."""
        self._broken: Exception | None = None

    async def all(self, octets: AsyncIterator[bytes]) -> Upload:
        """Take all of it."""
        try:
            while (piece := await self._next(octets)) is not None:
                if self._coming + len(piece) > self._upload.size:
                    raise TooLarge(f"upload: more than the {self._upload.size} octets it was begun for")
                await self._in_thread(self._write, piece)
                if self._written >= limits.UPLOAD_PIECE:
                    await self._cut()
            if self._check is not None and self._broken is None:
                self._compare(self._check)
            if self._check is None or self._broken is None:
                await self._cut(last=True)
        finally:
            await asyncio.shield(self._in_thread(self._forget))
        if self._broken is not None:
            raise self._broken
        return self._upload

    @property
    def _coming(self) -> int:
        return self._upload.received + sum(one.size for one in self._unsaid) + self._written

    async def _next(self, octets: AsyncIterator[bytes]) -> bytes | None:
        try:
            return await anext(octets, None)
        except Exception as error:  # whatever ended it, what came is kept first
            self._broken = error
            return None

    async def _in_thread(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """In the pool for long work. Who is cancelled waits for it: nobody closes a file that is written to."""
        running = asyncio.get_running_loop().run_in_executor(self._runtime.bulk, function, *arguments)
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait([running])
            raise

    def _write(self, octets: bytes) -> None:
        if self._writer is None:
            self._writer = self._runtime.store.create(self._key)
        self._writer.write(octets)
        self._written += len(octets)
        if self._hash is not None:
            self._hash.update(octets)

    async def _cut(self, *, last: bool = False) -> None:
        """What came so far is an object; the row says so unless a checksum is still to be seen."""
        if self._writer is not None:
            if len(self._upload.pieces) + len(self._unsaid) >= limits.UPLOAD_PIECES:
                raise Refused(f"upload: came in more than {limits.UPLOAD_PIECES} pieces; begin again with larger ones")
            await self._in_thread(self._writer.commit)
            self._unsaid.append(Piece(self._writer.object_id, self._written))
            self._writer, self._written = None, 0
        if self._unsaid and (last or self._check is None):
            await self._say()

    async def _say(self) -> None:
        expires, pieces = self._runtime.clock.now() + limits.UPLOAD_LIFE, tuple(self._unsaid)
        call = Call(uploads.append, (self._upload, pieces, expires))
        self._unsaid.clear()  # from here on a row may speak of them, whoever goes away
        if not await self._runtime.do(commands.CALL, call):
            self._runtime.delete_later([one.object_id for one in pieces])
            raise WrongState("the upload has moved on meanwhile, or is gone: ask where it stands")
        received = self._upload.received + sum(one.size for one in pieces)
        all_of_it = (*self._upload.pieces, *pieces)
        self._upload = replace(self._upload, received=received, pieces=all_of_it, expires_at=expires)

    def _compare(self, wanted: Checksum) -> None:
        if self._hash is not None and self._hash.digest() != wanted.digest:
            raise BadChecksum(f"the octets that came have another {wanted.algorithm}; nothing of them is kept")

    def _forget(self) -> None:
        if self._writer is not None:
            self._writer.abort()
            self._writer = None
        self._runtime.delete_later([one.object_id for one in self._unsaid])


async def sweep(runtime: Runtime) -> tuple[int, Sequence[str]]:
    """Forget uploads whose time is over, and delete what they held; gives how many, and the objects."""
    number, gone = await runtime.do(commands.CALL, Call(uploads.expire, (runtime.clock.now(),)))
    await asyncio.to_thread(runtime.delete, gone)
    return number, gone
