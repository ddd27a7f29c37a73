"""What became of what one sent, over TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways.rest.handing import fetch, hand, handing
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, documents, event


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices; a stay counts as told when whoever receives it has acknowledged within an hour."""
    given = [one for one in handing() if one not in documents()]
    quiet = {"kind": "integration", "id": "quiet", "capability": "notification", "types": ["quiet.one"], "receipts": []}
    may = {"kind": "service-agreement", "id": "quiet-care", "integration": "quiet", "system": "birkelund-care"}
    waited = {"kind": "integration", "id": "waited", "capability": "notification", "types": ["waited.one"]}
    waited["receipts"] = [{"level": "envelope", "within": 3600}]  # type: ignore[assignment]
    more = [
        quiet,
        {**may, "may": "send"},
        waited,
        {**may, "id": "waited-care", "integration": "waited", "may": "send"},
        {**may, "id": "waited-journal", "integration": "waited", "system": "birkelund-journal", "may": "receive"},
        {"kind": "subscription", "id": "journal-waited", "system": "birkelund-journal", "integration": "waited"},
    ]
    async with offices(tmp_path, [*given, *more]) as found:
        yield found


async def insight(place: Place, parcel: str, system: str = "birkelund-care") -> Any:
    """What a system is told."""
    status, said = await place.system(system).ask("GET", f"/v1/notifications/{parcel}")
    assert status == 200, said
    return said


def stages(said: Any) -> list[tuple[str, str]]:
    """Each subscription with how far it is."""
    return [(one["subscription"], one["stage"]) for one in said["deliveries"]]


@pytest.mark.requirement("R16", "R67", "R73")
async def test_a_sender_sees_how_far_each_subscription_is(birkelund: Place):
    """Waiting, lent, acknowledged, refused with code and reason; by whichever name it asks."""
    care, journal, robot = (birkelund.system(f"birkelund-{name}") for name in ("care", "journal", "robot"))
    (sent,) = await care.publish(event(kind="stay.ended", subjects="resident-7"))
    said = await insight(birkelund, sent["parcel"])
    assert stages(said) == [("journal-stays", "waiting"), ("robot-ends", "waiting")]
    assert (said["sender"], said["integration"], said["type"]) == ("birkelund-care", "stays", "stay.ended")
    assert (said["nobody"], said["residual"], said["expected"]) == (False, False, [])
    (lent,) = await journal.pull("journal-stays")
    (other,) = await robot.pull("robot-ends")
    assert stages(await insight(birkelund, sent["parcel"])) == [("journal-stays", "lent"), ("robot-ends", "lent")]
    await journal.say("journal-stays", "ack", lent["lease"])
    await robot.say("robot-ends", "reject", other["lease"], code="unknown-ward", reason="there is no ward K4")
    said = await insight(birkelund, sent["parcel"])
    assert stages(said) == [("journal-stays", "acknowledged"), ("robot-ends", "rejected")]
    first, second = said["deliveries"]
    assert ("settled" in first, "code" in first) == (True, False)
    assert (second["code"], second["reason"], second["dead_letter"]) == ("unknown-ward", "there is no ward K4", False)
    assert "resident-7" not in str(said)
    assert await insight(birkelund, sent["parcel"], "birkelund-operator") == said
    assert await insight(birkelund, sent["parcel"], "node-admin") == said


@pytest.mark.requirement("R16", "R24")
async def test_a_dead_letter_is_told_as_one(birkelund: Place):
    """Lent as often as the subscription allows."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    status, _ = await journal.ask("PATCH", "/v1/subscriptions/journal-stays", {"max_attempts": 1})
    assert status == 200
    (sent,) = await care.publish(event())
    (lent,) = await journal.pull("journal-stays")
    assert await journal.say("journal-stays", "nack", lent["lease"], reason="busy") == ["done"]
    (one,) = (await insight(birkelund, sent["parcel"]))["deliveries"]
    assert (one["stage"], one["dead_letter"], one["attempts"]) == ("failed", True, 1)


@pytest.mark.requirement("R16", "R66")
async def test_that_nobody_subscribes_and_what_is_expected_are_told(birkelund: Place):
    """The receipts with their deadline and whether they came."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    (lonely, awaited) = await care.publish(event("q-1", "quiet.one"), event("w-1", "waited.one"))
    said = await insight(birkelund, lonely["parcel"])
    assert (said["nobody"], said["deliveries"]) == (True, [])
    (one,) = (await insight(birkelund, awaited["parcel"]))["expected"]
    assert (one["level"], one["of"], one["state"]) == ("envelope", "receiver birkelund-journal", "open")
    assert one["due"] > said["accepted"]
    (lent,) = await journal.pull("journal-waited")
    await journal.say("journal-waited", "ack", lent["lease"])
    (one,) = (await insight(birkelund, awaited["parcel"]))["expected"]
    assert (one["state"], "met" in one) == ("met", True)


@pytest.mark.requirement("R16", "R73")
async def test_a_handover_is_told_of_in_the_same_words(birkelund: Place):
    """Fetched is more than lent; what its receiver sent on is not refused."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care)
    await fetch(journal)
    assert (await journal.ask("GET", f"/v1/handovers/{parcel}/payloads/0"))[0] == 200
    (one,) = (await insight(birkelund, parcel))["deliveries"]
    assert (one["stage"], one.get("subscription"), "fetched" in one) == ("fetched", None, True)
    wish = {"reason": "not ours", "to": {"system": "birkelund-robot"}}
    status, answer = await journal.ask("POST", f"/v1/handovers/{parcel}/redistribute", wish)
    assert status == 200, answer
    found = {one["receiver"]: one["stage"] for one in (await insight(birkelund, parcel))["deliveries"]}
    assert found["birkelund-journal"] == "redistributed"


@pytest.mark.requirement("R16", "R75")
async def test_an_event_is_found_by_the_names_its_sender_gave_it(birkelund: Place):
    """Its id alone, or with its source; by its sender, and by no receiver."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    first, second = await care.publish(event("e-1"), event("e-1", source="/birkelund/ward"))

    async def found(who: Any, **asked: str) -> list[str]:
        status, said = await who.ask("GET", "/v1/notifications", params=asked)
        assert status == 200, said
        return [one["parcel"] for one in said["notifications"]]

    assert await found(care, id="e-1") == [second["parcel"], first["parcel"]]
    assert await found(care, id="e-1", source="/birkelund/care") == [first["parcel"]]
    assert await found(care, id="e-2") == await found(care, id="e-1", source="/else") == []
    assert await found(birkelund.system("birkelund-operator"), id="e-1", source="/birkelund/ward") == [second["parcel"]]
    assert await found(journal, id="e-1") == await found(birkelund.system("egedal-owner"), id="e-1") == []
    assert len(await found(birkelund.system("node-admin"), id="e-1")) == 2
    status, said = await care.ask("GET", "/v1/parcels?reference=e-1&sender=birkelund-care")
    assert (status, len(said["parcels"])) == (200, 2)
    _, page = await care.ask("GET", "/v1/notifications?id=e-1&limit=1")
    _, rest = await care.ask("GET", f"/v1/notifications?id=e-1&limit=1&after={page['next']}")
    assert (rest["notifications"][0]["parcel"], "next" in rest) == (first["parcel"], False)


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "id"),
        ("?id=", "id"),
        (f"?id={'x' * 501}", "id"),
        ("?id=e-1&source=", "source"),
        ("?id=e-1&id=e-2", "id"),
        ("?id=e-1&limit=51", "limit"),
        ("?id=e-1&limit=10000000000", "limit"),
        ("?id=e-1&after=x", "after"),
        ("?id=e-1&offset=3", "offset"),
    ],
)
async def test_a_wrong_question_names_its_parameter(birkelund: Place, query: str, parameter: str):
    """With a problem."""
    status, said = await birkelund.system("birkelund-care").ask("GET", "/v1/notifications" + query)
    assert (status, said["type"]) == (400, "urn:stafet:problem:invalid-request")
    assert [one["parameter"] for one in said["errors"]] == [parameter]


@pytest.mark.parametrize("name", ["%00", "e%0A1", "%ED%A0%80", "' OR 1=1 --", "%25", "*"])
async def test_an_odd_name_finds_nothing(birkelund: Place, name: str):
    """It is no error to ask; where it can be no name at all, it is not there."""
    await birkelund.system("birkelund-care").publish(event())
    status, said = await birkelund.system("birkelund-care").ask("GET", f"/v1/notifications?id={name}")
    assert (status, said.get("notifications", [])) in ((200, []), (404, []))


async def test_only_its_sender_is_told(birkelund: Place):
    """For its receivers, and for everybody else, it is as absent as what is not there."""
    (sent,) = await birkelund.system("birkelund-care").publish(event())
    nothing = "0" * 32
    for name in ("birkelund-journal", "birkelund-owner", "egedal-owner", "egedal-care", "demo-supplier"):
        answers = []
        for parcel in (sent["parcel"], nothing):
            status, said = await birkelund.system(name).ask("GET", f"/v1/notifications/{parcel}")
            answers.append((status, {k: v for k, v in said.items() if k != "instance"}))
        assert answers[0] == answers[1]
        assert answers[0][0] == 404
