"""A handover of the size that the target picture asks for passes through a node that does not grow by it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import handover


@pytest.mark.requirement("R33")
def test_a_handover_of_120_mb_costs_no_memory(tmp_path: Path):
    """Up in one body, up as an upload and down again, compared by digest: the node's peak grows by less than 64 MiB."""
    ways = handover.run(tmp_path)
    assert [way.name for way in ways] == ["up, in one body", "up, as an upload", "down"]
    for way in ways:
        assert way.size == 120_000_000
        assert way.growth < 64 * handover.MIB, way


def test_the_primitives_take_time():
    """What the figures stand beside."""
    assert handover.primitives(2 * handover.MIB) > 0
