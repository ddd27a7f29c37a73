"""Integrations: what is assumed when nothing is said, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from core import limits
from core.errors import DescriptionError
from core.integration import Integration, RouteTest


def an_integration(**changes: Any) -> Integration:
    """Letters between invented systems."""
    return Integration.model_validate({"id": "letters", "types": ["letter"]} | changes)


@pytest.mark.requirement("R83")
def test_a_new_integration_is_a_name_and_a_type():
    """Everything else has a careful default: confidential, declared, 90 days, a receipt within a day."""
    assert an_integration().model_dump(mode="json") == {
        "kind": "integration",
        "id": "letters",
        "title": "",
        "capability": "handover",
        "types": ["letter"],
        "degree": "declared",
        "sensitivity": "confidential",
        "priority": "normal",
        "summary": "",
        "owner": "",
        "responsible": None,
        "declaration": None,
        "contract": None,
        "legal_basis": "",
        "max_size": limits.HANDOVER_SIZE,
        "receipt": "transport",
        "receipt_within": 86_400.0,
        "receipts": [],
        "enrichment": [],
        "retention_days": 90,
        "tests": [],
    }


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("capability", ("notification", "handover", "file")),
        ("degree", ("declared", "encrypted")),
        ("sensitivity", ("public", "internal", "confidential", "sensitive")),
        ("priority", ("urgent", "normal", "bulk")),
        ("receipt", ("transport", "envelope", "business")),
        ("max_size", (1, 10**12)),
        ("retention_days", (1, 36_500)),
        ("receipt_within", (0.5, 86_400)),
    ],
)
def test_what_may_be_chosen(field: str, values: tuple[Any, ...]):
    """Every documented choice and both ends of a range are taken."""
    for value in values:
        assert getattr(an_integration(**{field: value}), field) == value


@pytest.mark.parametrize(
    ("changes", "place", "cause"),
    [
        ({"types": []}, ("types",), "at least 1 item"),
        ({"types": ["two\nlines"]}, ("types", 0), "should match pattern"),
        ({"types": [""]}, ("types", 0), "at least 1 character"),
        ({"capability": "post"}, ("capability",), "'notification', 'handover' or 'file'"),
        ({"degree": "sealed"}, ("degree",), "'known', 'declared' or 'encrypted'"),
        ({"max_size": 0}, ("max_size",), "greater than or equal to 1"),
        ({"max_size": "2 GB"}, ("max_size",), "valid integer"),
        ({"receipt_within": 0}, ("receipt_within",), "greater than 0"),
        ({"receipt_within": float("nan")}, ("receipt_within",), "than"),
        ({"receipt_within": float("inf")}, ("receipt_within",), "less than or equal to 3153600000"),
        ({"retention_days": 0}, ("retention_days",), "greater than or equal to 1"),
        ({"retention_days": 36_501}, ("retention_days",), "less than or equal to 36500"),
        ({"tests": [{"description": {}}]}, ("tests", 0, "expect"), "Field required"),
        ({"tests": [{"description": {}, "expect": ["Nobody"]}]}, ("tests", 0, "expect", 0), "should match pattern"),
        ({"retention": 5}, ("retention",), "Extra inputs are not permitted"),
    ],
)
def test_what_may_not_be_chosen(changes: dict[str, Any], place: tuple[object, ...], cause: str):
    """The field is named to the item, and the cause says what would be taken."""
    with pytest.raises(ValidationError) as caught:
        an_integration(**changes)
    error = caught.value.errors()[0]
    assert error["loc"] == place
    assert cause in error["msg"]


def test_examples_are_part_of_it():
    """An example is a description in part, and the systems it must reach."""
    integration = an_integration(tests=[{"description": {"type": "form", "size": 5}, "expect": ["a", "b"]}])
    assert integration.tests == (RouteTest(description={"type": "form", "size": 5}, expect=("a", "b")),)


def test_a_description_says_what_its_integration_says():
    """What is left out comes from the integration, the first type too; what is wrong is named by field."""
    letters = Integration(id="letters", types=("letter", "form"), sensitivity="sensitive", priority="bulk")
    said = letters.describe({"sender": "birkelund-post", "priority": "urgent"})
    assert (said.type, said.sensitivity, said.priority, said.degree) == ("letter", "sensitive", "urgent", "declared")
    with pytest.raises(DescriptionError, match="sender"):
        letters.describe({})


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"contract": {"format": "xsd"}}, "needs a file"),
        ({"contract": {"format": "declared", "file": "a.xsd"}}, "has no file"),
        ({"receipts": [{"within": 1, "system": "a", "function": "b"}]}, "of a system or of a function"),
        ({"receipts": [{"within": 1, "business_days": 1}]}, "one of them"),
        ({"receipts": [{}]}, "one of them"),
        ({"degree": "encrypted", "capability": "notification"}, "a notification has none"),
        ({"degree": "known", "contract": {"format": "declared"}}, "needs a contract with a schema"),
        ({"degree": "encrypted", "contract": {"format": "declared"}}, "leave the contract out"),
    ],
)
def test_what_cannot_be_together_is_refused(fields: dict[str, Any], said: str):
    """Each contradiction is said in words."""
    with pytest.raises(ValidationError, match=said):
        Integration.model_validate({"id": "letters", "types": ["letter"], **fields})


def test_a_contract_and_receipts_that_fit():
    """A schema with its file, and a receipt within whole business days."""
    fields = {"contract": {"format": "xsd", "file": "a.xsd"}, "receipts": [{"business_days": 2, "system": "a"}]}
    made = Integration.model_validate({"id": "letters", "types": ["letter"], "degree": "known", **fields})
    assert (made.contract is not None and made.contract.file, made.receipts[0].business_days) == ("a.xsd", 2)
