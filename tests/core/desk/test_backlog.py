"""The desk of backlogs, on both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from core import limits
from core.clock import DAY
from core.config import Configuration
from core.delivery import State
from core.desk.backlog import Backlogs
from core.desk.mailbox import Mailbox
from tests.core.desk.test_mailbox import BOX, lend, subscribe, tell
from tests.core.nodes import Site


@pytest.fixture
async def desk(site: Site) -> AsyncIterator[Backlogs]:
    """A desk beside one subscription that lends once."""
    subscribe(site, {"id": "all", "max_attempts": 1})
    yield Backlogs(site.runtime, Mailbox(site.runtime, site.mail))


async def dead(site: Site, number: int) -> list[str]:
    """Dead letters; gives their parcels."""
    parcels, mailbox = await tell(site, number), Mailbox(site.runtime, site.mail)
    while loans := await lend(mailbox, 50):
        await mailbox.nack(BOX, [one.token for one in loans], delay=0, reason="wet")
    return parcels


async def test_a_visit_is_noted_once_in_a_while(site: Site, desk: Backlogs):
    """The first at once, later ones when enough time has passed; before, there is none."""
    mailbox = Mailbox(site.runtime, site.mail)
    assert (await desk.of(BOX)).came_at is None
    first = site.clock.now()
    await lend(mailbox)
    await site.written()
    assert (await desk.of(BOX)).came_at == first
    site.clock.tick(limits.CAME // 2)
    await lend(mailbox)
    await site.written()
    assert (await desk.of(BOX)).came_at == first
    site.clock.tick(limits.CAME)
    await lend(mailbox)
    await site.written()
    assert (await desk.of(BOX)).came_at == site.clock.now()


async def test_dead_letters_are_sent_again_from_the_beginning(site: Site, desk: Backlogs):
    """Some by name, or all of them in batches; each may be lent as often as at first."""
    await dead(site, 5)
    (first, *_), _ = await desk.dead_letters(BOX, "", 2)
    assert (first.code, first.reason, first.delivery.state) == ("nack", "wet", State.FAILED)
    assert await desk.send_again(BOX, [first.delivery.id, "none"], by="bodil", why="dry now") == (1, False)
    assert await desk.send_again(BOX, None, by="bodil", why="dry now") == (4, False)
    assert await desk.send_again(BOX, [first.delivery.id], by="bodil", why="") == (0, False)
    assert len(await lend(Mailbox(site.runtime, site.mail))) == 5


async def test_moving_many_has_an_end(site: Site, desk: Backlogs, monkeypatch: pytest.MonkeyPatch):
    """The answer says that there are more."""
    monkeypatch.setattr(limits, "DEAD_BATCH", 2)
    monkeypatch.setattr(limits, "DEAD_MOST", 4)
    await dead(site, 5)
    assert await desk.discard(BOX, None, by="bodil", why="old") == (4, True)
    assert await desk.discard(BOX, None, by="bodil", why="old") == (1, False)


async def test_a_discarded_letter_says_who_did_not_want_it(site: Site, desk: Backlogs):
    """In the trace of its parcel; it is refused, and raises no alarm of its own."""
    (parcel,) = await dead(site, 1)
    alarms = len(site.alarms())
    page, after = await desk.dead_letters(BOX, "", 10)
    assert await desk.discard(BOX, [page[0].delivery.id], by="bodil", why="old") == (1, False)
    event, facts = site.trace(parcel)[-1]
    assert (event, facts["by"], facts["code"], facts["reason"], after) == ("refused", "bodil", "discarded", "old", "")
    assert (site.delivery().state, len(site.alarms())) == (State.REJECTED, alarms)


async def test_what_waits_for_a_subscription_that_is_gone_is_let_go_in_time(site: Site, desk: Backlogs):
    """Not before somebody could have put it back; what has a subscription waits for ever."""
    (parcel,) = await tell(site)
    configuration = site.runtime.configuration
    site.clock.tick(limits.ABANDONED + DAY)
    assert await desk.let_go() == 0
    site.runtime.configuration = Configuration({**configuration.documents, "subscription": {}}, {}, 2)
    site.clock.tick(-2 * DAY)
    assert await desk.let_go() == 0
    site.clock.tick(2 * DAY)
    assert await desk.let_go() == 1
    assert (site.delivery().state, site.trace(parcel)[-1][1]["code"]) == (State.REJECTED, "abandoned")
