"""Receipts over real TLS: a receiving system says what it made of a handover, and its sender learns of it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateways.rest.handing import fetch, hand, handing
from tests.gateways.rest.running import Place, System, place


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node that hands over."""
    async with place(tmp_path, handing()) as found:
        yield found


async def say(system: System, parcel: str, outcome: str, **more: Any) -> tuple[int, Any]:
    """Give a receipt."""
    return await system.ask("POST", f"/v1/handovers/{parcel}/receipt", {"outcome": outcome, **more})


async def feed(system: System, after: str = "0", **wanted: Any) -> tuple[list[Any], str]:
    """Read on; gives receipts and where to go on."""
    status, said = await system.ask("POST", "/v1/receipts/pull", {"after": after, **wanted})
    assert status == 200, said
    return said["receipts"], said["next"]


@pytest.mark.requirement("R68", "R30")
async def test_a_business_receipt_reaches_the_sender(birkelund: Place):
    """What the receiver's application says settles the delivery, is kept as it was said, and is in the sender's feed."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care)
    raw = b'{"outcome" : "rejected", "code": "no-case", "text": "there is no such case"}'
    path, kind = f"/v1/handovers/{parcel}/receipt", {"Content-Type": "application/json"}
    status, said = await journal.ask("POST", path, data=raw, headers=kind)
    assert (status, said["state"]) == (201, "rejected")
    _, seen = await care.ask("GET", f"/v1/handovers/{parcel}")
    assert (seen["deliveries"][0]["state"], seen["deliveries"][0]["code"]) == ("rejected", "no-case")
    _, said = await care.ask("GET", f"/v1/handovers/{parcel}/receipts")
    (one,) = said["receipts"]
    assert (one["level"], one["verdict"], one["text"]) == ("business", "rejected", "there is no such case")
    assert base64.b64decode(one["octets"]) == raw
    (fed,), following = await feed(care)
    assert fed == {k: v for k, v in one.items() if k != "octets"}
    assert await feed(care, following) == ([], following)
    assert await feed(birkelund.system("birkelund-robot")) == ([], "0")


async def test_each_outcome_has_its_level_and_the_first_verdict_stands(birkelund: Place):
    """Having it is an envelope's receipt; what the application says is the business's, and is not taken back."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care)
    said = [("received", "delivered"), ("delivered", "delivered"), ("failed", "failed"), ("accepted", "accepted")]
    said += [("rejected", "accepted"), ("failed", "accepted"), ("received", "accepted")]
    for number, (outcome, state) in enumerate(said):
        status, answer = await say(journal, parcel, outcome, text=f"{outcome}, said {number} times before")
        assert (status, answer["state"]) == (201, state), outcome
    receipts, _ = await feed(care)
    assert [one["level"] for one in receipts] == ["envelope", "envelope", *["business"] * 4, "envelope"]


async def test_the_same_text_counts_once(birkelund: Place):
    """Repeated it is known; another text is another receipt."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care)
    assert [(await say(journal, parcel, "accepted"))[0] for _ in range(3)] == [201, 200, 200]
    assert (await say(journal, parcel, "accepted", code="x"))[0] == 201
    assert len((await feed(care))[0]) == 2


async def test_a_receipt_settles_what_is_lent_and_the_loan_is_acknowledged_all_the_same(birkelund: Place):
    """Whoever says both is answered twice with yes."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care)
    (one,) = await fetch(journal)
    assert (await say(journal, parcel, "accepted"))[1]["state"] == "accepted"
    _, said = await journal.ask("POST", "/v1/handovers/ack", {"leases": [one["lease"]]})
    assert said["results"][0]["result"] == "done"
    _, seen = await care.ask("GET", f"/v1/handovers/{parcel}")
    assert seen["deliveries"][0]["state"] == "accepted"


async def test_the_feed_goes_on_where_it_was_and_waits(birkelund: Place):
    """It comes in pieces, in order, each once; who waits is told of the next."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcels = [await hand(care, key=f"k-{n}") for n in range(5)]
    for parcel in parcels:
        await say(journal, parcel, "accepted")
    found, after = [], "0"
    while True:
        receipts, after = await feed(care, after, max=2)
        if not receipts:
            break
        found += [one["parcel"] for one in receipts]
    assert found == parcels
    waiting = asyncio.create_task(feed(care, after, wait=20))
    await asyncio.sleep(0.3)
    late = await hand(care, key="late")
    await say(journal, late, "failed")
    (one,), _ = await asyncio.wait_for(waiting, 10)
    assert (one["parcel"], one["verdict"]) == (late, "failed")


async def test_what_is_wrong_is_named(birkelund: Place):
    """Outcome, code and size are checked; only a receiver says anything."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care)
    for body, where in (({"outcome": "maybe"}, "/outcome"), ({}, "/outcome"), ({"outcome": "accepted", "x": 1}, "/x")):
        status, said = await journal.ask("POST", f"/v1/handovers/{parcel}/receipt", body)
        assert (status, said["errors"][0]["pointer"]) == (400, where)
    assert (await say(journal, parcel, "rejected", code="misdelivered"))[0] == 400
    status, _ = await journal.ask(
        "POST",
        f"/v1/handovers/{parcel}/receipt",
        data=json.dumps({"outcome": "accepted"}).encode() + b" " * 70_000,
        headers={"Content-Type": "application/json"},
    )
    assert status == 413
    assert (await say(care, parcel, "accepted"))[0] == 404
    for after in ("-1", "x", "1" * 30):
        assert (await care.ask("POST", "/v1/receipts/pull", {"after": after}))[0] == 400
    assert (await feed(care))[0] == []
