"""Filters on what came before: how many stored notifications one would have matched.

Rules:

1. Nothing that is personal is shown: of an example its id, time and type.
2. A trial has an end in count and in time, and says how far it came. Few are made at once: each keeps a core busy.
3. Subjects are opened only where everything else of a filter holds and it asks for a value list.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from core import limits
from core.clock import Micros
from core.errors import Overloaded
from core.keys import unseal
from core.ledger import history
from core.parcel import Parcel, place_of_subjects
from core.runtime import Runtime
from core.subscription import Subscription, Subscriptions


class Seen:
    """One filter, asked of stored parcels; from any thread."""

    def __init__(self, runtime: Runtime, subscription: Subscription) -> None:
        self._runtime, self._subscription = runtime, subscription
        self._filter = Subscriptions([subscription.model_copy(update={"subjects_in": None})])
        self.broken = ""
        """Why it could not be said of some parcel whether it matches."""

    def matches(self, parcel: Parcel) -> bool:
        """Whether it would be delivered."""
        matched, broken = self._filter.matching(parcel.description, parcel.integration)
        if broken:
            self.broken = broken[0].why
        named = self._subscription.subjects_in
        return bool(matched) and (named is None or self._runtime.on_list(named, self._subjects(parcel)))

    def judge(self, parcels: Sequence[Parcel]) -> list[tuple[Parcel, bool]]:
        """Each with whether it would be delivered."""
        return [(parcel, self.matches(parcel)) for parcel in parcels]

    def _subjects(self, parcel: Parcel) -> Sequence[str]:
        if not parcel.sealed_subjects:
            return parcel.description.subjects
        key = self._runtime.ring.unwrap(parcel.wrapped_key, parcel.key_id)
        return tuple(json.loads(unseal(key, parcel.sealed_subjects, place_of_subjects(parcel.id))))


@dataclass(frozen=True, slots=True)
class Example:
    """A stored notification, without anything of what it says."""

    id: str
    at: Micros
    type: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What a filter makes of the past. ``since`` is how far back it came; ``whole`` whether that is as far as was asked."""

    since: Micros
    seen: int = 0
    matched: int = 0
    matching: tuple[Example, ...] = ()
    others: tuple[Example, ...] = ()
    whole: bool = True
    broken: str = ""
    """Why some could not be judged, "" when all could."""


@dataclass(slots=True)
class _Count:
    seen: int = 0
    matched: int = 0
    matching: list[Example] = field(default_factory=list)
    others: list[Example] = field(default_factory=list)

    def take(self, parcel: Parcel, matches: bool) -> None:
        self.seen += 1
        self.matched += matches
        examples = self.matching if matches else self.others
        if len(examples) < limits.TRIAL_EXAMPLES:
            examples.append(Example(parcel.id, parcel.accepted_at, parcel.description.type))


class History:
    """Trials of filters."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._running = 0

    async def trial(self, subscription: Subscription, since: Micros) -> Trial:
        """How many of what came since a time it matches, the newest first. Raises `Overloaded` while others are tried."""
        if self._running >= limits.TRIALS:
            raise Overloaded("other filters are being tried; try again shortly")
        self._running += 1
        try:
            return await self._trial(subscription, since)
        finally:
            self._running -= 1

    async def _trial(self, subscription: Subscription, since: Micros) -> Trial:
        clock, seen, count = self._runtime.clock, Seen(self._runtime, subscription), _Count()
        end, before, last = clock.now() + limits.TRIAL_TIME, history.floor(clock.now() + 1000), since
        while True:
            parcels = await self._runtime.read(_newest, subscription.integration, since, before)
            for parcel, matches in await asyncio.to_thread(seen.judge, parcels):
                count.take(parcel, matches)
            made = Trial(
                since, count.seen, count.matched, tuple(count.matching), tuple(count.others), True, seen.broken
            )
            if len(parcels) < limits.REPLAY_BATCH:
                return made
            before, last = parcels[-1].id, parcels[-1].accepted_at
            if count.seen >= limits.TRIAL_LOOKED_AT or clock.now() >= end:
                return replace(made, since=last, whole=False)


def _newest(connection: Connection, integration: str, since: Micros, before: str) -> Sequence[Parcel]:
    after = history.floor(since)
    return history.page(connection, integration, after, before, limits.REPLAY_BATCH, newest_first=True)
