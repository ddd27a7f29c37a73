"""Key references: how a message says which certificate it means [WSS-X509 §3].

Rules:

1. ``KeyInfo`` only *selects* among certificates we already have reason to believe for this partner, or hands over a chain that
   must still be validated. It never brings trust with it, and ``ds:KeyValue`` is ignored.
2. Several certificates may share a subject key identifier (renewal, or malice): all that fit are returned, none is preferred.
3. Names are compared by structure, in both orders, never as strings.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from accesspoint.errors import FAILED_AUTHENTICATION, EbmsError
from accesspoint.names import BASE64, DS, THUMBPRINT_SHA1, WSSE, WSU, X509_PKI_PATH, X509_SKI, X509V3, tag
from accesspoint.soap import Element
from accesspoint.xmltext import attribute, text

Form = Literal["binary-security-token", "subject-key-identifier", "issuer-serial"]
"""How we refer to a certificate when sending."""

_MALFORMED: Final = (x509.InvalidVersion, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)
"""What the library raises for broken certificates beside `ValueError`."""
_STR: Final = tag(WSSE, "SecurityTokenReference")
_BST: Final = tag(WSSE, "BinarySecurityToken")


@dataclass(frozen=True, slots=True)
class KeyReference:
    """What a KeyInfo says: exactly one of a chain (leaf first), an SKI, issuer and serial, or a SHA-1 thumbprint."""

    chain: tuple[x509.Certificate, ...] = ()
    ski: bytes | None = None
    issuer: str | None = None
    serial: int | None = None
    thumbprint: bytes | None = None

    def fits(self, certificate: x509.Certificate) -> bool:
        """Whether this reference means ``certificate``."""
        if self.chain:
            return self.chain[0] == certificate
        if self.ski is not None:
            return subject_key_identifier(certificate) == self.ski
        if self.thumbprint is not None:
            return hashlib.sha1(der(certificate), usedforsecurity=False).digest() == self.thumbprint
        return self.serial == certificate.serial_number and same_name(self.issuer or "", certificate.issuer)


def _fail(cause: str) -> EbmsError:
    return EbmsError(FAILED_AUTHENTICATION, field="KeyInfo", cause=cause)


def decode64(value: str | None, what: str = "KeyInfo") -> bytes:
    """Base64 with any XML white space. Raises 0101 naming ``what``."""
    try:
        return b64decode("".join((value or "").split()), validate=True)
    except (binascii.Error, ValueError):
        raise EbmsError(FAILED_AUTHENTICATION, field=what, cause="is not base64") from None


@lru_cache(maxsize=1024)
def load_certificate(octets: bytes) -> x509.Certificate:
    """DER to a certificate, cached by content (parsing costs more than verifying). Raises 0101.

    The library reads names and extensions when they are asked for; all are asked for here, so that nothing breaks later.
    """
    try:
        certificate = x509.load_der_x509_certificate(octets)
        certificate.public_key()
        for read in (certificate.subject, certificate.issuer, certificate.extensions):
            assert read is not None
    except (ValueError, TypeError, UnsupportedAlgorithm, *_MALFORMED):
        raise _fail("the certificate cannot be read") from None
    return certificate


@lru_cache(maxsize=1024)
def der(certificate: x509.Certificate) -> bytes:
    """A certificate's DER octets, cached."""
    return certificate.public_bytes(serialization.Encoding.DER)


@lru_cache(maxsize=1024)
def fingerprint(certificate: x509.Certificate) -> bytes:
    """SHA-256 of a certificate's DER octets, cached."""
    return hashlib.sha256(der(certificate)).digest()


@lru_cache(maxsize=1024)
def subject_key_identifier(certificate: x509.Certificate) -> bytes:
    """Extension 2.5.29.14, or SHA-1 over the public key bits where it is missing, as the Java stacks do."""
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except x509.ExtensionNotFound:
        return x509.SubjectKeyIdentifier.from_public_key(certificate.public_key()).digest


_KEYWORDS: Final = {
    **{"CN": "2.5.4.3", "SERIALNUMBER": "2.5.4.5", "C": "2.5.4.6", "L": "2.5.4.7", "ST": "2.5.4.8", "S": "2.5.4.8"},
    **{"STREET": "2.5.4.9", "O": "2.5.4.10", "OU": "2.5.4.11", "ORGANIZATIONIDENTIFIER": "2.5.4.97"},
    **{"DC": "0.9.2342.19200300.100.1.25", "UID": "0.9.2342.19200300.100.1.1"},
    **dict.fromkeys(("E", "EMAILADDRESS"), "1.2.840.113549.1.9.1"),
}
"""Those of RFC 4514 and those that .NET, OpenSSL and the Java stacks write beside them."""
_ATTRIBUTE: Final = re.compile(
    r"\s*+(?:OID\.)?+([\w.-]++)\s*+=\s*+(?:\#([0-9A-F]++)\s*+|\"((?:[^\"\\]|\\.)*+)\"\s*+|((?:[^,+;\"\\]|\\.)*+))([,+;]|\Z)",
    re.ASCII | re.DOTALL | re.IGNORECASE,
)
_ESCAPED: Final = re.compile(r"((?:\\[0-9A-Fa-f]{2})++)|\\(.)", re.DOTALL)
_STRINGS: Final = {0x0C: "utf-8", 0x13: "ascii", 0x14: "latin-1", 0x16: "ascii", 0x1E: "utf-16-be"}


def same_name(written: str, name: x509.Name) -> bool:
    """Whether an RFC 1779, 2253 or 4514 string is this name; both orders of the RDNs occur on the wire."""
    try:
        theirs = _parse_name(written)
    except (ValueError, LookupError):
        return False
    ours = [{(a.oid.dotted_string, str(a.value).strip()) for a in rdn} for rdn in name.rdns]
    return theirs in (ours, ours[::-1])


def _parse_name(written: str) -> list[set[tuple[str, str]]]:
    """The RDNs in the order they are written. Raises `ValueError` or `LookupError` for what is no name."""
    rdns: list[set[tuple[str, str]]] = []
    at, separator = 0, ","
    while separator:
        found = _ATTRIBUTE.match(written, at)
        if found is None:
            raise ValueError("no attribute")
        key, encoded, quoted, plain, following = found.groups()
        kind = key if key[0].isdigit() else _KEYWORDS[key.upper()]
        value = _decoded(bytes.fromhex(encoded)) if encoded else _unescaped(quoted if plain is None else plain)
        if separator != "+":
            rdns.append(set())
        rdns[-1].add((kind, value.strip()))
        at, separator = found.end(), following
    return rdns


def _unescaped(value: str) -> str:
    return _ESCAPED.sub(lambda m: bytes.fromhex(m[1].replace("\\", "")).decode() if m[1] else m[2], value)


def _decoded(octets: bytes) -> str:
    """The string in a DER element, as Java writes every attribute that RFC 2253 has no keyword for."""
    header = 2 if octets[1] < 0x80 else 3
    if len(octets) != header + octets[header - 1]:
        raise ValueError("not one DER string of at most 255 octets")
    return octets[header:].decode(_STRINGS[octets[0]])


def _pki_path(octets: bytes) -> tuple[x509.Certificate, ...]:
    """A DER SEQUENCE OF Certificate, anchor side first: returned leaf first."""
    found, rest = [], _inside_sequence(octets)
    while rest:
        length = _der_length(rest)
        found.append(load_certificate(rest[:length]))
        rest = rest[length:]
    if not found:
        raise _fail("the certificate path is empty")
    return tuple(reversed(found))


def _der_length(octets: bytes) -> int:
    """Octets of the first DER element (header and content)."""
    if len(octets) < 2 or octets[0] != 0x30:
        raise _fail("the certificate path is not DER")
    first = octets[1]
    if first < 0x80:
        total = 2 + first
    else:
        size = first & 0x7F
        if not 1 <= size <= 4 or len(octets) < 2 + size:
            raise _fail("the certificate path is not DER")
        total = 2 + size + int.from_bytes(octets[2 : 2 + size], "big")
    if total > len(octets):
        raise _fail("the certificate path is cut short")
    return total


def _inside_sequence(octets: bytes) -> bytes:
    total = _der_length(octets)
    if total != len(octets):
        raise _fail("the certificate path has trailing octets")
    return octets[2:] if octets[1] < 0x80 else octets[2 + (octets[1] & 0x7F) :]


def _token(element: Element) -> KeyReference:
    if element.tag != _BST:
        raise _fail("the reference does not lead to a BinarySecurityToken")
    octets, kind = decode64(element.text, "BinarySecurityToken"), element.get("ValueType")
    if kind == X509_PKI_PATH:
        return KeyReference(chain=_pki_path(octets))
    if kind in (X509V3, None):
        return KeyReference(chain=(load_certificate(octets),))
    raise _fail("the token's ValueType is not supported")


def _x509_data(element: Element) -> KeyReference:
    for child in element:
        if child.tag == tag(DS, "X509IssuerSerial"):
            serial = (child.findtext(tag(DS, "X509SerialNumber")) or "").strip()
            if not serial.removeprefix("-").isdecimal() or len(serial) > 80:
                raise _fail("the serial number is not decimal")
            return KeyReference(issuer=child.findtext(tag(DS, "X509IssuerName")) or "", serial=int(serial))
        if child.tag == tag(DS, "X509SKI"):
            return KeyReference(ski=decode64(child.text))
        if child.tag == tag(DS, "X509Certificate"):
            return KeyReference(chain=(load_certificate(decode64(child.text)),))
    raise _fail("the X509Data form is not supported")


def parse_key_info(key_info: Element | None, by_id: Mapping[str, Element]) -> KeyReference:
    """Any supported KeyInfo. Raises `EbmsError` 0101 for one that is missing, broken or not supported."""
    if key_info is None:
        raise _fail("is missing")
    children = list(key_info)
    if len(children) == 1 and children[0].tag == tag(DS, "X509Data"):
        return _x509_data(children[0])
    if len(children) != 1 or children[0].tag != _STR:
        raise _fail("is neither a SecurityTokenReference nor X509Data")
    inner = list(children[0])
    if len(inner) != 1:
        raise _fail("the SecurityTokenReference is not exactly one reference")
    item = inner[0]
    if item.tag == tag(WSSE, "Reference"):
        uri = item.get("URI") or ""
        target = by_id.get(uri[1:]) if uri.startswith("#") else None
        if target is None:
            raise _fail("the token it refers to is not in the message")
        return _token(target)
    if item.tag == tag(WSSE, "KeyIdentifier"):
        kind = item.get("ValueType")
        if kind == X509_SKI:
            return KeyReference(ski=decode64(item.text))
        if kind == THUMBPRINT_SHA1:
            return KeyReference(thumbprint=decode64(item.text))
        raise _fail("the KeyIdentifier's ValueType is not supported")
    if item.tag == tag(DS, "X509Data"):
        return _x509_data(item)
    raise _fail("the reference form is not supported")


def is_token(key_info: Element | None, by_id: Mapping[str, Element]) -> bool:
    """Whether a KeyInfo, whatever it holds, leads to a BinarySecurityToken that says it is X509v3."""
    references = () if key_info is None else key_info.iterfind(f"{_STR}/{tag(WSSE, 'Reference')}")
    targets = [by_id.get((reference.get("URI") or "")[1:]) for reference in references]
    return [t.get("ValueType") for t in targets if t is not None and t.tag == _BST] == [X509V3]


def candidates(reference: KeyReference, certificates: Sequence[x509.Certificate]) -> list[x509.Certificate]:
    """Those of ``certificates`` that the reference means."""
    return [c for c in certificates if reference.fits(c)]


# --- writing ----------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=256)
def token_xml(certificate: x509.Certificate, wsu_id: str) -> bytes:
    """A BinarySecurityToken X509v3, as exclusive canonical octets."""
    return (
        b'<wsse:BinarySecurityToken xmlns:wsse="%s" xmlns:wsu="%s" EncodingType="%s" ValueType="%s" wsu:Id="%s">%s'
        b"</wsse:BinarySecurityToken>"
        % (
            WSSE.encode(),
            WSU.encode(),
            BASE64.encode(),
            X509V3.encode(),
            attribute(wsu_id),
            b64encode(der(certificate)),
        )
    )


@lru_cache(maxsize=256)
def reference_to(certificate: x509.Certificate, form: Form, token_id: str) -> bytes:
    """The ``wsse:SecurityTokenReference`` in our chosen form, to stand in a ``ds:KeyInfo`` that declares ``ds``."""
    if form == "binary-security-token":
        inner = b'<wsse:Reference URI="#%s" ValueType="%s"></wsse:Reference>' % (attribute(token_id), X509V3.encode())
    elif form == "subject-key-identifier":
        inner = b'<wsse:KeyIdentifier EncodingType="%s" ValueType="%s">%s</wsse:KeyIdentifier>' % (
            BASE64.encode(),
            X509_SKI.encode(),
            b64encode(subject_key_identifier(certificate)),
        )
    else:
        inner = (
            b"<ds:X509Data><ds:X509IssuerSerial><ds:X509IssuerName>%s</ds:X509IssuerName>"
            b"<ds:X509SerialNumber>%d</ds:X509SerialNumber></ds:X509IssuerSerial></ds:X509Data>"
            % (text(certificate.issuer.rfc4514_string()), certificate.serial_number)
        )
    return b'<wsse:SecurityTokenReference xmlns:wsse="%s">%s</wsse:SecurityTokenReference>' % (WSSE.encode(), inner)
