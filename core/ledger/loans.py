"""Loans: what is due is lent to systems that come for it, and what they say of it is taken back.

Rules:

1. A loan is a claim: epoch and attempts rise, and ``due_at`` becomes its end. What is said under an older epoch counts nothing.
2. Lanes are those of pushed work: urgent first, bulk never below its share.
3. What was lent as often as agreed and never acknowledged fails in the pull that would lend it again.
4. Acknowledging is what happens most: the plain case is one statement for all that a call names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from sqlalchemy import Connection, update

from core.clock import Micros
from core.delivery import Delivery, State
from core.expectation import Expectation
from core.ledger.claiming import IN_TURN
from core.ledger.deliveries import COLUMNS, of_values
from core.ledger.driver import Query
from core.ledger.lanes import RANK, by_lane
from core.ledger.tables import delivery


@dataclass(frozen=True, slots=True)
class PullClaim:
    """A pulling system asks for its own: what came by route, or what one of its subscriptions got."""

    system: str
    limit: int
    now: Micros
    until: Micros
    integrations: tuple[str, ...] = ()
    """Of these alone; of all when none is named."""
    subscription: str = ""
    ordered: bool = False
    """Whether some of it may stand in lines."""
    loans: int = 0
    """Loans after which a delivery fails instead; 0 = any number."""


@dataclass(frozen=True, slots=True)
class Lent:
    """What a pull gave, and what had been lent too often without a word and has failed."""

    deliveries: tuple[Delivery, ...]
    dead: tuple[Delivery, ...] = ()


_DUE: Final = "receiver = ? AND destination = ? AND gateway = '' AND state = 'ready' AND lane = ? AND due_at <= ?"
_UNDER: Final = (
    " AND EXISTS (SELECT 1 FROM parcel WHERE parcel.id = delivery.parcel_id AND parcel.integration IN ({ids}))"
)
_OLDEST: Final = " ORDER BY due_at LIMIT ?"
_LENT: Final = "UPDATE delivery SET epoch = epoch + 1, attempts = attempts + 1, due_at = ?, lease_owner = ?"


def _lending(named: bool, ordered: bool, dialect: str) -> Query:
    """Finding and lending in one statement, in the dialect's own way: what two nodes ask for at once, one of them gets."""
    due = _DUE + _UNDER * named + IN_TURN.replace(":now", "?") * ordered + _OLDEST
    if dialect == "sqlite":
        found = f"SELECT rowid FROM delivery WHERE {due}"  # noqa: S608 - constants only
        return Query(f"{_LENT} WHERE rowid IN ({found}) RETURNING {COLUMNS}")
    found = f"SELECT id FROM delivery WHERE {due} FOR UPDATE OF delivery SKIP LOCKED"  # noqa: S608 - constants only
    lending = f"{_LENT} WHERE id IN (SELECT id FROM found) RETURNING {COLUMNS}"  # noqa: S608 - constants only
    return Query(f"WITH found AS MATERIALIZED ({found}) {lending}")


_LEND: Final = {
    (named, ordered, dialect): _lending(named, ordered, dialect)
    for named in (False, True)
    for ordered in (False, True)
    for dialect in ("sqlite", "postgresql")
}


def claim_pull(connection: Connection, wanted: PullClaim) -> Lent:
    """Lend a pulling system's due deliveries: lanes as in `claim`, urgent first."""
    dead: list[Delivery] = []

    def take(lane: str, room: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while len(taken) < room:
            found = _lend(connection, wanted, lane, room - len(taken))
            spent = [one for one in found if wanted.loans and one.attempts > wanted.loans]
            dead.extend(spent)
            taken += [one for one in found if one not in spent]
            if not spent:
                break
        return taken

    lent = sorted(by_lane(wanted.limit, wanted.now, take), key=lambda d: (RANK[d.lane], d.id))
    if dead:
        words = {"last_code": UNACKNOWLEDGED, "last_reason": f"lent {wanted.loans} times and never acknowledged"}
        ended = {"state": State.FAILED.value, "lease_owner": "", "settled_at": wanted.now, **words}
        connection.execute(update(delivery).where(delivery.c.id.in_([d.id for d in dead])).values(**ended))
    return Lent(tuple(lent), tuple(replace(one, state=State.FAILED) for one in dead))


UNACKNOWLEDGED: Final = "unacknowledged"
"""The code of a delivery that was lent too often."""


def _lend(connection: Connection, wanted: PullClaim, lane: str, room: int) -> list[Delivery]:
    dialect = connection.dialect.name
    mine = (wanted.system, wanted.subscription, lane, wanted.now)
    last = (wanted.now, room) if wanted.ordered else (room,)
    loan = (wanted.until, wanted.system)
    values, after = ((*loan, *mine), last) if dialect == "sqlite" else (mine, (*last, *loan))
    named = {"ids": wanted.integrations} if wanted.integrations else {}
    rows = _LEND[bool(named), wanted.ordered, dialect].run(connection, values, after, **named)
    return [of_values(row) for row in rows]


# --- acknowledging ----------------------------------------------------------------------------------------------------


class Taken(NamedTuple):
    """A loan that was acknowledged."""

    parcel_id: str
    attempts: int
    line: str
    answered: tuple[Expectation, ...] = ()
    """The expectations it changed."""


_ACKNOWLEDGE: Final = Query(
    "UPDATE delivery SET state = 'delivered', lease_owner = '', deaths = 0, last_code = '', last_reason = '', settled_at = ?"
    # Named by their ids: the mailbox is compared, not looked through, however much waits in it.
    " WHERE receiver || '' = ? AND destination || '' = ? AND gateway = '' AND state = 'ready' AND epoch = ?"
    " AND id IN ({ids}) RETURNING id, parcel_id, attempts, line"
)


def acknowledge(
    connection: Connection, box: tuple[str, str], loans: Sequence[tuple[str, int]], at: Micros
) -> dict[tuple[str, int], Taken]:
    """Settle loans that stand as they were lent; by delivery and epoch. What is left out needs a closer look."""
    taken: dict[tuple[str, int], Taken] = {}
    by_epoch: dict[int, list[str]] = {}
    for name, epoch in loans:  # nearly always one: most is acknowledged under its first loan
        by_epoch.setdefault(epoch, []).append(name)
    for epoch, names in by_epoch.items():
        for row in _ACKNOWLEDGE.run(connection, (at, *box, epoch), ids=names):
            taken[row[0], epoch] = Taken(*row[1:])
    return taken
