"""Figures of use: how much went, by integration, sender, receiver, rule, state or hour; and by what nothing went [R76, R133].

Rules:

1. Of one's own systems, of one's authority for operators, of everybody for administrators: as everywhere.
2. By integration and sender parcels are counted as they came in, for who sent them; by receiver, rule and state deliveries are,
   for both sides.
3. An hour that is over is exact; the one that runs is brought up to date now and then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core import limits
from core.clock import DAY, Micros
from core.config import Configuration
from core.desk.statistics import Unused, asking
from core.ledger.statistics import DIMENSIONS, Sum
from gateways.rest.endpoint import OWN, Answer, Ask, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.times import Moment
from gateways.rest.tracking import Term

_TAG: Final = "Figures"
_WEEK: Final = 7 * DAY
_ONE: Final = "|".join(DIMENSIONS)


class Counting(Shape):
    """What to count."""

    by: Annotated[
        str,
        Field(max_length=64, pattern=f"^({_ONE})(,({_ONE}))*$", description=f"Some of {', '.join(DIMENSIONS)}; commas between."),
    ]  # fmt: skip
    since: Annotated[Moment | None, Field(description="From the hour of then on; left out, a week.")] = None
    until: Annotated[Moment | None, Field(description="Until before then; left out, until now.")] = None
    integration: Annotated[Term, Field(description="Under this one only.")] = ""
    sender: Annotated[Term, Field(description="Of this one only.")] = ""
    receiver: Annotated[Term, Field(description="To this one only.")] = ""
    rule: Annotated[Term, Field(description="By this one only.")] = ""
    state: Annotated[Term, Field(description="In this state only; `nobody`: that nobody subscribes to.")] = ""
    limit: Annotated[int, Field(ge=1, le=limits.LIST_MOST, description="At most so many sums.")] = limits.LIST_MOST


class Since(Shape):
    """Since when."""

    since: Annotated[Moment | None, Field(description="From the hour of then on; left out, a week.")] = None


class SumView(Shape):
    """How much, for one value of each."""

    of: dict[str, str]
    """What was asked `by` → its value; an hour by its beginning."""
    parcels: int
    octets: int


class Sums(Shape):
    """The largest number first; by hour, the oldest first."""

    since: str
    until: str
    sums: list[SumView]
    more: bool
    """There are others, beyond the limit."""


class UnusedView(Shape):
    """Something that nothing went by."""

    kind: Literal["route", "subscription"]
    id: str


class UnusedList(Shape):
    """Routes and subscriptions in force that nothing went by."""

    since: str
    unused: list[UnusedView]


class Figures:
    """Endpoints of figures."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        top = "/v1/statistics"
        return (
            Endpoint("GET", top, self.sums, "Count what went", _TAG, {200: Answer("The sums.", Sums)}, query=Counting,
                     audited="saw", unaudited=OWN),
            Endpoint("GET", f"{top}/unused", self.unused, "See what nothing went by", _TAG,
                     {200: Answer("All of them.", UnusedList)}, query=Since, audited="saw", unaudited=OWN),
        )  # fmt: skip

    async def sums(self, ask: Ask) -> Reply:
        """Parcels and octets. They hold no ids, so they are kept longer than what they count."""
        wanted, scope = ask.query, ask.caller.scope(self._gate.configuration())
        until = self._gate.kernel.clock.now() if wanted.until is None else wanted.until
        since = until - _WEEK if wanted.since is None else wanted.since
        only = {name: getattr(wanted, name) for name in DIMENSIONS if name != "hour"}
        asked = asking(wanted.by, since, until, only, scope)
        found = await self._gate.kernel.desks.statistics.sums(asked, wanted.limit + 1)
        sums = [_sum(asked.by, one) for one in found[: wanted.limit]]
        whole = len(found) <= wanted.limit
        return Reply(Sums(since=rfc3339(asked.since), until=rfc3339(until), sums=sums, more=not whole))

    async def unused(self, ask: Ask) -> Reply:
        """Your subscriptions, and the routes that lead to your systems alone: perhaps nobody needs them any more."""
        since = self._since(ask)
        found = await self._gate.kernel.desks.statistics.unused(since)
        configuration = self._gate.configuration()
        scope = ask.caller.scope(configuration)
        mine = [one for one in found if scope is None or _systems_of(configuration, one) <= scope]
        return Reply(UnusedList(since=rfc3339(since), unused=[_unused(one) for one in mine]))

    def _since(self, ask: Ask) -> Micros:
        since: Micros | None = ask.query.since
        return self._gate.kernel.clock.now() - _WEEK if since is None else since


def _systems_of(configuration: Configuration, one: Unused) -> frozenset[str]:
    """Whom it leads to; what is gone meanwhile leads to nobody that a caller could be."""
    found: Any = configuration.all(one.kind).get(one.id)
    if found is None:
        return frozenset({""})
    return frozenset({found.system}) if one.kind == "subscription" else frozenset(target.system for target in found.to)


def _unused(one: Unused) -> UnusedView:
    return UnusedView(kind="route" if one.kind == "route" else "subscription", id=one.id)


def _sum(by: Sequence[str], one: Sum) -> SumView:
    named = {name: rfc3339(value) if name == "hour" else value for name, value in zip(by, one.of, strict=True)}
    return SumView(of=named, parcels=one.parcels, octets=one.octets)
