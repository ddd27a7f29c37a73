"""What a partner's file says against the profile it names: found before anything is sent.

Rule: only what a profile demands of values that stand in documents is asked here; what each message must have is asked of the
message, by the access point.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from accesspoint.profiles import PROFILES, Demands
from gateways.as4.settings import Exchange, Partner, Party, PartyIdentifier

Finding = tuple[str, str, str]
"""Field, cause, remedy."""
_FIXED: Final = "that is the profile's; say it so, or leave it out where the profile fills it in"


def contradictions(partner: Partner) -> Iterator[Finding]:
    """Every field of a partner's document that its profile has no place for."""
    name, demands = partner.profile, PROFILES[partner.profile].demands
    yield from party_id(name, "party_id", partner.party_id)
    yield from _header(partner, name, demands)
    for index, exchange in enumerate(partner.exchanges):
        yield from _exchange(f"exchanges.{index}", exchange, name, demands)
    yield from _payloads(partner, name, demands)
    if demands.tokens and partner.key_reference != "binary-security-token":
        yield "key_reference", f"is {partner.key_reference}; {name} demands binary-security-token", _FIXED


def party_id(name: str, field: str, identifier: PartyIdentifier) -> Iterator[Finding]:
    """A PartyId, ours or theirs, that the profile called ``name`` has no place for."""
    demands = PROFILES[name].demands
    if demands.party_type and identifier.type != demands.party_type:
        yield f"{field}.type", f"is {identifier.type or 'none'}; {name} demands {demands.party_type}", _FIXED
    if demands.party_form and not re.fullmatch(demands.party_form, identifier.value):
        yield f"{field}.value", f"is {identifier.value!r}; {name} demands {demands.party_form}", ""


def serves_nobody(partner: Partner, party: Party) -> bool:
    """Whether everything that comes would be refused, since nobody behind us is named."""
    receives = any(exchange.direction != "send" for exchange in partner.exchanges)
    demanded = PROFILES[partner.profile].demands.served
    return demanded and receives and not party.serves and partner.four_corner is None


def _header(partner: Partner, name: str, demands: Demands) -> Iterator[Finding]:
    said = partner.agreement
    if demands.agreement_named and said is None:
        yield "agreement", f"is missing; {name} demands one", "write the agreement with this partner there"
    if demands.agreement and said is not None and (said.value, said.type) != (demands.agreement, None):
        yield "agreement", f"is {said.value!r}; {name} demands {demands.agreement!r} without a type", _FIXED
    for field, role in (("our_role", partner.our_role), ("their_role", partner.their_role)):
        if role is not None and demands.role_form and not re.fullmatch(demands.role_form, role):
            yield field, f"is {role!r}; {name} demands {demands.role_form}", "leave it out for initiator and responder"
    for field in ("original_sender", "final_recipient"):
        if partner.four_corner is None:
            continue
        corner: PartyIdentifier = getattr(partner.four_corner, field)
        if demands.corner_type and corner.type != demands.corner_type:
            cause = f"is {corner.type or 'none'}; {name} demands {demands.corner_type}"
            yield f"four_corner.{field}.type", cause, _FIXED
        if demands.corner_form and not re.fullmatch(demands.corner_form, corner.value):
            yield f"four_corner.{field}.value", f"is {corner.value!r}; {name} demands {demands.corner_form}", ""


def _exchange(where: str, exchange: Exchange, name: str, demands: Demands) -> Iterator[Finding]:
    service = exchange.service
    if demands.service_type and service.type != demands.service_type:
        yield f"{where}.service.type", f"is {service.type or 'none'}; {name} demands {demands.service_type}", _FIXED
    if demands.service_form and not re.fullmatch(demands.service_form, service.value):
        yield f"{where}.service.value", f"is {service.value!r}; {name} demands {demands.service_form}", ""
    if demands.action_form and not re.fullmatch(demands.action_form, exchange.action):
        yield f"{where}.action", f"is {exchange.action!r}; {name} demands {demands.action_form}", ""
    if demands.push_only and exchange.pull is not None:
        yield f"{where}.pull", f"is said; {name} has messages pushed alone", "leave it out"


def _payloads(partner: Partner, name: str, demands: Demands) -> Iterator[Finding]:
    if demands.one_payload and partner.max_payloads != 1:
        yield "max_payloads", f"is {partner.max_payloads}; {name} demands exactly one", _FIXED
    if demands.payload_size and partner.max_size > demands.payload_size:
        yield "max_size", f"is {partner.max_size}; {name} allows at most {demands.payload_size}", _FIXED
    if demands.compressed and not partner.compress:
        yield "compress", f"is false; {name} demands compression", _FIXED
