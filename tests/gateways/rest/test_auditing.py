"""The usage log of the gateway: every endpoint declares what it is, and what it declares is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core import limits
from core.clock import MINUTE, FrozenClock
from core.ledger.looking import Asked, Look
from gateways.rest import problems
from gateways.rest.access import Caller
from gateways.rest.auditing import Auditing, about, action, clean, is_nobodys_business
from gateways.rest.endpoint import TRACED, Answer, Ask, Endpoint, Reply
from gateways.rest.settings import Role
from tests.core.making import NOW
from tests.gateways.rest.offices import offices
from tests.gateways.rest.running import Place, event


@pytest.fixture
async def birkelund(tmp_path: Path) -> AsyncIterator[Place]:
    """A town with its offices."""
    async with offices(tmp_path) as found:
        yield found


async def looks(place: Place, **asked: str) -> list[tuple[str, str, str, str]]:
    """What the log has, oldest first."""
    desk = place.node.gateways["rest"]._kernel.desks.looking
    await place.node.gateways["rest"]._kernel.note("", "barrier", {})
    found: list[Look] = list((await desk.find(Asked(**asked), 500)).items)
    found.sort(key=lambda one: one.at)  # ids of one millisecond are in no order
    return [(one.who, one.action, one.object, one.outcome) for one in found]


@pytest.mark.requirement("R81", "R102", "R129", "R132")
async def test_every_endpoint_says_whether_it_is_in_the_usage_log(birkelund: Place):
    """Or why not; what is open to all tells of nobody. Its name fits into the log."""
    served = birkelund.node.gateways["rest"].endpoints
    assert len(served) > 60
    silent = [action(one) for one in served if one.audited is None and not one.unaudited]
    assert silent == []
    assert [action(one) for one in served if one.open and one.audited] == []
    assert [action(one) for one in served if len(action(one)) > 64] == []


@pytest.mark.requirement("R81", "R102", "R132")
async def test_who_looks_changes_or_is_turned_away_is_in_the_log(birkelund: Place):
    """With the object that the path names, for a change before its answer; a stranger's attempt on it as well."""
    operator, stranger = birkelund.system("birkelund-operator"), birkelund.system("egedal-owner")
    assert (await operator.ask("GET", "/v1/subscriptions/journal-stays"))[0] == 200
    assert (await stranger.ask("GET", "/v1/subscriptions/journal-stays"))[0] == 404
    assert (await operator.ask("PATCH", "/v1/subscriptions/journal-stays", {"paused": True}))[0] == 403
    assert (await operator.ask("GET", "/v1/subscriptions?limit=0"))[0] == 400
    assert (await operator.ask("GET", "/v1/nothing/journal-stays"))[0] == 404
    path = "/v1/subscriptions/{subscription}"
    assert await looks(birkelund) == [
        ("birkelund-operator", f"GET {path}", "journal-stays", "ok"),
        ("egedal-owner", f"GET {path}", "journal-stays", "not-found"),
        ("birkelund-operator", f"PATCH {path}", "journal-stays", "not-allowed"),
    ]
    journal = birkelund.system("birkelund-journal")
    wish = {"kind": "subscription", "document": {"system": "birkelund-journal", "integration": "stays"}}
    _, asked = await journal.ask("POST", "/v1/requests", wish)
    assert await looks(birkelund, who="birkelund-journal") == [
        ("birkelund-journal", "POST /v1/requests", asked["id"], "ok")
    ]


@pytest.mark.requirement("R81")
async def test_what_a_system_does_as_itself_is_told_by_the_trace(birkelund: Place):
    """Publishing, fetching, acknowledging and reading its own are not in the log; reaching for another's is."""
    care, journal = birkelund.system("birkelund-care"), birkelund.system("birkelund-journal")
    (said,) = await care.publish(event())
    (lent,) = await journal.pull("journal-stays")
    assert await journal.say("journal-stays", "ack", lent["lease"]) == ["done"]
    assert (await care.ask("GET", f"/v1/notifications/{said['parcel']}"))[0] == 200
    assert (await journal.ask("GET", "/v1/subscriptions/journal-stays"))[0] == 200
    assert (await journal.ask("GET", "/v1/me"))[0] == 200
    assert await looks(birkelund) == []
    assert (await care.ask("POST", "/v1/subscriptions/journal-stays/pull", {}))[0] == 404
    assert (await care.ask("POST", "/v1/handovers/pull?system=birkelund-journal", {}))[0] == 404
    assert [(what, whom, outcome) for _, what, whom, outcome in await looks(birkelund)] == [
        ("POST /v1/subscriptions/{subscription}/pull", "journal-stays", "not-found"),
        ("POST /v1/handovers/pull", "birkelund-journal", "not-found"),
    ]


@pytest.mark.parametrize(
    "name", ["%00", "a%0Ab", "%ED%A0%80", "%F0%9F%98%80", "x" * 2000, "' OR 1=1 --", "..%2F..", "%25"]
)
async def test_whatever_somebody_writes_for_an_id_does_no_harm(birkelund: Place, name: str):
    """It is not found, and the log has it short and printable."""
    operator = birkelund.system("birkelund-operator")
    for path in (
        "parcels/{}",
        "parcels/{}/trace",
        "notifications/{}",
        "handovers/{}",
        "subscriptions/{}",
        "requests/{}",
    ):
        status, said = await operator.ask("GET", "/v1/" + path.format(name))
        assert (status, said["type"]) == (404, "urn:stafet:problem:not-found"), path
    entries = await looks(birkelund, who="birkelund-operator")
    assert [outcome for *_, outcome in entries] == ["not-found"] * len(entries)
    assert all(whom.isprintable() and len(whom) <= limits.LOOKED_AT for _, _, whom, _ in entries)


# --- by itself --------------------------------------------------------------------------------------------------------


async def handler(_ask: Ask) -> Reply:
    """Of no matter here."""
    return Reply()


def endpoint(path: str = "/v1/things/{thing}/parts/{part}", method: str = "GET", **more: Any) -> Endpoint:
    """An invented endpoint."""
    return Endpoint(method, path, handler, "x", "x", {200: Answer("x")}, **more)


def caller(kind: Any = "person", *roles: Role) -> Caller:
    """An invented caller."""
    return Caller("clerks/clerk-1", kind, frozenset(), "11223344", frozenset(roles), "token")


class Desk:
    """Remembers what is written."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, ...]] = []

    def saw(self, *said: str) -> None:
        """A look."""
        self.seen.append(said)

    async def changed(self, *said: str) -> None:
        """A change, waited for."""
        self.seen.append((*said, "waited"))


def test_what_a_request_was_about_is_the_outermost_thing_it_names():
    """A part belongs to its whole; where the path names nothing, the system it was for."""

    class Query:
        system = "birkelund-care"

    assert about(endpoint(), {"part": "p", "thing": "t"}, None) == "t"
    assert about(endpoint("/v1/things"), {}, Query()) == "birkelund-care"
    assert about(endpoint("/v1/things"), {}, None) == ""
    assert clean("a\x00b\ud800c" + "x" * 500) == "a?b?c" + "x" * 250


def test_of_people_everything_is_told():
    """A system is trusted with its own where the endpoint says why; with another role beside, its looks are told as well."""
    acting, reading = endpoint(audited="changed", unaudited=TRACED), endpoint(audited="saw", unaudited="own")
    itself, more = caller("system", Role.SYSTEM), caller("system", Role.SYSTEM, Role.OPERATOR)
    assert is_nobodys_business(acting, itself)
    assert is_nobodys_business(acting, more)
    assert is_nobodys_business(reading, itself)
    assert not is_nobodys_business(reading, more)
    assert not is_nobodys_business(reading, caller("person", Role.SYSTEM))
    assert not is_nobodys_business(acting, caller("person", Role.SYSTEM))
    assert not is_nobodys_business(endpoint(audited="changed"), itself)


async def test_each_thing_has_an_entry_of_its_own():
    """Up to a limit; of a change the last is waited for."""
    desk = Desk()
    auditing = Auditing(lambda: desk, FrozenClock(NOW))  # type: ignore[arg-type,return-value]
    who = ("clerks/clerk-1", "11223344")
    saw, changed = endpoint("/v1/things", audited="saw"), endpoint("/v1/things", "POST", audited="changed")
    await auditing.answered(saw, caller(), {}, None, Reply(about=("a", "b")))
    await auditing.answered(changed, caller(), {}, None, Reply(about=("a", "b")))
    assert [one[3:] for one in desk.seen] == [("a",), ("b",), ("b",), ("a", "waited")]
    assert desk.seen[0] == (*who, "GET /v1/things", "a")
    desk.seen.clear()
    await auditing.answered(saw, caller(), {}, None, Reply(about=tuple(map(str, range(500)))))
    assert len(desk.seen) == limits.LOOKS_AT_ONCE
    desk.seen.clear()
    await auditing.answered(endpoint(unaudited="why"), caller(), {}, None, Reply())
    assert desk.seen == []


async def test_refusals_are_told_with_their_word():
    """Those that turn somebody away; and a change that ended in what nobody foresaw, for it may have been made."""
    desk = Desk()
    auditing = Auditing(lambda: desk, FrozenClock(NOW))  # type: ignore[arg-type,return-value]
    changing = endpoint("/v1/things/{thing}", "POST", audited="changed", unaudited=TRACED)
    for kind in (
        problems.NOT_FOUND,
        problems.NOT_ALLOWED,
        problems.INVALID_REQUEST,
        problems.CONFLICT,
        problems.INTERNAL,
    ):
        await auditing.refused(changing, caller("system", Role.SYSTEM), {"thing": "t"}, None, kind)
    assert [one[3:] for one in desk.seen] == [("t", "not-found"), ("t", "not-allowed"), ("t", "internal")]
    desk.seen.clear()
    await auditing.refused(endpoint(audited="saw"), caller(), {}, None, problems.INTERNAL)
    await auditing.refused(endpoint(open=True, unaudited="open"), caller(), {}, None, problems.NOT_FOUND)
    assert desk.seen == []


async def test_the_same_refusal_is_told_once_a_minute(monkeypatch: pytest.MonkeyPatch):
    """Of each caller and thing; what it remembers has an end."""
    desk, clock = Desk(), FrozenClock(NOW)
    auditing = Auditing(lambda: desk, clock)  # type: ignore[arg-type,return-value]
    one = endpoint("/v1/things/{thing}", audited="saw")

    async def refused(thing: str) -> int:
        await auditing.refused(one, caller(), {"thing": thing}, None, problems.NOT_FOUND)
        return len(desk.seen)

    assert [await refused(thing) for thing in ("a", "a", "b", "a")] == [1, 1, 2, 2]
    clock.tick(MINUTE)
    assert [await refused(thing) for thing in ("a", "a")] == [3, 3]
    monkeypatch.setattr(limits, "REFUSED_TOLD", 1)
    assert [await refused(thing) for thing in ("c", "a", "c")] == [4, 5, 6]
