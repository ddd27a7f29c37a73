"""Which routes and subscriptions say what another says already: a route that an earlier one always wins over, the same twice.

Rules:

1. A route is shadowed when an earlier one demands nothing that it does not demand itself: whatever it would take, the earlier one
   has taken. Equality decides; of conditions only "none" and "the same text" are compared: nothing is claimed that might not be.
2. An integration with one type says the type of every parcel under it, whether its route does or not.
3. Routes are looked up by what they demand, one look for each combination of fields that is in use: an estate has many routes and
   few such combinations.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from core.matching import Match
from core.route import Route
from core.subscription import Subscription

Field = tuple[str, str]
"""What is demanded: a field of the match and "", or ``classification`` and its scheme."""
_PLAIN: Final = tuple(name for name in Match.model_fields if name != "classification")


@dataclass(frozen=True, slots=True)
class Shadow:
    """``name`` never decides, because ``by`` does; ``same`` when they demand the very same."""

    name: str
    by: str
    same: bool


def demands(match: Match, integration: str | None) -> dict[Field, str]:
    """The equalities of a filter, by field."""
    found = {(name, ""): value for name in _PLAIN if (value := getattr(match, name)) is not None}
    found |= {("classification", scheme): code for scheme, code in match.classification.items()}
    if integration is not None:
        found["integration", ""] = integration
    return found


def shadowed(routes: Iterable[Route], only_type: Mapping[str, str]) -> Iterator[Shadow]:
    """The routes that never decide; ``only_type`` gives the type of each integration that has but one."""
    seen: dict[frozenset[Field], dict[Hashable, Route]] = {}
    for route in sorted(routes, key=lambda one: (one.order, one.id)):
        own = demands(route.match, route.integration)
        known = dict(own)
        if route.integration is not None and route.integration in only_type:
            known.setdefault(("type", ""), only_type[route.integration])
        winner = _winner(known, route.when, seen)
        if winner is None:
            key = (frozenset(own.items()), route.when)
            seen.setdefault(frozenset(own), {})[key] = route
        else:
            same = winner.when == route.when and demands(winner.match, winner.integration) == own
            yield Shadow(route.id, winner.id, same)


def _winner(
    known: Mapping[Field, str], when: str, seen: Mapping[frozenset[Field], dict[Hashable, Route]]
) -> Route | None:
    """The first earlier route that takes all that demands this much."""
    found: list[Route] = []
    for fields, routes in seen.items():
        if fields <= known.keys():
            wanted = frozenset((field, known[field]) for field in fields)
            found += [routes[wanted, text] for text in {"", when} if (wanted, text) in routes]
    return min(found, key=lambda one: (one.order, one.id), default=None)


def repeated(subscriptions: Iterable[Subscription]) -> Iterator[Shadow]:
    """Subscriptions that tell a system a second time of what another tells it already."""
    seen: dict[Hashable, str] = {}
    for item in sorted(subscriptions, key=lambda one: one.id):
        wanted = frozenset(demands(item.match, item.integration).items())
        first = seen.setdefault((item.system, wanted, item.when, item.subjects_in), item.id)
        if first != item.id:
            yield Shadow(item.id, first, True)
