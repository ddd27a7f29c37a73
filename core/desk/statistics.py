"""Figures of use: per integration, sender, receiver, rule and state, by the hour.

Rules:

1. One node at a time computes, whoever has the turn; it reads in a thread and writes a few rows.
2. The hour that runs is computed again at every look. An hour that is over is computed when it ends and again whenever another
   ends, for a day; and after that as long as something of it is on its way. Numbers and octets of an hour that is over are
   exact. A state that changes more than a day after everything had settled (a resend of what failed) is not seen.
3. Figures hold no ids and no personal data, so they are kept longer than what they count.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from core import commands, limits
from core.clock import HOUR, MINUTE, Micros
from core.config import Configuration
from core.errors import UsageError
from core.ledger import statistics, turns
from core.ledger.statistics import DIMENSIONS, Asked, Sum
from core.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Unused:
    """A route or a subscription by which nothing went."""

    kind: str
    id: str


class Statistics:
    """The figures of a ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def sum_up(self) -> int:
        """Compute what has to be computed; gives how many hours."""
        runtime, now = self._runtime, self._runtime.clock.now()
        turn = ("statistics", runtime.boot, now, now + 10 * MINUTE)
        if not await runtime.do(commands.CALL, commands.Call(turns.take, turn)):
            return 0
        start, hour = await runtime.read(statistics.computed_until), now // HOUR * HOUR
        if start is None:
            return 0
        hours = list(range(min(start, hour), hour + HOUR, HOUR))[: limits.STATISTIC_BATCH]
        if start < hour:  # an hour has ended
            hours += [hour for hour in range(start - limits.STATISTIC_AGAIN, start, HOUR) if hour not in hours]
            older = start - limits.STATISTIC_AGAIN
            hours += await runtime.read(statistics.unsettled, older, limits.STATISTIC_BATCH)
        done = 0
        for one in hours:
            rows = await runtime.read(statistics.compute, one)
            reached = one + HOUR if start <= one < hour else None
            await runtime.do(commands.CALL, commands.Call(statistics.replace, ({one: rows}, reached)))
            done += 1
        await runtime.do(commands.CALL, commands.Call(turns.end, ("statistics", runtime.boot)))
        return done

    async def sums(self, asked: Asked, limit: int = limits.PAGE_MOST) -> Sequence[Sum]:
        """The sums asked for. Raises `UsageError` naming a dimension there is not."""
        return await self._runtime.read(statistics.sums, checked(asked), limit)

    async def unused(self, since: Micros) -> Sequence[Unused]:
        """Routes and subscriptions in force by which nothing went since then."""
        return await self._runtime.read(unused, self._runtime.configuration, since)


def asking(
    by: str,
    since: Micros,
    until: Micros,
    only: Mapping[str, str] | None = None,
    systems: Collection[str] | None = None,
) -> Asked:
    """A question in the words of a command line or a query. Raises `UsageError`."""
    named = tuple(name.strip() for name in by.split(","))
    return checked(Asked(named, since // HOUR * HOUR, until, {k: v for k, v in (only or {}).items() if v}, systems))


def checked(asked: Asked) -> Asked:
    """The question, if it can be answered. Raises `UsageError` naming the field."""
    known = ", ".join(DIMENSIONS)
    for field, names in (("by", asked.by), ("only", asked.only)):
        for name in names:
            if name not in DIMENSIONS:
                raise UsageError(f"{field}: nothing is counted by {name!r}; known: {known}")
    if not asked.by or len(set(asked.by)) != len(asked.by):
        raise UsageError(f"by: name at least one of {known}, each once")
    if asked.until <= asked.since:
        raise UsageError("until: lies before since")
    return asked


def unused(connection: Connection, configuration: Configuration, since: Micros) -> list[Unused]:
    """The same for whoever has a connection: the command line reads the ledger itself."""
    seen = statistics.rules_seen(connection, since)
    kinds: tuple[str, ...] = ("route", "subscription")
    named: list[tuple[str, Any]] = [(kind, name) for kind in kinds for name in sorted(configuration.all(kind))]
    return [Unused(kind, name) for kind, name in named if name not in seen]
