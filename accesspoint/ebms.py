"""The ebMS header: what it says, and how it is written [ebMS3 §5.2].

Rules:

1. Reading judges: a header that breaks schema or specification raises with the code and the field.
2. Values are compared as they stand after xs:token collapse; nothing is folded, guessed or defaulted except the MPC.
3. Writing is canonical octets from templates: what is digested is what is sent.
4. One user message or one signal per envelope; bundling is refused, not half-done.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from lxml import etree

from accesspoint import limits
from accesspoint.errors import (
    EXTERNAL_PAYLOAD_ERROR,
    FEATURE_NOT_SUPPORTED,
    INVALID_HEADER,
    VALUE_INCONSISTENT,
    CatalogueEntry,
    EbmsError,
)
from accesspoint.names import DEFAULT_MPC, EB, NEXT_MSH, S12, TEST_SERVICE, WSU, XML, tag
from accesspoint.soap import ROLE, Element, Envelope, text_of
from accesspoint.xmltext import attribute, text

_URI: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\S+")


@dataclass(frozen=True, slots=True)
class Typed:
    """A value with its optional ``@type``: PartyId, Service, AgreementRef."""

    value: str
    type: str | None = None

    def __str__(self) -> str:
        return f"{self.value} (type {self.type})" if self.type else self.value

    @property
    def is_named(self) -> bool:
        """Whether it says what kind of name it is: by its type, or by being a URI [ebMS3 §5.2.2.4, §5.2.2.8]."""
        return bool(self.type) or _URI.fullmatch(self.value) is not None


@dataclass(frozen=True, slots=True)
class Party:
    """``From`` or ``To``."""

    id: Typed
    role: str


@dataclass(frozen=True, slots=True)
class Property:
    """A message or part property."""

    name: str
    value: str
    type: str | None = None


@dataclass(frozen=True, slots=True)
class PartInfo:
    """One payload reference. ``cid`` is the Content-ID without brackets; None = the SOAP body."""

    cid: str | None
    properties: tuple[Property, ...] = ()

    def get(self, name: str) -> str | None:
        """A part property by name, case-insensitive as peers write it."""
        return next((p.value for p in self.properties if p.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class UserMessage:
    """``eb:UserMessage``. ``timestamp`` is UTC microseconds."""

    message_id: str
    timestamp: int
    from_: Party
    to: Party
    service: Typed
    action: str
    conversation_id: str
    agreement: Typed | None = None
    pmode: str | None = None
    ref_to_message_id: str | None = None
    mpc: str = DEFAULT_MPC
    properties: tuple[Property, ...] = ()
    parts: tuple[PartInfo, ...] = ()

    @property
    def is_test(self) -> bool:
        """Whether it is a ping: the service alone decides that nothing is delivered [eD1.15 §1.4.2.4]."""
        return self.service.value == TEST_SERVICE

    def property(self, name: str) -> Property | None:
        """A message property by name, case-insensitive."""
        return next((p for p in self.properties if p.name.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Signal:
    """``eb:SignalMessage``: exactly one of a receipt element, errors, or a pull request's MPC."""

    message_id: str
    timestamp: int
    ref_to_message_id: str | None
    receipt: Element | None = None
    errors: tuple[Element, ...] = ()
    pull_mpc: str | None = None


# --- reading ----------------------------------------------------------------------------------------------------------

_CID: Final = re.compile("cid:[^\t\n\r ]+")
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)?", re.ASCII)


def _e(local: str) -> str:
    return tag(EB, local)


def _wrong(field: str, cause: str, entry: CatalogueEntry = INVALID_HEADER) -> EbmsError:
    return EbmsError(entry, field=field, cause=cause)


class _Children:
    """Takes the children of an element in schema order; whatever is left at the end is wrong."""

    def __init__(self, parent: Element, path: str) -> None:
        self._items, self._at, self.path = list(parent), 0, path

    def many(self, local: str) -> Iterator[Element]:
        while self._at < len(self._items) and self._items[self._at].tag == _e(local):
            self._at += 1
            yield self._items[self._at - 1]

    def maybe(self, local: str) -> Element | None:
        if self._at < len(self._items) and self._items[self._at].tag == _e(local):
            self._at += 1
            return self._items[self._at - 1]
        return None

    def one(self, local: str) -> Element:
        found = self.maybe(local)
        if found is None:
            raise _wrong(f"{self.path}/{local}", "is missing or out of order")
        return found

    def extensions(self) -> None:
        """Elements of other namespaces at the end, where the schema leaves room for them. They say nothing to us."""
        while self._at < len(self._items) and etree.QName(self._items[self._at]).namespace not in (EB, None):
            self._at += 1

    def end(self) -> None:
        if self._at < len(self._items):
            name = etree.QName(self._items[self._at]).localname
            raise _wrong(f"{self.path}/{name}", "is not allowed here, or stands out of order")


def _value(element: Element, path: str, entry: CatalogueEntry = INVALID_HEADER, *, limit: int = limits.VALUE) -> str:
    value = text_of(element)
    if not value:
        raise _wrong(path, "is empty", entry)
    if len(value) > limit:
        raise _wrong(path, f"is longer than {limit} characters", entry)
    return value


def _typed(element: Element, path: str) -> Typed:
    return Typed(_value(element, path), element.get("type") or None)


def parse_time(value: str, path: str) -> int:
    """An xs:dateTime as UTC microseconds; a missing zone counts as UTC. Raises 0009 naming ``path``."""
    found = _TIME.fullmatch(value)
    if found is None:
        raise _wrong(path, "is not a date and time")
    head, fraction, zone = found.groups()
    try:
        moment = datetime.fromisoformat(head + (zone or "Z").replace("Z", "+00:00")).astimezone(UTC)
    except (ValueError, OverflowError):
        raise _wrong(path, "is not a date and time") from None
    micros = int(((fraction or "") + "000000")[:6])
    return int(moment.timestamp()) * 1_000_000 + micros


def _info(element: Element, path: str) -> tuple[str, int, str | None]:
    children = _Children(element, path)
    timestamp = parse_time(text_of(children.one("Timestamp")), f"{path}/Timestamp")
    message_id = _value(children.one("MessageId"), f"{path}/MessageId")
    if message_id.startswith("<") or " " in message_id:
        raise _wrong(f"{path}/MessageId", "has angle brackets or spaces", VALUE_INCONSISTENT)
    reference = children.maybe("RefToMessageId")
    children.end()
    return message_id, timestamp, _value(reference, f"{path}/RefToMessageId") if reference is not None else None


def _party(element: Element, path: str) -> Party:
    children = _Children(element, path)
    ids = list(children.many("PartyId"))
    if len(ids) != 1:
        problem = "is missing" if not ids else "occurs more than once"
        raise _wrong(f"{path}/PartyId", problem, INVALID_HEADER if not ids else VALUE_INCONSISTENT)
    party = Party(_typed(ids[0], f"{path}/PartyId"), _value(children.one("Role"), f"{path}/Role"))
    children.end()
    return party


def _properties(element: Element | None, path: str) -> tuple[Property, ...]:
    if element is None:
        return ()
    children = _Children(element, path)
    found = []
    for item in children.many("Property"):
        name = item.get("name") or ""
        if not name or len(name) > limits.VALUE:
            raise _wrong(f"{path}/Property/@name", "is missing or too long")
        found.append(
            Property(
                name, _value(item, f"{path}/Property[{name}]", limit=limits.PROPERTY_VALUE), item.get("type") or None
            )
        )
    children.end()
    if not found:
        raise _wrong(path, "is empty")
    if len(found) > limits.PROPERTIES or len({p.name for p in found}) != len(found):
        raise _wrong(path, "repeats a property name or has too many properties")
    return tuple(found)


def _part(element: Element) -> PartInfo:
    path = "PayloadInfo/PartInfo"
    children = _Children(element, path)
    children.maybe("Schema")
    description = children.maybe("Description")
    if description is not None and not description.get(tag(XML, "lang")):
        raise _wrong(f"{path}/Description/@xml:lang", "is missing")
    properties = _properties(children.maybe("PartProperties"), f"{path}/PartProperties")
    children.end()
    href = element.get("href")
    href = href.strip("\t\n\r ") if href is not None else None
    if href is None or href.startswith("#"):
        return PartInfo(None, properties)
    if not _CID.fullmatch(href):
        raise _wrong(
            f"{path}/@href", "is not a cid: reference; external payloads are not fetched", EXTERNAL_PAYLOAD_ERROR
        )
    return PartInfo(href[4:], properties)


def _user_message(element: Element) -> UserMessage:
    children = _Children(element, "UserMessage")
    message_id, timestamp, reference = _info(children.one("MessageInfo"), "MessageInfo")
    try:
        parties = _Children(children.one("PartyInfo"), "PartyInfo")
        from_, to = _party(parties.one("From"), "From"), _party(parties.one("To"), "To")
        parties.end()
        business = _Children(children.one("CollaborationInfo"), "CollaborationInfo")
        agreement = business.maybe("AgreementRef")
        service = _typed(business.one("Service"), "Service")
        action = _value(business.one("Action"), "Action")
        conversation = text_of(business.one("ConversationId"))
        business.end()
        properties = _properties(children.maybe("MessageProperties"), "MessageProperties")
        payloads = children.maybe("PayloadInfo")
        parts: list[PartInfo] = []
        if payloads is not None:
            items = _Children(payloads, "PayloadInfo")
            parts = [_part(item) for item in items.many("PartInfo")]
            items.end()
            if not parts:
                raise _wrong("PayloadInfo", "has no PartInfo")
        children.end()
        cids = [part.cid for part in parts if part.cid is not None]
        if len(parts) > limits.PARTS or len(set(cids)) != len(cids) or len(parts) - len(cids) > 1:
            raise _wrong("PayloadInfo", "names a part twice, or has too many parts", VALUE_INCONSISTENT)
        return UserMessage(
            message_id,
            timestamp,
            from_,
            to,
            service,
            action,
            conversation,
            _typed(agreement, "AgreementRef") if agreement is not None else None,
            agreement.get("pmode") if agreement is not None else None,
            reference,
            element.get("mpc") or DEFAULT_MPC,
            properties,
            tuple(parts),
        )
    except EbmsError as error:
        error.ref_to_message_id = message_id
        raise


def _signal(element: Element) -> Signal:
    children = _Children(element, "SignalMessage")
    message_id, timestamp, reference = _info(children.one("MessageInfo"), "MessageInfo")
    pull, receipt = children.maybe("PullRequest"), children.maybe("Receipt")
    errors = tuple(children.many("Error"))
    children.extensions()
    children.end()
    if (pull is not None) + (receipt is not None) + bool(errors) != 1:
        raise _wrong("SignalMessage", "is not exactly one of PullRequest, Receipt and Error", FEATURE_NOT_SUPPORTED)
    if receipt is not None and not len(receipt):
        raise _wrong("SignalMessage/Receipt", "is empty")
    return Signal(
        message_id,
        timestamp,
        reference,
        receipt,
        errors,
        (pull.get("mpc") or DEFAULT_MPC) if pull is not None else None,
    )


def parse_messaging(envelope: Envelope) -> UserMessage | Signal:
    """What the header says. Raises `EbmsError` with the code and field of the first thing that is wrong."""
    if envelope.messaging.get(ROLE) == NEXT_MSH:
        raise _wrong("Messaging/@role", "multi-hop is not supported", FEATURE_NOT_SUPPORTED)
    units = list(envelope.messaging)
    if not units:
        raise _wrong("Messaging", "is empty")
    tags = [unit.tag for unit in units]
    if set(tags) - {_e("UserMessage"), _e("SignalMessage")}:
        raise _wrong("Messaging", "holds an element that is no message unit")
    if tags != sorted(tags):  # "SignalMessage" sorts before "UserMessage", as the schema wants it
        raise _wrong("Messaging", "has a SignalMessage after a UserMessage")
    if tags == [_e("UserMessage")]:
        return _user_message(units[0])
    if tags == [_e("SignalMessage")]:
        return _signal(units[0])
    if tags.count(_e("UserMessage")) > 1:
        raise _wrong("Messaging", "holds more than one UserMessage", VALUE_INCONSISTENT)
    raise _wrong("Messaging", "bundles several message units", FEATURE_NOT_SUPPORTED)


# --- writing ----------------------------------------------------------------------------------------------------------

MESSAGING_ID: Final = "messaging"
BODY_ID: Final = "body"
TOKEN_ID: Final = "token"  # noqa: S105 - an element id
KEY_ID: Final = "key"
"""The ids we write. They need to be unique in one envelope only, so they need not be random."""

_MESSAGING: Final = (
    b'<eb:Messaging xmlns:S12="%s" xmlns:eb="%s" xmlns:wsu="%s" wsu:Id="%%s" S12:mustUnderstand="true">' % (
        S12.encode(), EB.encode(), WSU.encode()
    )
)  # fmt: skip


def format_time(at: int) -> str:
    """UTC microseconds as an xs:dateTime with milliseconds and ``Z``."""
    return datetime.fromtimestamp(at // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at // 1000 % 1000:03d}Z"


def _element(name: str, value: Typed | str | None) -> bytes:
    if value is None:
        return b""
    kind = b' type="%s"' % attribute(value.type) if isinstance(value, Typed) and value.type else b""
    content = text(value.value if isinstance(value, Typed) else value)
    return b"<eb:%s%s>%s</eb:%s>" % (name.encode(), kind, content, name.encode())


def _agreement_xml(agreement: Typed | None, pmode: str | None) -> bytes:
    if pmode is None:
        return _element("AgreementRef", agreement)
    if agreement is None:
        raise ValueError("a pmode is named inside an agreement; there is none")
    kind = b' type="%s"' % attribute(agreement.type) if agreement.type else b""
    return b'<eb:AgreementRef pmode="%s"%s>%s</eb:AgreementRef>' % (attribute(pmode), kind, text(agreement.value))


def _part_xml(part: PartInfo) -> bytes:
    href = b' href="cid:%s"' % attribute(part.cid) if part.cid is not None else b""
    return b"<eb:PartInfo%s>%s</eb:PartInfo>" % (href, _properties_xml(b"PartProperties", part.properties))


def _property_xml(item: Property) -> bytes:
    kind = b' type="%s"' % attribute(item.type) if item.type else b""
    return b'<eb:Property name="%s"%s>%s</eb:Property>' % (attribute(item.name), kind, text(item.value))


def _properties_xml(name: bytes, items: Sequence[Property]) -> bytes:
    if not items:
        return b""
    return b"<eb:%s>%s</eb:%s>" % (name, b"".join(map(_property_xml, items)), name)


def _info_xml(message_id: str, timestamp: int, reference: str | None) -> bytes:
    return b"<eb:MessageInfo>%s%s%s</eb:MessageInfo>" % (
        _element("Timestamp", format_time(timestamp)),
        _element("MessageId", message_id),
        _element("RefToMessageId", reference),
    )


def user_message_xml(message: UserMessage, wsu_id: str) -> bytes:
    """``eb:Messaging`` with this user message, as exclusive canonical octets. Raises `ValueError` for what has no place there."""
    mpc = b' mpc="%s"' % attribute(message.mpc) if message.mpc != DEFAULT_MPC else b""
    parts = b"".join(map(_part_xml, message.parts))
    return b"".join(
        (
            _MESSAGING % attribute(wsu_id),
            b"<eb:UserMessage%s>" % mpc,
            _info_xml(message.message_id, message.timestamp, message.ref_to_message_id),
            b"<eb:PartyInfo><eb:From>",
            _element("PartyId", message.from_.id),
            _element("Role", message.from_.role),
            b"</eb:From><eb:To>",
            _element("PartyId", message.to.id),
            _element("Role", message.to.role),
            b"</eb:To></eb:PartyInfo><eb:CollaborationInfo>",
            _agreement_xml(message.agreement, message.pmode),
            _element("Service", message.service),
            _element("Action", message.action),
            _element("ConversationId", message.conversation_id),
            b"</eb:CollaborationInfo>",
            _properties_xml(b"MessageProperties", message.properties),
            b"<eb:PayloadInfo>%s</eb:PayloadInfo>" % parts if parts else b"",
            b"</eb:UserMessage></eb:Messaging>",
        )
    )


def signal_xml(message_id: str, timestamp: int, reference: str | None, content: bytes, wsu_id: str) -> bytes:
    """``eb:Messaging`` with a signal; ``content`` is canonical ``eb:Receipt`` or ``eb:Error`` octets."""
    return b"%s<eb:SignalMessage>%s%s</eb:SignalMessage></eb:Messaging>" % (
        _MESSAGING % attribute(wsu_id),
        _info_xml(message_id, timestamp, reference),
        content,
    )


def body_xml(wsu_id: str) -> bytes:
    """The empty SOAP body, as exclusive canonical octets."""
    return b'<S12:Body xmlns:S12="%s" xmlns:wsu="%s" wsu:Id="%s"></S12:Body>' % (
        S12.encode(),
        WSU.encode(),
        attribute(wsu_id),
    )


def envelope_xml(security: bytes, messaging: bytes, body: bytes) -> bytes:
    """The SOAP part. The envelope declares only ``S12``, so that its children stay in exclusive canonical form."""
    return (
        b'<?xml version="1.0" encoding="UTF-8"?>\n<S12:Envelope xmlns:S12="%s"><S12:Header>%s%s</S12:Header>%s</S12:Envelope>'
        % (
            S12.encode(),
            security,
            messaging,
            body,
        )
    )
