"""Where blocking work runs.

A small message costs less than handing it to a thread and back: with a core or less for the process, every hand-over only makes
the interpreter's lock change hands. With cores to spare, private-key operations run beside each other, because they let go of
that lock. So small work is done in place on one or two cores and in threads on more; large work (a payload's octets, the disk)
always goes to threads, so that the event loop never waits for it.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar

T = TypeVar("T")

TURN: Final = 3
"""Pieces of small work after which the event loop sees to its connections again: a few, so that what they hand to the ledger
shares a commit."""


class Workers:
    """``threads`` for large work; small work joins them when ``beside`` is true (None = when there are more than two cores)."""

    def __init__(self, threads: int = 4, *, beside: bool | None = None) -> None:
        self._pool = ThreadPoolExecutor(threads, "as4")
        self._waiting: deque[tuple[asyncio.Future[Any], Callable[..., Any], tuple[object, ...]]] = deque()
        self._turning = False
        self._beside = (os.cpu_count() or 1) > 2 if beside is None else beside

    async def small(self, function: Callable[..., T], *arguments: object) -> T:
        """Work of well below a millisecond or so: parsing, hashing and one private-key operation for a small message."""
        loop = asyncio.get_running_loop()
        if self._beside:
            return await loop.run_in_executor(self._pool, function, *arguments)
        future: asyncio.Future[T] = loop.create_future()
        self._waiting.append((future, function, arguments))
        if not self._turning:
            self._turning = True
            loop.call_soon(self._turn, loop)
        return await future

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """A few pieces of work a turn of the loop: what is ready to leave leaves soon, and what follows goes together."""
        for _ in range(min(TURN, len(self._waiting))):
            future, function, arguments = self._waiting.popleft()
            if future.cancelled():
                continue
            try:
                future.set_result(function(*arguments))
            except Exception as error:  # it belongs to whoever asked
                future.set_exception(error)
        self._turning = bool(self._waiting)
        if self._turning:
            loop.call_soon(self._turn, loop)

    async def large(self, function: Callable[..., T], *arguments: object) -> T:
        """Work whose length is the payload's, or that waits for a disk."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        self._pool.shutdown(wait=False)
