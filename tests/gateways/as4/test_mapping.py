"""A parcel as a user message, and a user message as a parcel."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accesspoint import ebms, names
from accesspoint.ebms import PartInfo, Property, UserMessage
from accesspoint.errors import EbmsError
from accesspoint.inbound import Accepted, ReceivedPart
from accesspoint.pmode import PMode
from accesspoint.profiles import EDELIVERY_1_15, ENTSOG_3
from accesspoint.sbdh import Header
from core import limits
from core.description import Description
from core.integration import Integration
from core.parcel import Parcel, Payload
from gateways.as4 import mapping
from gateways.as4.settings import Partner
from tests.fuzz.world import Buffer
from tests.gateways.as4.making import stranger

NOW = 1_772_366_400_000_000
US = ebms.Party(ebms.Typed("demo-municipality", "urn:demo:parties"), names.INITIATOR)
THEM = ebms.Party(ebms.Typed("demo-hospital", "urn:demo:parties"), names.RESPONDER)
PMODE = PMode("p", "hospital", EDELIVERY_1_15, US, THEM, ebms.Typed("urn:demo:homecare"), "deliver")
CORNERS = {
    "original_sender": {"value": "urn:demo:clinic", "type": "urn:demo:corner"},
    "final_recipient": {"value": "urn:demo:ward", "type": "urn:demo:corner"},
}


def _partner(**fields: Any) -> Partner:
    return Partner.model_validate(
        {
            "id": "hospital",
            "party": "municipality",
            "party_id": {"value": "demo-hospital", "type": "urn:demo:parties"},
            "system": "ward-record",
            "url": "https://hospital.example/as4",
            "signing_certificates": ["certificates/hospital-signing.pem"],
            "encryption_certificate": "certificates/hospital-decryption.pem",
            "exchanges": [{"integration": "homecare", "service": {"value": "urn:demo:homecare"}, "action": "deliver"}],
            **fields,
        }
    )


def _integration(**fields: Any) -> Integration:
    return Integration.model_validate({"id": "homecare", "types": ["observation", "note"], **fields})


def _parcel(**fields: Any) -> Parcel:
    description = Description(type="observation", sender="care-record", **fields)
    return Parcel("0" * 32, "care-record", "homecare", description, (), NOW)


def _message(**fields: Any) -> UserMessage:
    values: dict[str, Any] = {
        "message_id": "m-1@municipality.example",
        "timestamp": NOW,
        "from_": US,
        "to": THEM,
        "service": PMODE.service,
        "action": PMODE.action,
        "conversation_id": "conversation-1",
        "agreement": None,
        "pmode": None,
        "ref_to_message_id": None,
        "mpc": names.DEFAULT_MPC,
        "properties": (),
    }
    return UserMessage(**{**values, **fields})


def _accepted(certificate: bool = True, **fields: Any) -> Accepted:
    signed = stranger().certificate if certificate else None
    return Accepted(_message(**fields), PMODE, signed, (), (), {"signature": names.RSA_SHA256})


def _payload(name: str = "observation.json", size: int = 3) -> Payload:
    return Payload(name, "application/json", size, b"\x01" * 32, b"sealed")


def _described(accepted: Accepted, payloads: tuple[Payload, ...] = (), **exchange: Any) -> Description:
    partner = _partner()
    chosen = partner.exchanges[0].model_copy(update=exchange)
    return mapping.description(accepted, partner, chosen, _integration(sensitivity="sensitive"), payloads)


# --- out --------------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA18", "4CT_TA03")
def test_the_header_comes_from_the_agreement_and_nothing_in_it_from_the_parcel_but_its_dialogue():
    """Parties, service and action are the P-Mode's; the parcel's own id is the conversation when it names none."""
    message = mapping.user_message(_parcel(), _partner(), PMODE, "m-1@x.example", NOW)
    assert (message.message_id, message.timestamp, message.from_, message.to) == ("m-1@x.example", NOW, US, THEM)
    assert (message.service, message.action, message.agreement, message.mpc) == (
        PMODE.service,
        "deliver",
        None,
        names.DEFAULT_MPC,
    )
    assert message.conversation_id == "0" * 32
    assert (message.ref_to_message_id, message.properties, message.parts) == (None, (), ())


def test_the_name_of_the_pmode_is_said_within_the_agreement():
    """As it was agreed and not our own id; not at all where no name or no agreement is."""
    agreed = replace(PMODE, agreement=ebms.Typed("urn:demo:agreement"), name="homecare-1")
    for pmode, said in (
        (agreed, "homecare-1"),
        (replace(agreed, name=""), None),
        (replace(agreed, agreement=None), None),
    ):
        message = mapping.user_message(_parcel(), _partner(), pmode, "m", NOW)
        assert (message.agreement, message.pmode) == (pmode.agreement, said)


@pytest.mark.assertion("CP_TA02", "CP_TA19")
def test_a_dialogue_keeps_together():
    """Correlation id and the id of the message answered to become ConversationId and RefToMessageId."""
    parcel = _parcel(correlation_id="case-7", attributes={"as4.ref-to-message-id": "m-0@y.example"})
    message = mapping.user_message(parcel, _partner(), PMODE, "m-1@x.example", NOW)
    assert (message.conversation_id, message.ref_to_message_id) == ("case-7", "m-0@y.example")


def test_the_outer_corners_are_said_with_their_types():
    """originalSender and finalRecipient come from the partner's file [eDelivery AS4 1.15 §1.5.1]."""
    message = mapping.user_message(_parcel(), _partner(four_corner=CORNERS), PMODE, "m", NOW)
    assert message.properties == (
        Property(names.ORIGINAL_SENDER, "urn:demo:clinic", "urn:demo:corner"),
        Property(names.FINAL_RECIPIENT, "urn:demo:ward", "urn:demo:corner"),
    )


def test_properties_kept_as_attributes_are_said_again_but_never_against_the_partner_file():
    """What came in as a property goes out as one; a corner that the agreement fixes is not replaced."""
    attributes = {
        "as4.property.caseNumber": "7",
        "as4.property.area": "north",
        "as4.message-id": "m-0@y.example",
        "rest.trace": "x",
        f"as4.property.{names.ORIGINAL_SENDER}": "urn:demo:somebody-else",
    }
    message = mapping.user_message(_parcel(attributes=attributes), _partner(four_corner=CORNERS), PMODE, "m", NOW)
    assert [(p.name, p.value) for p in message.properties] == [
        (names.ORIGINAL_SENDER, "urn:demo:clinic"),
        (names.FINAL_RECIPIENT, "urn:demo:ward"),
        ("area", "north"),
        ("caseNumber", "7"),
    ]


def test_without_corners_of_its_own_a_partner_gets_those_that_came_with_the_parcel():
    """A node between two networks passes the corners on."""
    attributes = {f"as4.property.{names.FINAL_RECIPIENT}": "urn:demo:ward"}
    message = mapping.user_message(_parcel(attributes=attributes), _partner(), PMODE, "m", NOW)
    assert message.property(names.FINAL_RECIPIENT) is not None


def test_without_corners_anywhere_they_are_those_of_the_document():
    """Value and scheme; a partner's file that names corners is asked first, and attributes do not speak against either."""
    document = Header(False, ebms.Typed("0088:5790000000005", "urn:s"), ebms.Typed("0088:5790000000012", "urn:s"))
    parcel = _parcel(attributes={f"as4.property.{names.FINAL_RECIPIENT}": "urn:other"})
    message = mapping.user_message(parcel, _partner(), PMODE, "m", NOW, document)
    assert message.properties == (
        Property(names.ORIGINAL_SENDER, "0088:5790000000005", "urn:s"),
        Property(names.FINAL_RECIPIENT, "0088:5790000000012", "urn:s"),
    )
    named = mapping.user_message(parcel, _partner(four_corner=CORNERS), PMODE, "m", NOW, document)
    assert [p.value for p in named.properties] == ["urn:demo:clinic", "urn:demo:ward"]


GAS = replace(PMODE, profile=ENTSOG_3)


def test_a_conversation_is_empty_where_the_profile_says_so():
    """Of a message as of a ping."""
    parcel = _parcel(correlation_id="case-1")
    assert mapping.user_message(parcel, _partner(), PMODE, "m", NOW).conversation_id == "case-1"
    assert mapping.user_message(parcel, _partner(), GAS, "m", NOW).conversation_id == ""
    assert mapping.test_message(GAS, "m@a.example", NOW).conversation_id == ""


def test_part_properties_of_a_community_come_from_the_attributes():
    """Those alone, and only where the profile has them."""
    said = {"as4.part-property.EDIGASDocumentType": "01G", "as4.part-property.Other": "x"}
    assert mapping.community_properties(_parcel(attributes=said), GAS) == (Property("EDIGASDocumentType", "01G"),)
    assert mapping.community_properties(_parcel(), GAS) == ()
    assert mapping.community_properties(_parcel(attributes=said), PMODE) == ()


def test_a_file_name_travels_as_a_part_property():
    """PayloadName, cut to the length peers take; none for a payload without a name."""
    assert mapping.part_properties(_payload("a.json")) == (Property("PayloadName", "a.json"),)
    assert mapping.part_properties(_payload("n" * 400)) == (Property("PayloadName", "n" * 255),)
    assert mapping.part_properties(_payload("")) == ()


@pytest.mark.assertion("CP_TA27", "CP_TA28")
@pytest.mark.parametrize(
    ("media_type", "said"),
    [
        ("text/plain; charset=utf-16", "utf-16"),
        ('text/xml;Charset = "ISO-8859-1" ; version=1', "ISO-8859-1"),
        ("text/plain; format=flowed;charset=UTF-8", "UTF-8"),
        ("text/plain", None),
        ("text/plain; charset=", None),
        ("text/plain; charset=8-bit", None),
        ("text/plain; charset=utf*8", None),
    ],
)
def test_a_character_set_travels_as_a_part_property(media_type: str, said: str | None):
    """CharacterSet where the media type says one that has a name; before the payload's own name."""
    properties = mapping.part_properties(Payload("a", media_type, 3, b"\x01" * 32, b"sealed"))
    assert properties == ((Property("CharacterSet", said),) if said else ()) + (Property("PayloadName", "a"),)


# --- in ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("C:\\files\\a", "C:_files_a"),
        ("two\nlines\x00", "two_lines_"),
        ("æøå.txt", "æøå.txt"),
        ("n" * 300, "n" * 255),
        ("", "payload-3"),
        (None, "payload-3"),
    ],
)
def test_a_received_name_is_something_to_show_and_never_a_path(said: str | None, shown: str):
    """Separators and what cannot be printed are replaced; a payload without a name gets a number."""
    properties = () if said is None else (Property("payloadname", said),)
    assert mapping.payload_name(PartInfo("c@x", properties), 2) == shown


def test_part_properties_of_a_community_reach_the_record_system():
    """As the attribute that sends them; others stay where they are."""
    info = PartInfo("c@x", (Property("edigasdocumenttype", "01G"), Property("Other", "x")))
    gas = replace(_accepted(parts=(info,)), pmode=GAS)
    assert _described(gas).attributes["as4.part-property.EDIGASDocumentType"] == "01G"
    assert "as4.part-property.EDIGASDocumentType" not in _described(replace(_accepted(), pmode=GAS)).attributes
    assert not [a for a in _described(replace(gas, pmode=PMODE)).attributes if a.startswith("as4.part-property")]


@given(st.text())
def test_no_received_name_leads_anywhere(said: str):
    """Whatever a peer writes, the name has no separator, no control character and a bounded length."""
    name = mapping.payload_name(PartInfo("c@x", (Property("PayloadName", said),)), 0)
    assert name and len(name) <= 255 and name.isprintable()
    assert not {"/", "\\"} & set(name)


@pytest.mark.assertion("CP_TA27")
@pytest.mark.parametrize(
    ("media_type", "charset", "shown"),
    [
        ("text/plain", None, "text/plain"),
        ("text/plain", "UTF-16", "text/plain; charset=UTF-16"),
        ("text/plain; charset=utf-16", "UTF-16", "text/plain; charset=utf-16"),
        ("text/plain; charset=iso-8859-1", "UTF-16", "text/plain; charset=iso-8859-1"),
    ],
)
def test_a_received_character_set_stays_with_the_media_type(media_type: str, charset: str | None, shown: str):
    """What stands beside the media type is added to it, unless it says one itself."""
    properties = () if charset is None else (Property("characterset", charset),)
    part = ReceivedPart(PartInfo("c@x", properties), media_type, 3, b"\x01" * 32, Buffer())
    assert mapping.media_type(part) == shown


@pytest.mark.requirement("R92")
def test_a_message_is_described_in_the_kernels_words():
    """Type, sensitivity and priority are the integration's; ids, parties and properties are kept as attributes."""
    properties = (Property("caseNumber", "7"), Property(names.FINAL_RECIPIENT, "urn:demo:ward", "urn:demo:corner"))
    accepted = _accepted(properties=properties, ref_to_message_id="m-0@y.example")
    description = _described(accepted, (_payload(size=3), _payload("b", 4)))
    assert (description.type, description.sender, description.sensitivity) == (
        "observation",
        "ward-record",
        "sensitive",
    )
    assert (description.correlation_id, description.occurred) == ("conversation-1", NOW)
    assert (description.media_type, description.size, description.digest) == ("application/json", 7, "01" * 32)
    assert description.attributes == {
        "as4.message-id": "m-1@municipality.example",
        "as4.from": "demo-municipality (type urn:demo:parties)",
        "as4.to": "demo-hospital (type urn:demo:parties)",
        "as4.service": "urn:demo:homecare",
        "as4.action": "deliver",
        "as4.ref-to-message-id": "m-0@y.example",
        "as4.property.caseNumber": "7",
        f"as4.property.{names.FINAL_RECIPIENT}": "urn:demo:ward",
    }


def test_an_exchange_may_name_the_type_of_what_arrives():
    """Else it is the integration's first."""
    assert _described(_accepted(), type="note").type == "note"


def test_a_message_without_payloads_is_described_too():
    """Nothing to measure, nothing to digest."""
    description = _described(_accepted(conversation_id=""))
    assert (description.media_type, description.size, description.digest) == ("application/octet-stream", 0, "")
    assert (description.correlation_id, "as4.ref-to-message-id" in description.attributes) == (None, False)


def test_every_property_is_kept_or_the_message_is_refused():
    """As many as a description has room for are all kept; with one more nothing is dropped in silence."""
    properties = tuple(Property(f"p{n}", "x") for n in range(limits.DESCRIPTION_ITEMS - 6))
    description = _described(_accepted(properties=properties, ref_to_message_id="m-0@y.example"))
    assert len(description.attributes) == limits.DESCRIPTION_ITEMS
    assert {f"as4.property.{p.name}" for p in properties} <= set(description.attributes)
    with pytest.raises(EbmsError, match=r"EBMS:0003 .*MessageProperties: 95 properties, at most 94 can be kept"):
        _described(_accepted(properties=(*properties, Property("more", "x")), ref_to_message_id="m-0@y.example"))


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"conversation_id": "two\nlines"}, "ConversationId"),
        ({"conversation_id": "c" * 1025}, "ConversationId"),
        ({"properties": (Property("case\x07Number", "7"),)}, "property.case\x07Number"),
        ({"properties": (Property("caseNumber", "two\nlines"),)}, "property.caseNumber"),
        ({"message_id": "m\x7f@x.example"}, "message-id"),
    ],
)
def test_a_value_that_is_no_line_of_text_is_refused_and_named(fields: dict[str, Any], where: str):
    """The catalogue's ValueInconsistent with the header's own name for the field."""
    with pytest.raises(EbmsError) as caught:
        _described(_accepted(**fields))
    assert caught.value.error.code == "EBMS:0003"
    assert caught.value.field.startswith(where)
    assert caught.value.remedy == "send one line of printable text"


def test_the_trace_says_who_spoke_under_which_certificate():
    """Common name, address and algorithms; `nobody` where no signature was demanded."""
    assert mapping.facts(_accepted(), "127.0.0.1") == {
        "message": "m-1@municipality.example",
        "from": "demo-municipality (type urn:demo:parties)",
        "signed by": "Demo Stranger signing",
        "peer": "127.0.0.1",
        "signature": names.RSA_SHA256,
    }
    assert mapping.facts(_accepted(certificate=False), "")["signed by"] == "nobody"


def test_what_goes_out_comes_in_as_the_same():
    """Conversation, reference and properties of a parcel are those of the parcel on the other side."""
    attributes = {"as4.property.caseNumber": "7", "as4.ref-to-message-id": "m-0@y.example"}
    sent = mapping.user_message(
        _parcel(correlation_id="case-7", attributes=attributes), _partner(), PMODE, "m@x.example", NOW
    )
    received = _described(Accepted(sent, PMODE, None, (), (), {}))
    assert received.correlation_id == "case-7"
    assert attributes.items() <= received.attributes.items()


def test_a_ping_is_the_test_service_between_the_agreed_parties():
    """No payload, nothing answered, a conversation of its own [eD1.15 §1.4.2.4]."""
    agreement = ebms.Typed("urn:demo:agreement")
    message = mapping.test_message(replace(PMODE, agreement=agreement), "m-1@x.example", NOW)
    assert message.is_test
    assert (message.service, message.action) == (ebms.Typed(names.TEST_SERVICE), names.TEST_ACTION)
    assert (message.from_, message.to, message.agreement, message.mpc) == (US, THEM, agreement, names.DEFAULT_MPC)
    assert (message.message_id, message.conversation_id, message.timestamp) == ("m-1@x.example", "m-1", NOW)
    assert (message.ref_to_message_id, message.pmode, message.properties, message.parts) == (None, None, (), ())
