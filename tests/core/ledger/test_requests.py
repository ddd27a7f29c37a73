"""Requests in the ledger, on both databases."""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import Engine

from core.ledger import proposals, requests
from core.ledger.proposals import Proposal
from core.ledger.requests import Decision, Request, RequestState, Wanted
from tests.core.making import NOW


def a_request(name: str, **changes: object) -> Request:
    """An invented request for a subscription."""
    made = Request(
        name, "subscription", f"robot-{name}", "{}", "robot", "stays", "birkelund", "robot", "birkelund", NOW, "why"
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_a_request_reads_back_as_it_was_asked(engine: Engine):
    """One that does not exist is None; a removal is one without a document."""
    with engine.begin() as connection:
        requests.add(connection, a_request("r1"))
        requests.add(connection, a_request("r2", document="", why="w" * 2000))
        assert requests.get(connection, "r1") == a_request("r1")
        assert requests.get(connection, "r3") is None
        assert requests.hold(connection, "r3") is None
        found = requests.hold(connection, "r2")
    assert found is not None
    assert (found.removes, len(found.why), a_request("r1").removes) == (True, 1024, False)


def test_one_finds_what_one_asked_and_what_one_decides(engine: Engine):
    """The newest first, of a state if one is named, after where the page before ended; everything for who may."""
    with engine.begin() as connection:
        requests.add(connection, a_request("r1"))
        requests.add(connection, a_request("r2", asked_by="care", owner="egedal"))
        requests.add(connection, a_request("r3", asked_by="care", state=RequestState.REFUSED))

        def ids(**wanted: object) -> list[str]:
            return [one.id for one in requests.find(connection, Wanted(**wanted), 10)]  # type: ignore[arg-type]

        assert ids(asked_by="care") == ["r3", "r2"]
        assert ids(asked_by="nobody") == []
        assert ids(asked_by="robot", owners=("egedal",)) == ["r2", "r1"]
        assert ids(everything=True) == ["r3", "r2", "r1"]
        assert ids(everything=True, state=RequestState.PENDING) == ["r2", "r1"]
        assert ids(everything=True, before="r2") == ["r1"]
        assert len(requests.find(connection, Wanted(everything=True), 2)) == 2
        assert requests.pending_of(connection, "care") == 1


def test_a_decision_is_kept_with_who_when_and_why(engine: Engine):
    """And with the version it made."""
    with engine.begin() as connection:
        requests.add(connection, a_request("r1"))
        requests.decide(connection, Decision("r1", RequestState.APPROVED, "owner", NOW + 1, "fine"), 8)
        found = requests.get(connection, "r1")
        assert requests.pending_of(connection, "robot") == 0
    decided = {"decided_by": "owner", "decided_at": NOW + 1, "reason": "fine", "config_version": 8}
    assert found == a_request("r1", state=RequestState.APPROVED, **decided)


def test_a_request_is_named_by_how_its_id_begins(engine: Engine):
    """As many as are asked for; a wildcard stands for itself."""
    with engine.begin() as connection:
        for name in ("ab1", "ab2", "cd1"):
            requests.add(connection, a_request(name))
        assert requests.beginning(connection, "cd", 2) == ["cd1"]
        assert len(requests.beginning(connection, "ab", 2)) == 2
        assert requests.beginning(connection, "%", 2) == []


def test_a_proposal_of_a_whole_version_is_no_request(engine: Engine):
    """It lies in the same table, and who asks for requests never meets it, whatever they may see."""
    with engine.begin() as connection:
        proposals.add(connection, Proposal("p1", "first-operator", NOW, "tidy", 1, "{}"), 5)
        requests.add(connection, a_request("r1"))
        assert [one.id for one in requests.find(connection, Wanted(everything=True), 10)] == ["r1"]
        assert requests.get(connection, "p1") is None
        assert requests.hold(connection, "p1") is None
        assert requests.beginning(connection, "p", 10) == []
