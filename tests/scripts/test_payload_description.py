"""The page that says what each field of the payload description is called in every protocol."""

import pytest

from core.description import Description
from scripts import payload_description
from scripts.marks import DocsError
from scripts.payload_description import HEADS, ROWS, page


@pytest.mark.requirement("R92")
def test_every_field_has_a_row_and_every_row_is_full():
    """No field is forgotten, and each protocol has a word for it or is said to have none."""
    assert list(ROWS) == list(Description.model_fields)
    assert all(len(row) == len(HEADS) and all(row) for row in ROWS.values())
    text = page("made")
    for name in Description.model_fields:
        assert sum(line.startswith(f"| `{name}`") for line in text.splitlines()) == 2


def test_a_field_without_a_row_is_refused(monkeypatch: pytest.MonkeyPatch):
    """The page is not made, and the field is named."""
    monkeypatch.setattr(payload_description, "ROWS", {k: v for k, v in ROWS.items() if k != "digest"})
    with pytest.raises(DocsError, match="differ in digest"):
        page("made")
