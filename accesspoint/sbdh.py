"""The business document header at the start of a payload: found as octets flow by, and compared with the message [eD1.15 §1.5.2].

Rules:

1. Only the header is read, and only within `limits.DOCUMENT_HEADER` octets; the document behind it is nobody's business here.
2. It is read before anything is authenticated: no document type, no entities, no other encoding than UTF-8, bounded depth; a
   value that holds a comment or an element has two readings and is refused.
3. What it holds never gets into an error: it is payload.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from lxml import etree

from accesspoint import limits, mime
from accesspoint.ebms import Typed, UserMessage
from accesspoint.errors import PROCESSING_MODE_MISMATCH, VALUE_INCONSISTENT, EbmsError
from accesspoint.names import FINAL_RECIPIENT, ORIGINAL_SENDER, SBDH, tag
from accesspoint.profiles import Demands

FIELD: Final = "payload/StandardBusinessDocumentHeader"
_DOCUMENT: Final = tag(SBDH, "StandardBusinessDocument")
_HEADER: Final = tag(SBDH, "StandardBusinessDocumentHeader")
_VERSION: Final = (tag(SBDH, "HeaderVersion"),)
_SENDER: Final = (tag(SBDH, "Sender"), tag(SBDH, "Identifier"))
_RECEIVER: Final = (tag(SBDH, "Receiver"), tag(SBDH, "Identifier"))
_ITEM: Final = (tag(SBDH, "Manifest"), tag(SBDH, "ManifestItem"), tag(SBDH, "UniformResourceIdentifier"))
_KEPT: Final = frozenset({_VERSION, _SENDER, _RECEIVER, _ITEM})
_ORDER: Final = re.compile("HeaderVersion Sender Receiver DocumentIdentification( Manifest)?( BusinessScope)?")
_DECLARED: Final = re.compile(rb"\s*<\?xml[^>]*?encoding\s*=\s*[\"']([^\"'>]*)[\"']")
_BOM: Final = b"\xef\xbb\xbf"
_SPACE: Final = re.compile("[ \t\n\r]+")


@dataclass(frozen=True, slots=True)
class Header:
    """What a business document header says of its way: who sends, who receives, and which other payloads belong to it."""

    standalone: bool
    sender: Typed
    receiver: Typed
    manifest: tuple[str, ...] | None = None


def _refuse(cause: str, remedy: str = "") -> EbmsError:
    return EbmsError(PROCESSING_MODE_MISMATCH, field=FIELD, cause=cause, remedy=remedy)


class _Target:
    """Takes what the parser finds until the header has ended."""

    def __init__(self) -> None:
        self.path: list[str] = []
        self.order: list[str] = []
        self.values: list[tuple[tuple[str, ...], Mapping[str, str], list[str]]] = []
        self.above = 0
        """Elements above the header; -1 while it has not begun."""
        self.begun = self.ended = self._keeping = False

    def doctype(self, _name: str, _public: str | None, _system: str | None) -> None:
        raise _refuse("has a document type declaration", "send no DOCTYPE")

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        if self.ended:
            return
        if self._keeping:
            raise _refuse("has an element within a value")
        self.path.append(name)
        if len(self.path) > limits.XML_DEPTH:
            raise _refuse("is nested too deeply")
        if not self.begun:
            self._begin()
            return
        inside = tuple(self.path[self.above + 1 :])
        if len(inside) == 1:
            self.order.append(name.removeprefix(tag(SBDH, "")))
        if inside in _KEPT:
            self.values.append((inside, dict(attributes), []))
            self._keeping = True

    def _begin(self) -> None:
        if self.path not in ([_HEADER], [_DOCUMENT], [_DOCUMENT, _HEADER]):
            raise _refuse(
                "is not where the payload begins",
                "send the document within a StandardBusinessDocument, as first payload",
            )
        self.begun = self.path[-1] == _HEADER
        self.above = len(self.path) - 1

    def end(self, _name: str) -> None:
        if self.ended:
            return
        self.path.pop()
        self._keeping = False
        self.ended = len(self.path) == self.above and self.begun

    def data(self, text: str) -> None:
        if self._keeping and not self.ended:
            self.values[-1][2].append(text)

    def comment(self, _text: str) -> None:
        if self._keeping:
            raise _refuse("has a comment within a value")

    def pi(self, _target: str, _data: str | None) -> None:
        if self._keeping:
            raise _refuse("has a processing instruction within a value")

    def close(self) -> None:
        """Nothing: it is asked for what it found."""


class HeaderReader:
    """Reads the header of a payload that flows by. Octets behind the header are not looked at."""

    def __init__(self) -> None:
        self._target = _Target()
        self._parser = etree.XMLParser(
            target=cast(Any, self._target),
            encoding="utf-8",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            huge_tree=False,
        )
        self._first, self._left = b"", limits.DOCUMENT_HEADER

    @property
    def done(self) -> bool:
        """Whether the header has been seen to its end."""
        return self._target.ended

    def feed(self, octets: bytes | memoryview) -> None:
        """The next plain octets of the payload. Raises 0010 as soon as they cannot begin with a header."""
        if self.done:
            return
        piece = bytes(octets[: self._left])
        self._left -= len(piece)
        if len(self._first) < 256:
            self._first += piece[:256]
        try:
            self._parser.feed(piece)
        except etree.XMLSyntaxError:
            if not self.done:  # what stands behind the header in the same piece is not ours to judge
                raise _refuse("is not well-formed XML in UTF-8") from None
        if not self.done and not self._left:
            raise _refuse(f"does not end within the first {limits.DOCUMENT_HEADER} octets")

    def header(self) -> Header:
        """What was found, once the payload or the header has ended. Raises 0010 for none, and for one that breaks its schema."""
        target = self._target
        declared = _DECLARED.match(self._first.removeprefix(_BOM))
        if declared and declared[1].lower() not in (b"utf-8", b"us-ascii", b"ascii"):
            raise _refuse("declares another encoding than UTF-8", "send UTF-8")
        if not target.ended:
            raise _refuse(
                "is missing or cut short", "send a StandardBusinessDocument, or its header, as the first payload"
            )
        if not _ORDER.fullmatch(" ".join(target.order)):
            raise _refuse("is not one version, one Sender, one Receiver and what follows them, in that order")
        if next(self._of(_VERSION), Typed("")).value != "1.0":
            raise _refuse("has a HeaderVersion other than 1.0")
        corners = [list(self._of(path)) for path in (_SENDER, _RECEIVER)]
        if any(len(found) != 1 or not found[0].value for found in corners):
            raise _refuse("does not name exactly one Sender and one Receiver")
        listed = tuple(item.value for item in self._of(_ITEM)) if "Manifest" in target.order else None
        return Header(not target.above, corners[0][0], corners[1][0], listed)

    def _of(self, path: tuple[str, ...]) -> Iterator[Typed]:
        for where, attributes, texts in self._target.values:
            if where == path:
                yield Typed(_collapsed("".join(texts)), _collapsed(attributes.get("Authority", "")) or None)


def _collapsed(value: str) -> str:
    """As xs:token: published headers pad their values with line ends."""
    return _SPACE.sub(" ", value).strip(" ")


def content_ids(header: Header) -> tuple[str, ...]:
    """The Content-IDs of the payloads in its Manifest, however they are written: bare, as ``cid:`` or in brackets."""
    return tuple(mime.strip_brackets(item.removeprefix("cid:")) for item in header.manifest or ())


def check(header: Header, message: UserMessage, demands: Demands) -> None:
    """That a message is addressed as the header of its first payload is.

    Raises `EbmsError` 0003 for another sender or receiver, 0010 for a header or a payload that the profile has no place for.
    """
    if demands.envelope == "document":
        if header.standalone:
            raise _refuse("stands alone", "send it within its StandardBusinessDocument")
        if header.manifest is not None:
            raise _refuse("has a Manifest", "send one payload, which refers to no other")
    for name, corner, role in (
        (ORIGINAL_SENDER, header.sender, "Sender"),
        (FINAL_RECIPIENT, header.receiver, "Receiver"),
    ):
        said = message.property(name)
        if said is None or said.value != corner.value or said.type not in (corner.type, None):
            raise EbmsError(
                VALUE_INCONSISTENT,
                field=f"MessageProperties/{name}",
                cause=f"is not the {role} of the business document, value and type",
                remedy=f"say there what {role}/Identifier and its Authority say",
            )
    _check_listed(message, content_ids(header))


def _check_listed(message: UserMessage, listed: Sequence[str]) -> None:
    if len(set(listed)) != len(listed):
        raise _refuse("names one payload twice in its Manifest")
    for part in message.parts[1:]:
        if mime.match_cid(part.cid or "", dict.fromkeys(listed)) is None:
            raise _refuse(
                "has no Manifest that names every further payload", "list the Content-ID of each in the Manifest"
            )
