"""A sheet in the words of Holodeck B2B: elements in its schema's order, from the counterpart's side."""

from __future__ import annotations

import pytest
from lxml import etree

from accesspoint import names
from core.errors import UsageError
from gateways.as4.sheets.holodeck import NAMESPACE, holodeck_xml
from gateways.as4.sheets.sheet import Agreed
from tests.gateways.as4.sheets.making import CORNERS, EB, URL, sheet_of

_NS = {"p": NAMESPACE}


def _flow(agreed: Agreed, index: int) -> etree._Element:
    return etree.fromstring(holodeck_xml(agreed)[index][1].encode())


def _paths(root: etree._Element) -> list[str]:
    """Every element that holds text or nothing, as a path from the root, with its text."""
    tree, found = root.getroottree(), []
    for element in root.iter(f"{{{NAMESPACE}}}*"):
        if not len(element):
            path = tree.getelementpath(element).replace(f"{{{NAMESPACE}}}", "")
            found.append(f"{path}={element.text or ''}")
    return found


def test_there_is_one_p_mode_for_each_flow():
    """Holodeck knows one-way exchanges alone; the file's name is the flow's."""
    assert [name for name, _ in holodeck_xml(sheet_of())] == [
        "harbour-to-valley-announcing.xml",
        "valley-to-harbour-confirming.xml",
    ]


def test_what_they_send():
    """They sign with a key of their own and encrypt for our certificate; the order is the schema's."""
    assert _paths(_flow(sheet_of(), 1)) == [
        "id=valley-to-harbour-confirming",
        f"mep={EB}oneWay",
        f"mepBinding={EB}push",
        "Initiator/PartyId=south-valley",
        f"Initiator/Role={EB}initiator",
        "Initiator/SecurityConfiguration/Signing/KeystoreAlias=OWN-KEY",
        "Initiator/SecurityConfiguration/Signing/KeyReferenceMethod=BSTReference",
        f"Initiator/SecurityConfiguration/Signing/Algorithm={names.RSA_SHA256}",
        f"Initiator/SecurityConfiguration/Signing/HashFunction={names.SHA256}",
        "Responder/PartyId=north-harbour",
        f"Responder/Role={EB}responder",
        "Responder/SecurityConfiguration/Encryption/KeystoreAlias=OUR-CERTIFICATE",
        f"Responder/SecurityConfiguration/Encryption/Algorithm={names.AES128_GCM}",
        f"Responder/SecurityConfiguration/Encryption/KeyTransport/Algorithm={names.RSA_OAEP}",
        f"Responder/SecurityConfiguration/Encryption/KeyTransport/MGFAlgorithm={names.MGF1_SHA256}",
        f"Responder/SecurityConfiguration/Encryption/KeyTransport/DigestAlgorithm={names.SHA256}",
        "Responder/SecurityConfiguration/Encryption/KeyTransport/KeyReferenceMethod=BSTReference",
        "Agreement/name=urn:fictitious:agreement:port",
        f"Leg/Protocol/Address={URL}",
        "Leg/Receipt/NotifyReceiptToBusinessApplication=true",
        "Leg/ReceptionAwareness/MaxRetries=4",
        "Leg/ReceptionAwareness/RetryInterval=180",
        "Leg/UserMessageFlow/BusinessInfo/Action=confirm",
        f"Leg/UserMessageFlow/BusinessInfo/Mpc={EB}defaultMPC",
        "Leg/UserMessageFlow/BusinessInfo/Service/name=urn:fictitious:service:arrivals",
        "Leg/UserMessageFlow/BusinessInfo/Service/type=urn:fictitious:services",
        "Leg/UserMessageFlow/ErrorHandling/ReplyPattern=RESPONSE",
        "Leg/UserMessageFlow/PayloadProfile/UseAS4Compression=true",
    ]


def test_what_they_receive():
    """They decrypt with a key of their own, answer on the connection, and drop duplicates."""
    root = _flow(sheet_of(), 0)
    assert [path for path in _paths(root) if path.startswith(("Initiator", "Responder", "Leg/Rece"))] == [
        "Initiator/PartyId=north-harbour",
        f"Initiator/Role={EB}initiator",
        "Responder/PartyId=south-valley",
        f"Responder/Role={EB}responder",
        "Responder/SecurityConfiguration/Encryption/KeystoreAlias=OWN-KEY",
        "Leg/Receipt/ReplyPattern=RESPONSE",
        "Leg/ReceptionAwareness/UseDuplicateElimination=true",
    ]
    assert "DefaultDelivery: how your back end gets the message" in holodeck_xml(sheet_of())[0][1]


def test_it_says_that_it_was_not_tried():
    """Every file, before anything else."""
    for _, text in holodeck_xml(sheet_of()):
        assert "not tried with a running Holodeck B2B" in " ".join(text.split())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("binary-security-token", "BSTReference"),
        ("subject-key-identifier", "KeyIdentifier"),
        ("issuer-serial", "IssuerSerial"),
    ],
)
def test_references_to_certificates_have_other_names_there(ours, theirs):
    """For the signature and for the key transport."""
    root = _flow(sheet_of(key_reference=ours), 1)
    assert [e.text for e in root.iterfind(".//p:KeyReferenceMethod", _NS)] == [theirs, theirs]


def test_types_a_p_modes_name_and_compression():
    """The name goes into the message only together with an agreement."""
    exchange = {
        "integration": "n",
        "service": {"value": "urn:s"},
        "action": "a",
        "pmode": "port-7",
        "direction": "receive",
    }
    agreement = {"value": "port", "type": "urn:fictitious:agreements"}
    root = _flow(sheet_of(exchanges=[exchange], agreement=agreement, compress=False), 0)
    identity = root.find("p:id", _NS)
    assert (identity.text, identity.get("include")) == ("port-7", "true")
    assert [path for path in _paths(root) if path.startswith(("Agreement", "Leg/UserMessageFlow"))] == [
        "Agreement/type=urn:fictitious:agreements",
        "Agreement/name=port",
        "Leg/UserMessageFlow/BusinessInfo/Action=a",
        f"Leg/UserMessageFlow/BusinessInfo/Mpc={EB}defaultMPC",
        "Leg/UserMessageFlow/BusinessInfo/Service/name=urn:s",
        "Leg/UserMessageFlow/ErrorHandling/ReplyPattern=RESPONSE",
        "Leg/UserMessageFlow/PayloadProfile/UseAS4Compression=false",
    ]
    del exchange["pmode"]
    bare = _flow(sheet_of(exchanges=[exchange], agreement=None), 0)
    assert bare.find("p:id", _NS).get("include") is None
    assert bare.find("p:Agreement", _NS) is None


def test_party_ids_have_their_type_or_none():
    """As they stand in the header."""
    types = [
        e.get("type")
        for e in _flow(sheet_of(untyped_names=True, party_id={"value": "v"}), 0).iterfind(".//p:PartyId", _NS)
    ]
    assert types == ["urn:fictitious:towns", None]


def test_the_corners_of_what_they_send_are_properties():
    """What stands behind them is the original sender."""
    agreed = sheet_of(profile="edelivery-1.15-four-corner", four_corner=CORNERS)
    properties = _flow(agreed, 1).iterfind(".//p:Property", _NS)
    assert [(p.findtext("p:name", namespaces=_NS), p.findtext("p:value", namespaces=_NS)) for p in properties] == [
        ("originalSender", "valley-office"),
        ("finalRecipient", "harbour-office"),
    ]
    assert _flow(agreed, 0).find(".//p:Property", _NS) is None


def test_a_short_wait_is_a_second():
    """Holodeck counts whole seconds."""
    assert (
        _flow(sheet_of(retry={"attempts": 2, "first_wait": 0.1}), 1).findtext(".//p:RetryInterval", namespaces=_NS)
        == "1"
    )


def test_other_profiles_are_refused():
    """Holodeck was not seen to speak them."""
    with pytest.raises(UsageError, match="--for holodeck: valley is agreed on edelivery-2"):
        holodeck_xml(sheet_of(profile="edelivery-2.0-ec"))
