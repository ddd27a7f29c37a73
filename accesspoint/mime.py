"""MIME packaging: written as octets, read as they come [RFC 2046, RFC 2387].

Rules:

1. Any split of the input gives the same events; a delimiter may arrive in pieces.
2. The line end before a delimiter belongs to the delimiter, not to the part. A missing closing delimiter is a truncated message.
3. Counts, lines and margins are bounded before memory is spent; a part's octets are never collected here.
4. What peers really send is understood (quoted or bare boundary, folding, LF-only part headers, base64, a preamble with a BOM);
   what cannot be a message is EBMS:0007.
"""

from __future__ import annotations

import binascii
import quopri
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from accesspoint import limits
from accesspoint.errors import MIME_INCONSISTENCY, EbmsError, HttpRefusal

_TOKEN: Final = re.compile(r"[A-Za-z0-9'()+_,\-./:=? ]*[A-Za-z0-9'()+_,\-./:=?]")


def _fail(cause: str, field: str = "MIME") -> EbmsError:
    return EbmsError(MIME_INCONSISTENCY, field=field, cause=cause)


@dataclass(frozen=True, slots=True)
class ContentType:
    """A parsed media type. ``boundary`` is set for multipart/related alone; ``start`` without brackets."""

    media_type: str
    boundary: str | None = None
    start: str | None = None
    type: str | None = None


_PARAMETER: Final = re.compile(r";\s*([^\s=;]+)\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^\s;\"]*))\s*")


def _parameters(value: str) -> tuple[str, dict[str, str]]:
    """The media type and its parameters, quoted or not [RFC 2045 §5.1]. What is no parameter ends the list."""
    value = re.sub(r"\r?\n(?=[ \t])", "", value).strip()
    head, semicolon, _ = value.partition(";")
    found: dict[str, str] = {}
    at = len(head)
    while semicolon and (match := _PARAMETER.match(value, at)):
        name, quoted, plain = match.groups()
        found.setdefault(name.lower(), re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain)
        at = match.end()
    return head.strip().lower(), found


def parse_content_type(value: str) -> ContentType:
    """The HTTP Content-Type of an exchange. Raises `HttpRefusal` 415 for what is neither SOAP 1.2 nor multipart/related."""
    if len(value) > limits.MIME_LINE:
        raise HttpRefusal(415, "Content-Type is too long")
    if not value.isascii():
        raise HttpRefusal(415, "Content-Type has characters that are not ASCII")
    head, parameters = _parameters(value)
    if head == "multipart/related":
        boundary = parameters.get("boundary", "")
        if not 1 <= len(boundary) <= limits.BOUNDARY or not _TOKEN.fullmatch(boundary):
            raise HttpRefusal(415, "multipart/related needs a boundary of 1 to 70 characters")
        kind = parameters.get("type", "").partition(";")[0].strip().lower()
        if kind not in ("", "application/soap+xml", "text/xml"):
            raise HttpRefusal(415, f"multipart/related of type {kind!r} is not AS4; send application/soap+xml")
        start = parameters.get("start")
        return ContentType(head, boundary, strip_brackets(start) if start else None, kind or None)
    if head in ("application/soap+xml", "text/xml"):
        return ContentType(head)
    raise HttpRefusal(415, "send application/soap+xml or multipart/related")


def strip_brackets(content_id: str) -> str:
    """A Content-ID without white space and angle brackets."""
    return content_id.strip().removeprefix("<").removesuffix(">").strip()


def match_cid(wanted: str, present: Mapping[str, object]) -> str | None:
    """Which of the ``present`` Content-IDs a ``cid:`` reference means: exact first, then percent-decoded [RFC 2392]."""
    for candidate in (wanted, unquote(wanted), strip_brackets(unquote(wanted))):
        if candidate in present:
            return candidate
    return None


@dataclass(frozen=True, slots=True)
class PartBegin:
    """A part begins. ``content_id`` without brackets, empty when it has none; ``index`` counts from 0."""

    index: int
    content_id: str
    media_type: str


@dataclass(frozen=True, slots=True)
class PartData:
    """Octets of the current part, transfer encoding undone."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class PartEnd:
    """The current part is complete."""


@dataclass(frozen=True, slots=True)
class End:
    """The closing delimiter was seen."""


Event = PartBegin | PartData | PartEnd | End


class _Identity:
    def feed(self, octets: bytes) -> bytes:
        return octets

    def finish(self) -> bytes:
        return b""


class _Base64:
    """Base64 as it flows: whole quanta are decoded, the rest waits."""

    def __init__(self) -> None:
        self._rest, self._ended = b"", False

    def feed(self, octets: bytes) -> bytes:
        data = self._rest + octets.translate(None, b"\r\n\t ")
        cut = len(data) // 4 * 4
        if b"=" in data[:cut][:-4] or (self._ended and data):
            raise _fail("base64 goes on after its end")
        self._rest = data[cut:]
        self._ended = self._ended or data[:cut].endswith(b"=")
        return self._decode(data[:cut])

    def _decode(self, octets: bytes) -> bytes:
        try:
            return binascii.a2b_base64(octets, strict_mode=True) if octets else b""
        except binascii.Error:
            raise _fail("a part is not valid base64") from None

    def finish(self) -> bytes:
        if self._rest:
            raise _fail("base64 is cut short")
        return b""


class _QuotedPrintable:
    """Quoted-printable as it flows: whole lines are decoded."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, octets: bytes) -> bytes:
        data = self._rest + octets
        cut = data.rfind(b"\n") + 1
        self._rest = data[cut:]
        if max(map(len, data.split(b"\n"))) > limits.MIME_LINE:
            raise _fail("a quoted-printable line is too long")
        return quopri.decodestring(data[:cut])

    def finish(self) -> bytes:
        return quopri.decodestring(self._rest)


class MultipartReader:
    """Reads multipart/related octets into events. `feed` any pieces, then `close`."""

    def __init__(self, boundary: str) -> None:
        self._mark = b"\r\n--" + boundary.encode("latin-1")
        self._buffer = bytearray(b"\r\n")  # so that a delimiter on the very first line is found like any other
        self._state = self._preamble
        self._seen = 0
        self._index = -1
        self._ids: set[str] = set()
        self._decoder: _Identity | _Base64 | _QuotedPrintable = _Identity()
        self._done = False

    def feed(self, octets: bytes | memoryview) -> Iterator[Event]:
        """Take the next octets; iterate the result to its end. Raises `EbmsError` 0007."""
        self._buffer += octets
        while True:
            before = self._state, len(self._buffer)
            yield from self._state()
            if (self._state, len(self._buffer)) == before:
                return

    def close(self) -> None:
        """Say that the input has ended. Raises 0007 when the closing delimiter is missing."""
        if not self._done:
            raise _fail("the closing boundary is missing: the message is cut short")

    def _find(self) -> int:
        """Where the delimiter begins, also after a bare LF; -1 when it is not (wholly) there."""
        at = self._buffer.find(self._mark[1:])
        return at - 1 if at > 0 and self._buffer[at - 1] == 13 else at

    def _preamble(self) -> Iterator[Event]:
        at = self._find()
        skip = at if at >= 0 else max(len(self._buffer) - len(self._mark), 0)
        self._seen += skip
        if self._seen > limits.MIME_MARGIN:
            raise _fail("no boundary at the beginning: the Content-Type names another one")
        if at < 0:
            del self._buffer[:skip]
            return
        self._cut(at)
        yield from ()

    def _cut(self, at: int) -> None:
        """Remove everything through the delimiter that begins at ``at``."""
        end = self._buffer.find(self._mark[2:], at) + len(self._mark) - 2
        del self._buffer[:end]
        self._state = self._after

    def _after(self) -> Iterator[Event]:
        """Behind a delimiter: ``--`` closes, else the rest of the line is padding."""
        if len(self._buffer) < 2:
            return
        if self._buffer[:2] == b"--":
            self._done = True
            self._state = self._epilogue
            yield End()
            return
        at = self._buffer.find(b"\n")
        if (at if at >= 0 else len(self._buffer)) > limits.MIME_LINE:
            raise _fail("a boundary line does not end")
        if at >= 0:
            if bytes(self._buffer[:at]).strip(b" \t\r"):
                raise _fail("a boundary line goes on after the boundary")
            del self._buffer[: at + 1]
            self._state = self._headers

    def _epilogue(self) -> Iterator[Event]:
        self._seen += len(self._buffer)
        self._buffer.clear()
        if self._seen > limits.MIME_MARGIN:
            raise _fail("too many octets after the closing boundary")
        yield from ()

    def _headers(self) -> Iterator[Event]:
        if self._buffer[:1] == b"\n" or self._buffer[:2] == b"\r\n":
            end, skip = 0, 1 if self._buffer[:1] == b"\n" else 2
        else:
            found = re.search(rb"\r?\n\r?\n", self._buffer)
            if (found.end() - 1 if found else len(self._buffer)) > limits.MIME_LINE * 2:
                raise _fail("the headers of a part do not end")
            if found is None:
                return
            end, skip = found.start(), found.end()
        headers = self._parse(bytes(self._buffer[:end]))
        # The line end before the body stays: a delimiter right behind it ends an empty part.
        del self._buffer[:skip]
        self._buffer[:0] = b"\r\n"
        yield self._begin(headers)
        self._state = self._body_first

    def _parse(self, block: bytes) -> dict[str, str]:
        # Split as octets: to text, many characters are line ends that to MIME are none.
        lines = re.split(rb"\r?\n", re.sub(rb"\r?\n[ \t]+", b" ", block)) if block else []
        if len(lines) > limits.MIME_HEADERS or any(len(line) > limits.MIME_LINE for line in lines):
            raise _fail("a part has too many or too long headers")
        headers: dict[str, str] = {}
        for line in lines:
            try:
                name, colon, value = line.decode().partition(":")
            except UnicodeDecodeError:
                raise _fail("a part header is not text") from None
            if not colon or not name.strip():
                raise _fail("a part header has no name")
            headers.setdefault(name.strip().lower(), value.strip())
        return headers

    def _begin(self, headers: dict[str, str]) -> PartBegin:
        self._index += 1
        if self._index > limits.PARTS:
            raise _fail(f"more than {limits.PARTS} parts beside the SOAP part")
        media_type = headers.get("content-type", "application/octet-stream")
        if media_type.lower().startswith("multipart/"):
            raise _fail("a part is itself multipart")
        content_id = strip_brackets(headers.get("content-id", ""))
        if content_id and content_id in self._ids:
            raise _fail("two parts have the same Content-ID", "Content-ID")
        self._ids.add(content_id)
        encoding = headers.get("content-transfer-encoding", "binary").lower()
        if encoding == "base64":
            self._decoder = _Base64()
        elif encoding == "quoted-printable":
            self._decoder = _QuotedPrintable()
        elif encoding in ("binary", "8bit", "7bit"):
            self._decoder = _Identity()
        else:
            raise _fail("the transfer encoding is not known", "Content-Transfer-Encoding")
        return PartBegin(self._index, content_id, media_type)

    def _body_first(self) -> Iterator[Event]:
        """The line end put back by `_headers` is not data, but may begin a delimiter."""
        if len(self._buffer) < len(self._mark) and bytes(self._buffer) == self._mark[: len(self._buffer)]:
            return
        if not self._buffer.startswith(self._mark):
            del self._buffer[:2]
            self._state = self._body
            yield from ()
            return
        yield from self._end_part(0)

    def _end_part(self, at: int) -> Iterator[Event]:
        data = self._decoder.feed(bytes(memoryview(self._buffer)[:at])) + self._decoder.finish()
        self._cut(at)
        if data:
            yield PartData(data)
        yield PartEnd()

    def _body(self) -> Iterator[Event]:
        at = self._find()
        if at >= 0:
            yield from self._end_part(at)
            return
        # A delimiter may have begun: keep what could be its first octets.
        safe = len(self._buffer) - len(self._mark)
        if safe > 0:
            data = self._decoder.feed(bytes(memoryview(self._buffer)[:safe]))
            del self._buffer[:safe]
            if data:
                yield PartData(data)


# --- writing ----------------------------------------------------------------------------------------------------------


def content_type(boundary: str) -> str:
    """The HTTP Content-Type: type and boundary and nothing else, which some firewalls insist on."""
    return f'multipart/related; type="application/soap+xml"; boundary="{boundary}"'


def root_head(boundary: str, root_id: str) -> bytes:
    """What stands before the SOAP part."""
    return (
        f"--{boundary}\r\nContent-Type: application/soap+xml; charset=UTF-8\r\n"
        f"Content-Transfer-Encoding: binary\r\nContent-ID: <{root_id}>\r\n\r\n"
    ).encode()


def part_head(boundary: str, cid: str, media_type: str) -> bytes:
    """What stands before a payload part."""
    return (
        f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\n"
        f"Content-Transfer-Encoding: binary\r\nContent-ID: <{cid}>\r\n\r\n"
    ).encode()


def closing(boundary: str) -> bytes:
    """The closing delimiter."""
    return f"\r\n--{boundary}--\r\n".encode()
