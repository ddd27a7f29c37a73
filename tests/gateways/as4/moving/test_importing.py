"""A Domibus P-Mode as documents of our own, which are in order once the certificates are put in place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import Configuration, load
from core.description import Address, Description
from core.errors import ConfigError
from core.system import RESIDUAL
from gateways.as4.moving import domibus
from gateways.as4.moving.importing import Ids, Imported, imported, slug
from gateways.as4.moving.shape import Finding
from gateways.as4.settings import Partner
from tests.gateways.as4.making import CATALOGUE, authority
from tests.gateways.as4.moving.making import EB, WHOLE, about, read

LEG = 'compressPayloads="true"'


def _imported(*pairs: tuple[str, str], party: str = "") -> Imported:
    return imported(read(*pairs), party)


def _documents(result: Imported, kind: str) -> dict[str, dict[str, Any]]:
    every = [document for documents in result.documents.values() for document in documents]
    found = {document["id"]: document for document in every if document["kind"] == kind}
    assert len(found) == sum(document["kind"] == kind for document in every), "an id is there twice"
    return found


def _partner(result: Imported, name: str = "south_valley") -> Partner:
    return Partner.model_validate(_documents(result, "as4.partner")[name])


def _applied(result: Imported, folder: Path) -> Configuration:
    """The documents with real certificates in place, checked as `stafet check` does."""
    pem = authority().issue("Fictitious access point", "signing").certificate_pem()
    for name, documents in result.documents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))
    for one in result.certificates:
        path = folder / one.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pem)
    return load(folder, CATALOGUE.kinds, CATALOGUE.checks)


def test_the_documents_are_in_order_once_the_certificates_are_there(tmp_path):
    """`stafet check` finds nothing wrong, parcels find their way, and both sides may do what they did."""
    configuration = _applied(_imported(), tmp_path)
    assert set(configuration.all("as4.partner")) == {"south_valley", "east_ridge"}
    sent = Description(type="x", sender="north_harbour", receiver=Address(system="east_ridge"))
    decision = configuration.routes.choose(sent, "arrivals-announce")
    assert [(t.system, t.gateway, t.destination) for t in decision.targets] == [("east_ridge", "as4", "east_ridge")]
    arrived = configuration.routes.choose(Description(type="x", sender="south_valley"), "arrivals-confirm")
    assert [(t.system, t.gateway) for t in arrived.targets] == [("north_harbour", "")]
    assert configuration.agreed("arrivals-announce", "north_harbour", "send", 1)
    assert configuration.agreed("arrivals-announce", "east_ridge", "receive", 1)
    assert configuration.agreed("arrivals-confirm", "south_valley", "send", 1)
    assert configuration.agreed("arrivals-confirm", "north_harbour", "receive", 1)
    assert not configuration.agreed("arrivals-confirm", "north_harbour", "send", 1)


def test_a_partner_says_what_the_file_said():
    """Every value of the counterpart in our words."""
    assert _documents(_imported(), "as4.partner")["south_valley"] == {
        "kind": "as4.partner",
        "id": "south_valley",
        "title": "South_Valley",
        "party": "north_harbour",
        "party_id": {"value": "south-valley", "type": "urn:fictitious:towns"},
        "system": "south_valley",
        "profile": "edelivery-1.15",
        "url": "https://south.valley.example/as4",
        "signing_certificates": ["certificates/south_valley-signing.pem"],
        "encryption_certificate": "certificates/south_valley-encryption.pem",
        "key_reference": "binary-security-token",
        "exchanges": [
            {
                "integration": f"arrivals-{action}",
                "service": {"value": "urn:fictitious:service:arrivals", "type": "urn:fictitious:services"},
                "action": action,
                "direction": direction,
            }
            for action, direction in (("announce", "send"), ("confirm", "receive"))
        ],
        "retry": {"attempts": 5, "first_wait": 180.0, "longest_wait": 180.0},
        "compress": True,
        "agreement": {"value": "urn:fictitious:agreement:port"},
    }


def test_our_identity_is_made_of_our_party():
    """With the names of the keys that are to be imported."""
    assert _documents(_imported(), "as4.party") == {
        "north_harbour": {
            "kind": "as4.party",
            "id": "north_harbour",
            "title": "North_Harbour",
            "party_id": {"value": "north-harbour", "type": "urn:fictitious:towns"},
            "signing_key": "signing",
            "decryption_keys": ["decryption"],
            "message_id_domain": "north.harbour.example",
        }
    }


def test_the_other_side_is_the_mirror():
    """The same file from the side of a counterpart: parties, directions and urls change places."""
    partner = _partner(_imported(party="south_VALLEY"), "north_harbour")
    assert partner.party == "south_valley"
    assert partner.url == "https://north.harbour.example:8443/services/msh"
    assert [(e.action, e.direction) for e in partner.exchanges] == [("announce", "receive"), ("confirm", "send")]


def test_what_is_left_to_do_is_said():
    """Keys, the address, certificates and approvals are a person's work, and each is said once."""
    todo = [f.element for f in _imported().findings if f.level == "to do"]
    assert todo == [
        "party North_Harbour",
        "party North_Harbour",
        "party South_Valley",
        "party East_Ridge",
        "every service-agreement",
    ]


def test_certificates_are_named_by_file_party_and_use():
    """Two files for each counterpart."""
    assert [(w.file, w.party, w.use) for w in _imported().certificates[:2]] == [
        ("certificates/south_valley-signing.pem", "South_Valley", "signing"),
        ("certificates/south_valley-encryption.pem", "South_Valley", "encryption"),
    ]


def test_an_exchange_both_ways_is_one():
    """A leg that either side may start is one exchange, and each system may do both."""
    result = _imported(
        ('<leg name="confirmLeg"/>', '<leg name="confirmLeg"/><leg name="announceLeg"/>'),
    )
    assert [(e.action, e.direction) for e in _partner(result).exchanges] == [
        ("announce", "both"),
        ("confirm", "receive"),
    ]
    assert {a["may"] for a in _documents(result, "service-agreement").values() if a["system"] == "south_valley"} == {
        "both",
        "send",
    }


def test_two_legs_with_one_service_and_action_are_one_exchange():
    """The first is taken for both, and said so."""
    result = _imported(('action="confirm" security', 'action="announce" security'))
    assert [(e.action, e.direction) for e in _partner(result).exchanges] == [("announce", "both")]
    (note,) = about(result.findings, "has the service and action of legConfiguration announceLeg", "note")
    assert note.element == "legConfiguration confirmLeg"


def test_a_policy_a_signature_method_and_roles_go_over():
    """Key reference, further algorithms and business roles are the partner's own."""
    result = _imported(
        ("eDeliveryAS4Policy_BST.xml", "eDeliveryAS4Policy_IS.xml"),
        ("RSA_SHA256", "RSA_SHA512"),
        ('initiatorRole="first"', 'initiatorRole="pilot"'),
    )
    partner = _partner(result, "east_ridge")
    assert (partner.key_reference, partner.also_accept) == ("issuer-serial", ("rsa-sha512",))
    assert (partner.our_role, partner.their_role) == ("urn:fictitious:role:pilot", f"{EB}responder")
    assert about(result.findings, "what we send is signed with RSA_SHA256", "changed")


def test_names_without_a_type_are_allowed_where_the_file_has_them():
    """Else every message would be refused for them."""
    assert _partner(_imported(('partyId="south-valley" partyIdType="towns"', 'partyId="south-valley"'))).untyped_names
    assert _partner(
        _imported((' type="urn:fictitious:services"', ""), ("urn:fictitious:service:arrivals", "a"))
    ).untyped_names
    assert _partner(_imported(('value="urn:fictitious:agreement:port"', 'value="port"'))).untyped_names
    assert not _partner(_imported()).untyped_names


def test_an_agreement_that_is_none_is_none():
    """The partner has none either."""
    result = _imported(('agreement="port"', 'agreement="none"'), ('agreement="port"', 'agreement="none"'))
    assert _partner(result).agreement is None


# --- corners, sizes ---------------------------------------------------------------------------------------------------


def test_corners_that_every_leg_demands_are_the_profile(tmp_path):
    """Who stands behind is not in the file: the access points stand in, and a person is told."""
    corners = (f"{LEG}/>", f'{LEG} propertySet="corners"/>')
    result = _imported(corners, corners)
    partner = _partner(result)
    assert partner.profile == "edelivery-1.15-four-corner"
    assert partner.four_corner is not None
    assert partner.four_corner.original_sender.value == "north-harbour"
    assert partner.four_corner.final_recipient.value == "south-valley"
    assert about(result.findings, "as4.partner south_valley: originalSender and finalRecipient", "to do")
    assert _applied(result, tmp_path)


GAS = (
    ('value="urn:fictitious:service:arrivals" type="urn:fictitious:services"', 'value="A06" type="http://edigas.org/service"'),
    ('value="urn:fictitious:towns"', 'value="http://www.entsoe.eu/eic-codes/eic-party-codes-x"'),
    ('partyId="north-harbour"', 'partyId="12XBKW-HANDEL--X"'),
    ('partyId="south-valley"', 'partyId="21X-NL-A-A0A0A-Z"'),
    ('partyId="east-ridge"', 'partyId="21X-EU-A-X0A0Y-Z"'),
    *((f'name="{a}" value="{a}"', f'name="{a}" value="http://docs.oasis-open.org/ebxml-msg/as4/200902/action"')
      for a in ("announce", "confirm")),
)  # fmt: skip


def test_the_gas_network_s_services_are_its_profile(tmp_path):
    """With what it demands filled in, and said to have changed."""
    result = _imported(*GAS)
    partner = _partner(result)
    assert (partner.profile, partner.max_payloads, partner.max_size) == ("entsog-3", 1, 10_000_000)
    assert about(result.findings, "as4.partner south_valley: its services are those of entsog-3", "changed")
    assert _applied(result, tmp_path)


def test_what_the_gas_network_s_profile_forbids_leaves_the_plain_one():
    """Each reason is said."""
    result = _imported(*GAS[:2])
    assert _partner(result).profile == "edelivery-1.15"
    (found,) = about(
        result.findings, "as4.partner south_valley: its services are those of the profile entsog-3", "note"
    )
    for words in ("our party_id.value is 'north-harbour'", "party_id.value is 'south-valley'", "action is 'announce'"):
        assert words in str(found)
    wrong = _imported(*GAS, ('endpoint="https://south.valley.example/as4"', 'endpoint="no address"'))
    assert "which is not taken: url: " in str(about(wrong.findings, "as4.partner south_valley", "note"))


def test_peppol_s_party_ids_are_a_hint():
    """Its profile needs what no P-Mode says: that is for a person."""
    result = _imported(('value="urn:fictitious:towns"', 'value="urn:fdc:peppol.eu:2017:identifiers:ap"'))
    assert _partner(result).profile == "edelivery-1.15"
    assert about(result.findings, "as4.partner south_valley: its party ids are those of the profile peppol", "to do")


def test_corners_of_one_leg_are_sent_and_not_demanded():
    """The profile would demand them of every message."""
    result = _imported((LEG, f'{LEG} propertySet="corners"'))
    partner = _partner(result)
    assert (partner.profile, partner.four_corner is None) == ("edelivery-1.15", False)
    assert about(result.findings, "as4.partner south_valley: not every leg demands the corners", "changed")


def test_corners_that_may_be_left_out_are_left_out():
    """What is not required is not sent."""
    optional = 'datatype="string" required="false"'
    result = _imported((LEG, f'{LEG} propertySet="corners"'), ('datatype="string" required="true"', optional))
    assert _partner(result).four_corner is None


def test_a_bound_of_every_leg_is_the_partners(tmp_path):
    """Octets and number of payloads; the integration has the same bound."""
    result = _imported((f"{LEG}/>", f'{LEG} payloadProfile="manifests"/>'))
    east = _partner(result, "east_ridge")
    assert (east.max_size, east.max_payloads) == (4096, 1)
    south = _partner(result)
    assert (south.max_size, south.max_payloads) == (4 * 1024**3, 28)
    integrations = _documents(result, "integration")
    assert integrations["arrivals-announce"]["max_size"] == 4096
    assert "max_size" not in integrations["arrivals-confirm"]
    assert _applied(result, tmp_path)


# --- what is left out -------------------------------------------------------------------------------------------------


def test_a_leg_that_no_partner_can_say_is_left_out():
    """The other legs go over; the refusal is said once, though two counterparts have the leg."""
    result = _imported(('security="agreed"', 'security="open"'))
    assert [e.action for e in _partner(result).exchanges] == ["confirm"]
    (one,) = about(result.findings, "legConfiguration announceLeg: its security policy doNothingPolicy.xml", "left out")
    assert about(result.findings, "party East_Ridge: no exchange is left with it", "left out")
    assert "east_ridge" not in _documents(result, "as4.partner")
    assert one.remedy


def test_the_test_service_needs_no_exchange():
    """Every partner may be pinged."""
    result = _imported(('service="arrivals" action="announce"', 'service="testing" action="test"'))
    assert [e.action for e in _partner(result).exchanges] == ["confirm"]
    assert about(result.findings, "announceLeg: is the test service", "note")


def test_a_counterpart_without_an_identifier_is_left_out():
    """It could not be recognised."""
    result = _imported(('partyId="east-ridge" partyIdType="towns"', 'partyId="east-ridge" partyIdType="villages"'))
    assert set(_documents(result, "as4.partner")) == {"south_valley"}
    assert about(result.findings, "party East_Ridge: has no identifier that can be read", "left out")


@pytest.mark.parametrize(("same", "whose"), [("south-valley", "South_Valley"), ("north-harbour", "North_Harbour")])
def test_two_parties_with_one_identifier_are_not_told_apart(same, whose):
    """The second is left out, whether the first is a counterpart or we."""
    result = _imported(('partyId="east-ridge"', f'partyId="{same}"'))
    assert set(_documents(result, "as4.partner")) == {"south_valley"}
    assert about(result.findings, f"party East_Ridge: has the same identifier as party {whose}", "left out")


def test_further_identifiers_are_said():
    """A partner has one, and so have we."""
    more = '<identifier partyId="other" partyIdType="towns"/>'
    for name, whose in (("south-valley", "its"), ("north-harbour", "your")):
        line = f'<identifier partyId="{name}" partyIdType="towns"/>'
        result = _imported((line, line + more))
        assert about(result.findings, f"{whose} further identifier other (type urn:fictitious:towns)", "left out")


def test_a_value_that_a_document_does_not_take_is_said():
    """The counterpart is left out with the field and the reason; the others go over."""
    result = _imported(("https://east.ridge.example/as4", "mailto:east ridge"))
    assert set(_documents(result, "as4.partner")) == {"south_valley"}
    assert about(result.findings, "as4.partner east_ridge: url: ", "left out")


def test_a_counterpart_without_an_endpoint_leads_nowhere_and_says_so():
    """One that only sends has none in Domibus."""
    result = _imported(("https://south.valley.example/as4", ""))
    assert _partner(result).url == "https://south-valley.invalid/"
    assert about(result.findings, "party South_Valley: has no endpoint", "to do")


def test_plain_http_is_noted():
    """It goes over as it is."""
    result = _imported(("https://south.valley.example/as4", "http://south.valley.example/as4"))
    assert _partner(result).url == "http://south.valley.example/as4"
    assert about(result.findings, "party South_Valley: its endpoint is plain HTTP", "note")


@pytest.mark.parametrize(
    ("endpoint", "domain"),
    [
        ("https://node.north.example/as4", "node.north.example"),
        ("http://localhost:8080/as4", None),
        ("https://192.0.2.7/as4", None),
        ("https://[::1/as4", None),
        ("https://" + "a" * 100 + ".example/as4", None),
        ("", None),
    ],
)
def test_message_ids_have_our_public_name(endpoint, domain):
    """Where the endpoint has one; else the default stays."""
    result = _imported(("https://north.harbour.example:8443/services/msh", endpoint))
    assert _documents(result, "as4.party")["north_harbour"].get("message_id_domain") == domain
    assert bool(about(result.findings, "counterparts send to", "to do")) is bool(endpoint)


# --- what cannot be done at all ---------------------------------------------------------------------------------------


def _refused(*pairs: tuple[str, str], party: str = "") -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        _imported(*pairs, party=party)
    return caught.value


def test_we_must_be_one_of_the_parties():
    """The error names those there are."""
    refused = _refused(party="West")
    assert refused.cause == "no party is called 'West'"
    assert "North_Harbour, South_Valley, East_Ridge" in refused.remedy


def test_we_must_have_an_identifier_that_is_one():
    """Without it nobody could be answered."""
    unknown = ('partyId="north-harbour" partyIdType="towns"', 'partyId="north-harbour" partyIdType="villages"')
    assert _refused(unknown).cause == "has no identifier that can be read"
    empty = _refused(('partyId="north-harbour"', 'partyId=""'))
    assert empty.field == "party North_Harbour"
    assert empty.cause.startswith("cannot be an as4.party: party_id.value: ")


def test_a_file_of_which_nothing_goes_over_is_an_error():
    """With the reasons, so that nobody looks for an empty folder's cause."""
    refused = _refused(('binding="push"', 'binding="pull"'), ('binding="push"', 'binding="pull"'))
    assert refused.cause == "nothing can be carried over for North_Harbour"
    assert "comes with pull" in refused.remedy


# --- ids --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("North_Harbour", "north_harbour"),
        ("Ærø Færge 2", "r-frge-2"),
        ("Höfn/Süd", "hofn-sud"),
        ("--x--", "x"),
        ("漢字", "unnamed"),
        ("", "unnamed"),
        ("a" * 63 + "-b", "a" * 63),
    ],
)
def test_a_name_becomes_an_id(text, name):
    """Lower case letters, digits, dot, underscore and dash, at most 64."""
    assert slug(text) == name


def test_two_things_never_share_an_id():
    """And one thing always has its own."""
    ids = Ids(RESIDUAL)
    assert [ids.of(1, "a"), ids.of(2, "A"), ids.of(1, "other"), ids.of(3, "a")] == ["a", "a-2", "a", "a-3"]
    assert ids.of(4, "residual") == "residual-2"
    assert ids.of(5, "b" * 64) == "b" * 64
    assert ids.of(6, "b" * 70) == "b" * 58 + "-2"


def test_findings_are_said_once():
    """Though two counterparts have the same leg."""
    result = Imported("x")
    one = Finding("note", "a", "b")
    result.say(one, one)
    result.say(one)
    assert result.findings == [one]


_LETTERS = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters='<>&"\ufffe\uffff')
_NAME = st.text(_LETTERS, min_size=1, max_size=80)


@settings(max_examples=60, deadline=None)
@given(_NAME, _NAME, _NAME)
def test_whatever_parties_are_called_the_documents_are_documents(name, identifier, action):
    """Every document is one that its kind takes, or its counterpart is said to be left out."""
    text = WHOLE.replace('name="South_Valley"', f'name="{name}"').replace('"south-valley"', f'"{identifier}"')
    text = text.replace('value="announce"', f'value="{action}"')
    try:
        result = imported(domibus.read(text.encode(), "pmode.xml"))
    except ConfigError as error:
        assert error.cause
        return
    for documents in result.documents.values():
        for document in documents:
            CATALOGUE.kinds[document["kind"]].model_validate(document)
    partners, left = _documents(result, "as4.partner"), [f for f in result.findings if f.level == "left out"]
    assert len(partners) == 2 or left
