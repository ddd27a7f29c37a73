"""Alarms: kept until somebody clears them."""

from __future__ import annotations

from sqlalchemy import Engine

from core.ledger import alarms, parcels
from core.ledger.alarms import Alarm, Asked
from tests.core.making import NOW, a_delivery, a_parcel, an_accept


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


def test_an_alarm_is_for_whom_it_is_about(engine: Engine):
    """For who sent the parcel, and for who alone receives it: of what others get too, its words may name the others."""
    to_one, to_two = a_parcel(), a_parcel()
    with engine.begin() as connection:
        for made, receivers in ((to_one, ["egedal-journal"]), (to_two, ["egedal-journal", "skovby-archive"])):
            to = tuple(a_delivery(made.id, receiver=name) for name in receivers)
            parcels.accept_many(connection, [an_accept(parcel=made, deliveries=to)])
        about = [Alarm("a1", NOW, "failed", "no", to_one.id), Alarm("a2", NOW + 1, "failed", "no", to_two.id)]
        alarms.raise_many(connection, [*about, Alarm("a3", NOW + 1, "clock", "it is slow")])

        def found(*systems: str, **asked: object) -> list[str]:
            wanted = Asked(systems=frozenset(systems) if systems else None, **asked)  # type: ignore[arg-type]
            return [one.id for one in alarms.find(connection, wanted, 10)]

        assert found() == ["a3", "a2", "a1"]
        assert found("birkelund-post") == ["a2", "a1"]
        assert found("egedal-journal") == ["a1"]
        assert found("skovby-archive") == found("nobody") == []
        assert found("egedal-journal", "skovby-archive") == ["a2", "a1"]
        assert found(code="clock") == ["a3"]
        assert found(parcel_id=to_two.id) == ["a2"]
        assert found(before=(NOW + 1, "a3")) == ["a2", "a1"]
        assert found(before=(NOW + 1, "a2")) == ["a1"]
        assert alarms.clear_theirs(connection, ["a1", "a2", "a3"], NOW + 2, frozenset({"egedal-journal"})) == ["a1"]
        assert alarms.clear_theirs(connection, ["a1", "x"], NOW + 9, None) == ["a1"]
        assert found() == ["a3", "a2"]
