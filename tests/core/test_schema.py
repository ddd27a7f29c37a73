"""Published schemas: they take what the models take, say what the source says, and need nothing else."""

from __future__ import annotations

import json
from typing import Any

import jsonschema_rs
import pytest
from pydantic import BaseModel

from core.config import KERNEL_KINDS
from core.description import Description
from core.route import Route
from core.schema import DIALECT, PAYLOAD, attribute_docs, models_in, named, published
from core.system import Document
from tests.core.estates import SMALL


class Branch(Document):
    """A branch of ``branches``."""

    kind: str = "branch"
    id: str
    below: tuple[Branch, ...] = ()
    """What grows
    on it."""


class Undescribed(BaseModel):
    plain: int = 0


Undescribed.__doc__ = None


class Left:
    class Same(BaseModel):
        """One."""


class Right:
    class Same(BaseModel):
        """Other."""


class Both(BaseModel):
    left: Left.Same
    right: Right.Same


def test_a_schema_says_which_dialect_and_what_it_is_of():
    """Dialect, id and title come first; the schemas of all published things are valid in that dialect."""
    models = named(KERNEL_KINDS)
    assert next(iter(models)) == PAYLOAD
    assert set(models) == {PAYLOAD, *KERNEL_KINDS}
    for name, model in models.items():
        schema = published(name, model)
        assert (schema["$schema"], schema["$id"], schema["title"]) == (DIALECT, f"urn:stafet:schema:{name}", name)
        jsonschema_rs.meta.validate(schema)


def test_documents_that_are_taken_are_valid():
    """Every document of a configuration in order is valid by the schema of its kind, and one with a slip is not."""
    for document in SMALL:
        validator = jsonschema_rs.validator_for(published(document["kind"], KERNEL_KINDS[document["kind"]]))
        validator.validate(document)
        assert not validator.is_valid(document | {"colour": "red"})
        assert not validator.is_valid(document | {"id": "No Name"})
        assert not validator.is_valid({k: v for k, v in document.items() if k != "kind"})


@pytest.mark.requirement("R92")
def test_the_payload_description_has_a_schema():
    """What `Description` writes is valid, what it refuses is not, and each of its fields is described."""
    schema = published(PAYLOAD, Description)
    validator = jsonschema_rs.validator_for(schema)
    validator.validate(json.loads(Description(type="letter", sender="birkelund-post").model_dump_json()))
    for wrong in ({"type": "letter"}, {"type": "", "sender": "a"}, {"type": "letter", "sender": "a", "size": -1}):
        assert not validator.is_valid(wrong)
    assert all(field.get("description") for field in schema["properties"].values())
    assert schema["$defs"]["Address"]["description"].startswith("The intended receiver")


def test_what_the_source_says_is_the_description():
    """The docstring of a class and the string below a field, each as one line of plain text."""
    schema = published("branch", Branch)
    whole: dict[str, Any] = schema["$defs"]["Branch"]
    assert whole["description"] == "A branch of `branches`."
    assert whole["properties"]["below"]["description"] == "What grows on it."
    assert whole["required"] == ["kind", "id"]
    assert "description" not in whole["properties"]["id"]
    assert "description" not in published("plain", Undescribed)


def test_parts_of_one_name_are_told_apart_and_left_alone():
    """Two parts that share a name are both in the schema, each with the docstring it has."""
    schema = published("both", Both)
    assert sorted(part["description"] for part in schema["$defs"].values()) == ["One.", "Other."]


def test_models_are_found_in_annotations():
    """Bare, in containers and in unions."""
    assert list(models_in(dict[str, tuple[Route, ...] | None])) == [Route]
    assert list(models_in(int)) == []
    assert attribute_docs(Branch) == {"below": "What grows\n    on it."}
