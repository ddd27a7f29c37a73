"""The delivery state machine."""

import itertools

import pytest

from core.delivery import OPEN_STATES, TABLE, Event, State, advance, event_of
from core.errors import IllegalTransition
from core.receipt import Level, Receipt, Verdict

EVIDENCE = {Event.ACKNOWLEDGED, Event.BUSINESS_ACCEPTED, Event.BUSINESS_REJECTED, Event.BUSINESS_FAILED}


def test_every_state_knows_every_piece_of_evidence():
    """A receipt may come at any time: no state may call it a bug."""
    for state, event in itertools.product(State, EVIDENCE):
        assert advance(state, event) in State


def test_an_event_without_a_row_is_a_bug():
    """What the table does not know raises and names both."""
    with pytest.raises(IllegalTransition, match=r"ready.*release"):
        advance(State.READY, Event.RELEASE)


def test_a_late_receipt_wins_over_failed():
    """Evidence outranks what we believed."""
    assert advance(State.FAILED, Event.ACKNOWLEDGED) is State.DELIVERED


def test_the_first_business_verdict_stands():
    """Neither a second verdict nor a lower receipt moves a business verdict."""
    for event in EVIDENCE:
        assert advance(State.ACCEPTED, event) is State.ACCEPTED
        assert advance(State.REJECTED, event) is State.REJECTED


def test_an_attempt_reporting_after_the_receipt_changes_nothing():
    """The response may be overtaken by the receipt."""
    for state in (State.DELIVERED, State.ACCEPTED, State.REJECTED):
        for event in (Event.RETRY, Event.SENT, Event.EXHAUSTED, Event.DIED):
            assert advance(state, event) is state


def test_no_state_means_busy_and_open_states_can_end():
    """Every open state can reach delivered, failed and quarantined."""
    assert set(OPEN_STATES) == {State.READY, State.AWAITING}
    for state in OPEN_STATES:
        assert {TABLE[state, e] for e in (Event.ACKNOWLEDGED, Event.EXHAUSTED, Event.DIED)} == {
            State.DELIVERED,
            State.FAILED,
            State.QUARANTINED,
        }


@pytest.mark.parametrize(
    ("level", "verdict", "event"),
    [
        (Level.TRANSPORT, Verdict.ACCEPTED, Event.ACKNOWLEDGED),
        (Level.ENVELOPE, Verdict.REJECTED, Event.REFUSED),
        (Level.ENVELOPE, Verdict.FAILED, Event.REFUSED),
        (Level.BUSINESS, Verdict.ACCEPTED, Event.BUSINESS_ACCEPTED),
        (Level.BUSINESS, Verdict.REJECTED, Event.BUSINESS_REJECTED),
        (Level.BUSINESS, Verdict.FAILED, Event.BUSINESS_FAILED),
    ],
)
def test_what_event_a_receipt_is(level, verdict, event):
    """Level and verdict decide."""
    assert event_of(Receipt("d", level, verdict, 0)) is event
