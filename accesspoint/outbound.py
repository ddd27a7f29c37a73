"""Sending: from prepared parts to a frozen message, from the frozen message to octets, from the answer to a verdict.

Rules:

1. Compress, then hash, then sign, then encrypt [eD1.15 §1.4.2.6]. Preparing parts is the caller's (they may be files); from here
   on a part is its compressed octets' SHA-256 and length.
2. A `Message` is everything a retry needs to give the same octets: header, boundary, content key, IVs. It is frozen before the
   first octet leaves.
3. The private-key operation stands alone (`sign` is a callable), so that a caller can run it in a thread.
4. An answer proves receipt only if it is signed by the partner and repeats every reference; everything else is "try again" or,
   when authenticated, "refused".
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from cryptography import x509

from accesspoint import mime, sbdh
from accesspoint.ebms import (
    BODY_ID,
    KEY_ID,
    MESSAGING_ID,
    TOKEN_ID,
    PartInfo,
    Property,
    Signal,
    UserMessage,
    body_xml,
    envelope_xml,
    parse_messaging,
    user_message_xml,
)
from accesspoint.entropy import entropy as system_entropy
from accesspoint.errors import (
    INVALID_RECEIPT,
    MISSING_RECEIPT,
    POLICY_NONCOMPLIANCE,
    PROCESSING_MODE_MISMATCH,
    EbmsError,
    HttpRefusal,
    RemoteError,
)
from accesspoint.names import COMPRESSION_TYPE, GZIP, MIME_TYPE, RSA_OAEP
from accesspoint.pmode import PMode, check_header, check_subject
from accesspoint.receipts import match_receipt, parse_errors, parse_receipt
from accesspoint.references import Reference, Transform
from accesspoint.sbdh import Header
from accesspoint.soap import Envelope, parse_envelope
from accesspoint.wss import Trust, attachment_reference, local_references, security_xml, signed_info, verify
from accesspoint.xmlenc import IV, TAG, PartEncryptor, encryption_xml, way_to, wrap_key

Sign = Callable[[bytes], bytes]
"""The private-key operation: canonical SignedInfo in, signature value out."""

Entropy = Callable[[int], bytes]
"""So many random octets; `accesspoint.entropy` outside tests."""


@dataclass(frozen=True, slots=True)
class Part:
    """One prepared payload: the octets to be signed (compressed if ``compressed``), by length and SHA-256."""

    cid: str
    media_type: str
    compressed: bool
    length: int
    sha256: bytes
    properties: tuple[Property, ...] = ()

    @property
    def wire_type(self) -> str:
        """The media type of the octets that are signed and encrypted."""
        if self.compressed:
            return GZIP
        return self.media_type

    def info(self) -> PartInfo:
        """Its PartInfo. MimeType is always said; peers expect it on every part."""
        compression = (Property(COMPRESSION_TYPE, GZIP),) if self.compressed else ()
        return PartInfo(self.cid, (Property(MIME_TYPE, self.media_type), *compression, *self.properties))


@dataclass(frozen=True, slots=True)
class Message:
    """A built message: what is frozen.

    ``parts`` are (Content-ID, wire media type, length, IV); ``key`` is b"" when nothing is encrypted.
    """

    message_id: str
    root: bytes
    boundary: str
    key: bytes
    parts: tuple[tuple[str, str, int, bytes], ...]
    references: tuple[Reference, ...]

    def to_bytes(self) -> bytes:
        """For the ledger. Holds the content key: to be stored sealed."""
        head = {
            "id": self.message_id,
            "boundary": self.boundary,
            "key": b64encode(self.key).decode(),
            "parts": [(c, m, n, b64encode(iv).decode()) for c, m, n, iv in self.parts],
            "references": [
                (r.uri, [t.algorithm for t in r.transforms], r.digest_algorithm, b64encode(r.digest).decode())
                for r in self.references
            ],
        }
        encoded = json.dumps(head, separators=(",", ":")).encode()
        return len(encoded).to_bytes(4, "big") + encoded + self.root

    @classmethod
    def from_bytes(cls, octets: bytes) -> Message:
        """The inverse of `to_bytes`. Raises `ValueError` for octets that are no frozen message."""
        try:
            return cls._thawed(octets)
        except (LookupError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f"no frozen message: {type(error).__name__}") from None

    @classmethod
    def _thawed(cls, octets: bytes) -> Message:
        size = int.from_bytes(octets[:4], "big")
        head = json.loads(octets[4 : 4 + size])
        return cls(
            head["id"],
            octets[4 + size :],
            head["boundary"],
            b64decode(head["key"]),
            tuple((c, m, n, b64decode(iv)) for c, m, n, iv in head["parts"]),
            tuple(
                Reference(uri, tuple(Transform(t) for t in transforms), algorithm, b64decode(digest))
                for uri, transforms, algorithm, digest in head["references"]
            ),
        )

    @property
    def content_type(self) -> str:
        """The HTTP Content-Type."""
        return mime.content_type(self.boundary) if self.parts else "application/soap+xml; charset=UTF-8"

    @property
    def length(self) -> int:
        """Octets of the HTTP body."""
        if not self.parts:
            return len(self.root)
        extra = IV + TAG if self.key else 0
        heads = sum(len(mime.part_head(self.boundary, c, self._type(m))) + n + extra for c, m, n, _ in self.parts)
        ends = len(mime.root_head(self.boundary, self._root_id())) + len(mime.closing(self.boundary))
        return ends + len(self.root) + heads

    def _type(self, wire_type: str) -> str:
        return "application/octet-stream" if self.key else wire_type

    def _root_id(self) -> str:
        return f"root-{self.boundary}@stafet"

    def start(self) -> bytes:
        """The octets before the first payload part."""
        if not self.parts:
            return self.root
        return mime.root_head(self.boundary, self._root_id()) + self.root

    def part(self, index: int) -> PartWriter:
        """The writer of one payload part; parts go in order."""
        cid, wire_type, _, iv = self.parts[index]
        return PartWriter(mime.part_head(self.boundary, cid, self._type(wire_type)), self.key, iv)

    def end(self) -> bytes:
        """The octets after the last payload part."""
        return mime.closing(self.boundary) if self.parts else b""

    def whole(self, parts: Sequence[bytes]) -> bytes:
        """The HTTP body for small messages: all prepared parts in memory."""
        pieces = [self.start()]
        for index, octets in enumerate(parts):
            writer = self.part(index)
            pieces += [writer.head, writer.update(octets), writer.finish()]
        pieces.append(self.end())
        return b"".join(pieces)


class PartWriter:
    """The octets of one payload part: `head`, `update`s, `finish`. Encrypts while sending."""

    def __init__(self, head: bytes, key: bytes, iv: bytes) -> None:
        self._cipher = PartEncryptor(key, iv) if key else None
        self.head = head + (self._cipher.head if self._cipher else b"")

    def update(self, octets: bytes | memoryview) -> bytes:
        """The next octets as they go on the wire."""
        return self._cipher.update(octets) if self._cipher else bytes(octets)

    def finish(self) -> bytes:
        """What ends the part."""
        return self._cipher.finish() if self._cipher else b""


_CID: Final = re.compile("[!-;=?-~]+")
_MEDIA_TYPE: Final = re.compile("[ -~]+")


def new_cid(entropy: Entropy = system_entropy) -> str:
    """A Content-ID of unreserved characters alone."""
    return f"{entropy(12).hex()}@stafet"


def build(
    pmode: PMode,
    message: UserMessage,
    parts: Sequence[Part],
    certificate: x509.Certificate,
    sign: Sign,
    *,
    header: Header | None = None,
    entropy: Entropy = system_entropy,
) -> Message:
    """Header, signature and encryption of a user message whose parts are prepared.

    ``message.parts`` is filled in here. ``header`` is the business document header of the first payload, where the profile
    demands one. Raises `ValueError` for a value XML or a MIME header cannot hold and `EbmsError` for what breaks the profile's
    demands: the same that the receiver would refuse.
    """
    message = replace(message, parts=tuple(part.info() for part in parts))
    _check(pmode, message, certificate, header)
    mark = entropy(8).hex()
    messaging, body = user_message_xml(message, MESSAGING_ID), body_xml(BODY_ID)
    references = (
        *local_references(messaging, MESSAGING_ID, body, BODY_ID),
        *(attachment_reference(part.cid, part.sha256) for part in parts),
    )
    key, encryption, ivs = b"", b"", [b""] * len(parts)
    if parts and pmode.profile.demand_encryption:
        theirs, ways = pmode.their_encryption_certificate, pmode.profile.key_agreements or (RSA_OAEP,)
        if theirs is None or way_to(theirs) not in ways:
            cause = f"is not for {ways[0].rpartition('#')[2]}" if theirs else "the partner has none"
            raise EbmsError(POLICY_NONCOMPLIANCE, field="encryption_certificate", cause=cause)
        key, ivs = entropy(16), [entropy(IV) for _ in parts]
        wrapped = wrap_key(theirs, key, entropy)
        listed = [(part.cid, part.wire_type) for part in parts]
        encryption = encryption_xml(theirs, pmode.key_reference, wrapped, listed, KEY_ID)
    for part in parts:
        if not _CID.fullmatch(part.cid) or not (key or _MEDIA_TYPE.fullmatch(part.wire_type)):
            raise ValueError(f"{part.cid!r} or {part.wire_type!r} cannot be written in a MIME header")
    info = signed_info(pmode.profile, references)
    security = security_xml(info, sign(info), certificate, pmode.key_reference, TOKEN_ID, encryption)
    root = envelope_xml(security, messaging, body)
    wire = tuple((p.cid, p.wire_type, p.length, iv) for p, iv in zip(parts, ivs, strict=True))
    return Message(message.message_id, root, f"stafet-{mark}", key, wire, references)


def _check(pmode: PMode, message: UserMessage, certificate: x509.Certificate, header: Header | None) -> None:
    """Raises `EbmsError` for what the profile has no place for."""
    check_header(pmode, message)
    check_subject(pmode, message.from_, certificate, "From/PartyId")
    if pmode.their_encryption_certificate is not None:
        check_subject(pmode, message.to, pmode.their_encryption_certificate, "To/PartyId")
    if pmode.profile.demands.envelope and not message.is_test:
        if header is None:
            raise EbmsError(PROCESSING_MODE_MISMATCH, field=sbdh.FIELD, cause="is missing")
        sbdh.check(header, message, pmode.profile.demands)


# --- the answer -------------------------------------------------------------------------------------------------------

SUCCESS: Final = range(200, 300)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A receipt that proves it. ``raw`` is the signed envelope as it came."""

    message_id: str
    timestamp: int
    raw: bytes
    certificate: x509.Certificate


def judge_answer(
    message: Message, pmode: PMode, trust: Trust, status: int, content_type: str, octets: bytes
) -> Acknowledged:
    """What the HTTP answer to a sent message proves.

    Raises `RemoteError` when they reported errors (``authenticated`` says whether to believe them), `SoapFault` for a fault
    without ebMS, `EbmsError` 0301 when there is no receipt and 0302 when there is one that does not prove it.
    """
    if not octets.strip():
        words = "an empty answer where a receipt is agreed" if status in SUCCESS else f"HTTP {status} without a body"
        raise EbmsError(MISSING_RECEIPT, field="answer", cause=words)
    try:
        envelope_octets = _root_of(content_type, octets, status)
        envelope = parse_envelope(envelope_octets)
        said = parse_messaging(envelope)
    except HttpRefusal as refusal:
        raise EbmsError(MISSING_RECEIPT, field="answer", cause=f"HTTP {status}, no signal: {refusal.reason}") from None
    except EbmsError as error:
        if error.error is MISSING_RECEIPT:
            raise
        raise EbmsError(
            MISSING_RECEIPT, field="answer", cause=f"HTTP {status}, no signal: {error.field}: {error.cause}"
        ) from None
    if not isinstance(said, Signal):
        raise EbmsError(INVALID_RECEIPT, field="answer", cause="a user message instead of a receipt")
    return judge_signal(message, pmode, trust, envelope, said, envelope_octets)


def judge_signal(
    message: Message, pmode: PMode, trust: Trust, envelope: Envelope, said: Signal, octets: bytes
) -> Acknowledged:
    """What a signal proves about a sent message, whether it answers the request or comes later on its own.

    ``octets`` are the envelope's, to be kept as evidence. Raises as `judge_answer` does.
    """
    if said.errors:
        errors = parse_errors(said)
        try:
            verify(envelope, pmode.profile, trust, signal=True)
            # An old error, sent again by anybody, must not speak of this message.
            about = {said.ref_to_message_id} if said.ref_to_message_id else {e.ref_to_message for e in errors}
            authenticated = about == {message.message_id}
        except EbmsError:
            authenticated = False
        raise RemoteError(errors, authenticated=authenticated)
    if said.receipt is None or said.ref_to_message_id != message.message_id:
        raise EbmsError(INVALID_RECEIPT, field="RefToMessageId", cause="the signal is not about the message we sent")
    try:
        verified = verify(envelope, pmode.profile, trust, signal=True)
    except EbmsError as error:
        raise EbmsError(
            INVALID_RECEIPT, field=f"receipt {error.field}", cause=error.cause, remedy=error.remedy
        ) from None
    match_receipt(message.references, parse_receipt(said))
    return Acknowledged(said.message_id, said.timestamp, octets, verified.certificate)


def _root_of(content_type: str, octets: bytes, status: int) -> bytes:
    """The SOAP part of an answer; signals may come as multipart with one part."""
    head = content_type.partition(";")[0].strip().lower()
    if head != "multipart/related":
        if octets.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] != b"<":
            raise EbmsError(
                MISSING_RECEIPT, field="answer", cause=f"HTTP {status} with {head or 'no media type'}, not SOAP"
            )
        return octets
    reader = mime.MultipartReader(mime.parse_content_type(content_type).boundary or "")
    root, index = bytearray(), -1
    for event in _events(reader, octets):
        if isinstance(event, mime.PartBegin):
            index = event.index
        elif isinstance(event, mime.PartData) and index == 0:
            root += event.octets
    return bytes(root)


def _events(reader: mime.MultipartReader, octets: bytes) -> Iterator[mime.Event]:
    yield from reader.feed(octets)
    reader.close()
