"""What a counterpart must set on their side: our document, seen from the other end."""

from __future__ import annotations

import pytest
from cryptography import x509

from accesspoint import names
from accesspoint.ebms import Typed
from core.errors import UsageError
from core.trust import fingerprint
from gateways.as4.sheets import sheet
from gateways.as4.sheets.sheet import Agreed
from tests.gateways.as4.sheets.making import CORNERS, EB, URL, certificate, sheet_of


def _rows(agreed: Agreed, flow: int = 0) -> dict[str, str]:
    return dict(sheet.parameters(agreed, agreed.flows[flow]))


def test_each_direction_is_a_flow():
    """Whoever sends is the initiator, and the address is the receiver's."""
    sends, receives = sheet_of().flows
    us, them = Typed("north-harbour", "urn:fictitious:towns"), Typed("south-valley", "urn:fictitious:towns")
    assert (sends.id, sends.ours, sends.initiator, sends.responder) == ("harbour-to-valley-announcing", True, us, them)
    assert (receives.id, receives.ours, receives.initiator, receives.responder) == (
        "valley-to-harbour-confirming",
        False,
        them,
        us,
    )
    assert (sends.address, receives.address) == ("https://south.valley.example/msh", URL)
    for flow in (sends, receives):
        assert (flow.initiator_role, flow.responder_role) == (names.INITIATOR, names.RESPONDER)


def test_an_exchange_both_ways_is_two_flows():
    """In this order: ours, theirs."""
    exchange = {"integration": "notes", "service": {"value": "urn:fictitious:s"}, "action": "a"}
    assert [flow.ours for flow in sheet_of(exchanges=[exchange]).flows] == [True, False]


def test_business_roles_stay_with_their_party():
    """They do not change with the direction."""
    sends, receives = sheet_of(our_role="urn:fictitious:harbour", their_role="urn:fictitious:valley").flows
    assert (sends.initiator_role, sends.responder_role) == ("urn:fictitious:harbour", "urn:fictitious:valley")
    assert (receives.initiator_role, receives.responder_role) == ("urn:fictitious:valley", "urn:fictitious:harbour")


def test_the_parameters_of_what_we_send():
    """The names are those of the eDelivery profile, and our signing certificate is among the values."""
    rows = _rows(sheet_of())
    ours = fingerprint(certificate("North Harbour signing"))
    assert rows == {
        "PMode.ID": "harbour-to-valley-announcing (free: it is not in the message)",
        "PMode.Agreement": "urn:fictitious:agreement:port",
        "PMode.MEP": f"{EB}oneWay",
        "PMode.MEPbinding": f"{EB}push",
        "PMode.Initiator.Party": "north-harbour (type urn:fictitious:towns)",
        "PMode.Initiator.Role": f"{EB}initiator",
        "PMode.Responder.Party": "south-valley (type urn:fictitious:towns)",
        "PMode.Responder.Role": f"{EB}responder",
        "PMode[1].Protocol.Address": "https://south.valley.example/msh",
        "PMode[1].Protocol.SOAPVersion": "1.2",
        "PMode[1].BusinessInfo.Service": "urn:fictitious:service:arrivals (type urn:fictitious:services)",
        "PMode[1].BusinessInfo.Action": "announce",
        "PMode[1].BusinessInfo.MPC": f"{EB}defaultMPC",
        "PMode[1].BusinessInfo.PayloadProfile.maxSize": "4294967296 octets of one payload",
        "PMode[1].BusinessInfo.PayloadProfile": "at most 28 payloads, each an attachment",
        "PMode[1].Security.WSSVersion": "1.1.1",
        "PMode[1].Security.X509.Sign": "Messaging, Body and every attachment",
        "PMode[1].Security.X509.Signature.Algorithm": "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256",
        "PMode[1].Security.X509.Signature.HashFunction": "http://www.w3.org/2001/04/xmlenc#sha256",
        "PMode[1].Security.X509.Signature.Certificate": rows["PMode[1].Security.X509.Signature.Certificate"],
        "PMode[1].Security.X509.Encryption.Encrypt": "every attachment",
        "PMode[1].Security.X509.Encryption.Algorithm": "http://www.w3.org/2009/xmlenc11#aes128-gcm",
        "PMode[1].Security.X509.Encryption.MinimumStrength": "128",
        "key transport": "http://www.w3.org/2009/xmlenc11#rsa-oaep",
        "key transport digest, mask": "http://www.w3.org/2001/04/xmlenc#sha256, http://www.w3.org/2009/xmlenc11#mgf1sha256",
        "reference to certificates": "binary-security-token",
        "PMode[1].Security.UsernameToken": "none",
        "PMode[1].Security.SendReceipt": "true",
        "PMode[1].Security.SendReceipt.NonRepudiation": "true",
        "PMode[1].Security.SendReceipt.ReplyPattern": "Response",
        "PMode[1].ErrorHandling.Report.AsResponse": "true",
        "PMode[1].PayloadService.CompressionType": "application/gzip",
        "PMode[1].ReceptionAwareness": "true",
        "PMode[1].ReceptionAwareness.Retry": "true: 5 attempts in all",
        "PMode[1].ReceptionAwareness.DuplicateDetection": "true",
    }
    assert rows["PMode[1].Security.X509.Signature.Certificate"].startswith("ours: CN=North Harbour signing")
    assert rows["PMode[1].Security.X509.Signature.Certificate"].endswith(f"SHA-256 {ours}")


def test_the_parameters_of_what_they_send():
    """They send to our address and encrypt for our certificate; how they sign is theirs."""
    rows = _rows(sheet_of(), 1)
    assert rows["PMode[1].Protocol.Address"] == URL
    assert fingerprint(certificate("North Harbour decryption")) in rows["PMode[1].Security.X509.Encryption.Certificate"]
    assert "PMode[1].Security.X509.Signature.Certificate" not in rows


def test_what_is_agreed_beside_the_profile_is_said():
    """A P-Mode's name within an agreement, or neither; no compression, other bounds."""
    exchange = {"integration": "n", "service": {"value": "urn:s"}, "action": "a", "pmode": "port-7"}
    assert _rows(sheet_of(exchanges=[exchange]))["PMode.ID"] == "port-7"
    bare = {name: value for name, value in exchange.items() if name != "pmode"}
    rows = _rows(sheet_of(exchanges=[bare], agreement=None, compress=False, max_size=9, max_payloads=2))
    assert "PMode.Agreement" not in rows
    assert rows["PMode[1].PayloadService.CompressionType"] == "none"
    assert rows["PMode[1].BusinessInfo.PayloadProfile.maxSize"].startswith("9 octets")
    assert rows["PMode[1].BusinessInfo.PayloadProfile"].startswith("at most 2 payloads")


def test_the_corners_change_places_with_the_direction():
    """Whoever is behind the sender is the original sender."""
    agreed = sheet_of(profile="edelivery-1.15-four-corner", four_corner=CORNERS)
    ours, theirs = _rows(agreed, 0), _rows(agreed, 1)
    harbour, valley = (f"{name}-office (type urn:fictitious:offices)" for name in ("harbour", "valley"))
    key = "PMode[1].BusinessInfo.Properties."
    assert (ours[f"{key}originalSender"], ours[f"{key}finalRecipient"]) == (harbour, valley)
    assert (theirs[f"{key}originalSender"], theirs[f"{key}finalRecipient"]) == (valley, harbour)


def test_what_a_community_demands_is_said():
    """Of payloads, of the conversation, and whose the corners are where each document says it."""
    key = "PMode[1].BusinessInfo."
    peppol = _rows(sheet_of(profile="peppol"), 0)
    assert peppol[f"{key}Properties.originalSender"] == "of each message: Sender of its business document header"
    assert peppol[f"{key}Properties.finalRecipient"] == "of each message: Receiver of its business document header"
    assert peppol[f"{key}PayloadProfile"] == (
        "exactly one payload, an attachment; a StandardBusinessDocument without a Manifest; MimeType application/xml"
    )
    assert "eb:ConversationId" not in peppol
    gas = _rows(sheet_of(profile="entsog-3"), 0)
    assert gas["eb:ConversationId"] == "empty"
    assert gas[f"{key}PayloadProfile"].endswith(
        "exactly one payload, an attachment; its part property EDIGASDocumentType, where you have one"
    )
    assert f"{key}Properties.originalSender" not in gas
    several = _rows(sheet_of(profile="edelivery-1.15-sbdh", four_corner=CORNERS), 0)
    assert several[f"{key}PayloadProfile"] == (
        "at most 28 payloads, each an attachment; the first begins with a StandardBusinessDocumentHeader, whose Manifest names"
        " the others"
    )
    assert several[f"{key}Properties.originalSender"].startswith("harbour-office")


@pytest.mark.parametrize(
    ("profile", "signature", "transport"),
    [
        ("edelivery-2.0", names.ED25519, f"{names.X25519}, {names.KW_AES128}"),
        ("edelivery-2.0-ec", names.ECDSA_SHA256, f"{names.ECDH_ES}, {names.KW_AES128}"),
    ],
)
def test_the_newer_profiles_have_their_own_algorithms(profile, signature, transport):
    """A key agreement instead of a transport under RSA."""
    agreed = sheet_of(profile=profile)
    rows = _rows(agreed)
    assert rows["PMode[1].Security.X509.Signature.Algorithm"] == signature
    assert rows["key transport"] == transport
    assert "key transport digest, mask" not in rows
    with pytest.raises(UsageError, match=f"--for domibus: valley is agreed on {profile}"):
        sheet.only_1_15(agreed, "domibus")
    sheet.only_1_15(sheet_of(), "domibus")


def test_our_certificates_are_pem_files():
    """Each says what it is for; one that serves for both is there once."""
    first, second = sheet.certificates(sheet_of())
    assert (first[0], second[0]) == ("verifies what we sign", "encrypts what you send to us")
    assert x509.load_pem_x509_certificate(second[2].encode()) == certificate("North Harbour decryption")
    assert fingerprint(certificate("North Harbour signing")) in first[1]
    (only,) = sheet.certificates(sheet_of(one_certificate=True))
    assert only[0] == "verifies what we sign, and encrypts what you send to us"


def test_the_first_test_is_the_connection_and_then_the_ping():
    """Nothing real is sent before the test service has been answered."""
    steps = sheet.first_tests(sheet_of())
    assert (
        steps[0]
        == "Open a TLS connection to as4.harbour.example; its certificate must be trusted without an exception."
    )
    assert names.TEST_SERVICE in steps[1]
    assert names.TEST_ACTION in steps[1]
    assert "4294967296 octets" in steps[-1]


def test_what_is_missing_or_special_is_among_the_tests():
    """An address nobody named, and mutual TLS."""
    assert "have it made again with --url" in sheet.first_tests(sheet_of(url=sheet.NO_URL))[0]
    assert "mutual TLS" in sheet.first_tests(sheet_of(tls={"client_key": "client"}))[1]
