"""Receipts and error signals: made, read, and matched digest by digest."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from accesspoint import ebms, names
from accesspoint.ebms import Signal
from accesspoint.errors import CATALOGUE, OTHER, EbmsError, ReportedError
from accesspoint.names import DS, EB, EBBP, tag
from accesspoint.receipts import error_xml, match_receipt, parse_errors, parse_receipt, receipt_xml
from accesspoint.references import Reference, Transform
from accesspoint.wss import parse_reference
from tests.accesspoint import headers
from tests.accesspoint.headers import NOW, against_schema, canonical, collapse, envelope, quick, read

C14N = (Transform(names.EXC_C14N),)
SENT = (
    Reference("#body", C14N, names.SHA256, b"b" * 32),
    Reference("#messaging", (Transform(names.EXC_C14N, ("xsd", "xsi")),), names.SHA256, b"m" * 32),
    Reference("cid:a@stafet", (Transform(names.ATTACHMENT_SIGNATURE),), names.SHA256, b"a" * 32),
)


def signal(content: bytes) -> Signal:
    """A signal around a receipt or errors, read as it would be off the wire."""
    said = read(ebms.signal_xml("s-1@hospital.example", NOW, "m-1@municipality.example", content, "m"))
    assert isinstance(said, Signal)
    return said


def refusal(content: bytes) -> tuple[str, str, str]:
    """Code, field and cause why a receipt proves nothing."""
    with pytest.raises(EbmsError) as caught:
        parse_receipt(signal(content))
    return caught.value.error.code, caught.value.field, caught.value.cause


# --- receipts ---------------------------------------------------------------------------------------------------------


@quick
@given(headers.references)
def test_a_receipt_is_written_in_canonical_form_and_read_again(references):
    """It repeats each reference as it stood, prefix lists included, in the octets lxml makes of it."""
    octets = ebms.signal_xml("s-1", NOW, "m-1", receipt_xml(references), "m")
    messaging = envelope(octets).messaging
    assert canonical(messaging) == octets
    assert parse_receipt(read(octets)) == references


def test_each_reference_has_an_information_of_its_own():
    """In the namespaces of the business signals and of signatures, and valid under the official schema."""
    receipt = signal(receipt_xml(SENT)).receipt
    assert receipt is not None
    (information,) = receipt
    assert information.tag == tag(EBBP, "NonRepudiationInformation")
    assert [part.tag for part in information] == [tag(EBBP, "MessagePartNRInformation")] * 3
    assert [[child.tag for child in part] for part in information] == [[tag(DS, "Reference")]] * 3


@pytest.mark.parametrize("references", [SENT, SENT[:1]])
def test_a_receipt_is_valid_under_the_official_schema(shared, references):
    """And one whose references lie in another namespace is not, so the schema does look inside."""
    octets = ebms.envelope_xml(
        b"", ebms.signal_xml("s-1", NOW, "m-1", receipt_xml(references), "m"), ebms.body_xml("b")
    )
    assert against_schema(shared, octets) == ""
    assert "Reference" in against_schema(shared, octets.replace(DS.encode(), b"urn:demo:signatures"))


def test_without_non_repudiation_information_nothing_is_proved():
    """A signal without receipt, a copy of the message instead, information without references, or in a namespace of its own."""
    words = ("EBMS:0302", "Receipt", "repeats no reference of the message: no non-repudiation information")
    told = receipt_xml(SENT)
    for content in (
        b"<eb:PullRequest></eb:PullRequest>",
        b"<eb:Receipt><eb:UserMessage></eb:UserMessage></eb:Receipt>",
        receipt_xml(()),
        told.replace(EBBP.encode(), b"urn:demo:signals"),
        told.replace(DS.encode(), b"urn:demo:signatures"),
        told.replace(b'<ds:Reference xmlns:ds="%s"' % DS.encode(), b"<Reference").replace(b"ds:", b""),
        told.replace(b"ebbp:NonRepudiationInformation", b"ebbp:Information"),
    ):
        assert refusal(content) == words


@pytest.mark.parametrize(
    ("before", "after", "field", "cause"),
    [
        (rb"<ds:DigestValue>[^<]*</ds:DigestValue>", b"", "Receipt/DigestValue", "is missing"),
        (rb"(<ds:DigestValue>[^<]*</ds:DigestValue>)", rb"\1\1", "Receipt/DigestValue", "occurs more than once"),
        (rb"(<ds:DigestValue>)[^<]*", rb"\1!", "Receipt/DigestValue", "is not base64"),
        (rb"<ds:DigestMethod.*?</ds:DigestMethod>", b"", "Receipt/DigestMethod", "is missing"),
    ],
)
def test_a_broken_reference_makes_the_receipt_invalid(before, after, field, cause):
    """It is a fault of the receipt (0302), not of a signature, and it is named."""
    assert refusal(re.sub(before, after, receipt_xml(SENT), count=1)) == ("EBMS:0302", field, cause)


@given(st.permutations(SENT), st.sampled_from((None, *range(3))))
@quick
def test_order_transforms_and_repetitions_do_not_matter(order, again):
    """What counts is the set of targets and digests: peers reorder, write transforms otherwise, or say one twice."""
    said = [replace(r, transforms=()) for r in order]
    match_receipt(SENT, said if again is None else [*said, said[again]])


@pytest.mark.parametrize(
    ("received", "cause"),
    [
        (SENT[1:], "1 of 3 signed parts are not acknowledged"),
        ((), "3 of 3 signed parts are not acknowledged"),
        ((*SENT, replace(SENT[2], uri="cid:b@stafet")), "1 parts are acknowledged that were not sent"),
        (
            (*SENT[:2], replace(SENT[2], digest=b"x" * 32)),
            "a digest differs: they received other octets than we sent",
        ),
        (
            (*SENT[:2], replace(SENT[2], digest_algorithm=names.SHA512)),
            "a digest differs: they received other octets than we sent",
        ),
        (
            (*SENT, replace(SENT[2], digest=b"x" * 32)),
            "a digest differs: they received other octets than we sent",
        ),
        ((*SENT[:2], replace(SENT[2], uri="cid:A@stafet")), "1 of 3 signed parts are not acknowledged"),
        ((*SENT[:2], replace(SENT[2], digest=b"a" * 31)), "a digest differs: they received other octets than we sent"),
    ],
)
def test_a_receipt_that_does_not_repeat_exactly_what_was_sent_is_invalid(received, cause):
    """Missing, more, or other octets: 0302 for the producer, and which of them it was."""
    with pytest.raises(EbmsError) as caught:
        match_receipt(SENT, received)
    assert (caught.value.error.code, caught.value.field, caught.value.cause) == ("EBMS:0302", "Receipt", cause)


# --- receipts of other makers -----------------------------------------------------------------------------------------


def shape(element: etree._Element) -> object:
    """Tags, attributes and text of an element and all within; prefixes and indentation left out."""
    return element.tag, dict(element.attrib), (element.text or "").strip(), [shape(child) for child in element]


def signed_references(tree: etree._Element) -> list[Reference]:
    """What the signature of a message covers."""
    return [parse_reference(e) for e in tree.iterfind(f".//{tag(DS, 'SignedInfo')}/{tag(DS, 'Reference')}")]


def receipt_in(tree: etree._Element) -> Signal:
    """The receipt of an envelope whose other headers are none of ours."""
    (found,) = tree.iter(tag(EB, "Receipt"))
    return Signal("r", NOW, tree.findtext(f".//{tag(EB, 'RefToMessageId')}"), found)


SIGNED = (
    "No_MPC_P2P_WSSecurity",
    "No_MPC_WSSecurity_multihop",
    "Specified_MPC_P2P",
    "Specified_MPC_multihop",
)


@pytest.mark.parametrize("name", SIGNED)
def test_the_receipts_of_the_standard_are_those_we_would_write(shared, name):
    """For the signed messages among the specification's examples: the same elements, and every digest matches its own."""
    folder = shared / "samples" / "as4" / "oasis-receipts"
    parser = etree.XMLParser(remove_comments=True)
    message = etree.parse(str(folder / f"UserMessage_{name}.xml"), parser).getroot()
    theirs = receipt_in(etree.parse(str(folder / f"UserMessage_{name}.as4receipt.xml"), parser).getroot())
    sent = signed_references(message)
    assert len(sent) == 4
    assert theirs.ref_to_message_id == message.findtext(f".//{tag(EB, 'MessageId')}")
    ours = signal(receipt_xml(sent)).receipt
    assert ours is not None
    assert theirs.receipt is not None
    assert shape(ours) == shape(theirs.receipt)
    match_receipt(sent, parse_receipt(theirs))
    for index, reference in enumerate(sent):
        changed = [*sent[:index], replace(reference, digest=reference.digest[::-1]), *sent[index + 1 :]]
        with pytest.raises(EbmsError, match="a digest differs"):
            match_receipt(changed, parse_receipt(theirs))


def test_the_receipt_of_the_standard_for_an_unsigned_message_proves_nothing(shared):
    """It repeats the header; we demand digests."""
    folder = shared / "samples" / "as4" / "oasis-receipts"
    tree = etree.parse(str(folder / "UserMessage_No_MPC_P2P_NoWSSecurity.as4receipt.xml")).getroot()
    with pytest.raises(EbmsError, match=r"^EBMS:0302 .* repeats no reference"):
        parse_receipt(receipt_in(tree))


def sample(shared, number: int) -> etree._Element:
    """The envelope of a real message, whatever is around it."""
    (path,) = (shared / "samples" / "as4" / "messages").glob(f"{number}-*")
    found = re.search(rb"(?s)<([\w-]+:)Envelope.*</\1Envelope>", path.read_bytes())
    assert found is not None
    return etree.fromstring(found.group())


@pytest.mark.parametrize(("message", "receipt"), [(47, 48), (49, 50), (51, 52)])
def test_the_receipts_of_another_maker_match_their_messages_and_no_other(shared, message, receipt):
    """Real exchanges: each receipt proves its own message alone."""
    received = parse_receipt(receipt_in(sample(shared, receipt)))
    for other in (47, 49, 51):
        sent = signed_references(sample(shared, other))
        if other == message:
            match_receipt(sent, received)
            continue
        with pytest.raises(EbmsError, match=r"^EBMS:0302 "):
            match_receipt(sent, received)


def test_references_that_fell_out_of_their_namespace_prove_nothing(shared):
    """A real receipt repeats the references without the signature namespace."""
    with pytest.raises(EbmsError, match=r"^EBMS:0302 .* repeats no reference"):
        parse_receipt(receipt_in(sample(shared, 23)))


# --- errors -----------------------------------------------------------------------------------------------------------


@quick
@given(st.sampled_from(sorted(CATALOGUE)), headers.tokens, headers.texts, headers.texts, st.just("") | headers.tokens)
def test_an_error_is_written_in_canonical_form_and_read_again(code, field, cause, remedy, reference):
    """Code, severity and words of the catalogue; field, cause and remedy in printable words."""
    row = CATALOGUE[code]
    error = EbmsError(row, field=field, cause=cause, remedy=remedy, ref_to_message_id=reference)
    octets = ebms.signal_xml("s-1", NOW, reference or None, error_xml(error), "m")
    assert canonical(envelope(octets).messaging) == octets
    (told,) = parse_errors(read(octets))
    assert (told.code, told.severity, told.short_description) == (code, row.severity, row.short_description)
    assert told.detail == row.meaning
    words = f"{field}: {cause}" + (f". {remedy}" if remedy else "")
    assert told.description == collapse("".join(c if c.isprintable() else "?" for c in words))
    assert told.ref_to_message == "".join(c if c.isprintable() else "?" for c in reference)


def test_a_stranger_hears_no_more_than_is_meant_for_him():
    """Where an error has words for the peer, the cause stays at home."""
    error = EbmsError(OTHER, field="who", cause="is x, agreed is town", told="is x, not agreed", remedy="compare")
    (told,) = parse_errors(signal(error_xml(error)))
    assert told.description == "who: is x, not agreed. compare"
    assert b"town" not in error_xml(error)


@pytest.mark.parametrize("reference", ["", "m-1@municipality.example"])
@pytest.mark.parametrize("row", CATALOGUE.values(), ids=CATALOGUE)
def test_every_error_is_valid_under_the_official_schema(shared, row, reference):
    """Each row of the catalogue, with and without the message it is about."""
    error = EbmsError(row, field="a", cause="b", remedy="c", ref_to_message_id=reference)
    octets = ebms.envelope_xml(
        b"", ebms.signal_xml("s-1", NOW, reference or None, error_xml(error), "m"), ebms.body_xml("b")
    )
    assert against_schema(shared, octets) == ""
    assert (b"refToMessageInError" in octets) is bool(reference)
    assert against_schema(shared, octets.replace(b" severity=", b" gravity=")) != ""


def test_an_error_shows_no_control_characters_and_has_an_end():
    """What a peer put into a field is not passed on to a terminal, and does not grow."""
    error = EbmsError(OTHER, field="\x1b[31m\u202e", cause="x" * 1000)
    (told,) = parse_errors(signal(error_xml(error)))
    assert told.description == "?[31m?: " + "x" * 492


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("<eb:Error/>", ReportedError("", "failure", "", "", "", "")),
        (
            '<eb:Error errorCode="EBMS:0101" severity="Failure" shortDescription="FailedAuthentication" category="PROCESSING"'
            ' refToMessageInError="m-1"><eb:Description xml:lang="">no\n  good</eb:Description>'
            "<eb:ErrorDetail>at <b>noon</b></eb:ErrorDetail></eb:Error>",
            ReportedError("EBMS:0101", "failure", "FailedAuthentication", "no good", "at noon", "m-1"),
        ),
        (
            '<eb:Error errorCode="EBMS:0006" severity="WARNING"><eb:ErrorDetail/></eb:Error>',
            ReportedError("EBMS:0006", "warning", "", "", "", ""),
        ),
        (
            '<eb:Error errorCode="&#x85;EBMS" severity="&#x202e;warning" shortDescription="a&#10;b"'
            ' refToMessageInError="&#x7f;"><eb:Description>&#x1F600;&#x200B;</eb:Description></eb:Error>',
            ReportedError("?EBMS", "?warning", "a?b", "\U0001f600?", "", "?"),
        ),
        (
            f'<eb:Error errorCode="{"c" * 99}" severity="{"s" * 99}" shortDescription="{"d" * 999}"'
            f' refToMessageInError="{"r" * 999}"><eb:Description>{"x" * 999}</eb:Description></eb:Error>',
            ReportedError("c" * 20, "s" * 20, "d" * 100, "x" * 500, "", "r" * 255),
        ),
    ],
    ids=["nothing said", "usual", "warning", "not printable", "long"],
)
def test_errors_are_read_as_peers_write_them(written, told):
    """Whatever case, missing attributes, other spellings; only printable characters, and of each so many."""
    assert parse_errors(signal(written.encode())) == (told,)


def test_several_errors_keep_their_order_and_a_receipt_has_none():
    """One signal may report several things."""
    codes = [f'<eb:Error errorCode="EBMS:000{i}" severity="failure"/>' for i in (4, 1, 9)]
    assert [e.code for e in parse_errors(signal("".join(codes).encode()))] == ["EBMS:0004", "EBMS:0001", "EBMS:0009"]
    assert parse_errors(signal(receipt_xml(SENT))) == ()
