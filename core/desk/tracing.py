"""What one parcel went through, for everybody who may see it: its sender all of it, a receiver its own part [R73, R75].

Rules:

1. Who may see a parcel is asked as everywhere (`core.desk.handing`). Who sees all its sender's traffic sees every line.
2. A receiver sees the lines about its own deliveries, how the parcel came in and what was added to it. A line that nobody
   thought of is kept from it: who else gets a parcel is no business of a receiver's.
3. Nothing personal: of the description the part in clear, of receipts who said what and when, never their octets.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection

from core.desk.handing import seen_by
from core.desk.insight import Awaited, awaited_of
from core.ledger import deliveries, trace
from core.ledger.trace import Line
from core.parcel import Parcel
from core.runtime import Runtime

_HOW_IT_CAME: Final = ("gateway", "sender", "integration", "type", "version", "payloads")
"""What a receiver is told of a parcel's acceptance."""


@dataclass(frozen=True, slots=True)
class Traced:
    """A parcel with its deliveries, receipts (rows, oldest first) and lines. ``whole`` says that nothing was left out."""

    parcel: Parcel
    rows: tuple[Any, ...]
    receipts: tuple[Any, ...]
    awaited: tuple[Awaited, ...]
    lines: tuple[Line, ...]
    whole: bool

    @property
    def emptied(self) -> bool:
        """Whether its time is over: its description and octets are deleted, and what happened to it is still told."""
        return not self.parcel.wrapped_key


class Tracing:
    """The question for one ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def of(self, parcel_id: str, scope: frozenset[str] | None) -> Traced:
        """A parcel as these systems see it; None sees all. Raises `NotFound`."""
        return await self._runtime.read(traced, parcel_id, scope)


def traced(connection: Connection, parcel_id: str, scope: frozenset[str] | None) -> Traced:
    """The same for whoever has a connection."""
    seen = seen_by(connection, parcel_id, scope)
    lines, awaited = trace.of_parcel(connection, parcel_id), awaited_of(connection, parcel_id)
    whole = scope is None or seen.parcel.sender in scope
    if scope is not None and not whole:
        lines = [kept for line in lines if (kept := as_receiver(line, scope)) is not None]
        awaited = tuple(one for one in awaited if one.system in scope)
    receipts = deliveries.receipts_of(connection, [row.id for row in seen.rows])
    return Traced(seen.parcel, seen.rows, tuple(receipts), awaited, tuple(lines), whole)


def as_receiver(line: Line, systems: Collection[str]) -> Line | None:
    """A line as these receiving systems see it; None when it is not for them."""
    facts = line.facts
    if facts.get("receiver") in systems or line.event == "enriched":
        return line
    if line.event == "accepted":
        return replace(line, facts={name: facts[name] for name in _HOW_IT_CAME if name in facts})
    if line.event == "redistributed":
        own = [name for name in facts.get("receivers", ()) if name in systems]
        if facts.get("from") in systems:
            return line
        return replace(line, facts={**facts, "receivers": own}) if own else None
    return None
