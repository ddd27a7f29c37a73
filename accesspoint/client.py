"""The HTTP client shell: one POST, its answer, nothing else.

Rules:

1. No redirect is followed, no proxy variable read, no ``Content-Encoding`` undone: the peer is who the agreement says.
2. The TLS context is made once per partner and kept (loading anchors costs milliseconds).
3. An answer is read up to a limit; it is a signal of a few kilobytes, never a payload.
4. No peer can keep us waiting for ever: each piece must go out in time, and the answer must end in time.
5. What failed is told in one class, `Unreachable`, with a safe word and whether any octet of an answer was seen: a
   connection kept alive that the peer had closed is retried at once and does not count.
"""

from __future__ import annotations

import asyncio
import errno
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final

import aiohttp

from accesspoint import limits
from accesspoint.errors import As4Error
from accesspoint.tls import spoken

_PIECE: Final = 65_536
_GONE: Final = (errno.ECONNRESET, errno.EPIPE)


class Unreachable(As4Error):
    """No answer came. ``word`` names the step (``connect``, ``tls``, ``send``, ``timeout``, ``closed``, ``answer``)."""

    def __init__(self, word: str, detail: str, *, stale: bool = False) -> None:
        self.word, self.detail, self.stale = word, detail, stale
        super().__init__(f"{word}: {detail}")


@dataclass(frozen=True, slots=True)
class Response:
    """What the peer answered. ``retry_after`` in seconds, when it named one."""

    status: int
    content_type: str
    body: bytes
    retry_after: int | None = None


def client_context(
    anchors: str | None,
    client_chain: str | None = None,
    client_key: str | None = None,
    *,
    versions: Sequence[str] = (),
    suites: Sequence[str] = (),
) -> ssl.SSLContext:
    """A client's TLS context: 1.2 or newer, host name checked, own certificate for mutual TLS.

    ``anchors`` are certificates in PEM, believed instead of the system's own; the other two are paths. ``versions`` and
    ``suites`` narrow it (`accesspoint.tls`).
    """
    context = ssl.create_default_context(cadata=anchors)
    context.minimum_version, context.maximum_version = map(ssl.TLSVersion, spoken(versions))
    if suites:
        context.set_ciphers(":".join(suites))
    if client_chain:
        context.load_cert_chain(client_chain, client_key)
    return context


class Client:
    """Keeps connections alive to all partners. Use one per node; `close` at the end."""

    def __init__(self, *, per_host: int = limits.CONNECTIONS_PER_HOST) -> None:
        connector = aiohttp.TCPConnector(limit=0, limit_per_host=per_host, keepalive_timeout=limits.KEEP_ALIVE_CLIENT)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=("User-Agent", "Accept-Encoding", "Accept"),
        )

    async def post(
        self,
        url: str,
        content_type: str,
        body: bytes | AsyncIterator[bytes],
        *,
        length: int,
        tls: ssl.SSLContext | None,
        answer_within: float | None = None,
    ) -> Response:
        """POST ``length`` octets and read the answer. Raises `Unreachable`, and what ``body`` itself raises.

        ``answer_within`` seconds (as `limits.READ_TIMEOUT` when left out) are theirs to begin an answer once they have the body;
        reading it to its end has its own limit.
        """
        headers = {"Content-Type": content_type, "Content-Length": str(length)}
        silence = limits.READ_TIMEOUT if answer_within is None else answer_within
        whole = limits.ANSWER_TIMEOUT if answer_within is None else answer_within + limits.ANSWER_TIMEOUT
        answered, pace = False, asyncio.timeout(limits.CONNECT_TIMEOUT + limits.READ_TIMEOUT + whole)
        octets = body if isinstance(body, bytes) and len(body) <= _PIECE else _Paced(body, pace, whole)
        try:
            async with (
                pace,
                self._session.post(
                    url,
                    data=octets,
                    headers=headers,
                    ssl=tls if tls is not None else True,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.CONNECT_TIMEOUT, sock_read=silence),
                ) as response,
            ):
                answered = True
                answer = bytearray()
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if len(answer) > limits.ANSWER_SIZE:
                        raise Unreachable("answer", f"the answer is larger than {limits.ANSWER_SIZE} octets")
                return Response(
                    response.status,
                    response.headers.get("Content-Type", ""),
                    bytes(answer),
                    _seconds(response.headers.get("Retry-After", "")),
                )
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            if isinstance(octets, _Paced) and octets.fault:
                raise octets.fault from None
            raise _unreachable(error, answered=answered) from None

    @asynccontextmanager
    async def fetch(
        self,
        url: str,
        content_type: str,
        body: bytes,
        *,
        tls: ssl.SSLContext | None,
        answer_within: float | None = None,
    ) -> AsyncIterator[Fetched]:
        """POST a signal and read a long answer as it comes. Raises `Unreachable`, also from `Fetched.chunks`.

        ``answer_within`` as for `post`. What the caller raises while reading passes as it is.
        """
        silence = limits.READ_TIMEOUT if answer_within is None else answer_within
        request = self._session.post(
            url,
            data=body,
            headers={"Content-Type": content_type, "Content-Length": str(len(body))},
            ssl=tls if tls is not None else True,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=limits.CONNECT_TIMEOUT, sock_read=silence),
        )
        try:
            response = await request
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise _unreachable(error, answered=False) from None
        async with response:
            yield Fetched(response)

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


class Fetched:
    """A long answer as it comes; what `gateways` read as they read a request."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.content_type = response.headers.get("Content-Type", "")
        self.content_length = response.content_length
        self.peer = response.url.host or ""

    async def chunks(self) -> AsyncIterator[bytes]:
        """The octets. Raises `Unreachable` for a pace below `limits.MINIMUM_RATE`, and when they end too early."""
        loop, waited, received = asyncio.get_running_loop(), 0.0, 0
        asked = loop.time()
        try:
            async for chunk in self._response.content.iter_any():
                received += len(chunk)
                waited += loop.time() - asked
                if waited > limits.READ_TIMEOUT and received / waited < limits.MINIMUM_RATE:
                    raise Unreachable("answer", f"slower than {limits.MINIMUM_RATE} octets a second")
                yield chunk
                asked = loop.time()
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            raise _unreachable(error, answered=True) from None


def _unreachable(error: Exception, *, answered: bool) -> Unreachable:
    """What the library says, in one class with a safe word."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return Unreachable("tls", f"the server's certificate is not trusted: {error.certificate_error}")
    if isinstance(error, aiohttp.ClientSSLError):
        return Unreachable("tls", str(error))
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, ConnectionResetError):  # a port that is closed refuses, it does not reset
            return Unreachable("tls", "the server ended the handshake")
        return Unreachable("connect", str(error.os_error))
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return Unreachable("closed", "the connection was closed before an answer", stale=True)
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Unreachable("connect", "no connection in time")
    if isinstance(error, TimeoutError):
        return Unreachable("timeout", "no answer in time")
    if isinstance(error.__cause__, ssl.SSLError):  # since TLS 1.3 a client certificate is refused this late
        return Unreachable("tls", str(error.__cause__))
    gone = isinstance(error, ConnectionResetError | BrokenPipeError) or getattr(error, "errno", 0) in _GONE
    return Unreachable("send", f"{type(error).__name__}: {error}", stale=gone and not answered)


class _Paced:
    """A long body: ``pace`` ends the exchange when a piece does not go out in time, or when the answer does not end in time.

    ``fault`` is what the body itself raised, which the library would tell as a broken connection.
    """

    def __init__(self, body: bytes | AsyncIterator[bytes], pace: asyncio.Timeout, whole: float) -> None:
        self._pieces = _cut(body) if isinstance(body, bytes) else body
        self._pace, self._whole = pace, whole
        self.fault: Exception | None = None

    async def __aiter__(self) -> AsyncIterator[bytes | memoryview]:
        try:
            async for piece in self._pieces:
                self._allow(limits.READ_TIMEOUT)
                yield piece
        except Exception as error:  # it is the caller's own: `Client.post` raises it as it is
            self.fault = error
            raise
        self._allow(self._whole)

    def _allow(self, seconds: float) -> None:
        with suppress(RuntimeError):  # the exchange has ended while we were still sending
            self._pace.reschedule(asyncio.get_running_loop().time() + seconds)


async def _cut(body: bytes) -> AsyncIterator[memoryview]:
    octets = memoryview(body)
    for at in range(0, len(octets), _PIECE):
        yield octets[at : at + _PIECE]


def _seconds(value: str) -> int | None:
    """``Retry-After`` in seconds; None for a date, and for what is no number at all."""
    if not value.isascii() or not value.isdigit():
        return None
    return int(value) if len(value) < 10 and int(value) < limits.RETRY_AFTER else limits.RETRY_AFTER
