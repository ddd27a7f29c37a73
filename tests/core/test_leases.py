"""Leases: renewed, lost, ended in silence, and never held by two nodes at once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, update

from core import commands, limits
from core.clock import HOUR, SECOND
from core.commands import Settlement
from core.delivery import Delivery, Event, State
from core.errors import Overloaded
from core.gateway import Outcome
from core.ledger.claiming import Claim
from core.ledger.deliveries import Settle
from core.ledger.tables import delivery as delivery_table
from core.parcel import Parcel
from core.writer import Kind
from tests.core.nodes import Site, forever, make_settings, received


async def test_a_lease_is_renewed_while_its_attempt_lasts(live: Site, monkeypatch: pytest.MonkeyPatch):
    """A long attempt is never taken over."""
    monkeypatch.setattr(limits, "LEASE", SECOND * 6 // 10)
    live.paper.act = forever
    async with live.dispatching() as dispatcher:
        await live.accept()
        await live.paper.attempted(1)
        first = live.delivery().due_at
        await asyncio.sleep(1.2)
        assert live.delivery().due_at > first + SECOND // 2
        assert (live.delivery().epoch, len(live.paper.attempts)) == (1, 1)
        for attempt in dispatcher._flight.values():
            assert attempt.task
            attempt.task.cancel()


async def test_a_lost_lease_cancels_its_attempt(live: Site, monkeypatch: pytest.MonkeyPatch):
    """Somebody else has the delivery: this attempt ends and reports nothing."""
    monkeypatch.setattr(limits, "LEASE", SECOND * 6 // 10)
    live.paper.act = forever
    async with live.dispatching() as dispatcher:
        await live.accept()
        await live.paper.attempted(1)

        def taken(connection: Connection) -> None:
            far = {"epoch": 7, "lease_owner": "another", "due_at": live.clock.now() + HOUR}
            connection.execute(update(delivery_table).values(**far))

        await live.runtime.do(commands.CALL, commands.Call(taken))
        async with asyncio.timeout(5):
            while dispatcher._flight:
                await asyncio.sleep(0.02)
    assert (live.delivery().epoch, live.row().lease_owner, live.delivery().state) == (7, "another", State.READY)


async def test_a_busy_ledger_stops_neither_claims_nor_renewals(live: Site, monkeypatch: pytest.MonkeyPatch):
    """A full disk or a lock that lasts is asked again: the node goes on, and keeps what it holds."""
    monkeypatch.setattr(limits, "LEASE", SECOND * 6 // 10)
    monkeypatch.setattr(limits, "POLL", SECOND // 20)
    busy = threading.Event()

    def gated(kind: Kind) -> Kind:
        def apply(connection: Connection, batch: Sequence[Any]) -> Sequence[Any]:
            if busy.is_set():
                raise Overloaded("the ledger cannot be written now")
            return kind.apply(connection, batch)

        return Kind(kind.name, apply, kind.explain, kind.order, kind.always)

    monkeypatch.setattr(commands, "CLAIM", gated(commands.CLAIM))
    monkeypatch.setattr(commands, "RENEW", gated(commands.RENEW))
    live.paper.act = forever
    async with live.dispatching() as dispatcher:
        await live.accept()
        await live.paper.attempted(1)
        busy.set()
        await live.accept()
        await asyncio.sleep(0.3)
        busy.clear()
        await live.paper.attempted(2)
        await asyncio.sleep(0.6)
        assert {d.epoch for d in live.deliveries()} == {1}
        for attempt in list(dispatcher._flight.values()):
            assert attempt.task
            attempt.task.cancel()


async def test_after_a_pause_an_attempt_that_lost_its_lease_gives_way(site: Site):
    """A machine that slept longer than the lease claims its own delivery again: one attempt remains, the newer."""
    ended: list[str] = []

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        if delivery.epoch > 1:
            return Outcome(receipt=received(delivery))
        try:
            return await forever(delivery, parcel)
        finally:
            ended.append(f"epoch {delivery.epoch}")

    site.paper.act = act
    async with site.dispatching() as dispatcher:
        await site.accept()
        await site.paper.attempted(1)
        site.clock.tick(limits.LEASE + 1)
        dispatcher.wake()
        await site.until(State.DELIVERED)
        await asyncio.sleep(0.05)
        assert (ended, dispatcher._flight) == (["epoch 1"], {})
    assert [(d.epoch, d.attempts) for d in site.paper.attempts] == [(1, 1), (2, 2)]


async def test_what_an_attempt_says_after_its_lease_went_to_another_does_not_count(site: Site):
    """Only the trace keeps it: the newer attempt alone moves the delivery."""
    old, speak = [], asyncio.Event()

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        if delivery.epoch == 1:
            old.append(delivery)
            with contextlib.suppress(asyncio.CancelledError):
                await speak.wait()
            return Outcome(refused=True, code="no")
        return await forever(delivery, parcel)

    site.paper.act = act
    async with site.dispatching() as dispatcher:
        await site.accept()
        await site.paper.attempted(1)
        site.clock.tick(limits.LEASE + 1)
        dispatcher.wake()
        await site.paper.attempted(2)
        speak.set()
        while len(site.trace(old[0].parcel_id)) < 2:
            await asyncio.sleep(0.01)
        assert (site.delivery().state, site.delivery().epoch) == (State.READY, 2)
        for attempt in list(dispatcher._flight.values()):
            assert attempt.task
            attempt.task.cancel()
    assert [event for event, _ in site.trace(old[0].parcel_id)] == ["accepted", "late"]


async def test_what_kills_its_process_again_and_again_is_set_aside(site: Site):
    """So many leases that ended without a word: quarantined with an alarm, and not attempted any more."""
    await site.accept()
    for _ in range(limits.SILENT_DEATHS):
        claim = Claim(1, "a process that dies", site.clock.now(), site.clock.now() + limits.LEASE)
        assert (await site.runtime.do(commands.CLAIM, claim)).deliveries
        site.clock.tick(limits.LEASE)
    async with site.dispatching():
        await site.until(State.QUARANTINED)
    assert (site.paper.attempts, site.row().last_code) == ([], "died")
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.parcel_id) == ("quarantined", site.delivery().parcel_id)
    assert site.trace(site.delivery().parcel_id)[-1][0] == "quarantined"


async def test_a_word_in_between_is_a_sign_of_life(site: Site):
    """Deaths are counted one after the other: an attempt that reports begins the count anew."""
    await site.accept()
    for number in range(2 * limits.SILENT_DEATHS):
        now = site.clock.now()
        work = await site.runtime.do(commands.CLAIM, Claim(1, "x", now, now + limits.LEASE))
        (one,) = work.deliveries
        if number == limits.SILENT_DEATHS - 1:
            settle = Settle(one.id, Event.RETRY, now, one.epoch, now)
            await site.runtime.do(commands.SETTLE, Settlement(settle, {}))
        site.clock.tick(limits.LEASE)
    assert site.delivery().state is State.READY


# --- several nodes ----------------------------------------------------------------------------------------------------


@pytest.fixture
async def pair(tmp_path: Path, postgresql_url: str) -> AsyncIterator[tuple[Site, Site]]:
    """Two nodes on one PostgreSQL and one store."""
    shared = {"url": postgresql_url, "store": Path("data/store"), "in_flight": 8}
    sites = [
        Site(make_settings(tmp_path / "home", node=f"birkelund-{x}", data=Path(f"data-{x}"), **shared)) for x in "ab"
    ]
    yield sites[0], sites[1]
    for site in sites:
        site.runtime.close()


async def test_two_nodes_never_hold_the_same_delivery(pair: tuple[Site, Site]):
    """Both serve one queue; each delivery is attempted once, by one of them, and both have work."""
    holding: set[str] = set()
    clashes: list[str] = []

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        if delivery.id in holding:
            clashes.append(delivery.id)
        holding.add(delivery.id)
        await asyncio.sleep(0.01)
        holding.discard(delivery.id)
        return Outcome(receipt=received(delivery))

    first, second = pair
    first.paper.act = second.paper.act = act
    items = [first.item() for _ in range(60)]
    await first.kernel.accept(*items)
    async with first.dispatching(), second.dispatching():
        await asyncio.gather(*(site.accept() for site in pair for _ in range(20)))
        await first.until(State.DELIVERED, seconds=30)
    attempts = [d.id for site in pair for d in site.paper.attempts]
    assert (clashes, len(attempts), len(set(attempts))) == ([], 100, 100)
    assert all(site.paper.attempts for site in pair)
    assert (first.chain_fault(), second.chain_fault()) == (None, None)
