"""Expected receipts in the ledger: answered by evidence, found when their time is over, on either kind of database."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import Connection, Engine

from core.clock import HOUR
from core.expectation import Expectation, State
from core.ledger import expectations, parcels, versions
from core.ledger.expectations import Heard
from core.ledger.versions import Version
from core.receipt import Level, Verdict
from tests.core.making import NOW, an_accept


def an_expectation(parcel_id: str = "p-1", number: int = 0, **changes: object) -> Expectation:
    """One that is due in an hour."""
    facts = {"level": Level.BUSINESS, "kind": "system", "name": "egedal-journal", "due_at": NOW + HOUR} | changes
    return Expectation(f"{parcel_id}-{number}", parcel_id, **facts)  # type: ignore[arg-type]


def said(parcel_id: str = "p-1", system: str = "egedal-journal", **changes: object) -> Heard:
    """A business receipt that accepts."""
    facts = {"level": Level.BUSINESS, "verdict": Verdict.ACCEPTED, "at": NOW} | changes
    return Heard(parcel_id, system=system, **facts)  # type: ignore[arg-type]


def states(connection: Connection, parcel_id: str = "p-1") -> list[tuple[str, int | None]]:
    """State and time of each expectation of a parcel."""
    return [(row.state, row.met_at) for row in expectations.of_parcel(connection, parcel_id)]


@pytest.mark.requirement("R69", "R71")
def test_evidence_answers_what_is_expected_of_its_system(engine: Engine):
    """The named system's receipt meets its expectation, another's does not; what is met stays so."""
    with engine.begin() as connection:
        expectations.add(connection, [an_expectation(), an_expectation(number=1, name="skovby-archive")])
        assert expectations.answer(connection, [said(system="stranger"), said(parcel_id="p-2")]) == [[], []]
        met, again = expectations.answer(connection, [said(at=NOW + 1), said(at=NOW + 2)])
        assert ([one.state for one in met], again) == ([State.MET], [])
        assert expectations.answer(connection, [said(verdict=Verdict.REJECTED)]) == [[]]
        assert states(connection) == [("met", NOW + 1), ("open", None)]


def test_a_refusal_and_a_later_receipt(engine: Engine):
    """A no is kept as a no until a yes comes; within one batch they count in their order."""
    with engine.begin() as connection:
        expectations.add(connection, [an_expectation()])
        no, yes = expectations.answer(connection, [said(verdict=Verdict.REJECTED), said(at=NOW + 1)])
        assert ([one.state for one in no], [one.state for one in yes]) == ([State.REFUSED], [State.MET])
        assert states(connection) == [("met", NOW + 1)]


@pytest.mark.requirement("R71")
def test_what_is_overdue_is_found_once(engine: Engine):
    """After the deadline, not at it; the oldest first, as many as asked for; a receipt after that is late."""
    accept = an_accept()
    mine = accept.item.parcel.id
    with engine.begin() as connection:
        parcels.accept_many(connection, [accept])
        later = an_expectation(mine, 1, due_at=NOW + HOUR + 5)
        expectations.add(connection, [an_expectation(mine), later])
        assert expectations.overdue(connection, NOW + HOUR, 10) == []
        (first,) = expectations.overdue(connection, NOW + 2 * HOUR, 1)
        assert (first.expectation.id, first.expectation.state) == (f"{mine}-0", State.OVERDUE)
        assert first.integration == accept.item.parcel.integration
        assert [one.expectation.id for one in expectations.overdue(connection, NOW + 2 * HOUR, 10)] == [later.id]
        assert expectations.overdue(connection, NOW + 2 * HOUR, 10) == []
        ((late, _),) = expectations.answer(connection, [said(mine, at=NOW + 3 * HOUR)])
        assert late.state is State.LATE


def test_a_receipt_after_the_deadline_is_late_though_nobody_has_looked(engine: Engine):
    """It does not depend on when the chore ran."""
    with engine.begin() as connection:
        expectations.add(connection, [an_expectation()])
        ((late,),) = expectations.answer(connection, [said(at=NOW + 2 * HOUR)])
        assert late.state is State.LATE
        expectations.add(connection, [an_expectation("p-2")])
        assert expectations.answer(connection, [said("p-2", "stranger", at=NOW + 2 * HOUR)]) == [[]]
        assert states(connection, "p-2") == [("open", None)]


@pytest.mark.requirement("R69", "R70")
def test_whoever_serves_the_function_may_answer(engine: Engine):
    """As the newest configuration says when the receipt comes; without a version nobody does."""
    with engine.begin() as connection:
        expectations.add(connection, [an_expectation(kind="function", name="school-psychology")])
        assert expectations.answer(connection, [said()]) == [[]]
        for functions in ([], ["school-psychology"]):
            documents = [
                {"kind": "system", "id": "egedal-journal", "functions": functions},
                {"kind": "route", "id": "r"},
            ]
            content = json.dumps({"documents": documents, "files": {}})
            versions.add(connection, [Version(0, NOW, "somebody", "because", content)])
            (answered,) = expectations.answer(connection, [said()])
            assert len(answered) == len(functions)
        assert states(connection) == [("met", NOW)]


def test_what_is_forgotten_is_gone(engine: Engine):
    """The rows of these parcels and no others."""
    with engine.begin() as connection:
        expectations.add(connection, [an_expectation(), an_expectation("p-2")])
        assert expectations.forget(connection, ["p-1", "p-3"]) == 1
        assert (states(connection), states(connection, "p-2")) == ([], [("open", None)])


@pytest.mark.requirement("R37", "R71")
def test_who_sends_it_on_is_expected_to_say_nothing_more(engine: Engine):
    """Whoever gets it is; what was met, and what is expected of others, stays. Where nobody gets it, nobody has to answer."""
    mine = {"kind": "receiver", "name": "here"}
    with engine.begin() as connection:
        expectations.add(connection, [an_expectation(**mine), an_expectation(number=1), an_expectation("p-2", **mine)])
        expectations.move(connection, "p-1", "here", ["there"])
        assert expectations.answer(connection, [said(system="here")]) == [[]]
        ((met,),) = expectations.answer(connection, [said(system="there")])
        assert (met.name, met.state) == ("there", State.MET)
        expectations.move(connection, "p-1", "there", [])
        assert [row.name for row in expectations.of_parcel(connection, "p-1")] == ["there", "egedal-journal"]
        expectations.move(connection, "p-2", "here", ["residual"])
        assert [row.name for row in expectations.of_parcel(connection, "p-2")] == [""]
        expectations.move(connection, "p-2", "", [])
        assert expectations.of_parcel(connection, "p-2") == []
