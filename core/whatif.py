"""Where something would go under a configuration, and what every route and subscription says of it: asked before it is sent.

Rules:

1. What is asked is what `core.deciding` decides by: may it be sent, which filters match, may those they name receive.
2. Whether a subject is on a value list is not known here: subjects are kept sealed, and lists as digests. A subscription that
   only its list decides is named as undecided, and counts neither as matching nor as not.
3. Steps of enrichment are run first, as they are when it comes, but for those that ask elsewhere: what such a step once added is
   still in the description of what came.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from core.clock import Micros
from core.config import Configuration
from core.description import Description
from core.enrichment import Enriched
from core.route import Target
from core.system import RESIDUAL

NOBODY: Final = "no subscription matches"
"""Why a notification reaches nobody."""
_REFUSED: Final = "refused: "


@dataclass(frozen=True, slots=True)
class Sent:
    """What is asked about: who sends what under which integration; ``largest`` payload, and whether it is about anybody."""

    sender: str
    integration: str
    description: Description
    largest: int
    has_subjects: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where it goes: by which routes or subscriptions, to whom; the residual mailbox and nobody say why in ``cause``."""

    rules: tuple[str, ...]
    receivers: tuple[str, ...]
    cause: str = ""
    undecided: frozenset[str] = frozenset()
    """Subscriptions that match if one of the subjects is on their value list."""

    @property
    def is_refused(self) -> bool:
        """Whether it would not be accepted at all."""
        return self.cause.startswith(_REFUSED)


@dataclass(frozen=True, slots=True)
class Answer:
    """What one route or subscription says. ``matches`` is None where only a value list can tell, or nobody asks it."""

    kind: Literal["route", "subscription"]
    id: str
    matches: bool | None
    why: str


def refusal(configuration: Configuration, sent: Sent, at: Micros) -> str:
    """Why it would not be accepted, or ""."""
    integration = configuration.all("integration").get(sent.integration)
    if integration is None:
        return f"nothing is called {sent.integration}"
    if sent.description.type not in integration.types:
        return f"type {sent.description.type!r} is not moved under {sent.integration}"
    if sent.largest > integration.max_size:
        return f"a payload is larger than {integration.max_size} octets"
    if not configuration.agreed(sent.integration, sent.sender, "send", at):
        return f"{sent.sender} has no service agreement to send under {sent.integration}"
    return ""


def place(configuration: Configuration, sent: Sent, at: Micros) -> Place:
    """Where it would go if it came at the time ``at``."""
    if cause := refusal(configuration, sent, at):
        return Place((), (), _REFUSED + cause)
    gained = enriched(configuration, sent)
    if gained.residual:
        return Place((), (RESIDUAL,), gained.residual)
    sent = replace(sent, description=gained.description)
    if configuration.all("integration")[sent.integration].capability == "notification":
        return _told(configuration, sent, at)
    decision = configuration.routes.choose(sent.description, sent.integration)
    if not decision.route:
        return Place((), (RESIDUAL,), decision.cause)
    for target in decision.targets:
        if not may_receive(configuration, sent.integration, target.system, at):
            cause = f"route {decision.route} names {target.system}, which may not receive under {sent.integration}"
            return Place((), (RESIDUAL,), cause)
    return Place((decision.route,), tuple(sorted(map(_by, decision.targets))))


def enriched(configuration: Configuration, sent: Sent) -> Enriched:
    """What quick steps of enrichment add to its description, each with its origin."""
    return configuration.enrichments.run(sent.description, sent.integration, quick_only=True)


def may_receive(configuration: Configuration, integration: str, system: str, at: Micros) -> bool:
    """Whether a system may be given something; the residual mailbox always may."""
    return system == RESIDUAL or bool(configuration.agreed(integration, system, "receive", at))


def _by(target: Target) -> str:
    through = " ".join(filter(None, (target.gateway, target.destination)))
    return f"{target.system} through {through}" if through else target.system


def _told(configuration: Configuration, sent: Sent, at: Micros) -> Place:
    found, _ = configuration.subscriptions.matching(sent.description, sent.integration, lambda *_: sent.has_subjects)
    served = [one for one in found if may_receive(configuration, sent.integration, one.system, at)]
    undecided = frozenset(one.id for one in served if one.subjects_in is not None)
    sure = [one for one in served if one.subjects_in is None]
    cause = "" if sure else NOBODY
    return Place(tuple(sorted(one.id for one in sure)), tuple(sorted(one.system for one in sure)), cause, undecided)


def answers(configuration: Configuration, sent: Sent, at: Micros) -> Sequence[Answer]:
    """What every route or subscription that could be asked says, in the order in which they are asked."""
    sent = replace(sent, description=enriched(configuration, sent).description)
    integration = configuration.all("integration").get(sent.integration)
    if integration is not None and integration.capability == "notification":
        return _of_subscriptions(configuration, sent, at)
    return _of_routes(configuration, sent, at)


def _of_routes(configuration: Configuration, sent: Sent, at: Micros) -> list[Answer]:
    routes = configuration.all("route")
    asked = [
        one
        for one in sorted(routes.values(), key=lambda route: (route.order, route.id))
        if one.integration in (None, sent.integration)
    ]
    verdicts = {one.route: one for one in configuration.routes.explain(sent.description, sent.integration)}
    last = next(reversed(verdicts), "")
    said: list[Answer] = []
    for route in asked:
        verdict = verdicts.get(route.id)
        if verdict is None:
            said.append(Answer("route", route.id, None, f"not asked: {last} decides before it"))
            continue
        lost = [t.system for t in route.to if not may_receive(configuration, sent.integration, t.system, at)]
        why = verdict.why
        if verdict.matched and lost:
            why += (
                f"; but {', '.join(lost)} may not receive under {sent.integration}, so it goes to the residual mailbox"
            )
        said.append(Answer("route", route.id, verdict.matched, why))
    return said


def _of_subscriptions(configuration: Configuration, sent: Sent, at: Micros) -> list[Answer]:
    said: list[Answer] = []
    verdicts = configuration.subscriptions.explain(sent.description, sent.integration, lambda *_: sent.has_subjects)
    for verdict in verdicts:
        one = configuration.all("subscription")[verdict.subscription]
        if verdict.matched and not may_receive(configuration, sent.integration, one.system, at):
            why = f"it matches, but {one.system} may not receive under {sent.integration}"
            said.append(Answer("subscription", one.id, False, why))
        elif verdict.matched and one.subjects_in is not None:
            why = f"it matches if one of the subjects is on the value list {one.subjects_in}"
            said.append(Answer("subscription", one.id, None, why))
        else:
            said.append(Answer("subscription", one.id, verdict.matched, verdict.why))
    return said
