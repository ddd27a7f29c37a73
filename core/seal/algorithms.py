"""How the content of a sealed payload is encrypted: AES in GCM, which also shows that nothing was altered, or in CBC.

Rules:

1. What is not AES in one of these two modes is refused by name, above all what old programs choose without being asked.
2. Nobody learns from an error why content does not open: a wrong key, an altered octet and a wrong padding are said in the same
   words.
3. What GCM decrypts is believed only after `Decryption.finish`.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

import os
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from asn1crypto import core as asn1
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher as Primitive
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, GCM

from core.errors import SealError
from core.seal.structures import AlgorithmIdentifier, GcmParameters, dotted, read

NONCE: Final = 12
TAG: Final = 16
_SHORTEST_TAG: Final = 12
_BLOCK: Final = 16
_NONCES: Final = range(8, 65)
"""Octets of a nonce that are usable; everybody writes twelve."""

FIELD: Final = "contentEncryptionAlgorithm"
DAMAGED: Final = "it does not open: it was altered or cut, or its key was sealed for somebody else"


class Cipher(StrEnum):
    """How content is encrypted when we seal."""

    AES_256_GCM = "aes-256-gcm"
    AES_256_CBC = "aes-256-cbc"

    @property
    def authenticated(self) -> bool:
        """Whether opening shows that nothing was altered."""
        return self is Cipher.AES_256_GCM


_OBJECTS: Final = {
    "2.16.840.1.101.3.4.1.2": ("aes-128-cbc", 16),
    "2.16.840.1.101.3.4.1.22": ("aes-192-cbc", 24),
    "2.16.840.1.101.3.4.1.42": ("aes-256-cbc", 32),
    "2.16.840.1.101.3.4.1.6": ("aes-128-gcm", 16),
    "2.16.840.1.101.3.4.1.26": ("aes-192-gcm", 24),
    "2.16.840.1.101.3.4.1.46": ("aes-256-gcm", 32),
}
_WRITTEN: Final = {name: identifier for identifier, (name, _) in _OBJECTS.items()}
_REFUSED: Final = {
    "1.2.840.113549.3.7": "3DES (des-ede3-cbc)",
    "1.2.840.113549.3.2": "RC2 (rc2-cbc)",
    "1.2.840.113549.3.4": "RC4",
    "1.3.14.3.2.7": "DES (des-cbc)",
    "2.16.840.1.101.3.4.1.7": "aes-128-ccm",
    "2.16.840.1.101.3.4.1.27": "aes-192-ccm",
    "2.16.840.1.101.3.4.1.47": "aes-256-ccm",
    "1.2.840.113549.1.9.16.3.18": "chacha20-poly1305",
}
"""What people know by name and we do not take."""


@dataclass(frozen=True, slots=True)
class Encrypted:
    """How content was encrypted: the algorithm's name, octets of its key, nonce or vector, and octets of the tag (0: none)."""

    name: str
    key_size: int
    nonce: bytes
    tag_size: int


def read_algorithm(octets: bytes, *, authenticated: bool) -> Encrypted:
    """The content encryption algorithm of a header. Raises `SealError` for one that is weak, unknown or in the wrong place."""
    name, parameters = read(FIELD, octets, _parts, AlgorithmIdentifier)
    if name not in _OBJECTS:
        named = _REFUSED.get(name, name)
        raise SealError(FIELD, f"{named} is not accepted; seal with aes-256-gcm, or with aes-256-cbc")
    name, key_size = _OBJECTS[name]
    if authenticated != name.endswith("gcm"):
        kind = "AuthEnvelopedData" if authenticated else "EnvelopedData"
        raise SealError(FIELD, f"{name} does not belong into {kind}")
    if not authenticated:
        vector = read(FIELD, parameters, _octets, asn1.OctetString)
        if len(vector) != _BLOCK:
            raise SealError(FIELD, f"the initialisation vector has {len(vector)} octets instead of {_BLOCK}")
        return Encrypted(name, key_size, vector, 0)
    nonce, size = read(FIELD, parameters, _gcm, GcmParameters)
    if len(nonce) not in _NONCES:
        raise SealError(FIELD, f"the nonce has {len(nonce)} octets; {NONCE} are usual")
    if not _SHORTEST_TAG <= size <= TAG:
        raise SealError(FIELD, f"the tag has {size} octets; {_SHORTEST_TAG} to {TAG} are safe")
    return Encrypted(name, key_size, nonce, size)


def _parts(algorithm: Any) -> tuple[str, bytes]:
    return dotted(algorithm["algorithm"]), bytes(algorithm["parameters"].dump())


def _octets(octets: Any) -> bytes:
    return bytes(octets.native)


def _gcm(parameters: Any) -> tuple[bytes, int]:
    return bytes(parameters["aes_nonce"].native), int(parameters["aes_icvlen"].native)


class Encryption:
    """Encrypts one content under a key of its own. ``algorithm`` is what the header says of it."""

    def __init__(self, cipher: Cipher) -> None:
        self.key = os.urandom(32)
        nonce = os.urandom(NONCE if cipher.authenticated else _BLOCK)
        parameters: Any = asn1.OctetString(nonce)
        if cipher.authenticated:
            parameters = GcmParameters({"aes_nonce": nonce, "aes_icvlen": TAG})
        described = AlgorithmIdentifier({"algorithm": _WRITTEN[cipher], "parameters": parameters})
        self.algorithm: bytes = described.dump()
        self._gcm = Primitive(AES(self.key), GCM(nonce)).encryptor() if cipher.authenticated else None
        self._cbc = None if cipher.authenticated else Primitive(AES(self.key), CBC(nonce)).encryptor()
        self._padder = padding.PKCS7(_BLOCK * 8).padder()

    def update(self, octets: bytes | memoryview) -> bytes:
        """The next octets, encrypted."""
        if self._cbc is not None:
            return self._cbc.update(self._padder.update(octets))
        assert self._gcm is not None
        return self._gcm.update(octets)

    def finish(self) -> tuple[bytes, bytes]:
        """The last octets, and the tag over all (b"" where there is none)."""
        if self._cbc is not None:
            return self._cbc.update(self._padder.finalize()) + self._cbc.finalize(), b""
        assert self._gcm is not None
        return self._gcm.finalize(), self._gcm.tag


class Decryption:
    """The inverse of `Encryption`, for all that is read."""

    def __init__(self, encrypted: Encrypted, key: bytes) -> None:
        self._size = encrypted.tag_size
        nonce = encrypted.nonce
        mode = GCM(nonce, min_tag_length=self._size) if self._size else None
        self._gcm = Primitive(AES(key), mode).decryptor() if mode else None
        self._cbc = None if mode else Primitive(AES(key), CBC(nonce)).decryptor()
        self._unpadder = padding.PKCS7(_BLOCK * 8).unpadder()

    def update(self, octets: bytes) -> bytes:
        """The next octets, decrypted: not to be believed before `finish`."""
        if self._cbc is not None:
            return self._unpadder.update(self._cbc.update(octets))
        assert self._gcm is not None
        return self._gcm.update(octets)

    def finish(self, tag: bytes) -> bytes:
        """The last octets. Raises `SealError` unless tag or padding is right."""
        try:
            if self._cbc is not None:
                return self._unpadder.update(self._cbc.finalize()) + self._unpadder.finalize()
            assert self._gcm is not None
            return self._gcm.finalize_with_tag(tag)
        except (InvalidTag, ValueError):
            raise SealError("encryptedContent", DAMAGED) from None
