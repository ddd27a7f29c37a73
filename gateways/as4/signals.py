"""Signals that come on their own: receipts and errors about what we sent, and requests to pull.

Rules:

1. A receipt is matched with the message it names, digest by digest, under that partner's certificates; then it is evidence,
   whenever it comes and whatever was believed before.
2. A receipt or an error is never answered with an error, or two products would go on for ever: 202, and what was wrong with it is
   in the trace of the message it is about [ebMS3 §6.3].
3. The same signal again counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from accesspoint.ebms import Signal
from accesspoint.errors import EbmsError, RemoteError
from accesspoint.outbound import judge_signal
from accesspoint.pmode import PMode
from accesspoint.receipts import parse_errors
from accesspoint.server import Answer
from accesspoint.soap import Envelope
from core.asking import Kernel
from core.delivery import Delivery
from core.parcel import Key, Parcel
from core.receipt import Receipt, Verdict
from gateways.as4.evidence import code_of, reason_of, receipt_of, refusal_of
from gateways.as4.packing import Packer, Wire
from gateways.as4.partners import Partners
from gateways.as4.workers import Workers

TAKEN: Final = Answer(202)
"""A signal about a message gets no more than this."""


class Evidence:
    """Takes receipts and errors that come on their own."""

    def __init__(self, kernel: Kernel, partners: Callable[[], Partners], packer: Packer, workers: Workers) -> None:
        self._kernel, self._partners, self._packer, self._workers = kernel, partners, packer, workers

    async def take(self, said: Signal, envelope: Envelope, octets: bytes, peer: str) -> Answer:
        """Settle what the signal proves."""
        reference = said.ref_to_message_id or _about(said)
        delivery_id = await self._kernel.delivery_of(reference) if reference else None
        carried = await self._kernel.carried(delivery_id) if delivery_id is not None else None
        if carried is None:
            await self._unknown(said, reference, peer)
            return TAKEN
        delivery, parcel = carried
        under = self._partners().sent_under(delivery, parcel.integration)
        frozen = await self._kernel.frozen(delivery.id)
        if under is None or frozen is None:
            await self._unknown(said, reference, peer)
            return TAKEN
        neighbour, pmode = under
        wire = await self._workers.small(self._packer.thaw, parcel, frozen)
        receipt = await self._judged(delivery, parcel, pmode, wire, said, envelope, octets)
        if receipt is not None:
            key = Key(f"as4:{neighbour.partner.id}:signal", f"{delivery.id}/{said.message_id}")
            await self._kernel.settle(receipt, key=key, answer=b"")
        return TAKEN

    async def _judged(
        self,
        delivery: Delivery,
        parcel: Parcel,
        pmode: PMode,
        wire: Wire,
        said: Signal,
        envelope: Envelope,
        octets: bytes,
    ) -> Receipt | None:
        """What a signal proves about one delivery; None, with a line in its trace, when it proves nothing."""
        trust, now = self._partners().trust(pmode), self._kernel.clock.now()
        message, event = wire.message, "not-believed"
        try:
            proof = await self._workers.small(judge_signal, message, pmode, trust, envelope, said, octets)
        except RemoteError as error:
            outcome = refusal_of(error, None, ())
            if outcome.refused:
                refused = receipt_of(delivery.id, message.message_id, octets, now)
                return replace(refused, verdict=Verdict.REJECTED, code=outcome.code, reason=outcome.reason)
            code, reason, event = outcome.code, outcome.reason, "reported" if error.authenticated else event
        except EbmsError as error:
            code, reason = code_of(error), reason_of(error)
        else:
            return receipt_of(delivery.id, message.message_id, proof.raw, now)
        facts = {"code": code, "reason": reason, "signal": said.message_id}
        await self._kernel.note(parcel.id, event, facts)
        return None

    async def _unknown(self, said: Signal, reference: str, peer: str) -> None:
        kind = "an error" if said.errors else "a receipt"
        facts = {"field": "RefToMessageId", "cause": f"{kind} about a message that we did not send", "peer": peer}
        await self._kernel.refusal(reference or f"signal from {peer}", "unknown-message", facts)


def _about(said: Signal) -> str:
    """The message that errors without a RefToMessageId speak of, if they all name one."""
    named = {error.ref_to_message for error in parse_errors(said)}
    return named.pop() if len(named) == 1 else ""
