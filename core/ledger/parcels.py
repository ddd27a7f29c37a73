"""Parcels, payloads and idempotency keys: accepting in one transaction, reading back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, case, delete, func, insert, select, tuple_, update

from core.clock import Micros
from core.delivery import Delivery
from core.description import Description
from core.errors import NotFound
from core.expectation import Expectation
from core.gateway import Answered
from core.ledger import expectations
from core.ledger.alarms import Alarm
from core.ledger.deliveries import add_deliveries
from core.ledger.driver import Insert
from core.ledger.tables import delivery, further_answer, idempotency, inline_payload, lookup, parcel, payload
from core.ledger.trace import Entry
from core.limits import TRANSFER
from core.parcel import Acceptance, Item, Judgement, Key, Parcel, Past, Payload
from core.system import RESIDUAL


@dataclass(frozen=True, slots=True)
class Accept:
    """An item with what the kernel decided about it: its deliveries, and the gateway it came through."""

    item: Item
    deliveries: tuple[Delivery, ...]
    gateway: str
    sealed_subjects: bytes | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the trace says of it, when it is new."""
    alarm: Alarm | None = None
    """Raised in the same transaction, when it is new."""
    owner: str = ""
    """Who has claimed the deliveries already: they are born under its lease."""
    entries: tuple[Entry, ...] = ()
    """What else the trace says of it, when it is new."""
    trouble: Alarm | None = None
    """Raised beside the other alarm: what went wrong though it could be accepted."""
    expectations: tuple[Expectation, ...] = ()
    """Receipts that are expected for it."""


_PARCEL: Final = Insert(
    parcel,
    (
        *(
            "id",
            "sender",
            "integration",
            "type",
            "description",
            "sealed_subjects",
            "accepted_at",
            "key_id",
            "wrapped_key",
        ),
        *("config_version", "gateway"),
    ),
)
_PAYLOAD: Final = Insert(
    payload, ("parcel_id", "ordinal", "name", "media_type", "size", "sha256", "object_id", "attributes")
)
_INLINE: Final = Insert(inline_payload, ("parcel_id", "ordinal", "octets"))
_KEY: Final = Insert(
    idempotency, ("scope", "value", "fingerprint", "parcel_id", "answer", "created_at"), unless_there=True
)
_LOOKUP: Final = Insert(lookup, ("value", "parcel_id"), unless_there=True)
NAME_SIZE: Final = 512
"""Characters of an outside name that are kept for looking it up: what its column holds."""
_FURTHER: Final = insert(further_answer)


def _known(connection: Connection, keys: Iterable[Key]) -> dict[tuple[str, str], Row[Any]]:
    pairs = [(k.scope, k.value) for k in keys]
    if not pairs:
        return {}
    query = select(idempotency).where(tuple_(idempotency.c.scope, idempotency.c.value).in_(pairs))
    return {(r.scope, r.value): r for r in connection.execute(query)}


def accept_many(connection: Connection, batch: Sequence[Accept]) -> list[Acceptance]:
    """Store each new item whole, recognise the known, refuse nothing by itself: a conflict is a judgement, not an error."""
    keyed = [(a.item.key, a) for a in batch if a.item.key is not None]
    rows = [
        (k.scope, k.value, a.item.fingerprint, a.item.parcel.id, a.item.answer, a.item.parcel.accepted_at)
        for k, a in keyed
    ]
    known: dict[tuple[str, str], Row[Any]] = {}
    if _KEY.run(connection, rows) != len(rows):
        known = _known(connection, (key for key, _ in keyed))
    judged, new = [], []
    for accept in batch:
        key = accept.item.key
        first = known.get((key.scope, key.value)) if key is not None else None
        if first is None or first.parcel_id == accept.item.parcel.id:
            judged.append(Acceptance(Judgement.NEW, accept.item.parcel.id, accept.item.answer))
            new.append(accept)
            continue
        if first.fingerprint == accept.item.fingerprint:
            judged.append(Acceptance(Judgement.KNOWN, first.parcel_id, first.answer))
        else:
            judged.append(Acceptance(Judgement.CONFLICT, first.parcel_id))
    _store(connection, new)
    return judged


def _store(connection: Connection, new: Sequence[Accept]) -> None:
    _PARCEL.run(connection, [_parcel_row(a) for a in new])
    numbered = [(a.item.parcel.id, i, p) for a in new for i, p in enumerate(a.item.parcel.payloads)]
    _PAYLOAD.run(connection, [_payload_row(*one) for one in numbered])
    _INLINE.run(connection, [(name, i, p.inline) for name, i, p in numbered if p.inline is not None])
    add_deliveries(connection, [(d, a.owner) for a in new for d in a.deliveries])
    for residual in (a for a in new if "cause" in a.facts):  # rare: people ask first of all why it lies there
        mine = update(delivery).where(delivery.c.parcel_id == residual.item.parcel.id)
        connection.execute(mine.values(last_code=RESIDUAL, last_reason=residual.facts["cause"][:1024]))
    _LOOKUP.run(connection, [(name, a.item.parcel.id) for a in new for name in names_of(a.item)])
    expectations.add(connection, [one for a in new for one in a.expectations])


def names_of(item: Item) -> list[str]:
    """What a parcel can be looked up by beside its own ids: never its subjects."""
    said = item.parcel.description
    named = [said.correlation_id, said.process_id, *(one.id for one in said.references), *item.names]
    return list(dict.fromkeys(name[:NAME_SIZE] for name in named if name))


def _parcel_row(accept: Accept) -> tuple[Any, ...]:
    p = accept.item.parcel
    text = p.description.model_dump_json(exclude={"subjects"})
    return (
        *(p.id, p.sender, p.integration, p.description.type, text, accept.sealed_subjects, p.accepted_at),
        *(p.key_id, p.wrapped_key, p.config_version, accept.gateway),
    )


def _payload_row(parcel_id: str, ordinal: int, item: Payload) -> tuple[Any, ...]:
    attributes = json.dumps(item.attributes) if item.attributes else "{}"
    return (parcel_id, ordinal, item.name, item.media_type, item.size, item.sha256, item.object_id, attributes)


def claim_key(
    connection: Connection, key: Key, fingerprint: bytes, parcel_id: str, answer: bytes, at: Micros
) -> Acceptance:
    """Occupy a key for something that is no parcel of its own, such as a receipt; or say what it was used for."""
    row = (key.scope, key.value, fingerprint, parcel_id, answer, at)
    if _KEY.run(connection, [row]):
        return Acceptance(Judgement.NEW, parcel_id, answer)
    first = _known(connection, [key])[key.scope, key.value]
    same = first.fingerprint == fingerprint
    return Acceptance(Judgement.KNOWN if same else Judgement.CONFLICT, first.parcel_id, first.answer if same else b"")


def describe_anew(connection: Connection, parcel_id: str, description: Description) -> None:
    """A parcel's description with what a step of enrichment has added since it was accepted."""
    text = description.model_dump_json(exclude={"subjects"})
    connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(description=text))


def recall(connection: Connection, key: Key) -> Answered | None:
    """What was first answered under a key."""
    row = _known(connection, [key]).get((key.scope, key.value))
    return Answered(row.parcel_id, row.fingerprint, row.answer, row.created_at) if row else None


def add_answers(connection: Connection, answers: Sequence[tuple[Key, bytes, Micros]]) -> None:
    """Keep further answers given under known keys."""
    connection.execute(_FURTHER, [{"scope": k.scope, "value": k.value, "answer": a, "at": t} for k, a, t in answers])


def load_many(connection: Connection, ids: Sequence[str]) -> dict[str, Parcel]:
    """Parcels by id, inline octets included; those that do not exist are left out."""
    rows = {r.id: r for r in connection.execute(select(parcel).where(parcel.c.id.in_(ids)))}
    join = payload.outerjoin(
        inline_payload,
        and_(inline_payload.c.parcel_id == payload.c.parcel_id, inline_payload.c.ordinal == payload.c.ordinal),
    )
    query = select(payload, inline_payload.c.octets).select_from(join).where(payload.c.parcel_id.in_(ids))
    payloads: dict[str, list[Payload]] = {i: [] for i in rows}
    for r in connection.execute(query.order_by(payload.c.parcel_id, payload.c.ordinal)):
        item = Payload(r.name, r.media_type, r.size, r.sha256, r.octets, r.object_id, json.loads(r.attributes))
        payloads.setdefault(r.parcel_id, []).append(item)
    return {
        i: Parcel(
            r.id,
            r.sender,
            r.integration,
            Description.model_validate_json(r.description),
            tuple(payloads[i]),
            r.accepted_at,
            r.key_id,
            r.wrapped_key,
            r.config_version,
            r.sealed_subjects or b"",
        )
        for i, r in rows.items()
    }


def load(connection: Connection, parcel_id: str) -> Parcel:
    """One parcel. Raises `NotFound`."""
    try:
        return load_many(connection, [parcel_id])[parcel_id]
    except KeyError:
        raise NotFound(f"no parcel {parcel_id}") from None


def rewrap(connection: Connection, rows: Sequence[tuple[str, bytes, str]]) -> None:
    """Store data keys wrapped anew: (parcel id, wrapped key, key id)."""
    for parcel_id, wrapped, key_id in rows:
        connection.execute(update(parcel).where(parcel.c.id == parcel_id).values(wrapped_key=wrapped, key_id=key_id))


def under_older_keys(connection: Connection, current: str, limit: int) -> list[Row[Any]]:
    """Parcels whose data key is wrapped under another key-encryption key than ``current``."""
    query = select(parcel.c.id, parcel.c.wrapped_key, parcel.c.key_id).where(parcel.c.key_id != current)
    return list(connection.execute(query.where(parcel.c.wrapped_key != b"").limit(limit)))


def referenced(connection: Connection, object_ids: Sequence[str]) -> set[str]:
    """Which of these store objects some payload refers to."""
    return set(connection.execute(select(payload.c.object_id).where(payload.c.object_id.in_(object_ids))).scalars())


def forget_keys(connection: Connection, before: Micros, scopes: Mapping[str, Micros] | None = None) -> int:
    """Delete idempotency keys older than ``before``, or than a scope's own time; gives how many."""
    own = scopes or {}
    others = further_answer.c.scope.not_in(list(own))
    connection.execute(delete(further_answer).where(further_answer.c.at < before, others))
    keys = delete(idempotency).where(idempotency.c.created_at < before, idempotency.c.scope.not_in(list(own)))
    gone = connection.execute(keys).rowcount
    for scope, at in own.items():
        connection.execute(delete(further_answer).where(further_answer.c.scope == scope, further_answer.c.at < at))
        old = delete(idempotency).where(idempotency.c.scope == scope, idempotency.c.created_at < at)
        gone += connection.execute(old).rowcount
    return gone


def described_since(connection: Connection, since: Micros, integration: str, after: str, limit: int) -> list[Past]:
    """A page of what came since then, in the order of ids; ``after`` is the last id of the page before, or ""."""
    largest = select(func.coalesce(func.max(payload.c.size), 0)).where(payload.c.parcel_id == parcel.c.id)
    c, kept = parcel.c, parcel.c.wrapped_key != b""
    columns = (c.id, c.sender, c.integration, c.accepted_at, case((kept, c.description)).label("description"))
    query = select(*columns, largest.scalar_subquery().label("largest"), c.sealed_subjects.is_not(None).label("about"))
    query = query.where(*_since(since, integration), c.id > after).order_by(c.id).limit(limit)
    return [
        Past(r.id, r.sender, r.integration, r.accepted_at, r.description, r.largest, bool(r.about))
        for r in connection.execute(query)
    ]


def count_since(connection: Connection, since: Micros, integration: str) -> int:
    """How many parcels came since then."""
    return int(
        connection.execute(select(func.count()).select_from(parcel).where(*_since(since, integration))).scalar_one()
    )


def _since(since: Micros, integration: str) -> list[ColumnElement[bool]]:
    """Ids sort by the time they were made, which is at most a transfer before the parcel is accepted."""
    first = f"{max(since - TRANSFER, 0) // 1000:012x}"
    wanted = [parcel.c.id >= first, parcel.c.accepted_at >= since]
    return [*wanted, parcel.c.integration == integration] if integration else wanted
