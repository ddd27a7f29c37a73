"""The queue: claiming under a lease, freezing what will be sent, settling what came of it.

Rules:

1. Claiming is two dialect statements with one contract: each due delivery goes to one claimant, its epoch and attempts rise,
   and ``due_at`` becomes the end of the lease.
2. A lease that ended without a word is a death; after `limits.SILENT_DEATHS` of them the delivery is quarantined, because the
   work itself may be what kills.
3. Attempt results count only under the epoch they were claimed with. Receipts are evidence and are never fenced.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, Row, bindparam, func, insert, select, text, update
from sqlalchemy.dialects import postgresql, sqlite

from core import limits
from core.clock import Micros
from core.delivery import OPEN_STATES, Delivery, Event, Frozen, State, advance, event_of
from core.errors import Conflict
from core.gateway import Outcome
from core.ledger.lanes import RANK, by_lane
from core.ledger.tables import delivery, frozen, outside_id, receipt
from core.ledger.tables import node as node_table
from core.receipt import Receipt

_COLUMNS: Final = (
    "id, parcel_id, receiver, gateway, state, due_at, epoch, attempts, lane, rule, config_version, destination"
)
_OPEN: Final = ", ".join(f"'{s.value}'" for s in sorted(OPEN_STATES))
_DUE: Final = (
    f"SELECT id FROM delivery WHERE state IN ({_OPEN}) AND lane = :lane AND due_at <= :now"  # noqa: S608 - constants only
    " AND gateway <> '' ORDER BY due_at LIMIT :limit"
)
_TAKE: Final = (
    "UPDATE delivery SET epoch = epoch + 1, attempts = attempts + 1, due_at = :until,"
    " deaths = CASE WHEN lease_owner = '' THEN 0 ELSE deaths + 1 END, lease_owner = :owner"
)
_CLAIM: Final = {
    "sqlite": text(f"{_TAKE} WHERE id IN ({_DUE}) RETURNING {_COLUMNS}, deaths"),
    "postgresql": text(
        f"WITH c AS MATERIALIZED ({_DUE} FOR UPDATE SKIP LOCKED)"
        f" {_TAKE} FROM c WHERE delivery.id = c.id RETURNING delivery.{_COLUMNS.replace(', ', ', delivery.')}, deaths"
    ),
}


@dataclass(frozen=True, slots=True)
class Claim:
    """Ask for due work: how much, for whom, until when."""

    limit: int
    owner: str
    now: Micros
    until: Micros


@dataclass(frozen=True, slots=True)
class Claimed:
    """What a claim gave, and what it found too dangerous to give."""

    deliveries: tuple[Delivery, ...]
    quarantined: tuple[Delivery, ...] = ()


def from_row(row: Row[Any]) -> Delivery:
    """A delivery row as a value."""
    return Delivery(
        row.id,
        row.parcel_id,
        row.receiver,
        row.gateway,
        State(row.state),
        row.due_at,
        row.epoch,
        row.attempts,
        row.lane,
        row.rule,
        row.config_version,
        row.destination,
    )


def row_of(item: Delivery) -> dict[str, Any]:
    """A fresh delivery as a row."""
    return {
        "id": item.id,
        "parcel_id": item.parcel_id,
        "receiver": item.receiver,
        "gateway": item.gateway,
        "destination": item.destination,
        "state": item.state.value,
        "due_at": item.due_at,
        "epoch": item.epoch,
        "attempts": item.attempts,
        "deaths": 0,
        "lane": item.lane,
        "lease_owner": "",
        "rule": item.rule,
        "config_version": item.config_version,
        "last_code": "",
        "last_reason": "",
        "settled_at": None,
    }


def claim(connection: Connection, wanted: Claim) -> Claimed:
    """Take due deliveries under a lease."""
    statement = _CLAIM[connection.dialect.name]
    values = {"now": wanted.now, "until": wanted.until, "owner": wanted.owner}

    def take(lane: str, room: int) -> list[Row[Any]]:
        return list(connection.execute(statement, {**values, "lane": lane, "limit": room}))

    taken = by_lane(wanted.limit, wanted.now, take)
    dangerous = [row for row in taken if row.deaths >= limits.SILENT_DEATHS]
    if dangerous:
        connection.execute(
            update(delivery)
            .where(delivery.c.id.in_([row.id for row in dangerous]))
            .values(
                state=State.QUARANTINED.value,
                lease_owner="",
                last_code="died",
                last_reason="its attempts killed the process",
            )
        )
    ill = {row.id for row in dangerous}
    return Claimed(
        tuple(from_row(row) for row in taken if row.id not in ill),
        tuple(replace(from_row(row), state=State.QUARANTINED) for row in dangerous),
    )


@dataclass(frozen=True, slots=True)
class PullClaim:
    """A pulling system asks for its own."""

    system: str
    limit: int
    now: Micros
    until: Micros


def claim_pull(connection: Connection, wanted: PullClaim) -> list[Delivery]:
    """Lend a pulling system's due deliveries: lanes as in `claim`, urgent first."""

    def take(lane: str, room: int) -> list[Row[Any]]:
        query = (
            select(delivery.c.id)
            .where(
                delivery.c.receiver == wanted.system,
                delivery.c.gateway == "",
                delivery.c.state == State.READY.value,
                delivery.c.lane == lane,
                delivery.c.due_at <= wanted.now,
            )
            .order_by(delivery.c.due_at)
            .limit(room)
        )
        if connection.dialect.name == "postgresql":
            query = query.with_for_update(skip_locked=True)
        ids = list(connection.execute(query).scalars())
        return (
            list(connection.execute(_LEND, {"ids": ids, "until": wanted.until, "owner": wanted.system})) if ids else []
        )

    taken = [from_row(row) for row in by_lane(wanted.limit, wanted.now, take)]
    return sorted(taken, key=lambda d: (RANK[d.lane], d.id))


_LEND: Final = (
    update(delivery)
    .where(delivery.c.id.in_(bindparam("ids", expanding=True)))
    .values(
        epoch=delivery.c.epoch + 1,
        attempts=delivery.c.attempts + 1,
        due_at=bindparam("until"),
        lease_owner=bindparam("owner"),
    )
    .returning(delivery)
)


# --- freezing ---------------------------------------------------------------------------------------------------------

_FREEZE: Final = insert(frozen)


def freeze_many(connection: Connection, batch: Sequence[Frozen]) -> list[None]:
    """Commit what will be sent and the names receipts may use for it. Raises `Conflict` for another delivery's name.

    The same delivery may keep a name: when only the encryption layer is made anew, the signed octets stay.
    """
    connection.execute(
        _FREEZE,
        [{"delivery_id": f.delivery_id, "at": f.at, "wire": f.wire, "objects": json.dumps(f.objects)} for f in batch],
    )
    names = [{"value": v, "delivery_id": f.delivery_id} for f in batch for v in f.outside_ids]
    if names:
        _name(connection, names)
    return [None] * len(batch)


def _name(connection: Connection, names: Sequence[dict[str, str]]) -> None:
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(outside_id).on_conflict_do_nothing().returning(outside_id.c.value)
    made = set(connection.execute(statement, names).scalars())
    if len(made) == len(names):
        return
    query = select(outside_id).where(outside_id.c.value.in_([n["value"] for n in names]))
    owners = {row.value: row.delivery_id for row in connection.execute(query)}
    for name in names:
        if owners[name["value"]] != name["delivery_id"]:
            raise Conflict(f"outside name {name['value']!r}: another delivery has it; a receipt could not tell whose")


def newest_frozen(connection: Connection, delivery_id: str) -> Frozen | None:
    """The wire of the last freeze."""
    query = select(frozen).where(frozen.c.delivery_id == delivery_id).order_by(frozen.c.id.desc()).limit(1)
    row = connection.execute(query).first()
    if row is None:
        return None
    names = connection.execute(select(outside_id.c.value).where(outside_id.c.delivery_id == delivery_id)).scalars()
    return Frozen(delivery_id, tuple(names), row.wire, tuple(json.loads(row.objects)), row.at)


def by_outside_id(connection: Connection, value: str) -> str | None:
    """Which delivery an outside name belongs to."""
    found: str | None = connection.execute(
        select(outside_id.c.delivery_id).where(outside_id.c.value == value)
    ).scalar_one_or_none()
    return found


# --- settling ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Settle:
    """What became of a delivery: an event, from an attempt (``epoch`` set) or from evidence or an operator (``epoch`` None)."""

    delivery_id: str
    event: Event
    at: Micros
    epoch: int | None = None
    due_at: Micros | None = None
    code: str = ""
    reason: str = ""
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """The state before and after; ``stale`` when the epoch had moved on and nothing was changed."""

    delivery: Delivery
    before: State
    after: State
    stale: bool = False


def of_receipt(item: Receipt) -> Settle:
    """A receipt as a settlement."""
    return Settle(item.delivery_id, event_of(item), item.at, code=item.code, reason=item.reason, receipt=item)


def of_outcome(item: Delivery, outcome: Outcome, at: Micros, retry_at: Micros | None) -> Settle:
    """An attempt's outcome as a settlement; ``retry_at`` None means that there is no attempt left."""
    if outcome.receipt is not None:
        return of_receipt(outcome.receipt)
    if outcome.refused:
        event, due = Event.REFUSED, None
    elif outcome.sent:
        event, due = Event.SENT, retry_at
    elif retry_at is not None:
        event, due = Event.RETRY, retry_at
    else:
        event, due = Event.EXHAUSTED, None
    return Settle(item.id, event, at, item.epoch, due, outcome.code, outcome.reason)


_UPDATE: Final = (
    update(delivery)
    .where(delivery.c.id == bindparam("d_id"))
    .values(
        state=bindparam("d_state"),
        due_at=bindparam("d_due"),
        lease_owner="",
        deaths=0,
        attempts=bindparam("d_attempts"),
        last_code=bindparam("d_code"),
        last_reason=bindparam("d_reason"),
        settled_at=bindparam("d_settled"),
    )
)
_RECEIPT: Final = insert(receipt)


def settle_many(connection: Connection, batch: Sequence[Settle]) -> list[Settled | None]:
    """Move deliveries. An unknown delivery gives None; a stale attempt changes nothing; a receipt is kept in every case."""
    query = select(delivery).where(delivery.c.id.in_({s.delivery_id for s in batch}))
    if connection.dialect.name == "postgresql":
        query = query.with_for_update()
    current = {r.id: from_row(r) for r in connection.execute(query)}
    results: list[Settled | None] = []
    changes: dict[str, dict[str, Any]] = {}
    for item in batch:
        now = current.get(item.delivery_id)
        if now is None:
            results.append(None)
            continue
        if item.epoch is not None and item.epoch != now.epoch:
            results.append(Settled(now, now.state, now.state, stale=True))
            continue
        after = advance(now.state, item.event)
        moved = _moved(now, item, after)
        results.append(Settled(moved, now.state, after))
        current[item.delivery_id] = moved
        changes[item.delivery_id] = _change(moved, item)
    if changes:
        connection.execute(_UPDATE, list(changes.values()))
    kept = [_receipt_row(s.receipt) for s in batch if s.receipt is not None and s.delivery_id in current]
    if kept:
        connection.execute(_RECEIPT, kept)
    return results


def _moved(now: Delivery, item: Settle, after: State) -> Delivery:
    return Delivery(
        now.id,
        now.parcel_id,
        now.receiver,
        now.gateway,
        after,
        item.due_at if item.due_at is not None else item.at if after is State.READY else now.due_at,
        now.epoch,
        0 if item.event is Event.RESEND else now.attempts,
        now.lane,
        now.rule,
        now.config_version,
        now.destination,
    )


def _change(moved: Delivery, item: Settle) -> dict[str, Any]:
    return {
        "d_id": moved.id,
        "d_state": moved.state.value,
        "d_due": moved.due_at,
        "d_attempts": moved.attempts,
        "d_code": item.code[:64],
        "d_reason": item.reason[:1024],
        "d_settled": None if moved.state in OPEN_STATES else item.at,
    }


def _receipt_row(item: Receipt) -> dict[str, Any]:
    return {
        "delivery_id": item.delivery_id,
        "level": item.level.value,
        "verdict": item.verdict.value,
        "code": item.code[:64],
        "reason": item.reason[:1024],
        "outside_id": item.outside_id[:512],
        "digest": item.digest,
        "raw": item.raw,
        "at": item.at,
    }


@dataclass(frozen=True, slots=True)
class Renew:
    """Hold on to a lease."""

    delivery_id: str
    epoch: int
    until: Micros


def renew_many(connection: Connection, batch: Sequence[Renew]) -> list[bool]:
    """Extend leases; False where the epoch has moved on."""
    return [
        connection.execute(
            update(delivery)
            .where(delivery.c.id == r.delivery_id, delivery.c.epoch == r.epoch, delivery.c.lease_owner != "")
            .values(due_at=r.until)
        ).rowcount
        == 1
        for r in batch
    ]


def end_leases_of(connection: Connection, node: str, now: Micros) -> int:
    """Make due at once what earlier boots of a node still held; the owner stays, so that it counts as a death."""
    boots = select(node_table.c.id).where(node_table.c.chain.startswith(f"{node}.", autoescape=True))
    mine = update(delivery).where(delivery.c.lease_owner.in_(boots), delivery.c.gateway != "", delivery.c.due_at > now)
    return connection.execute(mine.values(due_at=now)).rowcount


def get(connection: Connection, delivery_id: str) -> Delivery | None:
    """One delivery."""
    row = connection.execute(select(delivery).where(delivery.c.id == delivery_id)).first()
    return from_row(row) if row else None


def next_due(connection: Connection) -> Micros | None:
    """When the next push delivery is due."""
    query = select(func.min(delivery.c.due_at)).where(
        delivery.c.state.in_([s.value for s in OPEN_STATES]), delivery.c.gateway != ""
    )
    found: Micros | None = connection.execute(query).scalar()
    return found


def count_by_state(connection: Connection) -> dict[str, int]:
    """How many deliveries are in each state."""
    query = select(delivery.c.state, func.count()).group_by(delivery.c.state)
    return {row[0]: row[1] for row in connection.execute(query)}


def redirect(connection: Connection, delivery_id: str, targets: Sequence[Delivery]) -> bool:
    """Give a held delivery its first target and add the others; False when it is no longer held."""
    first, *others = targets
    done = connection.execute(
        update(delivery)
        .where(delivery.c.id == delivery_id, delivery.c.state == State.HELD.value)
        .values(
            receiver=first.receiver,
            gateway=first.gateway,
            destination=first.destination,
            rule=first.rule,
            config_version=first.config_version,
            state=State.READY.value,
            due_at=first.due_at,
            attempts=0,
        )
    ).rowcount
    if done and others:
        connection.execute(insert(delivery), [row_of(item) for item in others])
    return bool(done)


def of_parcel(connection: Connection, parcel_id: str) -> list[Row[Any]]:
    """All deliveries of a parcel as rows, with their last code and reason."""
    query = select(delivery).where(delivery.c.parcel_id == parcel_id).order_by(delivery.c.receiver, delivery.c.id)
    return list(connection.execute(query))


def receipts_of(connection: Connection, delivery_ids: Sequence[str]) -> list[Row[Any]]:
    """The receipts of some deliveries, oldest first."""
    query = select(receipt).where(receipt.c.delivery_id.in_(delivery_ids)).order_by(receipt.c.at, receipt.c.id)
    return list(connection.execute(query))


def names_of(connection: Connection, delivery_ids: Sequence[str]) -> list[str]:
    """The outside names of some deliveries."""
    query = select(outside_id.c.value).where(outside_id.c.delivery_id.in_(delivery_ids))
    return list(connection.execute(query).scalars())


def mailbox(connection: Connection, system: str, limit: int) -> list[Row[Any]]:
    """What waits for a pulling system (or in the residual mailbox), oldest first."""
    waiting = (State.READY.value, State.HELD.value)
    query = select(delivery).where(delivery.c.receiver == system, delivery.c.gateway == "")
    return list(connection.execute(query.where(delivery.c.state.in_(waiting)).order_by(delivery.c.due_at).limit(limit)))


def systems_with_mail(connection: Connection, systems: Sequence[str], now: Micros) -> set[str]:
    """Which of these pulling systems have something due."""
    query = select(delivery.c.receiver).where(
        delivery.c.receiver.in_(systems), delivery.c.gateway == "", delivery.c.state == State.READY.value
    )
    return set(connection.execute(query.where(delivery.c.due_at <= now).distinct()).scalars())


def row(connection: Connection, delivery_id: str) -> Row[Any] | None:
    """One delivery as a row, with its last code and reason."""
    return connection.execute(select(delivery).where(delivery.c.id == delivery_id)).first()


def in_state(connection: Connection, state: State, limit: int) -> list[Row[Any]]:
    """Deliveries in a state, oldest due first."""
    query = select(delivery).where(delivery.c.state == state.value).order_by(delivery.c.due_at).limit(limit)
    return list(connection.execute(query))
