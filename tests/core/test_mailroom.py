"""Waking who waits for mail."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from core.clock import SECOND
from core.ledger import deliveries
from core.mailroom import boxes_of
from tests.core.making import a_delivery
from tests.core.nodes import Site


def test_where_deliveries_wait_to_be_fetched():
    """One box for each system and subscription; what a gateway pushes waits in none."""
    pulled = a_delivery(gateway="")
    told = replace(pulled, destination="all")
    assert boxes_of([told, pulled, pulled, a_delivery()]) == [("egedal-journal", ""), ("egedal-journal", "all")]


async def test_who_waits_is_woken_for_its_own_box_alone(site: Site):
    """The other waits until its time is up."""
    mine = asyncio.create_task(site.mail.wait(("a", ""), 10 * SECOND))
    others = asyncio.create_task(site.mail.wait(("a", "x"), SECOND // 10))
    await asyncio.sleep(0)
    site.mail.wake([("a", ""), ("nobody", "")])
    await asyncio.wait_for(mine, 1)
    assert not others.done()
    await asyncio.wait_for(others, 2)


async def test_what_another_node_accepted_is_found_within_an_interval(site: Site):
    """One question for all who wait."""
    running = asyncio.create_task(site.mail.run())
    try:
        waiting = asyncio.create_task(site.mail.wait(("egedal-journal", "all"), 10 * SECOND))
        await asyncio.sleep(0)
        made = replace(a_delivery(gateway=""), destination="all", due_at=site.clock.now())
        with site.runtime.engine.begin() as connection:  # as another node would
            deliveries.add_deliveries(connection, [(made, "")])
        await asyncio.wait_for(waiting, 5)
    finally:
        running.cancel()
