"""Signals of ours that go to a partner's endpoint on their own: called-back receipts, and what answers a pulled message.

Rules:

1. They are tried a few times and then left: what they speak of is in the ledger, and a partner who heard nothing sends or offers
   the message again, which is then known and gets its receipt again. So none is lost for good, and none is queued for ever.
2. Nothing is waited for: whoever hands one over goes on. At the end of the node those under way have a moment, and those that
   wait for their next try have none.
3. Their number is bounded: a partner who sends and cannot be reached must not fill the memory.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

from accesspoint.client import Client, Unreachable
from accesspoint.server import SOAP_TYPE
from core import log
from gateways.as4.partners import Neighbour

_WAITS: Final = (0.0, 1.0, 5.0, 20.0)
"""Seconds before each try."""
MOST: Final = 2048
"""Signals under way at a time; more are left at once."""
_log = log.get("as4")


class Callbacks:
    """Posts signals in the background."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._tasks: set[asyncio.Task[None]] = set()
        self._ending = asyncio.Event()

    def post(self, neighbour: Neighbour, signal: bytes) -> None:
        """Send ``signal`` to a partner, without waiting for it."""
        if len(self._tasks) >= MOST:
            _left(neighbour, "too many signals are under way")
            return
        task = asyncio.get_running_loop().create_task(self._try(neighbour, signal))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try(self, neighbour: Neighbour, signal: bytes) -> None:
        url, told = neighbour.partner.url, ""
        for wait in _WAITS:
            if wait and await self._ends_within(wait):
                break
            try:
                response = await self._client.post(url, SOAP_TYPE, signal, length=len(signal), tls=neighbour.tls)
            except Unreachable as error:
                told = error.detail
                continue
            if response.status < 400:
                return
            told = f"HTTP {response.status}"
        _left(neighbour, told)

    async def _ends_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), seconds)
        return self._ending.is_set()

    async def finish(self, at_most: float) -> None:
        """Let those under way end; what has not ended by then is left."""
        self._ending.set()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=at_most)
        for task in self._tasks:
            task.cancel()


def _left(neighbour: Neighbour, cause: str) -> None:
    _log.warning("a signal did not reach its partner; they will ask again", partner=neighbour.partner.id, cause=cause)
