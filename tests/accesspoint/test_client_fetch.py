"""A signal posted for a long answer: it is read as it comes, and whatever ends it early is no answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest

from accesspoint import limits
from accesspoint.client import Client, Unreachable
from tests.accesspoint.sockets import peer, response, whole_request


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    """A client that is closed afterwards."""
    made = Client()
    yield made
    await made.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same deadlines, some hundred times as short."""
    for name in ("CONNECT_TIMEOUT", "READ_TIMEOUT", "ANSWER_TIMEOUT"):
        monkeypatch.setattr(limits, name, 0.25)


async def test_a_long_answer_comes_piece_by_piece(client):
    """Status, type, length and host at once; the octets as they come, never all of them."""
    seen: list[tuple[bytes, bytes]] = []

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await whole_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 32000000\r\n\r\n")
        for _ in range(32):
            writer.write(b"x" * 1_000_000)
            await writer.drain()
        await reader.read(1)  # until all of it is with them

    async with peer(give) as port:
        url = f"http://localhost:{port}/as4"
        async with client.fetch(url, "application/soap+xml", b"<pull/>", tls=None) as fetched:
            got = (fetched.status, fetched.content_type, fetched.content_length, fetched.peer)
            assert got == (200, "text/x", 32_000_000, "localhost")
            sizes = [len(chunk) async for chunk in fetched.chunks()]
        await client.close()
    assert sum(sizes) == 32_000_000
    assert max(sizes) < 4_000_000
    ((head, body),) = seen
    assert body == b"<pull/>"
    assert b"Content-Type: application/soap+xml\r\n" in head


async def test_an_answer_that_ends_too_early_is_no_answer(client):
    """Half a message must not look like one."""

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50)
        await writer.drain()
        writer.close()

    async with peer(half) as port, client.fetch(f"http://127.0.0.1:{port}/", "a/b", b"", tls=None) as fetched:
        with pytest.raises(Unreachable) as error:
            [chunk async for chunk in fetched.chunks()]
    assert (error.value.word, error.value.stale) == ("send", False)


async def test_a_fetch_that_is_not_answered_fails_as_a_post_does(client, impatient):
    """A closed port, silence, silence for longer than was agreed; and a pace nobody can wait for."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def word(port: int, **more: Any) -> str:
        with pytest.raises(Unreachable) as error:
            async with client.fetch(f"http://127.0.0.1:{port}/", "a/b", b"", tls=None, **more) as fetched:
                [chunk async for chunk in fetched.chunks()]
        return error.value.word

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(3)

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(40):
            writer.write(b"x")
            await asyncio.sleep(0.05)

    assert await word(port) == "connect"
    async with peer(silent) as deaf:
        assert await word(deaf) == "timeout"
        assert await word(deaf, answer_within=0.1) == "timeout"
    async with peer(slow) as slowly:
        assert await word(slowly) == "answer"


async def test_what_the_reader_of_a_long_answer_raises_passes_as_it_is(client):
    """A full disk of ours is not the partner's fault."""

    async def give(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(response(b"x" * 10))

    async with peer(give) as port:
        with pytest.raises(OSError, match="no space"):
            async with client.fetch(f"http://127.0.0.1:{port}/", "a/b", b"", tls=None):
                raise OSError("no space")
