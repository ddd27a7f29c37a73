"""Loans: what is lent to a system that comes for it, and what the system says of it. Subscriptions and handovers share it.

Rule: what is said of several loans in one call is one commit; each is answered for itself, and saying it twice is harmless.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, Field

from core import limits
from core.clock import SECOND
from core.desk.mailbox import Said
from core.ledger.handing import MISDELIVERED
from core.mailroom import Box
from gateways.rest.endpoint import TRACED, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.gate import Gate

Tokens = Annotated[list[Annotated[str, Field(max_length=64)]], Field(min_length=1, max_length=limits.CLAIM_BATCH)]


def _of_its_own(code: str) -> str:
    if code == MISDELIVERED:
        raise ValueError(f"{MISDELIVERED} is what redistribute says: use it, so that the right system gets it")
    return code


Code = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9._-]+$"), AfterValidator(_of_its_own)]
"""A word for programs that a receiving system gives; `MISDELIVERED` is said by sending on, and by nothing else."""
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

    code: Code
    reason: Annotated[str, Field(max_length=512)] = ""


class Result(Shape):
    """What became of one thing said."""

    lease: str
    result: Literal["done", "stale", "unknown"]
    """``stale``: the loan had ended, and what was said changes nothing. ``unknown``: no such loan here."""


class Results(Shape):
    """In the order of the leases."""

    results: list[Result]


class Verbs:
    """What a system says of its loans; ``box`` gives the mailbox a request is about."""

    def __init__(self, gate: Gate, box: Callable[[Ask], Box]) -> None:
        self._gate, self._box = gate, box

    def endpoints(self, path: str, tag: str, query: type[BaseModel] | None = None) -> Sequence[Endpoint]:
        """Below ``path``."""
        said: Final = {200: Answer("Each loan is answered for itself.", Results)}
        made = (
            ("ack", self.ack, "Acknowledge", Leases),
            ("nack", self.nack, "Give back for now", GivenBack),
            ("extend", self.extend, "Ask for more time", Extended),
            ("reject", self.reject, "Refuse for good", Rejected),
        )
        return [
            Endpoint(
                "POST",
                f"{path}/{verb}",
                handler,
                summary,
                tag,
                said,
                query=query,
                body=Body(model=model),
                audited="changed",
                unaudited=TRACED,
            )
            for verb, handler, summary, model in made
        ]

    async def ack(self, ask: Ask) -> Reply:
        """The system has them. Saying so twice is harmless."""
        return _results(ask.body.leases, await self._gate.kernel.desks.mailbox.ack(self._box(ask), ask.body.leases))

    async def nack(self, ask: Ask) -> Reply:
        """Not now: each is lent again after `delay` seconds, until it has been lent as often as is agreed."""
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
