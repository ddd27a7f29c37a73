"""Retry times: pure arithmetic over a plan, an attempt count and a clock value.

Rules:

1. Waits double from the first up to a ceiling, so that a partner's outage costs little at its end and an hour's outage no storm.
2. Each delivery has its own small displacement, computed from its id: a thousand deliveries that failed together do not come
   back together, and the same delivery always has the same plan (a restart changes nothing).
3. What the far side asked for (``Retry-After``) is a least wait, never a shorter one.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from core import limits
from core.clock import Micros


@dataclass(frozen=True, slots=True)
class RetryPlan:
    """``attempts`` in all, the first wait, and the longest; microseconds."""

    attempts: int = limits.ATTEMPTS
    first: Micros = limits.RETRY_FIRST
    ceiling: Micros = limits.RETRY_CEILING

    def wait(self, attempt: int, delivery_id: str = "") -> Micros:
        """The wait after attempt number ``attempt`` (from 1), displaced by up to a tenth."""
        plain = min(self.first << min(attempt - 1, 40), self.ceiling)
        return plain + plain * (zlib.crc32(delivery_id.encode()) % 1000) // 10_000

    def next_attempt(
        self, attempt: int, now: Micros, delivery_id: str = "", *, at_least: Micros | None = None
    ) -> Micros | None:
        """When to try again after ``attempt`` failed at ``now``; None when that was the last."""
        if attempt >= self.attempts:
            return None
        return now + max(self.wait(attempt, delivery_id), at_least or 0)

    def times(self, start: Micros, delivery_id: str = "") -> tuple[Micros, ...]:
        """All attempts' times when each fails at once: for people who ask how long we would try."""
        times = [start]
        for attempt in range(1, self.attempts):
            times.append(times[-1] + self.wait(attempt, delivery_id))
        return tuple(times)
