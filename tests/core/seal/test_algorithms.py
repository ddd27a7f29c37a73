"""Content encryption: what is written, what is read, what is refused by name."""

from __future__ import annotations

import pytest
from asn1crypto import core as asn1

from core.errors import SealError
from core.seal.algorithms import Cipher, Decryption, Encrypted, Encryption, read_algorithm
from core.seal.structures import AlgorithmIdentifier, GcmParameters

GCM, CBC = "2.16.840.1.101.3.4.1.46", "2.16.840.1.101.3.4.1.42"


def described(dotted: str, parameters: object = None) -> bytes:
    return AlgorithmIdentifier({"algorithm": dotted, "parameters": parameters}).dump()


def gcm(nonce: int = 12, tag: int = 16) -> GcmParameters:
    return GcmParameters({"aes_nonce": bytes(nonce), "aes_icvlen": tag})


def encrypted(cipher: Cipher, octets: bytes) -> tuple[Encrypted, bytes, bytes, bytes]:
    one = Encryption(cipher)
    content = one.update(octets)
    last, tag = one.finish()
    return read_algorithm(one.algorithm, authenticated=cipher.authenticated), one.key, content + last, tag


@pytest.mark.parametrize("cipher", Cipher)
@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 100_000])
def test_what_is_encrypted_is_decrypted(cipher, size):
    """Every size, block boundaries among them; the description says which key and tag belong to it."""
    facts, key, content, tag = encrypted(cipher, b"x" * size)
    assert (facts.name, facts.key_size, len(key), facts.tag_size) == (cipher, 32, 32, len(tag))
    assert facts.tag_size == (16 if cipher.authenticated else 0)
    opening = Decryption(facts, key)
    assert opening.update(content) + opening.finish(tag) == b"x" * size


def test_no_two_contents_share_a_key():
    """Each payload has its own."""
    assert Encryption(Cipher.AES_256_GCM).key != Encryption(Cipher.AES_256_GCM).key


def failing(facts: Encrypted, key: bytes, content: bytes, tag: bytes) -> str:
    opening = Decryption(facts, key)
    with pytest.raises(SealError) as caught:
        opening.update(content)
        opening.finish(tag)
    return str(caught.value)


def test_a_wrong_key_and_an_altered_octet_are_said_in_the_same_words():
    """Nobody learns which it was: another key, another octet, half a block, a padding that is none."""
    facts, key, content, tag = encrypted(Cipher.AES_256_GCM, b"x" * 40)
    altered = bytes([content[0] ^ 1]) + content[1:]
    said = {
        failing(facts, key, altered, tag),
        failing(facts, bytes(32), content, tag),
        failing(facts, key, content, b""),
    }
    cbc, key, content, _ = encrypted(Cipher.AES_256_CBC, b"x" * 40)
    said |= {failing(cbc, key, content[:-1], b""), failing(cbc, key, content[:32], b""), failing(cbc, key, b"", b"")}
    assert len(said) == 1
    assert key.hex() not in said.pop()


@pytest.mark.parametrize(
    ("dotted", "name"),
    [
        ("1.2.840.113549.3.7", "3DES"),
        ("1.2.840.113549.3.2", "RC2"),
        ("1.2.840.113549.3.4", "RC4"),
        ("1.3.14.3.2.7", "DES"),
        ("2.16.840.1.101.3.4.1.47", "aes-256-ccm"),
        ("1.2.3.4", r"1\.2\.3\.4"),
    ],
)
def test_what_is_not_taken_is_refused_by_name(dotted, name):
    """Weak algorithms and ones nobody here knows, with what to use instead."""
    with pytest.raises(SealError, match=f"{name}.* not accepted; seal with aes-256-gcm") as caught:
        read_algorithm(described(dotted), authenticated=False)
    assert caught.value.field == "contentEncryptionAlgorithm"


@pytest.mark.parametrize(
    ("octets", "authenticated", "cause"),
    [
        (described(GCM, gcm()), False, "aes-256-gcm does not belong into EnvelopedData"),
        (described(CBC, asn1.OctetString(bytes(16))), True, "aes-256-cbc does not belong into AuthEnvelopedData"),
        (described(CBC, asn1.OctetString(bytes(15))), False, "15 octets instead of 16"),
        (described(CBC), False, "not what the standard"),
        (described(GCM, gcm(7)), True, "the nonce has 7 octets"),
        (described(GCM, gcm(65)), True, "the nonce has 65 octets"),
        (described(GCM, gcm(12, 11)), True, "the tag has 11 octets"),
        (described(GCM, gcm(12, 17)), True, "the tag has 17 octets"),
        (described(GCM), True, "not what the standard"),
        (b"\x30\x00", True, "not what the standard"),
    ],
)
def test_wrong_parameters_are_refused(octets, authenticated, cause):
    """Modes in the wrong place, vectors, nonces and tags of the wrong size."""
    with pytest.raises(SealError, match=cause):
        read_algorithm(octets, authenticated=authenticated)


def test_a_short_tag_and_an_odd_nonce_that_are_safe_are_read():
    """Twelve octets of tag are the standard's default."""
    facts = read_algorithm(described("2.16.840.1.101.3.4.1.6", gcm(16, 12)), authenticated=True)
    assert facts == Encrypted("aes-128-gcm", 16, bytes(16), 12)
    for dotted, size in (("2.16.840.1.101.3.4.1.2", 16), ("2.16.840.1.101.3.4.1.22", 24)):
        found = read_algorithm(described(dotted, asn1.OctetString(bytes(16))), authenticated=False)
        assert (found.key_size, found.tag_size) == (size, 0)
