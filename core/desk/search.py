"""Track and trace: finding parcels by who, what, when and how, by any name they have, and those that need a person.

Rules:

1. A caller finds what its systems sent or receive, and nothing else exists for it.
2. A page has rows without anything personal; what one parcel went through is asked of its trace.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from core import limits
from core.clock import Micros
from core.desk.page import Page, cut, line, size
from core.errors import UsageError
from core.ledger import search
from core.ledger.search import TROUBLE, Asked, Found
from core.runtime import Runtime


@dataclass(frozen=True, slots=True)
class Failure:
    """A delivery that waits for a person. ``reason`` is the far side's words or our own."""

    parcel_id: str
    delivery_id: str
    accepted_at: Micros
    sender: str
    receiver: str
    integration: str
    state: str
    code: str
    reason: str


class Search:
    """Finding, for one ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def find(self, asked: Asked, limit: int = limits.PAGE) -> Page[Found]:
        """A page of parcels, the newest first; its cursor is the next one's `Asked.before`. Raises `UsageError`."""
        return await self._runtime.read(page_of, asked, limit)

    async def failures(self, asked: Asked, limit: int = limits.PAGE) -> Page[Failure]:
        """A page of what waits for a person, by parcel; more than ``limit`` rows where a parcel failed in several ways."""
        return await self._runtime.read(failures, asked, limit)


def page_of(connection: Connection, asked: Asked, limit: int) -> Page[Found]:
    """The same for whoever has a connection: the command line reads the ledger itself."""
    for field in ("reference", "sender", "receiver", "integration", "rule", "before"):
        line(field, getattr(asked, field))
    if asked.since is not None and asked.until is not None and asked.until <= asked.since:
        raise UsageError("until: does not lie after since")
    return cut(search.find(connection, asked, size(limit) + 1), limit, lambda found: found.parcel_id)


def failures(connection: Connection, asked: Asked, limit: int) -> Page[Failure]:
    """Deliveries that are held, failed, rejected or quarantined, with why."""
    wrong = [state for state in asked.states if state not in TROUBLE]
    if wrong:
        raise UsageError(f"state: {wrong[0]} is no failure; choose of {', '.join(TROUBLE)}")
    states = asked.states or TROUBLE
    page = page_of(connection, replace(asked, states=states), limit)
    said = search.reasons(connection, [d.delivery_id for found in page.items for d in found.deliveries])
    return Page(
        tuple(row for found in page.items for row in _failures(found, asked, said) if row.state in states), page.next
    )


def _failures(found: Found, asked: Asked, said: Mapping[str, str]) -> list[Failure]:
    """The deliveries of a found parcel that were meant."""
    return [
        Failure(
            found.parcel_id,
            one.delivery_id,
            found.accepted_at,
            found.sender,
            one.receiver,
            found.integration,
            one.state,
            one.code,
            said.get(one.delivery_id, ""),
        )
        for one in found.deliveries
        if asked.receiver in ("", one.receiver) and asked.rule in ("", one.rule)
    ]
