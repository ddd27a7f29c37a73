"""A sheet in the words of Domibus: a P-Mode file from the counterpart's side, which its console takes as it is.

Rule: what the schema demands and nothing was agreed on is written as harmless as it can be, and is not referred to.
"""

from __future__ import annotations

from typing import Final

from lxml import etree

from accesspoint import names
from accesspoint.ebms import Typed
from accesspoint.soap import Element
from gateways.as4.moving.domibus import NAMESPACE
from gateways.as4.sheets.sheet import Agreed, Flow, only_1_15

_POLICIES: Final = {
    "binary-security-token": "eDeliveryAS4Policy_BST.xml",
    "subject-key-identifier": "eDeliveryAS4Policy.xml",
    "issuer-serial": "eDeliveryAS4Policy_IS.xml",
}
_UNREGISTERED: Final = "urn:oasis:names:tc:ebcore:partyid-type:unregistered"
_MINUTE: Final = 60_000_000


def domibus_xml(agreed: Agreed) -> str:
    """The file. Raises `UsageError` for a profile that Domibus does not speak."""
    only_1_15(agreed, "domibus")
    root = etree.Element(f"{{{NAMESPACE}}}configuration", nsmap={"db": NAMESPACE})
    root.set("party", agreed.partner.id)
    root.append(etree.Comment(f" from the side of {_harmless(agreed.partner.id)}; put it together with what you have "))
    channel = _add(_add(root, "mpcs"), "mpc", name="defaultMpc", qualifiedName=names.DEFAULT_MPC)
    for name, value in (("enabled", "true"), ("default", "true"), ("retention_downloaded", "0")):
        channel.set(name, value)
    channel.set("retention_undownloaded", "14400")
    business = _add(root, "businessProcesses")
    roles = _roles(business, agreed)
    _parties(business, agreed)
    meps = _add(business, "meps")
    _add(meps, "mep", name="oneway", value=names.EB + "oneWay")
    _add(meps, "binding", name="push", value=names.EB + "push")
    _properties(business, agreed)
    _profiles(business, agreed)
    _legs(business, agreed)
    _processes(business, agreed, roles)
    etree.indent(root, "  ")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8").decode() + "\n"


def _harmless(text: str) -> str:
    """Text that may stand in a comment."""
    return text.replace("-", "‐")


def _add(parent: Element, kind: str, /, **attributes: str) -> Element:
    element = etree.SubElement(parent, kind)
    for key, value in attributes.items():
        element.set(key, value)
    return element


def _roles(business: Element, agreed: Agreed) -> dict[str, str]:
    """Role value → name."""
    parent, made = _add(business, "roles"), dict[str, str]()
    for value in dict.fromkeys(role for flow in agreed.flows for role in (flow.initiator_role, flow.responder_role)):
        made[value] = f"role{len(made) + 1}"
        _add(parent, "role", name=made[value], value=value)
    return made


def _parties(business: Element, agreed: Agreed) -> None:
    parent, made = _add(business, "parties"), dict[str, str]()
    types = _add(parent, "partyIdTypes")
    sides = (
        (agreed.partner.id, agreed.partner.party_id, agreed.partner.url),
        (agreed.party.id, agreed.party.party_id, agreed.url),
    )
    for kind in dict.fromkeys(identifier.type or _UNREGISTERED for _, identifier, _ in sides):
        made[kind] = f"partyType{len(made) + 1}"
        _add(types, "partyIdType", name=made[kind], value=kind)
    for name, identifier, url in sides:
        party = _add(parent, "party", name=name, endpoint=url)
        made_identifier = _add(party, "identifier", partyId=identifier.value)
        if identifier.type:
            made_identifier.set("partyIdType", made[identifier.type])


def _properties(business: Element, agreed: Agreed) -> None:
    parent = _add(business, "properties")
    required = "true" if agreed.profile.four_corner else "false"
    for key in (names.ORIGINAL_SENDER, names.FINAL_RECIPIENT):
        _add(parent, "property", name=f"{key}Property", key=key, datatype="string", required=required)
    corners = _add(parent, "propertySet", name="cornerProperties")
    for key in (names.ORIGINAL_SENDER, names.FINAL_RECIPIENT):
        _add(corners, "propertyRef", property=f"{key}Property")


def _retry(agreed: Agreed) -> str:
    attempts = agreed.retry.attempts
    if attempts == 1:
        return "1;1;SEND_ONCE"
    total = agreed.retry.times(0)[-1]
    return f"{max(1, -(-total // _MINUTE))};{attempts - 1};CONSTANT"


def _profiles(business: Element, agreed: Agreed) -> None:
    """Security, error handling, agreement, services, actions, reliability."""
    security = _add(_add(business, "securities"), "security", name="agreedSecurity")
    security.set("policy", _POLICIES[agreed.partner.key_reference])
    security.set("signatureMethod", "RSA_SHA256")
    errors = _add(_add(business, "errorHandlings"), "errorHandling", name="agreedErrors", errorAsResponse="true")
    for told in ("businessErrorNotifyProducer", "businessErrorNotifyConsumer", "deliveryFailureNotifyProducer"):
        errors.set(told, "true")
    said = agreed.agreement or Typed("", None)
    _add(_add(business, "agreements"), "agreement", name="agreement1", value=said.value, type=said.type or "")
    services, actions = _add(business, "services"), _add(business, "actions")
    for number, flow in enumerate(_distinct(agreed), 1):
        service = _add(services, "service", name=f"service{number}", value=flow.service.value)
        if flow.service.type:
            service.set("type", flow.service.type)
        _add(actions, "action", name=f"action{number}", value=flow.action)
    parent = _add(business, "as4")
    _add(parent, "receptionAwareness", name="agreedAwareness", retry=_retry(agreed), duplicateDetection="true")
    _add(parent, "reliability", name="agreedReliability", replyPattern="response", nonRepudiation="true")


def _distinct(agreed: Agreed) -> list[Flow]:
    """One flow of each exchange."""
    return list({(flow.service, flow.action): flow for flow in agreed.flows}.values())


def _number(agreed: Agreed, flow: Flow) -> int:
    keys = [(other.service, other.action) for other in _distinct(agreed)]
    return keys.index((flow.service, flow.action)) + 1


def _legs(business: Element, agreed: Agreed) -> None:
    parent = _add(business, "legConfigurations")
    for number, _ in enumerate(_distinct(agreed), 1):
        leg = _add(
            parent, "legConfiguration", name=f"leg{number}", service=f"service{number}", action=f"action{number}"
        )
        leg.set("security", "agreedSecurity")
        leg.set("defaultMpc", "defaultMpc")
        leg.set("receptionAwareness", "agreedAwareness")
        leg.set("reliability", "agreedReliability")
        if agreed.partner.four_corner is not None or agreed.profile.four_corner:
            leg.set("propertySet", "cornerProperties")
        leg.set("errorHandling", "agreedErrors")
        leg.set("compressPayloads", "true" if agreed.partner.compress else "false")


def _processes(business: Element, agreed: Agreed, roles: dict[str, str]) -> None:
    """One process for each direction and pair of roles, so that nobody is found on both sides of one."""
    for ours in (False, True):
        flows = [flow for flow in agreed.flows if flow.ours is ours]
        if not flows:
            continue
        sender, receiver = (agreed.party.id, agreed.partner.id) if ours else (agreed.partner.id, agreed.party.id)
        process = _add(business, "process", name=f"{sender}-to-{receiver}", mep="oneway", binding="push")
        process.set("agreement", "agreement1" if agreed.agreement else "")
        process.set("initiatorRole", roles[flows[0].initiator_role])
        process.set("responderRole", roles[flows[0].responder_role])
        _add(_add(process, "initiatorParties"), "initiatorParty", name=sender)
        _add(_add(process, "responderParties"), "responderParty", name=receiver)
        legs = _add(process, "legs")
        for flow in flows:
            _add(legs, "leg", name=f"leg{_number(agreed, flow)}")
