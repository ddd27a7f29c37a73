"""Two fictitious partners with real keys, and messages between them: what every seed is made of.

Keys are made once and kept under ``build/fuzz/keys``, so that an input found on one day means the same on the next.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from accesspoint import ebms, mime, names
from accesspoint.agreement import Wrapped
from accesspoint.compression import compress
from accesspoint.errors import EbmsError
from accesspoint.inbound import Accepted, Receiver
from accesspoint.outbound import Message, Part, build
from accesspoint.pmode import PMode
from accesspoint.profiles import EDELIVERY_1_15
from accesspoint.receipts import receipt_xml
from accesspoint.references import Reference
from accesspoint.signals import signed_signal
from accesspoint.soap import c14n, parse_xml
from accesspoint.wss import (
    AttachmentDigest,
    SigningKey,
    attachment_reference,
    local_references,
    security_xml,
    sign,
    signed_info,
)
from accesspoint.xmlenc import IV, PartEncryptor, encryption_xml, wrap_key
from conformance.pki import Authority, write
from core.clock import FrozenClock
from core.schedule import RetryPlan
from core.trust import Identity, Trust
from gateways.as4.partners import Neighbour, Partners
from gateways.as4.settings import Exchange, Partner, Party

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "build" / "fuzz"
SAMPLES: Final = ROOT.parent / "shared" / "samples" / "as4"
"""Real messages of other makers, where they are at hand."""

NOW: Final = 1_772_366_400_000_000
BOUNDARY: Final = "stafet-fuzz"
CONTENT_TYPE: Final = mime.content_type(BOUNDARY)
SERVICE: Final = ebms.Typed("urn:stafet:fuzz:homecare", "urn:stafet:fuzz:services")
_TYPE: Final = "urn:oasis:names:tc:ebcore:partyid-type:unregistered:stafet-fuzz"
_OURS: Final = ebms.Party(ebms.Typed("hospital", _TYPE), names.RESPONDER)
_THEIRS: Final = ebms.Party(ebms.Typed("municipality", _TYPE), names.INITIATOR)
MAX_SIZE: Final = 2 * 1024 * 1024


def make_keys(folder: Path) -> None:
    """The authority's certificate and both partners' keys, unless they are there."""
    if folder.is_dir():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    made_in = Path(tempfile.mkdtemp(dir=folder.parent))
    authority = Authority("Stafet fuzz authority", datetime.fromtimestamp(NOW / 1e6, UTC))
    write(made_in / "authority.pem", authority.pem())
    for name in ("hospital", "municipality"):
        made = authority.issue(name, "both", organisation="Stafet demonstration")
        write(made_in / f"{name}.pem", made.key_pem() + made.chain_pem(), secret=True)
    try:
        made_in.rename(folder)
    except OSError:  # another process was quicker: its keys count
        shutil.rmtree(made_in)


def _identity(folder: Path, name: str) -> Identity:
    octets = (folder / f"{name}.pem").read_bytes()
    key = serialization.load_pem_private_key(octets, None)
    return Identity(name, key, tuple(x509.load_pem_x509_certificates(octets)), folder / f"{name}.pem")


@dataclass(frozen=True)
class World:
    """We receive as ``ours`` what ``theirs`` sends. ``partners`` are the real agreements of the gateway."""

    ours: Identity
    theirs: Identity
    authority: x509.Certificate
    partners: Partners
    pinned: PMode
    plain: PMode
    anchored: PMode


def _pmode(name: str, partner: str, action: str, ours: Identity, theirs: Identity, **more: Any) -> PMode:
    return PMode(
        id=name,
        partner=partner,
        us=_OURS,
        them=_THEIRS,
        service=SERVICE,
        action=action,
        their_certificates=(theirs.certificate,),
        their_encryption_certificate=ours.certificate,
        max_size=MAX_SIZE,
        may_send=False,
        integration="homecare",
        **{"profile": EDELIVERY_1_15, **more},
    )


def _neighbour(name: str, ours: Identity, trust: Trust | None, pinned: Identity, pmodes: Sequence[PMode]) -> Neighbour:
    exchange = Exchange.model_validate(
        {"integration": "homecare", "service": {"value": SERVICE.value, "type": SERVICE.type}, "action": "any"}
    )
    party = Party.model_validate(
        {"id": "us", "party_id": {"value": "hospital", "type": _TYPE}, "signing_key": "k", "decryption_keys": ["k"]}
    )
    partner = Partner.model_validate(
        {
            "id": name,
            "party": "us",
            "party_id": {"value": "municipality", "type": _TYPE},
            "system": "care-record",
            "url": "https://as4.example/",
            "signing_certificates": ["a.pem"],
            "encryption_certificate": "a.pem",
            "exchanges": [exchange.model_dump()],
        }
    )
    certificates = () if trust else (pinned.certificate,)
    by_pmode = {p.id: exchange for p in pmodes}
    return Neighbour(
        partner, party, ours, (ours,), trust, None, certificates, tuple(pmodes), by_pmode, tls=None, retry=RetryPlan()
    )


@cache
def world() -> World:
    """The one world of this process."""
    folder = FOLDER / "keys"
    make_keys(folder)
    ours, theirs = _identity(folder, "hospital"), _identity(folder, "municipality")
    authority = x509.load_pem_x509_certificate((folder / "authority.pem").read_bytes())
    unencrypted = replace(EDELIVERY_1_15, name="signed-only", demand_encryption=False)
    pinned = _pmode("pinned", "known", "deliver", ours, theirs)
    plain = _pmode("plain", "known", "deliver-plain", ours, theirs, profile=unencrypted, compress=False)
    anchored = _pmode("anchored", "chained", "deliver-chained", ours, theirs)
    partners = Partners(
        [
            _neighbour("known", ours, None, theirs, (pinned, plain)),
            _neighbour("chained", ours, Trust((authority,), (), "municipality"), theirs, (anchored,)),
        ],
        FrozenClock(NOW),
    )
    return World(ours, theirs, authority, partners, pinned, plain, anchored)


# --- messages ---------------------------------------------------------------------------------------------------------


class Buffer:
    """A sink that keeps what it is given."""

    def __init__(self) -> None:
        self.octets = bytearray()

    def write(self, data: bytes) -> None:
        """The next octets."""
        self.octets += data


def entropy(size: int) -> bytes:
    """Not random at all, so that seeds are the same every time."""
    return bytes(range(1, size + 1))


def header(pmode: PMode, **more: Any) -> ebms.UserMessage:
    """A user message under ``pmode``, without parts."""
    properties = (ebms.Property("originalSender", "kim@municipality.example", "email"), ebms.Property("case", "A-7"))
    facts: dict[str, Any] = {"properties": properties, "agreement": None, **more}
    return ebms.UserMessage(
        "m-0001@municipality.example", NOW, pmode.them, pmode.us, pmode.service, pmode.action, "c-1", **facts
    )


def sign_as(identity: Identity) -> Any:
    """The private-key operation of ``identity``."""
    return lambda octets: sign(cast(SigningKey, identity.key), octets)


def prepared(payloads: Sequence[tuple[bytes, str, bool]]) -> tuple[list[Part], list[bytes]]:
    """Parts and their octets from (payload, media type, compressed)."""
    octets = [compress(data) if small else data for data, _, small in payloads]
    parts = [
        Part(f"part-{i + 1}@stafet", kind, small, len(o), hashlib.sha256(o).digest(), ())
        for i, ((_, kind, small), o) in enumerate(zip(payloads, octets, strict=True))
    ]
    return parts, octets


PAYLOADS: Final = (
    (b'{"observation": 37.2}' * 20, "application/json", True),
    (bytes(range(256)), "image/png", False),
)


def sent(pmode: PMode, payloads: Sequence[tuple[bytes, str, bool]] = PAYLOADS) -> tuple[Message, bytes]:
    """A message of ours to them under the mirrored ``pmode``, as built and as whole body."""
    parts, octets = prepared(payloads)
    theirs = world().theirs
    message = build(pmode, header(pmode), parts, theirs.certificate, sign_as(theirs), entropy=entropy)
    message = replace(message, boundary=BOUNDARY)
    return message, message.whole(octets)


@dataclass(frozen=True)
class Piece:
    """One payload part for `assemble`: plain octets as signed, and its MIME head."""

    cid: str
    media_type: str
    octets: bytes
    head: bytes | None = None


def canonical(octets: bytes) -> bytes:
    """An XML fragment as it will be digested inside the envelope; the octets themselves when it cannot be."""
    try:
        root = parse_xml(ebms.envelope_xml(b"", octets, b""))
        return c14n(root[0][0])
    except (EbmsError, IndexError):
        return octets


def assemble(
    pmode: PMode, messaging: bytes, pieces: Sequence[Piece] = (), *, encryption: bytes | None = None, extra: bytes = b""
) -> bytes:
    """A body around ``messaging``, signed and encrypted anew. ``encryption`` replaces the XML about encryption."""
    theirs = world().theirs
    body = ebms.body_xml("b-1")
    references = (
        *local_references(canonical(messaging), "m-1", body, "b-1"),
        *(attachment_reference(p.cid, _digest(p)) for p in pieces),
    )
    key = entropy(16) if pmode.profile.demand_encryption and pieces else b""
    if encryption is None:
        encryption = encrypted_for_us(pmode, pieces) if key else b""
    info = signed_info(pmode.profile, references)
    security = security_xml(
        info, sign_as(theirs)(info), theirs.certificate, pmode.key_reference, "s-1", encryption + extra
    )
    root = ebms.envelope_xml(security, messaging, body)
    parts = []
    for piece in pieces:
        kind = "application/octet-stream" if key else piece.media_type
        parts.append(mime.part_head(BOUNDARY, piece.cid, kind) if piece.head is None else piece.head)
        cipher = PartEncryptor(key, entropy(IV)) if key else None
        parts.append(cipher.head + cipher.update(piece.octets) + cipher.finish() if cipher else piece.octets)
    return b"".join((mime.root_head(BOUNDARY, "root@stafet"), root, *parts, mime.closing(BOUNDARY)))


def _digest(piece: Piece) -> bytes:
    """As a receiver computes it by media type; of the octets themselves when it cannot."""
    digest = AttachmentDigest(names.SHA256, piece.media_type)
    try:
        digest.update(piece.octets)
        return digest.digest()
    except EbmsError:
        return hashlib.sha256(piece.octets).digest()


@cache
def _wrapped(key: bytes) -> Wrapped:
    return wrap_key(world().ours.certificate, key, entropy)


def encrypted_for_us(pmode: PMode, pieces: Sequence[Piece]) -> bytes:
    """The XML about encryption, the content key wrapped for us."""
    listed = [(p.cid, p.media_type) for p in pieces]
    return encryption_xml(world().ours.certificate, pmode.key_reference, _wrapped(entropy(16)), listed, "e-1")


def messaging_of(pmode: PMode, pieces: Sequence[tuple[str, str, bool]], **more: Any) -> bytes:
    """``eb:Messaging`` naming parts given as (Content-ID, media type, compressed)."""
    infos = tuple(Part(cid, kind, small, 0, b"").info() for cid, kind, small in pieces)
    return ebms.user_message_xml(replace(header(pmode, **more), parts=infos), "m-1")


def receipt_for(references: Sequence[Reference], message_id: str) -> bytes:
    """Our signed receipt, as their sender would get it."""
    return signal(receipt_xml(references), message_id)


def signal(content: bytes, message_id: str) -> bytes:
    """A signed signal of theirs around ``content``."""
    theirs = world().theirs
    return signed_signal(
        content,
        message_id="r-1@municipality.example",
        timestamp=NOW,
        reference=message_id,
        profile=EDELIVERY_1_15,
        certificate=theirs.certificate,
        form="binary-security-token",
        sign=sign_as(theirs),
    )


def receive(body: bytes, content_type: str = CONTENT_TYPE, step: int = 0) -> Accepted | ebms.Signal:
    """Put a body through a whole receiver, in pieces of ``step`` octets (0 = at once)."""
    receiver = Receiver(content_type, world().partners, lambda info, pmode: Buffer())
    for at in range(0, len(body), step or max(len(body), 1)):
        receiver.feed(body[at : at + (step or len(body))])
    return receiver.finish()


def samples(ending: str) -> list[bytes]:
    """Real messages that are at hand, at most 64 KiB each; those in MIME get our boundary."""
    if not SAMPLES.is_dir():
        return []
    found = []
    for row in json.loads((SAMPLES / "index.json").read_text()):
        path = SAMPLES / "messages" / row["file"]
        if path.suffix != ending or not path.is_file() or path.stat().st_size > 65_536:
            continue
        octets = path.read_bytes()
        boundary = re.search(r'boundary="?([^";]+)', row["http_content_type"])
        found.append(octets.replace(boundary.group(1).encode(), BOUNDARY.encode()) if boundary else octets)
    return found
