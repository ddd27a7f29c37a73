"""The OpenAPI document, and a running node held against it over TLS with a client's certificate."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis

from gateways.rest.endpoint import Answer, Ask, Endpoint, Reply, Shape
from gateways.rest.openapi import document as document_of
from tests.gateways.rest.exploring import Explorer
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, event

EXAMPLES = 6


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices, and something to fetch."""
    async with offices(tmp_path) as found:
        await found.system("birkelund-care").publish(*(event(f"e-{n}", "stay.ended") for n in range(5)))
        yield found


async def document(place: Place) -> dict[str, Any]:
    """What the node says of itself, to anybody."""
    status, said = await place.system(None).ask("GET", "/v1/openapi.json")
    assert status == 200
    return dict(said)


def references(value: Any) -> Iterator[str]:
    """Every reference in a document."""
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for one in value.values():
            yield from references(one)
    elif isinstance(value, list):
        for one in value:
            yield from references(one)


async def test_the_document_is_valid_and_whole(birkelund: Place):
    """By its own standard; every reference leads somewhere, every operation has a name of its own, words and answers."""
    said = await document(birkelund)
    schemathesis.openapi.from_dict(said).validate()
    known = {f"#/components/schemas/{name}" for name in said["components"]["schemas"]}
    assert set(references(said)) <= known
    operations = [one for path in said["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names) > 30
    assert all(one["summary"] and one["description"] and one["responses"] for one in operations)
    served = {(one.method, one.path) for one in birkelund.node.gateways["rest"].endpoints}
    assert {(method.upper(), path) for path, one in said["paths"].items() for method in one} == served


async def test_every_field_says_its_limits(birkelund: Place):
    """Of what is sent: no object takes fields that are not named, unless it is a document or an event of its own."""
    said = await document(birkelund)
    bodies = [
        content["schema"]["$ref"].rpartition("/")[2]
        for path in said["paths"].values()
        for one in path.values()
        for content in one.get("requestBody", {}).get("content", {}).values()
        if "$ref" in content["schema"]
    ]
    assert bodies
    for name in bodies:
        assert said["components"]["schemas"][name]["additionalProperties"] is False, name


@pytest.mark.slow
@pytest.mark.parametrize("system", ["birkelund-robot", "node-admin"])
async def test_a_node_answers_as_its_document_says(birkelund: Place, system: str):
    """Whatever is asked, right or wrong: no server error but the documented one, no status, form or header that is not there."""
    explorer = Explorer(birkelund.town, system)
    for operation in await asyncio.to_thread(explorer.operations):
        await asyncio.to_thread(explorer.ask, operation, EXAMPLES)
    assert explorer.found.failures == []
    assert explorer.found.asked > 100
    assert explorer.found.statuses[200] > 10


async def test_an_answer_that_is_not_documented_is_found(birkelund: Place):
    """With a status taken out of the document, and a field added, asking finds both."""
    said = await document(birkelund)
    path = said["paths"]["/v1/me"]["get"]
    said["components"]["schemas"]["Me"]["required"].append("colour")
    del said["paths"]["/v1/integrations/{integration}"]["get"]["responses"]["404"]
    explorer = Explorer(birkelund.town, "birkelund-robot", known={})
    explorer.document = lambda: json.loads(json.dumps(said))  # type: ignore[method-assign]
    for operation in await asyncio.to_thread(explorer.operations):
        if operation.path in ("/v1/me", "/v1/integrations/{integration}"):
            await asyncio.to_thread(explorer.ask, operation, 20)
    found = "\n".join(explorer.found.failures)
    assert path["operationId"] == "get_me"
    assert "GET /v1/me: 200" in found
    assert "GET /v1/integrations/{integration}: 404" in found


def test_two_models_of_one_name_are_refused():
    """A reference would lead to either."""

    async def handler(_ask: Ask) -> Reply:
        return Reply()

    def shape() -> type[Shape]:
        class Twin(Shape):
            """One of two."""

        return Twin

    both = [Endpoint("GET", f"/v1/{n}", handler, "x", "x", {200: Answer("x", shape())}) for n in ("a", "b")]
    with pytest.raises(ValueError, match="two models are called Twin"):
        document_of(both, url="https://node.example", version="1")
