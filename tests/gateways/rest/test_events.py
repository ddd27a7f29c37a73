"""CloudEvents 1.0, in and out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.description import Description
from core.integration import Integration
from core.parcel import Parcel
from gateways.rest import events
from gateways.rest.problems import ProblemError
from tests.core.making import NOW

STAYS = Integration.model_validate({"id": "stays", "types": ["stay.began"], "priority": "urgent"})


def said(**changes: Any) -> dict[str, Any]:
    """The least that is an event."""
    least = {"specversion": "1.0", "id": "e-1", "source": "/care", "type": "stay.began"}
    return {k: v for k, v in (least | changes).items() if v is not None}


def flaws(value: Any, where: str = "") -> dict[str, str]:
    """What is wrong with it, by place."""
    with pytest.raises(ProblemError) as caught:
        events.read(value, where)
    return {flaw.pointer: flaw.cause for flaw in caught.value.problem.errors}


def test_the_least_that_is_an_event():
    """Its key is source and id; it needs no data, and names no integration."""
    event = events.read(said())
    assert (event.key, event.integration, event.data, event.media_type) == ("/care#e-1", "", b"", "application/json")
    assert event.fields == {"type": "stay.began", "attributes": {"rest.id": "e-1", "rest.source": "/care"}}


def test_what_cloudevents_has_a_word_for_becomes_the_description():
    """Times, classifications, references, persons and the rest; what nobody knows is kept under its own name."""
    event = events.read(
        said(
            time="2026-03-01T13:00:00.5+01:00",
            expires="2026-03-02T00:00:00Z",
            integration="stays",
            typeversion="2",
            priority="bulk",
            sensitivity="sensitive",
            correlationid="case 42",
            processid="p-1",
            classifications="form=A1 subject=32.03%20x",
            references="case=42 document=a%3Db",
            subjects="person-7 person%208",
            subject="ward/K4",
            dataschema="https://birkelund.example/stay",
            ward="K4",
            count=7,
            planned=True,
        )
    )
    assert event.integration == "stays"
    assert event.fields == {
        "type": "stay.began",
        "version": "2",
        "priority": "bulk",
        "sensitivity": "sensitive",
        "correlation_id": "case 42",
        "process_id": "p-1",
        "occurred": NOW + 500_000,
        "expires": 1_772_409_600_000_000,
        "classifications": [{"scheme": "form", "code": "A1"}, {"scheme": "subject", "code": "32.03 x"}],
        "references": [{"kind": "case", "id": "42"}, {"kind": "document", "id": "a=b"}],
        "subjects": ["person-7", "person 8"],
        "attributes": {
            "rest.id": "e-1",
            "rest.source": "/care",
            "rest.subject": "ward/K4",
            "rest.dataschema": "https://birkelund.example/stay",
            "rest.ward": "K4",
            "rest.count": "7",
            "rest.planned": "true",
        },
    }


@pytest.mark.parametrize(
    ("changes", "data", "media_type"),
    [
        ({"data": {"a": [1, "ø"]}}, '{"a":[1,"ø"]}'.encode(), "application/json"),
        ({"data": None, "data_base64": "AAEC", "datacontenttype": "image/png"}, b"\x00\x01\x02", "image/png"),
        ({"data": "<a/>", "datacontenttype": "application/xml"}, b"<a/>", "application/xml"),
        (
            {"data": "x", "datacontenttype": "application/json; charset=utf-8"},
            b'"x"',
            "application/json; charset=utf-8",
        ),
        ({"data": {"a": 1}, "datacontenttype": "text/plain"}, b'{"a":1}', "text/plain"),
    ],
)
def test_data_is_kept_as_it_was_meant(changes: dict[str, Any], data: bytes, media_type: str):
    """JSON as compact JSON, text as itself, octets as octets."""
    event = events.read(said(**changes))
    assert (event.data, event.media_type) == (data, media_type)


@pytest.mark.parametrize(
    ("value", "place", "cause"),
    [
        ([], "", "is no object"),
        ("x", "", "is no object"),
        (said(id=None), "/id", "is missing"),
        (said(source=None), "/source", "is missing"),
        (said(type=None), "/type", "is missing"),
        (said(specversion="0.3"), "/specversion", "is not 1.0"),
        (said(id=""), "/id", "is no text of 1 to 1024 characters"),
        (said(id=["x"]), "/id", "is no text of 1 to 1024 characters"),
        (said(source="x" * 1025), "/source", "is no text of 1 to 1024 characters"),
        (said(source="x" * 500), "/id", "source and id together are longer than 500 characters"),
        (said(Upper="x"), "/Upper", "is no attribute name: 1 to 20 lower case letters and digits"),
        (said(time="yesterday"), "/time", "is no time as 2026-03-01T12:00:00Z"),
        (said(time="2026-03-01T12:00:00"), "/time", "is no time as 2026-03-01T12:00:00Z"),
        (said(classifications="form"), "/classifications", "is no list as scheme=code, with spaces between"),
        (said(references="=x"), "/references", "is no list as kind=id, with spaces between"),
        (said(data_base64="%"), "/data_base64", "is no Base64"),
        (said(data_base64=5), "/data_base64", "is no Base64"),
        (said(data=1, data_base64="AA=="), "/data_base64", "stands beside data: one of them"),
        (said(datacontenttype=5), "/datacontenttype", "is no media type"),
    ],
)
def test_what_is_wrong_is_named(value: Any, place: str, cause: str):
    """By its place in the body, also within a batch."""
    assert flaws(value)[place] == cause
    assert flaws(value, "/3")[f"/3{place}"] == cause


def test_the_binary_mode_has_attributes_in_headers():
    """The body is the data, octet for octet; header values are percent-encoded."""
    headers = {"ce-specversion": "1.0", "ce-id": "e%201", "ce-source": "/care", "ce-type": "stay.began"}
    event = events.read_binary({**headers, "content-type": "text/plain", "accept": "*/*"}, b"\xff")
    assert (event.id, event.data, event.media_type) == ("e 1", b"\xff", "text/plain")
    assert events.read_binary(headers, b"").media_type == "application/octet-stream"


def test_what_an_event_leaves_out_its_integration_says():
    """Priority, sensitivity and degree; size and digest are of the data."""
    description = events.describe(events.read(said(data="x")), STAYS, "birkelund-care", "0" * 64)
    assert (description.priority, description.sensitivity, description.degree) == ("urgent", "confidential", "declared")
    assert (description.sender, description.size, description.digest) == ("birkelund-care", 3, "0" * 64)


def test_a_description_that_is_wrong_names_its_field():
    """What the kernel would not take is said before it is asked."""
    with pytest.raises(ProblemError) as caught:
        events.describe(events.read(said(priority="soon")), STAYS, "birkelund-care", "")
    (flaw,) = caught.value.problem.errors
    assert (caught.value.problem.type.word, flaw.pointer) == ("invalid-description", "/priority")


def a_parcel(description: Description) -> Parcel:
    """A stored notification."""
    return Parcel("p" * 32, "birkelund-care", "stays", description, (), NOW)


def back(value: dict[str, Any], subjects: tuple[str, ...] = ()) -> dict[str, Any]:
    """An event after it was stored."""
    event = events.read(value)
    return events.write(a_parcel(events.describe(event, STAYS, "birkelund-care", "")), subjects, event.data)


def test_a_receiver_gets_what_was_published():
    """With the parcel's id, its sender and integration beside; persons come back from where they were sealed."""
    value = said(
        time="2026-03-01T12:00:00Z",
        expires="2026-03-02T00:00:00.000001Z",
        correlationid="c-1",
        classifications="form=A%201",
        ward="K4",
        data={"x": 1},
    )
    assert back(value, ("person 8",)) == value | {
        "integration": "stays",
        "parcelid": "p" * 32,
        "sender": "birkelund-care",
        "typeversion": "1",
        "priority": "urgent",
        "sensitivity": "confidential",
        "subjects": "person%208",
        "datacontenttype": "application/json",
    }


def test_what_came_another_way_is_an_event_too():
    """A parcel that was no event gets an id, a source and a time."""
    description = Description(type="letter", sender="birkelund-post", media_type="application/json")
    written = events.write(a_parcel(description), (), b"\xff not json")
    assert (written["id"], written["source"], written["time"]) == (
        "p" * 32,
        "/systems/birkelund-care",
        "2026-03-01T12:00:00Z",
    )
    assert written["data_base64"] == "/yBub3QganNvbg=="


def test_an_event_without_data_has_none():
    """And octets that are no JSON come as Base64."""
    assert "data" not in back(said())
    written = back(said(data_base64="AAEC", datacontenttype="image/png"))
    assert (written["data_base64"], written["datacontenttype"], "data" in written) == ("AAEC", "image/png", False)


WORDS = st.text(
    st.characters(min_codepoint=33, max_codepoint=0x2FF, exclude_characters="\x7f", exclude_categories=("Cc",)),
    min_size=1,
    max_size=20,
)


@given(
    WORDS,
    WORDS,
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4),
    st.dictionaries(WORDS, st.integers(), max_size=3),
)
def test_nothing_changes_on_the_way(name: str, case: str, classes: list[tuple[str, str]], data: dict[str, int]):
    """Whatever letters it uses."""
    coded = " ".join(f"{events._quoted(scheme)}={events._quoted(code)}" for scheme, code in classes)
    value = said(id=name, correlationid=case, classifications=coded, data=data)
    written = back(json.loads(json.dumps(value)))
    assert {k: written[k] for k in value} == value
