"""What is deleted when: octets, descriptions, evidence octets and personal parts go; facts and the chain stay."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, insert, select, text, update

from core import commands, limits, retention
from core.clock import DAY, HOUR, FrozenClock
from core.commands import Call, Settlement
from core.delivery import Frozen, State
from core.description import Description
from core.errors import PayloadError
from core.ledger import deliveries as queue
from core.ledger import parcels
from core.ledger.deliveries import add_deliveries, of_receipt
from core.ledger.engine import open_engine, upgrade
from core.ledger.tables import delivery, parcel, payload
from core.ledger.trace import Entry
from core.parcel import Key
from core.receipt import Level, Verdict
from core.retention import ERASED, Expired, expire, kept_for_deliveries, unreferenced, waiting_receipts
from core.store import FileStore
from core.system import RESIDUAL
from tests.core.making import NOW, a_delivery, a_parcel, an_accept
from tests.core.nodes import ARCHIVE, JOURNAL, LARGE, SENDER, Site, received


async def expired(site: Site, days: dict[str, int] | None = None) -> Expired:
    """What one call of `expire` empties, by a clock that has been moved."""
    result = await site.runtime.do(commands.CALL, Call(expire, (days or {}, 90, site.clock.now())))
    assert isinstance(result, Expired)
    return result


def octets_of(site: Site, table: str, column: str) -> list[Any]:
    """One column of a whole table."""
    query = text(f"SELECT {column} FROM {table}")
    return list(site.runtime.read_now(lambda c: c.execute(query).scalars().all()))


@pytest.mark.requirement("R106")
async def test_after_its_time_what_is_personal_goes_and_the_facts_stay(site: Site):
    """Payloads, names of files, description, subjects, wires and octets of evidence go; level, code, digest and trace stay."""
    description = Description(type="letter", sender=SENDER, subjects=("Kim Fiktiv",), correlation_id="case Fiktiv")
    made = site.make(b"about Kim Fiktiv", LARGE, description=description)
    small, large = made.payloads
    named = replace(small, name="Fiktiv.txt", attributes={"paper.title": "Fiktiv"})
    await site.kernel.accept(site.item(replace(made, payloads=(named, large)), key="k-1"))
    one = site.delivery()
    keeper = site.kernel.keep(made)
    keeper.write(b"prepared")
    keeper.commit()
    await site.kernel.freeze(one, Frozen(one.id, ("m-1",), b"sealed wire", (keeper.object_id,)))
    await site.kernel.settle(received(one, raw=b"<signed>Fiktiv</signed>", code="ok", outside_id="m-1"))
    await site.runtime.do(commands.NOTE, Entry(made.id, NOW, "seen", {"by": "clerk"}, personal=b"sealed name"))
    before = site.trace(made.id)

    site.clock.tick(90 * DAY)
    assert await expired(site) == Expired(0)
    site.clock.tick(1)
    result = await expired(site)
    assert (result.parcels, sorted(result.objects)) == (1, sorted([large.object_id, keeper.object_id]))
    site.runtime.delete(result.objects)
    assert await expired(site) == Expired(0)

    stored = site.runtime.read_now(parcels.load, made.id)
    assert stored.description == Description(type="erased", sender="erased")
    assert [(p.name, p.inline, p.object_id, p.attributes) for p in stored.payloads] == [("", None, None, {})] * 2
    assert [(p.size, p.sha256) for p in stored.payloads] == [(p.size, p.sha256) for p in made.payloads]
    assert (octets_of(site, "parcel", "sealed_subjects"), octets_of(site, "parcel", "wrapped_key")) == ([None], [b""])
    assert (octets_of(site, "inline_payload", "octets"), octets_of(site, "frozen", "wire")) == ([], [])
    (evidence,) = site.runtime.read_now(queue.receipts_of, [one.id])
    assert (evidence.raw, evidence.digest, evidence.level, evidence.verdict) == (
        b"",
        b"d" * 32,
        "transport",
        "accepted",
    )
    assert (evidence.code, evidence.outside_id) == ("ok", "m-1")
    assert site.delivery().state is State.DELIVERED
    assert octets_of(site, "trace", "personal") == [None] * len(octets_of(site, "trace", "seq"))
    assert (site.trace(made.id), site.chain_fault(), site.objects()) == (before, None, [])
    with pytest.raises(PayloadError):
        site.kernel.data_key(stored)


async def test_nothing_that_is_still_on_its_way_is_touched(site: Site):
    """One open or held delivery keeps its parcel, however old; a parcel nobody receives any more goes."""
    await site.accept(kind="circular")
    await site.accept(kind="stray")
    by = {d.receiver: d for d in site.deliveries()}
    push, pull, residual = by[JOURNAL], by[ARCHIVE], by[RESIDUAL]
    site.clock.tick(1000 * DAY)
    await site.kernel.settle(received(push, site.clock.now()))
    assert await expired(site) == Expired(0)
    await site.kernel.settle(received(pull, site.clock.now()))
    assert (await expired(site)).parcels == 1
    await site.runtime.do(
        commands.SETTLE, Settlement(of_receipt(received(residual, level=Level.BUSINESS, verdict=Verdict.REJECTED)), {})
    )
    assert (await expired(site)).parcels == 1


async def test_each_integration_is_kept_as_long_as_it_says(site: Site):
    """Its own days, else the usual ones."""
    await site.accept()
    await site.kernel.settle(received(site.delivery()))
    site.clock.tick(100 * DAY)
    assert (await expired(site, {"letters": 3650})).parcels == 0
    assert (await expired(site, {"letters": 100})).parcels == 0
    site.clock.tick(1)
    assert (await expired(site, {"others": 3650, "letters": 100})).parcels == 1


def stored(engine: Engine, *facts: tuple[str, int]) -> None:
    """Parcels (integration, age in days) without deliveries, as if all were settled long ago."""
    with engine.begin() as connection:
        made = [an_accept(parcel=a_parcel(at=NOW - days * DAY, integration=name)) for name, days in facts]
        parcels.accept_many(connection, made)
        connection.execute(update(delivery).values(state="delivered"))


def left(engine: Engine) -> list[tuple[str, int]]:
    """What is not emptied yet."""
    with engine.connect() as connection:
        rows = connection.execute(select(parcel.c.integration, parcel.c.accepted_at).where(parcel.c.wrapped_key != b""))
        return sorted((r.integration, (NOW - r.accepted_at) // DAY) for r in rows)


def emptied(engine: Engine, days: dict[str, int], default: int = 90) -> list[int]:
    """How many each call empties, until there is nothing left to empty."""
    counts = []
    while True:
        with engine.begin() as connection:
            counts.append(expire(connection, days, default, NOW).parcels)
        if not counts[-1]:
            return counts


def test_what_is_kept_long_hides_nothing_that_is_due(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """More than a batch of old parcels that stay do not keep younger ones from going."""
    monkeypatch.setattr(retention, "_BATCH", 5)
    stored(engine, *[("archive", 200)] * 12, *[("letters", 100)] * 12)
    assert emptied(engine, {"archive": 3650}) == [5, 5, 2, 0]
    assert left(engine) == [("archive", 200)] * 12


@given(
    facts=st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 40)), max_size=12),
    days=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 30), max_size=4),
    default=st.integers(1, 30),
)
@bounded(max_examples=25, deadline=None)
@pytest.mark.filterwarnings("ignore:SQLite")
def test_exactly_what_is_over_its_time_goes(
    tmp_path_factory: pytest.TempPathFactory, facts: list[tuple[str, int]], days: dict[str, int], default: int
):
    """Whatever the ages and the integrations' days, the rule is the one a person would work out by hand."""
    engine = open_engine(f"sqlite:///{tmp_path_factory.mktemp('ledger') / 'ledger.db'}")
    upgrade(engine)
    stored(engine, *facts)
    emptied(engine, days, default)
    assert left(engine) == sorted((name, age) for name, age in facts if age <= days.get(name, default))
    engine.dispose()


def test_an_erased_description_can_still_be_read():
    """What is left is a description like any other, so that nothing that lists parcels breaks."""
    assert Description.parse(ERASED).type == "erased"


# --- the sweep --------------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path: Path) -> FileStore:
    """An empty store."""
    return FileStore(tmp_path / "store")


def put(store: FileStore, age: int) -> str:
    """An object of some age."""
    writer = store.create(b"k" * 32)
    writer.write(b"octets")
    writer.commit()
    at = (NOW - age) / 1_000_000
    os.utime(store.path(writer.object_id), (at, at))
    return writer.object_id


def names(store: FileStore) -> set[str]:
    """What is in the store."""
    return {name for name, _ in store.ids()}


def swept(engine: Engine, store: FileStore) -> int:
    """How many are removed."""
    with engine.connect() as connection:
        found = unreferenced(connection, store, NOW)
    for name in found:
        store.delete(name)
    return len(found)


def test_only_old_objects_that_nobody_refers_to_are_swept(engine: Engine, store: FileStore):
    """A young one may belong to a parcel being put together; a referenced one is somebody's payload."""
    young, old, mine = put(store, limits.TRANSFER), put(store, limits.TRANSFER + HOUR), put(store, 1000 * DAY)
    with engine.begin() as connection:
        values = {"parcel_id": "p", "ordinal": 0, "name": "", "media_type": "", "size": 6, "sha256": b""}
        connection.execute(insert(payload).values(**values, object_id=mine, attributes="{}"))
    assert swept(engine, store) == 1
    assert names(store) == {young, mine}
    assert old not in names(store)
    assert swept(engine, store) == 0


@pytest.mark.parametrize("state", list(State))
def test_what_a_delivery_was_frozen_with_is_kept_until_the_far_side_has_spoken(
    engine: Engine, store: FileStore, state: State
):
    """What failed or is held can be sent again, and then it is sent as it was frozen."""
    spoken = state in (State.DELIVERED, State.ACCEPTED, State.REJECTED)
    kept, other = put(store, 10 * DAY), put(store, 10 * DAY)
    one = a_delivery(state=state)
    with engine.begin() as connection:
        add_deliveries(connection, [(one, "")])
        queue.freeze_many(connection, [Frozen(one.id, ("m",), b"w", (kept,)), Frozen(one.id, ("m",), b"w2")])
    with engine.connect() as connection:
        assert kept_for_deliveries(connection) == (set() if spoken else {kept})
    assert swept(engine, store) == (2 if spoken else 1)
    assert names(store) == (set() if spoken else {kept})
    assert other not in names(store)


def test_a_sweep_of_many_asks_in_batches(engine: Engine, store: FileStore, monkeypatch: pytest.MonkeyPatch):
    """However many there are, no statement gets too long."""
    monkeypatch.setattr(retention, "_BATCH", 3)
    for _ in range(8):
        put(store, 10 * DAY)
    assert swept(engine, store) == 8
    assert names(store) == set()


# --- evidence that does not come --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("age", "late"), [(HOUR, False), (HOUR + 1, True), (2 * DAY, True)])
def test_evidence_that_should_have_come_is_found(engine: Engine, age: int, late: bool):
    """By the integration's own time, for what was taken and not acknowledged."""
    made = an_accept(parcel=a_parcel(at=NOW - age))
    with engine.begin() as connection:
        parcels.accept_many(connection, [made])
        connection.execute(update(delivery).values(state="awaiting"))
    with engine.connect() as connection:
        found = waiting_receipts(connection, {"letters": HOUR}, NOW)
    assert found == ([(made.item.parcel.id, "letters")] if late else [])


def test_an_integration_that_is_gone_gets_a_day(engine: Engine):
    """A parcel of a former integration is found as well, once for all its deliveries."""
    young, old = an_accept(parcel=a_parcel(at=NOW - DAY)), an_accept(parcel=a_parcel(at=NOW - DAY - 1))
    with engine.begin() as connection:
        parcels.accept_many(connection, [young, old])
        add_deliveries(connection, [(a_delivery(old.item.parcel.id), "")])
        connection.execute(update(delivery).values(state="awaiting"))
    with engine.connect() as connection:
        assert waiting_receipts(connection, {}, NOW) == [(old.item.parcel.id, "letters")]


@pytest.mark.parametrize("state", [s for s in State if s is not State.AWAITING])
def test_nothing_else_waits_for_evidence(engine: Engine, state: State):
    """What is ready, held or settled is somebody else's matter."""
    with engine.begin() as connection:
        parcels.accept_many(connection, [an_accept(parcel=a_parcel(at=NOW - 9 * DAY))])
        connection.execute(update(delivery).values(state=state.value))
    with engine.connect() as connection:
        assert waiting_receipts(connection, {"letters": 1}, NOW) == []


async def test_keys_are_remembered_longer_than_payloads_are_kept(site: Site, clock: FrozenClock):
    """A sender that retries after its parcel was emptied is still recognised."""
    first = await site.accept(key="k-1")
    await site.kernel.settle(received(site.delivery()))
    clock.tick(31 * DAY)
    assert (await expired(site, {"letters": 30})).parcels == 1
    again = await site.accept(key="k-1")
    assert (again.judgement.value, again.parcel_id) == ("known", first.parcel_id)
    assert await site.kernel.recall(Key(f"paper/{SENDER}", "k-1")) is not None


def test_a_transaction_that_fails_empties_nothing(engine: Engine):
    """Objects may only be deleted once the rows are committed."""
    stored(engine, ("letters", 100))

    def fail(connection: Connection) -> None:
        assert expire(connection, {}, 90, NOW).parcels == 1
        raise OSError("cut")

    with pytest.raises(OSError, match="cut"), engine.begin() as connection:
        fail(connection)
    assert left(engine) == [("letters", 100)]
