"""Replays: events that a subscription is given again, and how far each replay has come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from core.clock import Micros
from core.delivery import Delivery
from core.ledger.deliveries import add_deliveries
from core.ledger.tables import delivery, replay


class ReplayState(StrEnum):
    """Where a replay has come."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"
    """It could not go on; the reason says why, and what it made stays."""


@dataclass(frozen=True, slots=True)
class Replay:
    """Events of one subscription's integration, from ``since`` up to ``until``; ``cursor`` is the last parcel looked at."""

    id: str
    subscription: str
    since: Micros
    until: Micros
    lane: str
    asked_by: str
    asked_at: Micros
    state: ReplayState = ReplayState.RUNNING
    cursor: str = ""
    seen: int = 0
    made: int = 0
    moved_at: Micros = 0
    reason: str = ""


_COLUMNS: Final = tuple(replay.c)


def _from_row(row: Row[Any]) -> Replay:
    values = dict(row._mapping)
    values["state"] = ReplayState(values["state"])
    return Replay(**values)


def add(connection: Connection, item: Replay) -> None:
    """Store a replay that begins."""
    values = {name: getattr(item, name) for name in Replay.__dataclass_fields__}
    connection.execute(insert(replay).values(values | {"state": item.state.value}))


def get(connection: Connection, name: str) -> Replay | None:
    """One replay."""
    row = connection.execute(select(*_COLUMNS).where(replay.c.id == name)).first()
    return _from_row(row) if row else None


def running_of(connection: Connection, subscription: str) -> Replay | None:
    """What is being replayed for a subscription."""
    query = select(*_COLUMNS).where(replay.c.subscription == subscription, replay.c.state == ReplayState.RUNNING.value)
    row = connection.execute(query.limit(1)).first()
    return _from_row(row) if row else None


def still(connection: Connection, since: Micros, limit: int) -> Sequence[Replay]:
    """Those that run and have not moved since a time: the node that had them may have died."""
    query = select(*_COLUMNS).where(replay.c.state == ReplayState.RUNNING.value, replay.c.moved_at <= since)
    return [_from_row(row) for row in connection.execute(query.order_by(replay.c.moved_at).limit(limit))]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step found: the deliveries to make, how many parcels it looked at, and where it ended."""

    replay: Replay
    cursor: str
    seen: int
    deliveries: tuple[Delivery, ...]
    at: Micros
    state: ReplayState = ReplayState.RUNNING
    reason: str = ""


def advance(connection: Connection, step: Step) -> Sequence[Delivery] | None:
    """Make the deliveries that are not there yet, and move on; gives them. None when another node has taken this step already."""
    mine = update(replay).where(
        replay.c.id == step.replay.id,
        replay.c.state == ReplayState.RUNNING.value,
        replay.c.cursor == step.replay.cursor,
    )
    values = {"cursor": step.cursor, "seen": replay.c.seen + step.seen, "moved_at": step.at}
    values |= {"state": step.state.value, "reason": step.reason[:1024]}
    if connection.execute(mine.values(**values)).rowcount == 0:
        return None
    ids = [one.id for one in step.deliveries]
    there = set(connection.execute(select(delivery.c.id).where(delivery.c.id.in_(ids))).scalars()) if ids else set()
    fresh = [one for one in step.deliveries if one.id not in there]
    add_deliveries(connection, [(one, "") for one in fresh])
    if fresh:
        made = update(replay).where(replay.c.id == step.replay.id)
        connection.execute(made.values(made=replay.c.made + len(fresh)))
    return fresh
