"""What the first octets say, and what is refused before anything is opened."""

from __future__ import annotations

import pytest
from asn1crypto import core as asn1

from core import limits
from core.errors import SealError
from core.seal import ber
from core.seal.algorithms import Cipher
from core.seal.header import peek, read_header
from core.seal.sealing import seal
from core.seal.structures import AlgorithmIdentifier
from tests.core.seal.holders import holder
from tests.core.seal.making import Made, oid


def refused(cause: str):
    return pytest.raises(SealError, match=cause)


@pytest.mark.parametrize("cipher", Cipher)
def test_the_first_octets_say_whom_a_payload_is_for(cipher):
    """Without any key: that it is sealed, with what, and which of the receiver's certificates it is for."""
    one, other = holder("rsa-2048"), holder("p384")
    sealed = seal([bytes(10_000_000)], [one.certificate, other.certificate], cipher)
    first = next(sealed) + next(sealed)
    facts = peek(first)
    assert (facts.cipher, facts.authenticated) == (cipher, cipher.authenticated)
    assert sorted(one.way for one in facts.recipients) == ["ecdh-sha384", "rsa-oaep"]
    assert facts.is_for(one.certificate)
    assert facts.is_for(other.certificate)
    assert not facts.is_for(holder("rsa-2048", "birkelund-sag").certificate)


@pytest.mark.parametrize("definite", [True, False])
def test_both_forms_are_read_to_the_content(definite):
    """The reader stands at the first octet of the content; the sender's certificates, if any, are passed over."""
    made = Made(holder("p256"), b"plain")
    made.originator = ber.element(ber.explicit(0), b"")
    reader = ber.Reader([made.octets(definite=definite)])
    assert read_header(reader).is_for(holder("p256").certificate)
    assert sum(map(len, reader.octets(0, "x"))) == 5


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"", "not sealed"),
        (b"<xml/>", "not sealed"),
        (b"%PDF-1.7", "not sealed"),
        (b"-----BEGIN CMS-----\n", "PEM text.*-outform DER"),
        (b"MIME-Version: 1.0\n", "S/MIME.*-outform DER"),
        (b"0 hours", "longer than what it is part of"),
        (b"\x30\x80" + oid("1.2.840.113549.1.7.2"), "signed data, not sealed"),
        (b"\x30\x80" + oid("1.2.840.113549.1.7.1"), "plain data, not sealed"),
        (b"\x30\x80" + oid("1.2.3.4"), r"1\.2\.3\.4, not sealed"),
        (b"\x30\x80\x06\x00", "not what the standard"),
    ],
)
def test_what_is_not_sealed_is_said_to_be_not(octets, cause):
    """Text, other files, other CMS: what it is, and what to do."""
    with refused(cause):
        peek(octets)


def test_a_begin_that_is_too_short_is_said():
    """Every cut of the header ends in the same kind of refusal, never in facts that are half true."""
    made = Made(holder("p256")).octets(definite=False)
    complete = made.index(ber.element(0x80, b"")[:1], made.index(oid("1.2.840.113549.1.7.1")) + 40)
    for size in range(complete - 20):
        with refused("not sealed|the octets end inside"):
            peek(made[:size])
    assert peek(made).cipher == "aes-256-gcm"


def change(**pieces: bytes) -> bytes:
    made = Made(holder("p256"))
    for name, octets in pieces.items():
        setattr(made, name, octets)
    return made.octets()


@pytest.mark.parametrize(
    ("pieces", "field", "cause"),
    [
        ({"version": b"\x04\x00"}, "version", "belongs here"),
        ({"version": ber.element(ber.INTEGER, bytes(limits.SEAL_HEADER))}, "version", "does not end within"),
        ({"originator": ber.element(0xA0, bytes(limits.SEAL_HEADER))}, "originatorInfo", "does not end within"),
        ({"recipients": b"\x31\x00"}, "recipientInfos", "no recipient"),
        ({"recipients": b""}, "recipientInfos", "belongs here"),
        ({"recipients": ber.element(ber.SET, bytes(limits.SEAL_HEADER))}, "recipientInfos", "does not end within"),
        ({"inner": oid("1.2.840.113549.1.7.2")}, "encryptedContentInfo", "what is sealed is signed data"),
        ({"inner": oid("1.2.3")}, "encryptedContentInfo", r"what is sealed is 1\.2\.3"),
        ({"algorithm": b""}, "contentEncryptionAlgorithm", "belongs here"),
        ({"content": b""}, "encryptedContent", "kept apart"),
    ],
)
def test_each_wrong_piece_is_named(pieces, field, cause):
    """The field and the cause, before anything is opened; what is too long is refused by its length."""
    octets = change(**pieces)
    for chunks in ([octets], [octets[i : i + 1] for i in range(min(len(octets), 2000))]):
        with refused(cause) as caught:
            read_header(ber.Reader(chunks))
        assert caught.value.field == field


def test_weak_encryption_is_refused_at_first_sight():
    """The kernel need not carry what nobody should open: 3DES, by name."""
    weak = AlgorithmIdentifier({"algorithm": "1.2.840.113549.3.7", "parameters": asn1.OctetString(bytes(8))}).dump()
    made = Made(holder("p256"), cipher=Cipher.AES_256_CBC)
    made.algorithm = weak
    with refused("contentEncryptionAlgorithm: 3DES"):
        peek(made.octets())


def test_no_more_than_the_limit_is_looked_at():
    """However much is given."""
    made = Made(holder("p256"))
    made.originator = ber.opening(0xA0) + b"\x04\x00" * limits.SEAL_HEADER
    with refused("originatorInfo: (it does not end within|the octets end inside)"):
        peek(made.octets(definite=False))
