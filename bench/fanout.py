"""Notifications: published in batches, fanned out to twenty subscribers, fetched and acknowledged; beside NATS JetStream.

Rules:

1. Both are durable: Stafet commits before it answers; JetStream syncs each write (``sync_interval: always``) before it answers.
2. Both sides batch, publishing and fetching, by the same numbers; one process of clients drives each, on the same machine.
3. What counts is a notification that all twenty have acknowledged; the clock stops when the last one is.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.client import Client
from bench.rows import Row, ratio_row
from bench.usage import cpu
from conformance.crash import postgresql
from conformance.estate import free_port
from conformance.town import AUTHORITY, Town, agreement, notification, subscription

SUBSCRIBERS: Final = 20
BATCH: Final = 64
"""Events in one request that publishes, and deliveries in one that fetches."""
PUBLISHING: Final = 4
"""Batches under way at once."""
BAR: Final = 0.5
"""Share of what JetStream does in the same run that Stafet is to reach on SQLite."""
BODY: Final = {"text": "x" * 400}


@dataclass(frozen=True)
class Measured:
    """Notifications a second, and what one of them cost with all its deliveries, in milliseconds of CPU."""

    rate: float
    count: int
    server_ms: float
    client_ms: float


# --- Stafet -----------------------------------------------------------------------------------------------------------


def town(root: Path, database: str = "", **settings: Any) -> Town:
    """One publisher, twenty subscribers, each a system of its own."""
    names = [f"subscriber-{number}" for number in range(SUBSCRIBERS)]
    systems = dict.fromkeys(("publisher", *names), AUTHORITY)
    documents = [notification("news"), agreement("news", "publisher", "send")]
    for name in names:
        documents += [agreement("news", name, "receive"), subscription(f"{name}-news", name, "news")]
    return Town(root, systems, database=database, settings_beside=settings).make(documents)


async def _publish(client: Client, numbers: asyncio.Queue[int]) -> None:
    while not numbers.empty():
        first = numbers.get_nowait()
        made = [
            {"specversion": "1.0", "id": f"{first + i}", "source": "/bench", "type": "news", "data": BODY}
            for i in range(BATCH)
        ]
        said = await client.ask("/v1/notifications/batch", made)
        if any(one["status"] != "accepted" for one in said["events"]):
            raise RuntimeError(f"not accepted: {said['events'][0]}")


async def _take(client: Client, name: str, count: int) -> None:
    taken = 0
    while taken < count:
        said = await client.ask(f"/v1/subscriptions/{name}-news/pull", {"max": BATCH, "wait": 5})
        leases = [one["lease"] for one in said["deliveries"]]
        if leases:
            results = (await client.ask(f"/v1/subscriptions/{name}-news/ack", {"leases": leases}))["results"]
            taken += sum(one["result"] == "done" for one in results)


async def _exchange(places: Sequence[Town], count: int, begin: int = 0) -> float:
    """Systems come to the nodes in turn; whoever publishes, to all of them."""
    numbers: asyncio.Queue[int] = asyncio.Queue()
    for first in range(begin, begin + count, BATCH):
        numbers.put_nowait(first)
    at = itertools.cycle(places)
    publishers = [Client(next(at), "publisher", PUBLISHING) for _ in range(PUBLISHING)]
    takers = {name: Client(next(at), name, 1) for name in places[0].systems if name != "publisher"}
    try:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for publisher in publishers:
                tasks.create_task(_publish(publisher, numbers))
            for name, client in takers.items():
                tasks.create_task(_take(client, name, count))
        return time.perf_counter() - begun
    finally:
        for client in (*publishers, *takers.values()):
            await client.close()


def stafet(root: Path, count: int, database: str = "") -> Measured:
    """Publish ``count`` notifications (a multiple of `BATCH`) and have all acknowledged."""
    return over([town(root, database)], count)


def over(places: Sequence[Town], count: int) -> Measured:
    """The same with several nodes of one configuration, already made."""
    try:
        for place in places:
            place.start()
        pids = [place.process.pid for place in places if place.process is not None]
        asyncio.run(_exchange(places, 6 * BATCH))  # what is made at the first request is not of every one
        return _measured(pids, count, lambda: asyncio.run(_exchange(places, count, 6 * BATCH)))
    finally:
        for place in places:
            if place.process is not None:
                place.stop()


def _measured(pids: Sequence[int], count: int, run: Callable[[], float]) -> Measured:
    server, client = sum(map(cpu, pids)), cpu(os.getpid())
    seconds = run()
    spent = (sum(map(cpu, pids)) - server, cpu(os.getpid()) - client)
    return Measured(count / seconds, count, *(1000 * each / count for each in spent))


# --- NATS JetStream ---------------------------------------------------------------------------------------------------


def _server(folder: Path, port: int) -> subprocess.Popen[bytes]:
    config = folder / "nats.conf"
    config.write_text(
        json.dumps(
            {
                "host": "127.0.0.1",
                "port": port,
                "jetstream": {"store_dir": str(folder / "store"), "sync_interval": "always"},
            }
        )
    )
    return subprocess.Popen(
        [str(Path(sys.executable).with_name("nats-server")), "-c", str(config)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


async def _jetstream(port: int, count: int) -> float:
    import nats

    connection = await nats.connect(f"nats://127.0.0.1:{port}")
    stream = connection.jetstream()
    await stream.add_stream(name="news", subjects=["news"])
    takers = [await stream.pull_subscribe("news", durable=f"subscriber-{i}") for i in range(SUBSCRIBERS)]
    body = json.dumps(BODY).encode()
    left = count // BATCH

    async def publish() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await asyncio.gather(*(stream.publish("news", body) for _ in range(BATCH)))

    async def take(taker: Any) -> None:
        taken = 0
        while taken < count:
            try:
                found = await taker.fetch(BATCH, timeout=5)
            except TimeoutError:
                continue
            for one in found:
                await one.ack()
            taken += len(found)

    begun = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for _ in range(PUBLISHING):
            tasks.create_task(publish())
        for taker in takers:
            tasks.create_task(take(taker))
    await connection.flush()
    seconds = time.perf_counter() - begun
    await connection.close()
    return seconds


def nats(count: int) -> Measured:
    """The same with NATS JetStream."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        server = _server(Path(folder), port)
        try:
            time.sleep(1)
            return _measured([server.pid], count, lambda: asyncio.run(_jetstream(port, count)))
        finally:
            server.terminate()
            server.wait()


# --- what the benchmark says ------------------------------------------------------------------------------------------


def rows(folder: Path, count: int) -> Iterator[Row]:
    """JetStream, Stafet on SQLite and on PostgreSQL, one after the other."""
    theirs = nats(count)
    yield Row(f"NATS JetStream, sync always: notifications to {SUBSCRIBERS}", theirs.rate, "a second")
    yield from _cost("NATS JetStream", theirs)
    ours = stafet(folder / "sqlite", count)
    name = f"Stafet on SQLite: notifications to {SUBSCRIBERS}"
    yield ratio_row(name, ours.rate, "a second", "JetStream", theirs.rate, BAR)
    yield from _cost("Stafet on SQLite", ours)
    with postgresql(folder / "postgresql") as database:
        shared = stafet(folder / "shared", count, database("fanout"))
    name = f"Stafet on PostgreSQL: notifications to {SUBSCRIBERS}"
    yield Row(name, shared.rate, "a second", "JetStream", shared.rate / theirs.rate)
    yield from _cost("Stafet on PostgreSQL, without the database's", shared)


def _cost(whose: str, found: Measured) -> Iterator[Row]:
    yield Row(f"{whose}: CPU of the server for one with its {SUBSCRIBERS} deliveries", found.server_ms, "ms")
    yield Row(f"{whose}: CPU of the clients", found.client_ms, "ms")
