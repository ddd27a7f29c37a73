"""Pauses of deletion: a node that copies says until when nobody who shares its ledger and store may delete objects.

Rules:

1. Who deletes objects looks here *after* the commit by which nothing speaks of them any more. A copy of the ledger that began
   earlier may still speak of them, and then its pause was there before that commit.
2. A pause has an end and is renewed while it is needed: a node that dies in the middle of a backup stops nobody for long.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, delete, func, insert, select

from core.clock import Micros
from core.ledger.tables import meta

_PREFIX: Final = "deletion-pause/"
_OURS: Final = func.substr(meta.c.name, 1, len(_PREFIX)) == _PREFIX


def pause(connection: Connection, who: str, now: Micros, until: Micros) -> None:
    """Begin or renew the pause of ``who``; pauses that are over are forgotten."""
    over = [name for name, ends in _all(connection).items() if ends <= now]
    connection.execute(delete(meta).where(meta.c.name.in_([*over, _PREFIX + who])))
    connection.execute(insert(meta).values(name=_PREFIX + who, value=str(until)))


def end(connection: Connection, who: str) -> None:
    """The pause of ``who`` is over."""
    connection.execute(delete(meta).where(meta.c.name == _PREFIX + who))


def end_all(connection: Connection) -> None:
    """Whoever paused is no more: for a ledger that was restored."""
    connection.execute(delete(meta).where(_OURS))


def paused_until(connection: Connection) -> Micros:
    """When the last pause ends; 0 when there is none."""
    return max(_all(connection).values(), default=0)


def _all(connection: Connection) -> dict[str, Micros]:
    return {row.name: int(row.value) for row in connection.execute(select(meta).where(_OURS))}
