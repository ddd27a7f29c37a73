"""Hourly sums of what was moved: computed from the parcels themselves, kept in a table that outlives them.

Rules:

1. An hour holds the parcels accepted in it. Computing it again gives what the ledger says by then, and replaces what was there.
2. Rows of the state ``taken`` count parcels as they came in, once each, without receiver and rule; every other row counts
   deliveries. What is asked about senders and integrations is answered by the first, about receivers, rules and states by the
   others.
3. A parcel that nobody gets a delivery of also counts under the state ``nobody``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, Select, delete, exists, func, literal, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from core.clock import HOUR, Micros
from core.delivery import OPEN_STATES, State
from core.ledger.driver import Insert
from core.ledger.tables import delivery, meta, parcel, payload, statistic

TAKEN: Final = "taken"
NOBODY: Final = "nobody"
DIMENSIONS: Final = ("hour", "integration", "sender", "receiver", "rule", "state")
_OF_DELIVERIES: Final = frozenset({"receiver", "rule", "state"})
_UNTIL: Final = "statistics"
_INSERT: Final = Insert(statistic, (*DIMENSIONS, "parcels", "octets"))
_UNSETTLED: Final = [*(state.value for state in OPEN_STATES), State.HELD.value]


@dataclass(frozen=True, slots=True)
class Sum:
    """How many and how large, for one value of each dimension that was asked for."""

    of: tuple[Any, ...]
    parcels: int
    octets: int


def compute(connection: Connection, hour: Micros) -> list[tuple[Any, ...]]:
    """The rows of one hour, as the ledger is now."""
    within = (parcel.c.accepted_at >= hour) & (parcel.c.accepted_at < hour + HOUR)
    sized = (
        select(
            parcel.c.id,
            parcel.c.integration,
            parcel.c.sender,
            func.coalesce(func.sum(payload.c.size), 0).label("octets"),
        )
        .select_from(parcel.outerjoin(payload, payload.c.parcel_id == parcel.c.id))
        .where(within)
        .group_by(parcel.c.id, parcel.c.integration, parcel.c.sender)
        .cte("sized")
    )
    none, numbers = literal(""), (func.count(), func.sum(sized.c.octets))
    own = (sized.c.integration, sized.c.sender)
    sent = (delivery.c.receiver, delivery.c.rule, delivery.c.state)
    lonely = ~exists().where(delivery.c.parcel_id == sized.c.id)
    questions: tuple[Select[Any], ...] = (
        select(*own, none, none, literal(TAKEN), *numbers).group_by(*own),
        select(*own, none, none, literal(NOBODY), *numbers).where(lonely).group_by(*own),
        select(*own, *sent, *numbers).join(delivery, delivery.c.parcel_id == sized.c.id).group_by(*own, *sent),
    )
    return [
        (hour, *row[:5], int(row[5]), int(row[6])) for question in questions for row in connection.execute(question)
    ]


def replace(
    connection: Connection, hours: Mapping[Micros, Sequence[tuple[Any, ...]]], until: Micros | None = None
) -> None:
    """Put computed hours in the place of what was there; ``until`` says from which hour on nothing has been computed."""
    connection.execute(delete(statistic).where(statistic.c.hour.in_(list(hours))))
    for rows in hours.values():
        _INSERT.run(connection, rows)
    if until is not None:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        made = (
            dialect.insert(meta).values(name=_UNTIL, value=str(until)).on_conflict_do_nothing(index_elements=["name"])
        )
        connection.execute(made)
        connection.execute(update(meta).where(meta.c.name == _UNTIL).values(value=str(until)))


def computed_until(connection: Connection) -> Micros | None:
    """The hour from which on nothing has been computed for good; None when nothing is there to compute."""
    kept = connection.execute(select(meta.c.value).where(meta.c.name == _UNTIL)).scalar()
    if kept is not None:
        return int(kept)
    first: Micros | None = connection.execute(select(func.min(parcel.c.accepted_at))).scalar()
    return None if first is None else first // HOUR * HOUR


def unsettled(connection: Connection, before: Micros, limit: int) -> list[Micros]:
    """Hours before that one in which something was still on its way when they were computed, the newest first."""
    query = select(statistic.c.hour).where(statistic.c.state.in_(_UNSETTLED), statistic.c.hour < before).distinct()
    return list(connection.execute(query.order_by(statistic.c.hour.desc()).limit(limit)).scalars())


@dataclass(frozen=True, slots=True)
class Asked:
    """Which sums: from ``since`` until before ``until`` by whole hours, only these values, only of ``systems`` (None = all)."""

    by: tuple[str, ...]
    since: Micros
    until: Micros
    only: Mapping[str, str]
    systems: Collection[str] | None = None


def sums(connection: Connection, asked: Asked, limit: int) -> list[Sum]:
    """The sums asked for, the largest number first; by hour, the oldest first."""
    of_deliveries = bool(_OF_DELIVERIES & {*asked.by, *asked.only})
    columns = [statistic.c[name] for name in asked.by]
    number, octets = func.sum(statistic.c.parcels), func.sum(statistic.c.octets)
    query = select(*columns, number, octets).where(statistic.c.hour >= asked.since, statistic.c.hour < asked.until)
    query = query.where(statistic.c.state != TAKEN if of_deliveries else statistic.c.state == TAKEN)
    if {"receiver", "rule"} & {*asked.by, *asked.only}:
        query = query.where(statistic.c.state != NOBODY)
    for name, value in asked.only.items():
        query = query.where(statistic.c[name] == value)
    if asked.systems is not None:
        seen = list(asked.systems)
        query = query.where(or_(statistic.c.sender.in_(seen), statistic.c.receiver.in_(seen)))
    order = [statistic.c.hour] if "hour" in asked.by else [number.desc(), *columns]
    rows = connection.execute(query.group_by(*columns).order_by(*order).limit(limit))
    return [Sum(tuple(row[:-2]), int(row[-2]), int(row[-1])) for row in rows]


def rules_seen(connection: Connection, since: Micros) -> set[str]:
    """Routes and subscriptions that something went by."""
    query = select(statistic.c.rule).where(statistic.c.hour >= since // HOUR * HOUR, statistic.c.rule != "")
    return set(connection.execute(query.distinct()).scalars())


def forget(connection: Connection, before: Micros) -> int:
    """Delete hours that began before; gives how many rows."""
    return connection.execute(delete(statistic).where(statistic.c.hour < before)).rowcount
