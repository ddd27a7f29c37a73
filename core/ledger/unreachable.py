"""Pauses: destinations that could not be reached, known to all nodes and after every restart.

Rule: a pause is begun once, whoever notices, and its probes are handed to one node at a time.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Connection, and_, case, delete, func, select, update

from core import limits
from core.clock import Micros
from core.delivery import OPEN_STATES
from core.ledger.driver import Insert
from core.ledger.tables import delivery, pause
from core.pace import Pause, Where, pause_length

_BEGIN: Final = Insert(
    pause, ("gateway", "destination", "since", "probe_at", "number", "code", "reason"), unless_there=True
)


def _at(where: Where) -> Any:
    return and_(pause.c.gateway == where[0], pause.c.destination == where[1])


def begin(connection: Connection, wanted: Pause) -> bool:
    """Pause a destination; False when it is paused already."""
    row = (*wanted.where, wanted.since, wanted.probe_at, wanted.number, wanted.code[:64], wanted.reason[:1024])
    return _BEGIN.run(connection, [row]) == 1


def lengthen(connection: Connection, where: Where, now: Micros, code: str, reason: str, at_least: Micros) -> None:
    """It was asked and has not answered."""
    found = connection.execute(select(pause.c.number).where(_at(where))).scalar_one_or_none()
    if found is not None:
        number = found + 1
        values = {"number": number, "probe_at": now + max(pause_length(number), at_least)}
        connection.execute(update(pause).where(_at(where)).values(**values, code=code[:64], reason=reason[:1024]))


def ask_again(connection: Connection, where: Where, at: Micros) -> None:
    """The attempt that should have asked it came to nothing: another may."""
    connection.execute(update(pause).where(_at(where)).values(probe_at=at))


def end(connection: Connection, where: Where) -> bool:
    """It has answered; False when it was not paused any more."""
    return connection.execute(delete(pause).where(_at(where))).rowcount == 1


def take_probe(connection: Connection, where: Where, now: Micros) -> bool:
    """Whether the caller may ask it now; others may not for a while."""
    mine = update(pause).where(_at(where), pause.c.probe_at <= now).values(probe_at=now + limits.PROBE)
    return connection.execute(mine).rowcount == 1


def probe_all(connection: Connection, now: Micros) -> None:
    """Everything may have changed: each may be asked at once."""
    connection.execute(update(pause).where(pause.c.probe_at > now).values(probe_at=now))


def all_paused(connection: Connection) -> list[Pause]:
    """Every destination that is paused."""
    rows = connection.execute(select(pause).order_by(pause.c.gateway, pause.c.destination))
    return [Pause((r.gateway, r.destination), r.since, r.probe_at, r.number, r.code, r.reason) for r in rows]


def waiting(connection: Connection) -> dict[Where, int]:
    """How many open deliveries each destination has; a system that pulls counts under its own name, without a gateway."""
    where = case((delivery.c.gateway == "", delivery.c.receiver), else_=delivery.c.destination).label("where")
    query = select(delivery.c.gateway, where, func.count()).where(
        delivery.c.state.in_([state.value for state in OPEN_STATES])
    )
    return {(row[0], row[1]): row[2] for row in connection.execute(query.group_by(delivery.c.gateway, where))}
