"""Time as integers: exact conversions, one reader of the clock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.clock import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    VARIABLE,
    AgreedClock,
    FrozenClock,
    SystemClock,
    from_datetime,
    local,
    rfc3339,
    skew_of,
    to_datetime,
)

FIRST = from_datetime(datetime(1, 1, 1, tzinfo=UTC))
LAST = from_datetime(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))


@given(st.integers(FIRST, LAST))
@example(FIRST)
@example(LAST)
@example(-1)
@example(-500_000)
def test_a_time_survives_the_way_to_a_datetime_and_back(at: int):
    """Every microsecond of every year is exact, before 1970 and far ahead too."""
    assert from_datetime(to_datetime(at)) == at


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=2)), timezone(-timedelta(hours=5))])))
def test_a_datetime_survives_whatever_its_offset(moment: datetime):
    """The moment is the same; only the offset is not kept."""
    try:
        expected = moment.astimezone(UTC)
    except OverflowError:
        return
    assert to_datetime(from_datetime(moment)) == expected


def test_a_time_without_a_zone_is_refused():
    """Nobody can say when it was."""
    with pytest.raises(ValueError, match="without a zone"):
        from_datetime(datetime(2026, 3, 1, 12))


@given(st.integers(FIRST, LAST))
@example(FIRST)
def test_the_text_for_machines_has_milliseconds_and_four_digits_of_year(at: int):
    """It reads back to the millisecond, and sorts as the times do."""
    text = rfc3339(at)
    assert len(text) == len("2026-03-01T12:00:00.123Z")
    assert from_datetime(datetime.fromisoformat(text)) == at // 1000 * 1000


def test_people_see_danish_wall_time():
    """Winter is one hour ahead of UTC, summer two."""
    winter = from_datetime(datetime(2026, 3, 1, 12, 0, 0, 123_999, tzinfo=UTC))
    summer = from_datetime(datetime(2026, 7, 1, 12, tzinfo=UTC))
    assert (rfc3339(winter), local(winter)) == ("2026-03-01T12:00:00.123Z", "2026-03-01 13:00:00.123")
    assert local(summer) == "2026-07-01 14:00:00.000"


def test_the_system_clock_reads_the_machines_time():
    """Microseconds, between two readings of the machine's own clock."""
    before = time.time_ns() // 1000
    now = SystemClock().now()
    assert before <= now <= time.time_ns() // 1000


def test_a_frozen_clock_stands_until_told():
    """It moves by exactly what it is told."""
    clock = FrozenClock(7)
    assert (clock.now(), clock.now()) == (7, 7)
    clock.tick(MINUTE)
    assert clock.now() == 7 + 60 * SECOND


def test_units_are_what_their_names_say():
    """The constants agree with the calendar's own arithmetic."""
    for unit, length in ((SECOND, "seconds"), (MINUTE, "minutes"), (HOUR, "hours"), (DAY, "days")):
        assert timedelta(microseconds=unit) == timedelta(**{length: 1})


def test_an_agreed_clock_is_put_right():
    """By as much as it was told, until it is told something else."""
    own = FrozenClock(100)
    clock = AgreedClock(own)
    assert clock.now() == 100
    clock.offset = -30
    own.tick(5)
    assert clock.now() == 75


@pytest.mark.parametrize(("text", "skew"), [("0", 0), ("10", 10 * SECOND), ("-0.5", -SECOND // 2)])
def test_a_proof_may_ask_for_a_wrong_clock(text: str, skew: int):
    """In seconds, forwards or back."""
    assert skew_of(text) == skew


@pytest.mark.parametrize("text", ["", "soon", "nan", "inf", "1 s"])
def test_a_skew_that_is_no_number_is_refused(text: str):
    """The variable is named: whoever set it by mistake leaves it out."""
    with pytest.raises(ValueError, match="STAFET_CLOCK_SKEW: is no number of seconds"):
        skew_of(text)


def test_a_process_that_is_told_so_has_a_wrong_clock():
    """And one that is not has none: the variable is read once, at the start."""
    asked = "from core.clock import SystemClock; print(SystemClock().now())"
    for skew in (0, 3600):
        environment = {**os.environ, VARIABLE: str(skew)} if skew else os.environ
        said = subprocess.run([sys.executable, "-c", asked], env=environment, capture_output=True, check=True).stdout
        assert abs(int(said) - SystemClock().now() - skew * SECOND) < MINUTE
