"""Finding parcels among many: by who sent or gets them, under what, in which state, when, by which rule, by any name.

Rules:

1. Pages are in the order of parcel ids, the newest first, and begin below the id the page before ended with: ids sort by time,
   and a page costs the same however deep it lies.
2. A question is split into *streams*, each of which one index gives in that order; what they give is merged. What a caller may
   see is part of every stream, so that nothing is read only to be left out.
3. Who sent a parcel sees all its deliveries; who receives it sees their own.
4. No personal data: subjects are in no index and in no answer.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    exists,
    or_,
    select,
    text,
    union,
)

from core.clock import Micros
from core.delivery import OPEN_STATES, State
from core.ledger.parcels import NAME_SIZE
from core.ledger.tables import delivery, idempotency, lookup, outside_id, parcel
from core.limits import TRANSFER

TROUBLE: Final = (State.HELD, State.FAILED, State.REJECTED, State.QUARANTINED)
"""States that wait for a person."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is looked for; what is left empty matches everything.

    ``reference`` is any name: of the parcel, of a delivery, one it was frozen under, the sender's key, a correlation or process
    id, a case or document. ``systems`` are those a caller may see (None = all), ``before`` the id a page ended with.
    """

    reference: str = ""
    sender: str = ""
    receiver: str = ""
    integration: str = ""
    states: tuple[State, ...] = ()
    """Any of these."""
    rule: str = ""
    since: Micros | None = None
    until: Micros | None = None
    systems: frozenset[str] | None = None
    before: str = ""


@dataclass(frozen=True, slots=True)
class FoundDelivery:
    """Where a found parcel goes."""

    delivery_id: str
    receiver: str
    state: str
    rule: str
    code: str


@dataclass(frozen=True, slots=True)
class Found:
    """A found parcel, without anything personal."""

    parcel_id: str
    accepted_at: Micros
    sender: str
    integration: str
    type: str
    priority: str
    deliveries: tuple[FoundDelivery, ...]


def find(connection: Connection, asked: Asked, limit: int) -> list[Found]:
    """At most ``limit`` parcels, the newest first."""
    mine = set(named(connection, asked.reference)) if asked.reference else None
    ids: set[str] = set()
    for stream in _streams(asked, mine):
        ids.update(connection.execute(stream.limit(limit)).scalars())
    return get(connection, sorted(ids, reverse=True)[:limit], asked.systems)


# --- names ------------------------------------------------------------------------------------------------------------

_SCOPES: Final = text(
    "WITH RECURSIVE s(scope) AS (SELECT min(scope) FROM idempotency UNION ALL"
    " SELECT (SELECT min(scope) FROM idempotency WHERE scope > s.scope) FROM s WHERE s.scope IS NOT NULL)"
    " SELECT scope FROM s WHERE scope IS NOT NULL"
)
"""The scopes of keys, a few among many keys: one look at the index for each."""


def named(connection: Connection, name: str) -> Iterator[str]:
    """The parcels a name belongs to by itself; what many parcels have in common is looked up in `_streams`."""
    of_wire = select(delivery.c.parcel_id).join(outside_id, outside_id.c.delivery_id == delivery.c.id)
    questions = (
        select(parcel.c.id).where(parcel.c.id == name),
        select(delivery.c.parcel_id).where(delivery.c.id == name),
        of_wire.where(outside_id.c.value == name),
    )
    yield from connection.execute(union(*questions)).scalars()
    # A key that some receipt counted under may belong to no parcel.
    scopes = list(connection.execute(_SCOPES).scalars())
    for start in range(0, len(scopes), _MANY):
        mine = idempotency.c.scope.in_(scopes[start : start + _MANY]) & (idempotency.c.parcel_id != "")
        yield from connection.execute(
            select(idempotency.c.parcel_id).where(mine, idempotency.c.value == name)
        ).scalars()


_MANY: Final = 500
"""Values in one statement."""
_FEW: Final = 40
"""Systems of a caller that are asked about one by one; who has more has so many parcels that the newest are looked through."""

# --- streams ----------------------------------------------------------------------------------------------------------

_PUSHED: Final = text("delivery.gateway != ''")
_LENT: Final = text("delivery.gateway = '' AND delivery.state = 'ready'")
_NOTED: Final = text("delivery.state IN ('held', 'failed', 'rejected', 'quarantined', 'accepted')")
_RULED: Final = text("delivery.rule != ''")
"""The conditions of partial indexes, said as they were made: a database sees that an index fits by these words."""


def _streams(asked: Asked, mine: Collection[str] | None) -> Iterator[Select[Any]]:
    """The question as streams. What few parcels have decides by itself, and who may see them is asked of each."""
    if len(asked.states) > 1 and mine is None:
        for one_state in asked.states:
            yield from _streams(replace(asked, states=(one_state,)), mine)
        return
    state = asked.states[0] if asked.states else None
    if mine is not None:
        if mine:
            yield _among_parcels(replace(asked, sender="")).where(parcel.c.id.in_(sorted(mine)), *_of_parcel(asked))
        yield _by_name(asked)
    elif state in OPEN_STATES:
        yield _among_deliveries(asked, "ix_delivery_due").where(_PUSHED)
        if state is State.READY:
            yield _among_deliveries(asked, "ix_delivery_mail").where(_LENT)
    elif state in TROUBLE:
        yield _among_deliveries(asked, "ix_delivery_trouble").where(_NOTED)
    else:
        for one in _by_party(asked):
            if one.receiver:
                yield _among_deliveries(one, "ix_delivery_to")
            elif one.rule:
                yield _among_deliveries(one, "ix_delivery_by").where(_RULED)
            elif state is State.ACCEPTED and not one.sender:
                yield _among_deliveries(one, "ix_delivery_trouble").where(_NOTED)
            else:
                yield _among_parcels(one)


def _by_party(asked: Asked) -> Iterator[Asked]:
    """A question for each party of it that its caller may see, and no longer for the caller."""
    if asked.systems is None or len(asked.systems) > _FEW:
        yield asked
        return
    for name in sorted(asked.systems):
        if asked.sender in ("", name):
            yield replace(asked, sender=name, systems=None)
        if asked.receiver in ("", name):
            yield replace(asked, receiver=name, systems=None)


def _sent(asked: Asked, ids: Any) -> ColumnElement[bool]:
    """Whether the caller's systems sent it."""
    sent = parcel.alias("sent")
    return exists().where(sent.c.id == ids, sent.c.sender.in_(sorted(asked.systems or ())))


def _visible(asked: Asked) -> list[ColumnElement[bool]]:
    """Whether the caller may see the delivery that is looked at: of what it sends any, else its own."""
    if asked.systems is None:
        return []
    # By its own column: a question within a question sees only what stands right around it, and would look at any parcel.
    return [or_(delivery.c.receiver.in_(sorted(asked.systems)), _sent(asked, delivery.c.parcel_id))]


def _with_delivery(asked: Asked, ids: Any) -> list[ColumnElement[bool]]:
    """Whether the parcel of this id has a delivery that is asked for, and that the caller may see."""
    wanted = [*_of_delivery(asked), *_visible(asked)]
    if not wanted:
        return []
    has = exists().where(delivery.c.parcel_id == ids, *wanted)
    return [has if _of_delivery(asked) else or_(_sent(asked, ids), has)]


def _range(asked: Asked, column: Any) -> list[ColumnElement[bool]]:
    """The part of all ids that can hold what is looked for. An id is made when a transfer begins, before acceptance."""
    limits: list[ColumnElement[bool]] = []
    if asked.since is not None:
        limits.append(column >= _id_at(asked.since - TRANSFER))
    ends = [end for end in (asked.before, _id_at(asked.until) if asked.until is not None else "") if end]
    if ends:
        limits.append(column < min(ends))
    return limits


def _id_at(at: Micros) -> str:
    """What the ids made from then on begin with, rounded up to their milliseconds."""
    return f"{-(-max(at, 0) // 1000):012x}"


def _of_parcel(asked: Asked) -> list[ColumnElement[bool]]:
    """What is asked of the parcel itself."""
    wanted: list[ColumnElement[bool]] = []
    if asked.sender:
        wanted.append(parcel.c.sender == asked.sender)
    if asked.integration:
        wanted.append(parcel.c.integration == asked.integration)
    if asked.since is not None:
        wanted.append(parcel.c.accepted_at >= asked.since)
    if asked.until is not None:
        wanted.append(parcel.c.accepted_at < asked.until)
    return wanted


def _of_delivery(asked: Asked) -> list[ColumnElement[bool]]:
    """What is asked of one of its deliveries."""
    wanted: list[ColumnElement[bool]] = []
    if asked.receiver:
        wanted.append(delivery.c.receiver == asked.receiver)
    if asked.rule:
        wanted.append(delivery.c.rule == asked.rule)
    if asked.states:
        wanted.append(delivery.c.state.in_([state.value for state in asked.states]))
    return wanted


def _among_parcels(asked: Asked) -> Select[Any]:
    ids = parcel.c.id
    query = select(ids).where(*_range(asked, ids), *_of_parcel(asked), *_with_delivery(asked, ids))
    if asked.sender:
        query = query.with_hint(parcel, "INDEXED BY ix_parcel_from", "sqlite")
    return query.order_by(ids.desc())


def _among_deliveries(asked: Asked, index: str) -> Select[Any]:
    """Through one index; SQLite, which knows no numbers, is told which."""
    ids = delivery.c.parcel_id
    query = select(ids).distinct().where(*_range(asked, ids), *_of_delivery(asked), *_visible(asked))
    if wanted := _of_parcel(asked):
        query = query.where(exists().where(parcel.c.id == ids, *wanted))
    return query.order_by(ids.desc()).with_hint(delivery, f"INDEXED BY {index}", "sqlite")


def _by_name(asked: Asked) -> Select[Any]:
    ids = lookup.c.parcel_id
    named = (lookup.c.value == asked.reference[:NAME_SIZE], *_range(asked, ids), *_with_delivery(asked, ids))
    query = select(ids).where(*named)
    if wanted := _of_parcel(asked):
        query = query.where(exists().where(parcel.c.id == ids, *wanted))
    return query.order_by(ids.desc())


# --- rows -------------------------------------------------------------------------------------------------------------


def get(connection: Connection, ids: Sequence[str], systems: frozenset[str] | None = None) -> list[Found]:
    """These parcels in this order, those that exist."""
    if not ids:
        return []
    kept = {row.id: row for row in connection.execute(select(*_SHOWN).where(parcel.c.id.in_(ids)))}
    query = select(*_GOES).where(delivery.c.parcel_id.in_(ids)).order_by(delivery.c.receiver, delivery.c.id)
    going: dict[str, list[Row[Any]]] = {}
    for row in connection.execute(query):
        if systems is None or kept[row.parcel_id].sender in systems or row.receiver in systems:
            going.setdefault(row.parcel_id, []).append(row)
    return [_found(kept[one], going.get(one, [])) for one in ids if one in kept]


_SHOWN: Final = (
    parcel.c.id,
    parcel.c.accepted_at,
    parcel.c.sender,
    parcel.c.integration,
    parcel.c.type,
    parcel.c.description,
)
_GOES: Final = tuple(delivery.c[n] for n in ("id", "parcel_id", "receiver", "state", "rule", "last_code", "lane"))


def _found(row: Any, going: Sequence[Row[Any]]) -> Found:
    priority = going[0].lane if going else json.loads(row.description).get("priority", "normal")
    to = tuple(FoundDelivery(d.id, d.receiver, d.state, d.rule, d.last_code) for d in going)
    return Found(row.id, row.accepted_at, row.sender, row.integration, row.type, priority, to)


def reasons(connection: Connection, deliveries: Sequence[str]) -> dict[str, str]:
    """What was said last of some deliveries: a far side's words, for who may see the parcel, and for no list of many."""
    query = select(delivery.c.id, delivery.c.last_reason).where(delivery.c.id.in_(deliveries))
    return {row.id: row.last_reason for row in connection.execute(query)}
