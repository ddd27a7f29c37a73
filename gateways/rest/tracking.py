"""Track and trace: find parcels, see one, read its trace, list what failed [R73, R75, R79, R130, R131, R134].

Rules:

1. What a caller may see is part of the question that the ledger is asked: a sender sees all of what it sent, a receiver its own
   deliveries, an operator what the systems of its authority see. For nobody else does a parcel exist.
2. Whom a parcel is about is in no answer; what it is about is, to who sees the parcel.
3. A page is made of ids and states. What a far side said is told of failures, and of one parcel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core import explain
from core.delivery import State
from core.desk.insight import receiving
from core.desk.search import Failure
from core.desk.tracing import Traced
from core.ledger.search import Asked, Found
from core.ledger.trace import Line
from gateways.rest.describing import Carried, Described, carried, described
from gateways.rest.endpoint import OWN, Answer, Ask, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.insight import DeliveryView, ExpectedView, delivery_view, expected_view
from gateways.rest.paging import Newest, Page
from gateways.rest.times import Moment

_TAG: Final = "Track and trace"
_TIMES: Final = ("due", "next")
"""Facts of a trace that are times."""
Term = Annotated[str, Field(max_length=255, pattern=r"^[^\x00-\x1f\x7f]*$")]
"""A name to look for."""
StateName = Literal["ready", "awaiting", "held", "delivered", "accepted", "rejected", "failed", "quarantined"]
Trouble = Literal["held", "failed", "rejected", "quarantined"]


class Window(Newest):
    """When, between whom, under what."""

    sender: Annotated[Term, Field(description="Sent by this system.")] = ""
    receiver: Annotated[Term, Field(description="Received by this system.")] = ""
    integration: Annotated[Term, Field(description="Under this integration.")] = ""
    rule: Annotated[Term, Field(description="By this route or subscription.")] = ""
    since: Annotated[Moment | None, Field(description="Accepted from then on.")] = None
    until: Annotated[Moment | None, Field(description="Accepted before then.")] = None


class WhichParcels(Window):
    """Which parcels."""

    reference: Annotated[
        str,
        Field(
            max_length=1024,
            pattern=r"^[^\x00-\x1f\x7f]*$",
            description="Any name it has: of the parcel, a delivery or an event, your key, a case, a correlation or process id.",
        ),
    ] = ""
    state: Annotated[
        tuple[StateName, ...], Field(max_length=8, description="With a delivery in one of these states.")
    ] = ()


class WhichFailures(Window):
    """Which failures."""

    state: Annotated[
        tuple[Trouble, ...], Field(max_length=4, description="In one of these states; left out, all.")
    ] = ()


class ParcelDelivery(Shape):
    """Where a parcel goes."""

    delivery: str
    receiver: str
    state: str
    rule: str
    code: str | None = None


class ParcelRow(Shape):
    """A parcel that was found."""

    parcel: str
    accepted: str
    sender: str
    integration: str
    type: str
    priority: str
    deliveries: list[ParcelDelivery]
    """Those that you may see."""


class ParcelPage(Page):
    """Parcels, the newest first."""

    parcels: list[ParcelRow]


class ReceiptFact(Shape):
    """That somebody said something of it, without the receipt's octets."""

    delivery: str
    receiver: str
    level: str
    verdict: str
    at: str
    code: str | None = None
    text: str | None = None
    digest: str
    """SHA-256 of its octets, in hexadecimal digits, where its protocol has one."""


class ParcelView(Shape):
    """A parcel as you may see it."""

    parcel: str
    accepted: str
    sender: str
    integration: str
    version: int
    """The configuration version that decided."""
    description: Described | None = None
    """Without whom it is about; not there once its time is over."""
    payloads: list[Carried]
    deliveries: list[DeliveryView]
    receipts: list[ReceiptFact]
    expected: list[ExpectedView]


class TraceLine(Shape):
    """One thing that happened."""

    at: str
    event: str
    says: str
    """In words."""
    detail: str
    """What is worth knowing beside."""
    facts: dict[str, Any]
    """The same for programs."""


class TraceView(Shape):
    """What happened to a parcel, as far as you may see it, oldest first."""

    parcel: str
    lines: list[TraceLine]
    standing: list[str]
    """Where each delivery stands, in words."""


class FailureView(Shape):
    """A delivery that waits for a person."""

    parcel: str
    delivery: str
    accepted: str
    sender: str
    receiver: str
    integration: str
    state: str
    code: str
    reason: str


class FailurePage(Page):
    """Failures, by their parcel, the newest first; of one parcel all of them."""

    failures: list[FailureView]


class Tracking:
    """Endpoints of track and trace."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        top, one = "/v1/parcels", "/v1/parcels/{parcel}"
        return (
            Endpoint("GET", top, self.found, "Find parcels", _TAG, {200: Answer("A page.", ParcelPage)}, query=WhichParcels,
                     audited="saw", unaudited=OWN),
            Endpoint("GET", one, self.of_one, "See a parcel", _TAG, {200: Answer("As you may see it.", ParcelView)},
                     audited="saw", unaudited=OWN),
            Endpoint("GET", f"{one}/trace", self.trace, "See what happened to a parcel", _TAG,
                     {200: Answer("As far as you may see it.", TraceView)}, audited="saw", unaudited=OWN),
            Endpoint("GET", "/v1/failures", self.failures, "List what failed", _TAG, {200: Answer("A page.", FailurePage)},
                     query=WhichFailures, audited="saw", unaudited=OWN),
        )  # fmt: skip

    async def found(self, ask: Ask) -> Reply:
        """What your systems sent or receive, by any side of it; administrators find everything."""
        wanted: WhichParcels = ask.query
        page = await self._gate.kernel.desks.search.find(self._asked(ask, wanted, wanted.reference), wanted.limit)
        shown = ParcelPage(parcels=[_row(one) for one in page.items], next=page.next or None)
        # Who asks for one thing by its name looks at it; who looks through a list looks at the list.
        return Reply(shown, about=tuple(one.parcel_id for one in page.items) if wanted.reference else ())

    async def of_one(self, ask: Ask) -> Reply:
        """Its description, where it goes, what was said of it, and what is expected."""
        return Reply(_view(await self._traced(ask)))

    async def trace(self, ask: Ask) -> Reply:
        """When it came, where it went, what was added on the way, and whether it arrived: in words and as facts."""
        seen = await self._traced(ask)
        lines = [_line(one) for one in seen.lines]
        where = [f"{explain.whither(row.receiver, row.gateway, row.destination)}: {row.state}" for row in seen.rows]
        return Reply(TraceView(parcel=seen.parcel.id, lines=lines, standing=where))

    async def failures(self, ask: Ask) -> Reply:
        """Held, failed, refused or set aside, with why; what lies in the residual mailbox is held for `residual`. Who refused
        it is told to its sender as well."""
        wanted: WhichFailures = ask.query
        page = await self._gate.kernel.desks.search.failures(self._asked(ask, wanted, ""), wanted.limit)
        return Reply(FailurePage(failures=[_failure(one) for one in page.items], next=page.next or None))

    async def _traced(self, ask: Ask) -> Traced:
        scope = ask.caller.scope(self._gate.configuration())
        return await self._gate.kernel.desks.tracing.of(ask.path["parcel"], scope)

    def _asked(self, ask: Ask, wanted: WhichParcels | WhichFailures, reference: str) -> Asked:
        """The question, of what the caller may see."""
        return Asked(
            reference=reference,
            sender=wanted.sender,
            receiver=wanted.receiver,
            integration=wanted.integration,
            states=tuple(State(one) for one in dict.fromkeys(wanted.state)),
            rule=wanted.rule,
            since=wanted.since,
            until=wanted.until,
            systems=ask.caller.scope(self._gate.configuration()),
            before=wanted.after,
        )


def _row(one: Found) -> ParcelRow:
    return ParcelRow(
        parcel=one.parcel_id,
        accepted=rfc3339(one.accepted_at),
        sender=one.sender,
        integration=one.integration,
        type=one.type,
        priority=one.priority,
        deliveries=[
            ParcelDelivery(
                delivery=each.delivery_id,
                receiver=each.receiver,
                state=each.state,
                rule=each.rule,
                code=each.code or None,
            )
            for each in one.deliveries
        ],
    )


def _view(seen: Traced) -> ParcelView:
    parcel, whose = seen.parcel, {row.id: row.receiver for row in seen.rows}
    return ParcelView(
        parcel=parcel.id,
        accepted=rfc3339(parcel.accepted_at),
        sender=parcel.sender,
        integration=parcel.integration,
        version=parcel.config_version,
        description=None if seen.emptied else described(parcel, ()),
        payloads=[] if seen.emptied else carried(parcel),
        deliveries=[delivery_view(receiving(row)) for row in seen.rows],
        receipts=[
            ReceiptFact(
                delivery=one.delivery_id,
                receiver=whose[one.delivery_id],
                level=one.level,
                verdict=one.verdict,
                at=rfc3339(one.at),
                code=one.code or None,
                text=one.reason or None,
                digest=one.digest.hex(),
            )
            for one in seen.receipts
        ],
        expected=[expected_view(one) for one in seen.awaited],
    )


def _line(one: Line) -> TraceLine:
    facts = {k: rfc3339(v) if k in _TIMES and isinstance(v, int) else v for k, v in one.facts.items()}
    says, detail = explain.event(one.event, one.facts), explain.detail(one.event, one.facts)
    return TraceLine(at=rfc3339(one.at), event=one.event, says=says, detail=detail, facts=facts)


def _failure(one: Failure) -> FailureView:
    return FailureView(
        parcel=one.parcel_id,
        delivery=one.delivery_id,
        accepted=rfc3339(one.accepted_at),
        sender=one.sender,
        receiver=one.receiver,
        integration=one.integration,
        state=one.state,
        code=one.code,
        reason=one.reason,
    )
