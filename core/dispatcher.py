"""The dispatcher: the only one that moves deliveries out of a node.

Rules:

1. Work in flight is a lease with an end and an epoch. A process that dies leaves nothing behind but a lease that ends.
2. Leases are renewed at a third of their length; a renewal that fails means that somebody else has the delivery, and the attempt
   is cancelled.
3. Settling is not waited for: the next attempt starts while the last one's commit is under way.
4. An exception that a gateway did not foresee is a failed attempt and a log line, never a lost delivery. A ledger that is busy is
   asked again; what it was asked for is never forgotten.
5. What has just been accepted is attempted at once, under the lease it was born with, as long as nothing waits in the queue: a
   backlog is served by lanes, and nobody overtakes it.
6. Draining takes no new work and lets what is in flight finish.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from core import commands, limits, log
from core.clock import SECOND, Micros
from core.commands import Settlement, SettlementResult, Work
from core.delivery import REPEATABLE_STATES, Delivery, State
from core.errors import DurabilityLost, Overloaded, PayloadError, StafetError
from core.gateway import Gateway, Outcome
from core.ledger.deliveries import Claim, Renew, of_outcome
from core.parcel import Parcel
from core.runtime import Runtime
from core.schedule import RetryPlan

_log = log.get("dispatcher")


@dataclass
class _Attempt:
    delivery: Delivery
    until: Micros
    task: asyncio.Task[None] | None = None


class Dispatcher:
    """Claims due deliveries and hands each to its gateway."""

    def __init__(self, runtime: Runtime, gateways: dict[str, Gateway]) -> None:
        self._runtime, self._gateways = runtime, gateways
        self._flight: dict[str, _Attempt] = {}
        self._wake = asyncio.Event()
        self._draining = False
        self._kept = 0
        self._asked = 0
        """How much a claim under way may bring."""
        self._backlog = True
        self._owner = runtime.boot
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """There may be due work."""
        self._wake.set()

    # -- what is attempted as soon as it is accepted (`core.runtime.AtOnce`)

    def take(self) -> bool:
        """Keep room for one attempt; False when there is none, or when others wait already."""
        if self._draining or self._backlog or self._room() <= 0:
            self.wake()
            return False
        self._kept += 1
        return True

    def give_back(self) -> None:
        """The room is not needed."""
        self._kept -= 1

    def start(self, delivery: Delivery, parcel: Parcel) -> None:
        """Attempt a delivery that was stored under this node's lease."""
        self._kept -= 1
        self._begin(delivery, parcel)

    def _room(self) -> int:
        return self._runtime.settings.in_flight - len(self._flight) - self._kept - self._asked

    def _begin(self, delivery: Delivery, parcel: Parcel) -> None:
        earlier = self._flight.get(delivery.id)
        if earlier and earlier.task:  # its lease ran out under it, and this node has claimed the delivery again
            earlier.task.cancel()
        attempt = self._flight[delivery.id] = _Attempt(delivery, delivery.due_at)
        attempt.task = self._loop.create_task(self._attempt(attempt, parcel))

    # -- the queue

    async def run(self) -> None:
        """Claim and attempt until drained."""
        renewing = asyncio.create_task(self._renew(), name="renew-leases")
        try:
            while not self._draining:
                self._wake.clear()
                # Half of the room, so that what is accepted while a claim is under way finds some too.
                wanted = min((self._room() + 1) // 2, limits.CLAIM_BATCH)
                try:
                    self._backlog = wanted <= 0 or await self._claim(wanted) == wanted
                except Overloaded as error:
                    _log.warning("the ledger gives no work now; it is asked again", cause=str(error))
                    self._backlog = False
                if self._backlog and self._room() > 0:
                    continue
                try:
                    await asyncio.wait_for(self._wake.wait(), limits.POLL / SECOND)
                except TimeoutError:
                    pass
        finally:
            renewing.cancel()

    async def drain(self, at_most: Micros) -> None:
        """Take nothing new; wait for what is in flight."""
        self._draining = True
        self.wake()
        until = self._loop.time() + at_most / SECOND
        while (self._flight or self._kept) and self._loop.time() < until:
            tasks = [a.task for a in self._flight.values() if a.task]
            if tasks:
                await asyncio.wait(tasks, timeout=until - self._loop.time())
            else:
                await asyncio.sleep(0.01)

    async def _claim(self, limit: int) -> int:
        now = self._runtime.clock.now()
        self._asked = limit
        try:
            work: Work = await self._runtime.do(commands.CLAIM, Claim(limit, self._owner, now, now + limits.LEASE))
        finally:
            self._asked = 0
        for delivery in work.deliveries:
            self._begin(delivery, work.parcels[delivery.parcel_id])
        self._runtime.metrics.in_flight.set(len(self._flight))
        return len(work.deliveries)

    async def _attempt(self, attempt: _Attempt, parcel: Parcel) -> None:
        delivery = attempt.delivery
        begun = self._loop.time()
        try:
            outcome = await self._outcome(delivery, parcel)
        except asyncio.CancelledError:
            return
        finally:
            if self._flight.get(delivery.id) is attempt:
                del self._flight[delivery.id]
            if self._backlog:
                self.wake()
        self._runtime.metrics.attempt_seconds.labels(delivery.gateway).observe(self._loop.time() - begun)
        self._settle(delivery, outcome)

    async def _outcome(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        gateway = self._gateways.get(delivery.gateway)
        if gateway is None:
            reason = f"the gateway {delivery.gateway!r} is not active on this node; name it in node.yaml"
            return Outcome(code="no-gateway", reason=reason)
        if self._waited_long_enough(gateway, delivery):
            return Outcome(code="no-receipt", reason="the far side took it each time, and no receipt has come")
        try:
            outcome = await gateway.deliver(delivery, parcel)
            if not isinstance(outcome, Outcome):
                raise TypeError(f"{delivery.gateway}: deliver gave no outcome")
            return outcome
        except asyncio.CancelledError as error:
            if _told_to_stop():
                raise
            return _bug(delivery, error)  # something within the gateway was cancelled, not the attempt
        except PayloadError as error:
            return Outcome(refused=True, code="payload", reason=str(error))
        except StafetError as error:
            return Outcome(code=type(error).__name__, reason=str(error))
        except Exception as error:  # whatever a gateway does, the delivery lives on
            return _bug(delivery, error)

    def _waited_long_enough(self, gateway: Gateway, delivery: Delivery) -> bool:
        """Whether every attempt was taken by the far side and the last one's receipt has not come either."""
        return delivery.state is State.AWAITING and delivery.attempts > self._plan(gateway, delivery).attempts

    def _plan(self, gateway: Gateway, delivery: Delivery) -> RetryPlan:
        try:
            return gateway.retry_plan(delivery)
        except Exception as error:  # whatever a gateway does, the delivery is tried again
            _bug(delivery, error)
            return RetryPlan()

    def _retry_at(self, delivery: Delivery, outcome: Outcome, now: Micros) -> Micros | None:
        """When the next attempt is due, or None when there is none."""
        if outcome.receipt is not None or outcome.refused:
            return None
        gateway = self._gateways.get(delivery.gateway)
        if gateway is None:
            return now + limits.RETRY_CEILING
        plan = self._plan(gateway, delivery)
        due = plan.next_attempt(delivery.attempts, now, delivery.id, at_least=outcome.retry_after)
        if due is None and outcome.sent:  # the receipt of the last attempt gets its time as well
            return now + plan.wait(delivery.attempts, delivery.id)
        return due

    def _settle(self, delivery: Delivery, outcome: Outcome) -> None:
        now = self._runtime.clock.now()
        settle = of_outcome(delivery, outcome, now, self._retry_at(delivery, outcome, now))
        self._runtime.metrics.attempts.labels(delivery.gateway, settle.event.value).inc()
        if settle.due_at is not None:
            self._loop.call_later(max(0.0, (settle.due_at - now) / SECOND), self.wake)
        future = self._runtime.writer.submit(commands.SETTLE, Settlement(settle, outcome.note))
        future.add_done_callback(lambda done: self._settled(done, outcome))

    def _settled(self, done: Future[Any], outcome: Outcome) -> None:
        """In the writer's thread: a delivery that cannot be repeated as it was needs its kept objects no more."""
        error = done.exception()
        if error is not None:
            if not isinstance(error, DurabilityLost):
                words = "a settlement was not stored; its lease will end and it will be tried again"
                _log.error(words, cause=log.cause(error))
            return
        result: SettlementResult = done.result()
        if result.settled is not None:
            self._runtime.on_settled(result.settled.delivery)
        if outcome.spent and result.settled is not None and result.settled.after not in REPEATABLE_STATES:
            self._runtime.delete_later(outcome.spent)

    async def _renew(self) -> None:
        """Hold on to leases whose work takes long."""
        while True:
            await asyncio.sleep(limits.LEASE / 6 / SECOND)
            now = self._runtime.clock.now()
            late = [a for a in self._flight.values() if a.until - now < limits.LEASE * 2 // 3]
            for attempt in late:
                wanted = Renew(attempt.delivery.id, attempt.delivery.epoch, now + limits.LEASE)
                try:
                    renewed = await self._runtime.do(commands.RENEW, wanted)
                except Overloaded as error:
                    _log.warning("a lease could not be renewed now; it is tried again", cause=str(error))
                    continue
                if renewed:
                    attempt.until = wanted.until
                elif attempt.task:
                    _log.warning("a lease was lost; its attempt is cancelled", delivery=attempt.delivery.id)
                    attempt.task.cancel()


def _told_to_stop() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _bug(delivery: Delivery, error: BaseException) -> Outcome:
    """What the trace says of an error that the gateway does not document: no word of its own, it may quote the payload."""
    _log.error("a gateway failed in a way it does not document", delivery=delivery.id, exc_info=error)
    return Outcome(code="bug", reason=f"{type(error).__name__}; the node's log has the detail")
