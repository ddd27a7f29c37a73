"""The HTTP client shell: one POST, its answer, nothing else.

Rules:

1. No redirect is followed, no proxy variable read, no ``Content-Encoding`` undone: the peer is who the agreement says.
2. The TLS context is made once per partner and kept (loading anchors costs milliseconds).
3. An answer is read up to a limit; it is a signal of a few kilobytes, never a payload.
4. What failed is told in one class, `Unreachable`, with a safe word and whether any octet of an answer was seen: a
   connection kept alive that the peer had closed is retried at once and does not count.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp

from accesspoint import limits
from accesspoint.errors import As4Error


class Unreachable(As4Error):
    """No answer came. ``word`` names the step (``connect``, ``tls``, ``send``, ``timeout``, ``closed``)."""

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
    anchors: str | None, client_chain: str | None = None, client_key: str | None = None
) -> ssl.SSLContext:
    """A client's TLS context: 1.2 or newer, host name checked, own certificate for mutual TLS.

    ``anchors`` are certificates in PEM, believed instead of the system's own; the others are paths.
    """
    context = ssl.create_default_context(cadata=anchors)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
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
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=limits.CONNECT_TIMEOUT, sock_read=limits.READ_TIMEOUT
            ),
        )

    async def post(
        self,
        url: str,
        content_type: str,
        body: bytes | AsyncIterator[bytes],
        *,
        length: int,
        tls: ssl.SSLContext | None,
    ) -> Response:
        """POST ``length`` octets and read the answer. Raises `Unreachable`."""
        headers = {"Content-Type": content_type, "Content-Length": str(length)}
        try:
            async with self._session.post(
                url, data=body, headers=headers, ssl=tls if tls is not None else True, allow_redirects=False
            ) as response:
                answer = bytearray()
                async for chunk in response.content.iter_any():
                    answer += chunk
                    if len(answer) > limits.ANSWER_SIZE:
                        raise Unreachable("answer", f"the answer is larger than {limits.ANSWER_SIZE} octets")
                wait = response.headers.get("Retry-After", "")
                return Response(
                    response.status,
                    response.headers.get("Content-Type", ""),
                    bytes(answer),
                    min(int(wait), limits.RETRY_AFTER) if wait.isascii() and wait.isdigit() else None,
                )
        except aiohttp.ClientConnectorCertificateError as error:
            raise Unreachable("tls", f"the server's certificate is not trusted: {error.certificate_error}") from None
        except aiohttp.ClientSSLError as error:
            raise Unreachable("tls", str(error)) from None
        except aiohttp.ClientConnectorError as error:
            raise Unreachable("connect", str(error.os_error)) from None
        except aiohttp.ServerDisconnectedError:
            raise Unreachable("closed", "the connection was closed before an answer", stale=True) from None
        except TimeoutError:
            raise Unreachable("timeout", "no answer in time") from None
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            stale = isinstance(error, ConnectionResetError | BrokenPipeError)
            raise Unreachable("send", f"{type(error).__name__}: {error}", stale=stale) from None

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()
