"""The ebMS header: read with judgement, written as canonical octets."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint import ebms, limits, names
from accesspoint.ebms import PartInfo, Party, Property, Signal, Typed, parse_messaging, parse_time
from accesspoint.errors import EbmsError, SoapFault
from accesspoint.names import EB, NEXT_MSH, S11, S12
from accesspoint.soap import parse_envelope
from tests.accesspoint import headers
from tests.accesspoint.headers import NOW, against_schema, canonical, collapse, envelope, message, quick, read, texts

PARTS = (
    PartInfo("a@stafet", (Property("MimeType", "text/plain"), Property("CompressionType", "application/gzip"))),
    PartInfo("b@stafet"),
)
FULL = message(
    agreement=Typed("urn:demo:agreement"),
    pmode="demo",
    ref_to_message_id="m-0@hospital.example",
    mpc="urn:demo:channel",
    properties=(Property("originalSender", "clinic", "urn:demo:corner"), Property("case", "A-7")),
    parts=PARTS,
)
HEADER = ebms.user_message_xml(FULL, "m")


def changed(before: str, after: str) -> bytes:
    """The full header with the first occurrence of something else than it should be."""
    assert before.encode() in HEADER
    return HEADER.replace(before.encode(), after.encode(), 1)


def without(element: str) -> bytes:
    """The full header without an element and all it holds."""
    found, count = re.subn(rf"(?s)<eb:{element}[ >].*?</eb:{element}>", "", HEADER.decode(), count=1)
    assert count == 1
    return found.encode()


def refusal(messaging: bytes) -> tuple[str, str, str]:
    """The code, field and cause a header is refused with."""
    with pytest.raises(EbmsError) as caught:
        read(messaging)
    return caught.value.error.code.removeprefix("EBMS:"), caught.value.field, caught.value.cause


def signal_of(content: str, info: str = "") -> bytes:
    """A signal around any content."""
    moment = "<eb:Timestamp>2026-03-01T12:00:00Z</eb:Timestamp><eb:MessageId>s-1@hospital.example</eb:MessageId>"
    return units(
        f"<eb:SignalMessage><eb:MessageInfo>{moment}{info}</eb:MessageInfo>{content}</eb:SignalMessage>".encode()
    )


def units(*found: bytes, attributes: str = "") -> bytes:
    """``eb:Messaging`` around message units."""
    opened = f'<eb:Messaging xmlns:eb="{EB}" xmlns:S12="{S12}" {attributes}>'.encode()
    return opened + b"".join(found) + b"</eb:Messaging>"


UNIT = re.sub(rb"</?eb:Messaging[^>]*>", b"", HEADER)
SIGNAL = re.sub(rb"</?eb:Messaging[^>]*>", b"", signal_of("<eb:PullRequest/>"))
RECEIPT = '<eb:Receipt><r:any xmlns:r="urn:demo:receipt"/></eb:Receipt>'
ERROR = '<eb:Error errorCode="EBMS:0004" severity="failure"/>'

# --- what is written --------------------------------------------------------------------------------------------------


@quick
@given(headers.messages)
def test_what_is_written_is_read_again(said):
    """Every value comes back as it was, whatever characters it holds."""
    assert read(ebms.user_message_xml(said, "m")) == said


@quick
@given(headers.messages, headers.ids)
def test_a_header_is_written_in_canonical_form(said, wsu_id):
    """What is digested is what lxml makes of the element where it stands: no second canonicalisation is needed."""
    octets = ebms.user_message_xml(said, wsu_id)
    assert canonical(envelope(octets).messaging) == octets


@quick
@given(headers.ids, headers.times, st.none() | headers.tokens)
def test_a_signal_is_written_in_canonical_form_and_read_again(message_id, moment, reference):
    """Id, time and the message it is about come back, and the octets are those lxml makes."""
    octets = ebms.signal_xml(message_id, moment, reference, b"<eb:PullRequest></eb:PullRequest>", "m")
    assert canonical(envelope(octets).messaging) == octets
    assert read(octets) == Signal(message_id, moment, reference, pull_mpc=names.DEFAULT_MPC)


@quick
@given(headers.ids)
def test_a_body_is_written_in_canonical_form(wsu_id):
    """Inside the envelope, which declares a prefix of its own, the body keeps its octets."""
    octets = ebms.body_xml(wsu_id)
    assert canonical(parse_envelope(ebms.envelope_xml(b"", HEADER, octets)).body) == octets


@quick
@given(texts, headers.kinds)
def test_white_space_is_collapsed_in_elements_and_kept_in_attributes(value, kind):
    """Elements are xs:token: only XML's own white space counts, and a no-break space is a character like any other."""
    said = read(ebms.user_message_xml(message(conversation_id=value, service=Typed("s", kind)), "m"))
    assert (said.conversation_id, said.service.type) == (collapse(value), kind)


@pytest.mark.parametrize("character", ["\x00", "\x0b", "\x1f", "\ud800", "\ufffe", "\uffff"])
@pytest.mark.parametrize("field", ["action", "pmode"])
def test_a_character_xml_does_not_have_is_refused(character, field):
    """It is said which one; nothing is replaced in silence."""
    said = message(agreement=Typed("urn:demo:agreement"), **{field: f"a{character}"})
    with pytest.raises(ValueError, match=f"character U\\+{ord(character):04X} cannot be written"):
        ebms.user_message_xml(said, "m")


def test_a_p_mode_is_named_inside_an_agreement_alone():
    """There is no place in the header for one without the other."""
    assert b'<eb:AgreementRef pmode="demo">urn:demo:agreement</eb:AgreementRef>' in HEADER
    with pytest.raises(ValueError, match="pmode"):
        ebms.user_message_xml(message(pmode="demo"), "m")


def test_what_says_nothing_is_not_written():
    """No agreement, no properties, no payloads, the usual channel: none has an element or attribute."""
    octets = ebms.user_message_xml(message(), "m")
    for word in (b"AgreementRef", b"Properties", b"PayloadInfo", b"mpc", b"RefToMessageId"):
        assert word not in octets


@pytest.mark.parametrize("said", [message(), FULL, message(parts=(PartInfo(None),)), message(conversation_id="")])
def test_a_header_is_valid_under_the_official_schema(shared, said):
    """The bare, the full, one with its payload in the body, and one without conversation."""
    envelope_octets = ebms.envelope_xml(b"", ebms.user_message_xml(said, "m"), ebms.body_xml("b"))
    assert against_schema(shared, envelope_octets) == ""
    broken = envelope_octets.replace(b"<eb:ConversationId>", b"<eb:ConversationID>")
    assert "ConversationID" in against_schema(shared, broken.replace(b"</eb:ConversationId>", b"</eb:ConversationID>"))


@headers.official
@given(headers.messages.map(lambda said: replace(said, mpc="urn:demo:channel")))
def test_whatever_a_header_says_is_valid_under_the_official_schema(shared, said):
    """Awkward characters included."""
    octets = ebms.envelope_xml(b"", ebms.user_message_xml(said, "m"), ebms.body_xml("b"))
    assert against_schema(shared, octets) == ""


# --- time -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "moment"),
    [
        ("2026-03-01T12:00:00Z", NOW),
        ("2026-03-01T12:00:00", NOW),
        ("2026-03-01T13:00:00+01:00", NOW),
        ("2026-03-01T06:30:00-05:30", NOW),
        ("2026-03-01T12:00:00+00:00", NOW),
        ("2026-03-01T12:00:00.5Z", NOW + 500_000),
        ("2026-03-01T13:00:00.000001+01:00", NOW + 1),
        ("2026-03-01T12:00:00.123456789Z", NOW + 123_456),
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.25Z", -750_000),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        ("9999-12-31T23:59:59.999Z", headers.YEAR_9999 * 1000),
    ],
)
def test_a_time_is_utc_microseconds(written, moment):
    """With a zone, without one, with any fraction, as far as there are dates."""
    assert parse_time(written, "t") == moment


@pytest.mark.parametrize(
    "written",
    [
        "",
        "now",
        "2026-03-01",
        "2026-03-01 12:00:00Z",
        "2026-03-01T12:00Z",
        "2026-3-1T12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-03-01T25:00:00Z",
        "2026-03-01T12:00:60Z",
        "2026-03-01T12:00:00.Z",
        "2026-03-01T12:00:00z",
        "2026-03-01T12:00:00+1:00",
        "2026-03-01T12:00:00+25:00",
        "2026-03-01T12:00:00ZZ",
        "2026-03-01T12:00:00Z\n",
        "12026-03-01T12:00:00Z",
        "-2026-03-01T12:00:00Z",
        "0000-03-01T12:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "\u0662\u0660\u0662\u0666-03-01T12:00:00Z",
        "2026-03-01T12:00:00.\u0665Z",
        "2026-03-01T12:00:00+\u0660\u0661:00",
    ],
)
def test_what_is_no_time_is_refused(written):
    """Days that are none, other shapes, other scripts' digits: 0009, naming the field."""
    with pytest.raises(EbmsError, match=r"^EBMS:0009 InvalidHeader: the/Field: is not a date and time$"):
        parse_time(written, "the/Field")


@quick
@given(headers.times)
def test_a_time_is_written_so_that_it_is_read_again(moment):
    """To the millisecond, with a Z."""
    written = ebms.format_time(moment)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", written)
    assert parse_time(written, "t") == moment
    assert ebms.format_time(moment + 999) == written


# --- names ------------------------------------------------------------------------------------------------------------


def test_a_name_without_a_type_is_read_as_it_is():
    """Whether such names are agreed is for the P-Mode to say; an empty type is none."""
    plain = message(from_=Party(Typed("m"), "r"), to=Party(Typed("h"), "r"), service=Typed("s"), agreement=Typed("a"))
    octets = ebms.user_message_xml(plain, "m")
    assert b" type=" not in octets
    assert read(octets) == plain
    assert read(octets.replace(b"<eb:Service>", b'<eb:Service type="">')) == plain


URIS = ("urn:demo:x", "https://x.example/a?b#c", "a+b-c.1:x")
NO_URIS = ("homecare", "urn:", ":x", "0106:1234", "a b:c", "urn:a b", "urn:a\n", "\u00e5:x", "//x.example/a")


def test_a_name_says_its_kind_by_its_type_or_by_being_a_uri():
    """A scheme, a colon, and something without spaces; the rest of what makes a URI is for others to judge."""
    assert all(Typed(value, kind).is_named for value in URIS for kind in (None, "", "x"))
    assert all(Typed(value, "x").is_named for value in NO_URIS)
    assert [value for value in NO_URIS if Typed(value).is_named or Typed(value, "").is_named] == []


# --- what is refused --------------------------------------------------------------------------------------------------

LONG = "x" * (limits.VALUE + 1)
MISSING, EMPTY = "is missing or out of order", "is empty"
ORDER = "is not allowed here, or stands out of order"
ID = "m-1@municipality.example"
SPELLING = "has angle brackets or spaces"
US = ">municipality</eb:PartyId>"

BROKEN = {
    "no info": (without("MessageInfo"), "0009", "UserMessage/MessageInfo", MISSING),
    "no time": (without("Timestamp"), "0009", "MessageInfo/Timestamp", MISSING),
    "bad time": (changed(".000Z</eb", ".Z</eb"), "0009", "MessageInfo/Timestamp", "is not a date and time"),
    "no id": (without("MessageId"), "0009", "MessageInfo/MessageId", MISSING),
    "empty id": (changed(ID, " \n "), "0009", "MessageInfo/MessageId", EMPTY),
    "bracketed id": (changed(ID, f"&lt;{ID}>"), "0003", "MessageInfo/MessageId", SPELLING),
    "id with a space": (changed(ID, "m 1"), "0003", "MessageInfo/MessageId", SPELLING),
    "long id": (changed(ID, LONG), "0009", "MessageInfo/MessageId", "is longer than 255 characters"),
    "empty reference": (changed("m-0@hospital.example", ""), "0009", "MessageInfo/RefToMessageId", EMPTY),
    "odd info": (changed("</eb:MessageInfo>", "<eb:Hint/></eb:MessageInfo>"), "0009", "MessageInfo/Hint", ORDER),
    "no parties": (without("PartyInfo"), "0009", "UserMessage/PartyInfo", MISSING),
    "no sender": (without("From"), "0009", "PartyInfo/From", MISSING),
    "no receiver": (without("To"), "0009", "PartyInfo/To", MISSING),
    "two receivers": (changed("</eb:PartyInfo>", "<eb:To/></eb:PartyInfo>"), "0009", "PartyInfo/To", ORDER),
    "no party id": (without("PartyId"), "0009", "From/PartyId", "is missing"),
    "empty party id": (changed(US, "></eb:PartyId>"), "0009", "From/PartyId", EMPTY),
    "nested party id": (changed(US, "><b/></eb:PartyId>"), "0009", "PartyId", "holds elements where text is expected"),
    "two party ids": (changed(US, US + "<eb:PartyId/>"), "0003", "From/PartyId", "occurs more than once"),
    "no role": (without("Role"), "0009", "From/Role", MISSING),
    "empty role": (changed(names.INITIATOR, " "), "0009", "From/Role", EMPTY),
    "two roles": (changed("</eb:Role>", "</eb:Role><eb:Role/>"), "0009", "From/Role", ORDER),
    "no business": (without("CollaborationInfo"), "0009", "UserMessage/CollaborationInfo", MISSING),
    "empty agreement": (changed("urn:demo:agreement", ""), "0009", "AgreementRef", EMPTY),
    "no service": (without("Service"), "0009", "CollaborationInfo/Service", MISSING),
    "empty service": (changed(">homecare<", "><"), "0009", "Service", EMPTY),
    "no action": (without("Action"), "0009", "CollaborationInfo/Action", MISSING),
    "empty action": (changed(">deliver<", ">\t<"), "0009", "Action", EMPTY),
    "no conversation": (without("ConversationId"), "0009", "CollaborationInfo/ConversationId", MISSING),
    "actions": (
        changed("</eb:ConversationId>", "</eb:ConversationId><eb:Action/>"),
        "0009",
        "CollaborationInfo/Action",
        ORDER,
    ),
    "late properties": (
        changed("</eb:UserMessage>", "<eb:MessageProperties/></eb:UserMessage>"),
        "0009",
        "UserMessage/MessageProperties",
        ORDER,
    ),
}


@pytest.mark.parametrize(("octets", "code", "field", "cause"), BROKEN.values(), ids=BROKEN)
def test_a_header_that_breaks_the_schema_names_what_is_wrong(octets, code, field, cause):
    """Code, field and cause of the first thing that is wrong, for a person who has to mend it."""
    assert refusal(octets) == (code, field, cause)


MANY = "".join(f'<eb:Property name="p{i}">1</eb:Property>' for i in range(limits.PROPERTIES + 1))
CASE = '<eb:Property name="case">A-7</eb:Property>'
FIRST = '<eb:PartInfo href="cid:a@stafet">'
LAST = '<eb:PartInfo href="cid:b@stafet"></eb:PartInfo>'
NAME, NAMELESS = "MessageProperties/Property/@name", "is missing or too long"
HREF, EXTERNAL = "PayloadInfo/PartInfo/@href", "is not a cid: reference; external payloads are not fetched"
REPEATED, CROWDED = "repeats a property name or has too many properties", "names a part twice, or has too many parts"
LANGUAGE = "PayloadInfo/PartInfo/Description/@xml:lang"
DESCRIBED = "<eb:Description xml:lang='en'>x</eb:Description>"


def emptied(element: str) -> bytes:
    """The full header with nothing in an element."""
    return re.sub(rf"(<eb:{element}>).*(</eb:{element}>)".encode(), rb"\1\2", HEADER)


def last(attributes: str) -> bytes:
    """The full header with another last part."""
    return changed(LAST, f"<eb:PartInfo {attributes}/>")


BROKEN_LISTS = {
    "no name": (changed(' name="case"', ""), "0009", NAME, NAMELESS),
    "empty name": (changed('"case"', '""'), "0009", NAME, NAMELESS),
    "long name": (changed('"case"', f'"{LONG}"'), "0009", NAME, NAMELESS),
    "empty value": (changed("A-7", " "), "0009", "MessageProperties/Property[case]", EMPTY),
    "long value": (
        changed("A-7", "x" * (limits.PROPERTY_VALUE + 1)),
        "0009",
        "MessageProperties/Property[case]",
        "is longer than 1024 characters",
    ),
    "a name twice": (changed(CASE, CASE * 2), "0009", "MessageProperties", REPEATED),
    "too many properties": (changed(CASE, MANY), "0009", "MessageProperties", REPEATED),
    "no property": (changed(CASE, "<eb:Hint/>"), "0009", "MessageProperties/Hint", ORDER),
    "no properties": (emptied("MessageProperties"), "0009", "MessageProperties", EMPTY),
    "no part properties": (emptied("PartProperties"), "0009", "PayloadInfo/PartInfo/PartProperties", EMPTY),
    "no part": (emptied("PayloadInfo"), "0009", "PayloadInfo", "has no PartInfo"),
    "odd part": (changed("</eb:PayloadInfo>", "<eb:Hint/></eb:PayloadInfo>"), "0009", "PayloadInfo/Hint", ORDER),
    "no language": (changed(FIRST, FIRST + "<eb:Description>x</eb:Description>"), "0009", LANGUAGE, "is missing"),
    "late schema": (
        changed(FIRST, FIRST + DESCRIBED + "<eb:Schema location='x'/>"),
        "0009",
        "PayloadInfo/PartInfo/Schema",
        ORDER,
    ),
    "elsewhere": (last('href="https://hospital.example/a"'), "0011", HREF, EXTERNAL),
    "empty href": (last('href=""'), "0011", HREF, EXTERNAL),
    "empty cid": (last('href=" cid: "'), "0011", HREF, EXTERNAL),
    "cid with a space": (last('href="cid:b c"'), "0011", HREF, EXTERNAL),
    "cid with a line end": (last('href="cid:b&#10;c"'), "0011", HREF, EXTERNAL),
    "upper case": (last('href="CID:b"'), "0011", HREF, EXTERNAL),
    "a part twice": (changed(LAST, LAST * 2), "0003", "PayloadInfo", CROWDED),
    "two bodies": (last('/><eb:PartInfo href="#b"'), "0003", "PayloadInfo", CROWDED),
    "too many parts": (
        changed(LAST, "".join(f'<eb:PartInfo href="cid:{i}"/>' for i in range(limits.PARTS))),
        "0003",
        "PayloadInfo",
        CROWDED,
    ),
}


@pytest.mark.parametrize(("octets", "code", "field", "cause"), BROKEN_LISTS.values(), ids=BROKEN_LISTS)
def test_properties_and_payloads_that_break_the_schema_name_what_is_wrong(octets, code, field, cause):
    """Names without text, names twice, parts that are elsewhere: each with its own code."""
    assert refusal(octets) == (code, field, cause)


def test_as_many_properties_and_parts_as_the_limit_are_taken():
    """The limit itself is allowed."""
    most = "".join(f'<eb:Property name="p{i}">1</eb:Property>' for i in range(limits.PROPERTIES - 1))
    said = read(changed(CASE, most))
    assert len(said.properties) == limits.PROPERTIES
    said = read(changed(LAST, "".join(f'<eb:PartInfo href="cid:{i}"/>' for i in range(limits.PARTS - 1))))
    assert len(said.parts) == limits.PARTS


def test_an_error_in_a_header_refers_to_its_message_once_the_id_is_known():
    """Who sent it can find the message; before the id nothing can be referred to."""
    for octets, reference in ((changed(">deliver<", "><"), "m-1@municipality.example"), (without("MessageId"), "")):
        with pytest.raises(EbmsError) as caught:
            read(octets)
        assert caught.value.ref_to_message_id == reference


def test_a_description_and_a_schema_of_a_part_are_read_over():
    """Peers describe their payloads; what is said there decides nothing. A part without href, or with #id, is the body."""
    described = changed(FIRST, FIRST + "<eb:Schema location='urn:x'/><eb:Description xml:lang='da'>x</eb:Description>")
    assert read(described) == FULL
    for body in ("<eb:PartInfo/>", '<eb:PartInfo href="#b"/>', '<eb:PartInfo href=" #b "/>'):
        assert read(changed(LAST, body)).parts == (PARTS[0], PartInfo(None))
    assert read(changed("cid:b@stafet", "&#10; cid:b@stafet &#10;")).parts == PARTS


def test_a_missing_channel_is_the_default_one():
    """The only value that is filled in."""
    for attribute in ("", ' mpc=""'):
        assert read(changed(' mpc="urn:demo:channel"', attribute)).mpc == names.DEFAULT_MPC


# --- message units ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "code", "field", "cause"),
    [
        (units(), "0009", "Messaging", "is empty"),
        (units(b" some text "), "0009", "Messaging", "is empty"),
        (units(UNIT, UNIT), "0003", "Messaging", "holds more than one UserMessage"),
        (units(SIGNAL, UNIT, UNIT), "0003", "Messaging", "holds more than one UserMessage"),
        (units(UNIT, SIGNAL), "0009", "Messaging", "has a SignalMessage after a UserMessage"),
        (units(SIGNAL, UNIT), "0008", "Messaging", "bundles several message units"),
        (units(SIGNAL, SIGNAL), "0008", "Messaging", "bundles several message units"),
        (units(UNIT, b"<eb:Other/>"), "0009", "Messaging", "holds an element that is no message unit"),
        (units(UNIT, b'<a:x xmlns:a="a:"/>'), "0009", "Messaging", "holds an element that is no message unit"),
        (units(b'<z:x xmlns:z="urn:z"/>'), "0009", "Messaging", "holds an element that is no message unit"),
        (units(b"<UserMessage/>"), "0009", "Messaging", "holds an element that is no message unit"),
        (units(UNIT, attributes=f'S12:role="{NEXT_MSH}"'), "0008", "Messaging/@role", "multi-hop is not supported"),
    ],
)
def test_an_envelope_has_one_message_unit(octets, code, field, cause):
    """None, several, strangers, and messages for somebody on the way are refused, each with its own code."""
    assert refusal(octets) == (code, field, cause)


def test_a_soap_1_1_envelope_is_answered_with_a_fault():
    """It is not even looked into."""
    octets = ebms.envelope_xml(b"", HEADER, ebms.body_xml("b")).replace(S12.encode(), S11.encode())
    with pytest.raises(SoapFault, match=r"^VersionMismatch: SOAP 1\.1 "):
        parse_messaging(parse_envelope(octets))


PULL = "<eb:PullRequest/>"
STRANGE = '<s:x xmlns:s="urn:s"/>'
ONE = "is not exactly one of PullRequest, Receipt and Error"


@pytest.mark.parametrize(
    ("content", "code", "field", "cause"),
    [
        ("", "0008", "SignalMessage", ONE),
        (STRANGE, "0008", "SignalMessage", ONE),
        (PULL + RECEIPT, "0008", "SignalMessage", ONE),
        (PULL + ERROR, "0008", "SignalMessage", ONE),
        (RECEIPT + ERROR, "0008", "SignalMessage", ONE),
        (ERROR + RECEIPT, "0009", "SignalMessage/Receipt", ORDER),
        (RECEIPT * 2, "0009", "SignalMessage/Receipt", ORDER),
        (RECEIPT + PULL, "0009", "SignalMessage/PullRequest", ORDER),
        (ERROR + "<x/>", "0009", "SignalMessage/x", ORDER),
        (ERROR + STRANGE + ERROR, "0009", "SignalMessage/Error", ORDER),
        ("<eb:Receipt/>", "0009", "SignalMessage/Receipt", EMPTY),
        ("<eb:Receipt>received</eb:Receipt>", "0009", "SignalMessage/Receipt", EMPTY),
    ],
)
def test_a_signal_says_exactly_one_thing(content, code, field, cause):
    """Mixes, repetitions and empty receipts are refused; nothing that stands there is overlooked."""
    assert refusal(signal_of(content)) == (code, field, cause)


def test_a_signal_is_a_receipt_or_errors_or_a_request():
    """Each is read, with what an extension of the schema adds left alone."""
    receipt = read(signal_of(RECEIPT, "<eb:RefToMessageId>m-1</eb:RefToMessageId>"))
    assert (receipt.message_id, receipt.timestamp, receipt.ref_to_message_id) == ("s-1@hospital.example", NOW, "m-1")
    assert receipt.receipt is not None
    assert (receipt.receipt[0].tag, receipt.errors, receipt.pull_mpc) == ("{urn:demo:receipt}any", (), None)
    errors = read(signal_of(ERROR * 2 + STRANGE))
    assert [e.get("errorCode") for e in errors.errors] == ["EBMS:0004"] * 2
    assert (errors.ref_to_message_id, errors.receipt, errors.pull_mpc) == (None, None, None)
    for written, channel in (("", names.DEFAULT_MPC), ('mpc=""', names.DEFAULT_MPC), ('mpc="urn:c"', "urn:c")):
        assert read(signal_of(f"<eb:PullRequest {written}/>")).pull_mpc == channel


# --- values -----------------------------------------------------------------------------------------------------------


def test_the_service_alone_makes_a_test():
    """Whatever the action is; another spelling of the service is another service."""
    assert message(service=Typed(names.TEST_SERVICE), action="deliver").is_test
    assert not message(service=Typed(names.TEST_SERVICE.replace("ebms", "ebMS")), action=names.TEST_ACTION).is_test


def test_a_property_is_found_however_its_name_is_spelled():
    """Peers differ in upper and lower case; what is not there is None."""
    assert FULL.property("ORIGINALsender") == Property("originalSender", "clinic", "urn:demo:corner")
    assert FULL.property("finalRecipient") is None
    assert PARTS[0].get("mimetype") == "text/plain"
    assert PARTS[1].get("MimeType") is None


def test_a_typed_value_shows_its_type():
    """In refusals people compare both."""
    assert (str(Typed("a", "urn:t")), str(Typed("urn:a"))) == ("a (type urn:t)", "urn:a")
