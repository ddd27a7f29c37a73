"""Targets that read what comes over the wire: SOAP, MIME, signatures, encryption, answers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import cache

from accesspoint import ebms, mime, names, soap
from accesspoint.compression import Decompressor, compress
from accesspoint.ebms import Signal, UserMessage, parse_messaging, user_message_xml
from accesspoint.errors import CATALOGUE, EbmsError, HttpRefusal, RemoteError, SoapFault
from accesspoint.inbound import Accepted, Receiver
from accesspoint.outbound import Acknowledged, Message, judge_answer
from accesspoint.receipts import error_xml, match_receipt, parse_errors, parse_receipt, receipt_xml
from accesspoint.signals import fault_envelope, unsigned_error
from accesspoint.wss import AttachmentDigest
from tests.fuzz import world as w
from tests.fuzz.registry import check, pieces_of, refusing, target

_PARTS = (("part-1@stafet", "application/json", True), ("part-2@stafet", "image/png", False))


def _signals() -> list[bytes]:
    message, _ = w.sent(w.world().pinned)
    error = EbmsError(CATALOGUE["EBMS:0004"], field="x", cause="y", ref_to_message_id=message.message_id)
    return [
        w.receipt_for(message.references, message.message_id),
        w.signal(error_xml(error), message.message_id),
        unsigned_error(error, message_id="e-1@hospital.example", timestamp=w.NOW),
        fault_envelope(SoapFault("Receiver", "no")),
    ]


def _roots() -> list[bytes]:
    built = [w.sent(p)[0].root for p in (w.world().pinned, w.world().plain, w.world().anchored)]
    forms = [
        w.sent(replace(w.world().pinned, key_reference=form))[0].root
        for form in ("subject-key-identifier", "issuer-serial")
    ]
    return [*built, *forms, *_signals(), *w.samples(".xml")]


# --- SOAP and the header ----------------------------------------------------------------------------------------------


@target(_roots, max_len=65_536)
def soap_part(data: bytes) -> None:
    """An envelope of known shape and a judged header, or a documented refusal that can itself be said."""
    try:
        envelope = soap.parse_envelope(data)
        said = parse_messaging(envelope)
    except EbmsError as error:
        check(error.error.code in CATALOGUE, "a refusal has a catalogued code")
        unsigned_error(error, message_id="e@x.example", timestamp=w.NOW)
        return
    except SoapFault as fault:
        fault_envelope(fault)
        return
    encoding = (envelope.root.getroottree().docinfo.encoding or "UTF-8").upper()
    check(encoding in ("UTF-8", "UTF8", "US-ASCII", "ASCII"), "no other encoding than UTF-8 is read")
    data.decode("utf-8")
    with refusing(EbmsError):
        soap.c14n(envelope.messaging)
        soap.c14n(envelope.body)
    if isinstance(said, UserMessage):
        _written_again(said)


def _written_again(said: UserMessage) -> None:
    plain = replace(said, parts=(), pmode=None, timestamp=w.NOW)
    again = parse_messaging(
        soap.parse_envelope(ebms.envelope_xml(b"", user_message_xml(plain, "m"), ebms.body_xml("b")))
    )
    check(again == plain, "a header that was read can be written and read again")


@target(_signals, max_len=32_768)
def receipts(data: bytes) -> None:
    """Receipts and errors: read leniently, matched strictly, refused with a code."""
    with refusing(EbmsError, SoapFault):
        said = parse_messaging(soap.parse_envelope(data))
        if not isinstance(said, Signal):
            return
        for error in parse_errors(said):
            check(len(error.description) <= 500, "what a peer writes is cut to length")
            ebms.envelope_xml(b"", error.description.encode(), b"")
        found = parse_receipt(said)
        again = receipt_xml(found)
        check(again, "a receipt that was read can be repeated")
        match_receipt(_sent().references, found)


# --- MIME -------------------------------------------------------------------------------------------------------------


def _bodies() -> list[bytes]:
    world = w.world()
    whole = [w.sent(p)[1] for p in (world.pinned, world.plain)]
    small = w.sent(world.plain, [(b"tiny", "image/png", False)])[1]
    head = b"--stafet-fuzz\r\n"
    odd = [
        b"\xef\xbb\xbfpreamble\r\n" + head + b"Content-Transfer-Encoding: base64\n\nQUJD\r\nREVG\r\n--stafet-fuzz--",
        head + b"content-transfer-encoding: quoted-printable\r\n\r\na=3Db=\r\nc =20\r\n--stafet-fuzz--\r\nepilogue",
        head + b"Content-ID: <a>\r\n\r\n" + head + b"Content-Type: text/plain;\r\n folded\r\n\r\n\r\n--stafet-fuzz--",
        head
        + b"X: "
        + b"y" * 8000
        + b"\r\nZ: "
        + b"y" * 8000
        + b"\r\nA: "
        + b"y" * 900
        + b"\r\n\r\n\r\n--stafet-fuzz--",
        b"p" * 40_000 + b"\r\n" + head + b"\r\nx\r\n--stafet-fuzz--\r\n" + b"e" * 30_000,
        b"p" * 70_000 + b"\r\n" + head + b"\r\nx\r\n--stafet-fuzz--\r\n",
        b"--stafet-fuzz" + b" " * 9000 + b"\r\n\r\nx\r\n--stafet-fuzz--\r\n",
    ]
    return [*whole, small, *odd]


def _seeded(made: Iterable[bytes], *marks: int) -> list[bytes]:
    return [bytes([mark]) + octets for octets in made for mark in marks]


def _events(pieces: Iterable[bytes]) -> tuple[list[tuple[mime.Event, bytes]], bool]:
    """What a reader says of ``pieces``, data joined, and whether it refused. An unfinished part's data does not count."""
    reader, data, refused = mime.MultipartReader(w.BOUNDARY), bytearray(), False
    said: list[tuple[mime.Event, bytes]] = []
    try:
        for piece in pieces:
            for event in reader.feed(piece):
                if isinstance(event, mime.PartData):
                    data += event.octets
                    continue
                said.append((event, bytes(data)))
                data.clear()
        reader.close()
    except EbmsError as error:
        check(error.error.code == "EBMS:0007", "a broken packaging is 0007")
        refused = True
    return said, refused


@target(lambda: _seeded(_bodies(), 0, 1), max_len=90_000)
def mime_reader(data: bytes) -> None:
    """Any split of the input gives the same events, and the same verdict."""
    if not data:
        return
    whole = _events([data[1:]])
    split = _events(pieces_of(data[1:], data[0]))
    check(whole == split, "any split of the input gives the same events")


_TYPES = (
    w.CONTENT_TYPE.encode(),
    b"application/soap+xml; charset=UTF-8",
    b'Multipart/Related; boundary="a b=c/+:d"; start="<root@x>"; type="application/soap+xml; action=x"',
    b"multipart/related; boundary*0=ab; boundary*1*=utf-8'en'%20c; type=text/xml",
    b"multipart/related;\r\n\tboundary=\xff\xfe",
    b'text/xml; a="b\\"c',
)


@target(lambda: _TYPES, max_len=10_000)
def content_type(data: bytes) -> None:
    """The HTTP Content-Type, decoded as the server does it: SOAP, multipart with a usable boundary, or 415."""
    try:
        found = mime.parse_content_type(data.decode("utf-8", "surrogateescape"))
    except HttpRefusal as refusal:
        check(refusal.status == 415, "no message is 415")
        return
    check((found.boundary is not None) == (found.media_type == "multipart/related"), "only multipart has a boundary")
    if found.boundary:
        check(1 <= len(found.boundary) <= 70, "a boundary has 1 to 70 characters")
        mime.MultipartReader(found.boundary)


# --- receiving --------------------------------------------------------------------------------------------------------


def _received() -> list[bytes]:
    world = w.world()
    messaging = w.messaging_of(world.pinned, _PARTS)
    plain = w.messaging_of(world.plain, (("part-1@stafet", "application/xml", False),))
    encryption = w.encrypted_for_us(world.pinned, _pieces(b"x", b"y"))
    head = mime.part_head(w.BOUNDARY, "part-1@stafet", "text/plain")
    whole = [w.sent(p)[1] for p in (world.pinned, world.plain, world.anchored)]
    return [
        *_seeded(whole, 0),
        *_seeded([messaging, w.messaging_of(world.anchored, _PARTS)], 1),
        *_seeded([plain], 2),
        *_seeded([compress(b"payload" * 50), compress(b"") * 2], 3),
        *_seeded([b"<a xmlns:q='urn:x'>text</a>", b"\xef\xbb\xbf<?xml version='1.0'?><a/>"], 4),
        *_seeded([encryption], 5),
        *_seeded([head, head.replace(b"binary", b"base64")], 6),
        *_seeded([b"line\r\nline\nline\r"], 7),
        *_seeded(w.samples(".mime"), 0),
    ]


def _pieces(first: bytes, second: bytes) -> tuple[w.Piece, w.Piece]:
    return w.Piece(_PARTS[0][0], names.GZIP, first), w.Piece(_PARTS[1][0], _PARTS[1][1], second)


@cache
def _gzip() -> bytes:
    return compress(b"payload" * 50)


def body_of(mark: int, octets: bytes) -> bytes:
    """The HTTP body that an input of the receiver stands for: whole, or one piece of it with the rest made to fit."""
    world = w.world()
    if mark == 1:
        return w.assemble(world.pinned, octets, _pieces(_gzip(), b"png"))
    if mark == 2:
        return w.assemble(world.plain, octets, [w.Piece("part-1@stafet", "application/xml", b"<a>b</a>")])
    if mark == 3:
        return w.assemble(world.pinned, _messaging(), _pieces(octets, b"png"))
    if mark in (4, 6, 7):
        kind = "text/plain" if mark == 7 else "application/xml"
        piece = w.Piece("part-1@stafet", kind, octets if mark != 6 else b"QUJD", octets if mark == 6 else None)
        return w.assemble(world.plain, w.messaging_of(world.plain, (("part-1@stafet", kind, False),)), [piece])
    if mark == 5:
        return w.assemble(world.pinned, _messaging(), _pieces(_gzip(), b"png"), encryption=octets)
    return octets


@cache
def _messaging() -> bytes:
    return w.messaging_of(w.world().pinned, _PARTS)


@target(_received, max_len=65_536)
def receiver(data: bytes) -> None:
    """A whole receiver with real agreements and keys; the first octet says which piece of the message is the input."""
    mark, body = (data[0], body_of(data[0] % 8, data[1:])) if data else (0, b"")
    taking: Receiver | None = None
    try:
        taking = Receiver(w.CONTENT_TYPE, w.world().partners, lambda info, pmode: w.Buffer())
        for piece in [body] if mark < 128 else pieces_of(body, mark | 1):
            taking.feed(piece)
        said = taking.finish()
    except EbmsError as error:
        check(error.error.code in CATALOGUE, "a refusal has a catalogued code")
        unsigned_error(error, message_id="e@x.example", timestamp=w.NOW)
        if taking is not None and taking.message is not None:
            check(
                error.ref_to_message_id == taking.message.message_id or _in_flight(error), "a refusal names its message"
            )
        return
    except SoapFault as fault:
        fault_envelope(fault)
        return
    if isinstance(said, Accepted):
        _accepted(said)


def _in_flight(error: EbmsError) -> bool:
    """A refusal while parts stream by: the gateway adds the message's id."""
    return not error.ref_to_message_id


def _accepted(said: Accepted) -> None:
    check(len(said.parts) == sum(p.cid is not None for p in said.message.parts), "each PartInfo has its payload")
    for part in said.parts:
        check(isinstance(part.sink, w.Buffer) and len(part.sink.octets) == part.size, "a sink has every octet")
        check(part.size <= w.MAX_SIZE, "no payload is larger than agreed")
    check(len(said.fingerprint()) == 32, "an accepted message has a fingerprint")
    check(len(said.references) == 2 + len(said.parts), "each part of it is signed")
    receipt_xml(said.references)


# --- answers ----------------------------------------------------------------------------------------------------------


@cache
def _sent() -> Message:
    return w.sent(w.world().pinned)[0]


def _answers() -> list[bytes]:
    wrapped = [
        mime.root_head(w.BOUNDARY, "r@x.example") + octets + mime.closing(w.BOUNDARY) for octets in _signals()[:2]
    ]
    content = receipt_xml(_sent().references)
    types = [
        b"multipart/related; boundary=x; type=text/xml\n--x\r\n\r\n<a/>\r\n--x--",
        b"\n<a/>",
        b"text/html\n<html/>",
    ]
    return [
        *_seeded(_signals(), 0),
        *_seeded(wrapped, 1),
        *_seeded([content], 2),
        *_seeded(types, 3),
        b"\x00",
        b"\x04 ",
    ]


@target(_answers, max_len=32_768)
def answer(data: bytes) -> None:
    """The HTTP answer to a message we sent: proof, their errors, a fault, or 0301/0302."""
    mark, octets = (data[0], data[1:]) if data else (0, b"")
    kind = ("application/soap+xml; charset=UTF-8", w.CONTENT_TYPE)[mark % 4 == 1]
    if mark % 4 == 2:
        with refusing(EbmsError):
            octets = w.signal(octets, _sent().message_id)
    elif mark % 4 == 3:
        head, _, octets = octets.partition(b"\n")
        kind = head.decode("utf-8", "surrogateescape")
    world = w.world()
    trust = world.partners.trust(world.pinned)
    try:
        proof = judge_answer(_sent(), world.pinned, trust, (200, 500, 202)[mark % 3], kind, octets)
    except EbmsError as error:
        check(error.error.code in ("EBMS:0301", "EBMS:0302"), f"an answer is 0301 or 0302, not {error.error.code}")
        return
    except RemoteError as error:
        check(error.errors, "errors are named")
        return
    except SoapFault:
        return
    check(isinstance(proof, Acknowledged) and proof.raw, "proof is kept")


# --- pieces of WS-Security --------------------------------------------------------------------------------------------


@target(
    lambda: _seeded([compress(b"a" * 5000), compress(b"") * 3, b"\x1f\x8b\x08\x1c\0\0\0\0\0\3"], 0, 1), max_len=32_768
)
def compression(data: bytes) -> None:
    """A gzip stream: the same octets however it is cut, never more than the limit, and 0303 for all else."""
    if not data:
        return
    check(_gunzip([compress(data)]) == (data, False), "what we write can be read")
    whole, refused = _gunzip([data[1:]])
    split = _gunzip(pieces_of(data[1:], data[0]))
    check(refused == split[1], "any split of a stream gives the same verdict")
    check(refused or whole == split[0], "any split of a stream gives the same octets")


def _gunzip(pieces: Iterable[bytes]) -> tuple[bytes, bool]:
    stream, out = Decompressor(1 << 20), bytearray()
    try:
        for piece in pieces:
            for found in stream.feed(piece):
                out += found
                check(len(out) <= 1 << 20, "never more than the limit comes out")
        stream.finish()
    except EbmsError as error:
        check(error.error.code == "EBMS:0303", "a broken stream is 0303")
        return bytes(out), True
    return bytes(out), False


_DIGESTED = ("application/xml", "text/plain", "image/svg+xml", "application/json")


@target(lambda: _seeded([b"<a b='c'>d</a>", b"one\r\ntwo\rthree\n\r\n", b"plain"], 0, 1, 2, 3), max_len=16_384)
def attachment_digest(data: bytes) -> None:
    """The digest of an attachment does not depend on how it arrived, and fails with a code."""
    if not data:
        return
    kind = _DIGESTED[data[0] % 4]
    found = [_digest(kind, pieces) for pieces in ([data[1:]], pieces_of(data[1:], data[0] >> 2))]
    check(found[0] == found[1], "any split of an attachment gives the same digest")


def _digest(kind: str, pieces: Iterable[bytes]) -> bytes | str:
    digest = AttachmentDigest(names.SHA256, kind)
    try:
        for piece in pieces:
            digest.update(piece)
        return digest.digest()
    except EbmsError as error:
        return error.error.code


@target(lambda: [m.to_bytes() for m in (_sent(), w.sent(w.world().plain)[0])], max_len=16_384)
def message_bytes(data: bytes) -> None:
    """Octets are a frozen message, or `ValueError` says that they are none."""
    with refusing(ValueError):
        Message.from_bytes(data)
    check(Message.from_bytes(_sent().to_bytes()) == _sent(), "freezing and thawing changes nothing")
