"""What a node looks for by itself: receipts that do not come, subscribers that stay away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core import commands, limits
from core.clock import HOUR, MINUTE, SECOND
from core.commands import Call, Settlement
from core.config import Configuration
from core.delivery import Delivery, Event, State
from core.description import Address, Description
from core.desk.watch import Watch
from core.errors import NotAllowed
from core.integration import Integration
from core.ledger import expectations, parcels, subscribers
from core.ledger.deliveries import Settle
from core.ledger.versions import Version
from core.receipt import Level, Verdict
from core.subscription import Subscription
from core.system import Function
from tests.core.making import a_delivery, an_accept
from tests.core.nodes import ARCHIVE, JOURNAL, SENDER, Site, received


def configured(site: Site, **changes: Any) -> None:
    """The documents, with this said of the integration, or of further documents by kind."""
    documents = {kind: dict(found) for kind, found in site.runtime.configuration.documents.items()}
    for kind in ("subscription", "function", "system"):
        for one in changes.pop(kind, ()):
            documents.setdefault(kind, {})[one.id] = one
    letters = documents["integration"]["letters"].model_dump() | changes
    documents["integration"]["letters"] = Integration.model_validate(letters)
    site.runtime.configuration = Configuration(documents, {}, 1)


def standing(site: Site, parcel_id: str) -> list[tuple[str, str]]:
    """What is expected for a parcel, and how it stands."""
    return [(row.name, row.state) for row in site.runtime.read_now(expectations.of_parcel, parcel_id)]


def said(site: Site, one: Delivery, **changes: Any) -> Any:
    """A business receipt for a delivery, now."""
    return received(one, site.clock.now(), level=Level.BUSINESS, **changes)


@pytest.mark.requirement("R66", "R69", "R71", "R73", "R152")
async def test_a_receipt_that_does_not_come_is_an_alarm_and_a_line_in_the_trace(site: Site):
    """Once, however often and whoever looks; a technical receipt is none of it; when it comes after all, it is late."""
    configured(site, receipts=[{"level": "business", "within": 3600}])
    parcel_id = (await site.accept()).parcel_id
    await site.kernel.settle(received(site.delivery(), site.clock.now()))
    assert standing(site, parcel_id) == [(JOURNAL, "open")]
    site.clock.tick(HOUR)
    assert await Watch(site.runtime).overdue() == 0
    site.clock.tick(1)
    assert [await Watch(site.runtime).overdue() for _ in range(2)] == [1, 0]
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.parcel_id) == ("no-receipt", parcel_id)
    assert (
        alarm.text == "receiver egedal-journal: no business receipt for a parcel of letters by 2026-03-01 14:00:00.000"
    )
    event, facts = site.trace(parcel_id)[-1]
    assert (event, facts["of"], facts["level"]) == ("overdue", "receiver egedal-journal", "business")
    await site.kernel.settle(said(site, site.delivery()))
    assert standing(site, parcel_id) == [(JOURNAL, "met-late")]
    assert site.trace(parcel_id)[-1] == (
        "expected",
        {"level": "business", "of": "receiver egedal-journal", "due": facts["due"], "expected": "met-late"},
    )
    assert site.chain_fault() is None


@pytest.mark.requirement("R68", "R69", "R71")
async def test_each_receiver_answers_for_itself(site: Site):
    """One accepts in time, one rejects; nothing is overdue then."""
    configured(site, receipts=[{"within": 3600}])
    parcel_id = (await site.accept(kind="circular")).parcel_id
    first, second = site.deliveries()
    await site.kernel.settle(said(site, first))
    await site.kernel.settle(said(site, second, verdict=Verdict.REJECTED, code="unknown"))
    assert standing(site, parcel_id) == [(JOURNAL, "met"), (ARCHIVE, "refused")]
    site.clock.tick(2 * HOUR)
    assert await Watch(site.runtime).overdue() == 0


@pytest.mark.requirement("R67")
async def test_a_system_that_pulls_answers_by_acknowledging(site: Site):
    """Its handler has it: that is more than a transport receipt, and no business receipt."""
    configured(site, receipts=[{"level": "transport", "within": 60}, {"level": "business", "within": 60}])
    parcel_id = (await site.accept(kind="leaflet")).parcel_id
    (lease,) = await site.kernel.pull(ARCHIVE, limit=1, wait=0)
    await site.kernel.ack(lease)
    assert [state for _, state in standing(site, parcel_id)] == ["met", "open"]


async def test_an_attempt_that_comes_to_nothing_answers_nothing(site: Site):
    """A retry and a late report are no evidence."""
    configured(site, receipts=[{"level": "transport", "within": 60}])
    parcel_id = (await site.accept()).parcel_id
    one, now = site.delivery(), site.clock.now()
    for epoch, event in ((one.epoch, Event.RETRY), (one.epoch + 5, Event.ACKNOWLEDGED)):
        settle = Settle(one.id, event, now, epoch, now)
        await site.runtime.do(commands.SETTLE, Settlement(settle, {}))
    assert standing(site, parcel_id) == [(JOURNAL, "open")]


@pytest.mark.requirement("R69", "R151")
async def test_a_function_answers_by_whichever_system_serves_it(site: Site):
    """The named function's certainty, whoever the parcel went to besides."""
    configured(site, receipts=[{"function": "school-psychology", "within": 3600}])
    documents = [
        {"kind": "system", "id": ARCHIVE, "functions": ["school-psychology"]},
        {"kind": "system", "id": JOURNAL, "functions": []},
    ]
    content = json.dumps({"documents": documents, "files": {}})
    await site.runtime.do(commands.VERSION, Version(0, site.clock.now(), "somebody", "because", content))
    parcel_id = (await site.accept(kind="circular")).parcel_id
    journal, archive = site.deliveries()
    await site.kernel.settle(said(site, journal))
    assert standing(site, parcel_id) == [("school-psychology", "open")]
    await site.kernel.settle(said(site, archive))
    assert standing(site, parcel_id) == [("school-psychology", "met")]


async def test_many_that_are_overdue_are_all_found(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Batch after batch in one look."""
    monkeypatch.setattr(limits, "OVERDUE_BATCH", 2)
    configured(site, receipt_within=60)
    for _ in range(5):
        await site.accept()
    site.clock.tick(2 * MINUTE)
    assert await Watch(site.runtime).overdue() == 5
    assert [alarm.code for alarm in site.alarms()] == ["no-receipt"] * 5


@pytest.mark.requirement("R28", "R70", "R107", "R151")
async def test_a_function_is_not_sent_what_is_too_sensitive_for_it(site: Site):
    """The refusal names both; what it may be sent passes, and so does a function nobody described."""
    configured(site, function=[Function(id="school-psychology", authority="birkelund", sensitivity="internal")])
    for sensitivity, function, allowed in (
        ("sensitive", "school-psychology", False),
        ("confidential", "school-psychology", False),
        ("internal", "school-psychology", True),
        ("public", "school-psychology", True),
        ("sensitive", "reception", True),
    ):
        facts = {"receiver": Address(function=function), "sensitivity": sensitivity}
        item = site.item(site.make(description=Description(type="letter", sender=SENDER, **facts)))
        if allowed:
            await site.kernel.accept(item)
            continue
        with pytest.raises(NotAllowed, match=f"school-psychology may be sent what is internal at most.*{sensitivity}"):
            await site.kernel.accept(item)


# --- subscribers that stay away ---------------------------------------------------------------------------------------

HEARS = Subscription(id="hears", system=ARCHIVE, integration="letters", idle_after=600)


def mail(site: Site, name: str = "hears", **changes: Any) -> None:
    """Something to fetch for a subscription."""
    facts = {"receiver": ARCHIVE, "gateway": "", "destination": name, "due_at": site.clock.now()} | changes
    with site.runtime.engine.begin() as connection:
        parcels.accept_many(connection, [an_accept(deliveries=(a_delivery(**facts),))])


async def came(site: Site, name: str = "hears") -> None:
    """Its system came now."""
    await site.runtime.do(commands.CALL, Call(subscribers.came, (name, site.clock.now())))


@pytest.mark.requirement("R24", "R80")
async def test_a_subscriber_that_stays_away_from_its_mail_is_an_alarm(site: Site):
    """One an absence: not while nothing waits, not before its time, and again after it has come and stayed away anew."""
    configured(site, subscription=[HEARS])
    watch = Watch(site.runtime)
    await came(site)
    site.clock.tick(HOUR)
    mail(site)
    assert await watch.idle() == []
    site.clock.tick(600 * SECOND)
    assert await watch.idle() == []
    site.clock.tick(1)
    assert [len(await watch.idle()) for _ in range(2)] == [1, 1]
    (alarm,) = site.alarms()
    assert alarm.code == "idle"
    assert alarm.text.startswith("subscription hears: skovby-archive has not come since 2026-03-01 13:00:00.000")
    await came(site)
    assert await watch.idle() == []
    site.clock.tick(HOUR)
    await watch.idle()
    assert len(site.alarms()) == 2


@pytest.mark.requirement("R80")
async def test_one_that_never_came_is_an_alarm_too(site: Site):
    """From when its mail waits; a paused one is not asked for, nor one whose mail is gone."""
    configured(site, subscription=[HEARS, HEARS.model_copy(update={"id": "paused", "paused": True})])
    mail(site)
    mail(site, "paused")
    site.clock.tick(HOUR)
    (idle,) = await Watch(site.runtime).idle()
    assert (idle.subscription.id, idle.came_at) == ("hears", None)
    assert "has never come" in site.alarms()[0].text


async def test_nothing_is_asked_where_nobody_subscribes(site: Site):
    """A node without subscriptions has nothing to watch."""
    mail(site)
    site.clock.tick(HOUR)
    assert await Watch(site.runtime).idle() == []
    assert [d.state for d in site.deliveries()] == [State.READY]
