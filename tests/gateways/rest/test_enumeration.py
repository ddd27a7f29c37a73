"""No endpoint shows another authority's objects: everything that is served is asked by strangers, with ids that exist.

Each endpoint has a case below; one without a case fails, so that nothing is served that was not asked.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from tests.gateways.rest.handing import RESIDUAL_TYPE, fetch, hand, handing, upload
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, System, documents, event

STRANGERS = ("egedal-owner", "egedal-care", "demo-supplier")
"""An owner and operator of another authority, a system of it, and a supplier that serves one system of the first."""


@dataclass(frozen=True)
class Case:
    """How an endpoint is asked. ``query`` and ``body`` may name ids as ``{subscription}``."""

    body: Any = None
    query: str = ""
    shop: bool = False
    """Everybody known may see it: what it says is looked through all the same."""
    data: bytes | None = None
    """A body that is no JSON."""
    headers: Mapping[str, str] = field(default_factory=dict)


SEE: Final = Case()
AS: Final = "?system={system}"
TUS: Final = {"Tus-Resumable": "1.0.0"}
PIECE: Final = {**TUS, "Content-Type": "application/offset+octet-stream"}
CASES: Final[Mapping[tuple[str, str], Case]] = {
    ("GET", "/v1/openapi.json"): Case(shop=True),
    ("POST", "/v1/notifications"): Case(event("e-9", integration="stays"), query="?system={system}"),
    ("POST", "/v1/notifications/batch"): Case([event("e-9")], query="?system={system}"),
    ("POST", "/v1/subscriptions/{subscription}/pull"): Case({}),
    ("POST", "/v1/subscriptions/{subscription}/ack"): Case({"leases": ["{lease}"]}),
    ("POST", "/v1/subscriptions/{subscription}/nack"): Case({"leases": ["{lease}"]}),
    ("POST", "/v1/subscriptions/{subscription}/extend"): Case({"leases": ["{lease}"], "lease": 60}),
    ("POST", "/v1/subscriptions/{subscription}/reject"): Case({"leases": ["{lease}"], "code": "no"}),
    ("GET", "/v1/subscriptions"): Case(shop=True),
    ("POST", "/v1/subscriptions/test"): Case({"integration": "stays", "system": "{system}"}),
    ("GET", "/v1/subscriptions/{subscription}"): SEE,
    ("PATCH", "/v1/subscriptions/{subscription}"): Case({"paused": True}),
    ("DELETE", "/v1/subscriptions/{subscription}"): SEE,
    ("POST", "/v1/subscriptions/{subscription}/replay"): Case({"since": "2026-01-01T00:00:00Z"}),
    ("GET", "/v1/subscriptions/{subscription}/replays/{replay}"): SEE,
    ("GET", "/v1/subscriptions/{subscription}/dead-letters"): SEE,
    ("POST", "/v1/subscriptions/{subscription}/dead-letters/redrive"): Case({"all": True}),
    ("POST", "/v1/subscriptions/{subscription}/dead-letters/discard"): Case({"deliveries": ["{delivery}"]}),
    ("POST", "/v1/requests"): Case(
        {"kind": "subscription", "document": {"system": "{system}", "integration": "stays", "id": "{subscription}"}}
    ),
    ("GET", "/v1/requests"): Case(shop=True),
    ("GET", "/v1/requests/{request}"): SEE,
    ("POST", "/v1/requests/{request}/approve"): Case({}),
    ("POST", "/v1/requests/{request}/refuse"): Case({}),
    ("POST", "/v1/requests/{request}/withdraw"): Case({}),
    ("GET", "/v1/integrations"): Case(shop=True),
    ("GET", "/v1/integrations/{integration}"): Case(shop=True),
    ("GET", "/v1/integrations/{integration}/contract"): Case(shop=True),
    ("GET", "/v1/me"): Case(shop=True),
    ("GET", "/v1/systems/{system}/certificates"): SEE,
    ("GET", "/v1/functions/{function}"): SEE,
    ("POST", "/v1/handovers"): Case(
        {"integration": "cases", "uploads": ["{upload}"]}, AS, headers={"Idempotency-Key": "k"}
    ),
    ("POST", "/v1/handovers/pull"): Case({}, AS),
    ("POST", "/v1/handovers/ack"): Case({"leases": ["{loan}"]}, AS),
    ("POST", "/v1/handovers/nack"): Case({"leases": ["{loan}"]}, AS),
    ("POST", "/v1/handovers/extend"): Case({"leases": ["{loan}"], "lease": 60}, AS),
    ("POST", "/v1/handovers/reject"): Case({"leases": ["{loan}"], "code": "no"}, AS),
    ("GET", "/v1/handovers/{parcel}"): SEE,
    ("GET", "/v1/handovers/{parcel}/payloads/{number}"): SEE,
    ("HEAD", "/v1/handovers/{parcel}/payloads/{number}"): SEE,
    ("POST", "/v1/handovers/{parcel}/receipt"): Case({"verdict": "accepted"}, AS),
    ("GET", "/v1/handovers/{parcel}/receipts"): SEE,
    ("POST", "/v1/receipts/pull"): Case({}, AS),
    ("POST", "/v1/handovers/{parcel}/redistribute"): Case({"reason": "mine"}, AS),
    ("GET", "/v1/residual"): Case(shop=True),
    ("POST", "/v1/residual/{delivery}/route"): Case({"reason": "mine"}),
    ("OPTIONS", "/v1/uploads"): Case(shop=True),
    ("POST", "/v1/uploads"): Case(query=AS, headers={**TUS, "Upload-Length": "3"}),
    ("HEAD", "/v1/uploads/{upload}"): Case(query=AS, headers=TUS),
    ("PATCH", "/v1/uploads/{upload}"): Case(query=AS, data=b"x", headers={**PIECE, "Upload-Offset": "0"}),
    ("DELETE", "/v1/uploads/{upload}"): Case(query=AS, headers=TUS),
    ("GET", "/v1/value-lists"): Case(shop=True),
    ("PUT", "/v1/value-lists/{list}/values"): Case(["x"]),
    ("POST", "/v1/value-lists/{list}/values"): Case({"values": ["x"]}),
    ("POST", "/v1/value-lists/{list}/values/remove"): Case({"values": ["resident-7"]}),
    ("POST", "/v1/value-lists/{list}/contains"): Case({"values": ["resident-7"]}),
    ("GET", "/v1/notifications"): Case(query="?id=e-1&source=/birkelund/care", shop=True),
    ("GET", "/v1/notifications/{parcel}"): SEE,
    ("GET", "/v1/parcels"): Case(query="?reference={parcel}", shop=True),
    ("GET", "/v1/parcels/{parcel}"): SEE,
    ("GET", "/v1/parcels/{parcel}/trace"): SEE,
    ("GET", "/v1/failures"): Case(shop=True),
    ("GET", "/v1/statistics"): Case(query="?by=sender,receiver,rule,state", shop=True),
    ("GET", "/v1/statistics/unused"): Case(shop=True),
    ("GET", "/v1/looks"): SEE,
    ("GET", "/v1/alarms"): Case(shop=True),
    ("POST", "/v1/alarms/clear"): Case({"alarms": ["{alarm}"]}),
    ("GET", "/v1/configuration"): SEE,
    ("POST", "/v1/configuration/check"): Case({"documents": []}),
    ("GET", "/v1/configuration/history"): SEE,
}
SHOP: Final = {"integration": "stays", "number": "1"}
"""What everybody known may see."""


@dataclass(frozen=True)
class Estate:
    """A town, and ids of Birkelund's in it by the name of the parameter that takes them."""

    place: Place
    ids: Mapping[str, str]


@pytest.fixture
async def estate(tmp_path: Path) -> AsyncIterator[Estate]:
    """One of everything that Birkelund can have."""
    given = [
        *(one for one in handing() if one not in documents()),
        {"kind": "function", "id": "wards", "authority": "11223344"},
        {"kind": "value-list", "id": "patients", "owner": "birkelund-journal"},
    ]
    async with offices(tmp_path, given) as place:
        care, journal = place.system("birkelund-care"), place.system("birkelund-journal")
        published = await care.publish(event(subjects="resident-7"), event("e-2"))
        (lent,) = await journal.pull("journal-stays", max=1)
        _, said = await journal.ask("POST", "/v1/subscriptions/journal-stays/replay", {"since": "2026-01-01T00:00:00Z"})
        wish = {"kind": "subscription", "document": {"system": "birkelund-journal", "integration": "stays"}}
        _, asked = await journal.ask("POST", "/v1/requests", wish)
        handed = await hand(care, ("note.txt", b"for the journal"))
        (held,) = await fetch(journal)
        await hand(care, key="k-2", type=RESIDUAL_TYPE)
        _, listed = await place.system("node-admin").ask("GET", "/v1/alarms")
        ids = {
            "subscription": "journal-stays",
            "system": "birkelund-journal",
            "function": "wards",
            "list": "patients",
            "request": asked["id"],
            "replay": said["id"],
            "delivery": lent["lease"].partition(".")[0],
            "lease": lent["lease"],
            "parcel": handed,
            "loan": held["lease"],
            "upload": await upload(care, b"not handed over yet"),
            "notification": published[0]["parcel"],
            "alarm": listed["alarms"][0]["id"],
        }
        yield Estate(place, ids)


def absent(ids: Mapping[str, str]) -> dict[str, str]:
    """Ids of the same form that stand for nothing."""
    return {name: value[:-1] + ("0" if value[-1] != "0" else "1") for name, value in ids.items()}


def filled(value: Any, ids: Mapping[str, str]) -> Any:
    """With every ``{name}`` replaced."""
    text = json.dumps(value)
    for name, one in ids.items():
        text = text.replace("{" + name + "}", one)
    return json.loads(text)


async def ask(system: System, method: str, path: str, case: Case, ids: Mapping[str, str]) -> tuple[int, Any]:
    """Ask an endpoint, with what its case says."""
    named = filled(path + case.query, {**SHOP, **ids})
    assert "{" not in named, f"{path}: say in a case what stands for its parameters"
    more: dict[str, Any] = {"headers": dict(case.headers)}
    if case.data is not None:
        more["data"] = case.data
    status, said = await system.ask(method, named, filled(case.body, ids) if case.body is not None else None, **more)
    if isinstance(said, dict):
        said.pop("instance", None)
    return status, said


async def test_every_endpoint_has_a_case(estate: Estate):
    """What is served is asked below; what is not served any more has no case either."""
    served = {(one.method, one.path) for one in estate.place.node.gateways["rest"].endpoints}
    assert served == set(CASES)


@pytest.mark.requirement("R25")
@pytest.mark.parametrize("name", STRANGERS)
async def test_what_is_anothers_is_as_absent_as_what_is_not_there(estate: Estate, name: str):
    """The same answer, to the octet, for an id that exists and one that does not; and never a success."""
    stranger, nothing = estate.place.system(name), absent(estate.ids)
    for (method, path), case in CASES.items():
        if case.shop:
            continue
        status, said = await ask(stranger, method, path, case, estate.ids)
        assert status in (403, 404), f"{method} {path}: {status} {said}"
        assert (status, said) == await ask(stranger, method, path, case, nothing), f"{method} {path}"


@pytest.mark.parametrize("name", STRANGERS)
async def test_no_list_holds_anything_of_anothers(estate: Estate, name: str):
    """Not an id of Birkelund's journal, its subscription, its request, its parcels or whom they are about."""
    stranger = estate.place.system(name)
    for (method, path), case in CASES.items():
        status, said = await ask(stranger, method, path, case, estate.ids)
        if case.shop:
            text = json.dumps(said, default=str)
            found = [one for one in (*estate.ids.values(), "resident-7") if one in text]
            assert found == [], f"{method} {path}: {status}"


async def test_what_is_asked_by_strangers_changes_nothing(estate: Estate):
    """After all of it everything is where it was."""
    journal = estate.place.system("birkelund-journal")
    before = await journal.ask("GET", "/v1/subscriptions/journal-stays")
    for name in STRANGERS:
        for (method, path), case in CASES.items():
            await ask(estate.place.system(name), method, path, case, estate.ids)
    assert await journal.ask("GET", "/v1/subscriptions/journal-stays") == before
    _, said = await journal.ask("GET", f"/v1/requests/{estate.ids['request']}")
    assert said["state"] == "pending"
    assert await journal.say("journal-stays", "ack", estate.ids["lease"]) == ["done"]
