"""Sending on what came to the wrong system (*refordeling*), and taking out of the residual mailbox what no route took.

Rules:

1. Old delivery, new delivery, trace and alarm are one commit: a parcel is never with two systems, and never with none.
2. Who receives is decided as for any parcel: by a route, or by name, and never without a service agreement.
3. Whoever had it is not asked again by a route; how often a parcel goes on is bounded.
4. What belongs to a parcel, as large attachments to a form, goes where it goes.
5. What is sealed for one receiver is of no use to another: it goes on only as a parcel of its own, sealed anew by somebody who
   could open it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final

from sqlalchemy import Connection

from core import commands, limits
from core.admission import Admission, Admitted
from core.clock import Micros
from core.commands import Redirect
from core.config import Configuration
from core.deciding import decide, deliveries_for, fan_out, told, waits_at
from core.delivery import Delivery
from core.description import Address, Description, Reference
from core.desk.handing import Seen, belonging
from core.desk.uploads import Uploads
from core.errors import NotFound, Refused, TooLarge, WrongState
from core.keys import seal, unseal
from core.ledger import deliveries as queue
from core.ledger import handing, parcels
from core.ledger.alarms import Alarm
from core.ledger.handing import REDISTRIBUTED, Moved, Redistribute
from core.ledger.parcels import Accept
from core.ledger.trace import Entry
from core.ledger.uploads import Upload
from core.mailroom import boxes_of
from core.parcel import Item, Parcel, Payload, new_id, place_of_subjects
from core.route import Decision, Target, Verdict
from core.runtime import Runtime
from core.store import Stage
from core.system import RESIDUAL
from core.writer import Kind

_GATEWAY: Final = "desk"
"""What a parcel that was sealed anew is said to have come through."""
RESEAL: Final = (
    "the payload is sealed for the system that has it: it must be sealed anew by somebody who can open it. Open it there, seal it"
    " for the next receiver, upload that, and name the upload; or ask the sender to send it anew"
)


@dataclass(frozen=True, slots=True)
class Goal:
    """Who shall have it: a system, a system that serves a function, or with neither whom the routes name."""

    system: str | None = None
    function: str | None = None


@dataclass(frozen=True, slots=True)
class Why:
    """Who sent it on, and why."""

    who: str
    code: str = handing.MISDELIVERED
    reason: str = ""

    @property
    def facts(self) -> dict[str, str]:
        """For the trace."""
        return {"by": self.who, "code": self.code, "reason": self.reason[:512]}


@dataclass(frozen=True, slots=True)
class SentOn:
    """Where it went: the parcel (another one when sealed anew), its new deliveries, and why nobody took it, or ""."""

    parcel_id: str
    deliveries: tuple[Delivery, ...]
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Left:
    """Something in the residual mailbox, with what each route that could be meant says of it."""

    row: Any
    parcel: Parcel
    verdicts: tuple[Verdict, ...]


def _redistribute(connection: Connection, batch: Sequence[Sequence[Redistribute]]) -> Sequence[Moved]:
    return [handing.redistribute_together(connection, items) for items in batch]


def _redistributed(items: Sequence[Redistribute], moved: Moved) -> Sequence[Entry]:
    return [entry for item in items for entry in _said(item)] if moved is Moved.DONE else ()


def _said(item: Redistribute) -> Sequence[Entry]:
    facts: dict[str, Any] = {"from": item.receiver, "receivers": [one.receiver for one in item.targets], **item.facts}
    facts["route"] = item.targets[0].rule if item.targets else REDISTRIBUTED
    entry = partial(Entry, at=item.at)
    if item.fresh is None:
        return (entry(item.parcel_id, event="redistributed", facts=facts),)
    facts["as"] = item.fresh.item.parcel.id
    fresh = entry(item.fresh.item.parcel.id, event="accepted", facts=item.fresh.facts)
    return (entry(item.parcel_id, event="redistributed", facts=facts), fresh)


REDISTRIBUTE: Final = Kind("redistribute", _redistribute, _redistributed, order=54)


class Redistribution:
    """Sends on, and empties the residual mailbox."""

    def __init__(self, runtime: Runtime, uploads: Uploads) -> None:
        self._runtime, self._uploads, self._admission = runtime, uploads, Admission(runtime)

    # -- what came to the wrong system

    async def send_on(self, seen: Seen, row: Any, goal: Goal, why: Why, upload: Upload | None = None) -> SentOn:
        """One delivery goes on. Raises `Refused` with what to change, `WrongState`, `TooLarge`."""
        parcel, now = seen.parcel, self._runtime.clock.now()
        if not handing.may_go_on(row):
            raise WrongState(f"the delivery is {row.state}: what is accepted, refused or under way is not sent on")
        sealed = parcel.description.degree == "encrypted"
        if sealed and upload is None:
            raise Refused(RESEAL)
        if upload is not None and not sealed:
            raise Refused("upload: the payload is not sealed, and goes on as it is: leave the upload out")
        had = frozenset(one.receiver for one in await self._runtime.read(queue.of_parcel, parcel.id))
        decision = self._decision(parcel, goal, now, had, row.receiver)
        others = await self._belonging(parcel, row, decision, why) if decision.route else []
        fresh = None
        if upload is not None:
            fresh = await self._sealed_anew(parcel, row, decision, upload, why)
        carried = parcel if fresh is None else fresh.item.parcel
        number = self._runtime.configuration.number
        targets = deliveries_for(carried, decision, number, now, self._runtime.pace)
        if fresh is not None:
            fresh = Accept(fresh.item, targets, _GATEWAY, fresh.sealed_subjects, fresh.facts)
        alarm = None if decision.route else _residual(carried, decision, now)
        wanted = Redistribute(row.id, parcel.id, row.receiver, now, targets, why.facts, fresh, alarm)
        moved = await self._runtime.do(REDISTRIBUTE, [wanted, *others])
        if moved is not Moved.DONE:
            if fresh is not None:
                self._runtime.delete_later([p.object_id for p in carried.payloads if p.object_id])
            raise WrongState(_NOT_MOVED[moved])
        if upload is not None:
            await self._uploads.forget(row.receiver, upload.id)
        self._announce([*targets, *(one for other in others for one in other.targets)])
        return SentOn(carried.id, targets, decision.cause)

    async def _belonging(self, parcel: Parcel, row: Any, decision: Decision, why: Why) -> list[Redistribute]:
        """What belongs to a parcel goes where it goes, unless it is there already. Raises `Refused` where it may not."""
        runtime, now, made = self._runtime, self._runtime.clock.now(), []
        for other, carried in await runtime.read(belonging, parcel, row.receiver):
            if not handing.may_go_on(other):
                continue
            having = {one.receiver for one in await runtime.read(queue.of_parcel, carried.id)}
            named = [target.system for target in decision.targets if target.system not in having]
            there = [_by_hand(runtime.configuration, carried, name, now).targets[0] for name in named]
            onward = Decision(REDISTRIBUTED, tuple(there))
            targets = deliveries_for(carried, onward, runtime.configuration.number, now, runtime.pace)
            made.append(Redistribute(other.id, carried.id, other.receiver, now, targets, why.facts))
        return made

    def _decision(self, parcel: Parcel, goal: Goal, now: Micros, had: Collection[str], receiver: str) -> Decision:
        configuration = self._runtime.configuration
        if goal.system is None and goal.function is None:
            return decide(configuration, parcel, now, had)
        name = goal.system
        if name is None:
            name = _server(configuration, parcel, str(goal.function), now, had)
        if name == receiver:
            raise Refused(f"to.system: {name} is who has it")
        return _by_hand(configuration, parcel, name, now)

    async def _sealed_anew(self, parcel: Parcel, row: Any, decision: Decision, upload: Upload, why: Why) -> Accept:
        """A parcel of its own, of the same integration and by the same agreement: who could open the first one sends it."""
        runtime, now = self._runtime, self._runtime.clock.now()
        integration = runtime.configuration.all("integration").get(parcel.integration)
        if integration is None:
            raise Refused(f"integration: {parcel.integration} is no longer in the configuration")
        if not upload.finished:
            raise WrongState("the upload is not finished")
        if upload.size > integration.max_size:
            raise TooLarge(f"upload: larger than {integration.max_size} octets, the limit of {integration.id}")
        runtime.demand_space()
        stage = Stage(runtime.store, runtime.ring, new_id(now), integration.max_size)
        payload = await self._copied(stage, upload)
        subjects = self._subjects(parcel)
        description = _anew(parcel, row.receiver, payload, subjects)
        made = Parcel(
            stage.parcel_id,
            row.receiver,
            parcel.integration,
            description,
            (payload,),
            now,
            stage.key_id,
            stage.wrapped_key,
            runtime.configuration.number,
        )
        place = place_of_subjects(made.id)
        sealed = seal(stage.key, json.dumps(subjects).encode(), place) if subjects else None
        facts: dict[str, Any] = {
            "gateway": _GATEWAY,
            "sender": made.sender,
            "integration": made.integration,
            "type": description.type,
            "version": made.config_version,
            "payloads": [[payload.media_type, payload.size, payload.sha256.hex()]],
            "redistributes": parcel.id,
            "route": decision.route,
            "receivers": [target.system for target in decision.targets],
            **why.facts,
        }
        return Accept(Item(made), (), _GATEWAY, sealed, facts)

    async def _copied(self, stage: Stage, upload: Upload) -> Payload:
        """An upload as a payload, one chunk at a time."""
        loop, bulk, sink = asyncio.get_running_loop(), self._runtime.bulk, stage.sink()
        try:
            chunks = self._uploads.read_now(upload)
            while (chunk := await loop.run_in_executor(bulk, next, chunks, None)) is not None:
                await loop.run_in_executor(bulk, sink.write, chunk)
            finish = partial(sink.finish, name=upload.name, media_type=upload.media_type)
            return await loop.run_in_executor(bulk, finish)
        except Exception:  # whatever it is, nothing half-made stays
            await loop.run_in_executor(bulk, stage.abort)
            raise

    def _subjects(self, parcel: Parcel) -> tuple[str, ...]:
        if not parcel.sealed_subjects:
            return ()
        key = self._runtime.ring.unwrap(parcel.wrapped_key, parcel.key_id)
        return tuple(json.loads(unseal(key, parcel.sealed_subjects, place_of_subjects(parcel.id))))

    # -- the residual mailbox

    async def residual(self, integrations: Collection[str] | None, after: str, limit: int) -> list[Left]:
        """What no route took, of these integrations or of all, after the one named, oldest first, and what the routes say."""
        rows, found = await self._runtime.read(_residual_page, integrations, after, limit)
        routes = self._runtime.configuration.routes
        left = []
        for row in rows:
            parcel = found[row.parcel_id]
            verdicts = routes.explain(parcel.description, parcel.integration)
            left.append(Left(row, parcel, _about(self._runtime.configuration, parcel.integration, verdicts)))
        return left

    async def held(self, delivery_id: str) -> tuple[Any, Parcel]:
        """A delivery in the residual mailbox, and its parcel. Raises `NotFound`."""
        row = await self._runtime.read(queue.row, delivery_id)
        if row is None or row.receiver != RESIDUAL:
            raise NotFound(f"no delivery {delivery_id} in the residual mailbox")
        return row, await self._runtime.read(parcels.load, row.parcel_id)

    async def route(self, row: Any, parcel: Parcel, goal: Goal, why: Why) -> SentOn:
        """Out of the residual mailbox: to whom somebody names, or to whom the routes name by now. Gives the cause where they name
        nobody. Raises `Refused`, `WrongState` when somebody was quicker."""
        now, configuration = self._runtime.clock.now(), self._runtime.configuration
        if goal == Goal():
            return await self._by_rules(row, parcel, why)
        decision = self._decision(parcel, goal, now, (), "")
        made = deliveries_for(parcel, decision, configuration.number, now, self._runtime.pace)
        return await self._redirect(Redirect(row.id, made, now, facts=_given(why)), parcel)

    async def _by_rules(self, row: Any, parcel: Parcel, why: Why) -> SentOn:
        """As if it came now: steps of enrichment run again, then routes or subscriptions are asked."""
        now = self._runtime.clock.now()
        admitted = await self._admission.again(self._runtime.configuration, parcel)
        made, cause = self._made_again(admitted, now)
        if not made:
            return SentOn(parcel.id, (), cause)
        described = admitted.item.parcel.description
        changed = described if described != parcel.description else None
        entries = tuple(replace(entry, at=now) for entry in admitted.entries)
        return await self._redirect(Redirect(row.id, made, now, changed, entries, _given(why)), admitted.item.parcel)

    def _made_again(self, admitted: Admitted, now: Micros) -> tuple[tuple[Delivery, ...], str]:
        """The deliveries that a parcel of the residual mailbox gets by now, or why it stays."""
        configuration, parcel = self._runtime.configuration, admitted.item.parcel
        if admitted.residual:
            return (), admitted.residual
        integration = configuration.all("integration").get(parcel.integration)
        if integration is not None and integration.capability == "notification":
            described = parcel.description.model_copy(update={"subjects": self._subjects(parcel)})
            found = fan_out(configuration, replace(parcel, description=described), now, self._runtime.on_list)
            return told(parcel, found.matched, configuration.number, now), "no subscription matches"
        decision = decide(configuration, parcel, now)
        if not decision.route:
            return (), decision.cause
        return deliveries_for(parcel, decision, configuration.number, now, self._runtime.pace), ""

    async def _redirect(self, wanted: Redirect, parcel: Parcel) -> SentOn:
        if not await self._runtime.do(commands.REDIRECT, wanted):
            raise WrongState("it is not in the residual mailbox any more")
        self._runtime.remember(parcel)
        self._announce(wanted.targets)
        return SentOn(parcel.id, wanted.targets)

    def _announce(self, made: Sequence[Delivery]) -> None:
        """Whoever comes for it, or attempts it, is told."""
        runtime, sent = self._runtime, [one for one in made if one.receiver != RESIDUAL]
        for one in sent:
            runtime.backlog.add(waits_at(one))
        runtime.at_once.expect([(one.gateway, one.destination) for one in sent if one.gateway])
        if boxes := boxes_of(sent):
            runtime.on_mail(boxes)


def _given(why: Why) -> dict[str, str]:
    return {name: said for name, said in why.facts.items() if said}


_NOT_MOVED: Final[Mapping[Moved, str]] = {
    Moved.STATE: "the delivery was accepted, refused or sent on meanwhile",
    Moved.OFTEN: f"the parcel has been sent on {limits.REDISTRIBUTIONS} times: agree with its sender who shall have it",
}


def _by_hand(configuration: Configuration, parcel: Parcel, name: str, at: Micros) -> Decision:
    """To a system that somebody named, reached as the routes reach it."""
    if not configuration.agreed(parcel.integration, name, "receive", at):
        cause = f"to: no system of that name has a service agreement to receive under {parcel.integration} now"
        raise Refused(cause)
    routes = configuration.all("route").values()
    reached = [
        (route.integration != parcel.integration, route.order, route.id, target)
        for route in routes
        for target in route.to
        if target.system == name and route.integration in (None, parcel.integration)
    ]
    target = min(reached, key=lambda one: one[:3])[3] if reached else Target(system=name)
    return Decision(REDISTRIBUTED, (target,))


def _server(configuration: Configuration, parcel: Parcel, function: str, at: Micros, had: Collection[str]) -> str:
    """The system that serves a function and may have it. Raises `Refused` for none and for several."""
    serving = [
        one.id
        for one in configuration.all("system").values()
        if function in one.functions
        and one.id not in had
        and configuration.agreed(parcel.integration, one.id, "receive", at)
    ]
    if len(serving) != 1:
        many = "several systems serve it" if serving else "no other system that may receive this serves it"
        raise Refused(f"to.function: {many}; name the system")
    return str(serving[0])


def _anew(parcel: Parcel, sender: str, payload: Payload, subjects: tuple[str, ...]) -> Description:
    """What the first parcel was, from whoever could open it, with a reference back."""
    old = parcel.description
    back = Reference(kind=REDISTRIBUTED, id=parcel.id)
    changes = {
        "sender": sender,
        "receiver": Address(),
        "references": (*old.references[: limits.DESCRIPTION_ITEMS - 1], back),
        "correlation_id": old.correlation_id or parcel.id,
        "subjects": subjects,
        "media_type": payload.media_type,
        "size": payload.size,
        "digest": payload.sha256.hex(),
    }
    return old.model_copy(update=changes)


def _residual(parcel: Parcel, decision: Decision, at: Micros) -> Alarm:
    text = f"sent on by its receiver, and nobody else takes it: {decision.cause}"
    return Alarm(new_id(at), at, "residual", text, parcel.id)


def _residual_page(
    connection: Connection, integrations: Collection[str] | None, after: str, limit: int
) -> tuple[list[Any], Mapping[str, Parcel]]:
    rows = handing.residual(connection, integrations, after, limit)
    return rows, parcels.load_many(connection, [row.parcel_id for row in rows])


def _about(configuration: Configuration, integration: str, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """Those of routes that are about the integration: that others are about others helps nobody."""
    routes = configuration.all("route")
    meant = [one for one in verdicts if routes[one.route].integration in (None, integration)]
    return tuple(meant[: limits.RESIDUAL_ROUTES])
