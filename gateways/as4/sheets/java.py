"""A sheet in the words of the Java libraries: phase4's setters, and what Oxalis fixes for everybody.

Rules:

1. What is written for phase4 are the calls that Stafet's own tests make of phase4 4.4.1.
2. Oxalis speaks the Peppol profile and has no P-Mode to set: what *we* would have to change is said instead.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from accesspoint import names
from gateways.as4.sheets.sheet import Agreed, Flow, only_1_15

_SIGNS: Final = {
    names.RSA_SHA256: "RSA_SHA_256",
    names.ED25519: "EDDSA_ED25519",
    names.ECDSA_SHA256: "ECDSA_SHA_256",
}
_AGREES: Final = {names.X25519: "setEDelivery2KeyAgreementX25519", names.ECDH_ES: "setEDelivery2KeyAgreementECDHES"}


def _java(text: str | None) -> str:
    """A Java literal."""
    return "null" if text is None else json.dumps(text)


# --- phase4 -----------------------------------------------------------------------------------------------------------


def phase4_java(agreed: Agreed) -> str:
    """P-Modes and security parameters as calls of phase4."""
    lines = [
        "// phase4 4.4.1. OWN_KEYS is your crypto factory, OUR_CERTIFICATE our certificate for encryption as an X509Certificate."
    ]
    for number, flow in enumerate(agreed.flows, 1):
        lines += ["", f"// {flow.id}: {'we send, you receive' if flow.ours else 'you send, we receive'}"]
        lines += _pmode(agreed, flow, f"pmode{number}")
        lines += _receiving(agreed) if flow.ours else _sending(agreed, flow, f"pmode{number}")
    return "\n".join(lines) + "\n"


def _pmode(agreed: Agreed, flow: Flow, name: str) -> Iterator[str]:
    for side, identifier, role in (
        ("initiator", flow.initiator, flow.initiator_role),
        ("responder", flow.responder, flow.responder_role),
    ):
        values = f"{_java(identifier.type)}, {_java(identifier.value)}, {_java(role)}"
        yield f"PModeParty {side}_{name} = new PModeParty({values}, null, null);"
    yield f"PModeLegErrorHandling errors_{name} = PModeLegErrorHandling.createUndefined();"
    yield f"errors_{name}.setReportAsResponse(true);"
    yield f"PModeLegSecurity security_{name} = new PModeLegSecurity();"
    calls = (
        "setWSSVersion(EWSSVersion.WSS_111)",
        f"setX509SignatureAlgorithm(ECryptoAlgorithmSign.{_SIGNS[agreed.profile.signatures[0]]})",
        "setX509SignatureHashFunction(ECryptoAlgorithmSignDigest.DIGEST_SHA_256)",
        "setX509EncryptionAlgorithm(ECryptoAlgorithmCrypt.AES_128_GCM)",
        "setX509EncryptionMinimumStrength(128)",
        "setSendReceipt(true)",
        "setSendReceiptNonRepudiation(true)",
        "setSendReceiptReplyPattern(EPModeSendReceiptReplyPattern.RESPONSE)",
    )
    yield from (f"security_{name}.{call};" for call in calls)
    yield f"PModeLegBusinessInformation business_{name} = PModeLegBusinessInformation.create("
    yield f"    {_java(flow.service.value)}, {_java(flow.action)}, null, CAS4.DEFAULT_MPC_ID);"
    if flow.service.type:
        yield f"business_{name}.setServiceType({_java(flow.service.type)});"
    yield f"PModeLeg leg_{name} = new PModeLeg(PModeLegProtocol.createForDefaultSoapVersion({_java(flow.address)}),"
    yield f"    business_{name}, errors_{name}, null, security_{name});"
    agreement = agreed.agreement.value if agreed.agreement else ""
    yield f"PMode {name} = new PMode({_java(flow.exchange.pmode or flow.id)}, initiator_{name}, responder_{name},"
    yield f"    {_java(agreement)}, EMEP.ONE_WAY, EMEPBinding.PUSH, leg_{name}, null, null, null);"
    if agreed.agreement and agreed.agreement.type:
        yield f"// The agreement's type is {_java(agreed.agreement.type)}; where phase4 sets it was not tried."


def _receiving(agreed: Agreed) -> Iterator[str]:
    yield "// Receiving: answer with a signed receipt, and sync the payload before your handler returns."
    yield "// Refuse what is not signed and encrypted: phase4 takes unsigned messages unless it is told not to."
    if agreed.partner.answers_duplicates == "receipt":
        yield "// phase4 answers a duplicate with an error: tell us, so that we write answers_duplicates: error."


def _sending(agreed: Agreed, flow: Flow, name: str) -> Iterator[str]:
    yield "AS4Sender.builderUserMessage()"
    calls = [
        "cryptoFactorySign(OWN_KEYS)",
        "cryptoFactoryCrypt(OWN_KEYS)",
        'as4ProfileID("agreed")',
        f"pmode({name})",
        "receiverCertificate(OUR_CERTIFICATE)",
        f"withSigningParams(p -> p.setAlgorithmSign(ECryptoAlgorithmSign.{_SIGNS[agreed.profile.signatures[0]]})"
        ".setAlgorithmSignDigest(ECryptoAlgorithmSignDigest.DIGEST_SHA_256))",
        f"withCryptParams(p -> {_crypt(agreed)})",
        f"service({_java(flow.service.type)}, {_java(flow.service.value)})",
        f"action({_java(flow.action)})",
        f"fromPartyIDType({_java(flow.initiator.type)}).fromPartyID({_java(flow.initiator.value)})",
        f"fromRole({_java(flow.initiator_role)})",
        f"toPartyIDType({_java(flow.responder.type)}).toPartyID({_java(flow.responder.value)})",
        f"toRole({_java(flow.responder_role)})",
        f"endpointURL({_java(flow.address)})",
    ]
    yield from (f"    .{call}" for call in calls)
    compression = "EAS4CompressionMode.GZIP" if agreed.partner.compress else "null"
    yield f"    .payload(AS4OutgoingAttachment.builder().data(FILE).mimeType(TYPE).compression({compression}).build())"
    yield "    .sendMessageAndCheckForReceipt();"
    if agreed.partner.four_corner is not None:
        yield f"// Both message properties {names.ORIGINAL_SENDER} and {names.FINAL_RECIPIENT} belong to it; see the parameters."


def _crypt(agreed: Agreed) -> str:
    ways = agreed.profile.key_agreements
    call = "p.setAlgorithmCrypt(ECryptoAlgorithmCrypt.AES_128_GCM)"
    return f"{{ {call}; p.{_AGREES[ways[0]]}(); }}" if ways else call


# --- Oxalis -----------------------------------------------------------------------------------------------------------


def oxalis_text(agreed: Agreed) -> str:
    """What Oxalis fixes, and what in our document is otherwise. Raises `UsageError` for a profile it does not speak."""
    only_1_15(agreed, "oxalis")
    differing = list(_differing(agreed))
    lines = [
        "Oxalis speaks the Peppol AS4 profile alone. It has no P-Mode: party ids are the common names of the",
        "certificates, service and action come from the address book (SMP), and trust is in Peppol's own authorities.",
        "Nothing here was tried with a running Oxalis.",
        "",
        "On their side:",
        "- oxalis.keystore: a PKCS#12 or JKS file with their access point certificate, issued by Peppol's authority.",
        "- The address book entry of each of our participants names transport profile peppol-transport-as4-v2_0,",
        f"  the address {agreed.url} and this certificate of ours: {agreed.signing.subject.rfc4514_string()}.",
        "",
        "On ours, this must be otherwise:" if differing else "Our document fits that.",
        *(f"- {line}" for line in differing),
    ]
    return "\n".join(lines) + "\n"


def _differing(agreed: Agreed) -> Iterator[str]:
    partner, party = agreed.partner, agreed.party
    for where, identifier in (("as4.party: party_id", party.party_id), ("as4.partner: party_id", partner.party_id)):
        if identifier.type != names.PEPPOL_PARTY:
            yield f"{where}.type is {identifier.type or 'none'}; Peppol's is {names.PEPPOL_PARTY}"
    if agreed.agreement is None or (agreed.agreement.value, agreed.agreement.type) != (names.PEPPOL_AGREEMENT, None):
        yield f"as4.partner: agreement is {agreed.agreement or 'none'}; Peppol's is {names.PEPPOL_AGREEMENT}, without a type"
    if partner.profile != "peppol":
        yield f"as4.partner: profile is {partner.profile}; Peppol's is peppol"
    if partner.key_reference != "binary-security-token":
        yield f"as4.partner: key_reference is {partner.key_reference}; Peppol's is binary-security-token"
    if partner.our_role or partner.their_role:
        yield "as4.partner: our_role and their_role are set; Peppol's are initiator and responder, which are ours unless set"
    if partner.max_payloads != 1:
        yield f"as4.partner: max_payloads is {partner.max_payloads}; Peppol's is one payload, a business document in its envelope"
    if not partner.compress:
        yield "as4.partner: compress is false; Peppol's payloads are compressed"
