"""Key agreement: how the content key reaches the holder of an X25519 or elliptic curve key [XMLENC11 §5.6, RFC 9231].

Rules:

1. A fresh key of our own agrees with the receiver's; HKDF-SHA256 makes the key-wrapping key of it; AES key wrap carries the
   content key. Nothing of ours is kept: the fresh key is forgotten once the message is built.
2. One derivation only: HKDF with HMAC-SHA256 and sixteen octets. What names another is refused before anything is computed.
3. The other side's point must lie on our key's own curve; an agreement on nothing (a point of small order) fails.
4. Whatever fails while unwrapping looks like every other decryption failure.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from accesspoint import names
from accesspoint.errors import FAILED_DECRYPTION, POLICY_NONCOMPLIANCE, EbmsError
from accesspoint.names import DSIG11, DSIG_MORE, XENC, XENC11, tag
from accesspoint.soap import Element
from accesspoint.tokens import decode64

PrivateKey = x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey
PublicKey = x25519.X25519PublicKey | ec.EllipticCurvePublicKey

_KEK: Final = 16
_SALT: Final = 16
_CURVES: Final[dict[str, ec.EllipticCurve]] = {
    "urn:oid:1.2.840.10045.3.1.7": ec.SECP256R1(),
    "urn:oid:1.3.132.0.34": ec.SECP384R1(),
    "urn:oid:1.3.132.0.35": ec.SECP521R1(),
    "urn:oid:1.3.36.3.3.2.8.1.1.7": ec.BrainpoolP256R1(),
    "urn:oid:1.3.36.3.3.2.8.1.1.11": ec.BrainpoolP384R1(),
    "urn:oid:1.3.36.3.3.2.8.1.1.13": ec.BrainpoolP512R1(),
}
_CURVE_NAMES: Final = {curve.name: uri for uri, curve in _CURVES.items()}


@dataclass(frozen=True)
class Agreement:
    """A parsed ``xenc:AgreementMethod``; ``recipient`` is left to be resolved against our own certificates."""

    algorithm: str
    salt: bytes
    info: bytes
    originator: PublicKey
    recipient: Element | None


def _policy(field: str, cause: str, remedy: str = "") -> EbmsError:
    return EbmsError(POLICY_NONCOMPLIANCE, field=field, cause=cause, remedy=remedy)


def _fail() -> EbmsError:
    return EbmsError(FAILED_DECRYPTION, field="EncryptedData", cause="could not be decrypted")


def _derive(shared: bytes, salt: bytes, info: bytes) -> bytes:
    # An absent salt is a string of zeros as long as the hash [RFC 5869 §2.2], which is what None means to the library.
    return HKDF(hashes.SHA256(), _KEK, salt or None, info).derive(shared)


def method_for(public_key: object) -> str:
    """The agreement that reaches the holder of a public key; "" for none: another kind of key, or a curve without a name here."""
    if isinstance(public_key, x25519.X25519PublicKey):
        return names.X25519
    named = isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name in _CURVE_NAMES
    return names.ECDH_ES if named else ""


# --- unwrapping -------------------------------------------------------------------------------------------------------


def unwrap(private_key: PrivateKey, agreement: Agreement, wrapped: bytes) -> bytes:
    """The content key. Raises `EbmsError` 0102, the same whatever went wrong."""
    try:
        kek = _derive(_exchange(private_key, agreement.originator), agreement.salt, agreement.info)
        return aes_key_unwrap(kek, wrapped)
    except (ValueError, InvalidUnwrap):
        raise _fail() from None


def _exchange(private_key: PrivateKey, public_key: PublicKey) -> bytes:
    """The shared secret. Raises `ValueError` for keys of different kinds or curves, and for a secret of zeros."""
    if isinstance(private_key, x25519.X25519PrivateKey):
        if not isinstance(public_key, x25519.X25519PublicKey):
            raise ValueError("another kind of key")
        return private_key.exchange(public_key)
    if not isinstance(public_key, ec.EllipticCurvePublicKey):
        raise ValueError("another kind of key")
    return private_key.exchange(ec.ECDH(), public_key)


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_agreement(element: Element) -> Agreement:
    """An ``xenc:AgreementMethod``. Raises `EbmsError` 0103 for a derivation or an originator key that is not supported."""
    salt, info = _derivation(element.find(tag(XENC11, "KeyDerivationMethod")))
    algorithm = element.get("Algorithm") or ""
    return Agreement(
        algorithm, salt, info, _originator(element, algorithm), element.find(tag(XENC, "RecipientKeyInfo"))
    )


def _derivation(method: Element | None) -> tuple[bytes, bytes]:
    found = (method.get("Algorithm") or "") if method is not None else ""
    parameters = method.find(tag(DSIG_MORE, "HKDFParams")) if method is not None else None
    if found != names.HKDF or parameters is None:
        raise _policy("KeyDerivationMethod", f"{found or 'none'} is not agreed", f"use {names.HKDF}")
    prf, length = parameters.find(tag(DSIG_MORE, "PRF")), parameters.findtext(tag(DSIG_MORE, "KeyLength"))
    if prf is None or prf.get("Algorithm") != names.HMAC_SHA256:
        raise _policy("HKDFParams/PRF", "is not HMAC-SHA256", f"use {names.HMAC_SHA256}")
    if length is not None and length.strip() != str(_KEK):
        raise _policy("HKDFParams/KeyLength", "is not 16 octets", "derive 16 octets")
    salt, info = (parameters.findtext(tag(DSIG_MORE, name)) for name in ("Salt", "Info"))
    return decode64(salt, "HKDFParams/Salt"), decode64(info, "HKDFParams/Info")


def _originator(element: Element, algorithm: str) -> PublicKey:
    wanted: type[PublicKey] = x25519.X25519PublicKey if algorithm == names.X25519 else ec.EllipticCurvePublicKey
    holder = element.find(tag(XENC, "OriginatorKeyInfo"))
    field = "OriginatorKeyInfo"
    if holder is None:
        raise _policy(field, "is missing")
    der = holder.findtext(f".//{tag(DSIG11, 'DEREncodedKeyValue')}")
    curve = holder.find(f".//{tag(DSIG11, 'ECKeyValue')}")
    try:
        if der is not None:
            key: object = serialization.load_der_public_key(decode64(der, field))
        elif curve is not None:
            key = _point(curve, field)
        else:
            raise ValueError("no key")
    except (ValueError, UnsupportedAlgorithm):
        raise _policy(field, "holds no key that can be read") from None
    if not isinstance(key, wanted):
        raise _policy(field, f"holds no key for {algorithm.rpartition('#')[2] or 'this agreement'}")
    return key


def _point(element: Element, field: str) -> ec.EllipticCurvePublicKey:
    named = element.find(tag(DSIG11, "NamedCurve"))
    curve = _CURVES.get(named.get("URI") or "") if named is not None else None
    if curve is None:
        raise ValueError("no known curve")
    octets = decode64(element.findtext(tag(DSIG11, "PublicKey")), field)
    return ec.EllipticCurvePublicKey.from_encoded_point(curve, octets)


# --- wrapping ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Wrapped:
    """A wrapped content key. ``agreement`` is the canonical XML of the agreement up to RecipientKeyInfo; b"" for RSA."""

    value: bytes
    agreement: bytes = b""


def wrap(public_key: PublicKey, key: bytes, entropy: Callable[[int], bytes]) -> Wrapped:
    """The content key for the holder of ``public_key``'s private key, under a fresh key of ours.

    There is a method for the key: `method_for` says so.
    """
    salt = entropy(_SALT)
    if isinstance(public_key, x25519.X25519PublicKey):
        own = x25519.X25519PrivateKey.from_private_bytes(entropy(32))
        shared, algorithm, originator = own.exchange(public_key), names.X25519, _der_xml(own.public_key())
    else:
        fresh = ec.generate_private_key(public_key.curve)
        shared = fresh.exchange(ec.ECDH(), public_key)
        algorithm, originator = names.ECDH_ES, _point_xml(fresh.public_key())
    return Wrapped(aes_key_wrap(_derive(shared, salt, b""), key), _agreement_xml(algorithm, salt, originator))


def _der_xml(key: x25519.X25519PublicKey) -> bytes:
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return b'<dsig11:DEREncodedKeyValue xmlns:dsig11="%s">%s</dsig11:DEREncodedKeyValue>' % (
        DSIG11.encode(),
        b64encode(der),
    )


def _point_xml(key: ec.EllipticCurvePublicKey) -> bytes:
    point = key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return (
        b'<ds:KeyValue><dsig11:ECKeyValue xmlns:dsig11="%s"><dsig11:NamedCurve URI="%s"></dsig11:NamedCurve>'
        b"<dsig11:PublicKey>%s</dsig11:PublicKey></dsig11:ECKeyValue></ds:KeyValue>"
        % (DSIG11.encode(), _CURVE_NAMES[key.curve.name].encode(), b64encode(point))
    )


def _agreement_xml(algorithm: str, salt: bytes, originator: bytes) -> bytes:
    """``xenc:AgreementMethod`` without its end: RecipientKeyInfo and the closing tag follow."""
    return b"".join(
        (
            b'<xenc:AgreementMethod Algorithm="%s"><xenc11:KeyDerivationMethod xmlns:xenc11="%s" Algorithm="%s">'
            % (algorithm.encode(), XENC11.encode(), names.HKDF.encode()),
            b'<dsig-more:HKDFParams xmlns:dsig-more="%s"><dsig-more:PRF Algorithm="%s"></dsig-more:PRF>'
            % (DSIG_MORE.encode(), names.HMAC_SHA256.encode()),
            b"<dsig-more:Salt>%s</dsig-more:Salt><dsig-more:KeyLength>%d</dsig-more:KeyLength></dsig-more:HKDFParams>"
            % (b64encode(salt), _KEK),
            b"</xenc11:KeyDerivationMethod><xenc:OriginatorKeyInfo>%s</xenc:OriginatorKeyInfo>" % originator,
        )
    )
