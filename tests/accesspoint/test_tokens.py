"""Key references: what each form means, whom it fits, and what broken ones are called."""

from __future__ import annotations

import hashlib
from base64 import b64encode

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import names
from accesspoint.names import BASE64, DS, THUMBPRINT_SHA1, WSSE, WSU, X509_PKI_PATH, X509_SKI, X509V3
from accesspoint.tokens import (
    KeyReference,
    candidates,
    decode64,
    der,
    fingerprint,
    is_token,
    load_certificate,
    parse_key_info,
    reference_to,
    same_name,
    subject_key_identifier,
    token_xml,
)
from tests.accesspoint import signing as s
from tests.accesspoint.signing import refused

EMAIL, ORGANISATION_ID = NameOID.EMAIL_ADDRESS, NameOID.ORGANIZATION_IDENTIFIER
FORMS = ("binary-security-token", "subject-key-identifier", "issuer-serial")


def b64(octets):
    return b64encode(octets).decode()


def read(inner, token="", key_info="ds:KeyInfo"):
    """What a KeyInfo with this content means, beside this token."""
    root = etree.fromstring(
        f'<r xmlns:ds="{DS}" xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}">{token}<{key_info}>{inner}</{key_info}></r>'
    )
    by_id = {e.get(names.tag(WSU, "Id")): e for e in root if e.get(names.tag(WSU, "Id"))}
    return parse_key_info(root[-1], by_id)


def str_(inner):
    return f"<wsse:SecurityTokenReference>{inner}</wsse:SecurityTokenReference>"


def by_token(octets, kind=X509V3, name="BinarySecurityToken"):
    value_type = f' ValueType="{kind}"' if kind else ""
    token = f'<wsse:{name} wsu:Id="t-1"{value_type}>{b64(octets)}</wsse:{name}>'
    return read(str_('<wsse:Reference URI="#t-1"/>'), token)


def identifier(kind, octets):
    return str_(f'<wsse:KeyIdentifier ValueType="{kind}">{b64(octets)}</wsse:KeyIdentifier>')


def x509_data(inner):
    return f"<ds:X509Data>{inner}</ds:X509Data>"


def issuer_serial(issuer, serial):
    return x509_data(
        f"<ds:X509IssuerSerial><ds:X509IssuerName>{issuer}</ds:X509IssuerName>"
        f"<ds:X509SerialNumber>{serial}</ds:X509SerialNumber></ds:X509IssuerSerial>"
    )


def sequence(*parts):
    inner = b"".join(parts)
    size = len(inner).to_bytes((len(inner).bit_length() + 7) // 8, "big")
    return (b"\x30" + bytes([len(inner)]) if len(inner) < 128 else b"\x30" + bytes([0x80 | len(size)]) + size) + inner


# --- every form that is read ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [X509V3, None])
def test_a_token_holds_the_certificate(kind):
    """A BinarySecurityToken is one certificate, also when it does not say of what kind it is."""
    reference = by_token(der(s.theirs()), kind)
    assert reference == KeyReference(chain=(s.theirs(),))
    assert candidates(reference, [s.stranger().certificate, s.theirs()]) == [s.theirs()]


def test_a_path_holds_a_chain_leaf_last():
    """X509PKIPathv1 begins at the anchor's side; what is read begins at the leaf [RFC 5280, X.509 §8]."""
    leaf, root = s.stranger().certificate, s.authority().certificate
    reference = by_token(sequence(der(root), der(leaf)), X509_PKI_PATH)
    assert reference.chain == (leaf, root)
    assert reference.fits(leaf)
    assert not reference.fits(root)


@pytest.mark.parametrize("wrap", [str_, lambda inner: inner])
def test_x509_data_is_read_with_and_without_a_reference_around_it(wrap):
    """Issuer and serial, key identifier and certificate stand in ``ds:X509Data``; a subject's name beside them says nothing."""
    certificate = s.theirs()
    name = certificate.issuer.rfc4514_string()
    assert read(wrap(issuer_serial(name, certificate.serial_number))).fits(certificate)
    ski = subject_key_identifier(certificate)
    assert read(wrap(x509_data(f"<ds:X509SKI>{b64(ski)}</ds:X509SKI>"))) == KeyReference(ski=ski)
    embedded = f"<ds:X509SubjectName>CN=Evil</ds:X509SubjectName><ds:X509Certificate>{b64(der(certificate))}</ds:X509Certificate>"
    assert read(wrap(x509_data(embedded))) == KeyReference(chain=(certificate,))


def test_key_identifiers_are_read():
    """A subject key identifier and a SHA-1 thumbprint mean exactly the certificates that have them."""
    for kind, value in (
        (X509_SKI, subject_key_identifier(s.theirs())),
        (THUMBPRINT_SHA1, hashlib.sha1(der(s.theirs())).digest()),
    ):
        assert candidates(read(identifier(kind, value)), [s.theirs(), s.stranger().certificate]) == [s.theirs()]
        assert candidates(read(identifier(kind, value[:-1])), [s.theirs()]) == []
        assert candidates(read(identifier(kind, b"")), [s.theirs(), s.elliptic()[1]]) == []


@pytest.mark.parametrize("form", FORMS)
def test_what_we_write_means_what_we_mean(form):
    """Each of our forms leads back to the certificate it was made from, and to no other."""
    token = token_xml(s.theirs(), "t-1").decode()
    reference = read(reference_to(s.theirs(), form, "t-1").decode(), token)
    assert candidates(reference, [s.stranger().certificate, s.theirs(), s.elliptic()[1]]) == [s.theirs()]


def test_base64_may_be_wrapped_and_indented():
    """White space of every kind is no part of the value."""
    wrapped = "\n   ".join(["", *(b64(der(s.theirs()))[i : i + 64] for i in range(0, 4000, 64)), "\t\r\n"])
    token = f'<wsse:BinarySecurityToken wsu:Id="t-1">{wrapped}</wsse:BinarySecurityToken>'
    assert read(str_('<wsse:Reference URI="#t-1"/>'), token).chain == (s.theirs(),)
    assert (decode64(" YQ = =\n"), decode64(None), decode64("")) == (b"a", b"", b"")


def test_certificates_over_one_key_share_their_identifier():
    """A renewal over the same key, and one that malice made, are all meant: none is preferred."""
    key = s.stranger().key
    twins = [s.self_signed(key, x509.SubjectKeyIdentifier(b"shared"), serial=i) for i in (1, 2)]
    assert candidates(KeyReference(ski=b"shared"), [*twins, s.theirs()]) == twins


def test_a_certificate_without_identifier_is_meant_by_its_key():
    """Where the extension is missing it is the SHA-1 of the key's bits, as the Java stacks compute it."""
    key, certificate = s.elliptic()
    assert not list(certificate.extensions)
    point = key.public_key().public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    assert subject_key_identifier(certificate) == hashlib.sha1(point).digest()
    assert KeyReference(ski=hashlib.sha1(point).digest()).fits(certificate)


def test_an_empty_reference_fits_nobody():
    """What says nothing means no certificate; a serial without its issuer neither."""
    assert not KeyReference().fits(s.theirs())
    assert not KeyReference(serial=s.theirs().serial_number).fits(s.theirs())
    assert not KeyReference(issuer=s.theirs().issuer.rfc4514_string(), serial=1).fits(s.theirs())


# --- what is refused --------------------------------------------------------------------------------------------------

REFUSED = {
    "empty": ("", "is neither a SecurityTokenReference nor X509Data"),
    "key value": ("<ds:KeyValue><ds:RSAKeyValue/></ds:KeyValue>", "is neither a SecurityTokenReference nor X509Data"),
    "key name": ("<ds:KeyName>municipality</ds:KeyName>", "is neither a SecurityTokenReference nor X509Data"),
    "two": (str_("") * 2, "is neither a SecurityTokenReference nor X509Data"),
    "empty reference": (str_(""), "is not exactly one reference"),
    "two inside": (identifier(X509_SKI, b"a").replace("</wsse:Sec", "<a/></wsse:Sec"), "is not exactly one reference"),
    "embedded": (str_("<wsse:Embedded/>"), "the reference form is not supported"),
    "key identifier": (identifier("urn:demo", b"a"), "the KeyIdentifier's ValueType is not supported"),
    "no identifier kind": (str_("<wsse:KeyIdentifier>YQ==</wsse:KeyIdentifier>"), "KeyIdentifier's ValueType is not"),
    "no token": (str_('<wsse:Reference URI="#t-2"/>'), "the token it refers to is not in the message"),
    "token elsewhere": (
        str_('<wsse:Reference URI="https://x.example/"/>'),
        "the token it refers to is not in the message",
    ),
    "no address": (str_("<wsse:Reference/>"), "the token it refers to is not in the message"),
    "other data": (x509_data("<ds:X509CRL>YQ==</ds:X509CRL>"), "the X509Data form is not supported"),
    "no data": (x509_data(""), "the X509Data form is not supported"),
    "certificate": (x509_data("<ds:X509Certificate>YQ==</ds:X509Certificate>"), "the certificate cannot be read"),
    "stars": (x509_data("<ds:X509SKI>***</ds:X509SKI>"), "is not base64"),
    "cut base64": (x509_data("<ds:X509SKI>YWJ</ds:X509SKI>"), "is not base64"),
    "no ASCII": (x509_data("<ds:X509SKI>æøå=</ds:X509SKI>"), "is not base64"),
    "hexadecimal serial": (issuer_serial("CN=a", "0x1f"), "the serial number is not decimal"),
    "no serial": (issuer_serial("CN=a", ""), "the serial number is not decimal"),
    "endless serial": (issuer_serial("CN=a", "9" * 81), "the serial number is not decimal"),
    "signs": (issuer_serial("CN=a", "--1"), "the serial number is not decimal"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_understood_is_refused_for_what_it_is(name):
    """Every other content of KeyInfo is 0101 with the cause; a bare key is never believed."""
    inner, cause = REFUSED[name]
    with refused("0101", "KeyInfo", cause):
        read(inner)


def test_a_missing_key_info_is_refused():
    """Who signed is always said."""
    with refused("0101", "KeyInfo", "is missing"):
        parse_key_info(None, {})


def test_a_token_of_another_kind_is_refused():
    """Neither another element, nor another type of token, nor broken base64 is a certificate."""
    with refused("0101", "KeyInfo", "does not lead to a BinarySecurityToken"):
        by_token(b"", name="UsernameToken")
    with refused("0101", "KeyInfo", "the token's ValueType is not supported"):
        by_token(der(s.theirs()), names.X509_PROFILE + "#PKCS7")
    with refused("0101", "BinarySecurityToken", "is not base64"):
        read(
            str_('<wsse:Reference URI="#t-1"/>'), '<wsse:BinarySecurityToken wsu:Id="t-1">*</wsse:BinarySecurityToken>'
        )


LEAF = s.stranger().certificate
PATHS = {
    "empty": (sequence(), "the certificate path is empty"),
    "nothing": (b"", "is not DER"),
    "no sequence": (b"\x31\x00", "is not DER"),
    "indefinite": (b"\x30\x80" + der(LEAF) + b"\x00\x00", "is not DER"),
    "length of five": (b"\x30\x85\x00\x00\x00\x00\x00", "is not DER"),
    "no length": (b"\x30\x82\x01", "is not DER"),
    "cut": (sequence(der(LEAF))[:-1], "is cut short"),
    "trailing": (sequence(der(LEAF)) + b"\x00", "has trailing octets"),
    "cut inside": (sequence(der(LEAF)[:-1]), "is cut short"),
    "trailing inside": (sequence(der(LEAF), b"\x30"), "is not DER"),
    "no certificate": (sequence(b"\x30\x00"), "the certificate cannot be read"),
    "short form": (sequence(sequence(b"\x02\x01\x01")), "the certificate cannot be read"),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_broken_path_is_refused(name):
    """A PKIPath is a DER sequence of whole certificates and nothing else; every other is 0101."""
    octets, cause = PATHS[name]
    with refused("0101", "KeyInfo", cause):
        by_token(octets, X509_PKI_PATH)


@given(st.integers(0, len(der(LEAF)) - 1), st.binary(min_size=1, max_size=3))
@settings(max_examples=100, deadline=None)
def test_a_cut_certificate_is_refused(at, trailing):
    """Less than a certificate, or more, is none."""
    for octets in (der(LEAF)[:at], der(LEAF) + trailing):
        with refused("0101", "KeyInfo", "the certificate cannot be read"):
            load_certificate(octets)


def test_a_certificate_is_read_whole_or_not_at_all():
    """An extension that cannot be read is found now, not when somebody asks for it later."""
    twice = der(s.self_signed(s.elliptic()[0], x509.SubjectKeyIdentifier(b"aa"), x509.BasicConstraints(False, None)))
    ski, constraints = b"\x06\x03\x55\x1d\x0e", b"\x06\x03\x55\x1d\x13"
    for broken in (twice.replace(constraints, ski), twice.replace(b"\x04\x04\x04\x02aa", b"\x04\x04\x05\x02aa")):
        assert broken != twice
        with refused("0101", "KeyInfo", "the certificate cannot be read"):
            load_certificate(broken)
    assert load_certificate(twice) is load_certificate(bytes(bytearray(twice))), "the same octets are read once"


# --- names ------------------------------------------------------------------------------------------------------------


def name_of(*rdns):
    """A name from RDNs, each a list of (oid, value)."""
    return x509.Name([x509.RelativeDistinguishedName([x509.NameAttribute(o, v) for o, v in rdn]) for rdn in rdns])


ISSUER = name_of(
    [(NameOID.COUNTRY_NAME, "DK")],
    [(NameOID.ORGANIZATION_NAME, 'Demo, "Inc." + Sons')],
    [(ORGANISATION_ID, "NTRDK-7")],
    [(NameOID.COMMON_NAME, "Demo CA"), (NameOID.SERIAL_NUMBER, "UI:7")],
    [(EMAIL, "ca@municipality.example")],
)
MAIL = "ca@municipality.example"
ESCAPED, QUOTED = r"O=Demo\, \"Inc.\" \+ Sons", r'O="Demo, \"Inc.\" + Sons"'
WRITTEN = {
    "RFC 4514": f"1.2.840.113549.1.9.1={MAIL},CN=Demo CA+2.5.4.5=UI:7,2.5.4.97=NTRDK-7,{ESCAPED},C=DK",
    "Java": f"1.2.840.113549.1.9.1=#{(bytes((0x16, len(MAIL))) + MAIL.encode()).hex()},CN=Demo CA+2.5.4.5=#130455493a37,"
    f"2.5.4.97=#0c074e5452444b2d37,{ESCAPED},C=DK",
    "Java's toString": f"EMAILADDRESS={MAIL}, SERIALNUMBER=UI:7 + CN=Demo CA, OID.2.5.4.97=NTRDK-7, {QUOTED}, C=DK",
    ".NET": f"E={MAIL}, CN=Demo CA + SERIALNUMBER=UI:7, OID.2.5.4.97=NTRDK-7, {QUOTED}, C=DK",
    "OpenSSL": r"C = DK, O = Demo\, \22Inc.\22 \2B Sons, organizationIdentifier = NTRDK-7, "
    f"CN = Demo CA + serialNumber = UI:7, emailAddress = {MAIL}",
    "in lines": f"\n  e={MAIL};\n  cn = Demo CA+SerialNumber=UI:7;oid.2.5.4.97=#1e0e004e005400520044004b002d0037 ;\n"
    f"  {QUOTED};c=DK\n",
}


@pytest.mark.parametrize("writer", WRITTEN)
def test_a_name_is_recognised_however_it_is_written(writer):
    """The Java, .NET and OpenSSL stacks write one name in as many ways; either order of its parts occurs."""
    assert same_name(WRITTEN[writer], ISSUER)
    certificate = s.self_signed(s.elliptic()[0], issuer=ISSUER, serial=2**158 + 1)
    reference = read(issuer_serial(WRITTEN[writer].replace('"', "&quot;"), f" {2**158 + 1}\n"))
    assert reference.fits(certificate)


@pytest.mark.parametrize(
    "written",
    [
        "",
        "CN",
        "=x",
        "CN=Demo CA",
        WRITTEN["RFC 4514"].replace("DK", "SE", 1),
        WRITTEN["RFC 4514"].replace("C=DK", "ST=DK"),
        WRITTEN["RFC 4514"] + ",",
        WRITTEN["RFC 4514"] + ",OU=evil",
        WRITTEN["RFC 4514"].replace("+2.5.4.5", ",2.5.4.5"),
        WRITTEN["RFC 4514"].replace("C=DK", "NOBODYKNOWS=DK"),
        WRITTEN["Java"].replace("#0c074e", "#0c084e"),
        WRITTEN["Java"].replace("#0c074e", "#02074e"),
        WRITTEN["Java"].replace("#0c074e5452444b2d37", "#c"),
        WRITTEN["Java"].replace("#0c074e5452444b2d37", "#0c"),
        WRITTEN["Java"].replace("#0c074e5452444b2d37", "#1301e6"),
        WRITTEN["Java's toString"].replace('Sons"', "Sons"),
        WRITTEN["OpenSSL"].replace(r"\22", r"\ff", 1),
    ],
)
def test_another_name_is_not_this_one(written):
    """Less, more, another value, another key and what is no name at all do not fit."""
    assert not same_name(written, ISSUER)


def test_long_values_are_read_in_hexadecimal():
    """A value of more than 127 octets has a longer length; one of more than 255 is not read."""
    for size, fits in ((128, True), (255, True), (256, False)):
        value = "æ" * (size // 2) + "x" * (size % 2)
        length = bytes([0x81, size]) if size < 256 else bytes([0x82, 1, 0])
        written = "1.2.3=#" + (b"\x0c" + length + value.encode()).hex()
        assert same_name(written, name_of([(x509.ObjectIdentifier("1.2.3"), value)])) is fits


VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
KINDS = st.sampled_from([NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, EMAIL, ORGANISATION_ID, NameOID.USER_ID])
NAMES = st.lists(
    st.lists(st.tuples(KINDS, VALUES), min_size=1, max_size=2, unique_by=lambda a: a[0]), min_size=1, max_size=4
)


@given(NAMES, NAMES)
@settings(max_examples=200, deadline=None)
def test_every_name_is_itself_as_it_is_written(one, other):
    """Whatever its values hold, a name written by the library is that name, backwards too, and no other."""
    name, second = name_of(*one), name_of(*other)
    assert same_name(name.rfc4514_string(), name)
    assert same_name(x509.Name(reversed(name.rdns)).rfc4514_string(), name)
    plain = [{(o, v.strip()) for o, v in rdn} for rdn in one]
    if [{(o, v.strip()) for o, v in rdn} for rdn in other] not in (plain, plain[::-1]):
        assert not same_name(second.rfc4514_string(), name)


@given(st.text(max_size=40) | st.text('CN=O"\\,+;#0cE ', max_size=40))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_name_or_none(written):
    """What a peer writes as a name never raises."""
    assert same_name(written, ISSUER) is False


def test_a_hostile_name_costs_no_more_than_reading_it():
    """A header full of half-finished names is refused in one pass."""
    for part in (" ", "a=,", "a=\\", 'a="', "O=x,", "a=+", "OID."):
        assert not same_name(part * (600_000 // len(part)), ISSUER)


# --- what we write ----------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=10))
@settings(max_examples=50, deadline=None)
def test_what_we_write_is_its_own_canonical_form(wsu_id):
    """Tokens, and references where they stand in KeyInfo, need no canonicalisation, whatever the certificate's names hold."""
    certificate = s.self_signed(s.elliptic()[0], issuer=name_of([(NameOID.COMMON_NAME, f'<&"\t\r\n>{wsu_id}')]))
    token = token_xml(certificate, wsu_id)
    assert s.canonical(token) == token
    for form in FORMS:
        written = b'<ds:KeyInfo xmlns:ds="%s">%s</ds:KeyInfo>' % (DS.encode(), reference_to(certificate, form, wsu_id))
        assert s.canonical(written) == written


def test_a_token_says_how_it_is_encoded():
    """Encoding, type and id are those of the X.509 token profile."""
    token = etree.fromstring(token_xml(s.theirs(), "t-1"))
    assert dict(token.attrib) == {"EncodingType": BASE64, "ValueType": X509V3, names.tag(WSU, "Id"): "t-1"}
    assert decode64(token.text) == der(s.theirs())


@pytest.mark.parametrize(
    ("inner", "token"),
    [
        ('<wsse:Reference URI="#t-1"/>', f'<wsse:BinarySecurityToken wsu:Id="t-1" ValueType="{X509V3}"/>'),
        ('<wsse:Reference URI="#t-1"/>', f'<wsse:BinarySecurityToken wsu:Id="t-1" ValueType="{X509_PKI_PATH}"/>'),
        ('<wsse:Reference URI="#t-1"/>', '<wsse:BinarySecurityToken wsu:Id="t-1"/>'),
        ('<wsse:Reference URI="#t-2"/>', f'<wsse:BinarySecurityToken wsu:Id="t-1" ValueType="{X509V3}"/>'),
        ("<wsse:Reference/>", f'<wsse:BinarySecurityToken wsu:Id="t-1" ValueType="{X509V3}"/>'),
        ("<wsse:KeyIdentifier/>", f'<wsse:BinarySecurityToken wsu:Id="t-1" ValueType="{X509V3}"/>'),
    ],
)
def test_a_token_says_itself_that_it_is_one_certificate(inner, token):
    """X509v3 in so many words, where the reference leads; the first of these alone."""
    key_info = f"<ds:KeyInfo>{str_(inner)}</ds:KeyInfo>"
    root = etree.fromstring(f'<r xmlns:ds="{DS}" xmlns:wsse="{WSSE}" xmlns:wsu="{WSU}">{token}{key_info}</r>')
    by_id = {e.get(names.tag(WSU, "Id")): e for e in root if e.get(names.tag(WSU, "Id"))}
    expected = "t-1" in inner and f'ValueType="{X509V3}"' in token
    assert is_token(root[-1], by_id) is expected


@pytest.mark.parametrize(
    "inner", ["", "<ds:X509Data/>", "<ds:X509Data><a/></ds:X509Data>", str_(""), str_("<a/>"), "<a><b/></a>"]
)
def test_without_a_reference_there_is_no_token(inner):
    """Nothing, or something else, in whatever shape: it may be asked before anything is parsed."""
    assert not is_token(None, {})
    root = etree.fromstring(f'<r xmlns:ds="{DS}" xmlns:wsse="{WSSE}"><ds:KeyInfo>{inner}</ds:KeyInfo></r>')
    assert not is_token(root[0], {})


def test_a_certificate_is_told_by_the_digest_of_its_octets():
    """The same as everybody's SHA-256 fingerprint."""
    certificate = s.theirs()
    assert fingerprint(certificate) == certificate.fingerprint(hashes.SHA256())
