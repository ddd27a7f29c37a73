"""Published schemas: what a document or a payload description may say, as JSON Schema (draft 2020-12).

Rules:

1. A schema is made from the model that reads the document: the two cannot differ, and nobody writes either twice.
2. What a class and a field say of themselves in the source is their description, so that an editor shows it.
3. A schema says what one document may hold. What documents must fit each other for, `stafet check` says.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Final, get_args

from pydantic import BaseModel

from core.description import Description

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
PAYLOAD: Final = "payload-description"
"""The name under which the model of `core.description` is published, beside the kinds of documents."""


def attribute_docs(model: type[BaseModel]) -> dict[str, str]:
    """Field name → the string written below the field, bases included."""
    docs: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if not issubclass(kind, BaseModel) or kind is BaseModel:
            continue
        body = ast.parse(inspect.cleandoc("\n" + inspect.getsource(kind))).body[0]
        assert isinstance(body, ast.ClassDef)
        for field, below in zip(body.body, body.body[1:], strict=False):
            if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                docs[field.target.id] = str(below.value.value)
    return docs


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model an annotation speaks of."""
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def named(kinds: Mapping[str, type[BaseModel]]) -> dict[str, type[BaseModel]]:
    """What is published, by name: the payload description, and every kind of document."""
    return {PAYLOAD: Description, **dict(sorted(kinds.items()))}


def published(name: str, model: type[BaseModel]) -> dict[str, Any]:
    """The schema of one document kind, or of the payload description."""
    made = model.model_json_schema()
    parts = {model.__name__: made, **made.get("$defs", {})}
    if "$ref" in made:  # a model that speaks of itself
        parts[model.__name__] = made["$defs"][model.__name__]
    for one in _models(model):
        if one.__name__ in parts:
            _describe(parts[one.__name__], one)
    if "kind" in model.model_fields:
        whole = parts[model.__name__]
        whole["required"] = ["kind", *(field for field in whole.get("required", ()) if field != "kind")]
    head = {"$schema": DIALECT, "$id": f"urn:stafet:schema:{name}", "title": name}
    return head | {key: value for key, value in made.items() if key != "title"}


def _models(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and all that it is made of."""
    found = [model]
    for one in found:
        for field in one.model_fields.values():
            found += [part for part in dict.fromkeys(models_in(field.annotation)) if part not in found]
    return found


def _describe(schema: dict[str, Any], model: type[BaseModel]) -> None:
    docs = attribute_docs(model)
    if model.__doc__:
        schema["description"] = _prose(model.__doc__)
    names = {field.alias or name: name for name, field in model.model_fields.items()}
    for alias, said in schema.get("properties", {}).items():
        if words := docs.get(names.get(alias, ""), ""):
            said["description"] = _prose(words)


def _prose(text: str) -> str:
    return " ".join(inspect.cleandoc(text).replace("``", "`").split())
