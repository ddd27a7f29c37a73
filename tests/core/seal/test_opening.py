"""Opening: any split, nothing believed too soon, nothing hidden, every alteration found."""

from __future__ import annotations

import random

import pytest
from asn1crypto import core as asn1
from cryptography.hazmat.primitives.ciphers.algorithms import AES128, AES256
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.errors import SealError
from core.seal import ber
from core.seal.algorithms import DAMAGED, Cipher
from core.seal.opening import open_sealed
from core.seal.sealing import seal
from tests.core.seal.holders import holder
from tests.core.seal.making import PKCS1, Made, transported

PAIR = holder("p256")
PLAIN = bytes(range(256)) * 8


def refused(cause: str):
    return pytest.raises(SealError, match=cause)


def opened(octets: bytes) -> bytes:
    return b"".join(open_sealed([octets], [PAIR]))


@pytest.mark.parametrize("cipher", Cipher)
@pytest.mark.parametrize("definite", [True, False])
def test_both_forms_open(cipher, definite):
    """Definite and indefinite frames, with and without a tag; the facts come along."""
    found = open_sealed([Made(PAIR, PLAIN, cipher).octets(definite=definite)], [PAIR])
    assert (found.facts.cipher, found.facts.authenticated) == (cipher, cipher.authenticated)
    assert b"".join(found) == PLAIN


def test_a_tag_can_be_demanded():
    """What has none is refused before its key is taken; what has one opens."""
    with refused("contentType: aes-256-cbc shows no alteration"):
        open_sealed([Made(PAIR, PLAIN, Cipher.AES_256_CBC).octets()], [PAIR], authenticated=True)
    assert b"".join(open_sealed([Made(PAIR, PLAIN).octets()], [PAIR], authenticated=True)) == PLAIN


@given(st.lists(st.integers(0, 400), max_size=40), st.sampled_from(Cipher), st.booleans())
@settings(deadline=None)
def test_any_split_opens_the_same(cuts, cipher, definite):
    """Chunks of any size, empty ones among them."""
    rest = Made(PAIR, PLAIN, cipher).octets(definite=definite)
    chunks = []
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    assert b"".join(open_sealed([*chunks, rest], [PAIR])) == PLAIN


@pytest.mark.parametrize("cipher", Cipher)
def test_octet_by_octet_opens_the_same(cipher):
    """The smallest split of all."""
    octets = b"".join(seal([PLAIN], [PAIR.certificate], cipher))
    assert b"".join(open_sealed((octets[i : i + 1] for i in range(len(octets))), [PAIR])) == PLAIN


def test_the_last_chunk_is_held_until_the_tag_is_checked():
    """A small payload is given whole or not at all; of a large one all but the last chunk comes before its end."""
    octets = Made(PAIR, b"x" * limits.SEAL_CHUNK).octets()
    altered = octets[:-1] + bytes([octets[-1] ^ 1])
    found = open_sealed([altered], [PAIR])
    with refused(DAMAGED):
        next(found)
    large = b"".join(seal([bytes(5 * limits.SEAL_CHUNK)], [PAIR.certificate]))
    found = open_sealed([large[:-20] + bytes(20)], [PAIR])
    assert [len(next(found)) for _ in range(4)] == [limits.SEAL_CHUNK] * 4
    with refused("."):
        next(found)


def test_no_altered_octet_opens():
    """Each octet of a sealed payload, altered: a refusal, or the same plaintext where the octet says nothing."""
    octets = Made(PAIR, b"plain").octets()
    rng = random.Random(7)
    same = 0
    for at in range(len(octets)):
        altered = bytearray(octets)
        altered[at] ^= 1 << rng.randrange(8)
        try:
            assert opened(bytes(altered)) == b"plain"
            same += 1
        except SealError as error:
            assert error.field
            assert error.cause
    assert same <= 16, "versions, and nothing else: all that says something is covered"


def test_no_cut_payload_opens():
    """Whatever is missing at the end, it is a refusal."""
    for definite in (True, False):
        octets = Made(PAIR, b"plain").octets(definite=definite)
        for size in range(len(octets)):
            with refused("."):
                opened(octets[:size])


def test_plaintext_of_a_wrong_padding_is_said_in_the_same_words():
    """Content without a tag gives nothing away about why it does not open."""
    made = Made(PAIR, PLAIN, Cipher.AES_256_CBC)
    made.content = ber.element(0x80, bytes(33))
    with refused(DAMAGED):
        opened(made.octets())


def changed(cipher: Cipher = Cipher.AES_256_GCM, **pieces: bytes) -> bytes:
    made = Made(PAIR, b"plain", cipher)
    for name, octets in pieces.items():
        setattr(made, name, octets)
    return made.octets()


ATTRIBUTES = ber.element(0xA1, b"\x30\x00")
CBC = Cipher.AES_256_CBC


@pytest.mark.parametrize(
    ("octets", "field", "cause"),
    [
        (changed(behind=b"\0"), "ContentInfo", "octets follow"),
        (changed(mac=b""), "mac", "belongs here|end inside"),
        (changed(mac=ber.element(4, bytes(12))), "mac", "12 octets, announced are 16"),
        (changed(mac=ber.element(4, bytes(16))), "encryptedContent", "altered"),
        (changed(attributes=ATTRIBUTES), "authAttrs", "not accepted"),
        (changed(mac=ber.element(4, bytes(limits.SEAL_HEADER))), "mac", "does not end within"),
        (changed(unprotected=b"\x04\x00"), "content", "more than belongs there"),
        (changed(unprotected=ber.element(0xA2, bytes(limits.SEAL_HEADER))), "unprotectedAttrs", "does not end within"),
        (changed(CBC, unprotected=ber.element(0xA2, b"")), "content", "more than belongs there"),
        (changed(content=ber.element(0x80, bytes(4))), "encryptedContent", "altered"),
        (changed(content=b"\xa0\x04\x24\x02\x04\x00"), "encryptedContent", "belongs here"),
        (changed(content=b"\x81\x00"), "encryptedContent", "belongs here"),
        (changed(content=ber.element(0x80, b"") + b"\x04\x00"), "encryptedContentInfo", "more than belongs there"),
    ],
)
def test_each_wrong_piece_is_named(octets, field, cause):
    """The field and the cause of what stands in and behind the content."""
    with refused(cause) as caught:
        opened(octets)
    assert caught.value.field == field


@pytest.mark.parametrize(
    "octets", [changed(unprotected=ber.element(0xA2, b"\x30\x00")), changed(CBC, unprotected=ATTRIBUTES)]
)
def test_attributes_that_change_nothing_are_passed_over(octets):
    """Unprotected ones say nothing anybody may believe."""
    assert opened(octets) == b"plain"


def test_one_key_has_its_end(monkeypatch):
    """Ciphertext beyond what the mode is safe for is refused."""
    octets = changed()
    monkeypatch.setattr(limits, "SEAL_SIZE", 4)
    with refused("more than 4 octets"):
        opened(octets)


def test_an_empty_payload_is_a_payload():
    """Nothing at all, sealed and opened, with no content pieces."""
    for cipher in Cipher:
        octets = b"".join(seal([], [PAIR.certificate], cipher))
        assert list(open_sealed([octets], [PAIR])) == []


def test_an_older_key_opens_what_was_sealed_for_it():
    """After a change of keys both are tried, whichever the payload names."""
    old, new = holder("rsa-2048"), holder("p384")
    octets = b"".join(seal([PLAIN], [old.certificate]))
    assert b"".join(open_sealed([octets], [new, old])) == PLAIN


@pytest.mark.parametrize("algorithm", [AES128, AES256])
def test_what_a_library_seals_opens(algorithm):
    """`cryptography` writes EnvelopedData of its own: AES-CBC under PKCS#1 v1.5."""
    pair = holder("rsa-2048")
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(PLAIN).add_recipient(pair.certificate)  # type: ignore[arg-type]
    octets = builder.set_content_encryption_algorithm(algorithm).encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])
    assert b"".join(open_sealed([octets], [pair])) == PLAIN


def test_a_sealed_key_of_the_old_transport_shows_at_the_end_alone():
    """A wrong key that came by PKCS#1 v1.5 is said in the words of altered content, when all has been read."""
    pair = holder("rsa-2048")
    made = Made(pair, PLAIN)
    made.recipients = transported(pair, {"algorithm": PKCS1, "parameters": asn1.Null()}, b"\1" * 256)
    found = open_sealed([made.octets()], [pair])
    with refused(DAMAGED):
        b"".join(found)
