"""Text and attribute values, written the way canonical XML writes them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint.xmltext import attribute, text

LEGAL = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff") | st.sampled_from("\t\n\r\x85")
)
"""Any characters XML 1.0 has."""


def canonical(xml: bytes) -> bytes:
    return etree.tostring(etree.fromstring(xml), method="c14n", exclusive=True)


@pytest.mark.parametrize("write", [text, attribute])
@pytest.mark.parametrize(
    "value", ["", "demo ward", "".join(map(chr, range(0x20, 0x7F))).translate(dict.fromkeys(b'&<>"'))]
)
def test_plain_values_are_written_as_they_are(write, value):
    """Nearly every value is plain."""
    assert write(value) == value.encode()


@pytest.mark.parametrize(
    ("value", "as_text", "as_attribute"),
    [
        ("&", "&amp;", "&amp;"),
        ("<", "&lt;", "&lt;"),
        (">", "&gt;", ">"),
        ('"', '"', "&quot;"),
        ("'", "'", "'"),
        ("\t", "\t", "&#x9;"),
        ("\n", "\n", "&#xA;"),
        ("\r", "&#xD;", "&#xD;"),
        ("&amp;", "&amp;amp;", "&amp;amp;"),
        ("]]>", "]]&gt;", "]]>"),
        ("\u00e6\U0001f3e5\u2028\x7f\x85", "\u00e6\U0001f3e5\u2028\x7f\x85", "\u00e6\U0001f3e5\u2028\x7f\x85"),
    ],
)
def test_what_means_something_to_xml_is_escaped(value, as_text, as_attribute):
    """By the table of canonical XML, which differs between text and attributes; the rest is UTF-8."""
    assert text(value) == as_text.encode()
    assert attribute(value) == as_attribute.encode()


@settings(max_examples=300, deadline=None)
@given(LEGAL)
@example("\r\n \t<&>\"']]>")
def test_what_is_written_is_its_own_canonical_form_and_reads_back(value):
    """A second canonicalisation changes nothing, and a parser finds the value."""
    written = b'<a b="%s">%s</a>' % (attribute(value), text(value))
    assert canonical(written) == written
    read = etree.fromstring(written)
    assert read.get("b") == value
    assert (read.text or "") == value


@pytest.mark.parametrize("write", [text, attribute])
@pytest.mark.parametrize("character", ["\0", "\x08", "\x0b", "\x1f", "\ud800", "\udfff", "\ufffe", "\uffff"])
def test_what_xml_cannot_hold_is_refused_by_its_number(write, character):
    """Wherever it stands; the value itself is not repeated."""
    with pytest.raises(ValueError, match=f"^character U\\+{ord(character):04X} cannot be written in XML$"):
        write(f"demo & {character}")


@settings(max_examples=200, deadline=None)
@given(st.characters())
def test_what_is_taken_is_what_a_parser_takes(character):
    """Any character at all: written and readable, or refused."""
    try:
        written = text(character)
    except ValueError:
        with pytest.raises((etree.XMLSyntaxError, UnicodeEncodeError)):
            etree.fromstring(b"<a>" + character.encode() + b"</a>")
        return
    assert etree.fromstring(b"<a>" + written + b"</a>").text == character
