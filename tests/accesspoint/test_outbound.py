"""Sending: what is built is frozen, what is frozen gives the same octets every time, and an answer proves receipt or not."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accesspoint import ebms, mime, names, outbound
from accesspoint.ebms import Property
from accesspoint.errors import EbmsError, RemoteError, SoapFault
from accesspoint.inbound import Accepted
from accesspoint.names import DS, tag
from accesspoint.outbound import Acknowledged, Message, Part, build, judge_answer, new_cid
from accesspoint.profiles import EDELIVERY_1_15
from accesspoint.receipts import error_xml, receipt_xml
from accesspoint.references import Reference
from accesspoint.signals import fault_envelope, unsigned_error
from accesspoint.soap import parse_envelope
from accesspoint.tokens import KeyReference
from accesspoint.wss import verify
from accesspoint.xmlenc import IV, TAG
from tests.accesspoint import headers
from tests.accesspoint.headers import NOW, against_schema, believe, canonical, official, quick
from tests.accesspoint.signing import elliptic, stranger
from tests.fuzz import world as w

SOAP = "application/soap+xml; charset=UTF-8"
FORMS = ("binary-security-token", "subject-key-identifier", "issuer-serial")
EMPTY = ((b"", "application/octet-stream", False),)
LOOKALIKE = ((b"\r\n--stafet-0102030405060708\r\n--stafet", "image/png", False), (b"x" * 70_000, "text/plain", True))
PAYLOADS = {"two": w.PAYLOADS, "empty": EMPTY, "boundary": LOOKALIKE, "none": ()}


def built(
    pmode: Any, payloads: Sequence[tuple[bytes, str, bool]] = w.PAYLOADS, **more: Any
) -> tuple[Message, list[bytes]]:
    """A message of the municipality's with all that is random, and the octets of its parts."""
    parts, octets = w.prepared(payloads)
    theirs = w.world().theirs
    return build(pmode, w.header(pmode, **more), parts, theirs.certificate, w.sign_as(theirs)), octets


def pieces(message: Message, parts: Sequence[bytes], sizes: Sequence[int]) -> Iterator[bytes]:
    """The body as a sender streams it, each part cut into pieces of these sizes."""
    yield message.start()
    for index, octets in enumerate(parts):
        writer = message.part(index)
        yield writer.head
        view, at, turn = memoryview(octets), 0, 0
        while at < len(view):
            size = sizes[turn % len(sizes)] if sizes else len(view)
            yield writer.update(view[at : at + size])
            at, turn = at + size, turn + 1
        yield writer.finish()
    yield message.end()


# --- what is built ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("payloads", PAYLOADS.values(), ids=PAYLOADS)
@pytest.mark.parametrize("name", ["pinned", "plain", "anchored"])
def test_what_is_built_is_accepted_by_our_own_receiver(name, payloads):
    """Encrypted or only signed, without payloads too: the header, every reference and every octet come through."""
    pmode = getattr(w.world(), name)
    message, parts = built(pmode, payloads)
    accepted = w.receive(message.whole(parts), message.content_type)
    assert isinstance(accepted, Accepted)
    assert accepted.message == replace(w.header(pmode), parts=tuple(p.info() for p in w.prepared(payloads)[0]))
    assert (accepted.pmode.id, accepted.references) == (name, message.references)
    assert [bytes(p.sink.octets) for p in accepted.parts] == [data for data, _, _ in payloads]
    assert [p.media_type for p in accepted.parts] == [kind for _, kind, _ in payloads]


@pytest.mark.parametrize("form", FORMS)
def test_keys_are_named_as_agreed(shared, form):
    """In each form our receiver takes the message, and the envelope is valid under the official schema."""
    message, parts = built(replace(w.world().pinned, key_reference=form))
    assert isinstance(w.receive(message.whole(parts), message.content_type), Accepted)
    assert against_schema(shared, message.root) == ""
    assert against_schema(shared, message.root.replace(b"xenc:CipherValue", b"xenc:Value")) != ""


def test_what_is_signed_is_what_is_sent():
    """Header, body and SignedInfo stand in the envelope in the octets that were digested and signed; the key is used once."""
    asked: list[bytes] = []
    (parts, _), pmode, theirs = w.prepared(w.PAYLOADS), w.world().pinned, w.world().theirs
    value = b"the value of the signature"
    message = build(pmode, w.header(pmode), parts, theirs.certificate, lambda info: asked.append(info) or value)
    envelope = parse_envelope(message.root)
    assert envelope.security is not None
    (info,) = envelope.security.iter(tag(DS, "SignedInfo"))
    assert asked == [canonical(info)]
    assert b64encode(value) in message.root
    for element in (envelope.messaging, envelope.body):
        assert canonical(element) in message.root
    assert [r.uri for r in message.references] == ["#body", "#messaging", "cid:part-1@stafet", "cid:part-2@stafet"]
    assert [r.digest for r in message.references[2:]] == [p.sha256 for p in parts]


@settings(official, max_examples=40)
@given(headers.messages.map(lambda said: replace(said, mpc="urn:demo:channel")))
def test_whatever_a_header_says_its_envelope_is_valid_and_signed(shared, said):
    """Awkward values change neither the schema's verdict nor the signature's."""
    world = w.world()
    parts, _ = w.prepared(w.PAYLOADS)
    message = build(world.pinned, said, parts, world.theirs.certificate, w.sign_as(world.theirs))
    assert against_schema(shared, message.root) == ""
    envelope = parse_envelope(message.root)
    verified = verify(envelope, EDELIVERY_1_15, lambda reference: (world.theirs.certificate,))
    assert verified.references == message.references
    assert ebms.parse_messaging(envelope) == replace(said, parts=tuple(p.info() for p in parts))
    assert message.message_id == said.message_id


def test_nothing_random_is_used_twice():
    """Each message has its own boundary and content key, each part its own IV: only what is frozen can be repeated."""
    messages = [built(w.world().pinned)[0] for _ in range(3)]
    assert len({m.root for m in messages}) == 3
    assert len({m.boundary for m in messages}) == len({m.key for m in messages}) == 3
    assert {len(m.key) for m in messages} == {16}
    ivs = [iv for m in messages for _, _, _, iv in m.parts]
    assert {len(iv) for iv in ivs} == {IV}
    assert len(set(ivs)) == 6
    plain = built(w.world().plain)[0]
    assert (plain.key, {iv for _, _, _, iv in plain.parts}) == (b"", {b""})


@pytest.mark.assertion("CP_TA24")
def test_a_part_says_its_types():
    """MimeType always, CompressionType when compressed, the caller's own after them; on the wire gzip is gzip."""
    own = (Property("CharacterSet", "utf-8"),)
    small, plain = (Part("a@stafet", "text/xml", packed, 1, b"", own) for packed in (True, False))
    kind, gzip = Property(names.MIME_TYPE, "text/xml"), Property(names.COMPRESSION_TYPE, "application/gzip")
    assert (small.info().cid, small.info().properties, small.wire_type) == (
        "a@stafet",
        (kind, gzip, *own),
        "application/gzip",
    )
    assert (plain.info().properties, plain.wire_type) == ((kind, *own), "text/xml")


def test_content_ids_need_no_escaping_and_do_not_repeat():
    """Hexadecimal, as long as the entropy they are made of."""
    assert new_cid(w.entropy) == "0102030405060708090a0b0c@stafet"
    found = {new_cid() for _ in range(100)}
    assert len(found) == 100
    assert all(re.fullmatch("[0-9a-f]{24}@stafet", cid) for cid in found)


def test_a_value_xml_cannot_hold_is_refused_before_anything_is_signed():
    """Nobody asks the private key."""
    pmode, theirs = w.world().pinned, w.world().theirs
    header = replace(w.header(pmode), conversation_id="a\x00")
    with pytest.raises(ValueError, match=r"U\+0000"):
        build(pmode, header, (), theirs.certificate, lambda info: pytest.fail("was asked"))


@pytest.mark.parametrize(
    ("cid", "kind", "refused"),
    [
        ("a@stafet", "image/png\r\nX-Other: yes", True),
        ("a@stafet", "image/\u00e6", True),
        ("a@stafet", "", True),
        ("a>\r\n\r\nb", "image/png", True),
        ("a b", "image/png", True),
        ("a@stafet", "image/png; q=1", False),
    ],
)
def test_what_a_mime_header_cannot_hold_is_refused(cid, kind, refused):
    """A line end would be a header of somebody else's making. What is encrypted hides its type, so any will do."""
    pmode, theirs = w.world().plain, w.world().theirs

    def head(mode: Any) -> bytes:
        parts = [Part(cid, kind, False, 0, b"")]
        return build(mode, w.header(mode), parts, theirs.certificate, w.sign_as(theirs)).part(0).head

    if not refused:
        assert f"\r\nContent-Type: {kind}\r\n".encode() in head(pmode)
        return
    with pytest.raises(ValueError, match="cannot be written in a MIME header"):
        head(pmode)
    if cid == "a@stafet":
        assert b"\r\nContent-Type: application/octet-stream\r\n" in head(w.world().pinned)


@pytest.mark.parametrize(("elliptical", "cause"), [(False, "the partner has none"), (True, "is not for rsa-oaep")])
def test_without_a_certificate_to_encrypt_for_payloads_are_refused(elliptical, cause):
    """A message without payloads needs none."""
    pmode = replace(w.world().pinned, their_encryption_certificate=elliptic()[1] if elliptical else None)
    with pytest.raises(EbmsError) as caught:
        built(pmode)
    error = caught.value
    assert (error.error.code, error.field, error.cause) == ("EBMS:0103", "encryption_certificate", cause)
    assert isinstance(w.receive(built(pmode, ())[0].root, SOAP), Accepted)


# --- what is frozen ---------------------------------------------------------------------------------------------------

FROZEN = {
    (name, kind): built(getattr(w.world(), name), payloads)
    for name in ("pinned", "plain")
    for kind, payloads in PAYLOADS.items()
}


@quick
@given(st.sampled_from(sorted(FROZEN)), st.lists(st.integers(1, 5000), max_size=5))
def test_a_retry_gives_the_same_octets_however_they_are_read(which, sizes):
    """Frozen and thawed, in any pieces: octet for octet the same body, of exactly the length that was announced."""
    message, parts = FROZEN[which]
    once = message.whole(parts)
    thawed = Message.from_bytes(message.to_bytes())
    assert thawed == message
    again = b"".join(pieces(thawed, parts, sizes))
    assert again == once
    assert thawed.length == len(again)
    assert thawed.content_type == message.content_type


@pytest.mark.parametrize("name", ["pinned", "plain"])
def test_the_body_is_mime_as_agreed(name):
    """The SOAP part first, each payload under its Content-ID; what is encrypted hides its type, and IV and tag are added."""
    message, parts = FROZEN[name, "two"]
    boundary = mime.parse_content_type(message.content_type).boundary
    assert boundary == message.boundary
    reader = mime.MultipartReader(boundary)
    events = list(reader.feed(message.whole(parts)))
    reader.close()
    begun = [e for e in events if isinstance(e, mime.PartBegin)]
    data = [b"".join(e.octets for e in chunk if isinstance(e, mime.PartData)) for chunk in by_part(events)]
    encrypted = name == "pinned"
    kinds = ["application/octet-stream"] * 2 if encrypted else ["application/gzip", "image/png"]
    assert [b.media_type for b in begun] == ["application/soap+xml; charset=UTF-8", *kinds]
    assert [b.content_id for b in begun[1:]] == ["part-1@stafet", "part-2@stafet"]
    assert data[0] == message.root
    assert (data[1:] == parts) is not encrypted
    assert [len(d) for d in data[1:]] == [len(p) + (IV + TAG if encrypted else 0) for p in parts]
    if encrypted:
        assert [d[:IV] for d in data[1:]] == [iv for _, _, _, iv in message.parts]


def by_part(events: list[mime.Event]) -> list[list[mime.Event]]:
    """Events cut at the beginning of each part."""
    starts = [i for i, e in enumerate(events) if isinstance(e, mime.PartBegin)]
    return [events[a:b] for a, b in zip(starts, [*starts[1:], len(events)], strict=True)]


def test_without_payloads_the_envelope_is_the_body():
    """No MIME around it."""
    message, _ = FROZEN["pinned", "none"]
    assert (message.start(), message.end(), message.whole([])) == (message.root, b"", message.root)
    assert (message.content_type, message.length) == (SOAP, len(message.root))


STORED = FROZEN["pinned", "two"][0].to_bytes()
BROKEN = (b"", b"\x00", b"\xff\xff\xff\xff{", b"\x00\x01\x86\xa0" + b"[" * 100_000, STORED[:200])
HEADS = (b"{}", b"[]", b"null", b"1", b"\xff\xff", b"{")
EDITED = (
    (b'"parts":[', b'"parts":[3,'),
    (b'"parts":[', b'"parts":[[],'),
    (b'"key":"', b'"key":"a'),
    (b'"key":', b'"no":'),
)
NOT_FROZEN = (*BROKEN, *(len(h).to_bytes(4, "big") + h for h in HEADS), *(STORED.replace(*e, 1) for e in EDITED))


@pytest.mark.parametrize("octets", NOT_FROZEN, ids=range(len(NOT_FROZEN)))
def test_octets_that_are_no_frozen_message_are_refused(octets):
    """With one error, whatever is wrong with them."""
    with pytest.raises(ValueError):
        Message.from_bytes(octets)


@quick
@given(st.binary(max_size=60), st.integers(0, 300))
def test_any_octets_are_a_frozen_message_or_refused(octets, at):
    """Nothing else comes out of reading the ledger."""
    for candidate in (octets, STORED[:at] + octets + STORED[at + len(octets) :]):
        try:
            assert isinstance(Message.from_bytes(candidate), Message)
        except ValueError:
            continue


# --- the answer -------------------------------------------------------------------------------------------------------

SENT = FROZEN["pinned", "two"][0]


def signed(content: bytes, signer: Any = None, **more: Any) -> bytes:
    """A signal about the message that was sent, of the hospital's or of another's."""
    return headers.signed(content, signer, **{"reference": SENT.message_id, **more})


def receipt(*references: Reference, **more: Any) -> bytes:
    """A signed receipt for these references, or for all that was sent."""
    return signed(receipt_xml(references or SENT.references), **more)


def judged(octets: bytes, content_type: str = SOAP, status: int = 200) -> Acknowledged:
    """What an answer to the sent message proves."""
    return judge_answer(SENT, w.world().pinned, believe, status, content_type, octets)


def refusal(octets: bytes, content_type: str = SOAP, status: int = 200) -> tuple[str, str, str]:
    """Code, field and cause why an answer proves nothing."""
    with pytest.raises(EbmsError) as caught:
        judged(octets, content_type, status)
    return caught.value.error.code.removeprefix("EBMS:"), caught.value.field, caught.value.cause


def multipart(root: bytes, extra: bytes = b"") -> bytes:
    """An answer as some peers pack it."""
    return b"preamble\r\n" + mime.root_head("b", "r@stafet") + root + extra + mime.closing("b")


GOOD = receipt()
SPACED = b"\xef\xbb\xbf\r\n" + GOOD
MULTIPART = mime.content_type("b")


@pytest.mark.requirement("R67")
@pytest.mark.parametrize(
    ("octets", "content_type", "status"),
    [
        (GOOD, SOAP, 200),
        (GOOD, "text/xml", 202),
        (receipt(*reversed(SENT.references)), SOAP, 200),
        *((receipt(form=form), SOAP, 200) for form in FORMS),
        (GOOD, "", 200),
        (GOOD, SOAP, 500),
        (SPACED, SOAP, 200),
        (multipart(GOOD), MULTIPART, 200),
        (multipart(GOOD, mime.part_head("b", "more@stafet", "image/png") + b"\x89"), MULTIPART.upper().replace("B\"", 'b"'), 200),
    ],
)  # fmt: skip
def test_a_signed_receipt_for_every_reference_proves_it(octets, content_type, status):
    """In any order, form of key, packing and status: the signature decides. The envelope is kept as it came."""
    proof = judged(octets, content_type, status)
    assert (proof.message_id, proof.timestamp, proof.certificate) == (
        "s-1@hospital.example",
        NOW,
        w.world().ours.certificate,
    )
    assert proof.raw in octets
    assert (proof.raw.startswith(b"<?xml"), proof.raw[-15:]) == (octets != SPACED, b"</S12:Envelope>")


TWICE = "SignalMessage/Receipt: is not allowed here, or stands out of order"
USER = FROZEN["pinned", "none"][0].root
PULL = b"<eb:PullRequest></eb:PullRequest>"
CHANGED = replace(SENT.references[2], digest=b"x" * 32)
MORE = replace(CHANGED, uri="cid:x")
STRANGE = receipt_xml(SENT.references).replace(names.EBBP.encode(), b"urn:demo:signals")
WRONG = "the signal is not about the message we sent"
DIFFERS = "a digest differs: they received other octets than we sent"
FORGED = "does not verify with the certificate: changed on the way, or another key signed it"
CUT = "HTTP 200, no signal: MIME: the closing boundary is missing: the message is cut short"
OTHERS = signed(receipt_xml(SENT.references), stranger())
UNSIGNED = re.sub(rb"(?s)<wsse:Security.*</wsse:Security>", b"", GOOD)


@pytest.mark.parametrize(
    ("octets", "code", "field", "cause"),
    [
        (USER, "0302", "answer", "a user message instead of a receipt"),
        (signed(PULL), "0302", "RefToMessageId", WRONG),
        (receipt(reference="m-0002@municipality.example"), "0302", "RefToMessageId", WRONG),
        (receipt(reference=None), "0302", "RefToMessageId", WRONG),
        (receipt(*SENT.references[1:]), "0302", "Receipt", "1 of 4 signed parts are not acknowledged"),
        (receipt(*SENT.references, MORE), "0302", "Receipt", "1 parts are acknowledged that were not sent"),
        (receipt(*SENT.references[:2], CHANGED, SENT.references[3]), "0302", "Receipt", DIFFERS),
        (signed(STRANGE), "0302", "Receipt", "repeats no reference of the message: no non-repudiation information"),
        (UNSIGNED, "0302", "receipt Security", "the message is not signed"),
        (OTHERS, "0302", "receipt SignatureValue", FORGED),
        (receipt(sign=w.sign_as(stranger())), "0302", "receipt SignatureValue", FORGED),
        (GOOD.replace(b"s-1@", b"s-2@"), "0302", "receipt digest of Messaging", "Messaging was changed after it was signed"),
        (GOOD.replace(b"<eb:Receipt>", b"<eb:Receipt/><eb:Receipt>"), "0301", "answer", f"HTTP 200, no signal: {TWICE}"),
        (b"", "0301", "answer", "an empty answer where a receipt is agreed"),
        (b" \r\n", "0301", "answer", "an empty answer where a receipt is agreed"),
        (b"<html><body>Welcome</body></html>", "0301", "answer", "HTTP 200, no signal: SOAP part: is not a SOAP 1.2 envelope"),
        (b"<S12:Envelope", "0301", "answer", "HTTP 200, no signal: SOAP part: not well-formed XML (line 1)"),
        (b"received", "0301", "answer", "HTTP 200 with application/soap+xml, not SOAP"),
    ],
)  # fmt: skip
def test_what_is_no_receipt_for_what_was_sent_proves_nothing(octets, code, field, cause):
    """Other signals, other messages, other signers, changed or unsigned: 0302. No signal at all: 0301."""
    assert refusal(octets) == (code, field, cause)


@pytest.mark.parametrize(
    ("octets", "content_type", "status", "cause"),
    [
        (b"", SOAP, 202, "an empty answer where a receipt is agreed"),
        (b"", SOAP, 503, "HTTP 503 without a body"),
        (b"Bad Gateway", "Text/HTML; charset=x", 502, "HTTP 502 with text/html, not SOAP"),
        (b"Bad Gateway", "", 502, "HTTP 502 with no media type, not SOAP"),
        (GOOD, "multipart/related", 200, "HTTP 200, no signal: multipart/related needs a boundary of 1 to 70 characters"),
        (GOOD, MULTIPART, 200, CUT),
        (multipart(GOOD)[:-9], MULTIPART, 200, CUT),
        (b"--b--", MULTIPART, 200, "HTTP 200, no signal: SOAP part: not well-formed XML (line 1)"),
    ],
)  # fmt: skip
def test_an_answer_without_a_signal_says_what_came_instead(octets, content_type, status, cause):
    """For the person who looks at the partner's proxy: 0301 with status and media type."""
    assert refusal(octets, content_type, status) == ("0301", "answer", cause)


def test_the_partner_s_trust_decides_who_may_sign():
    """Nobody is believed whom the agreement does not name, also with their certificate in the message."""
    refused = EbmsError(outbound.INVALID_RECEIPT, field="certificate", cause="expired", remedy="renew it")

    def no(reference: KeyReference):
        raise refused

    with pytest.raises(EbmsError) as caught:
        judge_answer(SENT, w.world().pinned, no, 200, SOAP, GOOD)
    assert (caught.value.field, caught.value.cause, caught.value.remedy) == (
        "receipt certificate",
        "expired",
        "renew it",
    )
    assert judge_answer(SENT, w.world().pinned, lambda _: [stranger().certificate], 200, SOAP, OTHERS).raw == OTHERS


def test_a_fault_is_a_fault():
    """Without a signal it says nothing about the message."""
    with pytest.raises(SoapFault, match="no thanks"):
        judged(fault_envelope(SoapFault("Receiver", "no thanks")), status=500)


REPORTED = EbmsError(
    outbound.POLICY_NONCOMPLIANCE, field="signature", cause="is missing", ref_to_message_id=SENT.message_id
)


@pytest.mark.parametrize(
    ("make", "authenticated"),
    [
        (lambda: signed(error_xml(REPORTED)), True),
        (lambda: signed(error_xml(REPORTED), reference=None), True),
        (lambda: signed(error_xml(REPORTED), reference="m-0002@municipality.example"), False),
        (lambda: signed(error_xml(REPORTED), stranger()), False),
        (lambda: signed(error_xml(REPORTED)).replace(b"is missing", b"is a pity"), False),
        (lambda: unsigned_error(REPORTED, message_id="e-1@hospital.example", timestamp=NOW), False),
    ],
    ids=["signed", "about nothing", "about another", "by a stranger", "changed", "unsigned"],
)
@pytest.mark.parametrize(("pack", "content_type"), [(bytes, SOAP), (multipart, MULTIPART)])
def test_errors_are_told_and_believed_only_when_signed(make: Callable[[], bytes], authenticated, pack, content_type):
    """What they report always reaches people; whether it may end the retries is another question."""
    octets = make()
    with pytest.raises(RemoteError) as caught:
        judged(pack(octets), content_type, 500)
    assert caught.value.authenticated is authenticated
    (told,) = caught.value.errors
    assert (told.code, told.severity, told.ref_to_message) == ("EBMS:0103", "failure", SENT.message_id)


HEADER = range(GOOD.index(b"<eb:Messaging"), GOOD.index(b"</eb:Messaging>"))
SPARE = range(GOOD.index(b"S12=", HEADER.start), GOOD.index(b"S12=", HEADER.start) + 3)
"""A prefix that the envelope declares as well: called otherwise here, nothing is said otherwise."""
LETTERS = [i for i in HEADER if GOOD[i : i + 1].isalnum() and i not in SPARE]


@quick
@given(st.sampled_from(LETTERS), st.sampled_from(b"aZ0"))
def test_a_receipt_changed_in_any_letter_proves_nothing(at, letter):
    """Ids, digests, names of elements: each is under the signature."""
    octets = bytearray(GOOD)
    octets[at] = letter if octets[at] != letter else ord("b")
    with pytest.raises((EbmsError, SoapFault)):
        judged(bytes(octets))


@quick
@given(
    st.binary(max_size=80) | st.tuples(st.integers(0, len(GOOD)), st.binary(max_size=3)).map(lambda x: GOOD[: x[0]] + x[1]),
    st.sampled_from((SOAP, "", "text/plain", MULTIPART, "multipart/related; boundary=\"")) | st.text(max_size=20),
    st.sampled_from((200, 204, 404, 500)),
)  # fmt: skip
def test_whatever_is_answered_has_a_verdict(octets, content_type, status):
    """Garbage and truncated receipts end in the two codes of a producer, or in a fault; never in an exception of ours."""
    try:
        judged(octets, content_type, status)
    except EbmsError as error:
        assert error.error.code in ("EBMS:0301", "EBMS:0302")
    except SoapFault:
        pass
    else:
        assert octets.startswith(GOOD)
