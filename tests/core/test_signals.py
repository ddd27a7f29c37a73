"""Signals to a node that is a process: the first drains, the second ends it at once."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core import commands
from core.ledger import deliveries as queue
from tests.core.making import an_accept
from tests.core.nodes import make_settings, open_runtime

pytestmark = pytest.mark.filterwarnings("ignore:SQLite")

PROGRAM = """
import asyncio, sys
from pathlib import Path
import core.runtime, core.process
from core.gateway import Outcome
from tests.core.nodes import Paper, make_settings, received

class Slow(Paper):
    async def deliver(self, delivery, parcel):
        print("attempt", flush=True)
        await asyncio.sleep(float(sys.argv[2]))
        return Outcome(receipt=received(delivery))

core.runtime.load_gateways = lambda: {"paper": Slow}
core.process.serve(make_settings(Path(sys.argv[1])), lambda node: print("up", flush=True))
"""


def started(home: Path, seconds: float) -> subprocess.Popen[str]:
    """A node in a process of its own with one attempt in flight that takes so long."""
    runtime = open_runtime(make_settings(home))
    runtime.writer.submit(commands.ACCEPT, an_accept()).result(10)
    runtime.close()
    command = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(home), str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    awaited = {"attempt", "up"}
    while awaited:
        line = process.stdout.readline()
        assert line, process.stderr and process.stderr.read()
        awaited.discard(line.strip())
    return process


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_ends_well(tmp_path: Path, name: signal.Signals):
    """What was in flight is delivered and committed; the process ends with 0."""
    process = started(tmp_path / "home", 0.7)
    process.send_signal(name)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    runtime = open_runtime(make_settings(tmp_path / "home"))
    assert runtime.read_now(queue.count_by_state) == {"delivered": 1}
    runtime.close()


def test_a_second_signal_ends_at_once(tmp_path: Path):
    """The delivery lives on under a lease that the next start ends."""
    process = started(tmp_path / "home", 3600)
    process.send_signal(signal.SIGTERM)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=10)
    assert process.returncode == -signal.SIGTERM
    runtime = open_runtime(make_settings(tmp_path / "home"))
    assert runtime.read_now(queue.count_by_state) == {"ready": 1}
    runtime.close()
