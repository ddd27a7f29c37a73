"""Named points to die at."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from core import failpoint


def run(armed: str, passes: int) -> int:
    """The exit code of a process that passes the point ``here`` so many times."""
    code = f"from core.failpoint import reach\nfor _ in range({passes}): reach('here')"
    return subprocess.run([sys.executable, "-c", code], env={failpoint.VARIABLE: armed}, timeout=60).returncode


@pytest.mark.parametrize(
    ("armed", "passes", "ending"),
    [
        ("here:1", 1, -signal.SIGKILL),
        ("here:3", 3, -signal.SIGKILL),
        ("here:3", 2, 0),
        ("there:1", 5, 0),
        ("here", 5, 0),
        ("here:x", 5, 0),
        ("", 5, 0),
    ],
)
def test_a_process_dies_where_it_was_told_to(armed: str, passes: int, ending: int):
    """The n-th time it comes by, and nowhere else."""
    assert run(armed, passes) == ending


def test_nothing_is_armed_here():
    """A point costs nothing and does nothing in a process that was not told."""
    failpoint.reach("before-commit:accept")


def test_every_point_is_passed_by_the_code():
    """A name in the list that nobody passes would be a proof of nothing."""
    from pathlib import Path

    root = Path(failpoint.__file__).parents[1]
    text = "".join(p.read_text() for folder in ("core", "gateways") for p in (root / folder).rglob("*.py"))
    for points in failpoint.POINTS.values():
        for point in points:
            name = point.partition(":")[0]
            assert f'reach("{point}")' in text or f'reach(f"{name}:' in text, point
