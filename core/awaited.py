"""Expected receipts beside other commands of the writer: what a settlement answers, what the trace says of it, what is overdue.

Rules:

1. Evidence answers expectations in the transaction that records it.
2. Who acknowledges or refuses without a receipt, such as a system that pulls, has its handler speak: that is level ``envelope``.
3. Of several nodes that look, one marks an expectation as overdue; its alarm and its line in the trace are the same commit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from core.clock import Micros, local
from core.delivery import Event
from core.expectation import Expectation
from core.ledger import alarms, expectations
from core.ledger.alarms import Alarm
from core.ledger.deliveries import Settle, Settled
from core.ledger.expectations import Heard, Missing
from core.ledger.trace import Entry
from core.receipt import Level, Verdict
from core.writer import Kind

_SAID: Final = {Event.ACKNOWLEDGED: Verdict.ACCEPTED, Event.REFUSED: Verdict.REJECTED}


def answered(
    connection: Connection, settled: Mapping[int, tuple[Settle, Settled | None]]
) -> Mapping[int, Sequence[Expectation]]:
    """Change the expectations that these settlements answer; gives what each has changed."""
    evidence: dict[int, Heard] = {}
    for index, (item, result) in settled.items():
        if result is None or result.stale or (item.receipt is None and item.event not in _SAID):
            continue
        said = item.receipt
        level, verdict = (said.level, said.verdict) if said else (Level.ENVELOPE, _SAID[item.event])
        evidence[index] = Heard(result.delivery.parcel_id, level, verdict, result.delivery.receiver, item.at)
    if not evidence:
        return {}
    return dict(zip(evidence, expectations.answer(connection, list(evidence.values())), strict=True))


def acknowledged(connection: Connection, parcels: Sequence[str], system: str, at: Micros) -> list[list[Expectation]]:
    """The same for parcels that a system which pulls has acknowledged."""
    return expectations.answer(connection, [Heard(p, Level.ENVELOPE, Verdict.ACCEPTED, system, at) for p in parcels])


def entries(items: Sequence[Expectation], at: Micros, event: str = "expected") -> list[Entry]:
    """What the trace says of expectations that changed."""
    return [
        Entry(
            one.parcel_id,
            at,
            event,
            {"level": one.level.value, "of": one.who(), "due": one.due_at, "expected": one.state.value},
        )
        for one in items
    ]


@dataclass(frozen=True, slots=True)
class Overdue:
    """Find the receipts that should have come by ``at``, at most ``limit`` of them."""

    at: Micros
    limit: int


def _overdue(connection: Connection, batch: Sequence[Overdue]) -> Sequence[Sequence[Missing]]:
    found = [expectations.overdue(connection, item.at, item.limit) for item in batch]
    for item, missing in zip(batch, found, strict=True):
        alarms.raise_once(connection, [_alarm(one, item.at) for one in missing])
    return found


def _alarm(item: Missing, at: Micros) -> Alarm:
    one = item.expectation
    text = f"{one.who()}: no {one.level.value} receipt for a parcel of {item.integration} by {local(one.due_at)}"
    return Alarm(f"no-receipt-{one.id}"[:64], at, "no-receipt", text, one.parcel_id)


def _found(item: Overdue, missing: Sequence[Missing]) -> Sequence[Entry]:
    return entries([one.expectation for one in missing], item.at, "overdue")


OVERDUE: Final = Kind("overdue", _overdue, _found, order=56, always=True)
