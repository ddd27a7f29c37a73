"""Sealed payloads put together piece by piece, so that a test can put the wrong piece in."""

from __future__ import annotations

from collections.abc import Sequence

from asn1crypto import core as asn1

from core.seal import ber
from core.seal.algorithms import Cipher, Encryption
from core.seal.header import AUTH_ENVELOPED, DATA, ENVELOPED
from core.seal.recipients import KeyPair, recipient_infos


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
