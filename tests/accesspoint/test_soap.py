"""The hardened door: which octets become an envelope, and what each refusal says."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint import limits, soap
from accesspoint.errors import (
    FAILED_AUTHENTICATION,
    FEATURE_NOT_SUPPORTED,
    INVALID_HEADER,
    As4Error,
    CatalogueEntry,
    EbmsError,
    SoapFault,
)
from accesspoint.names import EB, MF, S11, S12, WSSE, WSU

MESSAGING = b"<eb:Messaging/>"
DECLARED = b' xmlns:S="%s" xmlns:eb="%s" xmlns:wsse="%s" xmlns:wsu="%s" xmlns:mf="%s"' % tuple(
    name.encode() for name in (S12, EB, WSSE, WSU, MF)
)


def around(children: bytes, attributes: bytes = b"") -> bytes:
    """An envelope of any shape."""
    return b"<S:Envelope%s%s>%s</S:Envelope>" % (DECLARED, attributes, children)


def envelope(header: bytes = MESSAGING, body: bytes = b"") -> bytes:
    """An envelope of the right shape."""
    return around(b"<S:Header>%s</S:Header><S:Body>%s</S:Body>" % (header, body))


def refused(octets: bytes, error: CatalogueEntry = INVALID_HEADER) -> EbmsError:
    """How the envelope is refused."""
    with pytest.raises(EbmsError) as refusal:
        soap.parse_envelope(octets)
    assert refusal.value.error is error
    return refusal.value


def unparsed(octets: bytes) -> EbmsError:
    """How the XML is refused."""
    with pytest.raises(EbmsError) as refusal:
        soap.parse_xml(octets, what="attachment")
    assert refusal.value.error is INVALID_HEADER
    assert refusal.value.field == "attachment", "the refusal names what was read"
    return refusal.value


def faulted(octets: bytes) -> SoapFault:
    """The SOAP fault the envelope is answered with."""
    with pytest.raises(SoapFault) as fault:
        soap.parse_envelope(octets)
    return fault.value


# --- the shape --------------------------------------------------------------------------------------------------------


def test_an_envelope_is_its_parts():
    """Header, body, messaging, security and ids are the very elements of the tree."""
    found = soap.parse_envelope(
        envelope(b'<wsse:Security wsu:Id="s"/><eb:Messaging wsu:Id="m"/>', b'<x Id="x"/>').replace(
            b"<S:Body>", b'<S:Body wsu:Id="b">'
        )
    )
    assert [found.header, found.body] == list(found.root)
    assert [found.security, found.messaging] == list(found.header)
    assert found.by_id == {"s": found.security, "m": found.messaging, "b": found.body, "x": found.body[0]}


def test_security_may_be_missing_and_stand_before_or_behind():
    """No security header is None; its place among the header entries means nothing."""
    assert soap.parse_envelope(envelope()).security is None
    for header in (b"<wsse:Security/>" + MESSAGING, MESSAGING + b"<wsse:Security/>"):
        security = soap.parse_envelope(envelope(header)).security
        assert security is not None
        assert security.tag == soap.SECURITY


@pytest.mark.parametrize(
    "children",
    [
        b"",
        b"<S:Body/>",
        b"<S:Header>%s</S:Header>" % MESSAGING,
        b"<S:Body/><S:Header>%s</S:Header>" % MESSAGING,
        b"<S:Header>%s</S:Header><S:Body/><S:Body/>" % MESSAGING,
        b"<S:Header>%s</S:Header><S:Header/><S:Body/>" % MESSAGING,
        b"<S:Header>%s</S:Header><S:Body/><x/>" % MESSAGING,
        b"<x/><S:Header>%s</S:Header><S:Body/>" % MESSAGING,
        b"<S:Header>%s</S:Header><Body/>" % MESSAGING,
    ],
)
def test_an_envelope_is_exactly_a_header_and_a_body(children):
    """A second body or anything beside them is how signatures are wrapped."""
    assert refused(around(children)).field == "Envelope"


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"", b""),
        (b"<x>%s</x>" % MESSAGING, b""),
        (b"", MESSAGING),
        (b"<Messaging/>", b""),
        (b'<eb:Messaging xmlns:eb="urn:other"/>', b""),
    ],
)
def test_messaging_is_a_direct_child_of_the_header(header, body):
    """Nowhere else is it looked for, whatever it is called there."""
    assert refused(envelope(header, body)).field == "Header/Messaging"


def test_one_messaging_and_one_security():
    """Of two nobody knows which one is signed."""
    assert "more than one eb:Messaging" in refused(envelope(MESSAGING * 2)).cause
    assert "more than one Security" in refused(envelope(MESSAGING + b"<wsse:Security/>" * 2)).cause


def test_what_is_not_supported_says_so():
    """The security header of a pull and a fragment of a split message are 0008, not a broken header."""
    pull = refused(envelope(MESSAGING + b'<wsse:Security S:role="ebms"/>'), FEATURE_NOT_SUPPORTED)
    assert "pull" in pull.cause
    split = refused(envelope(MESSAGING + b"<mf:MessageFragment/>"), FEATURE_NOT_SUPPORTED)
    assert (split.field, split.remedy) == ("MessageFragment", "send the message whole: any size is taken as a stream")


@pytest.mark.parametrize("value", [b"true", b"1"])
def test_an_entry_that_must_be_understood_is_a_fault(value):
    """Both spellings of true; the entry is named."""
    fault = faulted(envelope(MESSAGING + b'<q:Odd xmlns:q="urn:odd" S:mustUnderstand="%s"/>' % value))
    assert (fault.code, fault.reason) == ("MustUnderstand", "the header entry Odd is not understood")


@pytest.mark.parametrize("entry", [b"<Odd/>", b'<Odd S:mustUnderstand="false"/>', b'<Odd S:mustUnderstand="0"/>'])
def test_an_entry_that_need_not_be_understood_is_passed_by(entry):
    """And the two we know may demand to be understood."""
    known = b'<eb:Messaging S:mustUnderstand="true"/><wsse:Security S:mustUnderstand="1"/>'
    assert soap.parse_envelope(envelope(known + entry)).messaging.tag == soap.MESSAGING


def test_soap_1_1_is_another_version():
    """The one refusal SOAP itself has a word for."""
    assert faulted(b'<e:Envelope xmlns:e="%s"/>' % S11.encode()).code == "VersionMismatch"


@pytest.mark.parametrize("root", [b"<Envelope/>", b"<S:Body/>", b"<html/>"])
def test_anything_else_is_no_envelope(root):
    """Named as such."""
    assert "not a SOAP 1.2 envelope" in refused(root.replace(b"/>", DECLARED + b"/>")).cause


@pytest.mark.parametrize("header", [b"", b"<S:Header/>", b"<S:Header><Odd/></S:Header>"])
def test_a_fault_without_ebms_is_heard_with_or_without_a_header(header):
    """Gateways and we ourselves send faults that have no header: their reason reaches the reader."""
    fault = b"<S:Fault><S:Reason><S:Text>Policy\n  Falsified</S:Text></S:Reason></S:Fault>"
    heard = faulted(around(header + b"<S:Body>%s</S:Body>" % fault))
    assert (heard.code, heard.reason) == ("Received", "Policy Falsified")


def test_a_fault_beside_messaging_is_no_fault():
    """The errors in the header count."""
    assert soap.parse_envelope(envelope(body=b"<S:Fault/>")).body[0].tag == soap.FAULT


def test_the_reason_of_a_fault_is_one_printable_line():
    """Control characters and endless reasons of a stranger reach no log."""
    fault = soap.parse_xml("<f> a\n\tb<c>\u202e\u0085d</c>{}</f>".format("x" * 400).encode())
    assert soap.fault_text(fault) == "a b? d" + "x" * 294
    assert soap.fault_text(soap.parse_xml(b"<f/>")) == ""


# --- hostile XML ------------------------------------------------------------------------------------------------------

LAUGHS = b'<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'


@pytest.mark.parametrize(
    "octets",
    [
        b"<!DOCTYPE a><a/>",
        b'<!DOCTYPE a SYSTEM "http://stranger.example/a.dtd"><a/>',
        b'<?xml version="1.0"?>\n<!DOCTYPE a [<!ENTITY f SYSTEM "file:///etc/hostname">]><a>&f;</a>',
        b'<!DOCTYPE a [<!ENTITY % p SYSTEM "http://stranger.example/"> %p;]><a/>',
        LAUGHS + b"<l>&b;</l>",
        LAUGHS + b'<l a="&b;"/>',
        b"\xef\xbb\xbf \n<!DOCTYPE a><a/>",
        b"<a><![CDATA[<!DOCTYPE a>]]></a>",
    ],
)
def test_a_document_type_declaration_is_refused(octets):
    """Before any parser sees it, wherever it stands: no file is opened, nobody is called, nothing expands."""
    assert unparsed(octets).cause == "has a document type declaration"


@pytest.mark.parametrize(
    "encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7", "cp037", "latin-1"]
)
@pytest.mark.parametrize("padding", [" ", " " * 300])
@pytest.mark.parametrize("declaration", ["", '<!DOCTYPE a [<!ENTITY x "y">]>'])
def test_no_other_encoding_is_read(encoding, padding, declaration):
    """Neither by its octets nor by its name, however far away that stands; nothing hides in one."""
    text = f'<?xml version="1.0"{padding}encoding="{encoding}"?>{declaration}<a>\u00e6</a>'
    unparsed(text.encode(encoding))


def test_an_encoding_is_refused_by_name_before_it_is_parsed():
    """UTF-7 spells a document type declaration without its letters; the parser never reads UTF-7."""
    hidden = b"<?xml version=\"1.0\"%sencoding='UTF-7'?>+ADwAIQ-DOCTYPE a+AD4-<a/>" % (b" " * 300)
    assert unparsed(hidden).cause == "declares encoding UTF-7"


@pytest.mark.parametrize("name", ["UTF-8", "utf-8", "utf8", "US-ASCII", "ascii"])
def test_utf_8_has_several_names(name):
    """With a byte order mark and white space before it too."""
    octets = f"\ufeff\r\n <?xml version='1.0' encoding='{name}'?><a>\u00e6</a>".encode()
    assert soap.parse_xml(octets).text == "\u00e6"


@pytest.mark.parametrize(
    "octets", [b"", b" ", b"x", b"<a>", b"<a/><b/>", b"<a>\xff</a>", b"<a>&b;</a>", b"<q:a/>", b"\0"]
)
def test_what_is_not_well_formed_is_refused(octets):
    """Also a prefix that is not declared, which some parsers let pass."""
    assert unparsed(octets).cause.startswith(("not well-formed XML", "not UTF-8"))


def test_a_document_is_only_so_large():
    """One octet above the limit is refused unread; what is read may set another limit."""
    least = b"<a></a>"
    full = b"<a>%s</a>" % (b"x" * (limits.HEADER_SIZE - len(least)))
    assert soap.parse_xml(full).tag == "a"
    assert refused(full.replace(b"</a>", b"!</a>")).cause == f"larger than {limits.HEADER_SIZE} octets"
    with pytest.raises(EbmsError, match="larger than 6 octets"):
        soap.parse_xml(least, size=6)


def test_depth_is_bounded():
    """The deepest envelope that is taken is as deep as the limit; far deeper ones do not even become a tree."""

    def deep(levels: int) -> bytes:
        inside = levels - 2  # the envelope and its body
        return envelope(body=b"<a>" * inside + b"</a>" * inside)

    assert soap.parse_envelope(deep(limits.XML_DEPTH)).body[0].tag == "a"
    assert "too deeply" in refused(deep(limits.XML_DEPTH + 1)).cause
    assert "not well-formed" in refused(deep(100_000)).cause


def test_elements_are_bounded():
    """Envelope, header, messaging and body count too."""
    fits = limits.XML_ELEMENTS - 4
    assert len(soap.parse_envelope(envelope(body=b"<a/>" * fits)).body) == fits
    assert "too many elements" in refused(envelope(body=b"<a/>" * (fits + 1))).cause


def wide(count: int) -> bytes:
    return b"<a%s/>" % b"".join(b' a%d=""' % index for index in range(count))


def test_attributes_are_bounded():
    """On each element; declarations of namespaces do not count among them."""
    body = wide(limits.XML_ATTRIBUTES).replace(b"<a", b'<a xmlns:q="urn:q"')
    assert len(soap.parse_envelope(envelope(body=body)).body[0].attrib) == limits.XML_ATTRIBUTES
    assert "too many attributes" in refused(envelope(body=wide(limits.XML_ATTRIBUTES + 1))).cause


def test_whatever_is_canonicalised_has_bounded_attributes():
    """Sorting them takes the square of their number: a megabyte of them is refused in the time it takes to read them."""
    assert len(soap.parse_xml(wide(limits.CANONICAL_ATTRIBUTES)).attrib) == limits.CANONICAL_ATTRIBUTES
    assert "far too many attributes" in unparsed(wide(limits.CANONICAL_ATTRIBUTES + 1)).cause
    assert "far too many attributes" in unparsed(wide(90_000)).cause
    spread = b"<a>%s</a>" % (wide(limits.CANONICAL_ATTRIBUTES // 2) * 3)
    assert len(soap.parse_xml(spread)) == 3, "only those of one element count"


def spaces(count: int) -> bytes:
    return b"".join(b' xmlns:n%d="urn:n%d"' % (index, index) for index in range(count))


def test_namespaces_are_bounded_wherever_they_are_declared():
    """Those in scope together count, on the root or deep inside, in the SOAP part and in whatever is canonicalised."""
    most = limits.XML_NAMESPACES
    assert soap.parse_xml(b"<a%s/>" % spaces(most)).tag == "a"
    for octets in (
        b"<a%s/>" % spaces(most + 1),
        b"<a%s><b%s/></a>" % (spaces(most), b' xmlns="urn:b"'),
        b"<a>" + b'<a xmlns="urn:a">' * (most + 1) + b"</a>" * (most + 2),
    ):
        assert unparsed(octets).cause == "has too many namespaces in scope"
    assert "too many namespaces" in refused(around(b"", spaces(most))).cause
    assert "too many namespaces" in refused(envelope(body=b"<a%s/>" % spaces(most))).cause
    siblings = b"<b%s/>" % spaces(most) * 3
    assert len(soap.parse_xml(b"<a>%s</a>" % siblings)) == 3, "siblings do not add up"


def test_a_bomb_of_namespaces_is_refused_before_it_goes_off():
    """Thirty thousand namespaces over nineteen thousand elements take seconds to canonicalise and none to refuse."""
    bomb = envelope(body=b"<a%s>%s</a>" % (spaces(30_000), b"<b/>" * 19_000))
    assert len(bomb) < limits.HEADER_SIZE
    refused(bomb)
    with pytest.raises(EbmsError, match="too many namespaces"):
        soap.parse_xml(b"<a%s>%s</a>" % (spaces(100_000), b"<b/>" * 200_000), size=limits.CANONICAL_PART)


HOLES = (
    "<S:Envelope%s>{0}<S:Header>{1}<eb:Messaging><eb:A>good{2}.evil</eb:A></eb:Messaging>"
    "<wsse:Security>{3}</wsse:Security></S:Header><S:Body>{4}</S:Body></S:Envelope>"
)


@pytest.mark.parametrize("hidden", ["<!--x-->", "<?x y?>"])
@pytest.mark.parametrize("place", range(5))
def test_comments_and_instructions_are_refused_everywhere_in_the_envelope(hidden, place):
    """A signature does not see them, so what is read would not be what was signed."""
    holes = HOLES % DECLARED.decode()
    assert soap.parse_envelope(holes.format(*[""] * 5).encode()).security is not None
    filled = holes.format(*[hidden if index == place else "" for index in range(5)])
    assert "comment or processing instruction" in refused(filled.encode()).cause


def test_around_the_envelope_they_mean_nothing():
    """No signature covers what is outside it, and nothing is read there."""
    octets = b'<?xml version="1.0"?><!--x--><?x y?>%s<!--x--><?x y?>' % envelope()
    assert soap.parse_envelope(octets).messaging.tag == soap.MESSAGING


# --- ids --------------------------------------------------------------------------------------------------------------

SPELLINGS = (b"wsu:Id", b"Id", b"ID", b"id", b"xml:id")


@pytest.mark.parametrize("first", SPELLINGS)
@pytest.mark.parametrize("second", SPELLINGS)
def test_an_id_occurs_once_whatever_its_spelling(first, second):
    """Else a signature could be checked on one element and read from another."""
    header = b'<eb:Messaging %s="m"/>' % first
    refusal = refused(envelope(header, b'<x %s="m"/>' % second), FAILED_AUTHENTICATION)
    assert (refusal.field, refusal.cause) == ("id", "the id 'm' occurs twice")
    found = soap.parse_envelope(envelope(header, b'<x %s="n"/>' % second))
    assert found.by_id == {"m": found.messaging, "n": found.body[0]}


def test_an_element_may_have_several_ids():
    """As many as there are spellings; the same one in two spellings is still one too many."""
    found = soap.parse_envelope(envelope(body=b'<x wsu:Id="1" Id="2" ID="3" id="4" xml:id="5"/>'))
    assert found.by_id == dict.fromkeys("12345", found.body[0])
    refused(envelope(body=b'<x wsu:Id="1" Id="1"/>'), FAILED_AUTHENTICATION)


def test_a_long_id_does_not_fill_the_refusal():
    """Eighty characters of it are enough to find it."""
    body = b'<x Id="%s"/>' % (b"i" * 5000)
    assert len(refused(envelope(body=body * 2), FAILED_AUTHENTICATION).cause) < 120


def test_what_a_receipt_quotes_has_no_ids_of_ours():
    """Quoted ids are neither found nor in the way of the same ids outside."""
    quoted = b'<eb:Receipt Id="r"><x wsu:Id="m"/><y wsu:Id="m"/><z id="z"/></eb:Receipt>'
    found = soap.parse_envelope(envelope(b'<eb:Messaging wsu:Id="m">%s</eb:Messaging>' % quoted))
    assert found.by_id == {"m": found.messaging}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(SPELLINGS), st.integers(0, 12), st.booleans()), max_size=8))
def test_ids_are_all_found_or_all_refused(elements):
    """Any set of elements, some quoted: found are exactly those outside, and a repetition is refused."""
    body = b"".join(
        (b"<eb:Receipt><x %s='i%d'/></eb:Receipt>" if quoted else b"<x %s='i%d'/>") % (name, value)
        for name, value, quoted in elements
    )
    own = [f"i{value}" for _, value, quoted in elements if not quoted]
    if len(set(own)) == len(own):
        assert set(soap.parse_envelope(envelope(body=body)).by_id) == set(own)
    else:
        refused(envelope(body=body), FAILED_AUTHENTICATION)


# --- text and canonical form ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("xml", "text"),
    [
        ("<a/>", ""),
        ("<a> \n </a>", ""),
        ("<a>\n  demo\tward \r\n</a>", "demo ward"),
        ("<a>de<![CDATA[mo <&>]]>&amp;</a>", "demo <&>&"),
        ("<a>\u00a0demo\u2003ward\u3000</a>", "\u00a0demo\u2003ward\u3000"),
    ],
)
def test_text_is_collapsed_as_a_token(xml, text):
    """Blanks, tabs and line ends alone: another kind of space belongs to the value, which is compared exactly."""
    assert soap.text_of(soap.parse_xml(xml.encode())) == text


def test_text_with_elements_in_it_is_no_text():
    """Else half of a value could be read."""
    with pytest.raises(EbmsError, match="0009 InvalidHeader: a: holds elements") as refusal:
        soap.text_of(soap.parse_xml(b'<a xmlns="urn:a">good<b/>.evil</a>'))
    assert refusal.value.field == "a"


def test_the_canonical_form_is_that_of_the_element_where_it_stands():
    """Only the namespaces it uses, unless prefixes are named; attributes in order; no comments."""
    root = soap.parse_xml(
        b'<r xmlns="urn:d" xmlns:q="urn:q" xmlns:z="urn:z"><q:a z="1" b=\'2\'><!--x--><c/></q:a>tail</r>'
    )
    assert soap.c14n(root[0]) == b'<q:a xmlns:q="urn:q" b="2" z="1"><c xmlns="urn:d"></c></q:a>'
    assert soap.c14n(root[0], ("z",)) == (
        b'<q:a xmlns:q="urn:q" xmlns:z="urn:z" b="2" z="1"><c xmlns="urn:d"></c></q:a>'
    )
    assert soap.c14n(root[0], ("#default",)) == b'<q:a xmlns="urn:d" xmlns:q="urn:q" b="2" z="1"><c></c></q:a>'
    assert soap.c14n(root[0], ()) == soap.c14n(root[0])


def test_what_has_no_canonical_form_is_refused():
    """A namespace that is a relative reference means nothing outside its document."""
    with pytest.raises(EbmsError, match="no canonical form"):
        soap.c14n(soap.parse_xml(b'<q:a xmlns:q="relative"/>'))


# --- everything -------------------------------------------------------------------------------------------------------

WHOLE = envelope(b'<wsse:Security wsu:Id="s"/><eb:Messaging wsu:Id="m">text</eb:Messaging>', b'<x Id="x"/>')


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(WHOLE)), st.integers(0, 40), st.binary(max_size=8))
@example(0, 0, b"\xef\xbb\xbf")
def test_whatever_comes_is_an_envelope_or_a_refusal(at, cut, inserted):
    """A message damaged anywhere raises nothing that is not one of ours."""
    try:
        found = soap.parse_envelope(WHOLE[:at] + inserted + WHOLE[at + cut :])
    except As4Error:
        return
    assert found.messaging.getparent() is found.header


def test_threads_parse_beside_each_other():
    """Each has its own parser, and a bad document leaves nothing behind for the next."""

    def parse(index: int) -> str:
        if index % 2:
            return unparsed(b"<q:a><b xml:space=''/></q:a>").cause
        return soap.text_of(soap.parse_xml(b"<a>%d</a>" % index))

    with ThreadPoolExecutor(4) as pool:
        said = list(pool.map(parse, range(400)))
    assert said[::2] == [str(index) for index in range(0, 400, 2)]
    assert {cause.partition(" (")[0].partition(":")[0] for cause in said[1::2]} == {"not well-formed XML"}


def test_real_envelopes_of_other_makers_are_taken(shared: Path):
    """Every sample that is SOAP 1.2 and no bare fault; the fault gives its reason."""
    folder, taken = shared / "samples" / "as4", 0
    for row in json.loads((folder / "index.json").read_text()):
        octets = (folder / "messages" / row["file"]).read_bytes()
        if not row["file"].endswith(".xml"):
            continue
        if S12.encode() not in octets:
            assert faulted(octets).code == "VersionMismatch"
        elif row["unit"] == "fault":
            assert faulted(octets).reason.startswith("soapenv:Receiver Policy Falsified")
        else:
            found, taken = soap.parse_envelope(octets), taken + 1
            assert etree.QName(found.messaging).namespace == EB
    assert taken > 20
