"""The hardened door: from the octets of the SOAP part to an envelope whose shape is known.

Rules:

1. A document type declaration is refused before any parser sees it; so is an encoding other than UTF-8 (octets in, never a
   decoded string). The parser reads UTF-8 whatever is declared: what the octets do not spell, it cannot find.
2. The shape is strict: Envelope is Header then Body and nothing else; the header has one ``eb:Messaging`` and at most one
   ``wsse:Security`` without a role. What a signature is later said to cover is compared with *these element objects*.
3. Ids are unique whatever their spelling (``wsu:Id``, ``Id``, ``ID``, ``id``, ``xml:id``). Those inside ``eb:Receipt`` are
   quotations: they are neither counted nor ever resolved. The parser, which knows ``xml:id`` alone, is not asked.
4. Comments and processing instructions are refused everywhere in the envelope: canonicalisation drops them, so what is signed
   would differ from what is read.
5. Depth, elements, attributes and namespaces are bounded before anything walks the tree. Attributes and namespaces are bounded
   in everything that is parsed here, since canonicalising many takes their square.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, cast

from lxml import etree

from accesspoint import limits
from accesspoint.errors import FAILED_AUTHENTICATION, FEATURE_NOT_SUPPORTED, INVALID_HEADER, EbmsError, SoapFault
from accesspoint.names import EB, EBMS_ACTOR, MF, S11, S12, WSSE, WSU, XML, tag

Element = etree._Element

ENVELOPE: Final = tag(S12, "Envelope")
HEADER: Final = tag(S12, "Header")
BODY: Final = tag(S12, "Body")
FAULT: Final = tag(S12, "Fault")
MESSAGING: Final = tag(EB, "Messaging")
RECEIPT: Final = tag(EB, "Receipt")
SECURITY: Final = tag(WSSE, "Security")
FRAGMENT: Final = tag(MF, "MessageFragment")
MUST_UNDERSTAND: Final = tag(S12, "mustUnderstand")
ROLE: Final = tag(S12, "role")
_IDS: Final = frozenset({tag(WSU, "Id"), "Id", "ID", "id", tag(XML, "id")})
_ENCODING: Final = re.compile(rb"^<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = re.compile("[ \t\n\r]+")
"""White space as XML knows it: any other space is a character of the value."""

_local = threading.local()


@dataclass(frozen=True, slots=True)
class Envelope:
    """A parsed envelope of known shape. ``security`` is None when the message carries none."""

    root: Element
    header: Element
    body: Element
    messaging: Element
    security: Element | None
    by_id: Mapping[str, Element]


def _parser() -> etree.XMLParser:
    """One parser a thread, reused: making one costs more than parsing a header."""
    parser: etree.XMLParser | None = getattr(_local, "parser", None)
    if parser is None:
        parser = _local.parser = etree.XMLParser(
            encoding="utf-8",
            collect_ids=False,
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
            remove_comments=False,
            remove_pis=False,
            strip_cdata=False,
            remove_blank_text=False,
        )
        # lxml hands on to canonicalisation only those prefixes that its parser has met, and a message never has this one.
        etree.fromstring(b'<a xmlns:a="#default"/>', parser)
    return parser


def _refuse(cause: str, *, field: str = "SOAP part", remedy: str = "") -> EbmsError:
    return EbmsError(INVALID_HEADER, field=field, cause=cause, remedy=remedy)


def parse_xml(octets: bytes, *, what: str = "SOAP part", size: int = limits.HEADER_SIZE) -> Element:
    """Octets to a tree through the hardened parser. Raises `EbmsError` 0009 naming ``what``.

    Used for the SOAP part and for XML parts that must be canonicalised.
    """
    if len(octets) > size:
        raise _refuse(f"larger than {size} octets", field=what)
    octets = octets.removeprefix(_BOM).lstrip()
    if octets[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\x00" in octets[:4]:
        raise _refuse("not UTF-8; other encodings are not supported", field=what, remedy="send the SOAP part as UTF-8")
    if b"<!DOCTYPE" in octets or b"<!ENTITY" in octets:
        raise _refuse("has a document type declaration", field=what, remedy="send no DOCTYPE")
    declared = _ENCODING.match(octets)
    if declared and declared.group(1).lower() not in (b"utf-8", b"utf8", b"us-ascii", b"ascii"):
        raise _refuse(f"declares encoding {declared.group(1).decode()}", field=what, remedy="send UTF-8")
    parser = _parser()
    try:
        root = etree.fromstring(octets, parser)
    except etree.XMLSyntaxError as error:
        raise _refuse(f"not well-formed XML (line {error.lineno or 0})", field=what) from None
    if parser.error_log.filter_from_errors():
        # A warning after a namespace error makes the parser forget it, and everything after the end of the document too.
        raise _refuse("not well-formed XML: a namespace is undeclared or no URI", field=what)
    if octets.count(b"xmlns") > limits.XML_NAMESPACES and _crowded(root):
        raise _refuse("has too many namespaces in scope", field=what)
    if octets.count(b"=") > limits.CANONICAL_ATTRIBUTES and _FAR_TOO_WIDE(root):
        raise _refuse("has an element with far too many attributes", field=what)
    return root


_FAR_TOO_WIDE: Final = etree.XPath(f"boolean(//*[@*[{limits.CANONICAL_ATTRIBUTES + 1}]])")


def _crowded(root: Element) -> bool:
    """Whether more namespaces than may be are in scope anywhere, those declared anew counted again."""
    scope = 0
    for event, _ in etree.iterwalk(root, events=("start-ns", "end-ns")):
        scope += 1 if event == "start-ns" else -1
        if scope > limits.XML_NAMESPACES:
            return True
    return False


_TOO_DEEP: Final = "/*" * (limits.XML_DEPTH + 1)
_TOO_WIDE: Final = f"//*/@*[{limits.XML_ATTRIBUTES + 1}]"
_UNSIGNED: Final = "/*/descendant::comment() | /*/descendant::processing-instruction()"
_TOO_MANY: Final = f"count(//*) > {limits.XML_ELEMENTS}"
_SHAPES: Final = {
    f"boolean({_TOO_DEEP}) or {_TOO_MANY}": ("is nested too deeply or has too many elements", ""),
    f"boolean({_UNSIGNED})": ("holds a comment or processing instruction", "send none: they are not signed"),
    f"boolean({_TOO_WIDE})": ("has an element with too many attributes", ""),
}
"""What a SOAP part may not be, as questions to the parser's own tree, and what is said of it."""
_MISSHAPEN: Final = etree.XPath(" or ".join(_SHAPES))
"""All of them as one question: each lets another thread in, which costs more than the answer."""


def _scan(root: Element) -> dict[str, Element]:
    """Bounds, comments, ids. Raises 0009, or 0101 for an id that occurs twice."""
    if _MISSHAPEN(root):
        cause, remedy = next(words for question, words in _SHAPES.items() if root.xpath(question))
        raise _refuse(cause, remedy=remedy)
    ids: dict[str, Element] = {}
    for element in root.iter():
        for name, value in cast(list[tuple[str, str]], element.items()):
            if name not in _IDS or next(element.iterancestors(RECEIPT), None) is not None or element.tag == RECEIPT:
                continue
            if value in ids:
                raise EbmsError(FAILED_AUTHENTICATION, field="id", cause=f"the id {value[:80]!r} occurs twice")
            ids[value] = element
    return ids


def parse_envelope(octets: bytes) -> Envelope:
    """The SOAP part as an `Envelope`.

    Raises `SoapFault` for SOAP 1.1 (VersionMismatch), for a header entry we must but do not understand, and for a fault without
    ebMS (Received; such a one may lack the header); `EbmsError` 0009 for every other broken shape, 0101 for duplicate ids, 0008
    for message fragments and pull authorisation.
    """
    root = parse_xml(octets)
    if root.tag == tag(S11, "Envelope"):
        raise SoapFault("VersionMismatch", "SOAP 1.1 is not AS4: send SOAP 1.2")
    if root.tag != ENVELOPE:
        raise _refuse("is not a SOAP 1.2 envelope")
    ids = _scan(root)
    children = list(root)
    if [child.tag for child in children] == [BODY] and (fault := children[0].find(FAULT)) is not None:
        raise SoapFault("Received", fault_text(fault))
    if [child.tag for child in children] != [HEADER, BODY]:
        raise _refuse("the envelope is not exactly one Header and one Body", field="Envelope")
    header, body = children
    messaging: list[Element] = []
    security: list[Element] = []
    for entry in header:
        if entry.tag == MESSAGING:
            messaging.append(entry)
        elif entry.tag == SECURITY:
            if entry.get(ROLE) == EBMS_ACTOR:
                raise EbmsError(
                    FEATURE_NOT_SUPPORTED,
                    field="Security[@role='ebms']",
                    cause="pull authorisation is not supported here",
                )
            security.append(entry)
        elif entry.tag == FRAGMENT:
            raise EbmsError(
                FEATURE_NOT_SUPPORTED,
                field="MessageFragment",
                cause="split messages are not supported",
                remedy="send the message whole: any size is taken as a stream",
            )
        elif entry.get(MUST_UNDERSTAND) in ("true", "1"):
            name = etree.QName(entry)
            raise SoapFault("MustUnderstand", f"the header entry {name.localname} is not understood")
    if len(messaging) > 1:
        raise _refuse("more than one eb:Messaging", field="Header")
    if len(security) > 1:
        raise _refuse("more than one Security header", field="Header")
    if not messaging:
        if (fault := body.find(FAULT)) is not None:
            raise SoapFault("Received", fault_text(fault))
        raise _refuse("no eb:Messaging in the SOAP header", field="Header/Messaging")
    return Envelope(root, header, body, messaging[0], security[0] if security else None, ids)


def fault_text(fault: Element) -> str:
    """The reason of a SOAP fault in one line of at most 300 printable characters."""
    words = " ".join("".join(str(t) for t in fault.itertext()).split())
    return "".join(c if c.isprintable() else "?" for c in words)[:300]


def text_of(element: Element) -> str:
    """The element's text, white space collapsed as xs:token. Raises 0009 when it holds anything but text."""
    if len(element):
        raise _refuse("holds elements where text is expected", field=etree.QName(element).localname)
    value = element.text or ""
    if value.isascii():  # where all white space there can be is XML's
        return " ".join(value.split())
    return _SPACE.sub(" ", value).strip(" ")


def c14n(element: Element, prefixes: tuple[str, ...] | None = None) -> bytes:
    """Exclusive canonical octets of an element where it stands, without comments [XML-EXC-C14N].

    Raises 0009 for what has no canonical form: a namespace that is a relative reference [XML-C14N §1.3].
    """
    try:
        return etree.tostring(
            element,
            method="c14n",
            exclusive=True,
            with_comments=False,
            inclusive_ns_prefixes=list(prefixes) if prefixes else None,
        )
    except etree.C14NError:
        raise _refuse("has no canonical form: a namespace is no absolute URI") from None
