"""Handing over, as its two sides see it: what there is, its octets, its receipts.

Rules:

1. Who may see a parcel is asked with every question, by the systems somebody speaks for: a sender sees every delivery of what it
   sent, a receiver its own. For anybody else there is no such parcel.
2. What a receiving system says of a parcel is evidence; it counts once for each delivery and each text, and it counts for what
   the parcel refers to as well: a form and its large attachments are one thing with one receipt.
3. A feed keeps nothing of who reads it: whoever comes says how far it has read.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from core import commands, limits
from core.clock import SECOND, Micros
from core.commands import Settlement, SettlementResult
from core.errors import NotFound, WrongState
from core.ledger import deliveries as queue
from core.ledger import handing, parcels, trace
from core.ledger.handing import Fetched
from core.ledger.trace import Entry, Line
from core.parcel import Acceptance, Key, Parcel, Payload
from core.receipt import Level, Receipt, Verdict
from core.runtime import Runtime
from core.store import inline_place, read_part
from core.writer import Kind

PARCEL: Final = "parcel"
"""The kind of a reference to a parcel that belongs to this one."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A parcel and as many of its deliveries as whoever asked may see; ``history`` is where it was sent on."""

    parcel: Parcel
    rows: tuple[Any, ...]
    history: tuple[Line, ...]

    def of(self, system: str) -> Any:
        """The newest delivery to a system, one that it has rather than one it sent on. Raises `NotFound`."""
        mine = [row for row in self.rows if row.receiver == system]
        if not mine:
            raise NotFound(f"no delivery of {self.parcel.id}")
        return max(mine, key=lambda row: (not handing.wrong_here(row), row.id))


def _fetched(connection: Connection, batch: Sequence[Fetched]) -> Sequence[bool]:
    return [handing.note_fetched(connection, item) for item in batch]


def _said_fetched(item: Fetched, first: bool) -> Sequence[Entry]:
    return (Entry(item.parcel_id, item.at, "fetched", {"receiver": item.receiver}),) if first else ()


FETCHED: Final = Kind("fetched", _fetched, _said_fetched, order=53, always=True)


class Handing:
    """Looks, fetches, and takes receipts."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._newest = (0, 0)

    async def look(self, parcel_id: str, scope: frozenset[str] | None) -> Seen:
        """A parcel as these systems see it; None sees all. Raises `NotFound`."""
        return await self._runtime.read(seen_by, parcel_id, scope)

    # -- octets

    async def fetched(self, row: Any) -> None:
        """The receiver of this delivery fetches; the first time is noted."""
        if row.fetched_at is None:
            item = Fetched(row.id, row.parcel_id, row.receiver, self._runtime.clock.now())
            await self._runtime.do(FETCHED, item)

    async def part(self, parcel: Parcel, number: int, begin: int, end: int) -> AsyncIterator[bytes]:
        """Octets ``begin`` to before ``end`` of a payload, each chunk read in a thread. Raises `PayloadError`."""
        payload, place = parcel.payloads[number], inline_place(parcel.id, number)
        key = self._runtime.ring.unwrap(parcel.wrapped_key, parcel.key_id)
        chunks: Iterator[bytes] = read_part(self._runtime.store, key, place, payload, begin, end)
        loop = asyncio.get_running_loop()
        while (chunk := await loop.run_in_executor(self._runtime.bulk, next, chunks, None)) is not None:
            yield chunk

    def forget(self, payloads: Sequence[Payload]) -> None:
        """What was put together and never accepted is nobody's."""
        self._runtime.delete_later([one.object_id for one in payloads if one.object_id])

    # -- receipts

    async def say(self, seen: Seen, row: Any, level: Level, verdict: Verdict, raw: bytes, said: Said) -> Acceptance:
        """What a receiving system says of its delivery and of what belongs to it. Raises `WrongState` once it is sent on."""
        if handing.wrong_here(row):
            raise WrongState("the delivery was sent on; what becomes of it is for its new receiver to say")
        rows = [row, *(one for one, _ in await self._runtime.read(belonging, seen.parcel, row.receiver))]
        now, digest = self._runtime.clock.now(), hashlib.sha256(raw).digest()
        batch = []
        for one in rows:
            receipt = Receipt(one.id, level, verdict, now, raw, said.code, said.text, seen.parcel.id, digest)
            key = Key(f"{said.scope}/receipt", f"{one.id}/{level.value}/{verdict.value}/{digest.hex()}")
            batch.append(Settlement(queue.of_receipt(receipt), {"level": level.value, "by": row.receiver}, key))
        results: Sequence[SettlementResult] = await self._runtime.do(commands.SETTLE_TOGETHER, batch)
        if any(r.settled is not None and r.settled.delivery.line for r in results):
            self._runtime.on_work()
        acceptance = results[0].acceptance
        assert acceptance is not None, "a receipt under a key is always judged"
        return acceptance

    async def receipts(self, seen: Seen) -> list[Any]:
        """The receipts of the deliveries that are seen, oldest first."""
        return await self._runtime.read(queue.receipts_of, [row.id for row in seen.rows])

    async def feed(self, sender: str, after: int, limit: int, wait: Micros) -> list[Any]:
        """Receipts of what a system sent, after the one numbered ``after``; waits for the first."""
        clock = self._runtime.clock
        deadline = clock.now() + wait
        while True:
            before = await self._newest_receipt()  # first: what comes between the two questions is news
            rows = await self._runtime.read(handing.feed, sender, after, limit, clock.now())
            if rows or clock.now() >= deadline:
                return rows
            while (now := clock.now()) < deadline:
                await asyncio.sleep(min(limits.POLL, deadline - now) / SECOND)
                if await self._newest_receipt() != before:
                    break

    async def _newest_receipt(self) -> int:
        """Asked once an interval for all who wait."""
        at, newest = self._newest
        now = self._runtime.clock.now()
        if now - at >= limits.POLL // 2:
            newest = await self._runtime.read(handing.newest_receipt, now)
            self._newest = (now, newest)
        return newest


@dataclass(frozen=True, slots=True)
class Said:
    """The words of a receipt, and whose keys it counts under."""

    scope: str
    code: str = ""
    text: str = ""


def seen_by(connection: Connection, parcel_id: str, scope: frozenset[str] | None) -> Seen:
    """The same as `Handing.look`, for whoever has a connection."""
    rows = queue.of_parcel(connection, parcel_id)
    parcel = parcels.load(connection, parcel_id)
    if scope is not None and parcel.sender not in scope:
        rows = [row for row in rows if row.receiver in scope]
        if not rows:
            raise NotFound(f"no parcel {parcel_id}")
    history = [line for line in trace.of_parcel(connection, parcel_id) if line.event == "redistributed"]
    return Seen(parcel, tuple(rows), tuple(history))


def belonging(connection: Connection, parcel: Parcel, receiver: str) -> list[tuple[Any, Parcel]]:
    """A receiver's deliveries of the parcels that belong to this one: that it refers to, and the same system sent."""
    named = [one.id for one in parcel.description.references if one.kind == PARCEL]
    own: Mapping[str, Parcel] = parcels.load_many(connection, named) if named else {}
    rows = [
        (row, one) for one in own.values() if one.sender == parcel.sender for row in queue.of_parcel(connection, one.id)
    ]
    return [(row, one) for row, one in rows if row.receiver == receiver and not handing.wrong_here(row)]
