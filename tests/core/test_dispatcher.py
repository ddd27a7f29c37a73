"""The dispatcher: attempts and what comes of them, gateways that break, draining. Leases are in ``test_leases.py``."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection

from core import commands, limits, log
from core.clock import HOUR, MINUTE, SECOND
from core.delivery import Delivery, State
from core.dispatcher import Dispatcher
from core.errors import Overloaded, PayloadError, StafetError
from core.gateway import Outcome
from core.parcel import Parcel
from core.schedule import RetryPlan
from core.writer import Kind
from tests.core.making import NOW
from tests.core.nodes import LARGE, Site, forever, giving, received

# --- attempts ---------------------------------------------------------------------------------------------------------


async def test_what_is_accepted_is_attempted_and_settled(site: Site):
    """One attempt with the parcel, under a lease; the receipt settles it and the trace tells the story."""
    async with site.dispatching():
        parcel = (await site.accept(b"Dear neighbour,", LARGE)).parcel_id
        await site.until(State.DELIVERED)
    (attempt,) = site.paper.attempts
    assert (attempt.parcel_id, attempt.epoch, attempt.attempts, attempt.destination) == (parcel, 1, 1, "egedal")
    assert [event for event, _ in site.trace(parcel)] == ["accepted", "acknowledged"]
    assert site.runtime.metrics.attempts.labels("paper", "acknowledged")._value.get() == 1


async def test_what_waited_before_the_dispatcher_came_is_taken(site: Site):
    """The queue is the ledger, not anybody's memory; more than one claim holds is served."""
    for _ in range(limits.CLAIM_BATCH + 3):
        await site.accept()
    async with site.dispatching():
        await site.until(State.DELIVERED)
    assert len({d.id for d in site.paper.attempts}) == len(site.paper.attempts) == limits.CLAIM_BATCH + 3


async def test_attempts_in_flight_are_limited(site: Site):
    """So many and no more; each that ends makes room."""
    site.runtime.settings = site.runtime.settings.model_copy(update={"in_flight": 2})
    ends, now, most = asyncio.Event(), 0, 0

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await ends.wait()
        now -= 1
        return Outcome(receipt=received(delivery))

    site.paper.act = act
    async with site.dispatching():
        for _ in range(6):
            await site.accept()
        await site.paper.attempted(2)
        await asyncio.sleep(0.1)
        assert len(site.paper.attempts) == 2
        ends.set()
        await site.until(State.DELIVERED)
    assert most == 2


@pytest.mark.parametrize(
    ("outcome", "state", "code"),
    [
        (Outcome(refused=True, code="no", reason="unknown here"), State.REJECTED, "no"),
        (Outcome(code="connect", reason="nobody listens"), State.READY, "connect"),
        (Outcome(sent=True), State.AWAITING, ""),
    ],
)
async def test_an_outcome_moves_its_delivery(site: Site, outcome: Outcome, state: State, code: str):
    """Refused for good, to be tried again, or taken without a receipt yet."""
    site.paper.act = giving(outcome)
    async with site.dispatching():
        await site.accept()
        await site.paper.attempted(1)
    one, plan = site.delivery(), site.paper.plan
    assert (one.state, site.row().last_code, site.row().last_reason) == (state, code, outcome.reason)
    if state is not State.REJECTED:
        assert one.due_at == NOW + plan.wait(1, one.id)
        assert site.row().lease_owner == ""


async def test_what_the_far_side_asks_for_is_the_least_wait(site: Site):
    """Its Retry-After lengthens the plan's wait and never shortens it."""
    site.paper.act = giving(Outcome(code="busy", retry_after=HOUR))
    async with site.dispatching():
        await site.accept()
        await site.paper.attempted(1)
    assert site.delivery().due_at == NOW + HOUR


async def test_a_plan_is_followed_to_its_end(site: Site):
    """Attempts come when they are due and not before; after the last one it has failed, with an alarm."""
    site.paper.plan = RetryPlan(attempts=3, first=MINUTE)
    site.paper.act = giving(Outcome(code="connect", reason="nobody listens"))
    async with site.dispatching() as dispatcher:
        await site.accept()
        for number in (1, 2):
            await site.paper.attempted(number)
            while site.delivery().due_at <= site.clock.now() or site.row().lease_owner:
                await asyncio.sleep(0.01)
            dispatcher.wake()
            await asyncio.sleep(0.05)
            assert len(site.paper.attempts) == number
            site.clock.tick(2 * HOUR)
            dispatcher.wake()
        await site.until(State.FAILED)
    assert [d.attempts for d in site.paper.attempts] == [1, 2, 3]
    assert [a.code for a in site.alarms()] == ["failed"]
    events = [event for event, _ in site.trace(site.delivery().parcel_id)]
    assert events == ["accepted", "retry", "retry", "exhausted"]


async def test_what_was_taken_without_a_receipt_fails_in_the_end(site: Site):
    """It is sent as often as its plan says and not once more; the last attempt's receipt gets its time."""
    site.paper.plan = RetryPlan(attempts=2, first=MINUTE)
    site.paper.act = giving(Outcome(sent=True))
    async with site.dispatching() as dispatcher:
        await site.accept()
        for number in (1, 2):
            await site.paper.attempted(number)
            while site.row().lease_owner:
                await asyncio.sleep(0.01)
            assert site.delivery().due_at > site.clock.now() + 50 * SECOND
            site.clock.tick(2 * HOUR)
            dispatcher.wake()
        await site.until(State.FAILED)
    assert len(site.paper.attempts) == 2
    assert site.row().last_code == "no-receipt"


async def test_a_failed_attempt_is_repeated_by_itself(live: Site):
    """Nobody has to wake the dispatcher."""
    live.paper.plan = RetryPlan(first=SECOND // 20)
    live.paper.act = giving(Outcome(code="connect"), Outcome(code="connect"), Outcome(refused=True))
    async with live.dispatching():
        await live.accept()
        await live.until(State.REJECTED)
    assert [d.attempts for d in live.paper.attempts] == [1, 2, 3]


async def test_without_its_gateway_a_delivery_waits(site: Site):
    """A gateway that is not active here is named; the delivery lives on."""
    await site.accept()
    dispatcher = Dispatcher(site.runtime, {})
    running = asyncio.create_task(dispatcher.run())
    while not site.row().last_code:
        await asyncio.sleep(0.01)
    await dispatcher.drain(SECOND)
    await running
    assert (site.delivery().state, site.delivery().due_at) == (State.READY, NOW + limits.RETRY_CEILING)
    assert site.row().last_code == "no-gateway"
    assert "'paper' is not active on this node" in site.row().last_reason


# --- gateways that break ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "state", "code"),
    [
        (ValueError("a bug"), State.READY, "bug"),
        (KeyError(b"octets"), State.READY, "bug"),
        (RecursionError(), State.READY, "bug"),
        (StopAsyncIteration(), State.READY, "bug"),
        (asyncio.CancelledError(), State.READY, "bug"),
        (TimeoutError(), State.READY, "bug"),
        (ExceptionGroup("several", [OSError()]), State.READY, "bug"),
        (Overloaded("too much"), State.READY, "Overloaded"),
        (StafetError("documented"), State.READY, "StafetError"),
        (PayloadError("object 1 is damaged"), State.REJECTED, "payload"),
    ],
)
async def test_whatever_a_gateway_raises_its_delivery_lives_on(site: Site, raised: Exception, state: State, code: str):
    """It is a failed attempt with a code, settled at once and tried again; damaged octets are never sent."""
    site.paper.act = giving(raised)
    async with site.dispatching():
        parcel = (await site.accept()).parcel_id
        await site.paper.attempted(1)
    assert (site.delivery().state, site.row().last_code, site.row().lease_owner) == (state, code, "")
    assert [event for event, _ in site.trace(parcel)] == ["accepted", "refused" if code == "payload" else "retry"]
    if code == "bug":
        assert site.row().last_reason == f"{type(raised).__name__}; the node's log has the detail"
        assert site.delivery().due_at == NOW + site.paper.plan.wait(1, site.delivery().id)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    """All that is logged, as a node logs it."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    log.configure("debug", "json")
    structlog.configure(cache_logger_on_first_use=False)  # the loggers outlive this test
    yield stream
    structlog.reset_defaults()


@pytest.mark.parametrize("within", ["deliver", "retry_plan", "cause"])
async def test_what_a_gateway_quotes_by_mistake_stands_nowhere(live: Site, printed: io.StringIO, within: str):
    """An error with the payload in its text: neither the log, the trace nor the delivery repeats a word of it."""
    secret = "Jens-Peter-Canary"

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        text = b"".join(live.kernel.read_now(parcel, parcel.payloads[0])).decode()
        try:
            raise KeyError(text)
        except KeyError as error:
            if within == "cause":
                raise RuntimeError("no") from error
            raise ValueError(f"cannot send {text}") from error

    def plan(delivery: Delivery) -> RetryPlan:
        raise LookupError(secret)

    live.paper.act = act
    if within == "retry_plan":
        live.paper.retry_plan = plan  # type: ignore[method-assign]
    async with live.dispatching():
        accepted = await live.accept(secret.encode())
        await live.paper.attempted(1)
    row = live.row()
    assert row.last_code == "bug"
    for said in (printed.getvalue(), row.last_reason, str(live.trace(accepted.parcel_id))):
        assert said
        assert secret not in said
    (line, *_) = [json.loads(line) for line in printed.getvalue().splitlines()]
    assert line["delivery"] == row.id
    assert f"{__file__}:" in line["exception"]
    assert "in test_what_a_gateway_quotes_by_mistake_stands_nowhere.<locals>.act" in line["exception"]


@pytest.mark.parametrize("answer", [None, True, "delivered"])
async def test_a_gateway_that_gives_no_outcome_has_failed(site: Site, answer: Any):
    """Nothing but evidence counts as delivered."""
    site.paper.act = giving(answer)
    async with site.dispatching():
        await site.accept()
        await site.paper.attempted(1)
    assert (site.delivery().state, site.row().last_code) == (State.READY, "bug")


async def test_a_gateway_without_a_plan_gets_the_usual_one(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Also when it breaks while it is asked when to try again."""

    def broken(delivery: Delivery) -> RetryPlan:
        raise KeyError("no partner")

    monkeypatch.setattr(site.paper, "retry_plan", broken)
    site.paper.act = giving(Outcome(code="connect"))
    async with site.dispatching():
        await site.accept()
        await site.paper.attempted(1)
    assert site.delivery().due_at == NOW + RetryPlan().wait(1, site.delivery().id)


@given(script=st.lists(st.sampled_from(["bug", "cancel", "none", "retry", "sent", "stafet"]), max_size=5))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_goes_wrong_before_it_arrives_in_the_end(site: Site, script: list[str]):
    """Any series of failures leaves the delivery alive, and each attempt has its number and epoch."""
    what = {"bug": ValueError("x"), "cancel": asyncio.CancelledError(), "none": None, "stafet": StafetError("x")}
    outcomes = [*(what.get(s, Outcome(sent=s == "sent")) for s in script)]

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        at = delivery.attempts - 1
        return await giving(outcomes[at])(delivery, parcel) if at < len(outcomes) else await last(delivery, parcel)

    last = site.paper.hand_over
    site.paper.act, before = act, len(site.paper.attempts)
    async with site.dispatching() as dispatcher:
        await site.accept()
        for number in range(1, len(script) + 2):
            await site.paper.attempted(before + number)
            while any(site.row(d.id).lease_owner for d in site.deliveries()):
                await asyncio.sleep(0.005)
            site.clock.tick(HOUR)
            dispatcher.wake()
        await site.until(State.DELIVERED)
    numbers = [(d.attempts, d.epoch) for d in site.paper.attempts[before:]]
    assert numbers == [(n, n) for n in range(1, len(script) + 2)]


# --- objects kept for an attempt --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settled", [True, False])
async def test_what_was_kept_for_repeating_goes_when_the_delivery_has_settled(site: Site, settled: bool):
    """And not before: an attempt that failed needs its prepared parts again."""

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        keeper = site.kernel.keep(parcel)
        keeper.write(b"prepared")
        keeper.commit()
        receipt = received(delivery) if settled else None
        return Outcome(receipt=receipt, code="" if settled else "connect", spent=(keeper.object_id,))

    site.paper.act = act
    async with site.dispatching():
        await site.accept()
        await site.paper.attempted(1)
    site.runtime.writer.close()
    site.runtime.deletions.shutdown()
    assert len(site.objects()) == (0 if settled else 1)


# --- ending -----------------------------------------------------------------------------------------------------------


async def test_draining_lets_attempts_finish_and_takes_nothing_new(site: Site):
    """What is in flight is waited for; what comes meanwhile stays in the queue."""
    let_go = asyncio.Event()

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        await let_go.wait()
        return Outcome(receipt=received(delivery))

    site.paper.act = act
    async with site.dispatching() as dispatcher:
        first = (await site.accept()).parcel_id
        await site.paper.attempted(1)
        draining = asyncio.create_task(dispatcher.drain(10 * SECOND))
        await asyncio.sleep(0.05)
        await site.accept()
        dispatcher.wake()
        await asyncio.sleep(0.05)
        assert not draining.done()
        let_go.set()
        await draining
    site.runtime.writer.close()
    states = {d.parcel_id: (d.state, d.epoch) for d in site.deliveries()}
    assert states.pop(first) == (State.DELIVERED, 1)
    assert list(states.values()) == [(State.READY, 0)]


async def test_draining_has_an_end(site: Site):
    """An attempt that does not end is left to its lease."""
    site.paper.act = forever
    async with site.dispatching() as dispatcher:
        await site.accept()
        await site.paper.attempted(1)
        await asyncio.wait_for(dispatcher.drain(SECOND // 10), 5)
        (attempt,) = dispatcher._flight.values()
        assert attempt.task
        attempt.task.cancel()
    assert (site.delivery().state, site.delivery().due_at) == (State.READY, NOW + limits.LEASE)


async def test_a_result_that_could_not_be_stored_is_found_out_again(site: Site, monkeypatch: pytest.MonkeyPatch):
    """The lease ends, and the attempt is repeated: delivered at least once, and nothing claims more."""
    stored = commands.SETTLE
    full = ["the disk is full"]

    def apply(connection: Connection, batch: Sequence[Any]) -> Sequence[Any]:
        if full:
            raise Overloaded(full[0])
        return stored.apply(connection, batch)

    monkeypatch.setattr(commands, "SETTLE", Kind("settle", apply, stored.explain, stored.order, always=True))
    async with site.dispatching() as dispatcher:
        await site.accept()
        await site.paper.attempted(1)
        await site.written()
        assert (site.delivery().state, site.delivery().due_at) == (State.READY, NOW + limits.LEASE)
        full.clear()
        site.clock.tick(limits.LEASE)
        dispatcher.wake()
        await site.until(State.DELIVERED)
    assert len(site.paper.attempts) == 2


async def test_a_repetition_takes_up_no_room(site: Site):
    """What was kept for its attempt is free again: a flood of repetitions stops nobody."""
    site.runtime.settings = site.runtime.settings.model_copy(update={"in_flight": 2})
    async with site.dispatching() as dispatcher:
        await site.accept(key="k-1")
        await site.until(State.DELIVERED)
        for _ in range(5):
            await site.accept(key="k-1")
        await site.accept(key="k-2")
        await site.until(State.DELIVERED)
        assert (dispatcher._kept, dispatcher._flight) == (0, {})
    assert len(site.paper.attempts) == 2
