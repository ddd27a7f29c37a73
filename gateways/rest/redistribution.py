"""Redistribution (*refordeling*): sending on what is for somebody else, and emptying the residual mailbox.

Rules:

1. A receiving system sends on what it has, or an operator of its authority does so for it.
2. The residual mailbox is looked after by whoever operates for the owner of the integration's data.
3. Nobody sends anything to a system that has no service agreement to receive it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

from pydantic import Field

from core import limits
from core.delivery import Delivery
from core.desk.redistribution import Goal, Left, SentOn, Why
from core.errors import NotFound, Refused
from core.integration import Integration
from core.ledger.handing import MISDELIVERED
from core.system import RESIDUAL
from gateways.rest import problems
from gateways.rest.access import Caller, demand_role
from gateways.rest.describing import Described, described
from gateways.rest.endpoint import TRACED, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Acting, Gate
from gateways.rest.handovers import TAG, look
from gateways.rest.problems import Flaw, absent, forbidden, invalid_request
from gateways.rest.settings import Role

_TAG: Final = "Residual mailbox"
_Text = Annotated[str, Field(min_length=1, max_length=512)]


class To(Shape):
    """Who shall have it: a system, or a function that one system serves."""

    system: Annotated[str, Field(max_length=64)] | None = None
    function: Annotated[str, Field(max_length=64)] | None = None


class SendOn(Shape):
    """Where it goes, and why."""

    to: To | None = None
    """Left out, the distribution rules say so, and nobody who had it is asked again."""
    code: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")] = MISDELIVERED
    reason: _Text
    """Words for people; keep personal data out of them."""
    upload: Annotated[str, Field(max_length=64)] | None = None
    """Of a sealed payload: the upload that holds it, sealed anew for the next receiver."""


class RouteTo(Shape):
    """Where it goes, and why."""

    to: To | None = None
    """Left out, the distribution rules are asked again."""
    reason: _Text


class Went(Shape):
    """One new delivery."""

    delivery: str
    receiver: str
    rule: str


class SentOnAs(Shape):
    """Where it went."""

    parcel: str
    """Another one than before, where it was sealed anew."""
    deliveries: list[Went]
    residual: str | None = None
    """Why nobody takes it, where that is so: it is in the residual mailbox, and people are told."""


class Opinion(Shape):
    """What one route says of it."""

    route: str
    matched: bool
    why: str


class Unrouted(Shape):
    """Something that no route took."""

    delivery: str
    parcel: str
    integration: str
    sender: str
    accepted: str
    description: Described
    rules: list[Opinion]
    """In their order, under the configuration of now, those that may be about it."""


class Page(Shape):
    """Where to go on."""

    after: Annotated[str, Field(max_length=64, description="`next` of the page before.")] = ""
    limit: Annotated[int, Field(ge=1, le=limits.RESIDUAL_BATCH, description="How many at most.")] = 20


class UnroutedPage(Shape):
    """Oldest first."""

    items: list[Unrouted]
    next: str | None = None
    """Ask for what comes after this; left out at the end."""


class Redistributions:
    """Endpoints of what came to the wrong place, or to none."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        went = Answer("It went on.", SentOnAs)
        return (
            Endpoint(
                "POST",
                "/v1/handovers/{parcel}/redistribute",
                self.send_on,
                "Send on what is for somebody else",
                TAG,
                {200: went},
                query=Acting,
                body=Body(model=SendOn),
                audited="changed",
                unaudited=TRACED,
                problems=(problems.STATE, problems.REFUSED),
            ),
            Endpoint(
                "GET",
                "/v1/residual",
                self.residual,
                "What no rule took",
                _TAG,
                {200: Answer("What waits for a person.", UnroutedPage)},
                query=Page,
                audited="saw",
            ),
            Endpoint(
                "POST",
                "/v1/residual/{delivery}/route",
                self.route,
                "Say where it goes",
                _TAG,
                {200: went},
                body=Body(model=RouteTo),
                audited="changed",
                problems=(problems.STATE, problems.REFUSED),
            ),
        )

    async def send_on(self, ask: Ask) -> Reply:
        """Send on a handover that is for somebody else: to a system, to a function, or to whom the distribution rules name.

        Your delivery ends, and its sender sees that it was redistributed, by whom and why. A sealed payload goes on only when
        you name an `upload` that holds it sealed anew: as a parcel of its own, which refers to the first.
        """
        wanted: SendOn = ask.body
        seen = await look(self._gate, ask)
        system = self._receiver(ask.caller, ask.query.system, {row.receiver for row in seen.rows})
        row, desks = seen.of(system), self._gate.kernel.desks
        upload = None
        if wanted.upload is not None:
            try:
                upload = await desks.uploads.look(system, wanted.upload)
            except NotFound:
                raise invalid_request([Flaw("/upload", "is no upload of yours, or its time is over")]) from None
        why = Why(ask.caller.name, wanted.code, wanted.reason)
        return Reply(_sent(await desks.redistribution.send_on(seen, row, _goal(wanted.to), why, upload)))

    def _receiver(self, caller: Caller, named: str | None, having: set[str]) -> str:
        """Whose delivery goes on: of a system the caller acts as, or operates. Raises `ProblemError`."""
        systems = self._gate.configuration().all("system")
        mine = [one for one in having if caller.may_act_as(one)]
        mine = mine or [one for one in having if one in systems and caller.may_see(systems[one].authority)]
        if named is not None:
            mine = [one for one in mine if one == named]
        if len(mine) == 1:
            return mine[0]
        if mine:
            raise invalid_request([Flaw("system", "say for which of your systems it was sent wrongly", "parameter")])
        raise forbidden("only who received it sends it on, or an operator of its authority")

    # -- the residual mailbox

    async def residual(self, ask: Ask) -> Reply:
        """What no distribution rule took, oldest first, with what each rule says of it under the configuration in force: of the
        integrations whose data the caller's authority owns."""
        demand_role(ask.caller, Role.OPERATOR)
        page: Page = ask.query
        found = await self._gate.kernel.desks.redistribution.residual(self._own(ask.caller), page.after, page.limit)
        following = found[-1].row.id if len(found) == page.limit else None
        return Reply(UnroutedPage(items=[self._unrouted(one) for one in found], next=following))

    def _own(self, caller: Caller) -> Sequence[str] | None:
        if caller.administers:
            return None
        catalogue: Sequence[Integration] = list(self._gate.configuration().all("integration").values())
        return [one.id for one in catalogue if caller.may_see(one.owner)]

    async def route(self, ask: Ask) -> Reply:
        """Take something out of the residual mailbox: to the system you name, or, with `to` left out, to whom the distribution
        rules name by now."""
        demand_role(ask.caller, Role.OPERATOR)
        wanted, desk = ask.body, self._gate.kernel.desks.redistribution
        row, parcel = await desk.held(ask.path["delivery"])
        own = self._own(ask.caller)
        if own is not None and parcel.integration not in own:
            raise absent()
        sent = await desk.route(row, parcel, _goal(wanted.to), Why(ask.caller.name, "", wanted.reason))
        if not sent.deliveries:
            raise Refused(f"no rule takes it now: {sent.cause}; correct the rules, or name the system")
        return Reply(_sent(sent))

    def _unrouted(self, one: Left) -> Unrouted:
        row = one.row
        return Unrouted(
            delivery=row.id,
            parcel=row.parcel_id,
            integration=row.integration,
            sender=row.sender,
            accepted=rfc3339(row.accepted_at),
            description=described(one.parcel, ()),
            rules=[Opinion(route=v.route, matched=v.matched, why=v.why) for v in one.verdicts],
        )


def _goal(to: To | None) -> Goal:
    if to is None:
        return Goal()
    if (to.system is None) == (to.function is None):
        raise invalid_request([Flaw("/to", "names a system or a function, one of them")])
    return Goal(to.system, to.function)


def _sent(sent: SentOn) -> SentOnAs:
    def went(one: Delivery) -> Went:
        return Went(delivery=one.id, receiver=one.receiver, rule=one.rule)

    held: Any = any(one.receiver == RESIDUAL for one in sent.deliveries)
    return SentOnAs(
        parcel=sent.parcel_id, deliveries=[went(one) for one in sent.deliveries], residual=sent.cause if held else None
    )
