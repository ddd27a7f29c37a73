"""Alarms: kept until somebody clears them."""

from __future__ import annotations

from sqlalchemy import Engine

from core.ledger import alarms
from core.ledger.alarms import Alarm
from tests.core.making import NOW


def test_an_alarm_stays_until_somebody_clears_it(engine: Engine):
    """Raised ones are listed newest first; a cleared one is listed no more and the others are."""
    first, second = Alarm("a1", NOW, "residual", "no route", "p1"), Alarm("a2", NOW + 1, "conflict", "key again")
    with engine.begin() as connection:
        alarms.raise_many(connection, [first, second])
    with engine.begin() as connection:
        assert alarms.open_alarms(connection) == [second, first]
        assert alarms.open_alarms(connection, limit=1) == [second]
        alarms.clear(connection, ["a2", "unknown"], NOW + 2)
        assert alarms.open_alarms(connection) == [first]
        assert alarms.count_open(connection) == 1


def test_words_are_cut_to_their_columns(engine: Engine):
    """A long text may not fail the transaction of its cause."""
    with engine.begin() as connection:
        alarms.raise_many(connection, [Alarm("a1", NOW, "c" * 99, "t" * 5000)])
        (stored,) = alarms.open_alarms(connection)
    assert (len(stored.code), len(stored.text)) == (64, 1024)


def test_what_lasts_is_said_once_under_one_id(engine: Engine):
    """Not again by another node, not again after it was cleared; what is new beside it is."""
    first, second = (Alarm(f"expiry-{n}", NOW, "expiry", "it ends") for n in (1, 2))
    with engine.begin() as connection:
        assert alarms.raise_once(connection, [first]) == [first]
        assert alarms.raise_once(connection, []) == []
    with engine.begin() as connection:
        alarms.clear(connection, [first.id], NOW + 1)
        assert alarms.raise_once(connection, [first, second, second]) == [second]
        assert alarms.open_alarms(connection) == [second]
