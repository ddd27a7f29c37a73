"""The desk of replays and who takes their steps, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core import limits
from core.clock import HOUR, SECOND
from core.config import Configuration
from core.delivery import Delivery
from core.desk.mailbox import Mailbox
from core.desk.replay import Replayer, Replays
from core.errors import Overloaded, WrongState
from core.ledger.replays import Replay, ReplayState
from core.subscription import Subscription
from tests.core.desk.test_mailbox import BOX, lend, subscribe, tell
from tests.core.nodes import JOURNAL, Site


@pytest.fixture
async def desk(site: Site) -> AsyncIterator[Replays]:
    """A desk beside one subscription that wants everything."""
    subscribe(site, {"id": "all"})
    yield Replays(site.runtime)


@pytest.fixture
def replayer(site: Site) -> Replayer:
    """Takes the steps when it is told to."""
    return Replayer(site.runtime, site.mail)


async def fetched(site: Site) -> list[Delivery]:
    """Everything that waits, taken."""
    mailbox, found = Mailbox(site.runtime, site.mail), []
    while loans := await lend(mailbox, 50):
        found += [one.delivery for one in loans]
        await mailbox.ack(BOX, [one.token for one in loans])
    return found


def of(site: Site) -> Subscription:
    """The subscription in force."""
    found = site.runtime.configuration.all("subscription")["all"]
    assert isinstance(found, Subscription)
    return found


async def begin(site: Site, desk: Replays, *, lane: str = "bulk", key: str = "") -> Replay:
    """A replay of the last hour."""
    now = site.clock.now()
    made, _ = await desk.begin(of(site), now - HOUR, now + SECOND, lane, JOURNAL, key)
    return made


async def test_everything_that_matches_is_delivered_again(site: Site, desk: Replays, replayer: Replayer):
    """Step by step, in the lane that was asked for, with a line in each trace."""
    parcels = await tell(site, 3)
    await fetched(site)
    site.clock.tick(SECOND)
    made = await begin(site, desk, lane="urgent")
    assert await replayer.step(made.id) is False
    found = await desk.of("all", made.id)
    assert found is not None
    assert (found.state, found.seen, found.made) == (ReplayState.DONE, 3, 3)
    again = await fetched(site)
    assert sorted(one.parcel_id for one in again) == sorted(parcels)
    assert {one.lane for one in again} == {"urgent"}
    assert [event for event, _ in site.trace(parcels[0])].count("replayed") == 1
    assert site.chain_fault() is None


async def test_a_step_that_is_taken_twice_makes_nothing_twice(
    site: Site, desk: Replays, replayer: Replayer, monkeypatch: pytest.MonkeyPatch
):
    """Two that step at once, as two nodes may, come to as many deliveries as one."""
    monkeypatch.setattr(limits, "REPLAY_BATCH", 2)
    await tell(site, 5)
    await fetched(site)
    made = await begin(site, desk)
    other = Replayer(site.runtime, site.mail)
    for _ in range(5):
        await asyncio.gather(replayer.step(made.id), other.step(made.id))
    found = await desk.of("all", made.id)
    assert found is not None
    assert (found.state, found.made, len(await fetched(site))) == (ReplayState.DONE, 5, 5)


async def test_one_replay_of_a_subscription_at_a_time(site: Site, desk: Replays, replayer: Replayer):
    """A second is refused while one runs; under its key the same is known, another is not."""
    first = await begin(site, desk, key="k")
    assert (await begin(site, desk, key="k")).id == first.id
    with pytest.raises(WrongState, match="is running"):
        await begin(site, desk)
    with pytest.raises(WrongState, match="used for another"):
        await begin(site, desk, key="k", lane="urgent")
    await replayer.step(first.id)
    assert (await begin(site, desk)).id != first.id
    assert await desk.of("other", first.id) is None
    assert await desk.of("all", "none") is None


async def test_what_may_not_be_received_is_not_replayed(site: Site, desk: Replays, replayer: Replayer):
    """Without a service agreement, or without the subscription, it stops and says why."""
    await tell(site)
    full = site.runtime.configuration
    for kind, words in (("service-agreement", "may not receive"), ("subscription", "not there any more")):
        made = await begin(site, desk)
        site.runtime.configuration = Configuration({**full.documents, kind: {}}, {}, 2)
        assert await replayer.step(made.id) is False
        found = await desk.of("all", made.id)
        assert found is not None
        assert (found.state, words in found.reason, found.made) == (ReplayState.STOPPED, True, 0)
        site.runtime.configuration = full


async def test_a_replay_makes_so_many_and_no_more(
    site: Site, desk: Replays, replayer: Replayer, monkeypatch: pytest.MonkeyPatch
):
    """It stops and says so; what it made stays."""
    monkeypatch.setattr(limits, "REPLAY_BATCH", 2)
    monkeypatch.setattr(limits, "REPLAY_MOST", 2)
    await tell(site, 5)
    made = await begin(site, desk)
    while await replayer.step(made.id):
        pass
    found = await desk.of("all", made.id)
    assert found is not None
    assert (found.state, found.made, "the most" in found.reason) == (ReplayState.STOPPED, 2, True)


async def test_what_stands_in_order_stays_in_order(site: Site, desk: Replays, replayer: Replayer):
    """Replayed events of one correlation are lent one at a time, oldest first."""
    subscribe(site, {"id": "all", "ordered_by": "correlation_id"})
    parcels = await tell(site, 3, correlation_id="c-1")
    await fetched(site)
    made = await begin(site, desk)
    await replayer.step(made.id)
    mailbox, seen = Mailbox(site.runtime, site.mail), []
    while loans := await lend(mailbox, 50):
        (one,) = loans
        seen.append(one.parcel.id)
        await mailbox.ack(BOX, [one.token])
    assert sorted(seen) == sorted(parcels)


async def test_whoever_runs_takes_up_what_stands_still(
    live: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """What a node that died has left; and what fails is tried again."""
    monkeypatch.setattr(limits, "REPLAY_STALE", 100_000)
    subscribe(live, {"id": "all"})
    await tell(live, 2)
    made = await begin(live, desk := Replays(live.runtime))
    replayer = Replayer(live.runtime, live.mail)
    step, failed = replayer.step, 0

    async def failing(name: str) -> bool:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise Overloaded("not now")
        return await step(name)

    monkeypatch.setattr(replayer, "step", failing)
    running = asyncio.create_task(replayer.run())
    try:
        found = await desk.soon("all", made.id)
        async with asyncio.timeout(10):
            while found is None or found.state is ReplayState.RUNNING:
                found = await desk.soon("all", made.id)
    finally:
        running.cancel()
    assert (found.state, found.made, failed) == (ReplayState.DONE, 2, 2)
