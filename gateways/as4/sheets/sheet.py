"""What a counterpart must set on their side: a partner's document seen from the other end, in the words of eDelivery.

Rules:

1. Everything is derived from the documents that are in the configuration: a sheet never says what this node would not do.
2. What this node cannot know about their side (their own key's name, their folders) is left for them, visibly.
3. Private keys are nowhere near: certificates alone come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from accesspoint import names
from accesspoint.ebms import Typed
from accesspoint.profiles import PROFILES, Profile
from core.errors import UsageError
from core.schedule import RetryPlan
from core.trust import fingerprint, subject
from gateways.as4.settings import Exchange, Partner, PartyIdentifier, ServiceName
from gateways.as4.settings import Party as OurParty

NO_URL: Final = "https://to-be-filled-in.invalid/as4"
"""Stands where our own address would, when nobody said it."""
_ONE_WAY: Final = names.EB + "oneWay"
_PUSH: Final = names.EB + "push"


@dataclass(frozen=True)
class Flow:
    """One kind of message in one direction: one P-Mode."""

    id: str
    ours: bool
    """We send it."""
    initiator: Typed
    initiator_role: str
    responder: Typed
    responder_role: str
    exchange: Exchange
    service: Typed
    action: str
    address: str


@dataclass(frozen=True)
class Agreed:
    """Both documents, our address and our certificates, and the flows that follow."""

    partner: Partner
    party: OurParty
    url: str
    signing: x509.Certificate
    encryption: x509.Certificate
    flows: tuple[Flow, ...]

    @property
    def profile(self) -> Profile:
        """The profile agreed with them."""
        return PROFILES[self.partner.profile]

    @property
    def agreement(self) -> Typed | None:
        """What stands in AgreementRef, if anything."""
        said = self.partner.agreement
        return Typed(said.value, said.type) if said else None

    @property
    def retry(self) -> RetryPlan:
        """The retry plan in the kernel's terms."""
        plan = self.partner.retry
        return RetryPlan(plan.attempts, int(plan.first_wait * 1e6), int(plan.longest_wait * 1e6))


def agreed(
    partner: Partner, party: OurParty, url: str, signing: x509.Certificate, encryption: x509.Certificate
) -> Agreed:
    """What both sides have to say in common."""
    flows = tuple(_flows(partner, party, url))
    return Agreed(partner, party, url, signing, encryption, flows)


def _flows(partner: Partner, party: OurParty, url: str) -> Iterator[Flow]:
    us, them = _typed(party.party_id), _typed(partner.party_id)
    for exchange in partner.exchanges:
        for ours in (True, False):
            if exchange.direction not in ("both", "send" if ours else "receive"):
                continue
            our_role = partner.our_role or (names.INITIATOR if ours else names.RESPONDER)
            their_role = partner.their_role or (names.RESPONDER if ours else names.INITIATOR)
            first, second = ((us, our_role), (them, their_role)) if ours else ((them, their_role), (us, our_role))
            way = f"{party.id}-to-{partner.id}" if ours else f"{partner.id}-to-{party.id}"
            yield Flow(
                f"{way}-{exchange.integration}",
                ours,
                *first,
                *second,
                exchange,
                _typed(exchange.service),
                exchange.action,
                partner.url if ours else url,
            )


def _typed(value: PartyIdentifier | ServiceName) -> Typed:
    return Typed(value.value, value.type)


def only_1_15(agreed: Agreed, product: str) -> None:
    """Raises `UsageError` for a profile that a product does not speak."""
    if agreed.profile.key_agreements:
        raise UsageError(
            f"--for {product}: {agreed.partner.id} is agreed on {agreed.partner.profile}, and {product} is known to speak"
            " edelivery-1.15 alone; agree on that, or leave --for out and give them the parameters"
        )


# --- the neutral table ------------------------------------------------------------------------------------------------


def parameters(agreed: Agreed, flow: Flow) -> list[tuple[str, str]]:
    """A flow in the names of the eDelivery P-Mode parameters; what is optional and not agreed is left out."""
    return [*_header_rows(agreed, flow), *_security_rows(agreed, flow), *_reliability_rows(agreed)]


def _header_rows(agreed: Agreed, flow: Flow) -> Iterator[tuple[str, str]]:
    yield "PMode.ID", flow.exchange.pmode or f"{flow.id} (free: it is not in the message)"
    if agreed.agreement:
        yield "PMode.Agreement", str(agreed.agreement)
    yield "PMode.MEP", _ONE_WAY
    yield "PMode.MEPbinding", _PUSH
    yield "PMode.Initiator.Party", str(flow.initiator)
    yield "PMode.Initiator.Role", flow.initiator_role
    yield "PMode.Responder.Party", str(flow.responder)
    yield "PMode.Responder.Role", flow.responder_role
    yield "PMode[1].Protocol.Address", flow.address
    yield "PMode[1].Protocol.SOAPVersion", "1.2"
    yield "PMode[1].BusinessInfo.Service", str(flow.service)
    yield "PMode[1].BusinessInfo.Action", flow.action
    yield "PMode[1].BusinessInfo.MPC", names.DEFAULT_MPC
    corners = agreed.partner.four_corner
    if corners is not None:
        sender, recipient = corners.original_sender, corners.final_recipient
        if not flow.ours:
            sender, recipient = recipient, sender
        yield "PMode[1].BusinessInfo.Properties.originalSender", str(_typed(sender))
        yield "PMode[1].BusinessInfo.Properties.finalRecipient", str(_typed(recipient))
    elif agreed.profile.four_corner:
        yield (
            "PMode[1].BusinessInfo.Properties.originalSender",
            "of each message: Sender of its business document header",
        )
        yield (
            "PMode[1].BusinessInfo.Properties.finalRecipient",
            "of each message: Receiver of its business document header",
        )
    yield "PMode[1].BusinessInfo.PayloadProfile.maxSize", f"{agreed.partner.max_size} octets of one payload"
    yield "PMode[1].BusinessInfo.PayloadProfile", "; ".join(_payload_words(agreed))
    if agreed.profile.demands.conversation_empty:
        yield "eb:ConversationId", "empty"


def _payload_words(agreed: Agreed) -> Iterator[str]:
    """What is demanded of payloads."""
    demands = agreed.profile.demands
    if demands.one_payload:
        yield "exactly one payload, an attachment"
    else:
        yield f"at most {agreed.partner.max_payloads} payloads, each an attachment"
    if demands.envelope == "document":
        yield "a StandardBusinessDocument without a Manifest"
    elif demands.envelope:
        yield "the first begins with a StandardBusinessDocumentHeader, whose Manifest names the others"
    if demands.media_types:
        yield f"MimeType {' or '.join(demands.media_types)}"
    for name in demands.part_properties:
        yield f"its part property {name}, where you have one"


def _security_rows(agreed: Agreed, flow: Flow) -> Iterator[tuple[str, str]]:
    profile, ours = agreed.profile, agreed.signing if flow.ours else agreed.encryption
    yield "PMode[1].Security.WSSVersion", "1.1.1"
    yield "PMode[1].Security.X509.Sign", "Messaging, Body and every attachment"
    yield "PMode[1].Security.X509.Signature.Algorithm", profile.signatures[0]
    yield "PMode[1].Security.X509.Signature.HashFunction", profile.digests[0]
    if flow.ours:
        yield "PMode[1].Security.X509.Signature.Certificate", f"ours: {_words(ours)}"
    yield "PMode[1].Security.X509.Encryption.Encrypt", "every attachment"
    yield "PMode[1].Security.X509.Encryption.Algorithm", profile.encryptions[0]
    yield "PMode[1].Security.X509.Encryption.MinimumStrength", "128"
    yield "key transport", ", ".join((*profile.key_agreements, *profile.key_transports))
    if profile.oaep_digests:
        yield "key transport digest, mask", f"{profile.oaep_digests[0]}, {profile.mask_functions[0]}"
    if not flow.ours:
        yield "PMode[1].Security.X509.Encryption.Certificate", f"ours: {_words(ours)}"
    yield "reference to certificates", agreed.partner.key_reference
    yield "PMode[1].Security.UsernameToken", "none"


def _reliability_rows(agreed: Agreed) -> Iterator[tuple[str, str]]:
    yield "PMode[1].Security.SendReceipt", "true"
    yield "PMode[1].Security.SendReceipt.NonRepudiation", "true"
    yield "PMode[1].Security.SendReceipt.ReplyPattern", "Response"
    yield "PMode[1].ErrorHandling.Report.AsResponse", "true"
    yield "PMode[1].PayloadService.CompressionType", names.GZIP if agreed.partner.compress else "none"
    yield "PMode[1].ReceptionAwareness", "true"
    yield "PMode[1].ReceptionAwareness.Retry", f"true: {agreed.retry.attempts} attempts in all"
    yield "PMode[1].ReceptionAwareness.DuplicateDetection", "true"


def _words(certificate: x509.Certificate) -> str:
    end = certificate.not_valid_after_utc.date().isoformat()
    return f"{subject(certificate)}, until {end}, SHA-256 {fingerprint(certificate)}"


# --- certificates and tests -------------------------------------------------------------------------------------------


def certificates(agreed: Agreed) -> list[tuple[str, str, str]]:
    """(what for, which, PEM) of every certificate of ours that they need; one where one serves for both."""
    made = [("verifies what we sign", agreed.signing), ("encrypts what you send to us", agreed.encryption)]
    if agreed.signing == agreed.encryption:
        made = [("verifies what we sign, and encrypts what you send to us", agreed.signing)]
    return [(use, _words(c), c.public_bytes(Encoding.PEM).decode()) for use, c in made]


def first_tests(agreed: Agreed) -> list[str]:
    """What to try, in order, before anything real is sent."""
    steps = []
    if agreed.url == NO_URL:
        steps.append("Our address is missing in this sheet: have it made again with --url.")
    else:
        host = agreed.url.split("/", 3)[2]
        steps.append(f"Open a TLS connection to {host}; its certificate must be trusted without an exception.")
    if agreed.partner.tls.client_key:
        steps.append(
            "We come with a client certificate (mutual TLS): ask us for its issuer, and trust it for TLS alone."
        )
    steps += [
        f"Send us the test service: Service {names.TEST_SERVICE}, Action {names.TEST_ACTION}, no payload, parties and roles"
        " as above. A signed receipt on the same connection is the whole answer; nothing is delivered.",
        "If an error comes instead, read its description: it names the field and both values.",
        "Answer our test message the same way.",
        "Send one small payload in each direction that is agreed, and compare its SHA-256 on both sides.",
        "Send the same message again with the same MessageId: the receipt comes again, and nothing is delivered twice.",
        f"Send the largest payload you will ever send; {agreed.partner.max_size} octets is the most we take.",
    ]
    return steps
