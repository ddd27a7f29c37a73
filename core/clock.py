"""The only reader of time.

Rule: everything that is about *what was said and when* takes a time as an argument; only the edges of the program hold a
`Clock`. Times are UTC microseconds in an ``int`` (they sort, they fit a 64-bit column, they have no zone to lose). People
see Europe/Copenhagen. Nodes that share a database agree on its time, whatever their own machines say: else a node that is ahead
would lend what another has lent already.

A proof can make a process' clock wrong: ``STAFET_CLOCK_SKEW=10`` sets it ten seconds ahead. Nothing at run time can.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from zoneinfo import ZoneInfo

Micros = int
"""UTC microseconds since 1970-01-01."""

SECOND: Final = 1_000_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """What tells the time: the system's clock, or a frozen one in a test."""

    def now(self) -> Micros:
        """The present time in UTC microseconds."""
        ...


VARIABLE: Final = "STAFET_CLOCK_SKEW"


def skew_of(text: str) -> Micros:
    """Seconds as they stand in the environment. Raises `ValueError`."""
    try:
        return round(float(text) * SECOND)
    except (ValueError, OverflowError):
        raise ValueError(f"{VARIABLE}: is no number of seconds; it is for proofs alone, so leave it out") from None


SKEW: Final = skew_of(os.environ.get(VARIABLE, "0"))
"""How wrong this process' clock is on purpose."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> Micros:
        """The present time in UTC microseconds."""
        return time.time_ns() // 1000 + SKEW


class AgreedClock:
    """A clock that is put right by ``offset``: what it says is what all who are put right by the same source say."""

    def __init__(self, own: Clock) -> None:
        self.own, self.offset = own, 0

    def now(self) -> Micros:
        """The time that was agreed on."""
        return self.own.now() + self.offset


class FrozenClock:
    """A clock that stands still until told otherwise: for tests and for judging old messages at their own date."""

    def __init__(self, at: Micros) -> None:
        self.at = at

    def now(self) -> Micros:
        """The time it was set to."""
        return self.at

    def tick(self, by: Micros) -> None:
        """Move forward by ``by`` microseconds."""
        self.at += by


def to_datetime(at: Micros) -> datetime:
    """``at`` as an aware UTC datetime."""
    return _EPOCH + timedelta(microseconds=at)


def from_datetime(at: datetime) -> Micros:
    """An aware datetime as UTC microseconds. Raises `ValueError` for a naive one."""
    if at.tzinfo is None:
        raise ValueError("a time without a zone means nothing: give it an offset")
    return (at - _EPOCH) // timedelta(microseconds=1)


def rfc3339(at: Micros) -> str:
    """``2026-03-01T12:00:00.123Z``: UTC with milliseconds, for machines."""
    return to_datetime(at).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"


def local(at: Micros) -> str:
    """``2026-03-01 13:00:00.123``: Danish wall time, for people."""
    moment = to_datetime(at).astimezone(ZoneInfo("Europe/Copenhagen"))
    return moment.replace(tzinfo=None).isoformat(" ", timespec="milliseconds")
