"""Self-service: what systems and suppliers ask for, and what those who own the data make of it.

Rules:

1. A request is judged when it is asked as it will be when it is approved: as one more document of the newest configuration.
2. An approval makes the next version from the newest one there is, with who and why; a configuration that has moved on meanwhile
   keeps what it has, and the checks are run again.
3. The node that makes a version follows it at once, the others within `limits.POLL`.
4. Who may ask and who may decide is said by the gateway that knows its callers; that nobody decides about what they asked
   themselves is said here.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from core import changes, limits
from core.agreement import ServiceAgreement
from core.changes import Change, Changed
from core.config import Configuration, Problem
from core.errors import NotAllowed, NotFound, Overloaded, Unfit, WrongState
from core.fitting import problems_of, put, read, without
from core.ledger import requests, versions
from core.ledger.requests import Decision, Request, RequestState, Wanted
from core.ledger.versions import Version
from core.parcel import Judgement, Key, new_id
from core.runtime import Runtime
from core.subscription import Subscription

KINDS: Final[dict[str, type[ServiceAgreement] | type[Subscription]]] = {
    "service-agreement": ServiceAgreement,
    "subscription": Subscription,
}
"""What can be asked for."""
Wish = ServiceAgreement | Subscription
Edit = Callable[[Configuration], Configuration]
"""One change: gives the next configuration, or raises."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, and for whose authority."""

    name: str
    authority: str


@dataclass(frozen=True, slots=True)
class Standing:
    """A request as it stands. ``known``: the same was asked under this key before. None: too many wait, or the key is taken."""

    request: Request | None
    known: bool = False
    conflict: bool = False


class Requests:
    """The requests of a ledger, and the one way in which an API changes the configuration."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    # -- looking

    async def find(self, wanted: Wanted, limit: int) -> tuple[Sequence[Request], str]:
        """A page, newest first, and what to ask for `Wanted.before` to get the next; "" when this is the last."""
        limit = max(1, min(limit, limits.LIST_MOST))
        found = await self._runtime.read(requests.find, wanted, limit + 1)
        return found[:limit], found[limit - 1].id if len(found) > limit else ""

    async def get(self, name: str) -> Request | None:
        """One request."""
        return await self._runtime.read(requests.get, name)

    async def newest(self) -> Configuration:
        """The newest configuration, which this node may not follow yet."""
        runtime = self._runtime
        number = await runtime.read(versions.latest_number)
        if number == runtime.configuration.number:
            return runtime.configuration
        return await asyncio.to_thread(runtime.version, number)

    async def history(self, limit: int) -> Sequence[Version]:
        """The newest versions, without their content."""
        return await self._runtime.read(versions.history, limit)

    async def judge(self, values: Sequence[Mapping[str, Any]]) -> Sequence[Problem]:
        """Everything that would be wrong with these documents in the place of all, beside the files of the newest version."""
        newest, catalogue = await self.newest(), self._runtime.catalogue

        def whole() -> Sequence[Problem]:
            wanted, problems = read(values, catalogue.kinds, newest.files)
            return problems or problems_of(wanted, catalogue.checks)

        return await asyncio.to_thread(whole)

    # -- asking

    async def ask(self, asker: Asker, wish: Wish, why: str, key: Key | None = None) -> Standing:
        """Ask for a document. Raises `Unfit` with everything that would be wrong."""
        newest = await self.newest()
        owner = _owner_of(newest, wish)
        _demand_room(newest, wish)
        await self.check(put(newest, wish))
        text = wish.model_dump_json(exclude_unset=True)
        named = (wish.kind, wish.id, text, wish.system, wish.integration, owner)
        return await self._store(asker, named, why, key)

    async def ask_removal(self, asker: Asker, wish: Wish, why: str, key: Key | None = None) -> Standing:
        """Ask that a document goes."""
        newest = await self.newest()
        await self.check(without(newest, wish.kind, wish.id))
        named = (wish.kind, wish.id, "", wish.system, wish.integration, _owner_of(newest, wish))
        return await self._store(asker, named, why, key)

    async def _store(
        self, asker: Asker, named: tuple[str, str, str, str, str, str], why: str, key: Key | None
    ) -> Standing:
        now = self._runtime.clock.now()
        made = Request(new_id(now), *named, asker.name, asker.authority, now, why)
        print_ = hashlib.sha256(json.dumps([*named[:3], why]).encode()).digest()
        item = changes.Ask(made, limits.REQUESTS_PENDING, key, print_)
        asked: changes.Asked = await self._runtime.do(changes.ASK, item)
        if asked.request is None:
            return Standing(None, conflict=asked.judgement is Judgement.CONFLICT)
        known = asked.judgement is Judgement.KNOWN
        return Standing(await self.get(asked.request) if known else made, known)

    # -- deciding

    async def approve(self, name: str, by: str, authority: str, reason: str) -> Request:
        """Make what is asked for the next version; of an authority that is not named, the owner's is written down.

        Raises `NotFound`, `WrongState`, `NotAllowed`, `Unfit`.
        """
        found = await self._pending(name)
        _demand_another(found, by)
        decision = Decision(name, RequestState.APPROVED, by, self._runtime.clock.now(), reason)
        words = f"request {name} by {found.asked_by} approved by {by}"
        words += "".join(f": {said}" for said in (found.why, reason) if said)
        granted_by = authority or found.owner or by
        await self.change(lambda newest: _granted(newest, found, granted_by), by, words, decision)
        return await self._again(name)

    async def refuse(self, name: str, by: str, reason: str) -> Request:
        """Say no. Raises as `approve`."""
        _demand_another(await self._pending(name), by)
        return await self._close(Decision(name, RequestState.REFUSED, by, self._runtime.clock.now(), reason))

    async def withdraw(self, name: str, by: str, reason: str) -> Request:
        """Its asker wants it no more. Raises `NotFound`, `WrongState`."""
        await self._pending(name)
        return await self._close(Decision(name, RequestState.WITHDRAWN, by, self._runtime.clock.now(), reason))

    async def _close(self, decision: Decision) -> Request:
        changed: Changed = await self._runtime.do(changes.CHANGE, Change(None, decision=decision))
        if changed.number is None:
            raise _decided(changed.state)
        return await self._again(decision.request)

    async def _pending(self, name: str) -> Request:
        found = await self.get(name)
        if found is None:
            raise NotFound(f"no request {name}")
        if found.state is not RequestState.PENDING:
            raise _decided(found.state)
        return found

    async def _again(self, name: str) -> Request:
        found = await self.get(name)
        assert found is not None, "requests are never deleted while they are looked at"
        return found

    # -- changing

    async def change(self, edit: Edit, who: str, why: str, decision: Decision | None = None) -> Configuration:
        """Make the next version by one change, with a decision in the same commit, and follow it.

        Raises `Unfit`, `WrongState`, whatever ``edit`` raises, and `Overloaded` when others change it all the time.
        """
        for _ in range(limits.CHANGE_ROUNDS):
            newest = await self.newest()
            wanted = edit(newest)
            await self.check(wanted)
            content = await asyncio.to_thread(wanted.to_json)
            version = Version(0, self._runtime.clock.now(), who[:255], why[:1024], content)
            item = Change(version, newest.number, decision)
            changed: Changed = await self._runtime.do(changes.CHANGE, item)
            if changed.number is not None:
                made = replace(wanted, number=changed.number)
                self._follow(made)
                return made
            if changed.state is not None:
                raise _decided(changed.state)
        raise Overloaded("the configuration is being changed by others all the time", limits.COME_BACK)

    def _follow(self, made: Configuration) -> None:
        if made.number > self._runtime.configuration.number:
            self._runtime.on_version(made)

    async def check(self, wanted: Configuration) -> None:
        """Raises `Unfit` for a configuration that does not fit together; the checks take their time, in a thread."""
        found: Sequence[Problem] = await asyncio.to_thread(problems_of, wanted, self._runtime.catalogue.checks)
        if found:
            raise Unfit(found)


def _owner_of(newest: Configuration, wish: Wish) -> str:
    integration = newest.all("integration").get(wish.integration)
    if integration is None:
        raise Unfit([Problem(wish.kind, wish.id, "integration", "there is no such integration", "see the catalogue")])
    if wish.kind == "subscription" and integration.capability != "notification":
        cause = "moves no notifications: what it moves goes by routes"
        raise Unfit([Problem(wish.kind, wish.id, "integration", cause, "ask for a service agreement alone")])
    return str(integration.owner)


def _demand_room(newest: Configuration, wish: Wish) -> None:
    """An id that stands for another system's document is not free, and nobody learns whose it is."""
    there = newest.all(wish.kind).get(wish.id)
    if there is not None and there.system != wish.system:
        raise Unfit([Problem(wish.kind, wish.id, "id", "cannot be used", "choose another id")])


def _demand_another(found: Request, by: str) -> None:
    if found.asked_by == by:
        raise NotAllowed("a request is decided by somebody else than who asked")


def _granted(newest: Configuration, found: Request, authority: str) -> Configuration:
    """The configuration in which a request holds."""
    there: Any = newest.all(found.kind).get(found.name)
    if found.removes:
        if there is None or there.system != found.system:
            raise WrongState("what should be removed is not there any more")
        return without(newest, found.kind, found.name)
    wish = KINDS[found.kind].model_validate_json(found.document)
    _demand_room(newest, wish)
    _owner_of(newest, wish)
    if isinstance(wish, ServiceAgreement):
        wish = wish.model_copy(update={"approved_by": authority})
    return put(newest, wish)


def _decided(state: RequestState | None) -> WrongState:
    return WrongState(f"it is {state.value} already" if state else "it was decided already")
