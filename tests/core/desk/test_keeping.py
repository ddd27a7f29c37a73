"""Retention that states what it did, and the usual receipts that do not come."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import insert

from core.clock import DAY, HOUR, SECOND
from core.delivery import State
from core.description import Description
from core.desk.keeping import Keeping, statements
from core.desk.looking import Looking
from core.desk.statistics import Statistics, asking
from core.ledger import expectations
from core.ledger.looking import Asked
from core.ledger.search import Asked as Sought
from core.ledger.search import find
from core.ledger.tables import upload
from tests.core.desk.test_watch import configured
from tests.core.nodes import SENDER, Site, received


@pytest.mark.requirement("R106", "R129")
async def test_what_is_deleted_is_stated(site: Site):
    """How many of which integration and up to when, in the chained trace; names and expectations go with their parcels."""
    configured(site, receipts=[{"within": 60}])
    description = Description(type="letter", sender=SENDER, correlation_id="case-1")
    for _ in range(2):
        await site.kernel.accept(site.item(site.make(description=description)))
    for one in site.deliveries():
        await site.kernel.settle(received(one))
    kept = (await site.accept()).parcel_id
    await Looking(site.runtime).changed("clerk-1", "birkelund", "read", kept)
    site.clock.tick(90 * DAY + SECOND)
    now = site.clock.now()
    assert len(site.runtime.read_now(find, Sought(reference="case-1"), 9)) == 2
    said = await Keeping(site.runtime).retain()
    assert said == {"parcels": {"letters": [2, now - 90 * DAY]}, "looks": [1, now - 90 * DAY]}
    (line,) = site.runtime.read_now(statements)
    assert (line.at, line.event, line.facts) == (now, "retention", said)
    assert site.chain_fault() is None
    assert site.runtime.read_now(find, Sought(reference="case-1"), 9) == []
    assert len(site.runtime.read_now(expectations.of_parcel, kept)) == 1
    gone = [p for p in site.parcels() if p != kept]
    assert [site.runtime.read_now(expectations.of_parcel, one) for one in gone] == [[], []]


async def test_a_run_that_deletes_nothing_says_nothing(site: Site):
    """The trace does not fill with silence."""
    await site.accept()
    assert await Keeping(site.runtime).retain() == {}
    assert site.runtime.read_now(statements) == []


@pytest.mark.requirement("R106")
async def test_the_log_and_the_figures_are_kept_as_long_as_the_node_says(site: Site):
    """Each has days of its own; figures outlive what they count."""
    await site.accept()
    await Statistics(site.runtime).sum_up()
    await Looking(site.runtime).changed("clerk-1", "birkelund", "read", "p-1")
    keep = {"access_days": 30, "statistics_days": 400}
    site.runtime.settings = site.runtime.settings.model_validate({**site.runtime.settings.model_dump(), "keep": keep})
    desk = Keeping(site.runtime)
    site.clock.tick(30 * DAY)
    assert await desk.retain() == {}
    site.clock.tick(1)
    assert list(await desk.retain()) == ["looks"]
    assert (await Looking(site.runtime).find(Asked())).items == ()
    site.clock.tick(371 * DAY)
    assert "figures" in await desk.retain()
    assert await Statistics(site.runtime).sums(asking("sender", 0, 2**62)) == []


@pytest.mark.requirement("R106")
async def test_a_transfer_that_nobody_finished_goes_with_its_objects(site: Site):
    """Once its time is over; what it had is deleted from the store."""
    made = site.make()
    keeper = site.kernel.keep(made)
    keeper.write(b"half of it")
    keeper.commit()
    row = {
        "system": SENDER,
        "name": "film",
        "media_type": "video/mp4",
        "size": 9,
        "received": 4,
        "key_id": "k",
        "id": "u-1",
    }
    with site.runtime.engine.begin() as connection:
        objects = json.dumps([keeper.object_id])
        expires = site.clock.now() + HOUR
        connection.execute(insert(upload).values(**row, wrapped_key=b"w", objects=objects, expires_at=expires))
    desk = Keeping(site.runtime)
    site.clock.tick(HOUR)
    assert (await desk.retain(), site.objects()) == ({}, [keeper.object_id])
    site.clock.tick(1)
    assert (await desk.retain(), site.objects()) == ({"uploads": [1, site.clock.now()]}, [])


@pytest.mark.requirement("R71")
async def test_the_usual_receipt_is_one_alarm_whoever_looks(site: Site):
    """By the default of an integration that says nothing; one that says more has an expectation of its own instead."""
    await site.accept()
    with site.runtime.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE delivery SET state = '{State.AWAITING.value}'")
    site.clock.tick(DAY + 1)
    for _ in range(2):
        await Keeping(site.runtime).retain()
    assert [(a.code, a.text) for a in site.alarms()] == [
        ("no-receipt", "no receipt for a parcel of letters within the agreed time")
    ]
    configured(site, receipt="envelope")
    await site.accept()
    with site.runtime.engine.begin() as connection:
        connection.exec_driver_sql(f"UPDATE delivery SET state = '{State.AWAITING.value}'")
    site.clock.tick(DAY + 1)
    await Keeping(site.runtime).retain()
    assert len(site.alarms()) == 1
