"""XML Encryption for attachments: the content key, the streams, and the XML about them [XMLENC11, WSS-SwA §5].

Rules:

1. A part is IV (12 octets), ciphertext, tag (16 octets), raw, no additional data; an IV is never used twice under a key.
2. Decryption failures all look alike: unwrap, tag, length. Nothing decrypted counts before its tag is checked.
3. Ciphertext is in no digest, so it is made while sending and never stored.

The content key is wrapped with RSA-OAEP here, or under an agreed key in `accesspoint.agreement`: the receiver's certificate says
which.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, cast

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from accesspoint import agreement, names
from accesspoint.agreement import Agreement, Wrapped
from accesspoint.errors import FAILED_DECRYPTION, POLICY_NONCOMPLIANCE, EbmsError
from accesspoint.names import DS, WSSE, WSSE11, XENC, XENC11, tag
from accesspoint.profiles import Profile
from accesspoint.soap import Element, Envelope
from accesspoint.tokens import Form, decode64, reference_to, token_xml
from accesspoint.xmltext import attribute

IV: Final = 12
TAG: Final = 16
KEY_SIZES: Final = {names.AES128_GCM: 16, names.AES256_GCM: 32}


def _fail() -> EbmsError:
    return EbmsError(FAILED_DECRYPTION, field="EncryptedData", cause="could not be decrypted")


def _policy(field: str, cause: str, remedy: str = "") -> EbmsError:
    return EbmsError(POLICY_NONCOMPLIANCE, field=field, cause=cause, remedy=remedy)


class PartEncryptor:
    """Encrypts one part as it flows: `head`, then `update`s, then `finish`."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        self.head = iv
        self._stream = Cipher(algorithms.AES(key), modes.GCM(iv)).encryptor()

    def update(self, octets: bytes | memoryview) -> bytes:
        """Ciphertext of the next octets, same length."""
        return self._stream.update(octets)

    def finish(self) -> bytes:
        """The tag."""
        return self._stream.finalize() + self._stream.tag


class PartDecryptor:
    """Decrypts one part as it flows. What `update` gives is not to be believed before `finish` has returned."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._held = b""
        self._stream: object = None

    def update(self, octets: bytes) -> bytes:
        """Plain octets of all but the last sixteen seen, which may be the tag."""
        data = self._held + octets if self._held else octets
        if self._stream is None:
            if len(data) < IV + TAG:
                self._held = data
                return b""
            self._stream = Cipher(algorithms.AES(self._key), modes.GCM(data[:IV])).decryptor()
            data = data[IV:]
        if len(data) <= TAG:
            self._held = data
            return b""
        self._held = data[-TAG:]
        plain: bytes = self._stream.update(memoryview(data)[:-TAG])  # type: ignore[attr-defined]
        return plain

    def finish(self) -> None:
        """Check the tag. Raises `EbmsError` 0102 when it is wrong or the part is too short to have one."""
        if self._stream is None or len(self._held) != TAG:
            raise _fail()
        try:
            self._stream.finalize_with_tag(self._held)  # type: ignore[attr-defined]
        except InvalidTag:
            raise _fail() from None


# --- the content key --------------------------------------------------------------------------------------------------

_OAEP_HASHES: Final[dict[str, type[hashes.HashAlgorithm]]] = {
    names.SHA1: hashes.SHA1,
    names.SHA256: hashes.SHA256,
    names.SHA384: hashes.SHA384,
    names.SHA512: hashes.SHA512,
}
_MASKS: Final[dict[str, type[hashes.HashAlgorithm]]] = {names.MGF1_SHA1: hashes.SHA1, names.MGF1_SHA256: hashes.SHA256}


def _oaep(digest: str, mask: str) -> padding.OAEP:
    return padding.OAEP(mgf=padding.MGF1(_MASKS[mask]()), algorithm=_OAEP_HASHES[digest](), label=None)


DecryptionKey = rsa.RSAPrivateKey | x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey
"""A private key that a content key can be wrapped for."""


def way_to(certificate: x509.Certificate) -> str:
    """How a content key reaches the holder of a certificate's private key: RSA-OAEP, an agreement, or "" for no way."""
    public_key = certificate.public_key()
    return names.RSA_OAEP if isinstance(public_key, rsa.RSAPublicKey) else agreement.method_for(public_key)


def wrap_key(certificate: x509.Certificate, key: bytes, entropy: Callable[[int], bytes]) -> Wrapped:
    """The content key for the holder of a certificate's private key.

    RSA: OAEP with SHA-256 and MGF1-SHA256. X25519 and elliptic curves: a fresh agreement. Raises `ValueError` for a certificate
    whose key nothing can be wrapped for.
    """
    public_key = certificate.public_key()
    if isinstance(public_key, rsa.RSAPublicKey):
        return Wrapped(public_key.encrypt(key, _oaep(names.SHA256, names.MGF1_SHA256)))
    if not agreement.method_for(public_key):
        raise ValueError("nothing can be encrypted for this key: it is for signing only, or on a curve not known here")
    return agreement.wrap(cast(agreement.PublicKey, public_key), key, entropy)


@dataclass(frozen=True)
class EncryptedKey:
    """A parsed ``xenc:EncryptedKey``; ``key_info`` is left to be resolved against our own certificates."""

    algorithm: str
    digest: str
    mask: str
    key_info: Element | None
    value: bytes
    refers_to: tuple[str, ...]
    agreement: Agreement | None = None


@dataclass(frozen=True)
class EncryptedPart:
    """A parsed ``xenc:EncryptedData`` about one attachment."""

    id: str
    algorithm: str
    cid: str
    media_type: str


@dataclass(frozen=True)
class Encryption:
    """What the header says about encryption: one key, and each encrypted part by Content-ID."""

    key: EncryptedKey
    parts: dict[str, EncryptedPart]


def unwrap_key(private_key: DecryptionKey, encrypted: EncryptedKey, size: int) -> bytes:
    """The content key. Raises `EbmsError` 0102, the same whatever went wrong."""
    if isinstance(private_key, rsa.RSAPrivateKey) == (encrypted.agreement is not None):
        raise _fail()
    if isinstance(private_key, rsa.RSAPrivateKey):
        try:
            key = private_key.decrypt(encrypted.value, _oaep(encrypted.digest, encrypted.mask))
        except ValueError:
            raise _fail() from None
    else:
        assert encrypted.agreement is not None
        key = agreement.unwrap(private_key, encrypted.agreement, encrypted.value)
    if len(key) != size:
        raise _fail()
    return key


# --- reading ----------------------------------------------------------------------------------------------------------


def _id(element: Element) -> str:
    return element.get("Id") or element.get(tag(names.WSU, "Id")) or ""


def _demand(what: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise _policy(what, f"{value} is not agreed", f"use {allowed[0]}")


def _encrypted_key(element: Element, profile: Profile) -> EncryptedKey:
    """The content key as it came. Raises 0103 unless the way it is wrapped is the profile's."""
    method = element.find(tag(XENC, "EncryptionMethod"))
    value = element.find(f"{tag(XENC, 'CipherData')}/{tag(XENC, 'CipherValue')}")
    if method is None or value is None or len(value):
        raise _policy("EncryptedKey", "has no method or no plain cipher value")
    algorithm = method.get("Algorithm") or ""
    _demand("EncryptedKey/EncryptionMethod", algorithm, profile.key_transports)
    digest, mask = method.find(tag(DS, "DigestMethod")), method.find(tag(XENC11, "MGF"))
    agreed = element.find(f"{tag(DS, 'KeyInfo')}/{tag(XENC, 'AgreementMethod')}")
    named = (agreed.get("Algorithm") or "") if agreed is not None else "no key agreement"
    if profile.key_agreements:
        _demand("AgreementMethod", named, profile.key_agreements)
    elif agreed is not None:
        raise _policy("AgreementMethod", f"{named} is not agreed", f"use {algorithm} alone")
    parsed = agreement.parse_agreement(agreed) if agreed is not None else None
    key = EncryptedKey(
        algorithm,
        (digest.get("Algorithm") or "") if digest is not None else names.SHA1,
        (mask.get("Algorithm") or "") if mask is not None and algorithm == names.RSA_OAEP else names.MGF1_SHA1,
        parsed.recipient if parsed is not None else element.find(tag(DS, "KeyInfo")),
        decode64(value.text, "EncryptedKey/CipherValue"),
        tuple((r.get("URI") or "").removeprefix("#") for r in element.iterfind(f".//{tag(XENC, 'DataReference')}")),
        parsed,
    )
    if parsed is None:
        _demand("EncryptedKey/DigestMethod", key.digest, profile.oaep_digests)
        _demand("EncryptedKey/MGF", key.mask, profile.mask_functions)
    return key


def _encrypted_part(element: Element) -> EncryptedPart:
    reference = element.find(f"{tag(XENC, 'CipherData')}/{tag(XENC, 'CipherReference')}")
    method = element.find(tag(XENC, "EncryptionMethod"))
    if reference is None or method is None:
        raise _policy("EncryptedData", "is not about an attachment", "encrypt the attachments and nothing else")
    if element.get("Type") != names.ATTACHMENT_CONTENT_ONLY:
        raise _policy("EncryptedData/@Type", "is not Attachment-Content-Only")
    transforms = [t.get("Algorithm") for t in reference.iterfind(f"{tag(XENC, 'Transforms')}/{tag(DS, 'Transform')}")]
    uri = reference.get("URI") or ""
    if transforms != [names.ATTACHMENT_CIPHERTEXT] or not uri.startswith("cid:"):
        raise _policy("CipherReference", "is not an attachment with the ciphertext transform")
    return EncryptedPart(
        _id(element), method.get("Algorithm") or "", uri[4:], element.get("MimeType") or "application/octet-stream"
    )


def parse_encryption(envelope: Envelope, profile: Profile) -> Encryption | None:
    """What the security header says about encryption; None when it says nothing.

    Raises `EbmsError` 0103 for an algorithm not agreed, several keys, or data that is not an attachment.
    """
    security = envelope.security
    if security is None:
        return None
    keys = security.findall(tag(XENC, "EncryptedKey"))
    data = security.findall(tag(XENC, "EncryptedData"))
    if not keys and not data:
        return None
    if len(keys) != 1:
        raise _policy("EncryptedKey", "is missing" if not keys else "occurs more than once")
    key = _encrypted_key(keys[0], profile)
    parts = [_encrypted_part(e) for e in data]
    for part in parts:
        _demand("EncryptedData/EncryptionMethod", part.algorithm, profile.encryptions)
    ids = [p.id for p in parts]
    if len({p.cid for p in parts}) != len(parts) or "" in ids or sorted(key.refers_to) != sorted(ids):
        raise _policy("ReferenceList", "does not name each encrypted part once")
    return Encryption(key, {p.cid: p for p in parts})


# --- writing ----------------------------------------------------------------------------------------------------------


def encryption_xml(
    certificate: x509.Certificate, form: Form, wrapped: Wrapped, parts: Sequence[tuple[str, str]], token_id: str
) -> bytes:
    """Token, ``xenc:EncryptedKey`` and one ``xenc:EncryptedData`` per (Content-ID, media type), as canonical octets."""
    key_id, ids = f"EK-{token_id}", [f"ED-{token_id}-{i}" for i in range(len(parts))]
    token = token_xml(certificate, token_id) if form == "binary-security-token" else b""
    references = b"".join(b'<xenc:DataReference URI="#%s"></xenc:DataReference>' % attribute(i) for i in ids)
    key = b"".join(
        (
            b'<xenc:EncryptedKey xmlns:xenc="%s" Id="%s">' % (XENC.encode(), attribute(key_id)),
            _AGREED_METHOD if wrapped.agreement else _RSA_METHOD,
            b'<ds:KeyInfo xmlns:ds="%s">' % DS.encode(),
            b"%s<xenc:RecipientKeyInfo>" % wrapped.agreement if wrapped.agreement else b"",
            reference_to(certificate, form, token_id),
            b"</xenc:RecipientKeyInfo></xenc:AgreementMethod>" if wrapped.agreement else b"",
            b"</ds:KeyInfo><xenc:CipherData><xenc:CipherValue>%s</xenc:CipherValue></xenc:CipherData>"
            % b64encode(wrapped.value),
            b"<xenc:ReferenceList>%s</xenc:ReferenceList></xenc:EncryptedKey>" % references,
        )
    )
    data = (_part_xml(i, key_id, cid, kind) for i, (cid, kind) in zip(ids, parts, strict=True))
    return token + key + b"".join(data)


_RSA_METHOD: Final = b"".join(
    (
        b'<xenc:EncryptionMethod Algorithm="%s">' % names.RSA_OAEP.encode(),
        b'<ds:DigestMethod xmlns:ds="%s" Algorithm="%s"></ds:DigestMethod>' % (DS.encode(), names.SHA256.encode()),
        b'<xenc11:MGF xmlns:xenc11="%s" Algorithm="%s"></xenc11:MGF></xenc:EncryptionMethod>'
        % (XENC11.encode(), names.MGF1_SHA256.encode()),
    )
)
_AGREED_METHOD: Final = b'<xenc:EncryptionMethod Algorithm="%s"></xenc:EncryptionMethod>' % names.KW_AES128.encode()


def _part_xml(part_id: str, key_id: str, cid: str, media_type: str) -> bytes:
    return b"".join(
        (
            b'<xenc:EncryptedData xmlns:xenc="%s" Id="%s" MimeType="%s" Type="%s">'
            % (XENC.encode(), attribute(part_id), attribute(media_type), names.ATTACHMENT_CONTENT_ONLY.encode()),
            b'<xenc:EncryptionMethod Algorithm="%s"></xenc:EncryptionMethod>' % names.AES128_GCM.encode(),
            b'<ds:KeyInfo xmlns:ds="%s"><wsse:SecurityTokenReference xmlns:wsse="%s" xmlns:wsse11="%s" wsse11:TokenType="%s">'
            % (DS.encode(), WSSE.encode(), WSSE11.encode(), names.ENCRYPTED_KEY_TOKEN.encode()),
            b'<wsse:Reference URI="#%s"></wsse:Reference></wsse:SecurityTokenReference></ds:KeyInfo>'
            % attribute(key_id),
            b'<xenc:CipherData><xenc:CipherReference URI="cid:%s"><xenc:Transforms>' % attribute(cid),
            b'<ds:Transform xmlns:ds="%s" Algorithm="%s"></ds:Transform></xenc:Transforms></xenc:CipherReference>'
            % (DS.encode(), names.ATTACHMENT_CIPHERTEXT.encode()),
            b"</xenc:CipherData></xenc:EncryptedData>",
        )
    )
