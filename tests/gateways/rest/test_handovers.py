"""Handovers over real TLS: given away, announced, fetched, acknowledged; and what is refused."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from core.errors import Overloaded
from core.ledger import alarms
from tests.gateways.as4.running import until
from tests.gateways.rest.handing import RESIDUAL_TYPE, Form, digest, fetch, form, hand, handing, upload
from tests.gateways.rest.running import Place, System, place


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A node that hands over."""
    async with place(tmp_path, handing()) as found:
        yield found


async def submit(system: System, data: Any = None, key: str | None = "k-1", **more: Any) -> tuple[int, Any]:
    """Hand over what may be refused; gives status and answer."""
    headers = {"Idempotency-Key": key} if key is not None else {}
    if isinstance(data, Form):
        data, headers = data.octets, {**headers, **data.headers}
    if isinstance(data, dict):
        return await system.ask("POST", "/v1/handovers", data, headers=headers, **more)
    return await system.ask("POST", "/v1/handovers", data=data, headers=headers | more.pop("headers", {}), **more)


def stored(birkelund: Place) -> tuple[int, int]:
    """How many objects and half-written files the store has."""
    store = birkelund.node.runtime.store
    return len(list(store.ids())), len(list((store.root / "incoming").iterdir()))


async def nothing_is_left(birkelund: Place) -> None:
    """No object, no half-written file, nothing for the receiver."""
    await until(lambda: stored(birkelund) == (0, 0), "nothing left in the store")
    assert await fetch(birkelund.system("birkelund-journal")) == []


@pytest.mark.requirement("R29", "R30", "R34", "R35", "R38")
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
    _, said = await journal.ask("POST", "/v1/handovers/ack", {"leases": [one["lease"]]})
    assert said["results"][0]["result"] == "done"
    _, said = await care.ask("GET", f"/v1/handovers/{parcel}")
    (delivery,) = said["deliveries"]
    seen = (delivery["receiver"], delivery["state"], delivery["rule"])
    assert seen == ("birkelund-journal", "delivered", "cases-to-journal")
    assert delivery["fetched"]
    assert await fetch(journal) == []


async def test_every_field_of_the_description_comes_through(birkelund: Place):
    """What the sender says of it is what the receiver is told, its own attributes and times included."""
    given = {
        "version": "2.1",
        "receiver": {"system": "birkelund-robot"},
        "classifications": [{"scheme": "topic", "code": "27.03"}],
        "references": [{"kind": "case", "id": "case 7"}],
        "priority": "urgent",
        "sensitivity": "sensitive",
        "process_id": "p-1",
        "occurred": "2026-03-01T12:00:00Z",
        "expires": "2036-03-01T13:00:00+01:00",
        "attributes": {"form-id": "ÆØÅ"},
    }
    await hand(birkelund.system("birkelund-care"), **given)
    (one,) = await fetch(birkelund.system("birkelund-robot"))
    said = one["event"]["data"]["description"]
    assert said | given | {"expires": "2036-03-01T12:00:00Z"} == said
    assert one["priority"] == "urgent"


@pytest.mark.requirement("R40")
async def test_a_key_counts_once(birkelund: Place):
    """Repeated it gets the same answer with 200; with other content 409; neither stores or delivers anything."""
    care = birkelund.system("birkelund-care")
    made = form(("a", b"x"))
    headers = {"Idempotency-Key": "k", **made.headers}
    first = await care.full("POST", "/v1/handovers", data=made.octets, headers=headers)
    again = await care.full("POST", "/v1/handovers", data=made.octets, headers=headers)
    assert (first[0], again[0], again[1]) == (201, 200, first[1])
    assert first[2]["Location"] == again[2]["Location"] == f"/v1/handovers/{first[1]['parcel']}"
    for other in (form(("a", b"y")), form(("b", b"x")), form(("a", b"x"), version="2")):
        status, said = await submit(care, other, "k")
        assert (status, said["type"]) == (409, "urn:stafet:problem:conflict")
    assert len(await fetch(birkelund.system("birkelund-journal"))) == 1


async def test_uploads_become_payloads(birkelund: Place):
    """A finished upload is handed over by name, also beside parts; it is gone then, and a repetition is answered all the same."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    octets = b"0123456789" * 30_000
    name = await upload(care, octets, "stor ø.bin")
    asked = {"integration": "cases", "type": "case.note", "uploads": [name]}
    status, said = await submit(care, asked)
    assert status == 201, said
    assert [(p["name"], p["size"]) for p in said["payloads"]] == [("stor ø.bin", len(octets))]
    assert await submit(care, asked) == (200, said)
    status, refused = await submit(care, asked | {"version": "9"})
    assert (status, refused["type"]) == (409, "urn:stafet:problem:conflict")
    assert any(one.code == "conflict" for one in birkelund.node.runtime.read_now(alarms.open_alarms))
    (one,) = await fetch(journal)
    assert (await journal.ask("GET", one["event"]["data"]["payloads"][0]["href"]))[1] == octets
    status, said = await submit(care, asked, "k-2")
    assert (status, said["errors"][0]["pointer"]) == (400, "/uploads/0")
    second = await upload(care, b"small")
    parcel = await hand(care, ("a.txt", b"part"), key="k-3", uploads=[second])
    _, seen = await care.ask("GET", f"/v1/handovers/{parcel}")
    assert [p["name"] for p in seen["payloads"]] == ["a.txt", "large.bin"]


@pytest.mark.requirement("R40")
async def test_a_form_and_its_files_are_one_thing_with_one_receipt(birkelund: Place):
    """A handover names a parcel of file exchange; its receiver sees it there, and its receipt counts for both."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    moved = await hand(care, ("x-ray.bin", b"large"), key="f-1", integration="attachments", type="attachment")
    form_of_it = {"integration": "cases", "type": "case.note", "files": [{"parcel": moved}]}
    status, said = await submit(care, form_of_it)
    assert status == 201, said
    found = {one["event"]["integration"]: one["event"]["data"] for one in await fetch(journal)}
    assert found["cases"]["files"] == [{"parcel": moved, "href": f"/v1/handovers/{moved}"}]
    status, _ = await journal.ask("POST", f"/v1/handovers/{said['parcel']}/receipt", {"outcome": "accepted"})
    assert status == 201
    for parcel, states in ((said["parcel"], {"accepted"}), (moved, {"accepted", "ready"})):
        _, seen = await care.ask("GET", f"/v1/handovers/{parcel}")
        assert {one["state"] for one in seen["deliveries"]} == states
    for wrong in (said["parcel"], "0" * 32):  # a handover is no file; another's is not there
        status, said_ = await submit(care, form_of_it | {"files": [{"parcel": wrong}]}, "k-7")
        assert (status, said_["errors"][0]["pointer"]) == (400, "/files/0/parcel")


@pytest.mark.requirement("R33")
async def test_a_handover_as_large_as_its_integration_allows_is_taken_and_no_larger(birkelund: Place):
    """One octet more is refused, told beforehand or not, and nothing of it stays."""
    care = birkelund.system("birkelund-care")
    assert (await submit(care, form(("a", bytes(4_000_001)))))[0] == 413

    async def unsaid() -> AsyncIterator[bytes]:
        yield b'--b\r\ncontent-disposition: form-data; name="description"\r\ncontent-type: application/json\r\n\r\n'
        yield b'{"integration": "cases"}\r\n--b\r\ncontent-disposition: form-data; name="p"; filename="a"\r\n\r\n'
        for _ in range(5):
            yield bytes(1_000_000)
        yield b"\r\n--b--\r\n"

    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    status, said = await submit(care, unsaid(), headers=kind)
    assert (status, said["type"]) == (413, "urn:stafet:problem:too-large")
    status, said = await submit(care, form().file("a", b"x", Content_Length="4000001"))
    assert (status, said["type"]) == (413, "urn:stafet:problem:too-large")
    await nothing_is_left(birkelund)
    await hand(care, ("a", bytes(4_000_000)))


async def test_digests_that_are_promised_are_compared(birkelund: Place):
    """A part with another SHA-256 than it promised is refused whole; nothing stays, also not of the parts before it."""
    care = birkelund.system("birkelund-care")
    data = form(("a", b"x" * 200_000), ("b", b"y"), digests=True)
    assert (await submit(care, data))[0] == 201
    (one,) = await fetch(birkelund.system("birkelund-journal"))
    assert len(one["event"]["data"]["payloads"]) == 2
    wrong = form(("a", b"x" * 200_000)).file("b", b"y", Repr_Digest=digest(b"z"))
    before = stored(birkelund)
    status, said = await submit(care, wrong, "k-2")
    assert (status, said["errors"][0]["header"]) == (400, "b: Repr-Digest")
    await until(lambda: stored(birkelund) == before, "only what was accepted is there")


def _wrong_forms() -> dict[str, tuple[Form, str]]:
    """Forms that are refused, and a word of what is said."""
    return {
        "no description": (Form().file("a", b"x"), "not called description"),
        "twice": (
            form(("a", b"x")).add(b"{}", 'name="description"', Content_Type="application/json"),
            "second description",
        ),
        "nameless": (form().add(b"x", 'name="p"'), "no filename"),
        "path": (form(("..", b"x")), "no file's name"),
        "hidden": (form(("a\u202etxt.exe", b"x")), "cannot be seen"),
        "empty": (form(), "no payload"),
        "unknown integration": (form(("a", b"x"), integration="nothing"), "no handover is called"),
        "notification": (form(("a", b"x"), integration="stays", type="stay.began"), "no handover is called"),
        "unknown field": (form(("a", b"x"), sender="somebody"), "Extra inputs"),
        "no zone": (form(("a", b"x"), occurred="2026-03-01T12:00:00"), "time zone"),
        "reserved": (form(("a", b"x"), references=[{"kind": "parcel", "id": "1"}]), "use files"),
        "control": (form(("a", b"x"), correlation_id="a\nb"), "pattern"),
        "attribute": (form(("a", b"x"), attributes={"as4.x": "y"}), "pattern"),
        "type": (form(("a", b"x"), type="stay.began"), "is not moved under cases"),
        "encoded": (form().file("a", b"eA==", Content_Transfer_Encoding="base64"), "encoded"),
        "nested": (form().file("a", b"", Content_Type="multipart/mixed; boundary=c"), "parts of its own"),
        "foreign upload": (form(("a", b"x"), uploads=["1"]), "no upload of yours"),
    }


async def test_what_is_wrong_is_named_and_nothing_stays(birkelund: Place):
    """Each refusal names the place and the cause."""
    care = birkelund.system("birkelund-care")
    for name, (data, words) in _wrong_forms().items():
        status, said = await submit(care, data)
        assert 400 <= status < 500, (name, said)
        assert words in str(said), (name, said)
    for key, words in ((None, "missing"), ("ø", "ASCII"), ("k" * 256, "255")):
        if key == "ø":
            status, said = await submit(care, form(("a", b"x")), None, headers={"Idempotency-Key": "caf\u00e9"})
        else:
            status, said = await submit(care, form(("a", b"x")), key)
        assert (status, said["errors"][0]["header"]) == (400, "Idempotency-Key")
        assert words in str(said)
    for body in ({}, {"integration": "cases"}, {"integration": "cases", "uploads": ["1", "1"]}):
        assert (await submit(care, body))[0] == 400
    status, said = await submit(care, {"integration": "cases", "subjects": ["x" * 1000] * 80})
    assert status == 413
    for octets in (b"", b"--b", b"--b\r\n", b"--b\r\n\r\n", b"no boundary at all"):
        status, said = await submit(care, octets, headers={"Content-Type": "multipart/form-data; boundary=b"})
        assert status == 400, (octets, said)
    assert (await submit(care, b"x", headers={"Content-Type": "multipart/form-data"}))[0] == 400
    await nothing_is_left(birkelund)


async def test_a_form_that_is_cut_anywhere_is_refused(birkelund: Place):
    """However much of it came: a part that seems to end with the body does not count."""
    care = birkelund.system("birkelund-care")
    made = form(("a", b"payload"))
    whole, kind = made.octets, made.headers
    ends = sorted({*range(0, len(whole) - 2, 23), len(whole) - 3, len(whole) - 4, len(whole) - 5, len(whole) - 6})
    for end in ends:
        status, said = await submit(care, whole[:end], headers=kind)
        assert status in (400, 415), (end, said)
    assert (await submit(care, whole, headers=kind))[0] == 201


async def test_a_hundred_payloads_and_an_empty_one_pass_and_one_more_does_not(birkelund: Place):
    """Names with paths lose them, unicode stays, and no octets are octets too."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    names = ["../../etc/passwd", "C:\\bilag\\Å.txt", "tom.txt", 'a"b;c.txt', *(f"{n}.txt" for n in range(96))]
    parcel = await hand(care, *((name, b"" if name == "tom.txt" else b"x") for name in names))
    (one,) = await fetch(journal)
    shown = one["event"]["data"]["payloads"]
    assert [p["name"] for p in shown[:4]] == ["passwd", "Å.txt", "tom.txt", 'a"b;c.txt']
    status, said, headers = await journal.full("GET", shown[2]["href"])
    assert (status, said, headers["Content-Length"]) == (200, b"", "0")
    assert len(shown) == 100
    assert (await journal.ask("GET", f"/v1/handovers/{parcel}/payloads/100"))[0] == 404
    status, said = await submit(care, form(*((f"{n}", b"x") for n in range(101))), "k-2")
    assert (status, said["type"]) == (413, "urn:stafet:problem:too-large")


async def test_a_sender_that_goes_away_in_the_middle_leaves_nothing(birkelund: Place):
    """Neither the payload that was coming nor the one before it."""
    tls = birkelund.town.client_context("birkelund-care")
    _, writer = await asyncio.open_connection("localhost", birkelund.town.port, ssl=tls)
    head = (
        b"POST /v1/handovers HTTP/1.1\r\nHost: localhost\r\nIdempotency-Key: k\r\nContent-Length: 9000000\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n"
        b'Content-Disposition: form-data; name="description"\r\nContent-Type: application/json\r\n\r\n'
        b'{"integration": "cases"}\r\n--b\r\nContent-Disposition: form-data; name="p"; filename="a"\r\n\r\n'
    )
    between = b'\r\n--b\r\nContent-Disposition: form-data; name="p"; filename="b"\r\n\r\n'
    writer.write(head + bytes(3_000_000) + between + bytes(1_500_000))
    await writer.drain()
    await until(lambda: stored(birkelund) == (1, 1), "one payload stored and one coming")
    writer.transport.abort()
    await nothing_is_left(birkelund)


async def test_a_full_disk_is_said_and_leaves_nothing(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """The sender is told to come back, and the node goes on."""
    care, disk = birkelund.system("birkelund-care"), birkelund.node.runtime.store.disk
    real = disk.write

    def full(descriptor: int, octets: bytes) -> None:
        raise Overloaded("the payload store has no room (No space left on device); try again later")

    monkeypatch.setattr(disk, "write", full)
    status, said = await submit(care, form(("a", bytes(3_000_000))))
    assert (status, said["type"]) == (503, "urn:stafet:problem:overloaded")
    monkeypatch.setattr(disk, "write", real)
    await nothing_is_left(birkelund)
    await hand(care)


async def test_who_has_nothing_to_do_with_it_does_not_learn_that_it_exists(birkelund: Place):
    """Another authority's system, a system of the same authority without a part in it, and what is no id, get the same 404."""
    parcel = await hand(birkelund.system("birkelund-care"))
    for who in ("egedal-care", "birkelund-robot"):
        other, answers = birkelund.system(who), []
        for name in (parcel, "0" * 32, "x%2e%2e"):
            for path in ("", "/payloads/0", "/receipts"):
                status, said = await other.ask("GET", f"/v1/handovers/{name}{path}")
                answers.append((status, said["type"], said.get("detail", "")))
            for path, body in (("receipt", {"outcome": "received"}), ("redistribute", {"reason": "not ours"})):
                status, said = await other.ask("POST", f"/v1/handovers/{name}/{path}", body)
                answers.append((status, said["type"], said.get("detail", "")))
        assert set(answers) == {(404, "urn:stafet:problem:not-found", "")}
        assert await fetch(other) == []
    status, said = await submit(birkelund.system("egedal-care"), form(("a", b"x")))
    assert (status, said["type"]) == (403, "urn:stafet:problem:not-allowed")
    status, _ = await birkelund.system("birkelund-desk").ask("GET", f"/v1/handovers/{parcel}")
    assert status == 200  # an operator of the authority sees that it is there, and not whom it is about
    assert (await birkelund.system("birkelund-desk").ask("GET", f"/v1/handovers/{parcel}/payloads/0"))[0] == 403


async def test_a_receiver_waits_for_the_next_and_may_want_some_alone(birkelund: Place):
    """A pull that waits is answered when something comes; one that names integrations gets theirs only."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    waiting = asyncio.create_task(fetch(journal, wait=20))
    await asyncio.sleep(0.2)
    await hand(care)
    assert len(await asyncio.wait_for(waiting, 10)) == 1
    await hand(care, key="k-2", integration="attachments", type="attachment")
    assert await fetch(journal, integrations=["cases"]) == []
    assert len(await fetch(journal, integrations=["attachments"])) == 1


async def test_loans_end_and_are_given_back(birkelund: Place):
    """Stale leases, a second acknowledgement, more time, not now, and never."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")

    async def say(verb: str, *leases: str, **more: Any) -> list[str]:
        status, said = await journal.ask("POST", f"/v1/handovers/{verb}", {"leases": list(leases), **more})
        assert status == 200, said
        return [one["result"] for one in said["results"]]

    parcel = await hand(care)
    (first,) = await fetch(journal)
    assert await say("extend", first["lease"], lease=600) == ["done"]
    assert await say("nack", first["lease"]) == ["done"]
    (second,) = await fetch(journal)
    assert second["attempt"] == 2
    assert await say("ack", first["lease"], "nonsense", f"{'0' * 32}.1") == ["stale", "unknown", "unknown"]
    assert await say("ack", second["lease"], second["lease"]) == ["done", "done"]
    assert await say("ack", second["lease"]) == ["done"]
    other = await hand(care, key="k-2")
    (third,) = await fetch(journal)
    status, said = await journal.ask("POST", "/v1/handovers/reject", {"leases": ["x"], "code": "misdelivered"})
    assert (status, said["errors"][0]["pointer"]) == (400, "/code")
    assert await say("reject", third["lease"], code="unreadable", reason="no such form") == ["done"]
    _, seen = await care.ask("GET", f"/v1/handovers/{other}")
    (delivery,) = seen["deliveries"]
    assert (delivery["state"], delivery["code"], delivery["reason"]) == ("rejected", "unreadable", "no such form")
    assert (await journal.ask("GET", f"/v1/handovers/{other}/payloads/0"))[0] == 403
    assert (await journal.ask("GET", f"/v1/handovers/{parcel}/payloads/0"))[0] == 200


async def test_what_no_rule_takes_is_accepted_and_its_sender_sees_that(birkelund: Place):
    """It is in the residual mailbox."""
    parcel = await hand(birkelund.system("birkelund-care"), type=RESIDUAL_TYPE)
    _, seen = await birkelund.system("birkelund-care").ask("GET", f"/v1/handovers/{parcel}")
    assert [(one["receiver"], one["state"]) for one in seen["deliveries"]] == [("residual", "held")]


async def test_a_client_without_a_certificate_is_not_served(birkelund: Place):
    """Neither to hand over nor to fetch."""
    for method, path in (("POST", "/v1/handovers"), ("POST", "/v1/handovers/pull"), ("GET", "/v1/handovers/x")):
        try:
            status, _ = await birkelund.system(None).ask(method, path)
            assert status == 401
        except (aiohttp.ClientError, ssl.SSLError):
            pass  # refused in the handshake already


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*map(_references, value.values()))
    return set().union(*map(_references, value)) if isinstance(value, list) else set()


async def test_the_openapi_document_describes_every_endpoint_of_handover(birkelund: Place):
    """Each has words, and every reference leads somewhere."""
    status, said = await birkelund.system("birkelund-care").ask("GET", "/v1/openapi.json")
    assert status == 200
    schemas = {f"#/components/schemas/{name}" for name in said["components"]["schemas"]}
    assert _references(said["paths"]) | _references(said["components"]) <= schemas
    for path, methods in said["paths"].items():
        if path.startswith(("/v1/handovers", "/v1/uploads", "/v1/receipts", "/v1/residual")):
            for method, operation in methods.items():
                assert len(operation["description"]) > 20, (method, path)
