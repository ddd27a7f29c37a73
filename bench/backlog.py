"""Isolation: how long one subscriber's pull takes while another, that never comes, has a great backlog.

Rule: both figures are of one node in one run; the pull is timed from request to answer, with one event waiting.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import aiohttp

from conformance.town import AUTHORITY, Town, agreement, notification, subscription

BATCH: Final = 256
PUBLISHING: Final = 4
"""Batches under way at once."""
PULLS: Final = 300
SYSTEMS: Final = ("publisher", "sleeper", "reader")


@dataclass(frozen=True)
class Pulled:
    """Milliseconds of a pull, in the median: alone, and beside so much that waits for another."""

    alone: float
    beside: float
    waiting: int


def town(root: Path, database: str = "") -> Town:
    """One that publishes, one that never comes, and one that reads."""
    documents = [notification("flood"), notification("news")]
    documents += [agreement("flood", "publisher", "send"), agreement("news", "publisher", "send")]
    documents += [agreement("flood", "sleeper", "receive"), agreement("news", "reader", "receive")]
    documents += [subscription("sleeper-flood", "sleeper", "flood"), subscription("reader-news", "reader", "news")]
    return Town(root, dict.fromkeys(SYSTEMS, AUTHORITY), database=database).make(documents)


class _Client:
    def __init__(self, place: Town, system: str) -> None:
        self._url = place.url
        connector = aiohttp.TCPConnector(ssl=place.client_context(system), limit=PUBLISHING)
        self.session = aiohttp.ClientSession(connector=connector)

    async def ask(self, path: str, body: Any) -> Any:
        async with self.session.post(self._url + path, json=body) as answer:
            said = await answer.json(content_type=None)
            if answer.status not in (200, 201):
                raise RuntimeError(f"{path}: {answer.status} {said}")
            return said


def _event(name: str, kind: str) -> dict[str, Any]:
    return {"specversion": "1.0", "id": name, "source": "/bench", "type": kind, "data": {"n": name}}


async def _flood(client: _Client, count: int) -> None:
    numbers = iter(range(0, count, BATCH))

    async def publish() -> None:
        for first in numbers:
            made = [_event(f"f-{first + n}", "flood") for n in range(min(BATCH, count - first))]
            said = await client.ask("/v1/notifications/batch", made)
            if any(one["status"] != "accepted" for one in said["events"]):
                raise RuntimeError(f"not accepted: {said['events'][0]}")

    await asyncio.gather(*(publish() for _ in range(PUBLISHING)))


async def _pulls(publisher: _Client, reader: _Client, name: str) -> float:
    """The median of many pulls, in milliseconds."""
    path, took = "/v1/subscriptions/reader-news", []
    for number in range(PULLS):
        await publisher.ask("/v1/notifications", _event(f"{name}-{number}", "news"))
        begun = time.perf_counter()
        said = await reader.ask(f"{path}/pull", {"max": 1})
        took.append((time.perf_counter() - begun) * 1000)
        (one,) = said["deliveries"]
        await reader.ask(f"{path}/ack", {"leases": [one["lease"]]})
    return median(took)


async def _measure(place: Town, waiting: int) -> Pulled:
    publisher, reader = _Client(place, "publisher"), _Client(place, "reader")
    try:
        await _pulls(publisher, reader, "warm")
        alone = await _pulls(publisher, reader, "alone")
        await _flood(publisher, waiting)
        beside = await _pulls(publisher, reader, "beside")
        return Pulled(alone, beside, waiting)
    finally:
        await publisher.session.close()
        await reader.session.close()


def run(root: Path, waiting: int, database: str = "") -> Pulled:
    """Measure on a fresh node, with so much waiting for the one that never comes."""
    place = town(root, database)
    place.start()
    try:
        return asyncio.run(_measure(place, waiting))
    finally:
        place.stop()
