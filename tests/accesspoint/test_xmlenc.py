"""Encryption: streams that no split changes, failures that all look alike, and the XML about them."""

from __future__ import annotations

import re
from base64 import b64encode
from functools import cache
from itertools import pairwise
from typing import cast

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given, settings
from hypothesis import strategies as st

from accesspoint import ebms, names
from accesspoint.agreement import Wrapped
from accesspoint.names import DS, XENC, tag
from accesspoint.profiles import EDELIVERY_1_15, EDELIVERY_2_0, EDELIVERY_2_0_EC
from accesspoint.soap import parse_envelope
from accesspoint.tokens import parse_key_info
from accesspoint.xmlenc import (
    IV,
    KEY_SIZES,
    TAG,
    EncryptedKey,
    PartDecryptor,
    PartEncryptor,
    encryption_xml,
    parse_encryption,
    unwrap_key,
    way_to,
    wrap_key,
)
from tests.accesspoint import signing as s
from tests.accesspoint.signing import doubling, refused, replacing, without
from tests.fuzz import world as w

KEY = w.entropy(16)
NONCE = w.entropy(IV)
PARTS = (("a@stafet", "application/gzip"), ("b@stafet", 'text/plain; charset="UTF-8"'))
FORMS = ("binary-security-token", "subject-key-identifier", "issuer-serial")
AGREED = {"x25519": (EDELIVERY_2_0, names.X25519), "p256": (EDELIVERY_2_0_EC, names.ECDH_ES)}
LEGACY = EDELIVERY_1_15.accepting((names.RSA_OAEP_MGF1P, names.MGF1_SHA1, names.AES256_GCM))


def ours():
    return w.world().ours


def our_key():
    return cast(rsa.RSAPrivateKey, ours().key)


@cache
def wrapped():
    return wrap_key(ours().certificate, KEY, w.entropy).value


@cache
def written(form="subject-key-identifier", parts=PARTS):
    return encryption_xml(ours().certificate, form, Wrapped(wrapped()), parts, "e-1")


@cache
def written_for(kind, form="subject-key-identifier", parts=PARTS):
    """The same for the holder of a key that agrees."""
    certificate = s.holder(kind).certificate
    return encryption_xml(certificate, form, wrap_key(certificate, KEY, w.entropy), parts, "e-1")


def envelope(security):
    return parse_envelope(s.enveloped(security))


def read(security, profile=EDELIVERY_1_15):
    """What an envelope says about encryption."""
    return parse_encryption(envelope(security), profile)


def pieces(octets, cuts):
    """The octets cut at these places."""
    places = [0, *sorted(c % (len(octets) + 1) for c in cuts), len(octets)]
    return [octets[a:b] for a, b in pairwise(places)]


def encrypted(plain, key=KEY, cuts=()):
    stream = PartEncryptor(key, NONCE)
    return stream.head + b"".join(stream.update(p) for p in pieces(plain, cuts)) + stream.finish()


def decrypted(octets, key=KEY, cuts=()):
    stream, plain = PartDecryptor(key), b""
    for piece in pieces(octets, cuts):
        plain += stream.update(piece)
    stream.finish()
    return plain


# --- streams ----------------------------------------------------------------------------------------------------------

CUTS = st.lists(st.integers(0, 400), max_size=8)


@given(st.binary(max_size=300), CUTS, st.sampled_from([16, 32]))
@settings(max_examples=150, deadline=None)
def test_any_split_gives_the_octets_of_aes_gcm(plain, cuts, size):
    """IV, ciphertext and tag are those of the one-shot cipher, however the octets arrive, and come back the same."""
    key = w.entropy(size)
    whole = NONCE + AESGCM(key).encrypt(NONCE, plain, None)
    assert encrypted(plain, key, cuts) == whole
    assert decrypted(whole, key, cuts) == plain
    assert decrypted(whole, key, range(len(whole))) == plain, "one octet at a time"


def test_a_part_grows_by_iv_and_tag():
    """Each piece comes out as long as it went in, a view of memory too; an empty part is 28 octets."""
    stream = PartEncryptor(KEY, NONCE)
    assert stream.head == NONCE
    assert [len(stream.update(memoryview(bytes(size)))) for size in (1, 0, 17)] == [1, 0, 17]
    assert len(stream.finish()) == TAG
    assert len(encrypted(b"")) == IV + TAG == 28
    assert decrypted(encrypted(b"")) == b""


@given(st.binary(max_size=60), st.data(), CUTS)
@settings(max_examples=150, deadline=None)
def test_every_bit_of_a_part_counts(plain, data, cuts):
    """One bit changed in IV, ciphertext or tag, or any octets gone or added, is 0102 in every split."""
    whole = encrypted(plain)
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    bent = bytearray(whole)
    bent[at // 8] ^= 1 << at % 8
    cut = data.draw(st.integers(0, len(whole) - 1))
    for octets in (bytes(bent), whole[:cut], whole[cut + 1 :], whole + b"\x00", whole[:IV] + whole[-TAG:] + b"\x00"):
        with refused("0102", "EncryptedData", "could not be decrypted"):
            decrypted(octets, cuts=cuts)


def test_another_key_decrypts_nothing():
    """The wrong key looks like a changed tag."""
    with refused("0102", "EncryptedData", "could not be decrypted"):
        decrypted(encrypted(b"plain"), bytes(16))


def test_the_tag_is_never_taken_for_plain_octets():
    """Sixteen octets are always held back, so that nothing of the tag is handed on."""
    stream = PartDecryptor(KEY)
    whole = encrypted(b"x" * 100)
    given_ = 0
    for at in range(len(whole)):
        given_ += len(stream.update(whole[at : at + 1]))
        assert given_ == max(0, at + 1 - IV - TAG)


# --- the content key --------------------------------------------------------------------------------------------------


def encrypted_key(value, digest=names.SHA256, mask=names.MGF1_SHA256, algorithm=names.RSA_OAEP):
    return EncryptedKey(algorithm, digest, mask, None, value, ())


def oaep(digest, mask):
    return padding.OAEP(padding.MGF1(mask), digest, None)


def test_the_content_key_is_wrapped_as_the_profile_says():
    """RSA-OAEP with SHA-256 and MGF1-SHA256, as `cryptography` undoes it, and fresh each time."""
    assert our_key().decrypt(wrapped(), oaep(hashes.SHA256(), hashes.SHA256())) == KEY
    assert wrap_key(ours().certificate, KEY, w.entropy).value != wrapped()
    assert unwrap_key(our_key(), encrypted_key(wrapped()), 16) == KEY


@pytest.mark.parametrize(
    ("digest", "mask", "named"),
    [
        (hashes.SHA1(), hashes.SHA1(), (names.SHA1, names.MGF1_SHA1)),
        (hashes.SHA256(), hashes.SHA1(), (names.SHA256, names.MGF1_SHA1)),
        (hashes.SHA384(), hashes.SHA256(), (names.SHA384, names.MGF1_SHA256)),
        (hashes.SHA512(), hashes.SHA256(), (names.SHA512, names.MGF1_SHA256)),
    ],
)
def test_every_named_padding_is_undone(digest, mask, named):
    """What a message names is what is used; another name for the same octets is 0102."""
    value = our_key().public_key().encrypt(KEY, oaep(digest, mask))
    assert unwrap_key(our_key(), encrypted_key(value, *named), 16) == KEY
    with refused("0102", "EncryptedData", "could not be decrypted"):
        unwrap_key(our_key(), encrypted_key(value), 16)


def test_a_key_that_cannot_be_unwrapped_says_nothing_more():
    """A changed value, a wrong length, another key's, one of another size, one with PKCS#1 padding: one and the same 0102."""
    public = our_key().public_key()
    sha256 = hashes.SHA256()
    values = [
        bytes([wrapped()[0] ^ 1]) + wrapped()[1:],
        wrapped()[:-1] + bytes([wrapped()[-1] ^ 1]),
        wrapped()[:-1],
        wrapped() + b"\x00",
        b"",
        bytes(256),
        b"\xff" * 256,
        wrap_key(s.theirs(), KEY, w.entropy).value,
        wrap_key(ours().certificate, KEY + KEY, w.entropy).value,
        wrap_key(ours().certificate, b"", w.entropy).value,
        public.encrypt(KEY, padding.PKCS1v15()),
        public.encrypt(KEY, padding.OAEP(padding.MGF1(sha256), sha256, b"label")),
    ]
    seen = set()
    for value in values:
        with refused("0102", "EncryptedData", "could not be decrypted") as caught:
            unwrap_key(our_key(), encrypted_key(value), 16)
        seen.add((str(caught.value), caught.value.remedy))
        assert caught.value.__cause__ is None
    assert len(seen) == 1, "which of them it was is nobody's business"


def test_the_certificate_says_how_a_key_reaches_its_holder():
    """RSA, X25519, elliptic curves; a key for signing only has no way, nor a curve we cannot name."""
    assert {kind: way_to(s.holder(kind).certificate) for kind in ("rsa", "x25519", "p256", "ed25519")} == {
        "rsa": names.RSA_OAEP,
        "x25519": names.X25519,
        "p256": names.ECDH_ES,
        "ed25519": "",
    }
    for certificate in (
        s.holder("ed25519").certificate,
        s.self_signed(ec.generate_private_key(ec.SECP256K1())),
        s.self_signed(ec.generate_private_key(ec.SECP224R1())),
    ):
        assert way_to(certificate) == ""
        with pytest.raises(ValueError, match=r"^nothing can be encrypted for this key"):
            wrap_key(certificate, KEY, w.entropy)


def test_a_key_of_the_other_way_unwraps_nothing_and_says_nothing_more():
    """RSA against an agreement, an agreement against RSA, one agreement against the other, a key of another size: one 0102."""
    agreed = {kind: read(written_for(kind), profile).key for kind, (profile, _) in AGREED.items()}
    private = {kind: s.holder(kind).key for kind in AGREED}
    assert [unwrap_key(private[kind], key, 16) for kind, key in agreed.items()] == [KEY, KEY]
    tries = [
        *((our_key(), key, 16) for key in agreed.values()),
        *((key, encrypted_key(wrapped()), 16) for key in private.values()),
        (private["p256"], agreed["x25519"], 16),
        (private["x25519"], agreed["p256"], 16),
        *((private[kind], key, 32) for kind, key in agreed.items()),
        (our_key(), encrypted_key(wrapped()), 32),
    ]
    seen = set()
    for key, said, size in tries:
        with refused("0102", "EncryptedData", "could not be decrypted") as caught:
            unwrap_key(key, said, size)
        seen.add((str(caught.value), caught.value.remedy))
    assert len(seen) == 1


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", AGREED)
def test_what_we_write_under_an_agreement_is_read_again(kind, form):
    """Key wrap under the agreed key; what names the receiver's certificate stands inside the agreement."""
    profile, algorithm = AGREED[kind]
    found = envelope(written_for(kind, form))
    said = parse_encryption(found, profile)
    assert (said.key.algorithm, said.key.agreement.algorithm) == (names.KW_AES128, algorithm)
    assert parse_key_info(said.key.key_info, found.by_id).fits(s.holder(kind).certificate)
    assert not parse_key_info(said.key.key_info, found.by_id).fits(ours().certificate)
    assert unwrap_key(s.holder(kind).key, said.key, 16) == KEY
    assert [p.cid for p in said.parts.values()] == [cid for cid, _ in PARTS]


def test_nobody_agrees_beside_rsa():
    """An agreement inside a key that is called RSA's is no way the profile has, whatever key of ours it would reach."""
    octets = written_for("x25519").replace(names.KW_AES128.encode(), names.RSA_OAEP.encode())
    with refused("0103", "AgreementMethod", f"{names.X25519} is not agreed") as caught:
        read(octets)
    assert caught.value.remedy == f"use {names.RSA_OAEP} alone"
    with refused("0103", "AgreementMethod", " is not agreed"):
        read(replacing(f' Algorithm="{names.X25519}"', "")(octets))


def test_a_longer_content_key_may_travel_under_an_agreement():
    """AES-256-GCM where an agreement has it; digest and mask of RSA do not concern it."""
    profile = EDELIVERY_2_0.accepting((names.AES256_GCM,))
    certificate, long = s.holder("x25519").certificate, w.entropy(32)
    octets = encryption_xml(certificate, "issuer-serial", wrap_key(certificate, long, w.entropy), PARTS, "e-1")
    said = read(octets.replace(names.AES128_GCM.encode(), names.AES256_GCM.encode()), profile)
    assert unwrap_key(s.holder("x25519").key, said.key, 32) == long


@pytest.mark.parametrize("form", FORMS)
def test_what_we_write_is_read_again(form):
    """Key, algorithms and parts come back, and the key reference means our certificate."""
    found = envelope(written(form))
    said = parse_encryption(found, EDELIVERY_1_15)
    key = said.key
    assert (key.algorithm, key.digest, key.mask) == (names.RSA_OAEP, names.SHA256, names.MGF1_SHA256)
    assert (key.value, key.refers_to) == (wrapped(), ("ED-e-1-0", "ED-e-1-1"))
    assert parse_key_info(key.key_info, found.by_id).fits(ours().certificate)
    assert not parse_key_info(key.key_info, found.by_id).fits(s.theirs())
    assert {cid: (p.cid, p.media_type, p.algorithm, p.id) for cid, p in said.parts.items()} == {
        cid: (cid, kind, names.AES128_GCM, f"ED-e-1-{i}") for i, (cid, kind) in enumerate(PARTS)
    }
    assert KEY_SIZES[said.parts["a@stafet"].algorithm] == len(unwrap_key(our_key(), key, 16))


def test_an_envelope_that_says_nothing_about_encryption_is_not_encrypted():
    """No security header, and one without encryption, are both nothing."""
    assert read(b"") is None
    bare = parse_envelope(ebms.envelope_xml(b"", s.messaging(), s.BODY))
    assert bare.security is None
    assert parse_encryption(bare, EDELIVERY_1_15) is None


def test_ids_may_be_written_as_utility_ids():
    """The sample of the 2.0 profile writes ``wsu:Id`` where XML Encryption writes ``Id``."""
    octets = re.sub(rb' Id="(ED-[^"]*)"', rb' xmlns:wsu="%s" wsu:Id="\1"' % names.WSU.encode(), written())
    assert b" Id=" in octets, "the key keeps its own"
    assert [p.id for p in read(octets).parts.values()] == ["ED-e-1-0", "ED-e-1-1"]


def test_defaults_are_those_of_the_specification():
    """What is not said is SHA-1 with MGF1-SHA1, which is not agreed; a part without a media type is octets."""
    for edit, field in ((without("ds:DigestMethod"), "DigestMethod"), (without("xenc11:MGF"), "MGF")):
        with refused("0103", f"EncryptedKey/{field}", "sha1 is not agreed"):
            read(edit(written()))
    said = read(replacing(' MimeType="application/gzip"', "")(written()))
    assert said.parts["a@stafet"].media_type == "application/octet-stream"


def test_the_older_transport_has_one_mask():
    """``rsa-oaep-mgf1p`` means MGF1-SHA1 whatever MGF says [XMLENC11 §5.5.2]; it needs agreement, mask included."""
    older = replacing(names.RSA_OAEP, names.RSA_OAEP_MGF1P)(written())
    value = our_key().public_key().encrypt(KEY, oaep(hashes.SHA256(), hashes.SHA1()))
    older = older.replace(b64encode(wrapped()), b64encode(value))
    for octets in (older, without("xenc11:MGF")(older)):
        said = read(octets, LEGACY)
        assert (said.key.algorithm, said.key.digest, said.key.mask) == (
            names.RSA_OAEP_MGF1P,
            names.SHA256,
            names.MGF1_SHA1,
        )
        assert unwrap_key(our_key(), said.key, 16) == KEY
    with refused("0103", "EncryptedKey/EncryptionMethod", "rsa-oaep-mgf1p is not agreed"):
        read(older)
    with refused("0103", "EncryptedKey/MGF", "mgf1sha1 is not agreed"):
        read(older, EDELIVERY_1_15.accepting((names.RSA_OAEP_MGF1P,)))


def test_a_longer_key_may_be_agreed():
    """AES-256-GCM is read where an agreement has it and is 0103 where not; the key must then be as long."""
    octets = written().replace(names.AES128_GCM.encode(), names.AES256_GCM.encode())
    said = read(octets, LEGACY)
    size = KEY_SIZES[said.parts["a@stafet"].algorithm]
    assert size == 32
    with refused("0102", "EncryptedData"):
        unwrap_key(our_key(), said.key, size)
    with refused("0103", "EncryptedData/EncryptionMethod", "aes256-gcm is not agreed"):
        read(octets)


WEAK = {
    "rsa-1_5": (names.RSA_OAEP, names.RSA_1_5, "EncryptedKey/EncryptionMethod"),
    "key wrap": (names.RSA_OAEP, XENC + "kw-aes128", "EncryptedKey/EncryptionMethod"),
    "mgf1p": (names.RSA_OAEP, names.RSA_OAEP_MGF1P, "EncryptedKey/EncryptionMethod"),
    "sha1": (names.SHA256, names.SHA1, "EncryptedKey/DigestMethod"),
    "sha512": (names.SHA256, names.SHA512, "EncryptedKey/DigestMethod"),
    "mgf1sha1": (names.MGF1_SHA256, names.MGF1_SHA1, "EncryptedKey/MGF"),
    "cbc": (names.AES128_GCM, XENC + "aes128-cbc", "EncryptedData/EncryptionMethod"),
    "3des": (names.AES128_GCM, XENC + "tripledes-cbc", "EncryptedData/EncryptionMethod"),
    "aes256": (names.AES128_GCM, names.AES256_GCM, "EncryptedData/EncryptionMethod"),
    "unknown": (names.AES128_GCM, "urn:demo:cipher", "EncryptedData/EncryptionMethod"),
    "unnamed": (names.AES128_GCM, "", "EncryptedData/EncryptionMethod"),
}


@pytest.mark.parametrize("name", WEAK)
def test_an_algorithm_that_is_not_agreed_is_named_with_the_one_to_use(name):
    """Weak and unknown ones are 0103, in the first part or the last, before anything is decrypted."""
    agreed, instead, field = WEAK[name]
    last = lambda octets: instead.encode().join(octets.rsplit(agreed.encode(), 1))  # noqa: E731
    for edit in (replacing(agreed, instead), last):
        with refused("0103", field, f"{instead} is not agreed") as caught:
            read(edit(written()))
        assert caught.value.remedy == f"use {agreed}"


METHOD = f'<xenc:EncryptionMethod Algorithm="{names.AES128_GCM}"></xenc:EncryptionMethod>'
SHAPES = {
    "no key": (without("xenc:EncryptedKey"), "EncryptedKey", "is missing"),
    "two keys": (
        lambda o: replacing("EK-e-1", "EK-e-2")(doubling("xenc:EncryptedKey")(o)),
        "EncryptedKey",
        "occurs more than once",
    ),
    "no key method": (without("xenc:EncryptionMethod"), "EncryptedKey", "has no method"),
    "no cipher value": (without("xenc:CipherValue"), "EncryptedKey", "has no method or no plain cipher value"),
    "cipher value elsewhere": (
        lambda o: re.sub(rb"(<xenc:CipherValue>)[^<]*", rb'\1<x:Include xmlns:x="urn:x" href="cid:a"/>', o),
        "EncryptedKey",
        "no plain cipher value",
    ),
    "no data method": (replacing(METHOD, ""), "EncryptedData", "is not about an attachment"),
    "data in place": (
        lambda o: re.sub(rb"<xenc:CipherReference.*?</xenc:CipherReference>", b"<xenc:CipherValue/>", o, count=1),
        "EncryptedData",
        "is not about an attachment",
    ),
    "complete": (replacing("#Attachment-Content-Only", "#Attachment-Complete"), "EncryptedData/@Type", "Content-Only"),
    "element": (replacing(names.ATTACHMENT_CONTENT_ONLY, XENC + "Element"), "EncryptedData/@Type", "Content-Only"),
    "no type": (replacing(f' Type="{names.ATTACHMENT_CONTENT_ONLY}"', ""), "EncryptedData/@Type", "Content-Only"),
    "foreign transform": (
        replacing("#Attachment-Ciphertext-Transform", "#Odd"),
        "CipherReference",
        "ciphertext transform",
    ),
    "two transforms": (doubling("ds:Transform"), "CipherReference", "ciphertext transform"),
    "no transform": (without("ds:Transform"), "CipherReference", "ciphertext transform"),
    "other address": (replacing('"cid:a@stafet"', '"https://x.example/"'), "CipherReference", "is not an attachment"),
    "no address": (replacing(' URI="cid:a@stafet"', ""), "CipherReference", "is not an attachment"),
    "part unlisted": (
        replacing('<xenc:DataReference URI="#ED-e-1-1"></xenc:DataReference>', ""),
        "ReferenceList",
        "once",
    ),
    "part twice": (replacing("#ED-e-1-1", "#ED-e-1-0"), "ReferenceList", "once"),
    "part three times": (
        replacing("</xenc:ReferenceList>", '<xenc:DataReference URI="#ED-e-1-1"/></xenc:ReferenceList>'),
        "ReferenceList",
        "once",
    ),
    "no list": (without("xenc:ReferenceList"), "ReferenceList", "does not name each encrypted part once"),
    "list of others": (replacing("#ED-e-1-1", "#ED-e-1-2"), "ReferenceList", "once"),
    "one attachment twice": (replacing("cid:b@stafet", "cid:a@stafet"), "ReferenceList", "once"),
    "parts without ids": (
        lambda o: re.sub(rb'(?: Id="ED-[^"]*"| URI="#ED-[^"]*")', b"", o),
        "ReferenceList",
        "does not name each encrypted part once",
    ),
}


@pytest.mark.parametrize("name", SHAPES)
def test_encryption_of_another_shape_is_refused_by_name(name):
    """Every other form than one key for whole attachments is 0103 and named; nothing is guessed."""
    edit, field, cause = SHAPES[name]
    with refused("0103", field, cause):
        read(edit(written()))


def test_a_wrapped_key_that_is_no_base64_is_refused_as_such():
    """Base64 comes before any key."""
    with refused("0101", "EncryptedKey/CipherValue", "is not base64"):
        read(replacing("<xenc:CipherValue>", "<xenc:CipherValue>*")(written()))


# --- writing ----------------------------------------------------------------------------------------------------------

WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r", exclude_characters="\ufffe\uffff")
)


@given(
    st.lists(st.tuples(WORDS, WORDS), max_size=3),
    st.sampled_from(FORMS),
    st.binary(min_size=1, max_size=99),
    st.sampled_from(["rsa", "x25519", "p256"]),
)
@settings(max_examples=150, deadline=None)
def test_what_we_write_is_its_own_canonical_form(parts, form, value, kind):
    """Token, EncryptedKey and each EncryptedData need no canonicalisation by anybody, whatever they hold and whoever reads it."""
    certificate = s.holder(kind).certificate
    made = Wrapped(value, wrap_key(certificate, KEY, w.entropy).agreement)
    octets = encryption_xml(certificate, form, made, parts, "e-1")
    alone = [m.encode() for m in re.split(r"(?=<xenc:Encrypted(?:Key|Data) )", octets.decode())]
    alone = [one for one in alone if one]
    assert len(alone) == (form == "binary-security-token") + 1 + len(parts)
    for one in alone:
        assert s.canonical(one) == one


def test_each_part_names_its_key():
    """EncryptedData refers to the EncryptedKey by its id, as a token of that type [WSS 1.1 §7.7]."""
    root = envelope(written()).root
    key = root.find(f".//{tag(XENC, 'EncryptedKey')}")
    for data in root.iter(tag(XENC, "EncryptedData")):
        (reference,) = data.find(tag(DS, "KeyInfo"))
        assert reference.get(tag(names.WSSE11, "TokenType")) == names.ENCRYPTED_KEY_TOKEN
        assert reference[0].get("URI") == f"#{key.get('Id')}"


def test_what_xml_cannot_hold_is_not_written():
    """A Content-ID with a control character is our own mistake and stops before the wire."""
    with pytest.raises(ValueError, match=r"U\+0000"):
        encryption_xml(ours().certificate, "issuer-serial", Wrapped(b"v"), [("a\x00", "image/png")], "e-1")
