"""The configuration over real TLS, for administrators alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateways.rest.offices import OFFICES, offices
from tests.gateways.rest.running import Place


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices."""
    async with offices(tmp_path) as found:
        yield found


async def test_an_administrator_sees_what_is_in_force(birkelund: Place):
    """Every document as it is; of certificates only their digest."""
    admin = birkelund.system("node-admin")
    status, said, headers = await admin.full("GET", "/v1/configuration")
    assert (status, said["version"]) == (200, 1)
    assert {one["id"] for one in said["documents"] if one["kind"] == "system"} == set(OFFICES)
    assert all(set(one) == {"name", "sha256", "size"} for one in said["files"])
    assert "BEGIN" not in str(said)
    assert (await admin.ask("GET", "/v1/configuration", headers={"If-None-Match": headers["ETag"]}))[0] == 304


async def test_what_is_in_force_is_in_order(birkelund: Place):
    """Checked again it has no problems; with a document missing or wrong, each is named."""
    admin = birkelund.system("node-admin")
    _, said = await admin.ask("GET", "/v1/configuration")
    documents = said["documents"]
    status, judged = await admin.ask("POST", "/v1/configuration/check", {"documents": documents})
    assert (status, judged) == (200, {"ok": True, "problems": []})
    less = [one for one in documents if one["id"] != "stays"]
    _, judged = await admin.ask("POST", "/v1/configuration/check", {"documents": less})
    assert not judged["ok"]
    assert ("service-agreement", "integration") in {(one["kind"], one["field"]) for one in judged["problems"]}
    wrong = [*documents, {"kind": "magic"}, {"kind": "system", "id": "x"}, documents[0], {}]
    _, judged = await admin.ask("POST", "/v1/configuration/check", {"documents": wrong})
    assert [one["field"] for one in judged["problems"]] == ["kind", "authority", "id", "kind"]
    assert birkelund.node.runtime.configuration.number == 1


async def test_the_history_says_who_and_why(birkelund: Place):
    """The newest first."""
    robot = birkelund.system("birkelund-robot")
    await robot.ask("PATCH", "/v1/subscriptions/robot-ends", {"paused": True, "why": "we move"})
    status, said = await birkelund.system("node-admin").ask("GET", "/v1/configuration/history?limit=1")
    (newest,) = said["versions"]
    assert (status, newest["number"], newest["who"]) == (200, 2, "birkelund-robot")
    assert newest["why"] == "subscription robot-ends: paused by birkelund-robot: we move"


@pytest.mark.parametrize(
    "name", ["birkelund-owner", "birkelund-operator", "egedal-owner", "birkelund-care", "demo-supplier"]
)
async def test_nobody_else_sees_any_of_it(birkelund: Place, name: str):
    """Whatever their role."""
    caller = birkelund.system(name)
    for method, path, body in (
        ("GET", "/v1/configuration", None),
        ("GET", "/v1/configuration/history", None),
        ("POST", "/v1/configuration/check", {"documents": []}),
    ):
        status, said = await caller.ask(method, path, body)
        assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")
