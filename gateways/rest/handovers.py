"""Handovers: give one away, be told of what has come, and see what became of it.

Rules:

1. A handover is accepted whole or not at all: one that breaks off, is too large or has another digest leaves nothing.
2. Its payloads go to the store as they come. What was uploaded before is copied there, and is no upload any more.
3. A receiver is told of a handover by lending it an announcement; it fetches the payloads, then acknowledges.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

from pydantic import Field

from core import limits
from core.clock import SECOND
from core.deciding import check_allowed
from core.desk.handing import PARCEL, Seen
from core.desk.mailbox import Loan
from core.errors import NotFound, TooLarge, WrongState
from core.integration import Integration
from core.ledger.handing import wrong_here
from core.mailroom import Box
from core.parcel import Item, Judgement, Key, Parcel
from gateways.rest import problems
from gateways.rest.describing import Carried, Described, Given, carried, describe, described
from gateways.rest.endpoint import OWN, TRACED, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Acting, Gate
from gateways.rest.loans import Delivered, Deliveries, Pull, Verbs
from gateways.rest.parts import Part, file_name, media_type, parts, promised
from gateways.rest.problems import Flaw, Problem, ProblemError, invalid_request
from gateways.rest.server import checked, parse_json
from gateways.rest.staging import Putting

TAG: Final = "Handover"
AVAILABLE: Final = "stafet.handover.available"
_FORM: Final = "multipart/form-data"
_KEY: Final = 255
_GIVEN: Final = {"$ref": "#/components/schemas/Given"}
_SCHEMA: Final = {
    "description": "As `application/json` the description alone; as `multipart/form-data` first a part `description`"
    " (`application/json`), then one part with a `filename` for each payload.",
    "anyOf": [
        _GIVEN,
        {
            "type": "object",
            "required": ["description"],
            "properties": {
                "description": _GIVEN,
                "payload": {"type": "array", "items": {"type": "string", "format": "binary"}},
            },
        },
    ],
}


class Handed(Shape):
    """What was accepted."""

    parcel: str
    integration: str
    payloads: list[Carried]


class Fetching(Pull):
    """What to lend."""

    integrations: Annotated[list[Annotated[str, Field(max_length=64)]], Field(default_factory=list, max_length=100)]
    """Of these alone; left out, of all."""


class Belonging(Shape):
    """A parcel of file exchange that belongs to a handover."""

    parcel: str
    href: str


class Available(Shape):
    """What a receiver is told: what it is, and where to fetch it."""

    parcel: str
    delivery: str
    integration: str
    accepted: str
    description: Described
    payloads: list[Carried]
    files: list[Belonging]
    attempt: int
    lease: str
    until: str


class Standing(Shape):
    """One delivery, and how it stands."""

    delivery: str
    receiver: str
    state: str
    """A state of `core.delivery`; `redistributed` where its receiver sent it on, which nobody calls refused."""
    rule: str
    attempts: int
    fetched: str | None = None
    settled: str | None = None
    code: str = ""
    reason: str = ""


class SentOnTo(Shape):
    """Once that it was sent on."""

    at: str
    sent_by: str
    to: list[str]
    who: str
    rule: str
    code: str
    reason: str
    sealed_anew_as: str | None = None


class Handover(Shape):
    """A handover as its sender or a receiver sees it."""

    parcel: str
    integration: str
    accepted: str
    description: Described
    payloads: list[Carried]
    files: list[Belonging]
    deliveries: list[Standing]
    history: list[SentOnTo]


class Handovers:
    """Endpoints of what is handed over."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._verbs = gate, Verbs(gate, self._box)

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        new = Answer(
            "It is accepted: stored, and on its way.", Handed, headers={"Location": "Where to see what becomes of it."}
        )
        same = Answer("The same came before under this key; it counts once.", Handed)
        refused = (problems.CONFLICT, problems.INVALID, problems.INVALID_DESCRIPTION, problems.REFUSED, problems.STATE)
        key = {
            "Idempotency-Key": "Needed: what this handover counts once by. Send the same key when you send it again."
        }
        return (
            Endpoint("POST", "/v1/handovers", self.submit, "Hand over", TAG, {201: new, 200: same}, query=Acting,
                     body=Body((_FORM, "application/json"), streamed=True, schema=_SCHEMA, speaks_of=(Given,)),
                     problems=refused, headers=key, audited="changed", unaudited=TRACED),
            Endpoint("POST", "/v1/handovers/pull", self.pull, "Be told of what has come", TAG,
                     {200: Answer("What was lent.", Deliveries)}, query=Acting, body=Body(model=Fetching),
                     audited="changed", unaudited=TRACED),
            *self._verbs.endpoints("/v1/handovers", TAG, Acting),
            Endpoint("GET", "/v1/handovers/{parcel}", self.see, "See what became of it", TAG,
                     {200: Answer("As its sender sees it, or one of its receivers.", Handover)}, audited="saw",
                     unaudited=OWN),
        )  # fmt: skip

    # -- giving away

    async def submit(self, ask: Ask) -> Reply:
        """Hand over one item to one receiver: the system you name, or whom the distribution rules name.

        Send `multipart/form-data`: first a part `description` (`application/json`), then a part with a `filename` for each
        payload. Or send the description alone as `application/json`, when the payloads are finished `uploads` or moved by file
        exchange (`files`). A part may promise its SHA-256 in `Repr-Digest` [RFC 9530]; it is compared. Nothing is kept of what is
        refused or breaks off.
        """
        system = self._gate.acting(ask.caller, ask.query.system)
        key = Key(f"rest/{system}", _key(ask))
        if ask.media_type == _FORM:
            return await self._by_parts(ask, system, key)
        return await self._by_reference(ask, system, key)

    async def _by_parts(self, ask: Ask, system: str, key: Key) -> Reply:
        assert ask.stream is not None
        coming = parts(ask.headers["content-type"], ask.stream, limits.PAYLOADS_PER_PARCEL + 1)
        first = await anext(coming, None)
        if first is None or first.name != "description":
            raise invalid_request([Flaw("", "the first part is not called description: put it before the payloads")])
        if first.media_type.partition(";")[0].strip().lower() != "application/json":
            raise ProblemError(Problem(problems.MEDIA, "part 'description': is not application/json"))
        given = _given(await first.whole(limits.DESCRIPTION_SIZE))
        integration = await self._allowed(given, system)
        putting = Putting(self._gate.kernel, integration.max_size)
        try:
            async for part in coming:
                await _add(putting, part, integration)
            fingerprint = _fingerprint(integration, given, putting)
            await self._add_uploads(putting, given, system, integration)
        except BaseException:  # refused, broken off or cancelled: nothing half-made stays
            await putting.abort()
            raise
        return await self._accept(putting, given, integration, system, key, fingerprint)

    async def _by_reference(self, ask: Ask, system: str, key: Key) -> Reply:
        given = _given(await _whole(ask))
        integration = self._integration(given)
        fingerprint = _fingerprint(integration, given, None)
        known = await self._gate.kernel.recall(key)
        if known is not None:  # its uploads are gone by now
            if known.fingerprint != fingerprint:
                await self._gate.kernel.alarm(
                    "conflict", f"{key.scope}: a key came again with other content and was refused"
                )
                raise _conflict()
            await self._gate.kernel.note(known.parcel_id, "repeated", {"gateway": "rest"})
            return _reply(known.parcel_id, known.answer, 200)
        await self._allowed(given, system)
        putting = Putting(self._gate.kernel, integration.max_size)
        try:
            await self._add_uploads(putting, given, system, integration)
        except BaseException:  # refused or cancelled: nothing half-made stays
            await putting.abort()
            raise
        return await self._accept(putting, given, integration, system, key, fingerprint)

    def _integration(self, given: Given) -> Integration:
        return self._gate.integration(given.integration, given.type or "", "handover", "/integration", "file")

    async def _allowed(self, given: Given, system: str) -> Integration:
        """What it is handed over under. Whatever can be refused is refused before its payloads come."""
        integration, now = self._integration(given), self._gate.kernel.clock.now()
        draft = describe(given, integration, system, ())
        check_allowed(self._gate.configuration(), Parcel("", system, integration.id, draft, (), now), now)
        for index, one in enumerate(given.files):
            if not await self._is_file_of(system, one.parcel):
                raise invalid_request([Flaw(f"/files/{index}/parcel", "is no parcel that you sent by file exchange")])
        for index, name in enumerate(given.uploads):
            await self._upload(system, name, index, integration)
        return integration

    async def _is_file_of(self, system: str, parcel_id: str) -> bool:
        try:
            seen = await self._gate.kernel.desks.handing.look(parcel_id, frozenset({system}))
        except NotFound:
            return False
        under = self._gate.configuration().all("integration").get(seen.parcel.integration)
        return seen.parcel.sender == system and under is not None and under.capability == "file"

    async def _upload(self, system: str, name: str, index: int, integration: Integration) -> Any:
        try:
            found = await self._gate.kernel.desks.uploads.look(system, name)
        except NotFound:
            raise invalid_request([Flaw(f"/uploads/{index}", "is no upload of yours, or its time is over")]) from None
        if not found.finished:
            raise WrongState(f"uploads.{index}: {found.received} of {found.size} octets have come; finish it first")
        if found.size > integration.max_size:
            raise _too_large(f"uploads.{index}", integration)
        return found

    async def _add_uploads(self, putting: Putting, given: Given, system: str, integration: Integration) -> None:
        for index, name in enumerate(given.uploads):
            found = await self._upload(system, name, index, integration)
            chunks = self._gate.kernel.desks.uploads.read_now(found)
            await putting.copy(chunks, name=found.name, media_type=found.media_type)
        if not putting.payloads and not given.files:
            raise invalid_request([Flaw("", "has no payload: add a part with a filename, an upload or a file")])

    async def _accept(
        self, putting: Putting, given: Given, integration: Integration, system: str, key: Key, fingerprint: bytes
    ) -> Reply:
        kernel, staging, payloads = self._gate.kernel, putting.staging, tuple(putting.payloads)
        parcel = Parcel(
            staging.parcel_id,
            system,
            integration.id,
            describe(given, integration, system, payloads),
            payloads,
            kernel.clock.now(),
            staging.key_id,
            staging.wrapped_key,
            self._gate.configuration().number,
        )
        said = Handed(parcel=parcel.id, integration=integration.id, payloads=carried(parcel))
        answer = said.model_dump_json(exclude_none=True).encode()
        (acceptance,) = await kernel.accept(Item(parcel, key, fingerprint, answer, {"protocol": "rest"}))
        if acceptance.judgement is Judgement.CONFLICT:
            raise _conflict()
        if acceptance.judgement is Judgement.KNOWN:
            return _reply(acceptance.parcel_id, acceptance.answer, 200)
        for name in given.uploads:  # a crash here leaves them until their time is over
            with suppress(NotFound, WrongState):
                await kernel.desks.uploads.forget(system, name)
        return _reply(parcel.id, answer, 201)

    # -- being told

    def _box(self, ask: Ask) -> Box:
        return (self._gate.acting(ask.caller, ask.query.system), "")

    async def pull(self, ask: Ask) -> Reply:
        """Lend up to `max` announcements of what was handed over to you, waiting up to `wait` seconds for the first.

        Each is a CloudEvent of type `stafet.handover.available`: its `data` has the description and where to fetch each payload.
        Fetch them, then acknowledge. What is lent comes back by itself when its time is over and nothing was said of it.
        """
        wanted: Fetching = ask.body
        lease = None if wanted.lease is None else int(wanted.lease * SECOND)
        wait, named = int(wanted.wait * SECOND), tuple(wanted.integrations)
        mailbox = self._gate.kernel.desks.mailbox
        lent = await mailbox.lend(self._box(ask), limit=wanted.max, wait=wait, lease=lease, integrations=named)
        return Reply(Deliveries(deliveries=[self._delivered(one) for one in lent]))

    def _delivered(self, loan: Loan) -> Delivered:
        until, attempt = rfc3339(loan.until), loan.delivery.attempts
        parcel = loan.parcel
        data = Available(
            parcel=parcel.id,
            delivery=loan.delivery.id,
            integration=parcel.integration,
            accepted=rfc3339(parcel.accepted_at),
            description=described(parcel, self._gate.kernel.subjects(parcel)),
            payloads=carried(parcel),
            files=_files(parcel),
            attempt=attempt,
            lease=loan.token,
            until=until,
        )
        event = {
            "specversion": "1.0",
            "id": loan.delivery.id,
            "source": "/v1/handovers",
            "type": AVAILABLE,
            "time": rfc3339(parcel.accepted_at),
            "datacontenttype": "application/json",
            "integration": parcel.integration,
            "parcelid": parcel.id,
            "sender": parcel.sender,
            "data": data.model_dump(mode="json", exclude_none=True),
        }
        return Delivered(lease=loan.token, until=until, attempt=attempt, priority=loan.delivery.lane, event=event)

    # -- seeing

    async def see(self, ask: Ask) -> Reply:
        """What became of a handover: its sender sees every delivery, a receiver its own, an operator what its authority's
        systems see. Whom it concerns (`subjects`) is told to the systems alone."""
        seen = await look(self._gate, ask)
        own = _speaks_for(ask, seen)
        parcel = seen.parcel
        subjects = self._gate.kernel.subjects(parcel) if own and parcel.wrapped_key else ()
        shown = Handover(
            parcel=parcel.id,
            integration=parcel.integration,
            accepted=rfc3339(parcel.accepted_at),
            description=described(parcel, subjects),
            payloads=carried(parcel),
            files=_files(parcel),
            deliveries=[_standing(row) for row in seen.rows],
            history=[_moved(one) for one in seen.history],
        )
        return Reply(shown)


async def look(gate: Gate, ask: Ask) -> Seen:
    """The handover of a request's path as its caller may see it. Raises `NotFound`."""
    scope = ask.caller.scope(gate.configuration())
    return await gate.kernel.desks.handing.look(ask.path["parcel"], scope)


def _speaks_for(ask: Ask, seen: Seen) -> bool:
    """Whether the caller is its sender or has it, rather than somebody who looks on."""
    having = {row.receiver for row in seen.rows if not wrong_here(row)}
    return any(ask.caller.may_act_as(system) for system in (seen.parcel.sender, *having))


def _standing(row: Any) -> Standing:
    return Standing(
        delivery=row.id,
        receiver=row.receiver,
        state="redistributed" if wrong_here(row) else row.state,
        rule=row.rule,
        attempts=row.attempts,
        fetched=rfc3339(row.fetched_at) if row.fetched_at is not None else None,
        settled=rfc3339(row.settled_at) if row.settled_at is not None else None,
        code=row.last_code,
        reason=row.last_reason,
    )


def _moved(line: Any) -> SentOnTo:
    facts = line.facts
    return SentOnTo(
        at=rfc3339(line.at),
        sent_by=facts["from"],
        to=facts["receivers"],
        who=facts["by"],
        rule=facts["route"],
        code=facts["code"],
        reason=facts["reason"],
        sealed_anew_as=facts.get("as"),
    )


def _files(parcel: Parcel) -> list[Belonging]:
    named = [one.id for one in parcel.description.references if one.kind == PARCEL]
    return [Belonging(parcel=one, href=f"/v1/handovers/{one}") for one in named]


# --- what came --------------------------------------------------------------------------------------------------------


def _key(ask: Ask) -> str:
    said = ask.headers.get("idempotency-key", "").strip()
    if not said:
        raise invalid_request([Flaw("Idempotency-Key", "is missing: without it nobody knows a repetition", "header")])
    if len(said) > _KEY or not (said.isascii() and said.isprintable()):
        raise invalid_request([Flaw("Idempotency-Key", f"is no ASCII text of at most {_KEY} characters", "header")])
    return said


def _given(octets: bytes) -> Given:
    given: Given = checked(parse_json(octets), Given)
    if flaws := given.flaws():
        raise invalid_request(flaws)
    return given


async def _whole(ask: Ask) -> bytes:
    assert ask.stream is not None
    taken = bytearray()
    async for piece in ask.stream:
        taken += piece
        if len(taken) > limits.DESCRIPTION_SIZE:
            raise ProblemError(Problem(problems.TOO_LARGE, f"the body is larger than {limits.DESCRIPTION_SIZE} octets"))
    return bytes(taken)


async def _add(putting: Putting, part: Part, integration: Integration) -> None:
    """A payload, as it comes."""
    where = f"part {part.number}"
    if part.name == "description":
        raise invalid_request([Flaw("", f"{where}: a second description")])
    if part.filename is None:
        raise invalid_request([Flaw("", f"{where}: has no filename")])
    declared = part.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > integration.max_size:
        raise _too_large(where, integration)
    name = file_name(part.filename, f"{where}: filename")
    kind = media_type(part.media_type, f"{where}: Content-Type")
    await putting.add(part.chunks(), name=name, media_type=kind, promised=promised(part.headers, f"{where}: "))


def _too_large(where: str, integration: Integration) -> TooLarge:
    return TooLarge(f"{where}: larger than {integration.max_size} octets, the limit of {integration.id}")


def _fingerprint(integration: Integration, given: Given, putting: Putting | None) -> bytes:
    """What makes a repetition the same: what was said, and the octets of what came with it."""
    came = [[one.name, one.media_type, one.sha256.hex()] for one in putting.payloads] if putting is not None else []
    said = [integration.id, given.model_dump(mode="json", exclude={"integration"}), came]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).digest()


def _reply(parcel_id: str, answer: bytes, status: int) -> Reply:
    return Reply(answer, status, {"Location": f"/v1/handovers/{parcel_id}"})


def _conflict() -> ProblemError:
    return ProblemError(
        Problem(problems.CONFLICT, "a handover came before under this Idempotency-Key, with other content")
    )
