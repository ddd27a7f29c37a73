"""Expected receipts: kept from acceptance on, answered by evidence, found when their time is over.

Rules:

1. A row is written in the transaction that accepts its parcel, and changed in the one that records the evidence.
2. Which functions a system serves is asked of the newest configuration version, in that same transaction: whoever serves a
   function when the receipt comes may give it.
3. Of several nodes that find one overdue, one changes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, select, update

from core.clock import Micros
from core.expectation import UNANSWERED, Event, Expectation, State, advance, heard
from core.ledger.driver import Insert, Select, Update
from core.ledger.tables import config_version, expectation, parcel
from core.receipt import Level, Verdict
from core.system import RESIDUAL

_COLUMNS: Final = ("id", "parcel_id", "level", "kind", "name", "due_at", "state")
_INSERT: Final = Insert(expectation, _COLUMNS)
_SELECT: Final = Select(expectation, _COLUMNS, "parcel_id", locking=True)
_UPDATE: Final = Update(expectation, ("state", "met_at"), "id")


@dataclass(frozen=True, slots=True)
class Heard:
    """Evidence about a parcel: how far it got, what it says, and whose system speaks."""

    parcel_id: str
    level: Level
    verdict: Verdict
    system: str
    at: Micros


def add(connection: Connection, items: Sequence[Expectation]) -> None:
    """Store fresh expectations."""
    _INSERT.run(connection, [_values(item) for item in items])


def _values(item: Expectation) -> tuple[Any, ...]:
    return (item.id, item.parcel_id, item.level.value, item.kind, item.name, item.due_at, item.state.value)


def _of_values(row: Sequence[Any]) -> Expectation:
    name, parcel_id, level, kind, of, due_at, state = row
    return Expectation(name, parcel_id, Level(level), kind, of, due_at, State(state))


def answer(connection: Connection, evidence: Sequence[Heard]) -> list[list[Expectation]]:
    """Change what each piece of evidence answers; gives what it changed."""
    rows = _SELECT.run(connection, sorted({one.parcel_id for one in evidence}))
    waiting: dict[str, list[Expectation]] = {}
    for item in sorted(map(_of_values, rows), key=lambda one: one.id):
        if item.state in UNANSWERED:
            waiting.setdefault(item.parcel_id, []).append(item)
    changed: list[list[Expectation]] = []
    final: dict[str, tuple[Any, ...]] = {}
    for one in evidence:
        mine: list[Expectation] = []
        for place, item in enumerate(waiting.get(one.parcel_id, ())):
            functions = _serving(connection).get(one.system, frozenset()) if item.kind == "function" else ()
            event = heard(item, one.level, one.verdict, one.system, functions)
            now = item.state
            if now is State.OPEN and one.at > item.due_at:
                now = State.OVERDUE  # nobody has looked since
            after = now if event is None else advance(now, event)
            if event is not None and after is not item.state:
                moved = waiting[one.parcel_id][place] = replace(item, state=after)
                mine.append(moved)
                final[moved.id] = (after.value, one.at, moved.id)
        changed.append(mine)
    if final:
        _UPDATE.run(connection, list(final.values()))
    return changed


def _serving(connection: Connection) -> Mapping[str, frozenset[str]]:
    """Which functions each system serves under the newest configuration."""
    newest = select(config_version.c.digest).order_by(config_version.c.number.desc()).limit(1)
    digest = connection.execute(newest).scalar()
    if digest is None:
        return {}
    found = _known.get(bytes(digest))
    if found is None:
        content = select(config_version.c.content).where(config_version.c.digest == digest).limit(1)
        _known.clear()
        found = _known[bytes(digest)] = _served(connection.execute(content).scalar_one())
    return found


_known: dict[bytes, Mapping[str, frozenset[str]]] = {}
"""Of the version asked last: reading one takes long."""


def _served(content: str) -> Mapping[str, frozenset[str]]:
    documents = json.loads(content)["documents"]
    return {d["id"]: frozenset(d.get("functions", ())) for d in documents if d["kind"] == "system"}


@dataclass(frozen=True, slots=True)
class Missing:
    """An expectation whose time is over, and the integration of its parcel."""

    expectation: Expectation
    integration: str


def overdue(connection: Connection, now: Micros, limit: int) -> list[Missing]:
    """Mark those whose deadline has passed; gives the ones that nobody else has marked."""
    late = (expectation.c.state == State.OPEN.value) & (expectation.c.due_at < now)
    query = select(expectation.c.id, parcel.c.integration).join(parcel, parcel.c.id == expectation.c.parcel_id)
    under = {
        r.id: r.integration for r in connection.execute(query.where(late).order_by(expectation.c.due_at).limit(limit))
    }
    if not under:
        return []
    passed = advance(State.OPEN, Event.PASSED).value
    mine = update(expectation).where(expectation.c.id.in_(list(under)), late).values(state=passed)
    rows = sorted(
        connection.execute(mine.returning(*(expectation.c[name] for name in _COLUMNS))), key=lambda row: row.id
    )
    return [Missing(_of_values(tuple(row)), under[row.id]) for row in rows]


def move(connection: Connection, parcel_id: str, receiver: str, to: Sequence[str]) -> None:
    """What was expected of a receiver that sends a parcel on is expected of whoever gets it; of nobody where nobody does."""
    of_it = (expectation.c.kind == "receiver") & (expectation.c.name == receiver)
    mine = (expectation.c.parcel_id == parcel_id) & of_it & expectation.c.state.in_([one.value for one in UNANSWERED])
    if not to:
        connection.execute(delete(expectation).where(mine))
        return
    name = to[0] if len(to) == 1 and to[0] != RESIDUAL else ""
    connection.execute(update(expectation).where(mine).values(name=name))


def of_parcel(connection: Connection, parcel_id: str) -> list[Row[Any]]:
    """What was expected for a parcel, as rows."""
    query = select(expectation).where(expectation.c.parcel_id == parcel_id).order_by(expectation.c.id)
    return list(connection.execute(query))


def forget(connection: Connection, parcels: Sequence[str]) -> int:
    """Delete what was expected for these parcels; gives how many rows."""
    return connection.execute(delete(expectation).where(expectation.c.parcel_id.in_(parcels))).rowcount
