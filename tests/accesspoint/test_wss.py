"""Signatures: what is verified, what is refused and how it is said, and what we write."""

from __future__ import annotations

import hashlib
import re
from functools import cache

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, padding, utils
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import ebms, limits, names, wss
from accesspoint.names import DS, EC, EXC_C14N
from accesspoint.profiles import EDELIVERY_1_15
from accesspoint.references import Reference, Transform, reference_xml
from accesspoint.soap import c14n, parse_envelope
from accesspoint.wss import AttachmentDigest, check_attachments, check_strength
from tests.accesspoint import signing as s
from tests.accesspoint.signing import doubling, refused, replacing, without

CID = wss.attachment_reference("part-1@stafet", b"\x07" * 32)
METHOD = f'<ds:SignatureMethod Algorithm="{names.RSA_SHA256}"></ds:SignatureMethod>'
TRANSFORM = f'<ds:Transform Algorithm="{EXC_C14N}"></ds:Transform>'


def method(algorithm):
    return replacing(names.RSA_SHA256, algorithm)


def inclusive(prefixes):
    return f'<ec:InclusiveNamespaces xmlns:ec="{EC}" PrefixList="{prefixes}"></ec:InclusiveNamespaces>'


# --- what is verified -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["binary-security-token", "subject-key-identifier", "issuer-serial"])
def test_a_genuine_signature_says_exactly_what_it_covers(form):
    """The partner's certificate, every reference in order, the attachments by Content-ID, and the method."""
    verified = s.verify(s.signed(*s.local(), CID, info_about_key=s.key_info(form)))
    assert verified.certificate == s.theirs()
    assert [r.uri for r in verified.references] == ["#b-1", "#m-1", "cid:part-1@stafet"]
    assert verified.references == (*s.local(), CID)
    assert verified.attachments == {"part-1@stafet": CID}
    assert verified.signature_method == names.RSA_SHA256


def _rsa(digest, pss=False):
    scheme = padding.PSS(padding.MGF1(digest), digest.digest_size) if pss else padding.PKCS1v15()
    return lambda octets: s.their_key().sign(octets, scheme, digest)


def _ecdsa(octets):
    r, v = utils.decode_dss_signature(s.elliptic()[0].sign(octets, ec.ECDSA(hashes.SHA256())))
    return r.to_bytes(32, "big") + v.to_bytes(32, "big")


SCHEMES = {
    names.RSA_SHA384: (_rsa(hashes.SHA384()), s.theirs),
    names.RSA_SHA512: (_rsa(hashes.SHA512()), s.theirs),
    names.RSA_PSS_SHA256: (_rsa(hashes.SHA256(), pss=True), s.theirs),
    names.ECDSA_SHA256: (_ecdsa, lambda: s.elliptic()[1]),
    names.ED25519: (lambda octets: s.edwards()[0].sign(octets), lambda: s.edwards()[1]),
}


@pytest.mark.parametrize("algorithm", SCHEMES)
def test_a_method_an_agreement_adds_is_verified_and_one_it_does_not_is_not_agreed(algorithm):
    """Every method known here works when it is agreed; without agreement it is 0103 and names what to use."""
    sign, certificate = SCHEMES[algorithm]
    octets = s.signed(edit=method(algorithm), sign=sign)
    verified = s.verify(octets, s.WIDE, s.trusting(certificate()))
    assert (verified.certificate, verified.signature_method) == (certificate(), algorithm)
    with refused("0103", "SignatureMethod", f"{algorithm} is not agreed"):
        s.verify(octets, trust=s.trusting(certificate()))


@pytest.mark.parametrize("algorithm", SCHEMES)
def test_a_signature_made_by_another_method_does_not_verify(algorithm):
    """The method named is the one that counts, also when the octets are a good signature by another."""
    sign, certificate = SCHEMES[algorithm]
    for other in {*SCHEMES, names.RSA_SHA256} - {algorithm}:
        with refused("0101", "SignatureValue", "does not verify"):
            s.verify(s.signed(edit=method(other), sign=sign), s.WIDE, s.trusting(certificate()))


def test_an_ecdsa_value_has_one_length():
    """r and s are 32 octets each; a longer value that means the same numbers is another value."""
    for longer in (
        lambda v: v[:32] + b"\x00" + v[32:],
        lambda v: b"\x00" + v[:32] + b"\x00" + v[32:],
        lambda v: v[:63],
    ):
        octets = s.signed(edit=method(names.ECDSA_SHA256), sign=lambda octets, f=longer: f(_ecdsa(octets)))
        with refused("0101", "SignatureValue"):
            s.verify(octets, s.WIDE, s.trusting(s.elliptic()[1]))


def test_a_key_of_a_kind_no_method_uses_verifies_nothing():
    """A DSA certificate is nobody's signer here."""
    certificate = s.self_signed(dsa.generate_private_key(1024))
    with refused("0101", "SignatureValue"):
        s.verify(s.signed(), trust=s.trusting(certificate))


@pytest.mark.parametrize("algorithm", [names.SHA384, names.SHA512])
def test_a_digest_an_agreement_adds_is_compared_as_such(algorithm):
    """Longer digests are right where they are agreed, wrong when they are wrong, and 0103 where they are not agreed."""
    make = {names.SHA384: hashlib.sha384, names.SHA512: hashlib.sha512}[algorithm]
    longer = [
        Reference(r.uri, r.transforms, algorithm, make(octets).digest())
        for r, octets in zip(s.local(), (s.BODY, s.messaging()), strict=True)
    ]
    assert s.verify(s.signed(*longer), s.WIDE).references == tuple(longer)
    with refused("0101", "digest of Messaging", "was changed after it was signed"):
        s.verify(s.signed(longer[0], Reference("#m-1", longer[1].transforms, algorithm, b"\x00" * 64)), s.WIDE)
    with refused("0103", "DigestMethod", f"{algorithm} is not agreed"):
        s.verify(s.signed(*longer))


def test_a_signature_may_cover_more_than_it_must():
    """A timestamp beside Messaging and Body may be signed as well."""
    stamp = b'<wsu:Timestamp xmlns:wsu="%s" wsu:Id="t-1"></wsu:Timestamp>' % names.WSU.encode()
    reference = Reference("#t-1", (Transform(EXC_C14N),), names.SHA256, hashlib.sha256(stamp).digest())
    verified = s.verify(s.signed(*s.local(), reference, extra=stamp))
    assert verified.references[-1] == reference
    with refused("0101", "digest of Timestamp", "Timestamp was changed"):
        s.verify(s.signed(*s.local(), reference, extra=stamp.replace(b"></", b">now</")))


# --- unsigned, or not as agreed: 0103 ---------------------------------------------------------------------------------


def test_an_unsigned_message_is_told_what_to_sign():
    """No security header, or one without a signature, is 0103 with a remedy; so are two signatures."""
    octets = s.signed()
    bare = re.sub(rb"<wsse:Security .*</wsse:Security>", b"", octets)
    with refused("0103", "Security", "the message is not signed"):
        s.verify(bare)
    with refused("0103", "Signature", "the message is not signed"):
        s.verify(without("ds:Signature")(octets))
    with refused("0103", "Signature", "more than one signature") as caught:
        s.verify(doubling("ds:Signature")(octets))
    assert caught.value.remedy == "send exactly one signature"


@pytest.mark.parametrize(
    ("edit", "field", "cause"),
    [
        (method(names.RSA_SHA1), "SignatureMethod", "rsa-sha1 is not agreed"),
        (replacing(names.SHA256, names.SHA1), "DigestMethod", "#sha1 is not agreed"),
        (replacing(names.SHA256, names.SHA512), "DigestMethod", "sha512 is not agreed"),
    ],
)
def test_what_is_known_and_not_agreed_is_a_matter_of_policy(edit, field, cause):
    """Known algorithms that the profile lacks are 0103, before any signature is looked at."""
    with refused("0103", field, cause):
        s.verify(s.signed(edit=edit, sign=lambda octets: b"never looked at"))


def test_a_weak_key_signs_nothing():
    """1024 bits, and a curve of less than 256, are 0103, and the message says what is demanded; Ed25519 has no such floor."""
    weak, short = s.stranger(1024), ec.generate_private_key(ec.SECP224R1())
    octets = s.signed(sign=lambda o: wss.sign(weak.key, o))
    with refused("0103", "certificate", "an RSA key of 1024 bits; at least 2048 are demanded"):
        s.verify(octets, trust=s.trusting(weak.certificate))
    with refused("0103", "encryption_certificate", "1024 bits"):
        check_strength(weak.certificate, EDELIVERY_1_15, "encryption_certificate")
    octets = s.signed(edit=method(names.ECDSA_SHA256), sign=lambda o: wss.sign(short, o))
    with refused("0103", "certificate", "a curve of 224 bits; at least 256 are demanded"):
        s.verify(octets, s.WIDE, s.trusting(s.self_signed(short)))
    for strong in (s.theirs(), *(s.holder(kind).certificate for kind in ("p256", "ed25519", "x25519"))):
        check_strength(strong, EDELIVERY_1_15)


@pytest.mark.parametrize(("left", "missing"), [(0, "Messaging"), (1, "Body")])
def test_what_is_not_signed_is_named(left, missing):
    """A signature over only one of Messaging and Body is 0103 and says which is missing."""
    with refused("0103", f"signature over {missing}", "is not what was signed"):
        s.verify(s.signed(s.local()[left]))


def judged_as_signal(octets):
    return wss.verify(parse_envelope(octets), EDELIVERY_1_15, s.pinned, signal=True)


@pytest.mark.parametrize("body", [b"", b" \r\n\t"])
def test_a_signal_may_leave_its_empty_body_unsigned(body):
    """It says nothing, and not every product signs it; a user message's must be signed, and so must every header."""
    octets = s.signed(s.local()[1], body=s.BODY.replace(b"></", b">%s</" % body))
    assert [r.uri for r in judged_as_signal(octets).references] == ["#m-1"]
    with refused("0103", "signature over Body", "the Body of this message is not what was signed"):
        s.verify(octets)
    with refused("0103", "signature over Messaging", "is not what was signed"):
        judged_as_signal(s.signed(s.local()[0]))


@pytest.mark.parametrize("body", ["x", "<a/>", " <a/> ", "<![CDATA[x]]>", "&#160;", "\u2003", "&amp;"])
def test_a_body_that_says_anything_is_signed_in_every_message(body):
    """An element, a letter, a space that XML does not count as one; and a signed body counts as it was signed."""
    octets = s.signed(s.local()[1], body=s.BODY.replace(b"></", b">%s</" % body.encode()))
    with refused("0103", "signature over Body", "the Body of this message is not what was signed"):
        judged_as_signal(octets)
    with refused("0101", "digest of Body", "Body was changed"):
        judged_as_signal(s.signed(body=s.BODY.replace(b"></", b">%s</" % body.encode())))


# --- wrong in shape: 0101 ---------------------------------------------------------------------------------------------

SHAPES = {
    "no SignedInfo": (without("ds:SignedInfo"), "SignedInfo", "is missing"),
    "two SignedInfo": (doubling("ds:SignedInfo"), "SignedInfo", "more than once"),
    "no value": (without("ds:SignatureValue"), "SignatureValue", "is missing"),
    "two values": (doubling("ds:SignatureValue"), "SignatureValue", "more than once"),
    "value of stars": (replacing("<ds:SignatureValue>", "<ds:SignatureValue>***"), "SignatureValue", "is not base64"),
    "empty value": (
        lambda o: re.sub(rb"(<ds:SignatureValue>)[^<]*", rb"\1", o),
        "SignatureValue",
        "does not verify",
    ),
    "no KeyInfo": (without("ds:KeyInfo"), "KeyInfo", "is missing"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_a_signature_of_another_shape_is_refused_by_name(name):
    """What is missing, doubled or no base64 in ``ds:Signature`` is 0101 and named."""
    edit, field, cause = SHAPES[name]
    with refused("0101", field, cause):
        s.verify(edit(s.signed()))


C14N = f'<ds:CanonicalizationMethod Algorithm="{EXC_C14N}"></ds:CanonicalizationMethod>'
INFOS = {
    "no canonicalisation": (without("ds:CanonicalizationMethod"), "CanonicalizationMethod", "is missing"),
    "two": (doubling("ds:CanonicalizationMethod"), "CanonicalizationMethod", "more than once"),
    "inclusive": (
        replacing(EXC_C14N, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315"),
        "CanonicalizationMethod",
        "is not exclusive canonicalisation",
    ),
    "with comments": (
        replacing(EXC_C14N, EXC_C14N + "WithComments"),
        "CanonicalizationMethod",
        "is not exclusive canonicalisation without comments",
    ),
    "odd parameter": (
        replacing(C14N, C14N.replace("></", "><ds:Odd></ds:Odd></")),
        "Transform",
        "parameters that are not supported",
    ),
    "two parameters": (
        replacing(C14N, C14N.replace("></", f">{inclusive('S12') * 2}</")),
        "Transform",
        "parameters that are not supported",
    ),
    "bomb": (
        replacing(C14N, C14N.replace("></", f">{inclusive(' '.join(f'p{i}' for i in range(33)))}</")),
        "InclusiveNamespaces",
        "lists too many prefixes",
    ),
    "no method": (replacing(METHOD, ""), "SignatureMethod", "is missing"),
    "two methods": (replacing(METHOD, METHOD * 2), "SignatureMethod", "more than once"),
    "unknown method": (method("urn:demo:sign"), "SignatureMethod", "is not an algorithm known here"),
    "hmac": (method(DS + "hmac-sha1"), "SignatureMethod", "is not an algorithm known here"),
    "method unnamed": (
        replacing(METHOD, "<ds:SignatureMethod></ds:SignatureMethod>"),
        "SignatureMethod",
        "is not an algorithm known here",
    ),
    "no reference": (lambda i: re.sub(rb"<ds:Reference.*</ds:Reference>", b"", i), "SignedInfo", "has 0 references"),
    "one twice": (doubling("ds:Reference"), "SignedInfo", "refers to one target twice"),
    "no digest method": (without("ds:DigestMethod"), "DigestMethod", "is missing"),
    "two digest methods": (doubling("ds:DigestMethod"), "DigestMethod", "more than once"),
    "unknown digest": (replacing(names.SHA256, "urn:demo:digest"), "DigestMethod", "is not an algorithm known here"),
    "md5": (
        replacing(names.SHA256, "http://www.w3.org/2001/04/xmldsig-more#md5"),
        "DigestMethod",
        "is not an algorithm known here",
    ),
    "no digest": (without("ds:DigestValue"), "DigestValue", "is missing"),
    "two digests": (doubling("ds:DigestValue"), "DigestValue", "more than once"),
    "digest of stars": (replacing("<ds:DigestValue>", "<ds:DigestValue>*"), "DigestValue", "is not base64"),
    "foreign transform": (
        replacing(TRANSFORM, TRANSFORM.replace(EXC_C14N, DS + "base64")),
        "Transforms",
        "a #b-1 reference",
    ),
    "canonical attachment": (
        replacing('"#m-1"', '"cid:m-1"'),
        "Transforms",
        "a cid: reference takes the Attachment-Content",
    ),
    "whole document": (replacing('"#m-1"', '""'), "Reference/@URI", "is neither #id nor cid:"),
    "unnamed target": (replacing(' URI="#m-1"', ""), "Reference/@URI", "is neither #id nor cid:"),
    "nobody's id": (replacing('"#m-1"', '"#m-2"'), "Reference/@URI", "leads to no element of this message"),
    "empty digest": (
        lambda i: re.sub(rb"(<ds:DigestValue>)[^<]*", rb"\1", i, count=1),
        "digest of Body",
        "Body was changed after it was signed",
    ),
}


@pytest.mark.parametrize("name", INFOS)
def test_a_signed_info_of_another_shape_is_refused_by_name(name):
    """What a genuine signature says in another form than the profile's is 0101 and named."""
    edit, field, cause = INFOS[name]
    with refused("0101", field, cause):
        s.verify(s.signed(edit=edit))


def test_what_a_reference_says_beside_is_signed_and_means_nothing():
    """An element nobody knows in a reference changes nothing of it."""
    edit = replacing("<ds:DigestMethod", "<ds:Odd></ds:Odd><ds:DigestMethod")
    assert s.verify(s.signed(edit=edit)).references == s.local()


def test_references_are_counted():
    """As many as the limit are read, one more is refused unread."""
    many = [Reference(f"cid:{i}@x", CID.transforms, names.SHA256, b"\x00" * 32) for i in range(limits.REFERENCES - 2)]
    assert len(s.verify(s.signed(*s.local(), *many)).references) == limits.REFERENCES
    with refused("0101", "SignedInfo", f"has {limits.REFERENCES + 1} references"):
        s.verify(s.signed(*s.local(), *many, CID))


def test_an_empty_prefix_list_is_none_at_all():
    """``PrefixList=""`` and its absence lists nothing."""
    for parameter in (inclusive(""), inclusive("").replace(' PrefixList=""', "")):
        edit = replacing(TRANSFORM, TRANSFORM.replace("></", f">{parameter}</"))
        assert s.verify(s.signed(edit=edit)).references[0].transforms == (Transform(EXC_C14N, ()),)


# --- attachments ------------------------------------------------------------------------------------------------------


def digest_of(media_type, *pieces, algorithm=names.SHA256):
    digest = AttachmentDigest(algorithm, media_type)
    for piece in pieces:
        digest.update(piece)
    return digest.digest()


def sha256(octets):
    return hashlib.sha256(octets).digest()


XML = b'<?xml version="1.0"?><!-- c -->\n<a xmlns:x="urn:x"  b = \'1\'><x:c/>\r\n<![CDATA[<]]></a>\n'
CANONICAL = b'<a b="1"><x:c xmlns:x="urn:x"></x:c>\n&lt;</a>'
TEXT = b"one\r\ntwo\nthree\rfour\n\r\r\n"


@pytest.mark.parametrize(
    "kind", ["text/xml", "application/xml; charset=UTF-8", "Application/FHIR+XML", "image/svg+xml"]
)
def test_an_xml_attachment_is_digested_in_canonical_form(kind):
    """Its octets may be written otherwise, its content may not [WSS-SwA §5.4.2]."""
    assert digest_of(kind, XML) == digest_of(kind, XML[:9], XML[9:]) == sha256(CANONICAL)
    assert digest_of(kind, XML.replace(b"'1'", b"'2'")) != sha256(CANONICAL)
    digest = AttachmentDigest(names.SHA256, kind)
    digest.update(b"<a><b></a>")
    with refused("0009", "attachment", "not well-formed"):
        digest.digest()


@pytest.mark.parametrize("kind", ["text/plain", "TEXT/csv; header=present", " text/html "])
def test_a_text_attachment_is_digested_with_its_line_ends_as_crlf(kind):
    """LF, CR and CRLF are one line end each [WSS-SwA §5.4.1]."""
    assert digest_of(kind, TEXT) == sha256(b"one\r\ntwo\r\nthree\r\nfour\r\n\r\n\r\n")


@pytest.mark.parametrize(
    "kind", ["application/gzip", "application/json", "video/a+xml", "application/xhtml", "", "text"]
)
def test_every_other_attachment_is_digested_as_it_is(kind):
    """Octets are octets, also when they look like XML or lines; every agreed digest works."""
    for octets in (XML, TEXT, b""):
        assert digest_of(kind, octets) == sha256(octets)
        assert digest_of(kind, octets, algorithm=names.SHA512) == hashlib.sha512(octets).digest()


@given(st.lists(st.sampled_from([b"\r", b"\n", b"a", b"", b"\r\n", b"bc\r"]), max_size=12), st.data())
@settings(max_examples=200, deadline=None)
def test_any_split_of_an_attachment_has_one_digest(pieces, data):
    """How an attachment arrives changes nothing, a CR and LF that come apart included."""
    whole = b"".join(pieces)
    for kind in ("text/plain", "application/json"):
        assert digest_of(kind, *pieces) == digest_of(kind, whole) == digest_of(kind, *(bytes([o]) for o in whole))
    at = data.draw(st.integers(0, len(XML)))
    assert digest_of("text/xml", XML[:at], XML[at:]) == sha256(CANONICAL)


def test_an_xml_attachment_is_canonicalised_up_to_a_size(monkeypatch):
    """Above it 0103 tells to compress; the limit itself is fine."""
    monkeypatch.setattr(limits, "CANONICAL_PART", len(XML))
    assert digest_of("text/xml", XML) == sha256(CANONICAL)
    with refused("0103", "attachment", "an uncompressed XML part above") as caught:
        digest_of("text/xml", XML, b" ")
    assert caught.value.remedy == "compress the part"


def test_attachments_are_those_that_were_signed():
    """One unsigned, one missing, one changed: each is refused for what it is, and a right one passes."""
    octets = b"payload"
    reference = wss.attachment_reference("a@x", sha256(octets))
    verified = s.verify(s.signed(*s.local(), reference))
    check_attachments(verified, {"a@x": digest_of("image/png", octets)}, ["a@x"])
    with refused("0103", "signature over attachments", "an attachment is not signed") as caught:
        check_attachments(verified, {"a@x": sha256(octets), "b@x": b""}, ["a@x", "b@x"])
    assert caught.value.remedy == "sign every attachment"
    with refused("0103", "signature over attachments", "names an attachment that is not there"):
        check_attachments(verified, {}, [])
    with refused("0101", "digest of attachment", "an attachment was changed after it was signed"):
        check_attachments(verified, {"a@x": sha256(b"Payload")}, ["a@x"])


# --- what we write ----------------------------------------------------------------------------------------------------

WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r", exclude_characters="\ufffe\uffff")
)


@given(WORDS, st.binary(max_size=64), st.lists(st.text("abS12#:", max_size=5), max_size=3) | st.none())
@settings(max_examples=100, deadline=None)
def test_what_we_sign_is_its_own_canonical_form(uri, digest, prefixes):
    """SignedInfo and each reference need no canonicalisation by anybody, whatever values they hold."""
    transform = Transform(EXC_C14N, None if prefixes is None else tuple(prefixes))
    reference = Reference(uri, (transform,), names.SHA256, digest)
    info = wss.signed_info(EDELIVERY_1_15, (reference, CID))
    assert s.canonical(info) == info
    for one in (reference, Reference(uri, (), names.SHA256, digest)):
        alone = reference_xml(one, declare=True)
        assert s.canonical(alone) == alone
        assert wss.parse_reference(etree.fromstring(alone)).key() == one.key()
        assert alone.replace(b' xmlns:ds="%s"' % DS.encode(), b"") == reference_xml(one, declare=False)


@pytest.mark.parametrize("form", ["binary-security-token", "subject-key-identifier", "issuer-serial"])
def test_our_security_header_stands_signed_where_it_stands(form):
    """In its place SignedInfo has the octets that were signed; the rest repeats declarations and is canonical but for that."""
    info = wss.signed_info(EDELIVERY_1_15, (*s.local(), CID))
    security = wss.security_xml(info, wss.sign(s.their_key(), info), s.theirs(), form, "s-1", b"<first></first>")
    envelope = parse_envelope(ebms.envelope_xml(security, s.messaging(), s.BODY))
    assert c14n(s.found(envelope.root, "//ds:SignedInfo")) == info
    assert (c14n(envelope.messaging), c14n(envelope.body)) == (s.messaging(), s.BODY)
    declaration = re.compile(rb' xmlns:\w+="[^"]*"')
    assert declaration.sub(b"", c14n(envelope.security)) == declaration.sub(b"", security)
    assert envelope.security[0].tag == "first", "the newest operation comes first"
    assert envelope.security.get(names.tag(names.S12, "mustUnderstand")) == "true"
    assert (envelope.security.find(names.tag(names.WSSE, "BinarySecurityToken")) is not None) == (form[0] == "b")
    assert s.judged(envelope).references == (*s.local(), CID)


def test_what_we_sign_is_sha256_over_what_we_send():
    """References to Body and Messaging hold the digests of their octets, an attachment's is given."""
    body, messaging = wss.local_references(b"<m/>", "m", b"<b/>", "b")
    assert (body.uri, body.digest, messaging.uri, messaging.digest) == ("#b", sha256(b"<b/>"), "#m", sha256(b"<m/>"))
    assert body.transforms == messaging.transforms == (Transform(EXC_C14N),)
    assert Reference("cid:part-1@stafet", (Transform(names.ATTACHMENT_SIGNATURE),), names.SHA256, b"\x07" * 32) == CID


CURVES = (ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1(), ec.BrainpoolP256R1(), ec.BrainpoolP512R1())


@given(st.binary(max_size=100), st.sampled_from(CURVES))
@settings(max_examples=60, deadline=None)
def test_what_we_sign_others_verify(octets, curve):
    """RSA with PKCS#1 and SHA-256, Ed25519 as it is, ECDSA with r and s side by side and always as long as the curve."""
    s.theirs().public_key().verify(wss.sign(s.their_key(), octets), octets, padding.PKCS1v15(), hashes.SHA256())
    key, certificate = s.edwards()
    certificate.public_key().verify(wss.sign(key, octets), octets)
    key, half = on_curve(curve), (curve.key_size + 7) // 8
    value = wss.sign(key, octets)
    assert len(value) == 2 * half
    r, v = (int.from_bytes(value[at : at + half], "big") for at in (0, half))
    key.public_key().verify(utils.encode_dss_signature(r, v), octets, ec.ECDSA(hashes.SHA256()))


@cache
def on_curve(curve):
    return ec.generate_private_key(curve)


def test_a_certificate_says_what_its_key_can_have_signed_with():
    """Whatever we sign with a key, it is among them; a key for agreement, or of a kind no method uses, signs nothing."""
    rsa = (names.RSA_SHA256, names.RSA_SHA384, names.RSA_SHA512, names.RSA_PSS_SHA256)
    assert wss.methods_of(s.theirs()) == rsa
    assert wss.methods_of(s.elliptic()[1]) == (names.ECDSA_SHA256,)
    assert wss.methods_of(s.edwards()[1]) == (names.ED25519,)
    assert wss.methods_of(s.holder("x25519").certificate) == ()
    assert wss.methods_of(s.self_signed(dsa.generate_private_key(1024))) == ()
    signers = ((s.their_key(), s.theirs()), s.elliptic(), s.edwards())
    for key, certificate in signers:
        octets = s.signed(edit=method(wss.methods_of(certificate)[0]), sign=lambda o, key=key: wss.sign(key, o))
        assert s.verify(octets, s.WIDE, s.trusting(certificate)).certificate == certificate
