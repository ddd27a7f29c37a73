"""What the writer can be asked to do: one `Kind` each, with what it writes to the trace and which alarms it raises.

Rule: whatever has to be true together is one command: a delivery that fails, its trace line and its alarm are one commit, so
that a crash loses none of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from sqlalchemy import Connection

from core import awaited
from core.clock import Micros, local
from core.delivery import Delivery, Event, Frozen, State
from core.description import Description
from core.expectation import Expectation
from core.ledger import alarms, claiming, deliveries, loans, looking, parcels, unreachable, versions
from core.ledger.alarms import Alarm
from core.ledger.claiming import Claim, Claimed
from core.ledger.deliveries import Renew, Settle, Settled
from core.ledger.loans import PullClaim, Taken
from core.ledger.looking import Look
from core.ledger.parcels import Accept
from core.ledger.trace import Entry, Written, alike
from core.ledger.versions import Version
from core.pace import Pause, Where, pause_length
from core.parcel import Acceptance, Judgement, Key, Parcel, new_id
from core.receipt import Receipt
from core.writer import Kind

# --- accept -----------------------------------------------------------------------------------------------------------


def _accept(connection: Connection, batch: Sequence[Accept]) -> Sequence[Acceptance]:
    judged = parcels.accept_many(connection, batch)
    raised: list[Alarm] = []
    for accept, acceptance in zip(batch, judged, strict=True):
        if acceptance.judgement is Judgement.NEW:
            raised += [alarm for alarm in (accept.alarm, accept.trouble) if alarm is not None]
        elif acceptance.judgement is Judgement.CONFLICT and accept.item.key is not None:
            raised.append(_conflict(accept.item.key, accept.item.parcel.accepted_at, acceptance.parcel_id))
    if raised:
        alarms.raise_many(connection, raised)
    return judged


def _conflict(key: Key, at: Micros, parcel_id: str) -> Alarm:
    text = f"{key.scope}: {key.value} came again with other content and was refused"
    return Alarm(new_id(at), at, "conflict", text, parcel_id)


def _accepted(accept: Accept, acceptance: Acceptance) -> Sequence[Entry]:
    parcel = accept.item.parcel
    if acceptance.judgement is Judgement.NEW:
        return (Entry(parcel.id, parcel.accepted_at, "accepted", accept.facts), *accept.entries)
    facts = {"gateway": accept.gateway, **accept.item.note}
    event = "repeated" if acceptance.judgement is Judgement.KNOWN else "conflict"
    return (Entry(acceptance.parcel_id, parcel.accepted_at, event, facts),)


def _bulk(accept: Accept) -> int:
    return int(accept.item.parcel.description.priority == "bulk")


ACCEPT: Final = Kind("accept", _accept, _accepted, order=10, waits=_bulk)


def _accept_together(connection: Connection, batch: Sequence[Sequence[Accept]]) -> Sequence[Sequence[Acceptance]]:
    judged = iter(_accept(connection, [accept for items in batch for accept in items]))
    return [list(islice(judged, len(items))) for items in batch]


def _accepted_together(items: Sequence[Accept], judged: Sequence[Acceptance]) -> Sequence[Entry]:
    return [entry for one in zip(items, judged, strict=True) for entry in _accepted(*one)]


def _bulk_together(items: Sequence[Accept]) -> int:
    """All of them, or none: one that is in a hurry takes the others along."""
    return len(items) if all(map(_bulk, items)) else 0


#: Several items of one call: all or none are stored, each is judged alone.
ACCEPT_TOGETHER: Final = Kind("accept-together", _accept_together, _accepted_together, order=11, waits=_bulk_together)


@dataclass(frozen=True, slots=True)
class Answer:
    """A further answer under a known key."""

    key: Key
    answer: bytes
    at: Micros


def _answer(connection: Connection, batch: Sequence[Answer]) -> Sequence[None]:
    parcels.add_answers(connection, [(a.key, a.answer, a.at) for a in batch])
    return [None] * len(batch)


ANSWER: Final = Kind("answer", _answer, order=20)

# --- the queue --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work:
    """What a claim gives: deliveries, and the parcels they are about."""

    deliveries: tuple[Delivery, ...]
    parcels: Mapping[str, Parcel]
    quarantined: tuple[Delivery, ...]
    held_back: frozenset[Where] = frozenset()


def _claim(connection: Connection, batch: Sequence[Claim]) -> Sequence[Work]:
    return [_work(connection, claiming.claim(connection, wanted), wanted.now) for wanted in batch]


def _work(connection: Connection, claimed: Claimed, at: Micros) -> Work:
    ids = [d.parcel_id for d in claimed.deliveries]
    if claimed.quarantined:
        text = "a delivery was set aside: its attempts ended time after time without a word; look at it before `stafet resend`"
        rows = [Alarm(new_id(at), at, "quarantined", text, d.parcel_id) for d in claimed.quarantined]
        alarms.raise_many(connection, rows)
    loaded = parcels.load_many(connection, ids) if ids else {}
    return Work(claimed.deliveries, loaded, claimed.quarantined, claimed.held_back)


def _claimed(wanted: Claim, work: Work) -> Sequence[Entry]:
    return [Entry(d.parcel_id, wanted.now, "quarantined", {"receiver": d.receiver}) for d in work.quarantined]


CLAIM: Final = Kind("claim", _claim, _claimed, order=40, always=True)


@dataclass(frozen=True, slots=True)
class Loans:
    """What a pull gives; its parcels are read where nobody waits to write. ``dead`` was lent too often without a word."""

    deliveries: tuple[Delivery, ...]
    dead: tuple[Delivery, ...] = ()


def _pull(connection: Connection, batch: Sequence[PullClaim]) -> Sequence[Loans]:
    found = [loans.claim_pull(connection, wanted) for wanted in batch]
    raised = [_dead_letter(one, wanted.now) for wanted, lent in zip(batch, found, strict=True) for one in lent.dead]
    if raised:
        alarms.raise_many(connection, raised)
    return [Loans(lent.deliveries, lent.dead) for lent in found]


def _dead_letter(one: Delivery, at: Micros) -> Alarm:
    text = f"{one.destination or one.receiver}: a delivery was lent {one.attempts - 1} times and never acknowledged"
    return Alarm(new_id(at), at, "dead-letter", f"{text}; look at it, then `stafet resend {one.id}`", one.parcel_id)


def _pulled(wanted: PullClaim, work: Loans) -> Sequence[Entry]:
    facts = {"code": loans.UNACKNOWLEDGED, "state": State.FAILED.value}
    return [
        Entry(d.parcel_id, wanted.now, Event.EXHAUSTED.value, {"receiver": d.receiver, "rule": d.rule, **facts})
        for d in work.dead
    ]


PULL: Final = Kind("pull", _pull, _pulled, order=41, always=True)


def _renew(connection: Connection, batch: Sequence[Renew]) -> Sequence[bool]:
    return deliveries.renew_many(connection, batch)


RENEW: Final = Kind("renew", _renew, order=5, always=True)


@dataclass(frozen=True, slots=True)
class Freeze:
    """A wire to commit, and what the trace says of it."""

    frozen: Frozen
    parcel_id: str
    facts: Mapping[str, str]


def _freeze(connection: Connection, batch: Sequence[Freeze]) -> Sequence[None]:
    return deliveries.freeze_many(connection, [f.frozen for f in batch])


def _froze(item: Freeze, _result: None) -> Sequence[Entry]:
    return (Entry(item.parcel_id, item.frozen.at, "frozen", item.facts),)


FREEZE: Final = Kind("freeze", _freeze, _froze, order=30, always=True)

# --- settling ---------------------------------------------------------------------------------------------------------

_WORDS: Final = {
    State.FAILED: "was not delivered",
    State.REJECTED: "was refused by the receiver",
    State.QUARANTINED: "was set aside",
}
_CUT: Final = 600
"""A far side's long words leave room for ours."""


@dataclass(frozen=True, slots=True)
class Settlement:
    """A settlement and what the trace says beside it. ``key`` makes a receipt count once."""

    settle: Settle
    facts: Mapping[str, Any]
    key: Key | None = None
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class SettlementResult:
    """``settled`` is None for an unknown delivery or a repetition; ``acceptance`` is there when a key was given."""

    settled: Settled | None
    acceptance: Acceptance | None = None
    answered: Sequence[Expectation] = ()
    """The expectations it changed."""


def _settle(connection: Connection, batch: Sequence[Settlement]) -> Sequence[SettlementResult]:
    judged = [_judge(connection, item) for item in batch]
    fresh = [i for i, acceptance in enumerate(judged) if acceptance is None or acceptance.judgement is Judgement.NEW]
    settled = dict(zip(fresh, deliveries.settle_many(connection, [batch[i].settle for i in fresh]), strict=True))
    raised = [
        _conflict(item.key, item.settle.at, acceptance.parcel_id)
        for item, acceptance in zip(batch, judged, strict=True)
        if item.key is not None and acceptance is not None and acceptance.judgement is Judgement.CONFLICT
    ]
    for index, result in settled.items():
        if result is None or result.stale or result.before is result.after or result.after not in _WORDS:
            continue
        item = batch[index].settle
        text = f"{result.delivery.receiver}: {_WORDS[result.after]}: {item.code} {item.reason}".strip()
        if result.delivery.line and result.delivery.stops:
            text = f"{text[:_CUT]}; what comes after it in its line waits: `stafet resend` it, or `stafet skip` it"
        raised.append(Alarm(new_id(item.at), item.at, result.after.value, text, result.delivery.parcel_id))
    if raised:
        alarms.raise_many(connection, raised)
    answered = awaited.answered(connection, {i: (batch[i].settle, result) for i, result in settled.items()})
    return [SettlementResult(settled.get(i), judged[i], answered.get(i, ())) for i in range(len(batch))]


def _judge(connection: Connection, item: Settlement) -> Acceptance | None:
    receipt: Receipt | None = item.settle.receipt
    if item.key is None or receipt is None:
        return None
    found = deliveries.get(connection, receipt.delivery_id)
    parcel_id = found.parcel_id if found else ""
    return parcels.claim_key(connection, item.key, receipt.digest, parcel_id, item.answer, item.settle.at)


def _settled(item: Settlement, result: SettlementResult) -> Sequence[Entry]:
    settled, acceptance = result.settled, result.acceptance
    if settled is None:
        conflict = acceptance is not None and acceptance.judgement is Judgement.CONFLICT and acceptance.parcel_id
        return (Entry(conflict, item.settle.at, "conflict", item.facts),) if conflict else ()
    facts = {
        "receiver": settled.delivery.receiver,
        "attempt": settled.delivery.attempts,
        "state": settled.after.value,
        "code": item.settle.code,
        "reason": item.settle.reason,
        **item.facts,
    }
    event = "late" if settled.stale else item.settle.event.value
    if item.settle.loans and settled.after is State.FAILED and not settled.stale:  # given back after the last loan
        event = Event.EXHAUSTED.value
    if item.settle.event is Event.RETRY and item.settle.due_at is not None:
        facts["next"] = item.settle.due_at
    said = Entry(settled.delivery.parcel_id, item.settle.at, event, {k: v for k, v in facts.items() if v != ""})
    return (said, *awaited.entries(result.answered, item.settle.at))


SETTLE: Final = Kind("settle", _settle, _settled, order=50, always=True)


def _settle_together(
    connection: Connection, batch: Sequence[Sequence[Settlement]]
) -> Sequence[Sequence[SettlementResult]]:
    results = iter(_settle(connection, [item for items in batch for item in items]))
    return [list(islice(results, len(items))) for items in batch]


def _settled_together(items: Sequence[Settlement], results: Sequence[SettlementResult]) -> Sequence[Entry]:
    return [entry for one in zip(items, results, strict=True) for entry in _settled(*one)]


#: What a pulling system says of several loans in one call.
SETTLE_TOGETHER: Final = Kind("settle-together", _settle_together, _settled_together, order=53, always=True)


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """A system has what it was lent: each loan as delivery and epoch."""

    box: tuple[str, str]
    loans: tuple[tuple[str, int], ...]
    at: Micros

    def settlement(self, delivery_id: str, epoch: int) -> Settlement:
        """The same of one loan, for a closer look."""
        settle = Settle(delivery_id, Event.ACKNOWLEDGED, self.at, epoch, box=self.box)
        return Settlement(settle, {"by": self.box[0]})


def _acknowledge(connection: Connection, batch: Sequence[Acknowledge]) -> Sequence[Sequence[Taken | SettlementResult]]:
    return [_acknowledge_one(connection, wanted) for wanted in batch]


def _acknowledge_one(connection: Connection, wanted: Acknowledge) -> Sequence[Taken | SettlementResult]:
    taken = loans.acknowledge(connection, wanted.box, wanted.loans, wanted.at)
    if taken:
        parcels_taken = [one.parcel_id for one in taken.values()]
        answered = awaited.acknowledged(connection, parcels_taken, wanted.box[0], wanted.at)
        pairs = zip(taken.items(), answered, strict=True)
        taken = {loan: one._replace(answered=tuple(changed)) if changed else one for (loan, one), changed in pairs}
    odd = list(dict.fromkeys(loan for loan in wanted.loans if loan not in taken))
    settled = (
        dict(zip(odd, _settle(connection, [wanted.settlement(*loan) for loan in odd]), strict=True)) if odd else {}
    )
    return [taken.get(loan) or settled[loan] for loan in wanted.loans]


def _acknowledged(wanted: Acknowledge, results: Sequence[Taken | SettlementResult]) -> Sequence[Entry | Written]:
    receiver = wanted.box[0]
    facts = {"receiver": receiver, "state": State.DELIVERED.value, "by": receiver}
    taken = alike(wanted.at, Event.ACKNOWLEDGED.value, facts, "attempt")
    said: list[Entry | Written] = []
    for loan, result in dict(zip(wanted.loans, results, strict=True)).items():
        if isinstance(result, Taken):
            said.append(taken(result.parcel_id, result.attempts))
            if result.answered:
                said += awaited.entries(result.answered, wanted.at)
        elif result.settled is not None and (result.settled.stale or result.settled.before is not result.settled.after):
            said += _settled(wanted.settlement(*loan), result)
    return said


#: What is said of loans most often, in one statement for a whole call.
ACKNOWLEDGE: Final = Kind("acknowledge", _acknowledge, _acknowledged, order=54, always=True)


@dataclass(frozen=True, slots=True)
class Redirect:
    """A delivery in the residual mailbox gets the targets that the routes name by now."""

    delivery_id: str
    targets: tuple[Delivery, ...]
    at: Micros
    description: Description | None = None
    """What the parcel's description has become, when a step of enrichment added to it only now."""
    entries: tuple[Entry, ...] = ()
    """What the trace says of that."""
    facts: Mapping[str, str] = field(default_factory=dict)
    """Who asked for it, and why."""


def _redirect(connection: Connection, batch: Sequence[Redirect]) -> Sequence[bool]:
    return [_redirect_one(connection, item) for item in batch]


def _redirect_one(connection: Connection, item: Redirect) -> bool:
    done = deliveries.redirect(connection, item.delivery_id, item.targets)
    if done and item.description is not None:
        parcels.describe_anew(connection, item.targets[0].parcel_id, item.description)
    return done


def _redirected(item: Redirect, done: bool) -> Sequence[Entry]:
    first = item.targets[0]
    facts = {"route": first.rule, "receivers": [t.receiver for t in item.targets], "version": first.config_version}
    facts |= item.facts
    return (*item.entries, Entry(first.parcel_id, item.at, "redirected", facts)) if done else ()


REDIRECT: Final = Kind("redirect", _redirect, _redirected, order=51)

# --- pace -------------------------------------------------------------------------------------------------------------


def _pause(connection: Connection, batch: Sequence[Pause]) -> Sequence[bool]:
    begun = [unreachable.begin(connection, wanted) for wanted in batch]
    raised = [_unreachable(wanted) for wanted, new in zip(batch, begun, strict=True) if new]
    if raised:
        alarms.raise_many(connection, raised)
    return begun


def _unreachable(wanted: Pause) -> Alarm:
    at = wanted.probe_at - pause_length(wanted.number)
    gateway, destination = wanted.where
    text = (
        f"{destination or gateway} has not answered since {local(wanted.since)} ({wanted.code} {wanted.reason[:_CUT]});"
        " it is asked again now and then, and nothing else is attempted until it answers"
    )
    return Alarm(new_id(at), at, "unreachable", text)


PAUSE: Final = Kind("pause", _pause, order=55, always=True)


@dataclass(frozen=True, slots=True)
class Skip:
    """Those behind these failed deliveries go on without them."""

    deliveries: tuple[str, ...]
    at: Micros
    facts: Mapping[str, str]


def _skip(connection: Connection, batch: Sequence[Skip]) -> Sequence[Sequence[Any]]:
    return [deliveries.pass_by(connection, item.deliveries) for item in batch]


def _skipped(item: Skip, rows: Sequence[Any]) -> Sequence[Entry]:
    return [Entry(row.parcel_id, item.at, "skipped", {"receiver": row.receiver, **item.facts}) for row in rows]


SKIP: Final = Kind("skip", _skip, _skipped, order=52, always=True)

# --- the rest ---------------------------------------------------------------------------------------------------------


def _note(_connection: Connection, batch: Sequence[Entry]) -> Sequence[None]:
    return [None] * len(batch)


def _noted(entry: Entry, _result: None) -> Sequence[Entry]:
    return (entry,)


NOTE: Final = Kind("note", _note, _noted, order=60, always=True)


def _alarm(connection: Connection, batch: Sequence[Alarm]) -> Sequence[None]:
    return alarms.raise_many(connection, batch)


ALARM: Final = Kind("alarm", _alarm, order=61, always=True)


def _access(connection: Connection, batch: Sequence[Look]) -> Sequence[None]:
    return looking.add_many(connection, batch)


ACCESS: Final = Kind("access", _access, order=62, always=True)


def _version(connection: Connection, batch: Sequence[Version]) -> Sequence[int]:
    unreachable.probe_all(connection, batch[-1].at)  # an address or a certificate may have been corrected
    return versions.add(connection, batch)


VERSION: Final = Kind("version", _version, order=70, always=True)


@dataclass(frozen=True, slots=True)
class Call:
    """Any other write: a function of the open transaction. For housekeeping, one at a time."""

    function: Any
    arguments: tuple[Any, ...] = ()


def _call(connection: Connection, batch: Sequence[Call]) -> Sequence[Any]:
    return [item.function(connection, *item.arguments) for item in batch]


CALL: Final = Kind("call", _call, order=80, always=True)
