"""Subscriptions in their owner's hands, over real TLS: backlog, changes, trials of filters, replays, dead letters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core import limits
from core.clock import SystemClock, to_datetime
from core.ledger import trace
from tests.gateways.as4.running import running
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import CATALOGUE, Place, System, event


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices."""
    async with offices(tmp_path) as found:
        yield found


def ago(**span: float) -> str:
    """A time before now, as the wire has it."""
    return (to_datetime(SystemClock().now()) - timedelta(**span)).isoformat()


async def published(place: Place, *kinds: str) -> list[str]:
    """Publish one event of each kind; gives their parcels."""
    care = place.system("birkelund-care")
    return [
        (await care.publish(event(f"e-{n}-{kind}", kind)))[0]["parcel"]
        for n, kind in enumerate(kinds or ("stay.began",))
    ]


async def replay(system: System, name: str, **said: Any) -> tuple[int, Any]:
    """Ask for a replay."""
    headers = {"headers": {"Idempotency-Key": said.pop("key")}} if "key" in said else {}
    return await system.ask("POST", f"/v1/subscriptions/{name}/replay", {"since": ago(hours=1)} | said, **headers)


@pytest.mark.requirement("R23", "R24")
async def test_what_waits_and_when_one_came_is_seen(birkelund: Place):
    """Waiting by lane, lent, since when, and the last visit: for its system, and for operators of its authority."""
    journal, operator = birkelund.system("birkelund-journal"), birkelund.system("birkelund-operator")
    _, said = await journal.ask("GET", "/v1/subscriptions/journal-stays")
    assert said["backlog"] == {
        "waiting": {"urgent": 0, "normal": 0, "bulk": 0},
        "lent": 0,
        "dead_letters": 0,
        "more": False,
    }
    await published(birkelund, "stay.began", "stay.ended")
    await birkelund.system("birkelund-care").publish(event("urgent", priority="urgent"))
    assert len(await journal.pull("journal-stays", max=1)) == 1
    _, said = await operator.ask("GET", "/v1/subscriptions/journal-stays")
    backlog = said["backlog"]
    assert backlog["waiting"] == {"urgent": 1, "normal": 2, "bulk": 0}
    assert (backlog["lent"], backlog["dead_letters"]) == (1, 0)
    assert backlog["oldest"] <= ago(seconds=0)
    assert backlog["last_came"] > ago(minutes=1)
    assert said["document"]["system"] == "birkelund-journal"


async def test_one_sees_ones_own_subscriptions(birkelund: Place):
    """A system its own, an operator its authority's, a supplier those it serves; nobody another authority's."""
    seen = {}
    for name in ("birkelund-journal", "birkelund-operator", "demo-supplier", "egedal-owner", "node-admin"):
        _, said = await birkelund.system(name).ask("GET", "/v1/subscriptions")
        seen[name] = [one["document"]["id"] for one in said["subscriptions"]]
    assert seen == {
        "birkelund-journal": ["journal-stays"],
        "birkelund-operator": ["journal-stays", "robot-ends"],
        "demo-supplier": ["robot-ends"],
        "egedal-owner": [],
        "node-admin": ["journal-stays", "robot-ends"],
    }
    _, first = await birkelund.system("node-admin").ask("GET", "/v1/subscriptions?limit=1")
    _, rest = await birkelund.system("node-admin").ask("GET", f"/v1/subscriptions?limit=1&after={first['next']}")
    assert [one["document"]["id"] for one in rest["subscriptions"]] == ["robot-ends"]
    assert "next" not in rest


@pytest.mark.requirement("R23")
async def test_a_system_pauses_changes_and_resumes_without_asking(birkelund: Place):
    """Paused, nothing is lent and everything is kept; the new filter counts from the next event."""
    robot = birkelund.system("birkelund-robot")
    path = "/v1/subscriptions/robot-ends"
    status, said = await robot.ask("PATCH", path, {"paused": True, "why": "we move house"})
    assert (status, said["document"]["paused"]) == (200, True)
    await published(birkelund, "stay.ended")
    assert await robot.pull("robot-ends") == []
    await robot.ask("PATCH", path, {"match": {"type": "stay.began"}, "when": 'parcel.sender == "birkelund-care"'})
    _, said = await robot.ask("PATCH", path, {"paused": False})
    assert said["document"]["when"]
    assert [one["event"]["type"] for one in await robot.pull("robot-ends")] == ["stay.ended"]
    await birkelund.system("birkelund-care").publish(event("next"))
    assert [one["event"]["type"] for one in await robot.pull("robot-ends")] == ["stay.began"]


async def test_a_change_is_of_what_one_has_seen(birkelund: Place):
    """With the tag of an older state it is refused, and nothing is changed."""
    robot, path = birkelund.system("birkelund-robot"), "/v1/subscriptions/robot-ends"
    _, _, headers = await robot.full("GET", path)
    seen = {"If-Match": headers["ETag"]}
    assert (await robot.ask("PATCH", path, {"paused": True}, headers=seen))[0] == 200
    status, said = await robot.ask("PATCH", path, {"paused": False}, headers=seen)
    assert (status, said["type"]) == (412, "urn:stafet:problem:changed-meanwhile")
    assert (await robot.ask("DELETE", path, headers=seen))[0] == 412
    assert (await robot.ask("GET", path))[1]["document"]["paused"] is True


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"system": "birkelund-care"}, 400, "/system"),
        ({"integration": "visits"}, 400, "/integration"),
        ({"when": "parcel.type"}, 400, "/when"),
        ({"when": "[1].all(x, true)"}, 400, "/when"),
        ({"when": "x" * 5000}, 400, "/when"),
        ({"lease": 0}, 400, "/lease"),
        ({"subjects_in": "patients"}, 400, "/subjects_in"),
        ({"match": {"colour": "red"}}, 400, "/match/colour"),
    ],
)
async def test_a_wrong_change_names_its_field(birkelund: Place, change: Any, status: int, pointer: str):
    """And changes nothing."""
    robot, path = birkelund.system("birkelund-robot"), "/v1/subscriptions/robot-ends"
    before = await robot.ask("GET", path)
    answered, said = await robot.ask("PATCH", path, change)
    assert (answered, said["errors"][0]["pointer"]) == (status, pointer)
    assert await robot.ask("GET", path) == before


async def test_only_the_system_itself_changes_its_subscription(birkelund: Place):
    """An operator and a supplier of it are refused; for others it is not there."""
    path = "/v1/subscriptions/robot-ends"
    for name, expected in (
        ("birkelund-operator", 403),
        ("demo-supplier", 403),
        ("egedal-owner", 404),
        ("birkelund-care", 404),
    ):
        assert (await birkelund.system(name).ask("PATCH", path, {"paused": True}))[0] == expected
        assert (await birkelund.system(name).ask("DELETE", path))[0] == expected


async def test_a_deleted_subscription_gets_nothing_any_more(birkelund: Place):
    """It is gone at once, and what waited for it is let go when nobody has asked for it again in some days."""
    robot = birkelund.system("birkelund-robot")
    await published(birkelund, "stay.ended")
    assert (await robot.ask("DELETE", "/v1/subscriptions/robot-ends"))[0] == 204
    assert (await robot.ask("GET", "/v1/subscriptions/robot-ends"))[0] == 404
    await birkelund.system("birkelund-care").publish(event("later", "stay.ended"))
    assert (await birkelund.system("birkelund-journal").pull("journal-stays"))[0]["event"]["type"] == "stay.ended"


# --- trials -----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R26")
async def test_a_filter_is_tried_on_what_came(birkelund: Place):
    """How many match and how many do not, with examples of each and nothing of what they say."""
    parcels = await published(birkelund, "stay.began", "stay.ended", "stay.began")
    robot = birkelund.system("birkelund-robot")
    body = {"integration": "stays", "match": {"type": "stay.ended"}}
    status, said = await robot.ask("POST", "/v1/subscriptions/test", body)
    assert status == 200
    assert (said["looked_at"], said["matched"], said["whole"]) == (3, 1, True)
    assert [one["id"] for one in said["matching"]] == [parcels[1]]
    assert [one["id"] for one in said["others"]] == [parcels[2], parcels[0]]
    assert set(said["matching"][0]) == {"id", "time", "type"}


async def test_a_trial_ends(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """At its limit of count, saying how far it came."""
    monkeypatch.setattr(limits, "REPLAY_BATCH", 2)
    monkeypatch.setattr(limits, "TRIAL_LOOKED_AT", 2)
    await published(birkelund, *["stay.began"] * 5)
    _, said = await birkelund.system("birkelund-robot").ask("POST", "/v1/subscriptions/test", {"integration": "stays"})
    assert (said["looked_at"], said["whole"]) == (2, False)
    assert said["since"] > ago(minutes=1)


async def test_a_condition_that_cannot_be_evaluated_is_said(birkelund: Place):
    """The words of the condition language, and no match."""
    await published(birkelund, "stay.began")
    body = {"integration": "stays", "when": 'parcel.attributes["rest.ward"] == "K4"'}
    _, said = await birkelund.system("birkelund-robot").ask("POST", "/v1/subscriptions/test", body)
    assert (said["looked_at"], said["matched"]) == (1, 0)
    assert "cannot be evaluated" in said["problem"]


@pytest.mark.requirement("R25")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"integration": "stays", "when": "[1, 2].exists(x, x == 1)"}, 400),
        ({"integration": "stays", "when": "parcel.sender.matches(parcel.type)"}, 400),
        ({"integration": "stays", "when": "(" * 2000}, 400),
        ({"integration": "stays", "when": "x" * 5000}, 400),
        ({"integration": "stays", "when": 'parcel.sender.matches("(a+)+$(((")'}, 400),
        ({"integration": "stays", "since": "yesterday"}, 400),
        ({"integration": "stays", "since": "2026-01-01T00:00:00"}, 400),
        ({"integration": "nothing"}, 400),
        ({"integration": "stays", "system": "birkelund-journal"}, 404),
        ({"integration": "stays", "system": "egedal-care"}, 404),
    ],
)
async def test_hostile_filters_are_refused_in_words(birkelund: Place, body: Any, status: int):
    """Loops, patterns from elsewhere, nesting and size; times without a zone; other systems."""
    answered, said = await birkelund.system("birkelund-robot").ask("POST", "/v1/subscriptions/test", body)
    assert answered == status, said


async def test_one_tries_only_what_one_may_receive(birkelund: Place):
    """Without a service agreement to receive, the past is closed."""
    status, said = await birkelund.system("egedal-care").ask("POST", "/v1/subscriptions/test", {"integration": "stays"})
    assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")


# --- replays ----------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R24")
async def test_what_came_is_delivered_again(birkelund: Place):
    """Everything of that time that matches the filter as it is now, in the bulk lane, with a line in the trace."""
    robot = birkelund.system("birkelund-robot")
    parcels = await published(birkelund, "stay.began", "stay.ended")
    (first,) = await robot.pull("robot-ends")
    await robot.say("robot-ends", "ack", first["lease"])
    status, said = await replay(robot, "robot-ends")
    assert (status, said["state"], said["looked_at"], said["delivered"]) == (200, "done", 2, 1)
    (again,) = await robot.pull("robot-ends")
    assert again["event"] == first["event"]
    assert (again["priority"], again["event"]["parcelid"]) == ("bulk", parcels[1])
    lines = birkelund.node.runtime.read_now(trace.of_parcel, parcels[1])
    assert [line.facts["by"] for line in lines if line.event == "replayed"] == ["birkelund-robot"]
    await robot.ask("PATCH", "/v1/subscriptions/robot-ends", {"match": {}})
    _, said = await replay(robot, "robot-ends", lane="urgent")
    assert said["delivered"] == 2
    assert {one["priority"] for one in await robot.pull("robot-ends")} == {"urgent"}


async def test_a_replay_counts_once_under_its_key(birkelund: Place):
    """Said again it is the same, whatever the time; for another span the key is used."""
    robot = birkelund.system("birkelund-robot")
    await published(birkelund, "stay.ended")
    since = ago(hours=1)
    answers = [await replay(robot, "robot-ends", since=since, key="again-1") for _ in range(3)]
    assert len({said["id"] for _, said in answers}) == 1
    assert len(await robot.pull("robot-ends")) == 2
    assert (await replay(robot, "robot-ends", since=ago(hours=2), key="again-1"))[0] == 409


async def test_a_long_replay_goes_on_behind(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """The answer does not wait for it; its progress can be read, and a second is refused until it is over."""
    monkeypatch.setattr(limits, "REPLAY_BATCH", 1)
    monkeypatch.setattr(limits, "REPLAY_WAIT", 0)
    robot = birkelund.system("birkelund-robot")
    await published(birkelund, *["stay.ended"] * 20)
    status, said, headers = await robot.full("POST", "/v1/subscriptions/robot-ends/replay", {"since": ago(hours=1)})
    assert status == 202
    where = headers["Location"]
    refused, _ = await replay(robot, "robot-ends")
    async with asyncio.timeout(20):
        while said["state"] == "running":
            _, said = await robot.ask("GET", where)
    assert (said["state"], said["delivered"], refused) == ("done", 20, 409)
    assert (await birkelund.system("egedal-owner").ask("GET", where))[0] == 404
    assert (await birkelund.system("birkelund-journal").ask("GET", where.replace("robot-ends", "journal-stays")))[
        0
    ] == 404


async def test_a_replay_of_a_dead_node_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """After the next start whoever finds it standing still takes it up, and makes no delivery twice."""
    async with offices(tmp_path) as town:
        robot = town.system("birkelund-robot")
        await published(town, *["stay.ended"] * 3)
        monkeypatch.setattr(limits, "REPLAY_WAIT", 0)
        town.node.runtime.on_replay = lambda name: None  # it dies before the first step
        _, said = await replay(robot, "robot-ends")
        assert said["state"] == "running"
    monkeypatch.setattr(limits, "REPLAY_STALE", 100_000)
    async with running(town.town.home, catalogue=CATALOGUE) as (node,):
        desk = node.gateways["rest"]._kernel.desks.replays
        async with asyncio.timeout(20):
            while (found := await desk.of("robot-ends", said["id"])).state.value == "running":
                await asyncio.sleep(0.02)
    assert (found.state.value, found.made) == ("done", 3)


@pytest.mark.parametrize(
    "body", [{}, {"since": "x"}, {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}]
)
async def test_a_wrong_replay_is_refused(birkelund: Place, body: Any):
    """Without a beginning, without a time, or the end before the beginning."""
    status, _ = await birkelund.system("birkelund-robot").ask("POST", "/v1/subscriptions/robot-ends/replay", body)
    assert status == 400


# --- dead letters -----------------------------------------------------------------------------------------------------


async def dead(place: Place, count: int) -> None:
    """So many dead letters for the robot."""
    robot = place.system("birkelund-robot")
    await robot.ask("PATCH", "/v1/subscriptions/robot-ends", {"max_attempts": 1})
    await published(place, *["stay.ended"] * count)
    while lent := await robot.pull("robot-ends", max=50):
        await robot.say("robot-ends", "nack", *(one["lease"] for one in lent), reason="too wet")


@pytest.mark.requirement("R24", "R25")
async def test_dead_letters_are_listed_and_sent_again(birkelund: Place):
    """In pages, oldest first, with why; some by name, or all."""
    robot, path = birkelund.system("birkelund-robot"), "/v1/subscriptions/robot-ends/dead-letters"
    await dead(birkelund, 5)
    _, first = await robot.ask("GET", f"{path}?limit=3")
    _, rest = await robot.ask("GET", f"{path}?limit=3&after={first['next']}")
    letters = first["dead_letters"] + rest["dead_letters"]
    assert (len(letters), len({one["delivery"] for one in letters}), "next" in rest) == (5, 5, False)
    assert letters[0]["reason"] == "too wet"
    status, said = await robot.ask("POST", f"{path}/redrive", {"deliveries": [letters[0]["delivery"], "0" * 32]})
    assert (status, said) == (200, {"moved": 1, "more": False})
    _, said = await robot.ask("POST", f"{path}/redrive", {"all": True})
    assert said == {"moved": 4, "more": False}
    assert len(await robot.pull("robot-ends")) == 5


async def test_dead_letters_are_discarded(birkelund: Place):
    """They are gone from the list, and their trace says who did not want them, and why."""
    robot, path = birkelund.system("birkelund-robot"), "/v1/subscriptions/robot-ends/dead-letters"
    await dead(birkelund, 2)
    _, said = await robot.ask("GET", path)
    parcel = said["dead_letters"][0]["parcel"]
    status, said = await birkelund.system("birkelund-operator").ask(
        "POST", f"{path}/discard", {"all": True, "reason": "of last year"}
    )
    assert (status, said) == (200, {"moved": 2, "more": False})
    assert (await robot.ask("GET", path))[1] == {"dead_letters": []}
    (line,) = [one for one in birkelund.node.runtime.read_now(trace.of_parcel, parcel) if one.event == "refused"]
    assert (line.facts["by"], line.facts["code"], line.facts["reason"]) == (
        "birkelund-operator",
        "discarded",
        "of last year",
    )


async def test_dead_letters_of_others_are_not_there(birkelund: Place):
    """Neither to see nor to move, named or all; and one must say which."""
    robot, path = birkelund.system("birkelund-robot"), "/v1/subscriptions/{}/dead-letters"
    await dead(birkelund, 1)
    _, said = await robot.ask("GET", path.format("robot-ends"))
    name = said["dead_letters"][0]["delivery"]
    journal = birkelund.system("birkelund-journal")
    assert (await journal.ask("GET", path.format("robot-ends")))[0] == 404
    assert (await journal.ask("POST", path.format("robot-ends") + "/redrive", {"all": True}))[0] == 404
    _, said = await journal.ask("POST", path.format("journal-stays") + "/discard", {"deliveries": [name]})
    assert said == {"moved": 0, "more": False}
    for body in ({}, {"all": True, "deliveries": [name]}, {"deliveries": []}):
        assert (await robot.ask("POST", path.format("robot-ends") + "/redrive", body))[0] == 400
    assert len((await robot.ask("GET", path.format("robot-ends")))[1]["dead_letters"]) == 1
