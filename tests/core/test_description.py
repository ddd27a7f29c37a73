"""The payload description: facts only, the same words everywhere, nothing personal by accident."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core import limits
from core.description import Address, Classification, Description, Reference, rank
from core.errors import DescriptionError

LEAST = {"type": "letter", "sender": "birkelund-post"}
FULL = Description(
    type="letter",
    version="2",
    sender="birkelund-post",
    receiver=Address(system="egedal-journal", function="social"),
    classifications=(Classification(scheme="kle", code="27.00.00"),),
    references=(Reference(kind="case", id="2026-1"),),
    subjects=("6101012222",),
    sensitivity="sensitive",
    occurred=1,
    expires=2,
    priority="urgent",
    correlation_id="c1",
    process_id="p1",
    degree="known",
    media_type="application/xml",
    size=7,
    digest="0" * 64,
    attributes={"as4.service": "x"},
)


@pytest.mark.requirement("R93")
def test_a_description_survives_its_json_form():
    """Every field reads back as it was, from text and from octets."""
    assert Description.parse(FULL.model_dump_json()) == FULL
    assert Description.parse(FULL.model_dump_json().encode()) == FULL
    assert Description.parse(json.dumps(LEAST)) == Description(**LEAST)


WRONG = [
    ("type", {"sender": "s"}),
    ("type", LEAST | {"type": ""}),
    ("type", LEAST | {"type": 7}),
    ("sender", LEAST | {"sender": "two\nlines"}),
    ("sender", LEAST | {"sender": "ends with\n"}),
    ("sender", LEAST | {"sender": "nul\x00"}),
    ("sender", LEAST | {"sender": "x" * (limits.DESCRIPTION_VALUE + 1)}),
    ("receiver.system", LEAST | {"receiver": {"system": "\x7f"}}),
    ("receiver.planet", LEAST | {"receiver": {"planet": "x"}}),
    ("classifications.0.code", LEAST | {"classifications": [{"scheme": "kle"}]}),
    ("classifications", LEAST | {"classifications": [{"scheme": "k", "code": "c"}] * (limits.DESCRIPTION_ITEMS + 1)}),
    ("references.0.id", LEAST | {"references": [{"kind": "case", "id": ""}]}),
    ("subjects.1", LEAST | {"subjects": ["a", 5]}),
    ("sensitivity", LEAST | {"sensitivity": "secret"}),
    ("occurred", LEAST | {"occurred": "yesterday"}),
    ("occurred", LEAST | {"occurred": 1.5}),
    ("priority", LEAST | {"priority": "first"}),
    ("degree", LEAST | {"degree": "none"}),
    ("size", LEAST | {"size": -1}),
    ("size", LEAST | {"size": True}),
    ("digest", LEAST | {"digest": "0" * 63}),
    ("digest", LEAST | {"digest": "A" * 64}),
    ("unknown", LEAST | {"unknown": 1}),
    ("attributes.a", LEAST | {"attributes": {"a": ""}}),
]


@pytest.mark.parametrize(("field", "document"), WRONG)
def test_the_first_wrong_field_is_named(field: str, document: dict[str, object]):
    """A newcomer is told which field is wrong."""
    with pytest.raises(DescriptionError) as caught:
        Description.parse(json.dumps(document))
    assert caught.value.field == field


@pytest.mark.parametrize("data", ["", "{", "[]", "7", b"\xff", "\ud800", '"\\ud800"', "nul\x00", "[" * 20_000])
def test_what_is_no_description_at_all_is_named_as_the_whole(data: str | bytes):
    """Broken JSON, another shape and wrong octets are one documented error."""
    with pytest.raises(DescriptionError, match="description"):
        Description.parse(data)


@given(st.one_of(st.text(), st.binary()))
def test_any_input_is_accepted_or_refused_with_the_documented_error(data: str | bytes):
    """Whatever a peer sends, nothing else is raised."""
    with pytest.raises(DescriptionError):
        Description.parse(data)


def test_the_size_limit_counts_octets():
    """A text is as long as its octets, whatever it is given as."""
    text = json.dumps(LEAST | {"subjects": ["æ" * 1000] * 40}, ensure_ascii=False)
    assert len(text) < limits.DESCRIPTION_SIZE < len(text.encode())
    for data in (text, text.encode()):
        with pytest.raises(DescriptionError, match="octets"):
            Description.parse(data)


def test_refusals_do_not_repeat_what_was_sent():
    """A wrong value may be personal data: the message says what is wrong with it, not what it is."""
    with pytest.raises(DescriptionError) as caught:
        Description.parse(json.dumps(LEAST | {"subjects": ["6101012222\n"], "size": "6101012222"}))
    assert "6101012222" not in str(caught.value)


@pytest.mark.requirement("R107")
def test_subjects_do_not_show():
    """Neither printed nor in the part that may be shown, and the rest of that part is unchanged."""
    assert "6101012222" not in repr(FULL)
    shown = FULL.without_subjects()
    assert "6101012222" not in shown.model_dump_json()
    assert shown.model_copy(update={"subjects": FULL.subjects}) == FULL


def test_a_description_cannot_be_changed():
    """Facts stand."""
    with pytest.raises(ValidationError, match="frozen"):
        FULL.sender = "somebody-else"  # type: ignore[misc]


def test_sensitivities_have_an_order():
    """From what everybody may see to what hardly anybody may."""
    assert [rank("public"), rank("internal"), rank("confidential"), rank("sensitive")] == [0, 1, 2, 3]
