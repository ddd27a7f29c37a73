"""The handing desk: who sees what, octets from the middle, receipts that count once, and a feed that keeps nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from core.clock import SECOND
from core.description import Description, Reference
from core.desk.handing import Handing, Said, Seen
from core.desk.redistribution import Goal, Redistribution, Why
from core.desk.uploads import Uploads
from core.errors import NotFound, WrongState
from core.kernel import NodeKernel
from core.parcel import Acceptance, Judgement
from core.receipt import Level, Verdict
from tests.core.nodes import ARCHIVE, JOURNAL, LARGE, SENDER, Site

SAID = Said(f"rest/{ARCHIVE}", "c-1", "taken")


def only(*systems: str) -> frozenset[str]:
    """Whom somebody speaks for."""
    return frozenset(systems)


@pytest.fixture
def handing(site: Site) -> Handing:
    """A desk."""
    return Handing(site.runtime)


async def hand(site: Site, *payloads: bytes, kind: str = "leaflet", **changes: Any) -> str:
    """A leaflet for the archive, which comes for it; or what else is said. Gives the parcel's id."""
    description = Description(type=kind, sender=SENDER, **changes)
    (one,) = await site.kernel.accept(site.item(site.make(*payloads, description=description)))
    return one.parcel_id


async def say(handing: Handing, seen: Seen, raw: bytes = b"{}", verdict: Verdict = Verdict.ACCEPTED) -> Acceptance:
    """A business receipt of the archive's."""
    return await handing.say(seen, seen.of(ARCHIVE), Level.BUSINESS, verdict, raw, SAID)


async def test_a_sender_sees_every_delivery_and_a_receiver_its_own(site: Site, handing: Handing):
    """For anybody else there is no such parcel; an administrator sees all."""
    parcel = await hand(site, kind="circular")
    for scope, receivers in (
        (only(SENDER), [JOURNAL, ARCHIVE]),
        (None, [JOURNAL, ARCHIVE]),
        (only(ARCHIVE), [ARCHIVE]),
        (only(ARCHIVE, JOURNAL), [JOURNAL, ARCHIVE]),
    ):
        seen = await handing.look(parcel, scope)
        assert sorted(row.receiver for row in seen.rows) == sorted(receivers)
    for name, scope in ((parcel, only("nobody")), (parcel, only()), ("0" * 32, None), ("0" * 32, only(SENDER))):
        with pytest.raises(NotFound):
            await handing.look(name, scope)
    with pytest.raises(NotFound):
        (await handing.look(parcel, only(ARCHIVE))).of(JOURNAL)


async def test_the_first_fetch_is_noted(site: Site, handing: Handing):
    """Once in the row and once in the trace, whoever fetches at the same time."""
    parcel = await hand(site)
    row = (await handing.look(parcel, None)).of(ARCHIVE)
    await asyncio.gather(handing.fetched(row), handing.fetched(row))
    again = (await handing.look(parcel, None)).of(ARCHIVE)
    await handing.fetched(again)
    assert again.fetched_at == site.clock.now()
    assert site.trace(parcel).count(("fetched", {"receiver": ARCHIVE})) == 1


@pytest.mark.parametrize("octets", [LARGE, b"small"])
async def test_a_part_of_a_payload(site: Site, handing: Handing, octets: bytes):
    """From the middle, whether it is a file or lies in the database."""
    parcel = (await handing.look(await hand(site, b"first", octets), None)).parcel
    for begin, end in ((0, len(octets)), (1, 3), (len(octets) - 2, len(octets))):
        assert b"".join([chunk async for chunk in handing.part(parcel, 1, begin, end)]) == octets[begin:end]


async def test_what_was_never_accepted_is_forgotten(site: Site, handing: Handing):
    """Its objects go."""
    made = site.make(LARGE)
    assert len(site.objects()) == 1
    handing.forget(made.payloads)
    while site.objects():
        await asyncio.sleep(0.01)


async def test_a_receipt_counts_once_for_each_text(site: Site, handing: Handing):
    """It is kept as it came and moves the delivery; the same again is known, and the first verdict stands."""
    parcel = await hand(site)
    seen = await handing.look(parcel, only(ARCHIVE))
    judged = [await say(handing, seen, raw, verdict) for raw, verdict in _SAYS]
    assert [one.judgement for one in judged] == [Judgement.NEW, Judgement.KNOWN, Judgement.NEW]
    assert [row.raw for row in await handing.receipts(seen)] == [b'{"a": 1}', b'{"a": 2}']
    row = (await handing.look(parcel, None)).of(ARCHIVE)
    assert (row.state, row.last_code) == ("accepted", "c-1")


_SAYS: Sequence[tuple[bytes, Verdict]] = (
    (b'{"a": 1}', Verdict.ACCEPTED),
    (b'{"a": 1}', Verdict.ACCEPTED),
    (b'{"a": 2}', Verdict.REJECTED),
)


async def test_a_receipt_counts_for_what_belongs_to_it_and_for_nothing_else(site: Site, handing: Handing):
    """Parcels that the same sender sent to the same receiver; a reference to another's is only a word."""
    mine, others = await hand(site), await hand(site, kind="letter")
    references = tuple(Reference(kind="parcel", id=name) for name in (mine, others, "0" * 32))
    form = await hand(site, references=references)
    await say(handing, await handing.look(form, only(ARCHIVE)))
    states = {name: (await handing.look(name, None)).rows[0].state for name in (form, mine, others)}
    assert states == {form: "accepted", mine: "accepted", others: "ready"}
    assert (await say(handing, await handing.look(form, only(ARCHIVE)))).judgement is Judgement.KNOWN


async def test_nobody_speaks_for_what_was_sent_on(site: Site, handing: Handing):
    """Its new receiver does."""
    parcel = await hand(site)
    seen = await handing.look(parcel, only(ARCHIVE))
    desk = Redistribution(site.runtime, Uploads(site.runtime))
    await desk.send_on(seen, seen.of(ARCHIVE), Goal(system=JOURNAL), Why(ARCHIVE, reason="for the journal"))
    again = await handing.look(parcel, only(ARCHIVE))
    with pytest.raises(WrongState):
        await say(handing, again)
    assert [line.facts["receivers"] for line in again.history] == [[JOURNAL]]


async def test_the_feed_waits_for_the_first(live: Site):
    """Who waits is told when something comes, and goes on from it; who does not wait gets nothing at once."""
    handing = NodeKernel(live.runtime, "rest", live.mail).desks.handing
    assert await handing.feed(SENDER, 0, 10, 0) == []
    waiting = asyncio.create_task(handing.feed(SENDER, 0, 10, 20 * SECOND))
    await asyncio.sleep(0.1)
    parcel = await hand(live)
    await say(handing, await handing.look(parcel, None))
    (row,) = await asyncio.wait_for(waiting, 15)
    assert (row.parcel_id, row.verdict) == (parcel, "accepted")
    assert await handing.feed(SENDER, row.id, 10, 0) == []
