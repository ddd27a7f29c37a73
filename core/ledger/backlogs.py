"""What waits for a subscription, is lent to its system, or has become a dead letter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, text

from core.clock import Micros
from core.delivery import Delivery, State
from core.ledger.deliveries import COLUMNS, from_row

# Constants stand in the text: an index of a part of the table is used only where its condition can be read.
_OWN: Final = "receiver = :system AND destination = :subscription AND gateway = ''"
_READY: Final = f"{_OWN} AND state = 'ready'"
_DEAD: Final = (
    "receiver = :system AND destination = :subscription AND destination <> '' AND gateway = ''"
    " AND state IN ('failed', 'quarantined')"
)
_WAITING: Final = text(
    "SELECT lane, count(*) AS found, min(due_at) AS oldest FROM"  # noqa: S608 - constants only
    f" (SELECT lane, due_at FROM delivery WHERE {_READY} LIMIT :most) AS counted GROUP BY lane"
)
_LENT: Final = text(f"SELECT count(*) FROM delivery WHERE {_READY} AND due_at > :now AND lease_owner <> ''")  # noqa: S608
_DEAD_COUNT: Final = text(
    f"SELECT count(*) FROM (SELECT 1 FROM delivery WHERE {_DEAD} LIMIT :most) AS counted"  # noqa: S608 - constants only
)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How much of what; ``oldest`` is since when the first of it could have been lent. ``more``: not all of it was counted."""

    waiting: Mapping[str, int] = field(default_factory=dict)
    """By lane, what is lent included."""
    lent: int = 0
    dead: int = 0
    oldest: Micros | None = None
    more: bool = False


def of_subscription(connection: Connection, system: str, subscription: str, now: Micros, most: int) -> Backlog:
    """What one subscription has, counted up to ``most`` of each kind."""
    named: dict[str, Any] = {"system": system, "subscription": subscription}
    rows = list(connection.execute(_WAITING, named | {"most": most + 1}))
    lent = int(connection.execute(_LENT, named | {"now": now}).scalar_one())
    dead = int(connection.execute(_DEAD_COUNT, named | {"most": most + 1}).scalar_one())
    waiting = {row.lane: int(row.found) for row in rows}
    oldest = min((row.oldest for row in rows if row.oldest <= now), default=None)
    return Backlog(waiting, lent, min(dead, most), oldest, sum(waiting.values()) > most or dead > most)


_LETTERS: Final = text(
    f"SELECT {COLUMNS}, last_code, last_reason, settled_at FROM delivery"  # noqa: S608 - constants only
    f" WHERE {_DEAD} AND id > :after ORDER BY id LIMIT :limit"
)
_NAMED: Final = text(
    f"SELECT {COLUMNS}, last_code, last_reason, settled_at FROM delivery WHERE {_DEAD} AND id IN :ids"  # noqa: S608
).bindparams(bindparam("ids", expanding=True))


def dead_letters(connection: Connection, system: str, subscription: str, after: str, limit: int) -> Sequence[Row[Any]]:
    """Dead letters after an id, oldest first, each with its last code and reason."""
    values = {"system": system, "subscription": subscription, "after": after, "limit": limit}
    return list(connection.execute(_LETTERS, values))


def named(connection: Connection, system: str, subscription: str, ids: Sequence[str]) -> Sequence[Row[Any]]:
    """Those of these that are dead letters of it."""
    values = {"system": system, "subscription": subscription, "ids": list(ids)}
    return list(connection.execute(_NAMED, values)) if ids else []


_DISCARD: Final = text(
    "UPDATE delivery SET state = :rejected, last_code = :code, last_reason = :reason, settled_at = :at"  # noqa: S608
    f" WHERE {_DEAD} AND id IN :ids RETURNING {COLUMNS}"
).bindparams(bindparam("ids", expanding=True))


def discard(
    connection: Connection, box: tuple[str, str], ids: Sequence[str], reason: str, at: Micros
) -> Sequence[Delivery]:
    """Its system will never take these dead letters; gives those it was said of."""
    values: dict[str, Any] = {"system": box[0], "subscription": box[1], "ids": list(ids), "at": at}
    values |= {"rejected": State.REJECTED.value, "code": DISCARDED, "reason": reason[:1024]}
    return [from_row(row) for row in connection.execute(_DISCARD, values)] if ids else []


DISCARDED: Final = "discarded"
"""The code of a dead letter that its system does not want."""


_BOXES: Final = text(
    "SELECT DISTINCT receiver, destination FROM delivery WHERE gateway = '' AND state = 'ready' AND destination <> ''"
)
_LEFT: Final = text(
    "UPDATE delivery SET state = :rejected, last_code = :code, last_reason = :reason, settled_at = :at, lease_owner = ''"  # noqa: S608
    f" WHERE id IN (SELECT id FROM delivery WHERE {_READY} AND id < :before LIMIT :limit) RETURNING {COLUMNS}"
)


def boxes(connection: Connection) -> Sequence[tuple[str, str]]:
    """Every system and subscription for which something waits."""
    return [(row.receiver, row.destination) for row in connection.execute(_BOXES)]


def let_go(connection: Connection, box: tuple[str, str], before: str, at: Micros, limit: int) -> Sequence[Delivery]:
    """Nobody can fetch some of what waits for a subscription that is gone, older than an id; gives it."""
    values: dict[str, Any] = {"system": box[0], "subscription": box[1], "before": before, "at": at, "limit": limit}
    values |= {"rejected": State.REJECTED.value, "code": ABANDONED, "reason": "its subscription is gone"}
    return [from_row(row) for row in connection.execute(_LEFT, values)]


ABANDONED: Final = "abandoned"
"""The code of what waited for a subscription that is gone."""
