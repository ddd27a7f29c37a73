"""Handovers over real TLS: given away, announced, fetched, acknowledged; and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.gateways.rest.handing import fetch, hand, handing
from tests.gateways.rest.running import Place, place


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node that hands over."""
    async with place(tmp_path, handing()) as found:
        yield found


@pytest.mark.requirement("R30", "R34")
async def test_a_handover_is_announced_fetched_and_acknowledged(birkelund: Place):
    """The receiver is told of it, fetches what it is told of, and acknowledges; the sender sees each step."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(
        care, ("note.txt", b"first"), ("more.txt", b"second"), subjects=["person-1"], correlation_id="c-9"
    )
    (one,) = await fetch(journal)
    event = one["event"]
    assert (event["type"], event["parcelid"]) == ("stafet.handover.available", parcel)
    data = event["data"]
    assert data["description"]["subjects"] == ["person-1"]
    assert data["description"]["correlation_id"] == "c-9"
    assert [(p["name"], p["size"]) for p in data["payloads"]] == [("note.txt", 5), ("more.txt", 6)]
    for payload, octets in zip(data["payloads"], (b"first", b"second"), strict=True):
        status, said, headers = await journal.full("GET", payload["href"])
        assert (status, said) == (200, octets)
        assert headers["ETag"] == f'"{payload["digest"]}"'
    status, said = await journal.ask("POST", "/v1/handovers/ack", {"leases": [one["lease"]]})
    assert said["results"][0]["result"] == "done"
    status, said = await care.ask("GET", f"/v1/handovers/{parcel}")
    (delivery,) = said["deliveries"]
    assert (delivery["receiver"], delivery["state"], delivery["rule"]) == (
        "birkelund-journal",
        "delivered",
        "cases-to-journal",
    )
    assert delivery["fetched"]
    assert await fetch(journal) == []
