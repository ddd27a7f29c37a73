"""What a subscription has waiting, when its system last came, and its dead letters: to look at, send again, or discard.

Rules:

1. Counting has an end: beyond it the answer says that there is more.
2. A dead letter is what was lent too often without a word. Sent again it begins anew; discarded it counts as refused by its
   system, so that its sender sees what became of it.
3. Moving many goes in batches through the writer, so that nobody waits behind them; one call has an end as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection

from core import limits
from core.clock import Micros
from core.delivery import Delivery, Event, State
from core.desk.mailbox import Mailbox
from core.ledger import backlogs, history, subscribers
from core.ledger.backlogs import Backlog
from core.ledger.deliveries import from_row
from core.ledger.trace import Entry
from core.mailroom import Box
from core.runtime import Runtime
from core.writer import Kind


@dataclass(frozen=True, slots=True)
class Waiting:
    """A subscription's backlog, and when its system last came (None: never)."""

    backlog: Backlog
    came_at: Micros | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One dead letter, with why it is one."""

    delivery: Delivery
    code: str
    reason: str
    at: Micros | None


@dataclass(frozen=True, slots=True)
class Discard:
    """These dead letters of a box are not wanted."""

    box: Box
    ids: tuple[str, ...]
    by: str
    reason: str
    at: Micros


def _discard(connection: Connection, batch: Sequence[Discard]) -> Sequence[Sequence[Delivery]]:
    return [backlogs.discard(connection, one.box, one.ids, one.reason, one.at) for one in batch]


def _discarded(item: Discard, done: Sequence[Delivery]) -> Sequence[Entry]:
    facts: Mapping[str, Any] = {"code": backlogs.DISCARDED, "by": item.by, "state": State.REJECTED.value}
    return [
        Entry(
            one.parcel_id,
            item.at,
            Event.REFUSED.value,
            {"receiver": one.receiver, "rule": one.rule, "reason": item.reason, **facts},
        )
        for one in done
    ]


DISCARD: Final = Kind("discard", _discard, _discarded, order=53)


@dataclass(frozen=True, slots=True)
class LetGo:
    """What has waited for a subscription that is gone, since before an id."""

    box: Box
    before: str
    at: Micros


def _let_go(connection: Connection, batch: Sequence[LetGo]) -> Sequence[Sequence[Delivery]]:
    return [backlogs.let_go(connection, one.box, one.before, one.at, limits.DEAD_BATCH) for one in batch]


def _left(item: LetGo, done: Sequence[Delivery]) -> Sequence[Entry]:
    facts = {"code": backlogs.ABANDONED, "state": State.REJECTED.value}
    return [
        Entry(one.parcel_id, item.at, Event.REFUSED.value, {"receiver": one.receiver, "rule": one.rule, **facts})
        for one in done
    ]


LET_GO: Final = Kind("let-go", _let_go, _left, order=54)


class Backlogs:
    """The backlogs of all subscriptions."""

    def __init__(self, runtime: Runtime, mailbox: Mailbox) -> None:
        self._runtime, self._mailbox = runtime, mailbox

    async def of(self, box: Box) -> Waiting:
        """What one subscription has."""
        return await self._runtime.read(_waiting, box, self._runtime.clock.now())

    async def dead_letters(self, box: Box, after: str, limit: int) -> tuple[Sequence[DeadLetter], str]:
        """A page, oldest first, and what to ask for ``after`` to get the next; "" when this is the last."""
        limit = max(1, min(limit, limits.LIST_MOST))
        rows = await self._runtime.read(backlogs.dead_letters, *box, after, limit + 1)
        found = [_letter(row) for row in rows[:limit]]
        return found, found[-1].delivery.id if len(rows) > limit else ""

    async def send_again(self, box: Box, ids: Sequence[str] | None, *, by: str, why: str) -> tuple[int, bool]:
        """Put dead letters back, all when none are named; gives how many, and whether more are left."""

        async def move(items: Sequence[Delivery]) -> int:
            return await self._mailbox.send_again(items, who=by, why=why)

        return await self._move(box, ids, move)

    async def discard(self, box: Box, ids: Sequence[str] | None, *, by: str, why: str) -> tuple[int, bool]:
        """Nobody wants them; as `send_again`."""

        async def move(items: Sequence[Delivery]) -> int:
            named = tuple(one.id for one in items)
            return len(await self._runtime.do(DISCARD, Discard(box, named, by, why, self._runtime.clock.now())))

        return await self._move(box, ids, move)

    async def let_go(self) -> int:
        """Let go of what has waited `limits.ABANDONED` for subscriptions that are gone: it would never end; gives how much."""
        there, now, gone = self._runtime.configuration.all("subscription"), self._runtime.clock.now(), 0
        for box in await self._runtime.read(backlogs.boxes):
            if box[1] in there and there[box[1]].system == box[0]:
                continue
            item = LetGo(box, history.floor(now - limits.ABANDONED), now)
            while done := await self._runtime.do(LET_GO, item):
                gone += len(done)
        return gone

    async def _move(
        self, box: Box, ids: Sequence[str] | None, move: Callable[[Sequence[Delivery]], Awaitable[int]]
    ) -> tuple[int, bool]:
        if ids is not None:
            rows = await self._runtime.read(backlogs.named, *box, sorted(set(ids)))
            return (await move([from_row(row) for row in rows]) if rows else 0), False
        moved, after = 0, ""
        while moved < limits.DEAD_MOST:
            rows = await self._runtime.read(backlogs.dead_letters, *box, after, limits.DEAD_BATCH)
            if not rows:
                return moved, False
            moved += await move([from_row(row) for row in rows])
            after = rows[-1].id
        return moved, bool(await self._runtime.read(backlogs.dead_letters, *box, after, 1))


def _waiting(connection: Connection, box: Box, now: Micros) -> Waiting:
    found = backlogs.of_subscription(connection, *box, now, limits.BACKLOG_COUNTED)
    return Waiting(found, subscribers.last(connection).get(box[1]))


def _letter(row: Any) -> DeadLetter:
    return DeadLetter(from_row(row), row.last_code, row.last_reason, row.settled_at)
