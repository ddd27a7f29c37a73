"""Destinations of a running dispatcher: one that hangs, one that is away, and too much that waits."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import Connection, update

from core import commands, limits
from core.clock import HOUR, SECOND, Micros
from core.config import Configuration
from core.delivery import Delivery, Event, State
from core.errors import Overloaded
from core.gateway import Outcome
from core.ledger import unreachable
from core.ledger.tables import delivery as delivery_table
from core.pace import Pace, Pause
from core.parcel import Key, Parcel
from core.route import Route
from core.runtime import Catalogue
from core.schedule import RetryPlan
from tests.core.making import NOW
from tests.core.nodes import JOURNAL, Paper, Site, forever, giving, make_settings, received

AWAY = Outcome(code="connect", reason="nobody listens", reached=False)
EGEDAL, SKOVBY = ("paper", "egedal"), ("paper", "skovby")


class Paced(Paper):
    """Paper whose destinations have agreed on something."""

    paces: ClassVar[dict[str, Pace]] = {}

    @classmethod
    def pace(cls, configuration: Configuration, destination: str, integration: str) -> Pace:
        """What the test says."""
        found = cls.paces.get(destination, Pace())
        if found.waiting < 0:
            raise KeyError(destination)
        return found

    @classmethod
    def windows(cls, configuration: Configuration) -> Mapping[str, Micros]:
        """The kernel's own."""
        return {}


def agree(site: Site, **paces: Pace) -> None:
    """Give destinations their pace; leaflets go to Skovby, letters to Egedal."""
    Paced.paces = paces
    site.runtime.catalogue = Catalogue({"paper": Paced})
    documents = dict(site.runtime.configuration.documents)
    target = {"system": JOURNAL, "gateway": "paper", "destination": "skovby"}
    leaflets = Route.model_validate({"id": "to-archive", "match": {"type": "leaflet"}, "to": [target]})
    documents["route"] = {**documents["route"], "to-archive": leaflets}
    site.runtime.configuration = Configuration(documents, {}, 2)


def by_destination(site: Site) -> Counter[str]:
    """How many attempts each had."""
    return Counter(d.destination for d in site.paper.attempts)


def hanging(name: str, *, until: asyncio.Event | None = None) -> Any:
    """One destination never answers (or not until something happens), the others do at once."""

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        if delivery.destination == name:
            await (until or asyncio.Event()).wait()
        return Outcome(receipt=received(delivery))

    return act


def stop(site: Site) -> None:
    """End what hangs, so that the dispatcher drains."""
    assert site.dispatcher
    for attempt in list(site.dispatcher._flight.values()):
        assert attempt.task
        attempt.task.cancel()


async def settled(site: Site, name: str, number: int, seconds: float = 10) -> None:
    """Wait until so many deliveries to a destination are delivered."""
    async with asyncio.timeout(seconds):
        while sum(d.destination == name and d.state is State.DELIVERED for d in site.deliveries()) < number:
            await asyncio.sleep(0.02)


# --- one that hangs ---------------------------------------------------------------------------------------------------


async def test_one_that_hangs_does_not_slow_the_others(live: Site):
    """A backlog of a hundred for Egedal, all older: it has four attempts and no more, and Skovby's hundred are delivered."""
    agree(live, egedal=Pace(at_once=4))
    live.paper.act = hanging("egedal")
    for _ in range(100):
        await live.accept()
    async with live.dispatching():
        await live.paper.attempted(4)
        await asyncio.gather(*(live.accept(kind="leaflet") for _ in range(100)))
        await settled(live, "skovby", 100)
        assert by_destination(live) == {"egedal": 4, "skovby": 100}
        stop(live)


async def test_a_full_destination_costs_no_claims(live: Site):
    """Nothing spins while everything that waits is for one that is full: the queue is looked at once an interval."""
    agree(live, egedal=Pace(at_once=2))
    live.paper.act = hanging("egedal")
    for _ in range(20):
        await live.accept()
    async with live.dispatching():
        await live.paper.attempted(2)
        await asyncio.sleep(0.1)
        before = live.runtime.writer.statistics.commands
        await asyncio.gather(*(live.accept() for _ in range(50)))
        await asyncio.sleep(1.2)
        assert live.runtime.writer.statistics.commands - before <= 50 + 4
        assert by_destination(live) == {"egedal": 2}
        stop(live)


async def test_a_full_destination_gets_the_next_as_soon_as_there_is_room(live: Site, monkeypatch: pytest.MonkeyPatch):
    """Nobody waits for the look at the clock: all are served, never more than its number at once."""
    monkeypatch.setattr(limits, "POLL", HOUR)
    agree(live, egedal=Pace(at_once=3))
    now = most = 0

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.002)
        now -= 1
        return Outcome(receipt=received(delivery))

    live.paper.act = act
    async with live.dispatching():
        await asyncio.gather(*(live.accept() for _ in range(60)))
        await settled(live, "egedal", 60)
    assert most == 3


async def test_where_most_hang_the_rest_is_used_all_the_same(live: Site):
    """Fifteen of sixteen never end: the one place that is left serves whoever comes, within an interval."""
    agree(live, egedal=Pace(at_once=16))
    hung = 0

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        nonlocal hung
        hung += 1
        return await forever(delivery, parcel) if hung <= 15 else Outcome(receipt=received(delivery))

    live.paper.act = act
    for _ in range(18):
        await live.accept()
    async with live.dispatching():
        await settled(live, "egedal", 3)
        stop(live)


async def test_an_attempt_cancelled_before_it_began_gives_its_place_back(site: Site):
    """Else a destination would have fewer and fewer."""
    agree(site, egedal=Pace(at_once=1))
    async with site.dispatching() as dispatcher:
        await asyncio.sleep(0.1)
        assert dispatcher.take(EGEDAL)
        one = site.item()
        made = Delivery("d1", one.parcel.id, JOURNAL, "paper", State.READY, NOW, destination="egedal")
        dispatcher.start(made, one.parcel)
        task = dispatcher._flight["d1"].task
        assert task
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0)
        assert dispatcher.traffic.busy(EGEDAL) == 0
        del dispatcher._flight["d1"]


async def test_a_gateway_that_cannot_say_what_is_agreed_stops_nobody(live: Site):
    """Its deliveries go at the kernel's pace."""
    agree(live, egedal=Pace(waiting=-1))
    async with live.dispatching():
        await live.accept()
        await live.until(State.DELIVERED)


# --- one that is away -------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and looks of a moment."""
    monkeypatch.setattr(limits, "PAUSE_FIRST", SECOND // 5)
    monkeypatch.setattr(limits, "PAUSE_CEILING", SECOND)
    monkeypatch.setattr(limits, "POLL", SECOND // 20)


@pytest.mark.usefixtures("quick")
async def test_one_that_cannot_be_reached_is_paused_and_asked_one_at_a_time(live: Site):
    """After three failures in a row one attempt now and then is made; its first answer ends the pause, and all is delivered."""
    agree(live, egedal=Pace(pause_after=3))
    live.paper.plan = RetryPlan(first=SECOND // 20, attempts=100)
    back, now, most = False, 0, 0

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        nonlocal now, most
        if live.dispatcher and live.dispatcher.traffic.paused:
            most = max(most, now + 1)
        now += 1
        await asyncio.sleep(0.01)
        now -= 1
        return Outcome(receipt=received(delivery)) if back or delivery.destination == "skovby" else AWAY

    live.paper.act = act
    async with live.dispatching():
        await live.accept()
        async with asyncio.timeout(5):
            while not live.runtime.read_now(unreachable.all_paused):
                await asyncio.sleep(0.01)
        await asyncio.gather(*(live.accept() for _ in range(30)))
        await live.accept(kind="leaflet")
        await settled(live, "skovby", 1)
        await asyncio.sleep(0.7)
        (pause,) = live.runtime.read_now(unreachable.all_paused)
        assert (pause.where, pause.code, pause.reason) == (EGEDAL, "connect", "nobody listens")
        assert pause.number >= 2
        assert by_destination(live)["egedal"] <= 3 + 1 + pause.number
        back = True
        await live.until(State.DELIVERED)
        assert live.runtime.read_now(unreachable.all_paused) == []
    assert [a.code for a in live.alarms()] == ["unreachable"]
    assert "egedal has not answered since" in live.alarms()[0].text
    assert most <= 2  # the probe, and a leaflet to the other


@pytest.mark.usefixtures("quick")
async def test_what_is_not_attempted_costs_nothing_of_its_plan(live: Site):
    """Thirty wait through the outage with no attempt counted, though their plan has but two."""
    agree(live, egedal=Pace(pause_after=1))
    live.paper.plan = RetryPlan(first=HOUR, attempts=2)
    live.paper.act = giving(AWAY)
    async with live.dispatching():
        await live.accept()
        async with asyncio.timeout(5):
            while not live.runtime.read_now(unreachable.all_paused):
                await asyncio.sleep(0.01)
        await live.runtime.do(commands.CALL, commands.Call(unreachable.ask_again, (EGEDAL, live.clock.now() + HOUR)))
        for _ in range(30):
            await live.accept()
        await asyncio.sleep(0.3)
    assert Counter(d.attempts for d in live.deliveries()) == {1: 1, 0: 30}
    assert {d.state for d in live.deliveries()} == {State.READY}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    "answer",
    [Outcome(code="EBMS:0004", reason="they say no", reached=True), Outcome(refused=True, code="no", reached=True)],
)
async def test_any_answer_counts_as_being_there(live: Site, answer: Outcome):
    """Two failures and an answer, again and again: never three in a row, so never a pause."""
    agree(live, egedal=Pace(pause_after=3, at_once=1))
    live.paper.act = giving(AWAY, AWAY, answer, AWAY, AWAY, answer)
    async with live.dispatching():
        for number in range(6):
            await live.accept()
            await live.paper.attempted(number + 1)
            await live.written()
    assert live.runtime.read_now(unreachable.all_paused) == []
    assert "unreachable" not in [alarm.code for alarm in live.alarms()]


@pytest.mark.usefixtures("quick")
async def test_what_is_learned_of_nobody_pauses_nobody(live: Site):
    """A bug or a partner that is not in the configuration says nothing of the far side; 0 means that there are no pauses."""
    agree(live, egedal=Pace(pause_after=2), skovby=Pace(pause_after=0))
    live.paper.act = giving(*[ValueError("a bug"), Outcome(code="no-partner")] * 3, AWAY)
    async with live.dispatching():
        for number in range(6):
            await live.accept()
            await live.paper.attempted(number + 1)
        for number in range(6):
            await live.accept(kind="leaflet")
            await live.paper.attempted(number + 7)
        await live.written()
    assert live.runtime.read_now(unreachable.all_paused) == []


@pytest.mark.usefixtures("quick")
async def test_a_probe_that_learns_nothing_is_followed_by_another(live: Site):
    """A bug while the one attempt was made leaves the pause as it is, and the next is made."""
    agree(live, egedal=Pace(pause_after=1))
    live.paper.plan = RetryPlan(first=SECOND // 20)
    live.paper.act = giving(AWAY, ValueError("a bug"), Outcome(code="x", reached=True), Outcome(refused=True))
    async with live.dispatching():
        await live.accept()
        await live.until(State.REJECTED)
    assert live.runtime.read_now(unreachable.all_paused) == []
    assert len(live.paper.attempts) == 4


async def test_a_pause_outlives_a_restart(site: Site):
    """Another process, or another node, finds it in the ledger and attempts nothing before its time."""
    pause = Pause(EGEDAL, NOW, NOW + HOUR, 3, "connect", "nobody listens")
    await site.runtime.do(commands.PAUSE, pause)
    await site.accept()
    async with site.dispatching() as dispatcher:
        await asyncio.sleep(0.1)
        assert (site.paper.attempts, dispatcher.traffic.paused) == ([], {EGEDAL: pause})
        site.clock.tick(HOUR)
        dispatcher.wake()
        await site.until(State.DELIVERED)
    assert site.runtime.read_now(unreachable.all_paused) == []
    assert site.delivery().attempts == 1


async def test_a_new_configuration_asks_everybody_at_once(site: Site):
    """An address may have been corrected: nobody waits for the end of a pause."""
    await site.runtime.do(commands.PAUSE, Pause(EGEDAL, NOW, NOW + HOUR, 3, "connect", ""))
    version = commands.Version(0, NOW + 5, "tester", "a new address", "{}")
    await site.runtime.do(commands.VERSION, version)
    assert [p.probe_at for p in site.runtime.read_now(unreachable.all_paused)] == [NOW + 5]


async def test_an_alarm_is_raised_once_a_pause(site: Site):
    """Two nodes notice the same; one begins it."""
    pause = Pause(EGEDAL, NOW, NOW + 10 * SECOND, 1, "connect", "w" * 5000)
    begun = [await site.runtime.do(commands.PAUSE, pause) for _ in range(2)]
    assert begun == [True, False]
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.at) == ("unreachable", NOW)
    assert alarm.text.endswith("nothing else is attempted until it answers")


@pytest.fixture
async def pair(tmp_path: Path, postgresql_url: str) -> AsyncIterator[tuple[Site, Site]]:
    """Two nodes on one PostgreSQL and one store."""
    shared = {"url": postgresql_url, "store": Path("data/store")}
    sites = [
        Site(make_settings(tmp_path / "home", node=f"birkelund-{x}", data=Path(f"data-{x}"), **shared)) for x in "ab"
    ]
    yield sites[0], sites[1]
    for site in sites:
        site.runtime.close()


@pytest.mark.usefixtures("quick")
async def test_two_nodes_share_a_pause_and_its_probes(pair: tuple[Site, Site]):
    """One node finds out, both stop; one probe at a time is made by either, and both go on when it is answered."""
    first, second = pair
    now = most = 0
    back = False

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1
        return Outcome(receipt=received(delivery)) if back else AWAY

    for site in pair:
        agree(site, egedal=Pace(pause_after=1))
        site.paper.plan = RetryPlan(first=SECOND // 20, attempts=100)
        site.paper.act = act
    await first.accept()
    async with first.dispatching():
        async with asyncio.timeout(5):
            while not first.runtime.read_now(unreachable.all_paused):
                await asyncio.sleep(0.01)
        async with second.dispatching():
            await asyncio.sleep(0.1)
            await asyncio.gather(*(site.accept() for site in pair for _ in range(20)))
            await asyncio.sleep(1.5)
            assert most == 1
            back = True
            await first.until(State.DELIVERED)
    assert [a.code for a in first.alarms()] == ["unreachable"]


# --- too much that waits ----------------------------------------------------------------------------------------------


async def test_too_much_for_one_destination_is_refused_and_the_others_are_taken(site: Site):
    """The sender keeps it and is told when to come back; nothing of it stays; evidence and reports go on."""
    agree(site, egedal=Pace(waiting=3))
    first = (await site.accept()).parcel_id
    for _ in range(2):
        await site.accept()
    large = site.item(site.make(bytes(200_000)))
    with pytest.raises(Overloaded, match="3 deliveries wait for egedal; at 3 no more are taken") as caught:
        await site.kernel.accept(large)
    assert caught.value.retry_after == limits.COME_BACK
    await asyncio.sleep(0.05)
    assert (len(site.parcels()), site.objects()) == (3, [])
    await site.accept(kind="leaflet")
    (one,) = [d for d in site.deliveries() if d.parcel_id == first]
    await site.kernel.settle(received(one), key=Key("paper", "r1"), answer=b"thanks")
    assert site.row(one.id).state == "delivered"
    site.runtime.backlog.count(site.runtime.read_now(unreachable.waiting))
    await site.accept()


async def test_too_much_in_all_is_refused_before_an_octet_is_read(site: Site):
    """Staging is refused as it is below the free-space reserve."""
    site.runtime.backlog.in_all = 2
    await site.accept()
    await site.accept(kind="leaflet")
    with pytest.raises(Overloaded, match="2 deliveries wait in all; at 2 no more are taken"):
        site.kernel.stage(size_limit=1)


async def test_a_repetition_does_not_count_as_waiting(site: Site):
    """Only what is new does."""
    for _ in range(3):
        await site.accept(key="k-1")
    assert site.runtime.backlog.waiting(EGEDAL) == 1


async def test_a_system_that_never_comes_fills_its_own_mailbox_alone(site: Site, monkeypatch: pytest.MonkeyPatch):
    """What is pulled counts under the system's name."""
    site.runtime.backlog.count({("", "skovby-archive"): limits.WAITING_FOR_ONE})
    with pytest.raises(Overloaded, match="100000 deliveries wait for skovby-archive"):
        await site.accept(kind="leaflet")
    await site.accept()


# --- evidence that never comes ----------------------------------------------------------------------------------------


async def test_evidence_that_never_came_has_the_gateways_word_and_may_come_late(site: Site):
    """It has failed with an alarm; a receipt afterwards delivers it all the same."""
    agree(site, egedal=replace(Pace(), no_receipt="paper:never-signed"))
    await site.accept()
    one = site.delivery()

    def sent_for_the_last_time(connection: Connection) -> None:
        values = {"state": "awaiting", "attempts": site.paper.plan.attempts}
        connection.execute(update(delivery_table).values(**values))

    await site.runtime.do(commands.CALL, commands.Call(sent_for_the_last_time))
    async with site.dispatching():
        await site.until(State.FAILED)
    assert (site.row().last_code, site.paper.attempts) == ("paper:never-signed", [])
    (alarm,) = site.alarms()
    assert (alarm.code, "paper:never-signed the far side took it" in alarm.text) == ("failed", True)
    await site.kernel.settle(received(one))
    assert site.delivery().state is State.DELIVERED
    assert Event.ACKNOWLEDGED in [event for event, _ in site.trace(one.parcel_id)]
