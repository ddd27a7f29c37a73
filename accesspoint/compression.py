"""AS4 compression: one gzip stream per attachment, made and undone as it flows [AS4 §3.1, RFC 1952].

Rules:

1. What we write is reproducible: no time stamp, a fixed level, so that preparing a message twice gives the same octets.
2. What we read is bounded: the agreement's absolute size is the limit; a ratio counts only above a floor, since honest data
   reaches 90:1 and zeros 1026:1; members are counted.
3. Everything wrong with a stream is 0303, cut short included.
4. Any split of the input gives the same result: the ratio is looked at by blocks of the stream, however they come.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Final

from isal import isal_zlib

from accesspoint import limits
from accesspoint.errors import DECOMPRESSION_FAILURE, EbmsError

_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no flags, time 0, unknown system."""

_BLOCK: Final = 64 * 1024
"""Octets of compressed input for which the ratio is judged together."""

_STORED: Final = frozenset(
    {
        "application/gzip",
        "application/x-gzip",
        "application/zip",
        "application/x-7z-compressed",
        "image/jpeg",
        "image/png",
        "image/gif",
        "video/mp4",
        "audio/mpeg",
    }
)


def worth_compressing(media_type: str) -> bool:
    """Whether gzip can gain anything. XML and text always are: uncompressed they would be canonicalised on the far side."""
    return media_type.partition(";")[0].strip().lower() not in _STORED


class Compressor:
    """A gzip stream: `feed` octets, then `finish`."""

    def __init__(self) -> None:
        self._deflate = isal_zlib.compressobj(1, isal_zlib.DEFLATED, -15)
        self._crc, self._size, self._begun = 0, 0, False

    def feed(self, octets: bytes | memoryview) -> bytes:
        """Take plain octets, give compressed ones (possibly none)."""
        self._crc = isal_zlib.crc32(octets, self._crc)
        self._size += len(octets)
        return self._head() + self._deflate.compress(octets)

    def _head(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return _HEADER

    def finish(self) -> bytes:
        """The rest of the stream."""
        return self._head() + self._deflate.flush() + struct.pack("<LL", self._crc, self._size & 0xFFFFFFFF)


def compress(octets: bytes) -> bytes:
    """A whole small payload as one gzip stream."""
    stream = Compressor()
    return stream.feed(octets) + stream.finish()


def _fail(cause: str) -> EbmsError:
    return EbmsError(DECOMPRESSION_FAILURE, field="attachment", cause=cause)


class Decompressor:
    """Undoes a gzip stream of at most ``limit`` plain octets. Members may be concatenated; nothing else may follow."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._in, self._out, self._members = 0, 0, 0
        self._stream = self._member()

    def _member(self) -> zlib._Decompress:
        self._members += 1
        if self._members > limits.GZIP_MEMBERS:
            raise _fail(f"more than {limits.GZIP_MEMBERS} gzip members")
        # The C library checks header, CRC and length; ISA-L's object does not report unused data between members.
        return zlib.decompressobj(wbits=31)

    def feed(self, octets: bytes | memoryview) -> Iterator[bytes]:
        """Take compressed octets, give plain pieces of at most `limits.PIECE`. Raises 0303."""
        rest = memoryview(octets)
        while rest:
            block = rest[: _BLOCK - self._in % _BLOCK]
            rest = rest[len(block) :]
            self._in += len(block)
            yield from self._take(block)

    def _take(self, octets: bytes | memoryview) -> Iterator[bytes]:
        """What the next octets, all of one block, amount to; the library may hold output back, so it is asked until empty."""
        while True:
            if self._stream.eof:
                if not octets:
                    return
                self._stream = self._member()
            try:
                piece = self._stream.decompress(octets, limits.PIECE)
            except zlib.error:
                raise _fail("is not a valid gzip stream") from None
            octets = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
            if piece:
                self._check(len(piece))
                yield piece
            elif not octets:
                return

    def _check(self, size: int) -> None:
        self._out += size
        if self._out > self._limit:
            raise _fail(f"more than {self._limit} octets after decompression, the agreed limit")
        blocks = -(-self._in // _BLOCK)
        if self._out > limits.GZIP_RATIO_FLOOR and self._out > blocks * _BLOCK * limits.GZIP_RATIO:
            raise _fail(f"expands more than {limits.GZIP_RATIO}:1")

    def finish(self) -> None:
        """Say that the input has ended. Raises 0303 when the stream has not."""
        if not self._stream.eof:
            raise _fail("the gzip stream is cut short")
