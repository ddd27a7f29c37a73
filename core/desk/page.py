"""A page of a long list: some rows, and where the next page begins. No offsets: a page costs the same however deep it lies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from core import limits
from core.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """``next`` is the cursor to ask for the page after this one with; "" when this is the last."""

    items: tuple[T, ...]
    next: str = ""


def size(limit: int) -> int:
    """How many rows a page shall have. Raises `UsageError`."""
    if not 1 <= limit <= limits.PAGE_MOST:
        raise UsageError(f"limit: {limit} is not between 1 and {limits.PAGE_MOST}")
    return limit


def cut(found: Sequence[T], limit: int, cursor: Callable[[T], str]) -> Page[T]:
    """A page of what was found with one row more than the page has, if there is one."""
    items = tuple(found[:limit])
    return Page(items, cursor(items[-1]) if len(found) > limit else "")


def line(field: str, value: str) -> str:
    """A value to look for, as it may stand in a query. Raises `UsageError` naming the field."""
    if len(value) > limits.DESCRIPTION_VALUE:
        raise UsageError(f"{field}: longer than {limits.DESCRIPTION_VALUE} characters")
    if any(character < " " or character == "\x7f" or "\ud800" <= character <= "\udfff" for character in value):
        raise UsageError(f"{field}: holds a character that no name has")
    return value
