"""Finding one parcel among a million: how long each kind of question takes on either database.

The ledger is filled as a year of a few municipalities might fill it: some senders and receivers are large and most are small,
nearly everything is settled, one receiver has stayed away for a week. Only the tables that search reads are filled. Questions
are asked one after the other with other values each time, over a connection of their own, as a node asks them.
"""

from __future__ import annotations

import random
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, text

from bench.rows import Row, ratio_row
from conformance.crash import postgresql
from core.clock import DAY, HOUR, SystemClock
from core.delivery import State
from core.ledger.engine import open_engine, upgrade
from core.ledger.search import Asked, find
from core.ledger.tables import delivery, idempotency, lookup, outside_id, parcel
from core.parcel import new_id

PARCELS = 1_000_000
BAR = 300.0
"""Milliseconds that 99 of 100 questions of each kind may take."""
SPAN = 365 * DAY
_BATCH = 20_000
_TABLES = (parcel, delivery, idempotency, outside_id, lookup)
_PAGE = 51


@dataclass(frozen=True)
class Filled:
    """What was filled in, to ask about: a sample of names, and the time of the newest parcel."""

    parcels: Sequence[str]
    systems: Sequence[str]
    now: int


def _pick(chance: random.Random, names: Sequence[str]) -> str:
    """One of them, the first ones far more often."""
    return names[int(len(names) * chance.random() ** 4)]


def _state(chance: random.Random, receiver: str, age: int) -> str:
    if receiver == "system-7" and age < 7 * DAY:
        return State.READY.value
    drawn = chance.random()
    if drawn < 0.005:
        return State.FAILED.value
    if drawn < 0.0052:
        return State.HELD.value
    return State.ACCEPTED.value if drawn < 0.02 else State.DELIVERED.value


def _rows(number: int, now: int, systems: Sequence[str]) -> Iterator[dict[str, tuple[Any, ...]]]:
    chance = random.Random(number)
    for index in range(number):
        at = now - SPAN + index * SPAN // number
        sender, receiver = _pick(chance, systems), _pick(chance, systems)
        integration, rule = f"integration-{int(50 * chance.random() ** 3)}", f"rule-{int(300 * chance.random() ** 4)}"
        mine, to = new_id(at), new_id(at)
        state, words = _state(chance, receiver, now - at), '{"type":"letter","sender":"x"}'
        yield {
            "parcel": (mine, sender, integration, "letter", words, at, "k1", b"w" * 40, 1, "as4"),
            "delivery": (
                *(to, mine, receiver, "" if receiver == "system-7" else "as4", "", state, at, 1, 1, 0, "normal", ""),
                *(rule, 1, "", "", at, "", 0, 0),
            ),
            "idempotency": (f"as4:{sender}", f"{index}@birkelund.example", b"f" * 32, mine, b"", at),
            "outside_id": (f"wire-{index}@stafet.example", to),
            "lookup": (f"case-{index // 3}", mine),
        }


_COLUMNS = {
    "parcel": "id sender integration type description accepted_at key_id wrapped_key config_version gateway",
    "delivery": "id parcel_id receiver gateway destination state due_at epoch attempts deaths lane lease_owner"
    " rule config_version last_code last_reason settled_at line turn stops",
    "idempotency": "scope value fingerprint parcel_id answer created_at",
    "outside_id": "value delivery_id",
    "lookup": "value parcel_id",
}


def fill(engine: Engine, number: int, now: int) -> Filled:
    """A ledger of so many parcels."""
    systems = [f"system-{index}" for index in range(200)]
    kept: list[str] = []
    batch: list[dict[str, tuple[Any, ...]]] = []
    raw = engine.raw_connection()
    try:
        for made in _rows(number, now, systems):
            batch.append(made)
            if len(batch) == _BATCH:
                kept += _store(raw, batch)
                batch = []
        kept += _store(raw, batch)
    finally:
        raw.close()
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("VACUUM ANALYZE"))
    return Filled(kept, systems, now)


def _store(raw: Any, batch: Sequence[dict[str, tuple[Any, ...]]]) -> list[str]:
    cursor = raw.cursor()
    sqlite = not hasattr(cursor, "copy")
    if sqlite:
        cursor.execute("BEGIN IMMEDIATE")
    for name, columns in _COLUMNS.items():
        listed, rows = columns.split(), [made[name] for made in batch]
        if sqlite:
            marks = ", ".join("?" * len(listed))
            cursor.executemany(f"INSERT INTO {name} ({', '.join(listed)}) VALUES ({marks})", rows)
            continue
        with cursor.copy(f"COPY {name} ({', '.join(listed)}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
    raw.commit()
    return [made["parcel"][0] for made in batch[:: max(1, _BATCH // 20)]]


def questions(filled: Filled, number: int) -> dict[str, Callable[[random.Random], Asked]]:
    """Every kind of question, each with a value drawn anew."""
    now, systems = filled.now, filled.systems

    def a_time(chance: random.Random) -> int:
        return int(now - SPAN * chance.random())

    def an_hour(chance: random.Random) -> dict[str, Any]:
        begin = a_time(chance)
        return {"since": begin, "until": begin + HOUR}

    return {
        "the newest": lambda c: Asked(),
        "a page far down": lambda c: Asked(before=c.choice(filled.parcels)),
        "by sender": lambda c: Asked(sender=c.choice(systems)),
        "by receiver": lambda c: Asked(receiver=c.choice(systems)),
        "by sender and receiver": lambda c: Asked(sender=c.choice(systems), receiver=c.choice(systems)),
        "by sender and integration": lambda c: Asked(
            sender=c.choice(systems), integration=f"integration-{c.randrange(50)}"
        ),
        "by integration": lambda c: Asked(integration=f"integration-{c.randrange(50)}"),
        "by rule": lambda c: Asked(rule=f"rule-{c.randrange(300)}"),
        "what failed": lambda c: Asked(states=(State.FAILED,)),
        "what is held, of one receiver": lambda c: Asked(states=(State.HELD,), receiver=c.choice(systems)),
        "what waits": lambda c: Asked(states=(State.READY,)),
        "what waits, of one sender": lambda c: Asked(states=(State.READY,), sender=c.choice(systems)),
        "what was delivered": lambda c: Asked(states=(State.DELIVERED,)),
        "in an hour": lambda c: Asked(**an_hour(c)),
        "in an hour, of one sender": lambda c: Asked(sender=c.choice(systems), **an_hour(c)),
        "by parcel": lambda c: Asked(reference=c.choice(filled.parcels)),
        "by the sender's key": lambda c: Asked(reference=f"{c.randrange(number)}@birkelund.example"),
        "by the name on the wire": lambda c: Asked(reference=f"wire-{c.randrange(number)}@stafet.example"),
        "by case": lambda c: Asked(reference=f"case-{c.randrange(number // 3)}"),
        "by a name that nobody has": lambda c: Asked(reference=f"nothing-{c.random()}"),
        "what an authority may see": lambda c: Asked(systems=frozenset(c.sample(systems, 5))),
        "of that, what failed": lambda c: Asked(systems=frozenset(c.sample(systems, 5)), states=(State.FAILED,)),
    }


def measure(engine: Engine, filled: Filled, number: int, times: int) -> dict[str, list[float]]:
    """Milliseconds of each question, by kind."""
    found: dict[str, list[float]] = {}
    for name, ask in questions(filled, number).items():
        chance = random.Random(name)
        for _ in range(times):
            asked = ask(chance)
            begun = time.perf_counter()
            with engine.connect() as connection:
                find(connection, asked, _PAGE)
            found.setdefault(name, []).append((time.perf_counter() - begun) * 1000)
    return found


def rows(folder: Path, number: int = PARCELS, times: int = 100) -> Iterator[Row]:
    """p50 and p99 of every kind of question, on SQLite and on PostgreSQL."""
    with postgresql(folder / "postgresql") as database:
        for kind, url in (("SQLite", f"sqlite:///{folder / 'ledger.db'}"), ("PostgreSQL", database("tracking"))):
            yield from _measured(kind, url, number, times)


def _measured(kind: str, url: str, number: int, times: int) -> Iterator[Row]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SQLite version
        engine = open_engine(url)
        upgrade(engine)
        reader = open_engine(url, read_only=True)
    begun = time.perf_counter()
    filled = fill(engine, number, SystemClock().now())
    yield Row(f"{kind}: filling {number:,} parcels", time.perf_counter() - begun, "s")
    for name, taken in measure(reader, filled, number, times).items():
        last = statistics.quantiles(taken, n=100, method="inclusive")[98]
        yield Row(f"{kind}: {name}, the middle", statistics.median(taken), "ms")
        yield ratio_row(f"{kind}: {name}, 99 of 100", last, "ms", "300 ms", BAR, 1.0, least=False)
    reader.dispose()
    engine.dispose()
