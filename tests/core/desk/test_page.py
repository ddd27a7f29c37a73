"""Pages: where they end, and what may be asked."""

from __future__ import annotations

import pytest

from core import limits
from core.desk.page import Page, cut, line, size
from core.errors import UsageError


def test_a_page_knows_whether_another_comes():
    """One row more than asked for was found, or not."""
    assert cut([1, 2, 3], 2, str) == Page((1, 2), "2")
    assert cut([1, 2], 2, str) == Page((1, 2), "")
    assert cut([], 2, str) == Page((), "")


@pytest.mark.parametrize("limit", [0, -1, limits.PAGE_MOST + 1])
def test_a_page_is_neither_empty_nor_endless(limit):
    """The field and the bounds are named."""
    with pytest.raises(UsageError, match=r"limit: .* is not between 1 and 1000"):
        size(limit)
    assert [size(n) for n in (1, limits.PAGE_MOST)] == [1, limits.PAGE_MOST]


@pytest.mark.parametrize("value", ["a\x00b", "a\nb", "\x7f", "\ud800", "x" * 1025])
def test_what_no_name_holds_is_refused_before_a_database_sees_it(value):
    """The field is named, the value is not repeated."""
    with pytest.raises(UsageError, match=r"^sender: (longer than|holds a character)"):
        line("sender", value)


def test_any_other_text_may_be_looked_for():
    """Danish letters, spaces, quotes and signs of query languages included."""
    assert line("reference", 'Åby\'s "sag" 7 % _ ;--') == 'Åby\'s "sag" 7 % _ ;--'
