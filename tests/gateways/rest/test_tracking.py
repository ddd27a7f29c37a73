"""Track and trace over TLS: what is found, by whom, and what nobody finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, get_args

import pytest

from conformance.town import agreement, subscription
from core.delivery import State
from core.ledger.search import TROUBLE
from gateways.rest.tracking import StateName, Trouble
from tests.gateways.rest.handing import RESIDUAL_TYPE, hand, handing
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, documents, event


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices, that hands over as well; Egedal's journal is told of stays too."""
    more = [agreement("stays", "egedal-journal", "receive"), subscription("egedal-stays", "egedal-journal", "stays")]
    async with offices(tmp_path, [*(one for one in handing() if one not in documents()), *more]) as found:
        yield found


async def get(place: Place, path: str, system: str = "birkelund-care", **asked: Any) -> Any:
    """What a system is answered."""
    status, said = await place.system(system).ask("GET", path, params=asked)
    assert status == 200, said
    return said


async def found(place: Place, system: str = "birkelund-care", **asked: Any) -> list[str]:
    """The parcels a system finds."""
    return [one["parcel"] for one in (await get(place, "/v1/parcels", system, **asked))["parcels"]]


def test_the_states_are_those_of_deliveries():
    """Whatever a search takes is a state, and every state is taken."""
    assert set(get_args(StateName)) == {one.value for one in State}
    assert set(get_args(Trouble)) == {one.value for one in TROUBLE}


@pytest.mark.requirement("R73", "R75", "R78", "R130")
async def test_a_parcel_is_found_by_every_side_of_it(birkelund: Place):
    """By name, sender, receiver, integration, state, rule and time; the newest first, page after page."""
    care = birkelund.system("birkelund-care")
    stay, end = (
        one["parcel"] for one in await care.publish(event(), event("e-2", "stay.ended", correlationid="case-4"))
    )
    note = await hand(care)
    assert await found(birkelund) == [note, end, stay]
    assert await found(birkelund, reference="case-4") == await found(birkelund, reference=end) == [end]
    assert await found(birkelund, reference="k-1") == [note]
    assert await found(birkelund, sender="birkelund-care", integration="cases") == [note]
    assert await found(birkelund, receiver="birkelund-robot") == await found(birkelund, rule="robot-ends") == [end]
    assert await found(birkelund, state=["ready", "failed"]) == [note, end, stay]
    assert await found(birkelund, state="delivered") == []
    whole = await get(birkelund, "/v1/parcels")
    at = whole["parcels"][1]["accepted"]
    assert await found(birkelund, since=at) == [note, end]
    assert await found(birkelund, until=at) == [stay]
    first = await get(birkelund, "/v1/parcels", limit=2)
    assert [one["parcel"] for one in first["parcels"]] == [note, end]
    assert await found(birkelund, limit=2, after=first["next"]) == [stay]
    assert "next" not in whole
    (row,) = (await get(birkelund, "/v1/parcels", reference=note))["parcels"]
    assert row["deliveries"] == [
        {**row["deliveries"][0], "receiver": "birkelund-journal", "state": "ready", "rule": "cases-to-journal"}
    ]
    assert (row["sender"], row["integration"], row["type"], row["priority"]) == (
        *("birkelund-care", "cases", "case.note", "normal"),
    )


@pytest.mark.requirement("R75", "R102", "R129")
async def test_each_sees_what_is_its_own(birkelund: Place):
    """A receiver its own delivery of it, operators what their authority's systems see, administrators all, others nothing."""
    care = birkelund.system("birkelund-care")
    stay, note = (await care.publish(event(subjects="resident-7")))[0]["parcel"], await hand(care)
    seen = {
        "birkelund-journal": ([note, stay], ["birkelund-journal"]),
        "egedal-journal": ([stay], ["egedal-journal"]),
        "egedal-owner": ([stay], ["egedal-journal"]),
        "birkelund-operator": ([note, stay], ["birkelund-journal", "egedal-journal"]),
        "node-admin": ([note, stay], ["birkelund-journal", "egedal-journal"]),
        "birkelund-robot": ([], []),
        "birkelund-owner": ([], []),
        "demo-supplier": ([], []),
    }
    for system, (parcels, receivers) in seen.items():
        assert await found(birkelund, system) == parcels, system
        assert await found(birkelund, system, sender="birkelund-care", state="ready") == parcels, system
        if not receivers:
            status, _ = await birkelund.system(system).ask("GET", f"/v1/parcels/{stay}")
            assert status == 404
            continue
        rows = (await get(birkelund, "/v1/parcels", system, reference=stay))["parcels"]
        assert [one["receiver"] for one in rows[0]["deliveries"]] == receivers, system
        one = await get(birkelund, f"/v1/parcels/{stay}", system)
        assert [each["receiver"] for each in one["deliveries"]] == receivers, system
        trace = await get(birkelund, f"/v1/parcels/{stay}/trace", system)
        said = str([rows, one, trace])
        assert "resident-7" not in said
        others = {"birkelund-journal", "egedal-journal"} - set(receivers)
        assert not any(name in said for name in others), system


@pytest.mark.requirement("R73", "R75", "R78", "R130")
async def test_one_parcel_is_shown_with_all_that_was_said_of_it(birkelund: Place):
    """Description, payloads, deliveries, receipts; its trace in words and as facts."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    note = await hand(care, references=[{"kind": "case", "id": "S-88"}], subjects=["resident-7"])
    receipt = {"outcome": "rejected", "code": "closed", "text": "the case is closed"}
    status, answer = await journal.ask("POST", f"/v1/handovers/{note}/receipt", receipt)
    assert status == 201, answer
    said = await get(birkelund, f"/v1/parcels/{note}")
    assert said["description"]["references"] == [{"kind": "case", "id": "S-88"}]
    assert said["description"]["subjects"] == []
    assert [one["name"] for one in said["payloads"]] == ["note.txt"]
    (one,) = said["deliveries"]
    assert (one["stage"], one["state"], one["code"], one["reason"]) == (
        *("rejected", "rejected", "closed", "the case is closed"),
    )
    (kept,) = said["receipts"]
    assert (kept["level"], kept["verdict"], kept["code"], kept["receiver"]) == (
        *("business", "rejected", "closed", "birkelund-journal"),
    )
    trace = await get(birkelund, f"/v1/parcels/{note}/trace")
    assert [line["event"] for line in trace["lines"]] == ["accepted", "business-rejected"]
    first, second = trace["lines"]
    assert first["says"] == "accepted from birkelund-care under cases"
    assert "route cases-to-journal to birkelund-journal" in first["detail"]
    assert first["facts"]["agreement"] == "cases-birkelund-care-send"
    assert (second["facts"]["code"], second["facts"]["receiver"]) == ("closed", "birkelund-journal")
    assert trace["standing"] == ["to birkelund-journal, who pulls: rejected"]
    assert "resident-7" not in str([said, trace])


@pytest.mark.requirement("R75")
async def test_the_trace_names_the_subscription(birkelund: Place):
    """Beside the system that fetches by it."""
    (sent,) = await birkelund.system("birkelund-care").publish(event())
    trace = await get(birkelund, f"/v1/parcels/{sent['parcel']}/trace", "birkelund-journal")
    assert trace["standing"] == ["to birkelund-journal (subscription journal-stays), who pulls: ready"]


@pytest.mark.requirement("R79", "R131", "R134")
async def test_failures_are_listed_with_why_for_both_sides(birkelund: Place):
    """What a receiver refused, and what lies in the residual mailbox."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    note, stray = await hand(care), await hand(care, key="k-2", type=RESIDUAL_TYPE)
    await hand(care, key="k-3")
    receipt = {"outcome": "rejected", "code": "closed", "text": "the case is closed"}
    assert (await journal.ask("POST", f"/v1/handovers/{note}/receipt", receipt))[0] == 201

    async def failures(system: str, **asked: Any) -> list[tuple[str, ...]]:
        rows = (await get(birkelund, "/v1/failures", system, **asked))["failures"]
        return [(one["parcel"], one["receiver"], one["state"], one["code"]) for one in rows]

    refused, held = (note, "birkelund-journal", "rejected", "closed"), (stray, "residual", "held", "residual")
    assert await failures("birkelund-care") == await failures("birkelund-operator") == [held, refused]
    assert await failures("node-admin", limit=1) == [held]
    assert await failures("birkelund-journal") == [refused]
    assert (
        await failures("birkelund-care", state="held")
        == await failures("birkelund-care", receiver="residual")
        == [held]
    )
    assert await failures("birkelund-care", state=["rejected", "failed"]) == [refused]
    assert await failures("egedal-owner") == await failures("birkelund-robot") == []


WRONG = [
    ("after=x", "after"),
    ("after=" + "0" * 33, "after"),
    ("after=' OR 1=1 --", "after"),
    ("limit=0", "limit"),
    ("limit=501", "limit"),
    ("limit=99999999999999999999", "limit"),
    ("limit=many", "limit"),
    ("since=yesterday", "since"),
    ("since=1772366400", "since"),
    ("since=2026-03-01", "since"),
    ("since=2026-03-01T12:00:00", "since"),
    ("since=2026-03-01T12:00:00+01:00", "since"),
    ("until=2026-02-30T12:00:00Z", "until"),
    ("until=0001-01-01T00:00:00%2B23:00", "until"),
    ("sender=%00", "sender"),
    ("rule=a%0Ab", "rule"),
    ("receiver=" + "x" * 256, "receiver"),
    ("state=lost", "state.0"),
    ("state=READY", "state.0"),
    ("state=", "state.0"),
    ("sender=a&sender=b", "sender"),
    ("systems=egedal-journal", "systems"),
]


@pytest.mark.parametrize(("query", "parameter"), WRONG)
async def test_a_wrong_question_names_its_parameter(birkelund: Place, query: str, parameter: str):
    """With a problem, before anything is looked for."""
    for path in ("/v1/parcels", "/v1/failures"):
        status, said = await birkelund.system("birkelund-care").ask("GET", f"{path}?{query}")
        assert (status, said["type"]) == (400, "urn:stafet:problem:invalid-request")
        assert [one["parameter"] for one in said["errors"]] == [parameter]


async def test_times_that_no_time_lies_between_are_refused(birkelund: Place):
    """And named."""
    query = "since=2026-03-01T12:00:00Z&until=2026-03-01T12:00:00Z"
    status, said = await birkelund.system("birkelund-care").ask("GET", f"/v1/parcels?{query}")
    assert (status, said["type"], said["detail"]) == (
        *(400, "urn:stafet:problem:invalid-request", "until: does not lie after since"),
    )


@pytest.mark.parametrize("text", ["' OR 1=1 --", "%", "_", "\\", '"', "*", "é", "‮", "𝕏", "x" * 1000, "-1", "NULL"])
async def test_odd_words_find_nothing(birkelund: Place, text: str):
    """They are looked for to the letter."""
    await birkelund.system("birkelund-care").publish(event())
    assert await found(birkelund, reference=text) == []
    assert await found(birkelund, sender=text[:255]) == await found(birkelund, integration=text[:255]) == []


async def test_a_cursor_of_anothers_shows_nothing_of_theirs(birkelund: Place):
    """It says where to go on, and what is seen from there is the caller's own, as with one that is made up."""
    care = birkelund.system("birkelund-care")
    (sent,) = await care.publish(event())
    mine = await hand(care)
    for cursor in (mine, "f" * 32, "0" * 32):
        assert await found(birkelund, "birkelund-robot", after=cursor) == []
    assert await found(birkelund, "egedal-journal", after=mine) == [sent["parcel"]]
    assert await found(birkelund, after="f" * 32) == [mine, sent["parcel"]]
    assert await found(birkelund, after="0" * 32) == []


async def test_the_same_holds_on_postgresql(tmp_path: Path, postgresql_url: str):
    """Every list is asked with odd words and at the ends of time; nothing is an error, and what is there is found."""
    given = [one for one in handing() if one not in documents()]
    async with offices(tmp_path, given, database=postgresql_url) as town:
        care, admin = town.system("birkelund-care"), town.system("node-admin")
        (sent,) = await care.publish(event())
        stray = await hand(care, type=RESIDUAL_TYPE)
        assert await found(town, reference="e-1") == [sent["parcel"]]
        assert await found(town, "birkelund-operator", state=["ready", "held"]) == [stray, sent["parcel"]]
        assert [one["parcel"] for one in (await get(town, "/v1/failures"))["failures"]] == [stray]
        (alarm,) = (await get(town, "/v1/alarms", "birkelund-operator"))["alarms"]
        status, said = await town.system("egedal-owner").ask("POST", "/v1/alarms/clear", {"alarms": [alarm["id"]]})
        assert status == 404, said
        for name in ("%00", "%ED%A0%80", "' OR 1=1 --", "%F0%9D%95%8F", "x" * 3000):
            for path in ("parcels/{}", "parcels/{}/trace", "notifications/{}", "handovers/{}"):
                status, said = await town.system("birkelund-operator").ask("GET", "/v1/" + path.format(name))
                assert (status, said["type"]) == (404, "urn:stafet:problem:not-found"), path
        ends = {"since": "0001-01-01T00:00:00Z", "until": "9999-12-31T23:59:59Z"}
        for path in ("parcels", "failures", "looks", "statistics?by=hour,rule"):
            status, said = await admin.ask("GET", f"/v1/{path}", params=ends)
            assert status == 200, said
        for text in ("' OR 1=1 --", "%", "\\", "𝕏"):
            assert await found(town, reference=text) == await found(town, rule=text) == []
            assert (await get(town, "/v1/looks", "node-admin", who=text))["looks"] == []
