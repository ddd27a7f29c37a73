"""What stands before a sealed payload's content: that it is sealed, for whom, and how.

Rules:

1. `peek` is the kernel's look at a payload that is declared encrypted: the first octets are enough, nothing is opened.
2. The header is read once, in its order, to the content's first octet; opening goes on from there (`core.seal.opening`).
3. What stands before the content ends within `limits.SEAL_HEADER` octets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from asn1crypto import core as asn1
from cryptography import x509

from core import limits
from core.errors import SealError
from core.seal import ber
from core.seal.algorithms import Encrypted, read_algorithm
from core.seal.recipients import Recipient, read_recipients
from core.seal.structures import dotted, read

ENVELOPED: Final = "1.2.840.113549.1.7.3"
AUTH_ENVELOPED: Final = "1.2.840.113549.1.9.16.1.23"
DATA: Final = "1.2.840.113549.1.7.1"

_OTHERS: Final = {
    "1.2.840.113549.1.7.1": "plain data",
    "1.2.840.113549.1.7.2": "signed data",
    "1.2.840.113549.1.7.5": "digested data",
    "1.2.840.113549.1.7.6": "data encrypted without recipients",
    "1.2.840.113549.1.9.16.1.2": "authenticated data",
    "1.2.840.113549.1.9.16.1.9": "compressed data",
}
_TEXTS: Final = {
    b"-----BEGIN": "it is PEM text; write it in DER (openssl: -outform DER)",
    b"MIME-Version": "it is an S/MIME message; write it in DER (openssl: -outform DER)",
}


@dataclass(frozen=True, slots=True)
class SealedFacts:
    """What the first octets of a sealed payload say. ``authenticated`` is whether opening shows that nothing was altered."""

    authenticated: bool
    encrypted: Encrypted
    recipients: tuple[Recipient, ...]

    @property
    def cipher(self) -> str:
        """The name of the content encryption algorithm, such as ``aes-256-gcm``."""
        return self.encrypted.name

    def is_for(self, certificate: x509.Certificate) -> bool:
        """Whether the holder of ``certificate`` is a recipient."""
        return any(one.addressee is not None and one.addressee.is_for(certificate) for one in self.recipients)


def peek(first: bytes) -> SealedFacts:
    """What a payload that begins with ``first`` is sealed with, and for whom. Raises `SealError` for one that is not sealed.

    ``first`` holds at least `limits.SEAL_HEADER` octets of it, or all of a shorter one.
    """
    return read_header(ber.Reader([first[: limits.SEAL_HEADER]]))


def read_header(reader: ber.Reader) -> SealedFacts:
    """Everything before the content. The reader stands at the content afterwards. Raises `SealError`."""
    until = limits.SEAL_HEADER
    _check_text(reader)
    reader.enter(ber.SEQUENCE, "ContentInfo")
    kind = _object(reader, "contentType")
    if kind not in (ENVELOPED, AUTH_ENVELOPED):
        raise SealError("contentType", f"it is {_OTHERS.get(kind, kind)}, not sealed data")
    reader.enter(ber.explicit(0), "content")
    reader.enter(ber.SEQUENCE, "content")
    reader.whole(ber.INTEGER, "version", until)
    if reader.next_tag("content") == ber.explicit(0):
        reader.whole(ber.explicit(0), "originatorInfo", until)
    recipients = read_recipients(reader.whole(ber.SET, "recipientInfos", until))
    reader.enter(ber.SEQUENCE, "encryptedContentInfo")
    inner = _object(reader, "encryptedContentInfo")
    if inner != DATA:
        raise SealError("encryptedContentInfo", f"what is sealed is {_OTHERS.get(inner, inner)}; seal plain data")
    algorithm = reader.whole(ber.SEQUENCE, "contentEncryptionAlgorithm", reader.position + limits.SEAL_ALGORITHM)
    authenticated = kind == AUTH_ENVELOPED
    facts = SealedFacts(authenticated, read_algorithm(algorithm, authenticated=authenticated), recipients)
    if reader.next_tag("encryptedContent") is None:
        raise SealError("encryptedContent", "it is kept apart from its header; seal both in one")
    return facts


def _check_text(reader: ber.Reader) -> None:
    """Text is the most common mistake, and the easiest to put right."""
    begin = reader.begin(12)
    for text, advice in _TEXTS.items():
        if begin.startswith(text):
            raise SealError("ContentInfo", advice)
    if begin[:1] != bytes((ber.SEQUENCE,)):
        raise SealError("ContentInfo", "it is not sealed: CMS data begins otherwise")


def _object(reader: ber.Reader, field: str) -> str:
    octets = reader.whole(ber.OBJECT, field, reader.position + limits.SEAL_ALGORITHM)
    return read(field, octets, dotted, asn1.ObjectIdentifier)
