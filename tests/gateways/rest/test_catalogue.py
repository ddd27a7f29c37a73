"""The catalogue over real TLS: everybody known sees what there is, and nobody sees who else has it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conformance.pki import write
from conformance.town import AUTHORITY, agreement, notification
from tests.gateways.as4.running import applied
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place

SCHEMA = b'{"type": "object", "required": ["ward"]}'
VISITS: dict[str, Any] = notification(
    "visits",
    "visit.planned",
    title="Visits at home",
    summary="Who is visited when.",
    owner=AUTHORITY,
    degree="known",
    sensitivity="sensitive",
    legal_basis="An invented act, section 7",
    responsible={"name": "The office of visits", "contact": "visits@birkelund.example"},
    declaration={"by": "The office of visits", "personal_data": "sensitive", "purpose": "planning"},
    contract={"format": "json-schema", "file": "schemas/visit.json", "version": "2"},
    receipts=[{"system": "birkelund-care", "business_days": 3}],
    retention_days=30,
)


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices, and visits that have everything."""
    async with offices(tmp_path) as found:
        write(found.town.home / "config" / "schemas" / "visit.json", SCHEMA)
        found.town.write(
            "visits.yaml", [VISITS, agreement("visits", "egedal-care", "receive") | {"until": "2020-01-01"}]
        )
        await applied(found.node)
        yield found


@pytest.mark.requirement("R97", "R98", "R99", "R105", "R108", "R83")
async def test_an_integration_says_everything_one_needs_to_know(birkelund: Place):
    """What, how checked, who is responsible, declaration, legal basis, limits, what one has, and how to ask."""
    status, said = await birkelund.system("egedal-care").ask("GET", "/v1/integrations/visits")
    assert status == 200
    assert (said["title"], said["summary"], said["types"]) == (
        "Visits at home",
        "Who is visited when.",
        ["visit.planned"],
    )
    assert (said["degree"], said["sensitivity"], said["priority"], said["retention_days"]) == (
        "known",
        "sensitive",
        "normal",
        30,
    )
    assert said["legal_basis"] == "An invented act, section 7"
    assert said["responsible"]["name"] == said["declaration"]["by"] == "The office of visits"
    assert said["contract"]["schema_at"] == "/v1/integrations/visits/contract"
    assert said["receipts"] == [{"level": "business", "business_days": 3}], "which systems take part is not said"
    (own,) = said["yours"]
    assert (own["system"], own["until"], own["in_force"]) == ("egedal-care", "2020-01-01", False)
    assert "/v1/requests" in said["how_to_ask"]
    assert AUTHORITY in said["how_to_ask"]


@pytest.mark.requirement("R58", "R98")
async def test_a_schema_is_fetched_as_its_owner_wrote_it(birkelund: Place):
    """With a tag; what is only declared has none."""
    care = birkelund.system("egedal-care")
    status, said, headers = await care.full("GET", "/v1/integrations/visits/contract")
    assert (status, headers["Content-Type"]) == (200, "application/schema+json")
    assert said == {"type": "object", "required": ["ward"]}
    known = {"If-None-Match": headers["ETag"]}
    assert (await care.ask("GET", "/v1/integrations/visits/contract", headers=known))[0] == 304
    assert (await care.ask("GET", "/v1/integrations/stays/contract"))[0] == 404
    assert (await care.ask("GET", "/v1/integrations/nothing/contract"))[0] == 404


async def test_the_catalogue_is_looked_through(birkelund: Place):
    """By words, type and capability, in pages."""
    care = birkelund.system("egedal-care")
    for query, expected in (
        ("", ["stays", "visits"]),
        ("?text=HOME", ["visits"]),
        ("?type=stay.ended", ["stays"]),
        ("?capability=handover", []),
        ("?limit=1", ["stays"]),
        ("?limit=1&after=stays", ["visits"]),
    ):
        status, said = await care.ask("GET", f"/v1/integrations{query}")
        assert (status, [one["id"] for one in said["integrations"]]) == (200, expected), query
    assert (await care.ask("GET", "/v1/integrations?capability=magic"))[0] == 400
    assert (await care.ask("GET", "/v1/integrations?colour=red"))[0] == 400
    _, _, headers = await care.full("GET", "/v1/integrations")
    assert (await care.ask("GET", "/v1/integrations", headers={"If-None-Match": headers["ETag"]}))[0] == 304


async def test_others_agreements_are_not_in_the_catalogue(birkelund: Place):
    """One's own systems', and nobody else's."""
    seen = {}
    for name in ("birkelund-care", "birkelund-robot", "egedal-journal", "demo-supplier"):
        _, said = await birkelund.system(name).ask("GET", "/v1/integrations/stays")
        seen[name] = [one["id"] for one in said["yours"]]
    assert seen == {
        "birkelund-care": ["stays-birkelund-care-send"],
        "birkelund-robot": ["stays-birkelund-robot-receive"],
        "egedal-journal": [],
        "demo-supplier": ["stays-birkelund-robot-receive"],
    }


async def test_strangers_see_nothing(birkelund: Place):
    """Who is not known is told so."""
    assert (await birkelund.system(None).ask("GET", "/v1/integrations"))[0] == 401


async def test_one_sees_who_one_is(birkelund: Place):
    """By what one is known, with roles, systems, agreements and subscriptions."""
    status, said = await birkelund.system("demo-supplier").ask("GET", "/v1/me")
    assert status == 200
    assert (said["name"], said["kind"], said["identified_by"]) == ("demo-supplier", "system", "certificate")
    assert (said["roles"], said["systems"]) == (["supplier"], ["birkelund-robot", "demo-supplier"])
    assert [one["id"] for one in said["agreements"]] == ["stays-birkelund-robot-receive"]
    assert said["subscriptions"] == ["robot-ends"]
    assert said["version"] == birkelund.node.runtime.configuration.number
    assert len(said["fingerprint"]) == 64
    assert said["quotas"] == []


@pytest.mark.requirement("R76")
async def test_one_sees_what_is_left_of_ones_quotas(tmp_path: Path):
    """Of the systems one sends as, and of nobody else's."""
    given = [{"kind": "quota", "id": "care", "system": "birkelund-care", "rate": 5, "octets_a_day": 4000}]
    async with offices(tmp_path, given) as town:
        _, said = await town.system("birkelund-care").ask("GET", "/v1/me")
        assert {(one["which"], one["quota"]) for one in said["quotas"]} == {("rate", "care"), ("octets", "care")}
        assert all(0 <= one["left"] <= one["most"] for one in said["quotas"])
        assert (await town.system("birkelund-journal").ask("GET", "/v1/me"))[1]["quotas"] == []


async def test_an_expectation_that_nobody_can_meet_is_refused(birkelund: Place):
    """As whatever cannot be read; the one that there is is met."""
    care = birkelund.system("birkelund-care")
    status, said = await care.ask("GET", "/v1/me", headers={"Expect": "a miracle"})
    assert (status, said["type"]) == (400, "urn:stafet:problem:unreadable")
    status, _ = await care.ask("POST", "/v1/subscriptions/test", {"integration": "x"}, expect100=True)
    assert status == 400
