"""One request: receive, accept, answer [design §5: payload → ids and queue → receipt].

Rules:

1. A receipt leaves only after the commit that holds its message; it says that the kernel cannot lose the message any more.
2. Small messages take one hop to a thread, where everything that blocks is done at once; large ones are fed piece by piece.
3. A repetition with the same references gets the first receipt, one signed afresh a fresh one; neither is delivered again. Other
   content under the same id is refused, and an alarm is raised.
4. A refusal is answered with a signed error where we know whom we speak with, remembered, and costs bounded memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography import x509

from accesspoint.ebms import PartInfo, Signal
from accesspoint.errors import OTHER, EbmsError, SoapFault
from accesspoint.inbound import Accepted, Receiver
from accesspoint.pmode import PMode
from accesspoint.receipts import receipt_xml
from accesspoint.references import Reference
from accesspoint.server import Answer
from accesspoint.signals import fault_envelope
from accesspoint.soap import Envelope
from accesspoint.tokens import fingerprint
from core import failpoint
from core.asking import Kernel, Sink, Staging
from core.clock import SECOND
from core.config import Configuration
from core.errors import Invalid, NotAllowed, Overloaded, TooLarge
from core.parcel import Item, Judgement, Key, Parcel, Payload
from gateways.as4.callbacks import Callbacks
from gateways.as4.mapping import description, facts, media_type, payload_name
from gateways.as4.partners import Neighbour, Partners, scope_of
from gateways.as4.speaking import Speaker
from gateways.as4.workers import Workers

SMALL: Final = 256 * 1024
"""Bodies up to this size are received in one hop to a thread."""
IN_PLACE: Final = 128 * 1024
"""Bodies up to this size hold no payload that becomes a file, and are judged without a thread where cores are few."""
_BATCH: Final = 512 * 1024
_PREFIX: Final = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the thread found: the item for the kernel (None for a ping) and the receipt for it."""

    accepted: Accepted
    neighbour: Neighbour
    item: Item | None
    receipt: bytes


class Body(Protocol):
    """What a message is read from: a request, or the answer to a pull."""

    content_type: str
    content_length: int | None
    peer: str

    def chunks(self) -> AsyncIterator[bytes]:
        """The octets as they come."""
        ...


@dataclass(frozen=True, slots=True)
class Said:
    """A signal that came instead of a message: to be judged by whoever it is for."""

    signal: Signal
    envelope: Envelope
    octets: bytes


@dataclass(frozen=True, slots=True)
class Taken:
    """What a message comes to: the ``answer`` to whoever posted it, and for whoever pulled it the signal about it and whether
    it is new here."""

    answer: Answer
    about: bytes = b""
    new: bool = False


class Reception:
    """Takes what comes in. ``partners`` and ``configuration`` give the current ones."""

    def __init__(
        self,
        kernel: Kernel,
        partners: Callable[[], Partners],
        configuration: Callable[[], Configuration],
        speaker: Speaker,
        callbacks: Callbacks,
        workers: Workers,
    ) -> None:
        self._kernel, self._workers = kernel, workers
        self._speaker, self._callbacks = speaker, callbacks
        self._partners, self._configuration = partners, configuration

    async def receive(self, incoming: Body) -> Taken | Said:
        """What a message comes to, or the signal that came instead. Raises `HttpRefusal` for what is no exchange at all."""
        try:
            staging = self._kernel.stage(size_limit=1 << 62)
        except Overloaded as error:
            return Taken(_later(error))
        reception = _Message(
            self._kernel, staging, self._partners(), self._configuration(), self._speaker, incoming.peer
        )
        try:
            return await self._receive(reception, incoming)
        except EbmsError as error:
            staging.abort()
            return await self._refuse(reception, error, incoming)
        except SoapFault as fault:
            staging.abort()
            facts = {"cause": fault.reason, "peer": incoming.peer}
            await self._kernel.refusal(f"fault from {incoming.peer}", f"SOAP {fault.code}", facts)
            return Taken(Answer(500, fault_envelope(fault)))
        except Overloaded as error:
            staging.abort()
            return Taken(_later(error))
        except BaseException:  # cancelled or a bug: nothing half-made stays
            staging.abort()
            raise

    async def _receive(self, reception: _Message, incoming: Body) -> Taken | Said:
        reception.begin(incoming.content_type)
        held = bytearray()
        whole = incoming.content_length is not None and incoming.content_length <= SMALL
        async for chunk in incoming.chunks():
            held += chunk
            if len(held) >= _BATCH or (not whole and len(held) > SMALL):
                octets, held = bytes(held), bytearray()
                await self._workers.large(reception.feed, octets)
                failpoint.reach("mid-message")
        run = self._workers.small if whole and len(held) <= IN_PLACE else self._workers.large
        judged = await run(reception.finish, bytes(held))
        if isinstance(judged, Said):
            reception.forget()
            return judged
        return await self._accept(reception, judged)

    async def _accept(self, reception: _Message, judged: _Judged) -> Taken:
        if judged.item is None:
            reception.forget()
            return self._acknowledged(judged, judged.receipt)
        failpoint.reach("before-accept")
        try:
            (acceptance,) = await self._kernel.accept(judged.item)
        except (Invalid, NotAllowed, TooLarge) as error:
            remedy = "have the receiver change that agreement or limit, or send what it allows"
            raise _error(judged, str(error), remedy) from None
        failpoint.reach("before-answer")
        if acceptance.judgement is Judgement.NEW:
            return self._acknowledged(judged, judged.receipt, new=True)
        if acceptance.judgement is Judgement.CONFLICT:
            cause = "was used before for a message with other content"
            raise _error(judged, cause, "give every new message a new MessageId", field="MessageInfo/MessageId")
        if acceptance.answer[:_PREFIX] == judged.item.answer[:_PREFIX]:
            return self._acknowledged(judged, acceptance.answer[_PREFIX:])
        assert judged.item.key is not None
        await self._kernel.answer_again(judged.item.key, judged.item.answer)
        return self._acknowledged(judged, judged.receipt)

    def _acknowledged(self, judged: _Judged, receipt: bytes, *, new: bool = False) -> Taken:
        """The receipt as the answer, or on its own where the agreement says so."""
        if judged.neighbour.partner.reply_pattern == "callback":
            self._callbacks.post(judged.neighbour, receipt)
            return Taken(Answer(202), new=new)
        return Taken(Answer(200, receipt), receipt, new)

    async def _refuse(self, reception: _Message, error: EbmsError, incoming: Body) -> Taken:
        """Remember why, and answer with a signed error."""
        message = reception.receiver.message if reception.receiver else None
        if message is not None:
            error.ref_to_message_id = error.ref_to_message_id or message.message_id
        reference = error.ref_to_message_id or f"message from {incoming.peer}"
        facts = {"field": error.field, "cause": error.cause, "remedy": error.remedy, "peer": incoming.peer}
        if message is not None:
            facts["from"] = str(message.from_.id)
        await self._kernel.refusal(reference, error.error.code, facts)
        signal = await self._workers.small(reception.error, error)
        return Taken(Answer(200, signal), signal if message is not None else b"")


def _later(error: Overloaded) -> Answer:
    wait = str(max(1, error.retry_after // SECOND))
    return Answer(503, b"Try again later.\n", "text/plain", {"Retry-After": wait})


def _error(judged: _Judged, cause: str, remedy: str, *, field: str = "message") -> EbmsError:
    return EbmsError(
        OTHER, field=field, cause=cause, remedy=remedy, ref_to_message_id=judged.accepted.message.message_id
    )


class _Message:
    """One message while it comes in. Everything but the constructor, `begin` and `forget` blocks and runs in a thread."""

    def __init__(
        self,
        kernel: Kernel,
        staging: Staging,
        partners: Partners,
        configuration: Configuration,
        speaker: Speaker,
        peer: str,
    ) -> None:
        self._kernel, self._staging, self._partners = kernel, staging, partners
        self._configuration, self._speaker, self._peer = configuration, speaker, peer
        self.receiver: Receiver | None = None
        self._sinks: dict[PartInfo, Sink] = {}

    def begin(self, content_type: str) -> None:
        """Open the receiver. Raises `HttpRefusal` for a media type that is no message."""
        self.receiver = Receiver(content_type, self._partners, self._new_sink)

    def _new_sink(self, info: PartInfo, _pmode: PMode) -> Sink:
        sink = self._sinks[info] = self._staging.sink()
        return sink

    def forget(self) -> None:
        """Nothing of it is kept: a ping's payloads are nobody's."""
        self._staging.abort()

    def feed(self, octets: bytes) -> None:
        """The next octets."""
        assert self.receiver is not None
        self.receiver.feed(octets)

    def finish(self, octets: bytes) -> _Judged | Said:
        """The last octets: judge, make payloads durable, put the item and its receipt together."""
        receiver = self.receiver
        assert receiver is not None
        if octets:
            receiver.feed(octets)
        said = receiver.finish()
        if not isinstance(said, Accepted):
            assert receiver.envelope is not None
            return Said(said, receiver.envelope, receiver.root)
        neighbour = self._partners.of(said.pmode)
        receipt = self._speaker.signal(neighbour, receipt_xml(said.references), said.message.message_id)
        item = None if said.message.is_test else self._item(said, neighbour, receipt)
        return _Judged(said, neighbour, item, receipt)

    def _item(self, said: Accepted, neighbour: Neighbour, receipt: bytes) -> Item:
        exchange = neighbour.by_pmode[said.pmode.id]
        integration = self._configuration.all("integration")[exchange.integration]
        names = [payload_name(part.info, index) for index, part in enumerate(said.parts)]
        expected = tuple(Payload(n, media_type(p), p.size, p.sha256) for n, p in zip(names, said.parts, strict=True))
        # Before anything is durable: a header that the kernel does not take is refused, and leaves nothing.
        described = description(said, neighbour.partner, exchange, integration, expected)
        payloads = tuple(
            self._sinks[part.info].finish(name=name, media_type=media_type(part))
            for name, part in zip(names, said.parts, strict=True)
        )
        parcel = Parcel(
            self._staging.parcel_id,
            neighbour.partner.system,
            exchange.integration,
            described,
            payloads,
            self._kernel.clock.now(),
            self._staging.key_id,
            self._staging.wrapped_key,
            self._configuration.number,
        )
        key = Key(scope_of(neighbour.partner.id), said.message.message_id)
        answer = _mark(said.references, neighbour.signing.certificate) + receipt
        return Item(parcel, key, said.fingerprint(), answer, dict(facts(said, self._peer)))

    def error(self, error: EbmsError) -> bytes:
        """A signed error signal, or an unsigned one for somebody we do not know."""
        receiver = self.receiver
        pmode = receiver.pmode if receiver else None
        message = receiver.message if receiver else None
        neighbour = (
            self._partners.of(pmode) if pmode else self._partners.signing_for(message.to.id if message else None)
        )
        return self._speaker.error(neighbour, error)


def _mark(references: tuple[Reference, ...], certificate: x509.Certificate) -> bytes:
    """What tells the same signed octets, to be answered under the same certificate of ours, from everything else."""
    told = (sorted(str(r.key()) for r in references), fingerprint(certificate))
    return hashlib.sha256(repr(told).encode()).digest()
