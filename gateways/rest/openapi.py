"""The OpenAPI 3.1 document, made from the endpoints that are served: nothing is written twice, so nothing can differ."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any, Final

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from gateways.rest import problems
from gateways.rest.endpoint import Answer, Endpoint
from gateways.rest.problems import ProblemType

_REFERENCE: Final = "#/components/schemas/{model}"
_ALWAYS: Final = (problems.INVALID_REQUEST, problems.UNREADABLE, problems.NOT_FOUND, problems.INTERNAL, problems.OVERLOADED,
                  problems.NOT_ACCEPTABLE, problems.TIMEOUT, problems.HEADERS, problems.QUOTA)  # fmt: skip
_WITH_BODY: Final = (problems.MEDIA, problems.TOO_LARGE, problems.LENGTH)
_KNOWN: Final = (problems.UNAUTHENTICATED, problems.NOT_ALLOWED)
_WORDS: Final = (
    "Notification and handover between IT systems. Everything is pulled: no system that uses it opens a port. Whatever is "
    "refused is answered with `application/problem+json`; each type is described in docs/reference/problems.md."
)

_LICENCE: Final = {"name": "EUPL-1.2", "identifier": "EUPL-1.2"}
_BOUND: Final = "Of a registered issuer, bound to the certificate of the connection."
_SCHEMES: Final = {
    "certificate": {"type": "mutualTLS", "description": "The system's certificate, registered here."},
    "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": _BOUND},
}


def document(endpoints: Iterable[Endpoint], *, url: str, version: str) -> dict[str, Any]:
    """The whole document. Raises `ValueError` for two models of one name: references would lead to either."""
    listed = list(endpoints)
    models = sorted({model for one in listed for model in _models(one)}, key=lambda model: model.__name__)
    if twice := [a.__name__ for a, b in pairwise(models) if a.__name__ == b.__name__]:
        raise ValueError(f"two models are called {', '.join(twice)}: rename one of them")
    _, made = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE, title="Stafet")
    paths: dict[str, Any] = {}
    for one in listed:
        paths.setdefault(one.path, {})[one.method.lower()] = _operation(one)
    schemas = {**made.get("$defs", {}), "Problem": _problem_schema()}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Stafet", "version": version, "description": _WORDS, "license": _LICENCE},
        "servers": [{"url": url}],
        "security": [{"certificate": []}, {"token": []}],
        "tags": [{"name": tag} for tag in dict.fromkeys(one.tag for one in listed)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": _SCHEMES,
        },
    }


def _models(one: Endpoint) -> Iterable[type[BaseModel]]:
    if one.body is not None and one.body.model is not None:
        yield one.body.model
    if one.body is not None:
        yield from one.body.speaks_of
    for answer in one.answers.values():
        if answer.model is not None:
            yield answer.model


def _operation(one: Endpoint) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": one.name,
        "summary": one.summary,
        "tags": [one.tag],
        "description": inspect.getdoc(one.handler) or "",
        "parameters": [*_path(one), *_query(one), *_headers(one)],
        "responses": _responses(one),
    }
    if one.open:
        said["security"] = []
    if one.body is not None:
        schema = _reference(one.body.model) if one.body.model else dict(one.body.schema or {})
        content = {media: {"schema": schema} for media in one.body.media_types}
        said["requestBody"] = {"required": one.body.required, "content": content}
    return said


def _path(one: Endpoint) -> Iterable[dict[str, Any]]:
    for name in one.parameters:
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}


def _query(one: Endpoint) -> Iterable[dict[str, Any]]:
    if one.query is None:
        return
    schema = one.query.model_json_schema(ref_template=_REFERENCE)
    needed = set(schema.get("required", ()))
    for name, value in schema.get("properties", {}).items():
        shown = {k: v for k, v in value.items() if k not in ("title", "description")}
        yield {
            "name": name,
            "in": "query",
            "required": name in needed,
            "schema": shown,
            "description": value.get("description", ""),
        }


def _headers(one: Endpoint) -> Iterable[dict[str, Any]]:
    for name, says in one.headers.items():
        yield {"name": name, "in": "header", "required": False, "schema": {"type": "string"}, "description": says}


def _responses(one: Endpoint) -> dict[str, Any]:
    said = {str(status): _answer(answer) for status, answer in one.answers.items()}
    possible: list[ProblemType] = [*_ALWAYS, *one.problems]
    if not one.open:
        possible += _KNOWN
    if one.body is not None:
        possible += _WITH_BODY
    by_status: dict[int, list[ProblemType]] = {}
    for kind in dict.fromkeys(possible):
        by_status.setdefault(kind.status, []).append(kind)
    for status, kinds in sorted(by_status.items()):
        words = "; ".join(f"`{kind.word}`: {kind.title}" for kind in kinds)
        content = {problems.MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        said[str(status)] = {"description": words, "content": content}
    return said


def _answer(answer: Answer) -> dict[str, Any]:
    said: dict[str, Any] = {"description": answer.says}
    if answer.model is not None:
        said["content"] = {answer.media_type: {"schema": _reference(answer.model)}}
    elif answer.media_type != "application/json":
        said["content"] = {answer.media_type: {}}
    for media_type in answer.others:
        said.setdefault("content", {})[media_type] = {}
    if answer.headers:
        said["headers"] = {
            name: {"description": says, "schema": {"type": "string"}} for name, says in answer.headers.items()
        }
    return said


def _reference(model: type[BaseModel]) -> Mapping[str, str]:
    return {"$ref": _REFERENCE.format(model=model.__name__)}


def _problem_schema() -> dict[str, Any]:
    text = {"type": "string"}
    flaw = {
        "type": "object",
        "properties": {"pointer": text, "parameter": text, "header": text, "cause": text},
        "required": ["cause"],
    }
    return {
        "type": "object",
        "description": "What was refused, and what to do about it [RFC 9457].",
        "properties": {
            "type": {"type": "string", "enum": sorted(one.uri for one in problems.CATALOGUE.values())},
            "title": text,
            "status": {"type": "integer"},
            "detail": text,
            "instance": text,
            "retry_after": {"type": "integer"},
            "errors": {"type": "array", "items": flaw},
        },
        "required": ["type", "title", "status"],
    }
