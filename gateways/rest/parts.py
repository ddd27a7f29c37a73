"""The parts of a multipart body, as they come: one after the other, none held in memory.

Rules:

1. Part count, header octets and the description's size are refused before memory is spent. No part has parts.
2. Octets are taken as they are: a part that is encoded is refused.
3. A body that ends early is broken, whatever came of it: no part of it counts.
4. A file's name is the last of its path, in one normal form, and holds nothing that cannot be seen.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from aiohttp import BodyPartReader, MultipartReader

from core import limits
from core.errors import StafetError
from gateways.rest import problems
from gateways.rest.problems import Flaw, Problem, ProblemError, invalid_request

_PIECE: Final = 1024 * 1024
_HEADERS: Final = 16
_PLAIN: Final = frozenset({"", "binary", "8bit", "7bit"})
_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_NAME: Final = 255
_MEDIA: Final = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,127}/[A-Za-z0-9!#$&^_.+-]{1,127}( *;.{0,128})?")
_DIGEST: Final = re.compile(r"sha-256=:([A-Za-z0-9+/=]*):", re.IGNORECASE)
_OLD_DIGEST: Final = re.compile(r"sha-256=([A-Za-z0-9+/=]+)", re.IGNORECASE)


class Part:
    """One part: its headers in lower case, and its octets once."""

    def __init__(self, reader: BodyPartReader, number: int) -> None:
        self._reader, self.number = reader, number
        self.headers: Mapping[str, str] = {name.lower(): value for name, value in reader.headers.items()}
        self.name, self.filename = reader.name or "", reader.filename

    @property
    def media_type(self) -> str:
        """Its media type with parameters, as it was said."""
        return self.headers.get("content-type", "application/octet-stream").strip()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Its octets. Raises `ProblemError` when the body breaks off."""
        while not self._reader.at_eof():
            chunk = await _unbroken(self._reader.read_chunk(_PIECE))
            if chunk:
                yield bytes(chunk)

    async def whole(self, most: int) -> bytes:
        """All of a small one. Raises `ProblemError`."""
        taken = bytearray()
        async for chunk in self.chunks():
            taken += chunk
            if len(taken) > most:
                raise ProblemError(Problem(problems.TOO_LARGE, f"part {self.name!r} is larger than {most} octets"))
        return bytes(taken)


async def parts(content_type: str, stream: AsyncIterator[bytes], most: int) -> AsyncIterator[Part]:
    """At most ``most`` parts, each to be read before the next. Raises `ProblemError`."""
    try:
        reader = MultipartReader(
            {"Content-Type": content_type},
            _Content(stream),  # type: ignore[arg-type]
            max_headers=_HEADERS,
            max_field_size=limits.PART_LINE,
        )
    except (ValueError, AssertionError):
        raise ProblemError(Problem(problems.UNREADABLE, "Content-Type: has no boundary that can be used")) from None
    number = 0
    while (found := await _unbroken(reader.next())) is not None:
        if not isinstance(found, BodyPartReader):
            raise ProblemError(Problem(problems.MEDIA, f"part {number}: has parts of its own; send each as a part"))
        if number == most:
            raise ProblemError(Problem(problems.TOO_LARGE, f"there are more than {most} parts"))
        part = Part(found, number)
        _demand_plain(part)
        yield part
        number += 1


def _demand_plain(part: Part) -> None:
    encoding = part.headers.get("content-transfer-encoding", "").strip().lower()
    if encoding not in _PLAIN or part.headers.get("content-encoding", "identity").strip().lower() != "identity":
        words = f"part {part.number}: is encoded; send its octets as they are"
        raise ProblemError(Problem(problems.MEDIA, words))


async def _unbroken(coming: Any) -> Any:
    try:
        return await coming
    except (StafetError, ConnectionError):
        raise
    except Exception as error:  # the reader raises several private kinds for what is no multipart body
        words = f"the multipart body is broken: {type(error).__name__}"
        raise ProblemError(Problem(problems.UNREADABLE, words)) from None


class _Content:
    """What the library's reader reads from: the pieces of a body, with what it gives back in front."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream, self._held, self._ended = stream, b"", False

    def at_eof(self) -> bool:
        """Whether nothing is left."""
        return self._ended and not self._held

    def unread_data(self, octets: bytes) -> None:
        """Read these again."""
        self._held = bytes(octets) + self._held

    async def _more(self) -> bool:
        try:
            self._held += await anext(self._stream)
        except StopAsyncIteration:
            self._ended = True
        return not self._ended

    async def read(self, size: int) -> bytes:
        """At most so many octets, at least one unless it is over."""
        if not self._held:
            await self._more()
        taken, self._held = self._held[:size], self._held[size:]
        return taken

    async def readline(self, *, max_line_length: int = limits.PART_LINE) -> bytes:
        """A line with its end. Raises `ValueError` for one that is too long."""
        while (end := self._held.find(b"\n") + 1) == 0 and len(self._held) <= max_line_length and await self._more():
            pass
        end = end or len(self._held)
        if end > max_line_length:
            raise ValueError("a line is too long")
        taken, self._held = self._held[:end], self._held[end:]
        return taken


# --- what headers say -------------------------------------------------------------------------------------------------


def promised(headers: Mapping[str, str], where: str = "") -> bytes | None:
    """The SHA-256 that ``Repr-Digest``, ``Content-Digest`` [RFC 9530] or ``Digest`` promises, if one does. Raises `ProblemError`.

    Other algorithms are passed over, as the RFC asks for.
    """
    for name, pattern in (("repr-digest", _DIGEST), ("content-digest", _DIGEST), ("digest", _OLD_DIGEST)):
        said = headers.get(name, "")
        if "sha-256" not in said.lower():
            continue
        found = pattern.search(said)
        try:
            digest = base64.b64decode(found[1], validate=True) if found else b""
        except (ValueError, binascii.Error):
            digest = b""
        if len(digest) != 32:
            title = name.title()
            raise invalid_request([Flaw(where + title, "holds no SHA-256 of 32 octets in Base64", "header")])
        return digest
    return None


def file_name(said: str, where: str) -> str:
    """A file's name without its path. Raises `ProblemError` naming ``where``."""
    name = unicodedata.normalize("NFC", said).replace("\\", "/").rpartition("/")[2].strip()
    if name in ("", ".", ".."):
        raise invalid_request([Flaw(where, "is no file's name")])
    if len(name) > _NAME:
        raise invalid_request([Flaw(where, f"is longer than {_NAME} characters")])
    if any(unicodedata.category(c) in _HIDDEN for c in name):
        raise invalid_request([Flaw(where, "has characters that cannot be seen")])
    return name


def media_type(said: str, where: str) -> str:
    """A media type, with what follows it. Raises `ProblemError` naming ``where``."""
    if not _MEDIA.fullmatch(said) or not said.isprintable():
        raise invalid_request([Flaw(where, "is no media type")])
    return said
