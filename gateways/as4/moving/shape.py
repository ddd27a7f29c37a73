"""The shape of a Domibus P-Mode file: which elements and attributes there are, and what is said of all others.

Rules:

1. An attribute that nothing can be done without is an error naming the element; one that is not known is a finding.
2. A name that stands twice is an error: nobody knows which one was meant. Names are compared without regard to case.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from lxml import etree

from accesspoint.ebms import Typed
from accesspoint.soap import Element
from core.errors import ConfigError

Level = Literal["left out", "changed", "to do", "note"]
"""``left out``: is not in the documents; ``changed``: is there, but differs; ``to do``: a person must; ``note``: nothing is
lost."""


@dataclass(frozen=True)
class Finding:
    """One thing that did not go over as it was: where it stands, why, and what to do."""

    level: Level
    element: str
    reason: str
    remedy: str = ""


_SHAPE: Final[dict[str, tuple[str, str, str]]] = {
    "configuration": ("party", "", "mpcs businessProcesses"),
    "mpcs": ("", "", "mpc"),
    "mpc": (
        "name qualifiedName",
        "retention_downloaded retention_undownloaded retention_metadata_offset default enabled retention_sent"
        " delete_message_metadata max_batch_delete retention_sent_success retention_sent_failure",
        "",
    ),
    "businessProcesses": (
        "",
        "",
        "roles parties meps properties payloadProfiles securities errorHandlings agreements services actions as4"
        " splittingConfigurations legConfigurations process",
    ),
    "roles": ("", "", "role"),
    "role": ("name value", "", ""),
    "parties": ("", "", "partyIdTypes party"),
    "partyIdTypes": ("", "", "partyIdType"),
    "partyIdType": ("name value", "", ""),
    "party": ("name", "endpoint userName password allowChunking", "identifier"),
    "identifier": ("partyId", "partyIdType", ""),
    "meps": ("", "", "mep binding"),
    "mep": ("name value", "legs", ""),
    "binding": ("name value", "", ""),
    "properties": ("", "", "property propertySet"),
    "property": ("name key", "datatype required", ""),
    "propertySet": ("name", "", "propertyRef"),
    "propertyRef": ("property", "", ""),
    "payloadProfiles": ("", "", "payload payloadProfile"),
    "payload": ("name", "cid mimeType inBody schemaFile maxSize required", ""),
    "payloadProfile": ("name", "maxSize", "attachment"),
    "attachment": ("name", "", ""),
    "securities": ("", "", "security"),
    "security": ("name policy", "signatureMethod profile", ""),
    "errorHandlings": ("", "", "errorHandling"),
    "errorHandling": (
        "name",
        "errorAsResponse businessErrorNotifyProducer businessErrorNotifyConsumer deliveryFailureNotifyProducer",
        "",
    ),
    "agreements": ("", "", "agreement"),
    "agreement": ("name", "value type", ""),
    "services": ("", "", "service"),
    "service": ("name value", "type", ""),
    "actions": ("", "", "action"),
    "action": ("name value", "", ""),
    "as4": ("", "", "receptionAwareness reliability"),
    "receptionAwareness": ("name", "retry duplicateDetection", ""),
    "reliability": ("name", "replyPattern nonRepudiation", ""),
    "splittingConfigurations": ("", "", "splitting"),
    "splitting": ("name", "fragmentSize compression compressionAlgorithm joinInterval", ""),
    "legConfigurations": ("", "", "legConfiguration"),
    "legConfiguration": (
        "name service action security",
        "defaultMpc receptionAwareness reliability propertySet payloadProfile errorHandling compressPayloads splitting",
        "",
    ),
    "process": (
        "name initiatorRole responderRole binding mep",
        "agreement",
        "initiatorParties responderParties legs",
    ),
    "initiatorParties": ("", "", "initiatorParty"),
    "initiatorParty": ("name", "", ""),
    "responderParties": ("", "", "responderParty"),
    "responderParty": ("name", "", ""),
    "legs": ("", "", "leg"),
    "leg": ("name", "", ""),
}
"""Element → required attributes, other attributes, children."""

_SAID_ONCE: Final[dict[str, tuple[str, str, str]]] = {
    "mpc": (
        "retention_downloaded retention_undownloaded retention_metadata_offset retention_sent delete_message_metadata"
        " max_batch_delete retention_sent_success retention_sent_failure enabled default",
        "how long messages are kept is not a matter of the channel here",
        "set retention_days in each integration; 90 days are kept when it says nothing",
    ),
    "party": ("allowChunking", "a message is always sent as a stream, whatever this says", ""),
    "property": (
        "datatype",
        "the data type of a message property is not checked",
        "check it where the property is used",
    ),
    "payload": (
        "mimeType schemaFile required",
        "media type, schema and presence of single payloads are not checked by the access point",
        "let the receiving system check them",
    ),
    "errorHandling": (
        "businessErrorNotifyProducer businessErrorNotifyConsumer deliveryFailureNotifyProducer",
        "who is told of an error is not a matter of the P-Mode here",
        "watch `stafet alarms` and the metrics; every error is in the trace of its parcel",
    ),
    "mep": ("legs", "the number of legs follows from the exchanges", ""),
}
"""Element → attributes that are known and not carried over, why, and what to do: said once a file, not once an element."""


def local_name(element: Element) -> str:
    """The name without its namespace."""
    return etree.QName(element).localname


def elements(parent: Element) -> Iterator[Element]:
    """Child elements, without comments and processing instructions."""
    return (child for child in parent if isinstance(child.tag, str))


def label(element: Element) -> str:
    """How a finding names an element."""
    name = element.get("name")
    return f"{local_name(element)} {name}" if name else local_name(element)


class Reading:
    """One file being read, and what was found on the way."""

    def __init__(self, file: str, root: Element) -> None:
        self.file, self.root = file, root
        self.findings: list[Finding] = []
        self._said: set[str] = set()

    def error(self, element: str, cause: str, remedy: str = "") -> ConfigError:
        """What to raise for an element."""
        return ConfigError(self.file, element, cause, remedy)

    def check_shape(self, element: Element) -> None:
        """Raises `ConfigError` for a required attribute that is missing; notes what is not known."""
        required, others, children = (words.split() for words in _SHAPE[local_name(element)])
        for name in required:
            if element.get(name) is None:
                raise self.error(
                    label(element), f"has no attribute {name}", "compare the file with Domibus' own schema"
                )
        self._say_once(element)
        for name in (str(key) for key in element.keys()):  # noqa: SIM118 - an element is no mapping
            if etree.QName(name).namespace is None and name not in (*required, *others):
                self.leave(label(element), f"the attribute {name} is not known here")
        for child in elements(element):
            if local_name(child) in children:
                self.check_shape(child)
            else:
                self.leave(label(element), f"the element {local_name(child)} is not known here")

    def _say_once(self, element: Element) -> None:
        kind = local_name(element)
        names, reason, remedy = _SAID_ONCE.get(kind, ("", "", ""))
        there = [name for name in names.split() if element.get(name) is not None]
        if there and kind not in self._said:
            self._said.add(kind)
            self.findings.append(Finding("note", f"every {kind}: {', '.join(there)}", reason, remedy))

    def leave(self, element: str, reason: str, remedy: str = "") -> None:
        """Note that something is left out."""
        self.findings.append(Finding("left out", element, reason, remedy))

    def all(self, parent: str, kind: str) -> Sequence[Element]:
        """Every ``kind`` in every ``parent``, in document order."""
        return [e for p in self.root.iter("{*}" + parent) for e in elements(p) if local_name(e) == kind]

    def table(self, parent: str, kind: str) -> dict[str, Element]:
        """The same by name. Raises `ConfigError` for a name that stands twice."""
        found: dict[str, Element] = {}
        for element in self.all(parent, kind):
            name = element.get("name", "").casefold()
            if name in found:
                raise self.error(label(element), "stands twice", "remove one of them: nobody can know which is meant")
            found[name] = element
        return found

    def number(self, element: Element, name: str) -> int:
        """A count that is 0 where it is missing, negative, or no number (which is noted)."""
        text = (element.get(name) or "0").strip()
        try:
            return max(0, int(text)) if len(text) <= 19 else 0
        except ValueError:
            self.leave(label(element), f"{name} is {text[:40]!r}, no number")
            return 0


def is_true(element: Element | None, name: str, default: bool = False) -> bool:
    """An xs:boolean; `default` where it is not there."""
    text = element.get(name) if element is not None else None
    return default if text is None else text.strip() in ("true", "1")


def typed(value: str, kind: str | None) -> Typed:
    """A value with its type; an empty type is none."""
    return Typed(value.strip(), (kind or "").strip() or None)
