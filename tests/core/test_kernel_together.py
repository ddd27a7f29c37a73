"""Several items in one call are one commit; what is accepted is attempted at once, also when its caller has gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from core import limits
from core.delivery import Delivery
from core.errors import NotAllowed
from core.pace import Where
from core.parcel import Judgement, Key, Parcel
from tests.core.making import NOW
from tests.core.nodes import SENDER, Gate, Site

# --- one commit -------------------------------------------------------------------------------------------------------


async def test_what_the_ledger_cannot_hold_takes_its_own_call_with_it_and_no_other(site: Site):
    """One item of several fails in the database: none of them is stored, and another caller of the same batch has its own."""
    gate = Gate()
    held = site.runtime.writer.submit(gate.kind, None)
    await asyncio.to_thread(gate.reached.wait, 10)
    good, bad = site.item(key="k-1"), site.item(key="k-2")
    together = asyncio.create_task(site.kernel.accept(good, bad, site.item(bad.parcel, key="k-3")))
    other = asyncio.create_task(site.accept(key="k-4"))
    await asyncio.sleep(0.05)
    gate.open.set()
    held.result(10)
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await together
    stored = (await other).parcel_id
    assert site.parcels() == [stored]
    assert [await site.kernel.recall(Key(f"paper/{SENDER}", f"k-{n}")) for n in (1, 2, 3)] == [None] * 3


async def test_items_of_one_call_are_one_commit_however_small_a_batch(site: Site, monkeypatch: pytest.MonkeyPatch):
    """With batches of one command each, whoever looks sees none of them or all."""
    monkeypatch.setattr(limits, "WRITER_BATCH", 1)
    gate = Gate()
    accepting = asyncio.create_task(site.kernel.accept(*(site.item(key=f"k-{n}") for n in range(3))))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the turn in which it asked has ended, and what it asked for is handed over
    site.runtime.writer.submit(gate.kind, None)
    await asyncio.to_thread(gate.reached.wait, 10)
    before, seen = site.runtime.writer.statistics.commits, len(site.parcels())
    gate.open.set()
    assert [a.judgement for a in await accepting] == [Judgement.NEW] * 3
    assert (before, seen) == (1, 3)
    assert [site.trace(parcel)[0][0] for parcel in site.parcels()] == ["accepted"] * 3


async def test_nothing_handed_over_is_nothing_stored(site: Site):
    """A gateway need not ask whether it has anything."""
    assert list(await site.kernel.accept()) == []
    assert site.runtime.writer.statistics.commits == 0


# --- at once ----------------------------------------------------------------------------------------------------------


class Room:
    """Stands where a dispatcher stands: it has room, and remembers what was begun."""

    def __init__(self) -> None:
        self.kept = 0
        self.begun: list[Delivery] = []

    def take(self, where: Where) -> bool:
        """There is always room."""
        self.kept += 1
        return True

    def give_back(self, where: Where) -> None:
        """One room less is needed."""
        assert where == ("paper", "egedal")
        self.kept -= 1

    def expect(self, wheres: Sequence[Where]) -> None:
        """Somebody may look."""

    def start(self, delivery: Delivery, parcel: Parcel) -> None:
        """An attempt."""
        self.kept -= 1
        self.begun.append(delivery)


@pytest.fixture
def room(site: Site) -> Room:
    """Room for attempts at once."""
    site.runtime.at_once = made = Room()
    return made


async def test_what_can_be_attempted_at_once_is_born_under_its_lease(site: Site, room: Room):
    """It is handed on when it is committed, as it is stored; a repetition needs no room."""
    await site.accept(key="k-1")
    await site.accept(key="k-1")
    await site.accept(kind="leaflet")
    (begun,) = room.begun
    stored = next(d for d in site.deliveries() if d.gateway)
    assert (begun, room.kept) == (stored, 0)
    assert (stored.due_at, stored.epoch, stored.attempts) == (NOW + limits.LEASE, 1, 1)
    assert site.row(stored.id).lease_owner == site.runtime.boot


async def test_a_refused_call_gives_its_room_back(site: Site, room: Room):
    """Whichever item is refused, no room stays kept for the others: it would never be free again."""
    with pytest.raises(NotAllowed):
        await site.kernel.accept(site.item(), site.item(), site.item(site.make(sender="somebody")))
    assert (room.kept, room.begun) == (0, [])


async def test_a_call_that_fails_begins_nothing(site: Site, room: Room):
    """Nothing of it was stored, so nothing is attempted, and its room is free again."""
    good, bad = site.item(key="k-1"), site.item(key="k-2")
    with pytest.raises(Exception, match=r"(?i)unique|duplicate"):
        await site.kernel.accept(good, bad, site.item(bad.parcel, key="k-3"))
    assert (room.begun, room.kept, site.parcels()) == ([], 0, [])


@pytest.mark.parametrize("number", [1, 3])
async def test_what_a_caller_left_behind_is_begun_when_it_is_committed(site: Site, room: Room, number: int):
    """Nobody waits any more, but the parcels are stored: no lease runs out, and no attempt counts as a death."""
    items = [site.item() for _ in range(number)]
    accepting = asyncio.create_task(site.kernel.accept(*items))
    await asyncio.sleep(0)
    accepting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepting
    await site.kernel.note("p", "done", {})
    assert sorted(d.parcel_id for d in room.begun) == site.parcels()
    assert (len(room.begun), room.kept) == (number, 0)


async def test_a_caller_that_goes_away_as_the_answer_comes_leaves_nothing_behind_either(site: Site, room: Room):
    """Cancelled between the commit and its own next step."""
    gate = Gate()
    held = site.runtime.writer.submit(gate.kind, None)
    await asyncio.to_thread(gate.reached.wait, 10)
    accepting = asyncio.create_task(site.accept())
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # handed over
    loop = asyncio.get_running_loop()
    gate.open.set()
    held.result(10)
    while site.runtime.writer.statistics.commits < 2:
        time.sleep(0.001)  # the loop stands still meanwhile: the answer and the cancellation come in one turn
    time.sleep(0.02)
    loop.call_soon(accepting.cancel)
    with pytest.raises(asyncio.CancelledError):
        await accepting
    assert [d.parcel_id for d in room.begun] == site.parcels()
    assert (len(room.begun), room.kept) == (1, 0)


async def test_a_caller_that_goes_away_from_a_call_that_fails_gives_its_room_back(site: Site, room: Room):
    """Nobody hears of the failure, and the room is free all the same."""
    first = site.item()
    await site.kernel.accept(first)
    accepting = asyncio.create_task(site.kernel.accept(site.item(first.parcel)))
    await asyncio.sleep(0)
    accepting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepting
    await site.kernel.note("p", "done", {})
    assert ([d.parcel_id for d in room.begun], room.kept) == ([first.parcel.id], 0)
