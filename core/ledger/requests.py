"""What is asked over the API and waits for a person: service agreements and subscriptions, until they are decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, func, insert, or_, select, update

from core.clock import Micros
from core.ledger.proposals import KIND as PROPOSAL
from core.ledger.tables import request


class RequestState(StrEnum):
    """Where a request has come."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"


@dataclass(frozen=True, slots=True)
class Request:
    """One request. ``document`` is what is asked for as JSON, "" for the removal of the document called ``name``."""

    id: str
    kind: str
    name: str
    document: str
    system: str
    integration: str
    owner: str
    """The authority that decided about the integration when it was asked."""
    asked_by: str
    authority: str
    asked_at: Micros
    why: str
    state: RequestState = RequestState.PENDING
    decided_by: str = ""
    decided_at: Micros | None = None
    reason: str = ""
    config_version: int = 0

    @property
    def removes(self) -> bool:
        """Whether a document shall go."""
        return not self.document


_COLUMNS: Final = tuple(request.c)
_ASKED: Final = request.c.kind != PROPOSAL
"""Requests alone: proposals of whole versions lie in the same table, with states of their own (`core.ledger.proposals`)."""


def _from_row(row: Row[Any]) -> Request:
    values = dict(row._mapping)
    values["state"] = RequestState(values["state"])
    return Request(**values)


def add(connection: Connection, item: Request) -> None:
    """Store a request."""
    values = {name: getattr(item, name) for name in Request.__dataclass_fields__}
    connection.execute(insert(request).values(values | {"state": item.state.value, "why": item.why[:1024]}))


def pending_of(connection: Connection, asked_by: str) -> int:
    """How many requests of one asker wait."""
    query = select(func.count()).select_from(request)
    mine = query.where(request.c.asked_by == asked_by, request.c.state == RequestState.PENDING.value)
    return int(connection.execute(mine).scalar_one())


def get(connection: Connection, name: str) -> Request | None:
    """One request."""
    row = connection.execute(select(*_COLUMNS).where(request.c.id == name, _ASKED)).first()
    return _from_row(row) if row else None


def hold(connection: Connection, name: str) -> Request | None:
    """One request, which nobody else decides until this transaction ends."""
    row = connection.execute(select(*_COLUMNS).where(request.c.id == name, _ASKED).with_for_update()).first()
    return _from_row(row) if row else None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which requests: what one asked, or has to decide (``owners``); ``everything`` for who may see all."""

    asked_by: str = ""
    owners: tuple[str, ...] = ()
    everything: bool = False
    state: RequestState | None = None
    before: str = ""
    """The id that the page before ended with."""


def find(connection: Connection, wanted: Wanted, limit: int) -> Sequence[Request]:
    """The newest first."""
    query = select(*_COLUMNS).where(_ASKED).order_by(request.c.id.desc()).limit(limit)
    if not wanted.everything:
        mine: list[ColumnElement[bool]] = [request.c.asked_by == wanted.asked_by]
        if wanted.owners:
            mine.append(request.c.owner.in_(wanted.owners))
        query = query.where(or_(*mine))
    if wanted.state is not None:
        query = query.where(request.c.state == wanted.state.value)
    if wanted.before:
        query = query.where(request.c.id < wanted.before)
    return [_from_row(row) for row in connection.execute(query)]


def beginning(connection: Connection, text: str, limit: int) -> Sequence[str]:
    """Ids that begin so."""
    query = select(request.c.id).where(request.c.id.startswith(text, autoescape=True), _ASKED).limit(limit)
    return list(connection.execute(query).scalars())


@dataclass(frozen=True, slots=True)
class Decision:
    """What somebody made of a request."""

    request: str
    state: RequestState
    by: str
    at: Micros
    reason: str


def decide(connection: Connection, decision: Decision, config_version: int) -> None:
    """Write a decision about a request that `hold` has shown to be pending."""
    values = {"state": decision.state.value, "decided_by": decision.by[:255], "decided_at": decision.at}
    values |= {"reason": decision.reason[:1024], "config_version": config_version}
    connection.execute(update(request).where(request.c.id == decision.request).values(**values))
