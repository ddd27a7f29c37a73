"""A sheet in the words of the Java libraries: phase4's calls, and what Oxalis fixes for everybody."""

from __future__ import annotations

import pytest

from core.errors import UsageError
from gateways.as4.sheets.java import oxalis_text, phase4_java
from tests.gateways.as4.sheets.making import CORNERS, EB, URL, party, sheet_of

# --- phase4 -----------------------------------------------------------------------------------------------------------


def test_each_flow_is_a_p_mode_of_phase4():
    """Parties, address, service and agreement are arguments; receipts and errors are setters."""
    text = phase4_java(sheet_of())
    assert (
        f'PModeParty initiator_pmode1 = new PModeParty("urn:fictitious:towns", "north-harbour", "{EB}initiator", null, null);'
        in text
    )
    assert (
        f'PModeParty responder_pmode2 = new PModeParty("urn:fictitious:towns", "north-harbour", "{EB}responder", null, null);'
        in text
    )
    assert '    "urn:fictitious:service:arrivals", "confirm", null, CAS4.DEFAULT_MPC_ID);' in text
    assert 'business_pmode2.setServiceType("urn:fictitious:services");' in text
    assert f'createForDefaultSoapVersion("{URL}")' in text
    assert "security_pmode1.setX509SignatureAlgorithm(ECryptoAlgorithmSign.RSA_SHA_256);" in text
    assert "security_pmode1.setSendReceiptReplyPattern(EPModeSendReceiptReplyPattern.RESPONSE);" in text
    assert 'PMode pmode1 = new PMode("harbour-to-valley-announcing", initiator_pmode1, responder_pmode1,' in text
    assert '    "urn:fictitious:agreement:port", EMEP.ONE_WAY, EMEPBinding.PUSH, leg_pmode1, null, null, null);' in text


def test_what_they_send_is_a_call_of_the_sender():
    """One call for the flow that is theirs, none for ours."""
    text = phase4_java(sheet_of())
    assert text.count("AS4Sender.builderUserMessage()") == 1
    for call in (
        f'    .endpointURL("{URL}")',
        '    .fromPartyIDType("urn:fictitious:towns").fromPartyID("south-valley")',
        '    .toPartyIDType("urn:fictitious:towns").toPartyID("north-harbour")',
        f'    .fromRole("{EB}initiator")',
        '    .service("urn:fictitious:services", "urn:fictitious:service:arrivals")',
        '    .action("confirm")',
        "    .withCryptParams(p -> p.setAlgorithmCrypt(ECryptoAlgorithmCrypt.AES_128_GCM))",
        "    .sendMessageAndCheckForReceipt();",
    ):
        assert call in text.splitlines()
    assert "compression(EAS4CompressionMode.GZIP)" in text
    assert "compression(null)" in phase4_java(sheet_of(compress=False))


def test_what_is_not_agreed_is_null():
    """No type, no agreement; and a P-Mode's name where there is one."""
    exchange = {"integration": "n", "service": {"value": "urn:s"}, "action": "a"}
    text = phase4_java(sheet_of(untyped_names=True, party_id={"value": "v"}, agreement=None, exchanges=[exchange]))
    assert 'new PModeParty(null, "v",' in text
    assert '.service(null, "urn:s")' in text
    assert "setServiceType" not in text
    assert '    "", EMEP.ONE_WAY' in text
    assert 'new PMode("port-7",' in phase4_java(sheet_of(exchanges=[exchange | {"pmode": "port-7"}]))


@pytest.mark.parametrize(
    ("profile", "sign", "call"),
    [
        ("edelivery-2.0", "EDDSA_ED25519", "setEDelivery2KeyAgreementX25519"),
        ("edelivery-2.0-ec", "ECDSA_SHA_256", "setEDelivery2KeyAgreementECDHES"),
    ],
)
def test_phase4_speaks_the_newer_profiles(profile, sign, call):
    """Signature and key agreement follow the profile."""
    text = phase4_java(sheet_of(profile=profile))
    assert f"ECryptoAlgorithmSign.{sign}" in text
    assert f"{{ p.setAlgorithmCrypt(ECryptoAlgorithmCrypt.AES_128_GCM); p.{call}(); }}" in text
    assert "RSA" not in text


def test_what_is_known_of_phase4_is_said():
    """Duplicates, unsigned messages, corners, and a type that was not tried."""
    text = phase4_java(sheet_of(agreement={"value": "a", "type": "t"}, four_corner=CORNERS))
    assert "answers_duplicates: error" in text
    assert "phase4 takes unsigned messages unless it is told not to" in text
    assert '// The agreement\'s type is "t"; where phase4 sets it was not tried.' in text
    assert "originalSender and finalRecipient belong to it" in text
    assert "answers_duplicates" not in phase4_java(sheet_of(answers_duplicates="error"))


def test_a_value_is_a_java_literal():
    """Quotes and backslashes do not end the string, and a line is a line."""
    exchange = {"integration": "n", "service": {"value": "urn:s"}, "action": 'a");x(\\', "direction": "receive"}
    assert '    .action("a\\");x(\\\\")' in phase4_java(sheet_of(exchanges=[exchange])).splitlines()


# --- Oxalis -----------------------------------------------------------------------------------------------------------

PEPPOL = {
    "party_id": {"value": "POP000001", "type": "urn:fdc:peppol.eu:2017:identifiers:ap"},
    "agreement": {"value": "urn:fdc:peppol.eu:2017:agreements:tia:ap_provider"},
    "profile": "peppol",
    "max_payloads": 1,
}


def test_what_is_otherwise_than_peppol_is_said():
    """Each field of ours that an Oxalis would stumble over."""
    text = oxalis_text(
        sheet_of(
            agreement=None, key_reference="issuer-serial", our_role="urn:r", compress=False, party_id={"value": "urn:v"}
        )
    )
    for words in (
        "as4.party: party_id.type is urn:fictitious:towns; Peppol's is",
        "as4.partner: party_id.type is none; Peppol's is",
        "agreement is none; Peppol's is",
        "profile is edelivery-1.15; Peppol's is peppol",
        "key_reference is issuer-serial",
        "our_role and their_role are set",
        "max_payloads is 28",
        "compress is false",
    ):
        assert f"- {words}" in text or f"- as4.partner: {words}" in text


def test_a_document_that_fits_peppol_needs_no_change():
    """Our certificate and address go into the address book."""
    us = party(party_id={"value": "POP000002", "type": "urn:fdc:peppol.eu:2017:identifiers:ap"})
    text = oxalis_text(sheet_of(us=us, **PEPPOL))
    assert "Our document fits that." in text
    assert "must be otherwise" not in text
    assert f"the address {URL} and this certificate of ours: CN=North Harbour signing" in text


def test_oxalis_does_not_speak_the_newer_profiles():
    """It is refused before anything is said."""
    with pytest.raises(UsageError, match="--for oxalis: valley is agreed on edelivery-2"):
        oxalis_text(sheet_of(profile="edelivery-2.0"))
