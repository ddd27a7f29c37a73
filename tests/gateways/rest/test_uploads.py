"""Uploads over real TLS: tus 1.0.0, its refusals, and a node that is killed in the middle."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from conformance.town import Town
from core import limits
from core.desk import uploads as desk
from core.desk.uploads import sweep
from core.errors import Overloaded
from core.ledger.uploads import Bounds
from tests.gateways.as4.running import until
from tests.gateways.rest.handing import fetch, handing, upload
from tests.gateways.rest.running import SYSTEMS, Place, System, place

OCTETS = "application/offset+octet-stream"
TUS = {"Tus-Resumable": "1.0.0"}


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node that hands over."""
    async with place(tmp_path, handing()) as found:
        yield found


async def begin(system: System, size: int | str, **headers: str) -> tuple[int, Any, Mapping[str, str]]:
    """Begin an upload."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await system.full("POST", "/v1/uploads", headers={**TUS, "Upload-Length": str(size), **named})


async def patch(
    system: System, path: str, offset: int | str, octets: Any, **headers: str
) -> tuple[int, Any, Mapping[str, str]]:
    """Send octets."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    said = {**TUS, "Upload-Offset": str(offset), "Content-Type": OCTETS, **named}
    return await system.full("PATCH", path, data=octets, headers=said)


async def offset(system: System, path: str) -> int:
    """How far it has come."""
    status, _, headers = await system.full("HEAD", path, headers=TUS)
    assert status == 200
    return int(headers["Upload-Offset"])


def objects(birkelund: Place) -> int:
    """How many objects the store has."""
    return len(list(birkelund.node.runtime.store.ids()))


async def test_an_upload_comes_in_pieces(birkelund: Place):
    """It begins, goes on from where it is, says how far it has come, and ends when it is given up."""
    care = birkelund.system("birkelund-care")
    status, _, headers = await begin(care, 10)
    assert (status, headers["Upload-Offset"], headers["Tus-Resumable"]) == (201, "0", "1.0.0")
    assert headers["Upload-Expires"].endswith("GMT")
    path = headers["Location"]
    for at, octets in ((0, b"abc"), (3, b""), (3, b"defg"), (7, b"hij")):
        status, _, headers = await patch(care, path, at, octets)
        assert (status, headers["Upload-Offset"]) == (204, str(at + len(octets)))
    status, _, headers = await care.full("HEAD", path, headers=TUS)
    assert (headers["Upload-Offset"], headers["Upload-Length"], headers["Cache-Control"]) == ("10", "10", "no-store")
    assert (await care.full("DELETE", path, headers=TUS))[0] == 204
    assert (await care.full("HEAD", path, headers=TUS))[0] == 404
    await until(lambda: objects(birkelund) == 0, "its objects are gone")


async def test_what_the_protocol_can_do_is_said_to_anybody(birkelund: Place):
    """Version, extensions, algorithms, and the largest size."""
    status, _, headers = await birkelund.system("egedal-care").full("OPTIONS", "/v1/uploads")
    assert status == 204
    assert headers["Tus-Version"] == "1.0.0"
    assert set(headers["Tus-Extension"].split(",")) == {
        "creation",
        "creation-with-upload",
        "checksum",
        "expiration",
        "termination",
    }
    assert (headers["Tus-Checksum-Algorithm"], headers["Tus-Max-Size"]) == ("sha1,sha256", str(limits.PAYLOAD_SIZE))


async def test_another_offset_is_refused_with_the_right_one(birkelund: Place):
    """Before and behind; nothing is changed."""
    care = birkelund.system("birkelund-care")
    path = (await begin(care, 10))[2]["Location"]
    await patch(care, path, 0, b"abc")
    for at in (0, 2, 4, 10):
        status, said, headers = await patch(care, path, at, b"x")
        assert (status, said["type"], headers["Upload-Offset"]) == (409, "urn:stafet:problem:wrong-offset", "3")
        assert headers["Tus-Resumable"] == "1.0.0"
    assert await offset(care, path) == 3


async def test_what_is_wrong_is_named(birkelund: Place):
    """Version, length, offset, media type, checksum, metadata, and more than was said."""
    care = birkelund.system("birkelund-care")
    status, said, headers = await care.full("POST", "/v1/uploads", headers={"Upload-Length": "1"})
    assert (status, said["type"], headers["Tus-Version"]) == (
        412,
        "urn:stafet:problem:unsupported-tus-version",
        "1.0.0",
    )
    for size in ("-1", "", "x", "1" * 19):
        status, said, _ = await begin(care, size)
        assert (status, said["errors"][0]["header"]) == (400, "Upload-Length")
    assert (await begin(care, limits.PAYLOAD_SIZE + 1))[0] == 413
    for metadata in ("filename !!", "filename YQ==,filename YQ==", "filename Li4=", "filetype eA==", "filename /w=="):
        status, said, _ = await begin(care, 1, Upload_Metadata=metadata)
        assert (status, "Upload-Metadata" in str(said)) == (400, True), metadata
    path = (await begin(care, 5))[2]["Location"]
    assert (await patch(care, path, "x", b"abc"))[0] == 400
    assert (await patch(care, path, 0, b"abc", Content_Type="text/plain"))[0] == 415
    assert (await patch(care, path, 0, b"abcdef"))[0] == 413

    async def unsaid() -> AsyncIterator[bytes]:
        yield b"abcdef"

    assert (await patch(care, path, 0, unsaid()))[0] == 413
    assert (await patch(care, path, 0, b"abc", Upload_Checksum="md5 eA=="))[0] == 400
    assert (await patch(care, path, 0, b"abc", Upload_Checksum="sha1 !"))[0] == 400
    assert await offset(care, path) == 0
    assert (await begin(care, 2, Content_Type=OCTETS))[0] == 201  # no body at all


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
async def test_a_checksum_is_all_or_nothing(birkelund: Place, algorithm: str):
    """Another one is refused, with nothing kept; the right one counts."""
    care = birkelund.system("birkelund-care")
    path = (await begin(care, 3_000_000))[2]["Location"]
    octets = os.urandom(1_500_000)
    right = f"{algorithm} {base64.b64encode(hashlib.new(algorithm, octets).digest()).decode()}"
    status, said, _ = await patch(care, path, 0, octets[:-1] + b"?", Upload_Checksum=right)
    assert (status, said["type"]) == (460, "urn:stafet:problem:checksum-mismatch")
    await until(lambda: objects(birkelund) == 0, "nothing is kept")
    assert await offset(care, path) == 0
    assert (await patch(care, path, 0, octets, Upload_Checksum=right))[0] == 204
    assert await offset(care, path) == len(octets)
    headers = {**TUS, "Upload-Length": "3", "Content-Type": OCTETS, "Upload-Checksum": right}
    assert (await care.full("POST", "/v1/uploads", data=b"abc", headers=headers))[0] == 460
    await until(lambda: objects(birkelund) == 1, "an upload that was refused when it began is not there")


async def test_an_upload_is_its_systems_alone(birkelund: Place):
    """For any other it is not there, whatever is done to it; it cannot be handed over by another."""
    care, other = birkelund.system("birkelund-care"), birkelund.system("birkelund-robot")
    path = (await begin(care, 3))[2]["Location"]
    answers = [await other.full(method, path, headers=TUS) for method in ("HEAD", "DELETE")]
    answers += [await patch(other, path, 0, b"abc"), await patch(other, "/v1/uploads/" + "0" * 32, 0, b"abc")]
    assert [one[0] for one in answers] == [404] * 4
    assert answers[2][1]["type"] == answers[3][1]["type"]
    assert await offset(care, path) == 0


async def test_one_system_has_so_many_under_way(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """One too many, and too much together, are refused with what to do; another system is not touched by it."""
    care, robot = birkelund.system("birkelund-care"), birkelund.system("birkelund-robot")
    monkeypatch.setattr(desk, "BOUNDS", Bounds(2, 100))
    assert [(await begin(care, 50))[0] for _ in range(3)] == [201, 201, 422]
    assert (await begin(robot, 101))[0] == 422
    assert (await begin(robot, 100))[0] == 201


async def test_a_connection_that_breaks_keeps_what_came(birkelund: Place):
    """What came is there, and the rest goes on from it; with a checksum nothing is kept."""
    care = birkelund.system("birkelund-care")
    octets = os.urandom(3_000_000)
    path = (await begin(care, len(octets)))[2]["Location"]
    for checked in (True, False):
        tls = birkelund.town.client_context("birkelund-care")
        _, writer = await asyncio.open_connection("localhost", birkelund.town.port, ssl=tls)
        extra = f"Upload-Checksum: sha1 {'A' * 27}=\r\n" if checked else ""
        head = f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n{extra}"
        head += f"Content-Type: {OCTETS}\r\nContent-Length: {len(octets)}\r\n\r\n"
        writer.write(head.encode() + octets[:2_000_000])
        await writer.drain()
        incoming = birkelund.node.runtime.store.root / "incoming"
        await until(lambda at=incoming: [f.stat().st_size > 1_000_000 for f in at.iterdir()] == [True], "it comes")
        status, said, _ = await patch(care, path, 0, b"x")
        assert (status, said["type"]) == (409, "urn:stafet:problem:wrong-state")
        assert (await care.full("DELETE", path, headers=TUS))[0] == 409
        writer.transport.abort()
        await until(lambda at=incoming: not list(at.iterdir()), "it has ended")
        busy = birkelund.node.gateways["rest"]._kernel.desks.uploads.busy
        await until(lambda now=busy: not now, "nobody writes to it")
        kept = await offset(care, path)
        assert kept == 0 if checked else 1_000_000 < kept <= 2_000_000
    assert (await patch(care, path, kept, octets[kept:]))[0] == 204
    name = path.rpartition("/")[2]
    status, said = await care.ask(
        "POST", "/v1/handovers", {"integration": "cases", "uploads": [name]}, headers={"Idempotency-Key": "k"}
    )
    assert (status, said["payloads"][0]["digest"]) == (201, hashlib.sha256(octets).hexdigest())


async def test_an_unfinished_upload_is_not_handed_over(birkelund: Place):
    """It is refused, and goes on afterwards."""
    care = birkelund.system("birkelund-care")
    path = (await begin(care, 5))[2]["Location"]
    await patch(care, path, 0, b"abc")
    asked = {"integration": "cases", "uploads": [path.rpartition("/")[2]]}
    status, said = await care.ask("POST", "/v1/handovers", asked, headers={"Idempotency-Key": "k"})
    assert (status, said["type"]) == (409, "urn:stafet:problem:wrong-state")
    assert (await patch(care, path, 3, b"de"))[0] == 204
    assert (await care.ask("POST", "/v1/handovers", asked, headers={"Idempotency-Key": "k"}))[0] == 201


async def test_what_is_given_up_is_swept(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """When its time is over it is there for nobody, and its objects go."""
    care = birkelund.system("birkelund-care")
    monkeypatch.setattr(limits, "UPLOAD_LIFE", 300_000)
    name = await upload(care, b"given up")
    assert await sweep(birkelund.node.runtime) == (0, [])
    await asyncio.sleep(0.4)
    assert (await care.full("HEAD", f"/v1/uploads/{name}", headers=TUS))[0] == 404
    assert (await sweep(birkelund.node.runtime))[0] == 1
    assert objects(birkelund) == 0


async def test_a_full_disk_is_said_and_the_upload_goes_on_afterwards(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """What was durable stays."""
    care, disk = birkelund.system("birkelund-care"), birkelund.node.runtime.store.disk
    path = (await begin(care, 3_000_000))[2]["Location"]
    assert (await patch(care, path, 0, bytes(1_000_000)))[0] == 204
    real = disk.write

    def full(descriptor: int, octets: bytes) -> None:
        raise Overloaded("the payload store has no room (No space left on device); try again later")

    monkeypatch.setattr(disk, "write", full)
    status, said, headers = await patch(care, path, 1_000_000, bytes(2_000_000))
    assert (status, said["type"]) == (503, "urn:stafet:problem:overloaded")
    assert headers["Retry-After"]
    monkeypatch.setattr(disk, "write", real)
    assert await offset(care, path) == 1_000_000
    assert (await patch(care, path, 1_000_000, bytes(2_000_000)))[0] == 204


@pytest.mark.requirement("R33")
async def test_a_node_that_is_killed_in_the_middle_goes_on_from_what_was_durable(tmp_path: Path):
    """SIGKILL while octets come, and again between upload and handover: HEAD says where to go on, and nothing is lost."""
    town = Town(tmp_path, SYSTEMS).make(handing())
    octets = os.urandom(50_000_000)
    town.start()
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as session:
            care, journal = System(town, session, "birkelund-care"), System(town, session, "birkelund-journal")
            path = (await begin(care, len(octets)))[2]["Location"]
            assert (await patch(care, path, 0, octets[:1_000_000]))[0] == 204

            async def slowly() -> AsyncIterator[bytes]:
                for at in range(1_000_000, 45_000_000, 1_000_000):
                    yield octets[at : at + 1_000_000]
                while await offset(care, path) == 1_000_000:
                    await asyncio.sleep(0.05)
                town.kill()
                yield octets[45_000_000:]

            with pytest.raises(aiohttp.ClientError):
                await patch(care, path, 1_000_000, slowly())
            town.start()
            come = await offset(care, path)
            assert 1_000_000 + limits.UPLOAD_PIECE <= come < 45_000_000  # the cut that was full does not come again
            assert (await patch(care, path, come, octets[come:]))[0] == 204
            town.kill()
            town.start()
            assert await offset(care, path) == len(octets)
            asked = {"integration": "attachments", "type": "attachment", "uploads": [path.rpartition("/")[2]]}
            status, said = await care.ask("POST", "/v1/handovers", asked, headers={"Idempotency-Key": "k"})
            assert (status, said["payloads"][0]["digest"]) == (201, hashlib.sha256(octets).hexdigest())
            town.kill()
            town.start()
            assert (await care.ask("POST", "/v1/handovers", asked, headers={"Idempotency-Key": "k"})) == (200, said)
            (one,) = await fetch(journal)
            _, fetched = await journal.ask("GET", one["event"]["data"]["payloads"][0]["href"])
            assert fetched == octets
    finally:
        town.kill()
