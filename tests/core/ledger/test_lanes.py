"""Who goes first when more is due than a claim may take."""

from __future__ import annotations

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from core import limits
from core.ledger.lanes import RANK, by_lane, fill_levels

LANES = tuple(RANK)


def take_from(waiting: dict[str, int], limit: int, turn: int = 0) -> Counter[str]:
    """Take from lanes in which so many wait; gives how many came of each."""
    queues = {lane: deque([lane] * waiting.get(lane, 0)) for lane in LANES}

    def take(lane: str, room: int) -> list[str]:
        assert room > 0
        return [queues[lane].popleft() for _ in range(min(room, len(queues[lane])))]

    return Counter(by_lane(limit, turn, take))


@given(
    st.fixed_dictionaries({lane: st.integers(0, 60) for lane in LANES}),
    st.integers(1, 100),
    st.integers(0, 2**60),
)
def test_nothing_due_is_left_while_there_is_room(waiting: dict[str, int], limit: int, turn: int):
    """Whatever waits where, a claim takes as many as it may, and never more."""
    assert take_from(waiting, limit, turn).total() == min(limit, sum(waiting.values()))


@given(st.integers(2, 1000), st.integers(0, 2**60))
def test_bulk_keeps_its_tenth_of_every_larger_claim(limit: int, turn: int):
    """With every lane full, at least a tenth is bulk and everything else is urgent."""
    taken = take_from(dict.fromkeys(LANES, 1000), limit, turn)
    assert taken["bulk"] * limits.BULK_SHARE >= limit > (taken["bulk"] - 1) * limits.BULK_SHARE
    assert taken["urgent"] == limit - taken["bulk"]


def test_every_tenth_claim_for_one_is_bulks():
    """Ten turns in a row: nine urgent, one bulk; without bulk all ten are urgent."""
    full = dict.fromkeys(LANES, 1)
    turns = [next(iter(take_from(full, 1, turn))) for turn in range(10)]
    assert Counter(turns) == {"urgent": 9, "bulk": 1}
    assert [next(iter(take_from({"urgent": 1}, 1, turn))) for turn in range(10)] == ["urgent"] * 10


def test_an_empty_lane_is_not_asked_twice():
    """An idle node asks each lane once and no more."""
    asked: list[str] = []

    def take(lane: str, room: int) -> list[str]:
        asked.append(lane)
        return []

    assert by_lane(64, 0, take) == []
    assert asked == ["urgent", "normal", "bulk"]


def test_normal_comes_before_what_bulk_has_beyond_its_tenth():
    """Urgent, then normal, then bulk's tenth; the levels only rise."""
    taken = take_from({"urgent": 3, "normal": 50, "bulk": 50}, 20)
    assert taken == {"urgent": 3, "normal": 15, "bulk": 2}
    levels = [full for _, full in fill_levels(20, 0)]
    assert levels == sorted(levels)
