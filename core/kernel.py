"""What a gateway may ask of the kernel: accept, settle, recall, freeze, pull [design §4].

The guarantee, in these words everywhere: *accepted once per key; delivered at least once, under an id that never changes;
nothing claims more.*

Rules:

1. `accept` judges first (agreement, limits, route), then stores keys, parcels, deliveries and the answers about to be given in
   one transaction. Nothing is visible before it has committed.
2. What no route takes goes to the residual mailbox, held, with an alarm. A notification goes to whoever subscribes, be it nobody.
3. Evidence is never fenced; what an attempt or a pulling system reports is.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from core import commands, limits, log
from core.admission import Admission, Admitted
from core.asking import Keeper, Lease, Staging
from core.clock import HOUR, SECOND, Micros
from core.commands import Answer, Freeze, Loans, Settlement, SettlementResult
from core.config import Configuration
from core.deciding import FanOut, check_allowed, decide, deliveries_for, fan_out, residual, told, waits_at
from core.delivery import Delivery, Event, Frozen
from core.desk.desks import Desks
from core.errors import Overloaded, OverQuota, Refused, StaleLease
from core.expectation import expected
from core.gateway import Answered
from core.keys import seal, unseal
from core.ledger import deliveries as queue
from core.ledger import parcels
from core.ledger.alarms import Alarm
from core.ledger.deliveries import Renew, Settle
from core.ledger.loans import PullClaim
from core.ledger.parcels import Accept
from core.ledger.trace import Entry
from core.mailroom import Box, Mailroom, boxes_of
from core.parcel import Acceptance, Item, Judgement, Key, Parcel, Payload, new_id, place_of_subjects
from core.quota import Load
from core.receipt import Receipt
from core.route import Decision, Target
from core.runtime import Runtime
from core.store import Stage, inline_place, read_payload
from core.trust import Identity

_log = log.get("kernel")


class NodeKernel:
    """The kernel as one gateway sees it. ``gateway`` is that gateway's name."""

    def __init__(self, runtime: Runtime, gateway: str, mail: Mailroom) -> None:
        self._runtime, self._gateway, self._mail = runtime, gateway, mail
        self.clock = runtime.clock
        self.desks = Desks(runtime, mail)
        self.admission = Admission(runtime)
        self._refusals: tuple[Micros, int] = (0, 0)

    def identity(self, name: str) -> Identity:
        """A private key of this node."""
        return self._runtime.identity(name)

    def folder(self) -> Path:
        """A folder of the gateway's own in the node's data."""
        folder = self._runtime.settings.data_path / "gateways" / self._gateway
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    # -- in

    def stage(self, *, size_limit: int) -> Staging:
        """Begin a parcel. Raises `Overloaded` below the free-space reserve, and when too much waits."""
        self._runtime.demand_space()
        self._runtime.demand_queue()
        return Stage(self._runtime.store, self._runtime.ring, new_id(self.clock.now()), size_limit)

    async def accept(self, *items: Item) -> Sequence[Acceptance]:
        """Store all in one transaction or none; each is judged alone. Raises `Refused` before anything is stored."""
        configuration = self._runtime.configuration
        prepared: list[Accept] = []
        try:
            await self._charge(items)
            for admitted in [await self.admission.admit(configuration, item) for item in items]:
                prepared.append(self._prepare(configuration, admitted))
        except BaseException:  # whichever item is refused, none is stored, and the room kept for others is free again
            self._give_back(prepared)
            for item in items:
                self._forget(item.parcel)
            raise
        judged = await self._commit(prepared) if prepared else []
        self._spread(prepared, judged)
        return judged

    async def _charge(self, items: Sequence[Item]) -> None:
        """Raises `OverQuota`; a repetition is answered all the same, and costs nothing."""
        quotas = self._runtime.quotas
        if not quotas.in_force:
            return
        loads = [Load(i.parcel.id, i.parcel.sender, sum(p.size for p in i.parcel.payloads)) for i in items]
        try:
            quotas.charge(loads, self.clock.now())
        except OverQuota:
            known = [i.key is not None and await self.recall(i.key) is not None for i in items]
            if not any(known):
                self._runtime.metrics.refused.labels(self._gateway, "quota").inc()
                raise
            quotas.charge([load for load, one in zip(loads, known, strict=True) if not one], self.clock.now())

    async def _commit(self, prepared: Sequence[Accept]) -> Sequence[Acceptance]:
        """One command, whatever the number of items: what they become is one commit."""
        unheard = partial(self._unheard, prepared)
        try:
            if len(prepared) == 1:
                return [await self._runtime.do(commands.ACCEPT, prepared[0], unheard)]
            judged: Sequence[Acceptance] = await self._runtime.do(commands.ACCEPT_TOGETHER, prepared, unheard)
        except Exception as error:  # whatever the cause, no attempt will need the room
            self._not_stored(prepared, error)
            raise
        return judged

    def _unheard(self, prepared: Sequence[Accept], result: Any) -> None:
        """The caller was cancelled, the commit was not: what it stored under a lease is begun all the same."""
        if isinstance(result, BaseException):
            self._not_stored(prepared, result)
        else:
            self._spread(prepared, [result] if len(prepared) == 1 else result)

    def _not_stored(self, prepared: Sequence[Accept], error: BaseException) -> None:
        self._give_back(prepared)
        for accept in prepared:
            if isinstance(error, Refused):
                self._forget(accept.item.parcel)
            else:  # it may be stored all the same
                self._runtime.quotas.settle(accept.item.parcel.id, stored=True)

    def _give_back(self, prepared: Sequence[Accept]) -> None:
        for accept in prepared:
            if accept.owner:
                (direct,) = accept.deliveries
                self._runtime.at_once.give_back((direct.gateway, direct.destination))

    def _spread(self, prepared: Sequence[Accept], judged: Sequence[Acceptance]) -> None:
        """Begin or announce what is new, and forget the octets of what is not."""
        mail: set[Box] = set()
        for accept, acceptance in zip(prepared, judged, strict=True):
            self._runtime.metrics.accepted.labels(self._gateway, acceptance.judgement.value).inc()
            if acceptance.judgement is Judgement.NEW:
                self._runtime.quotas.settle(accept.item.parcel.id, stored=True, deliveries=len(accept.deliveries))
                if boxes := boxes_of(accept.deliveries):
                    mail.update(boxes)
                    if accept.deliveries[0].rule:  # what lies in the residual mailbox may be described anew
                        self._runtime.remember(accept.item.parcel)
                if accept.owner:
                    self._runtime.at_once.start(accept.deliveries[0], accept.item.parcel)
                else:
                    self._runtime.at_once.expect([(d.gateway, d.destination) for d in accept.deliveries if d.gateway])
                for one in accept.deliveries:
                    self._runtime.backlog.add(waits_at(one))
            else:
                self._give_back([accept])
                self._forget(accept.item.parcel)
        if mail:
            self._runtime.on_mail(sorted(mail))

    def _forget(self, parcel: Parcel) -> None:
        """The octets of what is refused, a repetition or a conflict are nobody's: a flood of it must not fill the disk."""
        self._runtime.quotas.settle(parcel.id, stored=False)
        self._runtime.delete_later([p.object_id for p in parcel.payloads if p.object_id])

    def _prepare(self, configuration: Configuration, admitted: Admitted) -> Accept:
        item, now = admitted.item, self.clock.now()
        parcel = item.parcel
        agreement = check_allowed(configuration, parcel, now)
        sealed = None
        if parcel.description.subjects:
            octets = json.dumps(parcel.description.subjects).encode()
            sealed = seal(self.data_key(parcel), octets, place_of_subjects(parcel.id))
        facts: dict[str, Any] = {
            "gateway": self._gateway,
            "sender": parcel.sender,
            "integration": parcel.integration,
            "type": parcel.description.type,
            "agreement": agreement,
            "version": configuration.number,
            # Not the names of files: the trace is for ever, and people name files after people.
            "payloads": [[p.media_type, p.size, p.sha256.hex()] for p in parcel.payloads],
            **admitted.facts,
            **item.note,
        }
        integration = configuration.all("integration")[parcel.integration]
        more: dict[str, Any] = {"entries": admitted.entries, "trouble": admitted.trouble}
        if not admitted.residual and integration.capability == "notification":
            found = fan_out(configuration, parcel, now, self._runtime.on_list)
            made = told(parcel, found.matched, configuration.number, now)
            facts["subscriptions"] = [one.id for one in found.matched]
            if found.left_out:
                facts["left_out"] = [[one.subscription, one.why] for one in found.left_out]
            more["expectations"] = expected(integration, parcel.id, [d.receiver for d in made], now)
            return Accept(item, made, self._gateway, sealed, facts, _left_out(found, parcel, now), **more)
        decision = residual(admitted.residual) if admitted.residual else decide(configuration, parcel, now)
        self._demand_room(parcel, decision)
        # A delivery that this node can attempt at once is born under its lease: one command less in the ledger.
        direct = len(decision.targets) == 1 and self._may_begin(parcel, decision.targets[0])
        until = now + limits.LEASE if direct else None
        made = deliveries_for(parcel, decision, configuration.number, now, self._runtime.pace, leased_until=until)
        facts |= {"route": decision.route, "receivers": [d.receiver for d in made]}
        alarm = None
        if not decision.route:
            facts["cause"] = decision.cause
            text = f"parcel {parcel.id} lies in the residual mailbox: {decision.cause}"
            alarm = Alarm(new_id(now), now, "residual", text, parcel.id)
        more["expectations"] = expected(integration, parcel.id, [d.receiver for d in made], now)
        owner = self._runtime.boot if direct else ""
        return Accept(item, made, self._gateway, sealed, facts, alarm, owner, **more)

    def _may_begin(self, parcel: Parcel, target: Target) -> bool:
        """Whether its one delivery is attempted beside the queue; what stands in a line never is."""
        if not target.gateway or self._runtime.pace(target.gateway, target.destination, parcel.integration).ordered:
            return False
        return self._runtime.at_once.take((target.gateway, target.destination))

    def _demand_room(self, parcel: Parcel, decision: Decision) -> None:
        """Raises `Overloaded` when too much waits for one that this would go to: the sender keeps it for now."""
        for target in decision.targets:
            where = (target.gateway, target.destination if target.gateway else target.system)
            most = self._runtime.pace(target.gateway, target.destination, parcel.integration).waiting
            if decision.route and (excess := self._runtime.backlog.excess(where, most)):
                raise Overloaded(excess, limits.COME_BACK)

    async def recall(self, key: Key) -> Answered | None:
        """What was once answered under this key."""
        return await self._runtime.read(parcels.recall, key)

    async def answer_again(self, key: Key, answer: bytes) -> None:
        """Keep a further answer given under a known key."""
        await self._runtime.do(commands.ANSWER, Answer(key, answer, self.clock.now()))

    # -- out

    async def freeze(self, delivery: Delivery, wire: Frozen, facts: Mapping[str, str] | None = None) -> None:
        """Commit what will be sent and its outside names before the first octet leaves."""
        await self._runtime.do(commands.FREEZE, Freeze(wire, delivery.parcel_id, facts or {}))

    async def frozen(self, delivery_id: str) -> Frozen | None:
        """The newest frozen wire of a delivery."""
        return await self._runtime.read(queue.newest_frozen, delivery_id)

    async def delivery_of(self, outside_id: str) -> str | None:
        """The delivery an outside name belongs to."""
        return await self._runtime.read(queue.by_outside_id, outside_id)

    async def carried(self, delivery_id: str) -> tuple[Delivery, Parcel] | None:
        """A delivery and what it carries."""
        return await self._runtime.read(_carried, delivery_id)

    async def settle(self, receipt: Receipt, *, key: Key | None = None, answer: bytes | None = None) -> Acceptance:
        """Record evidence and move its delivery; under a key it counts once."""
        settlement = Settlement(queue.of_receipt(receipt), {"level": receipt.level.value}, key, answer or b"")
        result: SettlementResult = await self._runtime.do(commands.SETTLE, settlement)
        if result.settled is not None and result.settled.delivery.line:
            self._runtime.on_work()
        if result.acceptance is not None:
            return result.acceptance
        return Acceptance(Judgement.NEW, result.settled.delivery.parcel_id if result.settled else "")

    # -- pulling

    async def pull(self, system: str, *, limit: int, wait: Micros, integrations: Sequence[str] = ()) -> Sequence[Lease]:
        """Lend deliveries to a pulling system, waiting up to ``wait`` for the first."""
        deadline = self.clock.now() + wait
        while True:
            now = self.clock.now()
            claim = PullClaim(system, min(limit, limits.CLAIM_BATCH), now, now + limits.LEASE, tuple(integrations))
            lent: Loans = await self._runtime.do(commands.PULL, claim)
            if lent.deliveries or now >= deadline:
                found = await self._runtime.parcels_of(lent.deliveries)
                return [Lease(d, found[d.parcel_id], claim.until) for d in lent.deliveries]
            await self._mail.wait((system, ""), deadline - now)

    async def _end(self, lease: Lease, event: Event, code: str, reason: str, due_at: Micros | None = None) -> None:
        d = lease.delivery
        settle = Settle(d.id, event, self.clock.now(), d.epoch, due_at, code, reason)
        result: SettlementResult = await self._runtime.do(commands.SETTLE, Settlement(settle, {"by": d.receiver}))
        if result.settled is None or result.settled.stale:
            raise StaleLease(f"the lease of delivery {d.id} has ended; it was lent again")

    async def ack(self, lease: Lease) -> None:
        """The system has it."""
        await self._end(lease, Event.ACKNOWLEDGED, "", "")

    async def nack(self, lease: Lease, *, delay: Micros, reason: str) -> None:
        """Not now: due again after ``delay``."""
        await self._end(lease, Event.RETRY, "nack", reason, self.clock.now() + delay)

    async def extend(self, lease: Lease, by: Micros) -> Lease:
        """More time."""
        until = self.clock.now() + by
        if not await self._runtime.do(commands.RENEW, Renew(lease.delivery.id, lease.delivery.epoch, until)):
            raise StaleLease(f"the lease of delivery {lease.delivery.id} has ended; it was lent again")
        return Lease(lease.delivery, lease.parcel, until)

    async def reject(self, lease: Lease, *, code: str, reason: str) -> None:
        """The system will never take it."""
        await self._end(lease, Event.REFUSED, code, reason)

    async def give_up(self, lease: Lease, *, code: str, reason: str) -> None:
        """Lent often enough without a word."""
        await self._end(lease, Event.EXHAUSTED, code, reason)

    # -- octets

    def data_key(self, parcel: Parcel) -> bytes:
        """A parcel's data key."""
        return self._runtime.ring.unwrap(parcel.wrapped_key, parcel.key_id)

    def subjects(self, parcel: Parcel) -> tuple[str, ...]:
        """Whom a parcel concerns."""
        if parcel.description.subjects or not parcel.sealed_subjects:
            return parcel.description.subjects
        opened = unseal(self.data_key(parcel), parcel.sealed_subjects, place_of_subjects(parcel.id))
        return tuple(json.loads(opened))

    def read_now(self, parcel: Parcel, payload: Payload) -> Iterator[bytes]:
        """A payload's plaintext in chunks; blocking. Raises `PayloadError`."""
        place = inline_place(parcel.id, parcel.payloads.index(payload))
        return read_payload(self._runtime.store, self.data_key(parcel), place, payload, payload.inline)

    async def read(self, parcel: Parcel, payload: Payload) -> AsyncIterator[bytes]:
        """A payload's plaintext in chunks, each fetched in a thread. Raises `PayloadError`."""
        chunks = self.read_now(parcel, payload)
        loop = asyncio.get_running_loop()
        while (chunk := await loop.run_in_executor(self._runtime.bulk, next, chunks, None)) is not None:
            yield chunk

    def keep(self, parcel: Parcel) -> Keeper:
        """A place for an object a gateway keeps until a delivery settles."""
        return self._runtime.store.create(self.data_key(parcel))

    def kept(self, parcel: Parcel, object_id: str) -> Iterator[bytes]:
        """An object made with `keep`; blocking."""
        return self._runtime.store.open(object_id, self.data_key(parcel))

    # -- words

    async def alarm(self, code: str, text: str, *, parcel_id: str = "") -> None:
        """Raise an alarm people shall see."""
        now = self.clock.now()
        _log.warning(text, code=code, parcel=parcel_id)
        await self._runtime.do(commands.ALARM, Alarm(new_id(now), now, code, text, parcel_id))

    async def note(self, parcel_id: str, event: str, facts: Mapping[str, str]) -> None:
        """Add a line to a parcel's trace."""
        await self._runtime.do(commands.NOTE, Entry(parcel_id, self.clock.now(), event, facts))

    async def refusal(self, reference: str, code: str, facts: Mapping[str, str]) -> None:
        """Remember a refusal at the door; more than `limits.REFUSALS` a second are counted and logged only."""
        self._runtime.metrics.refused.labels(self._gateway, code).inc()
        _log.warning("refused", gateway=self._gateway, code=code, reference=reference, **facts)
        now = self.clock.now()
        begun, count = self._refusals
        self._refusals = (now, 1) if now - begun > SECOND else (begun, count + 1)
        if self._refusals[1] <= limits.REFUSALS:
            facts = {"gateway": self._gateway, "code": code, "reference": reference, **facts}
            entry = Entry(refusal_id(reference), now, "refused", facts)
            self._runtime.writer.submit(commands.NOTE, entry)


def _left_out(found: FanOut, parcel: Parcel, at: Micros) -> Alarm | None:
    """What is said, once an hour for one version, of subscriptions that got nothing though their filter may have meant it."""
    if not found.left_out:
        return None
    first, *others = found.left_out
    said = f"{parcel.config_version}/{first.subscription}/{at // HOUR}"
    text = f"subscription {first.subscription} got no delivery of {parcel.id}: {first.why}"
    text += f"; and {len(others)} others" if others else ""
    return Alarm(hashlib.sha256(said.encode()).hexdigest()[:40], at, "left-out", text, parcel.id, once=True)


def _carried(connection: Connection, delivery_id: str) -> tuple[Delivery, Parcel] | None:
    found = queue.get(connection, delivery_id)
    return (found, parcels.load(connection, found.parcel_id)) if found is not None else None


def refusal_id(reference: str) -> str:
    """Where the trace keeps refusals of something the far side called ``reference``."""
    return "refusal-" + hashlib.sha256(reference.encode()).hexdigest()[:40]
