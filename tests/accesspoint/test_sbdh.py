"""The header at the start of a business document: found in any pieces, bounded, and never believed on a second reading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from accesspoint import limits, names
from accesspoint.ebms import PartInfo, Property, Typed
from accesspoint.errors import EbmsError
from accesspoint.profiles import Demands
from accesspoint.sbdh import FIELD, Header, HeaderReader, check, content_ids
from tests.accesspoint.documents import RECEIVER, SENDER, alone, document, manifest
from tests.accesspoint.headers import message, quick
from tests.accesspoint.messages import cut

KIND = names.PARTICIPANTS
FOUND = Header(False, Typed(SENDER, KIND), Typed(RECEIVER, KIND))
TEN = Demands(envelope="header")
WHOLE = Demands(envelope="document")


def read(octets: bytes, step: int = 1 << 20) -> Header:
    """What a reader finds that is fed so many octets at a time."""
    reader = HeaderReader()
    for piece in cut(octets, step):
        reader.feed(memoryview(piece))
    return reader.header()


def refusal(octets: bytes, step: int = 1 << 20) -> str:
    """Why there is none; everything in the message is 0010 about the header, and nothing of the payload is in it."""
    with pytest.raises(EbmsError) as caught:
        read(octets, step)
    assert (caught.value.error.code, caught.value.field) == ("EBMS:0010", FIELD)
    assert SENDER not in str(caught.value)
    return caught.value.cause


@quick
@given(st.integers(1, 400))
def test_a_header_is_found_in_whatever_pieces(step):
    """Within its document or alone, values collapsed."""
    assert read(document(), step) == FOUND
    assert read(alone(), step) == replace(FOUND, standalone=True)


def test_the_documents_of_these_tests_are_right_by_the_official_schema(shared: Path):
    """So that what is refused here is refused for what was changed."""
    schema = etree.XMLSchema(etree.parse(shared / "schemas" / "sbdh" / "StandardBusinessDocumentHeader.xsd"))
    for octets in (document(), document(("<BusinessScope>", manifest("a@b.example"))), alone()):
        schema.assertValid(etree.fromstring(octets))


def test_nothing_behind_the_header_is_looked_at():
    """Neither in the same piece nor in later ones, whatever it is."""
    head = document()[: document().index(b"<Note")]
    reader = HeaderReader()
    reader.feed(head + b"<&\xff<!DOCTYPE a><StandardBusinessDocumentHeader>&lol;")
    assert reader.done
    reader.feed(b"\x00" * 10)
    assert reader.header() == FOUND


def test_elements_of_the_document_behind_do_not_count():
    """A second header there is the document's own affair."""
    second = document().decode().split("?>", 1)[1].replace("<!-- fictitious -->", "").replace(SENDER, RECEIVER)
    octets = document(('<Note xmlns="urn:fictitious:notes">', f'<Note xmlns="urn:fictitious:notes">{second}'))
    assert read(octets) == FOUND


def test_a_manifest_names_payloads_however_they_are_written():
    """Bare, as a reference, in brackets."""
    header = read(document(("<BusinessScope>", manifest("a@b.example", " cid:c@d.example ", "&lt;e@f.example&gt;"))))
    assert header.manifest == ("a@b.example", "cid:c@d.example", "<e@f.example>")
    assert content_ids(header) == ("a@b.example", "c@d.example", "e@f.example")
    assert content_ids(FOUND) == ()
    assert read(document(("<BusinessScope>", "<Manifest/><BusinessScope>"))).manifest == ()


MISSING = "is missing or cut short"
ORDER = "is not one version, one Sender, one Receiver and what follows them, in that order"
BEGINS = "is not where the payload begins"
CORNERS = "does not name exactly one Sender and one Receiver"
SENT = f'<Identifier Authority="{KIND}">{SENDER}</Identifier>'


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("octets", "cause"),
    [
        pytest.param(b"", MISSING, id="nothing"),
        pytest.param(b'{"a": "note"}', "is not well-formed XML in UTF-8", id="no XML"),
        pytest.param(document()[:600], MISSING, id="cut short"),
        pytest.param(b"<Invoice/>", BEGINS, id="another document"),
        pytest.param(document((names.SBDH, "urn:other")), BEGINS, id="another namespace"),
        pytest.param(document((f' xmlns="{names.SBDH}"', "")), BEGINS, id="no namespace"),
        pytest.param(
            document(("<StandardBusinessDocumentHeader>", "<a/><StandardBusinessDocumentHeader>")), BEGINS, id="late"
        ),
        pytest.param(b'<StandardBusinessDocument xmlns="%s"/>' % names.SBDH.encode(), MISSING, id="none in it"),
        pytest.param(document().decode().encode("utf-16"), "is not well-formed XML in UTF-8", id="UTF-16"),
        pytest.param(document(("UTF-8", "ISO-8859-1")), "declares another encoding than UTF-8", id="Latin"),
        pytest.param(document(("<!-- f", "<!DOCTYPE a><!-- f")), "has a document type declaration", id="DTD"),
        pytest.param(
            document(("<!-- f", f'<!DOCTYPE a [<!ENTITY s "{SENDER}">]><!-- f'), (f">{SENDER}", ">&s;")),
            "has a document type declaration",
            id="entity for the sender",
        ),
        pytest.param(
            document(("<!-- f", '<!DOCTYPE a SYSTEM "file:///etc/hostname"><!-- f')),
            "has a document type declaration",
            id="external DTD",
        ),
        pytest.param(document((f">{SENDER}", ">&s;")), "is not well-formed XML in UTF-8", id="undeclared entity"),
        pytest.param(document((SENDER, f"{SENDER}<!-- -->9")), "has a comment within a value", id="comment"),
        pytest.param(
            document((SENDER, f"{SENDER}<?a b?>9")), "has a processing instruction within a value", id="instruction"
        ),
        pytest.param(document((SENDER, f"{SENDER}<b/>")), "has an element within a value", id="element"),
        pytest.param(document((SENDER, "")), CORNERS, id="empty sender"),
        pytest.param(document((SENT, "")), CORNERS, id="no identifier"),
        pytest.param(document((SENT, SENT * 2)), CORNERS, id="two identifiers"),
        pytest.param(document(("<Sender>", "<Sender/><Sender>")), ORDER, id="two senders"),
        pytest.param(document(("Sender>", "Receiver>")), ORDER, id="two receivers, no sender"),
        pytest.param(document(("<BusinessScope>", "<Other/><BusinessScope>")), ORDER, id="something else"),
        pytest.param(document(("<HeaderVersion>1.0</HeaderVersion>", "")), ORDER, id="no version"),
        pytest.param(document((">1.0<", ">2.0<")), "has a HeaderVersion other than 1.0", id="another version"),
        pytest.param(document(("<BusinessScope>", "<BusinessScope>" + "<a>" * 70)), "is nested too deeply", id="deep"),
    ],
)
def test_what_is_no_header_is_refused(octets, cause, step):
    """In any pieces, for its own cause."""
    assert refusal(octets, step) == cause


@pytest.mark.parametrize("step", [1000, 1 << 20])
def test_a_header_without_end_is_read_to_the_limit_and_no_further(step):
    """Neither a value nor white space before the document can make the reader hold more."""
    large = "x" * (2 * limits.DOCUMENT_HEADER)
    end = f"does not end within the first {limits.DOCUMENT_HEADER} octets"
    assert refusal(document(("<Type>", f"<Type>{large}")), step) == end
    assert refusal(b"<!-- " + large.encode() + b" -->" + document()[38:], step) == end


def test_comments_elsewhere_say_nothing():
    """Only within a value would there be two readings."""
    octets = document(("<Sender>", "<!-- a --><?b c?><Sender>"), ("<Note", "<!-- d --><?e f?><Note"))
    assert read(octets) == FOUND


# --- compared with the message ----------------------------------------------------------------------------------------

SAID = (Property(names.ORIGINAL_SENDER, SENDER, KIND), Property(names.FINAL_RECIPIENT, RECEIVER, KIND))
PARTS = tuple(PartInfo(f"{name}@b.example") for name in ("a", "c", "e"))


def wrong(header: Header, demands: Demands, **more: object) -> tuple[str, str, str]:
    """Code, field and cause of what does not fit."""
    with pytest.raises(EbmsError) as caught:
        check(header, message(**{"properties": SAID, "parts": PARTS[:1], **more}), demands)
    assert SENDER not in str(caught.value)
    return caught.value.error.code.removeprefix("EBMS:"), caught.value.field, caught.value.cause


def test_a_message_addressed_as_its_document_is_taken():
    """With the types or, in the properties, without."""
    for properties in (SAID, tuple(replace(p, type=None) for p in SAID)):
        for demands in (TEN, WHOLE):
            check(FOUND, message(properties=properties, parts=PARTS[:1]), demands)
    check(replace(FOUND, standalone=True), message(properties=SAID, parts=PARTS[:1]), TEN)


@pytest.mark.parametrize(
    ("name", "role", "properties"),
    [
        (names.ORIGINAL_SENDER, "Sender", (SAID[1],)),
        (names.ORIGINAL_SENDER, "Sender", (replace(SAID[0], value=RECEIVER), SAID[1])),
        (names.ORIGINAL_SENDER, "Sender", (replace(SAID[0], type="urn:other"), SAID[1])),
        (names.ORIGINAL_SENDER, "Sender", (replace(SAID[0], value=SENDER + "0"), SAID[1])),
        (names.FINAL_RECIPIENT, "Receiver", (SAID[0],)),
        (names.FINAL_RECIPIENT, "Receiver", (SAID[0], replace(SAID[1], value=SENDER))),
        (names.FINAL_RECIPIENT, "Receiver", (SAID[0], replace(SAID[1], type=""))),
    ],
)
def test_another_sender_or_receiver_is_refused(name, role, properties):
    """Either of them, by value or by type."""
    words = ("0003", f"MessageProperties/{name}", f"is not the {role} of the business document, value and type")
    assert wrong(FOUND, TEN, properties=properties) == words
    untyped = replace(FOUND, sender=Typed(SENDER), receiver=Typed(RECEIVER))
    assert wrong(untyped, TEN)[0] == "0003"


def test_a_document_that_must_be_whole_neither_stands_alone_nor_has_a_manifest():
    """Where only one payload may be, its header refers to no other."""
    assert wrong(replace(FOUND, standalone=True), WHOLE) == ("0010", FIELD, "stands alone")
    assert wrong(replace(FOUND, manifest=()), WHOLE) == ("0010", FIELD, "has a Manifest")


def test_every_further_payload_is_in_the_manifest():
    """Under its own Content-ID, once; more may be listed than there are."""
    listed = replace(FOUND, manifest=("c@b.example", "cid:e@b.example", "f@b.example"))
    check(listed, message(properties=SAID, parts=PARTS), TEN)
    cause = "has no Manifest that names every further payload"
    assert wrong(FOUND, TEN, parts=PARTS[:2]) == ("0010", FIELD, cause)
    assert wrong(listed, TEN, parts=(*PARTS, PartInfo("g@b.example"))) == ("0010", FIELD, cause)
    assert wrong(listed, TEN, parts=(PARTS[0], PartInfo(None))) == ("0010", FIELD, cause)
    twice = replace(FOUND, manifest=("c@b.example", "cid:c@b.example"))
    assert wrong(twice, TEN, parts=PARTS[:2]) == ("0010", FIELD, "names one payload twice in its Manifest")
