"""While one node makes a backup, no node of its ledger deletes objects; afterwards all of them do."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from core import backup, commands, limits, retention
from core.clock import DAY, MINUTE, SECOND
from core.errors import UsageError
from core.ledger import pauses
from tests.core.making import NOW
from tests.core.nodes import LARGE, Site, received

Facts = Mapping[str, Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits to delete looks twenty times a second."""
    monkeypatch.setattr(limits, "POLL", SECOND // 20)


async def two_old_parcels(site: Site) -> list[str]:
    """Settled and with an object each; gives the objects in the order in which a backup copies them."""
    for key in ("k-1", "k-2"):
        await site.accept(LARGE, key=key)
    for one in site.deliveries():
        await site.kernel.settle(received(one))
    return site.objects()


def expired(site: Site) -> tuple[str, ...]:
    """Everything settled is emptied, as retention does it; gives the objects that may now be deleted."""
    later = site.clock.now() + 91 * DAY
    result: retention.Expired = site.runtime.writer.submit(
        commands.CALL, commands.Call(retention.expire, ({}, 90, later))
    ).result(10)
    return result.objects


def meanwhile(act: Callable[[], None]) -> Callable[[Facts], None]:
    """Something done when the ledger and one object of two have been copied."""

    def progress(facts: Facts) -> None:
        if (facts["what"], facts["done"]) == ("objects", 1):
            act()

    return progress


async def test_another_node_deletes_nothing_that_a_backup_speaks_of(live: Site, neighbour: Site, tmp_path: Path):
    """It empties a parcel in the middle, and its objects are there until they are copied; then they go."""
    objects = await two_old_parcels(live)
    deleting: list[threading.Thread] = []

    def act() -> None:
        gone = expired(neighbour)
        assert sorted(gone) == objects
        deleting.append(threading.Thread(target=neighbour.runtime.delete, args=(gone,)))
        deleting[0].start()
        time.sleep(0.3)

    made = await asyncio.to_thread(backup.make, live.runtime, tmp_path / "copy", meanwhile(act))
    assert (made["objects"], made["missing"]) == (2, [])
    await asyncio.to_thread(deleting[0].join, 10)
    assert (deleting[0].is_alive(), live.objects()) == (False, [])


async def test_a_pause_is_renewed_as_long_as_the_backup_takes(
    live: Site, neighbour: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A large store is copied for hours; at its end the pause is taken back, not waited for."""
    await two_old_parcels(live)
    monkeypatch.setattr(limits, "DELETION_PAUSE", SECOND)
    ends: list[int] = []

    def act() -> None:
        for _ in range(5):
            time.sleep(0.5)
            ends.append(neighbour.runtime.read_now(pauses.paused_until) - neighbour.clock.now())

    await asyncio.to_thread(backup.make, live.runtime, tmp_path / "copy", meanwhile(act))
    assert len(ends) == 5
    assert all(0 < left <= SECOND for left in ends)
    assert neighbour.runtime.read_now(pauses.paused_until) == 0


async def test_a_pause_ends_with_a_backup_that_fails(live: Site, tmp_path: Path):
    """Whatever went wrong, deletion goes on at once."""

    def act() -> None:
        raise UsageError("the disk was taken out")

    await two_old_parcels(live)
    with pytest.raises(UsageError, match="taken out"):
        await asyncio.to_thread(backup.make, live.runtime, tmp_path / "copy", meanwhile(act))
    assert live.runtime.read_now(pauses.paused_until) == 0
    await asyncio.to_thread(live.runtime.delete, expired(live))
    assert live.objects() == []


async def test_a_node_that_died_in_a_backup_holds_nobody_up_for_long(live: Site, neighbour: Site):
    """Its pause ends by itself."""
    objects = await two_old_parcels(live)
    now = live.clock.now()
    await live.runtime.do(commands.CALL, commands.Call(pauses.pause, ("dead", now, now + SECOND // 2)))
    await asyncio.to_thread(neighbour.runtime.delete, objects)
    assert neighbour.clock.now() >= now + SECOND // 2
    assert neighbour.objects() == []


async def test_a_node_that_stops_does_not_wait_for_anothers_backup(
    live: Site, neighbour: Site, monkeypatch: pytest.MonkeyPatch
):
    """What it would have deleted is swept as unreferenced one day."""
    objects = await two_old_parcels(live)
    now = live.clock.now()
    await live.runtime.do(commands.CALL, commands.Call(pauses.pause, ("other", now, now + 10 * MINUTE)))
    neighbour.runtime.delete_later(objects)
    started = time.monotonic()
    await asyncio.to_thread(neighbour.runtime.close)
    monkeypatch.setattr(neighbour.runtime, "close", lambda: None)  # once is enough
    assert time.monotonic() - started < 5
    assert live.objects() == objects


async def test_a_sweep_names_what_may_go_and_deletes_nothing(site: Site):
    """The look at the pause comes after the look at the rows: whoever copies has said so before."""
    writer = site.runtime.store.create(b"k" * 32)
    writer.commit()
    later = NOW + 10_000 * DAY
    assert site.runtime.read_now(retention.unreferenced, site.runtime.store, later) == [writer.object_id]
    assert site.objects() == [writer.object_id]
