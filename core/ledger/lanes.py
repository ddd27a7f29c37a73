"""Who goes first when more is due than a claim may take.

Rules:

1. Urgent goes first and normal next, yet bulk is never below a tenth: without that, a busy day starves it.
2. A share nobody needs is not wasted: what is left over is taken in lane order.
3. A claim for one has no tenth to give, so every tenth turn is bulk's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from core import limits

T = TypeVar("T")

RANK: Final = {"urgent": 0, "normal": 1, "bulk": 2}


def fill_levels(limit: int, turn: int) -> tuple[tuple[str, int], ...]:
    """How full a claim may be after each lane's turn."""
    if limit > 1:
        bulk = -(-limit // limits.BULK_SHARE)
    else:
        bulk = int(turn % limits.BULK_SHARE == limits.BULK_SHARE - 1)
    return (("urgent", limit - bulk), ("normal", limit - bulk), ("bulk", limit), ("urgent", limit), ("normal", limit))


def by_lane(limit: int, turn: int, take: Callable[[str, int], list[T]]) -> list[T]:
    """Take at most ``limit`` with ``take(lane, room)``, which gives fewer than ``room`` only when its lane is empty."""
    taken: list[T] = []
    empty: set[str] = set()
    for lane, full in fill_levels(limit, turn):
        room = full - len(taken)
        if room > 0 and lane not in empty:
            found = take(lane, room)
            taken += found
            if len(found) < room:
                empty.add(lane)
    return taken
