"""A sheet in the words of Holodeck B2B: one P-Mode document for each flow, from the counterpart's side.

Rules:

1. Element names and their order are those of Holodeck's P-Mode schema; no Holodeck was run against them, and each file says so.
2. How messages are handed to their back end, and what their keys are called, is theirs: it is marked, not made up.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from accesspoint import names
from accesspoint.ebms import Typed
from accesspoint.soap import Element
from gateways.as4.sheets.sheet import Agreed, Flow, only_1_15

NAMESPACE: Final = "http://holodeck-b2b.org/schemas/2014/10/pmode"
_REFERENCES: Final = {
    "binary-security-token": "BSTReference",
    "subject-key-identifier": "KeyIdentifier",
    "issuer-serial": "IssuerSerial",
}
_UNTRIED: Final = (
    " Written after Holodeck B2B's P-Mode schema and not tried with a running Holodeck B2B: compare it with the schema of your"
    " release. OWN-KEY and OWN-PASSWORD are yours; OUR-CERTIFICATE is the alias you import ours under. "
)


def holodeck_xml(agreed: Agreed) -> list[tuple[str, str]]:
    """(file name, P-Mode) of every flow. Raises `UsageError` for a profile that Holodeck is not known to speak."""
    only_1_15(agreed, "holodeck")
    return [(f"{flow.id}.xml", _pmode(agreed, flow)) for flow in agreed.flows]


def _add(parent: Element, name: str, text: str = "") -> Element:
    element = etree.SubElement(parent, f"{{{NAMESPACE}}}{name}")
    element.text = text or None
    return element


def _pmode(agreed: Agreed, flow: Flow) -> str:
    root = etree.Element(f"{{{NAMESPACE}}}PMode", nsmap={None: NAMESPACE})  # type: ignore[dict-item]
    root.append(etree.Comment(_UNTRIED))
    identity = _add(root, "id", flow.exchange.pmode or flow.id)
    if flow.exchange.pmode and agreed.agreement:
        identity.set("include", "true")
    _add(root, "mep", names.EB + "oneWay")
    _add(root, "mepBinding", names.EB + "push")
    initiator = _party(root, "Initiator", flow.initiator, flow.initiator_role)
    responder = _party(root, "Responder", flow.responder, flow.responder_role)
    if not flow.ours:
        _signing(_add(initiator, "SecurityConfiguration"), agreed)
    _encryption(_add(responder, "SecurityConfiguration"), agreed, flow)
    if agreed.agreement:
        agreement = _add(root, "Agreement")
        if agreed.agreement.type:
            _add(agreement, "type", agreed.agreement.type)
        _add(agreement, "name", agreed.agreement.value)
    _leg(root, agreed, flow)
    etree.indent(root, "  ")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8").decode() + "\n"


def _party(root: Element, name: str, identifier: Typed, role: str) -> Element:
    party = _add(root, name)
    named = _add(party, "PartyId", identifier.value)
    if identifier.type:
        named.set("type", identifier.type)
    _add(party, "Role", role)
    return party


def _signing(security: Element, agreed: Agreed) -> None:
    """How they sign."""
    signing = _add(security, "Signing")
    _add(signing, "KeystoreAlias", "OWN-KEY").set("password", "OWN-PASSWORD")
    _add(signing, "KeyReferenceMethod", _REFERENCES[agreed.partner.key_reference])
    _add(signing, "Algorithm", agreed.profile.signatures[0])
    _add(signing, "HashFunction", agreed.profile.digests[0])


def _encryption(security: Element, agreed: Agreed, flow: Flow) -> None:
    """Whom the message is encrypted for: them, where we send; us, where they do."""
    encryption = _add(security, "Encryption")
    if flow.ours:
        _add(encryption, "KeystoreAlias", "OWN-KEY").set("password", "OWN-PASSWORD")
        return
    _add(encryption, "KeystoreAlias", "OUR-CERTIFICATE")
    _add(encryption, "Algorithm", agreed.profile.encryptions[0])
    transport = _add(encryption, "KeyTransport")
    _add(transport, "Algorithm", agreed.profile.key_transports[0])
    _add(transport, "MGFAlgorithm", agreed.profile.mask_functions[0])
    _add(transport, "DigestAlgorithm", agreed.profile.oaep_digests[0])
    _add(transport, "KeyReferenceMethod", _REFERENCES[agreed.partner.key_reference])


def _leg(root: Element, agreed: Agreed, flow: Flow) -> None:
    leg = _add(root, "Leg")
    if flow.ours:
        _add(_add(leg, "Receipt"), "ReplyPattern", "RESPONSE")
        _add(_add(leg, "ReceptionAwareness"), "UseDuplicateElimination", "true")
        leg.append(etree.Comment(" DefaultDelivery: how your back end gets the message "))
    else:
        _add(_add(leg, "Protocol"), "Address", flow.address)
        _add(_add(leg, "Receipt"), "NotifyReceiptToBusinessApplication", "true")
        awareness = _add(leg, "ReceptionAwareness")
        _add(awareness, "MaxRetries", str(agreed.retry.attempts - 1))
        _add(awareness, "RetryInterval", str(max(1, agreed.retry.first // 1_000_000)))
    messages = _add(leg, "UserMessageFlow")
    business = _add(messages, "BusinessInfo")
    _add(business, "Action", flow.action)
    _add(business, "Mpc", names.DEFAULT_MPC)
    service = _add(business, "Service")
    _add(service, "name", flow.service.value)
    if flow.service.type:
        _add(service, "type", flow.service.type)
    corners = agreed.partner.four_corner
    if corners is not None and not flow.ours:
        pairs = ((names.ORIGINAL_SENDER, corners.final_recipient), (names.FINAL_RECIPIENT, corners.original_sender))
        for key, corner in pairs:
            made = _add(business, "Property")
            _add(made, "name", key)
            _add(made, "value", corner.value)
    _add(_add(messages, "ErrorHandling"), "ReplyPattern", "RESPONSE")
    _add(_add(messages, "PayloadProfile"), "UseAS4Compression", "true" if agreed.partner.compress else "false")
