"""Proposed configuration versions that wait for a second person: who asked, why, over which version, and what became of it.

Rules:

1. A proposal is for the version it was made over. When another has come in between, nobody has seen what it would change now.
2. Deciding and the new version are one transaction: no proposal counts twice, and none counts without being marked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import Connection, Row, func, insert, select, update

from core.clock import Micros
from core.errors import NotFound, UsageError
from core.ledger import versions
from core.ledger.tables import request
from core.ledger.versions import Version

KIND: Final = "configuration"
"""The kind of such a request, beside those for single documents."""
State = Literal["open", "approved", "rejected"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration that waits or waited. ``over`` is the version in force when it was asked for; once approved its own."""

    id: str
    asked_by: str
    asked_at: Micros
    why: str
    over: int
    content: str
    state: State = "open"
    decided_by: str = ""


def add(connection: Connection, one: Proposal, most: int) -> None:
    """Store a proposal. Raises `UsageError` when ``most`` are open already."""
    waiting = select(func.count()).where(request.c.kind == KIND, request.c.state == "open")
    if connection.execute(waiting).scalar_one() >= most:
        raise UsageError(f"{most} proposals wait for a second person already: approve or reject some of them first")
    values = {"id": one.id, "kind": KIND, "document": one.content, "decided_by": ""}
    values |= dict.fromkeys(("name", "system", "integration", "owner", "authority"), "")  # it is about a whole version
    asked = {"asked_by": one.asked_by, "asked_at": one.asked_at, "why": one.why, "config_version": one.over}
    connection.execute(insert(request).values(**values, **asked, state=one.state, reason=""))


def get(connection: Connection, name: str) -> Proposal:
    """One proposal. Raises `NotFound`."""
    row = connection.execute(select(request).where(request.c.kind == KIND, request.c.id == name)).first()
    if row is None:
        raise NotFound(f"no proposal is called {name!r}; `stafet approve` lists those that wait")
    return _of(row)


def waiting(connection: Connection) -> Sequence[Proposal]:
    """Those that nobody has decided, the oldest first."""
    query = select(request).where(request.c.kind == KIND, request.c.state == "open").order_by(request.c.asked_at)
    return [_of(row) for row in connection.execute(query)]


def _of(row: Row[tuple[object, ...]]) -> Proposal:
    return Proposal(
        row.id, row.asked_by, row.asked_at, row.why, row.config_version, row.document, row.state, row.decided_by
    )


def approve(connection: Connection, name: str, who: str, why: str, at: Micros) -> int:
    """Make a proposal the next version; gives its number. Raises `UsageError` for whoever may not, and when it is too late."""
    one = _open(connection, name)
    if one.asked_by == who[:255]:
        raise UsageError(f"proposal {name}: {who} has asked for it; somebody else must approve it")
    in_force = versions.latest_number(connection)
    if in_force != one.over:
        raise UsageError(
            f"proposal {name}: made over version {one.over}, and version {in_force} is in force; apply the directory again"
        )
    together = f"{one.asked_by}, approved by {who}"[:255]
    (number,) = versions.add(connection, [Version(0, at, together, one.why, one.content)])
    _decide(connection, name, "approved", who, why, at, number)
    return number


def reject(connection: Connection, name: str, who: str, why: str, at: Micros) -> None:
    """Say no, or take one's own back. Raises `UsageError` when it is decided already."""
    one = _open(connection, name)
    _decide(connection, name, "rejected", who, why, at, one.over)


def _open(connection: Connection, name: str) -> Proposal:
    one = get(connection, name)
    if one.state != "open":
        raise UsageError(f"proposal {name}: {one.state} by {one.decided_by} already")
    return one


def _decide(connection: Connection, name: str, state: State, who: str, why: str, at: Micros, number: int) -> None:
    """Only an open one: of two that decide at the same time the second is refused."""
    values = {"state": state, "decided_by": who[:255], "decided_at": at, "reason": why[:1024], "config_version": number}
    wanted = update(request).where(request.c.id == name, request.c.state == "open").values(**values)
    if connection.execute(wanted).rowcount != 1:
        raise UsageError(f"proposal {name}: somebody else has decided it just now")
