"""Payloads over real TLS: whole, from the middle, by size alone; and names that are no paths."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, update

from core import commands, limits
from core.clock import DAY
from core.commands import Call
from core.ledger import trace
from core.ledger.tables import parcel as parcel_table
from core.retention import expire
from gateways.rest.payloads import disposition
from tests.gateways.rest.handing import digest, fetch, hand, handing
from tests.gateways.rest.running import Place, place

LARGE = bytes(range(256)) * 10_000
"""More than two chunks of the store."""


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node that hands over."""
    async with place(tmp_path, handing()) as found:
        yield found


async def test_a_payload_comes_with_its_digest_and_its_name(birkelund: Place):
    """Headers say what it is, so that no program guesses; HEAD says the same without the octets, and nobody is told of it."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care, ("bilag Ø.txt", LARGE))
    path = f"/v1/handovers/{parcel}/payloads/0"
    status, said, asked = await journal.full("HEAD", path)
    assert (status, said, asked["Content-Length"]) == (200, b"", str(len(LARGE)))
    events = [line.event for line in birkelund.node.runtime.read_now(trace.of_parcel, parcel)]
    assert "fetched" not in events
    status, said, headers = await journal.full("GET", path)
    assert (status, said) == (200, LARGE)
    for one in (asked, headers):
        assert one["Repr-Digest"] == digest(LARGE)
        assert one["ETag"] == f'"{hashlib.sha256(LARGE).hexdigest()}"'
        assert one["Content-Disposition"] == (
            "attachment; filename=\"bilag _.txt\"; filename*=UTF-8''bilag%20%C3%98.txt"
        )
        assert (one["Content-Type"], one["X-Content-Type-Options"]) == ("text/plain", "nosniff")
    status, said, _ = await journal.full("GET", path, headers={"If-None-Match": f'"x", {headers["ETag"]}'})
    assert (status, said) == (304, b"")


async def test_only_the_first_fetch_of_a_receiver_is_noted(birkelund: Place):
    """Its sender sees when; fetching by the sender itself is nothing to note."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    parcel = await hand(care)
    path = f"/v1/handovers/{parcel}/payloads/0"
    assert (await care.ask("GET", path))[0] == 200
    for _ in range(2):
        assert (await journal.ask("GET", path))[0] == 200
    lines = birkelund.node.runtime.read_now(trace.of_parcel, parcel)
    assert [line.facts for line in lines if line.event == "fetched"] == [{"receiver": "birkelund-journal"}]


@pytest.mark.parametrize("octets", [LARGE, b"0123456789"], ids=["object", "inline"])
async def test_ranges_give_what_they_name(birkelund: Place, octets: bytes):
    """From the start, the middle and the end, across chunks; what is not there is 416, what is no range gives the whole."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    path, size = f"/v1/handovers/{await hand(care, ('a', octets))}/payloads/0", len(octets)
    etag = f'"{hashlib.sha256(octets).hexdigest()}"'
    chunk = limits.STORE_CHUNK
    for said, begin, end in (
        ("bytes=0-0", 0, 1),
        ("bytes=3-", 3, size),
        ("bytes=-4", size - 4, size),
        (f"bytes=-{size * 9}", 0, size),
        (f"bytes=2-{size * 9}", 2, size),
        (f"bytes={size - 1}-{size - 1}", size - 1, size),
        (f"bytes={min(chunk, size) - 3}-{min(chunk + 2, size - 1)}", min(chunk, size) - 3, min(chunk + 3, size)),
    ):
        status, part, headers = await journal.full("GET", path, headers={"Range": said})
        assert (status, part) == (206, octets[begin:end]), said
        assert headers["Content-Range"] == f"bytes {begin}-{end - 1}/{size}"
    for said in (f"bytes={size}-", "bytes=-0", f"bytes={size + 5}-{size + 9}"):
        status, problem, headers = await journal.full("GET", path, headers={"Range": said})
        assert (status, problem["type"]) == (416, "urn:stafet:problem:range-not-satisfiable")
        assert headers["Content-Range"] == f"bytes */{size}"
    for said in ("bytes=5-2", "bytes=-", "lines=1-2", "bytes=0-1,3-4", "bytes=a-b", "bytes=" + "9" * 400 + "-"):
        status, whole, _ = await journal.full("GET", path, headers={"Range": said})
        assert (status, whole) == (200, octets), said
    for tag, wanted in ((etag, 206), ('"other"', 200)):
        assert (await journal.full("GET", path, headers={"Range": "bytes=1-2", "If-Range": tag}))[0] == wanted


async def test_an_empty_payload_has_no_range(birkelund: Place):
    """No octets come whole, and no range of them is there."""
    path = f"/v1/handovers/{await hand(birkelund.system('birkelund-care'), ('a', b''))}/payloads/0"
    journal = birkelund.system("birkelund-journal")
    assert (await journal.ask("GET", path)) == (200, b"")
    assert (await journal.ask("GET", path, headers={"Range": "bytes=0-"}))[0] == 416


async def test_numbers_that_lead_nowhere_are_not_there(birkelund: Place):
    """A number beyond the last, a negative one and what is none."""
    parcel = await hand(birkelund.system("birkelund-care"))
    for number in ("1", "-1", "x", "00000", "%30%00", "9" * 30):
        status, _ = await birkelund.system("birkelund-journal").ask("GET", f"/v1/handovers/{parcel}/payloads/{number}")
        assert status == 404, number


async def test_what_was_deleted_is_gone(birkelund: Place):
    """After its retention the facts are there, and the octets are not."""
    care, runtime = birkelund.system("birkelund-care"), birkelund.node.runtime
    parcel = await hand(care)
    journal = birkelund.system("birkelund-journal")
    (one,) = await fetch(journal)
    await journal.ask("POST", "/v1/handovers/ack", {"leases": [one["lease"]]})
    await runtime.do(commands.CALL, Call(expire, ({}, 1, runtime.clock.now() + 2 * DAY)))
    for method in ("GET", "HEAD"):
        status, _ = await journal.ask(method, f"/v1/handovers/{parcel}/payloads/0")
        assert status == 410
    assert (await care.ask("GET", f"/v1/handovers/{parcel}"))[0] == 200


async def test_what_is_damaged_is_said_and_not_given_out(birkelund: Place):
    """A stored payload that does not open is answered with a problem, whole or in part."""
    parcel = await hand(birkelund.system("birkelund-care"))

    def damage(connection: Connection) -> None:
        connection.execute(update(parcel_table).where(parcel_table.c.id == parcel).values(wrapped_key=b"x" * 40))

    await birkelund.node.runtime.do(commands.CALL, Call(damage))
    for headers in ({}, {"Range": "bytes=0-1"}):
        status, said = await birkelund.system("birkelund-journal").ask(
            "GET", f"/v1/handovers/{parcel}/payloads/0", headers=headers
        )
        assert (status, said["type"]) == (500, "urn:stafet:problem:damaged")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.txt", "attachment; filename=\"a.txt\"; filename*=UTF-8''a.txt"),
        ("../../etc/passwd", "attachment; filename=\"passwd\"; filename*=UTF-8''passwd"),
        ('a"\r\nX: y', "attachment; filename=\"a___X_ y\"; filename*=UTF-8''a%22%0D%0AX%3A%20y"),
        ("...", "attachment; filename=\"payload\"; filename*=UTF-8''..."),
        ("\udc80", "attachment; filename=\"_\"; filename*=UTF-8''%3F"),
    ],
)
def test_a_name_is_neither_path_nor_header(name: str, said: str):
    """Whatever is in it: names of other gateways are not ours to trust."""
    assert disposition(name) == said
