"""XML payloads and XSD: what is found, where, in which words, and what never happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.content_xml import Opened, XmlSchema
from core.errors import ConfigError

CANARY = "Canary-7"
"""A value that must never be said."""
LETTER = b"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:letter" xmlns="urn:letter"
  elementFormDefault="qualified">
  <xs:include schemaLocation="../common/types.xsd"/>
  <xs:element name="letter">
    <xs:complexType>
      <xs:sequence>
        <xs:element name="page" type="xs:int" maxOccurs="unbounded"/>
        <xs:element name="code" type="short" minOccurs="0"/>
        <xs:element name="kind" minOccurs="0">
          <xs:simpleType><xs:restriction base="xs:string"><xs:enumeration value="x"/></xs:restriction></xs:simpleType>
        </xs:element>
        <xs:element name="either" minOccurs="0">
          <xs:simpleType><xs:union memberTypes="xs:int xs:date"/></xs:simpleType>
        </xs:element>
        <xs:element name="nested" type="nested" minOccurs="0"/>
      </xs:sequence>
      <xs:attribute name="sent" type="xs:date" use="required"/>
    </xs:complexType>
    <xs:unique name="pages"><xs:selector xpath="*"/><xs:field xpath="@number"/></xs:unique>
  </xs:element>
  <xs:element name="form" type="xs:string"/>
  <xs:complexType name="nested">
    <xs:sequence><xs:element name="nested" type="nested" minOccurs="0"/></xs:sequence>
  </xs:complexType>
</xs:schema>"""
TYPES = b"""<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" targetNamespace="urn:letter" xmlns="urn:letter">
  <xs:simpleType name="short">
    <xs:restriction base="xs:string"><xs:maxLength value="3"/><xs:pattern value="[a-z]*"/></xs:restriction>
  </xs:simpleType>
</xs:schema>"""
FILES = {"post/letter.xsd": LETTER, "common/types.xsd": TYPES}
HEAD = '<letter xmlns="urn:letter" sent="2026-03-01">'


def schema(root: str = "", changes: Mapping[str, bytes] | None = None) -> XmlSchema:
    """The letter's schema, with some files changed."""
    return XmlSchema("post/letter.xsd", root, {**FILES, **(changes or {})})


def opened(octets: bytes, size: int = 1 << 20) -> Opened:
    """Octets in chunks."""

    def chunks() -> Iterator[bytes]:
        return iter([octets[i : i + size] for i in range(0, len(octets), size)])

    return chunks


def found(text: str | bytes, root: str = "", size: int = 1 << 20) -> list[str]:
    """What is wrong, in words."""
    octets = text.encode() if isinstance(text, str) else text
    return [str(one) for one in schema(root).judge(opened(octets, size))]


@pytest.mark.requirement("R58", "R90")
def test_what_conforms_is_let_through():
    """Whatever its prefix, its encoding, and whatever pieces it comes in."""
    letter = f"{HEAD}<page>1</page><code>abc</code></letter>"
    prefixed = '<p:letter xmlns:p="urn:letter" sent="2026-03-01"><p:page>1</p:page></p:letter>'
    assert (
        found(letter) == found(prefixed) == found(letter.encode("utf-16")) == found(letter, "{urn:letter}letter") == []
    )
    assert all(found(letter, size=size) == [] for size in (1, 2, 7))


@pytest.mark.requirement("R22", "R36")
@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            f"{HEAD}\n<page>1</page>\n<page>{CANARY}</page></letter>",
            "/letter/page[2]: line 3: is no value of the type xs:int",
        ),
        (
            f"{HEAD}<page>1</page><code>{CANARY}</code></letter>",
            "/letter/code: line 1: breaks the rule maxLength of its type",
        ),
        (f"{HEAD}<page>1</page><code>A</code></letter>", "/letter/code: line 1: breaks the rule pattern of its type"),
        (
            f"{HEAD}<page>1</page><kind>{CANARY}</kind></letter>",
            "/letter/kind: line 1: breaks the rule enumeration of its type",
        ),
        (
            f"{HEAD}<page>1</page><either>{CANARY}</either></letter>",
            "/letter/either: line 1: is no value of its union type",
        ),
        (f"{HEAD}</letter>", "/letter: line 1: lacks an element; expected: page"),
        (f"{HEAD}<page>1</page><{CANARY}/></letter>", "/letter/*: line 1: is not expected here; expected: page, code"),
        (f'{HEAD}<page {CANARY}="1">1</page></letter>', "/letter/page: line 1: attribute * may have no attributes"),
        (
            f'<letter {CANARY}="1" xmlns="urn:letter" sent="2026-03-01"><page>1</page></letter>',
            "/letter: line 1: attribute * is not an attribute of this element",
        ),
        (f"{HEAD}{CANARY}<page>1</page></letter>", "/letter: line 1: holds text where only elements may stand"),
        ('<letter xmlns="urn:letter"><page>1</page></letter>', "/letter: line 1: lacks the attribute sent"),
        (
            f'<letter xmlns="urn:letter" sent="{CANARY}"><page>1</page></letter>',
            "/letter: line 1: attribute sent is no value of the type xs:date",
        ),
        (f"<{CANARY}/>", "/*: line 1: is no element that the schema begins with"),
        (
            '<letter xmlns="urn:letter" xmlns:x="http://www.w3.org/2001/XMLSchema-instance" sent="2026-03-01" x:type="zz"/>',
            "/letter: line 1: attribute * breaks the rule cvc-elt-4-2 of XML Schema",
        ),
    ],
)
def test_a_finding_names_the_place_and_the_rule_and_no_value(text: str, said: str):
    """An element the schema does not know is a star: its name may be anything."""
    findings = found(text)
    assert said in findings or any(one.startswith(said) for one in findings), findings
    assert CANARY not in str(findings)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20))
@settings(max_examples=60, deadline=None)
def test_no_value_is_ever_said(text: str):
    """Whatever quotation marks and words of the parser a value imitates."""
    from xml.sax.saxutils import escape, quoteattr

    value = f"{CANARY}{text}' is not a valid value of the atomic type '{CANARY}'."
    letter = f"{HEAD}<page {CANARY}={quoteattr(value)}>{escape(value)}</page><code>{escape(value)}</code></letter>"
    findings = found(letter)
    assert findings
    assert CANARY not in str(findings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('<!DOCTYPE letter [<!ENTITY x "y">]><letter>&x;</letter>', "/: declares a document type; that is not taken"),
        ('<!DOCTYPE letter SYSTEM "file:///etc/hostname"><letter/>', "/: declares a document type; that is not taken"),
        (f"{HEAD}<page>1</page>", "/: line 1: is not well-formed XML: tag not finished"),
        (f"{HEAD}\n<{CANARY}></page>", "/: line 2: is not well-formed XML: tag name mismatch"),
        (f"{HEAD}<page>&{CANARY};</page></letter>", "/: line 1: is not well-formed XML: undeclared entity"),
        (b"\x00\x01", "/: line 1: is not well-formed XML"),
        ("", "/: line 1: is not well-formed XML"),
    ],
)
def test_what_is_no_plain_xml_is_refused(text: str | bytes, said: str):
    """No document type, no entities; and a parser's own sentence, which quotes, is not passed on."""
    (finding,) = found(text)
    assert finding.startswith(said)
    assert CANARY not in finding


def test_what_is_nested_or_long_beyond_the_parser_s_limits_is_refused():
    """A parser that is fed in pieces has no guard against depth of its own; that against long names stays on."""
    deep = f"{HEAD}<page>1</page>" + "<nested>" * 5000 + "</nested>" * 5000 + "</letter>"
    assert found(deep) == ["/: is nested more than 200 levels deep"]
    assert found(f'{HEAD[:-1]} {"x" * 100_000}="1"><page>1</page></letter>')[0].startswith(
        "/: line 1: is not well-formed XML"
    )
    assert found(f'<form xmlns="urn:letter">{"x" * 11_000_000}</form>') == []


def test_a_payload_s_own_hints_about_schemas_are_not_followed():
    """An address in it is never opened: it would not answer."""
    hint = 'xmlns:x="http://www.w3.org/2001/XMLSchema-instance" x:schemaLocation="urn:letter http://127.0.0.1:9/x.xsd"'
    assert found(f'<letter xmlns="urn:letter" sent="2026-03-01" {hint}><page>1</page></letter>') == []


def test_another_root_element_than_the_contract_s_is_refused():
    """The schema may declare many; the contract wants one."""
    form = '<!-- a form --><form xmlns="urn:letter">x</form>'
    assert found(form) == []
    assert found(form, "{urn:letter}letter", size=3) == ["/form: is not the root element {urn:letter}letter"]


def test_a_payload_that_is_wrong_everywhere_is_told_so_much():
    """Twenty findings, whatever its size; each once."""
    findings = found(f"{HEAD}{'<page>x</page>' * 50_000}</letter>")
    assert len(findings) == limits.FINDINGS
    assert findings[1] == "/letter/page[2]: line 1: is no value of the type xs:int"
    assert len(found(f"{HEAD}<page {CANARY}1='1' {CANARY}2='2'>1</page></letter>")) == 1


def test_what_is_wrong_is_found_in_any_piece(monkeypatch: pytest.MonkeyPatch):
    """At the end as at the beginning, and when what was wrong is followed by what is no XML."""
    monkeypatch.setattr(limits, "CHECKED_PIECE", 64)
    pages = "\n<page>1</page>" * 100
    assert (
        found(f"{HEAD}{pages}<code>LONG</code></letter>")[0]
        == "/letter/code: line 101: breaks the rule maxLength of its type"
    )
    cut = f"{HEAD}{pages}<page>x</page>" + "<page>1</page>" * 20 + "<page>"
    assert found(cut)[0] == "/letter/page[101]: line 101: is no value of the type xs:int"
    monkeypatch.setattr(limits, "CHECKED_PIECE", len(HEAD) + 100)
    assert found(f"{HEAD}{'<page>x</page>' * 3}</page>")


def test_far_into_a_payload_the_line_is_told_about(monkeypatch: pytest.MonkeyPatch):
    """Finding the place would take minutes."""
    monkeypatch.setattr(limits, "CHECKED_PIECE", 64)
    monkeypatch.setattr(limits, "PLACES_SIZE", 640)
    pages = "\n<page>1</page>" * 100
    (finding,) = found(f"{HEAD}{pages}<page>{CANARY}</page></letter>")
    assert finding == "/: after line 101: is no value of the type xs:int"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (LETTER.replace(b"xs:int", b"xs:inx", 1), "post/letter.xsd:7: "),
        (LETTER.replace(b"</xs:schema>", b""), "post/letter.xsd:"),
        (b"<letter/>", "post/letter.xsd:1: is no XML Schema (its root element is xs:schema)"),
        (b"<!DOCTYPE x>" + LETTER, "post/letter.xsd:1: declares a document type (remove the DOCTYPE)"),
        (
            LETTER.replace(b"../common/types.xsd", b"file:///etc/hostname"),
            "post/letter.xsd:3: refers to 'file:///etc/hostname', which is no file of the configuration directory",
        ),
        (
            LETTER.replace(b"../common/types.xsd", b"../../../etc/hostname"),
            "post/letter.xsd:3: refers to '../../../etc/hostname', which is no file of the configuration directory",
        ),
        (
            LETTER.replace(b"../common/types.xsd", b"http://127.0.0.1:9/types.xsd"),
            "post/letter.xsd:3: refers to 'http://127.0.0.1:9/types.xsd', which is no file",
        ),
    ],
)
def test_a_schema_that_cannot_be_compiled_is_named_by_file_and_line(change: bytes, said: str):
    """Nothing is opened for it that is not in the directory."""
    with pytest.raises(ConfigError) as caught:
        schema(changes={"post/letter.xsd": change})
    assert str(caught.value).startswith(said)


def test_a_mistake_in_an_included_file_is_named_there():
    """By the file it is in, not by the one that includes it."""
    with pytest.raises(ConfigError, match=r"^common/types\.xsd:2: simple type 'short'"):
        schema(changes={"common/types.xsd": TYPES.replace(b"xs:string", b"xs:strin")})
    with pytest.raises(ConfigError, match=r"^common/types\.xsd:1: is not well-formed XML"):
        schema(changes={"common/types.xsd": b"<xs:schema"})


def test_a_schema_named_by_an_address_is_found_beside():
    """Official schemas name each other by address; a copy of the same name beside is taken, and nothing is fetched."""
    named = LETTER.replace(b"../common/types.xsd", b"http://schemas.example/v1/types.xsd")
    assert schema(changes={"post/letter.xsd": named, "post/types.xsd": TYPES}).judge(opened(b"<x/>"))
    circle = TYPES.replace(b"<xs:simpleType", b'<xs:include schemaLocation="../post/letter.xsd"/><xs:simpleType', 1)
    assert found(f"{HEAD}<page>1</page></letter>") == []
    assert schema(changes={"common/types.xsd": circle}).judge(opened(f"{HEAD}<page>1</page></letter>".encode())) == []


def test_the_root_element_of_a_contract_must_be_declared():
    """A slip of the pen would refuse every payload."""
    with pytest.raises(ConfigError, match=r"declares no element '\{urn:letter\}lettre'") as caught:
        schema("{urn:letter}lettre")
    assert caught.value.field == "part"
