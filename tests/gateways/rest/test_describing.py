"""The payload description as it is said over HTTP, and as it is shown."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from core.description import Description
from core.integration import Integration
from gateways.rest.describing import Given, carried, describe, described
from gateways.rest.problems import ProblemError
from gateways.rest.server import checked
from tests.core.making import NOW, a_parcel, a_payload

CASES = Integration.model_validate(
    {"id": "cases", "types": ["note", "form"], "sensitivity": "sensitive", "priority": "bulk"}
)


def given(**said: Any) -> Given:
    """As a sender says it."""
    made: Given = checked({"integration": "cases"} | said, Given)
    return made


def test_what_is_left_out_is_what_the_integration_says():
    """Type, sensitivity, priority and degree; media type, size and digest are the payloads'."""
    payloads = (a_payload(b"one"), a_payload(b"three"))
    made = describe(given(), CASES, "birkelund-care", payloads)
    facts = (made.type, made.sensitivity, made.priority, made.degree, made.size, made.digest)
    assert facts == ("note", "sensitive", "bulk", "declared", 8, payloads[0].sha256.hex())
    assert describe(given(), CASES, "birkelund-care", ()).media_type == "application/octet-stream"


def test_what_is_said_is_shown_again():
    """Times in UTC; own attributes by their own names, others' by their full ones; files as references."""
    said = {
        "type": "form",
        "version": "3",
        "receiver": {"function": "forms"},
        "classifications": [{"scheme": "topic", "code": "1"}],
        "references": [{"kind": "case", "id": "7"}],
        "priority": "urgent",
        "sensitivity": "public",
        "correlation_id": "c",
        "process_id": "p",
        "attributes": {"colour": "red"},
    }
    made = describe(given(**said, occurred="2026-03-01T13:00:00+01:00", files=[{"parcel": "f"}]), CASES, "x", ())
    made = made.model_copy(update={"attributes": {**made.attributes, "as4.role": "y"}})
    shown = json.loads(described(a_parcel(description=made), ("person",)).model_dump_json(exclude_none=True))
    assert (
        shown
        | said
        | {
            "references": [{"kind": "case", "id": "7"}, {"kind": "parcel", "id": "f"}],
            "attributes": {"colour": "red", "as4.role": "y"},
        }
        == shown
    )
    assert (shown["occurred"], shown["subjects"], shown["sender"]) == (
        "2026-03-01T12:00:00Z",
        ["person"],
        "birkelund-post",
    )
    assert "expires" not in shown


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({"occurred": "2026-03-01T12:00:00"}, "/occurred"),
        ({"expires": "2026-03-01T12:00:00"}, "/expires"),
        ({"references": [{"kind": "parcel", "id": "1"}]}, "/references/0/kind"),
        ({"integration": ""}, "/integration"),
        ({"uploads": ["1", "1"]}, "/uploads"),
        ({"references": [{"kind": "a", "id": "b"}] * 99, "files": [{"parcel": "1"}] * 2}, "/files"),
    ],
)
def test_what_does_not_fit_together_is_named(said: dict[str, Any], place: str):
    """Each by its place."""
    assert [flaw.pointer for flaw in given(**said).flaws()] == [place]


def test_nothing_is_wrong_with_what_fits():
    """The least there is."""
    assert given().flaws() == []
    assert given(integration="", type="note").flaws() == []


def test_a_description_that_is_too_long_is_refused():
    """As a whole, though each of its values is allowed."""
    with pytest.raises(ProblemError) as caught:
        describe(given(subjects=["ø" * 1000] * 60), CASES, "x", ())
    assert caught.value.problem.type.word == "invalid-description"


def test_a_time_out_of_range_is_refused():
    """At the end of all years, west of Greenwich."""
    with pytest.raises(ProblemError):
        describe(given(occurred="9999-12-31T23:59:59-12:00"), CASES, "x", ())


def test_payloads_say_where_they_are():
    """In their order, with digest and size."""
    parcel = a_parcel(a_payload(b"one"), replace(a_payload(b"two"), name="b"))
    assert [(one.href, one.name, one.size) for one in carried(parcel)] == [
        (f"/v1/handovers/{parcel.id}/payloads/0", "letter.txt", 3),
        (f"/v1/handovers/{parcel.id}/payloads/1", "b", 3),
    ]
    assert described(replace(parcel, description=Description(type="x", sender="y", occurred=NOW)), ()).occurred
