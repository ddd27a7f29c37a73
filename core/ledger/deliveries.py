"""The queue: storing, freezing what will be sent, settling what came of it. Claiming is in `core.ledger.claiming`.

Rules:

1. Attempt results count only under the epoch they were claimed with. Receipts are evidence and are never fenced.
2. What stands in a line gets its turn in the transaction that stores it: the order of turns is the order of acceptance, also
   among nodes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Connection, Row, func, select, text, tuple_, update

from core.clock import Micros
from core.delivery import OPEN_STATES, Delivery, Event, Frozen, State, advance, event_of
from core.errors import Conflict
from core.gateway import Outcome
from core.ledger.driver import Insert, Select, Update
from core.ledger.tables import delivery, frozen, outside_id, parcel, receipt
from core.ledger.tables import node as node_table
from core.receipt import Receipt

COLUMNS: Final = (
    "id, parcel_id, receiver, gateway, state, due_at, epoch, attempts, lane, rule, config_version, destination,"
    " line, stops"
)


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
        row.line,
        bool(row.stops),
    )


_COLUMN_NAMES: Final = tuple(COLUMNS.split(", "))
_INSERT: Final = Insert(
    delivery, (*_COLUMN_NAMES, "deaths", "lease_owner", "last_code", "last_reason", "settled_at", "turn")
)


def _values(item: Delivery) -> tuple[Any, ...]:
    return (
        *(
            item.id,
            item.parcel_id,
            item.receiver,
            item.gateway,
            item.state.value,
            item.due_at,
            item.epoch,
            item.attempts,
        ),
        *(item.lane, item.rule, item.config_version, item.destination, item.line, int(item.stops)),
    )


def of_values(row: Sequence[Any]) -> Delivery:
    """A row in the order of `COLUMNS` as a value."""
    values: list[Any] = list(row)
    values[4], values[-1] = State(values[4]), bool(values[-1])
    return Delivery(*values)


def add_deliveries(connection: Connection, items: Sequence[tuple[Delivery, str]]) -> None:
    """Store fresh deliveries, each with who holds its lease already ("" = nobody)."""
    turns = _turns(connection, [item.line for item, _ in items])
    rows = [(*_values(item), 0, owner, "", "", None, turn) for (item, owner), turn in zip(items, turns, strict=True)]
    rows.sort(key=_MAILBOX)  # what is fetched together lies together: a pull of 64 touches three pages instead of forty
    _INSERT.run(connection, rows)


_MAILBOX: Final = itemgetter(_COLUMN_NAMES.index("receiver"), _COLUMN_NAMES.index("destination"))


def _turns(connection: Connection, lines: Sequence[str]) -> Iterator[int]:
    """The next number in each one's line; 0 for what stands in none. Who accepts into a line waits for others who do."""
    named = sorted({line for line in lines if line})
    last: dict[str, int] = {}
    if named:
        if connection.dialect.name == "postgresql":
            for line in named:
                connection.execute(_LOCK, {"line": line})
        query = select(delivery.c.line, func.max(delivery.c.turn)).where(delivery.c.line.in_(named), _IN_LINE)
        last = {row[0]: row[1] for row in connection.execute(query.group_by(delivery.c.line))}
    for line in lines:
        if line:
            last[line] = last.get(line, 0) + 1
        yield last[line] if line else 0


_LOCK: Final = text("SELECT pg_advisory_xact_lock(hashtextextended(:line, 0))")
_IN_LINE: Final = delivery.c.line != ""
"""What the index over lines holds."""


# --- freezing ---------------------------------------------------------------------------------------------------------

_FREEZE: Final = Insert(frozen, ("delivery_id", "at", "wire", "objects"))
_NAME: Final = Insert(outside_id, ("value", "delivery_id"), unless_there=True)


def freeze_many(connection: Connection, batch: Sequence[Frozen]) -> list[None]:
    """Commit what will be sent and the names receipts may use for it. Raises `Conflict` for another delivery's name.

    The same delivery may keep a name: when only the encryption layer is made anew, the signed octets stay.
    """
    _FREEZE.run(connection, [(f.delivery_id, f.at, f.wire, json.dumps(f.objects)) for f in batch])
    names = [(value, f.delivery_id) for f in batch for value in f.outside_ids]
    if _NAME.run(connection, names) != len(names):
        _check_names(connection, names)
    return [None] * len(batch)


def _check_names(connection: Connection, names: Sequence[tuple[str, str]]) -> None:
    query = select(outside_id).where(outside_id.c.value.in_([value for value, _ in names]))
    owners = {row.value: row.delivery_id for row in connection.execute(query)}
    for value, mine in names:
        if owners[value] != mine:
            raise Conflict(f"outside name {value!r}: another delivery has it; a receipt could not tell whose")


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
    box: tuple[str, str] | None = None
    """Whose mailbox it must lie in, as system and subscription; elsewhere it is as unknown as if it did not exist."""
    loans: int = 0
    """Attempts after which a retry is the end; 0 = whoever settles knows."""


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


_UPDATE: Final = Update(
    delivery,
    ("state", "due_at", "attempts", "last_code", "last_reason", "settled_at"),
    "id",
    constants=", lease_owner = '', deaths = 0",
)
_RECEIPT: Final = Insert(
    receipt, ("delivery_id", "level", "verdict", "code", "reason", "outside_id", "digest", "raw", "at")
)
_CURRENT: Final = Select(delivery, _COLUMN_NAMES, "id", locking=True)


def settle_many(connection: Connection, batch: Sequence[Settle]) -> list[Settled | None]:
    """Move deliveries. An unknown delivery gives None; a stale attempt changes nothing; a receipt is kept in every case."""
    rows = _CURRENT.run(connection, sorted({s.delivery_id for s in batch}))
    current = {str(r[0]): of_values(r) for r in rows}
    results: list[Settled | None] = []
    changes: dict[str, tuple[Any, ...]] = {}
    for item in batch:
        now = current.get(item.delivery_id)
        if now is None or (item.box is not None and (now.receiver, now.destination, now.gateway) != (*item.box, "")):
            results.append(None)
            continue
        if item.epoch is not None and item.epoch != now.epoch:
            results.append(Settled(now, now.state, now.state, stale=True))
            continue
        if item.event is Event.RETRY and item.loans and now.attempts >= item.loans:
            item = replace(item, event=Event.EXHAUSTED, due_at=None)
        after = advance(now.state, item.event)
        moved = _moved(now, item, after)
        results.append(Settled(moved, now.state, after))
        if after is now.state and after in _FINAL:
            continue
        current[item.delivery_id] = moved
        changes[item.delivery_id] = _change(moved, item)
    if changes:
        _UPDATE.run(connection, list(changes.values()))
    kept = [_receipt_row(s.receipt) for s in batch if s.receipt is not None and s.delivery_id in current]
    _RECEIPT.run(connection, kept)
    return results


_FINAL: Final = (State.ACCEPTED, State.REJECTED)
"""Where the first verdict stands: its code and reason do, too."""


def _moved(now: Delivery, item: Settle, after: State) -> Delivery:
    return Delivery(
        now.id,
        now.parcel_id,
        now.receiver,
        now.gateway,
        after,
        item.due_at if item.due_at is not None else item.at if after is State.READY else now.due_at,
        now.epoch,
        _attempts_after(now, item.event),
        now.lane,
        now.rule,
        now.config_version,
        now.destination,
        now.line,
        now.stops,
    )


def _attempts_after(now: Delivery, event: Event) -> int:
    """A resend begins anew where the far side has spoken, and in a subscription, where nothing is frozen; else what was frozen
    may have arrived, and is repeated."""
    if event is not Event.RESEND:
        return now.attempts
    subscribed = not now.gateway and bool(now.destination)
    return 0 if subscribed or now.state in (State.REJECTED, State.DELIVERED) else min(now.attempts, 1)


def _change(moved: Delivery, item: Settle) -> tuple[Any, ...]:
    settled = None if moved.state in OPEN_STATES else item.at
    return (moved.state.value, moved.due_at, moved.attempts, item.code[:64], item.reason[:1024], settled, moved.id)


def _receipt_row(item: Receipt) -> tuple[Any, ...]:
    return (
        *(item.delivery_id, item.level.value, item.verdict.value, item.code[:64], item.reason[:1024]),
        *(item.outside_id[:512], item.digest, item.raw, item.at),
    )


@dataclass(frozen=True, slots=True)
class Renew:
    """Hold on to a lease."""

    delivery_id: str
    epoch: int
    until: Micros
    box: tuple[str, str] | None = None
    """As in `Settle`."""


def renew_many(connection: Connection, batch: Sequence[Renew]) -> list[bool]:
    """Extend leases; False where the epoch has moved on."""
    return [connection.execute(_held(r).values(due_at=r.until)).rowcount == 1 for r in batch]


def _held(wanted: Renew) -> Any:
    held = update(delivery).where(delivery.c.id == wanted.delivery_id, delivery.c.epoch == wanted.epoch)
    if wanted.box is not None:
        held = held.where(delivery.c.receiver == wanted.box[0], delivery.c.destination == wanted.box[1])
    return held.where(delivery.c.lease_owner != "")


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


def open_by_cause(connection: Connection) -> list[tuple[str, str, str, str, str, int]]:
    """Open deliveries by what they depend on: (rule, receiver, integration, gateway, destination, how many)."""
    d, states = delivery.c, [state.value for state in OPEN_STATES]
    columns = (d.rule, d.receiver, parcel.c.integration, d.gateway, d.destination)
    joined = delivery.join(parcel, parcel.c.id == d.parcel_id)
    query = select(*columns, func.count()).select_from(joined).where(d.state.in_(states)).group_by(*columns)
    return [(row[0], row[1], row[2], row[3], row[4], row[5]) for row in connection.execute(query)]


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
            line=first.line,
            turn=next(_turns(connection, [first.line])),
            stops=int(first.stops),
        )
    ).rowcount
    if done and others:
        add_deliveries(connection, [(item, "") for item in others])
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


def boxes_with_mail(connection: Connection, boxes: Sequence[tuple[str, str]], now: Micros) -> set[tuple[str, str]]:
    """Which of these (pulling system, subscription or "") have something due."""
    found: set[tuple[str, str]] = set()
    for start in range(0, len(boxes), _BOXES):
        query = select(delivery.c.receiver, delivery.c.destination).where(
            tuple_(delivery.c.receiver, delivery.c.destination).in_(boxes[start : start + _BOXES]),
            delivery.c.gateway == "",
            delivery.c.state == State.READY.value,
            delivery.c.due_at <= now,
        )
        found.update((r[0], r[1]) for r in connection.execute(query.distinct()))
    return found


_BOXES: Final = 500
"""Mailboxes asked about in one statement."""


def row(connection: Connection, delivery_id: str) -> Row[Any] | None:
    """One delivery as a row, with its last code and reason."""
    return connection.execute(select(delivery).where(delivery.c.id == delivery_id)).first()


def in_state(connection: Connection, state: State, limit: int) -> list[Row[Any]]:
    """Deliveries in a state, oldest due first."""
    query = select(delivery).where(delivery.c.state == state.value).order_by(delivery.c.due_at).limit(limit)
    return list(connection.execute(query))


def pass_by(connection: Connection, ids: Sequence[str]) -> list[Row[Any]]:
    """Let those behind failed deliveries go on; gives the deliveries that stopped a line until now."""
    failed = [state.value for state in (State.FAILED, State.REJECTED, State.QUARANTINED)]
    stopping = delivery.c.id.in_(ids) & (delivery.c.line != "") & (delivery.c.stops == 1)
    changed = update(delivery).where(stopping, delivery.c.state.in_(failed)).values(stops=0)
    return list(connection.execute(changed.returning(delivery)))


def ahead_of(connection: Connection, item: Row[Any]) -> Row[Any] | None:
    """The delivery that one waits for in its line, if any."""
    if not item.line:
        return None
    earlier = select(delivery).where(delivery.c.line == item.line, _IN_LINE, delivery.c.turn < item.turn)
    return connection.execute(earlier.where(text(stands())).order_by(delivery.c.turn).limit(1)).first()


def stands(name: str = "delivery") -> str:
    """Whether a delivery keeps those behind it waiting, as SQL."""
    return (
        f"({name}.state IN ('ready', 'awaiting', 'held')"
        f" OR {name}.stops = 1 AND {name}.state IN ('failed', 'rejected', 'quarantined'))"
    )
