"""XML payloads and XSD: compiled from the files of a configuration, checked as a stream, said without a value.

Rules:

1. Nothing is fetched and nothing expanded: no document type, no entities, no network; what a schema includes or imports must lie
   among the configuration's files. A payload's own hints about schemas are not followed.
2. A payload is never held: it goes through the parser in pieces, and its tree is not built. When a piece breaks a rule, a second
   pass up to there finds the places. That costs time only where something is wrong, and a payload that is wrong a million times
   costs no more than one that is wrong twenty times.
3. A finding names elements and attributes that the schema knows; any other name is ``*``, because it could be anything. It says
   which rule is broken in words of the schema, never what stands there.
4. Not checked, because it needs the whole document: that an ``xs:ID`` is unique and an ``xs:IDREF`` leads somewhere. ``xs:key``
   and ``xs:unique`` are.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from lxml import etree

from core import limits
from core.errors import ConfigError, Finding

Opened = Callable[[], Iterator[bytes]]
"""Gives a payload's octets from the beginning, as often as it is asked."""

_XS: Final = "{http://www.w3.org/2001/XMLSchema}"
_BASE: Final = "config:/"
_DOMAIN: Final = "SCHEMASV"
"""Who in the parser's log speaks of rules of the schema."""
_HARD: Final[dict[str, Any]] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "huge_tree": False,
}
_FACET: Final = re.compile(r"^Element '[^']*'(?:, attribute '[^']*')?: \[facet '(\w+)'\]")
_TYPE: Final = re.compile(r"is not a valid value of the (?:local )?(atomic|union|list) type(?: '([^']+)')?\.$")
_EXPECTED: Final = re.compile(r"Expected is (?:one of )?\( ([^()]*) \)\.$")
_NEEDED: Final = re.compile(r"^Element '[^']*': The attribute '([^']*)' is required but missing\.$")
_ATTRIBUTE: Final = re.compile(r"^Element '[^']*', attribute '([^']*)': ")
_SYNTAX: Final = {
    code: f": {name.removeprefix('ERR_').replace('_', ' ').lower()}"
    for name, code in vars(etree.ErrorTypes).items()
    if name.startswith("ERR_")
}
"""The parser's errors in words; its own sentences quote what stands there."""
_RULES: Final = {
    "SCHEMAV_CVC_COMPLEX_TYPE_3_2_1": "is not an attribute of this element",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_1": "must be empty",
    "SCHEMAV_CVC_COMPLEX_TYPE_2_3": "holds text where only elements may stand",
    "SCHEMAV_CVC_TYPE_3_1_1": "may have no attributes",
    "SCHEMAV_CVC_TYPE_3_1_2": "may hold no elements",
    "SCHEMAV_CVC_ELT_1": "is no element that the schema begins with",
    "SCHEMAV_CVC_ELT_2": "is abstract in the schema; a substitute must stand here",
    "SCHEMAV_CVC_ELT_3_1": "may not be nil",
    "SCHEMAV_CVC_IDC": "breaks a key or a uniqueness rule of the schema",
}


class _Files(etree.Resolver):
    """Answers for the files of a configuration, and with nothing for anything else."""

    def __init__(self, known: Mapping[str, bytes]) -> None:
        super().__init__()
        self._known = known

    def resolve(self, system_url: str, public_id: str, context: Any = None) -> Any:
        """The file's octets, or a document that is no schema."""
        octets = self._known.get(unquote(system_url or ""), b"<none/>")
        return self.resolve_string(octets, context, base_url=system_url)


class _Unread(Exception):
    """Something that is not read on."""


class _Silent:
    """A target that keeps nothing but how deep it is. A document type ends it, and what lies too deep: a parser that is fed in
    pieces has no guard of its own."""

    def __init__(self) -> None:
        self._depth = 0

    def doctype(self, name: str, public_id: str | None, system_url: str | None) -> None:
        raise _Unread("declares a document type; that is not taken")

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self._depth += 1
        if self._depth > limits.CONTENT_DEPTH:
            raise _Unread(f"is nested more than {limits.CONTENT_DEPTH} levels deep")

    def end(self, tag: str) -> None:
        self._depth -= 1

    def close(self) -> None:
        """Nothing was kept."""


class _Enough(Exception):
    """As many findings as are listed."""


class _Watching(_Silent):
    """Knows where the parser is, and takes what is wrong there from its log once it is told to ``look``."""

    def __init__(self, schema: XmlSchema) -> None:
        super().__init__()
        self._schema = schema
        self.parser: Any = None
        self.look, self.line = False, 1
        self.findings: list[Finding] = []
        self._taken = 0
        self._names: list[str] = []
        self._counts: list[dict[str, int]] = [{}]
        self._place = "/"

    def start(self, tag: str, attributes: Mapping[str, str]) -> None:
        self.take()
        name = self._schema.shown(tag)
        count = self._counts[-1][name] = self._counts[-1].get(name, 0) + 1
        self._names.append(name if count == 1 else f"{name}[{count}]")
        self._counts.append({})
        self._place = ""

    def end(self, tag: str) -> None:
        self.take()
        self._place = self._path()
        self._names.pop()
        self._counts.pop()

    def _path(self) -> str:
        return "/" + "/".join(self._names)

    def take(self) -> None:
        """What the log says since the last event is about the place of that event."""
        if not self.look:
            return
        log = _said(self.parser)
        for entry in log[self._taken :]:
            place = self._place or self._path()
            finding = Finding(place, f"line {self.line}: {self._schema.words(entry)}")
            if finding not in self.findings:
                self.findings.append(finding)
            if len(self.findings) == limits.FINDINGS:
                raise _Enough
        self._taken = len(log)


def _said(parser: Any) -> list[Any]:
    """What the schema has said so far."""
    return [entry for entry in parser.feed_error_log if entry.domain_name == _DOMAIN]


class XmlSchema:
    """A compiled schema. Raises `ConfigError` with file and line when it cannot be compiled."""

    def __init__(self, file: str, root: str, files: Mapping[str, bytes]) -> None:
        self._root = root
        self._names: set[str] = set()
        known = self._gather(file, files)
        parser = etree.XMLParser(**_HARD)
        parser.resolvers.add(_Files(known))
        try:
            self._schema = etree.XMLSchema(etree.fromstring(files[file], parser, base_url=_BASE + quote(file)))
        except etree.XMLSchemaParseError as error:
            first = error.error_log[0]
            place = unquote(first.filename).removeprefix(_BASE)
            raise ConfigError(f"{place}:{first.line}", "", first.message.replace(_XS, "xs:")) from None
        if root and etree.QName(root).localname not in self._names:
            raise ConfigError(file, "part", f"declares no element {root!r}", "name a root element as {namespace}name")

    def _gather(self, file: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
        """Every file the schema is made of, by the address the compiler will ask for. Raises `ConfigError`."""
        known: dict[str, bytes] = {}
        waiting = [file]
        while waiting:
            name = waiting.pop()
            known[_BASE + name] = files[name]
            for element in _parsed(name, files[name]).iter(etree.Element):
                named = (element.get(attribute) for attribute in ("name", "ref"))
                self._names.update(name.rpartition(":")[2] for name in named if name)
                location = element.get("schemaLocation")
                if location is None or not str(element.tag).startswith(_XS):
                    continue
                target = _beside(name, location)
                if target not in files:
                    cause = f"refers to {location!r}, which is no file of the configuration directory"
                    raise ConfigError(f"{name}:{element.sourceline}", "", cause, f"put {target} there")
                known[location] = files[target]
                if _BASE + target not in known:
                    waiting.append(target)
        return known

    def shown(self, tag: str) -> str:
        """An element's or attribute's own name when the schema knows it."""
        name = tag.rpartition("}")[2]
        return name if name in self._names else "*"

    def judge(self, opened: Opened) -> list[Finding]:
        """What is wrong with a payload, in the order of the document."""
        try:
            number, log = self._first_wrong(opened)
            if not log:
                return self._misnamed(opened)
            if number * limits.CHECKED_PIECE > limits.PLACES_SIZE:
                return self._roughly(opened, number, log)
            return self._found(opened, number) or self._roughly(opened, number, log)
        except _Unread as error:
            return [Finding("/", str(error))]
        except etree.XMLSyntaxError:
            return _malformed(opened)

    def _parser(self, target: Any) -> Any:
        return etree.XMLParser(target=target, schema=self._schema, **_HARD)

    def _first_wrong(self, opened: Opened) -> tuple[int, list[Any]]:
        """The number of the piece in which the first rule is broken, and what the schema says of that piece."""
        parser, number = self._parser(_Silent()), 0
        for number, piece in enumerate(_pieces(opened)):
            parser.feed(piece)
            if log := _said(parser):
                return number, log
        parser.close()
        return number + 1, _said(parser)

    def _roughly(self, opened: Opened, number: int, log: list[Any]) -> list[Finding]:
        """Of a place far into a payload the line about where it is: the way there would have to be walked again slowly."""
        line = 1 + sum(piece.count(b"\n") for _, piece in zip(range(number), _pieces(opened), strict=False))
        words = dict.fromkeys(self.words(entry) for entry in log)
        return [Finding("/", f"after line {line}: {text}") for text in words][: limits.FINDINGS]

    def _found(self, opened: Opened, number: int) -> list[Finding]:
        """The same again up to the piece that is wrong, line by line there."""
        target = _Watching(self)
        parser = target.parser = self._parser(target)
        try:
            for index, piece in enumerate(_pieces(opened)):
                if index > number:
                    break
                target.look = index >= number - 1
                for line in piece.splitlines(keepends=True) if target.look else (piece,):
                    parser.feed(line)
                    target.take()
                    target.line += line.count(b"\n")
            else:
                parser.close()
                target.take()
        except (_Enough, etree.XMLSyntaxError):
            pass  # what was found is enough, whatever comes after it
        return target.findings

    def _misnamed(self, opened: Opened) -> list[Finding]:
        """Whether another root element came than the contract wants."""
        if not self._root:
            return []
        tag = str(_root(opened).tag)
        return [] if tag == self._root else [Finding(f"/{self.shown(tag)}", f"is not the root element {self._root}")]

    def words(self, entry: Any) -> str:
        """A broken rule in words of the schema."""
        return self._attribute(entry.message) + self._rule(entry)

    def _attribute(self, message: str) -> str:
        found = _ATTRIBUTE.match(message)
        return f"attribute {self.shown(found[1])} " if found else ""

    def _rule(self, entry: Any) -> str:
        if found := _FACET.match(entry.message):
            return f"breaks the rule {found[1]} of its type"
        if found := _TYPE.search(entry.message):
            name = (found[2] or "").rpartition("}")[2]
            known = name.startswith("xs:") or name in self._names
            return f"is no value of the type {name}" if known else f"is no value of its {found[1]} type"
        if found := _NEEDED.match(entry.message):
            return f"lacks the attribute {self.shown(found[1])}"
        if entry.type_name == "SCHEMAV_ELEMENT_CONTENT":
            missing = ": Missing child element(s)." in entry.message
            return ("lacks an element" if missing else "is not expected here") + self._expected(entry.message)
        rule = entry.type_name.removeprefix("SCHEMAV_").replace("_", "-").lower()
        return _RULES.get(entry.type_name, f"breaks the rule {rule} of XML Schema")

    def _expected(self, message: str) -> str:
        found = _EXPECTED.search(message)
        names = [self.shown(name.strip()) for name in found[1].split(", ")] if found else []
        return f"; expected: {', '.join(names)}" if names else ""


def _malformed(opened: Opened) -> list[Finding]:
    """Why it is no XML: asked of a parser that knows no schema, because the schema's words come before the parser's."""
    target: Any = _Silent()
    parser, line, code = etree.XMLParser(target=target, **_HARD), 1, 0
    try:
        for piece in _pieces(opened):
            parser.feed(piece)
        parser.close()
    except etree.XMLSyntaxError as error:
        line, code = error.lineno or 1, getattr(error, "code", 0)
    return [Finding("/", f"line {line}: is not well-formed XML{_SYNTAX.get(code, '')}")]


def _root(opened: Opened) -> Any:
    """The root element of a payload that is well-formed."""
    parser = etree.XMLPullParser(events=("start",), **_HARD)
    events = (event for piece in _pieces(opened) for event in _fed(parser, piece))
    return next(events)[1]


def _fed(parser: etree.XMLPullParser, piece: bytes) -> Any:
    parser.feed(piece)
    return parser.read_events()


def _parsed(name: str, octets: bytes) -> Any:
    """A schema file's root. Raises `ConfigError`."""
    try:
        root = etree.fromstring(octets, etree.XMLParser(**_HARD))
    except etree.XMLSyntaxError as error:
        raise ConfigError(f"{name}:{error.lineno or 1}", "", f"is not well-formed XML: {error.msg}") from None
    if root.tag != f"{_XS}schema":
        raise ConfigError(f"{name}:{root.sourceline}", "", "is no XML Schema", "its root element is xs:schema")
    information: Any = root.getroottree().docinfo
    if information.doctype:
        raise ConfigError(f"{name}:1", "", "declares a document type", "remove the DOCTYPE")
    return root


def _beside(name: str, location: str) -> str:
    """The file that a location means: a path beside the file that names it; of an address elsewhere the last part alone."""
    if ":" in location:
        location = location.rpartition("/")[2]
    return posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(location)))


def _pieces(opened: Opened) -> Iterator[bytes]:
    for chunk in opened():
        for start in range(0, len(chunk), limits.CHECKED_PIECE):
            yield chunk[start : start + limits.CHECKED_PIECE]
