"""Value lists in the ledger: keyed digests by list, and a version that moves with every change, so that nodes know when to look.

Rule: what is written here came through `core.lists.digest`; nothing in these tables says who is on a list.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection, delete, func, insert, select, update

from core.ledger.driver import Insert
from core.ledger.tables import list_value, meta, value_list

_VALUE: Final = Insert(list_value, ("list", "digest"), unless_there=True)
_KEY: Final = "value-list-key"


@dataclass(frozen=True, slots=True)
class Changed:
    """What a change came to: values that were new, values that were there, and the version before and after."""

    added: int
    removed: int
    before: int
    after: int


def version(connection: Connection, list_id: str) -> int:
    """A list's version, 0 for one that never had a value."""
    found = connection.execute(select(value_list.c.version).where(value_list.c.id == list_id)).scalar()
    return int(found or 0)


def versions(connection: Connection) -> dict[str, int]:
    """The versions of all lists that ever had a value."""
    return {row.id: int(row.version) for row in connection.execute(select(value_list))}


def count(connection: Connection, list_id: str) -> int:
    """How many values are on a list."""
    query = select(func.count()).select_from(list_value).where(list_value.c.list == list_id)
    return int(connection.execute(query).scalar_one())


def contains(connection: Connection, list_id: str, digest: bytes) -> bool:
    """Whether a value is on a list."""
    query = select(list_value.c.digest).where(list_value.c.list == list_id, list_value.c.digest == digest)
    return connection.execute(query).first() is not None


def load(connection: Connection, list_id: str) -> tuple[int, frozenset[bytes]]:
    """A list's version and all digests of it. The version is read first: what comes between is seen again at the next."""
    at = version(connection, list_id)
    query = select(list_value.c.digest).where(list_value.c.list == list_id)
    found = connection.execution_options(yield_per=10_000).execute(query).scalars()
    return at, frozenset(bytes(digest) for digest in found)


def change(
    connection: Connection, list_id: str, check: str, added: Sequence[bytes], removed: Sequence[bytes], moves: bool
) -> Changed | None:
    """Add and remove values; None, and nothing is changed, when those here are under another key than the one ``check`` tells of.

    Without ``moves`` the version stays: more of the same change follows.
    """
    if added and not _claim(connection, check):
        return None
    new = _VALUE.run(connection, [(list_id, digest) for digest in added])
    query = delete(list_value).where(list_value.c.list == list_id, list_value.c.digest.in_(removed))
    gone = connection.execute(query).rowcount if removed else 0
    before = version(connection, list_id)
    if not moves:
        return Changed(new, gone, before, before)
    if before:
        connection.execute(update(value_list).where(value_list.c.id == list_id).values(version=before + 1))
    else:
        connection.execute(insert(value_list).values(id=list_id, version=1))
    return Changed(new, gone, before, before + 1)


def key_check(connection: Connection) -> str:
    """What tells the key of all values here from another, "" when there are none."""
    if connection.execute(select(list_value.c.list).limit(1)).first() is None:
        return ""
    return str(connection.execute(select(meta.c.value).where(meta.c.name == _KEY)).scalar_one())


def _claim(connection: Connection, check: str) -> bool:
    """Whether values under this key may be written: there are none, or they are under it too."""
    if found := key_check(connection):
        return found == check
    connection.execute(delete(meta).where(meta.c.name == _KEY))
    connection.execute(insert(meta).values(name=_KEY, value=check))
    return True
