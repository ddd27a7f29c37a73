"""How long an urgent notification takes to its receiver, when nothing else happens and when bulk fills the node.

Rules:

1. A time is from before the urgent notification is published until its receiver, which fetches all the time, has it in hand.
2. Bulk is offered at a steady pace, whatever the node does; what the node can do is measured just before, in the same run.
3. Senders and receiver are one process beside the node's on the same machine, so what they wait for each other is counted too.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.client import Client
from bench.rows import Row, ratio_row
from conformance.town import AUTHORITY, Town, agreement, notification, subscription

LOAD: Final = 0.7
BAR: Final = 3.0
"""Times what it takes at idle that it may take under `LOAD` of what the node can do."""
BATCH: Final = 16
AT_ONCE: Final = 8
"""Bulk batches under way where as much is offered as is taken."""
EVERY: Final = 0.04
FETCHING: Final = 2
BODY: Final = {"text": "x" * 400}


_NUMBERS: Final = itertools.count()
"""An event counts once, also over several measurements of one node."""


def town(root: Path) -> Town:
    """Two senders and the one that receives from both."""
    documents = [
        notification("news"),
        agreement("news", "archive", "send"),
        agreement("news", "alarm", "send"),
        agreement("news", "journal", "receive"),
        subscription("all", "journal", "news"),
    ]
    return Town(root, dict.fromkeys(("archive", "alarm", "journal"), AUTHORITY)).make(documents)


@dataclass
class Scene:
    """The systems around one node, and what they saw."""

    place: Town
    sent: dict[str, float] = field(default_factory=dict)
    took: list[float] = field(default_factory=list)
    bulk: int = 0
    """Bulk notifications that were accepted."""
    ending: bool = False
    refused: int = 0
    """Bulk batches that the node asked to come again later."""

    async def fetch(self) -> None:
        """Until told to end: a pull that is broken off may lend to nobody."""
        client = Client(self.place, "journal", 1)
        try:
            while not self.ending:
                said = await client.ask("/v1/subscriptions/all/pull", {"max": 64, "wait": 1})
                now = time.perf_counter()
                for one in said["deliveries"]:
                    if (begun := self.sent.pop(one["event"]["id"], None)) is not None:
                        self.took.append(now - begun)
                if said["deliveries"]:
                    await client.ask("/v1/subscriptions/all/ack", {"leases": [d["lease"] for d in said["deliveries"]]})
        finally:
            await client.close()

    async def urgent(self, seconds: float) -> None:
        """One at a time, at a steady pace, and then until the last has come."""
        client, begun = Client(self.place, "alarm", 4), time.perf_counter()
        try:
            for number in itertools.count():
                if number * EVERY > seconds:
                    break
                await asyncio.sleep(max(0.0, begun + number * EVERY - time.perf_counter()))
                name = f"urgent-{next(_NUMBERS)}"
                self.sent[name] = time.perf_counter()
                await client.ask("/v1/notifications/batch", [_event(name, "urgent")])
            until = time.perf_counter() + 10
            while self.sent and time.perf_counter() < until:
                await asyncio.sleep(0.01)
        finally:
            await client.close()
        if self.sent:
            raise RuntimeError(f"{len(self.sent)} urgent notifications never came")

    async def offer(self, pace: float | None) -> None:
        """Bulk until cancelled: so many notifications a second, or as many as are taken."""
        client, waiting = Client(self.place, "archive", AT_ONCE), asyncio.Semaphore(AT_ONCE)
        begun, tasks = time.perf_counter(), set[asyncio.Task[None]]()
        try:
            for number in itertools.count():
                if pace is not None:
                    await asyncio.sleep(max(0.0, begun + number * BATCH / pace - time.perf_counter()))
                await waiting.acquire()
                task = asyncio.create_task(self._bulk(client, waiting))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await client.close()

    async def _bulk(self, client: Client, waiting: asyncio.Semaphore) -> None:
        events = [_event(f"bulk-{next(_NUMBERS)}", "bulk") for _ in range(BATCH)]
        try:
            if await client.ask("/v1/notifications/batch", events, busy=True) is None:
                self.refused += 1
                await asyncio.sleep(0.1)
            else:
                self.bulk += BATCH
        finally:
            waiting.release()


def _event(name: str, priority: str) -> dict[str, Any]:
    said = {"specversion": "1.0", "id": name, "source": "/bench", "type": "news", "priority": priority}
    return {**said, "data": BODY}


async def _during(scene: Scene, seconds: float, *, pace: float | None = None, bulk: bool = True) -> list[float]:
    """What urgent notifications took meanwhile."""
    scene.took.clear()
    fetching = [asyncio.create_task(scene.fetch()) for _ in range(FETCHING)]
    offering = [asyncio.create_task(scene.offer(pace))] if bulk else []
    try:
        await scene.urgent(seconds)
    finally:
        scene.ending = True
        for task in offering:
            task.cancel()
    for result in await asyncio.gather(*fetching, *offering, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
            raise result
    return list(scene.took)


def share(took: Sequence[float], which: float) -> float:
    """The value in milliseconds below which that share of them lies."""
    return 1000 * sorted(took)[min(len(took) - 1, int(which * len(took)))]


async def _measure(place: Town, seconds: float) -> tuple[list[float], list[float], list[float], float]:
    """Idle, under load and with no limit; and how many bulk notifications a second the node takes at the most."""
    await _during(Scene(place), seconds / 5)  # what is made at the first request is not of every one
    idle = await _during(Scene(place), seconds, bulk=False)
    full = Scene(place)
    begun = time.perf_counter()
    flooded = await _during(full, seconds)
    most = full.bulk / (time.perf_counter() - begun)
    await _drained(place)
    loaded = await _during(Scene(place), seconds, pace=LOAD * most)
    return idle, loaded, flooded, most


async def _drained(place: Town) -> None:
    """Until nothing waits: what one measurement leaves is not the next one's load."""
    client = Client(place, "journal", 1)
    try:
        while lent := (await client.ask("/v1/subscriptions/all/pull", {"max": 64, "wait": 0}))["deliveries"]:
            await client.ask("/v1/subscriptions/all/ack", {"leases": [one["lease"] for one in lent]})
    finally:
        await client.close()


def rows(folder: Path, seconds: float) -> Iterator[Row]:
    """The three, beside idle."""
    place = town(folder)
    place.start()
    try:
        idle, loaded, flooded, most = asyncio.run(_measure(place, seconds))
    finally:
        place.stop()
    base = share(idle, 0.99)
    yield Row("bulk notifications to one receiver, as many as are taken", most, "a second")
    yield Row("urgent notification, idle, half of them within", share(idle, 0.5), "ms")
    yield Row("urgent notification, idle, 99 of 100 within", base, "ms")
    yield Row(f"urgent notification, {LOAD:.0%} of bulk, half of them within", share(loaded, 0.5), "ms")
    name = f"urgent notification, {LOAD:.0%} of bulk, 99 of 100 within"
    yield ratio_row(name, share(loaded, 0.99), "ms", "idle", base, BAR, least=False)
    name = "urgent notification, as much bulk as is taken, 99 of 100 within"
    yield Row(name, share(flooded, 0.99), "ms", "idle", share(flooded, 0.99) / base)
