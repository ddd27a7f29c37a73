"""How a server begins and ends: what has begun is finished, what comes late is sent away, and nobody can hold the end up."""

from __future__ import annotations

import asyncio
import socket

import pytest

from accesspoint import limits
from accesspoint.server import Answer, Incoming, Server
from tests.accesspoint.sockets import Seen, Wire, head

BUGS: list[BaseException] = []


async def test_a_server_finishes_what_it_has_begun():
    """A request that is being handled when the server stops is answered; a new connection is not taken."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(path: str, incoming: Incoming) -> Answer:
        begun.set()
        await go_on.wait()
        return Answer(200, b"finished")

    server = Server(wait, "127.0.0.1", 0, None, BUGS.append)
    await server.start()
    wire = await Wire.open(server.port)
    await wire.say(head())
    await begun.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)
    with pytest.raises(ConnectionError):
        await Wire.open(server.port)
    go_on.set()
    assert (await wire.answer())[::2] == (200, b"finished")
    await stopping
    assert await wire.ended()
    wire.writer.close()


async def test_an_address_that_is_taken_is_an_os_error():
    """Who starts a server learns that it cannot listen; stopping one that never ran is no fault."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = Server(Seen(), "127.0.0.1", taken.getsockname()[1], None, BUGS.append)
        with pytest.raises(OSError, match="address already in use"):
            await server.start()
        await server.stop()
    await Server(Seen(), "127.0.0.1", 0, None, BUGS.append).stop()


async def test_a_body_that_is_half_here_is_taken_whole():
    """The rest of a body is read after the server was told to stop, and the message is answered."""
    seen = Seen()
    server = Server(seen, "127.0.0.1", 0, None, BUGS.append)
    await server.start()
    wire = await Wire.open(server.port)
    await wire.say(head(6), b"abc", pause=0.05)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)
    await wire.say(b"def")
    assert (await wire.answer())[::2] == (200, b"taken")
    await stopping
    assert (seen.body, seen.errors) == (b"abcdef", [])
    wire.writer.close()


async def test_a_message_on_an_old_connection_is_asked_to_come_back():
    """While the last request is finished, another one on a kept connection gets 503 and when to try again."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def wait(path: str, incoming: Incoming) -> Answer:
        if path == "/slow":
            begun.set()
            await go_on.wait()
        return Answer(200, b"here")

    server = Server(wait, "127.0.0.1", 0, None, BUGS.append)
    await server.start()
    kept, slow = await Wire.open(server.port), await Wire.open(server.port)
    await kept.say(head())
    assert (await kept.answer())[0] == 200
    await slow.say(head(path="/slow"))
    await begun.wait()
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0.1)
    await kept.say(head())
    status, headers, _ = await kept.answer()
    assert (status, headers["retry-after"]) == (503, "5")
    assert await kept.ended()
    go_on.set()
    assert (await slow.answer())[0] == 200
    await stopping
    for wire in (kept, slow):
        wire.writer.close()


@pytest.mark.parametrize("sent", [b"", b"abc"])
async def test_who_never_ends_does_not_hold_up_the_end(sent, monkeypatch):
    """Neither a handler that hangs nor a body that stops coming keeps a server longer than it was told to wait."""
    monkeypatch.setattr(limits, "DRAIN_TIMEOUT", 0.2)
    cancelled = asyncio.Event()

    async def hang(path: str, incoming: Incoming) -> Answer:
        try:
            async for _ in incoming.chunks():
                pass
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return Answer()

    server = Server(hang, "127.0.0.1", 0, None, BUGS.append)
    await server.start()
    wire = await Wire.open(server.port)
    await wire.say(head(2 * len(sent)), sent, pause=0.05)
    async with asyncio.timeout(5):
        await server.stop(0.2)
        await cancelled.wait()
    assert await wire.ended()
    assert BUGS == []
    wire.writer.close()
