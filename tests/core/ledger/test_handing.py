"""Handing over in the ledger: fetching, sending on, the residual mailbox, the feed of receipts."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Engine

from core import limits
from core.delivery import Delivery, Event, State
from core.expectation import Expectation
from core.ledger import alarms, deliveries, expectations, handing, parcels
from core.ledger.alarms import Alarm
from core.ledger.deliveries import Renew, Settle
from core.ledger.handing import Fetched, Moved, Redistribute
from core.receipt import Level
from core.system import RESIDUAL
from tests.core.making import NOW, a_delivery, a_parcel, an_accept
from tests.core.nodes import received


def stored(engine: Engine, **changes: Any) -> Delivery:
    """A parcel with one delivery that its receiver comes for."""
    parcel = a_parcel()
    one = a_delivery(parcel.id, **{"gateway": "", **changes})
    with engine.begin() as connection:
        parcels.accept_many(connection, [an_accept(parcel=parcel, deliveries=(one,))])
    return one


def send_on(engine: Engine, one: Delivery, to: str = "skovby-archive", **changes: Any) -> tuple[Moved, Delivery]:
    """Send it on; gives what became of it, and the new delivery."""
    target = a_delivery(one.parcel_id, gateway="", receiver=to)
    facts = {"by": one.receiver, "reason": "for another office"}
    wanted = Redistribute(one.id, one.parcel_id, one.receiver, NOW + 1, (target,), facts, **changes)
    with engine.begin() as connection:
        return handing.redistribute(connection, wanted), target


def rows(engine: Engine, one: Delivery) -> dict[str, tuple[str, str]]:
    """State and last code by receiver."""
    with engine.connect() as connection:
        return {r.receiver: (r.state, r.last_code) for r in deliveries.of_parcel(connection, one.parcel_id)}


def test_only_the_first_fetch_is_noted(engine: Engine):
    """With its time."""
    one = stored(engine)
    with engine.begin() as connection:
        for at, first in ((NOW, True), (NOW + 5, False)):
            assert handing.note_fetched(connection, Fetched(one.id, one.parcel_id, one.receiver, at)) is first
        row = deliveries.row(connection, one.id)
        assert row is not None
        assert row.fetched_at == NOW


def test_what_is_sent_on_is_rejected_here_and_ready_there(engine: Engine):
    """In one transaction; whoever held a loan of it is stale, and a receipt that comes late changes no word of it."""
    one = stored(engine)
    moved, target = send_on(engine, one)
    assert moved is Moved.DONE
    assert rows(engine, one) == {one.receiver: ("rejected", "misdelivered"), target.receiver: ("ready", "")}
    with engine.begin() as connection:
        (settled,) = deliveries.settle_many(connection, [Settle(one.id, Event.ACKNOWLEDGED, NOW, epoch=one.epoch)])
        assert settled is not None
        assert settled.stale
        assert deliveries.renew_many(connection, [Renew(one.id, one.epoch + 1, NOW + 99)]) == [False]
        deliveries.settle_many(connection, [deliveries.of_receipt(received(one))])
        row = deliveries.row(connection, one.id)
        assert row is not None
        assert handing.wrong_here(row)
    assert send_on(engine, one)[0] is Moved.STATE


@pytest.mark.requirement("R37", "R71")
def test_the_receipt_that_is_expected_is_expected_of_who_has_it_now(engine: Engine):
    """Else an alarm would be raised about a system that has nothing to answer."""
    one = stored(engine)
    expected = Expectation(f"{one.parcel_id}-0", one.parcel_id, Level.BUSINESS, "receiver", one.receiver, NOW)
    with engine.begin() as connection:
        expectations.add(connection, [expected])
    _, target = send_on(engine, one)
    with engine.connect() as connection:
        assert [row.name for row in expectations.of_parcel(connection, one.parcel_id)] == [target.receiver]


def test_what_comes_after_it_in_its_line_does_not_wait_for_it(engine: Engine):
    """Nobody has refused it, so nobody has to look at it first."""
    one = stored(engine, state=State.DELIVERED, gateway="paper", line="l", stops=True)
    assert send_on(engine, one)[0] is Moved.DONE
    with engine.connect() as connection:
        row = deliveries.row(connection, one.id)
        assert row is not None
        assert (row.state, row.stops) == ("rejected", 0)


@pytest.mark.parametrize(
    ("changes", "goes"),
    [
        ({}, True),
        ({"state": State.DELIVERED}, True),
        ({"state": State.FAILED}, True),
        ({"state": State.ACCEPTED}, False),
        ({"state": State.REJECTED}, False),
        ({"state": State.HELD}, False),
        ({"state": State.HELD, "receiver": RESIDUAL}, False),
        ({"state": State.READY, "gateway": "paper"}, False),
        ({"state": State.AWAITING, "gateway": "paper"}, False),
        ({"state": State.DELIVERED, "gateway": "paper"}, True),
    ],
)
def test_what_may_be_sent_on(engine: Engine, changes: dict[str, Any], goes: bool):
    """What somebody has and nobody has judged; not what is accepted, refused, held or being pushed."""
    one = stored(engine, **changes)
    assert (send_on(engine, one)[0] is Moved.DONE) is goes


def test_it_is_sent_on_so_often_and_no_more(engine: Engine):
    """What is refused for that changes nothing."""
    one = stored(engine)
    for _ in range(limits.REDISTRIBUTIONS):
        moved, one = send_on(engine, one)
        assert moved is Moved.DONE
    assert send_on(engine, one)[0] is Moved.OFTEN
    with engine.connect() as connection:
        assert len(deliveries.of_parcel(connection, one.parcel_id)) == limits.REDISTRIBUTIONS + 1


def test_a_parcel_sealed_anew_is_stored_with_it_and_an_alarm_raised(engine: Engine):
    """The first parcel gets no new delivery; the new one has its own."""
    one = stored(engine)
    fresh = a_parcel()
    target = a_delivery(fresh.id, gateway="", receiver="skovby-archive")
    accept = an_accept(parcel=fresh, deliveries=(target,))
    moved, _ = send_on(engine, one, fresh=accept, alarm=Alarm("x" * 32, NOW, "residual", "nobody", fresh.id))
    assert moved is Moved.DONE
    assert rows(engine, one) == {one.receiver: ("rejected", "misdelivered")}
    assert rows(engine, target) == {"skovby-archive": ("ready", "")}
    with engine.connect() as connection:
        assert [found.code for found in alarms.open_alarms(connection)] == ["residual"]


def test_the_residual_mailbox_in_pages_and_by_integration(engine: Engine):
    """Held there, oldest first; nothing of other integrations, and nothing that has gone on."""
    held = [stored(engine, id=f"{n:032}", receiver=RESIDUAL, state=State.HELD) for n in range(3)]
    stored(engine, receiver=RESIDUAL)
    stored(engine, state=State.HELD)
    with engine.connect() as connection:
        assert [r.id for r in handing.residual(connection, None, "", 10)] == [one.id for one in held]
        assert [r.id for r in handing.residual(connection, ["letters"], held[0].id, 1)] == [held[1].id]
        assert handing.residual(connection, ["others"], "", 10) == []
        assert handing.residual(connection, [], "", 10) == []
        (first, *_) = handing.residual(connection, None, "", 1)
        assert (first.integration, first.sender, first.parcel_id) == ("letters", "birkelund-post", held[0].parcel_id)


def test_the_feed_has_what_a_sender_sent_in_the_order_it_came(engine: Engine):
    """After a number, at most so many; another's receipts are not in it; where several nodes write, the newest come later."""
    one = stored(engine)
    with engine.begin() as connection:
        deliveries.settle_many(connection, [deliveries.of_receipt(received(one, code=f"c-{n}")) for n in range(3)])
    later = NOW + limits.FEED_LAG
    with engine.connect() as connection:
        found = handing.feed(connection, "birkelund-post", 0, 10, later)
        assert [r.code for r in found] == ["c-0", "c-1", "c-2"]
        assert [r.code for r in handing.feed(connection, "birkelund-post", found[0].id, 1, later)] == ["c-1"]
        assert handing.feed(connection, "egedal-journal", 0, 10, later) == []
        assert handing.newest_receipt(connection, later) == found[-1].id
        young = handing.feed(connection, "birkelund-post", 0, 10, NOW)
        assert len(young) == (3 if connection.dialect.name == "sqlite" else 0)


def test_no_receipt_has_no_number(engine: Engine):
    """The newest of none is 0."""
    with engine.connect() as connection:
        assert handing.newest_receipt(connection, NOW) == 0
