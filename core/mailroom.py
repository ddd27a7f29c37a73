"""Waking those who wait for mail: at once for what this node accepted, by one question an interval for what other nodes did.

Rule: who waits holds no database connection; each node asks once an interval for all its waiters [design §5].
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from core import limits, log
from core.clock import SECOND, Micros
from core.delivery import Delivery
from core.errors import Overloaded
from core.ledger import deliveries as queue
from core.runtime import Runtime

_log = log.get("mailroom")

Box = tuple[str, str]
"""A system and one of its subscriptions, or "" for what comes by route."""


def boxes_of(made: Iterable[Delivery]) -> list[Box]:
    """Where these deliveries wait to be fetched."""
    return sorted({(one.receiver, one.destination) for one in made if not one.gateway})


class Mailroom:
    """Wakes waiting pulls."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._waiting: dict[Box, set[asyncio.Future[None]]] = {}

    def wake(self, boxes: Iterable[Box]) -> None:
        """Something came for these."""
        for box in boxes:
            for future in self._waiting.get(box, ()):
                if not future.done():
                    future.set_result(None)

    async def wait(self, box: Box, at_most: Micros) -> None:
        """Until something may be there, or the time is up."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(box, set()).add(future)
        try:
            await asyncio.wait_for(future, at_most / SECOND)
        except TimeoutError:
            pass
        finally:
            self._waiting[box].discard(future)
            if not self._waiting[box]:
                del self._waiting[box]

    async def run(self) -> None:
        """Ask once an interval for all who wait; holds no connection in between."""
        while True:
            await asyncio.sleep(limits.POLL / SECOND)
            if self._waiting:
                now = self._runtime.clock.now()
                try:
                    self.wake(await self._runtime.read(queue.boxes_with_mail, sorted(self._waiting), now))
                except Overloaded as error:
                    _log.warning("nobody can be told of mail now; the ledger is asked again", cause=str(error))
