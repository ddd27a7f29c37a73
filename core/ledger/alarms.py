"""Alarms: what people must look at, kept until somebody clears it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from core.clock import Micros
from core.ledger.tables import alarm, meta

_MAILS: Final = "mails"
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class Alarm:
    """``code`` is a stable word; ``text`` one sentence with a remedy; times in UTC microseconds."""

    id: str
    at: Micros
    code: str
    text: str
    parcel_id: str = ""
    once: bool = False
    """Whether its id says what it is about, so that it is said once, whoever says it."""


def raise_many(connection: Connection, batch: Sequence[Alarm]) -> list[None]:
    """Store alarms."""
    if new := [_row(a) for a in batch if not a.once]:
        connection.execute(insert(alarm), new)
    raise_once(connection, [a for a in batch if a.once])
    return [None] * len(batch)


def raise_once(connection: Connection, batch: Sequence[Alarm]) -> list[Alarm]:
    """Store those whose id nobody has used before, be it another node, and be it cleared by now; gives them."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(alarm).on_conflict_do_nothing(index_elements=["id"]).returning(alarm.c.id)
    return [a for a in batch if connection.execute(statement.values(**_row(a))).first() is not None]


def _row(a: Alarm) -> dict[str, Any]:
    return {
        "id": a.id,
        "at": a.at,
        "code": a.code[:64],
        "text": a.text[:1024],
        "parcel_id": a.parcel_id,
        "cleared_at": None,
    }


def open_alarms(connection: Connection, limit: int = 100) -> list[Alarm]:
    """Those nobody has cleared, newest first."""
    query = select(alarm).where(alarm.c.cleared_at.is_(None)).order_by(alarm.c.at.desc()).limit(limit)
    return [Alarm(r.id, r.at, r.code, r.text, r.parcel_id) for r in connection.execute(query)]


def unmailed(connection: Connection, limit: int) -> list[Alarm]:
    """Those nobody has cleared and no mail has told of, oldest first."""
    query = select(alarm).where(alarm.c.cleared_at.is_(None), alarm.c.mailed_at.is_(None))
    rows = connection.execute(query.order_by(alarm.c.at, alarm.c.id).limit(limit))
    return [Alarm(r.id, r.at, r.code, r.text, r.parcel_id) for r in rows]


def last_mails(connection: Connection) -> dict[str, Micros]:
    """When a mail about each code was sent last."""
    kept = connection.execute(select(meta.c.value).where(meta.c.name == _MAILS)).scalar()
    return json.loads(kept) if kept is not None else {}


def mailed(connection: Connection, code: str, ids: Sequence[str], at: Micros) -> None:
    """A mail about this code has told of these."""
    for start in range(0, len(ids), _BATCH):
        told = alarm.c.id.in_(ids[start : start + _BATCH])
        connection.execute(update(alarm).where(told).values(mailed_at=at))
    times = json.dumps({**last_mails(connection), code: at}, sort_keys=True)
    if connection.execute(update(meta).where(meta.c.name == _MAILS).values(value=times)).rowcount == 0:
        connection.execute(insert(meta).values(name=_MAILS, value=times))


def count_open(connection: Connection) -> int:
    """How many nobody has cleared."""
    return int(connection.execute(select(func.count()).where(alarm.c.cleared_at.is_(None))).scalar_one())


def clear(connection: Connection, ids: Sequence[str], at: Micros) -> None:
    """Somebody has seen to them."""
    connection.execute(update(alarm).where(alarm.c.id.in_(ids)).values(cleared_at=at))
