"""Three nodes on one PostgreSQL against one on the same cores: what it costs to share a ledger.

Rule: the load is that of `bench.fanout`, and all processes have the same cores: what three do worse than one is the price of
sharing: more connections, more commits, one more copy of everything that a node keeps at hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import fanout
from bench.rows import Row, ratio_row
from conformance.crash import postgresql

NODES: Final = 3
BAR: Final = 0.8
"""Share of the rate of one node that three are to reach on the same cores."""


def rows(folder: Path, count: int) -> Iterator[Row]:
    """One node, then three, each on a database of its own."""
    with postgresql(folder / "postgresql") as database:
        alone = fanout.stafet(folder / "alone", count, database("alone"))
        first = fanout.town(folder / "shared", database("shared"), store=str(folder / "store"))
        together = fanout.over([first, *(first.beside(f"node-{number}") for number in range(1, NODES))], count)
    yield Row(f"one node on PostgreSQL: notifications to {fanout.SUBSCRIBERS}", alone.rate, "a second")
    yield Row("one node on PostgreSQL: CPU of the node for one notification", alone.server_ms, "ms")
    name = f"{NODES} nodes on one PostgreSQL: notifications to {fanout.SUBSCRIBERS}"
    yield ratio_row(name, together.rate, "a second", "one node on the same cores", alone.rate, BAR)
    name = f"{NODES} nodes on one PostgreSQL: CPU of all nodes for one notification"
    yield Row(name, together.server_ms, "ms", "one node", together.server_ms / alone.server_ms)
