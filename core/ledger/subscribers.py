"""When the system of each subscription last came for its mail, and how long what is there has waited for it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects import postgresql, sqlite

from core.clock import Micros
from core.delivery import State
from core.ledger.tables import delivery, subscriber


def came(connection: Connection, subscription: str, at: Micros) -> None:
    """Its system asked for mail. What was noted by another node with a later time stays."""
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(subscriber).values(subscription=subscription, came_at=at)
    later = statement.excluded.came_at > subscriber.c.came_at
    changed = statement.on_conflict_do_update(
        index_elements=["subscription"], set_={"came_at": statement.excluded.came_at}, where=later
    )
    connection.execute(changed)


def last(connection: Connection) -> dict[str, Micros]:
    """When each subscription's system last came; one that never did is left out."""
    return {row.subscription: row.came_at for row in connection.execute(select(subscriber))}


def waiting_since(connection: Connection, system: str, subscription: str, now: Micros) -> Micros | None:
    """Since when the oldest of what waits for it has been ready to be lent; None when nothing is."""
    query = select(func.min(delivery.c.due_at)).where(
        delivery.c.receiver == system,
        delivery.c.destination == subscription,
        delivery.c.gateway == "",
        delivery.c.state == State.READY.value,
        delivery.c.due_at <= now,
    )
    found: Micros | None = connection.execute(query).scalar()
    return found
