"""Service agreements: in which direction and on which days they hold."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core.agreement import ServiceAgreement
from core.clock import from_datetime
from tests.core.making import NOW


def an_agreement(**changes: Any) -> ServiceAgreement:
    """Birkelund's invented post system may send letters."""
    said = {"id": "post-letters", "integration": "letters", "system": "birkelund-post", "may": "send"}
    return ServiceAgreement.model_validate(said | changes)


def at(text: str) -> int:
    """A UTC time."""
    return from_datetime(datetime.fromisoformat(text).replace(tzinfo=UTC))


@pytest.mark.requirement("R103")
@pytest.mark.parametrize(
    ("may", "send", "receive"), [("send", True, False), ("receive", False, True), ("both", True, True)]
)
def test_an_agreement_allows_what_it_names(may: str, send: bool, receive: bool):
    """To send is not to receive."""
    agreement = an_agreement(may=may)
    assert (agreement.covers("send", NOW), agreement.covers("receive", NOW)) == (send, receive)


def test_both_days_are_part_of_it():
    """It holds from the first moment of the first day to the last of the last, in UTC."""
    agreement = an_agreement(since=date(2026, 3, 1), until="2026-03-31")
    for moment, holds in (
        ("2026-02-28T23:59:59.999999", False),
        ("2026-03-01T00:00:00", True),
        ("2026-03-31T23:59:59.999999", True),
        ("2026-04-01T00:00:00", False),
    ):
        assert agreement.covers("send", at(moment)) is holds, moment
        assert not agreement.covers("receive", at(moment))


@settings(max_examples=200, deadline=None)
@given(
    st.none() | st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.none() | st.dates(date(2020, 1, 1), date(2030, 1, 1)),
    st.dates(date(2019, 1, 1), date(2031, 1, 1)),
)
def test_an_open_end_has_no_end(since: date | None, until: date | None, day: date):
    """A day that is left out bounds nothing; two in the wrong order are no agreement."""
    if since and until and until < since:
        with pytest.raises(ValidationError, match="until lies before since"):
            an_agreement(since=since, until=until)
        return
    noon = from_datetime(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))
    holds = an_agreement(since=since, until=until).covers("send", noon)
    assert holds == ((since or day) <= day <= (until or day))


def test_one_day_is_an_agreement():
    """The first day may be the last."""
    agreement = an_agreement(since=date(2026, 3, 1), until=date(2026, 3, 1))
    assert agreement.covers("send", at("2026-03-01T12:00:00"))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"may": "read"}, "may"),
        ({"since": "yesterday"}, "since"),
        ({"since": "2026-03-01T10:00:00"}, "since"),
        ({"until": "2026-02-30"}, "until"),
        ({"system": "Birkelund"}, "system"),
        ({"integration": ""}, "integration"),
        ({"kind": "agreement"}, "kind"),
        ({"approver": "x"}, "approver"),
    ],
)
def test_what_is_no_agreement_is_refused(changes: dict[str, Any], field: str):
    """The field that is wrong is named."""
    with pytest.raises(ValidationError) as caught:
        an_agreement(**changes)
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_what_a_reader_sees_of_it():
    """Who approved it and for whose data are kept as written, and nothing can be changed in place."""
    agreement = an_agreement(approved_by="data owner of Birkelund", on_behalf_of="birkelund")
    assert agreement.model_dump(mode="json", exclude_defaults=True) == {
        "id": "post-letters",
        "integration": "letters",
        "system": "birkelund-post",
        "may": "send",
        "approved_by": "data owner of Birkelund",
        "on_behalf_of": "birkelund",
    }
    with pytest.raises(ValidationError, match="frozen"):
        agreement.may = "both"
