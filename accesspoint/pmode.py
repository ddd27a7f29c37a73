"""P-Modes: a reviewed profile plus the ten things that differ per partner, and how a header finds its own.

Rules:

1. Selection looks at the header alone (it is never encrypted) and ends in exactly one P-Mode or a catalogued error that names
   the field and both values. There is no default to fall back to.
2. A missing ``@type`` is a real mismatch with a configured one; a name that has no type and is no URI is refused unless the
   agreement says that this partner writes such names.
3. The test service is allowed for every configured pair of parties.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509

from accesspoint.ebms import Party, Typed, UserMessage
from accesspoint.errors import (
    POLICY_NONCOMPLIANCE,
    PROCESSING_MODE_MISMATCH,
    VALUE_INCONSISTENT,
    VALUE_NOT_RECOGNIZED,
    CatalogueEntry,
    EbmsError,
)
from accesspoint.names import DEFAULT_MPC, FINAL_RECIPIENT, ORIGINAL_SENDER
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
    """What the agreement demands beyond selection.

    Raises `EbmsError` 0010 for too many payloads or a missing corner property, 0103 for a payload that cannot be encrypted.
    """
    if len(message.parts) > pmode.max_parts:
        raise EbmsError(
            PROCESSING_MODE_MISMATCH,
            field="PayloadInfo",
            cause=f"{len(message.parts)} payloads, agreed are at most {pmode.max_parts}",
        )
    if pmode.profile.demand_encryption and any(part.cid is None for part in message.parts):
        raise EbmsError(
            POLICY_NONCOMPLIANCE,
            field="PayloadInfo/PartInfo",
            cause="a payload in the SOAP body cannot be encrypted",
            remedy="send each payload as a MIME part",
        )
    if pmode.profile.four_corner and not message.is_test:
        for name in (ORIGINAL_SENDER, FINAL_RECIPIENT):
            if message.property(name) is None:
                raise EbmsError(
                    PROCESSING_MODE_MISMATCH,
                    field=f"MessageProperties/{name}",
                    cause="is missing; four corners demand it",
                )
