"""Retry times: growth, ceiling, each delivery's own displacement, and the end."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.clock import DAY, HOUR, MINUTE, SECOND
from core.schedule import RetryPlan
from tests.core.making import NOW

PLAN = RetryPlan(attempts=6, first=10 * SECOND, ceiling=MINUTE)
PLANS = st.builds(RetryPlan, st.integers(1, 60), st.integers(1, HOUR), st.integers(1, DAY))
IDS = st.text(max_size=40)


def plain(plan: RetryPlan, attempt: int) -> int:
    """The wait before it is displaced, by multiplying one step at a time."""
    wait = plan.first
    for _ in range(attempt - 1):
        wait = min(wait * 2, plan.ceiling)
    return min(wait, plan.ceiling)


def test_waits_double_up_to_the_ceiling():
    """Ten seconds, twenty, forty, then a minute and a minute again."""
    assert [PLAN.wait(n) for n in range(1, 7)] == [n * SECOND for n in (10, 20, 40, 60, 60, 60)]


def test_the_default_plan_is_the_limits():
    """Ten attempts from five seconds on, half an hour apart at the most, and a good hour in all."""
    plan = RetryPlan()
    assert (plan.attempts, plan.first, plan.ceiling) == (limits.ATTEMPTS, limits.RETRY_FIRST, limits.RETRY_CEILING)
    assert plan.wait(1) == 5 * SECOND
    assert plan.wait(9) == 5 * 2**8 * SECOND
    assert plan.wait(10) == 30 * MINUTE
    assert plan.times(NOW)[-1] - NOW == 5 * (2**9 - 1) * SECOND


def test_each_delivery_has_a_displacement_of_its_own_that_never_changes():
    """Known ids have known waits: a restart, another node or another release computes the same."""
    assert [PLAN.wait(1, name) for name in ("d-1", "d-2", "d-3")] == [10_443_000, 10_977_000, 10_335_000]
    assert PLAN.wait(1, "d-1") == RetryPlan(attempts=6, first=10 * SECOND, ceiling=MINUTE).wait(1, "d-1")


def test_deliveries_that_failed_together_do_not_come_back_together():
    """A thousand of them are spread over the whole displacement, no second busier than three times its share."""
    waits = [RetryPlan(first=100 * SECOND).wait(1, f"delivery-{n}") - 100 * SECOND for n in range(1000)]
    by_second = [sum(wait // SECOND == second for wait in waits) for second in range(10)]
    assert sum(by_second) == 1000
    assert min(by_second) > 0
    assert max(by_second) < 300
    assert len(set(waits)) > 500


@settings(max_examples=200, deadline=None)
@given(PLANS, st.integers(1, 10_000), IDS)
def test_a_wait_is_the_plain_one_and_less_than_a_tenth_more(plan: RetryPlan, attempt: int, name: str):
    """Never shorter than doubling says, never a tenth above it, however many attempts were made."""
    expected = plain(plan, min(attempt, 100))
    assert expected <= plan.wait(attempt, name) <= expected + expected // 10
    assert plan.wait(attempt, name) == plan.wait(attempt, name)
    assert plan.wait(attempt) == expected


@settings(max_examples=200, deadline=None)
@given(PLANS, IDS)
def test_times_are_what_one_attempt_after_another_gives(plan: RetryPlan, name: str):
    """The list people see has every attempt, in order, and each follows from the one before."""
    times = plan.times(NOW, name)
    assert len(times) == plan.attempts
    assert times[0] == NOW
    for number, (at, following) in enumerate(pairwise(times), start=1):
        assert plan.next_attempt(number, at, name) == following > at
    assert plan.next_attempt(plan.attempts, times[-1], name) is None


def test_after_the_last_attempt_there_is_none():
    """The last attempt, and any beyond it, end the plan, whatever the far side asks for."""
    assert PLAN.next_attempt(5, NOW) == NOW + MINUTE
    assert PLAN.next_attempt(6, NOW) is None
    assert PLAN.next_attempt(7, NOW, at_least=SECOND) is None
    assert RetryPlan(attempts=1).next_attempt(1, NOW) is None
    assert RetryPlan(attempts=1).times(NOW) == (NOW,)


@pytest.mark.parametrize(
    ("asked", "wait"), [(None, 10 * SECOND), (0, 10 * SECOND), (3 * SECOND, 10 * SECOND), (HOUR, HOUR)]
)
def test_what_the_far_side_asked_for_is_a_least_wait(asked: int | None, wait: int):
    """A longer one counts, also above the ceiling; a shorter one never hurries."""
    assert PLAN.next_attempt(1, NOW, at_least=asked) == NOW + wait
