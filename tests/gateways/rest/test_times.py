"""Times in queries."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from gateways.rest.events import rfc3339
from gateways.rest.times import Moment, moment


@pytest.mark.parametrize(
    ("value", "same"),
    [
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:00Z"),
        ("2026-03-01t12:00:00.5z", "2026-03-01T12:00:00.500000Z"),
        ("2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00Z"),
        ("2026-03-01T06:30:00.000001-05:30", "2026-03-01T12:00:00.000001Z"),
        ("2026-03-01T12:00:00.123456789Z", "2026-03-01T12:00:00.123456Z"),
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_time_is_one_moment(value: str, same: str):
    """However it is written."""
    assert rfc3339(moment(value)) == same


@pytest.mark.parametrize(
    "value",
    [
        *("", "now", "1772366400", "2026-03-01", "2026-03-01T12:00:00", "2026-03-01T12:00Z", "20260301T120000Z"),
        *("2026-13-01T12:00:00Z", "2026-02-30T12:00:00Z", "2026-03-01T25:00:00Z", "2026-03-01T12:00:60Z"),
        *("0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "2026-03-01T12:00:00+24:00"),
        *("2026-03-01T12:00:00Z\n", "2026-03-01T12:00:00.Z", "٢٠٢٦-03-01T12:00:00Z", 1772366400, None),
    ],
)
def test_what_is_no_time_is_refused(value: Any):
    """Without a zone, without a date, or on no calendar; and what was wrong is not repeated."""
    with pytest.raises(ValueError, match=r"^is no time (as 2026-03-01T12:00:00Z|there is on a calendar)$"):
        moment(value)


def test_a_lost_plus_is_named():
    """A query turns it into a space."""
    with pytest.raises(ValueError, match="%2B"):
        moment("2026-03-01T13:00:00 01:00")
    with pytest.raises(ValueError, match=r"Z$"):
        moment("2026-03-01 13:00:00Z")


class Asked(BaseModel):
    """A question."""

    since: Moment | None = None


def test_a_field_takes_it():
    """And says its form to whoever reads the document."""
    assert Asked.model_validate({"since": "1970-01-01T00:00:01Z"}).since == 1_000_000
    with pytest.raises(ValidationError) as error:
        Asked.model_validate({"since": "x"})
    assert [one["loc"] for one in error.value.errors()] == [("since",)]
    assert {"type": "string", "format": "date-time"} in Asked.model_json_schema()["properties"]["since"]["anyOf"]
