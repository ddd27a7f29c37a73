"""The trace: an append-only, hash-chained list of what happened to each parcel [design §5].

Rules:

1. One chain per writer (node and boot): no lock is shared. A checkpoint of all heads is signed now and then.
2. An entry's hash covers the one before it, its public part, and a salted commitment to any personal part: erasing salt and
   personal part leaves the chain verifiable.
3. Leases are counted, not traced.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, select, update

from core.clock import Micros
from core.ledger.driver import Insert
from core.ledger.tables import trace

GENESIS: Final = b"\x00" * 32
COLUMNS: Final = ("chain", "seq", "parcel_id", "at", "event", "public", "commitment", "salt", "personal", "hash")
"""The order of what `Chain.rows` gives."""
_INSERT: Final = Insert(trace, COLUMNS)


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. ``facts`` are public and safe; ``personal`` is sealed octets that erasure may remove."""

    parcel_id: str
    at: Micros
    event: str
    facts: Mapping[str, Any]
    personal: bytes = b""


class Written(NamedTuple):
    """An entry whose public part is written already, as `alike` does for many that differ little."""

    parcel_id: str
    at: Micros
    event: str
    public: str
    personal: bytes = b""


def canonical(parcel_id: str, at: Micros, event: str, facts: Mapping[str, Any]) -> str:
    """The public part as one JSON text, the same whoever writes it."""
    return json.dumps([parcel_id, at, event, facts], sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def alike(at: Micros, event: str, facts: Mapping[str, Any], number: str) -> Callable[[str, int], Written]:
    """What makes entries of one event whose facts are the same but for the parcel and one ``number``.

    Each is, octet for octet, what `canonical` would write: the text around the two is cut out of what it writes.
    """
    wanted = canonical(_PLACE, at, event, {**facts, number: _HOLE})
    before, _, rest = wanted.partition(json.dumps(_PLACE))
    middle, _, after = rest.partition(json.dumps(_HOLE))

    def make(parcel_id: str, value: int) -> Written:
        name = f'"{parcel_id}"' if parcel_id.isalnum() else json.dumps(parcel_id, ensure_ascii=False)
        return Written(parcel_id, at, event, f"{before}{name}{middle}{value}{after}")

    return make


_PLACE: Final = "\x00parcel\x00"
_HOLE: Final = "\x00number\x00"
"""Nothing that the ledger holds has such a text: PostgreSQL has no room for it."""


def link(previous: bytes, public: str, commitment: bytes) -> bytes:
    """The hash of an entry."""
    return hashlib.sha256(previous + public.encode() + commitment).digest()


class Chain:
    """The head of this writer's chain; lives in the writer's thread."""

    def __init__(self, name: str) -> None:
        self.name, self.seq, self.head = name, 0, GENESIS

    def rows(self, entries: Iterable[Entry | Written]) -> tuple[list[tuple[Any, ...]], int, bytes]:
        """Rows for ``entries`` and the head they lead to; `advance` once they are committed."""
        rows, seq, head = [], self.seq, self.head
        for entry in entries:
            if isinstance(entry, Written):
                public = entry.public
            else:
                public = canonical(entry.parcel_id, entry.at, entry.event, entry.facts)
            salt = os.urandom(16) if entry.personal else b""
            commitment = hashlib.sha256(salt + entry.personal).digest() if entry.personal else b""
            seq, head = seq + 1, link(head, public, commitment)
            named = (self.name, seq, entry.parcel_id, entry.at, entry.event, public)
            rows.append((*named, commitment, salt or None, entry.personal or None, head))
        return rows, seq, head

    def advance(self, seq: int, head: bytes) -> None:
        """The rows up to ``seq`` are committed."""
        self.seq, self.head = seq, head


def append(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    """Write rows made by `Chain.rows`."""
    _INSERT.run(connection, rows)


@dataclass(frozen=True, slots=True)
class Line:
    """An entry as read back."""

    chain: str
    seq: int
    at: Micros
    event: str
    facts: dict[str, Any]


def of_parcel(connection: Connection, parcel_id: str) -> list[Line]:
    """A parcel's entries in the order of time."""
    query = select(trace).where(trace.c.parcel_id == parcel_id).order_by(trace.c.at, trace.c.chain, trace.c.seq)
    return [Line(r.chain, r.seq, r.at, r.event, json.loads(r.public)[3]) for r in connection.execute(query)]


def verify_chain(connection: Connection, chain: str) -> str | None:
    """None when the chain is whole, else where and why it is not, in words."""
    head = GENESIS
    query = select(trace).where(trace.c.chain == chain).order_by(trace.c.seq)
    for expected, row in enumerate(connection.execute(query.execution_options(yield_per=1000)), start=1):
        if row.seq != expected:
            return f"entry {expected} is missing"
        if row.personal is not None and hashlib.sha256((row.salt or b"") + row.personal).digest() != row.commitment:
            return f"entry {row.seq}: its personal part is not what it committed to"
        if not _says(row.public, [row.parcel_id, row.at, row.event]):
            return f"entry {row.seq}: its columns differ from what was hashed"
        head = link(head, row.public, row.commitment)
        if head != row.hash:
            return f"entry {row.seq}: the hash does not follow from the one before"
    return None


def _says(public: str, columns: list[Any]) -> bool:
    try:
        said = json.loads(public)
    except ValueError:
        return False
    return isinstance(said, list) and len(said) == 4 and said[:3] == columns


def chains(connection: Connection) -> list[str]:
    """All chains there are."""
    return list(connection.execute(select(trace.c.chain).distinct()).scalars())


def erase_personal(connection: Connection, parcel_id: str) -> None:
    """Remove the personal parts of a parcel's entries; the chain stays verifiable."""
    connection.execute(update(trace).where(trace.c.parcel_id == parcel_id).values(personal=None, salt=None))
