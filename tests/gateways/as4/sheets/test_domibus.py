"""A sheet in the words of Domibus: its schema takes it, and read back it is the mirror of our document."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from core.errors import UsageError
from gateways.as4.moving import domibus
from gateways.as4.moving.importing import imported
from gateways.as4.settings import Partner
from gateways.as4.sheets.domibus import domibus_xml
from gateways.as4.sheets.sheet import Agreed
from tests.gateways.as4.sheets.making import CORNERS, EB, URL, party, sheet_of

SERVICE = {"value": "urn:fictitious:service:arrivals", "type": "urn:fictitious:services"}
BOTH = {"integration": "notes", "service": SERVICE, "action": "note"}


def _mirror(agreed: Agreed) -> Partner:
    """The partner document that the counterpart would have of us, if they imported the sheet."""
    result = imported(domibus.read(domibus_xml(agreed).encode(), "sheet.xml"))
    assert [f for f in result.findings if f.level in ("left out", "changed")] == []
    (document,) = [d for documents in result.documents.values() for d in documents if d["kind"] == "as4.partner"]
    return Partner.model_validate(document)


VARIANTS = {
    "plain": {},
    "both ways": {"exchanges": [BOTH]},
    "sends only": {"exchanges": [{**BOTH, "direction": "send"}]},
    "no agreement": {"agreement": None},
    "typed agreement": {"agreement": {"value": "port", "type": "urn:fictitious:agreements"}},
    "corners": {"profile": "edelivery-1.15-four-corner", "four_corner": CORNERS},
    "corners allowed": {"four_corner": CORNERS},
    "subject key": {"key_reference": "subject-key-identifier"},
    "issuer": {"key_reference": "issuer-serial"},
    "roles": {"our_role": "urn:fictitious:harbour", "their_role": "urn:fictitious:valley"},
    "untyped": {
        "untyped_names": True,
        "party_id": {"value": "valley"},
        "exchanges": [{**BOTH, "service": {"value": "s"}}],
    },
    "no compression": {"compress": False},
    "once": {"retry": {"attempts": 1}},
    "impatient": {"retry": {"attempts": 3, "first_wait": 1, "longest_wait": 1}},
}


@pytest.mark.parametrize("name", VARIANTS)
def test_domibus_own_schema_takes_it(name, shared):
    """Whatever is agreed: elements, attributes and their order are Domibus'."""
    schema = etree.XMLSchema(etree.parse(shared / "schemas" / "ebms" / "domibus-pmode.xsd"))
    schema.assertValid(etree.fromstring(domibus_xml(sheet_of(**VARIANTS[name])).encode()))


@pytest.mark.parametrize("name", VARIANTS)
def test_read_back_it_is_the_mirror_of_our_document(name):
    """Parties, url and directions change places; what is common stays as it is."""
    agreed = sheet_of(**VARIANTS[name])
    ours, theirs = agreed.partner, _mirror(agreed)
    assert (theirs.party, theirs.id) == (ours.id, agreed.party.id)
    assert (theirs.party_id, theirs.url) == (agreed.party.party_id, URL)
    turned = {"send": "receive", "receive": "send", "both": "both"}
    assert {(e.service, e.action): e.direction for e in theirs.exchanges} == {
        (e.service, e.action): turned[e.direction] for e in ours.exchanges
    }
    assert theirs.agreement == ours.agreement
    assert (theirs.our_role, theirs.their_role) == (ours.their_role, ours.our_role)
    assert (theirs.profile, theirs.key_reference, theirs.compress) == (ours.profile, ours.key_reference, ours.compress)
    assert theirs.untyped_names == ours.untyped_names
    assert (theirs.four_corner is not None) == (name == "corners")
    assert theirs.retry.attempts == ours.retry.attempts


def test_a_constant_plan_comes_back_as_it_was():
    """Five attempts, three minutes apart: ``12;4;CONSTANT``."""
    assert 'retry="12;4;CONSTANT"' in domibus_xml(sheet_of())
    assert _mirror(sheet_of()).retry == sheet_of().partner.retry


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"attempts": 1}, "1;1;SEND_ONCE"),
        ({"attempts": 3, "first_wait": 1, "longest_wait": 1}, "1;2;CONSTANT"),
        ({"attempts": 4, "first_wait": 60, "longest_wait": 600}, "7;3;CONSTANT"),
    ],
)
def test_any_plan_is_said_in_domibus_words(plan, said):
    """As many attempts, within the time ours take together, in whole minutes."""
    assert f'retry="{said}"' in domibus_xml(sheet_of(retry=plan))


def test_nobody_is_on_both_sides_of_a_process():
    """Domibus would else let them send to themselves."""
    pmode = domibus.read(domibus_xml(sheet_of(exchanges=[BOTH])).encode(), "sheet.xml")
    assert [(p.name, p.initiators, p.responders) for p in pmode.processes] == [
        ("valley-to-harbour", ("valley",), ("harbour",)),
        ("harbour-to-valley", ("harbour",), ("valley",)),
    ]
    assert [leg.name for p in pmode.processes for leg in p.legs] == ["leg1", "leg1"]


def test_it_is_from_their_side():
    """The file is theirs, and their roles stand as they send them."""
    root = etree.fromstring(domibus_xml(sheet_of()).encode())
    assert root.get("party") == "valley"
    assert [r.get("value") for r in root.iter("role")] == [f"{EB}initiator", f"{EB}responder"]


def test_other_profiles_are_refused():
    """Domibus is not known to speak them."""
    with pytest.raises(UsageError, match="--for domibus: valley is agreed on edelivery-2"):
        domibus_xml(sheet_of(profile="edelivery-2.0"))


def test_two_dashes_in_an_id_do_not_end_the_comment():
    """A comment cannot hold them."""
    agreed = sheet_of(id="valley--south", us=party(id="harbour--"))
    assert etree.fromstring(domibus_xml(agreed).encode()).get("party") == "valley--south"


@settings(max_examples=40, deadline=None)
@given(
    st.text(
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"),
        min_size=1,
        max_size=40,
    )
)
def test_any_value_is_escaped(value):
    """Quotes, brackets and letters of any script come back as they were."""
    if value != value.strip():
        return
    agreed = sheet_of(exchanges=[{**BOTH, "action": value}])
    assert [e.action for e in _mirror(agreed).exchanges] == [value]
