"""What the fuzzer once broke, each as the smallest input that shows it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from accesspoint import ebms, mime, soap
from accesspoint.ebms import parse_messaging, user_message_xml
from accesspoint.errors import EbmsError, HttpRefusal
from accesspoint.names import DS, EB
from accesspoint.outbound import Message, judge_answer
from accesspoint.tokens import load_certificate, parse_key_info
from core import config
from core.errors import ConfigError
from core.trust import Trust, Untrusted
from tests.fuzz import kernel
from tests.fuzz import world as w

HEADER = b"--b\r\n"


def refusal(code: str):
    return pytest.raises(EbmsError, match=f"^EBMS:{code} ")


def envelope(messaging: bytes) -> soap.Envelope:
    return soap.parse_envelope(ebms.envelope_xml(b"", messaging, ebms.body_xml("b")))


def heard(pieces: list[bytes]) -> list[mime.Event]:
    reader, events = mime.MultipartReader("b"), []
    for piece in pieces:
        events += reader.feed(piece)
    reader.close()
    return events


def octets_of(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]


# --- SOAP -------------------------------------------------------------------------------------------------------------


def test_a_relative_namespace_has_no_canonical_form():
    """libxml2 cannot canonicalise a relative namespace: that is an invalid header, not our failure."""
    found = envelope(b'<eb:Messaging xmlns:eb="%s" xmlns:q="relative"><q:x/></eb:Messaging>' % EB.encode())
    with refusal("0009"):
        soap.c14n(found.messaging)


def test_another_encoding_does_not_hide_behind_white_space():
    """White space before UTF-16 passed the test for UTF-16."""
    with refusal("0009"):
        soap.parse_xml(b"    " + '<?xml version="1.0"?><a/>'.encode("utf-16-le"))


def test_another_encoding_does_not_hide_behind_a_long_declaration():
    """An encoding named after two hundred octets of white space was not seen."""
    with refusal("0009"):
        soap.parse_xml(b'<?xml version="1.0"' + b" " * 300 + b'encoding="ISO-8859-1"?><a>\xe6</a>')


@pytest.mark.parametrize(
    "xml",
    [
        b"<S:a><b xml:space=''/></S:a>",
        b"<S:a><b xml:space=''/></S:a>garbage",
        b"<a :=''><b xml:space=''/></a>g",
        b"<a xmlns='urn:{x}y'><b xml:space=''/></a>",
    ],
)
def test_a_warning_does_not_hide_an_error(xml):
    """After an odd ``xml:space`` the parser took undeclared prefixes, odd namespaces, and any octets after the document."""
    with refusal("0009"):
        soap.parse_xml(xml)
    assert soap.parse_xml(b"<a/>").tag == "a", "the parser that is used again has forgotten"


def test_an_empty_type_says_nothing():
    """A property whose type is written and empty is one without a type, as everywhere else in the header."""
    message = w.header(w.world().plain, properties=(ebms.Property("Name", "value"),))
    written = user_message_xml(message, "m").replace(b'name="Name"', b'name="Name" type=""')
    read = parse_messaging(envelope(written))
    assert isinstance(read, ebms.UserMessage)
    assert read.properties == message.properties


def test_an_empty_content_id_is_no_payload_reference():
    """``href="cid:"`` was a payload that nobody missed."""
    messaging = w.messaging_of(w.world().plain, (("", "image/png", False),))
    with refusal("0011"):
        parse_messaging(envelope(messaging))


# --- MIME -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(HEADER + b"Content-Transfer-Encoding: base64\r\n\r\nYQ==YQ==\r\n--b--", id="base64 after its end"),
        pytest.param(b"p" * 70_000 + b"\r\n" + HEADER + b"\r\nx\r\n--b--", id="preamble"),
        pytest.param(b"p" * 40_000 + b"\r\n" + HEADER + b"\r\nx\r\n--b--" + b"e" * 40_000, id="margins together"),
        pytest.param(b"--b" + b" " * 9000 + b"\r\n\r\nx\r\n--b--", id="boundary line"),
        pytest.param(HEADER + (b"A: " + b"y" * 6000 + b"\r\n") * 3 + b"\r\nx\r\n--b--", id="headers"),
        pytest.param(
            HEADER + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"y" * 9000 + b"\r\nx\r\n--b--",
            id="quoted-printable line",
        ),
    ],
)
def test_limits_hold_however_the_body_arrives(body):
    """What is too long in pieces is too long at once, and the other way round."""
    for pieces in ([body], octets_of(body), [body[i : i + 1000] for i in range(0, len(body), 1000)]):
        with refusal("0007"):
            heard(pieces)


@pytest.mark.parametrize("value", ["text/xml; a=\xe6", "text/xml; charset=\udcff\u00b2"])
def test_a_content_type_is_ascii(value):
    """The standard library's header class broke on surrogates beside other characters."""
    with pytest.raises(HttpRefusal, match="ASCII"):
        mime.parse_content_type(value)


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        ("multipart/related", b"x"),
        ("multipart/related; boundary=b; type=text/html", b"x"),
        ("multipart/related; boundary=b", b"--b\r\nno colon\r\n\r\n--b--"),
        ("multipart/related; boundary=b", b"--b\r\n\r\n<a/>"),
    ],
)
def test_an_answer_with_broken_packaging_is_a_missing_receipt(kind, octets):
    """An HTTP refusal of ours escaped while judging *their* answer, and a MIME error went out under its own code."""
    world = w.world()
    message = w.sent(world.pinned)[0]
    with refusal("0301"):
        judge_answer(message, world.pinned, world.partners.trust(world.pinned), 200, kind, octets)


@pytest.mark.parametrize("octets", [b"", b"\0\0\0\2{}", b"\0\0\0\2[]", b"\0\0\0\4null", b'\0\0\0\x0a{"id":true}'])
def test_octets_that_are_no_frozen_message_are_a_value_error(octets):
    """The ledger's octets are read with one documented error."""
    with pytest.raises(ValueError):
        Message.from_bytes(octets)


# --- certificates -----------------------------------------------------------------------------------------------------


def odd_certificate(kind: str) -> bytes:
    """A certificate that loads, but has a name or an extension the library only chokes on later."""
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "municipality")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 7)
    builder = builder.not_valid_before(datetime(2026, 1, 1, tzinfo=UTC)).not_valid_after(
        datetime(2027, 1, 1, tzinfo=UTC)
    )
    builder = builder.add_extension(x509.SubjectKeyIdentifier(b"1234567890"), critical=False)
    builder = builder.add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.20"), b"\5\0"), False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    if kind == "duplicate":
        return der.replace(b"\x06\x03\x55\x1d\x14", b"\x06\x03\x55\x1d\x0e")
    if kind == "version":
        return der.replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x07", 1)
    if kind == "name":
        return der.replace(b"\x0c\x0cmunicipality", b"\x03\x0c\0unicipality", 2)
    return der.replace(b"\x06\x03\x55\x1d\x14", b"\x06\x03\x55\x1d\x0f")


@pytest.mark.parametrize("kind", ["duplicate", "version", "name", "extension"])
def test_a_certificate_that_cannot_be_read_is_refused(kind):
    """Names and extensions are read late by the library: ValueError, TypeError and errors of its own came out of trust."""
    with refusal("0101"):
        load_certificate(odd_certificate(kind))


@pytest.mark.parametrize("kind", ["duplicate", "name", "extension"])
def test_a_chain_with_a_certificate_that_cannot_be_read_is_untrusted(kind):
    """Trust says so itself too, for certificates that came another way."""
    certificate = x509.load_der_x509_certificate(odd_certificate(kind))
    with pytest.raises(Untrusted, match="cannot be read"):
        Trust((w.world().authority,)).check_chain((certificate,), w.NOW)


def test_a_serial_number_has_one_sign():
    """``--5`` passed the test for digits."""
    xml = b'<ds:X509SerialNumber xmlns:ds="%s">--5</ds:X509SerialNumber>' % DS.encode()
    key_info = soap.parse_xml(
        b'<ds:KeyInfo xmlns:ds="%s"><ds:X509Data><ds:X509IssuerSerial>%s</ds:X509IssuerSerial></ds:X509Data></ds:KeyInfo>'
        % (DS.encode(), xml)
    )
    with refusal("0101"):
        parse_key_info(key_info, {})


# --- the kernel -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["a\x7fb", "x" * 2000])
def test_a_header_the_kernel_cannot_keep_is_refused(value):
    """A control character or an endless ConversationId of an authenticated partner was an internal error."""
    header = w.header(w.world().plain)
    messaging = user_message_xml(header, "m").replace(
        b"<eb:ConversationId>c-1<", b"<eb:ConversationId>%s<" % value.encode()
    )
    with refusal("0003"):
        kernel.description_of(messaging, "image/png")


def test_a_media_type_the_kernel_cannot_keep_is_refused():
    """An empty Content-Type of a part was an internal error."""
    messaging = w.messaging_of(w.world().plain, (("a@x", "", False),))
    with refusal("0003|EBMS:0009"):
        kernel.description_of(messaging.replace(b'name="MimeType"', b'name="Other"').replace(b"><", b">x<"), "")


@pytest.mark.parametrize(
    "text",
    [
        "!!int ''",
        "kind: !!int ''",
        "kind: !!timestamp x",
        "kind: !!bool maybe",
        "kind: 1" + ":0" * 200 + ".0",
        "kind: integration\nid: a\ntypes: [b]\ntests: [{description: {occurred: 2026-01-01}, expect: [residual]}]",
    ],
)
def test_odd_yaml_is_a_problem_with_a_place(tmp_path: Path, text):
    """Tags, sexagesimal floats and dates in an example ended in errors of the YAML and JSON libraries."""
    (tmp_path / "all.yaml").write_text(text)
    with pytest.raises(ExceptionGroup) as group:
        config.load(tmp_path, config.KERNEL_KINDS, [])
    assert all(isinstance(error, ConfigError) and error.file.startswith("all.yaml") for error in group.value.exceptions)


def test_seeds_are_what_they_are_meant_to_be():
    """The messages everything is grown from are accepted: else the fuzzer would look at refusals alone."""
    world = w.world()
    for pmode in (world.pinned, world.plain, world.anchored):
        message, body = w.sent(pmode)
        accepted = w.receive(body, step=7)
        assert not isinstance(accepted, ebms.Signal)
        assert [p.sha256 for p in accepted.parts] == [hashlib.sha256(data).digest() for data, _, _ in w.PAYLOADS]
        answer = w.receipt_for(message.references, message.message_id)
        judge_answer(message, pmode, world.partners.trust(pmode), 200, "application/soap+xml", answer)
