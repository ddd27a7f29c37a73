"""Whom a payload is sealed for: every kind of key, every way in, and no oracle."""

from __future__ import annotations

from datetime import timedelta

import pytest
from asn1crypto import cms
from asn1crypto import core as asn1
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from core import limits
from core.errors import SealError, UsageError
from core.seal import ber
from core.seal import structures as s
from core.seal.recipients import (
    Addressee,
    KeyPair,
    check_recipient,
    content_key,
    read_recipients,
    recipient_infos,
)
from tests.core.seal.holders import AT, CURVES, KINDS, authority, der, holder
from tests.core.seal.making import KEY, OAEP, PKCS1, by_key_id, changed, infos_for, transported


def refused(cause: str):
    return pytest.raises(SealError, match=cause)


def taken(infos: bytes, *pairs: KeyPair, size: int = 32) -> bytes:
    return content_key(read_recipients(infos), pairs, size)


# --- both ways --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_holder_takes_what_was_handed_out(kind):
    """RSA and each of the curves."""
    pair = holder(kind)
    octets, all_rsa = recipient_infos([pair.certificate], KEY)
    assert taken(octets, pair) == KEY
    assert all_rsa == kind.startswith("rsa")


def test_each_of_several_takes_it_alone():
    """One payload, five receivers, named once each however often they are given; nobody else gets in."""
    pairs = [holder(kind) for kind in KINDS]
    infos = infos_for(*pairs, *pairs)
    found = read_recipients(infos)
    assert len(found) == len(KINDS)
    assert {one.way for one in found} == {"rsa-oaep", "ecdh-sha256", "ecdh-sha384", "ecdh-sha512"}
    for pair in pairs:
        assert taken(infos, pair) == KEY
    stranger = holder("rsa-2048", "birkelund-sag")
    with refused("not sealed for this certificate, but for: serial number .* of Common Name: Fictitious CA"):
        taken(infos, stranger)
    assert taken(infos, stranger, pairs[2]) == KEY


def test_what_is_agreed_is_new_each_time():
    """The sender's point is made for the one payload."""
    pair = holder("p256")
    first, second = (read_recipients(infos_for(pair))[0].point for _ in range(2))
    assert first != second


# --- certificates that are not sealed for -----------------------------------------------------------------------------


def certificate_of(key, usage: x509.KeyUsage | None = None) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "egedal-journal")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7, AT, AT + timedelta(days=9))
    if usage:
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(authority().key, hashes.SHA256())


def usage(*allowed: str) -> x509.KeyUsage:
    every = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{name: name in allowed for name in every})


@pytest.mark.parametrize(
    ("key", "allowed", "cause"),
    [
        (lambda: rsa.generate_private_key(65537, 1024), None, "1024 bits; at least 2048"),
        (lambda: ec.generate_private_key(ec.SECP256K1()), None, "secp256k1; sealed is for secp256r1"),
        (ed25519.Ed25519PrivateKey.generate, None, "can only sign"),
        (lambda: holder("rsa-2048").key, usage("digital_signature"), "does not allow encryption"),
        (lambda: holder("p256").key, usage("key_encipherment"), "does not allow encryption"),
    ],
)
def test_a_certificate_that_is_not_for_this_is_named(key, allowed, cause):
    """Short keys, other curves, keys that sign, keys that may not encrypt: the subject and the cause."""
    certificate = certificate_of(key(), allowed)
    with pytest.raises(UsageError, match=f"CN=egedal-journal.*{cause}"):
        recipient_infos([holder("rsa-2048").certificate, certificate], KEY)


@pytest.mark.parametrize("allowed", [None, usage("key_encipherment"), usage("data_encipherment")])
def test_a_certificate_that_says_nothing_or_allows_it_is_sealed_for(allowed):
    """Without a key usage everything is allowed."""
    check_recipient(certificate_of(holder("rsa-2048").key, allowed))
    check_recipient(certificate_of(holder("p256").key, None if allowed is None else usage("key_agreement")))


def test_an_odd_certificate_is_named():
    """The library reads extensions late; what it cannot read is refused with a sentence."""
    octets = der(certificate_of(holder("rsa-2048").key, usage("key_encipherment")))
    mark = bytes.fromhex("0603551d0f0101ff0404030205")  # key usage: a BIT STRING
    assert octets.count(mark[:-1]) == 1
    broken = octets.replace(mark[:8] + b"\x04\x04\x03\x02", mark[:8] + b"\x04\x04\x02\x02")
    with pytest.raises(UsageError, match="cannot be read"):
        check_recipient(x509.load_der_x509_certificate(broken))


def test_nobody_and_too_many_are_refused(monkeypatch):
    """At least one recipient, at most the limit, and a header that fits."""
    one = holder("rsa-2048").certificate
    with pytest.raises(UsageError, match="nobody is named"):
        recipient_infos([], KEY)
    with pytest.raises(UsageError, match="101 are named, 100 are allowed"):
        recipient_infos([one] * 101, KEY)
    monkeypatch.setattr(limits, "SEAL_HEADER", 500)
    with pytest.raises(UsageError, match="do not fit"):
        recipient_infos([one], KEY)


def test_a_pair_belongs_together():
    """A key beside somebody else's certificate, or of a kind nobody seals for, is refused when the pair is made."""
    with pytest.raises(UsageError, match="does not belong to the certificate of CN=egedal-journal"):
        KeyPair(holder("rsa-2048").certificate, holder("p256").key)
    key = ed25519.Ed25519PrivateKey.generate()
    with pytest.raises(UsageError, match="neither"):
        KeyPair(certificate_of(key), key)  # type: ignore[arg-type]


# --- naming -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_a_key_identifier_names_as_well(kind):
    """Both kinds of recipient may be named by the identifier in the certificate."""
    pair = holder(kind)
    key_id = pair.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    assert taken(by_key_id(pair, key_id), pair) == KEY
    with refused("key identifier 0102"):
        taken(by_key_id(pair, b"\1\2"), pair)
    with refused("not what the standard"):
        read_recipients(by_key_id(pair, b""))


def test_a_certificate_without_identifier_is_not_named_by_one():
    """Its absence is no match with anything."""
    assert not Addressee(key_id=b"\1").is_for(certificate_of(holder("rsa-2048").key))


def test_the_same_number_of_another_issuer_is_somebody_else():
    """Issuer and number count together."""
    certificate = holder("rsa-2048").certificate
    assert not Addressee(b"\x30\x00", certificate.serial_number).is_for(certificate)


def naming(value: bytes) -> bytes:
    """A name with one attribute of such a value."""
    attribute = ber.element(ber.SEQUENCE, bytes.fromhex("06 03 55 04 03") + value)
    return ber.element(ber.SEQUENCE, ber.element(ber.SET, attribute))


def deep() -> bytes:
    """Sequences in sequences."""
    found = b"\x05\x00"
    for _ in range(240):
        found = ber.element(ber.SEQUENCE, found)
    return found


@pytest.mark.parametrize("octets", [b"", b"\x30\x05\x01", b"\x02\x01\x05", naming(b"\x09\x01\x00"), naming(deep())])
def test_a_name_that_cannot_be_read_is_still_said(octets):
    """Hostile names reach no terminal: no control characters, no endless ones."""
    assert "cannot be read" in str(Addressee(octets, 7))
    assert "cannot be read" in str(Addressee(ber.element(ber.SEQUENCE, bytes(limits.SEAL_ALGORITHM)), 7))
    attribute = x509.NameAttribute(x509.NameOID.COMMON_NAME, "a\x1b[31m" + "b" * 50)
    name = x509.Name([attribute] * 20).public_bytes()
    assert "\x1b" not in str(Addressee(name, 7))
    assert len(str(Addressee(name, 7))) < 300


# --- ways in ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [16, 24, 32])
def test_the_old_key_transport_opens(size):
    """RSA PKCS#1 v1.5, as old programs write it."""
    pair = holder("rsa-2048")
    key = bytes(range(size))
    infos = transported(pair, {"algorithm": PKCS1}, pair.certificate.public_key().encrypt(key, padding.PKCS1v15()))
    assert taken(infos, pair, size=size) == key


def test_the_old_key_transport_is_no_oracle():
    """Wrong padding, a key of another size, octets that are no number of this key: each gives a random key and no error."""
    pair = holder("rsa-2048")
    public = pair.certificate.public_key()
    wrong = [
        public.encrypt(KEY, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)),
        public.encrypt(KEY[:16], padding.PKCS1v15()),
        b"\xff" * 256,
        b"",
        b"short",
    ]
    for octets in wrong:
        infos = transported(pair, {"algorithm": PKCS1}, octets)
        first, second = taken(infos, pair), taken(infos, pair)
        assert len(first) == len(second) == 32
        assert KEY not in (first, second)


@pytest.mark.parametrize("name", ["sha1", "sha224", "sha256", "sha384", "sha512"])
@pytest.mark.parametrize("label", [b"", b"of the sender"])
def test_every_usual_form_of_oaep_opens(name, label):
    """Hash and label are read from the parameters."""
    pair = holder("rsa-3072")
    hashed = getattr(hashes, name.upper())()
    parameters = cms.RSAESOAEPParams(
        {
            "hash_algorithm": {"algorithm": name},
            "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": name}},
            "p_source_algorithm": {"algorithm": "p_specified", "parameters": label},
        }
    )
    octets = pair.certificate.public_key().encrypt(KEY, padding.OAEP(padding.MGF1(hashed), hashed, label or None))
    assert taken(transported(pair, {"algorithm": OAEP, "parameters": parameters}, octets), pair) == KEY


def test_oaep_without_parameters_is_the_standard_s_default():
    """Absent means SHA-1."""
    pair = holder("rsa-2048")
    sha1 = padding.OAEP(padding.MGF1(hashes.SHA1()), hashes.SHA1(), None)
    octets = pair.certificate.public_key().encrypt(KEY, sha1)
    assert taken(transported(pair, {"algorithm": OAEP}, octets), pair) == KEY


def oaep(**changes) -> dict:
    parts = {
        "hash_algorithm": {"algorithm": "sha256"},
        "mask_gen_algorithm": {"algorithm": "mgf1", "parameters": {"algorithm": "sha256"}},
    }
    return {"algorithm": OAEP, "parameters": cms.RSAESOAEPParams(parts | changes)}


@pytest.mark.parametrize(
    ("algorithm", "cause"),
    [
        (oaep(), "does not open with this private key"),
        (oaep(hash_algorithm={"algorithm": "md5"}), "accepted with sha1, sha224"),
        (oaep(mask_gen_algorithm={"algorithm": "mgf1", "parameters": {"algorithm": "md5"}}), "accepted with sha1"),
        (oaep(mask_gen_algorithm={"algorithm": "1.2.3"}), "another mask|not what the standard"),
        (oaep(p_source_algorithm={"algorithm": "1.2.3"}), "another label source|not what the standard"),
        ({"algorithm": OAEP, "parameters": asn1.Integer(5)}, "not what the standard"),
        ({"algorithm": "1.2.3.4"}, r"under 1\.2\.3\.4, which is not accepted"),
        ({"algorithm": "1.3.132.1.11.1"}, "under ecdh-sha256, which is not accepted"),
    ],
)
def test_other_key_transport_is_refused(algorithm, cause):
    """Octets that do not open, weak hashes, other ways: by name, each."""
    pair = holder("rsa-2048")
    with refused(cause):
        taken(transported(pair, algorithm, b"\1" * 256), pair)


def test_a_key_of_the_wrong_size_is_not_used():
    """What was wrapped well but does not fit the content encryption is refused."""
    with refused("does not open"):
        taken(infos_for(holder("p256")), holder("p256"), size=16)


def test_material_of_the_sender_is_part_of_what_is_agreed():
    """With the octets a sender adds (ukm) the same key comes out; with others it does not."""
    pair = holder("p256")
    from core.seal import recipients

    wrap = s.AlgorithmIdentifier({"algorithm": "2.16.840.1.101.3.4.1.5"})
    own = ec.generate_private_key(ec.SECP256R1())
    scheme = "1.3.133.16.840.63.0.2"
    kek = recipients._agreed_key(own, pair.certificate.public_key(), scheme, wrap, b"salt")
    assert len(kek) == 16

    def change(ukm: bytes):
        def apply(info):
            point = own.public_key().public_bytes(
                recipients.serialization.Encoding.X962, recipients.serialization.PublicFormat.UncompressedPoint
            )
            originator = s.OriginatorPublicKey({"algorithm": {"algorithm": "1.2.840.10045.2.1"}, "public_key": point})
            info["originator"] = s.OriginatorIdentifierOrKey("originator_key", originator)
            info["ukm"] = ukm
            info["key_encryption_algorithm"] = {"algorithm": scheme, "parameters": wrap}
            rid = info["recipient_encrypted_keys"][0]["rid"]
            wrapped = recipients.aes_key_wrap(kek, KEY)
            info["recipient_encrypted_keys"] = [{"rid": rid, "encrypted_key": wrapped}]

        return apply

    assert taken(changed(pair, change(b"salt")), pair) == KEY
    with refused("does not open"):
        taken(changed(pair, change(b"pepper")), pair)


def point(octets: bytes):
    def change(info):
        originator = s.OriginatorPublicKey({"algorithm": {"algorithm": "1.2.840.10045.2.1"}, "public_key": octets})
        info["originator"] = s.OriginatorIdentifierOrKey("originator_key", originator)

    return change


def algorithm(dotted: str, parameters: object):
    def change(info):
        info["key_encryption_algorithm"] = {"algorithm": dotted, "parameters": parameters}

    return change


def static(info):
    named = s.OriginatorIdentifierOrKey("subject_key_identifier", asn1.OctetString(b"\1"))
    info["originator"] = named


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (point(b"\4" + bytes(64)), "does not open"),
        (point(b""), "does not open"),
        (point(b"\4" + bytes(96)), "does not open"),
        (static, "under static Diffie-Hellman, which is not accepted"),
        (
            algorithm("1.3.132.1.11.1", s.AlgorithmIdentifier({"algorithm": "1.2.840.113549.1.9.16.3.6"})),
            "key wrap .* not accepted",
        ),
        (algorithm("1.3.132.1.11.1", asn1.Null()), "not what the standard"),
        (algorithm("1.3.132.1.11.1", None), "not what the standard"),
        (algorithm("1.2.3.4", None), r"under 1\.2\.3\.4, which is not accepted"),
        (algorithm(OAEP, None), "under rsa-oaep, which is not accepted"),
    ],
)
def test_other_key_agreement_is_refused(change, cause):
    """Points off the curve or on another, static keys, other wraps and schemes."""
    pair = holder("p256")
    with refused(cause):
        taken(changed(pair, change), pair)


@pytest.mark.parametrize("kind", list(CURVES))
def test_nobody_can_choose_which_recipient_is_tried(kind):
    """Of several that name the same certificate the first decides: no more work than one."""
    pair = holder(kind)
    good = s.RecipientInfos.load(infos_for(pair))[0]
    bad = s.RecipientInfos.load(changed(pair, point(b"")))[0]
    found = [*read_recipients(s.RecipientInfos([bad]).dump()), *read_recipients(s.RecipientInfos([good]).dump())]
    with refused("does not open"):
        content_key(found, [pair], 32)
    assert content_key(found[::-1], [pair], 32) == KEY


def long_algorithm() -> bytes:
    """A recipient whose algorithm never ends."""
    endless = s.asn1.OctetString(bytes(limits.SEAL_ALGORITHM))
    return transported(holder("rsa-2048"), {"algorithm": OAEP, "parameters": endless}, b"")


# --- hostile lists ----------------------------------------------------------------------------------------------------


def test_other_kinds_of_recipients_are_told_and_passed_over():
    """A shared key, a password and kinds of the future beside ours."""
    pair = holder("p256")
    ours = s.RecipientInfos.load(infos_for(pair))[0]
    others = b"".join(bytes((tag, 0)) for tag in (0xA2, 0xA3, 0xA4))
    infos = ber.element(ber.SET, ours.dump() + others)
    found = read_recipients(infos)
    assert {one.way for one in found} == {"ecdh-sha256", "a shared key", "a password", "an unknown kind of recipient"}
    assert taken(infos, pair) == KEY
    with refused("but for: a shared key"):
        content_key([one for one in found if one.way == "a shared key"], [pair], 32)


@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        (b"\x31\x00", "no recipient"),
        (b"\x31\x02\x05\x00", "not what the standard"),
        (b"\x30\x00", "not what the standard"),
        (b"\x31\x05\x30\x00", "not what the standard"),
        (b"\x31\x02\x30\x00", "not what the standard"),
        (long_algorithm(), "not what the standard"),
        (b"\x31\x02\xa1\x00", "not what the standard"),
        (b"\x31" + b"\x82\x00\xca" + b"\xa4\x00" * 101, "more than 100 recipients"),
    ],
)
def test_lists_that_are_none_are_refused(octets, cause):
    """Empty, of other things, cut, and longer than the limit."""
    with refused(cause):
        read_recipients(octets)
