"""The delivery state machine."""

from __future__ import annotations

import itertools

import pytest

from core.delivery import OPEN_STATES, TABLE, Delivery, Event, Frozen, State, advance, event_of
from core.errors import IllegalTransition
from core.receipt import Level, Receipt, Verdict

EVIDENCE = {Event.ACKNOWLEDGED, Event.BUSINESS_ACCEPTED, Event.BUSINESS_REJECTED, Event.BUSINESS_FAILED}
ATTEMPT = {Event.RETRY, Event.SENT, Event.EXHAUSTED, Event.REFUSED}
OPERATOR = {Event.HOLD, Event.RELEASE, Event.RESEND}


def test_every_state_knows_every_piece_of_evidence():
    """A receipt may come at any time: no state may call it a bug."""
    for state, event in itertools.product(State, EVIDENCE):
        assert advance(state, event) in State


def test_an_event_without_a_row_is_a_bug():
    """What the table does not know raises and names both."""
    with pytest.raises(IllegalTransition, match=r"ready.*release"):
        advance(State.READY, Event.RELEASE)


def test_whatever_happens_during_an_attempt_its_report_is_known():
    """Evidence and operators move a delivery without a new epoch: in every state they reach, the attempt may report."""
    reached, todo = set(), set(OPEN_STATES)
    while todo:
        state = todo.pop()
        reached.add(state)
        todo |= {TABLE[state, e] for e in EVIDENCE | OPERATOR if (state, e) in TABLE} - reached
    assert State.HELD in reached
    assert State.FAILED in reached
    for state, event in itertools.product(reached, ATTEMPT):
        assert advance(state, event) in State


def test_a_late_receipt_wins_over_failed():
    """Evidence outranks what we believed."""
    assert advance(State.FAILED, Event.ACKNOWLEDGED) is State.DELIVERED


def test_the_first_business_verdict_stands():
    """Neither a second verdict nor a lower receipt moves a business verdict."""
    for event in EVIDENCE:
        assert advance(State.ACCEPTED, event) is State.ACCEPTED
        assert advance(State.REJECTED, event) is State.REJECTED


def test_an_attempt_reporting_after_the_receipt_changes_nothing():
    """The response may be overtaken by the receipt, also by one that says "failed"."""
    for state in (State.DELIVERED, State.ACCEPTED, State.REJECTED, State.FAILED):
        for event in (Event.RETRY, Event.SENT, Event.EXHAUSTED, Event.DIED):
            assert advance(state, event) is state


def test_a_held_delivery_stays_held_until_somebody_lets_go():
    """A failing attempt does not release it; release makes it work again; what was sent already is awaited."""
    assert advance(State.HELD, Event.RETRY) is State.HELD
    assert advance(State.HELD, Event.RELEASE) is State.READY
    assert advance(State.HELD, Event.SENT) is State.AWAITING


def test_no_state_means_busy_and_open_states_can_end():
    """Every open state can reach delivered, failed and quarantined."""
    assert set(OPEN_STATES) == {State.READY, State.AWAITING}
    for state in OPEN_STATES:
        assert {TABLE[state, e] for e in (Event.ACKNOWLEDGED, Event.EXHAUSTED, Event.DIED)} == {
            State.DELIVERED,
            State.FAILED,
            State.QUARANTINED,
        }


def test_every_state_but_the_accepted_can_be_made_work_again():
    """What failed, was refused, set aside, held or delivered can be sent again; what the application took cannot."""
    for state in set(State) - OPEN_STATES - {State.ACCEPTED}:
        assert advance(state, Event.RESEND) is State.READY
    with pytest.raises(IllegalTransition):
        advance(State.ACCEPTED, Event.RESEND)


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


def test_every_receipt_is_an_event_every_state_knows():
    """Whatever the far side says, at whatever level, settles from any state without raising."""
    for level, verdict, state in itertools.product(Level, Verdict, State):
        assert advance(state, event_of(Receipt("d", level, verdict, 0))) in State


def test_deliveries_and_frozen_wires_are_values():
    """Two with the same facts are equal and none can be changed in place."""
    one, two = (Delivery("d", "p", "egedal-journal", "paper", State.READY, 7) for _ in range(2))
    assert one == two
    with pytest.raises(AttributeError):
        one.state = State.FAILED  # type: ignore[misc]
    assert Frozen("d", ("x",), b"w") == Frozen("d", ("x",), b"w", (), 0)
