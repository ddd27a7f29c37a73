"""Sealed payloads put together piece by piece, so that a test can put the wrong piece in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asn1crypto import core as asn1
from cryptography.hazmat.primitives.asymmetric import rsa

from core.seal import ber
from core.seal import structures as s
from core.seal.algorithms import Cipher, Encryption
from core.seal.header import AUTH_ENVELOPED, DATA, ENVELOPED
from core.seal.recipients import KeyPair, recipient_infos

KEY = bytes(range(32))
"""The content key in recipients that are made without a payload."""
PKCS1, OAEP = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7"


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    return asn1.ObjectIdentifier(dotted).dump()


class Made:
    """The pieces of one sealed payload, each of which a test may change before it takes the ``octets``."""

    def __init__(self, pair: KeyPair, plain: bytes = b"plain", cipher: Cipher = Cipher.AES_256_GCM) -> None:
        encryption = Encryption(cipher)
        self.kind = oid(AUTH_ENVELOPED if cipher.authenticated else ENVELOPED)
        self.version = asn1.Integer(0).dump()
        self.originator = b""
        self.recipients, _ = recipient_infos([pair.certificate], encryption.key)
        self.inner = oid(DATA)
        self.algorithm = encryption.algorithm
        ciphertext = encryption.update(plain)
        last, self.tag = encryption.finish()
        self.content = ber.element(0x80, ciphertext + last)
        self.attributes = b""
        self.mac = ber.element(ber.OCTET_STRING, self.tag) if self.tag else b""
        self.unprotected = b""
        self.behind = b""

    def octets(self, *, definite: bool = True) -> bytes:
        """All of it, in frames of definite or indefinite length."""

        def frame(tag: int, parts: Sequence[bytes]) -> bytes:
            whole = b"".join(parts)
            return ber.element(tag, whole) if definite else ber.opening(tag) + whole + ber.END

        info = frame(ber.SEQUENCE, (self.inner, self.algorithm, self.content))
        parts = (
            self.version,
            self.originator,
            self.recipients,
            info,
            self.attributes,
            self.mac,
            self.unprotected,
        )
        outer = frame(ber.explicit(0), [frame(ber.SEQUENCE, parts)])
        return frame(ber.SEQUENCE, (self.kind, outer)) + self.behind


def infos_for(*pairs: KeyPair) -> bytes:
    """RecipientInfos for pairs, with `KEY`."""
    return recipient_infos([pair.certificate for pair in pairs], KEY)[0]


def changed(pair: KeyPair, change: Callable[[Any], None]) -> bytes:
    """RecipientInfos for a pair, after ``change`` has been at the only one."""
    infos = s.RecipientInfos.load(infos_for(pair))
    info = infos[0].chosen
    change(info)
    return s.RecipientInfos([s.RecipientInfo(infos[0].name, info.copy())]).dump(force=True)


def transported(pair: KeyPair, algorithm: object, octets: bytes) -> bytes:
    """RecipientInfos for an RSA pair whose key was handed over in another way."""

    def change(info):
        info["key_encryption_algorithm"] = algorithm
        info["encrypted_key"] = octets

    return changed(pair, change)


def by_key_id(pair: KeyPair, key_id: bytes) -> bytes:
    """The recipient named by an identifier of its key."""

    def change(info):
        if isinstance(pair.key, rsa.RSAPrivateKey):
            info["rid"] = s.RecipientIdentifier("subject_key_identifier", asn1.OctetString(key_id))
            return
        named = s.RecipientKeyIdentifier({"subject_key_identifier": key_id})
        one = info["recipient_encrypted_keys"][0]
        rid = s.KeyAgreeRecipientIdentifier("r_key_id", named)
        info["recipient_encrypted_keys"] = [{"rid": rid, "encrypted_key": one["encrypted_key"].native}]

    return changed(pair, change)
