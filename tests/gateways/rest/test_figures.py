"""Figures of use over TLS: each counts what is its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from conformance.town import agreement, subscription
from gateways.rest.figures import Unused, _systems_of
from tests.gateways.rest.handing import hand, handing
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, documents, event


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices, after two stays and a case."""
    more = [agreement("stays", "egedal-journal", "receive"), subscription("egedal-ends", "egedal-journal", "stays")]
    more[-1]["match"] = {"type": "stay.ended"}
    async with offices(tmp_path, [*(one for one in handing() if one not in documents()), *more]) as found:
        care = found.system("birkelund-care")
        await care.publish(event(), event("e-2", "stay.ended"))
        await hand(care)
        yield found


async def count(place: Place, system: str, by: str, **asked: Any) -> dict[tuple[str, ...], int]:
    """Numbers by what was asked for, brought up to date first."""
    await place.node.gateways["rest"]._kernel.desks.statistics.sum_up()
    status, said = await place.system(system).ask("GET", "/v1/statistics", params={"by": by, **asked})
    assert status == 200, said
    return {tuple(one["of"][name] for name in by.split(",")): one["parcels"] for one in said["sums"]}


@pytest.mark.requirement("R76", "R133")
async def test_everybody_counts_what_is_its_own(birkelund: Place):
    """A sender what it sent, a receiver what it got, operators for their systems, administrators all, others nothing."""
    by = "receiver,rule"
    told = {("birkelund-journal", "journal-stays"): 2, ("birkelund-robot", "robot-ends"): 1}
    every = {**told, ("egedal-journal", "egedal-ends"): 1, ("birkelund-journal", "cases-to-journal"): 1}
    for system in ("birkelund-care", "birkelund-operator", "node-admin"):
        assert await count(birkelund, system, by) == every, system
        assert await count(birkelund, system, "integration") == {("stays",): 2, ("cases",): 1}
    for system in ("egedal-journal", "egedal-owner"):
        assert await count(birkelund, system, by) == {("egedal-journal", "egedal-ends"): 1}, system
        assert await count(birkelund, system, "sender") == {}
    assert await count(birkelund, "birkelund-robot", by) == {("birkelund-robot", "robot-ends"): 1}
    for system in ("birkelund-owner", "demo-supplier"):
        assert await count(birkelund, system, by) == {}, system
    assert await count(birkelund, "node-admin", by, receiver="birkelund-robot") == {
        ("birkelund-robot", "robot-ends"): 1
    }
    assert await count(birkelund, "birkelund-care", "state", integration="cases") == {("ready",): 1}


@pytest.mark.requirement("R76")
async def test_an_hour_is_named_by_its_beginning(birkelund: Place):
    """And the answer says which time it is about, and whether there is more."""
    await count(birkelund, "node-admin", "hour")
    ask = birkelund.system("node-admin").ask
    _, said = await ask("GET", "/v1/statistics?by=hour,sender")
    (one,) = said["sums"]
    assert one["of"]["hour"].endswith(":00:00Z")
    assert said["since"].endswith(":00:00Z")
    assert (one["parcels"], one["octets"] > 0, said["more"]) == (3, True, False)
    _, said = await ask("GET", "/v1/statistics?by=integration&limit=1")
    assert (len(said["sums"]), said["more"]) == (1, True)
    _, said = await ask("GET", "/v1/statistics?by=sender&since=2026-01-01T00:30:00Z&until=2026-01-02T00:00:00Z")
    assert (said["since"], said["until"], said["sums"]) == ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", [])


@pytest.mark.requirement("R76", "R85")
async def test_what_nothing_went_by_is_told_to_whom_it_is_for(birkelund: Place):
    """Subscriptions of one's own systems, and routes that lead to these alone."""
    await count(birkelund, "node-admin", "rule")

    async def unused(system: str) -> set[str]:
        status, said = await birkelund.system(system).ask("GET", "/v1/statistics/unused?since=2026-01-01T00:00:00Z")
        assert status == 200, said
        return {one["id"] for one in said["unused"]}

    every = {"cases-by-name", "later-to-robot", "letters-to-journal", "files"}
    assert await unused("node-admin") == await unused("birkelund-operator") == every
    assert await unused("birkelund-robot") == {"cases-by-name", "later-to-robot"}
    assert await unused("birkelund-journal") == {"letters-to-journal"}
    assert await unused("egedal-owner") == await unused("birkelund-owner") == set()
    status, said = await birkelund.system("egedal-journal").ask("GET", "/v1/statistics/unused")
    assert (status, said["unused"]) == (200, [])


async def test_what_is_gone_meanwhile_leads_to_nobody(birkelund: Place):
    """No scope holds it, be it empty."""
    configuration = birkelund.node.gateways["rest"]._configuration
    assert not _systems_of(configuration, Unused("route", "gone")) <= frozenset()
    assert _systems_of(configuration, Unused("subscription", "robot-ends")) == {"birkelund-robot"}


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("", "by"),
        ("by=", "by"),
        ("by=parcel", "by"),
        ("by=sender,", "by"),
        ("by=sender;drop table statistic", "by"),
        ("by=sender&since=now", "since"),
        ("by=sender&until=2026-03-01T12:00:00", "until"),
        ("by=sender&limit=0", "limit"),
        ("by=sender&limit=501", "limit"),
        ("by=sender&receiver=%00", "receiver"),
        ("by=sender&systems=x", "systems"),
    ],
)
async def test_a_wrong_question_names_its_parameter(birkelund: Place, query: str, parameter: str):
    """With a problem."""
    status, said = await birkelund.system("birkelund-care").ask("GET", f"/v1/statistics?{query}")
    assert (status, said["type"]) == (400, "urn:stafet:problem:invalid-request")
    assert [one["parameter"] for one in said["errors"]] == [parameter]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("by=sender,sender", "by: name at least one"),
        ("by=sender&since=2026-03-02T00:00:00Z&until=2026-03-01T00:00:00Z", "until: lies before since"),
    ],
)
async def test_a_question_that_cannot_be_says_why(birkelund: Place, query: str, words: str):
    """As on the command line."""
    status, said = await birkelund.system("birkelund-care").ask("GET", f"/v1/statistics?{query}")
    assert (status, said["type"]) == (400, "urn:stafet:problem:invalid-request")
    assert said["detail"].startswith(words)


async def test_the_ends_of_all_time_are_times(birkelund: Place):
    """They are as good as any."""
    query = "since=0001-01-01T00:00:00Z&until=9999-12-31T23:59:59Z"
    for path in (f"statistics?by=sender&{query}", "statistics/unused?since=0001-01-01T00:00:00Z", f"parcels?{query}"):
        status, said = await birkelund.system("node-admin").ask("GET", f"/v1/{path}")
        assert status == 200, said
