"""Pauses in the ledger: begun once, probed by one node at a time, ended by whoever gets an answer."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine

from core import limits
from core.clock import HOUR, MINUTE, SECOND
from core.delivery import State
from core.ledger import unreachable
from core.ledger.deliveries import add_deliveries
from core.pace import Pause
from tests.core.making import NOW, a_delivery

EGEDAL, SKOVBY = ("paper", "egedal"), ("paper", "skovby")
PAUSE = Pause(EGEDAL, NOW - MINUTE, NOW + 10 * SECOND, 1, "connect", "nobody listens")


def test_a_pause_is_begun_once_whoever_notices(engine: Engine):
    """The first stands; another node's word about the same changes nothing."""
    with engine.begin() as connection:
        assert unreachable.begin(connection, PAUSE) is True
        assert unreachable.begin(connection, replace(PAUSE, since=NOW, code="tls")) is False
        assert unreachable.begin(connection, replace(PAUSE, where=SKOVBY)) is True
    with engine.connect() as connection:
        assert unreachable.all_paused(connection) == [PAUSE, replace(PAUSE, where=SKOVBY)]


def test_a_far_sides_long_words_are_cut(engine: Engine):
    """What does not fit would refuse the whole commit."""
    with engine.begin() as connection:
        unreachable.begin(connection, replace(PAUSE, code="c" * 100, reason="r" * 5000))
        unreachable.lengthen(connection, EGEDAL, NOW, "d" * 100, "s" * 5000, 0)
        (one,) = unreachable.all_paused(connection)
    assert (one.code, one.reason) == ("d" * 64, "s" * 1024)


def test_each_probe_without_an_answer_makes_the_pause_longer(engine: Engine):
    """Since when it is away stays; the far side's own wish is the least."""
    with engine.begin() as connection:
        unreachable.begin(connection, PAUSE)
        unreachable.lengthen(connection, EGEDAL, NOW, "timeout", "no answer", 0)
        (one,) = unreachable.all_paused(connection)
        assert one == Pause(EGEDAL, PAUSE.since, NOW + 20 * SECOND, 2, "timeout", "no answer")
        unreachable.lengthen(connection, EGEDAL, NOW, "busy", "", HOUR)
        (one,) = unreachable.all_paused(connection)
        assert (one.number, one.probe_at) == (3, NOW + HOUR)


def test_one_node_alone_gets_a_probe(engine: Engine):
    """Not before its time, and nobody else until it should have come back."""
    with engine.begin() as connection:
        unreachable.begin(connection, PAUSE)
        assert unreachable.take_probe(connection, EGEDAL, PAUSE.probe_at - 1) is False
        assert unreachable.take_probe(connection, EGEDAL, PAUSE.probe_at) is True
        assert unreachable.take_probe(connection, EGEDAL, PAUSE.probe_at) is False
        assert unreachable.take_probe(connection, EGEDAL, PAUSE.probe_at + limits.PROBE) is True


def test_a_probe_that_came_to_nothing_is_made_again(engine: Engine):
    """It was neither an answer nor a failure to reach it: the pause keeps its length."""
    with engine.begin() as connection:
        unreachable.begin(connection, PAUSE)
        unreachable.take_probe(connection, EGEDAL, PAUSE.probe_at)
        unreachable.ask_again(connection, EGEDAL, NOW + MINUTE)
        (one,) = unreachable.all_paused(connection)
    assert one == replace(PAUSE, probe_at=NOW + MINUTE)


def test_a_pause_that_is_over_cannot_be_lengthened(engine: Engine):
    """A probe's report may come after an answer to somebody else: it does not bring the pause back."""
    with engine.begin() as connection:
        unreachable.begin(connection, PAUSE)
        assert [unreachable.end(connection, EGEDAL), unreachable.end(connection, EGEDAL)] == [True, False]
        unreachable.lengthen(connection, EGEDAL, NOW, "connect", "", 0)
        unreachable.ask_again(connection, EGEDAL, NOW)
        assert unreachable.take_probe(connection, EGEDAL, NOW + HOUR) is False
        assert unreachable.all_paused(connection) == []


def test_all_may_be_probed_at_once(engine: Engine):
    """An address may have been corrected; what is due anyway keeps its time."""
    with engine.begin() as connection:
        unreachable.begin(connection, PAUSE)
        unreachable.begin(connection, replace(PAUSE, where=SKOVBY, probe_at=NOW - 1))
        unreachable.probe_all(connection, NOW)
        assert [one.probe_at for one in unreachable.all_paused(connection)] == [NOW, NOW - 1]


def test_what_waits_is_counted_where_it_waits(engine: Engine):
    """At its destination, or with the system that comes for it; what is settled or held waits for nobody."""
    waiting = [a_delivery(), a_delivery(state=State.AWAITING), a_delivery(destination="skovby")]
    pulled = [a_delivery(gateway="", destination="", receiver="archive") for _ in range(2)]
    others = [a_delivery(state=s) for s in State if s not in (State.READY, State.AWAITING)]
    with engine.begin() as connection:
        add_deliveries(connection, [(item, "") for item in (*waiting, *pulled, *others)])
        assert unreachable.waiting(connection) == {EGEDAL: 2, SKOVBY: 1, ("", "archive"): 2}
