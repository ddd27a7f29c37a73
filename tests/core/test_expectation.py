"""Expected receipts: deadlines, who may give one, and what becomes of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.clock import DAY, SECOND, from_datetime, local
from core.expectation import (
    TABLE,
    Event,
    Expectation,
    State,
    advance,
    by_default,
    due,
    expected,
    heard,
    problems,
)
from core.integration import ExpectedReceipt, Integration
from core.receipt import Level, Verdict
from core.system import RESIDUAL
from tests.core.making import NOW


def days(number: int, at: datetime, calendar: str = "DK") -> str:
    """When so many business days from then are over, in Danish wall time."""
    return local(due(ExpectedReceipt(business_days=number, calendar=calendar), from_datetime(at)))[:16]


def asking(**changes: object) -> Integration:
    """An integration with what is expected under it."""
    return Integration.model_validate({"id": "referrals", "types": ["referral"], **changes})


def one(level: Level = Level.BUSINESS, kind: str = "system", name: str = "egedal-journal") -> Expectation:
    """An open expectation."""
    return Expectation("e-1", "p-1", level, kind, name, NOW)


@pytest.mark.requirement("R71")
def test_seconds_count_from_acceptance():
    """To the microsecond, fractions of a second included."""
    assert due(ExpectedReceipt(within=90.5), NOW) == NOW + 90 * SECOND + SECOND // 2


@pytest.mark.requirement("R71")
@pytest.mark.parametrize(
    ("number", "at", "end"),
    [
        (1, datetime(2026, 3, 2, 9, tzinfo=UTC), "2026-03-04 00:00"),  # Monday: until the end of Tuesday
        (1, datetime(2026, 3, 6, 9, tzinfo=UTC), "2026-03-10 00:00"),  # Friday: Monday is the first
        (2, datetime(2026, 3, 7, 9, tzinfo=UTC), "2026-03-11 00:00"),  # Saturday: Monday and Tuesday
        (1, datetime(2026, 4, 1, 9, tzinfo=UTC), "2026-04-08 00:00"),  # Easter: Maundy Thursday to Easter Monday
        (1, datetime(2026, 3, 2, 23, 30, tzinfo=UTC), "2026-03-05 00:00"),  # after midnight in Denmark
        (1, datetime(2026, 3, 27, 12, tzinfo=UTC), "2026-03-31 00:00"),  # summer time begins on the Sunday between
    ],
)
def test_business_days_end_with_the_last_of_them(number, at, end):
    """Weekends and public holidays do not count, nor does the day of acceptance; days are Danish ones."""
    assert days(number, at) == end


def test_the_public_holidays_are_those_of_the_country_named():
    """Norway's 17 May is a working day in Denmark, also when both are asked for the same day."""
    before = datetime(2027, 5, 14, 9, tzinfo=UTC)  # a Friday; 17 May 2027 is a Monday, and so is Danish Whit Monday
    assert days(1, datetime(2028, 5, 16, 9, tzinfo=UTC)) == "2028-05-18 00:00"
    assert days(1, datetime(2028, 5, 16, 9, tzinfo=UTC), "NO") == "2028-05-19 00:00"
    assert days(1, before) == "2027-05-19 00:00"


@given(st.integers(1, 366), st.integers(0, 20_000 * DAY))
def test_more_business_days_end_later(number, at):
    """Whatever the day, the deadline lies after acceptance, and one day more lies at least a day later."""
    ends = [due(ExpectedReceipt(business_days=n), at) for n in (number, number + 1) if n <= 366]
    assert ends[0] > at + 23 * 3600 * SECOND
    assert len(ends) == 1 or ends[1] - ends[0] >= 23 * 3600 * SECOND


@pytest.mark.requirement("R73")
def test_the_table_says_what_an_expectation_becomes():
    """Met in time, refused, overdue, met late; what is not in the table changes nothing."""
    assert advance(State.OPEN, Event.MET) is State.MET
    assert advance(advance(State.OPEN, Event.PASSED), Event.MET) is State.LATE
    assert advance(advance(State.OPEN, Event.REFUSED), Event.MET) is State.MET
    assert advance(State.OVERDUE, Event.REFUSED) is State.REFUSED
    for state in State:
        for event in Event:
            if (state, event) not in TABLE:
                assert advance(state, event) is state
    assert all(advance(state, event) is state for state in (State.MET, State.LATE) for event in Event)


@pytest.mark.requirement("R67", "R68")
def test_a_receipt_counts_at_its_own_level_and_below():
    """A transport receipt is no business receipt; a business one of whatever verdict shows that the transport worked."""
    accepted, rejected, failed = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.FAILED
    speaker = ("egedal-journal", frozenset[str]())
    assert heard(one(), Level.ENVELOPE, accepted, *speaker) is None
    assert heard(one(), Level.BUSINESS, accepted, *speaker) is Event.MET
    assert heard(one(), Level.BUSINESS, rejected, *speaker) is Event.REFUSED
    assert heard(one(), Level.BUSINESS, failed, *speaker) is Event.REFUSED
    assert heard(one(Level.TRANSPORT), Level.BUSINESS, rejected, *speaker) is Event.MET
    assert heard(one(Level.ENVELOPE), Level.ENVELOPE, rejected, *speaker) is Event.REFUSED


@pytest.mark.requirement("R69")
def test_only_who_was_named_can_give_it():
    """The system, one that serves the function, the receiver; and anybody where the receiver was not known yet."""
    said = (Level.BUSINESS, Verdict.ACCEPTED)
    assert heard(one(), *said, "skovby-archive", frozenset()) is None
    function = one(kind="function", name="school-psychology")
    assert heard(function, *said, "skovby-archive", frozenset({"archive"})) is None
    assert heard(function, *said, "skovby-archive", frozenset({"school-psychology"})) is Event.MET
    assert heard(one(kind="receiver"), *said, "egedal-journal", frozenset()) is Event.MET
    assert heard(one(kind="receiver", name=""), *said, "skovby-archive", frozenset()) is Event.MET


@pytest.mark.requirement("R66", "R69")
def test_each_expectation_names_of_whom():
    """A system, a function, or each receiver once; what lies in the residual mailbox is expected of whoever gets it."""
    wanted = asking(
        receipts=[
            {"system": "egedal-journal", "within": 60},
            {"function": "school-psychology", "level": "envelope", "within": 60},
            {"within": 60},
        ]
    )
    made = expected(wanted, "p-1", ["skovby-archive", "skovby-archive", RESIDUAL], NOW)
    assert [(e.level, e.kind, e.name) for e in made] == [
        ("business", "system", "egedal-journal"),
        ("envelope", "function", "school-psychology"),
        ("business", "receiver", "skovby-archive"),
        ("business", "receiver", ""),
    ]
    assert len({e.id for e in made}) == 4
    assert all((e.parcel_id, e.due_at, e.state) == ("p-1", NOW + 60 * SECOND, State.OPEN) for e in made)
    assert [e.who() for e in made][1::2] == ["function school-psychology", "whoever receives it"]


def test_an_integration_that_asks_for_nothing_costs_no_row():
    """Its usual receipt is looked for otherwise; one that names a level or a time of its own gets an expectation."""
    assert by_default(asking())
    assert expected(asking(), "p-1", ["egedal-journal"], NOW) == ()
    for change in ({"receipt": "envelope"}, {"receipt_within": 3600}):
        assert not by_default(asking(**change))
        (made,) = expected(asking(**change), "p-1", ["egedal-journal"], NOW)
        assert (made.kind, made.name) == ("receiver", "egedal-journal")
    assert expected(asking(receipt="envelope", receipts=[{"within": 1}]), "p-1", [], NOW) == ()


def test_a_country_without_known_holidays_is_found_before_anything_is_applied():
    """The field is named; a calendar is looked at only where business days are counted."""
    wrong = asking(
        receipts=[
            {"calendar": "DK", "business_days": 1},
            {"calendar": "XX", "business_days": 1},
            {"calendar": "XX", "within": 1},
        ]
    )
    cause = "no public holidays are known for 'XX'"
    assert list(problems(wrong)) == [("receipts.1.calendar", cause, "use a country code such as DK")]
