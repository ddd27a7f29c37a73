"""Key agreement: as another implementation computes it, as others wrote it, and failures that all look alike."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from base64 import b64decode, b64encode
from functools import cache
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, x448
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import names
from accesspoint.agreement import Agreement, method_for, parse_agreement, unwrap, wrap
from accesspoint.names import DS, DSIG11, DSIG_MORE, XENC, XENC11, tag
from accesspoint.soap import parse_xml
from tests.accesspoint.agreeing import (
    ALICE,
    BOB,
    CURVES,
    KEY,
    LENGTH,
    P256,
    PRF,
    SALT,
    der_value,
    derivation,
    elliptic,
    hkdf,
    kek,
    key_wrap,
    ladder,
    method,
    montgomery,
    point_of,
    point_value,
    salted,
    spki,
    theirs,
    times,
)
from tests.accesspoint.signing import canonical, refused
from tests.fuzz import world as w

PAYLOAD = "dffb2c9bc8991368b2978bb7e03cebc4cd0bf00f9d55dd5d455126ea99582d28"
"""SHA-256 of what was sent to phase4, as the samples' own list has it."""


def test_the_second_implementation_is_that_of_the_documents():
    """Known answers: RFC 7748 §6.1, RFC 5903 §8.1, RFC 5869 appendix A.1 and A.3, RFC 3394 §4.1."""
    nine = bytes([9, *bytes(31)])
    theirs = bytes.fromhex("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
    assert ladder(ALICE, nine).hex() == "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
    assert ladder(BOB, nine) == theirs
    assert ladder(ALICE, theirs).hex() == "4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742"
    own = int("c88f01f510d9ac3f70a292daa2316de544e9aab8afe84049c62a9c57862d1433", 16)
    other = ec.derive_private_key(
        int("c6ef9c5d78ae012a011164acb397ce2088685d8f06bf9be0b283ab46476bee53", 16), ec.SECP256R1()
    )
    point = other.public_key().public_numbers()
    assert f"{times(own, point.x, point.y):x}" == "d6840f6b42f6edafd13116e0e12565202fef8e9ece7dce03812464d04b9442de"
    okm = hkdf(b"\x0b" * 22, bytes(range(13)), bytes(range(0xF0, 0xFA)), 42)
    assert okm.hex() == ("3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865")
    assert hkdf(b"\x0b" * 22, b"", b"", 42).hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )
    wrapped = key_wrap(bytes(range(16)), bytes.fromhex("00112233445566778899aabbccddeeff"))
    assert wrapped.hex() == "1fa68b0a8112b447aef34bd8fb5a7b829d3e862371d2cfe5"


# --- as the second implementation computes it -------------------------------------------------------------------------

octets32 = st.binary(min_size=32, max_size=32)


@given(octets32, octets32, st.binary(max_size=48), st.binary(max_size=20), st.sampled_from([16, 24, 32]), st.data())
@settings(max_examples=25, deadline=None)
def test_what_another_wrapped_under_x25519_is_unwrapped(own, other, salt, info, size, data):
    """Any keys, salt, info and length of content key."""
    key = data.draw(st.binary(min_size=size, max_size=size))
    public = ladder(own, bytes([9, *bytes(31)]))
    value = key_wrap(hkdf(ladder(other, public), salt, info), key)
    originator = der_value(spki(montgomery(other).public_key()))
    parameters = PRF + salted(salt) + f"<m:Info>{b64encode(info).decode()}</m:Info>" + LENGTH
    said = parse_agreement(method(originator, derivation(parameters)))
    assert (said.algorithm, said.salt, said.info) == (names.X25519, salt, info)
    assert said.recipient is not None and said.recipient[0].text == "ours"
    assert unwrap(montgomery(own), said, value) == key


@given(st.integers(1, 2**255))
@settings(max_examples=8, deadline=None)
def test_what_another_wrapped_on_p256_is_unwrapped(scalar):
    """The x of the common point, however the originator's point is written."""
    own = elliptic()
    point = own.public_key().public_numbers()
    secret = times(scalar, point.x, point.y).to_bytes(32, "big")
    value = key_wrap(hkdf(secret, SALT, b""), KEY)
    other = ec.derive_private_key(scalar, ec.SECP256R1()).public_key()
    pressed = point_of(other, serialization.PublicFormat.CompressedPoint)
    for written in (point_value(point_of(other)), point_value(pressed), der_value(spki(other))):
        assert unwrap(own, parse_agreement(method(written, algorithm=names.ECDH_ES)), value) == KEY


def test_no_salt_is_a_salt_of_zeros():
    """Absent, empty, and as many zeros as the hash has octets are one derivation [RFC 5869 §2.2]; a length may be left out."""
    value = key_wrap(kek(b""), KEY)
    for salt in ("", "<m:Salt/>", "<m:Salt> \n</m:Salt>", salted(bytes(32))):
        for length in (LENGTH, ""):
            said = parse_agreement(method(theirs(), derivation(PRF + salt + length)))
            assert unwrap(montgomery(), said, value) == KEY


def test_the_local_vector_is_reproduced(shared):
    """X25519, HKDF, key wrap and AES-GCM, computed elsewhere before this was written."""
    vector = json.loads((shared / "samples/as4/crypto-vectors/x25519-hkdf-kw128-gcm128.json").read_text())
    parameters = (
        f'<m:PRF Algorithm="{vector["hkdf_prf"]}"/><m:Salt>{vector["hkdf_salt_b64"]}</m:Salt>'
        f"<m:Info>{vector['hkdf_info_b64']}</m:Info><m:KeyLength>{vector['hkdf_keylength']}</m:KeyLength>"
    )
    said = parse_agreement(method(der_value(b64decode(vector["ephemeral_spki_b64"])), derivation(parameters)))
    private = montgomery(bytes.fromhex(vector["recipient_private_hex"]))
    assert spki(private.public_key()) == b64decode(vector["recipient_spki_b64"])
    key = unwrap(private, said, b64decode(vector["wrapped_cek_b64"]))
    assert key.hex() == vector["cek_hex"]
    octets = b64decode(vector["cipher_octets_b64"])
    assert AESGCM(key).decrypt(octets[:12], octets[12:], None).decode() == vector["plaintext"]


@pytest.mark.parametrize(
    ("file", "key", "algorithm"),
    [
        ("49-phase4-edelivery2-eddsa.as4out", "server-x.key", names.X25519),
        ("51-phase4-edelivery2-ecdsa.as4out", "server-ec.key", names.ECDH_ES),
    ],
)
def test_what_phase4_encrypted_is_decrypted(shared, file, key, algorithm):
    """Captured messages of both kinds of 2.0: the payload is the one that was sent."""
    samples = shared / "samples" / "as4"
    octets = (samples / "messages" / file).read_bytes()
    private: Any = serialization.load_pem_private_key((samples / "keys" / "phase4-live" / key).read_bytes(), None)
    marker = re.search(rb'boundary="([^"]+)"', octets)
    assert marker
    soap, part = (piece.partition(b"\r\n\r\n")[2] for piece in octets.split(b"--" + marker[1])[1:3])
    root = parse_xml(soap.strip())
    (found,) = root.iter(tag(XENC, "AgreementMethod"))
    said = parse_agreement(found)
    assert (said.algorithm, len(said.salt), said.info) == (algorithm, 16, b"")
    content_key = unwrap(private, said, b64decode(root.findtext(f".//{tag(XENC, 'CipherValue')}") or ""))
    part = part.removesuffix(b"\r\n")
    plain = gzip.decompress(AESGCM(content_key).decrypt(part[:12], part[12:], None))
    assert (len(plain), hashlib.sha256(plain).hexdigest()) == (5000, PAYLOAD)


# --- what cannot be unwrapped: one and the same 0102 ------------------------------------------------------------------

SMALL_ORDER = (
    "00" * 32,
    "01" + "00" * 31,
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ec" + "ff" * 30 + "7f",
    "ed" + "ff" * 30 + "7f",
    "ee" + "ff" * 30 + "7f",
    "ed" + "ff" * 31,
)


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_an_agreement_on_nothing_fails(point):
    """A point of small order makes the secret zero, whatever our key: the key an attacker wrapped under it is not taken."""
    octets = bytes.fromhex(point)
    assert ladder(BOB, octets) == bytes(32), "the second implementation finds nothing in common as well"
    said = parse_agreement(method(der_value(bytes.fromhex("302a300506032b656e032100") + octets)))
    with refused("0102", "EncryptedData", "could not be decrypted"):
        unwrap(montgomery(), said, key_wrap(hkdf(bytes(32), SALT, b""), KEY))


GOOD = key_wrap(kek(), KEY)


def agreed(originator: Any, salt: bytes = SALT, info: bytes = b"") -> Agreement:
    """An agreement with any key."""
    return Agreement(names.X25519, salt, info, originator, None)


def test_a_key_that_cannot_be_unwrapped_says_nothing_more():
    """Another curve, another kind of key, another derivation, a changed or a short value: which it was is nobody's business."""
    alice, point = montgomery(ALICE).public_key(), elliptic().public_key()
    assert unwrap(montgomery(), agreed(alice), GOOD) == KEY
    others = [elliptic(uri).public_key() for uri in CURVES if uri != P256]
    tries: list[tuple[Any, Agreement, bytes]] = [
        *((elliptic(), agreed(other), GOOD) for other in others),
        (elliptic(), agreed(ec.generate_private_key(ec.SECP256K1()).public_key()), GOOD),
        (elliptic(), agreed(alice), GOOD),
        (montgomery(), agreed(point), GOOD),
        (elliptic(), agreed(point), GOOD),
        (montgomery(ALICE), agreed(alice), GOOD),
        (montgomery(), agreed(alice, salt=b""), GOOD),
        (montgomery(), agreed(alice, salt=SALT[:15]), GOOD),
        (montgomery(), agreed(alice, info=b"\x00"), GOOD),
        *((montgomery(), agreed(alice), GOOD[:size]) for size in range(len(GOOD))),
        *((montgomery(), agreed(alice), GOOD + bytes(size)) for size in (1, 8)),
        (montgomery(), agreed(alice), key_wrap(kek(), KEY[:8] + bytes(8))[8:]),
        (montgomery(), agreed(alice), bytes(24)),
    ]
    seen = set()
    for private, said, value in tries:
        with refused("0102", "EncryptedData", "could not be decrypted") as caught:
            unwrap(private, said, value)
        assert caught.value.__cause__ is None
        seen.add((str(caught.value), caught.value.remedy, caught.value.told))
    assert len(seen) == 1


@given(st.integers(0, len(GOOD) * 8 - 1))
@settings(max_examples=60, deadline=None)
def test_every_bit_of_a_wrapped_key_counts(at):
    """Key wrap has its own check."""
    bent = bytearray(GOOD)
    bent[at // 8] ^= 1 << at % 8
    with refused("0102", "EncryptedData", "could not be decrypted"):
        unwrap(montgomery(), agreed(montgomery(ALICE).public_key()), bytes(bent))


# --- what is not supported: 0103, before anything is computed ---------------------------------------------------------

HMAC = "http://www.w3.org/2001/04/xmldsig-more#hmac-sha"
CONCAT = XENC11 + "ConcatKDF"
DERIVATIONS = {
    "none": ("", "KeyDerivationMethod", "none is not agreed", names.HKDF),
    "unnamed": (derivation(algorithm=""), "KeyDerivationMethod", "none is not agreed", names.HKDF),
    "foreign": (derivation(algorithm=CONCAT), "KeyDerivationMethod", f"{CONCAT} is not agreed", names.HKDF),
    "no parameters": (
        f'<x:KeyDerivationMethod Algorithm="{names.HKDF}"/>',
        "KeyDerivationMethod",
        f"{names.HKDF} is not agreed",
        names.HKDF,
    ),
    "no PRF": (derivation(LENGTH), "HKDFParams/PRF", "is not HMAC-SHA256", names.HMAC_SHA256),
    "PRF unnamed": (derivation("<m:PRF/>"), "HKDFParams/PRF", "is not HMAC-SHA256", names.HMAC_SHA256),
    "longer PRF": (
        derivation(PRF.replace("256", "512") + LENGTH),
        "HKDFParams/PRF",
        "is not HMAC-SHA256",
        names.HMAC_SHA256,
    ),
    "sha1": (
        derivation(f'<m:PRF Algorithm="{DS}hmac-sha1"/>'),
        "HKDFParams/PRF",
        "is not HMAC-SHA256",
        names.HMAC_SHA256,
    ),
    "longer key": (derivation(PRF + "<m:KeyLength>32</m:KeyLength>"), "HKDFParams/KeyLength", "is not 16", "16 octets"),
    "no length": (derivation(PRF + "<m:KeyLength/>"), "HKDFParams/KeyLength", "is not 16", "16 octets"),
    "words": (derivation(PRF + "<m:KeyLength>0x10</m:KeyLength>"), "HKDFParams/KeyLength", "is not 16", "16 octets"),
    "zero": (derivation(PRF + "<m:KeyLength>0</m:KeyLength>"), "HKDFParams/KeyLength", "is not 16", "16 octets"),
}


@pytest.mark.parametrize("name", DERIVATIONS)
def test_another_derivation_is_refused_with_the_one_to_use(name):
    """There is one: HKDF with HMAC-SHA256 and sixteen octets."""
    derived, field, cause, remedy = DERIVATIONS[name]
    with refused("0103", field, cause) as caught:
        parse_agreement(method(theirs(), derived))
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("name", ["Salt", "Info"])
def test_parameters_that_are_no_base64_are_refused_by_name(name):
    """As every other value that should be base64."""
    with refused("0101", f"HKDFParams/{name}", "is not base64"):
        parse_agreement(method(theirs(), derivation(f"{PRF}<m:{name}>*</m:{name}>")))


def off_curve() -> bytes:
    """A point that is not on its curve."""
    octets = bytearray(point_of(elliptic().public_key()))
    octets[-1] ^= 1
    return bytes(octets)


def bent_spki() -> bytes:
    """The same in DER."""
    return spki(elliptic().public_key())[:-65] + off_curve()


UNREADABLE = {
    "nothing": "",
    "a name": "<ds:KeyName>theirs</ds:KeyName>",
    "empty DER": "<d:DEREncodedKeyValue/>",
    "no DER": der_value(b"\x30\x03\x02\x01\x00"),
    "DER cut short": der_value(bytes.fromhex("302a300506032b656e032100") + bytes(31)),
    "unknown kind": der_value(bytes.fromhex("302a300506032b657f032100") + bytes(32)),
    "no point": f'<ds:KeyValue><d:ECKeyValue><d:NamedCurve URI="{P256}"/></d:ECKeyValue></ds:KeyValue>',
    "infinity": point_value(b"\x00"),
    "off the curve": point_value(off_curve()),
    "off the curve in DER": der_value(bent_spki()),
    "a point of another length": point_value(point_of(elliptic("urn:oid:1.3.132.0.34").public_key())),
    "half a point": point_value(point_of(elliptic().public_key())[:33]),
    "no curve": point_value(point_of(elliptic().public_key()), ""),
    "unnamed curve": point_value(point_of(elliptic().public_key()), "<d:NamedCurve/>"),
    "unknown curve": point_value(point_of(elliptic().public_key()), '<d:NamedCurve URI="urn:oid:1.3.132.0.33"/>'),
    "own parameters": point_value(point_of(elliptic().public_key()), "<d:ECParameters/>"),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("algorithm", [names.X25519, names.ECDH_ES])
def test_an_originator_without_a_readable_key_is_refused(name, algorithm):
    """Nothing, nonsense, a point that is on no curve or on one not known: 0103 before any secret is touched."""
    with refused("0103", "OriginatorKeyInfo", "holds no key that can be read"):
        parse_agreement(method(UNREADABLE[name], algorithm=algorithm))


def test_an_originator_is_not_left_out():
    """Without it there is nobody to agree with."""
    element = method(theirs())
    element.remove(element.find(tag(XENC, "OriginatorKeyInfo")))
    with refused("0103", "OriginatorKeyInfo", "is missing"):
        parse_agreement(element)


def test_a_key_that_is_no_base64_is_refused_as_such():
    """In both ways of writing it."""
    for written in ("<d:DEREncodedKeyValue>*</d:DEREncodedKeyValue>", point_value(b"").replace("></d:P", ">*</d:P")):
        with refused("0101", "OriginatorKeyInfo", "is not base64"):
            parse_agreement(method(written))


@cache
def other_kinds() -> dict[str, Any]:
    """Keys that cannot agree, or not here."""
    made = (ed25519.Ed25519PrivateKey, ed448.Ed448PrivateKey, x448.X448PrivateKey)
    keys: dict[str, Any] = {kind.__name__: kind.generate().public_key() for kind in made}
    keys["RSA"] = w.world().theirs.certificate.public_key()
    keys["DSA"] = dsa.generate_private_key(1024).public_key()
    return keys


def test_a_key_of_another_kind_than_the_agreement_s_is_refused():
    """RSA, DSA, signature keys, and each of the two agreements with the key of the other."""
    for key in (*other_kinds().values(), elliptic().public_key()):
        with refused("0103", "OriginatorKeyInfo", "holds no key for x25519"):
            parse_agreement(method(der_value(spki(key))))
    for key in (*other_kinds().values(), montgomery().public_key()):
        with refused("0103", "OriginatorKeyInfo", "holds no key for ECDH-ES"):
            parse_agreement(method(der_value(spki(key)), algorithm=names.ECDH_ES))
    with refused("0103", "OriginatorKeyInfo", "holds no key for x25519"):
        parse_agreement(method(point_value(point_of(elliptic().public_key()))))
    with refused("0103", "OriginatorKeyInfo", "holds no key for this agreement"):
        parse_agreement(method(theirs(), algorithm=""))


def test_the_derivation_of_the_older_interoperability_vectors_is_another(shared):
    """ConcatKDF of W3C's own vectors is named as what it is and refused."""
    name = "cipherText__EC-P256__aes128-gcm__kw-aes128__ECDH-ES__ConcatKDF-1.xml"
    root = parse_xml((shared / "samples" / "as4" / "crypto-vectors" / name).read_bytes())
    (found,) = root.iter(tag(XENC, "AgreementMethod"))
    with refused("0103", "KeyDerivationMethod", f"{CONCAT} is not agreed") as caught:
        parse_agreement(found)
    assert caught.value.remedy == f"use {names.HKDF}"


# --- what we write ----------------------------------------------------------------------------------------------------

RECIPIENTS: dict[str, Any] = {"x25519": montgomery, **{uri: lambda uri=uri: elliptic(uri) for uri in CURVES}}


def test_only_a_key_that_can_agree_has_a_method():
    """X25519 and the six curves that have a name here; a curve nobody could read back has none."""
    assert method_for(montgomery().public_key()) == names.X25519
    for uri in CURVES:
        assert method_for(elliptic(uri).public_key()) == names.ECDH_ES
    for curve in (ec.SECP256K1(), ec.SECP224R1()):
        assert method_for(ec.generate_private_key(curve).public_key()) == ""
    for key in other_kinds().values():
        assert method_for(key) == ""


def placed(agreement: bytes) -> bytes:
    """What was written, where it stands."""
    return (
        b'<xenc:EncryptedKey xmlns:xenc="%s"><ds:KeyInfo xmlns:ds="%s">%s</xenc:AgreementMethod></ds:KeyInfo></xenc:EncryptedKey>'
        % (XENC.encode(), DS.encode(), agreement)
    )


@pytest.mark.parametrize("name", RECIPIENTS)
def test_what_we_write_is_canonical_and_read_again(name):
    """For every kind of key: lxml has nothing to change in it, and the receiver gets the key."""
    private = RECIPIENTS[name]()

    @given(st.sampled_from([16, 32]), st.randoms(use_true_random=False))
    @settings(max_examples=12, deadline=None)
    def holds(size: int, random: Any) -> None:
        key = random.randbytes(size)
        made = wrap(private.public_key(), key, random.randbytes)
        assert canonical(placed(made.agreement)) == placed(made.agreement)
        said = parse_agreement(parse_xml(placed(made.agreement))[0][0])
        assert (said.algorithm, said.info) == (method_for(private.public_key()), b"")
        assert len(said.salt) == 16
        assert unwrap(private, said, made.value) == key
        assert key not in made.value

    holds()


def test_what_we_wrote_the_second_implementation_reads():
    """By the public key in it, its salt, and the receiver's private key alone."""
    made = wrap(montgomery().public_key(), KEY, w.entropy)
    root = etree.fromstring(placed(made.agreement))
    der = b64decode(root.findtext(f".//{tag(DSIG11, 'DEREncodedKeyValue')}") or "")
    salt = b64decode(root.findtext(f".//{tag(DSIG_MORE, 'Salt')}") or "")
    (found,) = root.iter(tag(XENC11, "KeyDerivationMethod"))
    prf, length = found.find(f".//{tag(DSIG_MORE, 'PRF')}"), found.findtext(f".//{tag(DSIG_MORE, 'KeyLength')}")
    assert (found.get("Algorithm"), prf.get("Algorithm"), length) == (names.HKDF, names.HMAC_SHA256, "16")
    assert (len(der), salt) == (44, w.entropy(16))
    assert key_wrap(hkdf(ladder(BOB, der[-32:]), salt, b""), KEY) == made.value


@pytest.mark.parametrize("name", RECIPIENTS)
def test_every_message_has_a_key_of_its_own(name):
    """Fresh key and salt each time, from where randomness is told to come."""
    asked: list[int] = []

    def counted(size: int) -> bytes:
        asked.append(size)
        return bytes([len(asked)]) * size

    public = RECIPIENTS[name]().public_key()
    made = [wrap(public, KEY, counted) for _ in range(3)]
    assert len({one.value for one in made}) == len({one.agreement for one in made}) == 3
    assert asked == ([16, 32] if name == "x25519" else [16]) * 3
    originators = {re.sub(rb".*(<xenc:OriginatorKeyInfo>)", rb"\1", one.agreement) for one in made}
    assert len(originators) == 3, "not the salt alone"
