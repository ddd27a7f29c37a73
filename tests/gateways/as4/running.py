"""What runs in the gateway's tests: real nodes inside the test, and peers that are not Stafet.

`Peer` stands where the hospital's access point should be: it keeps every request octet for octet and answers as it was told.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import pytest
from sqlalchemy import Table

from accesspoint import outbound
from accesspoint.errors import RemoteError, ReportedError
from accesspoint.inbound import Accepted, Receiver
from accesspoint.profiles import PROFILES
from accesspoint.receipts import receipt_xml
from accesspoint.references import Reference
from accesspoint.signals import signed_signal
from conformance.estate import FILES, Estate
from conformance.pki import Identity
from core.clock import SystemClock
from core.kernel import NodeKernel, refusal_id
from core.ledger import alarms, deliveries, trace
from core.ledger.tables import delivery
from core.node import Node
from core.operations import Operations
from core.parcel import Acceptance
from core.runtime import Catalogue, Runtime
from core.settings import load_settings
from core.trust import load_identity
from gateways.as4.partners import build
from tests.gateways.as4.making import (
    CATALOGUE,
    OBSERVATION,
    OtherSender,
    Sent,
    configuration,
    edit,
    sign_with,
    stage_parcel,
)

WAIT: Final = 20.0
SMALL: Final = [("observation.json", "application/fhir+json", OBSERVATION)]
"""One small payload."""


# --- nodes ------------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def running(*homes: Path, catalogue: Catalogue = CATALOGUE) -> AsyncIterator[list[Node]]:
    """Nodes that serve until the block ends."""
    nodes: list[Node] = []
    tasks: list[asyncio.Task[None]] = []
    try:
        for home in homes:
            nodes.append(Node(load_settings(home), catalogue=catalogue))
            tasks.append(asyncio.create_task(nodes[-1].run()))
        for node, task in zip(nodes, tasks, strict=True):
            ready = asyncio.create_task(node.ready.wait())
            await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                ready.cancel()
                task.result()
        yield nodes
    finally:
        for node in nodes:
            node.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in tasks:
        task.result()


async def applied(node: Node) -> None:
    """The configuration directory as it is now becomes the next version."""
    operations = Operations(node.runtime, kernel(node, "local"), node.follow)
    asked = {"directory": str(node.settings.config_path), "who": "test", "why": "a change"}
    await operations.table()["apply"](asked, lambda _: None)


def kernel(node: Node, gateway: str = "test") -> NodeKernel:
    """The kernel as a gateway of that name sees it."""
    return NodeKernel(node.runtime, gateway, node.mail)


async def until(
    met: Callable[[], Any] | Callable[[], Awaitable[Any]], what: str = "what was waited for", wait: float = WAIT
) -> Any:
    """Wait until a condition holds; gives what it gave."""
    loop = asyncio.get_running_loop()
    end = loop.time() + wait
    while loop.time() < end:
        found = met()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError(f"{what} did not happen within {wait} s")


async def handed_over(
    node: Node,
    payloads: Sequence[tuple[str, str, bytes]],
    *,
    sender: str = "care-record",
    integration: str = FILES,
    **fields: Any,
) -> str:
    """A parcel of a record system (the municipality's), accepted; gives its id."""
    item = await asyncio.to_thread(stage_parcel, node.runtime, sender, payloads, integration=integration, **fields)
    (acceptance,) = await kernel(node).accept(item)
    assert isinstance(acceptance, Acceptance)
    return acceptance.parcel_id


def rows(runtime: Runtime, parcel_id: str) -> Sequence[Any]:
    """The deliveries of a parcel."""
    return runtime.read_now(deliveries.of_parcel, parcel_id)


def row(runtime: Runtime, parcel_id: str) -> Any:
    """The one delivery of a parcel."""
    (found,) = rows(runtime, parcel_id)
    return found


async def in_state(node: Node, parcel_id: str, state: str, wait: float = WAIT) -> Any:
    """Wait until the one delivery of a parcel is in a state; gives it."""
    await until(lambda: row(node.runtime, parcel_id).state == state, f"{parcel_id} {state}", wait)
    return row(node.runtime, parcel_id)


async def failed_with(node: Node, parcel_id: str, code: str, wait: float = WAIT) -> Any:
    """Wait until an attempt has failed with a code; gives the delivery."""
    await until(lambda: row(node.runtime, parcel_id).last_code == code, f"{parcel_id} {code}", wait)
    return row(node.runtime, parcel_id)


def told(runtime: Runtime, parcel_id: str, event: str) -> list[dict[str, Any]]:
    """The facts of every trace entry of one kind."""
    return [line.facts for line in runtime.read_now(trace.of_parcel, parcel_id) if line.event == event]


def refusals(runtime: Runtime, reference: str) -> list[dict[str, Any]]:
    """What the trace says of a message that was refused at the door."""
    return told(runtime, refusal_id(reference), "refused")


def open_alarms(runtime: Runtime) -> list[tuple[str, str]]:
    """Code and parcel of every open alarm."""
    return [(alarm.code, alarm.parcel_id) for alarm in runtime.read_now(alarms.open_alarms)]


def mailbox(runtime: Runtime) -> list[str]:
    """The parcels that wait for the node's own system, oldest first."""
    query = delivery.select().where(delivery.c.gateway == "").order_by(delivery.c.id)
    return [r.parcel_id for r in runtime.read_now(lambda connection: connection.execute(query).all())]


# --- posting ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Got:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def content_type(self) -> str:
        """Its media type, or none."""
        return self.headers.get("Content-Type", "")


def anchors(estate: Estate) -> ssl.SSLContext:
    """TLS that believes the estate's authority and no other."""
    return ssl.create_default_context(cafile=str(estate.municipality.home / "config" / "certificates" / "demo-ca.pem"))


async def post(
    port: int,
    body: bytes | AsyncIterator[bytes],
    headers: Mapping[str, str],
    tls: ssl.SSLContext | None,
    *,
    path: str = "/as4",
    method: str = "POST",
) -> Got:
    """One request over a connection of its own."""
    scheme = "https" if tls else "http"
    async with (
        aiohttp.ClientSession() as session,
        session.request(
            method, f"{scheme}://localhost:{port}{path}", data=body, headers=dict(headers), ssl=tls or True
        ) as response,
    ):
        return Got(response.status, dict(response.headers), await response.read())


async def post_sent(estate: Estate, sent: Sent) -> Got:
    """A foreign sender's message, posted to the hospital's node."""
    return await post(estate.hospital.port, sent.body, sent.headers, anchors(estate))


# --- a receiver of another make ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Request:
    """A request as it came over the wire."""

    head: bytes
    body: bytes

    @property
    def content_type(self) -> str:
        """Its media type."""
        for line in self.head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-type":
                return value.strip().decode()
        return ""


def response(
    body: bytes = b"", *, status: int = 200, headers: Mapping[str, str] | None = None, close: bool = False
) -> bytes:
    """An HTTP answer as octets."""
    lines = [f"HTTP/1.1 {status} Said", f"Content-Length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in (headers or {"Content-Type": "application/soap+xml; charset=UTF-8"}).items()]
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def busy(_request: Request) -> bytes:
    """Try again."""
    return response(b"later", status=503, headers={"Content-Type": "text/plain"})


Script = Callable[[Request], bytes | None]
"""What to answer; None closes the connection without a word."""


@dataclass
class Peer:
    """The hospital's access point, if it were not Stafet. The first of ``script`` answers first, the last for ever."""

    estate: Estate
    script: list[Script] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    on_first_octet: Callable[[], None] = lambda: None
    pause: float = 0.0
    """Seconds before it answers."""
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def __post_init__(self) -> None:
        home = self.estate.hospital.home
        self.partners = build(configuration(home), lambda name: load_identity(home / "keys", name), SystemClock())
        own = load_identity(home / "keys", "signing")
        self.identity = Identity(own.key, own.certificate)  # type: ignore[arg-type]

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
        """Serve on the hospital's port until the block ends."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.estate.hospital.port, ssl=tls)
        try:
            yield self
        finally:
            server.close()
            self.hang_up()

    def hang_up(self) -> None:
        """Close every connection."""
        for writer in self._writers:
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while first := await reader.read(1):
                self.on_first_octet()
                head = first + await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1])
                    for line in head.split(b"\r\n")
                    if line.lower().startswith(b"content-length")
                )
                request = Request(head, await reader.readexactly(length))
                self.requests.append(request)
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                octets = answer(request)
                if octets is None:
                    return
                await asyncio.sleep(self.pause)
                writer.write(octets)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    # -- understanding

    def read(self, request: Request) -> tuple[Accepted, list[bytes]]:
        """A request as the hospital understands it, with its plain payloads."""
        sinks: list[bytearray] = []

        class _Sink(bytearray):
            def write(self, data: bytes) -> None:
                self.extend(data)

        def sink(*_: object) -> _Sink:
            sinks.append(made := _Sink())
            return made

        receiver = Receiver(request.content_type, self.partners, sink)
        receiver.feed(request.body)
        said = receiver.finish()
        assert isinstance(said, Accepted)
        return said, [bytes(s) for s in sinks]

    # -- answering

    def signal(
        self, content: bytes, reference: str | None, *, identity: Identity | None = None, message_id: str = ""
    ) -> bytes:
        """A signed signal."""
        by = identity or self.identity
        return signed_signal(
            content,
            message_id=message_id or "signal-1@hospital.example",
            timestamp=SystemClock().now(),
            reference=reference,
            profile=PROFILES[self.estate.profile],
            certificate=by.certificate,
            form="binary-security-token",
            sign=sign_with(by),
        )

    def receipt(
        self,
        request: Request,
        *,
        change: Callable[[tuple[Reference, ...]], tuple[Reference, ...]] = lambda references: references,
        reference: str | None = None,
        identity: Identity | None = None,
        message_id: str = "",
    ) -> bytes:
        """The signed receipt for a request; ``change`` may spoil its references."""
        said, _ = self.read(request)
        content = receipt_xml(change(said.references))
        return self.signal(content, reference or said.message.message_id, identity=identity, message_id=message_id)

    def accept(self, request: Request) -> bytes:
        """What a good peer says."""
        return response(self.receipt(request))


def plain_http(estate: Estate, **fields: Any) -> None:
    """The municipality reaches the hospital without TLS, so that a test can read what is sent."""
    edit(
        estate.municipality.home,
        "as4.yaml",
        "as4.partner",
        **{"url": f"http://localhost:{estate.hospital.port}/as4", **fields},
    )


@dataclass
class Line:
    """A municipality's node, and the peer it sends to over a line that can be read."""

    estate: Estate
    node: Node
    peer: Peer

    async def hand_over(self, payloads: Sequence[tuple[str, str, bytes]] = SMALL, **fields: Any) -> str:
        """A parcel on its way; gives its id."""
        return await handed_over(self.node, payloads, **fields)

    def kept(self, table: Table, delivery_id: str) -> Sequence[Any]:
        """Rows of one delivery."""
        query = table.select().where(table.c.delivery_id == delivery_id)
        return self.node.runtime.read_now(lambda connection: connection.execute(query).all())


@dataclass
class Door:
    """A hospital's node with a foreign sender before it."""

    estate: Estate
    node: Node
    sender: OtherSender

    async def post(self, sent: Sent) -> Got:
        """Post a message as it is."""
        return await post_sent(self.estate, sent)

    def acknowledged(self, sent: Sent, got: Got) -> outbound.Acknowledged:
        """What the answer proves, as the sender judges it: raises unless it is a receipt that does."""
        return outbound.judge_answer(
            sent.message, sent.pmode, self.sender.trust(), got.status, got.content_type, got.body
        )

    def refused(self, sent: Sent, got: Got, *, authenticated: bool = True) -> ReportedError:
        """The one error the answer reports."""
        with pytest.raises(RemoteError) as caught:
            self.acknowledged(sent, got)
        assert caught.value.authenticated is authenticated
        (error,) = caught.value.errors
        assert (got.status, error.severity) == (200, "failure")
        return error

    async def refusals(self, reference: str) -> list[dict[str, Any]]:
        """What the trace says of a refused message, once it is written: refusing does not wait for it."""
        found: list[dict[str, Any]] = await until(lambda: refusals(self.node.runtime, reference), "the refusal's trace")
        return found
