"""Replays: a subscription is given again what came in a time and matches its filter now.

Rules:

1. The id of a delivery that a replay makes is made of replay and parcel: a step that is taken twice, by one node or two, makes it
   once.
2. A step looks at some parcels, makes their deliveries and writes down how far it came, in one commit. A node that dies costs
   nothing: when a replay stands still, another goes on.
3. One replay of a subscription at a time. Its deliveries are in the bulk lane unless another is asked for, so that what comes new
   is not kept waiting.
4. What its system may not receive any more is not given again.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from sqlalchemy import Connection

from core import limits, log
from core.clock import SECOND, Micros
from core.deciding import told, waits_at
from core.delivery import Delivery
from core.desk.history import Seen
from core.errors import StafetError, WrongState
from core.ledger import history, replays
from core.ledger.replays import Replay, ReplayState, Step
from core.ledger.trace import Entry
from core.mailroom import Mailroom, boxes_of
from core.parcel import Parcel, new_id
from core.runtime import Runtime
from core.subscription import Subscription
from core.writer import Kind

_log = log.get("replay")
_END: Final = "g"
"""Behind every id: they are hexadecimal."""


@dataclass(frozen=True, slots=True)
class Begin:
    """A replay to begin."""

    replay: Replay


def _begin(connection: Connection, batch: Sequence[Begin]) -> Sequence[Replay]:
    return [_begin_one(connection, one.replay) for one in batch]


def _begin_one(connection: Connection, wanted: Replay) -> Replay:
    """The replay itself, or the one that stands in its way: of its id, or running for its subscription."""
    found = replays.get(connection, wanted.id) or replays.running_of(connection, wanted.subscription)
    if found is None:
        replays.add(connection, wanted)
    return found or wanted


BEGIN: Final = Kind("replay", _begin, order=73)


def _step(connection: Connection, batch: Sequence[Step]) -> Sequence[Sequence[Delivery] | None]:
    return [replays.advance(connection, one) for one in batch]


def _stepped(item: Step, made: Sequence[Delivery] | None) -> Sequence[Entry]:
    facts = {"replay": item.replay.id, "by": item.replay.asked_by}
    return [
        Entry(
            one.parcel_id,
            item.at,
            "replayed",
            {"receiver": one.receiver, "rule": one.rule, "delivery": one.id, "version": one.config_version, **facts},
        )
        for one in made or ()
    ]


STEP: Final = Kind("replay-step", _step, _stepped, order=74)


class Replays:
    """What is asked of replays, on any node."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def begin(
        self, subscription: Subscription, since: Micros, until: Micros | None, lane: str, by: str, key: str = ""
    ) -> tuple[Replay, bool]:
        """Begin a replay, up to now where no end is named; gives it, and whether it was begun before under the same key.

        Raises `WrongState` while another of the subscription runs, or when the key was used for another.
        """
        now = self._runtime.clock.now()
        name = _id_under(subscription.id, by, key) if key else new_id(now)
        wanted = Replay(name, subscription.id, since, now if until is None else until, lane, by, now, moved_at=now)
        found: Replay = await self._runtime.do(BEGIN, Begin(wanted))
        if found.id != name:
            raise WrongState(f"replay {found.id} of this subscription is running")
        if (found.since, found.until if until is not None else None, found.lane) != (since, until, lane):
            raise WrongState("the key was used for another replay")
        self._runtime.on_replay(name)
        return found, found.asked_at != now

    async def of(self, subscription: str, name: str) -> Replay | None:
        """A replay of a subscription."""
        found = await self._runtime.read(replays.get, name)
        return found if found is not None and found.subscription == subscription else None

    async def soon(self, subscription: str, name: str) -> Replay | None:
        """The same, once it has ended; as it is when that takes longer than `limits.REPLAY_WAIT`."""
        end = self._runtime.clock.now() + limits.REPLAY_WAIT
        while True:
            found = await self.of(subscription, name)
            if found is None or found.state is not ReplayState.RUNNING or self._runtime.clock.now() >= end:
                return found
            await asyncio.sleep(_LOOK)


_LOOK: Final = 0.02


def _id_under(subscription: str, by: str, key: str) -> str:
    return hashlib.sha256("\0".join((subscription, by, key)).encode()).hexdigest()[:32]


class Replayer:
    """Takes the steps, on one node."""

    def __init__(self, runtime: Runtime, mail: Mailroom) -> None:
        self._runtime, self._mail = runtime, mail
        self._woken: asyncio.Event = asyncio.Event()
        self._mine: dict[str, None] = {}

    def wake(self, name: str) -> None:
        """A replay was begun here."""
        self._mine[name] = None
        self._woken.set()

    async def run(self) -> None:
        """Take one step of each in turn, until cancelled; look now and then for what other nodes have left."""
        while True:
            if not self._mine:
                self._woken.clear()
                try:
                    async with asyncio.timeout(limits.REPLAY_STALE / SECOND / 2):
                        await self._woken.wait()
                except TimeoutError:
                    await self._adopt()
            for name in list(self._mine):
                try:
                    if not await self.step(name):
                        self._mine.pop(name, None)
                except StafetError as error:
                    _log.error("a replay cannot go on now; it is tried again", replay=name, cause=str(error))
                    self._mine.pop(name, None)  # it stands still, and is taken up again

    async def _adopt(self) -> None:
        try:
            since = self._runtime.clock.now() - limits.REPLAY_STALE
            for one in await self._runtime.read(replays.still, since, limits.LIST_PAGE):
                self._mine[one.id] = None
        except StafetError as error:
            _log.warning("nobody can say now which replays stand still", cause=str(error))

    async def step(self, name: str) -> bool:
        """One step; whether another is left."""
        found = await self._runtime.read(replays.get, name)
        if found is None or found.state is not ReplayState.RUNNING:
            return False
        step = await self._next(found)
        made = await self._runtime.do(STEP, step)
        if made:
            for one in made:
                self._runtime.backlog.add(waits_at(one))
            self._mail.wake(boxes_of(made))
        return made is not None and step.state is ReplayState.RUNNING

    async def _next(self, one: Replay) -> Step:
        now, configuration = self._runtime.clock.now(), self._runtime.configuration
        subscription = configuration.all("subscription").get(one.subscription)
        if subscription is None:
            return _stop(one, now, "the subscription is not there any more")
        if not configuration.agreed(subscription.integration, subscription.system, "receive", now):
            return _stop(one, now, f"{subscription.system} may not receive under {subscription.integration} now")
        if one.made >= limits.REPLAY_MOST:
            return _stop(one, now, f"{limits.REPLAY_MOST} deliveries were made, the most that one replay makes")
        after, before = max(one.cursor, history.floor(one.since)), history.floor(one.until)
        parcels = await self._runtime.read(history.page, subscription.integration, after, before, limits.REPLAY_BATCH)
        seen = Seen(self._runtime, subscription)
        judged = await asyncio.to_thread(seen.judge, parcels)
        made = tuple(_delivery(parcel, subscription, one, configuration.number, now) for parcel, yes in judged if yes)
        ended = len(parcels) < limits.REPLAY_BATCH
        state = ReplayState.DONE if ended else ReplayState.RUNNING
        cursor = parcels[-1].id if parcels else one.cursor or _END
        return Step(one, cursor, len(parcels), made, now, state)


def _stop(one: Replay, now: Micros, reason: str) -> Step:
    return Step(one, one.cursor or _END, 0, (), now, ReplayState.STOPPED, reason)


def _delivery(parcel: Parcel, subscription: Subscription, one: Replay, number: int, now: Micros) -> Delivery:
    """The delivery of a replay, in the replay's lane and in the order of that lane."""
    description = parcel.description.model_copy(update={"priority": one.lane})
    (made,) = told(replace(parcel, description=description), [subscription], number, now)
    name = hashlib.sha256(f"{one.id}/{subscription.id}/{parcel.id}".encode()).hexdigest()
    return replace(made, id=history.floor(one.asked_at) + name[:20])
