"""What has been agreed about the pace of one destination, and how its attempts stand just now.

Rules:

1. One slow neighbour never takes all the attempts of a node: each destination has a number of its own.
2. A destination that could not be reached so many times in a row is paused for a growing time; then one attempt at a time asks
   whether it is back, and the first answer, whatever it says, ends the pause. What is not attempted costs nothing of a plan.
3. Whoever was full gets new work once a quarter is free again or when the queue is looked at anyway: no claim for every attempt
   that ends, and a neighbour whose other attempts hang is still served.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from core import limits
from core.clock import Micros

Where = tuple[str, str]
"""A destination: the gateway's name, and the id of its document for the neighbour."""


@dataclass(frozen=True, slots=True)
class Pace:
    """What is agreed for one destination and integration. The default is for a gateway that says nothing."""

    at_once: int | None = None
    """Attempts in flight from one node; None means as many as the node has."""
    pause_after: int = limits.PAUSE_AFTER
    """Attempts in a row that did not reach it before it is paused; 0 means never."""
    waiting: int = limits.WAITING_FOR_ONE
    """Open deliveries at which more are refused."""
    ordered: bool = False
    """Whether what belongs together arrives in the order in which it was accepted, one after the other."""
    stops: bool = True
    """Whether a delivery that fails stops those behind it in its line."""
    no_receipt: str = "no-receipt"
    """The gateway's word for evidence that never came."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A destination that is not attempted. ``since`` its first failure; ``probe_at`` the next attempt, one at a time."""

    where: Where
    since: Micros
    probe_at: Micros
    number: int
    """How often it has been paused since it last answered."""
    code: str
    reason: str


def pause_length(number: int) -> Micros:
    """How long the pause of that number (from 1) is: each is twice the one before, up to a ceiling."""
    return min(limits.PAUSE_FIRST << min(number - 1, 40), limits.PAUSE_CEILING)


@dataclass
class Traffic:
    """The attempts of one node by destination. ``at_once`` gives a destination's number, None for no number of its own."""

    at_once: Callable[[Where], int | None]
    paused: dict[Where, Pause] = field(default_factory=dict)
    held_back: frozenset[Where] = frozenset()
    """Those for which the last claim left something in the queue, as far as it knows."""
    _busy: Counter[Where] = field(default_factory=Counter)
    _failures: dict[Where, tuple[int, Micros]] = field(default_factory=dict)

    def busy(self, where: Where) -> int:
        """How many attempts it has."""
        return self._busy.get(where, 0)

    def enter(self, where: Where) -> None:
        """One attempt more."""
        self._busy[where] += 1

    def leave(self, where: Where) -> bool:
        """One attempt less; True when it was held back and is worth a claim again."""
        left = self._busy[where] - 1
        assert left >= 0, where
        if left:
            self._busy[where] = left
        else:
            del self._busy[where]
        most = self.at_once(where)
        return where in self.held_back and (most is None or most - left >= _quarter(most))

    def may_begin(self, where: Where, asked: int) -> bool:
        """Whether it may have one attempt beside the queue, while a claim under way may bring ``asked``."""
        if where in self.paused or where in self.held_back:
            return False
        most = self.at_once(where)
        return most is None or most - self.busy(where) > asked

    def full(self, *, patient: bool) -> frozenset[Where]:
        """Those that get nothing from the queue now; a ``patient`` look asks for a quarter of room, so that claims are few."""
        found = set(self.paused)
        for where, busy in self._busy.items():
            most = self.at_once(where)
            if most is not None and most - busy < (_quarter(most) if patient else 1):
                found.add(where)
        return frozenset(found)

    def rooms(self) -> Callable[[Where], int | None]:
        """How many more each may have, as of now; for another thread."""
        busy, at_once = dict(self._busy), self.at_once

        def room(where: Where) -> int | None:
            most = at_once(where)
            return None if most is None else max(0, most - busy.get(where, 0))

        return room

    def probes(self, now: Micros) -> list[Where]:
        """Paused destinations that may be asked again, and have no attempt of this node under way."""
        return [where for where, pause in self.paused.items() if pause.probe_at <= now and not self.busy(where)]

    def failed(self, where: Where, now: Micros) -> tuple[int, Micros]:
        """It could not be reached: how often in a row by now, and since when."""
        count, since = self._failures.get(where, (0, now))
        self._failures[where] = (count + 1, since)
        return self._failures[where]

    def answered(self, where: Where) -> bool:
        """It has answered; True when it was paused."""
        self._failures.pop(where, None)
        return self.paused.pop(where, None) is not None

    def follow(self, pauses: Iterable[Pause]) -> None:
        """Take the pauses that all nodes share; what had been counted of one that is over is forgotten."""
        before = self.paused
        self.paused = {pause.where: pause for pause in pauses}
        for where in before.keys() - self.paused.keys():
            self._failures.pop(where, None)


def _quarter(most: int) -> int:
    return max(1, most // 4)


@dataclass
class Backlog:
    """How many deliveries are open, counted now and then, and in between as they are accepted. ``in_all`` is the most."""

    in_all: int
    counted: Mapping[Where, int] = field(default_factory=dict)
    _since: Counter[Where] = field(default_factory=Counter)

    def count(self, counted: Mapping[Where, int]) -> None:
        """A fresh count."""
        self.counted, self._since = counted, Counter()
        self._total = sum(counted.values())

    _total: int = 0

    def add(self, where: Where) -> None:
        """One more was accepted."""
        self._since[where] += 1
        self._total += 1

    def waiting(self, where: Where) -> int:
        """How many wait for one destination."""
        return self.counted.get(where, 0) + self._since.get(where, 0)

    def excess(self, where: Where, most: int) -> str:
        """Why no more can wait for a destination, or ""."""
        if (found := self.waiting(where)) >= most:
            named = where[1] or where[0]
            return f"{found} deliveries wait for {named}; at {most} no more are taken"
        return ""

    def excess_in_all(self) -> str:
        """Why no more can wait at all, or ""."""
        if self._total >= self.in_all:
            return f"{self._total} deliveries wait in all; at {self.in_all} no more are taken"
        return ""
