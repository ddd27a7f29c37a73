"""Real sockets for the tests of both HTTP shells: certificates, peers that speak octet by octet, and requests as octets."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Final

from accesspoint.client import client_context
from accesspoint.server import Answer, Incoming, server_context
from conformance.pki import Authority, write
from core.clock import SystemClock, to_datetime

Script = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
"""What a peer does with one connection."""
END: Final = b"\r\n\r\n"


class Pki:
    """Two authorities that do not know each other, and files of keys with certificates for either end of TLS."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="stafet-tls-")
        now = to_datetime(SystemClock().now())
        self.authority, self._other = Authority("Stafet TLS CA", now), Authority("Stafet Other CA", now)
        self.anchors, self.other_anchors = self.authority.pem().decode(), self._other.pem().decode()
        self.anchors_file = self._write("anchors", self.authority.pem())
        hosts = ("localhost", "127.0.0.1")
        self.server = self._issue("server", hosts=hosts)
        self.elsewhere = self._issue("elsewhere", hosts=("elsewhere.example",))
        self.expired = self._issue("expired", hosts=hosts, not_after=now - timedelta(hours=1))
        self.client = self._issue("client", use="tls-client")
        self.stranger = self._issue("stranger", authority=self._other, use="tls-client")

    def _issue(self, name: str, *, authority: Authority | None = None, use: str = "tls-server", **more: object) -> str:
        made = (authority or self.authority).issue(name, use, **more)  # type: ignore[arg-type]
        return self._write(name, made.key_pem() + made.chain_pem())

    def _write(self, name: str, octets: bytes) -> str:
        return str(write(Path(self._folder.name, f"{name}.pem"), octets, secret=True))

    def serving(self, name: str = "server", *, mutual: bool = False, demand: bool = True) -> ssl.SSLContext:
        """A server's context with the certificate of that name; with ``mutual`` a client may or must show its own."""
        path = getattr(self, name)
        return server_context(path, path, self.anchors_file if mutual else None, demand_client=demand)

    def calling(self, own: str | None = None, anchors: str | None = None) -> ssl.SSLContext:
        """A client's context, with the certificate of that name."""
        path = getattr(self, own) if own else None
        return client_context(anchors or self.anchors, path, path)


@functools.cache
def pki() -> Pki:
    """Made once for the whole run."""
    return Pki()


@asynccontextmanager
async def peer(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """A server that does what the script says with each connection; gives its port."""
    running: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await script(reader, writer)
        writer.transport.abort()

    server = await asyncio.start_server(one, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def polite(tls: ssl.SSLContext) -> AsyncIterator[tuple[int, list[bytes | None]]]:
    """A server that refuses a handshake as OpenSSL and Java do: with an alert, then waiting for the peer to go.

    Gives its port and the certificates it was shown. (A server of asyncio cuts the connection instead.)
    """
    shown: list[bytes | None] = []

    def one(connection: socket.socket) -> None:
        raw = connection.dup()
        raw.settimeout(5)
        with raw, tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as secure:
            with suppress(OSError):
                secure.do_handshake()
                shown.append(secure.getpeercert(binary_form=True))
                secure.recv(65_536)
                secure.sendall(response(b"known"))
            with suppress(OSError):
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65_536):
                    pass

    def serve() -> None:
        with suppress(OSError):
            while True:
                one(listener.accept()[0])

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield listener.getsockname()[1], shown
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        await asyncio.to_thread(thread.join)


def answering(octets: bytes, *, then: Script | None = None) -> Script:
    """Reads one request, header and body, and answers with these octets; then does more, or closes."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await whole_request(reader)
        writer.write(octets)
        await writer.drain()
        if then:
            await then(reader, writer)
        writer.close()

    return script


async def whole_request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The head and the body of a request that says its length."""
    head = await reader.readuntil(END)
    length = next(int(line[16:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length: "))
    return head, await reader.readexactly(length)


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST, as a machine does that has forgotten it."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def response(body: bytes = b"", status: str = "200 OK", *headers: str) -> bytes:
    """An HTTP answer as octets."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + END + body


class Wire:
    """A connection that says octets and hears octets."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, port: int, tls: ssl.SSLContext | None = None) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, limit=1 << 20))

    async def say(self, *octets: bytes, pause: float = 0) -> None:
        for piece in octets:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(pause)

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers in lower case, body."""
        async with asyncio.timeout(10):
            head = (await self.reader.readuntil(END)).decode()
            first, *lines = head.strip().split("\r\n")
            headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines)}
            return int(first.split()[1]), headers, await self.reader.readexactly(int(headers.get("content-length", 0)))

    async def ended(self) -> bool:
        """Whether the server closes the connection, within ten seconds, without another octet."""
        async with asyncio.timeout(10):
            try:
                return await self.reader.read(1) == b""
            except ConnectionError:
                return True


def head(length: int | str = 0, *more: str, method: str = "POST", path: str = "/as4") -> bytes:
    """The head of a request; ``length`` may be another framing."""
    framing = f"Content-Length: {length}" if isinstance(length, int) else length
    lines = [f"{method} {path} HTTP/1.1", "Host: x.example", "Content-Type: text/xml", framing, *more]
    return "\r\n".join(lines).encode() + END


@dataclass
class Seen:
    """A handler that reads the whole body, remembers the request and answers "taken"."""

    requests: list[tuple[str, Incoming]] = field(default_factory=list)
    body: bytes = b""
    errors: list[BaseException] = field(default_factory=list)

    async def __call__(self, path: str, incoming: Incoming) -> Answer:
        self.requests.append((path, incoming))
        self.body = b""
        try:
            async for chunk in incoming.chunks():
                self.body += chunk
        except BaseException as error:  # remembered for the test, then handled as ever
            self.errors.append(error)
            raise
        return Answer(200, b"taken")
