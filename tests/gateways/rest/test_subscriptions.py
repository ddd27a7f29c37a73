"""Fetching and what is said of loans, over TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways.rest.running import Place, event, place


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node with two subscriptions."""
    async with place(tmp_path) as found:
        yield found


async def test_a_long_poll_is_answered_when_something_comes(birkelund: Place):
    """Not before, and not much later; with nothing, an empty answer after the time that was asked for."""
    journal = birkelund.system("birkelund-journal")
    assert await journal.pull("journal-stays", wait=0.1) == []
    waiting = asyncio.create_task(journal.pull("journal-stays", wait=20))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await birkelund.system("birkelund-care").publish(event())
    assert len(await asyncio.wait_for(waiting, 10)) == 1


async def test_what_is_said_of_loans_is_answered_one_by_one(birkelund: Place):
    """Done, stale or unknown, in their order."""
    await birkelund.system("birkelund-care").publish(*(event(f"e-{n}") for n in range(4)))
    journal = birkelund.system("birkelund-journal")
    leases = [one["lease"] for one in await journal.pull("journal-stays")]
    assert len(leases) == 4
    assert await journal.say("journal-stays", "ack", leases[0], "x.1", leases[0]) == ["done", "unknown", "done"]
    assert await journal.say("journal-stays", "nack", leases[1], reason="busy") == ["done"]
    assert await journal.say("journal-stays", "extend", leases[2], lease=120) == ["done"]
    assert await journal.say("journal-stays", "reject", leases[3], code="not-ours") == ["done"]
    (again,) = await journal.pull("journal-stays")
    assert again["attempt"] == 2
    assert await journal.say("journal-stays", "ack", leases[1]) == ["stale"]


async def test_persons_reach_the_receiver_alone(birkelund: Place):
    """They come back to whoever is told, and stand nowhere in the ledger in clear."""
    await birkelund.system("birkelund-care").publish(event(subjects="person-7"))
    (one,) = await birkelund.system("birkelund-journal").pull("journal-stays")
    assert one["event"]["subjects"] == "person-7"
    ledger = birkelund.town.settings().data_path
    assert not any(b"person-7" in path.read_bytes() for path in ledger.rglob("*") if path.is_file())


@pytest.mark.parametrize("verb", ["pull", "ack", "nack", "extend", "reject"])
@pytest.mark.parametrize("system", ["egedal-care", "birkelund-robot", None])
async def test_nobody_touches_anothers_subscription(birkelund: Place, verb: str, system: str | None):
    """For another system, of whichever authority, it is not there; and who is not known learns nothing."""
    body: dict[str, Any] = {"leases": ["0" * 32 + ".1"], "code": "x", "lease": 5}
    wanted = {"pull": (), "ack": ("leases",), "nack": ("leases",), "extend": ("leases", "lease")}.get(
        verb, ("leases", "code")
    )
    client = birkelund.system(system)
    answers = []
    for name in ("journal-stays", "no-such"):
        given = {k: body[k] for k in wanted}
        status, said = await client.ask("POST", f"/v1/subscriptions/{name}/{verb}", given)
        answers.append((status, {k: v for k, v in said.items() if k != "instance"}))
    assert answers[0] == answers[1]
    assert answers[0][0] == (401 if system is None else 404)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"max": 0}, "/max"),
        ({"max": 65}, "/max"),
        ({"max": "many"}, "/max"),
        ({"wait": 51}, "/wait"),
        ({"wait": -1}, "/wait"),
        ({"lease": 0.5}, "/lease"),
        ({"lese": 5}, "/lese"),
    ],
)
async def test_a_wrong_wish_names_the_field(birkelund: Place, body: dict[str, Any], pointer: str):
    """With a problem, and nothing is lent."""
    journal = birkelund.system("birkelund-journal")
    status, said = await journal.ask("POST", "/v1/subscriptions/journal-stays/pull", body)
    assert (status, said["type"]) == (400, "urn:stafet:problem:invalid-request")
    assert [one["pointer"] for one in said["errors"]] == [pointer]


@pytest.mark.parametrize("leases", [[], ["x"] * 65, "x", [5], None])
async def test_a_wrong_list_of_loans_is_refused(birkelund: Place, leases: Any):
    """Empty, too long, or no list of texts."""
    journal = birkelund.system("birkelund-journal")
    status, said = await journal.ask("POST", "/v1/subscriptions/journal-stays/ack", {"leases": leases})
    assert (status, said["errors"][0]["pointer"].startswith("/leases")) == (400, True)
