"""Receipts: what a receiving system says of a handover, and how its sender learns of it.

Rules:

1. A receipt is evidence: it is kept octet for octet, counts once for each text, and settles a delivery whether it is lent or not.
2. The first verdict of the receiver's application stands.
3. Senders read a feed by its numbers; nothing is kept here of how far they have come.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from core import limits
from core.clock import SECOND
from core.desk.handing import Said
from core.parcel import Judgement
from core.receipt import Level, Verdict
from gateways.rest import problems
from gateways.rest.endpoint import OWN, TRACED, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.events import rfc3339
from gateways.rest.gate import Acting, Gate
from gateways.rest.handovers import TAG, look
from gateways.rest.loans import Code
from gateways.rest.problems import Problem, ProblemError
from gateways.rest.server import checked, parse_json

_TAG: Final = "Receipt"
Outcome = Literal["received", "delivered", "accepted", "rejected", "failed"]

_MEANS: Final[dict[str, tuple[Level, Verdict]]] = {
    "received": (Level.ENVELOPE, Verdict.ACCEPTED),
    "delivered": (Level.ENVELOPE, Verdict.ACCEPTED),
    "accepted": (Level.BUSINESS, Verdict.ACCEPTED),
    "rejected": (Level.BUSINESS, Verdict.REJECTED),
    "failed": (Level.BUSINESS, Verdict.FAILED),
}


class Told(Shape):
    """What a receiving system says: it has it (`received`, `delivered`), or what its application made of it."""

    outcome: Outcome
    code: Code | None = None
    """A word for programs."""
    text: Annotated[str, Field(max_length=1024)] = ""
    """Words for people; keep personal data out of them."""


class Taken(Shape):
    """What became of a receipt."""

    parcel: str
    delivery: str
    outcome: Outcome
    state: str
    """How the delivery stands now: the first verdict of the application counts."""


class Shown(Shape):
    """A receipt."""

    id: str
    parcel: str
    delivery: str
    receiver: str
    level: Literal["transport", "envelope", "business"]
    verdict: Literal["accepted", "rejected", "failed"]
    code: str
    text: str
    at: str
    digest: str
    """SHA-256 of its octets, in hexadecimal digits, where its protocol has one."""
    octets: str | None = None
    """As they came, in Base64; left out in the feed, and once their time is over."""


class ReceiptList(Shape):
    """Receipts, oldest first."""

    receipts: list[Shown]


class After(Shape):
    """Where to go on."""

    max: Annotated[int, Field(ge=1, le=limits.FEED_BATCH)] = 100
    wait: Annotated[float, Field(ge=0, le=limits.LONG_POLL / SECOND)] = 0
    """Seconds to wait for the first."""
    after: Annotated[str, Field(pattern=r"^[0-9]{1,18}$")] = "0"
    """`next` of the answer before; left out, from the beginning."""


class Feed(ReceiptList):
    """What came after that."""

    next: str
    """Ask for what comes after this."""


class Receipts:
    """Endpoints of receipts."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        new, same = Answer("It is kept, and counts.", Taken), Answer("The same was said before.", Taken)
        path = "/v1/handovers/{parcel}"
        return (
            Endpoint(
                "POST",
                f"{path}/receipt",
                self.say,
                "Say what you made of it",
                TAG,
                {201: new, 200: same},
                query=Acting,
                body=Body(schema={"$ref": "#/components/schemas/Told"}, speaks_of=(Told,)),
                problems=(problems.STATE,),
                audited="changed",
                unaudited=TRACED,
            ),
            Endpoint(
                "GET",
                f"{path}/receipts",
                self.of_one,
                "What its receivers said",
                TAG,
                {200: Answer("As far as the caller may see them.", ReceiptList)},
                audited="saw",
                unaudited=OWN,
            ),
            Endpoint(
                "POST",
                "/v1/receipts/pull",
                self.feed,
                "What was said of all you sent",
                _TAG,
                {200: Answer("The next ones.", Feed)},
                query=Acting,
                body=Body(model=After),
                audited="saw",
                unaudited=OWN,
            ),
        )

    async def say(self, ask: Ask) -> Reply:
        """A receipt for a handover that you received. It settles the delivery, whether you hold a loan of it or not.

        `received` and `delivered` say that your system has it; `accepted`, `rejected` and `failed` say what its application made
        of it. The same text counts once. It counts for the files that belong to the handover as well.
        """
        system = self._gate.acting(ask.caller, ask.query.system)
        raw: bytes = ask.body
        if len(raw) > limits.RECEIPT_SIZE:
            raise ProblemError(Problem(problems.TOO_LARGE, f"a receipt is at most {limits.RECEIPT_SIZE} octets"))
        told: Told = checked(parse_json(raw), Told)
        handing = self._gate.kernel.desks.handing
        seen = await handing.look(ask.path["parcel"], frozenset({system}))
        row = seen.of(system)
        level, verdict = _MEANS[told.outcome]
        said = Said(f"rest/{system}", told.code or "", told.text)
        acceptance = await handing.say(seen, row, level, verdict, raw, said)
        now = (await handing.look(seen.parcel.id, frozenset({system}))).of(system)
        answer = Taken(parcel=seen.parcel.id, delivery=row.id, outcome=told.outcome, state=now.state)
        return Reply(answer, 200 if acceptance.judgement is Judgement.KNOWN else 201)

    async def of_one(self, ask: Ask) -> Reply:
        """Receipts of a handover, oldest first: its sender sees all, a receiver its own."""
        seen = await look(self._gate, ask)
        rows = await self._gate.kernel.desks.handing.receipts(seen)
        whose = {row.id: row.receiver for row in seen.rows}
        shown = [_shown(row, seen.parcel.id, whose[row.delivery_id], row.raw) for row in rows]
        return Reply(ReceiptList(receipts=shown))

    async def feed(self, ask: Ask) -> Reply:
        """Receipts of everything you sent, in the order they were given, after the one you name; waits for the first.

        Keep `next` and come again with it as `after`: you may read the same twice, and nothing is lost.
        """
        system, wanted = self._gate.acting(ask.caller, ask.query.system), ask.body
        handing = self._gate.kernel.desks.handing
        rows = await handing.feed(system, int(wanted.after), wanted.max, int(wanted.wait * SECOND))
        shown = [_shown(row, row.parcel_id, row.receiver) for row in rows]
        return Reply(Feed(receipts=shown, next=shown[-1].id if shown else wanted.after))


def _shown(row: Any, parcel_id: str, receiver: str, octets: bytes = b"") -> Shown:
    return Shown(
        id=str(row.id),
        parcel=parcel_id,
        delivery=row.delivery_id,
        receiver=receiver,
        level=row.level,
        verdict=row.verdict,
        code=row.code,
        text=row.reason,
        at=rfc3339(row.at),
        digest=row.digest.hex(),
        octets=base64.b64encode(octets).decode() if octets else None,
    )
