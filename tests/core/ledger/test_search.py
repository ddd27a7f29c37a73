"""Finding parcels: every kind of question, on either kind of database; what a caller may not see is not there."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, update

from core.clock import DAY, SECOND
from core.delivery import Frozen, State
from core.description import Address, Description, Reference
from core.ledger import deliveries, parcels, search
from core.ledger.search import Asked, find
from core.ledger.tables import delivery
from tests.core.making import NOW, a_delivery, a_parcel, an_accept

_NUMBERS = itertools.count()


def stored(connection: Connection, *receivers: str, at: int = NOW, key: str | None = None, **changes: Any) -> str:
    """A parcel that goes to these receivers; gives its id."""
    sender = changes.pop("sender", "birkelund-post")
    facts = {name: changes.pop(name) for name in ("state", "rule", "gateway", "destination") if name in changes}
    integration = changes.pop("integration", "letters")
    description = Description(type="letter", sender=sender, **changes)
    made = a_parcel(at=at, sender=sender, integration=integration, description=description)
    to = tuple(a_delivery(made.id, receiver=name, **facts) for name in receivers or ("egedal-journal",))
    accept = an_accept(key or f"key-{next(_NUMBERS)}", parcel=made, deliveries=to, scope=f"paper/{sender}")
    parcels.accept_many(connection, [accept])
    return made.id


def ids(connection: Connection, limit: int = 50, **asked: Any) -> list[str]:
    """The ids that are found."""
    return [found.parcel_id for found in find(connection, Asked(**asked), limit)]


@pytest.mark.requirement("R75", "R130")
def test_one_question_by_any_side_of_a_parcel(engine: Engine):
    """Sender, receiver, integration, rule, state, and all of them together; the newest first."""
    with engine.begin() as connection:
        first = stored(connection, "egedal-journal")
        second = stored(connection, "skovby-archive", at=NOW + SECOND, rule="to-archive", state=State.FAILED)
        third = stored(connection, at=NOW + 2 * SECOND, sender="egedal-mail", integration="bookings", state=State.HELD)
        both = stored(connection, "egedal-journal", "skovby-archive", at=NOW + 3 * SECOND, state=State.ACCEPTED)
        assert ids(connection) == [both, third, second, first]
        assert ids(connection, sender="birkelund-post") == [both, second, first]
        assert ids(connection, receiver="skovby-archive") == [both, second]
        assert ids(connection, integration="bookings") == [third]
        assert ids(connection, rule="to-archive") == [second]
        for state, found in (
            (State.FAILED, [second]),
            (State.HELD, [third]),
            (State.ACCEPTED, [both]),
            (State.READY, [first]),
            (State.DELIVERED, []),
            (State.AWAITING, []),
        ):
            assert ids(connection, states=(state,)) == found, state
        assert ids(connection, states=(State.FAILED, State.HELD, State.REJECTED)) == [third, second]
        exact = {
            "sender": "birkelund-post",
            "receiver": "skovby-archive",
            "integration": "letters",
            "rule": "to-archive",
        }
        assert ids(connection, **exact, states=(State.FAILED,)) == [second]
        assert ids(connection, **exact, states=(State.HELD,)) == []
        assert ids(connection, sender="stranger") == []


@pytest.mark.requirement("R75")
def test_state_receiver_and_rule_are_of_the_same_delivery(engine: Engine):
    """A parcel that failed for one and arrived for another is not found as failed for the other."""
    with engine.begin() as connection:
        mine = stored(connection, "egedal-journal", "skovby-archive")
        connection.execute(update(delivery).where(delivery.c.receiver == "skovby-archive").values(state="failed"))
        assert ids(connection, receiver="skovby-archive", states=(State.FAILED,)) == [mine]
        assert ids(connection, receiver="egedal-journal", states=(State.FAILED,)) == []


def test_what_waits_to_be_pulled_is_found_as_ready(engine: Engine):
    """Pushed and pulled deliveries lie in indexes of their own, and both are asked."""
    with engine.begin() as connection:
        pulled = stored(connection, gateway="", destination="subscription-1")
        pushed = stored(connection, at=NOW + 1000)
        waiting = stored(connection, at=NOW + 2000, state=State.AWAITING)
        assert ids(connection, states=(State.READY,)) == [pushed, pulled]
        assert ids(connection, states=(State.READY, State.AWAITING)) == [waiting, pushed, pulled]


@pytest.mark.requirement("R75")
def test_any_name_finds_its_parcel(engine: Engine):
    """Of the parcel, the delivery, the wire, the sender's key, the conversation, the process, a case."""
    with engine.begin() as connection:
        mine = stored(
            connection,
            key="k-17",
            correlation_id="conversation-4",
            process_id="process-5",
            references=(Reference(kind="case", id="S-2026-88"), Reference(kind="document", id="S-2026-88")),
        )
        other = stored(connection, at=NOW + 1000, correlation_id="conversation-4", sender="egedal-mail", key="k-17")
        (one,) = deliveries.of_parcel(connection, mine)
        deliveries.freeze_many(connection, [Frozen(one.id, ("m-1@birkelund.example",), b"wire", (), NOW)])
        for name in (mine, one.id, "m-1@birkelund.example", "process-5", "S-2026-88"):
            assert ids(connection, reference=name) == [mine], name
        assert ids(connection, reference="conversation-4") == ids(connection, reference="k-17") == [other, mine]
        assert ids(connection, reference="conversation-4", sender="birkelund-post") == [mine]
        assert ids(connection, reference="conversation-4", receiver="egedal-journal", states=(State.HELD,)) == []
        assert ids(connection, reference=mine, integration="bookings") == []
        assert ids(connection, reference=mine, states=(State.READY, State.HELD)) == [mine]
        assert ids(connection, reference="nothing") == []


@pytest.mark.requirement("R75")
def test_a_name_of_the_gateways_finds_its_parcel(engine: Engine):
    """What people outside call it, beside what its description says; once, though it says the same."""
    made = a_parcel(description=Description(type="letter", sender="birkelund-post", process_id="stay-7"))
    accept = an_accept("k-1", parcel=made)
    with engine.begin() as connection:
        parcels.accept_many(connection, [replace(accept, item=replace(accept.item, names=("stay-7", "e-1")))])
        assert ids(connection, reference="e-1") == ids(connection, reference="stay-7") == [made.id]


def test_long_names_are_found_as_they_were_cut(engine: Engine):
    """A name may be longer than its column."""
    long = "x" * 1000
    with engine.begin() as connection:
        mine = stored(connection, correlation_id=long)
        assert ids(connection, reference=long) == [mine]


@pytest.mark.requirement("R107")
def test_subjects_are_in_no_index(engine: Engine):
    """What is personal finds nothing, and is in no row."""
    with engine.begin() as connection:
        mine = stored(connection, subjects=("subject-1",), receiver=Address(system="egedal-journal"))
        assert ids(connection, reference="subject-1") == []
        (found,) = find(connection, Asked(reference=mine), 10)
        assert "subject-1" not in repr(found)


def test_times_are_those_of_acceptance(engine: Engine):
    """From a time on, until before another; a transfer that began long before it was accepted is found by its acceptance."""
    with engine.begin() as connection:
        early, late = stored(connection, at=NOW + 999), stored(connection, at=NOW + 5 * SECOND)
        long = a_parcel(at=NOW + 6 * SECOND, id=a_parcel(at=NOW - DAY // 2).id)
        parcels.accept_many(connection, [an_accept(parcel=long)])
        assert ids(connection, since=NOW + 999) == [late, early, long.id]
        assert ids(connection, since=NOW + 1000) == [late, long.id]
        assert ids(connection, until=NOW + 999) == []
        assert ids(connection, until=NOW + 1000) == [early]
        assert ids(connection, since=NOW + 999, until=NOW + 6 * SECOND) == [late, early]
        assert ids(connection, since=NOW + 6 * SECOND, sender="birkelund-post") == [long.id]


def test_pages_leave_nothing_out_and_show_nothing_twice(engine: Engine):
    """However many deliveries a parcel has, and however small the page."""
    with engine.begin() as connection:
        made = [stored(connection, "egedal-journal", "skovby-archive", at=NOW + n * 1000) for n in range(7)]
        for changes in ({}, {"receiver": "skovby-archive"}, {"states": (State.READY,)}, {"rule": "letters-first"}):
            seen: list[str] = []
            while page := ids(connection, limit=3, before=seen[-1] if seen else "", **changes):
                assert len(page) <= 3
                seen += page
            assert seen == made[::-1], changes


@pytest.mark.requirement("R102", "R129")
@pytest.mark.parametrize("few", [0, 40])
def test_a_caller_finds_what_its_systems_send_or_receive(engine: Engine, monkeypatch: pytest.MonkeyPatch, few: int):
    """By every way of asking, with few systems or many; of what it only receives it sees its own delivery."""
    monkeypatch.setattr(search, "_FEW", few)
    mine = frozenset({"egedal-journal"})
    with engine.begin() as connection:
        sent = stored(connection, "skovby-archive", "stranger", sender="egedal-journal", state=State.FAILED)
        got = stored(
            connection, "egedal-journal", "skovby-archive", at=NOW + 1000, correlation_id="c", state=State.FAILED
        )
        stored(connection, "skovby-archive", at=NOW + 2000, correlation_id="c", state=State.FAILED)
        assert ids(connection, systems=mine) == [got, sent]
        assert ids(connection, systems=frozenset()) == []
        for asked in ({"states": (State.FAILED,)}, {"integration": "letters"}, {"rule": "letters-first"}):
            assert ids(connection, systems=mine, **asked) == [got, sent], asked
        assert ids(connection, systems=mine, reference="c") == ids(connection, systems=mine, reference=got) == [got]
        assert ids(connection, systems=mine, sender="birkelund-post") == [got]
        assert ids(connection, systems=mine, receiver="skovby-archive") == [sent]
        assert ids(connection, systems=mine, sender="egedal-journal", receiver="skovby-archive") == [sent]
        both = find(connection, Asked(systems=mine), 10)
        assert [[d.receiver for d in one.deliveries] for one in both] == [
            ["egedal-journal"],
            ["skovby-archive", "stranger"],
        ]


def test_a_row_says_what_a_list_may_show(engine: Engine):
    """Ids, parties, type, priority, and of each delivery state, rule and code; also of a parcel that nobody gets."""
    with engine.begin() as connection:
        mine = stored(connection, priority="urgent", rule="r-1")
        connection.execute(update(delivery).values(last_code="wet", last_reason="left in the rain", lane="urgent"))
        alone = a_parcel(
            at=NOW + 1000, description=Description(type="letter", sender="birkelund-post", priority="bulk")
        )
        parcels.accept_many(connection, [an_accept(parcel=alone, deliveries=())])
        lonely, found = find(connection, Asked(), 10)
        assert (lonely.priority, lonely.deliveries) == ("bulk", ())
        assert (found.parcel_id, found.accepted_at, found.sender) == (mine, NOW, "birkelund-post")
        assert (found.integration, found.type, found.priority) == ("letters", "letter", "urgent")
        (to,) = found.deliveries
        assert (to.receiver, to.state, to.rule, to.code) == ("egedal-journal", "ready", "r-1", "wet")
        assert search.reasons(connection, [to.delivery_id]) == {to.delivery_id: "left in the rain"}
        assert search.get(connection, ["nothing", mine]) == [found]


_CHOICES = st.fixed_dictionaries(
    {
        "sender": st.sampled_from(["", "a", "b"]),
        "receiver": st.sampled_from(["", "a", "b", "c"]),
        "integration": st.sampled_from(["", "letters", "bookings"]),
        "rule": st.sampled_from(["", "r1", "r2"]),
        "states": st.lists(st.sampled_from(list(State)), max_size=2, unique=True).map(tuple),
        "systems": st.sampled_from([None, frozenset("a"), frozenset("bc")]),
    }
)


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=_CHOICES, few=st.sampled_from([0, 40]))
def test_every_question_gives_what_looking_at_all_of_them_gives(crowd: Any, asked: dict[str, Any], few: int):
    """Whatever indexes it goes by, and whether a caller's systems are few or many."""
    connection, everything = crowd
    wanted = []
    for mine, sender, integration, to in everything:
        seen = [t for t in to if asked["systems"] is None or sender in asked["systems"] or t[0] in asked["systems"]]
        fits = [
            t
            for t in seen
            if asked["receiver"] in ("", t[0])
            and asked["rule"] in ("", t[1])
            and (not asked["states"] or t[2] in asked["states"])
        ]
        if asked["sender"] in ("", sender) and asked["integration"] in ("", integration) and fits:
            wanted.append(mine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "_FEW", few)
        assert ids(connection, limit=1000, **asked) == wanted[::-1]


@pytest.fixture
def crowd(sqlite_engine: Engine) -> Any:
    """Parcels of every sort, as ids with what they are. What is pulled is never awaiting: only an attempt makes it so."""
    everything = []
    states, rules = list(State), ["r1", "r2"]
    with sqlite_engine.begin() as connection:
        for n, (sender, integration) in enumerate(itertools.product("ab", ("letters", "bookings") * 8)):
            to = [
                ("abc"[(n + k) % 3], rules[(n // 2 + k) % 2], states[(n * 3 + k) % len(states)])
                for k in range(1 + n % 2)
            ]
            description = Description(type="letter", sender=sender)
            made = a_parcel(at=NOW + n * 1000, sender=sender, integration=integration, description=description)
            items = tuple(
                a_delivery(
                    made.id, receiver=r, rule=u, state=s, gateway="paper" if n % 3 or s is State.AWAITING else ""
                )
                for r, u, s in to
            )
            parcels.accept_many(connection, [an_accept(parcel=made, deliveries=items)])
            everything.append((made.id, sender, integration, to))
    with sqlite_engine.connect() as connection:
        yield connection, everything
