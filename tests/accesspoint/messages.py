"""Whole messages for the tests of receiving, right ones and wrong ones, and what receives them.

The keys and the two partners are those of `tests.fuzz.world`: "municipality" sends, "hospital" receives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint import mime, outbound
from accesspoint.compression import compress
from accesspoint.ebms import PartInfo, Signal, UserMessage
from accesspoint.errors import EbmsError, HttpRefusal, SoapFault
from accesspoint.inbound import Accepted, Agreements, Receiver
from accesspoint.pmode import PMode
from accesspoint.tokens import candidates
from accesspoint.wss import Trust
from core.trust import Identity
from tests.fuzz import world as w

JSON: Final = b'{"observation": 37.2}' * 20
PNG: Final = bytes(range(256))
CIDS: Final = ("part-1@stafet", "part-2@stafet")
NAMED: Final = ((CIDS[0], "application/json", True), (CIDS[1], "image/png", False))
"""The two payloads as `world.messaging_of` wants them."""


def pieces(first: bytes | None = None, second: bytes = PNG) -> tuple[w.Piece, w.Piece]:
    """The octets of both payloads as they are signed, to be put together by `world.assemble`."""
    return w.Piece(CIDS[0], "application/gzip", compress(JSON) if first is None else first), w.Piece(
        CIDS[1], "image/png", second
    )


@dataclass
class Agreed:
    """Agreements written down: some P-Modes, whom to believe, our own keys."""

    modes: Sequence[PMode]
    believed: Sequence[x509.Certificate] = ()
    keys: Sequence[Identity] = ()

    def pmodes(self) -> Sequence[PMode]:
        return self.modes

    def trust(self, pmode: PMode) -> Trust:
        return lambda reference: candidates(reference, self.believed or [w.world().theirs.certificate])

    def decryption_keys(self, pmode: PMode) -> Sequence[tuple[x509.Certificate, rsa.RSAPrivateKey]]:
        keys = self.keys or [w.world().ours]
        return [(k.certificate, cast(rsa.RSAPrivateKey, k.key)) for k in keys]


@dataclass
class Reception:
    """One receiver and the sinks it asked for, in that order."""

    agreements: Agreements
    content_type: str = w.CONTENT_TYPE
    sinks: list[w.Buffer] = field(default_factory=list)
    receiver: Receiver | None = None

    def take(self, body: Iterable[bytes]) -> Accepted | Signal:
        """Feed all pieces, then finish."""
        self.receiver = receiver = Receiver(self.content_type, self.agreements, self.new_sink)
        for piece in body:
            receiver.feed(piece)
        return receiver.finish()

    def new_sink(self, info: PartInfo, pmode: PMode) -> w.Buffer:
        """A place for a payload."""
        self.sinks.append(w.Buffer())
        return self.sinks[-1]


def cut(body: bytes, step: int) -> Iterator[bytes]:
    """A body in pieces of ``step`` octets."""
    return (body[at : at + step] for at in range(0, len(body), step))


def verdict(body: Iterable[bytes], agreements: Agreements, content_type: str = w.CONTENT_TYPE) -> tuple[object, ...]:
    """What a body comes to, so that two can be compared: fingerprint and digests, a signal, or the refusal."""
    try:
        said = Reception(agreements, content_type).take(body)
    except EbmsError as error:
        return error.error.code, error.field, error.cause
    except SoapFault as fault:
        return "fault", fault.code, fault.reason
    except HttpRefusal as refusal:
        return refusal.status, refusal.reason
    if isinstance(said, Signal):
        return "signal", said.message_id
    return "accepted", said.fingerprint(), tuple(p.sha256 for p in said.parts)


# --- messages of a partner who follows the agreement ------------------------------------------------------------------


def build(
    pmode: PMode,
    payloads: Sequence[tuple[bytes, str, bool]] = w.PAYLOADS,
    *,
    signer: Identity | None = None,
    header: UserMessage | None = None,
) -> tuple[outbound.Message, list[bytes]]:
    """A message of theirs and the octets of its parts; ``signer`` signs instead of them."""
    parts, octets = w.prepared(payloads)
    signer = signer or w.world().theirs
    message = outbound.build(
        pmode, header or w.header(pmode), parts, signer.certificate, w.sign_as(signer), entropy=w.entropy
    )
    return replace(message, boundary=w.BOUNDARY), octets


def rooted(change: Callable[[bytes], bytes], pmode: PMode | None = None) -> bytes:
    """A right message whose root part is changed on the way."""
    message, octets = build(pmode or w.world().pinned)
    return replace(message, root=change(message.root)).whole(octets)


def swapped(*pairs: tuple[bytes, bytes]) -> Callable[[bytes], bytes]:
    """Replaces each first octet string by the second; it must be there."""

    def change(octets: bytes) -> bytes:
        for old, new in pairs:
            assert old in octets, old
            octets = octets.replace(old, new)
        return octets

    return change


def other_content(pmode: PMode, *replaced: tuple[int, bytes]) -> bytes:
    """A signature over the right payloads around parts with other octets: encrypted well, digested wrongly."""
    message, octets = build(pmode)
    for index, new in replaced:
        octets[index] = new
    return message.whole(octets)


def encrypted(octets: bytes) -> bytes:
    """A part as `world.assemble` encrypts it: the same content key and IV."""
    cipher = w.PartEncryptor(w.entropy(16), w.entropy(w.IV))
    return cipher.head + cipher.update(octets) + cipher.finish()


def part_body(body: bytes, index: int) -> tuple[int, int]:
    """Where the octets of a payload part begin and end in a body."""
    begin = body.index(b"\r\n\r\n", body.index(b"Content-ID: <%s>" % CIDS[index].encode())) + 4
    return begin, body.index(b"\r\n--" + w.BOUNDARY.encode(), begin)


def flipped(body: bytes, index: int, at: int, mask: int = 1) -> bytes:
    """A body with one octet of a payload part changed; ``at`` counts from the end when negative."""
    begin, end = part_body(body, index)
    place = (begin if at >= 0 else end) + at
    assert begin <= place < end
    return body[:place] + bytes([body[place] ^ mask]) + body[place + 1 :]


def plain_part(cid: str, octets: bytes, head: bytes = b"") -> bytes:
    """One more MIME part, delimiter first."""
    return mime.part_head(w.BOUNDARY, cid, "image/png").replace(b"\r\n\r\n", b"\r\n" + head + b"\r\n") + octets


def with_parts(body: bytes, *more: bytes) -> bytes:
    """A body with further MIME parts before its end."""
    ending = mime.closing(w.BOUNDARY)
    assert body.endswith(ending)
    return body[: -len(ending)] + b"".join(more) + ending


def sha256(octets: bytes) -> bytes:
    """A digest."""
    return hashlib.sha256(octets).digest()
