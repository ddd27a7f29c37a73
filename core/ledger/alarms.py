"""Alarms: what people must look at, kept until somebody clears it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, exists, func, insert, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from core.clock import Micros
from core.ledger.tables import alarm, delivery, meta, parcel

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


# --- for whom an alarm is ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """Which open alarms; what is left empty matches everything. ``before`` is the time and id a page ended with.

    ``systems`` (None = all) are those of whoever asks: theirs are the alarms about what they sent, and about what went to them
    alone. Of what others get as well the words may name the others.
    """

    code: str = ""
    parcel_id: str = ""
    systems: frozenset[str] | None = None
    before: tuple[Micros, str] | None = None


def find(connection: Connection, asked: Asked, limit: int) -> list[Alarm]:
    """Those nobody has cleared, the newest first."""
    query = select(alarm).where(alarm.c.cleared_at.is_(None), *_theirs(asked.systems))
    if asked.code:
        query = query.where(alarm.c.code == asked.code)
    if asked.parcel_id:
        query = query.where(alarm.c.parcel_id == asked.parcel_id)
    if asked.before is not None:
        at, name = asked.before
        query = query.where(or_(alarm.c.at < at, and_(alarm.c.at == at, alarm.c.id < name)))
    rows = connection.execute(query.order_by(alarm.c.at.desc(), alarm.c.id.desc()).limit(limit))
    return [Alarm(r.id, r.at, r.code, r.text, r.parcel_id) for r in rows]


def clear_theirs(connection: Connection, ids: Sequence[str], at: Micros, systems: frozenset[str] | None) -> list[str]:
    """The same as `clear`, of those that are theirs; gives these, with those that somebody has cleared already."""
    query = select(alarm.c.id).where(alarm.c.id.in_(ids), *_theirs(systems))
    mine = sorted(connection.execute(query).scalars())
    still = alarm.c.id.in_(mine) & alarm.c.cleared_at.is_(None)
    connection.execute(update(alarm).where(still).values(cleared_at=at))
    return mine


def _theirs(systems: frozenset[str] | None) -> list[ColumnElement[bool]]:
    if systems is None:
        return []
    named = sorted(systems)
    of_it = delivery.c.parcel_id == alarm.c.parcel_id
    sent = exists().where(parcel.c.id == alarm.c.parcel_id, parcel.c.sender.in_(named))
    gets, others = exists().where(of_it, delivery.c.receiver.in_(named)), delivery.c.receiver.not_in(named)
    return [or_(sent, and_(gets, ~exists().where(of_it, others)))]
