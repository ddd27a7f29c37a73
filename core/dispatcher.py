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
7. Each destination has its own number of attempts, and one that cannot be reached is paused (`core.pace`); what is in its way is
   passed over by the claim, so that others never wait for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from core import commands, limits, log
from core.clock import SECOND, Micros
from core.commands import Settlement, SettlementResult, Work
from core.delivery import REPEATABLE_STATES, Delivery, State
from core.errors import DurabilityLost, Overloaded, PayloadError, StafetError
from core.gateway import Gateway, Outcome
from core.ledger import unreachable
from core.ledger.claiming import Claim
from core.ledger.deliveries import Renew, of_outcome
from core.pace import Pause, Traffic, Where, pause_length
from core.parcel import Parcel
from core.runtime import Runtime
from core.schedule import RetryPlan
from core.writer import Kind

_log = log.get("dispatcher")


@dataclass
class _Attempt:
    delivery: Delivery
    until: Micros
    task: asyncio.Task[None] | None = None
    probe: bool = False
    """Whether it asks a paused destination if it is back."""


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
        self._eager = 0.0
        """When a claim last asked also for those that are nearly full."""
        self._looked: Micros = 0
        """When the pauses that all nodes share were read."""
        self.traffic = Traffic(lambda where: runtime.pace(*where).at_once)
        self._owner = runtime.boot
        self._loop = asyncio.get_running_loop()

    def wake(self) -> None:
        """There may be due work."""
        self._wake.set()

    # -- what is attempted as soon as it is accepted (`core.runtime.AtOnce`)

    def take(self, where: Where) -> bool:
        """Keep room for one attempt; False when there is none, or when others wait already."""
        if self._draining or self._backlog or self._room() <= 0 or not self.traffic.may_begin(where, self._asked):
            return False
        self._kept += 1
        self.traffic.enter(where)
        return True

    def give_back(self, where: Where) -> None:
        """The room is not needed."""
        self._kept -= 1
        self._leave(where)

    def start(self, delivery: Delivery, parcel: Parcel) -> None:
        """Attempt a delivery that was stored under this node's lease."""
        self._kept -= 1
        self._begin(delivery, parcel)

    def expect(self, wheres: Iterable[Where]) -> None:
        """Something is due for these; for one that is full or paused, nothing is to be done now."""
        if any(where not in self.traffic.held_back and where not in self.traffic.paused for where in wheres):
            self.wake()

    def _leave(self, where: Where) -> None:
        if self.traffic.leave(where) or self._backlog:
            self.wake()

    def _room(self) -> int:
        return self._runtime.settings.in_flight - len(self._flight) - self._kept - self._asked

    def _begin(self, delivery: Delivery, parcel: Parcel, *, probe: bool = False) -> None:
        """Attempt it; its destination has been entered."""
        earlier = self._flight.get(delivery.id)
        if earlier and earlier.task:  # its lease ran out under it, and this node has claimed the delivery again
            earlier.task.cancel()
        attempt = self._flight[delivery.id] = _Attempt(delivery, delivery.due_at, probe=probe)
        attempt.task = self._loop.create_task(self._attempt(attempt, parcel))
        # Not in the task itself: one that is cancelled before it began runs none of its lines.
        attempt.task.add_done_callback(lambda task: self._leave((delivery.gateway, delivery.destination)))

    # -- the queue

    async def run(self) -> None:
        """Claim and attempt until drained."""
        renewing = asyncio.create_task(self._renew(), name="renew-leases")
        try:
            while not self._draining:
                self._wake.clear()
                await self._look()
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
        full, rooms = self.traffic.full(patient=self._is_patient()), self.traffic.rooms()
        self._asked = limit
        try:
            wanted = Claim(limit, self._owner, now, now + limits.LEASE, full, rooms)
            work: Work = await self._runtime.do(commands.CLAIM, wanted)
        finally:
            self._asked = 0
        self.traffic.held_back = work.held_back
        self._begin_all(work)
        self._runtime.metrics.in_flight.set(len(self._flight))
        return len(work.deliveries)

    def _is_patient(self) -> bool:
        """Once an interval a claim is not, so that whoever is nearly full gets its share whatever others do."""
        now = self._loop.time()
        patient = now - self._eager < limits.POLL / SECOND
        if not patient:
            self._eager = now
        return patient

    def _begin_all(self, work: Work, *, probe: bool = False) -> None:
        for delivery in work.deliveries:
            self.traffic.enter((delivery.gateway, delivery.destination))
            self._begin(delivery, work.parcels[delivery.parcel_id], probe=probe)

    # -- destinations that cannot be reached

    async def _look(self) -> None:
        """Once an interval: which destinations are paused, on whichever node, and may one be asked again?"""
        now = self._runtime.clock.now()
        if abs(now - self._looked) < limits.POLL:
            return
        self._looked = now
        try:
            self.traffic.follow(await self._runtime.read(unreachable.all_paused))
            for where in self.traffic.probes(now):
                if self._room() <= 0:
                    break
                claim = Claim(1, self._owner, now, now + limits.LEASE, probe=where)
                self._begin_all(await self._runtime.do(commands.CLAIM, claim), probe=True)
        except Overloaded as error:
            _log.warning("the ledger gives no work now; it is asked again", cause=str(error))

    def _learn(self, attempt: _Attempt, outcome: Outcome) -> None:
        """What an attempt says of its destination."""
        where, now = (attempt.delivery.gateway, attempt.delivery.destination), self._runtime.clock.now()
        if outcome.reached or outcome.sent or outcome.receipt is not None:
            if self.traffic.answered(where):
                _log.info("a paused destination has answered", gateway=where[0], destination=where[1])
                self._tell(commands.CALL, commands.Call(unreachable.end, (where,)))
        elif attempt.probe:
            arguments: tuple[Any, ...] = (where, now, outcome.code, outcome.reason, outcome.retry_after or 0)
            if outcome.reached is None:
                self._tell(commands.CALL, commands.Call(unreachable.ask_again, (where, now + limits.PAUSE_FIRST)))
            else:
                self._tell(commands.CALL, commands.Call(unreachable.lengthen, arguments))
        elif outcome.reached is False and where not in self.traffic.paused:
            self._count(where, outcome, now)

    def _count(self, where: Where, outcome: Outcome, now: Micros) -> None:
        """One more in a row that did not reach it."""
        count, since = self.traffic.failed(where, now)
        most = self._runtime.pace(*where).pause_after
        if most and count >= most:
            until = now + max(pause_length(1), outcome.retry_after or 0)
            pause = self.traffic.paused[where] = Pause(where, since, until, 1, outcome.code, outcome.reason)
            self._tell(commands.PAUSE, pause)

    def _tell(self, kind: Kind, item: Any) -> None:
        """Write to the ledger what is not waited for; then what was read of the pauses is old."""
        future = self._runtime.writer.submit(kind, item)
        future.add_done_callback(lambda done: self._loop.call_soon_threadsafe(self._look_again))

    def _look_again(self) -> None:
        self._looked = 0
        self.wake()

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
        self._learn(attempt, outcome)
        self._runtime.metrics.attempt_seconds.labels(delivery.gateway).observe(self._loop.time() - begun)
        self._settle(delivery, outcome)

    async def _outcome(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        gateway = self._gateways.get(delivery.gateway)
        if gateway is None:
            reason = f"the gateway {delivery.gateway!r} is not active on this node; name it in node.yaml"
            return Outcome(code="no-gateway", reason=reason)
        if self._waited_long_enough(gateway, delivery):
            code = self._runtime.pace(delivery.gateway, delivery.destination, parcel.integration).no_receipt
            return Outcome(code=code, reason="the far side took it each time, and no receipt has come")
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
        future = self._runtime.writer.post(self._loop, commands.SETTLE, Settlement(settle, outcome.note))
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
            if result.settled.delivery.line:  # the next in its line may go
                self._loop.call_soon_threadsafe(self.wake)
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
