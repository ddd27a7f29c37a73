"""What the writer does with requests and versions that come over an API, on both databases."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from core.changes import ASK, CHANGE, Ask, Asked, Change, Changed
from core.ledger import requests, versions
from core.ledger.requests import Decision, RequestState
from core.ledger.versions import Version
from core.parcel import Judgement, Key
from tests.core.ledger.test_requests import a_request
from tests.core.making import NOW
from tests.core.nodes import Site

NEXT = Version(0, NOW, "owner", "why", "{}")
YES = Decision("r1", RequestState.APPROVED, "owner", NOW, "")


async def test_a_request_is_stored_unless_there_are_too_many(site: Site):
    """Counted in the commit that stores it, also within one batch."""
    do = site.runtime.do
    asked = await asyncio.gather(*(do(ASK, Ask(a_request(f"r{n}"), 2)) for n in range(4)))
    assert asked == [Asked(Judgement.NEW, "r0"), Asked(Judgement.NEW, "r1"), *[Asked(Judgement.NEW, None)] * 2]
    assert await do(ASK, Ask(a_request("r9", asked_by="care"), 2)) == Asked(Judgement.NEW, "r9")


async def test_a_request_counts_once_under_its_key(site: Site):
    """The same is known by its first id, another is a conflict; neither is stored, nor counted."""
    do, key = site.runtime.do, Key("rest-requests/robot", "k")
    assert await do(ASK, Ask(a_request("r1"), 1, key, b"a")) == Asked(Judgement.NEW, "r1")
    assert await do(ASK, Ask(a_request("r2"), 1, key, b"a")) == Asked(Judgement.KNOWN, "r1")
    assert await do(ASK, Ask(a_request("r3"), 1, key, b"b")) == Asked(Judgement.CONFLICT, None)
    assert site.runtime.read_now(requests.get, "r2") is None


async def test_of_decisions_at_once_one_counts(site: Site):
    """The others are told the state, and make no version."""
    do = site.runtime.do
    await do(ASK, Ask(a_request("r1"), 9))
    no = replace(YES, state=RequestState.REFUSED)
    changed = await asyncio.gather(*(do(CHANGE, Change(NEXT, 0, one)) for one in (YES, no, YES)))
    assert changed == [Changed(1), *[Changed(None, RequestState.APPROVED)] * 2]
    assert site.runtime.read_now(versions.latest_number) == 1
    assert await do(CHANGE, Change(None, decision=replace(YES, request="r7"))) == Changed(None, RequestState.WITHDRAWN)


async def test_a_change_of_what_has_moved_on_is_not_made(site: Site):
    """Neither the version nor the decision; made from the newest, both are."""
    do = site.runtime.do
    await do(ASK, Ask(a_request("r1"), 9))
    assert await do(CHANGE, Change(NEXT, 0)) == Changed(1)
    assert await do(CHANGE, Change(NEXT, 0, YES)) == Changed(None)
    found = site.runtime.read_now(requests.get, "r1")
    assert found is not None
    assert found.state is RequestState.PENDING
    assert await do(CHANGE, Change(NEXT, 1, YES)) == Changed(2)
    assert site.runtime.read_now(requests.get, "r1").config_version == 2  # type: ignore[union-attr]


async def test_a_refusal_makes_no_version(site: Site):
    """It is a decision alone."""
    await site.runtime.do(ASK, Ask(a_request("r1"), 9))
    no = replace(YES, state=RequestState.REFUSED)
    assert await site.runtime.do(CHANGE, Change(None, decision=no)) == Changed(0)
    assert site.runtime.read_now(versions.latest_number) == 0


async def test_two_nodes_never_store_one_number(live: Site, neighbour: Site):
    """Of changes made at once on two nodes from one version, one is made; the other begins anew."""
    for number in range(10):
        both = await asyncio.gather(*(one.runtime.do(CHANGE, Change(NEXT, number)) for one in (live, neighbour)))
        assert sorted(str(one.number) for one in both) == sorted([str(number + 1), "None"])
