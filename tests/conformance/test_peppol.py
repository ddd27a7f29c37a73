"""Documents of a network like Peppol, as the harness makes them."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

from accesspoint.ebms import Typed
from accesspoint.names import PARTICIPANTS
from accesspoint.sbdh import HeaderReader
from conformance.peppol import PARTICIPANT, document, note

OURS, THEIRS = PARTICIPANT["municipality"], PARTICIPANT["hospital"]


def test_a_document_is_right_by_the_official_schema(shared: Path):
    """The header's; what is in the document is fictitious."""
    schema = etree.XMLSchema(etree.parse(shared / "schemas" / "sbdh" / "StandardBusinessDocumentHeader.xsd"))
    schema.assertValid(etree.fromstring(document(OURS, THEIRS, note(b"abc"), "document-1")))


def test_its_header_says_whose_it_is():
    """Between the two participants, with nothing beside it."""
    reader = HeaderReader()
    reader.feed(document(OURS, THEIRS, note(b""), "document-1"))
    header = reader.header()
    assert (header.sender, header.receiver) == (Typed(OURS, PARTICIPANTS), Typed(THEIRS, PARTICIPANTS))
    assert (header.standalone, header.manifest) == (False, None)


def test_a_long_note_is_in_lines():
    """No text of it is longer than what a careful parser takes; together they are what was given."""
    content = bytes(range(256)) * 1000
    lines = [line.text or "" for line in etree.fromstring(note(content))]
    assert max(map(len, lines)) == 60_000
    assert bytes.fromhex("".join(lines)) == content
