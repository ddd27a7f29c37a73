"""Long answers over real sockets: made as they go out, closed whatever happens, and never half of one taken for the whole."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from accesspoint.client import Client, Unreachable
from accesspoint.server import Answer, Incoming
from tests.accesspoint.sockets import Wire, head
from tests.accesspoint.test_server import BUGS, ask, impatient, no_bugs, serving

__all__ = ["impatient", "no_bugs"]
"""Fixtures."""


class Stream:
    """Pieces of an answer; keeps whether it was closed."""

    def __init__(self, pieces: int, piece: bytes = b"x" * 100_000, *, fault: BaseException | None = None) -> None:
        self.pieces, self.piece, self.fault = pieces, piece, fault
        self.given, self.closed = 0, False

    async def octets(self) -> Any:
        """The pieces, and then what is wrong."""
        try:
            for _ in range(self.pieces):
                self.given += 1
                yield self.piece
            if self.fault:
                raise self.fault
        finally:
            self.closed = True

    async def handle(self, path: str, incoming: Incoming) -> Answer:
        """Answer with it; the length said is that of one piece more where it breaks off."""
        length = len(self.piece) * (self.pieces + bool(self.fault))
        return Answer(200, content_type="text/x", headers={"X-A": "b"}, stream=self.octets(), length=length)


async def test_a_long_answer_goes_out_as_it_is_made():
    """Under its type, length and headers; it is closed at its end, and the connection is good for another request."""
    stream = Stream(50)
    async with serving(stream.handle) as port:
        status, headers, body = await ask(port, head(0))
    assert (status, headers["content-type"], headers["x-a"]) == (200, "text/x", "b")
    assert (headers["content-length"], body) == ("5000000", b"x" * 5_000_000)
    assert stream.closed


async def test_a_long_answer_that_breaks_is_cut_and_told_to_the_operator():
    """Nobody can take half of it for the whole."""
    stream = Stream(3, fault=RuntimeError("a damaged payload"))
    async with serving(stream.handle) as port:
        client = Client()
        async with client.fetch(f"http://127.0.0.1:{port}/", "a/b", b"", tls=None) as fetched:
            with pytest.raises(Unreachable):
                [chunk async for chunk in fetched.chunks()]
        await client.close()
    assert stream.closed
    assert [str(bug) for bug in BUGS] == ["a damaged payload"]
    BUGS.clear()


async def test_a_peer_that_goes_in_the_middle_of_a_long_answer_is_no_bug():
    """What was being made for it is closed, and nothing more of it is made."""
    stream = Stream(1000, b"x" * 1_000_000)
    async with serving(stream.handle) as port:
        wire = await Wire.open(port)
        await wire.say(head(0))
        await wire.reader.readexactly(10_000)
        wire.writer.transport.abort()
        async with asyncio.timeout(5):
            while not stream.closed:
                await asyncio.sleep(0.01)
    assert stream.given < 1000


async def test_a_peer_that_does_not_read_a_long_answer_is_left(impatient):
    """It has so long for each piece."""
    stream = Stream(1000, b"x" * 1_000_000)
    async with serving(stream.handle) as port:
        wire = await Wire.open(port)
        await wire.say(head(0))
        async with asyncio.timeout(5):
            while not stream.closed:
                await asyncio.sleep(0.01)
        wire.writer.transport.abort()
    assert stream.given < 1000
