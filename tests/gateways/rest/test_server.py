"""The HTTP server: what is no request of ours is a documented problem, and nothing hangs."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateways.rest.problems import ProblemError
from gateways.rest.server import parse_json
from tests.gateways.rest.running import Place, event, place

PATH = "/v1/notifications"
EVENTS = {"Content-Type": "application/cloudevents+json"}


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node with two subscriptions, impatient with slow bodies."""
    rest = {"certificate": "rest", "read_timeout": 1, "max_body": 4096}
    async with place(tmp_path, rest=rest) as found:
        yield found


@pytest.mark.parametrize(
    ("method", "path", "status", "word"),
    [
        ("GET", "/", 404, "not-found"),
        ("GET", "/v1/nothing", 404, "not-found"),
        ("POST", "/v1/../v1/notifications/", 404, "not-found"),
        ("PUT", PATH, 405, "method-not-allowed"),
        ("DELETE", PATH, 405, "method-not-allowed"),
    ],
)
async def test_what_is_not_served_is_a_problem(birkelund: Place, method: str, path: str, status: int, word: str):
    """With its type, and an id that is in the log too."""
    got, said, headers = await birkelund.system("birkelund-care").full(method, path)
    assert (got, said["type"]) == (status, f"urn:stafet:problem:{word}")
    assert headers["Content-Type"] == "application/problem+json"
    assert said["instance"].endswith(headers["X-Request-Id"])
    assert ("Allow" in headers) == (status == 405)


@pytest.mark.parametrize(
    ("octets", "headers", "status", "word"),
    [
        (b"", EVENTS, 400, "unreadable"),
        (b"{", EVENTS, 400, "unreadable"),
        (b"\xff\xfe", EVENTS, 400, "unreadable"),
        (b'{"id":"a","id":"b"}', EVENTS, 400, "unreadable"),
        (b'{"id":NaN}', EVENTS, 400, "unreadable"),
        (b"[" * 4000, EVENTS, 400, "unreadable"),
        (b"{}", EVENTS, 400, "invalid-request"),
        (b"x" * 5000, EVENTS, 413, "too-large"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
        (b"{}", {**EVENTS, "Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
    ],
)
async def test_a_body_that_is_none_is_refused(
    birkelund: Place, octets: bytes, headers: dict[str, str], status: int, word: str
):
    """Broken, twice meant, too deep, too large, or of a kind that is not taken; nothing is stored."""
    care = birkelund.system("birkelund-care")
    got, said = await care.ask("POST", PATH, data=octets, headers=headers)
    assert (got, said["type"]) == (status, f"urn:stafet:problem:{word}")
    assert await birkelund.system("birkelund-journal").pull("journal-stays") == []


async def test_a_body_without_length_is_measured_as_it_comes(birkelund: Place):
    """A chunked body above the limit is cut there."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1000

    got, said = await birkelund.system("birkelund-care").ask("POST", PATH, data=endless(), headers=EVENTS)
    assert (got, said["type"]) == (413, "urn:stafet:problem:too-large")


async def test_a_parameter_that_stands_twice_or_is_unknown_is_refused(birkelund: Place):
    """Two readers would take two of them."""
    care = birkelund.system("birkelund-care")
    got, said = await care.ask("POST", f"{PATH}?system=a&system=b", event())
    assert (got, said["errors"]) == (400, [{"parameter": "system", "cause": "stands more than once"}])
    got, said = await care.ask("POST", f"{PATH}?sistem=a", event())
    assert (got, said["errors"][0]["parameter"]) == (400, "sistem")


async def raw(birkelund: Place, octets: bytes, *, wait: float = 10) -> bytes:
    """Say octets over TLS as a system; gives what comes back until the connection is closed, or nothing more comes."""
    tls: ssl.SSLContext = birkelund.town.client_context("birkelund-care")
    reader, writer = await asyncio.open_connection("localhost", birkelund.town.port, ssl=tls)
    writer.write(octets)
    try:
        return await asyncio.wait_for(reader.read(65_536), wait)
    finally:
        writer.close()


async def test_a_body_that_stops_coming_is_given_up(birkelund: Place):
    """With a documented answer, after the time that settings say."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Type: application/cloudevents+json\r\nContent-Length: 90\r\n\r\n{{"
    )
    said = await raw(birkelund, head.encode())
    assert said.startswith(b"HTTP/1.1 408 ")
    assert b"urn:stafet:problem:timeout" in said


@pytest.mark.parametrize(
    "octets",
    [
        b"\x00" * 100,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
        b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_no_http_ends_its_connection_alone(birkelund: Place, octets: bytes):
    """The HTTP library says so in its own words, and the next request is served."""
    assert (await raw(birkelund, octets)).startswith((b"HTTP/1.0 400 ", b"HTTP/1.1 400 "))
    await birkelund.system("birkelund-care").publish(event())


async def test_what_has_begun_is_finished_when_the_node_stops(birkelund: Place):
    """A long poll under way is answered; nothing new is taken."""
    waiting = asyncio.create_task(birkelund.system("birkelund-journal").pull("journal-stays", wait=2))
    await asyncio.sleep(0.2)
    birkelund.node.stop()
    assert await asyncio.wait_for(waiting, 20) == []


@pytest.mark.parametrize(
    ("octets", "value"), [(b'{"a": [1, 2.5, null, true]}', {"a": [1, 2.5, None, True]}), (b'"x"', "x")]
)
def test_json_is_read(octets: bytes, value: Any):
    """As anybody would read it."""
    assert parse_json(octets) == value == json.loads(octets)


def test_json_that_reads_differently_twice_is_refused():
    """Names that stand twice, at any depth."""
    with pytest.raises(ProblemError, match="twice"):
        parse_json(b'{"a": {"b": 1, "b": 2}}')
