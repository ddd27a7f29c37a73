"""What comes in from outside: accepted once per key, answered with a receipt or with a reason, and nothing half-made stays.

One hospital serves the whole file; each test sends messages of its own and looks at what has changed.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from accesspoint import ebms, names, outbound
from accesspoint.compression import compress
from accesspoint.errors import EbmsError, RemoteError, ReportedError, SoapFault
from conformance.estate import INTEGRATION, SERVICE, SERVICE_TYPE, Estate
from core import explain
from core.ledger import parcels
from core.ledger.tables import further_answer, idempotency
from core.node import Node
from core.parcel import Key
from gateways.as4.adapter import As4Gateway
from gateways.as4.receiving import IN_PLACE, SMALL
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import (
    OBSERVATION,
    OtherSender,
    Sent,
    count,
    edit,
    edit_node,
    objects,
    stored,
    stranger,
)
from tests.gateways.as4.running import (
    Got,
    anchors,
    mailbox,
    open_alarms,
    post,
    post_sent,
    refusals,
    running,
    told,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory, template: Path) -> AsyncIterator[Door]:
    """The hospital of this file."""
    estate = CopiedEstate(tmp_path_factory.mktemp("door"), template=template)
    estate.make()
    edit(estate.hospital.home, "integrations.yaml", "integration", max_size=3_000_000)
    async with running(estate.hospital.home) as (node,):
        yield Door(estate, node, OtherSender(estate))


def _plain(door: Door, parcel_id: str) -> list[bytes]:
    """The payloads of a parcel, as its system would read them."""
    runtime = door.node.runtime
    parcel = runtime.read_now(parcels.load, parcel_id)
    from tests.gateways.as4.running import kernel

    return [b"".join(kernel(door.node).read_now(parcel, payload)) for payload in parcel.payloads]


def _answer(door: Door, message_id: str) -> tuple[str, bytes]:
    """The parcel and the first answer kept under a message id."""
    found = door.node.runtime.read_now(parcels.recall, Key("as4:municipality", message_id))
    assert found is not None
    return found.parcel_id, found.answer[hashlib.sha256().digest_size :]


# --- accepted ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R75")
async def test_a_message_is_stored_before_its_signed_receipt_leaves(door: Door):
    """The receipt repeats every digest, and the trace says who sent what under which certificate."""
    sent = door.sender.message([OBSERVATION, b"second"])
    got = await door.post(sent)
    proof = door.acknowledged(sent, got)
    assert proof.message_id.endswith("@hospital.example")
    parcel_id, kept = _answer(door, sent.message.message_id)
    assert kept == got.body
    assert _plain(door, parcel_id) == [OBSERVATION, b"second"]
    parcel = door.node.runtime.read_now(parcels.load, parcel_id)
    assert (parcel.sender, parcel.integration) == ("care-record", INTEGRATION)
    assert parcel.description.correlation_id == "conversation-1"
    assert parcel.description.attributes["as4.message-id"] == sent.message.message_id
    (facts,) = told(door.node.runtime, parcel_id, "accepted")
    assert facts["message"] == sent.message.message_id
    assert facts["signed by"] == "Demo Municipality signing"
    assert facts["from"] == str(sent.pmode.us.id)
    assert facts["key transport"] == names.RSA_OAEP
    assert parcel_id in mailbox(door.node.runtime)


@pytest.mark.parametrize("size", [0, IN_PLACE, SMALL + 1, 1_500_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_any_size_in_any_pieces_is_the_same_message(door: Door, size: int, chunked: bool):
    """Small ones in one hop, large ones piece by piece, with a length or without one."""
    octets = os.urandom(size)
    sent = door.sender.message([octets])

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(sent.body), 100_001):
            yield sent.body[start : start + 100_001]

    body = pieces() if chunked else sent.body
    got = await post(door.estate.hospital.port, body, sent.headers, anchors(door.estate))
    door.acknowledged(sent, got)
    parcel_id, _ = _answer(door, sent.message.message_id)
    assert _plain(door, parcel_id) == [octets]


async def test_a_message_without_payload_is_a_message(door: Door):
    """Its description says nothing of a payload."""
    sent = door.sender.message([])
    door.acknowledged(sent, await door.post(sent))
    parcel_id, _ = _answer(door, sent.message.message_id)
    assert _plain(door, parcel_id) == []


# --- once per key -----------------------------------------------------------------------------------------------------


async def test_identical_octets_get_the_first_receipt_octet_for_octet(door: Door):
    """A repetition is delivered once, however often it comes."""
    sent = door.sender.message([os.urandom(100_000)])
    first = await door.post(sent)
    door.acknowledged(sent, first)
    before = stored(door.node.runtime), count(door.node.runtime, "delivery")
    for _ in range(2):
        again = await door.post(sent)
        assert (again.status, again.body) == (200, first.body)
    assert (stored(door.node.runtime), count(door.node.runtime, "delivery")) == before
    parcel_id, _ = _answer(door, sent.message.message_id)
    assert len(told(door.node.runtime, parcel_id, "repeated")) == 2


async def test_the_same_message_five_times_at_once_is_one_message(door: Door):
    """Whoever comes first is kept, and everybody gets the receipt of that one."""
    sent = door.sender.message([os.urandom(70_000)])
    before = stored(door.node.runtime)
    answers = await asyncio.gather(*(door.post(sent) for _ in range(5)))
    assert len({got.body for got in answers}) == 1
    door.acknowledged(sent, answers[0])
    parcels_, keys, files = before
    await until(lambda: stored(door.node.runtime) == (parcels_ + 1, keys + 1, files + 1), "the others were removed")


async def test_signed_afresh_it_gets_a_fresh_receipt_and_no_second_delivery(door: Door):
    """Many stacks sign every retry anew: the first receipt would prove nothing to them."""
    first = door.sender.message(message_id="afresh-1@municipality.example")
    again = door.sender.message(message_id="afresh-1@municipality.example")
    assert first.message.references != again.message.references
    one = await door.post(first)
    before = stored(door.node.runtime), count(door.node.runtime, "delivery")
    two = await door.post(again)
    door.acknowledged(again, two)
    assert two.body != one.body
    with pytest.raises(EbmsError) as caught:
        door.acknowledged(again, one)
    assert caught.value.error.code == "EBMS:0302"
    assert (stored(door.node.runtime), count(door.node.runtime, "delivery")) == before
    assert (await door.post(first)).body == one.body, "the first octets still get the first receipt"
    query = further_answer.select().where(further_answer.c.value == "afresh-1@municipality.example")
    (kept,) = door.node.runtime.read_now(lambda connection: connection.execute(query).all())
    assert kept.answer.endswith(two.body), "what was said is kept"


@pytest.mark.parametrize("what", ["payload", "header", "number of payloads", "order of payloads"])
async def test_the_same_id_with_other_content_is_refused_and_somebody_is_told(door: Door, what: str):
    """Nothing is overwritten: it is a mistake of the sender's, or an attack."""
    message_id = f"conflict-{what.replace(' ', '-')}@municipality.example"
    large = os.urandom(100_000)
    first = door.sender.message([large, b"one"], message_id=message_id)
    changed = {
        "payload": lambda: door.sender.message([large, b"other"], message_id=message_id),
        "header": lambda: door.sender.message([large, b"one"], message_id=message_id, conversation="conversation-2"),
        "number of payloads": lambda: door.sender.message([large], message_id=message_id),
        "order of payloads": lambda: door.sender.message([b"one", large], message_id=message_id),
    }[what]()
    door.acknowledged(first, await door.post(first))
    before = stored(door.node.runtime)
    error = door.refused(changed, await door.post(changed))
    assert (error.code, error.ref_to_message) == ("EBMS:0004", message_id)
    assert error.description == (
        "MessageInfo/MessageId: was used before for a message with other content."
        " give every new message a new MessageId"
    )
    parcel_id, _ = _answer(door, message_id)
    assert _plain(door, parcel_id) == [large, b"one"]
    assert ("conflict", parcel_id) in open_alarms(door.node.runtime)
    assert len(told(door.node.runtime, parcel_id, "conflict")) == 1
    (refusal,) = await _refusals(door, message_id)
    assert (refusal["code"], refusal["field"]) == ("EBMS:0004", "MessageInfo/MessageId")
    await until(lambda: stored(door.node.runtime) == before, "what was refused left nothing")


async def test_a_key_belongs_to_its_sender(door: Door):
    """Another partner with the same message id is not in the way, and the same payload twice is two messages."""
    one, two = door.sender.message(), door.sender.message()
    for sent in (one, two):
        door.acknowledged(sent, await door.post(sent))
    query = idempotency.select().where(idempotency.c.value.in_([one.message.message_id, two.message.message_id]))
    found = door.node.runtime.read_now(lambda connection: connection.execute(query).all())
    assert {r.scope for r in found} == {"as4:municipality"}
    assert len({r.parcel_id for r in found}) == 2


async def test_a_replay_after_a_restart_is_still_a_repetition(tmp_path: Path, template: Path):
    """What was recorded on the wire is worth nothing: the first receipt comes, and no second delivery."""
    estate = CopiedEstate(tmp_path / "replay", template=template)
    estate.make()
    sent = OtherSender(estate).message()
    async with running(estate.hospital.home):
        first = await post_sent(estate, sent)
    async with running(estate.hospital.home) as (node,):
        assert (await post_sent(estate, sent)).body == first.body
        assert stored(node.runtime) == (1, 1, 0)
        assert count(node.runtime, "delivery") == 1


# --- the test service -------------------------------------------------------------------------------------------------


def _mirrored(estate: Estate) -> Estate:
    """The same two organisations, seen from the other side."""
    other = copy.copy(estate)
    other.municipality, other.hospital = estate.hospital, estate.municipality
    return other


@pytest.mark.parametrize("way", ["to the hospital", "to the municipality"])
async def test_a_ping_is_answered_and_leaves_nothing(tmp_path: Path, template: Path, way: str):
    """A signed receipt proves that keys and agreement fit; no system is given anything."""
    estate: Estate = CopiedEstate(tmp_path / "ping", template=template)
    estate.make()
    if way == "to the municipality":
        estate = _mirrored(estate)
    sender = OtherSender(estate)
    async with running(estate.hospital.home) as (node,):
        for payloads in ((), (OBSERVATION,), (os.urandom(100_000),)):
            sent = sender.message(payloads, ping=True)
            got = await post_sent(estate, sent)
            outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        assert stored(node.runtime) == (0, 0, 0)


async def test_a_ping_by_a_stranger_is_refused(door: Door):
    """The test service is no way around the signature."""
    sent = door.sender.message(ping=True, identity=stranger())
    assert door.refused(sent, await door.post(sent)).code == "EBMS:0101"


# --- refused ----------------------------------------------------------------------------------------------------------


async def _refusals(door: Door, reference: str) -> list[dict[str, str]]:
    """What the trace says, once it is written: refusing does not wait for it."""
    found: list[dict[str, str]] = await until(lambda: refusals(door.node.runtime, reference), "the refusal's trace")
    return found


def _unsigned(s: OtherSender) -> Sent:
    sent = s.message()
    start, end = sent.message.root.index(b"<ds:Signature "), sent.message.root.index(b"</ds:Signature>") + 15
    return _with_root(sent, sent.message.root[:start] + sent.message.root[end:])


def _with_root(sent: Sent, root: bytes) -> Sent:
    message = replace(sent.message, root=root)
    at = sent.body.index(sent.message.root)
    return Sent(message, sent.body[:at] + root + sent.body[at + len(sent.message.root) :], sent.pmode)


def _other(s: OtherSender, **fields: object) -> Sent:
    return s.message(pmode=replace(s.pmode, **fields))  # type: ignore[arg-type]


def _flipped(s: OtherSender, size: int = 200) -> Sent:
    """One bit of the ciphertext of a payload is another."""
    sent = s.message([os.urandom(size)])
    body = bytearray(sent.body)
    body[len(body) - len(sent.message.end()) - 40] ^= 1
    return Sent(sent.message, bytes(body), sent.pmode)


def _swapped(s: OtherSender) -> Sent:
    """Encrypted as it should be, but not what was signed."""
    sent = s.message([b'{"status": "final"}'])
    other = compress(b'{"status": "draft"}')
    assert len(other) == sent.message.parts[0][2]
    return Sent(sent.message, sent.message.whole([other]), sent.pmode)


def _without_part(s: OtherSender) -> Sent:
    sent = s.message()
    return Sent(sent.message, sent.message.start() + sent.message.end(), sent.pmode)


def _cut(s: OtherSender) -> Sent:
    sent = s.message([os.urandom(200)])
    return Sent(sent.message, sent.body[: -len(sent.message.end())], sent.pmode)


def _changed(s: OtherSender, old: bytes, new: bytes) -> Sent:
    sent = s.message()
    assert old in sent.message.root
    return _with_root(sent, sent.message.root.replace(old, new))


def _many_properties(s: OtherSender) -> Sent:
    properties = tuple(ebms.Property(f"p{n}", "v") for n in range(99))
    return s.message([os.urandom(200_000)], properties=properties)


NOWHERE = ebms.Party(ebms.Typed("demo-nobody", "urn:demo:parties"), names.INITIATOR)

REFUSED: dict[str, tuple[Callable[[OtherSender], Sent], str, str]] = {
    "unsigned": (_unsigned, "EBMS:0103", "Signature"),
    "signed by a stranger": (lambda s: s.message(identity=stranger()), "EBMS:0101", "certificate"),
    "changed after signing": (
        lambda s: _changed(s, b"conversation-1", b"conversation-2"),
        "EBMS:0101",
        "digest of Messaging",
    ),
    "an unknown sender": (lambda s: _other(s, us=NOWHERE), "EBMS:0010", "From/PartyId"),
    "another service": (
        lambda s: _other(s, service=ebms.Typed("urn:demo:other", SERVICE_TYPE)),
        "EBMS:0001",
        "Service",
    ),
    "a service without its type": (lambda s: _other(s, service=ebms.Typed(SERVICE)), "EBMS:0001", "Service"),
    "another action": (lambda s: _other(s, action="dance"), "EBMS:0001", "Action"),
    "roles the wrong way round": (
        lambda s: _other(s, us=replace(s.pmode.us, role=names.RESPONDER)),
        "EBMS:0003",
        "Role",
    ),
    "encrypted for somebody else": (
        lambda s: _other(s, their_encryption_certificate=stranger().certificate),
        "EBMS:0102",
        "EncryptedKey",
    ),
    "a changed bit": (_flipped, "EBMS:0102", ""),
    "a changed bit in a large payload": (lambda s: _flipped(s, 500_000), "EBMS:0102", ""),
    "other octets than were signed": (_swapped, "EBMS:0101", ""),
    "no gzip": (lambda s: s.message([b"plain" * 9], prepare=bytes), "EBMS:0303", ""),
    "half a gzip": (
        lambda s: s.message([os.urandom(200_000)], prepare=lambda o: compress(o)[:-9]),
        "EBMS:0303",
        "",
    ),
    "a payload that is not there": (_without_part, "EBMS:0011", "PartInfo/@href"),
    "cut short": (_cut, "EBMS:0007", ""),
    "more properties than are kept": (_many_properties, "EBMS:0003", "MessageProperties"),
    "larger than the integration allows": (
        lambda s: s.message([b"x" * 3_000_001]),
        "EBMS:0004",
        "message",
    ),
}
"""What is wrong, how it is made, the code, and the field that is named ("" = the code says enough)."""


@pytest.mark.parametrize("what", REFUSED)
async def test_a_refused_message_leaves_a_reason_and_nothing_else(door: Door, what: str):
    """The sender is told code and field, signed; the trace keeps both; no row, key or file stays."""
    make, code, field = REFUSED[what]
    sent = make(door.sender)
    before = stored(door.node.runtime)
    error = door.refused(sent, await door.post(sent))
    assert (error.code, error.ref_to_message) == (code, sent.message.message_id)
    assert error.description.startswith(f"{field}: " if field else "")
    (refusal,) = await _refusals(door, sent.message.message_id)
    assert (refusal["code"], refusal["gateway"], refusal["from"]) == (code, "as4", str(sent.pmode.us.id))
    assert refusal["field"] == (field or refusal["field"]) != ""
    assert refusal["cause"]
    assert explain.code(code, As4Gateway.explain)
    await until(lambda: stored(door.node.runtime) == before, "what was refused left nothing")


async def test_what_was_refused_may_be_corrected_under_the_same_id(door: Door):
    """A failed message occupies no key: a receipt is never given for it, and its id is still free."""
    wrong = door.sender.message(message_id="corrected@municipality.example", identity=stranger())
    right = door.sender.message(message_id="corrected@municipality.example")
    door.refused(wrong, await door.post(wrong))
    door.acknowledged(right, await door.post(right))


async def test_a_stranger_is_answered_without_a_signature(door: Door):
    """Nobody of ours was addressed: there is no key to sign under, and the answer says so to no one in particular."""
    sent = _other(door.sender, them=NOWHERE)
    got = await door.post(sent)
    assert door.refused(sent, got, authenticated=False).code == "EBMS:0010"
    assert b"<ds:Signature" not in got.body


async def test_what_is_no_xml_is_refused_with_a_header_error(door: Door):
    """There is no message id to refer to; the refusal is found under the address it came from."""
    earlier = len(refusals(door.node.runtime, "message from 127.0.0.1"))
    got = await post(
        door.estate.hospital.port, b"<oops", {"Content-Type": "application/soap+xml"}, anchors(door.estate)
    )
    sent = door.sender.message()
    assert door.refused(sent, got, authenticated=False).code == "EBMS:0009"
    await until(
        lambda: [r["code"] for r in refusals(door.node.runtime, "message from 127.0.0.1")[earlier:]] == ["EBMS:0009"],
        "the refusal's trace",
    )


async def test_a_signal_is_taken_only_as_an_answer(door: Door):
    """Signals that are posted are refused by their own id, and never acknowledged."""
    sent = door.sender.message()
    first = await door.post(sent)
    receipt = door.acknowledged(sent, first)
    got = await post(door.estate.hospital.port, first.body, {"Content-Type": first.content_type}, anchors(door.estate))
    with pytest.raises(RemoteError) as caught:
        door.acknowledged(sent, got)
    (error,) = caught.value.errors
    assert (error.code, error.ref_to_message) == ("EBMS:0008", receipt.message_id)


@pytest.mark.parametrize(
    ("envelope", "entry", "body", "code", "answer"),
    [
        ("http://schemas.xmlsoap.org/soap/envelope/", "", "", "VersionMismatch", "VersionMismatch"),
        (names.S12, '<a:x xmlns:a="urn:a" s:mustUnderstand="true"/>', "", "MustUnderstand", "MustUnderstand"),
        (names.S12, "", "<s:Fault><s:Reason><s:Text>no</s:Text></s:Reason></s:Fault>", "Received", "Sender"),
    ],
)
async def test_what_is_no_ebms_message_gets_a_soap_fault(
    door: Door, envelope: str, entry: str, body: str, code: str, answer: str
):
    """HTTP 500 with the fault; the trace has it, and nothing is stored."""
    octets = f'<s:Envelope xmlns:s="{envelope}"><s:Header>{entry}</s:Header><s:Body>{body}</s:Body></s:Envelope>'
    before = stored(door.node.runtime)
    got = await post(
        door.estate.hospital.port, octets.encode(), {"Content-Type": "application/soap+xml"}, anchors(door.estate)
    )
    assert got.status == 500
    assert f"<S12:Value>S12:{answer}</S12:Value>".encode() in got.body
    with pytest.raises(SoapFault):
        door.acknowledged(door.sender.message(), got)
    await until(
        lambda: f"SOAP {code}" in [r["code"] for r in refusals(door.node.runtime, "fault from 127.0.0.1")],
        "the refusal's trace",
    )
    assert explain.code(f"SOAP {code}", As4Gateway.explain)
    assert stored(door.node.runtime) == before


@pytest.mark.parametrize(
    ("method", "path", "kind", "status"),
    [
        ("GET", "/as4", "", 405),
        ("PUT", "/as4", "application/soap+xml", 405),
        ("POST", "/as5", "application/soap+xml", 404),
        ("POST", "/as4", "text/html", 415),
        ("POST", "/as4", "multipart/related", 415),
    ],
)
async def test_what_is_no_exchange_is_answered_by_http_alone(
    door: Door, method: str, path: str, kind: str, status: int
):
    """The status says it all, and nothing is kept."""
    before = stored(door.node.runtime), count(door.node.runtime, "trace")
    got = await post(
        door.estate.hospital.port, b"x", {"Content-Type": kind}, anchors(door.estate), path=path, method=method
    )
    assert got.status == status
    assert (stored(door.node.runtime), count(door.node.runtime, "trace")) == before


# --- interrupted, and full --------------------------------------------------------------------------------------------


async def test_a_sender_that_goes_in_the_middle_leaves_nothing(door: Door):
    """Half a large payload is forgotten, and the same message is taken when it comes whole."""
    sent = door.sender.message([os.urandom(2_500_000)])
    before = stored(door.node.runtime)
    _, writer = await asyncio.open_connection("localhost", door.estate.hospital.port, ssl=anchors(door.estate))
    head = f"POST /as4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent.body)}\r\n"
    writer.write(f"{head}Content-Type: {sent.headers['Content-Type']}\r\n\r\n".encode() + sent.body[:1_500_000])
    await writer.drain()
    await until(lambda: len(objects(door.node.runtime)) > before[2], "the first part is on disk")
    writer.transport.abort()
    await until(lambda: stored(door.node.runtime) == before, "the half is gone")
    door.acknowledged(sent, await door.post(sent))


@pytest.mark.parametrize("large", [False, True])
async def test_below_the_reserve_senders_are_asked_to_come_back(tmp_path: Path, template: Path, large: bool):
    """HTTP 503 with the wait; the disk is left for what was accepted already."""
    estate = CopiedEstate(tmp_path / "full", template=template)
    estate.make()
    edit_node(estate.hospital.home, free_space_reserve=1 << 60)
    sent = OtherSender(estate).message([os.urandom(300_000 if large else 10)])
    async with running(estate.hospital.home) as (node,):
        got = await post_sent(estate, sent)
        assert (got.status, got.headers["Retry-After"], got.body) == (503, "60", b"Try again later.\n")
        assert stored(node.runtime) == (0, 0, 0)


async def test_a_sender_without_a_service_agreement_is_refused(tmp_path: Path, template: Path):
    """A partner's signature is not enough: the data's owner must have agreed."""
    estate = CopiedEstate(tmp_path / "agreement", template=template)
    estate.make()
    edit(estate.hospital.home, "agreements.yaml", "service-agreement", may="receive")
    sender = OtherSender(estate)
    sent = sender.message([os.urandom(100_000)])
    async with running(estate.hospital.home) as (node,):
        got = await post_sent(estate, sent)
        with pytest.raises(RemoteError) as caught:
            outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        (error,) = caught.value.errors
        assert error.code == "EBMS:0004"
        assert "service agreement: care-record may not send under homecare now" in error.description
        await until(lambda: stored(node.runtime) == (0, 0, 0), "what was refused left nothing")


@pytest.mark.requirement("R71")
async def test_a_message_no_route_takes_is_kept_and_somebody_is_told(tmp_path: Path, template: Path):
    """The receipt says that it cannot be lost: it waits in the residual mailbox, with an alarm."""
    estate = CopiedEstate(tmp_path / "residual", template=template)
    estate.make()
    edit(estate.hospital.home, "routes.yaml", "route", match={"sender": "nobody-at-all"})
    edit(estate.hospital.home, "integrations.yaml", "integration", tests=[])
    sender = OtherSender(estate)
    sent = sender.message()
    async with running(estate.hospital.home) as (node,):
        got = await post_sent(estate, sent)
        outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        ((code, parcel_id),) = open_alarms(node.runtime)
        assert code == "residual"
        assert mailbox(node.runtime) == [parcel_id]


# --- four corners -----------------------------------------------------------------------------------------------------


CORNERS = {
    "original_sender": {"value": "demo-clinic", "type": "urn:demo:corners"},
    "final_recipient": {"value": "demo-ward", "type": "urn:demo:corners"},
}


async def test_four_corners_demand_their_properties_and_keep_them(tmp_path: Path, template: Path):
    """Without original sender and final recipient a message is refused; with them they are in the description."""
    estate = CopiedEstate(tmp_path / "corners", template=template)
    estate.make()
    edit(estate.hospital.home, "as4.yaml", "as4.partner", profile="edelivery-1.15-four-corner", four_corner=CORNERS)
    sender = OtherSender(estate)
    both = (
        ebms.Property(names.ORIGINAL_SENDER, "demo-clinic", "urn:demo:corners"),
        ebms.Property(names.FINAL_RECIPIENT, "demo-ward", "urn:demo:corners"),
    )
    async with running(estate.hospital.home) as (node,):
        for missing, present in ((names.FINAL_RECIPIENT, both[:1]), (names.ORIGINAL_SENDER, both[1:])):
            sent = sender.message(properties=present)
            got = await post_sent(estate, sent)
            with pytest.raises(RemoteError) as caught:
                outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
            (error,) = caught.value.errors
            assert error.code == "EBMS:0010"
            assert error.description.startswith(f"MessageProperties/{missing}: is missing")
        assert stored(node.runtime) == (0, 0, 0)
        sent = sender.message(properties=both)
        got = await post_sent(estate, sent)
        outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        parcel = node.runtime.read_now(parcels.load, mailbox(node.runtime)[0])
        assert parcel.description.attributes["as4.property.originalSender"] == "demo-clinic"
        assert parcel.description.attributes["as4.property.finalRecipient"] == "demo-ward"


# --- a crash between the commit and the receipt -----------------------------------------------------------------------


async def test_a_crash_between_commit_and_receipt_loses_and_doubles_nothing(tmp_path: Path, template: Path):
    """The sender hears nothing and sends again; it gets the receipt that was committed with the message."""
    estate = CopiedEstate(tmp_path / "crash", retry_first=0.05, retry_longest=0.1, template=template)
    estate.make()
    sent = OtherSender(estate).message([os.urandom(100_000)])
    await asyncio.to_thread(estate.start, estate.hospital, environment={"STAFET_FAILPOINT": "before-answer:1"})
    with pytest.raises(aiohttp.ClientError):
        await post_sent(estate, sent)
    assert await asyncio.to_thread(estate.nodes.pop("hospital").wait, 10) == -9
    async with running(estate.hospital.home) as (node,):
        found = node.runtime.read_now(parcels.recall, Key("as4:municipality", sent.message.message_id))
        assert found is not None, "the message was committed before the crash"
        got = await post_sent(estate, sent)
        assert got.body == found.answer[32:]
        outbound.judge_answer(
            sent.message, sent.pmode, OtherSender(estate).trust(), got.status, got.content_type, got.body
        )
        assert stored(node.runtime) == (1, 1, 1)
        assert mailbox(node.runtime) == [found.parcel_id]
