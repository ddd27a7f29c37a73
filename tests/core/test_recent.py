"""What was used of late."""

from __future__ import annotations

from core.recent import Recent


def test_the_oldest_use_goes_first():
    """Getting is using."""
    kept: Recent[int] = Recent(100)
    for number in range(10):
        kept.put(str(number), number, 10)
    assert kept.get("0") == 0
    kept.put("new", 10, 10)
    assert (kept.get("0"), kept.get("1"), kept.get("2"), kept.get("new")) == (0, None, 2, 10)


def test_what_is_large_is_not_kept():
    """One value never pushes out all others."""
    kept: Recent[int] = Recent(100)
    kept.put("small", 1, 10)
    kept.put("large", 2, 11)
    assert (kept.get("small"), kept.get("large")) == (1, None)


def test_a_value_is_kept_once():
    """It never changes, so the second is the first."""
    kept: Recent[int] = Recent(100)
    kept.put("a", 1, 10)
    kept.put("a", 2, 10)
    assert kept.get("a") == 1
    for number in range(9):
        kept.put(str(number), number, 10)
    assert kept.get("a") == 1
