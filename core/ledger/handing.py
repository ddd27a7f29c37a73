"""Handing over: who has a parcel, when it was fetched, where it was sent on to, and what its receivers said of it.

Rules:

1. A parcel is seen by its sender, and by whoever has or had a delivery of it; nobody else learns that it exists.
2. Sending on is one transaction: the old delivery is rejected with the code `MISDELIVERED`, the new one is there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, select, update

from core import limits
from core.clock import Micros
from core.delivery import Delivery, Event, State
from core.ledger import alarms, deliveries, expectations, parcels
from core.ledger.alarms import Alarm
from core.ledger.deliveries import Settle
from core.ledger.parcels import Accept
from core.ledger.tables import delivery, parcel, receipt
from core.system import RESIDUAL

MISDELIVERED: Final = "misdelivered"
"""The code of a delivery that was sent on: to its sender it is redistributed, not refused."""
REDISTRIBUTED: Final = "redistributed"
"""The rule of a delivery that somebody named the receiver of by hand."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A receiver has begun to fetch."""

    delivery_id: str
    parcel_id: str
    receiver: str
    at: Micros


def note_fetched(connection: Connection, item: Fetched) -> bool:
    """Note the first fetch; False for any later one."""
    first = update(delivery).where(delivery.c.id == item.delivery_id, delivery.c.fetched_at.is_(None))
    return connection.execute(first.values(fetched_at=item.at)).rowcount == 1


def wrong_here(row: Row[Any]) -> bool:
    """Whether a delivery was sent on."""
    return bool(row.state == State.REJECTED.value and row.last_code == MISDELIVERED)


# --- sending on -------------------------------------------------------------------------------------------------------


class Moved(StrEnum):
    """What became of a redistribution."""

    DONE = "done"
    STATE = "state"
    """It was accepted, refused or sent on meanwhile."""
    OFTEN = "often"
    """It has been sent on too often."""


@dataclass(frozen=True, slots=True)
class Redistribute:
    """A delivery that came to the wrong system goes on to ``targets``; with ``fresh``, as a parcel that was sealed anew.

    ``targets`` are empty where whoever shall have it has it already.
    """

    delivery_id: str
    parcel_id: str
    receiver: str
    at: Micros
    targets: tuple[Delivery, ...]
    facts: Mapping[str, str]
    """Who sent it on, and why."""
    fresh: Accept | None = None
    alarm: Alarm | None = None


_PULLED: Final = (State.READY, State.DELIVERED, State.FAILED)


def redistribute(connection: Connection, item: Redistribute) -> Moved:
    """Send it on."""
    # Locked: of two who send it on at once, one is told that it has gone.
    row = connection.execute(select(delivery).where(delivery.c.id == item.delivery_id).with_for_update()).one()
    if not may_go_on(row):
        return Moved.STATE
    rows = deliveries.of_parcel(connection, item.parcel_id)
    if sum(wrong_here(one) for one in rows) >= limits.REDISTRIBUTIONS:
        return Moved.OFTEN
    said = Settle(row.id, Event.BUSINESS_REJECTED, item.at, code=MISDELIVERED, reason=item.facts.get("reason", ""))
    deliveries.settle_many(connection, [said])
    # Who holds a loan of it is told that it has ended, and what comes after it in a line does not wait for it.
    ended = update(delivery).where(delivery.c.id == row.id)
    connection.execute(ended.values(epoch=delivery.c.epoch + 1, stops=0))
    # A parcel that was sealed anew expects its own receipts.
    following = () if item.fresh is not None else item.targets
    expectations.move(connection, item.parcel_id, row.receiver, [one.receiver for one in following])
    if item.fresh is not None:
        parcels.accept_many(connection, [item.fresh])
    else:
        deliveries.add_deliveries(connection, [(target, "") for target in item.targets])
    if item.alarm is not None:
        alarms.raise_many(connection, [item.alarm])
    return Moved.DONE


def redistribute_together(connection: Connection, items: Sequence[Redistribute]) -> Moved:
    """Send on the first, and with it what belongs to it, as far as that is still where it was."""
    first, *others = items
    moved = redistribute(connection, first)
    if moved is Moved.DONE:
        for other in others:
            redistribute(connection, other)
    return moved


def may_go_on(row: Row[Any]) -> bool:
    """Whether a delivery may be sent on: who pushes may still be at it, and what was accepted or refused is settled."""
    state = State(row.state)
    return state is State.DELIVERED or (not row.gateway and row.receiver != RESIDUAL and state in _PULLED)


# --- the residual mailbox ---------------------------------------------------------------------------------------------


def residual(connection: Connection, integrations: Collection[str] | None, after: str, limit: int) -> list[Row[Any]]:
    """What no route takes, of these integrations or of all, oldest first: deliveries beside their parcel's facts."""
    query = select(delivery.c.id, delivery.c.parcel_id, parcel.c.integration, parcel.c.sender, parcel.c.accepted_at)
    query = query.join(parcel, parcel.c.id == delivery.c.parcel_id)
    query = query.where(delivery.c.state == State.HELD.value, delivery.c.receiver == RESIDUAL, delivery.c.id > after)
    if integrations is not None:
        query = query.where(parcel.c.integration.in_(list(integrations)))
    return list(connection.execute(query.order_by(delivery.c.id).limit(limit)))


# --- receipts ---------------------------------------------------------------------------------------------------------

_FEED: Final = (
    *(receipt.c.id, receipt.c.delivery_id, receipt.c.level, receipt.c.verdict, receipt.c.code, receipt.c.reason),
    *(receipt.c.digest, receipt.c.at, delivery.c.parcel_id, delivery.c.receiver),
)


def feed(connection: Connection, sender: str, after: int, limit: int, now: Micros) -> list[Row[Any]]:
    """Receipts of a sender's parcels after the one numbered ``after``, without their octets."""
    query = select(*_FEED).join(delivery, delivery.c.id == receipt.c.delivery_id)
    query = query.join(parcel, parcel.c.id == delivery.c.parcel_id)
    query = query.where(parcel.c.sender == sender, receipt.c.id > after, *_shown(connection, now))
    return list(connection.execute(query.order_by(receipt.c.id).limit(limit)))


def newest_receipt(connection: Connection, now: Micros) -> int:
    """The number of the newest receipt that a feed shows, 0 for none."""
    query = select(receipt.c.id).where(*_shown(connection, now)).order_by(receipt.c.id.desc()).limit(1)
    return int(connection.execute(query).scalar() or 0)


def _shown(connection: Connection, now: Micros) -> list[ColumnElement[bool]]:
    """Where several nodes write, numbers are drawn before commits, and a lower one may come a moment later."""
    return [] if connection.dialect.name == "sqlite" else [receipt.c.at <= now - limits.FEED_LAG]
