"""Pages by a cursor."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from core import limits
from gateways.rest.paging import Newest, Paging, page_of


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


def test_a_cursor_of_what_is_listed_by_time_is_an_id():
    """Nothing else is one; who makes one up gets what lies behind it of what is its own."""
    assert Newest.model_validate({"after": "0" * 32, "limit": "7"}).limit == 7
    assert Newest(after="").after == ""
    for wrong in ("0" * 31, "G" * 32, "0" * 32 + "\n", "' OR 1=1 --", "x"):
        with pytest.raises(ValidationError):
            Newest(after=wrong)
