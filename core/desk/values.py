"""The desk for value lists: their owner adds, removes and replaces values, and asks; nobody can read them back.

Rules:

1. Values become digests here; what goes to the ledger cannot be turned back.
2. A change of many values is written in pieces, so that accepting goes on meanwhile, and counts once the last is written: who has
   the list in memory sees it whole. What a crash leaves half-written is completed by the same change again.
3. One change of a list at a time on a node. Two nodes that replace the same list at the same time may leave a mixture; its owner
   is one system, so that does not happen by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from core import commands, limits
from core.commands import Call
from core.errors import NotFound, TooLarge
from core.ledger import lists as ledger
from core.ledger.lists import Changed
from core.lists import check_value, digest, digests
from core.runtime import Runtime

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Done:
    """What a change came to."""

    added: int
    removed: int
    count: int


class Values:
    """Made with the `Runtime`, which remembers the lists for all desks of a node."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime, self._membership = runtime, runtime.membership

    async def add(self, list_id: str, values: Iterable[str]) -> Done:
        """Put values on a list. Raises `NotFound`, `UsageError` for what is no value, `TooLarge`."""
        return await self._change(list_id, await self._digests(list_id, values), frozenset())

    async def remove(self, list_id: str, values: Iterable[str]) -> Done:
        """Take values off a list; those that are not on it are no matter. Raises `NotFound`, `UsageError`."""
        return await self._change(list_id, frozenset(), await self._digests(list_id, values))

    async def replace(self, list_id: str, values: Iterable[str]) -> Done:
        """Make these the values of a list, all of them. Raises `NotFound`, `UsageError`."""
        return await self._change(list_id, await self._digests(list_id, values), frozenset(), replacing=True)

    async def contains(self, list_id: str, value: str) -> bool:
        """Whether a value is on a list, as the ledger has it now. Raises `NotFound`, `UsageError`."""
        self._demand(list_id)
        wanted = await self._in_thread(lambda: digest(self._membership.key(), list_id, value))
        return bool(await self._runtime.read(ledger.contains, list_id, wanted))

    async def count(self, list_id: str) -> int:
        """How many values a list has. Raises `NotFound`."""
        self._demand(list_id)
        return int(await self._runtime.read(ledger.count, list_id))

    def any_of(self, list_id: str, values: Sequence[str]) -> bool:
        """Whether one of these is on a list, by what this node remembers; see `core.membership`. Raises `Overloaded`."""
        return self._membership.any_of(list_id, values)

    def _demand(self, list_id: str) -> None:
        known = self._runtime.configuration.all("value-list")
        if list_id not in known:
            raise NotFound(f"value list: nothing is called {list_id!r}; known: {', '.join(sorted(known)) or 'none'}")

    async def _digests(self, list_id: str, values: Iterable[str]) -> frozenset[bytes]:
        self._demand(list_id)
        wanted = tuple(values)
        if not wanted:
            return frozenset()  # emptying a list needs no key: it is what helps when the key is lost
        return await self._in_thread(lambda: digests(self._membership.key(), list_id, wanted))

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._runtime.bulk, function)

    async def _change(
        self, list_id: str, added: frozenset[bytes], removed: frozenset[bytes], *, replacing: bool = False
    ) -> Done:
        async with self._membership.changing.setdefault(list_id, asyncio.Lock()):
            _, held = await self._runtime.read(ledger.load, list_id)
            new, gone = added - held, (held - added if replacing else held & removed)
            count = len(held) + len(new) - len(gone)
            if count > limits.LIST_VALUES:
                raise TooLarge(f"values: {list_id} would have {count}; at most {limits.LIST_VALUES}")
            if new or gone:
                await self._write(list_id, new, gone)
        return Done(len(new), len(gone), count)

    async def _write(self, list_id: str, new: frozenset[bytes], gone: frozenset[bytes]) -> None:
        """In pieces, what goes first: a list is never longer than it may be."""
        check = check_value(self._membership.key()) if new else ""
        waiting_gone, waiting_new = sorted(gone), sorted(new)
        while waiting_gone or waiting_new:
            out, waiting_gone = waiting_gone[: limits.LIST_BATCH], waiting_gone[limits.LIST_BATCH :]
            room = limits.LIST_BATCH - len(out)
            put, waiting_new = waiting_new[:room], waiting_new[room:]
            last = not (waiting_gone or waiting_new)
            call = Call(ledger.change, (list_id, check, put, out, last))
            changed: Changed | None = await self._runtime.do(commands.CALL, call)
            if changed is None:
                raise self._membership.forget_key()
            if last:
                await self._in_thread(partial(self._membership.changed, list_id, changed, new, gone))
