"""What is refused at the door: the sender learns code and field, the trace keeps both, and nothing else stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from accesspoint import ebms, names
from accesspoint.compression import compress
from accesspoint.errors import SoapFault
from conformance.estate import SERVICE, SERVICE_TYPE
from core import explain
from core.disk import Disk
from core.errors import Overloaded
from gateways.as4 import receiving
from gateways.as4.adapter import As4Gateway
from tests.gateways.as4.making import (
    OtherSender,
    Sent,
    count,
    stored,
    stranger,
)
from tests.gateways.as4.running import (
    Door,
    anchors,
    post,
    refusals,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


# --- refused ----------------------------------------------------------------------------------------------------------


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
    (refusal,) = await door.refusals(sent.message.message_id)
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


async def test_a_signal_is_never_answered_with_a_signal(door: Door):
    """A receipt about nothing that was sent from here is taken with 202, remembered under what it names, and not answered."""
    sent = door.sender.message()
    first = await door.post(sent)
    door.acknowledged(sent, first)
    got = await post(door.estate.hospital.port, first.body, {"Content-Type": first.content_type}, anchors(door.estate))
    assert (got.status, got.body) == (202, b"")
    (refusal,) = await door.refusals(sent.message.message_id)
    assert refusal["code"] == "unknown-message"


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


async def test_a_disk_that_fills_up_on_the_way_asks_the_sender_back(door: Door, monkeypatch: pytest.MonkeyPatch):
    """HTTP 503 with a wait: it is no fault of the sender's, and the same message is taken when there is room."""
    sent = door.sender.message([os.urandom(700_000)])
    before = stored(door.node.runtime)

    def full(_self: Disk, _descriptor: int, _octets: bytes) -> None:
        raise Overloaded("the payload store has no room; try again later")

    with monkeypatch.context() as patch:
        patch.setattr(Disk, "write", full)
        got = await door.post(sent)
    assert (got.status, got.headers["Retry-After"]) == (503, "5")
    assert stored(door.node.runtime) == before
    door.acknowledged(sent, await door.post(sent))


async def test_a_bug_is_told_to_the_operator_and_not_to_the_peer(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """HTTP 500 without detail, nothing stored, and the next message is taken as if nothing had been."""
    sent = door.sender.message()
    before = stored(door.node.runtime)

    def broken(*_: object) -> dict[str, str]:
        raise ZeroDivisionError("a detail of ours")

    with monkeypatch.context() as patch:
        patch.setattr(receiving, "facts", broken)
        got = await door.post(sent)
    assert got.status == 500
    assert b"a detail of ours" not in got.body
    captured = capsys.readouterr()
    assert "a detail of ours" in captured.out + captured.err
    assert stored(door.node.runtime) == before
    door.acknowledged(sent, await door.post(sent))
