"""Subscriptions: fetch what one got, and say what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core import limits
from core.clock import SECOND
from core.desk.mailbox import Loan, Said
from core.mailroom import Box
from core.parcel import Parcel
from core.recent import Recent
from gateways.rest import events
from gateways.rest.endpoint import Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.gate import Gate
from gateways.rest.problems import forbidden

_TAG: Final = "Subscription"
Tokens = Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=limits.CLAIM_BATCH)]
Seconds = Annotated[float, Field(ge=0, le=43_200)]


class Pull(Shape):
    """What to lend."""

    max: Annotated[int, Field(ge=1, le=limits.CLAIM_BATCH)] = 10
    wait: Annotated[float, Field(ge=0, le=limits.LONG_POLL / SECOND)] = 0
    """Seconds to wait for the first."""
    lease: Annotated[float, Field(ge=1, le=43_200)] | None = None
    """Seconds it is lent for; left out, as the subscription says."""


class Delivered(Shape):
    """One delivery, lent."""

    lease: str
    """Name it when you acknowledge."""
    until: str
    attempt: int
    priority: str
    event: dict[str, Any]
    """A CloudEvent 1.0."""


class Deliveries(Shape):
    """What was lent; empty when nothing is due."""

    deliveries: list[Delivered]


class Leases(Shape):
    """Which loans it is about."""

    leases: Tokens


class GivenBack(Leases):
    """Not now."""

    delay: Seconds = 0
    """Seconds until it is lent again."""
    reason: Annotated[str, Field(max_length=512)] = ""


class Extended(Leases):
    """More time."""

    lease: Annotated[float, Field(ge=1, le=43_200)]
    """Seconds from now."""


class Rejected(Leases):
    """Never."""

    code: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]
    reason: Annotated[str, Field(max_length=512)] = ""


class Result(Shape):
    """What became of one thing said."""

    lease: str
    result: Literal["done", "stale", "unknown"]
    """``stale``: the loan had ended, and what was said changes nothing. ``unknown``: no such loan here."""


class Results(Shape):
    """In the order of the leases."""

    results: list[Result]


class Subscriptions:
    """Endpoints of one's subscriptions."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._written: Recent[bytes] = Recent(limits.RECENT)
        """Events as they go out, by parcel."""

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        path = "/v1/subscriptions/{subscription}"
        said = {200: Answer("Each loan is answered for itself.", Results)}
        return (
            Endpoint(
                "POST",
                f"{path}/pull",
                self.pull,
                "Fetch what waits",
                _TAG,
                {200: Answer("What was lent.", Deliveries)},
                body=Body(model=Pull),
            ),
            Endpoint("POST", f"{path}/ack", self.ack, "Acknowledge", _TAG, said, body=Body(model=Leases)),
            Endpoint("POST", f"{path}/nack", self.nack, "Give back for now", _TAG, said, body=Body(model=GivenBack)),
            Endpoint("POST", f"{path}/extend", self.extend, "Ask for more time", _TAG, said, body=Body(model=Extended)),
            Endpoint("POST", f"{path}/reject", self.reject, "Refuse for good", _TAG, said, body=Body(model=Rejected)),
        )

    def _box(self, ask: Ask) -> Box:
        found = self._gate.own_subscription(ask.caller, ask.path["subscription"])
        return (found.system, found.id)

    async def pull(self, ask: Ask) -> Reply:
        """Lend up to `max` deliveries, urgent ones first, waiting up to `wait` seconds for the first.

        What is lent comes back by itself when its time is over and nothing was said of it.
        """
        wanted: Pull = ask.body
        lease = None if wanted.lease is None else int(wanted.lease * SECOND)
        found = self._gate.own_subscription(ask.caller, ask.path["subscription"])
        if not self._gate.configuration().agreed(
            found.integration, found.system, "receive", self._gate.kernel.clock.now()
        ):
            raise forbidden(f"service agreement: {found.system} may not receive under {found.integration} now")
        box, mailbox = (found.system, found.id), self._gate.kernel.desks.mailbox
        lent = await mailbox.lend(box, limit=wanted.max, wait=int(wanted.wait * SECOND), lease=lease)
        lines = [await self._delivered(one) for one in lent]
        return Reply(b'{"deliveries":[' + b",".join(lines) + b"]}")

    async def _delivered(self, loan: Loan) -> bytes:
        """A `Delivered` as JSON; its event is the same for everybody, so it is written once."""
        said = self._written.get(loan.parcel.id)
        if said is None:
            said = json.dumps(await self._event(loan.parcel), ensure_ascii=False, separators=(",", ":")).encode()
            self._written.put(loan.parcel.id, said, len(said))
        until, lent = events.rfc3339(loan.until), loan.delivery
        head = f'{{"lease":"{loan.token}","until":"{until}","attempt":{lent.attempts},"priority":"{lent.lane}","event":'
        return head.encode() + said + b"}"

    async def _event(self, parcel: Parcel) -> dict[str, Any]:
        kernel, data = self._gate.kernel, b""
        if parcel.payloads:
            payload = parcel.payloads[0]
            if payload.inline is not None:
                data = b"".join(kernel.read_now(parcel, payload))
            else:
                data = await asyncio.to_thread(lambda: b"".join(kernel.read_now(parcel, payload)))
        return events.write(parcel, kernel.subjects(parcel), data)

    async def ack(self, ask: Ask) -> Reply:
        """The system has them. Saying so twice is harmless."""
        return _results(ask.body.leases, await self._gate.kernel.desks.mailbox.ack(self._box(ask), ask.body.leases))

    async def nack(self, ask: Ask) -> Reply:
        """Not now: each is lent again after `delay` seconds, until it has been lent as often as the subscription allows."""
        said: GivenBack = ask.body
        delay, mailbox = int(said.delay * SECOND), self._gate.kernel.desks.mailbox
        return _results(said.leases, await mailbox.nack(self._box(ask), said.leases, delay=delay, reason=said.reason))

    async def extend(self, ask: Ask) -> Reply:
        """More time for work that takes long."""
        said: Extended = ask.body
        by, mailbox = int(said.lease * SECOND), self._gate.kernel.desks.mailbox
        return _results(said.leases, await mailbox.extend(self._box(ask), said.leases, by))

    async def reject(self, ask: Ask) -> Reply:
        """The system will never take them; the sender sees the code and the reason."""
        said: Rejected = ask.body
        mailbox = self._gate.kernel.desks.mailbox
        return _results(
            said.leases, await mailbox.reject(self._box(ask), said.leases, code=said.code, reason=said.reason)
        )


def _results(tokens: Sequence[str], said: Sequence[Said]) -> Reply:
    lines = [{"lease": token, "result": one.value} for token, one in zip(tokens, said, strict=True)]
    return Reply(json.dumps({"results": lines}).encode())
