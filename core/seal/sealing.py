"""Sealing: plaintext in, a sealed payload out, chunk by chunk.

Rules:

1. What is wrong with the recipients shows when `seal` is called, before the first octet is written.
2. Every payload has a content key of its own, which never leaves this module but wrapped.
3. The content is cut into OCTET STRINGs of `limits.SEAL_CHUNK`, in frames of indefinite length, so that nobody need know its
   size.
"""

# mypy: allow-untyped-calls
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from asn1crypto import core as asn1
from cryptography import x509

from core import limits
from core.errors import SealError
from core.seal import ber
from core.seal.algorithms import Cipher, Encryption
from core.seal.header import AUTH_ENVELOPED, DATA, ENVELOPED
from core.seal.recipients import recipient_infos


def seal(
    chunks: Iterable[bytes], recipients: Sequence[x509.Certificate], cipher: Cipher = Cipher.AES_256_GCM
) -> Iterator[bytes]:
    """The sealed form of ``chunks``, for whoever holds the key of one of ``recipients``. Raises `UsageError` at once."""
    encryption = Encryption(cipher)
    infos, all_rsa = recipient_infos(recipients, encryption.key)
    version = 0 if cipher.authenticated or all_rsa else 2
    kind = AUTH_ENVELOPED if cipher.authenticated else ENVELOPED
    before = (
        ber.opening(ber.SEQUENCE),
        asn1.ObjectIdentifier(kind).dump(),
        ber.opening(ber.explicit(0)),
        ber.opening(ber.SEQUENCE),
        asn1.Integer(version).dump(),
        infos,
        ber.opening(ber.SEQUENCE),
        asn1.ObjectIdentifier(DATA).dump(),
        encryption.algorithm,
        ber.opening(ber.explicit(0)),
    )
    return _sealed(b"".join(before), chunks, encryption)


def _sealed(before: bytes, chunks: Iterable[bytes], encryption: Encryption) -> Iterator[bytes]:
    yield before
    size = 0
    for chunk in _even(chunks):
        size += len(chunk)
        if size > limits.SEAL_SIZE:
            raise SealError("payload", f"it has more than {limits.SEAL_SIZE} octets, which one key is not safe for")
        yield _piece(encryption.update(chunk))
    last, tag = encryption.finish()
    yield _piece(last) + ber.END * 2 + (ber.element(ber.OCTET_STRING, tag) if tag else b"") + ber.END * 3


def _piece(octets: bytes) -> bytes:
    return ber.element(ber.OCTET_STRING, octets) if octets else b""


def _even(chunks: Iterable[bytes]) -> Iterator[bytes | memoryview]:
    """The same octets in chunks of `limits.SEAL_CHUNK`; the last may be shorter."""
    held = bytearray()
    for chunk in chunks:
        if not held and len(chunk) == limits.SEAL_CHUNK:
            yield chunk
            continue
        rest = memoryview(chunk)
        while rest:
            taken = rest[: limits.SEAL_CHUNK - len(held)]
            held += taken
            rest = rest[len(taken) :]
            if len(held) == limits.SEAL_CHUNK:
                yield bytes(held)
                held.clear()
    if held:
        yield bytes(held)
