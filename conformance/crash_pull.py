"""The crash proof with receivers that pull: node and receivers are killed under load, then the books are compared.

Rules:

1. Kills are SIGKILL: of the node at random moments and at each named point of what it commits, and of the receivers at random
   moments; on SQLite and on PostgreSQL.
2. The publisher believes only what it was told, and publishes again under the same id what was not answered.
3. At the end: each accepted event is in every subscriber's book; the ledger has acknowledged each delivery exactly once; whoever
   asked for order never got an event of a key after a later one of it.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, select

from conformance.fetching import read_book
from conformance.town import AUTHORITY, Town, agreement, notification, subscription
from core import failpoint
from core.ledger.tables import delivery, trace
from core.runtime import read_only_engine

SYSTEMS: Final = ("journal", "robot", "archive")
ORDERED: Final = "journal"
"""The one that asked for order by correlation id."""
POINTS: Final = tuple(
    f"{when}-commit:{kind}" for kind in ("accept", "pull", "acknowledge") for when in ("before", "after")
)
KEYS: Final = 8
_LEASE: Final = 2.0


@dataclass
class Tally:
    """What is counted. ``lost``, ``doubled`` and ``out_of_order`` must be 0."""

    kills: int = 0
    accepted: int = 0
    fetched: int = 0
    lost: int = 0
    doubled: int = 0
    """Deliveries that the ledger has acknowledged more or less than once."""
    out_of_order: int = 0
    repeated: int = 0
    """Events that a receiver got more than once: allowed, and what a kill between the two costs."""
    by_point: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the proof holds."""
        return self.accepted > 0 and not (self.lost or self.doubled or self.out_of_order)


class _Publisher(threading.Thread):
    """Publishes until told to stop: each key's events one after the other."""

    def __init__(self, town: Town, name: str) -> None:
        super().__init__(daemon=True)
        self._town, self._name, self._ending = town, name, threading.Event()
        self._abandoned = False
        self._tls = town.client_context("publisher")
        self.accepted: list[tuple[str, str]] = []
        """Ids and keys, in the order in which they were accepted."""

    def stop(self, *, at_once: bool = False) -> None:
        """End once what is under way has been answered, or ``at_once``, when there is nobody to answer."""
        self._ending.set()
        self._abandoned = at_once
        self.join()

    def run(self) -> None:
        """Publish."""
        number = 0
        while not self._ending.is_set():
            number += 1
            event, key = f"{self._name}-{number:06d}", f"{self._name}-case-{number % KEYS}"
            said = {"specversion": "1.0", "id": event, "source": "/crash", "type": "news", "correlationid": key}
            if self._publish(said):
                self.accepted.append((event, key))
            time.sleep(0.005)

    def _publish(self, event: dict[str, Any]) -> bool:
        """Until it is accepted, or nobody wants it any more."""
        body, headers = json.dumps(event).encode(), {"Content-Type": "application/cloudevents+json"}
        request = urllib.request.Request(f"{self._town.url}/v1/notifications", body, headers)
        while not self._abandoned:
            try:
                with urllib.request.urlopen(request, timeout=10, context=self._tls):
                    return True
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        return False


class Series:
    """Kills on one node and its receivers, then the comparison."""

    def __init__(self, town: Town, tally: Tally, seed: int) -> None:
        self._town, self._tally, self._random = town, tally, random.Random(seed)
        self._receivers: dict[str, subprocess.Popen[bytes]] = {}
        self._publishers = [_Publisher(town, f"p{number}") for number in range(2)]

    def run(self, kills: Sequence[str]) -> None:
        """Each of ``kills`` is a point of the node's, "node" for a random moment, or the name of a receiver."""
        self._town.start()
        try:
            for name in SYSTEMS:
                self._begin(name)
            for publisher in self._publishers:
                publisher.start()
            ended = False
            try:
                for victim in kills:
                    self._kill(victim)
                ended = True
            finally:
                for publisher in self._publishers:
                    publisher.stop(at_once=not ended)
            self._settle()
            self._compare()
        finally:
            for process in self._receivers.values():
                process.kill()
                process.wait()
            self._town.kill()

    def _begin(self, name: str) -> None:
        town = self._town
        files = (town.root / "ca.pem", town.root / "clients" / f"{name}.pem")
        arguments = [town.url, *map(str, files), f"{name}-news", str(self._book(name))]
        self._receivers[name] = subprocess.Popen([sys.executable, "-m", "conformance.fetching", *arguments])

    def _book(self, name: str) -> Path:
        return self._town.root / f"{name}.book"

    def _kill(self, victim: str) -> None:
        if victim in SYSTEMS:
            time.sleep(self._random.uniform(0.2, 1.0))
            self._receivers[victim].kill()
            self._receivers[victim].wait()
            self._begin(victim)
        elif victim == "node":
            time.sleep(self._random.uniform(0.05, 1.2))
            self._town.kill()
            self._town.start()
        else:
            self._town.kill()
            reached = self._die_at(victim)
            victim += "" if reached else " (not reached)"
            self._town.kill()
            self._town.start()
        self._tally.kills += 1
        self._tally.by_point[victim] = self._tally.by_point.get(victim, 0) + 1

    def _die_at(self, point: str) -> bool:
        """Start a node that ends itself at a point; whether it did."""
        try:
            self._town.start(environment={failpoint.VARIABLE: f"{point}:{self._random.randint(1, 12)}"})
        except RuntimeError:  # before it was ready
            return True
        process = self._town.process
        assert process is not None
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _settle(self) -> None:
        """Until nothing is open, or nothing moves any more."""
        until = time.monotonic() + 120
        while time.monotonic() < until and self._read(_open):
            time.sleep(0.2)
        time.sleep(1)  # the receivers write down what they were told

    # -- the books

    def _read(self, query: Any) -> Any:
        engine = read_only_engine(self._town.settings())
        try:
            with engine.connect() as connection:
                return query(connection)
        finally:
            engine.dispose()

    def _compare(self) -> None:
        accepted = [pair for publisher in self._publishers for pair in publisher.accepted]
        self._tally.accepted += len(accepted)
        for name in SYSTEMS:
            got = [line["id"] for line in read_book(self._book(name)) if line["what"] == "got"]
            counted = Counter(got)
            self._tally.fetched += len(counted)
            self._tally.repeated += sum(count > 1 for count in counted.values())
            self._tally.lost += sum(not counted[event] for event, _ in accepted)
        settled = self._read(_acknowledged)
        self._tally.doubled += sum(count != 1 for count in settled.values())
        self._tally.doubled += abs(len(settled) - len(accepted) * len(SYSTEMS))
        self._tally.out_of_order += self._disorder(accepted)

    def _disorder(self, accepted: list[tuple[str, str]]) -> int:
        """How often an event of a key was got before one that was published before it was over."""
        place = {event: number for number, (event, _) in enumerate(accepted)}
        furthest: dict[str, int] = defaultdict(lambda: -1)
        wrong = 0
        for line in read_book(self._book(ORDERED)):
            if line["what"] == "got" and line["id"] in place:
                wrong += place[line["id"]] < furthest[line["key"]]
                furthest[line["key"]] = max(furthest[line["key"]], place[line["id"]])
        return wrong


def _open(connection: Connection) -> bool:
    return connection.execute(select(delivery.c.id).where(delivery.c.state == "ready").limit(1)).first() is not None


def _acknowledged(connection: Connection) -> Counter[tuple[str, str]]:
    """How often each delivery was acknowledged, by parcel and receiver; one that is not yet delivered counts 0."""
    said: Counter[tuple[str, str]] = Counter()
    for row in connection.execute(select(delivery.c.parcel_id, delivery.c.receiver)):
        said[row.parcel_id, row.receiver] = 0
    for row in connection.execute(select(trace.c.parcel_id, trace.c.public).where(trace.c.event == "acknowledged")):
        said[row.parcel_id, json.loads(row.public)[3]["receiver"]] += 1
    return said


def plan(rounds: int, seed: int) -> list[str]:
    """Kills in order: a point of the node's, a receiver, the node at a random moment, a receiver, and again."""
    points, chance = list(POINTS), random.Random(seed)
    chance.shuffle(points)
    kills = []
    for number in range(rounds):
        if number % 2:
            kills.append(chance.choice(SYSTEMS))
        elif number % 4:
            kills.append("node")
        else:
            kills.append(points[number // 4 % len(points)])
    return kills


def make(root: Path, database: str = "") -> Town:
    """The node and its systems."""
    documents: list[dict[str, Any]] = [notification("news"), agreement("news", "publisher", "send")]
    for name in SYSTEMS:
        order = {"ordered_by": "correlation_id"} if name == ORDERED else {}
        more = {"lease": _LEASE, "max_attempts": 1000, **order}
        documents += [agreement("news", name, "receive"), subscription(f"{name}-news", name, "news", **more)]
    systems = dict.fromkeys(("publisher", *SYSTEMS), AUTHORITY)
    return Town(root, systems, database=database).make(documents)


def run(
    rounds: int, folder: Path, database: Any, tally: Tally, *, seed: int = 0, size: int = 25, say: Any = print
) -> None:
    """The whole proof; every second series on PostgreSQL. ``database`` makes one by name."""
    kills, begun = plan(rounds, seed), time.monotonic()
    size = min(size, max(1, (rounds + 1) // 2))
    for index, start in enumerate(range(0, rounds, size)):
        town = make(folder / f"pull-{index}", database(f"pull_{index}") if index % 2 else "")
        Series(town, tally, seed + index).run(kills[start : start + size])
        say(
            f"{tally.kills}/{rounds} kills with receivers that pull, {tally.accepted} accepted, {tally.fetched} fetched by"
            f" {len(SYSTEMS)}, {tally.lost} lost, {tally.doubled} doubled, {tally.out_of_order} out of order,"
            f" {time.monotonic() - begun:.0f} s"
        )
