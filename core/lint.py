"""What is odd about a configuration that can be applied: left over, half-made, never reached, soon ended.

Rules:

1. `core.config.check_kernel` says what is wrong and stops a version; this says what people would want to know before one is made.
   An error: parcels will not go where the documents mean them to. A warning: something is left over, or will be wrong one day.
2. A finding names document and field, has a code word that stays, and ends in something to do.
3. One cause, one finding: a route whose target may not receive is not said again of its integration.
4. The cost is near-linear in the documents: every question about the others is a look into an index.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

from core import limits
from core.agreement import ServiceAgreement
from core.clock import DAY, Micros, to_datetime
from core.config import Configuration
from core.description import rank
from core.estate import Direction, Estate, Standing, directions
from core.integration import Integration
from core.matching import Match
from core.route import Route
from core.shadow import repeated, shadowed
from core.system import RESIDUAL

Severity = Literal["error", "warning"]

CODES: Final[dict[str, str]] = {
    "half-route": "a route leads to a system that may not receive: what it takes goes to the residual mailbox",
    "several-targets": "a handover has one receiver, and this route names more",
    "notification-route": "a notification goes to its subscribers; a route for it is never asked",
    "subscription-of-no-notification": "only notifications go by subscriptions: this one never gets anything",
    "subscription-without-agreement": "the subscriber may not receive: it gets nothing until a service agreement says so",
    "unknown-list": "the value list that a subscription filters by is not there: it never matches",
    "function-sensitivity": "more sensitive than may be sent to the function",
    "shadowed-route": "an earlier route always wins, so this one never decides",
    "duplicate-route": "an earlier route demands the very same, so this one never decides",
    "duplicate-agreement": "another service agreement allows the same in the same time",
    "duplicate-subscription": "another subscription of the same system asks for the very same: it gets everything twice",
    "type-not-moved": "the payload type is not moved under the integration, so this never matches",
    "unknown-sender": "no system has the name that is demanded of the sender, so this never matches",
    "route-without-sender": "the sender that the route demands may not send, so this never matches",
    "unknown-function": "a function is named that no document describes",
    "unserved-function": "no system serves the function: what is addressed to it reaches nobody",
    "unagreed-system": "the system is in no service agreement: it may neither send nor receive",
    "unused-integration": "nothing uses the integration: no service agreement, no route, no subscription",
    "no-senders": "there are receivers, and nobody may send",
    "no-receivers": "there are senders, and nobody may receive",
    "unrouted": "there are senders and receivers, and no route: everything goes to the residual mailbox",
    "unreached-receiver": "a system may receive, and no route leads to it",
    "receipt-of-no-receiver": "a receipt is expected of a system that may not receive: it will never come",
    "agreement-ended": "a service agreement has ended",
    "agreement-ends": "a service agreement ends soon, and none follows",
    "agreement-later": "what is named here may not receive yet: its service agreement begins later",
    "unused-file": "a file that no document names",
}
"""Every code and what it means."""
ERRORS: Final = frozenset(
    {
        *("half-route", "several-targets", "notification-route", "unknown-list", "function-sensitivity"),
        *("subscription-of-no-notification", "subscription-without-agreement"),
    }
)
_BETWEEN_NAMES: Final = re.compile(rb"[\"'/\\\s<>#]+")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something odd: which document and field, which kind of oddity, why, and what to do."""

    kind: str
    id: str
    field: str
    code: str
    cause: str
    remedy: str

    @property
    def severity(self) -> Severity:
        """Whether parcels go wrong by it."""
        return "error" if self.code in ERRORS else "warning"


def lint(configuration: Configuration, at: Micros) -> list[Finding]:
    """All that is odd, errors first, then by document. ``at`` is the day that agreements are looked at on."""
    estate = Estate(configuration, to_datetime(at).date())
    rules = (_routes, _shadows, _subscriptions, _integrations, _agreements, _systems, _functions, _files)
    found = [finding for rule in rules for finding in rule(estate)]
    return sorted(found, key=lambda f: (f.severity, f.kind, f.id, f.field, f.code))


# --- routes -----------------------------------------------------------------------------------------------------------


def _routes(estate: Estate) -> Iterator[Finding]:
    for route in estate.routes.values():
        integration = estate.integrations.get(route.integration or "")
        if integration is not None and integration.capability == "notification":
            cause = f"{integration.id} is a notification, and those go by subscriptions"
            remedy = "write a document of kind subscription for each receiver, and remove the route"
            yield Finding("route", route.id, "integration", "notification-route", cause, remedy)
            continue
        unmoved = list(_filter(estate, "route", route.id, route.match, integration))
        yield from unmoved
        if integration is None and not unmoved and route.match.type not in estate.movers:
            cause = f"no integration that routes serve moves {route.match.type!r}"
            yield Finding(
                "route", route.id, "match.type", "type-not-moved", cause, "correct the type, or remove the route"
            )
        elif not any(finding.code == "type-not-moved" for finding in unmoved):
            yield from _targets(estate, route, integration)


def _filter(estate: Estate, kind: str, name: str, match: Match, integration: Integration | None) -> Iterator[Finding]:
    """What a filter demands that can never be."""
    if integration is not None and match.type is not None and match.type not in integration.types:
        cause = f"{match.type!r} is not moved under {integration.id}; its types: {', '.join(integration.types)}"
        yield Finding(
            kind, name, "match.type", "type-not-moved", cause, "correct the type, or add it to the integration"
        )
    sender = match.sender
    if sender is not None and sender not in estate.systems:
        cause = f"no system is called {sender!r}"
        yield Finding(
            kind, name, "match.sender", "unknown-sender", cause, "correct the name, or write the system's document"
        )
    elif sender is not None and integration is not None:
        standing = estate.agreed(integration.id, "send", sender)
        if standing in ("ended", "never"):
            cause = f"{sender} may not send under {integration.id}: {_words(standing)}"
            yield Finding(
                kind, name, "match.sender", "route-without-sender", cause, _agree(integration.id, sender, "send")
            )
    if match.function is not None:
        yield from _function(estate, kind, name, "match.function", match.function, integration)


def _function(
    estate: Estate, kind: str, name: str, field: str, wanted: str, integration: Integration | None
) -> Iterator[Finding]:
    function = estate.functions.get(wanted)
    if function is None:
        cause = f"no document describes the function {wanted!r}"
        yield Finding(
            kind, name, field, "unknown-function", cause, "write a document of kind function, or correct the name"
        )
    elif integration is not None and rank(integration.sensitivity) > rank(function.sensitivity):
        cause = (
            f"{integration.id} is {integration.sensitivity}, and at most {function.sensitivity} may be sent to {wanted}"
        )
        remedy = "raise the function's sensitivity with those who serve it, or send to a system"
        yield Finding(kind, name, field, "function-sensitivity", cause, remedy)


def _words(standing: Standing) -> str:
    return "its service agreement has ended" if standing == "ended" else "no service agreement says so"


def _agree(integration: str, system: str, direction: Direction) -> str:
    words = f"add or extend a document of kind service-agreement: integration {integration}, system {system}"
    return f"{words}, may {direction}"


def _targets(estate: Estate, route: Route, integration: Integration | None) -> Iterator[Finding]:
    if len(route.to) > 1 and integration is not None and integration.capability == "handover":
        cause = f"{len(route.to)} targets, and {integration.id} is a handover, which has one receiver"
        remedy = "name one target, or make the integration a notification or a file"
        yield Finding("route", route.id, "to", "several-targets", cause, remedy)
    for index, target in enumerate(route.to):
        if target.system == RESIDUAL:
            continue
        if integration is not None:
            standing, under = estate.agreed(integration.id, "receive", target.system), integration.id
        else:
            standing = estate.reachable.get(route.match.type, {}).get(target.system, "never")
            under = "any integration that the route serves"
        where = f"to.{index}.system"
        if standing == "later":
            cause = f"{target.system} may not receive under {under} yet"
            remedy = "until its service agreement begins, what the route takes goes to the residual mailbox"
            yield Finding("route", route.id, where, "agreement-later", cause, remedy)
        elif standing != "now":
            cause = f"{target.system} may not receive under {under}: {_words(standing)}"
            remedy = _agree(integration.id if integration else "…", target.system, "receive")
            yield Finding("route", route.id, where, "half-route", cause, remedy)


def _shadows(estate: Estate) -> Iterator[Finding]:
    only = {item.id: item.types[0] for item in estate.integrations.values() if len(item.types) == 1}
    for shadow in shadowed(estate.routes.values(), only):
        route, by = estate.routes[shadow.name], estate.routes[shadow.by]
        code = "duplicate-route" if shadow.same else "shadowed-route"
        before = f"order {by.order} before {route.order}" if by.order != route.order else "its id comes first"
        said = "demands the very same" if shadow.same else "takes all that this one would"
        cause = f"route {by.id} {said} and comes first ({before})"
        remedy = f"give this one a lower order than {by.id}, or remove it"
        yield Finding("route", route.id, "order", code, cause, remedy)


# --- subscriptions ----------------------------------------------------------------------------------------------------


def _subscriptions(estate: Estate) -> Iterator[Finding]:
    kind, lists = "subscription", estate.configuration.all("value-list")
    for item in estate.subscriptions.values():
        integration = estate.integrations.get(item.integration)
        if integration is not None and integration.capability != "notification":
            cause = f"{integration.id} is a {integration.capability}, and that goes by routes"
            remedy = "write a route, or make the integration a notification"
            yield Finding(kind, item.id, "integration", "subscription-of-no-notification", cause, remedy)
            continue
        yield from _filter(estate, kind, item.id, item.match, integration)
        if item.subjects_in is not None and item.subjects_in not in lists:
            known = ", ".join(sorted(lists)[:8]) or "there are none"
            cause = f"no value list is called {item.subjects_in!r}"
            remedy = f"known: {known}; or write a document of kind value-list"
            yield Finding(kind, item.id, "subjects_in", "unknown-list", cause, remedy)
        standing = estate.agreed(item.integration, "receive", item.system)
        if standing == "later":
            cause = f"{item.system} may not receive under {item.integration} yet"
            remedy = "it gets nothing until its service agreement begins"
            yield Finding(kind, item.id, "system", "agreement-later", cause, remedy)
        elif standing != "now":
            cause = f"{item.system} may not receive under {item.integration}: {_words(standing)}"
            remedy = _agree(item.integration, item.system, "receive")
            yield Finding(kind, item.id, "system", "subscription-without-agreement", cause, remedy)
    for shadow in repeated(estate.subscriptions.values()):
        cause = f"subscription {shadow.by} of the same system asks for the very same"
        yield Finding(kind, shadow.name, "match", "duplicate-subscription", cause, "remove one of them")


# --- integrations -----------------------------------------------------------------------------------------------------


def _integrations(estate: Estate) -> Iterator[Finding]:
    kind, used = "integration", {item.integration for item in estate.agreements.values()}
    subscribed = {item.integration for item in estate.subscriptions.values()}
    for item in estate.integrations.values():
        routed = item.id in estate.routes_of
        if not (item.id in used or routed or item.id in subscribed):
            remedy = "write the service agreements of those who send and receive, or remove it"
            yield Finding(
                kind, item.id, "id", "unused-integration", "no service agreement, route or subscription", remedy
            )
            continue
        senders, receivers = estate.anybody(item.id, "send"), estate.anybody(item.id, "receive")
        if not senders:
            cause = "nobody has a service agreement to send, now or later"
            yield Finding(
                kind, item.id, "id", "no-senders", cause, "add or extend one, or remove what receives under it"
            )
        elif not receivers and not routed and item.id not in subscribed:
            cause = "nobody has a service agreement to receive, now or later"
            yield Finding(
                kind, item.id, "id", "no-receivers", cause, "add or extend one, and a route or a subscription"
            )
        elif receivers and not routed and item.capability != "notification" and not _taken(estate, item):
            cause = "no route takes it"
            yield Finding(kind, item.id, "id", "unrouted", cause, f"write a route with integration {item.id}")
        yield from _receipts(estate, item)


def _taken(estate: Estate, item: Integration) -> bool:
    """Whether some route that names no integration may take it."""
    return not {None, *item.types}.isdisjoint(estate.open_to)


def _receipts(estate: Estate, item: Integration) -> Iterator[Finding]:
    for index, expected in enumerate(item.receipts):
        if expected.function is not None:
            where = f"receipts.{index}.function"
            yield from _function(estate, "integration", item.id, where, expected.function, item)
        elif expected.system is not None and estate.agreed(item.id, "receive", expected.system) in ("ended", "never"):
            cause = f"{expected.system} may not receive under {item.id}"
            remedy = _agree(item.id, expected.system, "receive")
            yield Finding("integration", item.id, f"receipts.{index}.system", "receipt-of-no-receiver", cause, remedy)


# --- agreements, systems, functions, files ----------------------------------------------------------------------------


def _agreements(estate: Estate) -> Iterator[Finding]:
    groups: dict[tuple[str, str, str, Direction], list[ServiceAgreement]] = {}
    for item in estate.agreements.values():
        for direction in directions(item):
            groups.setdefault((item.integration, item.system, item.on_behalf_of, direction), []).append(item)
    said: dict[tuple[str, str], Finding] = {}
    for items in groups.values():
        for finding in _in_time(estate, sorted(items, key=lambda i: (i.since or date.min, i.until or date.max, i.id))):
            said.setdefault((finding.id, finding.code), finding)
    yield from said.values()


def _in_time(estate: Estate, items: list[ServiceAgreement]) -> Iterator[Finding]:
    """What is odd about agreements of one system, integration and direction, in the order they begin."""
    kind, soon = "service-agreement", estate.day + timedelta(days=limits.AGREEMENT_SOON // DAY)
    last: ServiceAgreement | None = None
    for item in items:
        if last is not None and (item.since or date.min) <= (last.until or date.max):
            cause = f"service agreement {last.id} allows the same in the same time"
            yield Finding(kind, item.id, "system", "duplicate-agreement", cause, "let one end before the other begins")
        if last is None or (item.until or date.max) > (last.until or date.max):
            last = item
    reach = last.until if last is not None else None
    for item in items:
        if item.until is None or item.until > soon:
            continue
        if item.until < estate.day:
            remedy = "extend it, or remove it together with what leads to its system"
            yield Finding(kind, item.id, "until", "agreement-ended", f"it ended on {item.until}", remedy)
        elif item is last and reach is not None:
            cause = f"it ends on {item.until}, and none follows"
            yield Finding(kind, item.id, "until", "agreement-ends", cause, "extend it, or tell those who use it")


def _systems(estate: Estate) -> Iterator[Finding]:
    agreed = {item.system for item in estate.agreements.values()}
    for system in estate.systems.values():
        if system.id not in agreed:
            cause = "no service agreement names it"
            yield Finding("system", system.id, "id", "unagreed-system", cause, "write one, or remove the system")
        for index, name in enumerate(system.functions):
            yield from _function(estate, "system", system.id, f"functions.{index}", name, None)
    led = {(route.integration, target.system) for route in estate.routes.values() for target in route.to}
    for item in estate.agreements.values():
        integration = estate.integrations.get(item.integration)
        if item.may != "receive" or integration is None or integration.capability == "notification":
            continue
        openly = any(item.system in estate.open_to.get(t, ()) for t in (None, *integration.types))
        routed = item.integration in estate.routes_of or _taken(estate, integration)
        if routed and not openly and (item.integration, item.system) not in led:
            cause = f"no route leads {item.integration} to {item.system}"
            remedy = f"write a route with the target {item.system}, or remove the service agreement"
            yield Finding("service-agreement", item.id, "system", "unreached-receiver", cause, remedy)


def _functions(estate: Estate) -> Iterator[Finding]:
    served = {name for system in estate.systems.values() for name in system.functions}
    for name in estate.functions:
        if name not in served:
            remedy = f"add {name} to the functions of a system, or remove it"
            yield Finding("function", name, "id", "unserved-function", "no system serves it", remedy)


def _files(estate: Estate) -> Iterator[Finding]:
    """Files that no document names, and no other file either: one schema may include another."""
    files = estate.configuration.files
    if not files:
        return
    kinds = estate.configuration.documents.values()
    named = {
        text for documents in kinds for item in documents.values() for text in _texts(item.model_dump(mode="json"))
    }
    included = _included(files)
    unused = [name for name in sorted(files) if name not in named and name not in included]
    if unused:
        more = f" {', '.join(unused[1:9])}{', …' if len(unused) > 9 else ''}" if unused[1:] else ""
        cause = "no document names it" + (f", nor {len(unused) - 1} more:{more}" if more else "")
        yield Finding(
            "file", unused[0], "", "unused-file", cause, "remove what is of no use, or name it where it is needed"
        )


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)


def _included(files: Mapping[str, bytes]) -> set[str]:
    """Schemas that another one speaks of by their last name."""
    spoken: dict[bytes, set[str]] = {}
    for name, octets in files.items():
        for word in set(_BETWEEN_NAMES.split(octets)):
            if word.endswith((b".xsd", b".json")):
                spoken.setdefault(word, set()).add(name)
    return {name for name in files if spoken.get(name.rpartition("/")[2].encode(), set()) - {name}}
