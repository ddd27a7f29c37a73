"""One attempt: pack, post, judge [design of the AS4 wire].

Rules:

1. What is posted was frozen first (`gateways.as4.packing`): a later attempt posts the same signed octets.
2. Only a signed receipt that repeats every digest settles; an authenticated error refuses; everything else is "try again".
   Where the partner's file says ``answers_duplicates: error``, their signed error that they have it already settles what was sent
   before, unless they ever answered another error to it: they may know its id and yet have lost it.
3. Where the agreement has receipts called back, an empty answer is "sent": the receipt comes on its own (`gateways.as4.signals`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from accesspoint.client import Client, Response, Unreachable
from accesspoint.errors import EbmsError, RemoteError, SoapFault
from accesspoint.outbound import SUCCESS, build, judge_answer, new_cid
from accesspoint.pmode import PMode
from core import failpoint
from core.asking import Kernel
from core.clock import SECOND
from core.delivery import Delivery
from core.errors import UsageError
from core.gateway import Outcome
from core.parcel import Parcel
from core.trust import common_name
from gateways.as4.evidence import code_of, is_duplicate, reason_of, receipt_of, refusal_of, says_already
from gateways.as4.mapping import test_message
from gateways.as4.packing import Packed, Packer, Wire
from gateways.as4.partners import Neighbour, Partners, signer
from gateways.as4.workers import Workers

_ANSWERED: Final = frozenset({"answer"})
"""Where no answer could be used, and yet they were there."""
_SERVER_FAILS: Final = 500
"""From this status on, an answer without a signal says that their server fails whatever it is sent."""
_HAVE_IT: Final = "they answer that they have this message already, which their agreement says counts as a receipt"


class Sender:
    """Sends deliveries to partners. ``partners`` gives the current ones."""

    def __init__(
        self, kernel: Kernel, client: Client, partners: Callable[[], Partners], packer: Packer, workers: Workers
    ) -> None:
        self._kernel, self._client, self._partners = kernel, client, partners
        self._packer, self._workers = packer, workers

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """One attempt."""
        neighbour = self._partners().by_id.get(delivery.destination)
        if neighbour is None:
            reason = f"no as4.partner is called {delivery.destination!r}: add it, or change the route {delivery.rule!r}"
            return Outcome(code="no-partner", reason=reason)
        pmode = neighbour.pmode_for(parcel.integration)
        if pmode is None:
            reason = f"partner {neighbour.partner.id} has no exchange that sends {parcel.integration}: add one"
            return Outcome(code="no-exchange", reason=reason)
        try:
            packed = await self._packer.pack(delivery, parcel, neighbour, pmode)
        except (EbmsError, ValueError) as error:
            return Outcome(refused=True, code="cannot-be-sent", reason=str(error))
        outcome, doubted = await self._post(parcel, neighbour, pmode, packed)
        if doubted and not packed.wire.doubted:
            await self._packer.doubt(delivery, parcel, packed, pmode)
        return outcome

    async def ping(self, partner: str) -> dict[str, str]:
        """Send the test message that every product answers and nobody delivers; says what came of it."""
        neighbour = self._partners().by_id.get(partner)
        if neighbour is None:
            known = ", ".join(sorted(self._partners().by_id)) or "none"
            raise UsageError(f"no as4.partner is called {partner!r}; known: {known}")
        pmode = neighbour.ping_pmode()
        if pmode is None:
            raise UsageError(f"partner {partner} has no exchange that pushes; there is no agreement to ping under")
        message_id = f"{new_cid().partition('@')[0]}@{neighbour.party.message_id_domain}"
        header = test_message(pmode, message_id, self._kernel.clock.now())
        message = build(pmode, header, (), neighbour.signing.certificate, signer(neighbour.signing))
        said = {"message": message.message_id, "url": neighbour.partner.url}
        try:
            response = await self._client.post(
                neighbour.partner.url, message.content_type, message.root, length=message.length, tls=neighbour.tls
            )
            if _called_back(neighbour, response):
                return {**said, "receipt": "taken; receipts are called back"}
            trust = self._partners().trust(pmode)
            proof = judge_answer(message, pmode, trust, response.status, response.content_type, response.body)
        except Unreachable as error:
            return {**said, "code": error.word, "reason": error.detail}
        except RemoteError as error:
            refused = refusal_of(error, None, ())
            return {**said, "code": refused.code, "reason": refused.reason}
        except (EbmsError, SoapFault) as error:
            return {**said, "code": code_of(error), "reason": reason_of(error)}
        return {**said, "receipt": proof.message_id, "signed by": common_name(proof.certificate)}

    # -- posting

    async def _post(self, parcel: Parcel, neighbour: Neighbour, pmode: PMode, packed: Packed) -> tuple[Outcome, bool]:
        """What came of sending it, and whether the answer has made it `doubted`."""
        failpoint.reach("before-post")
        try:
            try:
                response = await self._once(parcel, neighbour, packed.wire)
            except Unreachable as error:
                if not error.stale:
                    raise
                response = await self._once(parcel, neighbour, packed.wire)  # a kept connection the peer had closed
        except Unreachable as error:
            reason, away = f"{neighbour.partner.url}: {error.detail}", error.word not in _ANSWERED
            return Outcome(code=error.word, reason=reason, reached=not away, spent=packed.frozen.objects), False
        failpoint.reach("after-answer")
        return await self._workers.small(self._judge, neighbour, pmode, packed, response)

    async def _once(self, parcel: Parcel, neighbour: Neighbour, wire: Wire) -> Response:
        message = wire.message
        return await self._client.post(
            neighbour.partner.url,
            message.content_type,
            self._packer.body(parcel, wire),
            length=message.length,
            tls=neighbour.tls,
            answer_within=neighbour.partner.answer_within,
        )

    # -- judging

    def _judge(self, neighbour: Neighbour, pmode: PMode, packed: Packed, response: Response) -> tuple[Outcome, bool]:
        """What the answer proves; blocking (it verifies a signature)."""
        wait = response.retry_after * SECOND if response.retry_after is not None else None
        wire, spent, now = packed.wire, packed.frozen.objects, self._kernel.clock.now()
        if _called_back(neighbour, response):
            return Outcome(sent=True, spent=spent), False
        name, message_id = packed.frozen.delivery_id, wire.message.message_id
        trust = self._partners().trust(pmode)
        try:
            proof = judge_answer(wire.message, pmode, trust, response.status, response.content_type, response.body)
        except RemoteError as error:
            counts = neighbour.partner.answers_duplicates == "error"
            if counts and packed.again and not wire.doubted and is_duplicate(error):
                receipt = receipt_of(name, message_id, response.body, now)
                return Outcome(receipt=receipt, note={"cause": _HAVE_IT}, spent=spent), False
            outcome = replace(refusal_of(error, wait, spent), reached=True)
            return outcome, counts and not outcome.refused and not says_already(error)
        except (EbmsError, SoapFault) as error:
            broken = isinstance(error, EbmsError) and response.status >= _SERVER_FAILS
            said = Outcome(code=code_of(error), reason=reason_of(error), retry_after=wait, spent=spent)
            return replace(said, reached=not broken), False
        receipt = receipt_of(name, message_id, proof.raw, now)
        return Outcome(receipt=receipt, note={"receipt": proof.message_id}, spent=spent), False


def _called_back(neighbour: Neighbour, response: Response) -> bool:
    """Whether an answer without a receipt is what was agreed: the receipt comes on its own."""
    empty = response.status in SUCCESS and not response.body.strip()
    return empty and neighbour.partner.reply_pattern == "callback"
