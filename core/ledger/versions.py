"""Configuration versions: numbered, immutable, with who, when and why."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from core.clock import Micros
from core.ledger.tables import config_version


@dataclass(frozen=True, slots=True)
class Version:
    """One applied configuration. ``content`` is its canonical text."""

    number: int
    at: Micros
    who: str
    why: str
    content: str


def add(connection: Connection, batch: Sequence[Version]) -> list[int]:
    """Store versions; their ``number`` is ignored and the next free ones are given."""
    numbers = []
    for version in batch:
        number = int(connection.execute(select(func.coalesce(func.max(config_version.c.number), 0))).scalar_one()) + 1
        digest = hashlib.sha256(version.content.encode()).digest()
        values = {"number": number, "at": version.at, "who": version.who, "why": version.why}
        connection.execute(insert(config_version).values(**values, content=version.content, digest=digest))
        numbers.append(number)
    return numbers


def add_next(connection: Connection, version: Version, based_on: int) -> int | None:
    """Store a version that was made from number ``based_on``; None when that is not the newest any more."""
    if latest_number(connection) != based_on:
        return None
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    digest = hashlib.sha256(version.content.encode()).digest()
    values = {"number": based_on + 1, "at": version.at, "who": version.who, "why": version.why}
    statement = dialect.insert(config_version).values(**values, content=version.content, digest=digest)
    # Another node may be storing the same number: who waited for it finds it taken.
    mine = statement.on_conflict_do_nothing(index_elements=["number"]).returning(config_version.c.number)
    stored: int | None = connection.execute(mine).scalar_one_or_none()
    return stored


def latest_number(connection: Connection) -> int:
    """The newest version's number, 0 when there is none."""
    return int(connection.execute(select(func.coalesce(func.max(config_version.c.number), 0))).scalar_one())


def get(connection: Connection, number: int) -> Version | None:
    """One version."""
    row = connection.execute(select(config_version).where(config_version.c.number == number)).first()
    return Version(row.number, row.at, row.who, row.why, row.content) if row else None


def history(connection: Connection, limit: int = 50) -> list[Version]:
    """The newest versions first, without their content."""
    c = config_version.c
    query = select(c.number, c.at, c.who, c.why).order_by(c.number.desc()).limit(limit)
    return [Version(r.number, r.at, r.who, r.why, "") for r in connection.execute(query)]
