"""The HTTP server shell: octets in, octets out, nothing else.

Rules:

1. Only ``POST`` is an exchange; everything else is answered here and never reaches the protocol [as RFC 9110 §15].
2. The body is handed on as it comes; no part of it is kept here, and no ``Content-Encoding`` is undone (a second bomb door).
3. A slow body is cut: each read has a deadline, and a long one a minimum rate. Only waiting counts, not our own work.
4. After an early refusal a bounded rest of the body is read, so that the peer sees the answer instead of a reset. A peer that
   asks first (``Expect: 100-continue``) is told to go on when the body is wanted, and sends nothing when it is not.
5. What has begun is finished before the end, within bounds; a request that comes on an old connection while stopping is asked
   to come back.
6. An exception that is no documented refusal is a bug: it is reported to ``on_bug`` and answered 500 without detail.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Final

from aiohttp import HttpVersion11, web
from aiohttp.web_log import AccessLogger

from accesspoint import limits
from accesspoint.errors import HttpRefusal
from accesspoint.tls import spoken

_STOPPING: Final = "5"
"""Seconds after which another try is worth while when an endpoint is stopping."""
SOAP_TYPE: Final = "application/soap+xml; charset=UTF-8"


Streamed = AsyncGenerator[bytes, None]
"""Octets as they are made; closed when they are not wanted any more."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back: an HTTP status, a media type and the octets, or a ``stream`` of ``length`` octets where they are many."""

    status: int = 200
    body: bytes = b""
    content_type: str = SOAP_TYPE
    headers: dict[str, str] = field(default_factory=dict)
    stream: Streamed | None = None
    length: int = 0


class Incoming:
    """One request as it arrives. ``peer`` is the address, ``client_certificate`` the DER of a mutual TLS peer."""

    __slots__ = ("_asks", "_received", "_request", "client_certificate", "content_length", "content_type", "peer")

    def __init__(self, request: web.BaseRequest) -> None:
        self._request = request
        self._received = 0
        self._asks = "Expect" in request.headers and request.version >= HttpVersion11
        self.content_type = request.headers.get("Content-Type", "")
        self.content_length = request.content_length
        self.peer = request.remote or ""
        ssl_object = request.transport.get_extra_info("ssl_object") if request.transport else None
        self.client_certificate: bytes | None = ssl_object.getpeercert(binary_form=True) if ssl_object else None

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body in pieces as the network gives them. Raises `HttpRefusal` 408 for a slow, 400 for a broken body."""
        loop = asyncio.get_running_loop()
        waited = 0.0
        content = self._request.content
        if self._asks:
            self._asks = False
            await self._request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self._request.writer.output_size = 0  # the answer itself has not begun
        while True:
            asked = loop.time()
            try:
                async with asyncio.timeout(limits.READ_TIMEOUT):
                    chunk = await content.readany()
            except TimeoutError:
                raise HttpRefusal(408, "the body stopped coming") from None
            except (web.HTTPException, ConnectionError):
                raise
            except Exception as error:  # aiohttp raises several private kinds for a broken chunked body
                raise HttpRefusal(400, f"the body is broken: {type(error).__name__}") from None
            if not chunk:
                return
            self._received += len(chunk)
            waited += loop.time() - asked
            if waited > limits.READ_TIMEOUT and self._received / waited < limits.MINIMUM_RATE:
                raise HttpRefusal(408, f"slower than {limits.MINIMUM_RATE} octets a second")
            yield chunk

    async def drain(self) -> None:
        """Read and forget a bounded rest of the body, so that an early answer is seen."""
        left = 0 if self._asks else limits.DRAIN_OCTETS
        with suppress(Exception):  # the peer may go at any moment; there is nothing left to lose here
            async with asyncio.timeout(limits.DRAIN_TIMEOUT):
                while left > 0 and (chunk := await self._request.content.readany()):
                    left -= len(chunk)


Handler = Callable[[str, Incoming], Awaitable[Answer]]
"""Takes the path and the request; raises `HttpRefusal` for what is no exchange at all."""


class Server:
    """Listens on one address with or without TLS.

    ``handler`` gets every ``POST``; ``on_bug`` is told of an exception nobody expected.
    """

    def __init__(
        self,
        handler: Handler,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        on_bug: Callable[[BaseException], None],
    ) -> None:
        self._handler, self._host, self._port, self._tls, self._on_bug = handler, host, port, tls, on_bug
        self._runner: web.ServerRunner | None = None
        self._site: web.TCPSite | None = None
        self._running, self._stopping = 0, False
        self._idle = asyncio.Event()
        self._idle.set()
        self.port = port

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._stopping:
            words = "This endpoint is stopping; try again later.\n"
            later = web.Response(status=503, headers={"Retry-After": _STOPPING}, text=words)
            later.force_close()
            return later
        self._running += 1
        self._idle.clear()
        try:
            return await self._answered(request)
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "POST":
            return web.Response(
                status=405, headers={"Allow": "POST"}, text="This endpoint takes AS4 messages by POST.\n"
            )
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            return web.Response(status=415, text="Content-Encoding is not supported: compress the parts instead.\n")
        if request.headers.get("Expect", "100-continue").lower() != "100-continue":
            return web.Response(status=417, text="Only 100-continue can be expected.\n")
        incoming = Incoming(request)
        try:
            answer = await self._handler(request.path, incoming)
        except HttpRefusal as refusal:
            headers = {"Connection": "close"} if refusal.status == 408 else {}
            if not headers:  # nothing more is awaited of a peer that was too slow
                await incoming.drain()
            return web.Response(status=refusal.status, text=refusal.reason + "\n", headers=headers)
        except Exception as error:  # a bug: told to the operator, not to the peer
            if isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing()):
                raise  # the peer has gone; a connection of our own that breaks is a bug like any other
            self._on_bug(error)
            return web.Response(status=500, text="Internal error; the operator has been told.\n")
        await incoming.drain()
        if answer.stream is not None:
            return await self._stream(request, answer, answer.stream)
        headers = dict(answer.headers)
        if answer.body:
            headers["Content-Type"] = answer.content_type
        return web.Response(status=answer.status, body=answer.body or None, headers=headers)

    async def _stream(self, request: web.BaseRequest, answer: Answer, stream: Streamed) -> web.StreamResponse:
        """A long answer, piece by piece. One that breaks off ends the connection, so that nobody takes it for whole."""
        headers = {**answer.headers, "Content-Type": answer.content_type}
        response = web.StreamResponse(status=answer.status, headers=headers)
        response.content_length = answer.length
        async with aclosing(stream):
            try:
                await response.prepare(request)
                async for piece in stream:
                    async with asyncio.timeout(limits.READ_TIMEOUT):
                        await response.write(piece)
                await response.write_eof()
            except BaseException as error:  # whatever it was, half a message must not look like one
                if not isinstance(error, OSError | asyncio.CancelledError):  # the peer's doing, and the end of the node
                    self._on_bug(error)
                if request.transport is not None:
                    request.transport.abort()
                raise ConnectionResetError("a long answer was not finished") from None
        return response

    async def start(self) -> None:
        """Bind and begin to serve. Raises `OSError` when the address is taken."""
        server = web.Server(
            self._handle,
            access_log_class=AccessLogger,
            access_log=None,
            max_line_size=limits.HTTP_LINE,
            max_field_size=limits.HTTP_LINE,
            keepalive_timeout=limits.KEEP_ALIVE,
            lingering_time=limits.DRAIN_TIMEOUT,
            auto_decompress=False,
        )
        self._runner = web.ServerRunner(server, shutdown_timeout=limits.DRAIN_TIMEOUT)
        await self._runner.setup()
        self._site = site = web.TCPSite(self._runner, self._host, self._port, ssl_context=self._tls, backlog=512)
        await site.start()
        sockets = site._server.sockets if site._server else ()  # type: ignore[attr-defined]
        self.port = sockets[0].getsockname()[1] if sockets else self._port

    async def stop(self, at_most: float = limits.READ_TIMEOUT) -> None:
        """Stop taking connections, let running requests finish for ``at_most`` seconds, then close.

        The runner forgets what arrives once it is told to close, so a body that is half here has to end before that.
        """
        self._stopping = True
        if self._site:
            await self._site.stop()
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._idle.wait()
        if self._runner:
            await self._runner.cleanup()


def server_context(
    chain_file: str,
    key_file: str,
    client_ca: str | None,
    *,
    demand_client: bool,
    versions: Sequence[str] = (),
    suites: Sequence[str] = (),
) -> ssl.SSLContext:
    """A server's TLS context: 1.2 or newer, forward secrecy, optionally a client certificate [eD1.15 §1.4.2.6].

    ``versions`` and ``suites`` narrow it (`accesspoint.tls`).
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(":".join(suites) or "ECDHE+AESGCM:ECDHE+CHACHA20")
    context.minimum_version, context.maximum_version = map(ssl.TLSVersion, spoken(versions))
    context.load_cert_chain(chain_file, key_file)
    if client_ca:
        context.load_verify_locations(client_ca)
        context.verify_mode = ssl.CERT_REQUIRED if demand_client else ssl.CERT_OPTIONAL
    return context
