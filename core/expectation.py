"""An expected receipt: of whom, at which level, by when; and what becomes of the expectation.

Rules:

1. The levels are ordered: ``business`` says more than ``envelope``, and that more than ``transport``. Who answers at a higher
   level, whatever the answer, has given what was expected at a lower one.
2. Business days are counted in Danish wall time with the public holidays of a country, from the day after the parcel was
   accepted; the deadline is the end of the last one.
3. One table says what an expectation becomes::

       OPEN ──► MET                  the receipt came in time
         │ ──► REFUSED ──► MET       somebody said no; another, or the same after a resend, says yes
         └───► OVERDUE ──► LATE      the deadline passed, with an alarm; then the receipt came
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import holidays

from core.clock import SECOND, Micros, from_datetime, to_datetime
from core.integration import ExpectedReceipt, Integration
from core.receipt import Level, Verdict
from core.system import RESIDUAL

_ZONE: Final = ZoneInfo("Europe/Copenhagen")
_RANK: Final = {Level.TRANSPORT: 0, Level.ENVELOPE: 1, Level.BUSINESS: 2}
_USUAL: Final = {name: Integration.model_fields[name].default for name in ("receipt", "receipt_within")}


class State(StrEnum):
    """Where an expectation stands."""

    OPEN = "open"
    MET = "met"
    REFUSED = "refused"
    OVERDUE = "overdue"
    LATE = "met-late"


class Event(StrEnum):
    """What can happen to an expectation."""

    MET = "met"
    REFUSED = "refused"
    PASSED = "passed"
    """The deadline."""


TABLE: Final[dict[tuple[State, Event], State]] = {
    (State.OPEN, Event.MET): State.MET,
    (State.OPEN, Event.REFUSED): State.REFUSED,
    (State.OPEN, Event.PASSED): State.OVERDUE,
    (State.REFUSED, Event.MET): State.MET,
    (State.OVERDUE, Event.MET): State.LATE,
    (State.OVERDUE, Event.REFUSED): State.REFUSED,
}

UNANSWERED: Final = (State.OPEN, State.REFUSED, State.OVERDUE)
"""States that a receipt may still change."""


def advance(state: State, event: Event) -> State:
    """The state after ``event``; what is not in the table changes nothing."""
    return TABLE.get((state, event), state)


@dataclass(frozen=True, slots=True)
class Expectation:
    """One expected receipt. ``kind`` says what ``name`` is: a ``system``, a ``function``, or the ``receiver`` of a delivery, ""
    when it was not known yet."""

    id: str
    parcel_id: str
    level: Level
    kind: str
    name: str
    due_at: Micros
    state: State = State.OPEN

    def who(self) -> str:
        """Of whom, in words."""
        return f"{self.kind} {self.name}" if self.name else "whoever receives it"


def by_default(integration: Integration) -> bool:
    """Whether an integration left its own receipt as it is: no row is kept for it, and its deliveries are looked through now and
    then instead."""
    return all(getattr(integration, name) == value for name, value in _USUAL.items())


def expected(integration: Integration, parcel_id: str, receivers: Sequence[str], at: Micros) -> tuple[Expectation, ...]:
    """What is expected for a parcel that goes to ``receivers``."""
    asked = list(integration.receipts)
    if not by_default(integration):
        asked.insert(0, ExpectedReceipt(level=integration.receipt, within=integration.receipt_within))
    found: list[Expectation] = []
    for one in asked:
        for kind, name in _of_whom(one, receivers):
            identity = f"{parcel_id}-{len(found)}"
            found.append(Expectation(identity, parcel_id, Level(one.level), kind, name, due(one, at)))
    return tuple(found)


def _of_whom(one: ExpectedReceipt, receivers: Sequence[str]) -> Iterable[tuple[str, str]]:
    if one.system:
        return [("system", one.system)]
    if one.function:
        return [("function", one.function)]
    return [("receiver", "" if name == RESIDUAL else name) for name in dict.fromkeys(receivers)]


def heard(item: Expectation, level: Level, verdict: Verdict, system: str, functions: Collection[str]) -> Event | None:
    """What a receipt from a system that serves these functions is to an expectation; None when it is nothing."""
    if item.kind == "function":
        speaks = item.name in functions
    else:
        speaks = item.name in ("", system)
    if not speaks or _RANK[level] < _RANK[item.level]:
        return None
    return Event.MET if verdict is Verdict.ACCEPTED or level is not item.level else Event.REFUSED


def due(one: ExpectedReceipt, accepted_at: Micros) -> Micros:
    """By when a receipt must have come for what was accepted then."""
    if one.within is not None:
        return accepted_at + int(one.within * SECOND)
    assert one.business_days is not None, "the model has one of both"
    first = to_datetime(accepted_at).astimezone(_ZONE).date()
    last = _business_day(one.calendar, first, one.business_days)
    return from_datetime(datetime.combine(last + timedelta(days=1), time(), _ZONE))


@lru_cache(maxsize=1024)
def _business_day(country: str, day: date, number: int) -> date:
    calendar = holidays.country_holidays(country)
    while number:
        day += timedelta(days=1)
        number -= calendar.is_working_day(day)
    return day


def problems(integration: Integration) -> Iterable[tuple[str, str, str]]:
    """What is wrong with the deadlines of an integration's expected receipts: field, cause, remedy."""
    for index, one in enumerate(integration.receipts):
        if one.business_days and one.calendar not in holidays.list_supported_countries():
            cause = f"no public holidays are known for {one.calendar!r}"
            yield f"receipts.{index}.calendar", cause, "use a country code such as DK"
