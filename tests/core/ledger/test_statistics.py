"""Hourly sums: what an hour comes to, and what can be asked of many."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, Engine, update

from core.clock import DAY, HOUR
from core.delivery import State
from core.ledger import parcels, statistics
from core.ledger.statistics import Asked, Sum
from core.ledger.tables import delivery
from tests.core.making import NOW, a_delivery, a_parcel, a_payload, an_accept

HOUR_OF_NOW = NOW // HOUR * HOUR


def stored(connection: Connection, *receivers: str, at: int = NOW, octets: int = 10, **changes: Any) -> str:
    """A parcel of so many octets in two payloads; gives its id."""
    halves = (a_payload(b"x" * (octets // 2)), a_payload(b"y" * (octets - octets // 2)))
    facts = {"sender": changes.pop("sender", "birkelund-post"), "integration": changes.pop("integration", "letters")}
    made = a_parcel(*halves, at=at, **facts)
    to = tuple(a_delivery(made.id, receiver=name, **changes) for name in receivers)
    parcels.accept_many(connection, [an_accept(parcel=made, deliveries=to)])
    return made.id


def computed(connection: Connection, *hours: int) -> None:
    """Compute and keep these hours."""
    statistics.replace(connection, {hour: statistics.compute(connection, hour) for hour in hours})


def asked(connection: Connection, *by: str, **changes: Any) -> list[Sum]:
    """Sums of all time."""
    facts = {"since": 0, "until": NOW + DAY, "only": {}} | changes
    return statistics.sums(connection, Asked(by, **facts), 100)


@pytest.mark.requirement("R76", "R133")
def test_an_hour_is_exactly_what_was_accepted_in_it(engine: Engine):
    """By its first microsecond and before the next hour's; a parcel for two counts once as sent and once for each."""
    with engine.begin() as connection:
        stored(connection, "egedal-journal", "skovby-archive", at=HOUR_OF_NOW, octets=11)
        stored(connection, "egedal-journal", at=HOUR_OF_NOW + HOUR - 1, octets=4, sender="egedal-mail")
        stored(connection, at=HOUR_OF_NOW + 1, octets=100, integration="notices")
        stored(connection, "egedal-journal", at=HOUR_OF_NOW - 1)
        stored(connection, "egedal-journal", at=HOUR_OF_NOW + HOUR)
        computed(connection, HOUR_OF_NOW)
        assert asked(connection, "integration") == [Sum(("letters",), 2, 15), Sum(("notices",), 1, 100)]
        assert asked(connection, "sender") == [Sum(("birkelund-post",), 2, 111), Sum(("egedal-mail",), 1, 4)]
        assert asked(connection, "receiver") == [Sum(("egedal-journal",), 2, 15), Sum(("skovby-archive",), 1, 11)]
        assert asked(connection, "rule") == [Sum(("letters-first",), 3, 26)]
        assert asked(connection, "state") == [Sum(("ready",), 3, 26), Sum(("nobody",), 1, 100)]
        assert asked(connection, "hour") == [Sum((HOUR_OF_NOW,), 3, 115)]
        assert asked(connection, "sender", "receiver")[0] == Sum(("birkelund-post", "egedal-journal"), 1, 11)


def test_computing_again_replaces_what_was_there(engine: Engine):
    """States move; an hour that has become empty has no rows."""
    with engine.begin() as connection:
        stored(connection, "egedal-journal")
        computed(connection, HOUR_OF_NOW)
        connection.execute(update(delivery).values(state=State.DELIVERED.value))
        assert asked(connection, "state") == [Sum(("ready",), 1, 10)]
        computed(connection, HOUR_OF_NOW)
        assert asked(connection, "state") == [Sum(("delivered",), 1, 10)]
        statistics.replace(connection, {HOUR_OF_NOW: []})
        assert asked(connection, "state") == []


@pytest.mark.requirement("R76", "R133")
def test_sums_are_narrowed_by_time_value_and_caller(engine: Engine):
    """What is asked of a receiver counts deliveries; a caller counts what its systems send or receive."""
    with engine.begin() as connection:
        for n in range(3):
            stored(connection, "egedal-journal", at=HOUR_OF_NOW + n * HOUR)
        stored(connection, "skovby-archive", at=HOUR_OF_NOW, sender="egedal-mail")
        computed(connection, *(HOUR_OF_NOW + n * HOUR for n in range(3)))
        assert [one.of[0] for one in asked(connection, "hour")] == [HOUR_OF_NOW + n * HOUR for n in range(3)]
        assert asked(connection, "sender", since=HOUR_OF_NOW + HOUR, until=HOUR_OF_NOW + 2 * HOUR)[0].parcels == 1
        assert asked(connection, "sender", only={"receiver": "egedal-journal"}) == [Sum(("birkelund-post",), 3, 30)]
        assert asked(connection, "sender", systems={"egedal-mail"}) == [Sum(("egedal-mail",), 1, 10)]
        assert asked(connection, "receiver", systems={"skovby-archive"}) == [Sum(("skovby-archive",), 1, 10)]
        assert asked(connection, "receiver", systems=set()) == []


@pytest.mark.requirement("R76")
def test_rules_that_were_used_are_known(engine: Engine):
    """From the hour that a time lies in."""
    with engine.begin() as connection:
        stored(connection, "egedal-journal", rule="old", at=HOUR_OF_NOW - HOUR)
        stored(connection, "egedal-journal", rule="new")
        computed(connection, HOUR_OF_NOW - HOUR, HOUR_OF_NOW)
        assert statistics.rules_seen(connection, HOUR_OF_NOW + 5) == {"new"}
        assert statistics.rules_seen(connection, 0) == {"old", "new"}


def test_what_has_to_be_computed_is_known(engine: Engine):
    """Nothing in an empty ledger, from the first parcel's hour in one that was never summed up, then from where it ended."""
    with engine.begin() as connection:
        assert statistics.computed_until(connection) is None
        stored(connection, "egedal-journal", at=NOW)
        stored(connection, "skovby-archive", at=NOW - 5 * HOUR, state=State.DELIVERED)
        assert statistics.computed_until(connection) == HOUR_OF_NOW - 5 * HOUR
        for until in (HOUR_OF_NOW, HOUR_OF_NOW + HOUR):
            statistics.replace(connection, {}, until)
            assert statistics.computed_until(connection) == until
        computed(connection, HOUR_OF_NOW, HOUR_OF_NOW - 5 * HOUR)
        assert statistics.unsettled(connection, HOUR_OF_NOW + HOUR, 9) == [HOUR_OF_NOW]
        assert statistics.unsettled(connection, HOUR_OF_NOW, 9) == []


@pytest.mark.requirement("R106")
def test_old_hours_are_forgotten(engine: Engine):
    """Those that began before a time."""
    with engine.begin() as connection:
        for at in (NOW, NOW - HOUR):
            stored(connection, "egedal-journal", at=at)
        computed(connection, HOUR_OF_NOW, HOUR_OF_NOW - HOUR)
        assert statistics.forget(connection, HOUR_OF_NOW) == 3 - 1
        assert [one.of for one in asked(connection, "hour")] == [(HOUR_OF_NOW,)]
