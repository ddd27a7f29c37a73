"""Subscriptions in their owner's hands: see them and what waits, change them, try filters, replay, dead letters.

Rules:

1. A system changes its own subscription without asking anybody, as long as it stays its own and of its integration: what it may
   receive is said by the service agreement, not by the filter.
2. Who may see a subscription sees its backlog; only the system itself moves what is in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AwareDatetime, Field

from core import limits
from core.clock import DAY, Micros, from_datetime
from core.config import Configuration
from core.description import Priority
from core.desk.backlog import DeadLetter, Waiting
from core.desk.history import Example, Trial
from core.errors import Unfit
from core.fitting import put, tag_of, without
from core.ledger.replays import Replay
from core.limits import CONDITION_SIZE
from core.mailroom import Box
from core.matching import Match
from core.subscription import Subscription
from core.system import Name
from gateways.rest import problems
from gateways.rest.conditional import ETAG, IF_MATCH, demand_match
from gateways.rest.endpoint import OWN, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.paging import Page, Paging, page_of
from gateways.rest.problems import Flaw, absent, forbidden, invalid_request
from gateways.rest.requests import KEY, idempotency_key, unfit
from gateways.rest.server import checked
from gateways.rest.settings import Role

_TAG: Final = "Subscription"
Reason = Annotated[str, Field(max_length=512)]


class Listed(Shape):
    """A subscription as its document says."""

    document: dict[str, Any]
    etag: str
    """For `If-Match`."""


class ListedPage(Page):
    """Subscriptions, by their id."""

    subscriptions: list[Listed]


class BacklogView(Shape):
    """What a subscription has waiting."""

    waiting: dict[str, int]
    """How much waits in each lane; what is lent is counted as well."""
    lent: int
    """How much of that is lent just now."""
    dead_letters: int
    oldest: str | None = None
    """Since when the oldest could have been fetched."""
    last_came: str | None = None
    """When its system last asked, to the minute; not there when it never did."""
    more: bool = False
    """There is more than was counted."""


class Detail(Listed):
    """A subscription with what waits in it."""

    backlog: BacklogView


class SubscriptionChange(Shape):
    """What to change; what is left out stays. System and integration cannot be changed."""

    title: Annotated[str, Field(max_length=255)] | None = None
    paused: bool | None = None
    """Nothing is lent while it is; what matches is kept."""
    match: Match | None = None
    """The new equalities, whole."""
    when: Annotated[str, Field(max_length=CONDITION_SIZE)] | None = None
    """The new condition; "" for none."""
    subjects_in: Name | Literal[""] | None = None
    """The new value list; "" for none."""
    ordered_by: Literal["", "correlation_id", "process_id"] | None = None
    max_attempts: Annotated[int, Field(ge=1, le=1000)] | None = None
    lease: Annotated[float, Field(ge=1, le=43_200)] | None = None
    idle_after: Annotated[float, Field(ge=60, le=31_536_000)] | None = None
    why: Reason = ""
    """For whoever reads the history."""


class Trying(Shape):
    """A filter to try on what came."""

    integration: Name
    match: Match = Field(default_factory=lambda: Match.model_validate({}))
    when: Annotated[str, Field(max_length=CONDITION_SIZE)] = ""
    subjects_in: Name | None = None
    since: AwareDatetime | None = None
    """How far back; left out, as far as is allowed."""
    system: Annotated[str, Field(max_length=64)] | None = None
    """Which of your systems would subscribe, if you have several."""


class Sample(Shape):
    """A stored notification, without its content."""

    id: str
    time: str
    type: str


class Tried(Shape):
    """What the filter makes of the past, newest first."""

    since: str
    """How far back it came."""
    whole: bool
    """Whether that is as far as was asked; else it ended at its limit of count or time."""
    looked_at: int
    matched: int
    matching: list[Sample]
    others: list[Sample]
    problem: str | None = None
    """Why it could not be said of some whether they match."""


class Again(Shape):
    """What to replay."""

    since: AwareDatetime
    until: AwareDatetime | None = None
    """Left out, until now."""
    lane: Priority = "bulk"


class ReplayView(Shape):
    """A replay, and how far it has come."""

    id: str
    state: Literal["running", "done", "stopped"]
    since: str
    until: str
    lane: str
    looked_at: int
    delivered: int
    """Deliveries that were made."""
    reason: str | None = None
    """Why it was stopped."""


class Letter(Shape):
    """A dead letter."""

    delivery: str
    parcel: str
    priority: str
    attempts: int
    code: str
    reason: str
    since: str | None = None


class Letters(Page):
    """Dead letters, oldest first."""

    dead_letters: list[Letter]


class Moving(Shape):
    """Which dead letters: some by their delivery's id, or all."""

    deliveries: Annotated[
        list[Annotated[str, Field(max_length=64)]] | None, Field(min_length=1, max_length=limits.LIST_MOST)
    ] = None
    all: bool = False
    reason: Reason = ""


class LettersMoved(Shape):
    """How many were moved; ``more``: that was as much as one call moves, and there are others."""

    moved: int
    more: bool


class Managing:
    """Endpoints of one's subscriptions, beside fetching."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        top, path = "/v1/subscriptions", "/v1/subscriptions/{subscription}"
        one = {200: Answer("The subscription.", Detail, headers=ETAG)}
        moved = {200: Answer("How many were moved.", LettersMoved)}
        begun = Answer("The replay is under way.", ReplayView, headers={"Location": "Where its progress can be read."})
        changing = (problems.PRECONDITION, problems.INVALID_DOCUMENT)
        state = (problems.STATE,)
        return (
            _get(top, self.listed, "List your subscriptions", {200: Answer("A page.", ListedPage)}, query=Paging,
                 audited="saw", unaudited=OWN),
            _post(f"{top}/test", self.tried, "Try a filter on what came", {200: Answer("What it makes of it.", Tried)},
                  Trying, problems=(problems.INVALID_DOCUMENT,), audited="saw"),
            _get(path, self.detail, "See a subscription and what waits in it", one, audited="saw", unaudited=OWN),
            Endpoint("PATCH", path, self.changed, "Pause, resume or change a subscription", _TAG, one,
                     body=Body(model=SubscriptionChange), headers=IF_MATCH, problems=changing, audited="changed"),
            Endpoint("DELETE", path, self.deleted, "Delete a subscription", _TAG, {204: Answer("It is gone.")},
                     headers=IF_MATCH, problems=changing, audited="changed"),
            _post(f"{path}/replay", self.replay, "Get what came in a time again",
                  {200: Answer("The replay is over.", ReplayView), 202: begun}, Again, problems=state, headers=KEY,
                  audited="changed"),
            _get(f"{path}/replays/{{replay}}", self.replayed, "See how far a replay has come",
                 {200: Answer("The replay.", ReplayView)}, audited="saw", unaudited=OWN),
            _get(f"{path}/dead-letters", self.letters, "List dead letters", {200: Answer("A page.", Letters)}, query=Paging,
                 audited="saw", unaudited=OWN),
            _post(f"{path}/dead-letters/redrive", self.redrive, "Get dead letters again", moved, Moving, audited="changed"),
            _post(f"{path}/dead-letters/discard", self.discard, "Discard dead letters", moved, Moving, audited="changed"),
        )  # fmt: skip

    # -- documents

    async def listed(self, ask: Ask) -> Reply:
        """Your systems' subscriptions; for operators, those of all systems of the authority."""
        configuration, scope = self._gate.configuration(), self._gate.documents_of(ask.caller)
        seen = [
            one for _, one in sorted(configuration.all("subscription").items()) if scope is None or one.system in scope
        ]
        page, after = page_of(seen, lambda one: str(one.id), ask.query)
        return Reply(ListedPage(subscriptions=[Listed(**_listed(one)) for one in page], next=after))

    async def detail(self, ask: Ask) -> Reply:
        """The document, what waits in each lane, what is lent, dead letters, and when its system last came."""
        return await self._detail(self._seen(ask))

    async def _detail(self, found: Subscription) -> Reply:
        waiting = await self._gate.kernel.desks.backlogs.of((found.system, found.id))
        body = Detail(**_listed(found), backlog=_backlog(waiting))
        return Reply(body, headers={"ETag": body.etag})

    async def changed(self, ask: Ask) -> Reply:
        """Takes effect at once, on every node within a second. What waits already stays, whatever the new filter says."""
        found, said = self._own(ask), ask.body
        given = {name: getattr(said, name) for name in said.model_fields_set - {"why"}}
        fields: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        if fields.get("subjects_in") == "":
            fields["subjects_in"] = None
        self._gate.demand_list(found.system, fields.get("subjects_in"), "/subjects_in")

        def edit(newest: Configuration) -> Configuration:
            return put(newest, _with(self._present(ask, newest, found), fields))

        made = await self._change(ask, edit, f"subscription {found.id}: {', '.join(sorted(fields))}", said.why)
        return await self._detail(made.all("subscription")[found.id])

    async def deleted(self, ask: Ask) -> Reply:
        """Nothing is put in it any more, at once. What waits in it is let go after some days; one of the same name that
        the system asks for before that gets it."""
        found = self._own(ask)

        def edit(newest: Configuration) -> Configuration:
            self._present(ask, newest, found)
            return without(newest, "subscription", found.id)

        await self._change(ask, edit, f"subscription {found.id} deleted", "")
        return Reply(None, 204)

    async def _change(self, ask: Ask, edit: Any, what: str, why: str) -> Configuration:
        words = f"{what} by {ask.caller.name}" + (f": {why}" if why else "")
        try:
            return await self._gate.kernel.desks.requests.change(edit, ask.caller.name, words)
        except Unfit as error:
            name = ask.path["subscription"]
            raise unfit(error, "subscription", name, "") from None

    @staticmethod
    def _present(ask: Ask, newest: Configuration, found: Subscription) -> Subscription:
        """The subscription as it is by now. Raises 404 when it is gone, 412 when it is not what the caller saw."""
        there = newest.all("subscription").get(found.id)
        if not isinstance(there, Subscription) or there.system != found.system:
            raise absent()
        demand_match(ask, f'"{tag_of(there)}"')
        return there

    def _seen(self, ask: Ask) -> Subscription:
        """A subscription that the caller may see."""
        found = self._gate.configuration().all("subscription").get(ask.path["subscription"])
        scope = self._gate.documents_of(ask.caller)
        if not isinstance(found, Subscription) or (scope is not None and found.system not in scope):
            raise absent()
        return found

    def _own(self, ask: Ask) -> Subscription:
        """A subscription that the caller may change without asking."""
        found = self._seen(ask)
        if not ask.caller.may_act_as(found.system) and not ask.caller.administers:
            raise forbidden("only the system itself changes its subscription; others ask for it with /v1/requests")
        return found

    # -- history

    async def tried(self, ask: Ask) -> Reply:
        """How many of what came it would have matched, with some examples of each. Nothing is stored."""
        said, now = ask.body, self._gate.kernel.clock.now()
        configuration = self._gate.configuration()
        integration = configuration.all("integration").get(said.integration)
        if integration is None or integration.capability != "notification":
            raise invalid_request([Flaw("/integration", "there is no notification of that name")])
        system = self._receiving(ask, said.integration, said.system, now)
        earliest = now - limits.TRIAL_DAYS * DAY
        since = earliest if said.since is None else max(earliest, from_datetime(said.since))
        wanted = _trial_of(said, system)
        self._gate.demand_list(system, wanted.subjects_in, "/subjects_in")
        return Reply(_tried(await self._gate.kernel.desks.history.trial(wanted, since)))

    def _receiving(self, ask: Ask, integration: str, named: str | None, now: Micros) -> str:
        """A system of the caller's that may receive under an integration now."""
        configuration, caller = self._gate.configuration(), ask.caller
        if named is not None:
            self._gate.demand_asking(caller, named)
        wanted = [named] if named is not None else sorted(caller.systems)
        for one in wanted:
            if configuration.agreed(integration, one, "receive", now):
                return one
        if caller.administers:
            return named or ""
        raise forbidden(f"service agreement: none lets you receive under {integration} now; ask for one")

    async def replay(self, ask: Ask) -> Reply:
        """Every stored event of that time that matches the filter as it is now gets a new delivery, once for this replay."""
        found, said, now = self._gate.own_subscription(ask.caller, ask.path["subscription"]), ask.body, self._now()
        if not self._gate.configuration().agreed(found.integration, found.system, "receive", now):
            raise forbidden(f"service agreement: {found.system} may not receive under {found.integration} now")
        since, until = from_datetime(said.since), now if said.until is None else from_datetime(said.until)
        if until <= since:
            raise invalid_request([Flaw("/until", "is not later than since")])
        given = None if said.until is None else until
        desk, key = self._gate.kernel.desks.replays, idempotency_key(ask)
        made, _ = await desk.begin(found, since, given, said.lane, ask.caller.name, key)
        shown = await desk.soon(found.id, made.id) or made
        where = {"Location": f"/v1/subscriptions/{found.id}/replays/{shown.id}"}
        return Reply(_replay(shown), 202 if shown.state.value == "running" else 200, where)

    def _now(self) -> Micros:
        return self._gate.kernel.clock.now()

    async def replayed(self, ask: Ask) -> Reply:
        """How many parcels it has looked at, and how many deliveries it has made."""
        found = await self._gate.kernel.desks.replays.of(self._seen(ask).id, ask.path["replay"])
        if found is None:
            raise absent()
        return Reply(_replay(found))

    # -- dead letters

    async def letters(self, ask: Ask) -> Reply:
        """What was lent as often as the subscription allows, and never acknowledged."""
        found, paging = self._gate.subscription(ask.caller, ask.path["subscription"]), ask.query
        desk = self._gate.kernel.desks.backlogs
        page, after = await desk.dead_letters((found.system, found.id), paging.after, paging.limit)
        return Reply(Letters(dead_letters=[_letter(one) for one in page], next=after or None))

    async def redrive(self, ask: Ask) -> Reply:
        """They are lent again, from the beginning."""
        box, said = self._moving(ask)
        desk = self._gate.kernel.desks.backlogs
        moved, more = await desk.send_again(box, said.deliveries, by=ask.caller.name, why=said.reason)
        return Reply(LettersMoved(moved=moved, more=more))

    async def discard(self, ask: Ask) -> Reply:
        """They count as refused by the system: their senders see that, with the reason."""
        box, said = self._moving(ask)
        desk = self._gate.kernel.desks.backlogs
        moved, more = await desk.discard(box, said.deliveries, by=ask.caller.name, why=said.reason)
        return Reply(LettersMoved(moved=moved, more=more))

    def _moving(self, ask: Ask) -> tuple[Box, Moving]:
        """Whose dead letters, and which. Its system moves them, and operators of its authority."""
        found, said = self._gate.subscription(ask.caller, ask.path["subscription"]), ask.body
        if not ask.caller.may_act_as(found.system) and not ask.caller.has(Role.OPERATOR):
            raise forbidden("this takes the system itself, or the role operator")
        if said.all == (said.deliveries is not None):
            raise invalid_request([Flaw("/deliveries", "name some, or say all: true")])
        return (found.system, found.id), said


def _get(path: str, handler: Any, summary: str, answers: Any, **more: Any) -> Endpoint:
    return Endpoint("GET", path, handler, summary, _TAG, answers, **more)


def _post(path: str, handler: Any, summary: str, answers: Any, model: type[Shape], **more: Any) -> Endpoint:
    return Endpoint("POST", path, handler, summary, _TAG, answers, body=Body(model=model), **more)


def _listed(one: Subscription) -> dict[str, Any]:
    return {"document": one.model_dump(mode="json", exclude_none=True), "etag": f'"{tag_of(one)}"'}


def _backlog(waiting: Waiting) -> BacklogView:
    found = waiting.backlog
    return BacklogView(
        waiting={lane: found.waiting.get(lane, 0) for lane in ("urgent", "normal", "bulk")},
        lent=found.lent,
        dead_letters=found.dead,
        oldest=rfc3339(found.oldest) if found.oldest is not None else None,
        last_came=rfc3339(waiting.came_at) if waiting.came_at is not None else None,
        more=found.more,
    )


def _with(found: Subscription, fields: dict[str, Any]) -> Subscription:
    """The subscription with other fields. Raises what a wrong document is answered with."""
    given = found.model_dump() | {k: v.model_dump() if isinstance(v, Match) else v for k, v in fields.items()}
    made = checked(given, Subscription)
    assert isinstance(made, Subscription)
    return made


def _trial_of(said: Trying, system: str) -> Subscription:
    fields = {"match": said.match.model_dump(), "when": said.when, "subjects_in": said.subjects_in}
    made = checked({"id": "test", "system": system or "test", "integration": said.integration, **fields}, Subscription)
    assert isinstance(made, Subscription)
    return made


def _tried(trial: Trial) -> Tried:
    return Tried(
        since=rfc3339(trial.since),
        whole=trial.whole,
        looked_at=trial.seen,
        matched=trial.matched,
        matching=[_sample(one) for one in trial.matching],
        others=[_sample(one) for one in trial.others],
        problem=trial.broken or None,
    )


def _sample(one: Example) -> Sample:
    return Sample(id=one.id, time=rfc3339(one.at), type=one.type)


def _replay(one: Replay) -> ReplayView:
    return ReplayView(
        id=one.id,
        state=one.state.value,
        since=rfc3339(one.since),
        until=rfc3339(one.until),
        lane=one.lane,
        looked_at=one.seen,
        delivered=one.made,
        reason=one.reason or None,
    )


def _letter(one: DeadLetter) -> Letter:
    d = one.delivery
    since = rfc3339(one.at) if one.at is not None else None
    return Letter(
        delivery=d.id,
        parcel=d.parcel_id,
        priority=d.lane,
        attempts=d.attempts,
        code=one.code,
        reason=one.reason,
        since=since,
    )
