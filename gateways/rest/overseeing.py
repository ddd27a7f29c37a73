"""Who looked at what, and what people must look at: the usage log and the alarms [R74, R79, R81, R102, R132].

Rules:

1. Auditors read what people and systems of their own authority did here; what others did is not there for them. Who administers
   a node reads all of it. That somebody read the log is in the log.
2. An alarm is seen by operators whose systems sent the parcel, or alone receive it; those about no parcel are for who administers
   the node. What is another's is neither seen nor cleared, and answered as what is not there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final

from pydantic import Field

from core import explain, limits
from core.desk.alarming import before
from core.ledger import alarms, looking
from gateways.rest.access import demand_role
from gateways.rest.endpoint import Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Gate
from gateways.rest.paging import Newest, Page, Paging
from gateways.rest.problems import absent, forbidden
from gateways.rest.settings import Role
from gateways.rest.times import Moment
from gateways.rest.tracking import Term

_TAG: Final = "Overseeing"


class WhichLooks(Newest):
    """Which entries of the usage log."""

    who: Annotated[Term, Field(description="Of this person or system.")] = ""
    authority: Annotated[Term, Field(description="Of people and systems of this authority.")] = ""
    action: Annotated[Term, Field(description="This was done, as the log has it.")] = ""
    object: Annotated[Term, Field(description="Done to this: a parcel, a subscription, a list.")] = ""
    since: Annotated[Moment | None, Field(description="From then on.")] = None
    until: Annotated[Moment | None, Field(description="Until before then.")] = None


class LookView(Shape):
    """Somebody saw or changed something, or was turned away."""

    at: str
    who: str
    authority: str
    action: str
    """Method and path of the endpoint, or `command` and its name."""
    object: str
    """What it was about, where it was about something."""
    outcome: str
    """`ok`, or the word of the problem it was answered with."""


class LookPage(Page):
    """Entries of the usage log, the newest first."""

    looks: list[LookView]


class WhichAlarms(Paging):
    """Which alarms."""

    after: Annotated[
        str,
        Field(max_length=96, pattern=r"^([0-9]{1,17}/[!-~]{1,64})?$", description="What the page before said under `next`."),
    ] = ""  # fmt: skip
    code: Annotated[Term, Field(description="Of this kind.")] = ""
    parcel: Annotated[Term, Field(description="About this parcel.")] = ""


class AlarmView(Shape):
    """Something people must look at."""

    id: str
    at: str
    code: str
    text: str
    meaning: str | None = None
    """What alarms of this kind mean, and what to do."""
    parcel: str | None = None


class AlarmPage(Page):
    """Open alarms, the newest first."""

    alarms: list[AlarmView]


class Clearing(Shape):
    """Which alarms somebody has seen to."""

    alarms: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]], Field(min_length=1, max_length=limits.LIST_MOST)
    ]


class Cleared(Shape):
    """What is open no more; others of those that were named are not there."""

    cleared: list[str]


class Overseeing:
    """Endpoints of the usage log and of alarms."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        return (
            Endpoint("GET", "/v1/looks", self.looks, "See who looked at what, and who changed what", _TAG,
                     {200: Answer("A page.", LookPage)}, query=WhichLooks, audited="saw"),
            Endpoint("GET", "/v1/alarms", self.alarms, "List open alarms", _TAG, {200: Answer("A page.", AlarmPage)},
                     query=WhichAlarms, audited="saw"),
            Endpoint("POST", "/v1/alarms/clear", self.clear, "Say that alarms were seen to", _TAG,
                     {200: Answer("What is open no more.", Cleared)}, body=Body(model=Clearing), audited="changed"),
        )  # fmt: skip

    async def looks(self, ask: Ask) -> Reply:
        """What people and systems of your authority looked at and changed here, and where they were turned away. For auditors."""
        demand_role(ask.caller, Role.AUDITOR)
        wanted: WhichLooks = ask.query
        authority = wanted.authority or ("" if ask.caller.administers else ask.caller.authority)
        if not ask.caller.may_audit(authority):
            raise absent() if authority else forbidden("who calls belongs to no authority")
        asked = looking.Asked(
            wanted.who, authority, wanted.action, wanted.object, wanted.since, wanted.until, wanted.after
        )
        page = await self._gate.kernel.desks.looking.find(asked, wanted.limit)
        return Reply(LookPage(looks=[_look(one) for one in page.items], next=page.next or None))

    async def alarms(self, ask: Ask) -> Reply:
        """What nobody has seen to yet, about what your systems send or alone receive. For operators."""
        demand_role(ask.caller, Role.OPERATOR)
        wanted: WhichAlarms = ask.query
        scope = ask.caller.scope(self._gate.configuration())
        asked = alarms.Asked(wanted.code, wanted.parcel, scope, before(wanted.after))
        page = await self._gate.kernel.desks.alarming.find(asked, wanted.limit)
        return Reply(AlarmPage(alarms=[_alarm(one) for one in page.items], next=page.next or None))

    async def clear(self, ask: Ask) -> Reply:
        """They are open for nobody any more; saying so twice is harmless. For operators."""
        demand_role(ask.caller, Role.OPERATOR)
        named: Clearing = ask.body
        if not all(one.isprintable() for one in named.alarms):
            raise absent()
        scope = ask.caller.scope(self._gate.configuration())
        cleared = await self._gate.kernel.desks.alarming.clear(list(dict.fromkeys(named.alarms)), scope)
        if not cleared:
            raise absent()
        return Reply(Cleared(cleared=cleared), about=tuple(cleared))


def _look(one: looking.Look) -> LookView:
    return LookView(
        at=rfc3339(one.at),
        who=one.who,
        authority=one.authority,
        action=one.action,
        object=one.object,
        outcome=one.outcome,
    )


def _alarm(one: alarms.Alarm) -> AlarmView:
    meaning = explain.CODES.get(one.code)
    return AlarmView(
        id=one.id, at=rfc3339(one.at), code=one.code, text=one.text, meaning=meaning, parcel=one.parcel_id or None
    )
