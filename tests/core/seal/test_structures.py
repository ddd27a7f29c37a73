"""The structures: kept as they came, and wrong ones said to be wrong."""

from __future__ import annotations

import pytest

from core import limits
from core.errors import SealError
from core.seal import structures as s


def test_parameters_stay_as_they_came():
    """Absent and NULL parameters are two things, and the key agreement covers either as it was written."""
    for text in ("300b0609608648016503040 12d".replace(" ", ""), "300d06096086480165030401 2d0500".replace(" ", "")):
        octets = bytes.fromhex(text)
        assert s.read("x", octets, lambda found: found.copy().dump(), s.AlgorithmIdentifier) == octets


def test_what_is_taken_is_given():
    """The structure is handed over, its parts are read by name."""
    octets = s.IssuerAndSerialNumber({"issuer": s.asn1.Any.load(b"\x30\x00"), "serial_number": 77}).dump()
    assert s.read("x", octets, lambda found: found["serial_number"].native, s.IssuerAndSerialNumber) == 77
    assert s.GcmParameters.load(bytes.fromhex("3002 0400".replace(" ", "")))["aes_icvlen"].native == 12


@pytest.mark.parametrize(
    "octets", [b"", b"\x30", b"\x04\x00", b"\x30\x03\x02\x01\x05", b"\x30\x00", b"\x30\x02\x30\x00\x05\x00"]
)
def test_what_is_no_such_structure_is_said(octets):
    """Cut, of another type, incomplete, followed by something: one error that names the field."""
    with pytest.raises(SealError, match=r"^who: it is not what the standard"):
        s.read("who", octets, lambda found: found["serial_number"].native, s.IssuerAndSerialNumber)


@pytest.mark.parametrize("octets", [b"", b"\x2a\x86", b"\x2a" + b"\xff" * limits.SEAL_ALGORITHM + b"\x7f"])
def test_an_identifier_is_whole_and_short(octets):
    """Empty, cut and endless ones are none: the library would take them, and endless ones cost too much."""
    with pytest.raises(ValueError, match="no object identifier"):
        s.dotted(s.asn1.ObjectIdentifier.load(b"\x06" + s.asn1.OctetString(octets).dump()[1:]))
    assert s.dotted(s.asn1.ObjectIdentifier.load(b"\x06\x01\x2a")) == "1.2"


def test_a_refusal_with_its_own_words_comes_through():
    """What the reader itself refuses is not covered by the general words."""

    def refuse(_found: object) -> None:
        raise SealError("who", "too many")

    with pytest.raises(SealError, match="too many"):
        s.read("who", b"\x30\x00", refuse, s.RecipientEncryptedKeys)
