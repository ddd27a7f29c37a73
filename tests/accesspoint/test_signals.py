"""Signals we send: whole envelopes, signed over header and body, or bare where nobody is known."""

from __future__ import annotations

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import ebms
from accesspoint.ebms import Signal, parse_messaging
from accesspoint.errors import CATALOGUE, INVALID_HEADER, EbmsError, SoapFault
from accesspoint.names import DS, S12, tag
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_2_0, EDELIVERY_2_0_EC
from accesspoint.receipts import error_xml, parse_errors, parse_receipt, receipt_xml
from accesspoint.signals import fault_envelope, unsigned_error
from accesspoint.soap import parse_envelope
from accesspoint.wss import SigningKey, sign, verify
from tests.accesspoint import headers
from tests.accesspoint import signing as s
from tests.accesspoint.headers import NOW, against_schema, believe, canonical, official, quick, signed
from tests.fuzz import world as w

FORMS = ("binary-security-token", "subject-key-identifier", "issuer-serial")
SENT = w.sent(w.world().pinned)[0].references


@pytest.mark.parametrize("form", FORMS)
def test_a_signal_is_signed_over_header_and_body(form):
    """With the key named in any form the partner agreed to; what it says comes back."""
    envelope = parse_envelope(signed(receipt_xml(SENT), form=form))
    verified = verify(envelope, EDELIVERY_1_15, believe)
    assert verified.certificate == w.world().ours.certificate
    assert {r.uri for r in verified.references} == {f"#{ebms.BODY_ID}", f"#{ebms.MESSAGING_ID}"}
    assert verified.attachments == {}
    said = parse_messaging(envelope)
    assert isinstance(said, Signal)
    assert (said.message_id, said.timestamp, said.ref_to_message_id) == (
        "s-1@hospital.example",
        NOW,
        "m-1@municipality.example",
    )
    assert parse_receipt(said) == SENT


def test_what_is_signed_is_what_is_sent():
    """Header, body and SignedInfo stand in the envelope in the octets that were digested and signed."""
    asked: list[bytes] = []

    def noted(octets: bytes) -> bytes:
        asked.append(octets)
        return sign(cast(SigningKey, w.world().ours.key), octets)

    octets = signed(receipt_xml(SENT), sign=noted)
    envelope = parse_envelope(octets)
    assert envelope.security is not None
    (info,) = envelope.security.iter(tag(DS, "SignedInfo"))
    assert asked == [canonical(info)], "the private key is asked once"
    for element in (envelope.messaging, envelope.body):
        assert canonical(element) in octets


@pytest.mark.parametrize(("kind", "profile"), [("ed25519", EDELIVERY_2_0), ("p256", EDELIVERY_2_0_EC)])
def test_a_signal_is_signed_under_the_partner_s_own_profile(shared, kind, profile):
    """With Ed25519 or ECDSA where that is agreed; under another profile the same signal counts for nothing."""
    signer = s.holder(kind)
    octets = signed(receipt_xml(SENT), signer, profile=profile)
    trust = s.trusting(signer.certificate, w.world().ours.certificate)
    envelope = parse_envelope(octets)
    verified = verify(envelope, profile, trust)
    assert (verified.certificate, verified.signature_method) == (signer.certificate, profile.signatures[0])
    assert parse_receipt(parse_messaging(envelope)) == SENT
    assert against_schema(shared, octets) == ""
    with s.refused("0103", "SignatureMethod", "is not agreed"):
        verify(envelope, EDELIVERY_1_15, trust)
    with s.refused("0103", "SignatureMethod", "is not agreed"):
        verify(parse_envelope(signed(receipt_xml(SENT))), profile, trust)


@settings(quick, max_examples=50)
@given(headers.ids, headers.times, st.none() | headers.tokens, st.sampled_from(sorted(CATALOGUE)), headers.texts)
def test_whatever_an_error_says_its_signature_verifies(message_id, moment, reference, code, cause):
    """Awkward ids and causes change nothing about the signature."""
    error = EbmsError(CATALOGUE[code], field="a", cause=cause)
    octets = signed(error_xml(error), message_id=message_id, timestamp=moment, reference=reference)
    envelope = parse_envelope(octets)
    verify(envelope, EDELIVERY_1_15, believe)
    said = parse_messaging(envelope)
    assert (said.message_id, said.timestamp, said.ref_to_message_id) == (message_id, moment, reference)
    assert parse_errors(said)[0].code == code


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("content", [receipt_xml(SENT), error_xml(EbmsError(INVALID_HEADER, field="a", cause="b"))])
def test_a_signed_signal_is_valid_under_the_official_schema(shared, content, form):
    """Receipt and error, whatever the form of the key's name."""
    octets = signed(content, form=form)
    assert against_schema(shared, octets) == ""
    assert against_schema(shared, octets.replace(b"ds:SignatureValue", b"ds:Value")) != ""


@official
@given(headers.texts, headers.texts, st.just("") | headers.tokens)
def test_an_unsigned_error_is_a_whole_envelope(shared, field, cause, reference):
    """Valid, without security header, about the message when its id is known."""
    whole = f"{cause}, of no concern to strangers"
    error = EbmsError(INVALID_HEADER, field=field, cause=whole, told=cause or "x", ref_to_message_id=reference)
    octets = unsigned_error(error, message_id="s-1@stafet.invalid", timestamp=NOW)
    assert against_schema(shared, octets) == ""
    envelope = parse_envelope(octets)
    said = parse_messaging(envelope)
    assert envelope.security is None
    assert (said.message_id, said.timestamp, said.ref_to_message_id) == ("s-1@stafet.invalid", NOW, reference or None)
    (told,) = parse_errors(said)
    assert b"of no concern to strangers" not in octets
    assert (told.code, told.detail) == ("EBMS:0009", INVALID_HEADER.meaning)


CODES = ("VersionMismatch", "MustUnderstand", "DataEncodingUnknown", "Sender", "Receiver")


@pytest.mark.parametrize(("code", "written"), [*zip(CODES, CODES, strict=True), ("Received", "Sender"), ("", "Sender")])
def test_a_fault_is_valid_under_the_official_schema(shared, code, written):
    """Also where a fault of theirs is answered, whose code is none of SOAP 1.2: the sender's fault it is."""
    octets = fault_envelope(SoapFault(code, "send <SOAP> 1.2"))
    assert against_schema(shared, octets) == ""
    assert f"<S12:Value>S12:{written}</S12:Value>".encode() in octets
    assert "Received" in against_schema(shared, octets.replace(written.encode() + b"<", b"Received<"))


@quick
@given(headers.texts)
def test_a_fault_says_its_reason(reason):
    """One body, no header, the reason as it is; read again it is a fault."""
    octets = fault_envelope(SoapFault("Sender", reason))
    envelope = etree.fromstring(octets)
    assert [child.tag for child in envelope] == [tag(S12, "Body")]
    assert envelope.findtext(f".//{tag(S12, 'Text')}") == reason
    with pytest.raises(SoapFault) as caught:
        parse_envelope(octets)
    assert caught.value.code == "Received"
