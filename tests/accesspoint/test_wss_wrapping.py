"""Signature wrapping and its relatives: a good signature over something else than what would be read.

The eight classic variants were found in single sign-on; here the signed element is ``eb:Messaging`` or the SOAP body, and it is
moved to every place an envelope offers while another one stands where it is read.
"""

from __future__ import annotations

import copy
import hashlib
from base64 import b64decode, b64encode
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import names, wss
from accesspoint.errors import As4Error
from accesspoint.names import DS, EXC_C14N
from accesspoint.references import Reference, Transform
from accesspoint.soap import c14n, parse_envelope
from tests.accesspoint import signing as s
from tests.accesspoint.signing import refused, replacing
from tests.fuzz import world as w

CID = wss.attachment_reference("part-1@stafet", b"\x07" * 32)
TRANSFORMS = f'<ds:Transforms><ds:Transform Algorithm="{EXC_C14N}"></ds:Transform></ds:Transforms>'
MESSAGING, BODY = "/S12:Envelope/S12:Header/eb:Messaging", "/S12:Envelope/S12:Body"
TARGETS = {"Messaging": MESSAGING, "Body": BODY}
SPELLINGS = {
    "wsu:Id": names.tag(names.WSU, "Id"),
    "Id": "Id",
    "ID": "ID",
    "id": "id",
    "xml:id": names.tag(names.XML, "id"),
}


def tree():
    """A genuine envelope, to be operated on."""
    return etree.fromstring(s.signed())


def child(parent, name, namespace="urn:demo"):
    return etree.SubElement(parent, names.tag(namespace, name))


def verdict(root):
    return s.verify(etree.tostring(root))


# --- the signed one is moved, another stands in its place -------------------------------------------------------------

PLACES = {
    "an Object in the signature": lambda r: child(s.found(r, "//ds:Signature"), "Object", DS),
    "an Object in front of SignedInfo": lambda r: _first(s.found(r, "//ds:Signature"), names.tag(DS, "Object")),
    "a Manifest in an Object": lambda r: child(child(s.found(r, "//ds:Signature"), "Object", DS), "Manifest", DS),
    "the signature": lambda r: s.found(r, "//ds:Signature"),
    "the signature's value": lambda r: s.found(r, "//ds:SignatureValue"),
    "the security header": lambda r: s.found(r, "//wsse:Security"),
    "the token": lambda r: s.found(r, "//wsse:BinarySecurityToken"),
    "a wrapper after all headers": lambda r: child(s.found(r, "//S12:Header"), "Wrapper"),
    "a wrapper before all headers": lambda r: _first(s.found(r, "//S12:Header"), names.tag("urn:demo", "Wrapper")),
    "a wrapper named Header": lambda r: child(s.found(r, "//S12:Header"), "Header", names.S12),
    "an envelope in a header": lambda r: child(
        child(s.found(r, "//S12:Header"), "Envelope", names.S12), "Header", names.S12
    ),
    "the body": lambda r: s.found(r, BODY),
    "a wrapper in the body": lambda r: child(s.found(r, BODY), "Wrapper"),
    "an envelope in the body": lambda r: child(child(s.found(r, BODY), "Envelope", names.S12), "Header", names.S12),
    "the other Messaging": lambda r: s.found(r, MESSAGING),
    "a property of the other Messaging": lambda r: r.xpath("//eb:Property", namespaces=s.NS)[0],
}

INSIDE_THE_SIGNED = {p: "Messaging" if "Messaging" in p else "Body" for p in PLACES if "body" in p or "Messaging" in p}
"""Places that change what is signed as well."""


def _first(parent, name):
    element = etree.Element(name)
    parent.insert(0, element)
    return element


def wrapped(target, place, evil_id=None):
    """The signed element moved into ``place``; in its own place one with other content and ``evil_id`` (name, value)."""
    root = tree()
    genuine = s.found(root, TARGETS[target])
    evil = copy.deepcopy(genuine)
    genuine.getparent().replace(genuine, evil)
    del evil.attrib[SPELLINGS["wsu:Id"]]
    if evil_id:
        evil.set(*evil_id)
    if target == "Body":
        child(evil, "Order").text = "evil"
    else:
        s.found(evil, ".//eb:Action").text = "evil"
    PLACES[place](root).append(genuine)
    assert c14n(genuine) in (s.messaging(), s.BODY), "what was signed is still there as it was signed"
    return root


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("place", PLACES)
def test_a_signed_element_that_was_moved_covers_nothing(target, place):
    """Wherever the signed one hides, the one that would be read is not what was signed: 0103 naming it."""
    other = "Body" if target == "Messaging" else "Messaging"
    for evil_id in (None, (SPELLINGS["wsu:Id"], "evil"), ("Id", "evil")):
        if INSIDE_THE_SIGNED.get(place) == other:
            with refused("0101", f"digest of {other}", f"{other} was changed after it was signed"):
                verdict(wrapped(target, place, evil_id))
        else:
            with refused("0103", f"signature over {target}", f"the {target} of this message is not what was signed"):
                verdict(wrapped(target, place, evil_id))


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize(
    "place", ["an Object in the signature", "a wrapper before all headers", "a wrapper in the body"]
)
def test_two_elements_with_one_id_are_one_too_many(spelling, place):
    """An id that occurs twice is 0101 however it is spelled: nobody has to guess which was meant."""
    for target, value in (("Messaging", "m-1"), ("Body", "b-1")):
        with refused("0101", "id", f"the id '{value}' occurs twice"):
            verdict(wrapped(target, place, (SPELLINGS[spelling], value)))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_the_signed_element_may_spell_its_id_as_it_likes(spelling):
    """Whatever an id is called it is the same id, and the element it is on the one that is read."""
    header = s.messaging().replace(b' wsu:Id="m-1"', b"").replace(b' xmlns:wsu="%s"' % names.WSU.encode(), b"")
    element = etree.fromstring(header)
    element.set(SPELLINGS[spelling], "m-1")
    header = etree.tostring(element)
    digest = hashlib.sha256(s.canonical(header)).digest()
    body, messaging = s.local()
    reference = Reference("#m-1", messaging.transforms, names.SHA256, digest)
    assert s.verify(s.signed(body, reference, header=header)).references == (body, reference)


def test_two_of_what_is_read_are_refused_before_any_signature():
    """A second Messaging, Body, Header or Security beside the signed one breaks the envelope's shape: 0009."""
    for path, field in (
        (MESSAGING, "Header"),
        ("//wsse:Security", "Header"),
        (BODY, "Envelope"),
        ("//S12:Header", "Envelope"),
    ):
        for before in (True, False):
            root = tree()
            genuine = s.found(root, path)
            evil = etree.Element(genuine.tag)
            (genuine.addprevious if before else genuine.addnext)(evil)
            with refused("0009", field):
                verdict(root)


def test_what_a_receipt_quotes_is_not_resolved():
    """A signed Messaging inside ``eb:Receipt`` is a quotation: the reference leads nowhere."""
    root = tree()
    genuine = s.found(root, MESSAGING)
    evil = etree.Element(genuine.tag)
    genuine.getparent().replace(genuine, evil)
    child(child(evil, "SignalMessage", names.EB), "Receipt", names.EB).append(genuine)
    with refused("0101", "Reference/@URI", "leads to no element of this message"):
        verdict(root)


# --- the reference leads to another element ---------------------------------------------------------------------------


def over(uri, octets):
    return Reference(uri, (Transform(EXC_C14N),), names.SHA256, hashlib.sha256(octets).digest())


def test_a_signature_over_a_part_of_it_is_not_over_it():
    """A genuine signature over the user message inside Messaging leaves Messaging unsigned."""
    header = s.messaging().replace(b"<eb:UserMessage>", b'<eb:UserMessage Id="u-1">')
    inside = c14n(s.found(etree.fromstring(header), "//eb:UserMessage"))
    with refused("0103", "signature over Messaging"):
        s.verify(s.signed(s.local()[0], over("#u-1", inside), header=header))


def test_a_signature_over_an_ancestor_is_not_over_it():
    """Who signs something around Messaging has not signed the Messaging that is read; around it there is only the header."""
    wrapper = b'<x:Wrapper xmlns:x="urn:demo" Id="x-1">%s</x:Wrapper>' % s.messaging()
    evil = s.messaging().replace(b'"m-1"', b'"m-2"').replace(b"deliver", b"evil")
    octets = s.signed(s.local()[0], over("#x-1", s.canonical(wrapper)), header=wrapper + evil)
    with refused("0103", "signature over Messaging"):
        s.verify(octets)
    header = s.signed(s.local()[0], over("#h-1", b"")).replace(b"<S12:Header>", b'<S12:Header Id="h-1">')
    with refused("0101", "digest of Header", "Header was changed after it was signed"):
        s.verify(header)


def test_a_manifest_is_not_followed():
    """References inside an Object cover nothing, also when the Object is signed."""
    manifest = wss.reference_xml(s.local()[1], declare=False)
    inside = b'<ds:Object xmlns:ds="%s" Id="o-1"><ds:Manifest>%s</ds:Manifest></ds:Object>' % (DS.encode(), manifest)
    octets = s.signed(s.local()[0], over("#o-1", s.canonical(inside)))
    with refused("0103", "signature over Messaging"):
        s.verify(octets.replace(b"</ds:Signature>", inside + b"</ds:Signature>"))


def test_a_second_signature_elsewhere_is_not_looked_at():
    """A good signature inside a wrapper does not stand in for the one in the security header."""
    root = tree()
    genuine = s.found(root, "//ds:Signature")
    child(s.found(root, "//S12:Header"), "Wrapper").append(copy.deepcopy(genuine))
    genuine.getparent().remove(genuine)
    with refused("0103", "Signature", "the message is not signed"):
        verdict(root)


@pytest.mark.parametrize("inserted", [b"<!-- x -->", b"<?x?>"])
def test_a_value_cannot_be_split_by_what_is_not_signed(inserted):
    """A comment survives canonicalisation unseen and would shorten the value that is read: refused everywhere."""
    for before in (b"-plain</eb:Action>", b"</S12:Body>", b"</wsse:Security>"):
        with refused("0009", "SOAP part", "holds a comment or processing instruction"):
            s.verify(replacing(before, inserted + before)(s.signed()))


# --- transforms and addresses -----------------------------------------------------------------------------------------

FOREIGN = (
    DS + "enveloped-signature",
    DS + "base64",
    "http://www.w3.org/TR/1999/REC-xpath-19991116",
    "http://www.w3.org/2002/06/xmldsig-filter2",
    "http://www.w3.org/TR/1999/REC-xslt-19991116",
    "http://www.w3.org/TR/2001/REC-xml-c14n-20010315",
    EXC_C14N + "WithComments",
    names.SOAP_SECURITY + "#STR-Transform",
    names.ATTACHMENT_SIGNATURE,
    names.SWA + "#Attachment-Complete-Signature-Transform",
    "",
)


@pytest.mark.parametrize("algorithm", FOREIGN)
def test_a_transform_but_exclusive_canonicalisation_is_refused(algorithm):
    """A reference into the envelope takes one transform: not another, not one before it, not one after it."""
    ours = f'<ds:Transform Algorithm="{EXC_C14N}"></ds:Transform>'
    foreign = f'<ds:Transform Algorithm="{algorithm}"></ds:Transform>'
    for instead in (foreign, foreign + ours, ours + foreign):
        with refused("0101", "Transforms", "a #"):
            s.verify(s.signed(edit=replacing(ours, instead)))


def test_an_xpath_transform_is_refused_with_its_parameter():
    """The filter that would leave the evil part out of the digest is never run."""
    xpath = (
        '<ds:Transform Algorithm="http://www.w3.org/TR/1999/REC-xpath-19991116">'
        "<ds:XPath>not(ancestor-or-self::evil)</ds:XPath></ds:Transform>"
    )
    with refused("0101", "Transform", "parameters that are not supported"):
        s.verify(s.signed(edit=replacing("<ds:Transforms>", f"<ds:Transforms>{xpath}")))


@pytest.mark.parametrize("instead", ["", TRANSFORMS * 2, "<ds:Transforms></ds:Transforms>"])
def test_the_transform_may_be_neither_left_out_nor_repeated(instead):
    """No transform would mean inclusive canonicalisation; two are one too many."""
    with refused("0101", "Transforms", "a #b-1 reference takes exclusive canonicalisation and nothing else"):
        s.verify(s.signed(edit=replacing(TRANSFORMS, instead)))


def test_an_attachment_takes_the_attachment_transform_alone():
    """A cid: reference with canonicalisation, or with nothing, is refused."""
    for transforms in ((Transform(EXC_C14N),), (), (*CID.transforms, Transform(EXC_C14N))):
        reference = Reference(CID.uri, transforms, CID.digest_algorithm, CID.digest)
        with refused("0101", "Transforms", "a cid: reference takes the Attachment-Content-Signature-Transform"):
            s.verify(s.signed(*s.local(), reference))


@pytest.mark.parametrize(
    "uri", ["", "m-1", "https://hospital.example/evil.xml", "file:evil", "xpointer(id('m-1'))", "CID:part-1@stafet"]
)
def test_a_reference_leads_into_the_message_or_nowhere(uri):
    """An empty URI (the whole document), one outside and one without a mark are refused, never fetched."""
    with refused("0101", "Reference/@URI", "is neither #id nor cid:"):
        s.verify(s.signed(edit=replacing('"#m-1"', f'"{uri}"')))


def test_a_reference_without_uri_is_refused():
    """What an application would have to know is not known."""
    with refused("0101", "Reference/@URI", "is neither #id nor cid:"):
        s.verify(s.signed(edit=replacing(' URI="#m-1"', "")))


@pytest.mark.parametrize("uri", ["#", "#m-2", "#xpointer(/)", "#xpointer(id('m-1'))", "#m-1 "])
def test_a_reference_to_an_id_nobody_has_is_refused(uri):
    """A fragment is an id and nothing else."""
    with refused("0101", "Reference/@URI", "leads to no element of this message"):
        s.verify(s.signed(edit=replacing('"#m-1"', f'"{uri}"')))


# --- whatever is done to an envelope ----------------------------------------------------------------------------------


@given(st.integers(0, 255), st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_every_octet_of_a_signature_value_counts(at, change):
    """No octet of the value can be another one."""
    sign = w.sign_as(w.world().theirs)

    def bent(octets):
        value = bytearray(sign(octets))
        value[at] ^= change
        return bytes(value)

    with refused("0101", "SignatureValue", "does not verify"):
        s.verify(s.signed(sign=bent))


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_one_octet_changed_anywhere_is_refused_or_says_the_same(data):
    """Whatever octet of a signed envelope becomes another one: what is believed is what was signed, by whom it was signed."""
    octets = bytearray(s.signed())
    octets[data.draw(st.integers(0, len(octets) - 1))] = data.draw(st.integers(0, 255))
    try:
        envelope = parse_envelope(bytes(octets))
        verified = s.judged(envelope)
    except As4Error:
        return
    assert (c14n(envelope.messaging), c14n(envelope.body)) == (s.messaging(), s.BODY)
    assert (verified.certificate, verified.references) == (s.theirs(), s.local())


@given(st.integers(0, 31), st.integers(1, 255), st.sampled_from([0, 1]))
@settings(max_examples=60, deadline=None)
def test_every_octet_of_a_digest_counts(at, change, which):
    """A genuine signature over a digest that is nearly right is a signature over something else."""
    references = list(s.local())
    bent = bytearray(references[which].digest)
    bent[at] ^= change
    references[which] = replace(references[which], digest=bytes(bent))
    with refused("0101", f"digest of {('Body', 'Messaging')[which]}", "was changed after it was signed"):
        s.verify(s.signed(*references))
    verified = s.verify(s.signed(*s.local(), CID))
    near = bytearray(CID.digest)
    near[at] ^= change
    with refused("0101", "digest of attachment", "was changed after it was signed"):
        wss.check_attachments(verified, {"part-1@stafet": bytes(near)}, ["part-1@stafet"])


OPERATIONS = st.tuples(
    st.sampled_from(["move", "copy", "remove", "rename"]), st.integers(0, 60), st.integers(0, 60), st.integers(0, 3)
)


@given(st.lists(OPERATIONS, min_size=1, max_size=4))
@settings(max_examples=300, deadline=None)
def test_whatever_is_moved_what_is_read_is_what_was_signed(operations):
    """Elements moved, copied, taken out and given other ids: refused, or what would be read is what the partner signed."""
    root = tree()
    for name, first, second, place in operations:
        elements = list(root.iter())
        one, other = elements[first % len(elements)], elements[second % len(elements)]
        if name == "rename":
            one.set(list(SPELLINGS.values())[place], ["m-1", "b-1", "s-1", "evil"][second % 4])
        elif one is not root and other not in one.iter():
            if name != "copy":
                one.getparent().remove(one)
            if name != "remove":
                other.insert(place, copy.deepcopy(one))
    octets = etree.tostring(root)
    try:
        envelope = parse_envelope(octets)
        s.judged(envelope)
    except As4Error:
        return
    assert (c14n(envelope.messaging), c14n(envelope.body)) == (s.messaging(), s.BODY)


# --- whole messages, as the receiver judges them ----------------------------------------------------------------------


def changed(octets, needle, offset):
    """A message with one bit turned ``offset`` octets after (or before the end of) what follows ``needle``."""
    at = octets.index(needle) + len(needle)
    bent = bytearray(octets)
    bent[at + offset] ^= 1
    return bytes(bent)


PART = b"<part-2@stafet>\r\n\r\n"
LENGTH = len(w.PAYLOADS[1][0]) + 28


@pytest.mark.parametrize("offset", [0, 11, 12, LENGTH - 17, LENGTH - 16, LENGTH - 1])
def test_a_changed_part_cannot_be_decrypted(offset):
    """IV, ciphertext and tag of an encrypted part: one bit changed is 0102, before its digest is looked at."""
    _, octets = w.sent(w.world().pinned)
    with refused("0102", "EncryptedData", "could not be decrypted"):
        w.receive(changed(octets, PART, offset))


def test_a_changed_part_that_is_only_signed_is_found_by_its_digest():
    """Without encryption it is the signature that finds it: 0101."""
    _, octets = w.sent(w.world().plain)
    with refused("0101", "digest of attachment", "an attachment was changed after it was signed"):
        w.receive(changed(octets, PART, 0))


def test_parts_that_change_places_are_found():
    """Two parts under one key, each with the other's octets: the digests of both are wrong."""
    payloads = ((b"a" * 50, "image/png", False), (b"b" * 50, "image/png", False))
    message, _ = w.sent(w.world().pinned, payloads)
    octets = [p[0] for p in payloads]
    assert w.receive(message.whole(octets)).message.message_id == message.message_id
    with refused("0101", "digest of attachment"):
        w.receive(message.whole(octets[::-1]))


def test_a_changed_wrapped_key_cannot_be_unwrapped():
    """The content key of somebody else, or a bent one, is 0102 and says no more than a wrong tag does."""
    _, octets = w.sent(w.world().pinned)
    value = octets[octets.index(b"<xenc:CipherValue>") + 18 : octets.index(b"</xenc:CipherValue>")]
    bent = bytearray(b64decode(value))
    bent[8] ^= 1
    with refused("0102", "EncryptedData", "could not be decrypted"):
        w.receive(replacing(value, b64encode(bent))(octets))
