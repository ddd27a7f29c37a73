"""Turns: work that any node may do and one is to do at a time, lent for a while so that a node that dies holds nothing up."""

from __future__ import annotations

import json

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite

from core.clock import Micros
from core.ledger.tables import meta


def take(connection: Connection, name: str, owner: str, now: Micros, until: Micros) -> bool:
    """Have the turn called ``name`` until then; False when another has it now. Whoever has it already may take it again."""
    key = f"turn:{name}"
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    fresh = json.dumps(["", 0])
    connection.execute(
        dialect.insert(meta).values(name=key, value=fresh).on_conflict_do_nothing(index_elements=["name"])
    )
    row = connection.execute(select(meta.c.value).where(meta.c.name == key).with_for_update()).scalar_one()
    holder, ends = json.loads(row)
    if holder != owner and ends > now:
        return False
    connection.execute(update(meta).where(meta.c.name == key).values(value=json.dumps([owner, until])))
    return True


def end(connection: Connection, name: str, owner: str) -> None:
    """Give a turn back, if it is still one's own."""
    key = f"turn:{name}"
    row = connection.execute(select(meta.c.value).where(meta.c.name == key).with_for_update()).scalar()
    if row is not None and json.loads(row)[0] == owner:
        connection.execute(update(meta).where(meta.c.name == key).values(value=json.dumps(["", 0])))
