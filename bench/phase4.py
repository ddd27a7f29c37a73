"""Stafet beside phase4 (Java) in one run: the same estate, keys, payloads and TLS, each product's own client and own server.

Rules:

1. Two processes a side, one that sends and one that receives, on the same machine; while one product is measured, no process of
   the other runs.
2. Durable on both sides: the payload is synced before the receipt is made. phase4's inbox is our handler (``conformance/peers``);
   it says how many payloads it synced, and fewer than were acknowledged end the run. It syncs one file an exchange and no folder;
   Stafet's ledger and the sender's four commits are Stafet's own and stay in its figures.
3. A receipt counts when it was verified: signed, and every digest repeated. phase4 refuses a message of its own now and then
   (EBMS:0102, with X25519 under load): those do not count, a row says how many, and more than `FAILING` of them end the run.
4. phase4 runs on the newest Java that is installed, one pair of processes for all of its figures of a profile, warmed by load for
   `WARM` seconds before the first and once more by each large payload; with as many threads as serve it best.
5. What both send: hexadecimal digits (small), octets nobody can compress, and XML (large), from one function each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import exchanges, large, process
from bench.crypto_floor import floor
from bench.rows import Row, ratio_row
from conformance.estate import Estate
from conformance.peers.phase4 import PeerFailed, Phase4, java

WARM: Final = 110.0
"""Seconds of load before phase4's first figure: its rate still grows after a minute."""
THREADS: Final = (2, 4, 8, 16)
"""Numbers of sending threads that phase4 is tried with; none is more than Stafet has in flight."""
RSA, CURVES = "edelivery-1.15", "edelivery-2.0"
TIMES: Final = {RSA: 4.0, CURVES: 8.0}
"""How many times phase4's exchanges per second are wanted, by profile."""
TIMES_LARGE: Final = 5.0
MEMORY: Final = {5_000: 0.5, 100 * large.MIB: 0.25}
"""Share of phase4's peak memory that is allowed, by size."""
FLOOR: Final = 0.5
FAILING: Final = 0.01
KINDS: Final = {RSA: "RSA-2048", CURVES: "Ed25519/X25519"}
SMALL: Final = (1_000, 5_000, 100_000)


@dataclass(frozen=True)
class Plan:
    """How long and how large."""

    warm: float = WARM
    seconds: float = 10.0
    sizes: tuple[int, ...] = (10 * large.MIB, 100 * large.MIB)
    least: int = 3
    """Large messages that are counted at the least."""


QUICK: Final = Plan(5.0, 3.0, (10 * large.MIB,), 2)
"""For trying a change: phase4 is cold then, so its figures are too low to quote."""


@dataclass(frozen=True)
class Measured:
    """What one product did with one kind of message. CPU of both processes in seconds, peak memory in octets."""

    exchanges: int
    seconds: float
    cpu: float
    client_peak: int
    server_peak: int

    @property
    def rate(self) -> float:
        """Exchanges per second."""
        return self.exchanges / self.seconds

    @property
    def cpu_ms(self) -> float:
        """CPU an exchange, both processes, in milliseconds."""
        return self.cpu / self.exchanges * 1000


def xml_file(path: Path, size: int) -> Path:
    """A document of ``size`` octets: records of names that recur and values that do not, then blanks for what is left."""
    head, tail = (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<observations xmlns="urn:stafet:demo">\n',
        b"</observations>\n",
    )
    left, number = size - len(head) - len(tail), 0
    with path.open("wb") as out:
        out.write(head)
        while len(one := record(number)) <= left:
            out.write(one)
            left, number = left - len(one), number + 1
        out.write(b" " * left + tail)
    return path


def record(number: int) -> bytes:
    """One record of `xml_file`."""
    values = os.urandom(24).hex()
    return (
        f'  <observation id="{values[:16]}" status="final"><subject ref="citizen/{values[16:28]}"/>'
        f'<code system="urn:stafet:demo:codes">{number % 97}</code><value unit="mmHg">{80 + number % 60}</value>'
        f"<note>Measured at home, reported by the carer: {values[28:]}</note></observation>\n"
    ).encode()


def version() -> str:
    """The Java that phase4 runs on, as it names itself."""
    said = subprocess.run([java(), "-version"], capture_output=True, text=True, check=True).stderr
    return "Java " + said.partition('"')[2].partition('"')[0]


class Rival:
    """phase4 with itself: a process that sends and one that receives."""

    def __init__(self, folder: Path, profile: str) -> None:
        self._estate = Estate(folder, profile=profile)
        self._estate.make()
        self._server = Phase4(self._estate, profile)
        try:
            self._client = Phase4(self._estate, profile, self._estate.municipality)
        except BaseException:  # whatever ends it, no process of ours stays behind
            self._server.stop()
            raise
        self.threads, self.failed = THREADS[0], 0

    def stop(self) -> None:
        """End both."""
        self._client.stop()
        self._server.stop()

    def warm(self, path: Path, seconds: float) -> None:
        """Load both for ``seconds``, and find out how many threads are best for them."""
        self.threads = max(THREADS)
        self.run(path, seconds * 0.7)
        rates = {}
        for number in THREADS:
            self.threads = number
            rates[number] = self.run(path, seconds * 0.3 / len(THREADS)).rate
        self.threads = max(rates, key=lambda number: rates[number])

    def run(self, path: Path, seconds: float, least: int = 1, threads: int = 0) -> Measured:
        """Send ``path`` again and again. Raises `PeerFailed` when receipts do not hold or a payload was not synced."""
        pids = self._client.pid, self._server.pid
        for pid in pids:
            process.forget_peak(pid)
        before, used = self._stored(), sum(map(process.cpu, pids))
        wanted = {"threads": threads or self.threads, "seconds": seconds, "least": least, "files": path}
        said = self._client.ask("load", **{name: str(value) for name, value in wanted.items()})
        used = sum(map(process.cpu, pids)) - used
        peaks = [process.peak(pid) for pid in pids]
        good, bad = int(said.get("good", 0)), int(said.get("bad", 0))
        self.failed += bad
        if not good or bad > good * FAILING:
            raise PeerFailed(f"phase4 says {said}")
        if (synced := self._stored() - before) < good:
            raise PeerFailed(f"phase4 acknowledged {good} messages and synced {synced} payloads")
        for folder in self._server.inbox.iterdir():
            shutil.rmtree(folder)
        return Measured(good, float(said["seconds"]), used, *peaks)

    def _stored(self) -> int:
        return int(self._server.ask("stored")["synced"])


def _small(folder: Path, profile: str, size: int, seconds: float) -> Measured:
    """Stafet with itself, small payloads."""
    got = exchanges.run(folder / f"{profile}-{size}", seconds=seconds, payload=size, profile=profile)
    return Measured(got.exchanges, got.seconds, got.sender_cpu + got.receiver_cpu, got.sender_peak, got.receiver_peak)


def _large(folder: Path, paths: Sequence[Path], plan: Plan) -> Iterator[Measured]:
    """Stafet with itself, each of ``paths`` again and again, one at a time."""
    estate = Estate(folder)
    estate.make()
    try:
        for one in estate.both:
            estate.start(one)
        for path in paths:
            large.one_way(estate, estate.municipality, path)
            moved: list[large.Transfer] = []
            while len(moved) < plan.least or sum(one.seconds for one in moved) < plan.seconds:
                moved.append(large.one_way(estate, estate.municipality, path))
            peaks = max(one.sender_peak for one in moved), max(one.receiver_peak for one in moved)
            seconds, used = sum(one.seconds for one in moved), sum(one.cpu for one in moved)
            yield Measured(len(moved), seconds, used, *peaks)
    finally:
        estate.stop_all()


# --- rows -------------------------------------------------------------------------------------------------------------


def named(size: int) -> str:
    """A size in words."""
    return f"{size // large.MIB} MiB" if size >= large.MIB else f"{size // 1000} kB"


def small_rows(kind: str, size: int, ours: Measured, theirs: Measured, threads: int, times: float) -> Iterator[Row]:
    """Stafet's exchanges a second beside phase4's, and what each costs."""
    label = f"{kind}, {named(size)}"
    name = f"{label}: durable exchanges, {exchanges.IN_FLIGHT} in flight"
    against = f"phase4, {threads} threads: {theirs.rate:.1f}"
    yield ratio_row(name, ours.rate, "exchanges/s", against, theirs.rate, times)
    yield _cpu(label, ours, theirs)
    yield from memory_rows(label, ours, theirs, MEMORY.get(size) if kind == KINDS[RSA] else None)


def large_rows(kind: str, size: int, ours: Measured, theirs: Measured) -> Iterator[Row]:
    """Stafet's megabytes a second beside phase4's."""
    label = f"{KINDS[RSA]}, {named(size)} of {kind}"
    mine, others = (one.rate * size / 1e6 for one in (ours, theirs))
    yield ratio_row(f"{label}, one at a time", mine, "MB/s", f"phase4: {others:.2f}", others, TIMES_LARGE)
    yield _cpu(label, ours, theirs)
    yield from memory_rows(label, ours, theirs, MEMORY.get(size))


def _cpu(label: str, ours: Measured, theirs: Measured) -> Row:
    against = f"phase4: {theirs.cpu_ms:.1f}"
    return Row(f"{label}: CPU", ours.cpu_ms, "ms an exchange", against, ours.cpu_ms / theirs.cpu_ms)


def memory_rows(label: str, ours: Measured, theirs: Measured, bar: float | None) -> Iterator[Row]:
    """Peak memory of client and server; without a bar where none is set for the size."""
    for side in ("client", "server"):
        mine, others = (getattr(one, f"{side}_peak") / large.MIB for one in (ours, theirs))
        name, against = f"{label}: peak memory of the {side}", f"phase4: {others:.0f}"
        if bar is None:
            yield Row(name, mine, "MiB", against, mine / others)
        else:
            yield ratio_row(name, mine, "MiB", against, others, bar, least=False)


def _files(folder: Path, sizes: Sequence[int]) -> dict[tuple[str, int], Path]:
    makers = {"random octets": large.random_file, "XML": xml_file}
    return {(k, s): make(folder / f"{s}-{k}", s) for s in sizes for k, make in makers.items()}


def rows(folder: Path, plan: Plan) -> Iterator[Row]:
    """Everything, phase4 first. Raises `PeerFailed` where phase4 cannot be built, started or believed."""
    large_files = _files(folder, plan.sizes)
    small_files = {size: folder / f"{size}.json" for size in SMALL}
    for size, path in small_files.items():
        path.write_bytes(os.urandom(size // 2).hex().encode())
    theirs: dict[tuple[str, int], Measured] = {}
    threads, failed = {}, 0
    for profile in (RSA, CURVES):
        rival = Rival(folder / f"phase4-{profile}", profile)
        try:
            rival.warm(small_files[5_000], plan.warm)
            threads[profile] = rival.threads
            theirs |= {(profile, size): rival.run(path, plan.seconds) for size, path in small_files.items()}
            for key, path in large_files.items() if profile == RSA else ():
                rival.run(path, 0, threads=1)
                theirs[key] = rival.run(path, plan.seconds, plan.least, 1)
        finally:
            failed += rival.failed
            rival.stop()
    yield Row("messages of its own that phase4 refused, warming up included", failed, "messages")
    yield Row(f"phase4 on {version()}, warmed before its figures", plan.warm, "s")
    bare = floor(2048, plan.seconds)
    for profile in (RSA, CURVES):
        for size in SMALL:
            ours = _small(folder, profile, size, plan.seconds)
            yield from small_rows(KINDS[profile], size, ours, theirs[profile, size], threads[profile], TIMES[profile])
            if (profile, size) == (RSA, 5_000):
                yield Row("RSA-2048, 5 kB: share of the floor", ours.rate, "exchanges/s", "the floor", ours.rate / bare)
    core = large.primitives()
    yield Row("primitives of both sides on one core", core, "MB/s")
    measured = _large(folder / "stafet-large", list(large_files.values()), plan)
    for ((kind, size), _), ours in zip(large_files.items(), measured, strict=True):
        yield from large_rows(kind, size, ours, theirs[kind, size])
        if kind == "random octets" and size == max(plan.sizes):
            rate = ours.rate * size / 1e6
            yield ratio_row(f"{named(size)} of {kind}", rate, "MB/s", "the primitives on one core", core, FLOOR)
