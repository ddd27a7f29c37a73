"""What a node looks for by itself, so that people need not: receipts that do not come, subscribers that stay away.

Rules:

1. Any node may look, and several do; an alarm has an id made of its cause, so that it is raised once.
2. Who stays away while nothing waits has done nothing wrong: a subscriber is idle from the later of its last visit and the time
   since when its oldest mail waits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from core import awaited, commands, limits, log
from core.awaited import Overdue
from core.clock import SECOND, Micros, local
from core.ledger import alarms, subscribers
from core.ledger.alarms import Alarm
from core.runtime import Runtime
from core.subscription import Subscription

_log = log.get("watch")


@dataclass(frozen=True, slots=True)
class Idle:
    """A subscription whose system stays away. ``came_at`` is None when it never came."""

    subscription: Subscription
    waiting_since: Micros
    came_at: Micros | None

    @property
    def since(self) -> Micros:
        """From when its absence counts."""
        return max(self.waiting_since, self.came_at or 0)


class Watch:
    """The looking of one node."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def overdue(self) -> int:
        """Mark receipts that should have come by now, each with an alarm and a line in its trace; gives how many."""
        total = 0
        while True:
            found = await self._runtime.do(awaited.OVERDUE, Overdue(self._runtime.clock.now(), limits.OVERDUE_BATCH))
            total += len(found)
            for one in found:
                item = one.expectation
                _log.warning(
                    "a receipt has not come in time", level=item.level.value, of=item.who(), parcel=item.parcel_id
                )
            if len(found) < limits.OVERDUE_BATCH:
                return total

    async def idle(self) -> list[Idle]:
        """Raise an alarm for each subscription with mail that nobody has come for in its time; gives those."""
        runtime, now = self._runtime, self._runtime.clock.now()
        wanted = {s.id: s for s in runtime.configuration.all("subscription").values() if not s.paused}
        if not wanted:
            return []
        found = [one for one in await runtime.read(_waiting, wanted, now) if one.since + _allowed(one) < now]
        if found:
            raised = [_alarm(one, now) for one in found]
            for alarm in await runtime.do(commands.CALL, commands.Call(alarms.raise_once, (raised,))):
                _log.warning(alarm.text, code=alarm.code)
        return found


def _waiting(connection: Connection, wanted: Mapping[str, Any], now: Micros) -> list[Idle]:
    last, found = subscribers.last(connection), []
    for name, one in wanted.items():
        since = subscribers.waiting_since(connection, one.system, name, now)
        if since is not None:
            found.append(Idle(one, since, last.get(name)))
    return found


def _allowed(one: Idle) -> Micros:
    return int(one.subscription.idle_after * SECOND)


def _alarm(one: Idle, now: Micros) -> Alarm:
    """One alarm an absence: it ends when the system comes."""
    cause = json.dumps([one.subscription.id, one.came_at or one.waiting_since])
    came = f"has not come since {local(one.came_at)}" if one.came_at else "has never come"
    text = (
        f"subscription {one.subscription.id}: {one.subscription.system} {came}, and mail waits for it since"
        f" {local(one.waiting_since)}. What to do: ask its operator, or pause the subscription"
    )
    return Alarm(f"idle-{hashlib.sha256(cause.encode()).hexdigest()[:40]}", now, "idle", text)
