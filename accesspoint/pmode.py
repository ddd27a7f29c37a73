"""P-Modes: a reviewed profile plus the ten things that differ per partner, and how a header finds its own.

Rules:

1. Selection looks at the header alone (it is never encrypted) and ends in exactly one P-Mode or a catalogued error that names
   the field and both values. There is no default to fall back to.
2. A missing ``@type`` is a real mismatch with a configured one; a name that has no type and is no URI is refused unless the
   agreement says that this partner writes such names.
3. The test service is allowed for every configured pair of parties.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.x509.oid import NameOID

from accesspoint.ebms import Party, Typed, UserMessage
from accesspoint.errors import (
    FAILED_AUTHENTICATION,
    OTHER,
    POLICY_NONCOMPLIANCE,
    PROCESSING_MODE_MISMATCH,
    VALUE_INCONSISTENT,
    VALUE_NOT_RECOGNIZED,
    CatalogueEntry,
    EbmsError,
)
from accesspoint.names import (
    COMPRESSION_TYPE,
    DEFAULT_MPC,
    FINAL_RECIPIENT,
    MIME_TYPE,
    ORIGINAL_SENDER,
    PEPPOL_NOT_SERVICED,
)
from accesspoint.profiles import Profile
from accesspoint.tokens import Form


@dataclass(frozen=True)
class PMode:
    """One kind of exchange with one partner.

    ``us`` and ``them`` are written as they stand in the header when the message goes from them to us or from us to them.
    ``their_certificates`` are those agreed for their signature, if the agreement names any; whom to believe at a given time is
    asked of the `Trust` that goes with the P-Mode.
    """

    id: str
    partner: str
    profile: Profile
    us: Party
    them: Party
    service: Typed
    action: str
    agreement: Typed | None = None
    mpc: str = DEFAULT_MPC
    address: str = ""
    their_certificates: tuple[x509.Certificate, ...] = ()
    their_encryption_certificate: x509.Certificate | None = None
    key_reference: Form = "binary-security-token"
    compress: bool = True
    max_parts: int = 28
    max_size: int = 4 * 1024**3
    may_send: bool = True
    may_receive: bool = True
    integration: str = ""
    untyped_names: bool = False
    """Their names may have no type and be no URI: some products write them so, against the specification."""
    pulled: bool = False
    """The receiver pulls; nothing is pushed under it."""
    name: str = ""
    """What both sides call this P-Mode in ``AgreementRef/@pmode``; "" when they do not."""
    recipients: tuple[Typed, ...] = ()
    """Whom we serve, where the profile has others refused."""


def _no(entry: CatalogueEntry, what: str, got: object, want: Iterable[object], remedy: str = "") -> EbmsError:
    known = " or ".join(sorted({repr(str(w)) for w in want})[:3])
    return EbmsError(entry, field=what, cause=f"is {str(got)!r}, agreed is {known or 'nothing'}", remedy=remedy)


def select(pmodes: Sequence[PMode], message: UserMessage) -> PMode:
    """The P-Mode a received user message belongs to.

    Raises `EbmsError`: 0010 when no partner fits the parties, 0003 for a role or a name of no kind, 0001 for agreement, service
    or action.
    """
    fitting = [p for p in pmodes if p.may_receive and p.them.id == message.from_.id]
    if not any(p.untyped_names for p in fitting):
        _check_names(message)
    if not fitting:
        error = _no(
            PROCESSING_MODE_MISMATCH,
            "From/PartyId",
            message.from_.id,
            (p.them.id for p in pmodes if p.may_receive),
            "compare value and type of the PartyId on both sides",
        )
        error.told = f"is {str(message.from_.id)!r}, which is not agreed here"
        raise error
    pool = [p for p in fitting if p.us.id == message.to.id]
    if not pool:
        raise _no(PROCESSING_MODE_MISMATCH, "To/PartyId", message.to.id, (p.us.id for p in fitting))
    fitting, pool = pool, [p for p in pool if (p.them.role, p.us.role) == (message.from_.role, message.to.role)]
    if not pool:
        roles = (f"{p.them.role} to {p.us.role}" for p in fitting)
        raise _no(VALUE_INCONSISTENT, "Role", f"{message.from_.role} to {message.to.role}", roles)
    fitting, pool = pool, [p for p in pool if message.agreement is None or p.agreement in (None, message.agreement)]
    if not pool:
        raise _no(VALUE_NOT_RECOGNIZED, "AgreementRef", message.agreement, (p.agreement for p in fitting))
    if message.is_test:
        return pool[0]
    fitting, pool = pool, [p for p in pool if p.service == message.service]
    if not pool:
        raise _no(VALUE_NOT_RECOGNIZED, "Service", message.service, (p.service for p in fitting))
    fitting, pool = pool, [p for p in pool if p.action == message.action]
    if not pool:
        raise _no(VALUE_NOT_RECOGNIZED, "Action", message.action, (p.action for p in fitting))
    fitting, pool = pool, [p for p in pool if p.mpc == message.mpc]
    if not pool:
        raise _no(VALUE_NOT_RECOGNIZED, "UserMessage/@mpc", message.mpc, (p.mpc for p in fitting))
    if message.pmode is not None:
        named = [p for p in pool if p.name == message.pmode]
        if not named and any(p.name for p in pool):
            raise _no(PROCESSING_MODE_MISMATCH, "AgreementRef/@pmode", message.pmode, (p.name for p in pool if p.name))
        pool = named or pool
    return pool[0]


def _check_names(message: UserMessage) -> None:
    """Raises 0003 for a name whose kind nobody can know."""
    named = (
        ("From/PartyId", message.from_.id),
        ("To/PartyId", message.to.id),
        ("AgreementRef", message.agreement),
        ("Service", message.service),
    )
    for where, name in named:
        if name is not None and not name.is_named:
            cause = "has no type and is not a URI"
            raise EbmsError(VALUE_INCONSISTENT, field=where, cause=cause, remedy="give it the type that was agreed")


def check_header(pmode: PMode, message: UserMessage) -> None:
    """What the agreement and its profile demand of a header beyond selection, of one that is sent as of one that came.

    Raises `EbmsError` 0010 for a value, a property or a number of payloads that the profile has no place for, 0103 for a payload
    that cannot be encrypted.
    """
    if len(message.parts) > pmode.max_parts:
        raise _mismatch("PayloadInfo", f"{len(message.parts)} payloads, agreed are at most {pmode.max_parts}")
    if pmode.profile.demand_encryption and any(part.cid is None for part in message.parts):
        raise EbmsError(
            POLICY_NONCOMPLIANCE,
            field="PayloadInfo/PartInfo",
            cause="a payload in the SOAP body cannot be encrypted",
            remedy="send each payload as a MIME part",
        )
    demands = pmode.profile.demands
    if demands.agreement_named and message.agreement is None:
        raise _mismatch("AgreementRef", f"is missing; {pmode.profile.name} demands it", "say the agreement")
    if demands.conversation_empty and message.conversation_id:
        raise _mismatch("ConversationId", f"is not empty; {pmode.profile.name} demands that", "send it empty")
    if message.is_test:
        return
    if pmode.profile.four_corner:
        _check_corners(pmode, message)
    _check_payloads(pmode, message)


def _mismatch(field: str, cause: str, remedy: str = "") -> EbmsError:
    return EbmsError(PROCESSING_MODE_MISMATCH, field=field, cause=cause, remedy=remedy)


def _check_corners(pmode: PMode, message: UserMessage) -> None:
    """Original sender and final recipient: each there once, and of the kind demanded."""
    demands = pmode.profile.demands
    for name in (ORIGINAL_SENDER, FINAL_RECIPIENT):
        field, found = f"MessageProperties/{name}", [p for p in message.properties if p.name.lower() == name.lower()]
        if not found:
            raise _mismatch(field, "is missing; four corners demand it")
        if len(found) > 1:
            raise _mismatch(field, "is there twice, in different spellings", f"send {name} once")
        if demands.corner_type and found[0].type != demands.corner_type:
            cause = f"has the type {found[0].type!r}; {pmode.profile.name} demands {demands.corner_type!r}"
            raise _mismatch(f"{field}/@type", cause, "say the identifier scheme there")
        if demands.corner_form and not re.fullmatch(demands.corner_form, found[0].value):
            raise _mismatch(field, f"is no participant of {pmode.profile.name}: demanded is {demands.corner_form}")


def check_served(pmode: PMode, message: UserMessage) -> None:
    """That a message that came is for somebody we serve, where the profile says how others are refused. Raises 0004."""
    if not pmode.profile.demands.served or message.is_test:
        return
    found = message.property(FINAL_RECIPIENT)
    if found is None or Typed(found.value, found.type) not in pmode.recipients:
        raise EbmsError(
            OTHER,
            field=PEPPOL_NOT_SERVICED,
            cause=f"{FINAL_RECIPIENT} is served by no system behind this access point",
            remedy="look the receiver up again before sending anew",
            detail=PEPPOL_NOT_SERVICED,
        )


def _check_payloads(pmode: PMode, message: UserMessage) -> None:
    """How many payloads there are, and what each says of itself."""
    name, demands = pmode.profile.name, pmode.profile.demands
    if demands.one_payload and len(message.parts) != 1:
        raise _mismatch("PayloadInfo", f"{len(message.parts)} payloads; {name} demands exactly one")
    if demands.envelope and not message.parts:
        raise _mismatch("PayloadInfo", f"has no payload; {name} demands that the first is a business document header")
    for part in message.parts:
        if demands.compressed and part.get(COMPRESSION_TYPE) is None:
            raise _mismatch("PartProperties/CompressionType", f"is missing; {name} demands compression")
        kind = (part.get(MIME_TYPE) or "").partition(";")[0].strip().lower()
        if demands.media_types and kind not in demands.media_types:
            raise _mismatch(
                "PartProperties/MimeType", f"is {kind!r}; {name} demands {' or '.join(demands.media_types)}"
            )


def check_subject(pmode: PMode, party: Party, certificate: x509.Certificate, field: str) -> None:
    """That a certificate is the party's by its common name, where the profile says so. Raises 0101 naming ``field``."""
    if not pmode.profile.demands.party_is_subject:
        return
    found = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if [str(item.value) for item in found] != [party.id.value]:
        raise EbmsError(
            FAILED_AUTHENTICATION,
            field=field,
            cause=f"is not the common name of the certificate, which {pmode.profile.name} demands",
            remedy="use the PartyId that the certificate was issued for",
        )
