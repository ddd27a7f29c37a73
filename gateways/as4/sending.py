"""One attempt: prepare, build, freeze, post, judge [design of the AS4 wire].

Rules:

1. Compress, then hash; small parts stay in memory and in the frozen wire, large ones become kept objects, and a payload that gzip
   cannot make smaller is sent from where it lies.
2. Freeze before the first octet leaves. Every later attempt sends the frozen octets; nothing is prepared or signed again. Only
   when the partner's encryption certificate has changed is the encryption layer made anew, and frozen again.
3. Encrypt while sending: ciphertext is in no digest, so it is never stored.
4. Only a signed receipt that repeats every digest settles; an authenticated error refuses; everything else is "try again".
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256

from accesspoint import names
from accesspoint.client import Client, Response, Unreachable
from accesspoint.compression import Compressor, worth_compressing
from accesspoint.compression import compress as compress_whole
from accesspoint.errors import EbmsError, RemoteError, SoapFault
from accesspoint.outbound import Message, Part, build, judge_answer, new_cid
from accesspoint.pmode import PMode
from accesspoint.reencryption import reencrypt
from accesspoint.wss import AttachmentDigest
from core import failpoint, limits
from core.clock import SECOND
from core.delivery import Delivery, Frozen
from core.gateway import Kernel, Outcome
from core.keys import seal, unseal
from core.parcel import Parcel, Payload
from core.receipt import Level, Receipt, Verdict
from gateways.as4.mapping import part_properties, user_message
from gateways.as4.partners import Neighbour, Partners, signer
from gateways.as4.workers import Workers

SMALL: Final = 64 * 1024
"""Payload octets up to which a message is prepared in one go."""
_PIECE: Final = 256 * 1024
_RENEWED: Final = "the partner's encryption certificate has changed: encrypted anew, signed octets unchanged"
_HAVE_IT: Final = "they answer that they have this message already, which their agreement says counts as a receipt"
_FINAL: Final = frozenset({"EBMS:0001", "EBMS:0003", "EBMS:0007", "EBMS:0008", "EBMS:0009", "EBMS:0010", "EBMS:0011"})
"""Authenticated errors about what we sent: sending the same octets again cannot help."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """One part ready to be sent: its octets in memory, or a kept object, or (neither) the payload itself."""

    part: Part
    octets: bytes | None = None
    object_id: str | None = None


@dataclass(frozen=True, slots=True)
class Wire:
    """A frozen message with where its parts' octets are."""

    message: Message
    parts: tuple[tuple[bytes | None, str | None], ...]
    encrypted_for: bytes = b""
    """SHA-256 of the certificate it is encrypted for; b"" when nothing is encrypted."""

    def to_bytes(self) -> bytes:
        """For `Frozen.wire`, before sealing."""
        message = self.message.to_bytes()
        pieces = [struct.pack(">IH", len(message), len(self.parts)), message]
        for octets, object_id in self.parts:
            body = octets if octets is not None else (object_id or "").encode()
            pieces += [struct.pack(">BI", 0 if octets is not None else 1, len(body)), body]
        return b"".join([*pieces, self.encrypted_for])

    @classmethod
    def from_bytes(cls, data: bytes) -> Wire:
        """The inverse of `to_bytes`."""
        size, count = struct.unpack_from(">IH", data)
        at = 6 + size
        message = Message.from_bytes(data[6:at])
        parts: list[tuple[bytes | None, str | None]] = []
        for _ in range(count):
            kind, length = struct.unpack_from(">BI", data, at)
            body = data[at + 5 : at + 5 + length]
            parts.append((body, None) if kind == 0 else (None, body.decode() or None))
            at += 5 + length
        return cls(message, tuple(parts), data[at:])


class Sender:
    """Sends deliveries to partners. ``partners`` gives the current ones."""

    def __init__(self, kernel: Kernel, client: Client, partners: Callable[[], Partners], workers: Workers) -> None:
        self._kernel, self._client, self._partners, self._workers = kernel, client, partners, workers

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
        run = self._workers.small if sum(p.size for p in parcel.payloads) <= SMALL else self._workers.large
        kept = await self._kernel.frozen(delivery.id) if delivery.attempts > 1 else None
        if kept is None:
            try:
                wire, frozen = await run(self._make, delivery, parcel, neighbour, pmode)
            except (EbmsError, ValueError) as error:
                return Outcome(refused=True, code="cannot-be-sent", reason=str(error))
            facts = {"message": wire.message.message_id, "parts": str(len(wire.parts)), "partner": pmode.partner}
            await self._kernel.freeze(delivery, frozen, facts)
        else:
            frozen = kept
            opened = unseal(self._kernel.data_key(parcel), kept.wire, delivery.id.encode())
            wire = Wire.from_bytes(opened)
            if wire.encrypted_for and wire.encrypted_for != _encryption(pmode)[1]:
                wire, frozen = await self._workers.small(self._renew, delivery, parcel, pmode, wire, kept)
                facts = {"message": wire.message.message_id, "partner": pmode.partner, "cause": _RENEWED}
                await self._kernel.freeze(delivery, frozen, facts)
        return await self._post(delivery, parcel, neighbour, pmode, wire, frozen)

    # -- preparing

    def _make(self, delivery: Delivery, parcel: Parcel, neighbour: Neighbour, pmode: PMode) -> tuple[Wire, Frozen]:
        """Prepare, build and seal; blocking."""
        prepared = [self._prepare(parcel, payload, pmode) for payload in parcel.payloads]
        message_id = f"{new_cid().partition('@')[0]}.{delivery.id}@{neighbour.party.message_id_domain}"
        header = user_message(parcel, neighbour.partner, pmode, message_id, self._kernel.clock.now())
        message = build(
            pmode, header, [p.part for p in prepared], neighbour.signing.certificate, signer(neighbour.signing)
        )
        encrypted_for = _encryption(pmode)[1] if message.key else b""
        wire = Wire(message, tuple((p.octets, p.object_id) for p in prepared), encrypted_for)
        sealed = seal(self._kernel.data_key(parcel), wire.to_bytes(), delivery.id.encode())
        objects = tuple(p.object_id for p in prepared if p.object_id)
        return wire, Frozen(delivery.id, (message_id,), sealed, objects, self._kernel.clock.now())

    def _renew(self, delivery: Delivery, parcel: Parcel, pmode: PMode, wire: Wire, kept: Frozen) -> tuple[Wire, Frozen]:
        """The same signed octets, encrypted for the partner's certificate of today."""
        certificate, digest = _encryption(pmode)
        renewed = replace(wire, message=reencrypt(wire.message, certificate, pmode.key_reference), encrypted_for=digest)
        sealed = seal(self._kernel.data_key(parcel), renewed.to_bytes(), delivery.id.encode())
        return renewed, replace(kept, wire=sealed, at=self._kernel.clock.now())

    def _prepare(self, parcel: Parcel, payload: Payload, pmode: PMode) -> Prepared:
        compress = pmode.compress and worth_compressing(payload.media_type)
        small = payload.size <= limits.INLINE_PAYLOAD
        if not compress or (not small and self._is_dense(parcel, payload)):
            return self._as_it_is(parcel, payload)
        keeper = None if small else self._kernel.keep(parcel)
        stream, digest, length = Compressor(), hashlib.sha256(), 0
        held: list[bytes] = []
        try:
            for octets in self._compressed(stream, parcel, payload):
                digest.update(octets)
                length += len(octets)
                held.append(octets) if keeper is None else keeper.write(octets)
            if keeper is not None:
                keeper.commit()
        except BaseException:  # cancelled or damaged: nothing half-made stays
            if keeper is not None:
                keeper.abort()
            raise
        part = Part(new_cid(), payload.media_type, True, length, digest.digest(), part_properties(payload))
        return Prepared(part, b"".join(held)) if keeper is None else Prepared(part, None, keeper.object_id)

    def _is_dense(self, parcel: Parcel, payload: Payload) -> bool:
        """Whether gzip gains nothing on the first piece of a large payload. Text and XML are compressed whatever it gains."""
        if _is_rewritten(payload.media_type):
            return False
        first = next(self._kernel.read_now(parcel, payload))[:_PIECE]
        return len(compress_whole(first)) > len(first) * 0.98

    def _compressed(self, stream: Compressor, parcel: Parcel, payload: Payload) -> Iterator[bytes]:
        for chunk in self._kernel.read_now(parcel, payload):
            view = memoryview(chunk)
            for start in range(0, len(view), _PIECE):
                yield stream.feed(view[start : start + _PIECE])
        yield stream.finish()

    def _as_it_is(self, parcel: Parcel, payload: Payload) -> Prepared:
        """A payload sent uncompressed: its digest is over its own octets, except for text and XML."""
        digest = payload.sha256
        if _is_rewritten(payload.media_type):
            own = AttachmentDigest(names.SHA256, payload.media_type)
            for chunk in self._kernel.read_now(parcel, payload):
                own.update(chunk)
            digest = own.digest()
        return Prepared(Part(new_cid(), payload.media_type, False, payload.size, digest, part_properties(payload)))

    # -- posting

    async def _post(
        self, delivery: Delivery, parcel: Parcel, neighbour: Neighbour, pmode: PMode, wire: Wire, frozen: Frozen
    ) -> Outcome:
        failpoint.reach("before-post")
        try:
            try:
                response = await self._once(parcel, neighbour, wire)
            except Unreachable as error:
                if not error.stale:
                    raise
                response = await self._once(parcel, neighbour, wire)  # a kept connection the peer had closed
        except Unreachable as error:
            return Outcome(code=error.word, reason=f"{neighbour.partner.url}: {error.detail}", spent=frozen.objects)
        failpoint.reach("after-answer")
        return await self._workers.small(self._judge, delivery, pmode, wire, response, frozen.objects)

    async def _once(self, parcel: Parcel, neighbour: Neighbour, wire: Wire) -> Response:
        small = [octets for octets, _ in wire.parts if octets is not None]
        body: bytes | AsyncIterator[bytes]
        if len(small) == len(wire.parts):
            body = wire.message.whole(small)
        else:
            body = self._octets(parcel, wire)
        message = wire.message
        return await self._client.post(
            neighbour.partner.url,
            message.content_type,
            body,
            length=message.length,
            tls=neighbour.tls,
            answer_within=neighbour.partner.answer_within,
        )

    async def _octets(self, parcel: Parcel, wire: Wire) -> AsyncIterator[bytes]:
        """The body of a large message, piece by piece, read and encrypted in a thread."""
        pieces = self._pieces(parcel, wire)
        while (octets := await self._workers.large(next, pieces, None)) is not None:
            yield octets

    def _pieces(self, parcel: Parcel, wire: Wire) -> Iterator[bytes]:
        yield wire.message.start()
        for index, (octets, object_id) in enumerate(wire.parts):
            writer = wire.message.part(index)
            yield writer.head
            failpoint.reach("mid-body")
            if octets is not None:
                yield writer.update(octets)
            elif object_id is not None:
                for chunk in self._kernel.kept(parcel, object_id):
                    yield writer.update(chunk)
            else:
                for chunk in self._kernel.read_now(parcel, parcel.payloads[index]):
                    yield writer.update(chunk)
            yield writer.finish()
        yield wire.message.end()

    # -- judging

    def _judge(
        self, delivery: Delivery, pmode: PMode, wire: Wire, response: Response, spent: tuple[str, ...]
    ) -> Outcome:
        """What the answer proves; blocking (it verifies a signature)."""
        wait = response.retry_after * SECOND if response.retry_after is not None else None
        trust = self._partners().trust(pmode)
        try:
            proof = judge_answer(wire.message, pmode, trust, response.status, response.content_type, response.body)
        except RemoteError as error:
            neighbour = self._partners().of(pmode)
            if neighbour.partner.answers_duplicates == "error" and delivery.attempts > 1 and is_duplicate(error):
                receipt = self._receipt(delivery, wire, response.body)
                return Outcome(receipt=receipt, note={"cause": _HAVE_IT}, spent=spent)
            return _refused(error, wait, spent)
        except (EbmsError, SoapFault) as error:
            code = error.error.code if isinstance(error, EbmsError) else f"SOAP {error.code}"
            return Outcome(code=code, reason=str(error), retry_after=wait, spent=spent)
        return Outcome(
            receipt=self._receipt(delivery, wire, proof.raw), note={"receipt": proof.message_id}, spent=spent
        )

    def _receipt(self, delivery: Delivery, wire: Wire, raw: bytes) -> Receipt:
        return Receipt(
            delivery.id,
            Level.TRANSPORT,
            Verdict.ACCEPTED,
            self._kernel.clock.now(),
            raw,
            outside_id=wire.message.message_id,
            digest=hashlib.sha256(raw).digest(),
        )


def _encryption(pmode: PMode) -> tuple[x509.Certificate, bytes]:
    """The certificate the partner is encrypted for now, and its SHA-256."""
    certificate = pmode.their_encryption_certificate
    assert certificate is not None  # the partner's file demands one
    return certificate, certificate.fingerprint(SHA256())


def _is_rewritten(media_type: str) -> bool:
    """Whether an uncompressed part of this type is not digested octet for octet: text (line ends) and XML (canonical form)."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind.endswith(("+xml", "/xml"))


def is_duplicate(error: RemoteError) -> bool:
    """Whether a signed error says nothing but that they have this message already."""
    return error.authenticated and all(
        e.code == "EBMS:4001" or (e.code == "EBMS:0004" and "already" in f"{e.description} {e.detail}".lower())
        for e in error.errors
    )


def _refused(error: RemoteError, wait: int | None, spent: tuple[str, ...]) -> Outcome:
    """An error signal: final only when it is authenticated and about what we sent."""
    failures = [e for e in error.errors if e.severity == "failure"]
    first = (failures or list(error.errors))[0]
    reason = f"they say: {first.short_description}: {first.description or first.detail}"
    if not error.authenticated:
        reason += " (not signed by them, so it is not believed; trying again)"
    final = error.authenticated and bool(failures) and first.code in _FINAL
    return Outcome(refused=final, code=first.code, reason=reason, retry_after=wait, spent=spent)
