"""Targets that read key references, certificates, and the XML about encryption."""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from typing import cast

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint import ebms, soap
from accesspoint.errors import EbmsError, SoapFault
from accesspoint.names import DS, WSSE, X509_PKI_PATH, X509V3, tag
from accesspoint.pmode import PMode
from accesspoint.soap import Envelope
from accesspoint.tokens import parse_key_info, reference_to, same_name, token_xml
from accesspoint.xmlenc import PartDecryptor, PartEncryptor, parse_encryption, unwrap_key
from core.trust import Trust, Untrusted
from tests.fuzz import world as w
from tests.fuzz.registry import check, pieces_of, refusing, target


def _der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def _envelope(security: bytes) -> Envelope:
    """An envelope whose security header holds ``security``."""
    opened = b'<wsse:Security xmlns:wsse="%s">%s</wsse:Security>' % (WSSE.encode(), security)
    return soap.parse_envelope(ebms.envelope_xml(opened, _messaging(), ebms.body_xml("b-1")))


@cache
def _messaging() -> bytes:
    return w.messaging_of(w.world().pinned, ())


def _path(*certificates: x509.Certificate) -> bytes:
    inner = b"".join(map(_der, certificates))
    return b"\x30\x82" + len(inner).to_bytes(2, "big") + inner


def _tokens() -> list[bytes]:
    certificate, root = w.world().theirs.certificate, w.world().authority
    token = token_xml(certificate, "t-1")
    forms = [reference_to(certificate, form, "t-1") for form in ("binary-security-token", "subject-key-identifier")]
    serial = reference_to(certificate, "issuer-serial", "t-1")
    infos = [
        b'%s<ds:KeyInfo xmlns:ds="%s">%s</ds:KeyInfo>' % (token, DS.encode(), inner)
        for inner in (*forms, serial, serial[serial.index(b"<ds:X509Data") : -len(b"</wsse:SecurityTokenReference>")])
    ]
    name = certificate.issuer.rfc4514_string().encode()
    return [
        *(b"\x00" + info for info in infos),
        b"\x01" + _der(certificate),
        b"\x01" + _der(root),
        b"\x02" + _path(root, certificate),
        b"\x03" + name,
        b"\x03EMAILADDRESS=kim@municipality.example, CN=Kim\\, A + OU=x, C=DK",
        b"\x032.5.4.3=#0c0161,1.2.840.113549.1.9.1=#1603612e62",
    ]


@target(_tokens, max_len=16_384)
def tokens(data: bytes) -> None:
    """A KeyInfo: what it means, whom it fits, and whether it is believed under a pinned or a chained agreement."""
    mark, octets = (data[0] % 4, data[1:]) if data else (0, b"")
    world = w.world()
    if mark == 3:
        same_name(octets.decode("utf-8", "replace"), world.theirs.certificate.issuer)
        return
    if mark:
        kind = (X509V3 if mark == 1 else X509_PKI_PATH).encode()
        octets = _token_and_info(kind, octets)
    with refusing(EbmsError, SoapFault):
        envelope = _envelope(octets)
        assert envelope.security is not None
        reference = parse_key_info(envelope.security.find(tag(DS, "KeyInfo")), envelope.by_id)
        reference.fits(world.theirs.certificate)
        for pmode in (world.pinned, world.anchored):
            _believed(pmode, reference)


def _token_and_info(kind: bytes, octets: bytes) -> bytes:
    return (
        b'<wsse:BinarySecurityToken xmlns:wsu="http://docs.oasis-open.org/wss/2004/01/'
        b'oasis-200401-wss-wssecurity-utility-1.0.xsd" ValueType="%s" wsu:Id="t-1">%s</wsse:BinarySecurityToken>'
        b'<ds:KeyInfo xmlns:ds="%s"><wsse:SecurityTokenReference><wsse:Reference URI="#t-1"/>'
        b"</wsse:SecurityTokenReference></ds:KeyInfo>"
    ) % (kind, b64encode(octets), DS.encode())


def _believed(pmode: PMode, reference: object) -> None:
    trust = w.world().partners.trust(pmode)
    try:
        found = trust(reference)  # type: ignore[arg-type]
    except EbmsError as error:
        check(error.error.code == "EBMS:0101", "a certificate that is not believed is 0101")
        return
    check(w.world().theirs.certificate in found, "nobody but the partner is believed")


@target(lambda: [_der(w.world().theirs.certificate), _der(w.world().authority)], max_len=8192)
def certificates(data: bytes) -> None:
    """A certificate of the peer's making, judged under our anchors: believed, or `Untrusted`."""
    try:
        certificate = x509.load_der_x509_certificate(data)
    except Exception:  # what the library refuses is the business of the target `tokens`
        return
    with refusing(Untrusted):
        Trust((w.world().authority,), (), "municipality").check_chain((certificate,), w.NOW)


def _encryptions() -> list[bytes]:
    pieces = (w.Piece("a@x", "image/png", b""), w.Piece("b@x", "application/gzip", b""))
    xml = w.encrypted_for_us(w.world().pinned, pieces)
    key = w.entropy(16)
    cipher = PartEncryptor(key, w.entropy(12))
    part = cipher.head + cipher.update(b"secret" * 10) + cipher.finish()
    return [b"\x00" + xml, b"\x01" + part, b"\x03" + part]


@target(_encryptions, max_len=32_768)
def encryption(data: bytes) -> None:
    """The XML about encryption (even inputs) and an encrypted part in any split (odd inputs)."""
    mark, octets = (data[0], data[1:]) if data else (0, b"")
    if mark % 2:
        found = [_decrypted([octets]), _decrypted(pieces_of(octets, mark >> 1))]
        check(found[0] == found[1], "any split of an encrypted part gives the same octets and verdict")
        return
    with refusing(EbmsError, SoapFault):
        said = parse_encryption(envelope := _envelope(octets), w.world().pinned.profile)
        if said is None:
            return
        check(set(said.key.refers_to) == {p.id for p in said.parts.values()}, "the key is for the parts it lists")
        ours = w.world().ours
        parse_key_info(said.key.key_info, envelope.by_id).fits(ours.certificate)
        unwrap_key(cast(rsa.RSAPrivateKey, ours.key), said.key, 16)


def _decrypted(pieces: list[bytes]) -> tuple[bytes, bool]:
    decryptor, out = PartDecryptor(w.entropy(16)), bytearray()
    for piece in pieces:
        out += decryptor.update(piece)
    try:
        decryptor.finish()
    except EbmsError as error:
        check(error.error.code == "EBMS:0102", "what cannot be decrypted is 0102")
        return bytes(out), True
    return bytes(out), False
