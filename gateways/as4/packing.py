"""From a parcel to a frozen message, and from a frozen message to the octets on the wire [design of the AS4 wire].

Rules:

1. Compress, then hash; parts that are small, or come out small, stay in memory and in the frozen wire, large ones become kept
   objects, and a payload that gzip cannot make smaller is sent from where it lies.
2. Freeze before the first octet leaves. Every later attempt sends the frozen octets; nothing is prepared or signed again. Only
   the encryption layer is made anew, when the partner's certificate has changed.
3. Encrypt while sending: ciphertext is in no digest, so it is never stored.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import AsyncGenerator, Iterator
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509

from accesspoint import names
from accesspoint.compression import Compressor, worth_compressing
from accesspoint.compression import compress as compress_whole
from accesspoint.errors import PROCESSING_MODE_MISMATCH, EbmsError
from accesspoint.outbound import Message, Part, build, new_cid
from accesspoint.pmode import PMode
from accesspoint.reencryption import reencrypt
from accesspoint.sbdh import Header, HeaderReader, content_ids
from accesspoint.tokens import fingerprint
from accesspoint.wss import AttachmentDigest
from core import failpoint, limits
from core.asking import Keeper, Kernel
from core.delivery import Delivery, Frozen
from core.keys import seal, unseal
from core.parcel import Parcel, Payload
from gateways.as4.mapping import community_properties, part_properties, user_message
from gateways.as4.partners import Neighbour, signer
from gateways.as4.workers import Workers

SMALL: Final = 128 * 1024
"""Payload octets up to which a message is prepared in one go."""
_PIECE: Final = 256 * 1024
_DOUBTED: Final = "they answered with an error: that they have it already will not count as a receipt"
_RENEWED: Final = "the partner's encryption certificate has changed: encrypted anew, signed octets unchanged"


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
    doubted: bool = False
    """They have answered an error to it: they may know its id and yet not have it."""

    def to_bytes(self) -> bytes:
        """For `Frozen.wire`, before sealing."""
        message = self.message.to_bytes()
        pieces = [struct.pack(">IH", len(message), len(self.parts)), message]
        for octets, object_id in self.parts:
            body = octets if octets is not None else (object_id or "").encode()
            pieces += [struct.pack(">BI", 0 if octets is not None else 1, len(body)), body]
        return b"".join([*pieces, self.encrypted_for, b"\x01" if self.doubted else b""])

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
        size = (len(data) - at) // 32 * 32
        return cls(message, tuple(parts), data[at : at + size], len(data) > at + size)


@dataclass(frozen=True, slots=True)
class Packed:
    """A message ready to be sent; ``again`` when it was made for an earlier attempt."""

    wire: Wire
    frozen: Frozen
    again: bool


class Packer:
    """Makes messages of parcels for partners. Raises `EbmsError` and `ValueError` for what cannot be written into a header."""

    def __init__(self, kernel: Kernel, workers: Workers) -> None:
        self._kernel, self._workers = kernel, workers

    async def pack(self, delivery: Delivery, parcel: Parcel, neighbour: Neighbour, pmode: PMode) -> Packed:
        """The message of a delivery, frozen: made now, or as it was made for an earlier attempt."""
        kept = await self._kernel.frozen(delivery.id) if delivery.attempts > 1 else None
        if kept is None:
            run = self._workers.small if sum(p.size for p in parcel.payloads) <= SMALL else self._workers.large
            wire, frozen = await run(self._make, delivery, parcel, neighbour, pmode)
            facts = {"message": wire.message.message_id, "parts": str(len(wire.parts)), "partner": pmode.partner}
            await self._kernel.freeze(delivery, frozen, facts)
            return Packed(wire, frozen, False)
        wire, frozen = self.thaw(parcel, kept), kept
        if wire.encrypted_for and wire.encrypted_for != _encryption(pmode)[1]:
            wire, frozen = await self._workers.small(self._renew, delivery, parcel, pmode, wire, kept)
            facts = {"message": wire.message.message_id, "partner": pmode.partner, "cause": _RENEWED}
            await self._kernel.freeze(delivery, frozen, facts)
        return Packed(wire, frozen, True)

    async def doubt(self, delivery: Delivery, parcel: Parcel, packed: Packed, pmode: PMode) -> None:
        """Remember with the frozen message that they have answered an error to it."""
        sealed = self._sealed(delivery, parcel, replace(packed.wire, doubted=True))
        facts = {"message": packed.wire.message.message_id, "partner": pmode.partner, "cause": _DOUBTED}
        frozen = replace(packed.frozen, wire=sealed, at=self._kernel.clock.now())
        await self._kernel.freeze(delivery, frozen, facts)

    def thaw(self, parcel: Parcel, frozen: Frozen) -> Wire:
        """A frozen message as it was made."""
        return Wire.from_bytes(unseal(self._kernel.data_key(parcel), frozen.wire, frozen.delivery_id.encode()))

    def body(self, parcel: Parcel, wire: Wire) -> bytes | AsyncGenerator[bytes, None]:
        """The octets of a message: whole where all of it is in memory, else piece by piece."""
        small = [octets for octets, _ in wire.parts if octets is not None]
        return wire.message.whole(small) if len(small) == len(wire.parts) else self._octets(parcel, wire)

    def _make(self, delivery: Delivery, parcel: Parcel, neighbour: Neighbour, pmode: PMode) -> tuple[Wire, Frozen]:
        """Prepare, build and seal; blocking."""
        document = self._document(parcel, pmode)
        cids = part_ids(len(parcel.payloads), document)
        prepared = [
            self._prepare(parcel, payload, pmode, cid) for payload, cid in zip(parcel.payloads, cids, strict=True)
        ]
        # The id that sorts by time goes first, so that what is new lies together in both sides' indexes.
        message_id = f"{delivery.id}.{new_cid().partition('@')[0]}@{neighbour.party.message_id_domain}"
        header = user_message(parcel, neighbour.partner, pmode, message_id, self._kernel.clock.now(), document)
        message = build(
            pmode,
            header,
            [p.part for p in prepared],
            neighbour.signing.certificate,
            signer(neighbour.signing),
            header=document,
        )
        encrypted_for = _encryption(pmode)[1] if message.key else b""
        wire = Wire(message, tuple((p.octets, p.object_id) for p in prepared), encrypted_for)
        sealed = self._sealed(delivery, parcel, wire)
        objects = tuple(p.object_id for p in prepared if p.object_id)
        return wire, Frozen(delivery.id, (message_id,), sealed, objects, self._kernel.clock.now())

    def _renew(self, delivery: Delivery, parcel: Parcel, pmode: PMode, wire: Wire, kept: Frozen) -> tuple[Wire, Frozen]:
        """The same signed octets, encrypted for the partner's certificate of today."""
        certificate, digest = _encryption(pmode)
        renewed = replace(wire, message=reencrypt(wire.message, certificate, pmode.key_reference), encrypted_for=digest)
        return renewed, replace(kept, wire=self._sealed(delivery, parcel, renewed), at=self._kernel.clock.now())

    def _sealed(self, delivery: Delivery, parcel: Parcel, wire: Wire) -> bytes:
        return seal(self._kernel.data_key(parcel), wire.to_bytes(), delivery.id.encode())

    def _document(self, parcel: Parcel, pmode: PMode) -> Header | None:
        """The business document header of the first payload, where the profile demands one. Raises 0010, and for a payload that
        is larger than the profile allows."""
        demands = pmode.profile.demands
        if demands.payload_size and any(payload.size > demands.payload_size for payload in parcel.payloads):
            cause = f"larger than {demands.payload_size} octets, which {pmode.profile.name} allows"
            raise EbmsError(PROCESSING_MODE_MISMATCH, field="payload", cause=cause)
        if not demands.envelope or not parcel.payloads:
            return None
        reader = HeaderReader()
        for chunk in self._kernel.read_now(parcel, parcel.payloads[0]):
            reader.feed(chunk)
            if reader.done:
                break
        return reader.header()

    def _prepare(self, parcel: Parcel, payload: Payload, pmode: PMode, cid: str) -> Prepared:
        demanded = pmode.profile.demands.compressed
        compress = demanded or (pmode.compress and worth_compressing(payload.media_type))
        small = payload.size <= limits.INLINE_PAYLOAD
        sparse = small or demanded or not self._is_dense(parcel, payload)
        if not (compress and sparse):
            return self._as_it_is(parcel, payload, pmode, cid)
        keeper: Keeper | None = None
        stream, digest, length = Compressor(), hashlib.sha256(), 0
        held: list[bytes] = []
        try:
            for octets in self._compressed(stream, parcel, payload):
                digest.update(octets)
                length += len(octets)
                if keeper is None and not small and length > limits.INLINE_PAYLOAD:
                    keeper = self._kernel.keep(parcel)
                    keeper.write(b"".join(held))
                held.append(octets) if keeper is None else keeper.write(octets)
            if keeper is not None:
                keeper.commit()
        except BaseException:  # cancelled or damaged: nothing half-made stays
            if keeper is not None:
                keeper.abort()
            raise
        properties = (*part_properties(payload), *community_properties(parcel, pmode))
        part = Part(cid, payload.media_type, True, length, digest.digest(), properties)
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

    def _as_it_is(self, parcel: Parcel, payload: Payload, pmode: PMode, cid: str) -> Prepared:
        """A payload sent uncompressed: its digest is over its own octets, except for text and XML."""
        digest = payload.sha256
        if _is_rewritten(payload.media_type):
            own = AttachmentDigest(names.SHA256, payload.media_type)
            for chunk in self._kernel.read_now(parcel, payload):
                own.update(chunk)
            digest = own.digest()
        properties = (*part_properties(payload), *community_properties(parcel, pmode))
        return Prepared(Part(cid, payload.media_type, False, payload.size, digest, properties))

    async def _octets(self, parcel: Parcel, wire: Wire) -> AsyncGenerator[bytes, None]:
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


def part_ids(count: int, document: Header | None) -> list[str]:
    """The Content-IDs of so many payloads: ours, except that those behind a business document header are called what its Manifest
    calls them, in its order."""
    listed = content_ids(document) if document is not None else ()
    return [new_cid(), *listed[: count - 1], *(new_cid() for _ in range(count - 1 - len(listed)))][:count]


def _encryption(pmode: PMode) -> tuple[x509.Certificate, bytes]:
    """The certificate the partner is encrypted for now, and its SHA-256."""
    certificate = pmode.their_encryption_certificate
    assert certificate is not None  # the partner's file demands one
    return certificate, fingerprint(certificate)


def _is_rewritten(media_type: str) -> bool:
    """Whether an uncompressed part of this type is not digested octet for octet: text (line ends) and XML (canonical form)."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind.startswith("text/") or kind.endswith(("+xml", "/xml"))
