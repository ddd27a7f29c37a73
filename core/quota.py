"""Quotas: how much one system or one authority may send and wait for, so that nobody can crowd out the others.

Rules:

1. A parcel is charged once, when it is new: a repetition, a conflict and what is refused cost nothing.
2. Every quota that applies must have room, else nothing is charged to any of them.
3. Rate and connections are of each node: of *n* nodes together a system may have *n* times as much. The octets of a day and what
   waits are counted in the ledger, for all nodes: this node's own are never counted less than they are; those that other nodes
   have accepted since the last count (`core.limits.COUNT`) are not seen yet, so *n* nodes may pass a limit by what the *n - 1*
   others can accept in that time. What has been delivered since then still counts as waiting.
4. Pure: times come in. A day ends at midnight UTC.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from core import limits
from core.clock import DAY, SECOND, Micros
from core.errors import OverQuota
from core.system import Document, Name, System

_FULL: Final = 0.999_999
"""A bucket has room for one when it holds as good as one: a sum of many small refills falls short of it by a rounding."""


class Quota(Document):
    """Kind ``quota``: limits for one system or authority, or for each that has no quota of its own."""

    kind: Literal["quota"] = "quota"
    id: Name
    title: str = ""
    system: Name | None = None
    """The system it is for. Give this, `authority` or `each`."""
    authority: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    """The authority whose systems share it."""
    each: Literal["system", "authority"] | None = None
    """Every system, or every authority, that has no quota of its own."""
    rate: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    """Parcels a second, over time."""
    burst: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Parcels at once; ten seconds' worth when left out."""
    octets_a_day: Annotated[int, Field(ge=1)] | None = None
    """Octets of payload from midnight to midnight UTC."""
    waiting: Annotated[int, Field(ge=1)] | None = None
    """Deliveries of what it has sent that are open at once."""
    connections: Annotated[int, Field(ge=1, le=65_536)] | None = None
    """Requests it has under way at one node at once, those that wait for something included."""

    @model_validator(mode="after")
    def _is_for_somebody(self) -> Quota:
        if sum(one is not None for one in (self.system, self.authority, self.each)) != 1:
            raise ValueError("say system, authority or each: one of them says whom it is for")
        if self.burst is not None and self.rate is None:
            raise ValueError("burst is of a rate: say rate too")
        if all(one is None for one in (self.rate, self.octets_a_day, self.waiting, self.connections)):
            raise ValueError("give rate, octets_a_day, waiting or connections: without one it limits nothing")
        return self

    @property
    def depth(self) -> float:
        """Parcels that may come at once."""
        if self.burst is not None:
            return float(self.burst)
        return max(1.0, (self.rate or 0) * limits.QUOTA_BURST)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of one limit: ``left`` of ``most`` in a window of ``window`` (0 = at any time), more in ``reset``."""

    quota: str
    which: Literal["rate", "octets", "waiting", "connections"]
    most: int
    left: int
    window: Micros
    reset: Micros


@dataclass(frozen=True, slots=True)
class Load:
    """What one parcel would cost."""

    parcel_id: str
    sender: str
    octets: int


@dataclass(frozen=True, slots=True)
class Ask:
    """What is to be counted: octets of these senders' parcels begun since ``since``, those before ``cut`` apart.

    ``waiting`` are the senders whose open deliveries are counted.
    """

    senders: tuple[str, ...]
    since: Micros
    cut: Micros
    waiting: tuple[str, ...]


@dataclass
class _Meter:
    """How it stands with one quota of one system or authority."""

    quota: Quota
    subject: str
    members: frozenset[str]
    level: float
    at: Micros = 0
    connections: int = 0

    def refill(self, now: Micros) -> float:
        """What is in the bucket now."""
        if self.quota.rate is not None and now > self.at:
            self.level = min(self.quota.depth, self.level + (now - self.at) / SECOND * self.quota.rate)
        self.at = max(self.at, now)
        return self.level

    def until(self, wanted: float) -> Micros:
        """How long until the bucket holds so much."""
        assert self.quota.rate is not None
        return max(0, ceil((wanted - self.level) / self.quota.rate * SECOND))


@dataclass
class _Sender:
    """What one sender has used: as counted in the ledger, charged since, and charged for what is not stored yet."""

    settled: int = 0
    recent: int = 0
    since: int = 0
    flying: int = 0
    waiting: int = 0
    waiting_since: int = 0

    @property
    def octets(self) -> int:
        """Octets of today."""
        return self.settled + self.recent + self.since + self.flying


@dataclass
class Quotas:
    """All quotas of a node under the configuration in force, and how far they are used up. Not thread-safe."""

    _of: dict[str, tuple[_Meter, ...]] = field(default_factory=dict)
    _meters: dict[tuple[str, str], _Meter] = field(default_factory=dict)
    _senders: dict[str, _Sender] = field(default_factory=dict)
    _charged: dict[str, tuple[Load, tuple[_Meter, ...]]] = field(default_factory=dict)
    _day: Micros = 0
    _whole_at: Micros = 0
    _cut: Micros = 0
    _counted: tuple[str, ...] = ()
    _asked: dict[str, tuple[int, int]] = field(default_factory=dict)

    def configure(self, quotas: Mapping[str, Quota], systems: Mapping[str, System]) -> None:
        """Take the quotas of a version; what was used stays used."""
        by_subject = {
            ("system", q.system) if q.system else ("authority", q.authority): q for q in quotas.values() if not q.each
        }
        for_each = {q.each: q for q in quotas.values() if q.each}
        members: dict[str, set[str]] = {}
        for system in systems.values():
            members.setdefault(system.authority, set()).add(system.id)
        meters: dict[tuple[str, str], _Meter] = {}
        self._of = {}
        for system in systems.values() if quotas else ():
            found = []
            for kind, subject in (("system", system.id), ("authority", system.authority)):
                quota = by_subject.get((kind, subject)) or for_each.get(kind)  # type: ignore[call-overload]
                if quota is not None:
                    own = {system.id} if kind == "system" else members[subject]
                    found.append(self._meter(meters, quota, f"{kind} {subject}", frozenset(own)))
            self._of[system.id] = tuple(found)
        self._meters = meters

    def _meter(
        self, meters: dict[tuple[str, str], _Meter], quota: Quota, subject: str, members: frozenset[str]
    ) -> _Meter:
        known = meters.get((quota.id, subject))
        if known is None:
            before = self._meters.get((quota.id, subject))
            known = before or _Meter(quota, subject, members, quota.depth)
            known.quota, known.members, known.level = quota, members, min(known.level, quota.depth)
            meters[quota.id, subject] = known
        return known

    @property
    def in_force(self) -> bool:
        """Whether anybody is limited at all."""
        return bool(self._meters)

    # -- charging

    def charge(self, loads: Sequence[Load], now: Micros) -> None:
        """Charge what is about to be stored; `settle` each afterwards. Raises `OverQuota`, and then nothing is charged."""
        self._begin_day(now)
        costs: dict[int, tuple[_Meter, list[Load]]] = {}
        for load in loads:
            for meter in self._of.get(load.sender, ()):
                costs.setdefault(id(meter), (meter, []))[1].append(load)
        for meter, its in costs.values():
            self._demand(meter, len(its), sum(load.octets for load in its), now)
        for load in loads:
            meters = self._of.get(load.sender, ())
            if meters:
                self._charged[load.parcel_id] = (load, meters)
                self._sender(load.sender).flying += load.octets
            for meter in meters:
                meter.level -= meter.quota.rate is not None

    def settle(self, parcel_id: str, *, stored: bool, deliveries: int = 0) -> None:
        """What became of a charge: kept when the parcel is stored, given back when it is not. Unknown ids are harmless."""
        charged = self._charged.pop(parcel_id, None)
        if charged is None:
            return
        load, meters = charged
        sender = self._sender(load.sender)
        sender.flying -= load.octets
        if stored:
            sender.since += load.octets
            sender.waiting_since += deliveries
            return
        for meter in meters:
            meter.level = min(meter.quota.depth, meter.level + (meter.quota.rate is not None))

    def look(self, system: str, now: Micros, octets: int = 0) -> None:
        """Raises `OverQuota` when a parcel of so many octets would be refused now: before it is read. Charges nothing."""
        self._begin_day(now)
        for meter in self._of.get(system, ()):
            self._demand(meter, 1, octets, now)

    def _demand(self, meter: _Meter, parcels: int, octets: int, now: Micros) -> None:
        quota = meter.quota
        if quota.rate is not None:
            # A batch larger than the bucket passes a full one, and what follows waits for it: else it could never come.
            wanted = min(parcels, quota.depth)
            if meter.refill(now) < wanted * _FULL:
                cause = f"{quota.rate:g} parcels a second, {quota.depth:g} at once, are what {meter.subject} may send"
                raise OverQuota(quota.id, "rate", cause, max(meter.until(wanted), SECOND // 100))
        if quota.octets_a_day is not None:
            used = self._octets(meter)
            if used + octets > quota.octets_a_day:
                cause = (
                    f"{used} of {quota.octets_a_day} octets a day of {meter.subject} are used, and {octets} more came"
                )
                raise OverQuota(quota.id, "octets_a_day", cause, self._day + DAY - now)
        if quota.waiting is not None:
            waiting = self._waiting(meter)
            if waiting >= quota.waiting:
                cause = f"{waiting} deliveries of what {meter.subject} has sent are open; at {quota.waiting} no more are taken"
                raise OverQuota(quota.id, "waiting", cause, limits.COME_BACK)

    def _sender(self, name: str) -> _Sender:
        return self._senders.setdefault(name, _Sender())

    def _octets(self, meter: _Meter) -> int:
        return sum(s.octets for name in meter.members if (s := self._senders.get(name)) is not None)

    def _waiting(self, meter: _Meter) -> int:
        found = (self._senders.get(name) for name in meter.members)
        return sum(s.waiting + s.waiting_since for s in found if s is not None)

    def _begin_day(self, now: Micros) -> None:
        day = now - now % DAY
        if day <= self._day:
            return
        self._day, self._cut, self._whole_at = day, day, 0
        for sender in self._senders.values():
            sender.settled = sender.recent = sender.since = 0

    # -- connections

    @contextmanager
    def connection(self, system: str) -> Iterator[None]:
        """While a system has a request under way. Raises `OverQuota` when it has too many."""
        meters = self._of.get(system, ())
        for meter in meters:
            most = meter.quota.connections
            if most is not None and meter.connections >= most:
                cause = f"{meter.subject} has {most} requests under way already"
                raise OverQuota(meter.quota.id, "connections", cause, SECOND)
        for meter in meters:
            meter.connections += 1
        try:
            yield
        finally:
            for meter in meters:
                meter.connections -= 1

    # -- what is left

    def allowances(self, system: str, now: Micros) -> list[Allowance]:
        """What is left to a system of each limit that applies to it."""
        self._begin_day(now)
        found: list[Allowance] = []
        for meter in self._of.get(system, ()):
            quota = meter.quota
            if quota.rate is not None:
                level, window = meter.refill(now), round(quota.depth / quota.rate * SECOND)
                left = max(0, int(level + 1 - _FULL))
                found.append(Allowance(quota.id, "rate", int(quota.depth), left, window, meter.until(quota.depth)))
            if quota.octets_a_day is not None:
                left = max(0, quota.octets_a_day - self._octets(meter))
                found.append(Allowance(quota.id, "octets", quota.octets_a_day, left, DAY, self._day + DAY - now))
            if quota.waiting is not None:
                left = max(0, quota.waiting - self._waiting(meter))
                found.append(Allowance(quota.id, "waiting", quota.waiting, left, 0, 0))
            if quota.connections is not None:
                left = max(0, quota.connections - meter.connections)
                found.append(Allowance(quota.id, "connections", quota.connections, left, 0, 0))
        return found

    # -- counting

    def ask(self, now: Micros) -> Ask | None:
        """What to count now, None for nothing. Then `counted`."""
        self._begin_day(now)
        meters = list(self._meters.values())
        senders = _members(meter for meter in meters if meter.quota.octets_a_day is not None)
        waiting = _members(meter for meter in meters if meter.quota.waiting is not None)
        if not senders and not waiting:
            return None
        whole = senders != self._counted or now - self._whole_at >= limits.QUOTA_WHOLE
        since = self._day if whole else self._cut
        for name in {*senders, *waiting}:
            self._sender(name)
        self._asked = {name: (s.since, s.waiting_since) for name, s in self._senders.items()}
        self._whole_at = now if whole else self._whole_at
        return Ask(senders, since, max(self._day, now - limits.QUOTA_LAG), waiting)

    def counted(self, asked: Ask, octets: Mapping[str, tuple[int, int]], waiting: Mapping[str, int]) -> None:
        """What the ledger said: of each sender the octets before and after the cut, and its open deliveries."""
        if asked.since < self._day:
            return  # midnight has come meanwhile
        for name in asked.senders:
            sender = self._sender(name)
            before, after = octets.get(name, (0, 0))
            sender.settled = before if asked.since == self._day else sender.settled + before
            sender.recent = after
            sender.since -= self._asked.get(name, (0, 0))[0]
        for name in asked.waiting:
            sender = self._sender(name)
            sender.waiting = waiting.get(name, 0)
            sender.waiting_since -= self._asked.get(name, (0, 0))[1]
        self._asked, self._cut, self._counted = {}, asked.cut, asked.senders


def _members(meters: Iterable[_Meter]) -> tuple[str, ...]:
    return tuple(sorted({name for meter in meters for name in meter.members}))
