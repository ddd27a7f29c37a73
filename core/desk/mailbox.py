"""Lending deliveries to systems that come for them over a protocol without a memory, and taking back what they say.

Rules:

1. A loan is named by a **lease token**, the delivery and the epoch it was lent under: whoever holds an older one is told so, and
   changes nothing.
2. A token counts only in the mailbox it was lent from; elsewhere it is as unknown as if it did not exist.
3. What is said of several loans in one call is one commit; each is answered for itself.
4. Saying the same twice is harmless, and is answered as the first time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from core import commands, limits
from core.clock import Micros
from core.commands import Acknowledge, Loans, Settlement, SettlementResult
from core.delivery import Delivery, Event, State
from core.ledger import subscribers
from core.ledger.deliveries import Renew, Settle
from core.ledger.loans import PullClaim, Taken
from core.mailroom import Box, Mailroom, boxes_of
from core.parcel import Parcel
from core.runtime import Runtime
from core.subscription import Subscription

_TOKEN: Final = re.compile(r"([0-9a-f]{32})\.([0-9]{1,9})")


class Said(StrEnum):
    """What became of one thing said about a loan."""

    DONE = "done"
    STALE = "stale"
    """The loan had ended, and the delivery was lent again or settled meanwhile: what was said changes nothing."""
    UNKNOWN = "unknown"
    """No such loan in this mailbox."""


def token_of(lent: Delivery) -> str:
    """The lease token of a loan."""
    return f"{lent.id}.{lent.epoch}"


def parse_token(token: str) -> tuple[str, int] | None:
    """Delivery and epoch, or None for what is no token."""
    found = _TOKEN.fullmatch(token)
    return (found[1], int(found[2])) if found else None


@dataclass(frozen=True, slots=True)
class Loan:
    """One delivery lent: ``token`` is what its holder names it by."""

    token: str
    delivery: Delivery
    parcel: Parcel
    until: Micros


class Mailbox:
    """Lends and takes back. ``box`` is a system and one of its subscriptions, or "" for what comes by route."""

    def __init__(self, runtime: Runtime, mail: Mailroom) -> None:
        self._runtime, self._mail = runtime, mail
        self._noted: dict[str, Micros] = {}

    def _subscription(self, box: Box) -> Subscription | None:
        found = self._runtime.configuration.all("subscription").get(box[1])
        return found if isinstance(found, Subscription) and found.system == box[0] else None

    async def lend(
        self, box: Box, *, limit: int, wait: Micros, lease: Micros | None = None, integrations: Sequence[str] = ()
    ) -> list[Loan]:
        """Lend what is due, waiting up to ``wait`` for the first; nothing from a subscription that is paused."""
        clock = self._runtime.clock
        deadline = clock.now() + wait
        while True:
            now, subscription = clock.now(), self._subscription(box)
            self._came(box, now)
            if subscription is None or not subscription.paused:
                claim = self._claim(box, subscription, limit, now, lease, integrations)
                lent: Loans = await self._runtime.do(commands.PULL, claim)
                if lent.deliveries or now >= deadline:
                    parcels = await self._runtime.parcels_of(lent.deliveries)
                    return [Loan(token_of(d), d, parcels[d.parcel_id], claim.until) for d in lent.deliveries]
            elif now >= deadline:
                return []
            await self._mail.wait(box, deadline - now)

    def _came(self, box: Box, now: Micros) -> None:
        """Note now and then that a subscription's system comes; nobody waits for it."""
        if box[1] and now - self._noted.get(box[1], 0) >= limits.CAME:
            self._noted[box[1]] = now
            self._runtime.writer.submit(commands.CALL, commands.Call(subscribers.came, (box[1], now)))

    @staticmethod
    def _claim(
        box: Box,
        subscription: Subscription | None,
        limit: int,
        now: Micros,
        lease: Micros | None,
        integrations: Sequence[str],
    ) -> PullClaim:
        agreed = int(subscription.lease * 1_000_000) if subscription else limits.LEASE
        return PullClaim(
            box[0],
            min(limit, limits.CLAIM_BATCH),
            now,
            now + (lease or agreed),
            tuple(integrations),
            box[1],
            ordered=bool(subscription and subscription.ordered_by),
            loans=subscription.max_attempts if subscription else 0,
        )

    # -- what its holder says

    async def ack(self, box: Box, tokens: Sequence[str]) -> list[Said]:
        """The system has them."""
        named = [parse_token(token) for token in tokens]
        loans = tuple(one for one in named if one is not None)
        wanted = Acknowledge(box, loans, self._runtime.clock.now())
        results: Sequence[Taken | SettlementResult] = (
            await self._runtime.do(commands.ACKNOWLEDGE, wanted) if loans else ()
        )
        if any(_in_line(one) for one in results):
            self._mail.wake([box])  # the next in its line may be lent
        answers = iter(results)
        return [_said(next(answers)) if one is not None else Said.UNKNOWN for one in named]

    async def nack(self, box: Box, tokens: Sequence[str], *, delay: Micros, reason: str) -> list[Said]:
        """Not now: due again after ``delay``, unless that was the last loan."""
        now = self._runtime.clock.now()
        return await self._say(box, [_Wish(t, Event.RETRY, now, now + delay, "nack", reason) for t in tokens])

    async def reject(self, box: Box, tokens: Sequence[str], *, code: str, reason: str) -> list[Said]:
        """The system will never take them."""
        now = self._runtime.clock.now()
        return await self._say(box, [_Wish(t, Event.REFUSED, now, None, code, reason) for t in tokens])

    async def extend(self, box: Box, tokens: Sequence[str], by: Micros) -> list[Said]:
        """More time for each, from now."""
        until = self._runtime.clock.now() + by
        said = []
        for token in tokens:
            named = parse_token(token)
            if named is None:
                said.append(Said.UNKNOWN)
                continue
            renewed = await self._runtime.do(commands.RENEW, Renew(*named, until, box))
            said.append(Said.DONE if renewed else Said.STALE)
        return said

    async def _say(self, box: Box, wishes: Sequence[_Wish]) -> list[Said]:
        subscription = self._subscription(box)
        most = subscription.max_attempts if subscription else 0
        named = [(wish, parse_token(wish.token)) for wish in wishes]
        facts = {"by": box[0]}
        batch = [Settlement(wish.settle(*known, box, most), facts) for wish, known in named if known is not None]
        results: Sequence[SettlementResult] = await self._runtime.do(commands.SETTLE_TOGETHER, batch) if batch else ()
        if any(_in_line(one) for one in results):
            self._mail.wake([box])
        answers = iter(results)
        return [_said(next(answers)) if known is not None else Said.UNKNOWN for _, known in named]

    # -- again

    async def send_again(self, items: Sequence[Delivery], *, who: str, why: str) -> int:
        """Put settled or failed deliveries of a mailbox back, from the beginning; gives how many were moved."""
        now, facts = self._runtime.clock.now(), {"by": who}
        batch = [Settlement(Settle(d.id, Event.RESEND, now, due_at=now, reason=why), facts) for d in items]
        results = await self._runtime.do(commands.SETTLE_TOGETHER, batch) if batch else ()
        self._mail.wake(boxes_of(items))
        return sum(r.settled is not None and r.settled.after is State.READY for r in results)


@dataclass(frozen=True, slots=True)
class _Wish:
    """One thing said about one loan."""

    token: str
    event: Event
    at: Micros
    due_at: Micros | None = None
    code: str = ""
    reason: str = ""

    def settle(self, delivery_id: str, epoch: int, box: Box, most: int) -> Settle:
        """As a settlement; giving back the last of ``most`` loans is the end."""
        event, due_at = self.event, self.due_at
        return Settle(delivery_id, event, self.at, epoch, due_at, self.code, self.reason, box=box, loans=most)


def _in_line(result: Taken | SettlementResult) -> bool:
    if isinstance(result, Taken):
        return bool(result.line)
    return result.settled is not None and bool(result.settled.delivery.line)


def _said(result: Taken | SettlementResult) -> Said:
    if isinstance(result, Taken):
        return Said.DONE
    if result.settled is None:
        return Said.UNKNOWN
    return Said.STALE if result.settled.stale else Said.DONE
