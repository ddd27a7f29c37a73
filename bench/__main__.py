"""``python -m bench``: every benchmark in one run, each figure beside what it is compared with, taken minutes apart.

``--quick`` takes shorter measurements and a smaller payload: for trying a change, not for quoting. Exit code 1 when a
bar is missed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from bench import (
    as4_package,
    backlog,
    exchanges,
    fanout,
    handover,
    large,
    nodes,
    phase4,
    routing,
    seal,
    tracking,
    urgent,
)
from bench.crypto_floor import costs, floor
from bench.rows import Row, ratio_row, write
from conformance.crash import postgresql
from conformance.peers.phase4 import PeerFailed
from core.clock import DAY, SystemClock, to_datetime

BAR = 0.40
"""Share of the cryptographic floor that full durable exchanges are to reach, with one SQLite process a side."""
LEDGER_MS = 1.0
PACKAGE = 1.5
"""Times what the Python package ``as4`` does in one process, with HTTP, TLS and durability on our side."""
GROWTH = 64 * large.MIB
ISOLATION = 2.0
"""Times that a pull may take while another subscriber stays away."""


def _exchange_rows(folder: Path, seconds: float) -> Iterator[Row]:
    for bits in (2048, 3072, 4096):
        bare = floor(bits, seconds)
        measured = exchanges.run(folder / f"rsa-{bits}", bits=bits, seconds=seconds)
        yield Row(f"cryptographic floor, RSA-{bits}, two processes", bare, "exchanges/s")
        name = f"durable exchanges, RSA-{bits}, one SQLite process a side, {exchanges.IN_FLIGHT} in flight"
        against = "the floor of the same keys"
        if bits == 2048:
            yield ratio_row(name, measured.rate, "exchanges/s", against, bare, BAR)
            name = "ledger CPU, both sides"
            yield ratio_row(name, measured.ledger_ms, "ms an exchange", "1 ms", LEDGER_MS, 1.0, least=False)
        else:
            yield Row(name, measured.rate, "exchanges/s", against, measured.rate / bare)
        yield from _limits(bits, measured)


def _limits(bits: int, measured: exchanges.Figures) -> Iterator[Row]:
    """Where the CPU of an exchange goes, and how much of the machine was used: what limits the rate."""
    crypto = sum(costs(bits)) / 1000
    shares = {
        "cryptography": crypto,
        "ledger": measured.ledger_ms,
        "XML, HTTP, TLS and the rest": measured.cpu_ms - crypto - measured.ledger_ms,
    }
    for what, ms in shares.items():
        yield Row(f"RSA-{bits}: CPU for {what}", ms, "ms an exchange", "all CPU of both sides", ms / measured.cpu_ms)
    busy = measured.cpu_ms * measured.rate / 1000
    cores = len(os.sched_getaffinity(0))
    yield Row(f"RSA-{bits}: cores busy", busy, "cores", f"{cores} cores", busy / cores)


def _postgresql_row(folder: Path, seconds: float, bare: float) -> Row:
    with postgresql(folder / "postgresql") as database:
        own = {name: database(name) for name in ("municipality", "hospital")}
        measured = exchanges.run(folder / "pg", seconds=seconds, databases=own)
    name = "durable exchanges, RSA-2048, one process a side on PostgreSQL"
    return Row(name, measured.rate, "exchanges/s", "the floor of the same keys", measured.rate / bare)


def _large_rows(folder: Path, size: int) -> Iterator[Row]:
    core = large.primitives()
    yield Row("primitives of both sides on one core", core, "MB/s")
    ways = ("municipality to hospital", "hospital to municipality")
    for way, moved in zip(ways, large.run(folder, size), strict=True):
        label = f"{moved.size >> 20} MiB, {way}"
        yield Row(label, moved.rate, "MB/s", "the primitives on one core", moved.rate / core)
        for side, growth in (("sender", moved.sender_growth), ("receiver", moved.receiver_growth)):
            name = f"{label}: growth of the {side}'s peak memory"
            yield ratio_row(name, growth / large.MIB, "MiB", "64 MiB", GROWTH / large.MIB, 1.0, least=False)


def _handover_rows(folder: Path, size: int) -> Iterator[Row]:
    core = handover.primitives()
    yield Row("handover: primitives of one way on one core", core, "MB/s")
    for way in handover.run(folder, size):
        label = f"handover of {way.size / 1e6:.0f} MB over REST, {way.name}"
        yield Row(label, way.rate, "MB/s", "the primitives on one core", way.rate / core)
        name = f"{label}: growth of the node's peak memory"
        yield ratio_row(name, way.growth / large.MIB, "MiB", "64 MiB", GROWTH / large.MIB, 1.0, least=False)


def _phase4_rows(folder: Path, quick: bool) -> Iterator[Row]:
    try:
        yield from phase4.rows(folder, phase4.QUICK if quick else phase4.Plan())
    except PeerFailed as failure:
        print(f"phase4: {failure}", file=sys.stderr)
        yield Row("phase4 could not be measured", 0.0, "", ok=False)


def _package_rows(folder: Path, seconds: float) -> Iterator[Row]:
    """The Python package ``as4`` builds and parses in one process, without HTTP and without keeping anything."""
    try:
        theirs = as4_package.rate(folder, seconds, to_datetime(SystemClock().now() - DAY))
    except PeerFailed as failure:
        print(f"as4: {failure}", file=sys.stderr)
        yield Row("the package as4 could not be measured", 0.0, "", ok=False)
        return
    ours = exchanges.run(folder / "stafet", seconds=seconds, payload=as4_package.SIZE)
    yield Row("package as4: exchanges of 10 kB, one process, no HTTP, nothing kept", theirs, "exchanges/s")
    name = "durable exchanges of 10 kB, RSA-2048, one SQLite process a side"
    yield ratio_row(name, ours.rate, "exchanges/s", "the package as4", theirs, PACKAGE)


def _seal_rows(folder: Path, size: int) -> Iterator[Row]:
    try:
        yield from seal.rows(folder, size, to_datetime(SystemClock().now()))
    except PeerFailed as failure:
        print(f"seal: {failure}", file=sys.stderr)
        yield Row("openssl could not be measured", 0.0, "", ok=False)


def _backlog_rows(folder: Path, waiting: int) -> Iterator[Row]:
    """One subscriber's backlog must not slow another's pull."""
    pulled = backlog.run(folder, waiting)
    yield Row("pull of one event, nothing else waiting", pulled.alone, "ms, median")
    name = f"pull of one event, {waiting} waiting for another subscription"
    yield ratio_row(name, pulled.beside, "ms, median", "nothing waiting", pulled.alone, ISOLATION, least=False)


def _rows(group: str, folder: Path, quick: bool) -> Iterator[Row]:
    if group == "exchanges":
        seconds = 3.0 if quick else 10.0
        rows = list(_exchange_rows(folder, seconds))
        yield from [*rows, _postgresql_row(folder, seconds, rows[0].value)]
    elif group == "large":
        yield from _large_rows(folder, (128 if quick else 2048) * large.MIB)
    elif group == "seal":
        yield from _seal_rows(folder, (64 if quick else 1024) * large.MIB)
    elif group == "backlog":
        yield from _backlog_rows(folder, 5_000 if quick else 50_000)
    elif group == "handover":
        yield from _handover_rows(folder, handover.SIZE)
    elif group == "fanout":
        yield from fanout.rows(folder, fanout.BATCH * (20 if quick else 160))
    elif group == "routing":
        yield from routing.rows(folder, 0.5 if quick else 3.0)
    elif group == "urgent":
        yield from urgent.rows(folder, 4.0 if quick else 15.0)
    elif group == "nodes":
        yield from nodes.rows(folder, fanout.BATCH * (20 if quick else 80))
    elif group == "as4":
        yield from _package_rows(folder, 3.0 if quick else 10.0)
    elif group == "tracking":
        yield from tracking.rows(folder, *((50_000, 20) if quick else (tracking.PARCELS, 100)))
    else:
        yield from _phase4_rows(folder, quick)


GROUPS = (
    "exchanges",
    "large",
    "seal",
    "backlog",
    "handover",
    "as4",
    "tracking",
    "fanout",
    "routing",
    "urgent",
    "nodes",
    "phase4",
)


def main(arguments: list[str] | None = None) -> int:
    """Run everything and leave ``build/bench.json``."""
    parser = argparse.ArgumentParser(description="Every benchmark, as ratios taken in one run.")
    parser.add_argument("--quick", action="store_true", help="shorter and smaller; not for quoting")
    parser.add_argument("--only", nargs="+", choices=GROUPS, default=GROUPS, help="these groups; all when left out")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="stafet-bench-") as name:
        for group in options.only:
            print(f"{group} …", file=sys.stderr)
            (folder := Path(name) / group).mkdir()
            rows += _rows(group, folder, options.quick)
    return 0 if write(rows, options.out) else 1


if __name__ == "__main__":
    sys.exit(main())
