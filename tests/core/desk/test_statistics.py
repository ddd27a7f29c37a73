"""Figures of use: computed in turns, exact once an hour is over, and asked in words."""

from __future__ import annotations

from dataclasses import replace

import pytest

from core import limits
from core.clock import DAY, HOUR
from core.desk.statistics import Statistics, Unused, asking
from core.errors import UsageError
from core.ledger import statistics as rows
from core.ledger import turns
from tests.core.nodes import Site, received

ALWAYS = 2**62


async def by(site: Site, dimension: str) -> dict[str, int]:
    """Parcels by one dimension."""
    return {one.of[0]: one.parcels for one in await Statistics(site.runtime).sums(asking(dimension, 0, ALWAYS))}


@pytest.mark.requirement("R76", "R133")
async def test_figures_follow_what_happens(site: Site):
    """The hour that runs is counted at every look; what settles in an hour that is over is seen when another ends."""
    desk = Statistics(site.runtime)
    assert await desk.sum_up() == 0
    await site.accept()
    assert await desk.sum_up() == 1
    assert await by(site, "state") == {"ready": 1}
    await site.accept(kind="circular")
    await desk.sum_up()
    assert await by(site, "receiver") == {"egedal-journal": 2, "skovby-archive": 1}
    assert await by(site, "sender") == {"birkelund-post": 2}
    site.clock.tick(HOUR)
    await desk.sum_up()
    for one in site.deliveries():
        await site.kernel.settle(received(one, site.clock.now()))
    assert await by(site, "state") == {"ready": 3}
    site.clock.tick(HOUR)
    await desk.sum_up()
    assert await by(site, "state") == {"delivered": 3}
    assert await desk.sum_up() == 1


@pytest.mark.requirement("R76")
async def test_what_is_on_its_way_for_days_is_counted_as_what_it_became(site: Site):
    """An old hour is computed again as long as something of it has not settled, and no longer."""
    desk = Statistics(site.runtime)
    await site.accept()
    for _ in range(3):
        site.clock.tick(DAY)
        await desk.sum_up()
    assert await by(site, "state") == {"ready": 1}
    await site.kernel.settle(received(site.delivery(), site.clock.now()))
    site.clock.tick(HOUR)
    await desk.sum_up()
    assert await by(site, "state") == {"delivered": 1}
    assert site.runtime.read_now(rows.unsettled, ALWAYS, 10) == []


async def test_an_old_ledger_is_caught_up_with_in_turns(site: Site, monkeypatch: pytest.MonkeyPatch):
    """So many hours a look, from the first on, until the hour that runs."""
    monkeypatch.setattr(limits, "STATISTIC_BATCH", 4)
    monkeypatch.setattr(limits, "STATISTIC_AGAIN", HOUR)
    desk = Statistics(site.runtime)
    await site.accept()
    site.clock.tick(9 * HOUR)
    await site.accept()
    for _ in range(2):
        await desk.sum_up()
        assert await by(site, "sender") == {"birkelund-post": 1}
    await desk.sum_up()
    assert await by(site, "sender") == {"birkelund-post": 2}


async def test_one_node_at_a_time_computes(site: Site):
    """Who does not have the turn leaves it."""
    await site.accept()
    now = site.clock.now()
    with site.runtime.engine.begin() as connection:
        assert turns.take(connection, "statistics", "another", now, now + 10)
    assert await Statistics(site.runtime).sum_up() == 0
    site.clock.tick(10)
    assert await Statistics(site.runtime).sum_up() == 1


@pytest.mark.requirement("R76", "R134")
async def test_rules_that_nothing_goes_by_are_listed(site: Site):
    """Routes and subscriptions in force, less those that were used."""
    desk = Statistics(site.runtime)
    await site.accept()
    await desk.sum_up()
    unused = await desk.unused(0)
    assert unused == [Unused("route", name) for name in ("to-a-stranger", "to-archive", "to-both")]
    assert Unused("route", "to-journal") in await desk.unused(site.clock.now() + HOUR)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"by": ("colour",)}, "by: nothing is counted by 'colour'"),
        ({"by": ()}, "by: name at least one"),
        ({"by": ("rule", "rule")}, "each once"),
        ({"only": {"colour": "blue"}}, "only: nothing is counted by 'colour'"),
        ({"since": 5, "until": 5}, "until: lies before since"),
    ],
)
async def test_a_wrong_question_names_its_field(site: Site, changes, words):
    """And what it could be."""
    with pytest.raises(UsageError, match=words):
        await Statistics(site.runtime).sums(replace(asking("rule", 0, 10), **changes))


def test_a_question_in_words():
    """Dimensions with commas; whole hours; what is empty narrows nothing."""
    asked = asking("sender, receiver", HOUR + 5, 2 * HOUR, {"integration": "", "rule": "r"}, {"s"})
    assert (asked.by, asked.since, asked.until) == (("sender", "receiver"), HOUR, 2 * HOUR)
    assert (asked.only, asked.systems) == ({"rule": "r"}, {"s"})
