"""Pace: attempts by destination, pauses that grow, and a count of what waits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.clock import MINUTE, SECOND
from core.pace import Backlog, Pace, Pause, Traffic, pause_length
from tests.core.making import NOW

EGEDAL, SKOVBY = ("paper", "egedal"), ("paper", "skovby")
PAUSE = Pause(EGEDAL, NOW - MINUTE, NOW, 1, "connect", "nobody listens")


def traffic(most: int | None = 16) -> Traffic:
    """Egedal has so many attempts at once; Skovby has no number of its own."""
    return Traffic(lambda where: most if where == EGEDAL else None)


def filled(number: int, most: int = 16) -> Traffic:
    """So many attempts under way to Egedal."""
    made = traffic(most)
    for _ in range(number):
        made.enter(EGEDAL)
    return made


def test_what_a_gateway_does_not_say_is_safe():
    """No number of its own, a pause after some failures, no order, and the kernel's word for a receipt that never came."""
    assert Pace() == Pace(None, limits.PAUSE_AFTER, limits.WAITING_FOR_ONE, False, True, "no-receipt")


def test_pauses_double_up_to_a_ceiling():
    """Ten seconds, twenty, forty; never above one minute, whatever the number."""
    assert [pause_length(n) // SECOND for n in (1, 2, 3, 4, 5)] == [10, 20, 40, 60, 60]
    assert pause_length(10_000) == limits.PAUSE_CEILING


def test_one_with_room_may_begin_and_a_full_one_may_not():
    """Each attempt takes one place and gives it back."""
    one = filled(15)
    assert one.may_begin(EGEDAL, 0)
    one.enter(EGEDAL)
    assert (one.may_begin(EGEDAL, 0), one.busy(EGEDAL)) == (False, 16)
    one.leave(EGEDAL)
    assert (one.may_begin(EGEDAL, 0), one.busy(EGEDAL)) == (True, 15)
    assert one.busy(SKOVBY) == 0


def test_one_that_a_claim_may_fill_waits_for_it():
    """A claim under way may bring as much as was asked for: beside it nothing begins that it may leave no room for."""
    assert filled(0).may_begin(EGEDAL, 15)
    assert not filled(0).may_begin(EGEDAL, 16)
    assert traffic().may_begin(SKOVBY, 1000)


def test_what_waits_in_the_queue_is_not_overtaken():
    """Neither a paused destination nor one that is held back begins anything beside the queue."""
    one = traffic()
    one.held_back = frozenset({EGEDAL})
    assert not one.may_begin(EGEDAL, 0)
    one.held_back = frozenset()
    one.follow([PAUSE])
    assert not one.may_begin(EGEDAL, 0)
    assert one.may_begin(SKOVBY, 0)


def test_a_full_one_gets_nothing_and_a_patient_look_asks_for_a_quarter():
    """So that claims are few, and yet one place is enough now and then."""
    assert filled(16).full(patient=False) == {EGEDAL}
    assert filled(15).full(patient=False) == frozenset()
    assert filled(13).full(patient=True) == {EGEDAL}
    assert filled(12).full(patient=True) == frozenset()
    assert filled(1, most=2).full(patient=True) == frozenset()
    one = traffic()
    one.enter(SKOVBY)
    one.follow([PAUSE])
    assert one.full(patient=True) == {EGEDAL}


def test_whoever_leaves_says_when_a_claim_is_worth_it():
    """Only for one that was held back, and only once a quarter is free."""
    one = filled(16)
    assert not one.leave(EGEDAL)
    one.held_back = frozenset({EGEDAL, SKOVBY})
    assert [one.leave(EGEDAL) for _ in range(3)] == [False, False, True]
    one.enter(SKOVBY)
    assert one.leave(SKOVBY)


def test_an_attempt_that_was_never_there_is_a_bug():
    """Counting below zero would give a destination more than its number."""
    with pytest.raises(AssertionError):
        traffic().leave(EGEDAL)


def test_rooms_are_those_of_the_moment():
    """Another thread reads them while attempts come and go."""
    one = filled(10)
    rooms = one.rooms()
    one.enter(EGEDAL)
    assert (rooms(EGEDAL), rooms(SKOVBY)) == (6, None)
    assert filled(20).rooms()(EGEDAL) == 0


def test_failures_in_a_row_are_counted_since_the_first():
    """An answer of any kind begins the count anew."""
    one = traffic()
    assert one.failed(EGEDAL, NOW) == (1, NOW)
    assert one.failed(EGEDAL, NOW + 5) == (2, NOW)
    assert one.answered(EGEDAL) is False
    assert one.failed(EGEDAL, NOW + 9) == (1, NOW + 9)


def test_an_answer_ends_a_pause_once():
    """The first says so; those after it find none."""
    one = traffic()
    one.follow([PAUSE])
    assert [one.answered(EGEDAL), one.answered(EGEDAL)] == [True, False]
    assert one.paused == {}


def test_a_pause_that_another_node_ended_is_forgotten_with_its_count():
    """Else one failure more would begin it again."""
    one = traffic()
    one.failed(EGEDAL, NOW)
    one.failed(SKOVBY, NOW)
    one.follow([PAUSE])
    one.follow([])
    assert (one.failed(EGEDAL, NOW)[0], one.failed(SKOVBY, NOW)[0]) == (1, 2)


def test_a_probe_is_due_at_its_time_and_while_nothing_is_under_way():
    """One at a time, and not before."""
    one = traffic()
    one.follow([PAUSE])
    assert (one.probes(NOW - 1), one.probes(NOW)) == ([], [EGEDAL])
    one.enter(EGEDAL)
    assert one.probes(NOW) == []


@settings(max_examples=100, deadline=None)
@given(steps=st.lists(st.booleans(), max_size=60), most=st.integers(1, 20))
def test_nobody_ever_has_more_than_its_number(steps: list[bool], most: int):
    """However attempts come and go, as long as each asks first."""
    one, under_way = traffic(most), 0
    for begin in steps:
        if begin and one.may_begin(EGEDAL, 0):
            one.enter(EGEDAL)
            under_way += 1
        elif not begin and under_way:
            one.leave(EGEDAL)
            under_way -= 1
        assert one.busy(EGEDAL) == under_way <= most
        assert one.rooms()(EGEDAL) == most - under_way
        assert (EGEDAL in one.full(patient=False)) == (under_way == most)


def test_what_waits_is_the_count_and_what_came_since():
    """A fresh count forgets what was added to the one before."""
    one = Backlog(100)
    one.count({EGEDAL: 7})
    one.add(EGEDAL)
    one.add(SKOVBY)
    assert (one.waiting(EGEDAL), one.waiting(SKOVBY)) == (8, 1)
    one.count({EGEDAL: 3})
    assert (one.waiting(EGEDAL), one.waiting(SKOVBY)) == (3, 0)


def test_too_much_for_one_is_said_with_its_name():
    """At the number and not below it; without a document's id the gateway or the system is named."""
    one = Backlog(100)
    one.count({EGEDAL: 7, ("", "archive"): 7, ("paper", ""): 7})
    assert one.excess(EGEDAL, 8) == ""
    assert one.excess(EGEDAL, 7) == "7 deliveries wait for egedal; at 7 no more are taken"
    assert one.excess(("", "archive"), 1) == "7 deliveries wait for archive; at 1 no more are taken"
    assert one.excess(("paper", ""), 1) == "7 deliveries wait for paper; at 1 no more are taken"


def test_too_much_in_all_is_said():
    """All destinations together."""
    one = Backlog(9)
    one.count({EGEDAL: 4, SKOVBY: 4})
    assert one.excess_in_all() == ""
    one.add(("paper", "a third"))
    assert one.excess_in_all() == "9 deliveries wait in all; at 9 no more are taken"
