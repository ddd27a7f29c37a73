"""The ASN.1 structures inside a sealed payload's header, for `asn1crypto` (RFC 5652, 5084, 5753).

Rule: names, parameters and attributes are kept as the octets that came; only what is needed is looked into, where it is needed.
(`asn1crypto.cms` knows most of these, but fills parameters in that were absent, and the key agreement covers them as they were.)
"""

# mypy: allow-subclassing-any, allow-untyped-calls
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

from asn1crypto import core as asn1

from core import limits
from core.errors import SealError

Parts = tuple[Any, ...]
_Read = TypeVar("_Read")
UNREADABLE: Final = (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError)
"""What the library raises over octets that are not what they should be, early or late."""


class AlgorithmIdentifier(asn1.Sequence):
    """An algorithm with its parameters, unread."""

    _fields: Parts = (("algorithm", asn1.ObjectIdentifier, {}), ("parameters", asn1.Any, {"optional": True}))


class IssuerAndSerialNumber(asn1.Sequence):
    """Which certificate, by who issued it."""

    _fields: Parts = (("issuer", asn1.Any, {}), ("serial_number", asn1.Integer, {}))


class RecipientIdentifier(asn1.Choice):
    """Which certificate a transported key is for."""

    _alternatives: Parts = (
        ("issuer_and_serial_number", IssuerAndSerialNumber, {}),
        ("subject_key_identifier", asn1.OctetString, {"implicit": 0}),
    )


class KeyTransRecipientInfo(asn1.Sequence):
    """The content key under a public RSA key."""

    _fields: Parts = (
        ("version", asn1.Integer, {}),
        ("rid", RecipientIdentifier, {}),
        ("key_encryption_algorithm", AlgorithmIdentifier, {}),
        ("encrypted_key", asn1.OctetString, {}),
    )


class OriginatorPublicKey(asn1.Sequence):
    """The sender's share of a key agreement: a point."""

    _fields: Parts = (("algorithm", AlgorithmIdentifier, {}), ("public_key", asn1.OctetBitString, {}))


class OriginatorIdentifierOrKey(asn1.Choice):
    """Whose share it is; only one made for the occasion is used."""

    _alternatives: Parts = (
        ("issuer_and_serial_number", IssuerAndSerialNumber, {}),
        ("subject_key_identifier", asn1.OctetString, {"implicit": 0}),
        ("originator_key", OriginatorPublicKey, {"implicit": 1}),
    )


class RecipientKeyIdentifier(asn1.Sequence):
    """Which key, by its identifier."""

    _fields: Parts = (
        ("subject_key_identifier", asn1.OctetString, {}),
        ("date", asn1.GeneralizedTime, {"optional": True}),
        ("other", asn1.Any, {"optional": True}),
    )


class KeyAgreeRecipientIdentifier(asn1.Choice):
    """Which certificate an agreed key is for."""

    _alternatives: Parts = (
        ("issuer_and_serial_number", IssuerAndSerialNumber, {}),
        ("r_key_id", RecipientKeyIdentifier, {"implicit": 0}),
    )


class RecipientEncryptedKey(asn1.Sequence):
    """The content key under a key that was agreed with one recipient."""

    _fields: Parts = (("rid", KeyAgreeRecipientIdentifier, {}), ("encrypted_key", asn1.OctetString, {}))


class RecipientEncryptedKeys(asn1.SequenceOf):
    """Several recipients may share the sender's point."""

    _child_spec = RecipientEncryptedKey


class KeyAgreeRecipientInfo(asn1.Sequence):
    """The content key under agreed keys."""

    _fields: Parts = (
        ("version", asn1.Integer, {}),
        ("originator", OriginatorIdentifierOrKey, {"explicit": 0}),
        ("ukm", asn1.OctetString, {"explicit": 1, "optional": True}),
        ("key_encryption_algorithm", AlgorithmIdentifier, {}),
        ("recipient_encrypted_keys", RecipientEncryptedKeys, {}),
    )


class RecipientInfo(asn1.Choice):
    """One recipient, or several with agreed keys. The last three kinds are told from others and not read."""

    _alternatives: Parts = (
        ("ktri", KeyTransRecipientInfo, {}),
        ("kari", KeyAgreeRecipientInfo, {"implicit": 1}),
        ("kekri", asn1.Sequence, {"implicit": 2}),
        ("pwri", asn1.Sequence, {"implicit": 3}),
        ("ori", asn1.Sequence, {"implicit": 4}),
    )


class RecipientInfos(asn1.SetOf):
    """All recipients."""

    _child_spec = RecipientInfo


class EccSharedInfo(asn1.Sequence):
    """What a key agreement binds its key to (RFC 5753, ECC-CMS-SharedInfo)."""

    _fields: Parts = (
        ("key_info", AlgorithmIdentifier, {}),
        ("entity_u_info", asn1.OctetString, {"explicit": 0, "optional": True}),
        ("supp_pub_info", asn1.OctetString, {"explicit": 2}),
    )


class GcmParameters(asn1.Sequence):
    """Nonce and length of the tag (RFC 5084)."""

    _fields: Parts = (("aes_nonce", asn1.OctetString, {}), ("aes_icvlen", asn1.Integer, {"default": 12}))


def dotted(identifier: Any) -> str:
    """An object identifier as people write it. Raises `ValueError` for one that is empty, cut or endless."""
    octets = identifier.contents
    if not 0 < len(octets) <= limits.SEAL_ALGORITHM or octets[-1] & 0x80:
        raise ValueError("no object identifier")
    return str(identifier.dotted)


def read(field: str, octets: bytes, take: Callable[[Any], _Read], kind: Any) -> _Read:
    """What ``take`` finds in a structure of ``kind``. Raises `SealError` where the octets are no such structure.

    The library reads late, so that what is wrong shows only when it is looked at.
    """
    try:
        return take(kind.load(octets, strict=True))
    except UNREADABLE:
        raise SealError(field, "it is not what the standard (RFC 5652) puts there") from None
