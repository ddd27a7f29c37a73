"""Quotas at the kernel's door: what is charged, what never is, and what a restart remembers."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.clock import SECOND, FrozenClock
from core.config import KERNEL_KINDS, Configuration, check_kernel, load
from core.errors import DurabilityLost, NotAllowed, OverQuota
from core.ledger import usage
from core.parcel import Acceptance, Judgement
from core.quota import Quota
from tests.core.nodes import DOCUMENTS, LARGE, SENDER, Site, make_node, make_settings, running


def limit(site: Site, **said: Any) -> None:
    """Put a quota of the sender into force."""
    documents = {**site.runtime.configuration.documents, "quota": {"q": Quota.model_validate({"id": "q"} | said)}}
    site.runtime.configuration = Configuration(documents, site.runtime.configuration.files, 1)


def left(site: Site) -> dict[str, int]:
    """What is left to the sender."""
    return {one.which: one.left for one in site.runtime.quotas.allowances(SENDER, site.clock.now())}


async def test_who_is_over_its_quota_is_told_when_to_come_back(site: Site):
    """Nothing is stored, the octets are gone, and the refusal names quota, limit and wait."""
    limit(site, system=SENDER, rate=1, burst=2)
    await site.accept()
    await site.accept()
    kept = site.objects()
    with pytest.raises(OverQuota, match="quota q: rate: 1 parcels a second") as caught:
        await site.accept(LARGE)
    assert caught.value.retry_after == SECOND
    assert b'stafet_messages_refused_total{code="quota",gateway="paper"} 1.0' in site.runtime.metrics.text()
    await asyncio.to_thread(site.runtime.deletions.submit(lambda: None).result)
    assert (len(site.parcels()), site.objects()) == (2, kept)
    assert isinstance(site.clock, FrozenClock)
    site.clock.tick(SECOND)
    await site.accept()


async def test_a_repetition_is_answered_and_costs_nothing(site: Site):
    """Also when nothing is left: the first answer comes back, as often as it is asked for."""
    limit(site, system=SENDER, rate=1, burst=3, octets_a_day=1000)
    first = await site.accept(key="k", answer=b"first")
    for _ in range(5):
        assert (await site.accept(key="k")).judgement is Judgement.KNOWN
    assert left(site) == {"rate": 2, "octets": 985}
    assert (await site.accept(key="k", fingerprint=b"other")).judgement is Judgement.CONFLICT
    await site.accept()
    await site.accept()
    assert left(site)["rate"] == 0
    again = await site.accept(key="k")
    assert (again.judgement, again.parcel_id, again.answer) == (Judgement.KNOWN, first.parcel_id, b"first")
    with pytest.raises(OverQuota):
        await site.accept(key="new")
    assert left(site) == {"rate": 0, "octets": 955}


async def test_of_several_together_the_known_are_free(site: Site):
    """One that is known and one that is new cost one; two new ones are refused together, and neither is stored."""
    limit(site, system=SENDER, rate=1, burst=2)
    await site.accept(key="a")
    judged = await site.kernel.accept(site.item(key="a"), site.item(key="b"))
    assert [one.judgement for one in judged] == [Judgement.KNOWN, Judgement.NEW]
    with pytest.raises(OverQuota):
        await site.kernel.accept(site.item(key="a"), site.item(key="c"))
    assert len(site.parcels()) == 2


async def test_what_is_refused_costs_nothing(site: Site):
    """No agreement, too large, a room that is full: the quota is as it was."""
    limit(site, system=SENDER, octets_a_day=100, rate=1, burst=4)
    for kind in ("unknown", "unheard-of"):
        with pytest.raises(NotAllowed):
            await site.accept(kind=kind)
    assert left(site) == {"rate": 4, "octets": 100}


async def test_many_at_once_cannot_pass_together(site: Site):
    """Fifty requests in one turn: as many as there is room for, and every octet of the others is gone."""
    limit(site, system=SENDER, octets_a_day=15 * 7)
    results = await asyncio.gather(*(site.accept() for _ in range(50)), return_exceptions=True)
    assert sum(isinstance(one, Acceptance) for one in results) == 7
    assert sum(isinstance(one, OverQuota) for one in results) == 43
    assert (len(site.parcels()), left(site)) == (7, {"octets": 0})


async def test_a_caller_that_goes_away_is_charged_for_what_is_stored(site: Site):
    """Cancelled, and committed all the same: it counts, once."""
    limit(site, system=SENDER, octets_a_day=100, waiting=5)
    task = asyncio.create_task(site.accept())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await site.written()
    assert left(site) == {"octets": 100 - 15 * len(site.parcels()), "waiting": 5 - len(site.parcels())}
    assert not site.runtime.quotas._charged


async def test_what_may_be_stored_stays_charged(site: Site, monkeypatch: pytest.MonkeyPatch):
    """A commit whose fate nobody knows is not given back."""
    limit(site, system=SENDER, octets_a_day=100)

    async def lost(*_: Any) -> Any:
        raise DurabilityLost("nobody knows")

    monkeypatch.setattr(site.runtime, "do", lost)
    with pytest.raises(DurabilityLost):
        await site.accept()
    assert left(site) == {"octets": 85}
    assert not site.runtime.quotas._charged


def with_quota(folder: Path, url: str, **said: Any) -> Any:
    """A home whose documents have a quota of the sender."""
    settings = make_settings(folder, url)
    quota = {"kind": "quota", "id": "q", "system": SENDER} | said
    (folder / "config" / "all.yaml").write_text(yaml.safe_dump_all([*DOCUMENTS, quota]))
    return settings


async def test_a_restart_forgets_nothing_of_the_day(tmp_path: Path, ledger_url: str):
    """What was accepted before counts from the first request on: octets of today, and what still waits."""
    settings = with_quota(tmp_path / "home", ledger_url, octets_a_day=40, waiting=10)
    site = Site(settings)
    await site.accept()
    await site.accept(kind="leaflet")
    site.runtime.close()
    async with running(make_node(settings)) as node:
        runtime = node.runtime
        found = {one.which: one.left for one in runtime.quotas.allowances(SENDER, runtime.clock.now())}
        assert found["octets"] == 10
        assert found["waiting"] in (8, 9)  # the letter may have left by now


async def test_another_nodes_parcels_are_seen_at_the_next_count(live: Site, neighbour: Site):
    """Each node knows its own at once, and the other's when it has counted."""
    for site in (live, neighbour):
        limit(site, system=SENDER, octets_a_day=100)
    await neighbour.accept()
    assert left(live) == {"octets": 100}
    quotas, runtime = live.runtime.quotas, live.runtime
    asked = quotas.ask(live.clock.now())
    assert asked is not None
    quotas.counted(asked, await runtime.read(usage.octets, asked.senders, asked.since, asked.cut), {})
    assert left(live) == {"octets": 85}


def test_quotas_are_checked_with_the_other_documents(tmp_path: Path):
    """For a system that is there, and one for each: in files, with their place."""
    settings = with_quota(tmp_path / "home", "", rate=5)
    found = load(settings.config_path, KERNEL_KINDS, [])
    assert found.all("quota")["q"].rate == 5

    def problems(*said: dict[str, Any]) -> list[tuple[str, str]]:
        made = {one["id"]: Quota.model_validate({"rate": 1} | one) for one in said}
        whole = Configuration({**found.documents, "quota": made}, {}, 1)
        return [(one.id, one.field) for one in check_kernel(whole)]

    assert problems({"id": "a", "system": SENDER}, {"id": "b", "each": "system"}) == []
    assert problems({"id": "a", "system": "gone"}) == [("a", "system")]
    assert problems({"id": "a", "system": SENDER}, {"id": "b", "system": SENDER}) == [("b", "id")]
