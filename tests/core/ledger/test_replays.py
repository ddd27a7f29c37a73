"""Replays in the ledger, on both databases: a step is taken once, and makes each delivery once."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine

from core.ledger import deliveries, replays
from core.ledger.replays import Replay, ReplayState, Step
from tests.core.making import NOW, a_delivery

ONE = Replay("r1", "all", NOW - 100, NOW, "bulk", "journal", NOW, moved_at=NOW)


def test_a_step_moves_a_replay_on(engine: Engine):
    """Cursor, counts and state; its deliveries are there, and are given."""
    with engine.begin() as connection:
        replays.add(connection, ONE)
        made = (a_delivery(id="d1"), a_delivery(id="d2"))
        assert replays.advance(connection, Step(ONE, "p2", 5, made, NOW + 1)) == list(made)
        found = replays.get(connection, "r1")
        assert found == replace(ONE, cursor="p2", seen=5, made=2, moved_at=NOW + 1)
        assert deliveries.get(connection, "d2") is not None
        last = Step(found, "p3", 1, (), NOW + 2, ReplayState.DONE, "")
        assert replays.advance(connection, last) == []
        assert replays.running_of(connection, "all") is None


def test_a_step_is_taken_once(engine: Engine):
    """Who comes second, from another node, changes nothing; a delivery that is there is not made again."""
    with engine.begin() as connection:
        replays.add(connection, ONE)
        deliveries.add_deliveries(connection, [(a_delivery(id="d1"), "")])
        made = (a_delivery(id="d1"), a_delivery(id="d2"))
        assert replays.advance(connection, Step(ONE, "p2", 5, made, NOW)) == [made[1]]
        assert replays.advance(connection, Step(ONE, "p2", 5, (a_delivery(id="d3"),), NOW)) is None
        assert deliveries.get(connection, "d3") is None
        found = replays.get(connection, "r1")
        assert found is not None
        assert (found.made, found.seen) == (1, 5)


def test_a_replay_that_stands_still_is_found(engine: Engine):
    """One that has moved since, or has ended, is not; none is None."""
    with engine.begin() as connection:
        replays.add(connection, ONE)
        replays.add(connection, replace(ONE, id="r2", state=ReplayState.DONE))
        assert [one.id for one in replays.still(connection, NOW, 10)] == ["r1"]
        assert replays.still(connection, NOW - 1, 10) == []
        assert replays.running_of(connection, "all") == ONE
        assert replays.get(connection, "r3") is None
