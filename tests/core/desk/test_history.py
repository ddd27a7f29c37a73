"""Trials of filters on what came, on both databases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from core import limits
from core.clock import HOUR, SECOND
from core.desk.history import History
from core.errors import Overloaded
from core.subscription import Subscription
from tests.core.desk.test_mailbox import subscribe, tell
from tests.core.nodes import JOURNAL, Site


@pytest.fixture
async def desk(site: Site) -> AsyncIterator[History]:
    """A desk, and something that is told."""
    subscribe(site, {"id": "all"})
    yield History(site.runtime)


def wanted(**changes: object) -> Subscription:
    """A filter of the journal's."""
    return Subscription.model_validate({"id": "test", "system": JOURNAL, "integration": "told", **changes})


async def test_what_matches_is_counted_newest_first(site: Site, desk: History):
    """With examples of each; what is older than asked is not looked at."""
    old = await tell(site, 1, correlation_id="c-0")
    site.clock.tick(2 * HOUR)
    parcels = await tell(site, 1, correlation_id="c-1") + await tell(site, 1)
    site.clock.tick(SECOND)
    trial = await desk.trial(wanted(when='parcel.correlation_id != ""'), site.clock.now() - HOUR)
    assert (trial.seen, trial.matched, trial.whole, trial.broken) == (2, 1, True, "")
    assert [one.id for one in trial.matching] == parcels[:1]
    assert [one.id for one in trial.others] == parcels[1:]
    assert old[0] not in {one.id for one in (*trial.matching, *trial.others)}


async def test_a_trial_ends_by_count_and_by_time(site: Site, desk: History, monkeypatch: pytest.MonkeyPatch):
    """Saying how far back it came; of many it shows a few."""
    monkeypatch.setattr(limits, "REPLAY_BATCH", 2)
    await tell(site, 9)
    site.clock.tick(SECOND)
    whole = await desk.trial(wanted(), 0)
    assert (whole.seen, whole.matched, len(whole.matching), whole.whole) == (9, 9, limits.TRIAL_EXAMPLES, True)
    monkeypatch.setattr(limits, "TRIAL_LOOKED_AT", 4)
    assert (await desk.trial(wanted(), 0)).seen == 4
    monkeypatch.setattr(limits, "TRIAL_TIME", 0)
    short = await desk.trial(wanted(), 0)
    assert (short.seen, short.whole, short.since > 0) == (2, False, True)


async def test_subjects_are_asked_of_the_list_alone(site: Site, desk: History):
    """Opened where everything else holds, and shown to nobody."""
    asked: list[tuple[str, tuple[str, ...]]] = []

    def on_list(name: str, subjects: tuple[str, ...]) -> bool:
        asked.append((name, tuple(subjects)))
        return "resident-7" in subjects

    site.runtime.on_list = on_list  # type: ignore[assignment]
    await tell(site, 1, subjects=("resident-7",))
    await tell(site, 1, subjects=("resident-8",), correlation_id="c-1")
    await tell(site, 1)
    site.clock.tick(SECOND)
    trial = await desk.trial(wanted(subjects_in="mine", when='parcel.correlation_id == ""'), 0)
    assert (trial.seen, trial.matched) == (3, 1)
    assert sorted(asked) == [("mine", ()), ("mine", ("resident-7",))]
    assert "resident" not in repr(trial)


async def test_what_cannot_be_judged_is_said(site: Site, desk: History):
    """It does not match, and the words are those of the condition."""
    await tell(site)
    site.clock.tick(SECOND)
    trial = await desk.trial(wanted(when='parcel.attributes["x"] == "y"'), 0)
    assert (trial.matched, "cannot be evaluated" in trial.broken) == (0, True)


async def test_few_are_made_at_once(site: Site, desk: History, monkeypatch: pytest.MonkeyPatch):
    """The next is asked to come back; afterwards there is room again."""
    monkeypatch.setattr(limits, "TRIALS", 1)
    both = await asyncio.gather(desk.trial(wanted(), 0), desk.trial(wanted(), 0), return_exceptions=True)
    assert sum(isinstance(one, Overloaded) for one in both) == 1
    await desk.trial(wanted(), 0)
