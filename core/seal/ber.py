"""BER, pulled: the framing around a sealed payload, read from any split of its octets and written as it is needed.

Rules:

1. Octets are pulled from an iterator, and only as many as are asked for: what is held is one chunk of that iterator and one
   element with a limit.
2. An element that is held whole has a place it must end by, checked against its length before anything of it is read.
3. Both forms of length are read. A definite frame ends where it said; an indefinite one ends with its two zero octets. Inner
   ends never lie behind outer ones.
4. Nested framing is walked to `limits.SEAL_DEPTH` and no deeper. Tags above 30 and lengths of more than eight octets do
   not occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from core import limits
from core.errors import SealError

INTEGER: Final = 0x02
OCTET_STRING: Final = 0x04
OBJECT: Final = 0x06
SEQUENCE: Final = 0x30
SET: Final = 0x31
CONSTRUCTED: Final = 0x20

INDEFINITE: Final = 0x80
END: Final = b"\0\0"
_LENGTH_OCTETS: Final = 8


def explicit(number: int) -> int:
    """The tag ``[number]`` around something: constructed, context-specific."""
    return 0xA0 | number


def head(tag: int, size: int) -> bytes:
    """Tag and definite length of an element."""
    if size < INDEFINITE:
        return bytes((tag, size))
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, INDEFINITE | len(length))) + length


def element(tag: int, content: bytes) -> bytes:
    """A whole element of definite length."""
    return head(tag, len(content)) + content


def opening(tag: int) -> bytes:
    """The begin of an element of indefinite length; `END` ends it."""
    return bytes((tag, INDEFINITE))


class CutShort(SealError):
    """The octets end before what they began."""

    def __init__(self, field: str) -> None:
        super().__init__(field, "the octets end inside it: something is missing at the end")


class Reader:
    """Reads elements off the chunks of an iterator. ``position`` counts the octets taken so far."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = memoryview(b"")
        self.position = 0
        self._ends: list[int | None] = []
        self._bounds: list[int] = []

    # --- octets -------------------------------------------------------------------------------------------------------

    def at_end(self) -> bool:
        """Whether the iterator has nothing more."""
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._held = memoryview(chunk)
        return False

    def begin(self, count: int) -> bytes:
        """The next ``count`` octets, or fewer at the end; none is taken."""
        while len(self._held) < count and (chunk := next(self._chunks, None)) is not None:
            self._held = memoryview(bytes(self._held) + chunk)
        return bytes(self._held[:count])

    def _some(self, most: int, field: str) -> bytes:
        """At least one octet, ``most`` at most."""
        if self.at_end():
            raise CutShort(field)
        taken, self._held = self._held[:most], self._held[most:]
        self.position += len(taken)
        return bytes(taken)

    def _exactly(self, count: int, field: str) -> bytes:
        found = bytearray()
        while len(found) < count:
            found += self._some(count - len(found), field)
        return bytes(found)

    # --- frames -------------------------------------------------------------------------------------------------------

    def _head(self, field: str) -> tuple[int, int | None]:
        """Tag and length of the element that begins here; None for an indefinite length."""
        tag, length = self._exactly(2, field)
        if tag & 0x1F == 0x1F:
            raise SealError(field, "a tag above 30 does not occur in sealed data")
        if length == INDEFINITE:
            if not tag & CONSTRUCTED:
                raise SealError(field, "an indefinite length belongs to constructed elements alone")
            return tag, None
        if length > INDEFINITE:
            if (count := length & 0x7F) > _LENGTH_OCTETS:
                raise SealError(field, f"its length has {count} octets; at most {_LENGTH_OCTETS} make sense")
            length = int.from_bytes(self._exactly(count, field), "big")
        if self._bounds and self.position + length > self._bounds[-1]:
            raise SealError(field, "it is longer than what it is part of")
        return tag, length

    def _expected(self, tag: int, field: str) -> int | None:
        found, length = self._head(field)
        if found != tag:
            raise SealError(field, f"tag {tag:02x} belongs here, found is {found:02x}")
        return length

    def enter(self, tag: int, field: str) -> None:
        """Go into a constructed element."""
        length = self._expected(tag, field)
        end = None if length is None else self.position + length
        self._ends.append(end)
        if end is not None:
            self._bounds.append(end)

    def leave(self, field: str) -> None:
        """Go out of the element entered last, which must end here."""
        end = self._ends.pop()
        if end is None:
            if self._exactly(2, field) != END:
                raise SealError(field, "it holds more than belongs there")
            return
        self._bounds.pop()
        if self.position != end:
            raise SealError(field, "it holds more than belongs there")

    def next_tag(self, field: str) -> int | None:
        """The tag of the next element; None where the element entered last ends."""
        end = self._ends[-1]
        if end is not None and self.position == end:
            return None
        if self.at_end():
            raise CutShort(field)
        return self._held[0] or None

    # --- elements -----------------------------------------------------------------------------------------------------

    def whole(self, tag: int, field: str, until: int) -> bytes:
        """An element that ends before ``until`` octets have been taken, with definite lengths whatever it had."""
        length = self._expected(tag, field)
        return element(tag, self._content(length, field, until, 1))

    def _content(self, length: int | None, field: str, until: int, depth: int) -> bytes:
        """What an element holds; nested indefinite lengths become definite ones."""
        if length is not None:
            if self.position + length > until:
                raise SealError(field, f"it does not end within {until} octets from the begin")
            return self._exactly(length, field)
        if depth > limits.SEAL_DEPTH:
            raise SealError(field, f"it is nested more than {limits.SEAL_DEPTH} deep")
        found = []
        while (begun := self._head(field)) != (0, 0):
            if self.position > until:
                raise SealError(field, f"it does not end within {until} octets from the begin")
            found.append(element(begun[0], self._content(begun[1], field, until, depth + 1)))
        return b"".join(found)

    def octets(self, number: int, field: str) -> Iterator[bytes]:
        """What an OCTET STRING under the implicit tag ``[number]`` holds, piece by piece: in one, or cut into several."""
        if self.next_tag(field) != 0x80 | number:
            self.enter(explicit(number), field)
            while self.next_tag(field) is not None:
                yield from self._primitive(OCTET_STRING, field)
            self.leave(field)
        else:
            yield from self._primitive(0x80 | number, field)

    def _primitive(self, tag: int, field: str) -> Iterator[bytes]:
        left = self._expected(tag, field) or 0
        while left:
            piece = self._some(min(left, limits.SEAL_CHUNK), field)
            left -= len(piece)
            yield piece
