"""A Domibus P-Mode file as it stands: what is read, what is said of the rest, and what is refused."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from accesspoint.ebms import Typed
from core import limits
from core.errors import ConfigError
from gateways.as4.moving import domibus
from tests.gateways.as4.moving.making import EB, WHOLE, about, changed, read


def _refused(text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        domibus.read(text if isinstance(text, bytes) else text.encode(), "pmode.xml")
    assert caught.value.file == "pmode.xml"
    return caught.value


def test_the_fixture_is_a_p_mode_by_domibus_own_schema(shared):
    """What these tests read is what Domibus would take."""
    schema = etree.XMLSchema(etree.parse(shared / "schemas" / "ebms" / "domibus-pmode.xsd"))
    schema.assertValid(etree.fromstring(WHOLE.encode()))


def test_a_whole_file_is_read():
    """Parties, legs and processes stand with everything they refer to."""
    pmode = read()
    assert pmode.party == "North_Harbour"
    assert pmode.named("SOUTH_valley") == domibus.Party(
        "South_Valley", (Typed("south-valley", "urn:fictitious:towns"),), "https://south.valley.example/as4"
    )
    assert pmode.named("west") is None
    leg = pmode.legs[0]
    assert leg == domibus.Leg(
        name="announceLeg",
        service=Typed("urn:fictitious:service:arrivals", "urn:fictitious:services"),
        action="announce",
        policy="eDeliveryAS4Policy_BST.xml",
        signature_method="RSA_SHA256",
        security_profile="",
        mpc=f"{EB}defaultMPC",
        retry="12;4;CONSTANT",
        duplicate_detection=True,
        reply_pattern="response",
        non_repudiation=True,
        error_as_response=True,
        properties=(),
        payload_profile=None,
        compress=True,
        splitting="",
    )
    assert pmode.processes[0] == domibus.Process(
        name="announcing",
        initiators=("north_harbour",),
        responders=("south_valley", "east_ridge"),
        legs=(leg,),
        initiator_role=f"{EB}initiator",
        responder_role=f"{EB}responder",
        agreement=Typed("urn:fictitious:agreement:port", None),
        mep="oneway",
        binding="push",
    )
    assert (leg.label, pmode.processes[0].label) == ("legConfiguration announceLeg", "process announcing")


def test_property_sets_payload_profiles_and_splitting_belong_to_their_leg():
    """A leg knows its properties, payloads and splitting."""
    extra = 'compressPayloads="false" propertySet="corners" payloadProfile="manifests" splitting="large"'
    leg = read(('compressPayloads="true"', extra)).legs[0]
    assert leg.properties == (("originalSender", True), ("finalRecipient", True))
    payload = domibus.Payload("manifest", "cid:manifest", False, 4096)
    assert leg.payload_profile == domibus.PayloadProfile("manifests", 10000, (payload,))
    assert leg.splitting == "large"
    assert leg.compress is False


@pytest.mark.parametrize(("said", "is_in_body"), [("", False), ("false", False), ("true", True), ("body.xml", True)])
def test_a_payload_in_the_body_is_known(said, is_in_body):
    """``inBody`` counts unless it says no."""
    pmode = read(
        ('compressPayloads="true"', 'compressPayloads="true" payloadProfile="manifests"'),
        ('mimeType="text/xml"', f'inBody="{said}"'),
    )
    assert pmode.legs[0].payload_profile.payloads[0].in_body is is_in_body


def test_what_is_not_said_has_domibus_own_meaning():
    """Optional attributes that are missing read as Domibus reads them; names count whatever their case."""
    pmode = read(
        (' retry="12;4;CONSTANT" duplicateDetection="true"', ""),
        (' replyPattern="response" nonRepudiation="true"', ""),
        ('errorAsResponse="true" ', ""),
        ('service="arrivals" action="announce"', 'service="ARRIVALS" action="Announce"'),
        ('agreement="port" ', ""),
    )
    leg = pmode.legs[0]
    assert (leg.retry, leg.duplicate_detection, leg.reply_pattern) == (None, True, "")
    assert (leg.non_repudiation, leg.error_as_response, leg.action) == (True, True, "announce")
    assert pmode.processes[0].agreement is None


def test_a_leg_that_names_few_things_is_read():
    """A leg needs service, action and security, and no more."""
    references = (
        'defaultMpc="defaultMpc"\n        receptionAwareness="awareness" reliability="receipts" errorHandling="errors"'
    )
    leg = read((references, "")).legs[0]
    assert (leg.mpc, leg.retry, leg.reply_pattern) == ("", None, "")


def test_an_agreement_without_a_value_is_none():
    """Domibus writes no AgreementRef for it."""
    assert read(('agreement="port"', 'agreement="none"')).processes[0].agreement is None


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        WHOLE.replace("?>", '?><!DOCTYPE x [<!ENTITY a "b">]>', 1),
        WHOLE.replace("?>", '?><!DOCTYPE x SYSTEM "file:///etc/hostname">', 1),
    ],
)
def test_a_document_type_is_refused(text):
    """No entity is ever looked at."""
    assert _refused(text).cause == "has a document type declaration"


def test_a_bomb_of_entities_costs_nothing():
    """Nested entities are refused before they are read."""
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]>'
    assert "document type" in _refused(WHOLE.replace("?>", f"?>{bomb}", 1)).cause


@pytest.mark.parametrize(
    ("octets", "words"),
    [
        (b"", "not well-formed"),
        (b"<configuration", "not well-formed"),
        (b"\xff\xfe<\x00", "not UTF-8"),
        (b"PK\x03\x04 a zip archive", "not well-formed"),
        (WHOLE.encode() + b" " * limits.DOCUMENT_SIZE, f"larger than {limits.DOCUMENT_SIZE} octets"),
    ],
)
def test_what_is_no_xml_is_refused(octets, words):
    """The reason says what it is instead, and the remedy where to get the right thing."""
    refused = _refused(octets)
    assert words in refused.cause
    assert "export" in refused.remedy


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("<configuration/>", "'configuration'"),
        ('<PMode xmlns="http://holodeck-b2b.org/schemas/2014/10/pmode"/>', "'PMode'"),
        ('<a:mpcs xmlns:a="http://domibus.eu/configuration"/>', "'mpcs'"),
    ],
)
def test_another_root_is_refused(text, named):
    """A file of another product is told apart by its first element and namespace."""
    refused = _refused(text)
    assert named in refused.cause
    assert domibus.NAMESPACE in refused.remedy


@pytest.mark.parametrize(
    ("old", "new", "element", "attribute"),
    [
        (' party="North_Harbour"', "", "configuration", "party"),
        (' name="South_Valley"', "", "party", "name"),
        (' partyId="north-harbour"', "", "identifier", "partyId"),
        (' binding="push"', "", "process announcing", "binding"),
        (' security="agreed"', "", "legConfiguration announceLeg", "security"),
    ],
)
def test_an_attribute_that_is_needed_is_missed(old, new, element, attribute):
    """The error names the element and the attribute."""
    refused = _refused(changed((old, new)))
    assert (refused.field, refused.cause) == (element, f"has no attribute {attribute}")


@pytest.mark.parametrize(
    ("old", "new", "element"),
    [
        ('party name="East_Ridge"', 'party name="south_valley"', "party south_valley"),
        ('name="confirmLeg"', 'name="announceLeg"', "legConfiguration announceLeg"),
        ('process name="confirming"', 'process name="announcing"', "process announcing"),
        ('role name="pilot"', 'role name="first"', "role first"),
    ],
)
def test_a_name_that_stands_twice_is_refused(old, new, element):
    """Nobody can know which of the two is meant."""
    refused = _refused(changed((old, new)))
    assert (refused.field, refused.cause) == (element, "stands twice")


# --- what is left out, and said ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attribute", "old"),
    [
        ("service", 'service="arrivals"'),
        ("action", 'action="announce"'),
        ("security", 'security="agreed"'),
        ("defaultMpc", 'defaultMpc="defaultMpc"'),
        ("receptionAwareness", 'receptionAwareness="awareness"'),
        ("reliability", 'reliability="receipts"'),
        ("errorHandling", 'errorHandling="errors"'),
    ],
)
def test_a_leg_that_refers_to_nothing_is_left_out(attribute, old):
    """The leg is said to be left out, and so is its use in the process."""
    pmode = read((old, f'{attribute}="nowhere"'))
    assert [leg.name for leg in pmode.legs] == ["confirmLeg"]
    (one,) = about(pmode.findings, f"its {attribute} 'nowhere'", "left out")
    assert (one.element, one.remedy) == ("legConfiguration announceLeg", "correct the name in Domibus, export again")
    assert about(pmode.findings, "process announcing: its leg 'announceLeg' cannot be used", "left out")
    assert pmode.processes[0].legs == ()


def test_a_leg_with_an_empty_reference_is_left_out():
    """An attribute that is there and empty names nothing."""
    pmode = read(('security="agreed"', 'security=""'))
    assert about(pmode.findings, "legConfiguration announceLeg: names no service, action or security", "left out")
    assert [leg.name for leg in pmode.legs] == ["confirmLeg"]


@pytest.mark.parametrize(
    ("old", "named"),
    [
        ('initiatorRole="first"', "initiatorRole 'nowhere'"),
        ('responderRole="second"', "responderRole 'nowhere'"),
        ('binding="push"', "binding 'nowhere'"),
        ('mep="oneway"', "mep 'nowhere'"),
        ('agreement="port"', "agreement 'nowhere'"),
    ],
)
def test_a_process_that_refers_to_nothing_is_left_out(old, named):
    """The process is said to be left out, with the reference that leads nowhere."""
    pmode = read((old, re.sub('".*"', '"nowhere"', old)))
    assert [process.name for process in pmode.processes] == ["confirming"]
    assert about(pmode.findings, f"process announcing: its {named} is defined nowhere", "left out")


def test_a_party_that_a_process_names_must_be_there():
    """A process goes on with the parties that are."""
    pmode = read(('responderParty name="East_Ridge"', 'responderParty name="West"'))
    assert pmode.processes[0].responders == ("south_valley",)
    assert about(pmode.findings, "process announcing: its responderParty 'West' cannot be used", "left out")


def test_a_party_that_a_process_names_twice_counts_once():
    """A repeated name adds nothing."""
    pmode = read(('responderParty name="East_Ridge"', 'responderParty name="South_Valley"'))
    assert pmode.processes[0].responders == ("south_valley",)


def test_an_identifier_of_an_unknown_type_is_left_out():
    """A wrong type would be a wrong name: it is not taken without."""
    pmode = read(('partyId="south-valley" partyIdType="towns"', 'partyId="south-valley" partyIdType="villages"'))
    assert pmode.named("South_Valley").identifiers == ()
    assert about(pmode.findings, "party South_Valley: its identifier's partyIdType 'villages'", "left out")


def test_an_identifier_may_have_no_type():
    """It is read as it stands."""
    pmode = read(('partyId="south-valley" partyIdType="towns"', 'partyId="south-valley"'))
    assert pmode.named("South_Valley").identifiers == (Typed("south-valley", None),)


def test_a_password_is_said_to_be_there_and_never_shown():
    """Neither the user's name nor the password is in anything that comes out."""
    pmode = read(('<party name="South_Valley"', '<party userName="skipper" password="barnacle" name="South_Valley"'))
    assert about(pmode.findings, "party South_Valley: userName and password are not used", "left out")
    assert "skipper" not in repr(pmode)
    assert "barnacle" not in repr(pmode)


def test_references_inside_sets_and_profiles_are_followed_or_said():
    """A property or a payload that is nowhere is left out of its set."""
    extra = 'compressPayloads="true" propertySet="corners" payloadProfile="manifests"'
    pmode = read(
        ('compressPayloads="true"', extra),
        ('propertyRef property="senderProperty"', 'propertyRef property="nowhere"'),
        ('attachment name="manifest"', 'attachment name="nowhere"'),
    )
    assert pmode.legs[0].properties == (("finalRecipient", True),)
    assert pmode.legs[0].payload_profile.payloads == ()
    assert about(pmode.findings, "propertySet corners: its property 'nowhere'", "left out")
    assert about(pmode.findings, "payloadProfile manifests: its payload 'nowhere'", "left out")


def test_comments_and_processing_instructions_are_passed_over():
    """Domibus' own files are full of comments."""
    pmode = read(("<roles>", "<roles><!-- who --><?why so?>"), ("<legs>", "<legs><!-- one -->"))
    assert pmode.processes[0].initiator_role == f"{EB}initiator"
    assert [leg.name for leg in pmode.processes[0].legs] == ["announceLeg"]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_whatever_becomes_of_a_file_it_is_read_or_refused(data):
    """Octets cut out or put in anywhere: a P-Mode or a `ConfigError`, nothing else."""
    octets = WHOLE.encode()
    start = data.draw(st.integers(0, len(octets)))
    end = data.draw(st.integers(start, min(len(octets), start + 200)))
    broken = octets[:start] + data.draw(st.binary(max_size=20)) + octets[end:]
    try:
        pmode = domibus.read(broken, "pmode.xml")
    except ConfigError as error:
        assert error.cause
    else:
        assert isinstance(pmode, domibus.PMode)
