"""What we say ourselves: receipts, errors and requests, signed as the party the agreement names."""

from __future__ import annotations

from collections.abc import Callable

from accesspoint.errors import EbmsError
from accesspoint.outbound import new_cid
from accesspoint.receipts import error_xml
from accesspoint.server import Answer
from accesspoint.signals import signed_signal, unsigned_error
from core.clock import Clock
from gateways.as4.partners import Neighbour, Partners, signer
from gateways.as4.workers import Workers


class Speaker:
    """Makes signals; what blocks (a private-key operation) is done where the workers say."""

    def __init__(self, clock: Clock, partners: Callable[[], Partners], workers: Workers) -> None:
        self._clock, self._partners, self._workers = clock, partners, workers

    async def say(self, neighbour: Neighbour, content: bytes, reference: str) -> bytes:
        """A signed signal around ``content``."""
        return await self._workers.small(self.signal, neighbour, content, reference)

    async def refuse(self, neighbour: Neighbour | None, error: EbmsError) -> Answer:
        """An error as the answer to a request; unsigned for somebody we do not know."""
        return Answer(200, await self._workers.small(self.error, neighbour, error))

    def signal(self, neighbour: Neighbour, content: bytes, reference: str) -> bytes:
        """The same as `say`, here and now."""
        return signed_signal(
            content,
            message_id=f"{new_cid().partition('@')[0]}@{neighbour.party.message_id_domain}",
            timestamp=self._clock.now(),
            reference=reference or None,
            profile=neighbour.profile,
            certificate=neighbour.signing.certificate,
            form=neighbour.partner.key_reference,
            sign=signer(neighbour.signing),
        )

    def error(self, neighbour: Neighbour | None, error: EbmsError) -> bytes:
        """An error signal: signed, or unsigned for somebody we do not know."""
        if neighbour is None:
            message_id = f"{new_cid().partition('@')[0]}@stafet.invalid"
            return unsigned_error(error, message_id=message_id, timestamp=self._clock.now())
        return self.signal(neighbour, error_xml(error), error.ref_to_message_id)
