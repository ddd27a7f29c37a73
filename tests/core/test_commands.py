"""What the writer can be asked: what has to be true together is one commit, with its trace and its alarms."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from sqlalchemy import Connection, text

from core import awaited, commands, limits
from core.clock import HOUR
from core.commands import Answer, Call, Freeze, Redirect, Settlement
from core.delivery import Event, Frozen, State
from core.ledger import parcels
from core.ledger.alarms import Alarm
from core.ledger.claiming import Claim
from core.ledger.deliveries import Renew, Settle, of_receipt
from core.ledger.loans import PullClaim
from core.ledger.trace import Entry
from core.ledger.versions import Version
from core.parcel import Judgement, Key, new_id
from core.writer import Kind
from tests.core.making import NOW, a_delivery, a_parcel, an_accept
from tests.core.nodes import Site, received

KINDS = [value for module in (commands, awaited) for value in vars(module).values() if isinstance(value, Kind)]


def ask(site: Site, kind: Kind, item: Any) -> Any:
    """One command, committed."""
    return site.runtime.writer.submit(kind, item).result(10)


def together(site: Site, *asked: tuple[Kind, Any]) -> list[Future[Any]]:
    """Several commands in one transaction: they gather while the writer is held."""
    busy, go = threading.Event(), threading.Event()

    def hold(_connection: Connection, batch: Sequence[Any]) -> Sequence[Any]:
        busy.set()
        assert go.wait(10)
        return batch

    held = site.runtime.writer.submit(Kind("hold", hold, always=True), None)
    assert busy.wait(10)
    futures = [site.runtime.writer.submit(kind, item) for kind, item in asked]
    before = site.runtime.writer.statistics.commits
    go.set()
    for future in (held, *futures):
        future.exception(10)
    assert site.runtime.writer.statistics.commits - before <= 2
    return futures


def accepted(site: Site, **changes: Any) -> Any:
    """A stored parcel with one delivery."""
    made = an_accept(**changes)
    ask(site, commands.ACCEPT, made)
    return made.deliveries[0]


def test_kinds_have_names_and_an_order_of_their_own():
    """Leases are renewed first; parcels are there before what is said of them; housekeeping comes last."""
    assert len({kind.name for kind in KINDS}) == len({kind.order for kind in KINDS}) == len(KINDS) == 19
    inside = [kind.name for kind in sorted(KINDS, key=lambda kind: kind.order)]
    assert inside[:3] == ["renew", "accept", "accept-together"]
    assert inside[-1] == "call"
    assert inside.index("accept") < inside.index("freeze") < inside.index("claim") < inside.index("settle")


def test_a_full_queue_refuses_what_comes_in_and_nothing_else():
    """New parcels wait outside; evidence, leases, acknowledgements and alarms always pass."""
    assert {kind.name for kind in KINDS if not kind.always} == {"accept", "accept-together", "answer", "redirect"}


# --- accepting --------------------------------------------------------------------------------------------------------


def test_an_alarm_of_an_item_is_raised_when_it_is_new_and_not_again(site: Site):
    """In the same commit; a repetition raises none, a conflict one of its own."""
    alarm = Alarm(new_id(NOW), NOW, "residual", "lies in the residual mailbox")
    ask(site, commands.ACCEPT, an_accept("k-1", alarm=alarm))
    ask(site, commands.ACCEPT, an_accept("k-1", alarm=Alarm(new_id(NOW), NOW, "residual", "again")))
    assert [a.text for a in site.alarms()] == ["lies in the residual mailbox"]
    ask(site, commands.ACCEPT, an_accept("k-1", b"other", alarm=alarm))
    assert sorted(a.code for a in site.alarms()) == ["conflict", "residual"]


def test_an_acceptance_whose_alarm_cannot_be_stored_is_none(site: Site):
    """Parcel, trace and alarm are one commit: without the one there is none of the others."""
    alarm = Alarm("a-1", NOW, "residual", "first")
    ask(site, commands.ALARM, alarm)
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        ask(site, commands.ACCEPT, an_accept("k-1", alarm=alarm))
    assert (site.parcels(), site.deliveries()) == ([], [])
    assert site.runtime.read_now(parcels.recall, Key("paper/birkelund-post", "k-1")) is None


def test_the_trace_has_each_judgement_under_the_first_parcel(site: Site):
    """Who looks at a parcel sees that it came again, and through which gateway."""
    made = [an_accept("k-1", print_) for print_ in (b"f", b"f", b"other")]
    results = together(site, *((commands.ACCEPT, one) for one in made))
    assert [f.result().judgement for f in results] == [Judgement.NEW, Judgement.KNOWN, Judgement.CONFLICT]
    story = site.trace(made[0].item.parcel.id)
    assert [event for event, _ in story] == ["accepted", "repeated", "conflict"]
    assert story[1][1] == {"gateway": "paper"}


def test_items_accepted_together_are_one_command_beside_others(site: Site):
    """Each call has its own judgements, in its order, whichever call the first content under a key was in."""
    alone = an_accept("k-1")
    calls = [[an_accept("k-1"), an_accept("k-2")], [an_accept("k-2", b"other"), an_accept(None), an_accept("k-3")]]
    asked = [(commands.ACCEPT_TOGETHER, call) for call in calls]
    results = [f.result() for f in together(site, (commands.ACCEPT, alone), *asked)]
    new, known, conflict = Judgement.NEW, Judgement.KNOWN, Judgement.CONFLICT
    assert [[a.judgement for a in judged] for judged in results[1:]] == [[known, new], [conflict, new, new]]
    assert [event for event, _ in site.trace(alone.item.parcel.id)] == ["accepted", "repeated"]
    assert [event for event, _ in site.trace(calls[0][1].item.parcel.id)] == ["accepted", "conflict"]
    assert [alarm.code for alarm in site.alarms()] == ["conflict"]


def test_a_further_answer_goes_under_its_key(site: Site):
    """The first stays what is recalled."""
    key = Key("paper/birkelund-post", "k-1")
    ask(site, commands.ACCEPT, an_accept("k-1", answer=b"first"))
    ask(site, commands.ANSWER, Answer(key, b"second", NOW))
    found = site.runtime.read_now(parcels.recall, key)
    assert found is not None
    assert found.answer == b"first"
    answers = site.runtime.read_now(lambda c: c.execute(text("SELECT answer FROM further_answer")).scalars().all())
    assert [bytes(a) for a in answers] == [b"second"]


# --- the queue --------------------------------------------------------------------------------------------------------


def test_a_claim_brings_the_parcels_with_it(site: Site):
    """What an attempt needs comes in one answer; nothing due gives nothing."""
    one = accepted(site)
    work = ask(site, commands.CLAIM, Claim(5, "x", NOW, NOW + limits.LEASE))
    assert [d.id for d in work.deliveries] == [one.id]
    assert work.parcels[one.parcel_id].id == one.parcel_id
    nothing = ask(site, commands.CLAIM, Claim(5, "x", NOW, NOW + limits.LEASE))
    assert (nothing.deliveries, nothing.parcels, nothing.quarantined) == ((), {}, ())


def test_what_is_set_aside_is_traced_and_told(site: Site):
    """One alarm and one line, in the commit that sets it aside."""
    one = accepted(site)
    for number in range(limits.SILENT_DEATHS + 1):
        at = NOW + number * limits.LEASE
        work = ask(site, commands.CLAIM, Claim(5, "x", at, at + limits.LEASE))
    assert ([d.id for d in work.quarantined], work.deliveries) == ([one.id], ())
    assert site.trace(one.parcel_id)[-1] == ("quarantined", {"receiver": "egedal-journal"})
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.parcel_id) == ("quarantined", one.parcel_id)
    assert "stafet resend" in alarm.text


def test_pulls_of_one_batch_are_lent_apart(site: Site):
    """Two systems and two requests of one system: nobody gets what another got."""
    for receiver in ("a", "b", "a"):
        parcel = a_parcel()
        accepted(site, parcel=parcel, deliveries=(a_delivery(parcel.id, receiver=receiver, gateway=""),))
    wanted = [PullClaim(system, 1, NOW, NOW + HOUR) for system in ("a", "b", "a", "a")]
    works = [f.result() for f in together(site, *((commands.PULL, one) for one in wanted))]
    assert [[d.receiver for d in work.deliveries] for work in works] == [["a"], ["b"], ["a"], []]
    assert len({d.id for work in works for d in work.deliveries}) == 3


def test_renewing_says_of_each_whether_it_holds(site: Site):
    """A lease that went to another, one that was settled and one that never was are not held."""
    one = accepted(site)
    (held,) = ask(site, commands.CLAIM, Claim(1, "x", NOW, NOW + limits.LEASE)).deliveries
    asked = [Renew(one.id, held.epoch, NOW + HOUR), Renew(one.id, held.epoch - 1, NOW), Renew("no-such", 1, NOW)]
    assert [ask(site, commands.RENEW, item) for item in asked] == [True, False, False]
    assert site.delivery().due_at == NOW + HOUR
    ask(site, commands.SETTLE, Settlement(Settle(one.id, Event.ACKNOWLEDGED, NOW), {}))
    assert ask(site, commands.RENEW, asked[0]) is False


def test_a_freeze_is_traced_with_what_its_gateway_says(site: Site):
    """Names for people to find it by."""
    one = accepted(site)
    ask(site, commands.FREEZE, Freeze(Frozen(one.id, ("m-1",), b"w", (), NOW + 5), one.parcel_id, {"message": "m-1"}))
    assert site.trace(one.parcel_id)[-1] == ("frozen", {"message": "m-1"})


# --- settling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("event", "state", "words"),
    [
        (Event.EXHAUSTED, State.FAILED, "egedal-journal: was not delivered: connect nobody listens"),
        (Event.REFUSED, State.REJECTED, "egedal-journal: was refused by the receiver: connect nobody listens"),
        (Event.DIED, State.QUARANTINED, "egedal-journal: was set aside: connect nobody listens"),
    ],
)
def test_what_people_must_look_at_is_an_alarm_of_the_same_commit(site: Site, event: Event, state: State, words: str):
    """Once: when it is said again nothing new has happened."""
    one = accepted(site)
    settle = Settle(one.id, event, NOW, code="connect", reason="nobody listens")
    for _ in range(2):
        ask(site, commands.SETTLE, Settlement(settle, {}))
        if event is not Event.EXHAUSTED:  # the only one that can be said twice
            break
    assert site.delivery().state is state
    assert [(a.code, a.text, a.parcel_id) for a in site.alarms()] == [(state.value, words, one.parcel_id)]


@pytest.mark.parametrize("event", [Event.RETRY, Event.SENT, Event.ACKNOWLEDGED, Event.BUSINESS_ACCEPTED, Event.HOLD])
def test_nothing_else_is_an_alarm(site: Site, event: Event):
    """People are told of what is wrong."""
    one = accepted(site)
    ask(site, commands.SETTLE, Settlement(Settle(one.id, event, NOW, due_at=NOW + 5), {}))
    assert site.alarms() == []


def test_the_trace_says_what_came_of_an_attempt(site: Site):
    """Receiver, attempt, state, code, reason and when it is tried again; what is empty is left out."""
    one = accepted(site)
    (held,) = ask(site, commands.CLAIM, Claim(1, "x", NOW, NOW + limits.LEASE)).deliveries
    settle = Settle(one.id, Event.RETRY, NOW, held.epoch, NOW + HOUR, "connect", "")
    ask(site, commands.SETTLE, Settlement(settle, {"port": "443", "proxy": ""}))
    event, facts = site.trace(one.parcel_id)[-1]
    assert event == "retry"
    assert facts == {
        "receiver": "egedal-journal",
        "attempt": 1,
        "state": "ready",
        "code": "connect",
        "port": "443",
        "next": NOW + HOUR,
    }


def test_settlements_of_one_batch_build_on_each_other(site: Site):
    """A receipt twice under one key and an attempt's word, all in one transaction: evidence once, the state by the table."""
    one, key = accepted(site), Key("paper/egedal-journal", "r-1")
    receipt = Settlement(of_receipt(received(one)), {}, key, b"thanks")
    unknown = Settlement(Settle("no-such", Event.RETRY, NOW), {})
    failed = Settlement(Settle(one.id, Event.EXHAUSTED, NOW), {})
    results = [f.result() for f in together(site, *((commands.SETTLE, s) for s in (receipt, receipt, unknown, failed)))]
    first, again, nothing, late = results
    assert (first.settled.after, first.acceptance.judgement) == (State.DELIVERED, Judgement.NEW)
    assert (again.settled, again.acceptance.judgement) == (None, Judgement.KNOWN)
    assert (nothing.settled, nothing.acceptance) == (None, None)
    assert (late.settled.before, late.settled.after) == (State.DELIVERED, State.DELIVERED)
    assert (site.delivery().state, site.alarms()) == (State.DELIVERED, [])


def test_a_settlement_that_is_a_bug_fails_alone(site: Site):
    """An event its state does not know stores nothing of itself and keeps nobody else from being stored."""
    one, other = accepted(site), accepted(site)
    ask(site, commands.SETTLE, Settlement(Settle(one.id, Event.BUSINESS_ACCEPTED, NOW), {}))
    bad = Settlement(Settle(one.id, Event.RELEASE, NOW), {})
    good = Settlement(Settle(other.id, Event.ACKNOWLEDGED, NOW), {})
    results = together(site, (commands.SETTLE, bad), (commands.SETTLE, good))
    assert type(results[0].exception()).__name__ == "IllegalTransition"
    assert results[1].result().settled.after is State.DELIVERED
    assert [event for event, _ in site.trace(one.parcel_id)] == ["accepted", "business-accepted"]


# --- the rest ---------------------------------------------------------------------------------------------------------


def test_a_residual_delivery_is_redirected_once(site: Site):
    """To every target the routes name by now; whoever comes second changes nothing and writes nothing."""
    parcel = a_parcel()
    one = accepted(site, parcel=parcel, deliveries=(a_delivery(parcel.id, receiver="residual", state=State.HELD),))
    targets = tuple(a_delivery(parcel.id, receiver=name, rule="new") for name in ("a", "b"))
    assert ask(site, commands.REDIRECT, Redirect(one.id, targets, NOW)) is True
    assert ask(site, commands.REDIRECT, Redirect(one.id, targets, NOW)) is False
    assert [(d.receiver, d.state) for d in site.deliveries()] == [("a", State.READY), ("b", State.READY)]
    assert site.deliveries()[0].id == one.id
    events = [event for event, _ in site.trace(parcel.id)]
    assert events == ["accepted", "redirected"]
    assert site.trace(parcel.id)[1][1] == {"route": "new", "receivers": ["a", "b"], "version": 1}


def test_notes_alarms_and_versions_are_stored(site: Site):
    """Each is one command; versions are numbered in the order they came."""
    ask(site, commands.NOTE, Entry("p-1", NOW, "seen", {"by": "clerk"}))
    ask(site, commands.ALARM, Alarm("a-1", NOW, "clock", "set the clock", "p-1"))
    numbers = together(site, *((commands.VERSION, Version(0, NOW, "clerk", "", "{}")) for _ in range(3)))
    assert [f.result() for f in numbers] == [1, 2, 3]
    assert site.trace("p-1") == [("seen", {"by": "clerk"})]
    assert site.alarms() == [Alarm("a-1", NOW, "clock", "set the clock", "p-1")]


def test_housekeeping_is_a_function_of_the_open_transaction(site: Site):
    """Its result comes back; when it fails, nothing it did stays."""

    def put(connection: Connection, name: str, fails: bool = False) -> str:
        connection.execute(text("INSERT INTO meta VALUES (:name, 'x')"), {"name": name})
        if fails:
            raise KeyError(name)
        return name.upper()

    assert ask(site, commands.CALL, Call(put, ("a",))) == "A"
    with pytest.raises(KeyError):
        ask(site, commands.CALL, Call(put, ("b", True)))
    assert site.runtime.read_now(lambda c: c.execute(text("SELECT name FROM meta")).scalars().all()) == ["a"]
