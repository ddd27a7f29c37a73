"""What is done with an item before the kernel decides about it: its payload is judged, its description enriched [design §2].

Rules:

1. Cheap refusals come first: no payload is read for a sender without a service agreement.
2. A payload is judged before anything is added, and both before anything is stored.
3. Large payloads are judged in a thread, of each gateway one at a time: what judging costs in memory is not multiplied.
4. A step of enrichment that is not quick runs in a thread of its own. One that takes too long is left behind and counted until it
   ends, so that steps that never end cannot take all there is.
5. What a description gains belongs to the parcel: receivers get it, and the trace says which rule it came from.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from core import limits, log
from core.clock import HOUR, SECOND
from core.config import Configuration
from core.content import Checker, Content
from core.deciding import check_allowed
from core.enrichment import Additions, Context, Enriched, Ready, attempt, enriched_by
from core.errors import ConfigError, EnrichmentFailed, Finding, Invalid
from core.integration import Integration
from core.ledger.alarms import Alarm
from core.ledger.trace import Entry
from core.parcel import Item, Parcel, Payload
from core.runtime import Runtime
from core.store import inline_place, read_payload

_log = log.get("admission")


@dataclass(frozen=True, slots=True)
class Admitted:
    """An item that may be decided about."""

    item: Item
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What the trace says of its content."""
    entries: tuple[Entry, ...] = ()
    """Further lines of the trace: what was added, and which step failed."""
    trouble: Alarm | None = None
    """What people are told, once an hour, of a step that failed while parcels go on."""
    residual: str = ""
    """Why it goes to the residual mailbox whatever the routes say."""


class Admission:
    """The door of one gateway."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._one_large = asyncio.Lock()
        self._under_way = threading.Semaphore(limits.ENRICHMENTS)

    async def admit(self, configuration: Configuration, item: Item) -> Admitted:
        """The item as it may be decided about. Raises `Refused`: `Invalid` for a payload that is not what was agreed."""
        parcel = item.parcel
        try:
            checker, steps = (
                configuration.contents.of(parcel.integration),
                configuration.enrichments.of(parcel.integration),
            )
        except ConfigError as error:  # found by `stafet check`; a version of another program may still hold it
            raise Invalid(parcel.integration, [Finding("contract", f"cannot be used by this node: {error}")]) from None
        await self._remembered(configuration, parcel.integration)
        integration = configuration.all("integration").get(parcel.integration)
        facts = _standing(integration) if integration is not None else {}
        if checker is None and not steps:
            return Admitted(item, facts)
        check_allowed(configuration, parcel, self._runtime.clock.now())
        if checker is not None and (warnings := await self._judged(checker, parcel)):
            facts["warnings"] = list(warnings)
        if not steps:
            return Admitted(item, facts)
        sealed = "encrypted" in (parcel.description.degree, facts["degree"])
        return self._admitted(item, facts, await self._enriched(configuration, steps, parcel, sealed=sealed))

    async def again(self, configuration: Configuration, parcel: Parcel) -> Admitted:
        """A parcel that is to be decided about once more: what steps add by now is added, what was there stays."""
        await self._remembered(configuration, parcel.integration)
        try:
            steps = configuration.enrichments.of(parcel.integration)
        except ConfigError as error:
            return Admitted(Item(parcel), residual=f"enrichment cannot be used by this node: {error}")
        sealed = parcel.description.degree == "encrypted"
        state = await self._enriched(configuration, steps, parcel, sealed=sealed)
        return self._admitted(Item(parcel), {}, state)

    async def _remembered(self, configuration: Configuration, integration: str) -> None:
        """Load the value lists that subscriptions will ask of, so that deciding waits for nothing."""
        for name in configuration.lists_asked(integration):
            if not self._runtime.membership.remembers(name):
                await asyncio.get_running_loop().run_in_executor(
                    self._runtime.bulk, self._runtime.membership.load, name
                )

    # -- content

    async def _judged(self, checker: Checker, parcel: Parcel) -> Sequence[str]:
        """What is only worth a word. Raises `Invalid`."""
        judge = partial(checker.judge, parcel.description.degree, self._contents(parcel))
        if sum(p.size for p in parcel.payloads) <= limits.CHECKED_AT_ONCE:
            return judge()
        async with self._one_large:
            return await asyncio.get_running_loop().run_in_executor(self._runtime.bulk, judge)

    def _contents(self, parcel: Parcel) -> list[Content]:
        key = self._runtime.ring.unwrap(parcel.wrapped_key, parcel.key_id)

        def opened(ordinal: int, payload: Payload) -> Any:
            return read_payload(self._runtime.store, key, inline_place(parcel.id, ordinal), payload, payload.inline)

        return [Content(p.media_type, p.size, partial(opened, i, p)) for i, p in enumerate(parcel.payloads)]

    # -- enrichment

    async def _enriched(
        self, configuration: Configuration, steps: Sequence[Ready], parcel: Parcel, *, sealed: bool
    ) -> Enriched:
        payloads = () if sealed else tuple(self._contents(parcel))
        context = Context(parcel.integration, configuration.enrichments.tables, payloads)
        state = Enriched(parcel.description)
        for ready in steps:
            state = enriched_by(state, ready, await self._step(ready, state, context))
            if state.residual:
                break
        return state

    async def _step(self, ready: Ready, state: Enriched, context: Context) -> Sequence[Additions] | Exception:
        call = partial(attempt, ready, state, context)
        if ready.step.quick:
            return call()
        if not self._under_way.acquire(blocking=False):
            return EnrichmentFailed(f"{limits.ENRICHMENTS} steps are under way already, and none has ended")
        try:
            future = asyncio.wrap_future(_in_a_thread(call, self._under_way.release))
            return await asyncio.wait_for(future, limits.ENRICHMENT_TIME / SECOND)
        except TimeoutError:
            return EnrichmentFailed(f"took longer than {limits.ENRICHMENT_TIME // SECOND} seconds")

    def _admitted(self, item: Item, facts: Mapping[str, Any], state: Enriched) -> Admitted:
        parcel, at = item.parcel, item.parcel.accepted_at
        entries = [Entry(parcel.id, at, "enriched", one) for one in state.added]
        entries += [Entry(parcel.id, at, "not-enriched", one) for one in state.failures]
        for one in state.failures:
            _log.warning("a parcel was not enriched", parcel=parcel.id, **one)
        trouble = None if state.residual else _trouble(parcel, state)
        changed = replace(item, parcel=replace(parcel, description=state.description))
        return Admitted(changed, facts, tuple(entries), trouble, state.residual)


def _standing(integration: Integration) -> dict[str, Any]:
    """Who answers for what is moved, on every item: the degree, the contract, the declaration, the responsible party."""
    facts: dict[str, Any] = {"degree": integration.degree}
    if integration.contract is not None:
        facts["contract"] = " ".join(filter(None, (integration.contract.file, integration.contract.version)))
    if integration.declaration is not None:
        facts["declaration"] = integration.declaration.reference or integration.declaration.by
    if integration.responsible is not None:
        facts["responsible"] = integration.responsible.name
    return facts


def _trouble(parcel: Parcel, state: Enriched) -> Alarm | None:
    if not state.failures:
        return None
    first = state.failures[0]
    said = f"{parcel.config_version}/{parcel.integration}/{first['step']}/{parcel.accepted_at // HOUR}"
    text = f"enrichment {first['step']} of {parcel.integration}: {first['cause']}; parcels go on without what it adds"
    alarm_id = hashlib.sha256(said.encode()).hexdigest()[:40]
    return Alarm(alarm_id, parcel.accepted_at, "enrichment", text[:1000], parcel.id, once=True)


def _in_a_thread(call: Callable[[], Any], ended: Callable[[], None]) -> Future[Any]:
    """Run in a thread that nobody has to wait for: not even the end of the process."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody can cancel it, so its result can always be set

    def run() -> None:
        try:
            future.set_result(call())
        finally:
            ended()

    threading.Thread(target=run, name="enrichment", daemon=True).start()
    return future
