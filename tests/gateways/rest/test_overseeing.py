"""The usage log and alarms over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways.rest.handing import RESIDUAL_TYPE, hand, handing
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, documents, event

AUDITORS = [
    {"kind": "rest.client", "id": "birkelund-audit", "system": "birkelund-robot", "roles": ["auditor"]},
    {"kind": "rest.client", "id": "egedal-audit", "system": "egedal-journal", "roles": ["auditor"]},
]


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices and two auditors."""
    given = [one for one in handing() if one not in documents()]
    async with offices(tmp_path, [*given, *AUDITORS]) as found:
        yield found


async def looks(place: Place, system: str, **asked: Any) -> list[tuple[str, str, str]]:
    """What an auditor reads: who, about what, how it ended; the newest first, without the reading itself."""
    await place.node.gateways["rest"]._kernel.note("", "barrier", {})
    status, said = await place.system(system).ask("GET", "/v1/looks", params=asked)
    assert status == 200, said
    found = sorted(said["looks"], key=lambda one: one["at"], reverse=True)  # ids of one millisecond are in no order
    return [(one["who"], one["object"], one["outcome"]) for one in found if one["action"] != "GET /v1/looks"]


@pytest.mark.requirement("R81", "R102", "R129", "R132")
async def test_an_auditor_reads_what_its_own_authority_did(birkelund: Place):
    """Who saw which parcel, and who was turned away; of others' doings nothing, and the reading is in the log too."""
    parcel = await hand(birkelund.system("birkelund-care"))
    operator, stranger = birkelund.system("birkelund-operator"), birkelund.system("egedal-owner")
    assert (await operator.ask("GET", f"/v1/parcels/{parcel}/trace"))[0] == 200
    assert (await operator.ask("GET", f"/v1/parcels?reference={parcel}"))[0] == 200
    assert (await stranger.ask("GET", f"/v1/parcels/{parcel}"))[0] == 404
    own = ("birkelund-operator", parcel, "ok")
    assert await looks(birkelund, "birkelund-robot") == [own, own]
    assert await looks(birkelund, "egedal-journal") == [("egedal-owner", parcel, "not-found")]
    assert await looks(birkelund, "node-admin", object=parcel) == [("egedal-owner", parcel, "not-found"), own, own]
    assert await looks(birkelund, "node-admin", authority="55667788", object=parcel) == [
        ("egedal-owner", parcel, "not-found")
    ]
    assert await looks(birkelund, "node-admin", who="birkelund-robot") == []
    _, said = await birkelund.system("birkelund-robot").ask("GET", "/v1/looks", params={"who": "birkelund-robot"})
    assert {one["action"] for one in said["looks"]} == {"GET /v1/looks"}
    _, first = await birkelund.system("birkelund-robot").ask("GET", f"/v1/looks?object={parcel}&limit=1")
    _, rest = await birkelund.system("birkelund-robot").ask(
        "GET", f"/v1/looks?object={parcel}&limit=1&after={first['next']}"
    )
    assert [one["action"] for one in (*first["looks"], *rest["looks"])] == [
        "GET /v1/parcels",
        "GET /v1/parcels/{parcel}/trace",
    ]
    assert "next" not in rest


@pytest.mark.requirement("R102")
async def test_who_is_no_auditor_reads_no_log(birkelund: Place):
    """And an auditor none of another authority's, whether there is such an authority or not."""
    for system in ("birkelund-care", "birkelund-operator", "egedal-owner", "demo-supplier"):
        status, said = await birkelund.system(system).ask("GET", "/v1/looks")
        assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")
    for authority in ("55667788", "no-such"):
        status, said = await birkelund.system("birkelund-robot").ask("GET", f"/v1/looks?authority={authority}")
        assert (status, said["type"]) == (404, "urn:stafet:problem:not-found")
    assert (await birkelund.system("birkelund-robot").ask("GET", "/v1/looks?authority=11223344"))[0] == 200


async def alarms(place: Place, system: str, **asked: Any) -> list[tuple[str, str]]:
    """Open alarms that somebody sees: what kind, about which parcel."""
    status, said = await place.system(system).ask("GET", "/v1/alarms", params=asked)
    assert status == 200, said
    return [(one["code"], one.get("parcel", "")) for one in said["alarms"]]


@pytest.mark.requirement("R74", "R79")
async def test_alarms_are_seen_and_cleared_by_whom_they_are_about(birkelund: Place):
    """With what they mean; those about no parcel are for who administers the node."""
    care = birkelund.system("birkelund-care")
    first, second = await hand(care, type=RESIDUAL_TYPE), await hand(care, key="k-2", type=RESIDUAL_TYPE)
    await birkelund.node.gateways["rest"]._kernel.alarm("clock", "this node's clock is slow")
    about = [("residual", second), ("residual", first)]
    assert await alarms(birkelund, "birkelund-operator") == about
    assert await alarms(birkelund, "node-admin") == [("clock", ""), *about]
    assert await alarms(birkelund, "node-admin", code="clock") == [("clock", "")]
    assert await alarms(birkelund, "birkelund-operator", parcel=first) == about[1:]
    assert await alarms(birkelund, "egedal-owner") == []
    _, said = await birkelund.system("node-admin").ask("GET", "/v1/alarms?limit=1")
    assert "What to do:" in said["alarms"][0]["meaning"]
    assert await alarms(birkelund, "node-admin", after=said["next"], limit=2) == about
    _, listed = await birkelund.system("node-admin").ask("GET", "/v1/alarms")
    clock, newer, older = (one["id"] for one in listed["alarms"])

    async def clear(system: str, *ids: str) -> tuple[int, Any]:
        return await birkelund.system(system).ask("POST", "/v1/alarms/clear", {"alarms": list(ids)})

    assert (await clear("birkelund-operator", newer, clock, "no-such"))[1] == {"cleared": [newer]}
    assert (await clear("birkelund-operator", newer))[1] == {"cleared": [newer]}
    assert await alarms(birkelund, "node-admin") == [("clock", ""), ("residual", first)]
    assert (await clear("node-admin", clock, older, older))[1] == {"cleared": sorted([clock, older])}
    assert await alarms(birkelund, "node-admin") == []
    found = await looks(birkelund, "node-admin", who="birkelund-operator", action="POST /v1/alarms/clear")
    assert found == [("birkelund-operator", newer, "ok")] * 2


@pytest.mark.requirement("R102")
async def test_nobody_clears_anothers_alarm(birkelund: Place):
    """It is as absent as one that is not there; who operates nothing is told which role it takes."""
    await hand(birkelund.system("birkelund-care"), type=RESIDUAL_TYPE)
    _, said = await birkelund.system("node-admin").ask("GET", "/v1/alarms")
    (one,) = said["alarms"]
    answers = []
    for name in (one["id"], "0" * 32, "a\x00", "' OR 1=1 --"):
        status, refused = await birkelund.system("egedal-owner").ask("POST", "/v1/alarms/clear", {"alarms": [name]})
        answers.append((status, {k: v for k, v in refused.items() if k != "instance"}))
    assert answers[0][0] == 404
    assert answers == answers[:1] * 4
    for method, path, body in (("GET", "/v1/alarms", None), ("POST", "/v1/alarms/clear", {"alarms": [one["id"]]})):
        status, _ = await birkelund.system("birkelund-care").ask(method, path, body)
        assert status == 403
    assert await alarms(birkelund, "node-admin") == [("residual", one["parcel"])]


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        ("alarms?after=x", "after"),
        ("alarms?after=1/a%00", "after"),
        ("alarms?after=" + "1" * 18 + "/a", "after"),
        ("alarms?limit=501", "limit"),
        ("alarms?code=%00", "code"),
        ("looks?after=x", "after"),
        ("looks?limit=0", "limit"),
        ("looks?since=2026-03-01", "since"),
        ("looks?who=a%0Ab", "who"),
        ("looks?object=" + "x" * 256, "object"),
    ],
)
async def test_a_wrong_question_names_its_parameter(birkelund: Place, path: str, parameter: str):
    """With a problem."""
    status, said = await birkelund.system("node-admin").ask("GET", f"/v1/{path}")
    assert (status, said["type"]) == (400, "urn:stafet:problem:invalid-request")
    assert [one["parameter"] for one in said["errors"]] == [parameter]


@pytest.mark.parametrize("body", [{}, {"alarms": []}, {"alarms": ["x" * 65]}, {"alarms": [5]}, {"alarms": ["x"] * 501}])
async def test_a_wrong_list_of_alarms_is_refused(birkelund: Place, body: dict[str, Any]):
    """Empty, too long, or no list of texts."""
    status, said = await birkelund.system("node-admin").ask("POST", "/v1/alarms/clear", body)
    assert (status, said["errors"][0]["pointer"].startswith("/alarms")) == (400, True)


async def test_an_event_published_by_a_system_is_not_in_the_log(birkelund: Place):
    """Its trace tells of it."""
    await birkelund.system("birkelund-care").publish(event())
    assert await looks(birkelund, "node-admin") == []
