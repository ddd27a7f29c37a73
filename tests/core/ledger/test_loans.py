"""Loans in the ledger, on both databases; what a system says of them is in tests/core/desk/test_mailbox.py."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sqlalchemy import Engine

from core.clock import MINUTE
from core.delivery import Delivery, State
from core.ledger import deliveries, parcels
from core.ledger.loans import UNACKNOWLEDGED, Lent, PullClaim, Taken, acknowledge, claim_pull
from tests.core.making import NOW, a_delivery, an_accept

BOX = ("egedal-journal", "all")


def store(engine: Engine, *items: Delivery) -> None:
    """Put deliveries into the ledger."""
    with engine.begin() as connection:
        deliveries.add_deliveries(connection, [(item, "") for item in items])


def told(**changes: Any) -> Delivery:
    """A delivery in a subscription's mailbox."""
    return replace(a_delivery(gateway=""), destination="all", **changes)


def pull(engine: Engine, now: int = NOW, **changes: Any) -> Lent:
    """Pull in a transaction of its own."""
    wanted = {"system": BOX[0], "limit": 10, "now": now, "until": now + MINUTE, "subscription": BOX[1]} | changes
    with engine.begin() as connection:
        return claim_pull(connection, PullClaim(**wanted))


def test_a_mailbox_is_a_system_and_a_subscription(engine: Engine):
    """What came by route, to another subscription or to another system is not lent here."""
    mine = told()
    store(engine, mine, replace(told(), destination="other"), replace(told(), receiver="x"), a_delivery(gateway=""))
    assert [d.id for d in pull(engine).deliveries] == [mine.id]
    assert pull(engine) == Lent(())


def test_integrations_narrow_it_down(engine: Engine):
    """Only parcels of those that were named, however many names there are."""
    accept = an_accept(deliveries=())
    mine = told(parcel_id=accept.item.parcel.id)
    with engine.begin() as connection:
        parcels.accept_many(connection, [accept])
    store(engine, mine, told())
    assert pull(engine, integrations=("forms", "moves", "stays")).deliveries == ()
    (lent,) = pull(engine, integrations=("forms", "letters", "stays")).deliveries
    assert lent.id == mine.id


def test_a_line_lends_its_oldest_alone(engine: Engine):
    """In ordered subscriptions; where no order was asked for, lines are not looked at."""
    first, second = told(line="l"), told(line="l")
    store(engine, first)
    store(engine, second)
    assert [d.id for d in pull(engine, ordered=True).deliveries] == [first.id]
    assert pull(engine, ordered=True).deliveries == ()
    assert [d.id for d in pull(engine).deliveries] == [second.id]


def test_what_was_lent_too_often_fails_and_makes_room(engine: Engine):
    """The pull that would lend it again fills up with others."""
    worn, fresh = told(due_at=NOW - 1), told(due_at=NOW + 2 * MINUTE)
    store(engine, worn, fresh)
    assert [d.id for d in pull(engine, limit=1, loans=1).deliveries] == [worn.id]
    later = pull(engine, now=NOW + 2 * MINUTE, limit=1, loans=1)
    assert [d.id for d in later.deliveries] == [fresh.id]
    assert [(d.id, d.state) for d in later.dead] == [(worn.id, State.FAILED)]
    with engine.connect() as connection:
        row = deliveries.row(connection, worn.id)
    assert row is not None
    assert (row.state, row.last_code, row.lease_owner) == ("failed", UNACKNOWLEDGED, "")


def test_acknowledging_takes_what_stands_as_it_was_lent(engine: Engine):
    """By delivery and epoch, in its own mailbox; the rest is left for a closer look."""
    store(engine, told(), told(), told())
    one, two, three = pull(engine).deliveries
    with engine.begin() as connection:
        loans = [(one.id, 1), (two.id, 2), ("0" * 32, 1)]
        assert acknowledge(connection, (BOX[0], "other"), [(three.id, 1)], NOW) == {}
        assert acknowledge(connection, BOX, loans, NOW) == {(one.id, 1): Taken(one.parcel_id, 1, "")}
        row = deliveries.row(connection, one.id)
        assert row is not None
        assert (row.state, row.settled_at, row.lease_owner) == ("delivered", NOW, "")
        assert acknowledge(connection, BOX, loans, NOW) == {}


def test_loans_of_several_epochs_are_acknowledged_in_one_call(engine: Engine):
    """Each under its own: what was lent twice stands beside what was lent once."""
    first, second = told(), told()
    store(engine, first)
    pull(engine)
    store(engine, second)
    lent = pull(engine, now=NOW + MINUTE).deliveries
    assert {one.id: one.epoch for one in lent} == {first.id: 2, second.id: 1}
    with engine.begin() as connection:
        said = acknowledge(connection, BOX, [(first.id, 2), (second.id, 1), (first.id, 1)], NOW + MINUTE)
    assert said == {(first.id, 2): Taken(first.parcel_id, 2, ""), (second.id, 1): Taken(second.parcel_id, 1, "")}
