"""Retention: what is deleted when, and the sweep of objects nobody refers to.

Rules:

1. When an integration's retention has passed and every delivery of a parcel is settled, its octets, description, evidence octets
   and personal trace parts go; ids, codes, levels and digests stay, and the chain stays verifiable [R106].
2. An object that no row refers to is removed only when it is older than the longest permitted transfer: until then it may
   belong to a parcel being put together. What an upload holds is its until it expires. What a delivery was frozen with is needed
   until the far side has spoken: one that failed may be sent again.
3. What is deleted is stated: each run that deleted anything adds a line under the name `STATEMENT` to the trace, chained and
   signed like every other. It says how many of which integration, and up to when. Names by which a parcel could be looked
   up and what was expected for it go with it.
4. A backup in progress pauses all deletion: what may be deleted is named here, and `core.runtime.Runtime.delete` deletes it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Connection, and_, delete, func, or_, select, update

from core.clock import DAY, Micros
from core.delivery import OPEN_STATES, REPEATABLE_STATES, State
from core.ledger import expectations, uploads
from core.ledger.parcels import referenced
from core.ledger.tables import delivery, frozen, inline_payload, lookup, parcel, payload, receipt, trace
from core.limits import TRANSFER
from core.store import FileStore

_BATCH = 200
ERASED = '{"type":"erased","sender":"erased"}'
"""What is left of a description whose time is over."""
STATEMENT = "retention"
"""Where the trace keeps what was deleted: in the place of a parcel's id."""
_UNSETTLED = [s.value for s in (*OPEN_STATES, State.HELD)]


@dataclass(frozen=True, slots=True)
class Expired:
    """How many parcels were emptied, and the objects that may be deleted once this is committed."""

    parcels: int
    objects: tuple[str, ...] = ()
    integrations: Mapping[str, int] = field(default_factory=dict)
    """How many of which integration."""


def expire(connection: Connection, days: Mapping[str, int], default_days: int, now: Micros) -> Expired:
    """Empty a batch of what has been kept long enough; call it until it finds no more parcels."""
    open_parcels = select(delivery.c.parcel_id).where(delivery.c.state.in_(_UNSETTLED))
    query = select(parcel.c.id, parcel.c.integration).where(
        parcel.c.wrapped_key != b"",
        parcel.c.accepted_at < now - min([default_days, *days.values()]) * DAY,
        _over(days, default_days, now),
        parcel.c.id.not_in(open_parcels),
    )
    under = {row.id: row.integration for row in connection.execute(query.order_by(parcel.c.accepted_at).limit(_BATCH))}
    if not under:
        return Expired(0)
    gone = list(under)
    objects = _objects(connection, gone)
    ids = select(delivery.c.id).where(delivery.c.parcel_id.in_(gone))
    connection.execute(delete(inline_payload).where(inline_payload.c.parcel_id.in_(gone)))
    connection.execute(
        update(payload).where(payload.c.parcel_id.in_(gone)).values(object_id=None, name="", attributes="{}")
    )
    connection.execute(delete(frozen).where(frozen.c.delivery_id.in_(ids)))
    connection.execute(update(receipt).where(receipt.c.delivery_id.in_(ids)).values(raw=b""))
    connection.execute(update(trace).where(trace.c.parcel_id.in_(gone)).values(personal=None, salt=None))
    connection.execute(delete(lookup).where(lookup.c.parcel_id.in_(gone)))
    expectations.forget(connection, gone)
    emptied = {"description": ERASED, "sealed_subjects": None, "wrapped_key": b""}
    connection.execute(update(parcel).where(parcel.c.id.in_(gone)).values(**emptied))
    return Expired(len(gone), tuple(objects), Counter(under.values()))


def _over(days: Mapping[str, int], default_days: int, now: Micros) -> ColumnElement[bool]:
    """Whether a parcel's own integration has kept it long enough."""
    named: dict[int, list[str]] = {}
    for name, kept in days.items():
        named.setdefault(kept, []).append(name)
    own = [and_(parcel.c.integration.in_(n), parcel.c.accepted_at < now - k * DAY) for k, n in named.items()]
    return or_(*own, and_(parcel.c.integration.not_in(list(days)), parcel.c.accepted_at < now - default_days * DAY))


def _objects(connection: Connection, parcels: list[str]) -> list[str]:
    own = select(payload.c.object_id).where(payload.c.parcel_id.in_(parcels), payload.c.object_id.is_not(None))
    objects = [str(name) for name in connection.execute(own).scalars()]
    kept = select(frozen.c.objects).join(delivery, delivery.c.id == frozen.c.delivery_id)
    for listed in connection.execute(kept.where(delivery.c.parcel_id.in_(parcels))).scalars():
        objects += json.loads(listed)
    return objects


def kept_for_deliveries(connection: Connection) -> set[str]:
    """Objects that wires need which may be sent again."""
    query = select(frozen.c.objects).join(delivery, delivery.c.id == frozen.c.delivery_id)
    found: set[str] = set()
    states = [s.value for s in REPEATABLE_STATES]
    for listed in connection.execute(query.where(delivery.c.state.in_(states), frozen.c.objects != "[]")).scalars():
        found.update(json.loads(listed))
    return found


def unreferenced(connection: Connection, store: FileStore, now: Micros) -> list[str]:
    """Objects that nobody refers to and that are too old to be on their way."""
    kept = kept_for_deliveries(connection) | uploads.objects(connection)
    old = [name for name, changed in store.ids() if changed < now - TRANSFER and name not in kept]
    found: list[str] = []
    for start in range(0, len(old), _BATCH):
        batch = old[start : start + _BATCH]
        needed = referenced(connection, batch)
        found += [name for name in batch if name not in needed]
    return found


def waiting_receipts(connection: Connection, within: Mapping[str, Micros], now: Micros) -> list[tuple[str, str]]:
    """Parcels whose evidence should have come by now: (parcel id, integration)."""
    query = (
        select(parcel.c.id, parcel.c.integration, func.max(parcel.c.accepted_at).label("at"))
        .join(delivery, delivery.c.parcel_id == parcel.c.id)
        .where(delivery.c.state == State.AWAITING.value)
        .group_by(parcel.c.id, parcel.c.integration)
    )
    return [(r.id, r.integration) for r in connection.execute(query) if r.at + within.get(r.integration, DAY) < now]
