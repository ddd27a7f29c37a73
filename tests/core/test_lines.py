"""Order where it is agreed: lines of a running node, across crashes, nodes and both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from core import commands
from core.clock import HOUR, SECOND
from core.commands import Skip
from core.deciding import line_of
from core.delivery import Delivery, State
from core.description import Description
from core.errors import NotFound
from core.gateway import Outcome
from core.operations import Operations
from core.pace import Pace
from core.parcel import Parcel
from core.route import Target
from core.schedule import RetryPlan
from tests.core.making import a_parcel
from tests.core.nodes import SENDER, Site, giving, make_settings, received
from tests.core.test_destinations import agree

STOP, SKIP = Pace(at_once=4, ordered=True), Pace(at_once=4, ordered=True, stops=False)
NO = Outcome(refused=True, code="no", reason="unknown here", reached=True)


async def say(site: Site, number: int, conversation: str = "c-1") -> list[str]:
    """Hand over so many parcels of a conversation, one after the other."""
    parcels = []
    for _ in range(number):
        description = Description(type="letter", sender=SENDER, correlation_id=conversation or None)
        (acceptance,) = await site.kernel.accept(site.item(site.make(description=description)))
        parcels.append(acceptance.parcel_id)
    return parcels


def attempted(site: Site) -> list[str]:
    """The parcels in the order of their attempts."""
    return [d.parcel_id for d in site.paper.attempts]


def operations(site: Site) -> Operations:
    """What people can ask."""
    return Operations(site.runtime, site.kernel, lambda configuration: None)


def test_a_line_is_destination_integration_and_conversation():
    """Each of them parts lines; whoever has no conversation is in line with the others that have none."""
    target = Target(system="journal", gateway="paper", destination="egedal")
    plain = a_parcel()
    talking = replace(plain, description=plain.description.model_copy(update={"correlation_id": "c-1"}))
    lines = [
        line_of(plain, target),
        line_of(talking, target),
        line_of(replace(plain, integration="cards"), target),
        line_of(plain, target.model_copy(update={"destination": "skovby"})),
        line_of(plain, target.model_copy(update={"gateway": "pigeon"})),
    ]
    assert len(set(lines)) == 5
    assert line_of(replace(a_parcel(), sender="another"), target) == lines[0]


async def test_what_belongs_together_arrives_one_after_the_other(live: Site):
    """In the order of acceptance and never two at once; two conversations go beside each other."""
    agree(live, egedal=STOP)
    out: dict[str, int] = {}
    most = 0

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        nonlocal most
        name = parcel.description.correlation_id or ""
        out[name] = out.get(name, 0) + 1
        assert out[name] == 1
        most = max(most, sum(out.values()))
        await asyncio.sleep(0.01)
        out[name] -= 1
        return Outcome(receipt=received(delivery))

    live.paper.act = act
    async with live.dispatching():
        said = {name: await say(live, 8, name) for name in ("c-1", "c-2")}
        more = await say(live, 4, "c-1")
        await live.until(State.DELIVERED)
    done = attempted(live)
    for parcels in (said["c-1"] + more, said["c-2"]):
        assert [p for p in done if p in parcels] == parcels
    assert most == 2


async def test_a_retry_and_a_receipt_that_comes_later_hold_the_line(live: Site):
    """The next leaves when the one before is settled, and not while it waits for anything."""
    agree(live, egedal=STOP)
    live.paper.plan = RetryPlan(first=SECOND // 10)
    live.paper.act = giving(Outcome(code="busy", reached=True), Outcome(sent=True), Outcome(sent=True))
    async with live.dispatching():
        first, second = await say(live, 2)
        await live.paper.attempted(2)
        await live.written()
        live.paper.plan = RetryPlan(first=HOUR)
        await asyncio.sleep(0.2)
        assert set(attempted(live)) == {first}
        (one,) = [d for d in live.deliveries() if d.parcel_id == first]
        await live.kernel.settle(received(one))
        async with asyncio.timeout(5):
            while second not in attempted(live):
                await asyncio.sleep(0.01)


async def test_a_failure_stops_its_line_with_an_alarm_until_it_is_sent_again(site: Site):
    """Those behind keep their order and their attempts."""
    agree(site, egedal=STOP)
    site.paper.act = giving(NO, NO)
    async with site.dispatching():
        parcels = await say(site, 3)
        await site.paper.attempted(1)
        await site.written()
        await asyncio.sleep(0.1)
        assert attempted(site) == parcels[:1]
        (alarm,) = site.alarms()
        assert (alarm.code, alarm.parcel_id) == ("rejected", parcels[0])
        assert alarm.text.endswith("what comes after it in its line waits: `stafet resend` it, or `stafet skip` it")
        site.paper.act = site.paper.hand_over
        await operations(site).resend({"reference": parcels[0], "who": "tester"}, lambda step: None)
        await site.until(State.DELIVERED)
    assert attempted(site) == [parcels[0], *parcels]


async def test_a_person_can_let_the_line_pass(site: Site):
    """The failed one stays failed, its trace says who and why, and the next goes on at once."""
    agree(site, egedal=STOP)
    site.paper.act = giving(NO)
    async with site.dispatching():
        first, second = await say(site, 2)
        await site.paper.attempted(1)
        await site.written()
        site.paper.act = site.paper.hand_over
        asked = {"reference": first, "who": "tester", "why": "told by telephone"}
        (skipped,) = await operations(site).skip(asked, lambda step: None)
        assert skipped["state"] == "rejected"
        await site.paper.attempted(2)
        with pytest.raises(NotFound, match="no failed delivery of"):
            await operations(site).skip(asked, lambda step: None)
    assert {d.parcel_id: d.state for d in site.deliveries()} == {first: State.REJECTED, second: State.DELIVERED}
    assert ("skipped", "tester", "told by telephone") in [
        (event, facts.get("by"), facts.get("reason")) for event, facts in site.trace(first)
    ]


async def test_where_it_is_agreed_the_line_goes_on_past_a_failure(site: Site):
    """The alarm is the usual one."""
    agree(site, egedal=SKIP)
    site.paper.act = giving(NO, Outcome(refused=True, code="no"))
    async with site.dispatching():
        parcels = await say(site, 3)
        await site.until(State.REJECTED)
    assert attempted(site) == parcels
    assert not any("line" in alarm.text for alarm in site.alarms())


async def test_skipping_nothing_changes_nothing(site: Site):
    """What is under way or delivered cannot be skipped."""
    agree(site, egedal=STOP)
    (first,) = await say(site, 1)
    assert await site.runtime.do(commands.SKIP, Skip((site.delivery().id, "d-unknown"), 0, {})) == []
    with pytest.raises(NotFound):
        await operations(site).skip({"reference": first, "who": "tester"}, lambda step: None)


async def test_parcels_of_one_call_keep_their_order(site: Site):
    """Also when they are accepted in one moment and one commit."""
    agree(site, egedal=STOP)
    items = [site.item(site.make(description=Description(type="letter", sender=SENDER))) for _ in range(12)]
    await site.kernel.accept(*items)
    async with site.dispatching():
        await site.until(State.DELIVERED)
    assert attempted(site) == [item.parcel.id for item in items]


async def test_a_parcel_routed_again_joins_the_end_of_its_line(site: Site):
    """It gets the turn it would have got by being accepted then."""
    strayed = (await site.accept(kind="stray")).parcel_id
    agree(site, egedal=STOP)
    documents = dict(site.runtime.configuration.documents)
    route = documents["route"]["to-journal"].model_copy(update={"id": "strays"})
    route = route.model_copy(update={"match": route.match.model_copy(update={"type": "stray"})})
    documents["route"] = {**documents["route"], "strays": route}
    site.runtime.configuration = type(site.runtime.configuration)(documents, {}, 3)
    earlier = await say(site, 2, "")
    (done,) = await operations(site).resend({"reference": strayed, "who": "tester"}, lambda step: None)
    assert done["state"] == "ready"
    async with site.dispatching():
        await site.until(State.DELIVERED)
    assert attempted(site) == [*earlier, strayed]


# --- several nodes ----------------------------------------------------------------------------------------------------


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


async def test_two_nodes_keep_one_order(pair: tuple[Site, Site]):
    """A sender speaks now to one node and now to the other; the far side hears it in the order it was accepted."""
    order: list[str] = []
    out = 0

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        nonlocal out
        out += 1
        assert out == 1
        await asyncio.sleep(0.005)
        order.append(delivery.parcel_id)
        out -= 1
        return Outcome(receipt=received(delivery))

    for site in pair:
        agree(site, egedal=STOP)
        site.paper.act = act
    async with pair[0].dispatching(), pair[1].dispatching():
        said = [parcel for number in range(20) for parcel in await say(pair[number % 2], 1)]
        await pair[0].until(State.DELIVERED, seconds=30)
    assert order == said


async def test_many_lines_accepted_by_two_nodes_at_once_lose_nothing(pair: tuple[Site, Site]):
    """Locks of lines are taken in one order: batches of both nodes get through, and turns are never given twice."""
    for site in pair:
        agree(site, egedal=SKIP)
    names = [f"c-{number}" for number in range(6)]
    await asyncio.gather(*(say(site, 4, name) for name in (*names, *names[::-1]) for site in pair))
    rows = [pair[0].row(d.id) for d in pair[0].deliveries()]
    assert len(rows) == len({(row.line, row.turn) for row in rows}) == 96
