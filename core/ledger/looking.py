"""Who looked at what, and who changed what: rows that only grow until their time is over."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, select

from core.clock import Micros
from core.ledger.driver import Insert
from core.ledger.tables import access

_COLUMNS: Final = ("id", "at", "who", "authority", "action", "object", "outcome")
_INSERT: Final = Insert(access, _COLUMNS)


@dataclass(frozen=True, slots=True)
class Look:
    """One look or change. ``who`` is a person or a system by the name it signs in with, ``object`` an id, never content."""

    id: str
    at: Micros
    who: str
    authority: str
    action: str
    object: str
    outcome: str = "ok"


def add_many(connection: Connection, batch: Sequence[Look]) -> list[None]:
    """Store looks; words are cut to their columns."""
    rows = [
        (one.id, one.at, one.who[:255], one.authority[:255], one.action[:64], one.object[:255], one.outcome[:64])
        for one in batch
    ]
    _INSERT.run(connection, rows)
    return [None] * len(batch)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for; what is left empty matches everything. ``before`` is the id a page ended with."""

    who: str = ""
    authority: str = ""
    action: str = ""
    object: str = ""
    since: Micros | None = None
    until: Micros | None = None
    before: str = ""


def find(connection: Connection, asked: Asked, limit: int) -> list[Look]:
    """The newest first."""
    query = select(*(access.c[name] for name in _COLUMNS))
    for name in ("who", "authority", "action", "object"):
        if value := getattr(asked, name):
            query = query.where(access.c[name] == value)
    if asked.since is not None:
        query = query.where(access.c.at >= asked.since)
    if asked.until is not None:
        query = query.where(access.c.at < asked.until)
    if asked.before:
        query = query.where(access.c.id < asked.before)
    return [Look(*row) for row in connection.execute(query.order_by(access.c.id.desc()).limit(limit))]


def forget(connection: Connection, before: Micros) -> int:
    """Delete what is older; gives how many rows."""
    return connection.execute(delete(access).where(access.c.at < before)).rowcount
