"""The process around a node."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from core import process

_ASK = """
import gc
from core import process
before = gc.get_freeze_count()
process.settle_memory()
print(gc.get_freeze_count() > before + 1000, gc.get_threshold()[0] > 700, gc.isenabled())
"""


def test_what_is_loaded_is_no_longer_searched_for_cycles():
    """In a process of its own: it changes the collector for good. Cycles of what is made later are still found."""
    said = subprocess.run([sys.executable, "-c", _ASK], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["True", "True", "True"]


def test_a_node_runs_on_the_fast_loop():
    """The same as under `stafet up`."""
    seen = []

    async def main() -> None:
        seen.append(type(asyncio.get_running_loop()).__module__)

    process.run(main())
    assert seen == ["uvloop"]
