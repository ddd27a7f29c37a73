"""What one parcel went through: all of it for its sender, its own part for a receiver."""

from __future__ import annotations

import pytest

from core.clock import HOUR
from core.desk.tracing import Tracing, as_receiver
from core.errors import NotFound
from core.ledger.trace import Line
from core.retention import expire
from tests.core.desk.test_watch import configured, said
from tests.core.nodes import ARCHIVE, JOURNAL, SENDER, Site


def scope(*systems: str) -> frozenset[str]:
    """Who asks."""
    return frozenset(systems)


async def moved(site: Site) -> str:
    """A parcel to both, of which the journal says that its application has it."""
    configured(site, receipts=[{"level": "business", "within": 3600}])
    parcel_id = (await site.accept(kind="circular")).parcel_id
    (journal,) = [one for one in site.deliveries() if one.receiver == JOURNAL]
    await site.kernel.settle(said(site, journal))
    await site.kernel.note(parcel_id, "frozen", {"message": "m-1"})
    return parcel_id


@pytest.mark.requirement("R73", "R75", "R78", "R130")
async def test_a_sender_sees_all_of_it(site: Site):
    """Every delivery, receipt, expectation and line; who sees everything sees the same."""
    parcel_id = await moved(site)
    desk = Tracing(site.runtime)
    for asked in (scope(SENDER), scope(SENDER, ARCHIVE), None):
        seen = await desk.of(parcel_id, asked)
        assert (seen.whole, seen.emptied) == (True, False)
        assert [row.receiver for row in seen.rows] == [JOURNAL, ARCHIVE]
        assert [(one.system, one.state) for one in seen.awaited] == [(JOURNAL, "met"), (ARCHIVE, "open")]
        assert [one.verdict for one in seen.receipts] == ["accepted"]
        assert [line.event for line in seen.lines] == ["accepted", "business-accepted", "expected", "frozen"]
        assert seen.lines[0].facts["receivers"] == [JOURNAL, ARCHIVE]


@pytest.mark.requirement("R73", "R102")
async def test_a_receiver_sees_its_own_part(site: Site):
    """No other receiver's name is in anything it gets."""
    parcel_id = await moved(site)
    desk = Tracing(site.runtime)
    seen = await desk.of(parcel_id, scope(ARCHIVE))
    assert JOURNAL not in repr(seen)
    assert [line.event for line in seen.lines] == ["accepted"]
    assert set(seen.lines[0].facts) == {"gateway", "sender", "integration", "type", "version", "payloads"}
    seen = await desk.of(parcel_id, scope(JOURNAL))
    assert ARCHIVE not in repr(seen)
    assert [line.event for line in seen.lines] == ["accepted", "business-accepted"]
    assert [(one.system, one.state) for one in seen.awaited] == [(JOURNAL, "met")]


async def test_for_anybody_else_there_is_no_such_parcel(site: Site):
    """As if it had never been."""
    parcel_id = await moved(site)
    for name, asked in ((parcel_id, scope("skovby-mail")), (parcel_id, scope()), ("nothing", None)):
        with pytest.raises(NotFound):
            await Tracing(site.runtime).of(name, asked)


@pytest.mark.requirement("R106")
async def test_what_happened_is_told_when_its_content_is_gone(site: Site):
    """Deleted when its time was over; the lines stay."""
    parcel_id = (await site.accept(kind="letter")).parcel_id
    await site.kernel.settle(said(site, site.delivery()))
    with site.runtime.engine.begin() as connection:
        assert expire(connection, {}, 0, site.clock.now() + HOUR).parcels == 1
    seen = await Tracing(site.runtime).of(parcel_id, scope(SENDER))
    assert seen.emptied
    assert [line.event for line in seen.lines] == ["accepted", "business-accepted"]


def line(event: str, **facts: object) -> Line:
    """A line of a trace."""
    return Line("c", 1, 0, event, dict(facts))


def test_a_line_that_nobody_thought_of_is_kept_from_a_receiver():
    """What was added is shown, where it was sent on as far as it concerns the receiver, and nothing that names no receiver."""
    own = scope(JOURNAL)
    added = line("enriched", step="table", added=["classification unit 751"])
    assert as_receiver(added, own) is added
    assert as_receiver(line("not-enriched", step="table", cause="x"), own) is None
    assert as_receiver(line("conflict", by="x"), own) is None
    assert as_receiver(line("retry", receiver=ARCHIVE), own) is None
    assert as_receiver(line("redirected", receivers=[JOURNAL, ARCHIVE]), own) is None
    mine = line("redistributed", **{"from": JOURNAL, "receivers": [ARCHIVE]})
    assert as_receiver(mine, own) is mine
    to_me = line("redistributed", **{"from": ARCHIVE, "receivers": [JOURNAL, "skovby-mail"]})
    shown = as_receiver(to_me, own)
    assert shown is not None
    assert shown.facts == {"from": ARCHIVE, "receivers": [JOURNAL]}
    assert as_receiver(line("redistributed", **{"from": ARCHIVE, "receivers": ["skovby-mail"]}), own) is None
