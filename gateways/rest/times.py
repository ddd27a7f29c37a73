"""Times in queries: RFC 3339 and nothing else, so that what two programs write is read as the same moment.

Rule: a time without a zone is refused. Who writes ``+01:00`` into a query must write ``%2B01:00``, and is told so.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, WithJsonSchema

from core.clock import Micros, from_datetime

_FORM: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.ASCII)
_LOST_PLUS: Final = re.compile(r".*:\d\d(\.\d+)? \d\d:\d\d", re.ASCII)


def moment(value: Any) -> Micros:
    """A time as RFC 3339 has it. Raises `ValueError` saying what is wrong, without repeating it."""
    if not isinstance(value, str) or not _FORM.fullmatch(value):
        lost = isinstance(value, str) and _LOST_PLUS.fullmatch(value)
        raise ValueError("is no time as 2026-03-01T12:00:00Z" + (": write + as %2B in a query" if lost else ""))
    try:
        return from_datetime(datetime.fromisoformat(value.upper()).astimezone(UTC))
    except (ValueError, OverflowError):
        raise ValueError("is no time there is on a calendar") from None


Moment = Annotated[Micros, BeforeValidator(moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A field that takes such a time."""
