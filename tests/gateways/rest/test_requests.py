"""Self-service over real TLS: what is asked for, who decides, and the ways to get what one should not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conformance.town import AUTHORITY, agreement, notification
from core import limits
from tests.gateways.as4.running import applied, running
from tests.gateways.rest.offices import OTHER, offices
from tests.gateways.rest.running import CATALOGUE, Place, System, event

SUBSCRIPTION = {"system": "birkelund-robot", "integration": "stays", "match": {"type": "stay.began"}}
AGREEMENT = {"system": "egedal-care", "integration": "stays", "may": "receive"}


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices."""
    async with offices(tmp_path) as found:
        yield found


async def ask(system: System, kind: str, document: dict[str, Any], **more: Any) -> tuple[int, Any]:
    """Ask for a document."""
    return await system.ask("POST", "/v1/requests", {"kind": kind, "document": document, **more})


@pytest.mark.requirement("R20", "R23", "R91")
async def test_what_is_approved_is_in_force_at_once(birkelund: Place):
    """A system asks, the owner of the data approves, and the next event is delivered under the new version, with who and why."""
    robot, owner = birkelund.system("birkelund-robot"), birkelund.system("birkelund-owner")
    before = birkelund.node.runtime.configuration.number
    status, asked = await ask(robot, "subscription", SUBSCRIPTION, why="we count beds")
    assert (status, asked["state"], asked["owner"]) == (201, "pending", AUTHORITY)
    assert asked["name"].startswith("birkelund-robot-")
    assert birkelund.node.runtime.configuration.number == before
    status, listed = await owner.ask("GET", "/v1/requests?state=pending")
    assert [one["id"] for one in listed["requests"]] == [asked["id"]]
    status, made = await owner.ask("POST", f"/v1/requests/{asked['id']}/approve", {"reason": "agreed"})
    assert (status, made["state"], made["version"]) == (200, "approved", before + 1)
    configuration = birkelund.node.runtime.configuration
    assert configuration.number == before + 1
    assert asked["name"] in configuration.all("subscription")
    await birkelund.system("birkelund-care").publish(event())
    assert len(await robot.pull(asked["name"])) == 1
    _, seen = await robot.ask("GET", f"/v1/requests/{asked['id']}")
    assert (seen["state"], seen["reason"]) == ("approved", "agreed")


@pytest.mark.requirement("R91")
async def test_a_service_agreement_carries_who_approved_it(birkelund: Place):
    """Another authority's system asks for its own; approved, it may receive, and the document says by whom."""
    care, owner = birkelund.system("egedal-care"), birkelund.system("birkelund-owner")
    status, asked = await ask(care, "service-agreement", AGREEMENT)
    assert status == 201
    _, made = await owner.ask("POST", f"/v1/requests/{asked['id']}/approve", {})
    document = birkelund.node.runtime.configuration.all("service-agreement")[asked["name"]]
    assert (made["state"], document.approved_by, document.system) == ("approved", AUTHORITY, "egedal-care")


async def test_nothing_is_asked_for_others_systems(birkelund: Place):
    """A system of another authority is as absent as one that does not exist, to the octet; within one's own it is refused."""
    care = birkelund.system("egedal-care")
    answers = [
        await ask(care, "subscription", SUBSCRIPTION | {"system": name}) for name in ("birkelund-robot", "nobody")
    ]
    assert [status for status, _ in answers] == [404, 404]
    assert len({str({k: v for k, v in said.items() if k != "instance"}) for _, said in answers}) == 1
    status, _ = await ask(birkelund.system("birkelund-care"), "subscription", SUBSCRIPTION)
    assert status == 404
    status, said = await ask(birkelund.system("birkelund-operator"), "subscription", SUBSCRIPTION)
    assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")


async def test_a_supplier_asks_for_the_systems_it_serves(birkelund: Place):
    """For those, and for no other."""
    supplier = birkelund.system("demo-supplier")
    assert (await ask(supplier, "subscription", SUBSCRIPTION))[0] == 201
    assert (await ask(supplier, "subscription", SUBSCRIPTION | {"system": "birkelund-care"}))[0] == 404


async def test_nobody_decides_what_they_asked(birkelund: Place):
    """Not even who administers the node; and others see nothing of a request at all."""
    admin = birkelund.system("node-admin")
    _, asked = await ask(admin, "subscription", SUBSCRIPTION)
    for verb in ("approve", "refuse"):
        status, said = await admin.ask("POST", f"/v1/requests/{asked['id']}/{verb}", {})
        assert status == 403
        assert "somebody else" in said["detail"]
    for name in ("birkelund-care", "egedal-owner", "birkelund-operator"):
        stranger = birkelund.system(name)
        for method, path in (("GET", ""), ("POST", "/approve"), ("POST", "/refuse"), ("POST", "/withdraw")):
            status, _ = await stranger.ask(method, f"/v1/requests/{asked['id']}{path}")
            assert status == 404
        assert (await stranger.ask("GET", "/v1/requests"))[1] == {"requests": []}


async def test_a_request_is_decided_once(birkelund: Place):
    """Said again, an approval is refused and makes no version; so is a withdrawal of what is decided."""
    robot, owner = birkelund.system("birkelund-robot"), birkelund.system("birkelund-owner")
    _, asked = await ask(robot, "subscription", SUBSCRIPTION)
    assert (await owner.ask("POST", f"/v1/requests/{asked['id']}/approve"))[0] == 200
    number = birkelund.node.runtime.configuration.number
    for system, verb in ((owner, "approve"), (owner, "refuse"), (robot, "withdraw")):
        status, said = await system.ask("POST", f"/v1/requests/{asked['id']}/{verb}")
        assert (status, said["type"]) == (409, "urn:stafet:problem:wrong-state")
    assert birkelund.node.runtime.configuration.number == number


async def test_of_two_approvals_at_once_one_wins(birkelund: Place):
    """The other is told that it was decided; there is one version more, not two."""
    robot, owner, admin = (birkelund.system(f"birkelund-{one}") for one in ("robot", "owner", "owner"))
    _, asked = await ask(robot, "subscription", SUBSCRIPTION)
    number = birkelund.node.runtime.configuration.number
    path = f"/v1/requests/{asked['id']}/approve"
    answers = await asyncio.gather(*(one.ask("POST", path, {}) for one in (owner, admin, owner, admin)))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    assert birkelund.node.runtime.configuration.number == number + 1


async def test_many_approvals_at_once_all_hold(birkelund: Place):
    """Each is merged into what the others have made."""
    robot, owner = birkelund.system("birkelund-robot"), birkelund.system("birkelund-owner")
    asked = [(await ask(robot, "subscription", SUBSCRIPTION | {"id": f"birkelund-robot-{n}"}))[1] for n in range(4)]
    path = "/v1/requests/{}/approve"
    answers = await asyncio.gather(*(owner.ask("POST", path.format(one["id"]), {}) for one in asked))
    assert [status for status, _ in answers] == [200] * 4
    assert {one["name"] for one in asked} <= set(birkelund.node.runtime.configuration.all("subscription"))


async def test_a_configuration_that_has_moved_on_is_kept(birkelund: Place):
    """What was applied after a request was asked stays when it is approved, and the checks are run again."""
    robot, owner = birkelund.system("birkelund-robot"), birkelund.system("birkelund-owner")
    _, asked = await ask(robot, "subscription", SUBSCRIPTION)
    birkelund.town.write("more.yaml", [notification("visits", owner=AUTHORITY)])
    await applied(birkelund.node)
    assert (await owner.ask("POST", f"/v1/requests/{asked['id']}/approve"))[0] == 200
    configuration = birkelund.node.runtime.configuration
    assert "visits" in configuration.all("integration")
    assert asked["name"] in configuration.all("subscription")


async def test_what_is_refused_or_withdrawn_changes_nothing(birkelund: Place):
    """The reason is there for who asked."""
    robot, owner = birkelund.system("birkelund-robot"), birkelund.system("birkelund-owner")
    number = birkelund.node.runtime.configuration.number
    _, one = await ask(robot, "subscription", SUBSCRIPTION)
    _, other = await ask(robot, "subscription", SUBSCRIPTION)
    status, said = await owner.ask("POST", f"/v1/requests/{one['id']}/refuse", {"reason": "no legal basis"})
    assert (status, said["state"], said["reason"]) == (200, "refused", "no legal basis")
    status, said = await robot.ask("POST", f"/v1/requests/{other['id']}/withdraw")
    assert (status, said["state"]) == (200, "withdrawn")
    assert birkelund.node.runtime.configuration.number == number


async def test_a_removal_is_asked_for_as_well(birkelund: Place):
    """Approved, the document is gone; somebody else's is not there."""
    robot, owner = birkelund.system("birkelund-robot"), birkelund.system("birkelund-owner")
    body = {"kind": "service-agreement", "id": "stays-birkelund-robot-receive", "remove": True}
    assert (await birkelund.system("egedal-care").ask("POST", "/v1/requests", body))[0] == 404
    status, asked = await robot.ask("POST", "/v1/requests", body)
    assert (status, asked["remove"]) == (201, True)
    assert (await owner.ask("POST", f"/v1/requests/{asked['id']}/approve"))[0] == 200
    assert body["id"] not in birkelund.node.runtime.configuration.all("service-agreement")
    status, _ = await robot.ask("POST", "/v1/subscriptions/robot-ends/pull", {})
    assert status == 403


WRONG = [
    ({"kind": "subscription", "document": SUBSCRIPTION, "extra": 1}, 400, "/extra"),
    ({"kind": "system", "document": SUBSCRIPTION}, 400, "/kind"),
    ({"kind": "subscription"}, 400, "/document"),
    ({"kind": "subscription", "document": SUBSCRIPTION | {"priority": 1}}, 422, "/document/priority"),
    ({"kind": "subscription", "document": SUBSCRIPTION | {"when": "parcel.nothing == 1"}}, 422, "/document/when"),
    ({"kind": "subscription", "document": SUBSCRIPTION | {"integration": "none"}}, 422, "/document/integration"),
    ({"kind": "subscription", "document": SUBSCRIPTION | {"id": "journal-stays"}}, 422, "/document/id"),
    ({"kind": "subscription", "document": SUBSCRIPTION | {"id": "mine"}}, 422, "/document/id"),
    ({"kind": "subscription", "document": SUBSCRIPTION | {"subjects_in": "patients"}}, 400, "/document/subjects_in"),
    ({"kind": "service-agreement", "document": AGREEMENT | {"system": "birkelund-robot", "approved_by": "me"}}, 422,
     "/document/approved_by"),
    ({"kind": "service-agreement", "document": AGREEMENT | {"system": "birkelund-robot", "since": "2026-02-01",
                                                            "until": "2026-01-01"}}, 422, "/document"),
]  # fmt: skip


@pytest.mark.parametrize(("body", "status", "pointer"), WRONG)
async def test_what_is_wrong_is_named_with_its_place(birkelund: Place, body: Any, status: int, pointer: str):
    """Each wrong field by its pointer; nothing is stored."""
    robot = birkelund.system("birkelund-robot")
    answered, said = await robot.ask("POST", "/v1/requests", body)
    assert (answered, [one["pointer"] for one in said["errors"]]) == (status, [pointer])
    assert (await robot.ask("GET", "/v1/requests"))[1] == {"requests": []}


async def test_an_id_taken_by_another_says_the_same_as_a_free_one(birkelund: Place):
    """From a refusal nobody learns what others have called theirs."""
    robot = birkelund.system("birkelund-robot")
    answers = [await ask(robot, "subscription", SUBSCRIPTION | {"id": name}) for name in ("journal-stays", "no-such")]
    assert len({str({k: v for k, v in said.items() if k != "instance"}) for _, said in answers}) == 1


async def test_a_request_counts_once_under_its_key(birkelund: Place):
    """Said again it is the same one; with other content it is a conflict."""
    robot = birkelund.system("birkelund-robot")
    headers = {"Idempotency-Key": "beds-1"}
    body = {"kind": "subscription", "document": SUBSCRIPTION}
    first = await robot.ask("POST", "/v1/requests", body, headers=headers)
    again = await robot.ask("POST", "/v1/requests", body, headers=headers)
    assert (first[0], again[0]) == (201, 200)
    assert first[1] == again[1]
    status, said = await robot.ask("POST", "/v1/requests", body | {"why": "other"}, headers=headers)
    assert (status, said["type"]) == (409, "urn:stafet:problem:conflict")


@pytest.mark.requirement("R25")
async def test_nobody_asks_for_too_much(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """With as many requests pending as are allowed, the next is refused until one is decided; others are not affected."""
    monkeypatch.setattr(limits, "REQUESTS_PENDING", 3)
    robot = birkelund.system("birkelund-robot")
    asked = [await ask(robot, "subscription", SUBSCRIPTION) for _ in range(4)]
    assert [status for status, _ in asked] == [201, 201, 201, 429]
    assert (await ask(birkelund.system("demo-supplier"), "subscription", SUBSCRIPTION))[0] == 201
    await robot.ask("POST", f"/v1/requests/{asked[0][1]['id']}/withdraw")
    assert (await ask(robot, "subscription", SUBSCRIPTION))[0] == 201


async def test_a_request_that_would_break_things_by_now_stays_pending(birkelund: Place):
    """What was in order when it was asked and is not any more is named; the request can still be refused."""
    robot, owner = birkelund.system("birkelund-robot"), birkelund.system("birkelund-owner")
    visits = [notification("visits", owner=AUTHORITY), agreement("visits", "birkelund-robot", "receive")]
    birkelund.town.write("more.yaml", visits)
    await applied(birkelund.node)
    _, asked = await ask(robot, "subscription", SUBSCRIPTION | {"integration": "visits"})
    birkelund.town.write("more.yaml", [])
    await applied(birkelund.node)
    admin = birkelund.system("node-admin")
    status, said = await admin.ask("POST", f"/v1/requests/{asked['id']}/approve")
    assert (status, said["type"]) == (422, "urn:stafet:problem:invalid-document")
    assert (await owner.ask("GET", f"/v1/requests/{asked['id']}"))[1]["state"] == "pending"


async def test_pages_of_requests_follow_each_other(birkelund: Place):
    """Two at a time, the newest first, each once."""
    robot = birkelund.system("birkelund-robot")
    asked = [(await ask(robot, "subscription", SUBSCRIPTION))[1]["id"] for _ in range(5)]
    found, path = [], "/v1/requests?limit=2"
    while path:
        _, said = await robot.ask("GET", path)
        found += [one["id"] for one in said["requests"]]
        path = f"/v1/requests?limit=2&after={said['next']}" if "next" in said else ""
    assert found == asked[::-1]


@pytest.mark.parametrize(("since", "until"), [(None, "2020-01-01"), ("2999-01-01", None)])
async def test_an_agreement_counts_between_its_days(tmp_path: Path, since: str | None, until: str | None):
    """One that has ended, or has not begun, lets nobody publish and nobody fetch."""
    days = {k: v for k, v in (("since", since), ("until", until)) if v}
    given = [
        notification("visits", owner=AUTHORITY),
        agreement("visits", "birkelund-care", "send") | days,
        agreement("visits", "birkelund-robot", "receive") | days,
        {"kind": "subscription", "id": "robot-visits", "system": "birkelund-robot", "integration": "visits"},
    ]
    async with offices(tmp_path, given) as town:
        status, said = await town.system("birkelund-care").ask("POST", "/v1/notifications", event(kind="visits"))
        assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")
        status, said = await town.system("birkelund-robot").ask("POST", "/v1/subscriptions/robot-visits/pull", {})
        assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")


async def test_other_nodes_follow_within_a_second(tmp_path: Path, postgresql_url: str):
    """What one node approves, another on the same ledger has a moment later."""
    async with offices(tmp_path, database=postgresql_url) as town:
        settings = town.town.settings()
        assert OTHER
        robot, owner = town.system("birkelund-robot"), town.system("birkelund-owner")
        _, asked = await ask(robot, "subscription", SUBSCRIPTION)
        other = tmp_path / "second"
        other.mkdir()
        (other / "keys").symlink_to(settings.keys_path)
        text = f"node: birkelund-b\ndatabase: {postgresql_url}\nstore: {settings.store_path}\nfree_space_reserve: 0\n"
        (other / "node.yaml").write_text(text)
        async with running(other, catalogue=CATALOGUE) as (second,):
            await owner.ask("POST", f"/v1/requests/{asked['id']}/approve")
            async with asyncio.timeout(3):
                while asked["name"] not in second.runtime.configuration.all("subscription"):
                    await asyncio.sleep(0.05)
