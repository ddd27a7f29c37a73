"""A configuration looked at as a whole: the indexes that questions about how its documents fit each other need.

Rule: every index is made once, in one pass over the documents, and only when something asks for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from functools import cached_property
from typing import Any, Final, Literal

from core.agreement import ServiceAgreement
from core.config import Configuration
from core.integration import Integration
from core.route import Route
from core.subscription import Subscription
from core.system import Function

Direction = Literal["send", "receive"]
Standing = Literal["now", "later", "ended", "never"]
"""Whether something is agreed: now, from a later day, no more, or never."""
_BETTER: Final[Sequence[Standing]] = ("now", "later", "ended", "never")


class Estate:
    """A configuration with the indexes that questions about it need."""

    def __init__(self, configuration: Configuration, day: date) -> None:
        self.configuration, self.day = configuration, day
        self.systems: Mapping[str, Any] = configuration.all("system")
        self.integrations: Mapping[str, Integration] = configuration.all("integration")
        self.routes: Mapping[str, Route] = configuration.all("route")
        self.agreements: Mapping[str, ServiceAgreement] = configuration.all("service-agreement")
        self.subscriptions: Mapping[str, Subscription] = configuration.all("subscription")
        self.functions: Mapping[str, Function] = configuration.all("function")

    @cached_property
    def standings(self) -> dict[tuple[str, Direction], dict[str, Standing]]:
        """By integration and direction: each system that any agreement names, and how it stands."""
        found: dict[tuple[str, Direction], dict[str, Standing]] = {}
        for item in self.agreements.values():
            standing = self.standing(item)
            for direction in directions(item):
                named = found.setdefault((item.integration, direction), {})
                named[item.system] = min(named.get(item.system, "never"), standing, key=_BETTER.index)
        return found

    def standing(self, item: ServiceAgreement) -> Standing:
        """How one agreement stands today."""
        if item.until is not None and item.until < self.day:
            return "ended"
        return "later" if item.since is not None and item.since > self.day else "now"

    def agreed(self, integration: str, direction: Direction, system: str) -> Standing:
        """Whether a system may send or receive under an integration."""
        return self.standings.get((integration, direction), {}).get(system, "never")

    def anybody(self, integration: str, direction: Direction) -> bool:
        """Whether anybody may, now or later."""
        return not {"now", "later"}.isdisjoint(self.standings.get((integration, direction), {}).values())

    @cached_property
    def routes_of(self) -> dict[str, list[Route]]:
        """Routes by the integration they name."""
        found: dict[str, list[Route]] = {}
        for route in self.routes.values():
            if route.integration is not None:
                found.setdefault(route.integration, []).append(route)
        return found

    @cached_property
    def open_routes(self) -> list[Route]:
        """Routes that name no integration."""
        return [route for route in self.routes.values() if route.integration is None]

    @cached_property
    def open_to(self) -> dict[str | None, set[str]]:
        """Where routes that name no integration lead, by the type they demand; None = any type."""
        found: dict[str | None, set[str]] = {}
        for route in self.open_routes:
            found.setdefault(route.match.type, set()).update(target.system for target in route.to)
        return found

    @cached_property
    def movers(self) -> dict[str | None, list[str]]:
        """Integrations that routes serve, by type; None = all of them."""
        found: dict[str | None, list[str]] = {None: []}
        for item in self.integrations.values():
            if item.capability != "notification":
                for payload_type in (None, *item.types):
                    found.setdefault(payload_type, []).append(item.id)
        return found

    @cached_property
    def reachable(self) -> dict[str | None, dict[str, Standing]]:
        """By type: the systems that may receive something of that type, and how they stand at best."""
        found: dict[str | None, dict[str, Standing]] = {}
        for payload_type, names in self.movers.items():
            best = found.setdefault(payload_type, {})
            for name in names:
                for system, standing in self.standings.get((name, "receive"), {}).items():
                    best[system] = min(best.get(system, "never"), standing, key=_BETTER.index)
        return found


def directions(item: ServiceAgreement) -> tuple[Direction, ...]:
    """What an agreement allows, one by one."""
    return ("send", "receive") if item.may == "both" else (item.may,)
