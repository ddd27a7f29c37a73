"""A parcel as a user message, and a user message as a parcel: the only place where both words are said of one thing.

Rules:

1. The conversation is the parcel's correlation id, or its own id: a dialogue keeps together on both sides.
2. What the kernel does not know is kept: every message property becomes an attribute named ``as4.property.<name>``, and part
   properties that a profile's community has ``as4.part-property.<name>``.
3. A payload's file name travels as the part property ``PayloadName``, as Java access points write it; on receipt it is a name to
   show, never a path.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from accesspoint.ebms import PartInfo, Property, Typed, UserMessage
from accesspoint.errors import VALUE_INCONSISTENT, EbmsError
from accesspoint.inbound import Accepted, ReceivedPart
from accesspoint.names import CHARACTER_SET, FINAL_RECIPIENT, ORIGINAL_SENDER, TEST_ACTION, TEST_SERVICE
from accesspoint.pmode import PMode
from accesspoint.sbdh import Header
from core import limits
from core.clock import Micros
from core.description import Address, Description
from core.integration import Integration
from core.parcel import Parcel, Payload
from core.trust import common_name
from gateways.as4.settings import Exchange, Partner

PAYLOAD_NAME: Final = "PayloadName"
_PREFIX: Final = "as4.property."
_PART_PREFIX: Final = "as4.part-property."
_CHARSET: Final = re.compile(r""";\s*charset\s*=\s*"?([A-Za-z][A-Za-z0-9._-]*)(?="?\s*(?:;|$))""", re.IGNORECASE)


def user_message(
    parcel: Parcel, partner: Partner, pmode: PMode, message_id: str, now: Micros, document: Header | None = None
) -> UserMessage:
    """The header of a parcel for a partner; its parts are filled in when it is built.

    ``document`` is the business document header of the first payload, where the profile demands one.
    """
    description = parcel.description
    properties = []
    if partner.four_corner is not None:
        corners = partner.four_corner
        properties += [
            Property(ORIGINAL_SENDER, corners.original_sender.value, corners.original_sender.type),
            Property(FINAL_RECIPIENT, corners.final_recipient.value, corners.final_recipient.type),
        ]
    elif document is not None:
        properties += [
            Property(ORIGINAL_SENDER, document.sender.value, document.sender.type),
            Property(FINAL_RECIPIENT, document.receiver.value, document.receiver.type),
        ]
    taken = {p.name for p in properties}
    properties += [
        Property(name.removeprefix(_PREFIX), value)
        for name, value in sorted(description.attributes.items())
        if name.startswith(_PREFIX) and name.removeprefix(_PREFIX) not in taken
    ]
    return UserMessage(
        message_id,
        now,
        pmode.us,
        pmode.them,
        pmode.service,
        pmode.action,
        "" if pmode.profile.demands.conversation_empty else description.correlation_id or parcel.id,
        pmode.agreement,
        pmode.name or None if pmode.agreement else None,
        description.attributes.get("as4.ref-to-message-id"),
        pmode.mpc,
        tuple(properties),
    )


def test_message(pmode: PMode, message_id: str, now: Micros) -> UserMessage:
    """The header of a ping: the agreement's parties, the test service, no payload [eD1.15 §1.4.2.4]."""
    service = Typed(TEST_SERVICE)
    conversation = "" if pmode.profile.demands.conversation_empty else message_id.partition("@")[0]
    return UserMessage(
        message_id,
        now,
        pmode.us,
        pmode.them,
        service,
        TEST_ACTION,
        conversation,
        pmode.agreement,
        None,
        None,
        pmode.mpc,
        (),
    )


def part_properties(payload: Payload) -> tuple[Property, ...]:
    """The part properties of a payload beside its media type: its character set, where that says one, and its name."""
    charset = _CHARSET.search(payload.media_type)
    found = [Property(CHARACTER_SET, charset[1])] if charset else []
    found += [Property(PAYLOAD_NAME, payload.name[:255])] if payload.name else []
    return tuple(found)


def community_properties(parcel: Parcel, pmode: PMode) -> tuple[Property, ...]:
    """The part properties of the profile's community, as far as the attributes ``as4.part-property.<name>`` say them."""
    said = parcel.description.attributes
    known = ((name, said.get(_PART_PREFIX + name)) for name in pmode.profile.demands.part_properties)
    return tuple(Property(name, value) for name, value in known if value)


def media_type(part: ReceivedPart) -> str:
    """The media type of a received payload, with the character set that stood beside it."""
    charset = part.info.get(CHARACTER_SET)
    if charset is None or _CHARSET.search(part.media_type):
        return part.media_type
    return f"{part.media_type}; charset={charset}"


def payload_name(info: PartInfo, index: int) -> str:
    """What to call a received payload."""
    name = info.get(PAYLOAD_NAME) or f"payload-{index + 1}"
    return "".join(c if c.isprintable() and c not in "/\\" else "_" for c in name)[:255]


def description(
    accepted: Accepted, partner: Partner, exchange: Exchange, integration: Integration, payloads: tuple[Payload, ...]
) -> Description:
    """What the kernel knows of a received message. Raises 0003 for a value the kernel does not take."""
    message = accepted.message
    attributes = {
        "as4.message-id": message.message_id,
        "as4.from": str(message.from_.id),
        "as4.to": str(message.to.id),
        "as4.service": str(message.service),
        "as4.action": message.action,
    }
    if message.ref_to_message_id:
        attributes["as4.ref-to-message-id"] = message.ref_to_message_id
    for name in accepted.pmode.profile.demands.part_properties:
        value = next((said for part in message.parts if (said := part.get(name))), None)
        if value is not None:
            attributes[_PART_PREFIX + name] = value
    room = limits.DESCRIPTION_ITEMS - len(attributes)
    if len(message.properties) > room:
        cause = f"{len(message.properties)} properties, at most {room} can be kept"
        raise EbmsError(VALUE_INCONSISTENT, field="MessageProperties", cause=cause, remedy="send fewer properties")
    attributes |= {f"{_PREFIX}{p.name}": p.value for p in message.properties}
    first = payloads[0] if payloads else None
    try:
        return Description(
            type=exchange.type or integration.types[0],
            sender=partner.system,
            receiver=Address(),
            correlation_id=message.conversation_id or None,
            occurred=message.timestamp,
            sensitivity=integration.sensitivity,
            priority=integration.priority,
            degree=integration.degree,
            media_type=first.media_type if first else "application/octet-stream",
            size=sum(p.size for p in payloads),
            digest=first.sha256.hex() if first else "",
            attributes=attributes,
        )
    except ValidationError as error:
        field, words = ".".join(map(str, error.errors()[0]["loc"])), error.errors()[0]["msg"]
        raise EbmsError(
            VALUE_INCONSISTENT,
            field=field.replace("correlation_id", "ConversationId").removeprefix("attributes.").removeprefix("as4."),
            cause=f"is not taken: {words}",
            remedy="send one line of printable text",
        ) from None


def facts(accepted: Accepted, peer: str) -> Mapping[str, str]:
    """What the trace says of a received message: who, under which certificate, with which algorithms."""
    certificate = accepted.certificate
    return {
        "message": accepted.message.message_id,
        "from": str(accepted.message.from_.id),
        "signed by": common_name(certificate) if certificate else "nobody",
        "peer": peer,
        **accepted.algorithms,
    }
