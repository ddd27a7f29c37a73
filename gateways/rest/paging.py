"""Pages of lists: a cursor and a number, never an offset.

Rule: a cursor says what the page before ended with. What came or went meanwhile neither repeats nor hides anything else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from pydantic import Field

from core import limits
from gateways.rest.endpoint import Shape

T = TypeVar("T")


class Paging(Shape):
    """Which page of a list."""

    after: Annotated[str, Field(max_length=64, description="What the page before said under `next`.")] = ""
    limit: Annotated[int, Field(ge=1, le=limits.LIST_MOST, description="At most so many.")] = limits.LIST_PAGE


class Newest(Shape):
    """Which page of what is listed by time, the newest first."""

    after: Annotated[
        str, Field(pattern=r"^([0-9a-f]{32})?$", description="What the page before said under `next`.")
    ] = ""
    limit: Annotated[int, Field(ge=1, le=limits.LIST_MOST, description="At most so many.")] = limits.LIST_PAGE


class Page(Shape):
    """A page of a list."""

    next: str | None = None
    """Ask for it under `after` to get the next page; it is not there on the last."""


def page_of(items: Sequence[T], key: Callable[[T], str], paging: Paging) -> tuple[list[T], str | None]:
    """A page of what is sorted by ``key``, and the cursor of the next."""
    later = [one for one in items if key(one) > paging.after]
    page = later[: paging.limit]
    return page, key(page[-1]) if len(later) > len(page) else None
