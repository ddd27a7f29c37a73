"""Notifications over real TLS: publish, fetch, acknowledge, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateways.rest.running import Place, event, place


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node with two subscriptions."""
    async with place(tmp_path) as found:
        yield found


@pytest.mark.requirement("R14", "R19")
async def test_every_subscription_that_matches_gets_what_was_published(birkelund: Place):
    """Published once, delivered to each whose filter matches, as the same event."""
    (said,) = await birkelund.system("birkelund-care").publish(event(kind="stay.ended", correlationid="c-1"))
    assert said["status"] == "accepted"
    for system, name in (("birkelund-journal", "journal-stays"), ("birkelund-robot", "robot-ends")):
        (one,) = await birkelund.system(system).pull(name)
        assert one["attempt"] == 1
        assert one["event"] | event(kind="stay.ended", correlationid="c-1") == one["event"]
        assert one["event"]["parcelid"] == said["parcel"]
        assert await birkelund.system(system).say(name, "ack", one["lease"]) == ["done"]
        assert await birkelund.system(system).pull(name) == []


async def test_a_filter_keeps_out_what_it_does_not_want(birkelund: Place):
    """Only what ended goes to the robot."""
    await birkelund.system("birkelund-care").publish(event())
    assert await birkelund.system("birkelund-robot").pull("robot-ends") == []
    assert len(await birkelund.system("birkelund-journal").pull("journal-stays")) == 1


async def test_the_same_event_counts_once(birkelund: Place):
    """Source and id are its key: repeated it is known, with other content it is a conflict, and nothing is stored of either."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    first, second = await care.publish(event(), event())
    assert (first["status"], second["status"]) == ("accepted", "known")
    assert first["parcel"] == second["parcel"]
    status, said = await care.ask("POST", "/v1/notifications", event(data={"ward": "K5"}))
    assert (status, said["type"]) == (409, "urn:stafet:problem:conflict")
    assert len(await journal.pull("journal-stays")) == 1
