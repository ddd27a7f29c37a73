"""Names of the wire: the same strings others use, each once."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import xmlsec
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureMethod

from accesspoint import names

ALL = {name: value for name, value in vars(names).items() if name.isupper()}
NAMESPACES = ("S12", "S11", "EB", "EBBP", "MF", "WSSE", "WSU", "WSSE11", "DS", "XENC", "XENC11", "EC", "XML", "SBDH")


def test_a_name_is_an_address_or_a_word():
    """No white space, nothing but ASCII: they are compared octet for octet."""
    assert len(ALL) > 50
    for name, value in ALL.items():
        assert re.fullmatch(r"http://[!-~]+|urn:[!-~]+|[A-Za-z]+(/[a-z]+)?|[A-Za-z0-9]+([-:][A-Za-z_]+)+", value), name


def test_no_string_has_two_names():
    """Except where one thing is both a namespace and an algorithm."""
    assert names.EXC_C14N == names.EC
    values = [value for name, value in ALL.items() if name != "EXC_C14N"]
    assert len(set(values)) == len(values)


def test_ebms_names_grow_from_one_namespace():
    """Spelled out once, with its slash at the end."""
    grown = [names.INITIATOR, names.RESPONDER, names.DEFAULT_MPC, names.TEST_SERVICE, names.TEST_ACTION]
    core = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
    assert core == names.EB
    assert grown == [core + word for word in ("initiator", "responder", "defaultMPC", "service", "test")]


def test_properties_are_spelled_as_peers_look_for_them():
    """Capitals count."""
    assert (names.MIME_TYPE, names.CHARACTER_SET) == ("MimeType", "CharacterSet")
    assert (names.COMPRESSION_TYPE, names.GZIP) == ("CompressionType", "application/gzip")
    assert (names.ORIGINAL_SENDER, names.FINAL_RECIPIENT) == ("originalSender", "finalRecipient")
    assert names.TRACKING_IDENTIFIER == "trackingIdentifier"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (names.DS, xmlsec.constants.DSigNs),
        (names.XENC, xmlsec.constants.EncNs),
        (names.EXC_C14N, xmlsec.constants.TransformExclC14N.href),
        (names.SHA1, xmlsec.constants.TransformSha1.href),
        (names.SHA256, xmlsec.constants.TransformSha256.href),
        (names.SHA384, xmlsec.constants.TransformSha384.href),
        (names.SHA512, xmlsec.constants.TransformSha512.href),
        (names.RSA_SHA1, xmlsec.constants.TransformRsaSha1.href),
        (names.RSA_SHA256, xmlsec.constants.TransformRsaSha256.href),
        (names.RSA_SHA384, xmlsec.constants.TransformRsaSha384.href),
        (names.RSA_SHA512, xmlsec.constants.TransformRsaSha512.href),
        (names.ECDSA_SHA256, xmlsec.constants.TransformEcdsaSha256.href),
        (names.AES128_GCM, xmlsec.constants.TransformAes128Gcm.href),
        (names.AES256_GCM, xmlsec.constants.TransformAes256Gcm.href),
        (names.RSA_OAEP_MGF1P, xmlsec.constants.TransformRsaOaep.href),
        (names.RSA_1_5, xmlsec.constants.TransformRsaPkcs1.href),
        (names.EXC_C14N, CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0.value),
        (names.SHA256, DigestAlgorithm.SHA256.value),
        (names.SHA384, DigestAlgorithm.SHA384.value),
        (names.SHA512, DigestAlgorithm.SHA512.value),
        (names.RSA_SHA256, SignatureMethod.RSA_SHA256.value),
        (names.RSA_PSS_SHA256, SignatureMethod.SHA256_RSA_MGF1.value),
        (names.ECDSA_SHA256, SignatureMethod.ECDSA_SHA256.value),
    ],
)
def test_algorithms_have_the_names_other_libraries_give_them(ours, theirs):
    """Two libraries of other people say the same."""
    assert ours == theirs


WSS = "http://docs.oasis-open.org/wss/"
OLD, NEW = WSS + "2004/01/oasis-200401-wss-", WSS + "oasis-wss-"


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("RSA_OAEP", "http://www.w3.org/2009/xmlenc11#rsa-oaep"),
        ("MGF1_SHA1", "http://www.w3.org/2009/xmlenc11#mgf1sha1"),
        ("MGF1_SHA256", "http://www.w3.org/2009/xmlenc11#mgf1sha256"),
        ("ED25519", "http://www.w3.org/2021/04/xmldsig-more#eddsa-ed25519"),
        ("ATTACHMENT_SIGNATURE", NEW + "SwAProfile-1.1#Attachment-Content-Signature-Transform"),
        ("ATTACHMENT_CIPHERTEXT", NEW + "SwAProfile-1.1#Attachment-Ciphertext-Transform"),
        ("ATTACHMENT_CONTENT_ONLY", NEW + "SwAProfile-1.1#Attachment-Content-Only"),
        ("X509V3", OLD + "x509-token-profile-1.0#X509v3"),
        ("X509_PKI_PATH", OLD + "x509-token-profile-1.0#X509PKIPathv1"),
        ("X509_SKI", OLD + "x509-token-profile-1.0#X509SubjectKeyIdentifier"),
        ("BASE64", OLD + "soap-message-security-1.0#Base64Binary"),
        ("THUMBPRINT_SHA1", NEW + "soap-message-security-1.1#ThumbprintSHA1"),
        ("ENCRYPTED_KEY_TOKEN", NEW + "soap-message-security-1.1#EncryptedKey"),
        ("NEXT_MSH", "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/part2/200811/nextmsh"),
        ("EBMS_ACTOR", "ebms"),
        ("AS4_ACTION", "http://docs.oasis-open.org/ebxml-msg/as4/200902/action"),
        ("PARTICIPANTS", "iso6523-actorid-upis"),
        ("PEPPOL_PARTY", "urn:fdc:peppol.eu:2017:identifiers:ap"),
        ("PEPPOL_AGREEMENT", "urn:fdc:peppol.eu:2017:agreements:tia:ap_provider"),
        ("PEPPOL_PROCESSES", "cenbii-procid-ubl"),
        ("PEPPOL_NOT_SERVICED", "PEPPOL:NOT_SERVICED"),
        ("EIC_PARTY", "http://www.entsoe.eu/eic-codes/eic-party-codes-x"),
        ("EDIGAS_SERVICE", "http://edigas.org/service"),
        ("EDIGAS_DOCUMENT_TYPE", "EDIGASDocumentType"),
    ],
)
def test_what_those_libraries_do_not_know_is_spelled_out(name, spelled):
    """Newer encryption, Edwards curves, attachments and tokens, word for word from the specifications."""
    assert ALL[name] == spelled


@pytest.mark.parametrize("name", NAMESPACES)
def test_a_tag_is_how_the_parser_names_an_element(name):
    """Made of namespace and local name, and found in a parsed document."""
    namespace = getattr(names, name)
    element = etree.fromstring(
        f'<xml:Body xmlns:xml="{namespace}"/>' if name == "XML" else f'<q:Body xmlns:q="{namespace}"/>'
    )
    assert element.tag == names.tag(namespace, "Body") == f"{{{namespace}}}Body"


def test_the_namespaces_are_those_of_the_official_schemas(shared: Path):
    """Each is the target of one; the attribute-only WS-Security 1.1 and XML Encryption 1.1 among them."""
    declared = set()
    for folder in ("ebms", "soap", "wss", "xmldsig", "xenc", "xml", "sbdh"):
        for path in (shared / "schemas" / folder).glob("*.xsd"):
            declared.add(etree.parse(path).getroot().get("targetNamespace"))
    assert {getattr(names, name) for name in NAMESPACES} - declared == set()
