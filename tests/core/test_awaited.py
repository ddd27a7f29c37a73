"""Expected receipts beside other commands: what counts as evidence, and that trace and alarm are of the same commit."""

from __future__ import annotations

import asyncio

import pytest

from core import awaited, commands, limits
from core.awaited import Overdue
from core.clock import HOUR
from core.commands import Call
from core.config import Configuration
from core.desk.mailbox import Mailbox, Said
from core.desk.watch import Watch
from core.integration import Integration
from core.ledger import alarms, expectations, subscribers
from core.ledger.alarms import Alarm
from core.mailroom import Mailroom
from core.receipt import Level
from core.subscription import Subscription
from tests.core.nodes import ARCHIVE, JOURNAL, Site, received

HEARS = Subscription(id="hears", system=ARCHIVE, integration="letters")
LISTENS = Subscription(id="listens", system=JOURNAL, integration="letters")


@pytest.fixture
def notified(site: Site) -> Site:
    """A site whose letters are notifications, with two subscriptions and receipts that are expected of both."""
    documents = {kind: dict(found) for kind, found in site.runtime.configuration.documents.items()}
    receipts = [{"level": "envelope", "within": 3600}, {"level": "business", "system": JOURNAL, "within": 7200}]
    letters = documents["integration"]["letters"].model_dump() | {"capability": "notification", "receipts": receipts}
    documents["integration"]["letters"] = Integration.model_validate(letters)
    documents["subscription"] = {one.id: one for one in (HEARS, LISTENS)}
    site.runtime.configuration = Configuration(documents, {}, 1)
    return site


def standing(site: Site, parcel_id: str) -> list[tuple[str, str, str]]:
    """What is expected for a parcel: level, of whom, state."""
    return [(row.level, row.name, row.state) for row in site.runtime.read_now(expectations.of_parcel, parcel_id)]


@pytest.mark.requirement("R66", "R67", "R71", "R73")
async def test_a_notification_has_its_expectations_answered_by_those_who_come_for_it(notified: Site):
    """One by one, each acknowledgement in the trace with what it answered; who does not come is overdue."""
    site = notified
    parcel_id = (await site.accept()).parcel_id
    assert sorted(standing(site, parcel_id)) == [
        ("business", JOURNAL, "open"),
        ("envelope", JOURNAL, "open"),
        ("envelope", ARCHIVE, "open"),
    ]
    desk = Mailbox(site.runtime, Mailroom(site.runtime))
    (loan,) = await desk.lend((ARCHIVE, "hears"), limit=5, wait=0)
    assert await desk.ack((ARCHIVE, "hears"), [loan.token]) == [Said.DONE]
    assert ("envelope", ARCHIVE, "met") in standing(site, parcel_id)
    events = site.trace(parcel_id)
    assert [event for event, _ in events[-2:]] == ["acknowledged", "expected"]
    assert events[-1][1]["of"] == f"receiver {ARCHIVE}"
    assert await desk.ack((ARCHIVE, "hears"), [loan.token]) == [Said.DONE]
    assert site.trace(parcel_id) == events
    site.clock.tick(HOUR + 1)
    assert await Watch(site.runtime).overdue() == 1
    (late,) = await desk.lend((JOURNAL, "listens"), limit=5, wait=0)
    await desk.ack((JOURNAL, "listens"), [late.token])
    mine = next(d for d in site.deliveries() if d.receiver == JOURNAL)
    await site.kernel.settle(received(mine, site.clock.now(), level=Level.BUSINESS))
    assert sorted(standing(site, parcel_id)) == [
        ("business", JOURNAL, "met"),
        ("envelope", JOURNAL, "met-late"),
        ("envelope", ARCHIVE, "met"),
    ]


@pytest.mark.requirement("R80")
async def test_who_comes_is_noted_now_and_then(notified: Site):
    """Not at every pull: noting costs a write."""
    site = notified
    desk = Mailbox(site.runtime, Mailroom(site.runtime))
    begun = site.clock.now()
    for _ in range(3):
        await desk.lend((ARCHIVE, "hears"), limit=1, wait=0)
        await desk.lend((ARCHIVE, ""), limit=1, wait=0)
        site.clock.tick(limits.CAME // 2)
    await site.written()
    assert site.runtime.read_now(subscribers.last) == {"hears": begun + limits.CAME}


@pytest.mark.requirement("R71")
async def test_of_nodes_that_look_together_one_finds_it(live: Site, neighbour: Site):
    """One alarm and one line in the trace, whoever was quicker."""
    documents = {kind: dict(found) for kind, found in live.runtime.configuration.documents.items()}
    letters = documents["integration"]["letters"].model_dump() | {"receipt_within": 0.000001}
    documents["integration"]["letters"] = Integration.model_validate(letters)
    live.runtime.configuration = Configuration(documents, {}, 1)
    parcel_id = (await live.accept()).parcel_id
    at = live.clock.now() + HOUR
    found = await asyncio.gather(*(site.runtime.do(awaited.OVERDUE, Overdue(at, 10)) for site in (live, neighbour) * 3))
    assert sum(map(len, found)) == 1
    assert [event for event, _ in live.trace(parcel_id)].count("overdue") == 1
    assert [alarm.code for alarm in live.alarms()] == ["no-receipt"]


async def test_an_alarm_that_is_there_already_changes_nothing(site: Site):
    """What is overdue is marked all the same, and nobody is told twice."""
    documents = {kind: dict(found) for kind, found in site.runtime.configuration.documents.items()}
    letters = documents["integration"]["letters"].model_dump() | {"receipt_within": 1}
    documents["integration"]["letters"] = Integration.model_validate(letters)
    site.runtime.configuration = Configuration(documents, {}, 1)
    parcel_id = (await site.accept()).parcel_id
    told = Alarm(f"no-receipt-{parcel_id}-0", site.clock.now(), "no-receipt", "said before", parcel_id)
    await site.runtime.do(commands.CALL, Call(alarms.raise_once, ([told],)))
    site.clock.tick(HOUR)
    assert await Watch(site.runtime).overdue() == 1
    assert [alarm.text for alarm in site.alarms()] == ["said before"]
