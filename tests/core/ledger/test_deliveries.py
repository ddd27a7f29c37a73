"""The queue on both databases: claiming under a lease, lanes, quarantine, freezing, settling under epoch and evidence."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, update

from core import limits
from core.clock import SECOND
from core.delivery import Delivery, Event, Frozen, State
from core.errors import Conflict
from core.gateway import Outcome
from core.ledger import claiming, deliveries
from core.ledger.claiming import Claim, Claimed
from core.ledger.deliveries import Renew, Settle, Settled
from core.ledger.engine import open_engine, upgrade
from core.ledger.loans import PullClaim, claim_pull
from core.ledger.parcels import accept_many
from core.ledger.tables import delivery, node, receipt
from core.receipt import Level, Receipt, Verdict
from tests.core.making import NOW, a_delivery, a_parcel, an_accept

LATER = NOW + limits.LEASE


def store(engine: Engine, *items: Delivery) -> None:
    """Put deliveries into the queue."""
    with engine.begin() as connection:
        deliveries.add_deliveries(connection, [(item, "") for item in items])


def claim(engine: Engine, limit: int = 10, now: int = NOW, owner: str = "node-a") -> Claimed:
    """Claim in a transaction of its own."""
    with engine.begin() as connection:
        return claiming.claim(connection, Claim(limit, owner, now, now + limits.LEASE))


def settle(engine: Engine, *items: Settle) -> list[Settled | None]:
    """Settle in a transaction of its own."""
    with engine.begin() as connection:
        return deliveries.settle_many(connection, items)


def look(engine: Engine, delivery_id: str) -> Delivery:
    """A delivery as it is stored."""
    with engine.connect() as connection:
        found = deliveries.get(connection, delivery_id)
    assert found is not None
    return found


def a_receipt(delivery_id: str, verdict: Verdict = Verdict.ACCEPTED, level: Level = Level.ENVELOPE) -> Receipt:
    """A receipt of the far side's handler."""
    return Receipt(delivery_id, level, verdict, NOW + 5, b"<Receipt/>", "ok", "fine", "out-1", b"d" * 32)


# --- claiming ---------------------------------------------------------------------------------------------------------


def test_a_claim_raises_epoch_and_attempts_and_sets_the_lease(engine: Engine):
    """The contract on both databases: `due_at` becomes the lease's end, epoch and attempts rise by one, state stays."""
    item = a_delivery()
    store(engine, item)
    (taken,) = claim(engine).deliveries
    assert (taken.id, taken.epoch, taken.attempts, taken.due_at) == (item.id, 1, 1, LATER)
    assert taken.state is State.READY
    assert look(engine, item.id) == taken


def test_a_lease_keeps_others_away_until_it_ends(engine: Engine):
    """Nobody else gets a claimed delivery before its lease ends; afterwards anybody does, under the next epoch."""
    store(engine, a_delivery())
    claim(engine)
    assert claim(engine, now=LATER - 1, owner="node-b").deliveries == ()
    (again,) = claim(engine, now=LATER, owner="node-b").deliveries
    assert (again.epoch, again.attempts) == (2, 2)


def test_only_due_open_push_deliveries_are_claimed(engine: Engine):
    """What is not due, not open, or pulled by its receiver is left alone; awaiting work that is due is taken."""
    awaiting = a_delivery(state=State.AWAITING)
    others = [a_delivery(state=s) for s in State if s not in (State.READY, State.AWAITING)]
    store(engine, awaiting, a_delivery(due_at=NOW + 1), a_delivery(gateway=""), *others)
    assert [d.id for d in claim(engine, 100).deliveries] == [awaiting.id]


def test_a_claim_takes_no_more_than_its_limit_and_the_longest_due_first(engine: Engine):
    """Ten are due, four are asked for: the four that have waited longest come."""
    items = [a_delivery(due_at=NOW - i) for i in range(10)]
    store(engine, *items)
    assert {d.id for d in claim(engine, 4).deliveries} == {d.id for d in items[6:]}


def test_urgent_goes_first_and_bulk_keeps_a_tenth(engine: Engine):
    """With every lane full, urgent takes all but the tenth that is bulk's."""
    store(engine, *(a_delivery(lane=lane) for lane in ("urgent", "normal", "bulk") for _ in range(100)))
    lanes = [d.lane for d in claim(engine, 20).deliveries]
    assert (lanes.count("urgent"), lanes.count("normal"), lanes.count("bulk")) == (18, 0, 2)


@pytest.mark.parametrize("limit", [2, 9, 10, 15, 19, 64, 100])
def test_bulk_is_never_below_a_tenth_whatever_the_limit(sqlite_engine: Engine, limit: int):
    """A tenth is a tenth for limits that ten does not divide, too."""
    store(sqlite_engine, *(a_delivery(lane=lane) for lane in ("urgent", "bulk") for _ in range(100)))
    lanes = [d.lane for d in claim(sqlite_engine, limit).deliveries]
    assert len(lanes) == limit
    assert lanes.count("bulk") * limits.BULK_SHARE >= limit


def test_bulk_does_not_starve_when_work_is_claimed_one_by_one(sqlite_engine: Engine):
    """A busy node has room for one at a time: over many such claims bulk still gets about its tenth."""
    store(sqlite_engine, *(a_delivery(lane=lane) for lane in ("urgent", "bulk") for _ in range(100)))
    lanes = [d.lane for i in range(100) for d in claim(sqlite_engine, 1, now=NOW + i).deliveries]
    assert len(lanes) == 100
    assert lanes.count("bulk") == 10


@pytest.mark.parametrize("lane", ["urgent", "normal", "bulk"])
def test_a_lane_alone_takes_the_whole_claim(engine: Engine, lane: str):
    """A share nobody needs is not wasted."""
    store(engine, *(a_delivery(lane=lane) for _ in range(20)))
    assert len(claim(engine, 20).deliveries) == 20


def test_two_nodes_claiming_at_once_never_share_a_delivery(postgresql_url: str):
    """On PostgreSQL a claim skips what another open transaction has taken, and does not wait for it."""
    engine = open_engine(postgresql_url)
    upgrade(engine)
    store(engine, *(a_delivery() for _ in range(10)))
    with engine.begin() as one, engine.begin() as two:
        first = claiming.claim(one, Claim(6, "node-a", NOW, LATER))
        second = claiming.claim(two, Claim(6, "node-b", NOW, LATER))
    ids = [d.id for d in (*first.deliveries, *second.deliveries)]
    assert len(ids) == len(set(ids)) == 10
    engine.dispose()


# --- leases and deaths ------------------------------------------------------------------------------------------------


def test_work_that_kills_its_process_is_set_aside(engine: Engine):
    """After so many leases that ended without a word the next claim quarantines instead of giving it out."""
    item, healthy = a_delivery(), a_delivery(due_at=NOW + limits.SILENT_DEATHS * limits.LEASE)
    store(engine, item, healthy)
    for round_ in range(limits.SILENT_DEATHS):
        assert [d.id for d in claim(engine, now=NOW + round_ * limits.LEASE).deliveries] == [item.id]
    last = claim(engine, now=NOW + limits.SILENT_DEATHS * limits.LEASE)
    assert [d.id for d in last.deliveries] == [healthy.id]
    assert [(d.id, d.state) for d in last.quarantined] == [(item.id, State.QUARANTINED)]
    assert look(engine, item.id).state is State.QUARANTINED
    assert claim(engine, now=NOW + 100 * limits.LEASE).quarantined == ()


def test_a_word_in_between_starts_the_count_of_deaths_anew(engine: Engine):
    """All deaths but one, then a reported failure, then as many again: still not dangerous."""
    item = a_delivery()
    store(engine, item)
    now = NOW
    for _ in range(2):
        for _ in range(limits.SILENT_DEATHS):
            (held,) = claim(engine, now=now).deliveries
            now += limits.LEASE
        settle(engine, Settle(item.id, Event.RETRY, now, held.epoch, now))
    assert look(engine, item.id).state is State.READY


def test_a_lease_is_renewed_only_under_its_epoch(engine: Engine):
    """The holder gets more time; a former holder, and one that has reported, get none."""
    item = a_delivery()
    store(engine, item)
    claim(engine)
    (held,) = claim(engine, now=LATER).deliveries
    with engine.begin() as connection:
        wanted = [Renew(item.id, 1, LATER + 1), Renew(item.id, held.epoch, LATER + 2), Renew("nothing", 1, 1)]
        assert deliveries.renew_many(connection, wanted) == [False, True, False]
    assert look(engine, item.id).due_at == LATER + 2
    settle(engine, Settle(item.id, Event.RETRY, LATER, held.epoch, LATER + 9))
    with engine.begin() as connection:
        assert deliveries.renew_many(connection, [Renew(item.id, held.epoch, LATER + 50)]) == [False]


# --- pulling ----------------------------------------------------------------------------------------------------------


def pull(engine: Engine, limit: int = 10, now: int = NOW, system: str = "egedal-journal") -> list[Delivery]:
    """Pull in a transaction of its own."""
    with engine.begin() as connection:
        return list(claim_pull(connection, PullClaim(system, limit, now, now + limits.LEASE)).deliveries)


def test_a_pulling_system_gets_its_own_under_the_same_lease(engine: Engine):
    """Pull is a claim: epoch and attempts rise, `due_at` is the lease's end, and it comes back when the lease ended."""
    mine = a_delivery(gateway="")
    store(engine, mine, a_delivery(gateway="", receiver="solbjerg-journal"), a_delivery())
    (lent,) = pull(engine)
    assert (lent.id, lent.epoch, lent.attempts, lent.due_at) == (mine.id, 1, 1, LATER)
    assert pull(engine, now=LATER - 1) == []
    assert [d.epoch for d in pull(engine, now=LATER)] == [2]


@pytest.mark.requirement("R18")
def test_a_pull_gives_urgent_first_however_many_others_wait(engine: Engine):
    """Urgent deliveries pass a long backlog, and bulk keeps its tenth."""
    backlog = [a_delivery(gateway="", lane="bulk", due_at=NOW - 100 + i) for i in range(50)]
    urgent = [a_delivery(gateway="", lane="urgent", due_at=NOW - i) for i in range(12)]
    store(engine, *backlog, *urgent)
    lanes = [d.lane for d in pull(engine, 10)]
    assert lanes == ["urgent"] * 9 + ["bulk"]


# --- freezing ---------------------------------------------------------------------------------------------------------


def test_the_newest_frozen_wire_is_sent_and_every_name_still_matches(engine: Engine):
    """A second freeze replaces what is sent; receipts for the first are still found."""
    with engine.begin() as connection:
        deliveries.freeze_many(connection, [Frozen("d1", ("out-1",), b"one", ("o1",), NOW)])
        deliveries.freeze_many(connection, [Frozen("d1", ("out-2",), b"two", (), NOW + 1)])
        assert deliveries.newest_frozen(connection, "d2") is None
        newest = deliveries.newest_frozen(connection, "d1")
        assert newest is not None
        assert (newest.wire, newest.objects, newest.at) == (b"two", (), NOW + 1)
        assert set(newest.outside_ids) == {"out-1", "out-2"}
        assert [deliveries.by_outside_id(connection, n) for n in ("out-1", "out-2", "x")] == ["d1", "d1", None]


def test_a_wire_made_anew_may_keep_its_name(engine: Engine):
    """When only the encryption layer is made anew the signed octets, and so the outside name, stay."""
    with engine.begin() as connection:
        deliveries.freeze_many(connection, [Frozen("d1", ("out-1",), b"old key", (), NOW)])
    with engine.begin() as connection:
        deliveries.freeze_many(connection, [Frozen("d1", ("out-1",), b"new key", (), NOW + 1)])
    with engine.connect() as connection:
        newest = deliveries.newest_frozen(connection, "d1")
        assert newest is not None
        assert (newest.wire, newest.outside_ids) == (b"new key", ("out-1",))


def test_a_name_of_another_delivery_is_refused(engine: Engine):
    """Two deliveries under one outside name would let a receipt settle the wrong one."""
    with engine.begin() as connection:
        deliveries.freeze_many(connection, [Frozen("d1", ("out-1",), b"one", (), NOW)])
    with pytest.raises(Conflict, match="out-1"), engine.begin() as connection:
        deliveries.freeze_many(connection, [Frozen("d2", ("out-1",), b"two", (), NOW)])
    with engine.connect() as connection:
        assert deliveries.newest_frozen(connection, "d2") is None


def test_a_freeze_without_names_is_a_freeze(engine: Engine):
    """A gateway whose far side gives no receipts freezes without a name."""
    with engine.begin() as connection:
        deliveries.freeze_many(connection, [Frozen("d1", (), b"one", (), NOW)])
        assert deliveries.newest_frozen(connection, "d1") == Frozen("d1", (), b"one", (), NOW)


# --- settling ---------------------------------------------------------------------------------------------------------


def test_an_attempt_reports_only_under_its_epoch(engine: Engine):
    """A result of an attempt whose lease somebody else holds by now changes nothing and says so."""
    item = a_delivery()
    store(engine, item)
    claim(engine)
    (held,) = claim(engine, now=LATER, owner="node-b").deliveries
    (late,) = settle(engine, Settle(item.id, Event.EXHAUSTED, LATER, epoch=1))
    assert late is not None
    assert (late.stale, late.before, late.after) == (True, State.READY, State.READY)
    assert look(engine, item.id) == held
    (now,) = settle(engine, Settle(item.id, Event.SENT, LATER, epoch=2, due_at=LATER + 7, code="sent"))
    assert now is not None
    assert (now.stale, now.after, look(engine, item.id).due_at) == (False, State.AWAITING, LATER + 7)


@pytest.mark.parametrize("state", [s for s in State if s not in (State.ACCEPTED, State.REJECTED)])
def test_evidence_is_never_fenced(engine: Engine, state: State):
    """An authenticated receipt settles its delivery from every state and under every epoch, and is kept."""
    item = a_delivery(state=state, epoch=5)
    store(engine, item)
    (result,) = settle(engine, deliveries.of_receipt(a_receipt(item.id)))
    assert result is not None
    assert (result.before, result.after) == (state, State.DELIVERED)
    assert look(engine, item.id).state is State.DELIVERED
    with engine.connect() as connection:
        row = connection.execute(select(receipt)).one()
    assert (row.delivery_id, row.raw, row.outside_id, row.level) == (item.id, b"<Receipt/>", "out-1", "envelope")


def test_a_receipt_overtaking_its_attempt_stands(engine: Engine):
    """The receipt comes before the HTTP response: what the attempt reports afterwards moves nothing."""
    item = a_delivery()
    store(engine, item)
    claim(engine)
    settle(engine, deliveries.of_receipt(a_receipt(item.id)))
    (result,) = settle(engine, Settle(item.id, Event.RETRY, NOW + 9, epoch=1, due_at=NOW + 99))
    assert result is not None
    assert result.after is State.DELIVERED
    assert claim(engine, now=NOW + 10 * limits.LEASE).deliveries == ()


@pytest.mark.parametrize("event", [Event.RETRY, Event.SENT, Event.EXHAUSTED])
def test_a_failed_business_receipt_may_overtake_its_attempt(engine: Engine, event: Event):
    """ "Failed" from the application, then the attempt's own report under the epoch still valid: no bug is raised."""
    item = a_delivery()
    store(engine, item)
    claim(engine)
    settle(engine, deliveries.of_receipt(a_receipt(item.id, Verdict.FAILED, Level.BUSINESS)))
    (result,) = settle(engine, Settle(item.id, event, NOW + 9, epoch=1, due_at=NOW + 99))
    assert result is not None
    assert result.after is State.FAILED


@pytest.mark.parametrize(
    ("event", "after"),
    [(Event.RETRY, State.HELD), (Event.SENT, State.AWAITING), (Event.EXHAUSTED, State.FAILED)],
)
def test_a_hold_during_an_attempt_waits_for_its_result(engine: Engine, event: Event, after: State):
    """An operator holds a delivery that is on the wire: a failure leaves it held, "sent" was too late to hold."""
    item = a_delivery()
    store(engine, item)
    claim(engine)
    settle(engine, Settle(item.id, Event.HOLD, NOW + 1))
    (result,) = settle(engine, Settle(item.id, event, NOW + 9, epoch=1, due_at=NOW + 99))
    assert result is not None
    assert result.after is after


def test_one_batch_may_settle_a_delivery_twice(engine: Engine):
    """Sent and acknowledged in one batch: both are judged in order, the last state is stored, both are reported."""
    item, other = a_delivery(), a_delivery()
    store(engine, item, other)
    claim(engine)
    results = settle(
        engine,
        Settle(item.id, Event.SENT, NOW, 1, NOW + 1),
        deliveries.of_receipt(a_receipt(item.id)),
        Settle("nothing", Event.SENT, NOW, 1),
        Settle(other.id, Event.RETRY, NOW, 1, NOW + 50, "timeout", "no answer"),
    )
    assert [r and (r.before, r.after) for r in results] == [
        (State.READY, State.AWAITING),
        (State.AWAITING, State.DELIVERED),
        None,
        (State.READY, State.READY),
    ]
    assert look(engine, item.id).state is State.DELIVERED
    assert look(engine, other.id).due_at == NOW + 50


def test_a_receipt_for_an_unknown_delivery_is_not_stored(engine: Engine):
    """Nothing to settle: None comes back and no orphan is kept."""
    assert settle(engine, deliveries.of_receipt(a_receipt("nothing"))) == [None]
    with engine.connect() as connection:
        assert connection.execute(select(receipt)).all() == []


def test_words_of_the_far_side_are_cut_to_their_columns(engine: Engine):
    """A peer's long reason may not fail a settlement."""
    item = a_delivery()
    store(engine, item)
    long = Receipt(item.id, Level.ENVELOPE, Verdict.REJECTED, NOW, b"", "c" * 99, "r" * 5000, "o" * 999)
    (result,) = settle(engine, deliveries.of_receipt(long))
    assert result is not None
    assert result.after is State.REJECTED


@pytest.mark.parametrize(
    ("state", "attempts"), [(State.REJECTED, 0), (State.DELIVERED, 0), (State.FAILED, 1), (State.HELD, 1)]
)
def test_a_resend_is_due_at_once_with_its_attempts_before_it(engine: Engine, state: State, attempts: int):
    """Where the far side has spoken it counts from zero; where it has not, the frozen wire may have arrived and is repeated."""
    item = a_delivery(state=state, attempts=3)
    store(engine, item)
    settle(engine, Settle(item.id, Event.RESEND, NOW + 4))
    assert (look(engine, item.id).attempts, look(engine, item.id).due_at) == (attempts, NOW + 4)


def test_when_a_delivery_was_settled_is_known_and_forgotten_by_a_resend(engine: Engine):
    """`settled_at` is set by the end of a delivery and emptied when it becomes work again."""
    item = a_delivery()
    store(engine, item)
    query = select(delivery.c.settled_at, delivery.c.last_code)
    settle(engine, Settle(item.id, Event.EXHAUSTED, NOW + 3, code="timeout"))
    with engine.connect() as connection:
        assert tuple(connection.execute(query).one()) == (NOW + 3, "timeout")
    settle(engine, Settle(item.id, Event.RESEND, NOW + 4))
    with engine.connect() as connection:
        assert connection.execute(query).one().settled_at is None


@pytest.mark.parametrize(
    ("outcome", "retry_at", "event", "due"),
    [
        (Outcome(refused=True, code="no"), NOW + 1, Event.REFUSED, None),
        (Outcome(sent=True), NOW + 1, Event.SENT, NOW + 1),
        (Outcome(code="timeout"), NOW + 1, Event.RETRY, NOW + 1),
        (Outcome(code="timeout"), None, Event.EXHAUSTED, None),
    ],
)
def test_what_an_outcome_settles(outcome: Outcome, retry_at: int | None, event: Event, due: int | None):
    """Each outcome is one event under the attempt's epoch."""
    item = a_delivery(epoch=4)
    made = deliveries.of_outcome(item, outcome, NOW, retry_at)
    assert (made.event, made.due_at, made.epoch, made.code) == (event, due, 4, outcome.code)


def test_an_outcome_with_evidence_is_evidence():
    """A receipt in the response is not fenced either."""
    item = a_delivery(epoch=4)
    made = deliveries.of_outcome(item, Outcome(receipt=a_receipt(item.id)), NOW, None)
    assert (made.event, made.epoch) == (Event.ACKNOWLEDGED, None)


# --- looking ----------------------------------------------------------------------------------------------------------


def test_what_the_queue_says_of_itself(engine: Engine):
    """Next due time of push work, counts by state, one delivery by id."""
    with engine.connect() as connection:
        assert deliveries.next_due(connection) is None
    store(engine, a_delivery(due_at=NOW + 7), a_delivery(gateway="", due_at=NOW), a_delivery(state=State.HELD))
    with engine.connect() as connection:
        assert deliveries.next_due(connection) == NOW + 7
        assert deliveries.count_by_state(connection) == {"ready": 2, "held": 1}
        assert deliveries.get(connection, "nothing") is None


def test_a_held_delivery_is_redirected_to_all_its_targets_once(engine: Engine):
    """The first target takes the held row, the others get rows of their own; a second redirection finds nothing held."""
    held = a_delivery("p1", receiver="residual", gateway="", state=State.HELD, attempts=2)
    targets = [a_delivery("p1", receiver=r, due_at=NOW + SECOND) for r in ("egedal-journal", "solbjerg-journal")]
    store(engine, held)
    with engine.begin() as connection:
        assert deliveries.redirect(connection, held.id, targets)
        assert not deliveries.redirect(connection, held.id, targets)
        rows = deliveries.of_parcel(connection, "p1")
    assert [(r.receiver, r.state, r.attempts) for r in rows] == [
        ("egedal-journal", "ready", 0),
        ("solbjerg-journal", "ready", 0),
    ]
    assert rows[0].id == held.id


def test_lists_for_people_and_waiting_pulls(engine: Engine):
    """A mailbox shows what waits, oldest first; systems with mail are those with something due now."""
    old, new = a_delivery(gateway="", due_at=NOW - 5), a_delivery(gateway="", state=State.HELD)
    store(engine, new, old, a_delivery(gateway="", receiver="solbjerg-journal", due_at=NOW + 5))
    settle(engine, deliveries.of_receipt(a_receipt(old.id, Verdict.FAILED, Level.BUSINESS)))
    with engine.begin() as connection:
        deliveries.freeze_many(connection, [Frozen(old.id, ("out-1",), b"", (), NOW)])
        assert [r.outside_id for r in deliveries.receipts_of(connection, [old.id, new.id])] == ["out-1"]
        assert deliveries.names_of(connection, [old.id]) == ["out-1"]
        assert [r.id for r in deliveries.mailbox(connection, "egedal-journal", 5)] == [new.id]
        connection.execute(update(delivery).where(delivery.c.id == old.id).values(state="ready"))
        assert [r.id for r in deliveries.mailbox(connection, "egedal-journal", 5)] == [old.id, new.id]
        boxes = [("egedal-journal", ""), ("solbjerg-journal", ""), ("egedal-journal", "all"), ("nobody", "")]
        assert deliveries.boxes_with_mail(connection, boxes, NOW) == {("egedal-journal", "")}


def test_a_node_that_comes_back_need_not_wait_for_its_own_leases(engine: Engine):
    """What its earlier boots held is due at once and counts as a death; other nodes' and pulled leases stand."""
    mine, other, pulled = a_delivery(), a_delivery(), a_delivery(gateway="")
    store(engine, mine)
    claim(engine, owner="boot-1")
    store(engine, other)
    claim(engine, owner="boot-2")
    store(engine, pulled)
    pull(engine)
    with engine.begin() as connection:
        for boot, chain in (("boot-1", "node-a.1"), ("boot-2", "node-ab.1"), ("egedal-journal", "node-a.0")):
            facts = {"started_at": NOW, "seen_at": NOW, "config_version": 1}
            connection.execute(node.insert(), {"id": boot, "chain": chain, **facts})
        assert deliveries.end_leases_of(connection, "node-a", NOW + 1) == 1
    assert [d.id for d in claim(engine, now=NOW + 1).deliveries] == [mine.id]
    with engine.connect() as connection:
        deaths = connection.execute(select(delivery.c.deaths).where(delivery.c.id == mine.id)).scalar_one()
    assert deaths == 1
    assert look(engine, pulled.id).due_at == LATER


def test_open_deliveries_are_counted_by_what_they_depend_on(engine: Engine):
    """Rule, receiver, integration, gateway and destination; what is settled or held is not among them."""
    waiting, done, held = a_parcel(), a_parcel(), a_parcel()
    with engine.begin() as connection:
        batch = [
            an_accept(parcel=waiting, deliveries=(a_delivery(waiting.id), a_delivery(waiting.id))),
            an_accept(parcel=done, deliveries=(a_delivery(done.id, state=State.DELIVERED),)),
            an_accept(parcel=held, deliveries=(a_delivery(held.id, state=State.HELD),)),
        ]
        accept_many(connection, batch)
        found = deliveries.open_by_cause(connection)
    assert found == [("letters-first", "egedal-journal", "letters", "paper", "egedal", 2)]
