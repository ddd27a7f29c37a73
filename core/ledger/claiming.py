"""Claiming: who may attempt what is due, under a lease.

Rules:

1. Each due delivery goes to one claimant, on either database; its epoch and attempts rise, and ``due_at`` becomes the end of the
   lease.
2. A lease that ended without a word is a death; after `limits.SILENT_DEATHS` of them the delivery is quarantined, because the
   work itself may be what kills.
3. A destination that is full or paused is passed over, and others get what it does not: no claim comes back short while
   something that may be attempted is due.
4. Of a line, one is attempted at a time and the oldest first: whatever stands before it and is not settled keeps it out, on every
   node. So does a later one that is still under way when an earlier one is sent again.
5. A paused destination is asked by one attempt at a time, whichever node makes it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, TextClause, bindparam, text, update

from core import limits
from core.clock import Micros
from core.delivery import OPEN_STATES, Delivery, State
from core.ledger import unreachable
from core.ledger.deliveries import COLUMNS, from_row, stands
from core.ledger.lanes import by_lane
from core.ledger.tables import delivery
from core.pace import Where

_OPEN: Final = ", ".join(f"'{s.value}'" for s in sorted(OPEN_STATES))
_DUE: Final = (
    f"SELECT id, gateway, destination FROM delivery WHERE state IN ({_OPEN})"  # noqa: S608 - constants only
    " AND lane = :lane AND due_at <= :now AND gateway <> ''"
)
IN_TURN: Final = (
    " AND (line = '' OR NOT EXISTS (SELECT 1 FROM delivery other WHERE other.line = delivery.line AND other.line <> ''"  # noqa: S608 - constants only
    " AND other.id <> delivery.id AND (other.turn > delivery.turn AND other.lease_owner <> '' AND other.due_at > :now"
    f" OR other.turn < delivery.turn AND {stands('other')})))"
)
"""Whether nothing before it in its line keeps it waiting, as SQL."""
_FIRST: Final = " ORDER BY due_at LIMIT :limit"
_ELSEWHERE: Final = " AND gateway || ' ' || destination NOT IN :full"
_THERE: Final = " AND gateway = :gateway AND destination = :destination"
_TAKE: Final = text(
    "UPDATE delivery SET epoch = epoch + 1, attempts = attempts + 1, due_at = :until,"  # noqa: S608 - constants only
    " deaths = CASE WHEN lease_owner = '' THEN 0 ELSE deaths + 1 END, lease_owner = :owner"
    f" WHERE id IN :ids RETURNING {COLUMNS}, deaths"
).bindparams(bindparam("ids", expanding=True))


def _due(condition: str, dialect: str) -> TextClause:
    locking = " FOR UPDATE SKIP LOCKED" if dialect == "postgresql" else ""
    made = text(_DUE + condition + IN_TURN + _FIRST + locking)
    return made.bindparams(bindparam("full", expanding=True)) if ":full" in condition else made


_SELECT: Final = {
    (condition, dialect): _due(condition, dialect)
    for condition in ("", _ELSEWHERE, _THERE)
    for dialect in ("sqlite", "postgresql")
}


def _no_limit(_where: Where) -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for due work: how much, for whom, until when."""

    limit: int
    owner: str
    now: Micros
    until: Micros
    full: frozenset[Where] = frozenset()
    """Destinations that get nothing."""
    room: Callable[[Where], int | None] = _no_limit
    """How much each of the others may get; None for any number."""
    probe: Where | None = None
    """One attempt to see whether this paused destination is back, and nothing else."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim gave, what it found too dangerous to give, and the destinations that may have more waiting."""

    deliveries: tuple[Delivery, ...]
    quarantined: tuple[Delivery, ...] = ()
    held_back: frozenset[Where] = frozenset()


def claim(connection: Connection, wanted: Claim) -> Claimed:
    """Take due deliveries under a lease."""
    taking = _Taking(connection, wanted)
    taken = by_lane(wanted.limit, wanted.now, taking.lane)
    dangerous = [row for row in taken if row.deaths >= limits.SILENT_DEATHS]
    if dangerous:
        connection.execute(
            update(delivery)
            .where(delivery.c.id.in_([row.id for row in dangerous]))
            .values(
                state=State.QUARANTINED.value,
                lease_owner="",
                last_code="died",
                last_reason="its attempts killed the process",
            )
        )
    ill = {row.id for row in dangerous}
    return Claimed(
        tuple(from_row(row) for row in taken if row.id not in ill),
        tuple(replace(from_row(row), state=State.QUARANTINED) for row in dangerous),
        frozenset(taking.full),
    )


class _Taking:
    """One claim while it is made: what each destination has left."""

    def __init__(self, connection: Connection, wanted: Claim) -> None:
        self._connection, self._wanted = connection, wanted
        self.full = set(wanted.full)
        self._left: dict[Where, int | None] = {}

    def lane(self, lane: str, room: int) -> list[Row[Any]]:
        """As much of a lane as there is room for, and less only when nothing more of it may be attempted."""
        taken: list[Row[Any]] = []
        while len(taken) < room:
            found = self._look(lane, room - len(taken))
            mine = [row.id for row in found if self._fits((row.gateway, row.destination))]
            if mine:
                taken += self._take(mine)
            if len(mine) == len(found):  # nobody was full: what there is has been seen
                break
        return taken

    def _look(self, lane: str, limit: int) -> list[Row[Any]]:
        wanted = self._wanted
        values: dict[str, Any] = {"now": wanted.now, "lane": lane, "limit": limit}
        condition = ""
        if wanted.probe is not None:
            condition = _THERE
            values |= dict(zip(("gateway", "destination"), wanted.probe, strict=True))
        elif self.full:
            condition = _ELSEWHERE
            values["full"] = [f"{gateway} {destination}" for gateway, destination in sorted(self.full)]
        found = list(self._connection.execute(_SELECT[condition, self._connection.dialect.name], values))
        if found and wanted.probe is not None:  # by one node alone
            mine = unreachable.take_probe(self._connection, wanted.probe, wanted.now)
            return found if mine else []
        return found

    def _fits(self, where: Where) -> bool:
        if where in self.full:
            return False
        left = self._left[where] if where in self._left else self._wanted.room(where)
        if left is None:
            return True
        if left <= 0:
            self.full.add(where)
            return False
        self._left[where] = left - 1
        return True

    def _take(self, ids: list[str]) -> list[Row[Any]]:
        values = {"until": self._wanted.until, "owner": self._wanted.owner, "ids": ids}
        return list(self._connection.execute(_TAKE, values))
