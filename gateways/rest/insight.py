"""What became of what I sent: on the sender's own question, whenever it asks [R16, R67, R73].

Rules:

1. Its sender is answered, and operators of the sender's authority; for all others, receivers included, there is no such parcel.
2. That nobody subscribes is an answer, and so is that no rule took it and a person has to look.
3. Of a refusal the receiver's code and words are told. Nothing is told of whom it is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from core import limits
from core.desk.insight import Awaited, Insight, Receiving
from core.ledger.search import Asked
from gateways.rest.endpoint import OWN, Answer, Ask, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.paging import Newest, Page
from gateways.rest.problems import absent

_TAG: Final = "Notification"


class DeliveryView(Shape):
    """How far it has come with one receiver."""

    delivery: str
    receiver: str
    subscription: str | None = None
    """The subscription it is fetched by."""
    rule: str
    """The subscription or route that matched."""
    stage: str
    """How far, in one word: `waiting`, `lent`, `fetched`, `acknowledged`, `understood`, `rejected`, `redistributed`, `failed`,
    `held`; of what is pushed also `tried` and `sent`."""
    state: str
    """The delivery's state, as searches take it."""
    attempts: int
    dead_letter: bool
    """It was lent as often as the subscription allows, and never acknowledged."""
    fetched: str | None = None
    settled: str | None = None
    code: str | None = None
    """Why it is so, where somebody said why: the receiver's code or the kernel's."""
    reason: str | None = None


class ExpectedView(Shape):
    """A receipt that is or was expected."""

    level: str
    of: str
    """Of whom, in words."""
    due: str
    state: str
    """`open`, `met`, `refused`, `overdue`, or `late`: it came after all."""
    met: str | None = None


class InsightView(Shape):
    """What became of it."""

    parcel: str
    accepted: str
    sender: str
    integration: str
    type: str
    nobody: bool
    """Nobody subscribes to it."""
    residual: bool
    """No rule took it; a person has to look."""
    deliveries: list[DeliveryView]
    expected: list[ExpectedView]


class InsightPage(Page):
    """What became of each, the newest first."""

    notifications: list[InsightView]


class Named(Newest):
    """Which events, by the names their sender gave them."""

    id: Annotated[str, Field(min_length=1, max_length=500, description="The event's `id`.")]
    source: Annotated[
        str | None, Field(min_length=1, max_length=500, description="The event's `source`; left out, of any.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=limits.LIST_PAGE, description="At most so many.")] = limits.LIST_PAGE


class InsightEndpoints:
    """Endpoints of what became of what one sent."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        one, page = Answer("How far it has come with whom.", InsightView), Answer("A page.", InsightPage)
        return (
            Endpoint("GET", "/v1/notifications/{parcel}", self.of_one, "See what became of what you sent", _TAG, {200: one},
                     audited="saw", unaudited=OWN),
            Endpoint("GET", "/v1/notifications", self.named, "Find what you sent by its event's id", _TAG, {200: page},
                     query=Named, audited="saw", unaudited=OWN),
        )  # fmt: skip

    async def of_one(self, ask: Ask) -> Reply:
        """Which subscriptions matched, and for each whether it waits, is lent, was fetched, acknowledged, refused (with code and
        reason) or is a dead letter; the receipts that are expected, and by when. A handover is told of in the same words.
        """
        scope = ask.caller.scope(self._gate.configuration())
        return Reply(_insight(await self._gate.kernel.desks.insights.of(ask.path["parcel"], scope)))

    async def named(self, ask: Ask) -> Reply:
        """By `id`, and by `source` beside it: together they name one event of a system. What is not there was not accepted, or
        has been deleted when its time was over."""
        wanted: Named = ask.query
        name = wanted.id if wanted.source is None else f"{wanted.source}#{wanted.id}"
        if not name.isprintable():
            raise absent()
        asked = Asked(reference=name, systems=ask.caller.scope(self._gate.configuration()), before=wanted.after)
        page = await self._gate.kernel.desks.insights.called(asked, wanted.limit)
        shown = InsightPage(notifications=[_insight(one) for one in page.items], next=page.next or None)
        return Reply(shown, about=tuple(one.parcel_id for one in page.items))


def _insight(one: Insight) -> InsightView:
    return InsightView(
        parcel=one.parcel_id,
        accepted=rfc3339(one.accepted_at),
        sender=one.sender,
        integration=one.integration,
        type=one.type,
        nobody=one.nobody,
        residual=one.residual,
        deliveries=[delivery_view(each) for each in one.receiving],
        expected=[expected_view(each) for each in one.awaited],
    )


def delivery_view(one: Receiving) -> DeliveryView:
    """A delivery as it is shown."""
    return DeliveryView(
        delivery=one.delivery,
        receiver=one.receiver,
        subscription=one.subscription or None,
        rule=one.rule,
        stage=one.stage,
        state=one.state,
        attempts=one.attempts,
        dead_letter=one.dead_letter,
        fetched=rfc3339(one.fetched_at) if one.fetched_at is not None else None,
        settled=rfc3339(one.settled_at) if one.settled_at is not None else None,
        code=one.code or None,
        reason=one.reason or None,
    )


def expected_view(one: Awaited) -> ExpectedView:
    """An expected receipt as it is shown."""
    return ExpectedView(
        level=one.level,
        of=one.of,
        due=rfc3339(one.due_at),
        state=one.state,
        met=rfc3339(one.met_at) if one.met_at is not None else None,
    )
