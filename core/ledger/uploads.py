"""Uploads: what a system sends in pieces before it hands it over, with the objects that hold what came so far.

Rules:

1. An upload is its system's alone; for any other it is not there. One whose time is over is there for nobody.
2. What came counts once its row says so, and it grows only from the offset that the writer saw: of two that write at once, one
   is told to look again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, update

from core.clock import Micros
from core.ledger.tables import upload


@dataclass(frozen=True, slots=True)
class Piece:
    """An object of the store that holds the next ``size`` octets."""

    object_id: str
    size: int


@dataclass(frozen=True, slots=True)
class Upload:
    """``received`` of ``size`` octets are durable, in ``pieces``, sealed under the data key."""

    id: str
    system: str
    name: str
    media_type: str
    size: int
    received: int
    key_id: str
    wrapped_key: bytes
    pieces: tuple[Piece, ...]
    expires_at: Micros

    @property
    def finished(self) -> bool:
        """Whether all of it has come."""
        return self.received == self.size


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one system may have under way."""

    count: int
    octets: int


def add(connection: Connection, item: Upload, bounds: Bounds, now: Micros) -> str:
    """Begin an upload. Gives why its system may not begin another, or ""."""
    mine = select(func.count(), func.coalesce(func.sum(upload.c.size), 0))
    count, octets = connection.execute(mine.where(upload.c.system == item.system, upload.c.expires_at > now)).one()
    if count >= bounds.count:
        return f"uploads: {count} are under way, which is the most; finish or delete one"
    if octets + item.size > bounds.octets:
        return f"uploads: together they would hold more than {bounds.octets} octets; finish or delete one"
    values: dict[str, Any] = {"id": item.id, "system": item.system, "name": item.name, "media_type": item.media_type}
    values |= {"size": item.size, "received": item.received, "expires_at": item.expires_at}
    keys = {"key_id": item.key_id, "wrapped_key": item.wrapped_key}
    connection.execute(insert(upload).values(**values, **keys, objects=_written(item.pieces)))
    return ""


def _written(pieces: Sequence[Piece]) -> str:
    return json.dumps([[one.object_id, one.size] for one in pieces])


def _read(text: str) -> tuple[Piece, ...]:
    return tuple(Piece(object_id, size) for object_id, size in json.loads(text))


def get(connection: Connection, upload_id: str, system: str, now: Micros) -> Upload | None:
    """One of a system's uploads."""
    mine = (upload.c.id == upload_id, upload.c.system == system, upload.c.expires_at > now)
    r = connection.execute(select(upload).where(*mine)).first()
    if r is None:
        return None
    facts = (r.id, r.system, r.name, r.media_type, r.size, r.received, r.key_id, r.wrapped_key)
    return Upload(*facts, _read(r.objects), r.expires_at)


def append(connection: Connection, old: Upload, pieces: Sequence[Piece], expires_at: Micros) -> bool:
    """These came after what ``old`` has; False when it has moved on or is gone."""
    received = old.received + sum(one.size for one in pieces)
    there = update(upload).where(upload.c.id == old.id, upload.c.received == old.received)
    values = {"received": received, "objects": _written((*old.pieces, *pieces)), "expires_at": expires_at}
    return connection.execute(there.values(**values)).rowcount == 1


def remove(connection: Connection, upload_id: str) -> list[str]:
    """Forget an upload; gives the objects that nobody needs any more."""
    gone = connection.execute(delete(upload).where(upload.c.id == upload_id).returning(upload.c.objects)).scalar()
    return [one.object_id for one in _read(gone)] if gone is not None else []


def expire(connection: Connection, now: Micros) -> tuple[int, list[str]]:
    """Forget those whose time is over; gives how many, and the objects that nobody needs any more."""
    over = delete(upload).where(upload.c.expires_at <= now).returning(upload.c.objects)
    gone = list(connection.execute(over).scalars())
    return len(gone), [one.object_id for text in gone for one in _read(text)]


def objects(connection: Connection) -> set[str]:
    """All objects that uploads refer to."""
    texts = connection.execute(select(upload.c.objects).where(upload.c.objects != "[]")).scalars()
    return {one.object_id for text in texts for one in _read(text)}


def under_older_keys(connection: Connection, current: str, limit: int) -> list[Row[Any]]:
    """Uploads whose data key is wrapped under another key-encryption key than ``current``."""
    query = select(upload.c.id, upload.c.wrapped_key, upload.c.key_id).where(upload.c.key_id != current)
    return list(connection.execute(query.limit(limit)))


def rewrap(connection: Connection, rows: Sequence[tuple[str, bytes, str]]) -> None:
    """Store data keys wrapped anew: (upload id, wrapped key, key id)."""
    for upload_id, wrapped, key_id in rows:
        connection.execute(update(upload).where(upload.c.id == upload_id).values(wrapped_key=wrapped, key_id=key_id))
