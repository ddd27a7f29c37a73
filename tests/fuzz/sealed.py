"""Targets that read sealed payloads: what the kernel looks at, and what a receiver opens."""

from __future__ import annotations

from functools import cache
from typing import Final

from asn1crypto import core as asn1
from cryptography.hazmat.primitives.asymmetric import padding

from core.errors import SealError
from core.seal import ber
from core.seal.algorithms import Cipher
from core.seal.header import peek
from core.seal.opening import open_sealed
from core.seal.recipients import KeyPair
from tests.core.seal.holders import holder
from tests.core.seal.making import PKCS1, Made, by_key_id, transported
from tests.fuzz.registry import check, pieces_of, target

PLAIN: Final = b"a fictitious note" * 20


@cache
def _pairs() -> tuple[KeyPair, ...]:
    return holder("rsa-2048"), holder("p256"), holder("p384")


def _seeds() -> list[bytes]:
    made = [Made(pair, PLAIN, cipher) for pair in _pairs() for cipher in Cipher]
    found = [one.octets(definite=definite) for one in made for definite in (True, False)]
    cut, several, attributes = Made(_pairs()[1], PLAIN), Made(_pairs()[0], PLAIN), Made(_pairs()[1], PLAIN)
    content = cut.content[3:]
    cut.content = (
        ber.opening(0xA0) + b"".join(ber.element(4, content[i : i + 90]) for i in range(0, len(content), 90)) + ber.END
    )
    others = b"".join(bytes((kind, 2, 5, 0)) for kind in (0xA2, 0xA3, 0xA4))
    several.recipients = ber.element(ber.SET, several.recipients[4:] + others)
    attributes.attributes = ber.element(0xA1, b"\x30\x00")
    attributes.originator = ber.element(0xA0, b"\x30\x00")
    old = Made(_pairs()[0], PLAIN)
    wrapped = _pairs()[0].certificate.public_key().encrypt(bytes(32), padding.PKCS1v15())  # type: ignore[union-attr, call-arg]
    old.recipients = transported(_pairs()[0], {"algorithm": PKCS1, "parameters": asn1.Null()}, wrapped)
    named = Made(_pairs()[1], PLAIN)
    named.recipients = by_key_id(_pairs()[1], b"\1\2\3")
    found += [one.octets() for one in (cut, several, attributes, old, named)]
    return [bytes([mark]) + octets for octets in found for mark in (0, 1)]


def _said(error: SealError) -> str:
    """A refusal, which names a field, is short and harms no terminal."""
    words = str(error)
    check(error.field and error.cause, "a refusal names field and cause")
    check(len(words) < 2000 and words.isprintable(), "what a stranger wrote is cut and printable")
    return words


def _opened(pieces: list[bytes]) -> tuple[bytes, str]:
    """Plaintext, or the refusal."""
    try:
        return b"".join(open_sealed(pieces, _pairs())), ""
    except SealError as error:
        return b"", _said(error)


@target(_seeds, max_len=8192)
def sealed(data: bytes) -> None:
    """Facts or a refusal; the same for any split; nothing but what was sealed opens where there is a tag."""
    if not data:
        return
    octets = data[1:]
    try:
        facts = peek(octets)
    except SealError as error:
        words = _said(error)
        check(_opened([octets])[1] == words, "what the kernel refuses does not open, for the same reason")
        return
    whole, split = _opened([octets]), _opened(pieces_of(octets, data[0]))
    if all(one.way != "rsa-pkcs1v15" for one in facts.recipients):  # there a random key stands for a wrong one
        check(whole == split, "any split of the input gives the same")
    if not whole[1]:
        check(any(facts.is_for(pair.certificate) for pair in _pairs()), "only recipients open")
        check(whole[0] == PLAIN or not facts.authenticated, "nothing that was altered opens")
