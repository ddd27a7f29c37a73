"""What became of what I sent: by stage, for the sender alone."""

from __future__ import annotations

import pytest

from core import commands
from core.clock import HOUR
from core.commands import Settlement
from core.delivery import Event, State
from core.desk.insight import Insights, stage_of
from core.errors import NotFound
from core.ledger import parcels
from core.ledger.deliveries import Settle
from core.ledger.search import Asked
from core.receipt import Level, Verdict
from tests.core.desk.test_watch import configured
from tests.core.making import an_accept
from tests.core.nodes import ARCHIVE, JOURNAL, SENDER, Site, received

MINE = frozenset({SENDER})


@pytest.mark.requirement("R16", "R73", "R75")
async def test_a_sender_sees_how_far_each_receiver_is(site: Site):
    """Who got it by which rule, and for each whether it waits, was lent, has it, or said no and why."""
    configured(site, receipts=[{"within": 3600}])
    parcel_id = (await site.accept(kind="circular")).parcel_id
    desk = Insights(site.runtime)

    async def stages() -> list[tuple[str, str]]:
        return [(one.receiver, one.stage) for one in (await desk.of(parcel_id, MINE)).receiving]

    assert await stages() == [(JOURNAL, "waiting"), (ARCHIVE, "waiting")]
    (lease,) = await site.kernel.pull(ARCHIVE, limit=1, wait=0)
    assert await stages() == [(JOURNAL, "waiting"), (ARCHIVE, "lent")]
    await site.kernel.ack(lease)
    journal = site.deliveries()[0]
    facts = {"level": Level.BUSINESS, "verdict": Verdict.REJECTED, "code": "unknown", "reason": "no such case"}
    await site.kernel.settle(received(journal, site.clock.now(), **facts))
    seen = await desk.of(parcel_id, MINE)
    first, second = seen.receiving
    assert (first.stage, first.code, first.reason, first.rule) == ("rejected", "unknown", "no such case", "to-both")
    assert (second.stage, second.attempts, second.settled_at) == ("acknowledged", 1, site.clock.now())
    assert [(one.of, one.level, one.state) for one in seen.awaited] == [
        (f"receiver {JOURNAL}", "business", "refused"),
        (f"receiver {ARCHIVE}", "business", "open"),
    ]
    assert [one.system for one in seen.awaited] == [JOURNAL, ARCHIVE]
    assert seen.awaited[1].due_at == seen.accepted_at + HOUR
    assert (seen.nobody, seen.residual, seen.integration, seen.type) == (False, False, "letters", "circular")


@pytest.mark.requirement("R16")
async def test_a_dead_letter_is_told_as_one(site: Site):
    """Lent too often without a word."""
    parcel_id = (await site.accept(kind="leaflet")).parcel_id
    one, now = site.delivery(), site.clock.now()
    settle = Settle(one.id, Event.EXHAUSTED, now, one.epoch, None, "loans", "lent 20 times")
    await site.runtime.do(commands.SETTLE, Settlement(settle, {}))
    (seen,) = (await Insights(site.runtime).of(parcel_id, MINE)).receiving
    assert (seen.stage, seen.dead_letter, seen.code) == ("failed", True, "loans")


@pytest.mark.requirement("R16")
async def test_nobody_and_nowhere_are_answers(site: Site):
    """A parcel no subscription matches, and one no route takes."""
    lonely = an_accept(deliveries=())
    with site.runtime.engine.begin() as connection:
        parcels.accept_many(connection, [lonely])
    seen = await Insights(site.runtime).of(lonely.item.parcel.id, MINE)
    assert (seen.nobody, seen.receiving, seen.residual) == (True, (), False)
    stray = (await site.accept(kind="stray")).parcel_id
    seen = await Insights(site.runtime).of(stray, MINE)
    assert (seen.nobody, seen.residual, seen.receiving[0].stage) == (False, True, "held")


@pytest.mark.requirement("R16", "R102")
async def test_only_the_sender_is_answered(site: Site):
    """For another, and for no parcel at all, the same words."""
    parcel_id = (await site.accept()).parcel_id
    for asked, senders in ((parcel_id, {JOURNAL}), ("nothing", {SENDER}), (parcel_id, set())):
        with pytest.raises(NotFound, match=f"^no parcel '{asked}'$"):
            await Insights(site.runtime).of(asked, frozenset(senders))
    assert (await Insights(site.runtime).of(parcel_id, None)).sender == SENDER


@pytest.mark.requirement("R16")
async def test_a_sender_asks_by_its_own_name_for_it(site: Site):
    """The key it sent under finds it, for the sender; for who receives it, it is none of what one sent."""
    parcel_id = (await site.accept(key="letter-7")).parcel_id
    desk = Insights(site.runtime)

    async def found(name: str, *systems: str) -> list[str]:
        asked = Asked(reference=name, systems=frozenset(systems) if systems else None)
        return [one.parcel_id for one in (await desk.called(asked)).items]

    assert await found("letter-7", SENDER) == await found("letter-7") == [parcel_id]
    assert await found("letter-7", JOURNAL) == await found("letter-8", SENDER) == []


@pytest.mark.requirement("R73")
def test_every_state_has_a_stage():
    """And one that is ready says how far its receiver is with it."""
    facts = {"pulled": True, "attempts": 1, "fetched": True}
    assert {state: stage_of(state, **facts) for state in State} == {
        State.READY: "fetched",
        State.AWAITING: "sent",
        State.HELD: "held",
        State.DELIVERED: "acknowledged",
        State.ACCEPTED: "understood",
        State.REJECTED: "rejected",
        State.FAILED: "failed",
        State.QUARANTINED: "failed",
    }
    assert stage_of(State.READY, pulled=True, attempts=0, fetched=False) == "waiting"
    assert stage_of(State.READY, pulled=True, attempts=2, fetched=False) == "lent"
    assert stage_of(State.READY, pulled=False, attempts=2, fetched=False) == "tried"
