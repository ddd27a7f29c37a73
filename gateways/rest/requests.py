"""Self-service: ask for a service agreement or a subscription, see what became of it; for owners, decide.

Rules:

1. One asks for one's own systems. What is asked for is judged at once as it will be when it is approved.
2. Whoever owns the data of an integration decides; nobody decides about what they asked themselves.
3. A request is seen by who asked and by who decides; for everybody else it is not there.
4. A new document's id begins with its system's id, so that nobody can learn from a refusal what others have called theirs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, ValidationError

from core.config import Configuration
from core.desk.requests import KINDS, Asker, Standing, Wish
from core.errors import Unfit
from core.ledger.requests import Request, RequestState, Wanted
from core.parcel import Key
from core.system import Name
from gateways.rest import problems
from gateways.rest.access import Caller
from gateways.rest.endpoint import OWN, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.paging import Page, Paging
from gateways.rest.problems import Flaw, Problem, ProblemError, absent, forbidden, invalid_request
from gateways.rest.settings import Role

_TAG: Final = "Self-service"
KEY: Final = {"Idempotency-Key": "A name of your own for this call: said again under it, it counts once."}
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}")
_ID: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
Reason = Annotated[str, Field(max_length=512)]


class Wished(Shape):
    """What is asked for: a document, or with `remove` that one goes."""

    kind: Literal["service-agreement", "subscription"]
    document: dict[str, Any] | None = None
    """The document as it is written in files. Its `id` begins with the id of its system, or is left out and made."""
    id: Name | None = None
    """With `remove`: which document."""
    remove: bool = False
    why: Reason = ""
    """For whoever decides, and for the history."""


class Decided(Shape):
    """A decision, with its reason."""

    reason: Reason = ""


class RequestView(Shape):
    """A request as it stands."""

    id: str
    kind: str
    name: str
    """The id of the document."""
    remove: bool
    document: dict[str, Any] | None = None
    system: str
    integration: str
    owner: str
    """The authority that decides; "" for those who administer this node."""
    asked_by: str
    authority: str
    asked_at: str
    why: str
    state: Literal["pending", "approved", "refused", "withdrawn"]
    decided_at: str | None = None
    reason: str | None = None
    version: int | None = None
    """The configuration version that it became."""


class RequestPage(Page):
    """Requests, the newest first."""

    requests: list[RequestView]


class Which(Paging):
    """Which requests."""

    state: Literal["pending", "approved", "refused", "withdrawn"] | None = None


class RequestEndpoints:
    """Endpoints of what is asked for."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        top, one = "/v1/requests", "/v1/requests/{request}"
        stands = Answer("The request as it stands.", RequestView)
        made = Answer("It waits to be decided.", RequestView, headers={"Location": "Where it can be seen."})
        refusals = (problems.STATE, problems.INVALID_DOCUMENT)
        asking = (problems.CONFLICT, problems.INVALID_DOCUMENT)
        return (
            Endpoint("POST", top, self.ask, "Ask for a service agreement or a subscription", _TAG,
                     {201: made, 200: Answer("It was asked before, under the same key.", RequestView)},
                     body=Body(model=Wished), headers=KEY, problems=asking, audited="changed"),
            Endpoint("GET", top, self.listed, "List requests", _TAG, {200: Answer("A page.", RequestPage)}, query=Which,
                     audited="saw", unaudited=OWN),
            Endpoint("GET", one, self.seen, "See a request", _TAG, {200: stands}, audited="saw", unaudited=OWN),
            Endpoint("POST", f"{one}/approve", self.approve, "Approve a request", _TAG, {200: stands},
                     body=Body(model=Decided, required=False), problems=refusals, audited="changed"),
            Endpoint("POST", f"{one}/refuse", self.refuse, "Refuse a request", _TAG, {200: stands},
                     body=Body(model=Decided, required=False), problems=(problems.STATE,), audited="changed"),
            Endpoint("POST", f"{one}/withdraw", self.withdraw, "Withdraw a request", _TAG, {200: stands},
                     body=Body(model=Decided, required=False), problems=(problems.STATE,), audited="changed"),
        )  # fmt: skip

    # -- asking

    async def ask(self, ask: Ask) -> Reply:
        """Asked for one of your own systems. Checked at once against everything that is configured; the owner of the
        integration decides, and what is approved is in force within a second."""
        said: Wished = ask.body
        if said.remove == (said.document is not None):
            raise invalid_request([Flaw("/document", "give a document, or say remove: true and its id")])
        asker = Asker(ask.caller.name, ask.caller.authority)
        key = self._key(ask)
        desk = self._gate.kernel.desks.requests
        if said.document is None:
            there = self._there(ask.caller, said)
            standing = await _fitting(desk.ask_removal(asker, there, said.why, key), there)
        else:
            wish = self._wish(ask.caller, said.kind, said.document, key)
            standing = await _fitting(desk.ask(asker, wish, said.why, key), wish)
        return self._standing(standing)

    def _standing(self, standing: Standing) -> Reply:
        if standing.conflict:
            raise ProblemError(Problem(problems.CONFLICT))
        if standing.request is None:
            words = "too many of your requests wait to be decided; withdraw some"
            raise ProblemError(Problem(problems.QUOTA, words, retry_after=_LATER))
        where = {"Location": f"/v1/requests/{standing.request.id}"}
        return Reply(_view(standing.request), 200 if standing.known else 201, where, about=(standing.request.id,))

    def _key(self, ask: Ask) -> Key | None:
        found = idempotency_key(ask)
        return Key(f"rest-requests/{ask.caller.name}", found) if found else None

    def _there(self, caller: Caller, said: Wished) -> Wish:
        """The document that shall go, of one of the caller's systems."""
        if said.id is None:
            raise invalid_request([Flaw("/id", "is missing: which document shall go")])
        there = self._gate.configuration().all(said.kind).get(said.id)
        if there is None:
            raise absent()
        self._gate.demand_asking(caller, there.system)
        found: Wish = there
        return found

    def _wish(self, caller: Caller, kind: str, document: Mapping[str, Any], key: Key | None) -> Wish:
        """The document as its model, of one of the caller's systems, under an id that is free or its own."""
        given = dict(document)
        system = given.get("system")
        if isinstance(system, str) and _ID.fullmatch(system):
            self._gate.demand_asking(caller, system)
            if "id" not in given:
                given["id"] = f"{system[:40]}-{_fresh(key)}"
        if given.get("approved_by"):
            raise _wrong([Flaw("/document/approved_by", "is written by whoever approves: leave it out")])
        if given.get("kind", kind) != kind:
            raise _wrong([Flaw("/document/kind", f"is not {kind}")])
        try:
            wish: Wish = KINDS[kind].model_validate({**given, "kind": kind})
        except ValidationError as error:
            raise _wrong(_flaws(error)) from None
        self._demand_name(wish)
        if wish.kind == "subscription":
            self._gate.demand_list(wish.system, wish.subjects_in, "/document/subjects_in")
        return wish

    def _demand_name(self, wish: Wish) -> None:
        there = self._gate.configuration().all(wish.kind).get(wish.id)
        if there is not None and there.system == wish.system:
            return
        if not wish.id.startswith((f"{wish.system}-", f"{wish.system}.")):
            cause = "a new document's id begins with its system's id and a dash: correct it, or leave it out"
            raise _wrong([Flaw("/document/id", cause)])

    # -- looking

    async def listed(self, ask: Ask) -> Reply:
        """Those you asked, and those you decide; the newest first."""
        caller, which = ask.caller, ask.query
        owners = (caller.authority,) if caller.has(Role.OWNER) and caller.authority else ()
        state = RequestState(which.state) if which.state else None
        wanted = Wanted(caller.name, owners, caller.administers, state, which.after)
        page, after = await self._gate.kernel.desks.requests.find(wanted, which.limit)
        return Reply(RequestPage(requests=[_view(one) for one in page], next=after or None))

    async def seen(self, ask: Ask) -> Reply:
        """With the reason, and the version it became."""
        return Reply(_view(await self._found(ask)))

    async def _found(self, ask: Ask) -> Request:
        found = await self._gate.kernel.desks.requests.get(ask.path["request"])
        if found is None or not self._may_see(ask.caller, found):
            raise absent()
        return found

    def _may_see(self, caller: Caller, found: Request) -> bool:
        return found.asked_by == caller.name or caller.may_decide(found.owner) or self._may_decide(caller, found)

    def _may_decide(self, caller: Caller, found: Request) -> bool:
        """Whether it owns the integration by now: what was so when it was asked does not count."""
        return caller.may_decide(_owner(self._gate.configuration(), found.integration))

    # -- deciding

    async def approve(self, ask: Ask) -> Reply:
        """What is asked for becomes the next configuration version. Whatever has changed since it was asked stays as it is."""
        found = await self._deciding(ask)
        desk, caller = self._gate.kernel.desks.requests, ask.caller
        try:
            made = await desk.approve(found.id, caller.name, caller.authority or caller.name, _reason(ask))
        except Unfit as error:
            raise unfit(error, found.kind, found.name, "/document") from None
        return Reply(_view(made))

    async def refuse(self, ask: Ask) -> Reply:
        """The asker sees the reason."""
        found = await self._deciding(ask)
        return Reply(_view(await self._gate.kernel.desks.requests.refuse(found.id, ask.caller.name, _reason(ask))))

    async def _deciding(self, ask: Ask) -> Request:
        found = await self._found(ask)
        if found.asked_by == ask.caller.name:
            raise forbidden("a request is decided by somebody else than who asked")
        if not self._may_decide(ask.caller, found):
            raise forbidden(f"this takes the role {Role.OWNER.value} in the authority that owns the integration")
        return found

    async def withdraw(self, ask: Ask) -> Reply:
        """Only who asked can."""
        found = await self._found(ask)
        if found.asked_by != ask.caller.name:
            raise forbidden("only who asked can withdraw it")
        return Reply(_view(await self._gate.kernel.desks.requests.withdraw(found.id, ask.caller.name, _reason(ask))))


_LATER: Final = 3_600_000_000


def idempotency_key(ask: Ask) -> str:
    """The header's value, "" where there is none. Raises `ProblemError` for one that is no key."""
    found = ask.headers.get("idempotency-key", "")
    if found and not _KEY.fullmatch(found):
        raise invalid_request([Flaw("Idempotency-Key", "is not 1 to 255 printable ASCII characters", "header")])
    return found


def unfit(error: Unfit, kind: str, name: str, prefix: str) -> ProblemError:
    """What would be wrong, as far as it is the caller's own document; of others' it hears only that there is something."""
    own = [one for one in error.problems if (one.kind, one.id) == (kind, name)]
    flaws = [Flaw(prefix + problems.pointer(one.field), one.cause) for one in own]
    if len(own) < len(error.problems):
        flaws.append(Flaw(prefix, "with it, documents of others would not fit together; ask the node's administrator"))
    return _wrong(flaws[:20])


async def _fitting(made: Any, wish: Wish) -> Standing:
    try:
        standing: Standing = await made
    except Unfit as error:
        raise unfit(error, wish.kind, wish.id, "/document") from None
    return standing


def _fresh(key: Key | None) -> str:
    """A name of eight letters and digits; under a key always the same, so that a repetition is one."""
    return hashlib.sha256(json.dumps([key.scope, key.value]).encode()).hexdigest()[:8] if key else os.urandom(4).hex()


def _wrong(flaws: Sequence[Flaw]) -> ProblemError:
    return ProblemError(Problem(problems.INVALID_DOCUMENT, "", tuple(flaws)))


def _flaws(error: ValidationError) -> list[Flaw]:
    found = error.errors(include_input=False, include_url=False)[:20]
    return [
        Flaw("/document" + "".join(f"/{part}" for part in one["loc"]), one["msg"].removeprefix("Value error, ")[:300])
        for one in found
    ]


def _owner(configuration: Configuration, integration: str) -> str:
    found = configuration.all("integration").get(integration)
    return str(found.owner) if found is not None else ""


def _reason(ask: Ask) -> str:
    return ask.body.reason if ask.body is not None else ""


def _view(one: Request) -> RequestView:
    return RequestView(
        id=one.id,
        kind=one.kind,
        name=one.name,
        remove=one.removes,
        document=json.loads(one.document) if one.document else None,
        system=one.system,
        integration=one.integration,
        owner=one.owner,
        asked_by=one.asked_by,
        authority=one.authority,
        asked_at=rfc3339(one.asked_at),
        why=one.why,
        state=one.state.value,
        decided_at=rfc3339(one.decided_at) if one.decided_at is not None else None,
        reason=one.reason or None,
        version=one.config_version or None,
    )
