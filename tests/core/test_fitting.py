"""The next configuration by one change, and what would be wrong with it."""

from __future__ import annotations

from collections.abc import Iterable

from core.config import KERNEL_KINDS, Configuration, Problem
from core.fitting import problems_of, put, read, tag_of, without
from core.system import System

CARE = System.model_validate({"id": "care", "authority": "birkelund"})
JOURNAL = System.model_validate({"id": "journal", "authority": "birkelund"})
START = Configuration({"system": {"care": CARE}}, {"a.pem": b"x"}, 7)


def test_one_document_is_added_or_replaced():
    """Everything else stays, files and number as well; what it was made from is not touched."""
    both = put(START, JOURNAL)
    assert (dict(both.all("system")), both.files, both.number) == ({"care": CARE, "journal": JOURNAL}, START.files, 7)
    other = CARE.model_copy(update={"title": "Care"})
    assert put(START, other).all("system") == {"care": other}
    assert START.all("system") == {"care": CARE}


def test_one_document_is_taken_away():
    """One that is not there is no matter, nor is a kind that has none."""
    assert without(put(START, JOURNAL), "system", "care").all("system") == {"journal": JOURNAL}
    assert without(START, "system", "nobody").all("system") == {"care": CARE}
    assert without(START, "route", "none").all("route") == {}


def test_what_is_wrong_is_what_the_checks_find():
    """The kernel's own and each that is given, in order."""

    def check(configuration: Configuration) -> Iterable[Problem]:
        yield Problem("system", "care", "title", f"is missing in {configuration.number}")

    assert problems_of(START, []) == []
    assert [one.cause for one in problems_of(START, [check, check])] == ["is missing in 7"] * 2


def test_documents_are_read_as_json_has_them():
    """What is in order becomes a configuration beside the files; what is not is named with kind, id and field."""
    values = [
        {"kind": "system", "id": "care", "authority": "birkelund"},
        {"kind": "system", "id": "care", "authority": "birkelund"},
        {"kind": "system", "id": "journal"},
        {"kind": "magic", "id": "wand"},
        {},
        {"kind": "route", "id": "r", "to": [{"system": "care"}], "when": "1"},
    ]
    made, problems = read(values, KERNEL_KINDS, {"a.pem": b"x"})
    assert (dict(made.all("system")), made.files) == ({"care": CARE}, {"a.pem": b"x"})
    named = [(one.kind, one.id, one.field) for one in problems]
    assert named == [
        ("system", "care", "id"),
        ("system", "journal", "authority"),
        ("magic", "wand", "kind"),
        ("", "number 5", "kind"),
        ("route", "r", "when"),
    ]


def test_a_tag_is_of_the_content():
    """The same content has the same tag, any other another."""
    assert tag_of(CARE) == tag_of(CARE.model_copy()) != tag_of(CARE.model_copy(update={"title": "Care"}))
