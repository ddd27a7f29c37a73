"""What an integration may say of the receipts it expects."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core.integration import ExpectedReceipt


@pytest.mark.requirement("R69")
@pytest.mark.parametrize(
    "said",
    [
        {"within": 60},
        {"business_days": 3, "calendar": "NO"},
        {"system": "egedal-journal", "within": 0.5},
        {"function": "school-psychology", "level": "envelope", "business_days": 366},
    ],
)
def test_of_one_or_of_whoever_gets_it_within_a_time_or_by_days(said):
    """A business receipt unless it says otherwise."""
    assert ExpectedReceipt.model_validate(said).level == said.get("level", "business")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "say within"),
        ({"within": 60, "business_days": 1}, "say within"),
        ({"system": "a", "function": "b", "within": 60}, "of a system or of a function, not of both"),
        ({"within": 0}, "greater than 0"),
        ({"within": float("nan")}, "than"),
        ({"business_days": 367}, "less than or equal to 366"),
        ({"business_days": 1, "calendar": "dk"}, "pattern"),
        ({"level": "personal", "within": 60}, "Input should be"),
        ({"within": 60, "of": "a"}, "Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused(said, words):
    """Naming what is wrong."""
    with pytest.raises(ValidationError, match=words):
        ExpectedReceipt.model_validate(said)
