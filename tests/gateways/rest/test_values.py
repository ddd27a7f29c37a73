"""Value lists over real TLS: kept by the system that owns them, asked, never read back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import limits
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, event

PATH = "/v1/value-lists/patients"


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town whose journal keeps a list of patients, and subscribes to what concerns them."""
    given = [
        {"kind": "value-list", "id": "patients", "title": "Our patients", "owner": "birkelund-journal"},
        {"kind": "subscription", "id": "journal-own", "system": "birkelund-journal", "integration": "stays",
         "subjects_in": "patients"},
    ]  # fmt: skip
    async with offices(tmp_path, given) as found:
        yield found


async def put(place: Place, octets: bytes, media_type: str = "text/plain") -> tuple[int, Any]:
    """Replace the list."""
    journal = place.system("birkelund-journal")
    return await journal.ask("PUT", f"{PATH}/values", data=octets, headers={"Content-Type": media_type})


@pytest.mark.requirement("R26")
async def test_a_list_steers_what_is_delivered(birkelund: Place):
    """Only what concerns somebody on it comes; a change counts from the next event."""
    journal, care = birkelund.system("birkelund-journal"), birkelund.system("birkelund-care")
    assert await put(birkelund, b"resident-1\r\n\nresident-2") == (200, {"added": 2, "removed": 0, "count": 2})
    await care.publish(event("e-1", subjects="resident-1"), event("e-2", subjects="resident-9"), event("e-3"))
    assert [one["event"]["id"] for one in await journal.pull("journal-own")] == ["e-1"]
    status, said = await journal.ask("POST", f"{PATH}/values", {"values": ["resident-9", "resident-1"]})
    assert (status, said) == (200, {"added": 1, "removed": 0, "count": 3})
    _, said = await journal.ask("POST", f"{PATH}/values/remove", {"values": ["resident-2", "nobody"]})
    assert said == {"added": 0, "removed": 1, "count": 2}
    _, said = await journal.ask("POST", f"{PATH}/contains", {"values": ["resident-9", "resident-2", "resident-1"]})
    assert said == {"contains": [True, False, True]}
    await care.publish(event("e-4", subjects="resident-9"))
    assert [one["event"]["id"] for one in await journal.pull("journal-own")] == ["e-4"]


async def test_a_whole_list_comes_as_text_or_json(birkelund: Place):
    """What was there and is not in it is gone; an empty one is empty."""
    text = "\n".join(f"bæk-{n}" for n in range(5000)).encode()
    assert await put(birkelund, text) == (200, {"added": 5000, "removed": 0, "count": 5000})
    assert await put(birkelund, b'["b\xc3\xa6k-1", "new"]', "application/json") == (
        200,
        {"added": 1, "removed": 4999, "count": 2},
    )
    _, said = await birkelund.system("birkelund-journal").ask("GET", "/v1/value-lists")
    assert said["lists"] == [{"id": "patients", "title": "Our patients", "owner": "birkelund-journal", "count": 2}]
    assert (await put(birkelund, b""))[1]["count"] == 0


@pytest.mark.requirement("R25")
@pytest.mark.parametrize(
    ("octets", "media_type", "status"),
    [
        (b"resident-1\n\xff", "text/plain", 400),
        (b"resident-1\n\xc3", "text/plain", 400),
        (b"x" * 9000, "text/plain", 400),
        (b"resident-1\n" + b"y" * 300, "text/plain", 400),
        (b"resident-1\x00", "text/plain", 400),
        (b'{"values": []}', "application/json", 400),
        (b'["resident-1", 2]', "application/json", 400),
        (b'["resident-1"', "application/json", 400),
        (b"resident-1", "application/octet-stream", 415),
    ],
)
async def test_what_is_no_list_changes_nothing(birkelund: Place, octets: bytes, media_type: str, status: int):
    """It is refused by position, and no value is repeated."""
    await put(birkelund, b"kept")
    answered, said = await put(birkelund, octets, media_type)
    assert answered == status, said
    assert "resident-1" not in str(said)
    _, found = await birkelund.system("birkelund-journal").ask(
        "POST", f"{PATH}/contains", {"values": ["kept", "resident-1"]}
    )
    assert found == {"contains": [True, False]}


async def test_a_list_has_an_end(birkelund: Place, monkeypatch: pytest.MonkeyPatch):
    """By count, and for JSON by size: the words say what to do."""
    monkeypatch.setattr(limits, "LIST_VALUES", 3)
    assert (await put(birkelund, b"a\nb\nc\nd\n"))[0] == 413
    monkeypatch.setattr(limits, "LIST_BODY", 10)
    status, said = await put(birkelund, b'["a", "b", "c"]', "application/json")
    assert (status, "text/plain" in said["detail"]) == (413, True)


async def test_only_the_owner_keeps_a_list(birkelund: Place):
    """Others of its authority and administrators are refused, for other authorities it is not there, and it is in no list."""
    for name, expected in (("birkelund-robot", 403), ("node-admin", 403), ("egedal-care", 404), ("demo-supplier", 404)):
        caller = birkelund.system(name)
        for method, path in (("PUT", "values"), ("POST", "values"), ("POST", "values/remove"), ("POST", "contains")):
            body = ["x"] if method == "PUT" else {"values": ["x"]}
            assert (await caller.ask(method, f"{PATH}/{path}", body))[0] == expected
    assert (await birkelund.system("birkelund-robot").ask("GET", "/v1/value-lists"))[1] == {"lists": []}
    assert (await birkelund.system("birkelund-journal").ask("POST", "/v1/value-lists/none/values", {"values": []}))[
        0
    ] == 404


async def test_another_authoritys_list_cannot_be_asked_through_a_filter(birkelund: Place):
    """A subscription by it would tell who is on it."""
    care = birkelund.system("egedal-care")
    wish = {"system": "egedal-care", "integration": "stays", "subjects_in": "patients"}
    for named in ("patients", "none"):
        body = {"kind": "subscription", "document": wish | {"subjects_in": named}}
        status, said = await care.ask("POST", "/v1/requests", body)
        assert (status, said["errors"][0]["pointer"]) == (400, "/document/subjects_in")
