"""The two documents of the AS4 gateway: who we are (`as4.party`) and who they are (`as4.partner`).

Rules:

1. A partner file names a reviewed profile and the few things that differ per partner; it is not a universal P-Mode object.
2. Certificates are named by path inside the configuration directory and become part of the version; private keys are named by
   their name in the node's key folder and never do.
3. What is left out is safe: signing, encryption and receipts are demanded unless the profile's reviewed value says otherwise.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from accesspoint.ebms import Typed
from accesspoint.names import DEFAULT_MPC
from accesspoint.profiles import ALGORITHMS, PROFILES, Demands
from accesspoint.tls import SUITES
from core import limits
from core.clock import DAY, HOUR
from gateways.as4.hosts import Hosts

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""An id inside the configuration: lower case, digits, dot, underscore, dash."""
Value = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]+$")]
"""A header value: at most 255 printable characters."""
CertificatePath = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+\.(pem|crt|cer)$")]
"""A certificate file, relative to the configuration directory."""


PolicyOid = Annotated[str, StringConstraints(pattern=r"^(0|1|2)(\.(0|[1-9]\d{0,18})){1,30}$")]
"""An object identifier in dotted form."""
WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/@]+(/\S*)?$", max_length=1024)]
"""An address of a list."""


def _askable(host: str) -> str:
    Hosts([host])
    return host


FetchHost = Annotated[str, AfterValidator(_askable)]
"""Somebody that may be asked."""


def _known(name: str) -> str:
    if name not in ALGORITHMS:
        raise ValueError(f"{name!r} is not an algorithm that can be agreed; known: {', '.join(ALGORITHMS)}")
    return name


Algorithm = Annotated[str, AfterValidator(_known)]
"""An algorithm by its short name."""


def _suite(name: str) -> str:
    if name not in SUITES:
        raise ValueError(f"{name!r} is not a cipher suite that can be spoken; known: {', '.join(SUITES)}")
    return name


Suite = Annotated[str, AfterValidator(_suite)]
"""A cipher suite of TLS 1.2 by the name OpenSSL gives it."""
Versions = Annotated[tuple[Literal["1.2", "1.3"], ...], Field(min_length=1)]
"""Versions of TLS."""


def _profile(name: str) -> str:
    if name not in PROFILES:
        raise ValueError(f"{name!r} is not a profile; known: {', '.join(PROFILES)}")
    return name


ProfileName = Annotated[str, AfterValidator(_profile)]
"""A reviewed profile by its name."""


class _Document(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PartyIdentifier(_Document):
    """A ``PartyId`` with its ``@type``; without a type the value must be a URI [ebMS3 §5.2.2.4]."""

    value: Value
    type: Value | None = None


class ServiceName(_Document):
    """A ``Service`` with its ``@type``; without a type the value must be a URI [ebMS3 §5.2.2.8]."""

    value: Value
    type: Value | None = None


class Agreement(_Document):
    """An ``AgreementRef``; without a type the value must be a URI [ebMS3 §5.2.2.7]."""

    value: Value
    type: Value | None = None


def demand_type(name: PartyIdentifier | ServiceName | Agreement) -> None:
    """Raises `ValueError` for a name whose kind nobody can know."""
    if not Typed(name.value, name.type).is_named:
        raise ValueError(f"{name.value!r} has no type and is no URI: give its type, or say untyped_names: true")


class Party(_Document):
    """Kind ``as4.party``: one of our own identities on the network."""

    kind: Literal["as4.party"] = "as4.party"
    id: Name
    title: str = ""
    party_id: PartyIdentifier
    signing_key: Name
    """Name of the signing key in the node's key folder."""
    decryption_keys: Annotated[tuple[Name, ...], Field(min_length=1)]
    """Names of the keys partners encrypt for; the old one stays here while a roll-over is under way."""
    serves: tuple[PartyIdentifier, ...] = ()
    """Participants behind us, beside those that partners' files name as ``original_sender``. Under Peppol, what comes for others
    is refused; elsewhere nobody asks."""
    message_id_domain: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.-]{1,100}$")] = "stafet.invalid"
    """What follows ``@`` in the message ids we make."""


class Channel(_Document):
    """A channel (MPC) that messages are pulled from, by whoever receives them [eD1.15 §1.5.5]."""

    mpc: Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*:\S+$")]
    sub_channels: bool = False
    """Whether they may also ask for a name below it, as ``MPC/anything``."""
    every: Annotated[float, Field(ge=0.05, le=86_400)] = 10.0
    """Seconds between two questions while nothing waits, where we are the ones who pull."""


class Exchange(_Document):
    """One kind of message exchanged with a partner: the header's service and action, and the integration it belongs to."""

    integration: Name
    service: ServiceName
    action: Value
    direction: Literal["send", "receive", "both"] = "both"
    pull: Channel | None = None
    """Left out, messages are pushed. Given, the receiver pulls: they from us with ``send``, we from them with ``receive``."""
    pmode: Value | None = None
    """What both sides call this P-Mode in ``AgreementRef/@pmode``; it is neither sent nor demanded when left out."""
    type: Value | None = None
    """The description's ``type`` of what arrives; the integration's first type when left out."""
    ordered: bool = False
    """Whether messages of one conversation are sent one after the other, as they were accepted; those without a correlation id
    are one conversation. It costs speed: the next leaves when the receipt of the one before is there."""
    on_failure: Literal["stop", "skip"] = "stop"
    """Where ``ordered``: whether a message that fails stops those behind it until a person says ``stafet resend`` or ``skip``."""


class FourCorner(_Document):
    """The outer corners: who stands behind us and them [eD1.15 §1.5.1]."""

    original_sender: PartyIdentifier
    final_recipient: PartyIdentifier


class RetryPlan(_Document):
    """When an unanswered message is sent again. Times in seconds."""

    attempts: Annotated[int, Field(ge=1, le=1000)] = limits.ATTEMPTS
    first_wait: Annotated[float, Field(gt=0)] = limits.RETRY_FIRST / 1_000_000
    longest_wait: Annotated[float, Field(gt=0)] = limits.RETRY_CEILING / 1_000_000


class Tls(_Document):
    """How we reach the partner's server."""

    anchors: CertificatePath | None = None
    """The authority of the server's certificate; the system's own list when left out."""
    client_key: Name | None = None
    """Name of our key for mutual TLS in the node's key folder."""
    versions: Versions = ("1.2", "1.3")
    """Versions of TLS that are spoken with them."""
    suites: tuple[Suite, ...] = ()
    """Cipher suites of TLS 1.2 that are offered; OpenSSL's own choice when left out. TLS 1.3 has suites of its own."""


class Partner(_Document):
    """Kind ``as4.partner``: one neighbour."""

    kind: Literal["as4.partner"] = "as4.partner"
    id: Name
    title: str = ""
    party: Name
    """Which of our identities (`as4.party`) speaks with them."""
    party_id: PartyIdentifier
    system: Name
    """The system in whose name their messages enter the kernel."""
    profile: ProfileName = "edelivery-1.15"
    """The reviewed rules for both directions: algorithms, and what a community demands beside them."""
    url: Annotated[str, StringConstraints(pattern=r"^https?://[^\s/]+(/\S*)?$")]
    signing_certificates: tuple[CertificatePath, ...] = ()
    """Certificates they may sign with. Give these, or `anchors`."""
    anchors: tuple[CertificatePath, ...] = ()
    """Authorities whose certificates they may sign with, together with `signing_subject` or `signing_organisation`."""
    signing_subject: Value | None = None
    """The common name a certificate under `anchors` must bear."""
    signing_organisation: Value | None = None
    """The organizationIdentifier (2.5.4.97) a certificate under `anchors` must bear; with `signing_subject`, both count."""
    certificate_policies: tuple[PolicyOid, ...] = ()
    """Policies of which a certificate under `anchors` must carry one, allowed by every authority on the way."""
    issuers: tuple[CertificatePath, ...] = ()
    """Authorities above `signing_certificates`, to ask about revocation; or those below `anchors` that they do not send along."""
    revocation: Literal["lists", "fetch", "none"] | None = None
    """Where it is asked whether a certificate is revoked; left out: `lists` when there are some, else `none`."""
    revocation_lists: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]+\.(pem|crl)$")], ...] = ()
    """Lists as files beside the documents."""
    revocation_urls: Annotated[tuple[WebAddress, ...], Field(max_length=16)] = ()
    """With `fetch`: lists to hold before the first message, beside those that certificates name."""
    revocation_window: Annotated[float, Field(gt=0, le=24 * 14)] = limits.RESPONSE_AGE / HOUR
    """Hours that an answer of a responder counts, unless it ends sooner. A list counts until its own end."""
    revocation_grace: Annotated[float, Field(ge=0, le=24 * 14)] = 0
    """Hours that a list or an answer counts beyond its end, while no newer one can be had."""
    encryption_certificate: CertificatePath
    key_reference: Literal["binary-security-token", "subject-key-identifier", "issuer-serial"] = "binary-security-token"
    also_accept: tuple[Algorithm, ...] = ()
    """Algorithms they may use beside the profile's own, as ``rsa-sha384``. What we send stays the profile's."""
    untyped_names: bool = False
    """They write PartyIds and services that have no type and are no URI, against the specification."""
    answers_duplicates: Literal["receipt", "error"] = "receipt"
    """What they answer to a message they have already: the receipt again, or (phase4) an error that says so."""
    reply_pattern: Literal["response", "callback"] = "response"
    """Where receipts go: into the answer to the message, or later to the other side's own endpoint."""
    answer_within: Annotated[float, Field(gt=0, le=3600)] | None = None
    """Seconds they may take to begin an answer once a message is with them; a minute when left out."""
    agreement: Agreement | None = None
    exchanges: Annotated[tuple[Exchange, ...], Field(min_length=1)]
    four_corner: FourCorner | None = None
    """Left out under a profile with a business document header, the corners of what is sent are those of its document."""
    our_role: Value | None = None
    their_role: Value | None = None
    retry: RetryPlan = RetryPlan()
    at_once: Annotated[int, Field(ge=1, le=1024)] = limits.AT_ONCE
    """Messages one node has under way to them at the same time."""
    pause_after: Annotated[int, Field(ge=0, le=1000)] = limits.PAUSE_AFTER
    """Attempts in a row that do not reach them before sending is paused; 0 means never."""
    waiting: Annotated[int, Field(ge=1)] = limits.WAITING_FOR_ONE
    """Open deliveries to them at which senders are told to come back later."""
    duplicate_window: Annotated[int, Field(ge=1, le=3650)] = limits.KEY_WINDOW // DAY
    """Days for which a message of theirs is known again: longer than they may repeat it."""
    compress: bool = True
    max_payloads: Annotated[int, Field(ge=1, le=limits.PAYLOADS_PER_PARCEL)] = 28
    """A signature has two references beside the payloads, and many peers allow thirty."""
    max_size: Annotated[int, Field(ge=1)] = limits.PAYLOAD_SIZE
    """Octets of one payload after decompression."""
    tls: Tls = Tls()

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, said: Any) -> Any:
        """What the profile says for everybody need not be in the file."""
        name = said.get("profile") if isinstance(said, dict) else None
        demands = PROFILES[name].demands if isinstance(name, str) and name in PROFILES else Demands()
        known: dict[str, Any] = {}
        if demands.agreement:
            known["agreement"] = {"value": demands.agreement}
        if demands.one_payload:
            known["max_payloads"] = 1
        if demands.payload_size:
            known["max_size"] = demands.payload_size
        return {**known, **said} if known else said

    @model_validator(mode="after")
    def _consistent(self) -> Partner:
        if bool(self.signing_certificates) == bool(self.anchors):
            raise ValueError("give either signing_certificates or anchors: one of them says whom to believe")
        if self.anchors and not (self.signing_subject or self.signing_organisation):
            raise ValueError(
                "anchors need signing_subject or signing_organisation: else anyone under the authority could sign as"
                " this partner"
            )
        if self.certificate_policies and not self.anchors:
            raise ValueError("certificate_policies need anchors: a certificate that is pinned is believed for itself")
        self._revocation_fits()
        profile = PROFILES[self.profile]
        if profile.four_corner and not profile.demands.envelope and self.four_corner is None:
            raise ValueError("the four-corner profile needs four_corner with original_sender and final_recipient")
        try:
            PROFILES[self.profile].accepting(ALGORITHMS[name] for name in self.also_accept)
        except ValueError as error:
            raise ValueError(f"also_accept: {error}") from None
        if not self.agreement and any(exchange.pmode for exchange in self.exchanges):
            raise ValueError("exchanges: pmode is said within the agreement's reference: give agreement too")
        for exchange in self.exchanges:
            if exchange.pull is not None and exchange.direction == "both":
                raise ValueError(
                    "an exchange with pull goes one way: say direction send (they pull) or receive (we pull)"
                )
            if exchange.pull is not None and exchange.pull.mpc == DEFAULT_MPC:
                raise ValueError("the default MPC is everybody's: a channel to pull from needs a name of its own")
            if exchange.ordered and (exchange.pull is not None or exchange.direction == "receive"):
                raise ValueError("ordered is for what is pushed to them: who pulls or sends decides the order")
        if not self.untyped_names:
            for name in (self.party_id, self.agreement, *(exchange.service for exchange in self.exchanges)):
                if name is not None:
                    demand_type(name)
        return self

    @property
    def asks(self) -> Literal["lists", "fetch", "none"]:
        """Where it is asked whether a certificate is revoked."""
        return self.revocation or ("lists" if self.revocation_lists else "none")

    def _revocation_fits(self) -> None:
        if self.asks != "none" and self.signing_certificates and not self.issuers:
            raise ValueError(
                "revocation of signing_certificates needs issuers: who issued them says whether they are revoked"
            )
        if self.revocation == "lists" and not self.revocation_lists:
            raise ValueError("revocation: lists needs revocation_lists")
        if self.revocation == "none" and self.revocation_lists:
            raise ValueError("revocation: none asks nothing, and revocation_lists are given: take one of them out")
        if self.revocation_urls and self.revocation != "fetch":
            raise ValueError("revocation_urls need revocation: fetch")


class Listen(_Document):
    """Node-local: where the gateway listens."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8443
    path: Annotated[str, StringConstraints(pattern=r"^/\S*$")] = "/as4"
    tls_key: Name | None = None
    """Name of the server key (with its chain) in the node's key folder; None = plain HTTP, allowed behind a proxy only."""
    tls_versions: Versions = ("1.2", "1.3")
    """Versions of TLS that are taken."""
    tls_suites: tuple[Suite, ...] = ()
    """Cipher suites of TLS 1.2 that are taken; all with forward secrecy and authenticated encryption when left out."""
    client_anchors: str | None = None
    """PEM file of authorities for client certificates (mutual TLS)."""
    demand_client_certificate: bool = False
    behind_proxy: bool = False
    """Plain HTTP is refused unless this says that TLS ends in front of us."""
    revocation_hosts: tuple[FetchHost, ...] = ()
    """Whom this node may ask for revocation lists and answers: ``host`` (ports 80 and 443), ``host:port``, or, for addresses that
    are private, the address or the network they are in. Nobody else is asked."""
