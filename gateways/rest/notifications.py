"""Notifications: publish as CloudEvents, and see what became of what one published."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core import limits
from core.errors import Refused, StafetError
from core.parcel import Acceptance, Item, Judgement, Key, Parcel
from gateways.rest import events, problems
from gateways.rest.endpoint import TRACED, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import Event
from gateways.rest.gate import Acting, Gate
from gateways.rest.problems import Flaw, ProblemError, invalid_request, problem_of
from gateways.rest.server import parse_json

_TAG: Final = "Notification"
_SAFE_NOTE: Final = {"protocol": "rest"}


class Published(Shape):
    """What became of one event."""

    id: str
    source: str
    status: Literal["accepted", "known", "refused"]
    """``known``: the same event came before; it counts once."""
    parcel: str | None = None
    problem: dict[str, Any] | None = None


class PublishedBatch(Shape):
    """What became of each event, in their order."""

    events: Annotated[list[Published], Field(max_length=limits.PUBLISH_BATCH)]


_SCHEMA: Final = {
    "type": "object",
    "description": "A CloudEvent 1.0 in the JSON format; extension attributes are those of the payload description.",
    "required": ["specversion", "id", "source", "type"],
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {"type": "string", "minLength": 1},
        "source": {"type": "string", "minLength": 1},
        "type": {"type": "string", "minLength": 1},
        "time": {"type": "string", "format": "date-time"},
        "integration": {"type": "string"},
    },
}


@dataclass(frozen=True, slots=True)
class _Ready:
    event: Event
    item: Item


class Notifications:
    """Endpoints of what is published."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        one = Answer(
            "The event is accepted: it is stored, and is delivered to every subscription that matches.", Published
        )
        same = Answer("The same event came before; it counts once.", Published)
        batch = Answer("Each event was judged for itself.", PublishedBatch)
        return (
            Endpoint(
                "POST",
                "/v1/notifications",
                self.publish,
                "Publish an event",
                _TAG,
                {201: one, 200: same},
                query=Acting,
                body=Body((events.ONE, "application/json", "*/*"), schema=_SCHEMA),
                problems=(problems.CONFLICT, problems.INVALID, problems.INVALID_DESCRIPTION, problems.REFUSED),
                audited="changed",
                unaudited=TRACED,
            ),
            Endpoint(
                "POST",
                "/v1/notifications/batch",
                self.publish_batch,
                "Publish several events",
                _TAG,
                {200: batch},
                query=Acting,
                body=Body((events.BATCH, "application/json"), schema={"type": "array", "items": _SCHEMA}),
                audited="changed",
                unaudited=TRACED,
            ),
        )

    async def publish(self, ask: Ask) -> Reply:
        """Publish one event, in the JSON format (`application/cloudevents+json`) or in binary mode (attributes in `ce-` headers).

        `source` and `id` together are its key: the same again is answered 200 and delivered once; the same key with other content
        is refused with `conflict`.
        """
        system = self._gate.acting(ask.caller, ask.query.system)
        if "ce-specversion" in ask.headers:
            event = events.read_binary(ask.headers, ask.body)
        elif ask.media_type in (events.ONE, "application/json"):
            event = events.read(parse_json(ask.body))
        else:
            words = f"send {events.ONE}, or the attributes in ce- headers"
            raise ProblemError(problems.Problem(problems.MEDIA, words))
        said = await self._one(system, event, "")
        return Reply(said, 201 if said.status == "accepted" else 200)

    async def publish_batch(self, ask: Ask) -> Reply:
        """Publish several events in one commit. Each is judged for itself: what is wrong with one is said of it alone."""
        system = self._gate.acting(ask.caller, ask.query.system)
        values = parse_json(ask.body)
        if not isinstance(values, list) or not 1 <= len(values) <= limits.PUBLISH_BATCH:
            raise invalid_request([Flaw("", f"is no list of 1 to {limits.PUBLISH_BATCH} events")])
        judged: list[Published | None] = [None] * len(values)
        ready: list[tuple[int, _Ready]] = []
        for index, value in enumerate(values):
            try:
                ready.append((index, self._ready(system, events.read(value, f"/{index}"), f"/{index}")))
            except StafetError as error:
                judged[index] = _refused(value, error)
        if ready:
            await self._together(system, ready, judged)
        return Reply(PublishedBatch(events=[one for one in judged if one is not None]))

    async def _together(self, system: str, ready: list[tuple[int, _Ready]], judged: list[Published | None]) -> None:
        """One commit; if the kernel refuses one of them, each by itself."""
        try:
            found = await self._gate.kernel.accept(*(one.item for _, one in ready))
        except Refused:
            for index, one in ready:
                try:
                    judged[index] = await self._one(system, one.event, f"/{index}")
                except StafetError as error:
                    judged[index] = _refused({"id": one.event.id, "source": one.event.source}, error)
            return
        for (index, one), acceptance in zip(ready, found, strict=True):
            try:
                judged[index] = _published(one.event, acceptance)
            except ProblemError as error:
                judged[index] = _refused({"id": one.event.id, "source": one.event.source}, error)

    async def _one(self, system: str, event: Event, where: str) -> Published:
        (acceptance,) = await self._gate.kernel.accept(self._ready(system, event, where).item)
        return _published(event, acceptance)

    def _ready(self, system: str, event: Event, where: str) -> _Ready:
        """The event as an item, staged."""
        kernel, gate = self._gate.kernel, self._gate
        integration = gate.integration(event.integration, event.fields["type"], "notification", f"{where}/integration")
        staging = kernel.stage(size_limit=integration.max_size)
        sink = staging.sink()
        sink.write(event.data)
        payload = sink.finish(name="data", media_type=event.media_type)
        description = events.describe(event, integration, system, payload.sha256.hex())
        payloads = (payload,) if event.data else ()
        parcel = Parcel(
            staging.parcel_id,
            system,
            integration.id,
            description,
            payloads,
            kernel.clock.now(),
            staging.key_id,
            staging.wrapped_key,
            gate.configuration().number,
        )
        said = json.dumps([integration.id, event.fields, event.media_type, payload.sha256.hex()], sort_keys=True)
        key = Key(f"rest/{system}", event.key)
        fingerprint = hashlib.sha256(said.encode()).digest()
        return _Ready(event, Item(parcel, key, fingerprint, b"", _SAFE_NOTE, (event.id,)))


def _published(event: Event, acceptance: Acceptance) -> Published:
    if acceptance.judgement is Judgement.CONFLICT:
        words = "an event with this source and id came before, with other content"
        raise ProblemError(problems.Problem(problems.CONFLICT, words))
    status: Literal["accepted", "known"] = "accepted" if acceptance.judgement is Judgement.NEW else "known"
    return Published(id=event.id, source=event.source, status=status, parcel=acceptance.parcel_id)


def _refused(value: Any, error: StafetError) -> Published:
    said = value if isinstance(value, dict) else {}
    name, source = str(said.get("id", ""))[:512], str(said.get("source", ""))[:512]
    return Published(id=name, source=source, status="refused", problem=problem_of(error).body())
