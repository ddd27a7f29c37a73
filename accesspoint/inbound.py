"""Receiving: from octets as they come to a judged message, in one pass.

Rules:

1. Everything that the root part alone can decide (shape, P-Mode, signature value, trust, digests of Messaging and Body, what is
   encrypted for whom) is decided before the first attachment octet is looked at.
2. Then decrypt → hash → decompress, piece by piece. What fails on the way is held back until the tag is known: precedence 0102,
   0101, 0303, so that a changed ciphertext never shows as a gzip error; last is a business document header that does not fit.
3. Plain octets are handed to sinks that nobody can see into before `finish` has returned; `finish` raises or gives `Accepted`.
4. `Accepted` is built only from what the signature was found to cover.
5. Every refusal is a catalogued `EbmsError`, a `SoapFault` or an `HttpRefusal`; anything else is a bug.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography import x509

from accesspoint import limits, mime, sbdh
from accesspoint.compression import Decompressor
from accesspoint.ebms import PartInfo, Signal, UserMessage, parse_messaging
from accesspoint.errors import (
    EXTERNAL_PAYLOAD_ERROR,
    FAILED_DECRYPTION,
    FEATURE_NOT_SUPPORTED,
    INVALID_HEADER,
    MIME_INCONSISTENCY,
    POLICY_NONCOMPLIANCE,
    VALUE_INCONSISTENT,
    EbmsError,
)
from accesspoint.names import CHARACTER_SET, COMPRESSION_TYPE, GZIP, MIME_TYPE
from accesspoint.pmode import PMode, check_header, check_served, check_subject, select
from accesspoint.references import Reference
from accesspoint.soap import Envelope, parse_envelope
from accesspoint.tokens import candidates, is_token, parse_key_info
from accesspoint.wss import AttachmentDigest, Trust, Verified, check_attachments, verify
from accesspoint.xmlenc import KEY_SIZES, DecryptionKey, Encryption, PartDecryptor, parse_encryption, unwrap_key

_CHARSET: Final = re.compile(r"^[A-Za-z][A-Za-z0-9._-]*$")


class Sink(Protocol):
    """Takes the plain octets of one payload; the caller's (a file, a buffer)."""

    def write(self, data: bytes) -> None:
        """The next octets."""
        ...


class Agreements(Protocol):
    """What the receiving side knows about its partners."""

    def pmodes(self) -> Sequence[PMode]:
        """All P-Modes that may receive."""
        ...

    def trust(self, pmode: PMode) -> Trust:
        """Which certificates are believed for this partner now."""
        ...

    def decryption_keys(self, pmode: PMode) -> Sequence[tuple[x509.Certificate, DecryptionKey]]:
        """Our certificates and keys that partners may encrypt for."""
        ...


@dataclass(frozen=True, slots=True)
class ReceivedPart:
    """One payload as accepted: its PartInfo, the media type before compression, plain size and SHA-256, and its sink."""

    info: PartInfo
    media_type: str
    size: int
    sha256: bytes
    sink: Sink


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message whose every octet the signature covers, decrypted, digested and decompressed without fault."""

    message: UserMessage
    pmode: PMode
    certificate: x509.Certificate | None
    references: tuple[Reference, ...]
    parts: tuple[ReceivedPart, ...]
    algorithms: Mapping[str, str]

    def fingerprint(self) -> bytes:
        """What makes a repetition the same message: the business header and the plain payloads, not what a stack signs afresh.

        SHA-256 over parties, roles, agreement, service, action, conversation, reference, properties, and per part its properties
        and digest. Timestamp, ids of elements, keys and IVs are left out.
        """
        m = self.message
        facts = (
            (m.from_, m.to, m.agreement, m.service, m.action, m.conversation_id, m.ref_to_message_id, m.mpc),
            sorted((p.name, p.value, p.type or "") for p in m.properties),
            [(sorted((q.name, q.value) for q in p.info.properties), p.size, p.sha256.hex()) for p in self.parts],
        )
        return hashlib.sha256(repr(facts).encode()).digest()


class _Part:
    """One payload on its way: decrypt, hash, decompress, sink. Faults are held until `finish`."""

    def __init__(
        self,
        info: PartInfo,
        media_type: str,
        key: tuple[bytes, str] | None,
        reference: Reference | None,
        pmode: PMode,
        sink: Sink,
        *,
        begins: bool,
    ) -> None:
        self.info, self.sink = info, sink
        self.plain_type = info.get(MIME_TYPE) or media_type
        wire_type = key[1] if key else media_type
        self._decryptor = PartDecryptor(key[0]) if key else None
        self._digest = AttachmentDigest(reference.digest_algorithm, wire_type) if reference else None
        self._gunzip = Decompressor(pmode.max_size) if info.get(COMPRESSION_TYPE) else None
        self._plain = hashlib.sha256()
        self._limit, self.size = pmode.max_size, 0
        self._left = self._limit + self._limit // 100 + limits.PART_OVERHEAD
        self._undigested: EbmsError | None = None
        self._fault: EbmsError | None = None
        self.head = sbdh.HeaderReader() if begins else None
        self.signed_digest = b""

    def feed(self, octets: bytes) -> None:
        """The next octets as they came. Raises 0003 for more than can be meant: who never ends is not read to the end."""
        self._left -= len(octets)
        if self._left < 0:
            raise self._too_large()
        if self._decryptor:
            octets = self._decryptor.update(octets)
        if self._digest:
            try:
                self._digest.update(octets)
            except EbmsError as error:
                self._undigested, self._digest = error, None
        if self._fault or self._undigested:
            return
        try:
            for piece in self._gunzip.feed(octets) if self._gunzip else (octets,):
                self.size += len(piece)
                if self.size > self._limit:
                    raise self._too_large()
                if self.head:
                    self.head.feed(piece)
                self._plain.update(piece)
                self.sink.write(piece)
        except EbmsError as error:
            self._fault = error

    def _too_large(self) -> EbmsError:
        cause = f"larger than {self._limit} octets, the agreed limit"
        return EbmsError(VALUE_INCONSISTENT, field="payload", cause=cause)

    def finish(self) -> None:
        """The part has ended: check the tag now, remember the digest; other faults wait for `fault`."""
        if self._decryptor:
            self._decryptor.finish()
        if self._digest:
            try:
                self.signed_digest = self._digest.digest()
            except EbmsError as error:
                self._undigested = error
        if self._gunzip and not self._fault:
            try:
                self._gunzip.finish()
            except EbmsError as error:
                self._fault = error

    def undigested(self) -> None:
        """Raise why there is no digest to compare: an XML part that is too large or no XML."""
        if self._undigested:
            raise self._undigested

    def fault(self) -> None:
        """Raise what was held back."""
        if self._fault:
            raise self._fault

    def received(self) -> ReceivedPart:
        """What came of it."""
        return ReceivedPart(self.info, self.plain_type, self.size, self._plain.digest(), self.sink)


@dataclass
class _Root:
    """What the root part decided."""

    envelope: Envelope
    message: UserMessage
    pmode: PMode
    verified: Verified | None
    encryption: Encryption | None
    key: bytes


class Receiver:
    """Takes one HTTP body in pieces. ``new_sink(part_info)`` gives the place for each payload's plain octets.

    `feed` and `finish` may block (one private-key operation, hashing): run them in a thread.
    After a refusal `message` may still be set, for the error's RefToMessageId and for logs.
    """

    def __init__(self, content_type: str, agreements: Agreements, new_sink: Callable[[PartInfo, PMode], Sink]) -> None:
        self._type = mime.parse_content_type(content_type)
        self._reader = mime.MultipartReader(self._type.boundary) if self._type.boundary else None
        self._agreements, self._new_sink = agreements, new_sink
        self._root_octets = bytearray()
        self._root: _Root | None = None
        self._parts: dict[str, _Part] = {}
        self._current: _Part | None = None
        self.message: UserMessage | None = None
        self.signal: Signal | None = None
        self.pmode: PMode | None = None
        self.envelope: Envelope | None = None

    @property
    def root(self) -> bytes:
        """The SOAP part as it came: what a signal is kept as."""
        return bytes(self._root_octets)

    # -- octets

    def feed(self, octets: bytes) -> None:
        """The next octets of the body. Raises as soon as the root part is refused."""
        if self._reader is None:
            self._root_octets += octets
            self._bound()
            return
        for event in self._reader.feed(octets):
            self._take(event)

    def _bound(self) -> None:
        if len(self._root_octets) > limits.HEADER_SIZE:
            raise EbmsError(INVALID_HEADER, field="SOAP part", cause=f"larger than {limits.HEADER_SIZE} octets")

    def _take(self, event: mime.Event) -> None:
        """One event of the reader. Before the second part begins, there is no current one: it is the root."""
        part = self._current
        if isinstance(event, mime.PartBegin):
            self._begin(event)
        elif isinstance(event, mime.PartData) and part:
            part.feed(event.octets)
        elif isinstance(event, mime.PartData):
            self._root_octets += event.octets
            self._bound()
        elif isinstance(event, mime.PartEnd) and part:
            part.finish()
        elif isinstance(event, mime.PartEnd):
            self._judge_root()

    def _begin(self, event: mime.PartBegin) -> None:
        if event.index == 0:
            if self._type.start and event.content_id and self._type.start != event.content_id:
                raise EbmsError(
                    MIME_INCONSISTENCY,
                    field="start",
                    cause="the SOAP part is not the first part",
                    remedy="send the SOAP part first",
                )
            return
        root = self._root
        if root is None:
            raise EbmsError(FEATURE_NOT_SUPPORTED, field="MIME", cause="a signal with attachments")
        wanted = next((p for p in root.message.parts if p.cid and mime.match_cid(p.cid, {event.content_id: 1})), None)
        if wanted is None or wanted.cid is None or wanted.cid in self._parts:
            raise EbmsError(MIME_INCONSISTENCY, field="Content-ID", cause="a MIME part is not named by any PartInfo")
        part = self._open(wanted, event.media_type, root)
        self._parts[wanted.cid] = self._current = part

    def _open(self, info: PartInfo, media_type: str, root: _Root) -> _Part:
        key = None
        if root.encryption:
            listed = mime.match_cid(info.cid or "", root.encryption.parts)
            if listed is not None:
                key = (root.key, root.encryption.parts[listed].media_type)
        reference = None
        if root.verified:
            signed = mime.match_cid(info.cid or "", root.verified.attachments)
            reference = root.verified.attachments[signed or ""]
        demanded = bool(root.pmode.profile.demands.envelope) and not root.message.is_test
        begins = demanded and info is root.message.parts[0]
        return _Part(info, media_type, key, reference, root.pmode, self._new_sink(info, root.pmode), begins=begins)

    # -- judgement

    def _judge_root(self) -> None:
        envelope = parse_envelope(bytes(self._root_octets))
        self.envelope = envelope
        said = parse_messaging(envelope)
        if isinstance(said, Signal):
            self.signal = said
            return
        self.message = said
        try:
            self._judge_message(envelope, said)
        except EbmsError as error:
            error.ref_to_message_id = error.ref_to_message_id or said.message_id
            raise

    def _judge_message(self, envelope: Envelope, said: UserMessage) -> None:
        pmode = self.pmode = select(self._agreements.pmodes(), said)
        profile = pmode.profile
        encryption = parse_encryption(envelope, profile)
        verified = None
        if profile.demand_signature or envelope.security is not None:
            verified = verify(envelope, profile, self._agreements.trust(pmode))
            self._check_coverage(said, verified)
            check_subject(pmode, said.from_, verified.certificate, "From/PartyId")
        check_header(pmode, said)
        check_served(pmode, said)
        for info in said.parts:
            _check_properties(info)
        cids = {info.cid for info in said.parts if info.cid}
        encrypted = {c for c in cids if encryption and mime.match_cid(c, encryption.parts) is not None}
        if profile.demand_encryption and encrypted != cids:
            raise EbmsError(
                POLICY_NONCOMPLIANCE,
                field="encryption",
                cause="a payload is not encrypted",
                remedy="encrypt every attachment",
            )
        if encryption and len(encrypted) != len(encryption.parts):
            raise EbmsError(MIME_INCONSISTENCY, field="EncryptedData", cause="names a part that no PartInfo names")
        if encryption and profile.demands.tokens and not is_token(encryption.key.key_info, envelope.by_id):
            raise EbmsError(
                POLICY_NONCOMPLIANCE,
                field="EncryptedKey/KeyInfo",
                cause=f"refers to a certificate; {profile.name} demands a BinarySecurityToken X509v3",
            )
        key = self._unwrap(envelope, pmode, encryption) if encryption else b""
        self._root = _Root(envelope, said, pmode, verified, encryption, key)

    def _check_coverage(self, said: UserMessage, verified: Verified) -> None:
        """That each payload has a signed reference of its own, and none is left over: known from the header alone."""
        cids = [info.cid for info in said.parts if info.cid]
        matched = {mime.match_cid(c, verified.attachments) for c in cids}
        if None in matched or not len(cids) == len(matched) == len(verified.attachments):
            raise EbmsError(
                POLICY_NONCOMPLIANCE,
                field="signature over attachments",
                cause="the signature does not cover exactly the payloads",
                remedy="sign every attachment",
            )

    def _unwrap(self, envelope: Envelope, pmode: PMode, encryption: Encryption) -> bytes:
        reference = parse_key_info(encryption.key.key_info, envelope.by_id)
        ours = self._agreements.decryption_keys(pmode)
        meant = candidates(reference, [certificate for certificate, _ in ours])
        size = KEY_SIZES[next(iter(encryption.parts.values())).algorithm] if encryption.parts else 16
        fault = EbmsError(
            FAILED_DECRYPTION,
            field="EncryptedKey",
            cause="is for another certificate than ours",
            remedy="fetch our current encryption certificate",
        )
        for certificate, private in ours:
            if certificate in meant:
                try:
                    return unwrap_key(private, encryption.key, size)
                except EbmsError as error:
                    fault = error
        raise fault

    def finish(self) -> Accepted | Signal:
        """The body has ended: give what was accepted, or raise why it is not."""
        if self._reader is None:
            self._judge_root()
        else:
            self._reader.close()
        if self.signal is not None:
            return self.signal
        root = self._root
        if root is None:
            raise EbmsError(MIME_INCONSISTENCY, field="MIME", cause="there is no SOAP part")
        try:
            return self._accept(root)
        except EbmsError as error:
            error.ref_to_message_id = error.ref_to_message_id or root.message.message_id
            raise

    def _accept(self, root: _Root) -> Accepted:
        cids = [info.cid for info in root.message.parts if info.cid]
        if set(cids) != set(self._parts):
            raise EbmsError(
                EXTERNAL_PAYLOAD_ERROR, field="PartInfo/@href", cause="leads to no MIME part of this message"
            )
        if root.verified:
            digests = {}
            for cid, part in self._parts.items():
                signed = mime.match_cid(cid, root.verified.attachments)
                digests[signed or cid] = part.signed_digest
                part.undigested()
            check_attachments(root.verified, digests, list(digests))
        for part in self._parts.values():
            part.fault()
        for head in (part.head for part in self._parts.values() if part.head):
            sbdh.check(head.header(), root.message, root.pmode.profile.demands)
        algorithms = {"signature": root.verified.signature_method} if root.verified else {}
        if root.encryption:
            agreed = root.encryption.key.agreement
            algorithms["key transport"] = agreed.algorithm if agreed else root.encryption.key.algorithm
        return Accepted(
            root.message,
            root.pmode,
            root.verified.certificate if root.verified else None,
            root.verified.references if root.verified else (),
            tuple(self._parts[cid].received() for cid in cids),
            algorithms,
        )


def _check_properties(info: PartInfo) -> None:
    """CompressionType, MimeType and CharacterSet of one part [AS4 §3.1]."""
    compression = info.get(COMPRESSION_TYPE)
    if compression is not None and compression.lower() != GZIP:
        raise EbmsError(
            VALUE_INCONSISTENT,
            field="PartProperties/CompressionType",
            cause="is not application/gzip",
            remedy="use gzip",
        )
    if compression is not None and not info.get(MIME_TYPE):
        raise EbmsError(
            VALUE_INCONSISTENT,
            field="PartProperties/MimeType",
            cause="is missing on a compressed part",
            remedy="say the media type before compression",
        )
    charset = info.get(CHARACTER_SET)
    if charset is not None and not _CHARSET.match(charset):
        raise EbmsError(VALUE_INCONSISTENT, field="PartProperties/CharacterSet", cause="is not a character set name")
