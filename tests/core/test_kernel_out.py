"""What a gateway may ask of the kernel on the way out: freeze, settle, lend to who pulls, read octets."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core import commands, limits
from core.asking import Kernel, Lease
from core.clock import DAY, HOUR, SECOND, FrozenClock
from core.commands import Settlement
from core.delivery import Delivery, Frozen, State
from core.description import Description
from core.errors import Conflict, Overloaded, PayloadError, StaleLease
from core.gateway import Outcome
from core.kernel import NodeKernel
from core.ledger import deliveries as queue
from core.ledger import parcels
from core.ledger.claiming import Claim
from core.ledger.deliveries import of_outcome
from core.parcel import Judgement, Key, Parcel
from core.receipt import Level, Receipt, Verdict
from tests.core.making import NOW
from tests.core.nodes import ARCHIVE, JOURNAL, LARGE, SENDER, Site, received

RECEIPTS = f"paper/{JOURNAL}"


async def claimed(site: Site) -> Delivery:
    """Claim the only delivery, as a dispatcher does."""
    now = site.clock.now()
    work = await site.runtime.do(commands.CLAIM, Claim(10, site.runtime.boot, now, now + limits.LEASE))
    (one,) = work.deliveries
    assert isinstance(one, Delivery)
    return one


async def reported(site: Site, attempt: Delivery, outcome: Outcome, retry_at: int | None = None) -> Any:
    """What an attempt reports, as a dispatcher does."""
    settle = of_outcome(attempt, outcome, site.clock.now(), retry_at)
    return (await site.runtime.do(commands.SETTLE, Settlement(settle, {}))).settled


def receipts(site: Site) -> list[Any]:
    """The evidence about the only delivery."""
    return site.runtime.read_now(queue.receipts_of, [site.delivery().id])


# --- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R67")
async def test_a_receipt_settles_its_delivery_and_is_kept(site: Site):
    """State, level, code, digest and octets are stored in the commit that moves it, and the trace says who spoke."""
    parcel = (await site.accept()).parcel_id
    one = site.delivery()
    receipt = received(one, NOW + SECOND, outside_id="message-1@egedal.example", code="ok", level=Level.ENVELOPE)
    acceptance = await site.kernel.settle(receipt)
    assert (acceptance.judgement, acceptance.parcel_id) == (Judgement.NEW, parcel)
    assert (site.delivery().state, site.row().settled_at) == (State.DELIVERED, NOW + SECOND)
    (row,) = receipts(site)
    assert (row.level, row.verdict, row.raw, row.digest) == ("envelope", "accepted", b"<signed/>", b"d" * 32)
    assert (row.outside_id, row.code) == ("message-1@egedal.example", "ok")
    event, facts = site.trace(parcel)[-1]
    assert (event, facts["level"], facts["state"], facts["code"]) == ("acknowledged", "envelope", "delivered", "ok")


async def test_a_receipt_may_overtake_the_attempts_own_result(site: Site):
    """The evidence is there first; what the attempt then reports no longer matters."""
    await site.accept()
    attempt = await claimed(site)
    await site.kernel.settle(received(attempt))
    settled = await reported(site, attempt, Outcome(sent=True), retry_at=NOW + HOUR)
    assert (settled.before, settled.after, settled.stale) == (State.DELIVERED, State.DELIVERED, False)
    assert site.delivery().state is State.DELIVERED
    assert await reported(site, attempt, Outcome(code="connect"), retry_at=None) is not None
    assert (site.delivery().state, site.alarms()) == (State.DELIVERED, [])


async def test_a_receipt_counts_after_the_lease_has_ended_and_gone_to_another(site: Site):
    """Evidence is never fenced; what the first attempt reports is."""
    await site.accept()
    first = await claimed(site)
    site.clock.tick(limits.LEASE + 1)
    second = await claimed(site)
    assert (second.id, second.epoch, second.attempts) == (first.id, first.epoch + 1, 2)
    stale = await reported(site, first, Outcome(refused=True, code="no"))
    assert (stale.stale, site.delivery().state) == (True, State.READY)
    await site.kernel.settle(received(first, site.clock.now()))
    assert site.delivery().state is State.DELIVERED
    assert [event for event, _ in site.trace(first.parcel_id)] == ["accepted", "late", "acknowledged"]


async def test_a_receipt_settles_what_was_given_up(site: Site):
    """After "failed", with its alarm, comes the evidence that it arrived all the same."""
    await site.accept()
    attempt = await claimed(site)
    await reported(site, attempt, Outcome(code="connect", reason="nobody listens"), retry_at=None)
    assert (site.delivery().state, site.row().last_reason) == (State.FAILED, "nobody listens")
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.text) == ("failed", f"{JOURNAL}: was not delivered: connect nobody listens")
    site.clock.tick(3 * DAY)
    await site.kernel.settle(received(attempt, site.clock.now()))
    assert (site.delivery().state, site.row().settled_at) == (State.DELIVERED, NOW + 3 * DAY)


async def test_a_receipt_under_a_key_counts_once(site: Site):
    """A repetition gets the first answer and leaves no second evidence; other content under the key is a conflict."""
    await site.accept()
    one, key = site.delivery(), Key(RECEIPTS, "receipt-1")
    first = await site.kernel.settle(received(one), key=key, answer=b"thanks")
    again = await site.kernel.settle(received(one), key=key, answer=b"thanks again")
    other = await site.kernel.settle(received(one, digest=b"e" * 32), key=key, answer=b"thanks")
    assert [a.judgement for a in (first, again, other)] == [Judgement.NEW, Judgement.KNOWN, Judgement.CONFLICT]
    assert [a.answer for a in (first, again, other)] == [b"thanks", b"thanks", b""]
    assert len(receipts(site)) == 1
    assert [event for event, _ in site.trace(one.parcel_id)] == ["accepted", "acknowledged", "conflict"]
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.parcel_id, alarm.at) == ("conflict", one.parcel_id, NOW)
    assert alarm.text == f"{RECEIPTS}: receipt-1 came again with other content and was refused"


async def test_a_receipt_for_nothing_we_know_moves_nothing(site: Site):
    """It is judged, so that it can be answered, and nothing else happens."""
    await site.accept()
    acceptance = await site.kernel.settle(received(Delivery("no-such", "", "", "", State.READY, 0)))
    assert (acceptance.judgement, acceptance.parcel_id) == (Judgement.NEW, "")
    assert (site.delivery().state, receipts(site)) == (State.READY, [])


@pytest.mark.requirement("R68")
@pytest.mark.parametrize(
    ("verdict", "state", "words"),
    [
        (Verdict.ACCEPTED, State.ACCEPTED, None),
        (Verdict.REJECTED, State.REJECTED, "was refused by the receiver: format no case"),
        (Verdict.FAILED, State.FAILED, "was not delivered: format no case"),
    ],
)
async def test_a_business_receipt_says_whether_it_was_understood(
    site: Site, verdict: Verdict, state: State, words: str | None
):
    """Its verdict is the state; what people must look at is an alarm, and the first verdict stands."""
    await site.accept()
    one = site.delivery()
    await site.kernel.settle(received(one))
    said = received(one, level=Level.BUSINESS, verdict=verdict, code="format", reason="no case")
    await site.kernel.settle(said)
    assert site.delivery().state is state
    assert [a.text for a in site.alarms()] == ([f"{JOURNAL}: {words}"] if words else [])
    await site.kernel.settle(said)
    assert len(site.alarms()) == (1 if words else 0)


# --- freezing ---------------------------------------------------------------------------------------------------------


async def test_what_will_be_sent_is_committed_with_its_outside_names(site: Site):
    """The newest wire comes back; every name it was ever frozen under leads to the delivery."""
    await site.accept()
    one = site.delivery()
    assert await site.kernel.frozen(one.id) is None
    wire = Frozen(one.id, ("m-1@birkelund.example",), b"sealed", ("o-1", "o-2"), NOW)
    await site.kernel.freeze(one, wire, {"message": "m-1@birkelund.example"})
    await site.kernel.freeze(one, Frozen(one.id, ("m-1@birkelund.example", "m-2"), b"anew", (), NOW))
    newest = await site.kernel.frozen(one.id)
    assert newest is not None
    assert (newest.wire, newest.objects, sorted(newest.outside_ids)) == (b"anew", (), ["m-1@birkelund.example", "m-2"])
    assert await site.kernel.delivery_of("m-1@birkelund.example") == one.id
    assert await site.kernel.delivery_of("m-2") == one.id
    assert await site.kernel.delivery_of("m-3") is None
    assert site.trace(one.parcel_id)[1] == ("frozen", {"message": "m-1@birkelund.example"})


async def test_an_outside_name_is_one_deliverys(site: Site):
    """A receipt could not tell whose it is; the freeze fails and nothing of it is stored."""
    for _ in range(2):
        await site.accept()
    one, other = site.deliveries()
    await site.kernel.freeze(one, Frozen(one.id, ("m-1",), b"w"))
    with pytest.raises(Conflict, match="'m-1': another delivery has it"):
        await site.kernel.freeze(other, Frozen(other.id, ("m-9", "m-1"), b"w"))
    assert await site.kernel.frozen(other.id) is None
    assert await site.kernel.delivery_of("m-9") is None


# --- pulling ----------------------------------------------------------------------------------------------------------


async def pulled(site: Site) -> Lease:
    """Pull one."""
    (lease,) = await site.kernel.pull(ARCHIVE, limit=10, wait=0)
    return lease


@pytest.mark.requirement("R34")
async def test_a_pulling_system_gets_its_own_under_a_lease(site: Site):
    """Nobody else's, nobody twice; the parcel comes with it and can be read."""
    await site.accept(b"a leaflet", kind="leaflet")
    await site.accept(b"a letter")
    lease = await pulled(site)
    assert (lease.delivery.receiver, lease.delivery.epoch, lease.until) == (ARCHIVE, 1, NOW + limits.LEASE)
    assert b"".join(site.kernel.read_now(lease.parcel, lease.parcel.payloads[0])) == b"a leaflet"
    assert await site.kernel.pull(ARCHIVE, limit=10, wait=0) == []
    assert await site.kernel.pull(JOURNAL, limit=10, wait=0) == []  # that one goes through a gateway


async def test_ack_settles(site: Site):
    """It is delivered and is not lent again, however long one waits."""
    await site.accept(kind="leaflet")
    await site.kernel.ack(await pulled(site))
    site.clock.tick(DAY)
    assert (site.delivery().state, await site.kernel.pull(ARCHIVE, limit=1, wait=0)) == (State.DELIVERED, [])
    assert site.trace(site.delivery().parcel_id)[-1][0] == "acknowledged"


async def test_nack_makes_it_due_again_after_its_delay(site: Site):
    """Not before, and with the reason in the trace."""
    await site.accept(kind="leaflet")
    await site.kernel.nack(await pulled(site), delay=10 * SECOND, reason="the archive is full")
    site.clock.tick(10 * SECOND - 1)
    assert await site.kernel.pull(ARCHIVE, limit=1, wait=0) == []
    site.clock.tick(1)
    assert (await pulled(site)).delivery.attempts == 2
    event, facts = site.trace(site.delivery().parcel_id)[-1]
    assert (event, facts["reason"], facts["next"]) == ("retry", "the archive is full", NOW + 10 * SECOND)


async def test_extend_gives_more_time(site: Site):
    """The lease ends when it says, and not before."""
    await site.accept(kind="leaflet")
    lease = await site.kernel.extend(await pulled(site), HOUR)
    assert lease.until == NOW + HOUR
    site.clock.tick(HOUR - 1)
    assert await site.kernel.pull(ARCHIVE, limit=1, wait=0) == []
    site.clock.tick(1)
    assert (await pulled(site)).delivery.epoch == lease.delivery.epoch + 1


async def test_reject_is_for_good(site: Site):
    """It is not lent again, and people are told with code and reason."""
    await site.accept(kind="leaflet")
    await site.kernel.reject(await pulled(site), code="format", reason="cannot be read")
    assert site.delivery().state is State.REJECTED
    assert [a.text for a in site.alarms()] == [f"{ARCHIVE}: was refused by the receiver: format cannot be read"]


@pytest.mark.parametrize("what", ["ack", "nack", "extend", "reject", "give_up"])
async def test_a_lease_that_went_to_another_is_stale(site: Site, what: str):
    """Whatever its first holder says then changes nothing; the second holder's word counts."""
    await site.accept(kind="leaflet")
    old = await pulled(site)
    site.clock.tick(limits.LEASE)
    new = await pulled(site)
    calls = {
        "ack": lambda: site.kernel.ack(old),
        "nack": lambda: site.kernel.nack(old, delay=0, reason=""),
        "extend": lambda: site.kernel.extend(old, HOUR),
        "reject": lambda: site.kernel.reject(old, code="", reason=""),
        "give_up": lambda: site.kernel.give_up(old, code="", reason=""),
    }
    with pytest.raises(StaleLease, match=f"the lease of delivery {old.delivery.id} has ended"):
        await calls[what]()
    assert (site.delivery().state, site.delivery().due_at) == (State.READY, new.until)
    await site.kernel.ack(new)
    assert site.delivery().state is State.DELIVERED


async def test_a_lease_that_ended_unnoticed_still_counts(site: Site):
    """As long as nobody else has it, a late ack is an ack."""
    await site.accept(kind="leaflet")
    lease = await pulled(site)
    site.clock.tick(DAY)
    await site.kernel.ack(lease)
    assert site.delivery().state is State.DELIVERED
    with pytest.raises(StaleLease):
        await site.kernel.extend(lease, HOUR)


async def test_urgent_comes_first_and_a_limit_is_a_limit(site: Site):
    """Lanes hold for who pulls as for who pushes."""
    for priority in ("bulk", "normal", "urgent"):
        description = Description(type="leaflet", sender=SENDER, priority=priority)
        await site.kernel.accept(site.item(site.make(description=description)))
    leases = await site.kernel.pull(ARCHIVE, limit=10, wait=0)
    assert [lease.delivery.lane for lease in leases] == ["urgent", "normal", "bulk"]
    site.clock.tick(limits.LEASE)
    assert len(await site.kernel.pull(ARCHIVE, limit=2, wait=0)) == 2
    assert len(await site.kernel.pull(ARCHIVE, limit=2, wait=0)) == 1


async def test_who_waits_is_woken_by_what_is_accepted(live: Site):
    """At once, not at the next look."""
    waiting = asyncio.create_task(live.kernel.pull(ARCHIVE, limit=1, wait=60 * SECOND))
    await asyncio.sleep(0.1)
    await live.accept()
    assert not waiting.done()
    await live.accept(kind="leaflet")
    (lease,) = await asyncio.wait_for(waiting, 5)
    assert lease.parcel.description.type == "leaflet"
    assert live.mail._waiting == {}


async def test_waiting_ends_when_its_time_is_up(live: Site):
    """With nothing, and nobody is remembered as waiting."""
    assert await asyncio.wait_for(live.kernel.pull(ARCHIVE, limit=1, wait=SECOND // 10), 5) == []
    assert live.mail._waiting == {}


async def test_who_gives_up_waiting_is_forgotten(live: Site):
    """A connection that goes away leaves nothing behind; others go on waiting."""
    gone, stays = (asyncio.create_task(live.kernel.pull(ARCHIVE, limit=1, wait=60 * SECOND)) for _ in range(2))
    await asyncio.sleep(0.1)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await live.accept(kind="leaflet")
    assert len(await asyncio.wait_for(stays, 5)) == 1


async def test_who_waits_hears_of_what_another_node_accepted(
    live: Site, neighbour: Site, monkeypatch: pytest.MonkeyPatch
):
    """One question an interval for all who wait."""
    monkeypatch.setattr(limits, "POLL", SECOND // 20)
    asking = asyncio.create_task(live.mail.run())
    waiting = asyncio.create_task(live.kernel.pull(ARCHIVE, limit=1, wait=60 * SECOND))
    await asyncio.sleep(0.1)
    await neighbour.accept(LARGE, kind="leaflet")
    (lease,) = await asyncio.wait_for(waiting, 10)
    assert b"".join(live.kernel.read_now(lease.parcel, lease.parcel.payloads[0])) == LARGE
    asking.cancel()


async def test_two_nodes_lend_nothing_twice(live: Site, neighbour: Site):
    """Both ask at once, again and again: each delivery is lent by one of them."""
    for _ in range(30):
        await live.accept(kind="leaflet")
    lent: list[str] = []

    async def take(site: Site) -> None:
        while leases := await site.kernel.pull(ARCHIVE, limit=3, wait=0):
            lent.extend(lease.delivery.id for lease in leases)

    await asyncio.gather(take(live), take(neighbour), take(live), take(neighbour))
    # A row that another node looks at just then is passed over, so one more look may be needed.
    await take(live)
    assert sorted(lent) == sorted(d.id for d in live.deliveries())


# --- while the disk is nearly full ------------------------------------------------------------------------------------


async def test_below_the_reserve_what_is_here_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Nothing new is taken in; evidence, lending and acknowledging go on."""
    await site.accept(kind="circular")
    push, _ = site.deliveries()
    monkeypatch.setattr(site.runtime.store, "free", lambda: 10)
    site.runtime.settings = site.runtime.settings.model_copy(update={"free_space_reserve": 11})
    site.clock.tick(2 * SECOND)
    with pytest.raises(Overloaded, match="below the reserve"):
        site.kernel.stage(size_limit=1)
    await site.kernel.settle(received(push))
    await site.kernel.ack(await pulled(site))
    assert {d.state for d in site.deliveries()} == {State.DELIVERED}
    monkeypatch.setattr(site.runtime.store, "free", lambda: 12)
    with pytest.raises(Overloaded):  # the disk is looked at once a second
        site.kernel.stage(size_limit=1)
    site.clock.tick(2 * SECOND)
    site.kernel.stage(size_limit=1).abort()
    assert site.runtime.metrics.free_bytes._value.get() == 12


# --- octets -----------------------------------------------------------------------------------------------------------


async def stored(site: Site, *payloads: bytes) -> Parcel:
    """A parcel as it is read back."""
    accepted = await site.accept(*payloads)
    return site.runtime.read_now(parcels.load, accepted.parcel_id)


@pytest.mark.parametrize("size", [0, 1, limits.INLINE_PAYLOAD, limits.INLINE_PAYLOAD + 1, limits.STORE_CHUNK + 7])
async def test_octets_come_out_as_they_went_in(site: Site, size: int):
    """Small or large, in chunks or at once."""
    octets = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    one = await stored(site, b"first", octets)
    assert b"".join([chunk async for chunk in site.kernel.read(one, one.payloads[1])]) == octets
    assert b"".join(site.kernel.read_now(one, one.payloads[1])) == octets


async def test_damage_is_an_error_and_never_other_octets(site: Site):
    """An object that was changed on the disk is not read; what is gone is said to be gone."""
    one = await stored(site, LARGE, LARGE)
    damaged, gone = (site.runtime.store.path(p.object_id or "") for p in one.payloads)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"\x00")
    gone.unlink()
    with pytest.raises(PayloadError, match="is damaged"):
        [chunk async for chunk in site.kernel.read(one, one.payloads[0])]
    with pytest.raises(PayloadError, match="is not in the store"):
        [chunk async for chunk in site.kernel.read(one, one.payloads[1])]


async def test_an_object_kept_for_a_delivery_reads_back(site: Site):
    """Sealed under the parcel's key; aborted ones leave nothing."""
    one = await stored(site)
    keeper = site.kernel.keep(one)
    keeper.write(LARGE)
    keeper.commit()
    assert b"".join(site.kernel.kept(one, keeper.object_id)) == LARGE
    assert LARGE[:64] not in site.runtime.store.path(keeper.object_id).read_bytes()
    forgotten = site.kernel.keep(one)
    forgotten.write(b"x")
    forgotten.abort()
    assert (site.incoming(), site.objects()) == ([], [keeper.object_id])


async def test_the_clock_and_the_keys_are_the_nodes(site: Site, clock: FrozenClock):
    """A gateway reads no time and no key file of its own."""
    assert site.kernel.clock is clock
    with pytest.raises(Exception, match="no-such"):
        site.kernel.identity("no-such")
    one = await stored(site)
    assert len(site.kernel.data_key(one)) == 32


async def test_alarms_and_notes_are_kept(site: Site):
    """An alarm names its parcel; a note is a line of its trace."""
    await site.kernel.alarm("wet", "the letterbox leaks; mend it", parcel_id="p-1")
    await site.kernel.note("p-1", "dried", {"hours": "3"})
    (alarm,) = site.alarms()
    assert (alarm.code, alarm.text, alarm.parcel_id, alarm.at) == ("wet", "the letterbox leaks; mend it", "p-1", NOW)
    assert site.trace("p-1") == [("dried", {"hours": "3"})]


def test_the_kernel_is_what_gateways_are_promised(site: Site):
    """Every method of the protocol is there under its name."""
    promised = {name for name in vars(Kernel) if not name.startswith("_")} | set(Kernel.__annotations__)
    assert [name for name in sorted(promised) if not hasattr(site.kernel, name)] == []


async def test_a_gateway_has_a_folder_of_its_own(site: Site):
    """In the data directory, its owner's alone, and no other gateway's."""
    folder = site.kernel.folder()
    assert folder == site.runtime.settings.data_path / "gateways" / "paper"
    assert folder.stat().st_mode & 0o077 == 0
    (folder / "kept").write_text("kept")
    assert [path.name for path in site.kernel.folder().iterdir()] == ["kept"]
    other = NodeKernel(site.runtime, "pigeon", site.mail)
    assert list(other.folder().iterdir()) == []


async def test_what_was_lent_often_enough_has_failed_and_a_late_word_counts(site: Site):
    """It is not lent again and people are told; nobody has refused it, so that evidence still settles it."""
    await site.accept(kind="leaflet")
    lease = await pulled(site)
    await site.kernel.give_up(lease, code="silence", reason="no word in time")
    assert site.delivery().state is State.FAILED
    assert [a.text for a in site.alarms()] == [f"{ARCHIVE}: was not delivered: silence no word in time"]
    await site.kernel.settle(Receipt(lease.delivery.id, Level.TRANSPORT, Verdict.ACCEPTED, site.clock.now(), b"late"))
    assert site.delivery().state is State.DELIVERED
