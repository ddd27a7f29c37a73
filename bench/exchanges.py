"""Full durable exchanges: accepted, frozen, sent signed and encrypted over TLS, accepted there, receipt verified, settled.

The receiver is a node process of its own; the sender is another, driven from inside by as many clients as are in flight: each
hands over a parcel, waits until its receipt is settled in the ledger, and hands over the next. Nothing is left out: four commits
at the sender and one at the receiver belong to every exchange.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import usage
from conformance.estate import TYPE, Estate, Organisation
from core import log, process
from core.delivery import State
from core.description import Description
from core.kernel import NodeKernel
from core.node import Node
from core.parcel import Item, Parcel
from core.settings import load_settings

IN_FLIGHT = 16
PAYLOAD = 5_000


@dataclass(frozen=True)
class Figures:
    """What one run measured. CPU in seconds, both processes together and the ledgers' writers alone; peak memory in octets."""

    exchanges: int
    seconds: float
    sender_cpu: float
    receiver_cpu: float
    ledger_cpu: float
    sender_peak: int
    receiver_peak: int

    @property
    def rate(self) -> float:
        """Exchanges per second."""
        return self.exchanges / self.seconds

    @property
    def ledger_ms(self) -> float:
        """Ledger CPU an exchange, both sides, in milliseconds."""
        return self.ledger_cpu / self.exchanges * 1000

    @property
    def cpu_ms(self) -> float:
        """All CPU an exchange, both sides, in milliseconds."""
        return (self.sender_cpu + self.receiver_cpu) / self.exchanges * 1000


def run(
    folder: Path,
    *,
    bits: int = 2048,
    seconds: float = 8.0,
    databases: dict[str, str] | None = None,
    payload: int = PAYLOAD,
    profile: str = "edelivery-1.15",
) -> Figures:
    """One run: two fresh nodes, a warm-up, then ``seconds`` of load with a payload of so many octets each."""
    estate = Estate(folder, bits=bits, databases=databases or {}, profile=profile)
    estate.make()
    estate.start(estate.hospital)
    try:
        command = [sys.executable, "-m", "bench.exchanges", str(estate.municipality.home), str(seconds), str(payload)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True) as driver:
            assert driver.stdout is not None
            assert driver.stdin is not None
            driver.stdout.readline()  # warm
            before = _receiver(estate, estate.hospital)
            driver.stdin.write("go\n")
            driver.stdin.flush()
            mine = json.loads(driver.stdout.readline())
            after = _receiver(estate, estate.hospital)
            receiver_peak = usage.peak(estate.ask(estate.hospital, "status")["pid"])
    finally:
        estate.stop_all()
    return Figures(
        mine["exchanges"],
        mine["seconds"],
        mine["cpu"],
        after[0] - before[0],
        mine["ledger"] + after[1] - before[1],
        mine["peak"],
        receiver_peak,
    )


def _receiver(estate: Estate, one: Organisation) -> tuple[float, float]:
    status = estate.ask(one, "status")
    return usage.cpu(status["pid"]), status["ledger_cpu"]


# --- the driver, inside the sending node's process --------------------------------------------------------------------


class Driver:
    """Clients inside the sending node."""

    def __init__(self, node: Node, payload: int) -> None:
        self._node, self._payload, self._loop = node, payload, asyncio.get_running_loop()
        self._kernel = NodeKernel(node.runtime, "local", node.mail)
        self._waiting: dict[str, asyncio.Future[None]] = {}
        self._early: set[str] = set()
        node.runtime.on_settled = lambda d: self._loop.call_soon_threadsafe(self._settled, d)
        self.done = 0

    def _settled(self, delivery: Any) -> None:
        if delivery.state is not State.DELIVERED:
            raise SystemExit(f"a delivery is {delivery.state}: the figures would be worthless")
        future = self._waiting.pop(delivery.parcel_id, None)
        if future is None:
            self._early.add(delivery.parcel_id)
        else:
            future.set_result(None)

    async def _one(self) -> None:
        stage = self._kernel.stage(size_limit=1 << 20)
        sink = stage.sink()
        sink.write(os.urandom(self._payload // 2 + 1).hex().encode()[: self._payload])
        payload = sink.finish(name="observation.json", media_type="application/json")
        description = Description(type=TYPE, sender="care-record", size=payload.size, digest=payload.sha256.hex())
        now = self._kernel.clock.now()
        parcel = Parcel(
            stage.parcel_id, "care-record", "homecare", description, (payload,), now, stage.key_id, stage.wrapped_key
        )
        await self._kernel.accept(Item(parcel))
        if parcel.id in self._early:
            self._early.discard(parcel.id)
        else:
            self._waiting[parcel.id] = future = self._loop.create_future()
            await future
        self.done += 1

    async def drive(self, seconds: float) -> float:
        """Keep `IN_FLIGHT` exchanges going; gives the time it took."""
        begun = time.perf_counter()

        async def client() -> None:
            while time.perf_counter() - begun < seconds:
                await self._one()

        await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
        return time.perf_counter() - begun


async def _main(home: Path, seconds: float, payload: int) -> None:
    node = Node(load_settings(home))
    running = asyncio.create_task(node.run())
    await node.ready.wait()
    process.settle_memory()
    driver = Driver(node, payload)
    await driver.drive(1.5)
    print("warm", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    driver.done = 0
    cpu, ledger = _cpu(), node.runtime.writer.statistics.cpu
    took = await driver.drive(seconds)
    result = {
        "exchanges": driver.done,
        "seconds": took,
        "cpu": _cpu() - cpu,
        "ledger": node.runtime.writer.statistics.cpu - ledger,
        "peak": usage.peak(os.getpid()),
    }
    print(json.dumps(result), flush=True)
    node.stop()
    await running


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("seconds", type=float)
    parser.add_argument("payload", type=int)
    options = parser.parse_args()
    log.configure("warning", "json")
    process.run(_main(options.home, options.seconds, options.payload))
