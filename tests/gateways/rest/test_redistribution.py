"""Redistribution and the residual mailbox over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import limits
from core.ledger import alarms, trace
from tests.gateways.rest.handing import RESIDUAL_TYPE, fetch, hand, handing, offices, upload
from tests.gateways.rest.running import Place, System, place


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node that hands over."""
    async with place(tmp_path, handing(*offices())) as found:
        yield found


async def send_on(system: System, parcel: str, to: Any = None, **more: Any) -> tuple[int, Any]:
    """Send on."""
    body = {"to": to, "reason": "for another office", **more}
    return await system.ask("POST", f"/v1/handovers/{parcel}/redistribute", body)


@pytest.mark.requirement("R37", "R54")
async def test_a_misdelivered_handover_goes_on_and_its_history_is_kept(birkelund: Place):
    """The first receiver names the right one; the sender sees redistributed, not refused, by whom and why."""
    care, journal, robot = (birkelund.system(f"birkelund-{name}") for name in ("care", "journal", "robot"))
    parcel = await hand(care, ("note.txt", b"for the robot"), subjects=["person-2"])
    (one,) = await fetch(journal)
    status, said = await send_on(journal, parcel, {"system": "birkelund-robot"}, code="wrong-office")
    assert status == 200, said
    assert [(d["receiver"], d["rule"]) for d in said["deliveries"]] == [("birkelund-robot", "redistributed")]
    _, results = await journal.ask("POST", "/v1/handovers/ack", {"leases": [one["lease"]]})
    assert results["results"][0]["result"] == "stale"
    assert (await journal.ask("GET", f"/v1/handovers/{parcel}/payloads/0"))[0] == 403
    (got,) = await fetch(robot)
    assert got["event"]["data"]["description"]["subjects"] == ["person-2"]
    assert (await robot.ask("GET", got["event"]["data"]["payloads"][0]["href"]))[1] == b"for the robot"
    _, seen = await care.ask("GET", f"/v1/handovers/{parcel}")
    assert {(d["receiver"], d["state"]) for d in seen["deliveries"]} == {
        ("birkelund-journal", "redistributed"),
        ("birkelund-robot", "ready"),
    }
    (moved,) = seen["history"]
    assert (moved["sent_by"], moved["to"], moved["who"]) == (
        "birkelund-journal",
        ["birkelund-robot"],
        "birkelund-journal",
    )
    assert (moved["code"], moved["reason"], moved["rule"]) == ("wrong-office", "for another office", "redistributed")
    assert not [a for a in birkelund.node.runtime.read_now(alarms.open_alarms) if a.code == "rejected"]
    assert (await journal.ask("POST", f"/v1/handovers/{parcel}/receipt", {"outcome": "accepted"}))[0] == 409
    assert (await send_on(journal, parcel, {"system": "birkelund-robot"}))[0] == 409
    assert (await robot.ask("POST", f"/v1/handovers/{parcel}/receipt", {"outcome": "accepted"}))[0] == 201


@pytest.mark.requirement("R37", "R53")
async def test_the_rules_are_asked_again_without_whoever_had_it(birkelund: Place):
    """The next rule that names another takes it; when none is left it is in the residual mailbox, and people are told."""
    care, journal, robot = (birkelund.system(f"birkelund-{name}") for name in ("care", "journal", "robot"))
    parcel = await hand(care)
    status, said = await send_on(journal, parcel)
    assert [(d["receiver"], d["rule"]) for d in said["deliveries"]] == [("birkelund-robot", "later-to-robot")], said
    (one,) = await fetch(robot)
    await robot.ask("POST", "/v1/handovers/ack", {"leases": [one["lease"]]})
    status, said = await send_on(robot, parcel)
    assert status == 200, said
    assert (said["deliveries"][0]["receiver"], said["residual"]) == ("residual", "no route matches")
    assert [a.code for a in birkelund.node.runtime.read_now(alarms.open_alarms)] == ["residual"]
    _, seen = await care.ask("GET", f"/v1/handovers/{parcel}")
    assert [h["to"] for h in seen["history"]] == [["birkelund-robot"], ["residual"]]


async def test_a_function_is_served_by_one_system(birkelund: Place):
    """To a function goes to the system that serves it; none and several are said."""
    parcel = await hand(birkelund.system("birkelund-care"))
    journal = birkelund.system("birkelund-journal")
    for function, words in (("nobody", "no other system"), ("many", "several systems")):
        status, said = await send_on(journal, parcel, {"function": function})
        assert (status, words in said["detail"]) == (422, True), said
    status, said = await send_on(journal, parcel, {"function": "form-work"})
    assert (status, said["deliveries"][0]["receiver"]) == (200, "birkelund-forms"), said


async def test_nobody_sends_to_whom_may_not_receive(birkelund: Place):
    """Without a service agreement, or unknown, is answered the same; nor to oneself; nor both at once; and nothing moved."""
    parcel = await hand(birkelund.system("birkelund-care"))
    journal, answers = birkelund.system("birkelund-journal"), set()
    for name in ("egedal-care", "nobody"):
        status, said = await send_on(journal, parcel, {"system": name})
        answers.add((status, said["detail"]))
    assert len(answers) == 1
    assert answers.pop()[0] == 422
    assert (await send_on(journal, parcel, {"system": "birkelund-journal"}))[0] == 422
    for to in ({}, {"system": "birkelund-robot", "function": "x"}):
        assert (await send_on(journal, parcel, to))[0] == 400
    assert (await send_on(journal, parcel, None, reason=""))[0] == 400
    assert (await send_on(birkelund.system("birkelund-care"), parcel))[0] == 403  # its sender is no receiver
    assert len(await fetch(journal)) == 1


async def test_an_operator_of_the_receivers_authority_sends_on_and_no_other(birkelund: Place):
    """An operator of another authority does not learn that there is such a parcel."""
    parcel = await hand(birkelund.system("birkelund-care"))
    assert (await send_on(birkelund.system("egedal-care"), parcel))[0] == 404
    status, _ = await send_on(birkelund.system("birkelund-desk"), parcel, {"system": "birkelund-robot"})
    assert status == 200
    _, seen = await birkelund.system("birkelund-care").ask("GET", f"/v1/handovers/{parcel}")
    assert seen["history"][0]["who"] == "birkelund-desk"


async def test_what_is_sent_on_in_circles_is_stopped(birkelund: Place):
    """After so many times two systems have to talk."""
    parcel = await hand(birkelund.system("birkelund-care"))
    names = ["birkelund-journal", "birkelund-robot"]
    for number in range(limits.REDISTRIBUTIONS):
        status, said = await send_on(birkelund.system(names[number % 2]), parcel, {"system": names[(number + 1) % 2]})
        assert status == 200, said
    last = names[limits.REDISTRIBUTIONS % 2]
    status, said = await send_on(birkelund.system(last), parcel, {"system": names[(limits.REDISTRIBUTIONS + 1) % 2]})
    assert (status, "times" in said["detail"]) == (409, True)
    assert len(await fetch(birkelund.system(last))) == 1


async def test_what_was_accepted_or_refused_does_not_go_on(birkelund: Place):
    """It is settled."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    for outcome in ("accepted", "rejected"):
        parcel = await hand(care, key=outcome)
        await journal.ask("POST", f"/v1/handovers/{parcel}/receipt", {"outcome": outcome})
        status, said = await send_on(journal, parcel, {"system": "birkelund-robot"})
        assert (status, said["type"]) == (409, "urn:stafet:problem:wrong-state")


@pytest.mark.requirement("R62", "R65")
async def test_what_is_sealed_goes_on_only_sealed_anew(birkelund: Place):
    """Refused with what to do; with an upload it goes on as a parcel of its own that refers to the first."""
    care, journal, robot = (birkelund.system(f"birkelund-{name}") for name in ("care", "journal", "robot"))
    parcel = await hand(
        care, ("sealed.p7m", b"for the journal alone"), integration="letters", type="letter", subjects=["p-3"]
    )
    status, said = await send_on(journal, parcel, {"system": "birkelund-robot"})
    assert (status, "sealed anew by somebody who can open it" in said["detail"]) == (422, True)
    assert (await send_on(journal, parcel, {"system": "birkelund-robot"}, upload="0" * 32))[0] == 400
    anew = await upload(journal, b"for the robot alone" * 20_000, "sealed.p7m")
    status, said = await send_on(journal, parcel, {"system": "birkelund-robot"}, upload=anew)
    assert status == 200, said
    assert said["parcel"] != parcel
    (got,) = await fetch(robot)
    data = got["event"]["data"]
    assert (data["parcel"], data["description"]["sender"], data["description"]["subjects"]) == (
        said["parcel"],
        "birkelund-journal",
        ["p-3"],
    )
    assert data["description"]["references"] == [{"kind": "redistributed", "id": parcel}]
    assert data["description"]["correlation_id"] == parcel
    assert (await robot.ask("GET", data["payloads"][0]["href"]))[1] == b"for the robot alone" * 20_000
    assert (await robot.ask("GET", f"/v1/handovers/{parcel}"))[0] == 404  # the first one is not the robot's
    _, seen = await care.ask("GET", f"/v1/handovers/{parcel}")
    assert seen["history"][0]["sealed_anew_as"] == said["parcel"]
    assert [d["state"] for d in seen["deliveries"]] == ["redistributed"]
    events = [line.event for line in birkelund.node.runtime.read_now(trace.of_parcel, said["parcel"])]
    assert events[0] == "accepted"
    plain = await hand(care, key="plain")
    again = await upload(journal, b"x")
    assert (await send_on(journal, plain, {"system": "birkelund-robot"}, upload=again))[0] == 422


# --- the residual mailbox ---------------------------------------------------------------------------------------------


async def test_operators_see_what_no_rule_took_and_why(birkelund: Place):
    """With what each rule says; in pages; of their own integrations alone, and without whom it concerns."""
    care, desk = birkelund.system("birkelund-care"), birkelund.system("birkelund-desk")
    parcels = [await hand(care, key=f"k-{n}", type=RESIDUAL_TYPE, subjects=["person-4"]) for n in range(3)]
    found, path = [], "/v1/residual?limit=2"
    while True:
        status, said = await desk.ask("GET", path)
        assert status == 200, said
        found += said["items"]
        if "next" not in said:
            break
        path = f"/v1/residual?limit=2&after={said['next']}"
    assert [one["parcel"] for one in found] == parcels
    assert found[0]["description"]["subjects"] == []
    said = {one["route"]: (one["matched"], one["why"]) for one in found[0]["rules"]}
    assert said["cases-to-journal"][0] is False
    assert "type" in said["cases-to-journal"][1]
    assert "letters-to-journal" not in said
    assert (await birkelund.system("egedal-care").ask("GET", "/v1/residual"))[1] == {"items": []}
    assert (await care.ask("GET", "/v1/residual"))[0] == 403


async def test_an_operator_says_where_it_goes(birkelund: Place):
    """By name, as by a rule that was added; what nobody takes is said, and another's delivery is not there."""
    care, desk, robot = (birkelund.system(f"birkelund-{name}") for name in ("care", "desk", "robot"))
    parcel = await hand(care, type=RESIDUAL_TYPE)
    _, said = await desk.ask("GET", "/v1/residual")
    path = f"/v1/residual/{said['items'][0]['delivery']}/route"
    status, said = await desk.ask("POST", path, {"reason": "try again"})
    assert (status, "no rule takes it now" in said["detail"]) == (422, True)
    assert (await birkelund.system("egedal-care").ask("POST", path, {"reason": "mine"}))[0] == 404
    assert (await care.ask("POST", path, {"reason": "mine"}))[0] == 403
    assert (await desk.ask("POST", path, {"to": {"system": "egedal-care"}, "reason": "to them"}))[0] == 422
    status, said = await desk.ask("POST", path, {"to": {"system": "birkelund-robot"}, "reason": "it knows these"})
    assert (status, said["deliveries"][0]["receiver"]) == (200, "birkelund-robot"), said
    assert [one["event"]["parcelid"] for one in await fetch(robot)] == [parcel]
    assert (await desk.ask("POST", path, {"to": {"system": "birkelund-robot"}, "reason": "again"}))[0] == 404
    (line,) = [ln for ln in birkelund.node.runtime.read_now(trace.of_parcel, parcel) if ln.event == "redirected"]
    assert (line.facts["by"], line.facts["reason"]) == ("birkelund-desk", "it knows these")
