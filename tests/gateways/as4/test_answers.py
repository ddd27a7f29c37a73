"""What an answer proves, and what becomes of an attempt that got another one or none.

A `Peer` stands where the hospital should be, and answers what it is told.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from accesspoint import limits
from accesspoint.ebms import envelope_xml, signal_xml
from accesspoint.errors import CATALOGUE, VALUE_INCONSISTENT, CatalogueEntry, EbmsError, SoapFault
from accesspoint.profiles import EDELIVERY_1_15
from accesspoint.receipts import error_xml, receipt_xml
from accesspoint.references import Reference
from accesspoint.server import server_context
from accesspoint.signals import fault_envelope, unsigned_error
from accesspoint.wss import local_references, security_xml, signed_info
from conformance.pki import write
from core import explain
from core.clock import SECOND, SystemClock
from core.ledger.tables import receipt
from core.receipt import Level, Verdict
from gateways.as4.adapter import As4Gateway
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import authority, edit, sign_with, stranger
from tests.gateways.as4.running import (
    SMALL,
    Line,
    Peer,
    Request,
    Script,
    busy,
    failed_with,
    handed_over,
    in_state,
    plain_http,
    response,
    running,
    told,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# --- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA22")
@pytest.mark.requirement("R67")
async def test_only_a_signed_receipt_over_every_digest_settles(line: Line):
    """It is kept octet for octet, with who said it and about what."""
    peer = line.peer
    said: list[bytes] = []

    def accept(request: Request) -> bytes:
        said.append(peer.receipt(request))
        return response(said[-1])

    peer.script = [accept]
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    (kept,) = line.kept(receipt, delivery.id)
    assert (kept.delivery_id, kept.raw) == (delivery.id, said[0])
    assert (kept.level, kept.verdict) == (Level.TRANSPORT.value, Verdict.ACCEPTED.value)
    assert kept.outside_id == peer.read(peer.requests[0])[0].message.message_id
    (facts,) = told(line.node.runtime, parcel, "acknowledged")
    assert facts["receipt"] == "signal-1@hospital.example"


def _wrong_digest(references: tuple[Reference, ...]) -> tuple[Reference, ...]:
    return (*references[:-1], replace(references[-1], digest=bytes(32)))


def _stripped(octets: bytes) -> bytes:
    """Without its security header."""
    start, end = octets.index(b"<wsse:Security "), octets.index(b"</wsse:Security>") + 16
    return octets[:start] + octets[end:]


def _signed_without_body(peer: Peer, request: Request, body: bytes) -> bytes:
    """A receipt whose signature covers Messaging alone."""
    said, _ = peer.read(request)
    content = receipt_xml(said.references)
    messaging = signal_xml("signal-1@hospital.example", SystemClock().now(), said.message.message_id, content, "m")
    _, covered = local_references(messaging, "m", body, "b")
    info = signed_info(EDELIVERY_1_15, (covered,))
    by = peer.identity
    return envelope_xml(
        security_xml(info, sign_with(by)(info), by.certificate, "binary-security-token", "t"), messaging, body
    )


@pytest.mark.parametrize("body", [b"<S12:Body></S12:Body>", b"<S12:Body>\n </S12:Body>"])
async def test_a_receipt_whose_empty_body_is_unsigned_settles(line: Line, body: bytes):
    """As some products write it: the Body says nothing, so nobody can have changed what it says."""
    peer = line.peer
    peer.script = [lambda r: response(_signed_without_body(peer, r, body))]
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    assert delivery.attempts == 1
    (kept,) = line.kept(receipt, delivery.id)
    assert body in kept.raw


UNBELIEVED: dict[str, tuple[Callable[[Peer], Script], str]] = {
    "a wrong digest": (lambda p: lambda r: response(p.receipt(r, change=_wrong_digest)), "EBMS:0302"),
    "a part not named": (lambda p: lambda r: response(p.receipt(r, change=lambda x: x[:-1])), "EBMS:0302"),
    "a part too many": (
        lambda p: lambda r: response(p.receipt(r, change=lambda x: (*x, replace(x[-1], uri="cid:other")))),
        "EBMS:0302",
    ),
    "no signature": (lambda p: lambda r: response(_stripped(p.receipt(r))), "EBMS:0302"),
    "another certificate": (lambda p: lambda r: response(p.receipt(r, identity=stranger())), "EBMS:0302"),
    "another message": (lambda p: lambda r: response(p.receipt(r, reference="other@hospital.example")), "EBMS:0302"),
    "changed after signing": (
        lambda p: lambda r: response(p.receipt(r).replace(b"signal-1@", b"signal-2@")),
        "EBMS:0302",
    ),
    "no references": (lambda p: lambda r: response(p.receipt(r, change=lambda _: ())), "EBMS:0302"),
    "nothing": (lambda p: lambda r: response(status=202), "EBMS:0301"),
    "a web page": (lambda p: lambda r: response(b"hello", headers={"Content-Type": "text/html"}), "EBMS:0301"),
    "half an envelope": (lambda p: lambda r: response(p.receipt(r)[:-20]), "EBMS:0301"),
    "an unsigned body that says something": (
        lambda p: lambda r: response(_signed_without_body(p, r, b"<S12:Body><a></a></S12:Body>")),
        "EBMS:0302",
    ),
    "words in an unsigned body": (
        lambda p: lambda r: response(_signed_without_body(p, r, b"<S12:Body>words</S12:Body>")),
        "EBMS:0302",
    ),
    "a message": (lambda p: lambda r: response(_our_own(p, r)), "EBMS:0302"),
    "a redirect": (
        lambda p: lambda r: response(status=307, headers={"Location": "http://localhost:9/"}),
        "EBMS:0301",
    ),
}


def _our_own(peer: Peer, request: Request) -> bytes:
    """The header of what we sent, sent back."""
    start, end = request.body.index(b"<?xml"), request.body.index(b"</S12:Envelope>") + 15
    return request.body[start:end]


@pytest.mark.assertion("CP_TA09", "DS_TA03")
@pytest.mark.parametrize("what", UNBELIEVED)
async def test_what_proves_nothing_is_not_believed(line: Line, what: str):
    """The attempt has failed with a code that is explained, and the next one may still be acknowledged."""
    make, code = UNBELIEVED[what]
    peer = line.peer
    peer.script = [make(peer)]
    parcel = await line.hand_over()
    delivery = await failed_with(line.node, parcel, code)
    assert delivery.state == "ready"
    assert line.kept(receipt, delivery.id) == []
    assert explain.code(code, As4Gateway.explain)
    peer.script = [peer.accept]
    await in_state(line.node, parcel, "delivered")
    assert told(line.node.runtime, parcel, "retry")[0]["code"] == code


# --- errors -----------------------------------------------------------------------------------------------------------


def _error(peer: Peer, row_: CatalogueEntry, request: Request, *, signed: bool = True) -> bytes:
    said, _ = peer.read(request)
    error = EbmsError(row_, field="header", cause="is wrong", ref_to_message_id=said.message.message_id)
    if not signed:
        return response(unsigned_error(error, message_id="error-1@hospital.example", timestamp=SystemClock().now()))
    return response(peer.signal(error_xml(error), said.message.message_id))


FINAL = [
    "EBMS:0001",
    "EBMS:0003",
    "EBMS:0007",
    "EBMS:0008",
    "EBMS:0009",
    "EBMS:0010",
    "EBMS:0011",
    "EBMS:0103",
    "EBMS:0303",
]
AGAIN = ["EBMS:0004", "EBMS:0101", "EBMS:0102", "EBMS:0202", "EBMS:4001"]
"""0004 and 4001 are also what some stacks say of a repetition: it is no receipt, so it settles nothing, and refuses nothing."""


@pytest.mark.parametrize("code", FINAL)
async def test_an_authenticated_error_about_what_was_sent_is_final(line: Line, code: str):
    """The same octets would meet the same answer: it is rejected, with their words, after one attempt."""
    peer = line.peer
    peer.script = [lambda r: _error(peer, CATALOGUE[code], r)]
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "rejected")
    assert (delivery.attempts, delivery.last_code) == (1, code)
    assert "header: is wrong" in delivery.last_reason
    assert explain.code(code, As4Gateway.explain)

    assert len(peer.requests) == 1


@pytest.mark.parametrize("code", AGAIN)
async def test_every_other_error_is_tried_again(line: Line, code: str):
    """It may pass: a key that is being changed, a system that is down."""
    peer = line.peer
    peer.script = [lambda r: _error(peer, CATALOGUE[code], r)]
    parcel = await line.hand_over()
    delivery = await failed_with(line.node, parcel, code)
    assert delivery.state == "ready"
    assert explain.code(code, As4Gateway.explain)
    peer.script = [peer.accept]
    await in_state(line.node, parcel, "delivered")


@pytest.mark.parametrize("how", ["unsigned", "signed by a stranger", "about another message", "a warning"])
async def test_an_error_that_is_not_theirs_never_ends_the_attempts(line: Line, how: str):
    """Anybody on the way could have written it."""
    peer = line.peer

    def answer(request: Request) -> bytes:
        if how == "unsigned":
            return _error(peer, VALUE_INCONSISTENT, request, signed=False)
        row_ = replace(VALUE_INCONSISTENT, severity="warning") if how == "a warning" else VALUE_INCONSISTENT
        message_id = peer.read(request)[0].message.message_id
        content = error_xml(EbmsError(row_, field="header", cause="is wrong"))
        if how == "about another message":
            message_id = "other@municipality.example"
        return response(
            peer.signal(content, message_id, identity=stranger() if how == "signed by a stranger" else None)
        )

    peer.script = [answer]
    parcel = await line.hand_over()
    delivery = await failed_with(line.node, parcel, "EBMS:0003")
    assert delivery.state == "ready"
    assert ("not signed by them" in delivery.last_reason) is (how != "a warning")
    peer.script = [peer.accept]
    await in_state(line.node, parcel, "delivered")


@pytest.mark.parametrize("header", [False, True])
async def test_a_soap_fault_is_tried_again(line: Line, header: bool):
    """Their server failed before it read the message; the fault's words are kept."""
    octets = fault_envelope(SoapFault("Receiver", "the database is away"))
    if header:
        octets = octets.replace(b"<S12:Body>", b"<S12:Header></S12:Header><S12:Body>")
    peer = line.peer
    peer.script = [lambda _: response(octets, status=500)]
    parcel = await line.hand_over()
    delivery = await failed_with(line.node, parcel, "SOAP Received")
    assert "the database is away" in delivery.last_reason
    assert explain.code("SOAP Received", As4Gateway.explain)
    peer.script = [peer.accept]
    await in_state(line.node, parcel, "delivered")


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 503])
async def test_http_alone_refuses_nothing_for_good(line: Line, status: int):
    """A proxy may have said it."""
    peer = line.peer
    peer.script = [lambda _: response(status=status), peer.accept]
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    assert delivery.attempts == 2
    (facts,) = told(line.node.runtime, parcel, "retry")
    assert facts["code"] == "EBMS:0301"
    assert f"HTTP {status}" in facts["reason"]


async def test_a_wait_that_they_name_is_kept(estate: CopiedEstate):
    """`Retry-After` is the least wait, longer than the partner's own plan."""
    plain_http(estate)
    peer = Peer(estate, [lambda _: response(b"", status=503, headers={"Retry-After": "40"})])
    async with peer.listening(), running(estate.municipality.home) as (node,):
        before = node.runtime.clock.now()
        parcel = await handed_over(node, SMALL)
        delivery = await failed_with(node, parcel, "EBMS:0301")
        assert before + 40 * SECOND <= delivery.due_at <= node.runtime.clock.now() + 40 * SECOND


@pytest.mark.assertion("CP_TA15")
async def test_after_the_last_attempt_it_has_failed_and_somebody_is_told(estate: CopiedEstate):
    """As many attempts as the partner's file says, no more."""
    plain_http(estate, retry={"attempts": 3, "first_wait": 0.02, "longest_wait": 0.02})
    peer = Peer(estate, [busy])
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        delivery = await in_state(node, parcel, "failed")
        assert (delivery.attempts, delivery.last_code) == (3, "EBMS:0301")
    assert len(peer.requests) == 3


# --- no answer --------------------------------------------------------------------------------------------------------


async def test_nobody_listens(estate: CopiedEstate):
    """The code says so, and the attempt is repeated until somebody does."""
    plain_http(estate)
    async with running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        delivery = await failed_with(node, parcel, "connect")
        assert str(estate.hospital.port) in delivery.last_reason
        peer = Peer(estate)
        peer.script = [peer.accept]
        async with peer.listening():
            await in_state(node, parcel, "delivered")


def _server(folder: Path, fault: str) -> ssl.SSLContext:
    """A server whose certificate is wrong in one way."""
    at = authority().at
    identity = {
        "another authority": lambda: authority().issue("localhost", "tls-server"),
        "another name": lambda: authority().issue("localhost", "tls-server", hosts=("other.example",)),
        "expired": lambda: authority().issue("localhost", "tls-server", not_after=at - timedelta(hours=1)),
    }[fault]()
    path = str(write(folder / "server.pem", identity.key_pem() + identity.chain_pem(), secret=True))
    return server_context(path, path, None, demand_client=False)


@pytest.mark.parametrize("fault", ["another authority", "another name", "expired"])
async def test_a_server_that_is_not_believed_gets_no_octet(estate: CopiedEstate, tmp_path: Path, fault: str):
    """The certificate is judged before anything is sent."""
    peer = Peer(estate)
    peer.script = [peer.accept]
    if fault != "another authority":
        write(estate.municipality.home / "config" / "certificates" / "test-ca.pem", authority().pem())
        edit(estate.municipality.home, "as4.yaml", "as4.partner", tls={"anchors": "certificates/test-ca.pem"})
    async with peer.listening(_server(tmp_path, fault)), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        delivery = await failed_with(node, parcel, "tls")
        assert "not trusted" in delivery.last_reason
        assert explain.code("tls", As4Gateway.explain)
    assert peer.requests == []


async def test_a_peer_that_says_nothing_is_given_up(estate: CopiedEstate, monkeypatch: pytest.MonkeyPatch):
    """After the limit the attempt has failed; the next one is a new connection."""
    monkeypatch.setattr(limits, "READ_TIMEOUT", 0.2)
    plain_http(estate)
    peer = Peer(estate)
    peer.script = [lambda _: b""]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        await failed_with(node, parcel, "timeout")
        peer.script = [peer.accept]
        await in_state(node, parcel, "delivered")


async def test_a_peer_that_hangs_up_is_asked_once_more_and_then_later(line: Line):
    """A connection that was closed may have been an old one: the first such end does not count as an attempt."""
    peer = line.peer
    peer.script = [lambda _: None, peer.accept]
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    assert (delivery.attempts, len(peer.requests)) == (1, 2)
    assert peer.requests[0].body == peer.requests[1].body
    peer.script = [lambda _: None]
    parcel = await line.hand_over()
    await failed_with(line.node, parcel, "closed")


async def test_an_answer_that_never_ends_is_cut(line: Line, monkeypatch: pytest.MonkeyPatch):
    """A receipt is a few kilobytes."""
    monkeypatch.setattr(limits, "ANSWER_SIZE", 20_000)
    peer = line.peer
    peer.script = [lambda _: response(bytes(20_001))]
    parcel = await line.hand_over()
    await failed_with(line.node, parcel, "answer")
    peer.script = [peer.accept]
    await in_state(line.node, parcel, "delivered")
