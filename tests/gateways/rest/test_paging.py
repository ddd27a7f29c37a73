"""Pages by a cursor."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core import limits
from gateways.rest.paging import Paging, page_of


def test_pages_follow_each_other_without_repeating():
    """Each once; the last has no cursor. What comes or goes meanwhile moves nothing."""
    items = ["a", "b", "c", "d", "e"]
    page, after = page_of(items, str, Paging(limit=2))
    assert (page, after) == (["a", "b"], "b")
    items.remove("b")
    items.insert(0, "A")
    page, after = page_of(items, str, Paging(limit=2, after="b"))
    assert (page, after) == (["c", "d"], "d")
    assert page_of(items, str, Paging(limit=2, after="d")) == (["e"], None)
    assert page_of([], str, Paging()) == ([], None)


@pytest.mark.parametrize("wrong", [{"limit": 0}, {"limit": limits.LIST_MOST + 1}, {"after": "x" * 65}, {"offset": 3}])
def test_a_page_has_an_end(wrong: dict[str, object]):
    """Neither none nor too much; and no offsets."""
    with pytest.raises(ValidationError):
        Paging.model_validate(wrong)
