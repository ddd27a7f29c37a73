"""The next configuration, made from the one in force by one change, and everything that would be wrong with it. Pure.

Rules:

1. A change is of one document; everything else stays to the letter, whoever changed it meanwhile.
2. What people would be told of a directory (`stafet check`) is what is found here: the same checks, of the whole.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ValidationError

from core.config import Check, Configuration, Problem, check_kernel
from core.system import Document


def put(configuration: Configuration, document: Any) -> Configuration:
    """With a document added, or in the place of the one of its kind and id."""
    kind = configuration.all(document.kind)
    return replace(configuration, documents={**configuration.documents, document.kind: {**kind, document.id: document}})


def without(configuration: Configuration, kind: str, name: str) -> Configuration:
    """Without a document; the same where there is none."""
    left = {other: document for other, document in configuration.all(kind).items() if other != name}
    return replace(configuration, documents={**configuration.documents, kind: left})


def problems_of(configuration: Configuration, checks: Iterable[Check]) -> Sequence[Problem]:
    """Everything that is wrong between the documents."""
    return [problem for check in (check_kernel, *checks) for problem in check(configuration)]


def read(
    values: Sequence[Mapping[str, Any]], kinds: Mapping[str, type[BaseModel]], files: Mapping[str, bytes]
) -> tuple[Configuration, Sequence[Problem]]:
    """Documents as JSON has them, beside files that are there; and what is wrong with each by itself."""
    documents: dict[str, dict[str, Any]] = {}
    problems: list[Problem] = []
    for number, value in enumerate(values):
        kind, name = str(value.get("kind", ""))[:64], str(value.get("id", f"number {number + 1}"))[:64]
        model = kinds.get(kind)
        if model is None:
            problems.append(Problem(kind, name, "kind", "no installed part of Stafet knows this kind"))
            continue
        try:
            made: Any = model.model_validate(value)
        except ValidationError as error:
            for one in error.errors(include_input=False, include_url=False):
                field = ".".join(map(str, one["loc"]))
                problems.append(Problem(kind, name, field, one["msg"].removeprefix("Value error, ")))
            continue
        if made.id in documents.setdefault(kind, {}):
            problems.append(Problem(kind, name, "id", "stands for another document as well"))
        documents[kind][made.id] = made
    return Configuration(documents, files), problems


def tag_of(document: Document) -> str:
    """A document's content in one short word, to see whether it has changed."""
    return hashlib.sha256(document.model_dump_json().encode()).hexdigest()[:32]
