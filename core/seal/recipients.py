"""Whom a payload is sealed for: naming them, handing each the content key, and taking it as one of them.

Rules:

1. RSA certificates get the key under RSAES-OAEP with SHA-256, those on P-256, P-384 and P-521 by ECDH with a key made for this
   one payload, AES-256 key wrap, and the hash that goes with the curve.
2. A certificate that says its key is not for this, or whose key is short, is refused before anything is sealed.
3. RSA PKCS#1 v1.5 is opened because old senders write nothing else. What does not unwrap becomes a random key, so that
   wrong padding shows no sooner and no differently than wrong content (implicit rejection).
4. A key pair is tried on the first recipient that names its certificate, and on no other: nobody makes us compute at will.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from asn1crypto import cms
from asn1crypto import core as asn1
from asn1crypto import x509 as names
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.kdf.x963kdf import X963KDF
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from core import limits
from core.errors import SealError, UsageError
from core.seal import structures as s

FIELD: Final = "recipientInfos"
_NOT_OURS: Final = "the content key does not open with this private key: it was altered, or sealed for another"

_PKCS1: Final = "1.2.840.113549.1.1.1"
_OAEP: Final = "1.2.840.113549.1.1.7"
_EC: Final = "1.2.840.10045.2.1"
_WRAPS: Final = {"2.16.840.1.101.3.4.1.5": 16, "2.16.840.1.101.3.4.1.25": 24, "2.16.840.1.101.3.4.1.45": 32}
_WRAP: Final = "2.16.840.1.101.3.4.1.45"
_SCHEMES: Final[dict[str, tuple[str, hashes.HashAlgorithm]]] = {
    "1.3.133.16.840.63.0.2": ("ecdh-sha1", hashes.SHA1()),  # noqa: S303 - deriving a key does not rest on collisions
    "1.3.132.1.11.0": ("ecdh-sha224", hashes.SHA224()),
    "1.3.132.1.11.1": ("ecdh-sha256", hashes.SHA256()),
    "1.3.132.1.11.2": ("ecdh-sha384", hashes.SHA384()),
    "1.3.132.1.11.3": ("ecdh-sha512", hashes.SHA512()),
}
_CURVES: Final = {"secp256r1": "1.3.132.1.11.1", "secp384r1": "1.3.132.1.11.2", "secp521r1": "1.3.132.1.11.3"}
"""The curves that are sealed for, with the scheme whose hash is as strong."""
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "sha1": hashes.SHA1(),  # noqa: S303 - OAEP does not rest on collisions
    "sha224": hashes.SHA224(),
    "sha256": hashes.SHA256(),
    "sha384": hashes.SHA384(),
    "sha512": hashes.SHA512(),
}
_WAYS: Final = {_PKCS1: "rsa-pkcs1v15", _OAEP: "rsa-oaep", **{scheme: name for scheme, (name, _) in _SCHEMES.items()}}
_KINDS: Final = {"kekri": "a shared key", "pwri": "a password", "ori": "an unknown kind of recipient"}


# --- certificates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Addressee:
    """Which certificate a recipient is, as the header names it: issuer (DER) and serial number, or the key's identifier."""

    issuer: bytes = b""
    serial: int = 0
    key_id: bytes = b""

    def is_for(self, certificate: x509.Certificate) -> bool:
        """Whether it names ``certificate``."""
        if self.key_id:
            return self.key_id == _key_id(certificate)
        return self.serial == certificate.serial_number and self.issuer == _issuer(certificate)

    def __str__(self) -> str:
        if self.key_id:
            return f"key identifier {self.key_id[:32].hex()}"
        try:
            if len(self.issuer) > limits.SEAL_ALGORITHM:
                raise ValueError("no name is this long")
            issuer = str(names.Name.load(self.issuer).human_friendly)
        except s.UNREADABLE:
            issuer = "somebody whose name cannot be read"
        shown = "".join(c if c.isprintable() else "?" for c in issuer[:200])
        return f"serial number {self.serial:x} of {shown}"


def _issuer(certificate: x509.Certificate) -> bytes:
    """The issuer as it stands in the certificate: other programs write it that way, not as a library would."""
    whole = names.Certificate.load(certificate.public_bytes(serialization.Encoding.DER))
    return bytes(whole["tbs_certificate"]["issuer"].dump())


def _key_id(certificate: x509.Certificate) -> bytes:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    except (x509.ExtensionNotFound, ValueError):
        return b""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A certificate and the private key that belongs to it. Raises `UsageError` where it does not, or is of no use here."""

    certificate: x509.Certificate
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey

    def __post_init__(self) -> None:
        form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        if not isinstance(self.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
            raise UsageError("private key: payloads are sealed for RSA and elliptic curve keys, this is neither")
        if self.key.public_key().public_bytes(*form) != self.certificate.public_key().public_bytes(*form):
            raise UsageError(f"private key: it does not belong to the certificate of {_subject(self.certificate)}")


def _subject(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()


def check_recipient(certificate: x509.Certificate) -> None:
    """Raises `UsageError` for a certificate that cannot be sealed for."""
    whose = f"certificate of {_subject(certificate)}"
    try:
        key = certificate.public_key()
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{whose}: its key or an extension cannot be read; ask for another one") from None
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < limits.SEAL_RSA_BITS:
            raise UsageError(f"{whose}: its RSA key has {key.key_size} bits; at least {limits.SEAL_RSA_BITS} are safe")
        allowed = usage is None or usage.key_encipherment or usage.data_encipherment
    elif isinstance(key, ec.EllipticCurvePublicKey):
        if key.curve.name not in _CURVES:
            raise UsageError(f"{whose}: its key is on {key.curve.name}; sealed is for {', '.join(_CURVES)}")
        allowed = usage is None or usage.key_agreement
    else:
        raise UsageError(f"{whose}: its key can only sign; ask for a certificate with an RSA or elliptic curve key")
    if not allowed:
        raise UsageError(f"{whose}: its key usage does not allow encryption; ask for the certificate that does")


# --- handing the content key out --------------------------------------------------------------------------------------


def recipient_infos(certificates: Sequence[x509.Certificate], content_key: bytes) -> tuple[bytes, bool]:
    """The content key for each certificate, as ``RecipientInfos``; and whether all of them are RSA's, which the version says."""
    if not certificates:
        raise UsageError("recipients: nobody is named; a payload is sealed for at least one certificate")
    if len(certificates) > limits.SEAL_RECIPIENTS:
        raise UsageError(f"recipients: {len(certificates)} are named, {limits.SEAL_RECIPIENTS} are allowed")
    for certificate in certificates:
        check_recipient(certificate)
    infos = [_info(certificate, content_key) for certificate in dict.fromkeys(certificates)]
    octets = bytes(s.RecipientInfos(infos).dump())
    if len(octets) > limits.SEAL_HEADER // 2:
        raise UsageError(f"recipients: {len(infos)} keys of this size do not fit; seal for fewer at a time")
    return octets, all(info.name == "ktri" for info in infos)


def _info(certificate: x509.Certificate, content_key: bytes) -> Any:
    public = certificate.public_key()
    named = s.IssuerAndSerialNumber(
        {"issuer": asn1.Any.load(_issuer(certificate)), "serial_number": certificate.serial_number}
    )
    if isinstance(public, rsa.RSAPublicKey):
        sha256 = hashes.SHA256()
        hashed = {"algorithm": "sha256"}
        parameters = cms.RSAESOAEPParams(
            {"hash_algorithm": hashed, "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": hashed}}
        )
        transported = {
            "version": 0,
            "rid": s.RecipientIdentifier("issuer_and_serial_number", named),
            "key_encryption_algorithm": {"algorithm": _OAEP, "parameters": parameters},
            "encrypted_key": public.encrypt(content_key, padding.OAEP(padding.MGF1(sha256), sha256, None)),
        }
        return s.RecipientInfo("ktri", s.KeyTransRecipientInfo(transported))
    assert isinstance(public, ec.EllipticCurvePublicKey), "check_recipient has refused others"
    own = ec.generate_private_key(public.curve)
    scheme = _CURVES[public.curve.name]
    wrap = s.AlgorithmIdentifier({"algorithm": _WRAP})
    kek = _agreed_key(own, public, scheme, wrap, None)
    point = own.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    originator = s.OriginatorPublicKey({"algorithm": {"algorithm": _EC}, "public_key": point})
    share = {
        "rid": s.KeyAgreeRecipientIdentifier("issuer_and_serial_number", named),
        "encrypted_key": aes_key_wrap(kek, content_key),
    }
    agreed = {
        "version": 3,
        "originator": s.OriginatorIdentifierOrKey("originator_key", originator),
        "key_encryption_algorithm": {"algorithm": scheme, "parameters": wrap},
        "recipient_encrypted_keys": [share],
    }
    return s.RecipientInfo("kari", s.KeyAgreeRecipientInfo(agreed))


def _agreed_key(
    private: ec.EllipticCurvePrivateKey, public: ec.EllipticCurvePublicKey, scheme: str, wrap: Any, ukm: bytes | None
) -> bytes:
    """The key-encryption key both sides come to (RFC 5753, 7.2)."""
    size = _WRAPS[wrap["algorithm"].dotted]
    shared = {"key_info": wrap, "supp_pub_info": (size * 8).to_bytes(4, "big")}
    if ukm is not None:
        shared["entity_u_info"] = ukm
    info = bytes(s.EccSharedInfo(shared).dump())
    return X963KDF(_SCHEMES[scheme][1], size, info).derive(private.exchange(ec.ECDH(), public))


# --- reading recipients and taking the content key --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient that was read. ``addressee`` is None for kinds without a certificate; ``way`` is how it gets the key."""

    addressee: Addressee | None
    way: str
    algorithm: bytes = b""
    encrypted_key: bytes = b""
    point: bytes = b""
    ukm: bytes | None = None


def read_recipients(octets: bytes) -> tuple[Recipient, ...]:
    """Everybody in ``RecipientInfos``. Raises `SealError`."""
    return s.read(FIELD, octets, _all, s.RecipientInfos)


def _all(infos: Any) -> tuple[Recipient, ...]:
    found: list[Recipient] = []
    for info in infos:
        kind, chosen = info.name, info.chosen
        if kind == "ktri":
            found.append(_transported(chosen))
        elif kind == "kari":
            found += _agreed(chosen)
        else:
            found.append(Recipient(None, _KINDS[kind]))
        if len(found) > limits.SEAL_RECIPIENTS:
            raise SealError(FIELD, f"there are more than {limits.SEAL_RECIPIENTS} recipients")
    if not found:
        raise SealError(FIELD, "there is no recipient")
    return tuple(found)


def _way(algorithm: Any) -> str:
    if len(algorithm.contents) > limits.SEAL_ALGORITHM:
        raise ValueError("no algorithm is this long")
    name = s.dotted(algorithm["algorithm"])
    return _WAYS.get(name, name)


def _transported(info: Any) -> Recipient:
    algorithm = info["key_encryption_algorithm"]
    addressee = _addressee(info["rid"])
    return Recipient(addressee, _way(algorithm), bytes(algorithm.dump()), bytes(info["encrypted_key"].native))


def _agreed(info: Any) -> list[Recipient]:
    algorithm, originator = info["key_encryption_algorithm"], info["originator"]
    way, point, ukm = _way(algorithm), b"", info["ukm"].native
    if originator.name == "originator_key":
        point = bytes(originator.chosen["public_key"].native)
    else:
        way = "static Diffie-Hellman"
    return [
        Recipient(_addressee(one["rid"]), way, bytes(algorithm.dump()), bytes(one["encrypted_key"].native), point, ukm)
        for one in info["recipient_encrypted_keys"]
    ]


def _addressee(rid: Any) -> Addressee:
    if rid.name == "issuer_and_serial_number":
        return Addressee(bytes(rid.chosen["issuer"].dump()), int(rid.chosen["serial_number"].native))
    named = rid.chosen["subject_key_identifier"] if rid.name == "r_key_id" else rid.chosen
    if not (key_id := bytes(named.native)):
        raise ValueError("an empty key identifier names nobody")
    return Addressee(key_id=key_id)


def content_key(recipients: Sequence[Recipient], pairs: Sequence[KeyPair], size: int) -> bytes:
    """The content key of ``size`` octets, for the first pair that is a recipient. Raises `SealError`."""
    for pair in pairs:
        for one in recipients:
            if one.addressee is not None and one.addressee.is_for(pair.certificate):
                key = _taken(one, pair, size)
                if len(key) != size:
                    raise SealError(FIELD, _NOT_OURS)
                return key
    for_whom = "; ".join(str(one.addressee or one.way) for one in recipients[:5])
    raise SealError(FIELD, f"it is not sealed for this certificate, but for: {for_whom}")


def _taken(recipient: Recipient, pair: KeyPair, size: int) -> bytes:
    """The content key under one recipient's private key."""
    if isinstance(pair.key, rsa.RSAPrivateKey):
        if recipient.way == "rsa-pkcs1v15":
            return _rejecting(pair.key, recipient.encrypted_key, size)
        if recipient.way == "rsa-oaep":
            scheme = s.read(FIELD, recipient.algorithm, _oaep, s.AlgorithmIdentifier)
            try:
                return pair.key.decrypt(recipient.encrypted_key, scheme)
            except ValueError:
                raise SealError(FIELD, _NOT_OURS) from None
    elif recipient.way.startswith("ecdh-"):
        return _agreeing(pair.key, recipient)
    raise SealError(FIELD, f"the content key is under {recipient.way}, which is not accepted for this key")


def _rejecting(key: rsa.RSAPrivateKey, encrypted: bytes, size: int) -> bytes:
    """The key, or a random one that opens nothing (rule 3)."""
    spare = os.urandom(size)
    try:
        found = key.decrypt(encrypted, padding.PKCS1v15())
    except ValueError:
        found = b""
    return found if len(found) == size else spare


def _oaep(algorithm: Any) -> padding.OAEP:
    """The parameters; absent ones mean SHA-1, as in the standard (RFC 8017, A.2.1)."""
    given = algorithm["parameters"]
    chosen = cms.RSAESOAEPParams() if isinstance(given, asn1.Void) else given.parse(cms.RSAESOAEPParams)
    mask, source = chosen["mask_gen_algorithm"], chosen["p_source_algorithm"]
    if mask["algorithm"].native != "mgf1" or source["algorithm"].native != "p_specified":
        raise SealError(FIELD, "RSAES-OAEP with another mask than MGF1, or another label source, is not accepted")
    inner, outer = (_HASHES.get(a["algorithm"].native) for a in (mask["parameters"], chosen["hash_algorithm"]))
    if inner is None or outer is None:
        raise SealError(FIELD, f"RSAES-OAEP is accepted with {', '.join(_HASHES)}")
    return padding.OAEP(padding.MGF1(inner), outer, bytes(source["parameters"].native) or None)


def _agreeing(key: ec.EllipticCurvePrivateKey, recipient: Recipient) -> bytes:
    scheme, wrap, wrapping = s.read(FIELD, recipient.algorithm, _scheme, s.AlgorithmIdentifier)
    if wrapping not in _WRAPS:
        raise SealError(FIELD, f"the key wrap {wrapping} is not accepted; AES key wrap is")
    try:
        public = ec.EllipticCurvePublicKey.from_encoded_point(key.curve, recipient.point)
        return aes_key_unwrap(_agreed_key(key, public, scheme, wrap, recipient.ukm), recipient.encrypted_key)
    except (ValueError, InvalidUnwrap):
        raise SealError(FIELD, _NOT_OURS) from None


def _scheme(algorithm: Any) -> tuple[str, Any, str]:
    """Scheme and key wrap, and the latter's name, which is read here so that it cannot fail later."""
    wrap = algorithm["parameters"].parse(s.AlgorithmIdentifier)
    return s.dotted(algorithm["algorithm"]), wrap, s.dotted(wrap["algorithm"])
