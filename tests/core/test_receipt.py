"""Receipts: evidence as a value."""

from __future__ import annotations

import pytest

from core.receipt import Level, Receipt, Verdict


@pytest.mark.requirement("R66")
def test_a_receipt_is_a_value_that_cannot_be_changed():
    """One model for every level and verdict; two with the same facts are equal; evidence is immutable."""
    for level in Level:
        for verdict in Verdict:
            one = Receipt("d1", level, verdict, 7, b"<Receipt/>")
            assert one == Receipt("d1", level, verdict, 7, b"<Receipt/>")
            assert one != Receipt("d1", level, verdict, 7, b"<Receipt />")
            with pytest.raises(AttributeError):
                one.raw = b"forged"  # type: ignore[misc]


def test_levels_and_verdicts_are_words():
    """They are stored and shown as they are written here, so a change would be a migration."""
    assert [str(level) for level in Level] == ["transport", "envelope", "business"]
    assert [str(verdict) for verdict in Verdict] == ["accepted", "rejected", "failed"]
