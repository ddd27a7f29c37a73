"""What a proposed configuration would have done with what came: each description under the one in force and under the other.

Rules:

1. Both are asked as if everything came now: what differs is what the configurations say, not what time has done to agreements.
2. What cannot be replayed is counted and said, never guessed: descriptions that retention has emptied, and subscriptions by value
   list, because subjects are kept sealed.
3. Memory is flat: differences are counted in groups with a few examples, whatever the number of parcels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from core import limits
from core.clock import Micros
from core.config import Configuration
from core.description import Description
from core.errors import DescriptionError
from core.parcel import Past
from core.whatif import NOBODY, Place, Sent, place

OTHERS: Final = Place((), (), "further differences")
"""Stands for whatever no group was left for."""


@dataclass
class Tally:
    """Of one integration: how many were replayed, how many would reach others, how many the same by another rule."""

    parcels: int = 0
    elsewhere: int = 0
    by_another: int = 0


@dataclass
class Group:
    """Parcels of one integration that went one way and would go another."""

    integration: str
    before: Place
    after: Place
    elsewhere: bool = False
    """Whether others would get them; else only what decides is another."""
    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass
class Coverage:
    """What was looked at: parcels, from and to; and what could not be replayed, by reason."""

    parcels: int = 0
    first_at: Micros = 0
    last_at: Micros = 0
    emptied: int = 0
    unreadable: int = 0
    undecided: Counter[str] = field(default_factory=Counter)
    """By subscription: parcels of which only its value list could say whether it gets them."""


class Backtest:
    """Give it parcels one by one with `take`, then ask for `groups`."""

    def __init__(self, before: Configuration, after: Configuration, at: Micros) -> None:
        self._before, self._after, self._at = before, after, at
        self._groups: dict[tuple[str, Place, Place], Group] = {}
        self.coverage = Coverage()
        self.integrations: dict[str, Tally] = {}

    def take(self, past: Past) -> None:
        """Replay one parcel."""
        seen = self.coverage
        seen.first_at = min(seen.first_at or past.accepted_at, past.accepted_at)
        seen.last_at = max(seen.last_at, past.accepted_at)
        if past.description is None:
            seen.emptied += 1
            return
        try:
            description = Description.parse(past.description)
        except DescriptionError:
            seen.unreadable += 1
            return
        seen.parcels += 1
        sent = Sent(past.sender, past.integration, description, past.largest, past.has_subjects)
        before, after = place(self._before, sent, self._at), place(self._after, sent, self._at)
        if undecided := before.undecided | after.undecided:
            seen.undecided.update(undecided)
            before, after = self._without(self._before, before, undecided), self._without(self._after, after, undecided)
        self._count(past, before, after)

    @staticmethod
    def _without(configuration: Configuration, found: Place, undecided: frozenset[str]) -> Place:
        """A place as far as it can be said: without the subscriptions that only a list decides, on either side."""
        if not found.undecided and undecided.isdisjoint(found.rules):
            return found
        rules = tuple(rule for rule in found.rules if rule not in undecided)
        subscriptions = configuration.all("subscription")
        receivers = tuple(sorted(subscriptions[rule].system for rule in rules))
        return Place(rules, receivers, "" if rules else NOBODY)

    def _count(self, past: Past, before: Place, after: Place) -> None:
        tally = self.integrations.setdefault(past.integration, Tally())
        tally.parcels += 1
        if before == after:
            return
        elsewhere = before.receivers != after.receivers or before.is_refused != after.is_refused
        key = (past.integration, before, after)
        if key not in self._groups and len(self._groups) >= limits.BACKTEST_GROUPS:
            key = (past.integration, OTHERS, OTHERS)
        group = self._groups.setdefault(key, Group(*key))
        group.elsewhere |= elsewhere
        group.count += 1
        if len(group.examples) < limits.BACKTEST_EXAMPLES:
            group.examples.append(past.id)
        if elsewhere:
            tally.elsewhere += 1
        else:
            tally.by_another += 1

    @property
    def groups(self) -> Sequence[Group]:
        """What would go another way, the most frequent first; what would reach others before what would not."""
        return sorted(self._groups.values(), key=lambda g: (not g.elsewhere, -g.count, g.integration, g.examples[0]))
