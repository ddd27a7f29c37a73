"""Subscriptions: fetch what one got, and say what became of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any, Final

from core import limits
from core.clock import SECOND
from core.desk.mailbox import Loan
from core.mailroom import Box
from core.parcel import Parcel
from core.recent import Recent
from gateways.rest import events
from gateways.rest.endpoint import TRACED, Answer, Ask, Body, Endpoint, Reply
from gateways.rest.gate import Gate
from gateways.rest.loans import Deliveries, Pull, Verbs
from gateways.rest.problems import forbidden

_TAG: Final = "Subscription"


class Subscriptions:
    """Endpoints of one's subscriptions."""

    def __init__(self, gate: Gate) -> None:
        self._gate, self._verbs = gate, Verbs(gate, self._box)
        self._written: Recent[bytes] = Recent(limits.RECENT)
        """Events as they go out, by parcel."""
        self._until = (0, "")

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        path = "/v1/subscriptions/{subscription}"
        return (
            Endpoint(
                "POST",
                f"{path}/pull",
                self.pull,
                "Fetch what waits",
                _TAG,
                {200: Answer("What was lent.", Deliveries)},
                body=Body(model=Pull),
                audited="changed",
                unaudited=TRACED,
            ),
            *self._verbs.endpoints(path, _TAG),
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
        lent, until = loan.delivery, self._time(loan.until)
        head = f'{{"lease":"{loan.token}","until":"{until}","attempt":{lent.attempts},"priority":"{lent.lane}","event":'
        return head.encode() + said + b"}"

    def _time(self, until: int) -> str:
        """What is lent in one pull ends at one time."""
        if self._until[0] != until:
            self._until = (until, events.rfc3339(until))
        return self._until[1]

    async def _event(self, parcel: Parcel) -> dict[str, Any]:
        kernel, data = self._gate.kernel, b""
        if parcel.payloads:
            payload = parcel.payloads[0]
            if payload.inline is not None:
                data = b"".join(kernel.read_now(parcel, payload))
            else:
                data = await asyncio.to_thread(lambda: b"".join(kernel.read_now(parcel, payload)))
        return events.write(parcel, kernel.subjects(parcel), data)
