"""What became of what I sent: for its sender, on the sender's own question [R16, R73].

Rules:

1. Only who sent a parcel is answered, and who may see all its sender's traffic; for everybody else it does not exist.
2. One model of how far a delivery has come serves systems that pull and those that are delivered to::

       waiting ─► lent ─► fetched ─► acknowledged ─► understood
               ─► tried ─► sent ──►      │        ─► rejected
       held, failed (a dead letter where the system pulls), redistributed (its receiver sent it on: nobody calls it refused)

3. That nobody gets a parcel is an answer as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from core import limits
from core.clock import Micros
from core.delivery import State
from core.desk.page import Page
from core.desk.search import page_of
from core.errors import NotFound
from core.expectation import Expectation
from core.ledger import deliveries, expectations, search
from core.ledger.handing import wrong_here
from core.ledger.search import Asked
from core.receipt import Level
from core.runtime import Runtime
from core.system import RESIDUAL

_SETTLED = {
    State.AWAITING: "sent",
    State.HELD: "held",
    State.DELIVERED: "acknowledged",
    State.ACCEPTED: "understood",
    State.REJECTED: "rejected",
    State.FAILED: "failed",
    State.QUARANTINED: "failed",
}


@dataclass(frozen=True, slots=True)
class Receiving:
    """How far a parcel has come with one receiver. ``rule`` is the route or subscription that matched, ``subscription`` the one
    it is fetched by, "" where there is none."""

    delivery: str
    receiver: str
    subscription: str
    rule: str
    stage: str
    state: str
    attempts: int
    fetched_at: Micros | None
    settled_at: Micros | None
    dead_letter: bool
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Awaited:
    """A receipt that is or was expected. ``system`` is "" where whoever serves a function may give it."""

    level: str
    of: str
    system: str
    due_at: Micros
    state: str
    met_at: Micros | None


@dataclass(frozen=True, slots=True)
class Insight:
    """All of it. ``nobody`` says that no subscription matched; ``residual`` that no route did, and a person has to."""

    parcel_id: str
    accepted_at: Micros
    integration: str
    type: str
    sender: str
    receiving: tuple[Receiving, ...]
    awaited: tuple[Awaited, ...]
    nobody: bool
    residual: bool


class Insights:
    """The question for one ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def of(self, parcel_id: str, senders: frozenset[str] | None) -> Insight:
        """What became of a parcel of one of these senders' (None = anybody's). Raises `NotFound`, also for another's."""
        return await self._runtime.read(insight, parcel_id, senders)

    async def called(self, asked: Asked, limit: int = limits.PAGE) -> Page[Insight]:
        """What became of a page of parcels that their senders call by a name, the newest first."""
        return await self._runtime.read(called, asked, limit)


def called(connection: Connection, asked: Asked, limit: int) -> Page[Insight]:
    """The same for whoever has a connection; what somebody only receives is not among them."""
    page = page_of(connection, asked, limit)
    mine = [one.parcel_id for one in page.items if asked.systems is None or one.sender in asked.systems]
    return Page(tuple(insight(connection, parcel_id, asked.systems) for parcel_id in mine), page.next)


def insight(connection: Connection, parcel_id: str, senders: frozenset[str] | None) -> Insight:
    """The same for whoever has a connection."""
    found = search.get(connection, [parcel_id])
    if not found or (senders is not None and found[0].sender not in senders):
        raise NotFound(f"no parcel {parcel_id!r}")
    standing = tuple(receiving(row) for row in deliveries.of_parcel(connection, parcel_id))
    awaited = awaited_of(connection, parcel_id)
    residual = any(one.receiver == RESIDUAL for one in standing)
    one = found[0]
    facts = (one.parcel_id, one.accepted_at, one.integration, one.type)
    return Insight(*facts, one.sender, standing, awaited, nobody=not standing, residual=residual)


def receiving(row: Any) -> Receiving:
    """How far the delivery of a row has come."""
    stage = "redistributed" if wrong_here(row) else _stage(row)
    return Receiving(
        row.id,
        row.receiver,
        "" if row.gateway else row.destination,
        row.rule,
        stage,
        row.state,
        row.attempts,
        row.fetched_at,
        row.settled_at,
        not row.gateway and stage == "failed",
        row.last_code,
        row.last_reason,
    )


def _stage(row: Any) -> str:
    return stage_of(State(row.state), pulled=not row.gateway, attempts=row.attempts, fetched=row.fetched_at is not None)


def stage_of(state: State, *, pulled: bool, attempts: int, fetched: bool) -> str:
    """How far a delivery has come, in one word."""
    if state is not State.READY:
        return _SETTLED[state]
    if fetched:
        return "fetched"
    if not attempts:
        return "waiting"
    return "lent" if pulled else "tried"


def awaited_of(connection: Connection, parcel_id: str) -> tuple[Awaited, ...]:
    """The receipts that are or were expected for a parcel."""
    return tuple(_awaited(row) for row in expectations.of_parcel(connection, parcel_id))


def _awaited(row: Any) -> Awaited:
    whom = Expectation(row.id, row.parcel_id, Level(row.level), row.kind, row.name, row.due_at).who()
    system = "" if row.kind == "function" else row.name
    return Awaited(row.level, whom, system, row.due_at, row.state, row.met_at)
