"""The mailbox desk: loans by token, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core.agreement import ServiceAgreement
from core.clock import MINUTE, SECOND, FrozenClock
from core.config import Configuration
from core.delivery import State
from core.description import Description
from core.desk.mailbox import Loan, Mailbox, Said, parse_token
from core.integration import Integration
from core.subscription import Subscription
from tests.core.nodes import JOURNAL, SENDER, Site

BOX = (JOURNAL, "all")


def subscribe(site: Site, *given: dict[str, Any]) -> None:
    """Let the journal subscribe to what the post system tells."""
    old = site.runtime.configuration
    told = Integration.model_validate({"id": "told", "capability": "notification", "types": ["news"]})
    may = [{"id": "t-sends", "system": SENDER, "may": "send"}, {"id": "t-gets", "system": JOURNAL, "may": "receive"}]
    agreements = [ServiceAgreement.model_validate({"integration": "told", **one}) for one in may]
    subscriptions = [Subscription.model_validate({"system": JOURNAL, "integration": "told", **one}) for one in given]
    documents = {
        **old.documents,
        "integration": {**old.all("integration"), "told": told},
        "service-agreement": {**old.all("service-agreement"), **{a.id: a for a in agreements}},
        "subscription": {one.id: one for one in subscriptions},
    }
    site.runtime.configuration = Configuration(documents, old.files, old.number)


@pytest.fixture
async def mailbox(site: Site) -> AsyncIterator[Mailbox]:
    """A desk beside one subscription that wants everything."""
    subscribe(site, {"id": "all"})
    yield Mailbox(site.runtime, site.mail)


async def tell(site: Site, number: int = 1, **changes: Any) -> list[str]:
    """Publish so many notifications."""
    items = []
    for _ in range(number):
        description = Description(type="news", sender=SENDER, **changes)
        items.append(site.item(site.make(description=description, integration="told")))
    return [one.parcel_id for one in await site.kernel.accept(*items)]


async def lend(mailbox: Mailbox, limit: int = 10, box: tuple[str, str] = BOX) -> list[Loan]:
    """What is due, without waiting."""
    return await mailbox.lend(box, limit=limit, wait=0)


async def test_a_loan_is_taken_and_acknowledged(site: Site, mailbox: Mailbox):
    """It names itself by delivery and epoch, carries the parcel, and is settled by its token."""
    (parcel,) = await tell(site)
    (loan,) = await lend(mailbox)
    assert (loan.parcel.id, loan.until) == (parcel, site.clock.now() + MINUTE)
    assert parse_token(loan.token) == (loan.delivery.id, 1)
    assert await lend(mailbox) == []
    assert await mailbox.ack(BOX, [loan.token]) == [Said.DONE]
    assert site.delivery().state is State.DELIVERED
    assert site.trace(parcel)[-1][0] == "acknowledged"


async def test_saying_the_same_twice_is_harmless(site: Site, mailbox: Mailbox):
    """The second acknowledgement is answered as the first."""
    await tell(site)
    (loan,) = await lend(mailbox)
    assert await mailbox.ack(BOX, [loan.token, loan.token]) == [Said.DONE, Said.DONE]
    assert await mailbox.ack(BOX, [loan.token]) == [Said.DONE]


async def test_an_older_token_changes_nothing(site: Site, mailbox: Mailbox, clock: FrozenClock):
    """What was lent again is somebody else's by now."""
    await tell(site)
    (first,) = await lend(mailbox)
    clock.tick(MINUTE)
    (second,) = await lend(mailbox)
    for say in (
        mailbox.ack(BOX, [first.token]),
        mailbox.nack(BOX, [first.token], delay=0, reason=""),
        mailbox.reject(BOX, [first.token], code="no", reason=""),
        mailbox.extend(BOX, [first.token], MINUTE),
    ):
        assert await say == [Said.STALE]
    assert await mailbox.ack(BOX, [second.token]) == [Said.DONE]


@pytest.mark.parametrize("box", [(JOURNAL, ""), (JOURNAL, "other"), (SENDER, "all"), ("nobody", "all")])
async def test_a_token_is_unknown_in_every_other_mailbox(site: Site, mailbox: Mailbox, box: tuple[str, str]):
    """Whatever is said there, the loan stands."""
    await tell(site)
    (loan,) = await lend(mailbox)
    assert await mailbox.ack(box, [loan.token]) == [Said.UNKNOWN]
    assert await mailbox.nack(box, [loan.token], delay=0, reason="") == [Said.UNKNOWN]
    assert await mailbox.reject(box, [loan.token], code="no", reason="") == [Said.UNKNOWN]
    assert await mailbox.extend(box, [loan.token], MINUTE) == [Said.STALE]
    assert await mailbox.ack(BOX, [loan.token]) == [Said.DONE]


@pytest.mark.parametrize("token", ["", "x", "0" * 32, "0" * 32 + ".", "0" * 32 + ".-1", "0" * 32 + ".1\n", "é" * 34])
async def test_what_is_no_token_is_unknown(site: Site, mailbox: Mailbox, token: str):
    """It is answered in its place, beside those that are."""
    await tell(site)
    (loan,) = await lend(mailbox)
    assert await mailbox.ack(BOX, [token, loan.token, token]) == [Said.UNKNOWN, Said.DONE, Said.UNKNOWN]
    assert await mailbox.extend(BOX, [token], MINUTE) == [Said.UNKNOWN]


async def test_what_is_given_back_comes_again_after_its_delay(site: Site, mailbox: Mailbox, clock: FrozenClock):
    """And not before."""
    await tell(site)
    (loan,) = await lend(mailbox)
    assert await mailbox.nack(BOX, [loan.token], delay=5 * SECOND, reason="busy") == [Said.DONE]
    assert await lend(mailbox) == []
    clock.tick(5 * SECOND)
    (again,) = await lend(mailbox)
    assert (again.delivery.id, again.delivery.attempts) == (loan.delivery.id, 2)


async def test_more_time_is_given_from_now(site: Site, mailbox: Mailbox, clock: FrozenClock):
    """It is not lent to others meanwhile."""
    await tell(site)
    (loan,) = await lend(mailbox)
    clock.tick(30 * SECOND)
    assert await mailbox.extend(BOX, [loan.token], MINUTE) == [Said.DONE]
    clock.tick(45 * SECOND)
    assert await lend(mailbox) == []
    clock.tick(15 * SECOND)
    assert len(await lend(mailbox)) == 1


async def test_what_is_refused_never_comes_again(site: Site, mailbox: Mailbox):
    """Its code and reason stay with it, and people are told."""
    await tell(site)
    (loan,) = await lend(mailbox)
    assert await mailbox.reject(BOX, [loan.token], code="unknown-person", reason="not ours") == [Said.DONE]
    assert (site.row().state, site.row().last_code, site.row().last_reason) == (
        "rejected",
        "unknown-person",
        "not ours",
    )
    assert [alarm.code for alarm in site.alarms()] == ["rejected"]


async def test_given_back_too_often_it_is_a_dead_letter(site: Site, clock: FrozenClock):
    """After as many loans as the subscription allows, with an alarm; sent again it begins anew."""
    subscribe(site, {"id": "all", "max_attempts": 2})
    mailbox = Mailbox(site.runtime, site.mail)
    (parcel,) = await tell(site)
    for _ in range(2):
        (loan,) = await lend(mailbox)
        assert await mailbox.nack(BOX, [loan.token], delay=0, reason="no room") == [Said.DONE]
    assert await lend(mailbox) == []
    assert site.delivery().state is State.FAILED
    assert site.trace(parcel)[-1][0] == "exhausted"
    assert [alarm.code for alarm in site.alarms()] == ["failed"]
    assert await mailbox.send_again([site.delivery()], who="operator", why="there is room") == 1
    assert len(await lend(mailbox)) == 1


async def test_never_acknowledged_it_is_a_dead_letter(site: Site, clock: FrozenClock):
    """Whoever only takes, and says nothing, is not lent the same for ever; what is behind it is lent meanwhile."""
    subscribe(site, {"id": "all", "max_attempts": 2})
    mailbox = Mailbox(site.runtime, site.mail)
    (parcel,) = await tell(site)
    for _ in range(2):
        assert len(await lend(mailbox)) == 1
        clock.tick(MINUTE)
    await tell(site)
    (other,) = await lend(mailbox, limit=1)
    assert other.parcel.id != parcel
    assert [event for event, _ in site.trace(parcel)] == ["accepted", "exhausted"]
    assert [alarm.code for alarm in site.alarms()] == ["dead-letter"]


async def test_a_paused_subscription_keeps_what_comes(site: Site):
    """Nothing is lent while it is paused; everything is there when it goes on."""
    subscribe(site, {"id": "all", "paused": True})
    mailbox = Mailbox(site.runtime, site.mail)
    await tell(site, 3)
    assert await lend(mailbox) == []
    subscribe(site, {"id": "all"})
    assert len(await lend(mailbox)) == 3


async def test_each_subscription_has_a_queue_of_its_own(site: Site):
    """What one has lent or left alone is no matter to the other, be it of the same system."""
    subscribe(site, {"id": "all"}, {"id": "too"})
    mailbox = Mailbox(site.runtime, site.mail)
    await tell(site, 2)
    mine, others = await lend(mailbox), await lend(mailbox, box=(JOURNAL, "too"))
    assert {one.parcel.id for one in mine} == {one.parcel.id for one in others}
    assert {one.delivery.id for one in mine}.isdisjoint(one.delivery.id for one in others)


@pytest.mark.requirement("R18")
async def test_urgent_ones_are_lent_first(site: Site, mailbox: Mailbox):
    """However many others came before."""
    await tell(site, 5, priority="bulk")
    (urgent,) = await tell(site, priority="urgent")
    assert [one.parcel.id for one in await lend(mailbox, limit=1)] == [urgent]


async def test_one_of_a_line_is_lent_at_a_time(site: Site):
    """The oldest of each case, and the next once it is settled; other cases are not held up."""
    subscribe(site, {"id": "all", "ordered_by": "correlation_id"})
    mailbox = Mailbox(site.runtime, site.mail)
    first, second = await tell(site, 2, correlation_id="case-1")
    (other,) = await tell(site, correlation_id="case-2")
    lent = {one.parcel.id: one.token for one in await lend(mailbox)}
    assert set(lent) == {first, other}
    assert await lend(mailbox) == []
    await mailbox.nack(BOX, [lent[first]], delay=0, reason="")
    (again,) = await lend(mailbox)
    assert again.parcel.id == first
    await mailbox.ack(BOX, [again.token])
    assert [one.parcel.id for one in await lend(mailbox)] == [second]


async def test_who_waits_gets_it_as_soon_as_it_comes(live: Site):
    """Without asking again and again; and when nothing comes, an empty answer after the time that was asked for."""
    subscribe(live, {"id": "all"})
    mailbox = Mailbox(live.runtime, live.mail)
    waiting = asyncio.create_task(mailbox.lend(BOX, limit=1, wait=20 * SECOND))
    await asyncio.sleep(0.05)
    (parcel,) = await tell(live)
    assert [one.parcel.id for one in await asyncio.wait_for(waiting, 5)] == [parcel]
    assert await mailbox.lend(BOX, limit=1, wait=SECOND // 10) == []


async def test_what_nobody_subscribes_to_is_accepted(site: Site):
    """There is no delivery, and the trace says that nobody was told."""
    subscribe(site)
    (parcel,) = await tell(site)
    assert site.deliveries() == []
    event, facts = site.trace(parcel)[0]
    assert (event, facts["subscriptions"]) == ("accepted", [])


async def test_whom_a_condition_leaves_out_is_said_once(site: Site, clock: FrozenClock):
    """In the trace of each, and in one alarm an hour."""
    subscribe(site, {"id": "odd", "when": "parcel.attributes['rest.x'] == 'y'"}, {"id": "all"})
    one, two = await tell(site, 2)
    assert [d.destination for d in site.deliveries()] == ["all", "all"]
    for parcel in (one, two):
        ((name, why),) = site.trace(parcel)[0][1]["left_out"]
        assert (name, why.partition(":")[0]) == ("odd", "its condition cannot be evaluated")
    assert [alarm.code for alarm in site.alarms()] == ["left-out"]
