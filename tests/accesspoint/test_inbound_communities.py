"""Whole messages under the profiles of communities: what fits arrives, what breaks a demand is neither sent nor taken.

A message that breaks one is built under a profile without that demand, well signed and encrypted, and met by a receiver that has
it: nothing but the demand stands between it and its acceptance.
"""

from __future__ import annotations

import os
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint import limits, names, outbound
from accesspoint.compression import Compressor
from accesspoint.ebms import Party, Property, Typed
from accesspoint.errors import EbmsError
from accesspoint.inbound import Accepted, Receiver
from accesspoint.outbound import Part
from accesspoint.pmode import PMode
from accesspoint.profiles import (
    EDELIVERY_1_15,
    EDELIVERY_1_15_SBDH,
    EHMI,
    ENTSOG_3,
    PEPPOL,
    Demands,
    Profile,
)
from accesspoint.sbdh import FIELD, Header, HeaderReader
from accesspoint.tokens import candidates
from accesspoint.wss import Trust
from tests.accesspoint.documents import RECEIVER, SENDER, alone, document, manifest
from tests.accesspoint.messages import sha256
from tests.fuzz import world as w

KIND = names.PARTICIPANTS
CORNERS = (Property(names.ORIGINAL_SENDER, SENDER, KIND), Property(names.FINAL_RECIPIENT, RECEIVER, KIND))
AGREED = Typed(names.PEPPOL_AGREEMENT)
XML = "application/xml"


def agreed(profile: Profile, **more: Any) -> PMode:
    """How the hospital receives from the municipality; the names of both are those of their certificates."""
    them, us = (Typed(name, names.PEPPOL_PARTY) for name in ("municipality", "hospital"))
    facts: dict[str, Any] = {
        "service": Typed("urn:fictitious:process", names.PEPPOL_PROCESSES),
        "action": "busdox-docid-qns::urn:fictitious:notes::Note##urn:fictitious::1",
        "their_encryption_certificate": w.world().ours.certificate,
        "recipients": (Typed(RECEIVER, KIND),),
        "agreement": AGREED,
    }
    us_, them_ = Party(us, names.RESPONDER), Party(them, names.INITIATOR)
    return PMode("deliver", "municipality", profile, us_, them_, **{**facts, **more})


def head(octets: bytes) -> Header:
    """The header of a document."""
    reader = HeaderReader()
    reader.feed(octets)
    return reader.header()


def parts_of(
    payloads: Sequence[bytes], kind: str, properties: tuple[Property, ...], compressed: bool
) -> tuple[Any, Any]:
    """Prepared parts and their octets; the second and later ones have the Content-IDs a@b.example, c@b.example."""
    made, octets = [], []
    for index, payload in enumerate(payloads):
        stream = Compressor()
        wire = stream.feed(payload) + stream.finish() if compressed else payload
        cid = ("document@b.example", "a@b.example", "c@b.example")[index]
        made.append(Part(cid, kind, compressed, len(wire), sha256(wire), properties))
        octets.append(wire)
    return made, octets


def sent(mode: PMode, *payloads: bytes, **more: Any) -> tuple[str, bytes]:
    """Content-Type and body of a message of theirs; ``more`` goes into the header."""
    kind, compressed = more.pop("kind", XML), more.pop("compressed", True)
    parts, octets = parts_of(payloads, kind, more.pop("part_properties", ()), compressed)
    said = {"properties": CORNERS, "agreement": AGREED, **more}
    first = head(payloads[0]) if mode.profile.demands.envelope else None
    theirs = w.world().theirs
    message = outbound.build(mode, w.header(mode, **said), parts, theirs.certificate, w.sign_as(theirs), header=first)
    return message.content_type, message.whole(octets)


class Hospital:
    """A receiver with one agreement, that believes every certificate at hand."""

    def __init__(self, mode: PMode) -> None:
        self._mode = mode
        self.taken: list[w.Buffer] = []

    def pmodes(self) -> Sequence[PMode]:
        return [self._mode]

    def trust(self, pmode: PMode) -> Trust:
        return lambda reference: candidates(reference, [w.world().theirs.certificate, w.world().ours.certificate])

    def decryption_keys(self, pmode: PMode) -> Sequence[tuple[x509.Certificate, rsa.RSAPrivateKey]]:
        ours = w.world().ours
        return [(ours.certificate, cast(rsa.RSAPrivateKey, ours.key))]

    def sink(self, info: object, pmode: PMode) -> w.Buffer:
        self.taken.append(w.Buffer())
        return self.taken[-1]


def received(mode: PMode, content_type: str, body: bytes, step: int = 1 << 16) -> Accepted:
    """What comes of a body that is fed in pieces."""
    receiver = Receiver(content_type, Hospital(mode), Hospital(mode).sink)
    for at in range(0, len(body), step):
        receiver.feed(body[at : at + step])
    said = receiver.finish()
    assert isinstance(said, Accepted)
    return said


def without(profile: Profile, **changes: Any) -> Profile:
    """A profile that demands something less."""
    return replace(profile, demands=replace(profile.demands, **changes))


FREE = replace(EDELIVERY_1_15, name="free")
EDIGAS = {
    "service": Typed("A06", names.EDIGAS_SERVICE),
    "action": names.AS4_ACTION,
}
PROPERTY = (Property(names.EDIGAS_DOCUMENT_TYPE, "01G"),)
LISTED = document(("<BusinessScope>", manifest("a@b.example", "cid:c@b.example")))


@pytest.mark.parametrize("step", [1 << 16, 1000])
def test_what_fits_a_community_s_profile_arrives(step):
    """Documents and headers alone, with and without further payloads; a nomination of the gas network."""
    for profile, payloads in (
        (EDELIVERY_1_15_SBDH, (document(),)),
        (EDELIVERY_1_15_SBDH, (LISTED, b"%PDF one", b"%PDF two")),
        (EDELIVERY_1_15_SBDH, (alone(("<BusinessScope>", manifest("&lt;a@b.example&gt;"))), b"%PDF")),
        (PEPPOL, (document(),)),
        (EHMI, (document(),)),
    ):
        mode = agreed(profile)
        accepted = received(mode, *sent(mode, *payloads), step)
        assert [part.sink.octets for part in accepted.parts] == list(payloads)  # type: ignore[attr-defined]
    mode = agreed(ENTSOG_3, **EDIGAS)
    accepted = received(mode, *_nomination(mode), step)
    assert accepted.parts[0].info.get(names.EDIGAS_DOCUMENT_TYPE) == "01G"


def _nomination(mode: PMode, **more: Any) -> tuple[str, bytes]:
    said = {"part_properties": PROPERTY, "properties": (), **more}
    message = {"conversation_id": "", **said}
    conversation = message.pop("conversation_id")
    parts, octets = parts_of([b"<Nomination_Document/>"], XML, message.pop("part_properties"), True)
    theirs = w.world().theirs
    header = replace(w.header(mode, agreement=AGREED, **message), conversation_id=conversation)
    made = outbound.build(mode, header, parts, theirs.certificate, w.sign_as(theirs))
    return made.content_type, made.whole(octets)


def both_refuse(
    profile: Profile, weaker: Profile, *payloads: bytes, code: str, field: str, mode: Any = None, **more: Any
) -> None:
    """It is not built under the profile; built under a weaker one, the profile's receiver refuses it: with the same words."""
    strict, loose = agreed(profile, **(mode or {})), agreed(weaker, **(mode or {}))
    with pytest.raises(EbmsError) as at_sender:
        sent(strict, *payloads, **more)
    content_type, body = sent(loose, *payloads, **more)
    for step in (1 << 16, 997):
        with pytest.raises(EbmsError) as at_receiver:
            received(strict, content_type, body, step)
        for caught in (at_sender, at_receiver):
            assert (caught.value.error.code.removeprefix("EBMS:"), caught.value.field) == (code, field)
        assert at_sender.value.cause == at_receiver.value.cause


SBD = EDELIVERY_1_15_SBDH


@pytest.mark.parametrize(
    ("profile", "weaker", "payloads", "code", "field", "more"),
    [
        pytest.param(SBD, FREE, (), "0010", "MessageProperties/originalSender", {"properties": CORNERS[1:]}, id="no sender"),
        pytest.param(SBD, FREE, (), "0010", "MessageProperties/finalRecipient", {"properties": CORNERS[:1]}, id="no recipient"),
        pytest.param(
            SBD, FREE, (), "0010", "MessageProperties/originalSender",
            {"properties": (*CORNERS, Property("ORIGINALSENDER", RECEIVER, KIND))}, id="two senders",
        ),
        pytest.param(
            SBD, FREE, (), "0003", "MessageProperties/originalSender",
            {"properties": (Property(names.ORIGINAL_SENDER, RECEIVER, KIND), CORNERS[1])}, id="another sender",
        ),
        pytest.param(
            EHMI, FREE, (), "0003", "MessageProperties/finalRecipient",
            {"properties": (CORNERS[0], Property(names.FINAL_RECIPIENT, SENDER, KIND))}, id="another recipient",
        ),
        pytest.param(SBD, FREE, (LISTED, b"1", b"2", ), "0003", "MessageProperties/originalSender",
            {"properties": (Property(names.ORIGINAL_SENDER, SENDER, "urn:x"), CORNERS[1])}, id="another scheme"),
        pytest.param(SBD, FREE, (document(), b"%PDF"), "0010", FIELD, {}, id="not in the manifest"),
        pytest.param(PEPPOL, SBD, (LISTED,), "0010", FIELD, {}, id="a manifest in Peppol"),
        pytest.param(PEPPOL, SBD, (alone(),), "0010", FIELD, {}, id="alone in Peppol"),
        pytest.param(EHMI, SBD, (LISTED, b"%PDF"), "0010", "PayloadInfo", {}, id="two payloads in EHMI"),
        pytest.param(PEPPOL, FREE, (), "0010", "PartProperties/CompressionType", {"compressed": False}, id="not compressed"),
        pytest.param(PEPPOL, FREE, (), "0010", "PartProperties/MimeType", {"kind": "application/json"}, id="another type"),
        pytest.param(PEPPOL, FREE, (), "0010", "AgreementRef", {"agreement": None}, id="no agreement"),
        pytest.param(
            PEPPOL, FREE, (), "0010", "MessageProperties/finalRecipient/@type",
            {"properties": (CORNERS[0], Property(names.FINAL_RECIPIENT, RECEIVER))}, id="no scheme",
        ),
    ],
)  # fmt: skip
def test_what_breaks_a_demand_is_neither_sent_nor_taken(profile, weaker, payloads, code, field, more):
    """By the same code, field and cause on both sides."""
    both_refuse(profile, weaker, *(payloads or (document(),)), code=code, field=field, **more)


@pytest.mark.parametrize(
    ("payload", "cause"),
    [
        (b'{"observation": 37.2}', "is not well-formed XML in UTF-8"),
        (b"<Invoice/>", "is not where the payload begins"),
        (b"", "is missing or cut short"),
        (document((names.SBDH, names.SBDH + "/")), "is not where the payload begins"),
        (document(("<!-- f", "<!DOCTYPE a [<!ENTITY b 'c'>]><!-- f")), "has a document type declaration"),
        (document(("<!-- f", "<!-- " + "f" * limits.DOCUMENT_HEADER)), "does not end within the first 262144 octets"),
    ],
)
def test_a_payload_that_is_no_document_is_refused(payload, cause):
    """Whoever sends it has signed it well; who would send it is told before anything is signed."""
    mode = agreed(SBD)
    content_type, body = sent(agreed(FREE), payload)
    for step in (1 << 20, 100):
        with pytest.raises(EbmsError) as caught:
            received(mode, content_type, body, step)
        assert (caught.value.error.code, caught.value.field, caught.value.cause) == ("EBMS:0010", FIELD, cause)
    parts, _ = parts_of([payload], XML, (), True)
    with pytest.raises(EbmsError) as caught:
        outbound.build(
            mode,
            w.header(mode, properties=CORNERS, agreement=AGREED),
            parts,
            w.world().theirs.certificate,
            lambda info: pytest.fail("was signed"),
        )
    assert (caught.value.error.code, caught.value.field, caught.value.cause) == ("EBMS:0010", FIELD, "is missing")


def test_a_document_that_is_not_first_is_none():
    """The header is that of the first PartInfo, whatever the order of the MIME parts."""
    content_type, body = sent(agreed(FREE), b"%PDF-1.7", LISTED)
    with pytest.raises(EbmsError) as caught:
        received(agreed(SBD), content_type, body)
    assert (caught.value.field, caught.value.cause) == (FIELD, "is not well-formed XML in UTF-8")


def test_a_changed_payload_is_refused_as_changed_before_its_header_counts():
    """What was not sent by them says nothing: 0102 for a changed ciphertext."""
    content_type, body = sent(agreed(FREE), b"<Invoice/>")
    at = body.rindex(b"--stafet-") - 12
    changed = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
    with pytest.raises(EbmsError) as caught:
        received(agreed(SBD), content_type, changed)
    assert caught.value.error.code == "EBMS:0102"


def test_a_test_message_needs_no_document():
    """With a payload of any kind or none, under every profile."""
    test = {"service": Typed(names.TEST_SERVICE), "action": names.TEST_ACTION}
    for profile in (SBD, PEPPOL, EHMI):
        for payloads in ((), (b"ping",)):
            parts, octets = parts_of(payloads, "text/plain", (), False)
            mode, theirs = agreed(profile), w.world().theirs
            header = replace(w.header(mode, properties=(), agreement=AGREED), **test)  # type: ignore[arg-type]
            message = outbound.build(mode, header, parts, theirs.certificate, w.sign_as(theirs))
            assert received(mode, message.content_type, message.whole(octets)).message.is_test


# --- who they are, and how they say it --------------------------------------------------------------------------------


def test_a_believed_certificate_of_another_party_is_refused():
    """Peppol's PartyId is the common name of the certificate: another one, believed all the same, does not speak for it."""
    mode = agreed(PEPPOL)
    ours = w.world().ours
    parts, octets = parts_of([document()], XML, (), True)
    header = w.header(mode, properties=CORNERS, agreement=AGREED)
    with pytest.raises(EbmsError) as at_sender:
        outbound.build(mode, header, parts, ours.certificate, w.sign_as(ours), header=head(document()))
    loose = agreed(without(PEPPOL, party_is_subject=False))
    made = outbound.build(loose, header, parts, ours.certificate, w.sign_as(ours), header=head(document()))
    with pytest.raises(EbmsError) as at_receiver:
        received(mode, made.content_type, made.whole(octets))
    for caught in (at_sender, at_receiver):
        assert (caught.value.error.code, caught.value.field) == ("EBMS:0101", "From/PartyId")
    wrong = agreed(PEPPOL, their_encryption_certificate=w.world().theirs.certificate)
    with pytest.raises(EbmsError) as caught:
        sent(wrong, document())
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0101", "To/PartyId")


@pytest.mark.parametrize("form", ["subject-key-identifier", "issuer-serial"])
def test_a_certificate_that_is_only_referred_to_is_refused_where_tokens_are_demanded(form):
    """For the signature; and for the encryption, where the signature brings its token."""
    mode = agreed(PEPPOL)
    with pytest.raises(EbmsError) as caught:
        received(mode, *sent(replace(mode, key_reference=form), document()))
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0103", "KeyInfo")
    eased = agreed(EHMI)
    received(eased, *sent(replace(eased, key_reference=form), document()))


def test_the_key_s_certificate_comes_along_where_tokens_are_demanded(monkeypatch):
    """A signature with a token does not make up for a key without one."""
    mode = agreed(PEPPOL)
    plain = outbound.encryption_xml
    monkeypatch.setattr(
        outbound, "encryption_xml", lambda theirs, form, *rest: plain(theirs, "subject-key-identifier", *rest)
    )
    with pytest.raises(EbmsError) as caught:
        received(mode, *sent(mode, document()))
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0103", "EncryptedKey/KeyInfo")


@pytest.mark.parametrize("inner", [b"", b"<a></a>", b"<wsse:SecurityTokenReference></wsse:SecurityTokenReference>"])
def test_a_key_that_says_not_whose_it_is_is_refused_where_tokens_are_demanded(inner, monkeypatch):
    """In whatever shape, and by a code."""
    mode = agreed(PEPPOL)
    plain = outbound.encryption_xml

    def emptied(*facts: Any) -> bytes:
        octets = plain(*facts)
        begin = octets.index(b">", octets.index(b"<ds:KeyInfo")) + 1
        return octets[:begin] + inner + octets[octets.index(b"</ds:KeyInfo>") :]

    monkeypatch.setattr(outbound, "encryption_xml", emptied)
    with pytest.raises(EbmsError) as caught:
        received(mode, *sent(mode, document()))
    assert caught.value.error.code in ("EBMS:0102", "EBMS:0103")


def test_what_comes_for_somebody_else_is_refused_before_it_is_decrypted():
    """0004 from the header alone."""
    mode = agreed(PEPPOL)
    content_type, body = sent(mode, document())
    with pytest.raises(EbmsError) as caught:
        received(
            replace(mode, recipients=(Typed("0088:5790000000999", KIND),)),
            content_type,
            body[: body.rindex(b"--stafet-") - 30],
        )
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0004", names.PEPPOL_NOT_SERVICED)


@pytest.mark.parametrize("demand", ["demand_signature", "demand_encryption"])
@pytest.mark.parametrize("profile", [SBD, PEPPOL, EHMI], ids=lambda p: p.name)
def test_no_community_takes_less_security(profile, demand):
    """Unencrypted, or unsigned, everything else being right: 0103."""
    mode = agreed(profile)
    content_type, body = sent(replace(mode, profile=replace(profile, demand_encryption=False)), document())
    if demand == "demand_signature":
        begin, end = body.index(b"<wsse:Security"), body.index(b"</wsse:Security>") + len(b"</wsse:Security>")
        body = body[:begin] + body[end:]
    with pytest.raises(EbmsError) as caught:
        received(mode, content_type, body)
    assert caught.value.error.code == "EBMS:0103"


def test_a_nomination_with_a_conversation_is_refused():
    """Its document type may be missing: real products leave it out."""
    mode, loose = agreed(ENTSOG_3, **EDIGAS), agreed(FREE, **EDIGAS)
    assert received(mode, *_nomination(mode, part_properties=())).parts[0].size == 22
    with pytest.raises(EbmsError) as at_sender:
        _nomination(mode, conversation_id="c-1")
    with pytest.raises(EbmsError) as at_receiver:
        received(mode, *_nomination(loose, conversation_id="c-1"))
    for caught in (at_sender, at_receiver):
        assert (caught.value.error.code, caught.value.field) == ("EBMS:0010", "ConversationId")


def test_a_large_document_is_never_held():
    """Its header is read, and the rest flows by: memory does not grow with the payload."""
    mode = agreed(SBD, max_size=1 << 30)
    begin, end = document().split(b"<![CDATA[")
    noise = os.urandom(1 << 19).hex().encode()
    payload = begin + b"<![CDATA[" + noise * 32 + end  # 32 MiB that hold their own repetition far apart
    content_type, body = sent(mode, payload)

    class Nowhere:
        def write(self, data: bytes) -> None:
            """Forgotten."""

    receiver = Receiver(content_type, Hospital(mode), lambda info, pmode: Nowhere())
    tracemalloc.start()
    for at in range(0, len(body), 1 << 16):
        receiver.feed(body[at : at + (1 << 16)])
    accepted = receiver.finish()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(accepted, Accepted)
    assert accepted.parts[0].size == len(payload) > 32 << 20
    assert peak < 8 << 20


def test_demands_are_asked_for_by_no_profile_of_edelivery_alone():
    """Whoever demands nothing takes what every community would refuse."""
    mode = agreed(FREE)
    assert FREE.demands == Demands()
    received(mode, *sent(mode, b"anything", properties=(), agreement=None, kind="text/plain", compressed=False))
