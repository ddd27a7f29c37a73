"""Multipart messages for tests: made, cut into pieces, and read with every event looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from accesspoint import mime
from accesspoint.errors import MIME_INCONSISTENCY, EbmsError
from accesspoint.mime import End, PartBegin, PartData, PartEnd

Parts = list[tuple[str, str, bytes]]


def cut(octets: bytes, size: int) -> Iterator[bytes]:
    """``octets`` in pieces of ``size``."""
    return (octets[at : at + size] for at in range(0, len(octets), size))


def events(pieces: Iterable[bytes | memoryview], boundary: str = "b") -> list[mime.Event]:
    """Everything the reader says of a whole message."""
    reader, heard = mime.MultipartReader(boundary), []
    for piece in pieces:
        heard += reader.feed(piece)
    reader.close()
    return heard


def parts_of(heard: list[mime.Event]) -> Parts:
    """Content-ID, media type and octets of each part; the events are in the order they must be."""
    parts: Parts = []
    inside = False
    for index, event in enumerate(heard):
        if isinstance(event, PartBegin):
            assert (inside, event.index) == (False, len(parts))
            inside = True
            parts.append((event.content_id, event.media_type, b""))
        elif isinstance(event, PartData):
            assert inside
            assert event.octets, "no event for nothing"
            parts[-1] = (*parts[-1][:2], parts[-1][2] + event.octets)
        elif isinstance(event, PartEnd):
            assert inside
            inside = False
        else:
            assert (event, index) == (End(), len(heard) - 1)
    assert not inside
    return parts


def read(octets: bytes, boundary: str = "b") -> Parts:
    """The parts, read whole, one octet at a time and in pieces: always the same."""
    whole = parts_of(events([octets], boundary))
    for size in (1, 2, 3, 7, 64, 1000):
        assert parts_of(events(cut(octets, size), boundary)) == whole
    return whole


def refused(octets: bytes, boundary: str = "b", sizes: tuple[int, ...] = (1 << 30, 1, 3, 1000)) -> str:
    """Why the message is refused: for the same reason however it comes."""
    causes = set()
    for size in sizes:
        with pytest.raises(EbmsError) as refusal:
            events(cut(octets, size), boundary)
        assert refusal.value.error is MIME_INCONSISTENCY
        causes.add(refusal.value.cause)
    (cause,) = causes
    return cause


def part(body: bytes, *headers: str, line: bytes = b"\r\n") -> bytes:
    """One part with the delimiter before it."""
    return line.join((b"--b", *(header.encode() for header in headers), b"", body, b""))


def outcome(pieces: Iterable[bytes]) -> Parts | str:
    """The parts, or the refusal's code."""
    try:
        return parts_of(events(pieces))
    except EbmsError as error:
        return error.error.code
