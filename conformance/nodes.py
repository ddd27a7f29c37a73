"""Three nodes on one PostgreSQL and one store, as real processes: do they share the work as one node would do it?

Rules:

1. Every receiver is there once at each node and takes its loans from all of them; what one node lent is acknowledged at another.
2. Some loans are left to run out on purpose, one node has a clock that is ten seconds wrong, and one is killed in the middle.
3. Receivers believe only what they were told, and write down when they were told it. At the end their books are compared: each
   accepted event was acknowledged by each receiver exactly once; no two held one delivery at the same time; what a killed node or
   a silent receiver had was lent again within the lease; and every chain of the trace is whole.
"""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import aiohttp
from sqlalchemy import Connection, select

from conformance.town import AUTHORITY, Town, agreement, notification, subscription
from core.clock import SECOND, VARIABLE, Micros, SystemClock, from_datetime
from core.ledger import trace
from core.ledger.tables import alarm, delivery
from core.runtime import read_only_engine

NODES: Final = ("birkelund", "nordby", "sonderby")
SKEWED, KILLED, SKEW = NODES[1], NODES[2], 10
"""One node's clock is so many seconds ahead; another is killed."""
RECEIVERS: Final = ("journal", "archive")
LEASE: Final = 2.0
LATE: Final = 2 * SECOND
"""How long after a lease has ended it may be lent again at the latest: a node asks once a second on behalf of who waits."""
NEAR: Final = SECOND // 20
"""How far apart the clocks of two nodes may be that have been put right."""
BATCH: Final = 8
FORGOTTEN: Final = 0.1
"""Share of the loans that their receiver says nothing of."""


@dataclass(frozen=True, slots=True)
class Held:
    """One loan as its receiver knows it; times by the machine's own clock."""

    delivery: str
    epoch: int
    event: str
    receiver: str
    node: str
    got: Micros
    until: Micros
    asked: Micros
    """When the pull that gave it was sent: the loan began after that."""


@dataclass
class Tally:
    """What the proof says. Everything in `BAD` must be 0."""

    accepted: int = 0
    acknowledged: int = 0
    loans: int = 0
    elsewhere: int = 0
    """Loans acknowledged at another node than the one that lent them."""
    lent_again: int = 0
    lost: int = 0
    doubled: int = 0
    """Deliveries whose acknowledgement was taken more than once."""
    held_by_two: int = 0
    late: int = 0
    """Loans that ended in silence and were not lent again in time."""
    longest: float = 0.0
    """Seconds after its lease had ended until a delivery was lent again, the longest."""
    broken_chains: int = 0
    by_node: dict[str, int] = field(default_factory=dict)
    """Loans of each node."""

    @property
    def ok(self) -> bool:
        """Whether the proof holds, and has shown what it is about."""
        shown = self.accepted and self.elsewhere and self.lent_again and len(self.by_node) == len(NODES)
        return bool(shown) and not any(getattr(self, name) for name in BAD)


BAD: Final = ("lost", "doubled", "held_by_two", "late", "broken_chains")


def make(root: Path, database: str, *, lease: float = LEASE) -> list[Town]:
    """Three homes of one configuration."""
    documents: list[dict[str, Any]] = [notification("news"), agreement("news", "publisher", "send")]
    for name in RECEIVERS:
        more = {"lease": lease, "max_attempts": 1000}
        documents += [agreement("news", name, "receive"), subscription(f"{name}-news", name, "news", **more)]
    systems = dict.fromkeys(("publisher", *RECEIVERS), AUTHORITY)
    shared = {"store": str(root / "store")}
    first = Town(root, systems, node=NODES[0], database=database, settings_beside=shared).make(documents)
    return [first, *(first.beside(name) for name in NODES[1:])]


class Books:
    """What receivers write down, and what comes of comparing it."""

    def __init__(self) -> None:
        self.accepted: list[str] = []
        self.held: list[Held] = []
        self.done: list[tuple[str, str, str]] = []
        """Token, receiver and node of each acknowledgement that was answered ``done``."""

    def compare(self, tally: Tally) -> None:
        """Count what the books say."""
        by_token = {f"{one.delivery}.{one.epoch}": one for one in self.held}
        done = Counter(token.partition(".")[0] for token, _, _ in self.done)
        events = {(by_token[token].event, receiver) for token, receiver, _ in self.done}
        tally.accepted, tally.loans = len(self.accepted), len(self.held)
        tally.acknowledged = len(self.done)
        tally.lost = sum((event, name) not in events for event in self.accepted for name in RECEIVERS)
        tally.doubled = sum(count - 1 for count in done.values()) + len(self.held) - len(by_token)
        tally.elsewhere = sum(node != by_token[token].node for token, _, node in self.done)
        tally.by_node = dict(Counter(one.node for one in self.held))
        loans: dict[str, list[Held]] = defaultdict(list)
        for one in sorted(self.held, key=lambda one: one.epoch):
            loans[one.delivery].append(one)
        for chain in loans.values():
            self._follow(chain, tally)

    @staticmethod
    def _follow(loans: Sequence[Held], tally: Tally) -> None:
        """The loans of one delivery, one after the other: a later one begins when the one before has ended, and soon."""
        for before, after in pairwise(loans):
            tally.lent_again += 1
            tally.held_by_two += after.got < before.until - NEAR
            if after.epoch == before.epoch + 1:  # else a node died with the one between them
                waited = after.got - before.until
                tally.longest = max(tally.longest, waited / SECOND)
                tally.late += waited > LATE


class Run:
    """One run over three nodes."""

    def __init__(self, towns: Sequence[Town], seed: int = 0) -> None:
        self.towns, self.books = towns, Books()
        self._random, self._publishing, self._ending = random.Random(seed), True, False
        self._clock = SystemClock()

    def start(self, skew: Mapping[str, float]) -> None:
        """Start them one after the other: the first brings the schema and the configuration."""
        for town in self.towns:
            wrong = {VARIABLE: str(skew[town.node])} if town.node in skew else {}
            town.start(environment=wrong)

    async def work(self, seconds: float, kill: Sequence[Town] = ()) -> None:
        """Publish and fetch for so long, kill in the middle, and go on until everything was acknowledged."""
        async with asyncio.TaskGroup() as tasks:
            fetching = [
                tasks.create_task(self._fetch(name, town))
                for town in self.towns
                for name in RECEIVERS
                for _ in range(2)
            ]
            sending = [tasks.create_task(self._publish(town)) for town in self.towns]
            await asyncio.sleep(seconds / 2)
            for town in kill:
                await asyncio.to_thread(town.kill)
            await asyncio.sleep(seconds / 2)
            self._publishing = False
            await asyncio.wait(sending)
            until = time.monotonic() + 30 * LEASE
            while len(self.books.done) < len(self.books.accepted) * len(RECEIVERS) and time.monotonic() < until:
                await asyncio.sleep(0.05)
            self._ending = True
            for task in fetching:
                task.cancel()

    def _others(self, town: Town) -> list[Town]:
        return [one for one in self.towns if one.process is not None and one is not town]

    async def _publish(self, town: Town) -> None:
        """Each event until it was accepted, at whichever node is up."""
        number, at = 0, town
        async with _session(town, "publisher") as session:
            while self._publishing:
                number += 1
                name = f"{town.node}-{number}"
                event = {
                    "specversion": "1.0",
                    "id": name,
                    "source": "/nodes",
                    "type": "news",
                    "data": {"number": number},
                }
                while await _ask(session, f"{at.url}/v1/notifications", event) is None:
                    at = self._random.choice(self._others(at))
                    await asyncio.sleep(0.05)
                self.books.accepted.append(name)
                await asyncio.sleep(0.005)

    async def _fetch(self, name: str, town: Town) -> None:
        """Fetch from one node until the end, and acknowledge at any."""
        async with _session(town, name) as session:
            path = f"/v1/subscriptions/{name}-news"
            while not self._ending and town.process is not None:
                asked = self._clock.now()
                said = await _ask(session, f"{town.url}{path}/pull", {"max": BATCH, "wait": 1})
                got = self._clock.now()
                lent = [_held(one, name, town.node, asked, got) for one in (said or {}).get("deliveries", ())]
                self.books.held += lent
                kept = [one for one in lent if self._random.random() >= FORGOTTEN]
                if kept:
                    await self._acknowledge(session, path, name, kept)
                elif said is None:
                    await asyncio.sleep(0.05)

    async def _acknowledge(self, session: aiohttp.ClientSession, path: str, name: str, kept: Sequence[Held]) -> None:
        tokens = [f"{one.delivery}.{one.epoch}" for one in kept]
        for _ in range(20):  # an answer that was lost is asked for again: saying so twice is harmless
            at = self._random.choice([one for one in self.towns if one.process is not None])
            said = await _ask(session, f"{at.url}{path}/ack", {"leases": tokens})
            if said is not None:
                done = [one["lease"] for one in said["results"] if one["result"] == "done"]
                self.books.done += [(token, name, at.node) for token in done]
                return
            await asyncio.sleep(0.05)

    def read(self, query: Any) -> Any:
        """Ask the ledger that they share."""
        engine = read_only_engine(self.towns[0].settings())
        try:
            with engine.connect() as connection:
                return query(connection)
        finally:
            engine.dispose()


def _session(town: Town, system: str) -> aiohttp.ClientSession:
    tls: ssl.SSLContext = town.client_context(system)
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls), timeout=aiohttp.ClientTimeout(total=10))


async def _ask(session: aiohttp.ClientSession, url: str, body: Any) -> Any:
    """What was answered, or None: nobody there, or not now."""
    media = {"Content-Type": "application/cloudevents+json" if "specversion" in body else "application/json"}
    try:
        async with session.post(url, json=body, headers=media) as answer:
            return await answer.json() if answer.status in (200, 201) else None
    except (aiohttp.ClientError, OSError, TimeoutError):
        return None


def _held(one: Mapping[str, Any], receiver: str, node: str, asked: Micros, got: Micros) -> Held:
    name, _, epoch = one["lease"].partition(".")
    until = from_datetime(datetime.fromisoformat(one["until"]))
    return Held(name, int(epoch), one["event"]["id"], receiver, node, got, until, asked)


def broken_chains(connection: Connection) -> int:
    """How many writers' chains are not whole."""
    return sum(trace.verify_chain(connection, name) is not None for name in trace.chains(connection))


def open_deliveries(connection: Connection) -> int:
    """How many deliveries are not settled."""
    return len(connection.execute(select(delivery.c.id).where(delivery.c.state == "ready")).all())


def alarms(connection: Connection) -> set[str]:
    """The codes of what people are told."""
    return set(connection.execute(select(alarm.c.code)).scalars())


def run(folder: Path, database: str, *, seconds: float = 6.0, seed: int = 0) -> Tally:
    """The whole proof."""
    one, tally = Run(make(folder, database), seed), Tally()
    try:
        one.start({SKEWED: SKEW})
        victims = [town for town in one.towns if town.node == KILLED]
        asyncio.run(one.work(seconds, victims))
        one.books.compare(tally)
        tally.lost += one.read(open_deliveries)
        tally.broken_chains = one.read(broken_chains)
        assert "clock" in one.read(alarms), "nobody was told that a node's clock is wrong"
    finally:
        for town in one.towns:
            town.kill()
    return tally
