"""Who gets a delivery of a parcel, and whether it may be sent at all: pure, so that it can be asked of any configuration.

Rules:

1. Nothing is accepted without a service agreement, and nothing is delivered to a system without one.
2. A notification goes to every subscription that matches, whatever their number; anything else goes where its first matching
   route says. What no route takes goes to the residual mailbox; what nobody subscribes to is accepted, and its sender can see so.
3. Who is left out though a filter named it is said, with the cause.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from core import limits
from core.clock import Micros
from core.config import Configuration
from core.delivery import Delivery, State
from core.errors import NotAllowed, TooLarge
from core.pace import Pace, Where
from core.parcel import Parcel, new_id
from core.route import Decision, Target
from core.subscription import OnList, Subscription, Verdict
from core.system import RESIDUAL


def decide(configuration: Configuration, parcel: Parcel, at: Micros, without: Collection[str] = ()) -> Decision:
    """Where a parcel goes under a configuration, to none of the systems ``without``; a receiver without a service agreement makes
    it residual."""
    decision = configuration.routes.choose(parcel.description, parcel.integration, without)
    for target in decision.targets:
        if target.system != RESIDUAL and not configuration.agreed(parcel.integration, target.system, "receive", at):
            cause = (
                f"route {decision.route} names {target.system}, which has no service agreement"
                f" to receive under {parcel.integration}"
            )
            return residual(cause, decision.examined)
    return decision


def residual(cause: str, examined: int = 0) -> Decision:
    """To the residual mailbox."""
    return Decision("", (Target(system=RESIDUAL),), cause, examined)


def deliveries_for(
    parcel: Parcel,
    decision: Decision,
    number: int,
    at: Micros,
    pace: Callable[[str, str, str], Pace],
    *,
    leased_until: Micros | None = None,
) -> tuple[Delivery, ...]:
    """One delivery for each target of a decision; ``leased_until`` when its first attempt is claimed with it."""
    claimed = int(leased_until is not None)
    paces = [pace(target.gateway, target.destination, parcel.integration) for target in decision.targets]
    return tuple(
        Delivery(
            new_id(at),
            parcel.id,
            target.system,
            target.gateway,
            State.READY if decision.route else State.HELD,
            at if leased_until is None else leased_until,
            epoch=claimed,
            attempts=claimed,
            lane=parcel.description.priority,
            rule=decision.route,
            config_version=number,
            destination=target.destination if target.gateway else "",
            line=line_of(parcel, target) if agreed.ordered and target.gateway else "",
            stops=agreed.ordered and agreed.stops,
        )
        for target, agreed in zip(decision.targets, paces, strict=True)
    )


def line_of(parcel: Parcel, target: Target) -> str:
    """What a parcel is in line with: the same destination, integration and correlation id, or the lack of one."""
    together = (target.gateway, target.destination, parcel.integration, parcel.description.correlation_id or "")
    return hashlib.sha256(json.dumps(together).encode()).hexdigest()[:40]


def waits_at(item: Delivery) -> Where:
    """Where a delivery counts as waiting: at its destination, or with the system that comes for it."""
    return (item.gateway, item.destination if item.gateway else item.receiver)


def check_allowed(configuration: Configuration, parcel: Parcel, at: Micros) -> str:
    """The service agreement a parcel is accepted under. Raises `NotAllowed`, `TooLarge` with what to change."""
    integration = configuration.all("integration").get(parcel.integration)
    if integration is None:
        known = ", ".join(sorted(configuration.all("integration"))) or "none"
        raise NotAllowed(f"integration: nothing is called {parcel.integration!r}; known: {known}")
    if parcel.description.type not in integration.types:
        raise NotAllowed(
            f"type: {parcel.description.type!r} is not moved under {parcel.integration};"
            f" its types: {', '.join(integration.types)}"
        )
    addressed = configuration.all("function").get(parcel.description.receiver.function or "")
    if addressed is not None and not addressed.takes(parcel.description.sensitivity):
        raise NotAllowed(
            f"receiver.function: {addressed.id} may be sent what is {addressed.sensitivity} at most;"
            f" the parcel is {parcel.description.sensitivity}"
        )
    if len(parcel.payloads) > limits.PAYLOADS_PER_PARCEL:
        raise TooLarge(f"payloads: more than {limits.PAYLOADS_PER_PARCEL}")
    if any(p.size > integration.max_size for p in parcel.payloads):
        raise TooLarge(f"payload: larger than {integration.max_size} octets, the limit of {parcel.integration}")
    agreement = configuration.agreed(parcel.integration, parcel.sender, "send", at)
    if not agreement:
        raise NotAllowed(
            f"service agreement: {parcel.sender} may not send under {parcel.integration} now;"
            " add or extend a document of kind service-agreement"
        )
    return agreement


@dataclass(frozen=True, slots=True)
class FanOut:
    """Who is told of a notification, and which subscriptions could not be asked or may not be served, with the cause."""

    matched: tuple[Subscription, ...]
    left_out: tuple[Verdict, ...] = ()


def fan_out(configuration: Configuration, parcel: Parcel, at: Micros, on_list: OnList) -> FanOut:
    """Every subscription that matches and whose system may receive."""
    found, left_out = configuration.subscriptions.matching(parcel.description, parcel.integration, on_list)
    matched = []
    for one in found:
        if configuration.agreed(parcel.integration, one.system, "receive", at):
            matched.append(one)
        else:
            cause = f"{one.system} has no service agreement to receive under {parcel.integration} now"
            left_out.append(Verdict(one.id, False, cause, broken=True))
    return FanOut(tuple(matched), tuple(left_out))


def told(parcel: Parcel, subscriptions: Sequence[Subscription], number: int, at: Micros) -> tuple[Delivery, ...]:
    """One delivery for each subscription, in a line of its own where the subscription asks for order."""
    return tuple(
        Delivery(
            new_id(at),
            parcel.id,
            one.system,
            "",
            State.READY,
            at,
            lane=parcel.description.priority,
            rule=one.id,
            config_version=number,
            destination=one.id,
            line=_line_of_subscription(parcel, one) if one.ordered_by else "",
        )
        for one in subscriptions
    )


def _line_of_subscription(parcel: Parcel, one: Subscription) -> str:
    """What it is in order with: the same subscription, lane and value; "" (no order) where the parcel has no such value."""
    value = getattr(parcel.description, one.ordered_by)
    if value is None:
        return ""
    together = ("subscription", one.id, parcel.description.priority, value)
    return hashlib.sha256(json.dumps(together).encode()).hexdigest()[:40]
