"""Claiming past what is full, paused or not in turn, with one contract for both databases.

That each delivery goes to one claimant, lanes, deaths and pulling are shown in ``test_deliveries.py``.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import Engine, update

from core import limits
from core.clock import HOUR
from core.delivery import Delivery, Event, State
from core.ledger import claiming, deliveries, unreachable
from core.ledger.claiming import Claim, Claimed
from core.ledger.deliveries import Settle
from core.ledger.engine import open_engine, upgrade
from core.ledger.tables import delivery
from core.pace import Pause, Where
from tests.core.making import NOW, a_delivery

EGEDAL, SKOVBY = ("paper", "egedal"), ("paper", "skovby")
_IDS = itertools.count()


def made(number: int = 1, **changes: Any) -> list[Delivery]:
    """Deliveries whose order of age is that of their making."""
    found = []
    for _ in range(number):
        at = next(_IDS)
        found.append(a_delivery(**{"id": f"d{at:06d}", "due_at": NOW - 1_000_000 + at, **changes}))
    return found


def store(engine: Engine, *items: Delivery) -> None:
    """In one transaction."""
    with engine.begin() as connection:
        deliveries.add_deliveries(connection, [(item, "") for item in items])


def ask(engine: Engine, limit: int = 10, now: int = NOW, **changes: Any) -> Claimed:
    """Claim in a transaction of its own."""
    with engine.begin() as connection:
        return claiming.claim(connection, Claim(limit, "node-a", now, now + limits.LEASE, **changes))


def taken(claimed: Claimed) -> Counter[str]:
    """How much each destination got."""
    return Counter(d.destination for d in claimed.deliveries)


def settle(engine: Engine, item: Delivery, event: Event, **changes: Any) -> None:
    """Report of an attempt, or of nobody when it has no epoch."""
    with engine.begin() as connection:
        deliveries.settle_many(connection, [Settle(item.id, event, NOW, **changes)])


def room(**numbers: int) -> Any:
    """Room by destination."""

    def asked(where: Where) -> int | None:
        return numbers.get(where[1])

    return asked


# --- what is full or paused -------------------------------------------------------------------------------------------


def test_a_backlog_of_one_leaves_room_for_the_others(engine: Engine):
    """A hundred older ones wait for Egedal, which has room for three: Skovby gets all the rest of the claim."""
    store(engine, *made(100), *made(20, destination="skovby"))
    claimed = ask(engine, 10, room=room(egedal=3))
    assert taken(claimed) == {"egedal": 3, "skovby": 7}
    assert claimed.held_back == {EGEDAL}


def test_a_claim_comes_back_short_only_when_nothing_more_may_be_attempted(engine: Engine):
    """Destination after destination is passed over in one claim."""
    store(engine, *(d for n in range(8) for d in made(6, destination=f"town-{n}")))
    claimed = ask(engine, 20, room=lambda where: 1)
    assert taken(claimed) == {f"town-{n}": 1 for n in range(8)}
    assert claimed.held_back == {("paper", f"town-{n}") for n in range(8)}
    assert ask(engine, 20, room=lambda where: 0).deliveries == ()


def test_rooms_hold_over_all_lanes(engine: Engine):
    """Urgent and normal together get what there is room for, urgent first."""
    store(engine, *made(5), *made(2, lane="urgent"), *made(2, lane="bulk", destination="skovby"))
    claimed = ask(engine, 10, room=room(egedal=3))
    assert Counter((d.destination, d.lane) for d in claimed.deliveries) == {
        ("egedal", "urgent"): 2,
        ("egedal", "normal"): 1,
        ("skovby", "bulk"): 2,
    }


def test_who_is_excluded_gets_nothing(engine: Engine):
    """Also when another gateway has a destination of that name, which gets its own."""
    store(engine, *made(3), *made(1, gateway="pigeon"), *made(1, destination="skovby"))
    claimed = ask(engine, full=frozenset({EGEDAL, SKOVBY}))
    assert [(d.gateway, d.destination) for d in claimed.deliveries] == [("pigeon", "egedal")]
    assert claimed.held_back == {EGEDAL, SKOVBY}


@pytest.mark.parametrize("name", ["", "o'brien", "a b", "x" * 255, "æ;--"])
def test_any_name_can_be_excluded(engine: Engine, name: str):
    """A destination's name is a value and never a part of a statement."""
    store(engine, *made(1, destination=name), *made(1, destination="skovby"))
    assert taken(ask(engine, full=frozenset({("paper", name)}))) == {"skovby": 1}


def test_without_limits_a_claim_is_what_it_was(engine: Engine):
    """As many as were asked for, oldest first."""
    store(engine, *(items := made(30)))
    claimed = ask(engine, 20)
    assert {d.id for d in claimed.deliveries} == {d.id for d in items[:20]}
    assert claimed.held_back == frozenset()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_waits_rooms_hold_and_nothing_is_lost(engine: Engine, seed: int):
    """Any mixture of destinations, lanes and rooms: each claim takes all it may, and in the end everything was taken once."""
    dice = random.Random(seed)
    towns = [f"town-{n}" for n in range(5)]
    items = [
        d
        for _ in range(60)
        for d in made(destination=dice.choice(towns), lane=dice.choice(["urgent", "normal", "bulk"]))
    ]
    store(engine, *items)
    left, seen = Counter(d.destination for d in items), set()
    while left:
        rooms = {town: dice.randint(0, 4) for town in towns}
        limit = dice.randint(1, 12)
        claimed = ask(engine, limit, room=room(**rooms))
        got = taken(claimed)
        assert all(got[town] <= rooms[town] for town in towns)
        assert sum(got.values()) == min(limit, sum(min(left[t], rooms[t]) for t in towns))
        ids = {d.id for d in claimed.deliveries}
        assert seen.isdisjoint(ids)
        seen |= ids
        left = +(left - got)
    assert len(seen) == 60


# --- probes -----------------------------------------------------------------------------------------------------------


def test_a_probe_is_one_attempt_of_the_paused_destination(engine: Engine):
    """And none until it should have come back."""
    store(engine, *made(5, destination="skovby"), *made(5, lane="bulk"))
    with engine.begin() as connection:
        unreachable.begin(connection, Pause(EGEDAL, NOW, NOW, 1, "connect", ""))
    assert taken(ask(engine, 1, probe=EGEDAL)) == {"egedal": 1}
    assert ask(engine, 1, probe=EGEDAL).deliveries == ()
    assert taken(ask(engine, 1, now=NOW + limits.PROBE, probe=EGEDAL)) == {"egedal": 1}


def test_a_probe_is_not_used_up_when_nothing_is_due(engine: Engine):
    """It is made as soon as something is."""
    with engine.begin() as connection:
        unreachable.begin(connection, Pause(EGEDAL, NOW, NOW, 1, "connect", ""))
    assert ask(engine, 1, probe=EGEDAL).deliveries == ()
    store(engine, *made(1))
    assert taken(ask(engine, 1, probe=EGEDAL)) == {"egedal": 1}


def test_where_nothing_is_paused_nothing_is_probed(engine: Engine):
    """Another node has heard from it already."""
    store(engine, *made(1))
    assert ask(engine, 1, probe=EGEDAL).deliveries == ()


# --- lines ------------------------------------------------------------------------------------------------------------


def test_of_a_line_one_is_attempted_at_a_time_oldest_first(engine: Engine):
    """However much is asked for, and whatever their lanes say; those outside go beside it."""
    first, second, third = made(1, line="a", lane="bulk") + made(2, line="a", lane="urgent")
    store(engine, first, second, third, *made(2))
    claimed = ask(engine)
    assert {d.id for d in claimed.deliveries if d.line} == {first.id}
    assert len(claimed.deliveries) == 3
    for item, following in ((first, second), (second, third)):
        assert [d.id for d in ask(engine).deliveries] == []
        settle(engine, item, Event.SENT, epoch=1, due_at=NOW + HOUR)
        assert [d.id for d in ask(engine).deliveries] == []
        settle(engine, item, Event.ACKNOWLEDGED)
        assert [d.id for d in ask(engine).deliveries] == [following.id]


def test_a_line_keeps_its_order_whatever_ids_and_times_say(engine: Engine):
    """Turns are given by the ledger as it stores: clocks of nodes differ, and ids of one moment are random."""
    late, early = made(1, id="z", due_at=NOW, line="a"), made(1, id="b", due_at=NOW - HOUR, line="a")
    store(engine, *late)
    store(engine, *early)
    assert [d.id for d in ask(engine).deliveries] == ["z"]


def test_lines_go_beside_each_other(engine: Engine):
    """Each has one under way."""
    store(engine, *(d for line in "abc" for d in made(3, line=line)))
    assert sorted(d.line for d in ask(engine).deliveries) == ["a", "b", "c"]


def test_one_that_waits_to_be_tried_again_keeps_its_place(engine: Engine):
    """Those behind it do not overtake it while its retry is not due."""
    first, second = made(2, line="a")
    store(engine, first, second)
    ask(engine)
    settle(engine, first, Event.RETRY, epoch=1, due_at=NOW + HOUR)
    assert ask(engine).deliveries == ()
    assert [d.id for d in ask(engine, now=NOW + HOUR).deliveries] == [first.id]


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED, State.QUARANTINED])
def test_one_that_failed_stops_its_line_where_that_is_agreed(engine: Engine, state: State):
    """Until it is delivered after all, or a person lets the others pass."""
    first, second, third = made(3, line="a", stops=True)
    store(engine, *made(1, line="a", stops=True, state=state), first, second, third)
    assert ask(engine).deliveries == ()
    with engine.begin() as connection:
        bad = next(row for row in deliveries.in_state(connection, state, 10) if row.line == "a")
        assert [row.id for row in deliveries.pass_by(connection, [bad.id, first.id])] == [bad.id]
        assert deliveries.pass_by(connection, [bad.id]) == []
    assert [d.id for d in ask(engine).deliveries] == [first.id]


@pytest.mark.parametrize("state", [State.FAILED, State.REJECTED, State.QUARANTINED])
def test_one_that_failed_is_passed_by_where_that_is_agreed(engine: Engine, state: State):
    """The next goes on by itself."""
    first, second = made(2, line="a")
    store(engine, *made(1, line="a", state=state), first, second)
    assert [d.id for d in ask(engine).deliveries] == [first.id]


def test_one_that_is_held_keeps_its_line_waiting(engine: Engine):
    """It is not settled: a person holds the line with it."""
    store(engine, *made(1, line="a", state=State.HELD), *made(1, line="a"))
    assert ask(engine).deliveries == ()


def test_an_earlier_one_that_is_sent_again_waits_for_the_one_under_way(engine: Engine):
    """One at a time also then; it is next, before those behind."""
    first, second, third = made(3, line="a")
    store(engine, first, second, third)
    ask(engine)
    settle(engine, first, Event.EXHAUSTED, epoch=1)
    assert [d.id for d in ask(engine).deliveries] == [second.id]
    settle(engine, first, Event.RESEND, due_at=NOW)
    assert ask(engine).deliveries == ()
    settle(engine, second, Event.ACKNOWLEDGED)
    assert [d.id for d in ask(engine).deliveries] == [first.id]


def test_a_node_that_died_stops_no_line(engine: Engine):
    """Its lease ends, and the same delivery is the next; also when an earlier one was sent again meanwhile."""
    first, second = made(2, line="a")
    store(engine, first, second)
    ask(engine)
    assert [d.id for d in ask(engine, now=NOW + limits.LEASE).deliveries] == [first.id]
    settle(engine, first, Event.EXHAUSTED, epoch=2)
    assert [d.id for d in ask(engine, now=NOW + limits.LEASE).deliveries] == [second.id]
    settle(engine, first, Event.RESEND, due_at=NOW)
    later = NOW + 3 * limits.LEASE
    assert [d.id for d in ask(engine, now=later).deliveries] == [first.id]
    settle(engine, first, Event.ACKNOWLEDGED)
    assert [d.id for d in ask(engine, now=later).deliveries] == [second.id]


def test_a_line_is_explained_by_what_stands_first(engine: Engine):
    """The one ahead is named; who is first, or in no line, waits for nobody."""
    first, second = made(2, line="a", stops=True)
    (alone,) = made(1)
    store(engine, first, second, alone)
    with engine.connect() as connection:
        ahead = {
            one.id: deliveries.ahead_of(connection, deliveries.row(connection, one.id))
            for one in (first, second, alone)
        }
    assert {name: row and row.id for name, row in ahead.items()} == {
        first.id: None,
        second.id: first.id,
        alone.id: None,
    }


def test_two_nodes_that_accept_into_one_line_wait_for_each_other(postgresql_url: str):
    """Turns follow commits: what a node sees as the last of its line can no longer be overtaken by what is not committed yet."""
    opened = open_engine(postgresql_url)
    upgrade(opened)
    store(opened, *made(1, line="a", id="first"))
    with opened.connect() as one, opened.connect() as two:
        deliveries.add_deliveries(one, [(made(1, line="a", id="second")[0], "")])
        two.exec_driver_sql("SET LOCAL lock_timeout = '200ms'")
        with pytest.raises(Exception, match="lock timeout"):
            deliveries.add_deliveries(two, [(made(1, line="a", id="third")[0], "")])
        two.rollback()
        deliveries.add_deliveries(two, [(made(1, line="b", id="elsewhere")[0], "")])
        one.commit()
        deliveries.add_deliveries(two, [(made(1, line="a", id="third")[0], "")])
        two.commit()
        rows = one.execute(delivery.select().where(delivery.c.line == "a").order_by(delivery.c.turn))
        assert [(row.id, row.turn) for row in rows] == [("first", 1), ("second", 2), ("third", 3)]
    opened.dispose()


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_one_of_a_line_is_out_and_order_holds(engine: Engine, seed: int):
    """Claims by several, reports, deaths of nodes and receipts in any order: first attempts follow turns, one at a time."""
    dice = random.Random(seed)
    items = made(12, line="a")
    store(engine, *items)
    now, out, first_attempts = NOW, None, []
    while len(first_attempts) < len(items) or out:
        now += 1
        for d in ask(engine, dice.randint(1, 5), now=now).deliveries:
            assert out is None, "two of a line are out"
            out = d
            if d.id not in first_attempts:
                first_attempts.append(d.id)
        if out is None:
            continue
        match dice.choice(["ack", "retry", "sent", "fail", "die"]):
            case "ack":
                settle(engine, out, Event.ACKNOWLEDGED)
            case "retry":
                settle(engine, out, Event.RETRY, epoch=out.epoch, due_at=now)
            case "sent":
                settle(engine, out, Event.SENT, epoch=out.epoch, due_at=now)
            case "fail":
                settle(engine, out, Event.EXHAUSTED, epoch=out.epoch)
            case _:
                with engine.begin() as connection:
                    connection.execute(update(delivery).where(delivery.c.id == out.id).values(deaths=0, due_at=now))
        out = None
    assert first_attempts == [d.id for d in items]
