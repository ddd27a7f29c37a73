"""What other implementations think of our signatures and keys, and we of theirs: xmlsec (C), signxml, and real messages.

None of them knows the transforms for attachments: a signature that covers some is checked step by step with the library's own
primitives instead.
"""

from __future__ import annotations

import email
import hashlib
import json
import re
from base64 import b64decode
from dataclasses import replace

import pytest
import signxml
import xmlsec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import names, wss
from accesspoint.errors import As4Error
from accesspoint.names import DS, EC, EXC_C14N, tag
from accesspoint.soap import c14n, parse_envelope
from accesspoint.tokens import der, parse_key_info
from accesspoint.xmlenc import encryption_xml, wrap_key
from tests.accesspoint import signing as s
from tests.accesspoint.signing import refused
from tests.fuzz import world as w

WSU_ID = tag(names.WSU, "Id")
FORMS = ("binary-security-token", "subject-key-identifier", "issuer-serial")


def private(key):
    octets = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return xmlsec.Key.from_memory(octets, xmlsec.constants.KeyDataFormatPem)


def public(certificate):
    return xmlsec.Key.from_memory(der(certificate), xmlsec.constants.KeyDataFormatCertDer)


def context(root, key):
    """xmlsec, told what the ids of an envelope are."""
    made = xmlsec.SignatureContext()
    for element in root.iter(etree.Element):
        for name, namespace in ((WSU_ID, names.WSU), ("Id", None)):
            if element.get(name):
                made.register_id(element, "Id", namespace)
    made.key = key
    return made


def xmlsec_verifies(octets, certificate):
    """Whether xmlsec finds the envelope's signature good."""
    root = etree.fromstring(octets)
    try:
        context(root, public(certificate)).verify(root.find(f".//{tag(DS, 'Signature')}"))
    except xmlsec.Error:
        return False
    return True


# --- they verify ours -------------------------------------------------------------------------------------------------


def message():
    """A user message without payloads, as it goes on the wire."""
    return w.sent(w.world().plain, ())[1]


def receipt():
    """A signed receipt, as it goes on the wire."""
    return w.receipt_for(s.local(), "m-0001@municipality.example")


@pytest.mark.parametrize("made", [message, receipt, s.signed])
def test_what_we_sign_is_good_to_others(made):
    """xmlsec and signxml verify our messages and receipts, over exactly Body and Messaging, and find every change."""
    octets = made()
    assert xmlsec_verifies(octets, s.theirs())
    results = signxml.XMLVerifier().verify(octets, x509_cert=s.theirs(), expect_references=2, id_attribute="Id")
    envelope = parse_envelope(octets)
    assert [r.signed_data for r in results] == [c14n(envelope.body), c14n(envelope.messaging)]
    for old, new in ((b"</S12:Body>", b"x</S12:Body>"), (b"municipality", b"evil")):
        changed = octets.replace(old, new)
        assert changed != octets
        assert not xmlsec_verifies(changed, s.theirs())
        with pytest.raises(signxml.InvalidSignature):
            signxml.XMLVerifier().verify(changed, x509_cert=s.theirs(), expect_references=2, id_attribute="Id")


@pytest.mark.assertion("CP_TA12", "CP_TA13")
@pytest.mark.parametrize("form", FORMS)
def test_our_messages_with_payloads_are_good_step_by_step(form):
    """Without any code of ours: MIME by the standard library, the key by RSA-OAEP, parts by AES-GCM, every digest, the value."""
    pmode = replace(w.world().pinned, key_reference=form)
    sent, octets = w.sent(pmode)
    head = f"Content-Type: {sent.content_type}\r\n\r\n".encode()
    root, *parts = email.message_from_bytes(head + octets).get_payload()
    envelope = etree.fromstring(root.get_payload(decode=True))
    key = s.found(envelope, "//xenc:EncryptedKey//xenc:CipherValue").text
    oaep = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)
    content_key = w.world().ours.key.decrypt(b64decode(key), oaep)
    digests = {
        f"#{e.get(WSU_ID)}": hashlib.sha256(s.canonical(etree.tostring(e))) for e in envelope.iter() if e.get(WSU_ID)
    }
    for part in parts:
        cipher = part.get_payload(decode=True)
        plain = AESGCM(content_key).decrypt(cipher[:12], cipher[12:], None)
        digests[f"cid:{part['Content-ID'].strip('<>')}"] = hashlib.sha256(plain)
    info = s.found(envelope, "//ds:SignedInfo")
    references = info.findall(tag(DS, "Reference"))
    assert [r.get("URI") for r in references] == ["#body", "#messaging", "cid:part-1@stafet", "cid:part-2@stafet"]
    for reference in references:
        assert b64decode(reference.findtext(tag(DS, "DigestValue"))) == digests[reference.get("URI")].digest()
    value = b64decode(s.found(envelope, "//ds:SignatureValue").text)
    s.theirs().public_key().verify(value, s.canonical(etree.tostring(info)), padding.PKCS1v15(), hashes.SHA256())


@pytest.mark.parametrize("form", FORMS)
def test_xmlsec_unwraps_our_content_key(form):
    """The EncryptedKey we write says to another implementation what it must do."""
    ours, key = w.world().ours, w.entropy(16)
    octets = encryption_xml(ours.certificate, form, wrap_key(ours.certificate, key, w.entropy), [("a@x", "a/b")], "e")
    root = etree.fromstring(s.enveloped(octets))
    made = xmlsec.EncryptionContext()
    made.key = private(ours.key)
    assert made.decrypt(s.found(root, "//xenc:EncryptedKey")) == key


# --- we verify theirs -------------------------------------------------------------------------------------------------


def unsigned(method, digest=names.SHA256, prefixes=None, envelope=s.enveloped):
    """An envelope with the template of a signature for xmlsec to fill in."""
    listed = "" if prefixes is None else f'<ec:InclusiveNamespaces xmlns:ec="{EC}" PrefixList="{" ".join(prefixes)}"/>'
    references = "".join(
        f'<ds:Reference URI="{uri}"><ds:Transforms><ds:Transform Algorithm="{EXC_C14N}">{listed}</ds:Transform></ds:Transforms>'
        f'\n  <ds:DigestMethod Algorithm="{digest}"/><ds:DigestValue/></ds:Reference>'
        for uri in ("#m-1", "#b-1")
    )
    info = (
        f'<ds:SignedInfo><ds:CanonicalizationMethod Algorithm="{EXC_C14N}">{listed}</ds:CanonicalizationMethod>\n'
        f'  <ds:SignatureMethod Algorithm="{method}"/>{references}</ds:SignedInfo>'
    )
    return envelope(s.token_xml(s.theirs(), "s-1") + s.signature(info.encode(), b"", s.key_info()))


def signed_by_xmlsec(octets, key):
    root = etree.fromstring(octets)
    context(root, private(key)).sign(s.found(root, "//ds:Signature"))
    return etree.tostring(root)


@pytest.mark.parametrize("method", [names.RSA_SHA256, names.RSA_SHA384, names.RSA_SHA512, names.RSA_PSS_SHA256])
@pytest.mark.parametrize("digest", [names.SHA256, names.SHA384, names.SHA512])
def test_what_xmlsec_signs_with_rsa_is_good_to_us(method, digest):
    """Every RSA method and every digest we know, as another implementation makes them."""
    octets = signed_by_xmlsec(unsigned(method, digest), s.their_key())
    verified = s.verify(octets, s.WIDE)
    assert (verified.signature_method, verified.certificate) == (method, s.theirs())
    with refused("0101", "digest of Messaging"):
        s.verify(octets.replace(b"deliver-plain", b"deliver-evil"), s.WIDE)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_what_xmlsec_signs_on_a_curve_is_good_to_us(curve):
    """ECDSA values are r and s at the curve's own length, 66 octets each at the longest."""
    key = ec.generate_private_key(curve)
    certificate = s.self_signed(key)
    octets = signed_by_xmlsec(unsigned(names.ECDSA_SHA256), key)
    assert s.verify(octets, s.WIDE, s.trusting(certificate)).certificate == certificate
    with refused("0101", "SignatureValue"):
        s.verify(octets, s.WIDE, s.trusting(s.elliptic()[1]))


@pytest.mark.parametrize("signer", ["rsa-sha1", "sha1"])
def test_what_others_sign_weakly_is_not_agreed(signer):
    """A signature that xmlsec finds good is 0103 here when it rests on SHA-1."""
    method = names.RSA_SHA1 if signer == "rsa-sha1" else names.RSA_SHA256
    octets = signed_by_xmlsec(unsigned(method, names.SHA1 if signer == "sha1" else names.SHA256), s.their_key())
    assert xmlsec_verifies(octets, s.theirs())
    with refused("0103", "SignatureMethod" if signer == "rsa-sha1" else "DigestMethod", "sha1 is not agreed"):
        s.verify(octets)


@pytest.mark.parametrize("prefixes", [None, ["S12"], ["S12", "wsse"]])
def test_what_signxml_signs_is_good_to_us(prefixes):
    """A detached signature of signxml, put into our header, is verified."""
    root = etree.fromstring(s.enveloped(s.token_xml(s.theirs(), "s-1")))
    signer = signxml.XMLSigner(signxml.methods.detached, c14n_algorithm=EXC_C14N)
    about = etree.fromstring(b'<ds:KeyInfo xmlns:ds="%s">%s</ds:KeyInfo>' % (DS.encode(), s.key_info()))
    uris = [signxml.SignatureReference(uri, inclusive_ns_prefixes=prefixes) for uri in ("#b-1", "#m-1")]
    made = signer.sign(root, key=s.their_key(), reference_uri=uris, key_info=about, id_attribute="Id")
    s.found(root, "//wsse:Security").append(made)
    octets = etree.tostring(root)
    assert [r.uri for r in s.verify(octets).references] == ["#b-1", "#m-1"]
    with refused("0101", "digest of Messaging"):
        s.verify(octets.replace(b"deliver-plain", b"deliver-evil"))


PREFIXES = st.sampled_from(["", "a", "b", "eb", "S12"])
SCOPES = st.dictionaries(PREFIXES, st.sampled_from(["urn:one", "urn:two", "urn:three"]), max_size=4)
LISTS = st.none() | st.lists(st.sampled_from(["a", "b", "eb", "S12", "wsu", "xml", "#default", "unknown"]), max_size=4)


def scoped(security, outer, header, inner):
    """An envelope whose elements declare these namespaces, used or not, in prefixes that hide each other."""

    def declared(scope, *but):
        names_ = ((f"xmlns:{p}" if p else "xmlns", uri) for p, uri in scope.items() if p not in but)
        return "".join(f' {name}="{uri}"' for name, uri in names_).encode()

    octets = s.enveloped(security)
    octets = octets.replace(b"<S12:Envelope", b"<S12:Envelope" + declared(outer, "S12"), 1)
    octets = octets.replace(b"<S12:Header", b"<S12:Header" + declared(header, "S12"), 1)
    octets = octets.replace(b"<eb:UserMessage", b"<eb:UserMessage" + declared(inner, "eb"), 1)
    return octets.replace(b"></S12:Body>", b"><x xmlns:q='urn:q'%s><q:y q:z='1'/></x></S12:Body>" % declared(inner))


@example({"": "urn:one"}, {}, {}, ["#default"])
@example({"a": "urn:one"}, {"a": "urn:two"}, {}, ["a"])
@given(SCOPES, SCOPES, SCOPES, LISTS)
@settings(max_examples=150, deadline=None)
def test_whatever_namespaces_surround_it_xmlsec_and_we_agree(outer, header, inner, prefixes):
    """Declarations hidden, repeated, unused and listed: what xmlsec canonicalises and signs where it stands, we verify."""
    octets = unsigned(names.RSA_SHA256, prefixes=prefixes, envelope=lambda x: scoped(x, outer, header, inner))
    octets = signed_by_xmlsec(octets, s.their_key())
    assert xmlsec_verifies(octets, s.theirs())
    listed = None if prefixes is None else tuple(prefixes)
    assert [r.transforms[0].prefix_list for r in s.verify(octets).references] == [listed, listed]


# --- real messages ----------------------------------------------------------------------------------------------------

GENEROUS = replace(s.WIDE, name="generous", rsa_bits=1024)


def envelope_of(path):
    """The SOAP part of a sample, or None."""
    found = re.search(rb"<(?:\w+:)?Envelope.*?</(?:\w+:)?Envelope>", path.read_bytes(), re.DOTALL)
    return found[0] if found else None


def samples(shared):
    """Every sample with a signature: its row in the index, its envelope, and the certificate it names."""
    folder = shared / "samples" / "as4"
    known = [x509.load_der_x509_certificate(p.read_bytes()) for p in sorted((folder / "keys").glob("*.cer"))]
    for row in json.loads((folder / "index.json").read_text()):
        octets = envelope_of(folder / "messages" / row["file"])
        if octets and b"SignatureValue" in octets:
            yield row, octets, lambda ref: ref.chain[:1] or [c for c in known if ref.fits(c)]


def test_what_other_access_points_signed_is_judged_as_the_index_says(shared):
    """Holodeck, AS4.NET, phase4, Domibus, RSSBus and Minder: what is signed well is verified, what is broken is 0101."""
    good, bad = [], []
    for row, octets, trust in samples(shared):
        try:
            verified = wss.verify(parse_envelope(octets), GENEROUS, trust)
        except As4Error as error:
            assert str(error).startswith("EBMS:0101 "), row["file"]
            assert row["verdict"] == "invalid", f"{row['file']}: {error}"
            bad.append(row["file"])
        else:
            assert len(verified.attachments) == len(verified.references) - 2, row["file"]
            assert row["verdict"] != "invalid" or "corrupted-ciphertext" in row["file"], row["file"]
            good.append(row["file"])
    assert len(good) >= 24
    assert len(bad) >= 10


def test_xmlsec_judges_real_signatures_as_we_do(shared):
    """Where a sample has no attachments both verdicts are one, sample by sample."""
    verdicts = {}
    for row, octets, trust in samples(shared):
        if b'"cid:' in octets.split(b"SignedInfo")[1]:
            continue
        seen = []
        try:
            wss.verify(parse_envelope(octets), GENEROUS, lambda ref, t=trust, s=seen: s.extend(t(ref)) or s)
            ours = True
        except As4Error:
            ours = False
        if seen and seen[0].public_key().__class__.__name__ != "Ed25519PublicKey":
            verdicts[row["file"]] = (ours, xmlsec_verifies(octets, seen[0]))
    assert {mine for mine, _ in verdicts.values()} == {True, False}
    assert len(verdicts) >= 12
    assert {file: v for file, v in verdicts.items() if v[0] != v[1]} == {}


@pytest.mark.parametrize(
    ("file", "form"),
    [("bst_X509PKIPathv1", "chain"), ("bst_x509v3", "chain"), ("is", "serial"), ("ski", "ski")],
)
def test_key_references_of_real_headers_are_read(shared, file, form):
    """How Domibus names its certificates: a path, a token, issuer and serial, a subject key identifier."""
    folder = shared / "samples" / "as4" / "security-headers"
    envelope = parse_envelope(envelope_of(folder / f"{file}_incoming_message.xml"))
    reference = parse_key_info(
        envelope.security.find(f".//{tag(DS, 'Signature')}/{tag(DS, 'KeyInfo')}"), envelope.by_id
    )
    said = {name for name in ("chain", "ski", "serial", "thumbprint") if getattr(reference, name) not in ((), None)}
    assert said == {form}
    assert not reference.fits(s.theirs())
