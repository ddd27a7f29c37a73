"""Who speaks with whom in a Domibus P-Mode, and which of it one partner document can say together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from accesspoint import names
from accesspoint.ebms import Typed
from gateways.as4.moving.domibus import PMode
from gateways.as4.moving.links import Link, agreed, links_of, same, unused
from gateways.as4.moving.shape import Finding
from tests.gateways.as4.moving.making import EB, read

US = "north_harbour"
PILOT = "urn:fictitious:role:pilot"


class _Said(list[Finding]):
    """Collects findings."""

    def __call__(self, *findings: Finding) -> None:
        self.extend(findings)

    def lines(self) -> list[str]:
        return [f"{f.level}: {f.element}: {f.reason}" for f in self]


def _links(pmode: PMode, us: str = US) -> tuple[dict[str, list[tuple[str, bool]]], _Said]:
    said = _Said()
    found = links_of(pmode, us, said)
    return {name: [(link.leg.name, link.sends) for link in listed] for name, listed in found.items()}, said


def test_whoever_initiates_sends():
    """The legs of a process join us with every party on its other side."""
    links, said = _links(read())
    assert links == {
        "south_valley": [("announceLeg", True), ("confirmLeg", False)],
        "east_ridge": [("announceLeg", True)],
    }
    assert said == []


def test_the_other_side_sees_the_mirror():
    """The same file from the side of a counterpart; processes of others are said."""
    links, said = _links(read(), "east_ridge")
    assert links == {US: [("announceLeg", False)]}
    assert said.lines() == ["left out: process confirming: is no process of east_ridge"]


def test_sending_to_oneself_is_no_exchange():
    """A file for several parties often has each on both sides."""
    both = '<initiatorParty name="North_Harbour"/><initiatorParty name="South_Valley"/>'
    links, said = _links(
        read(
            ('<initiatorParty name="North_Harbour"/>', both),
            ('<responderParty name="East_Ridge"/>', '<responderParty name="North_Harbour"/>'),
        )
    )
    assert links == {"south_valley": [("announceLeg", True), ("announceLeg", False), ("confirmLeg", False)]}
    assert said.lines() == [
        "note: process announcing: north_harbour is on both sides: what it sends to itself is no exchange with a partner"
    ]


@pytest.mark.parametrize(
    "side",
    [
        '<initiatorParties><initiatorParty name="South_Valley"/></initiatorParties>',
        '<responderParties><responderParty name="North_Harbour"/></responderParties>',
    ],
)
def test_a_process_that_finds_its_counterparts_is_left_out(side):
    """Neither a dynamic sender nor a dynamic receiver is a partner with a document."""
    links, said = _links(read((side, "")), "south_valley" if "South_Valley" not in side else US)
    assert all(leg != "confirmLeg" for listed in links.values() for leg, _ in listed)
    assert "left out: process confirming: names no initiator or no responder" in said.lines()[0]


def test_a_process_that_pulls_is_left_out_until_there_is_pull():
    """It is said, and its legs are no links."""
    links, said = _links(read(('binding="push"', 'binding="pull"')))
    assert links == {"south_valley": [("confirmLeg", False)]}
    assert [f.element for f in said] == ["process announcing"]
    assert "comes with pull" in said[0].reason


def test_both_ways_of_a_two_way_process_are_taken():
    """Each leg in both directions, and said so once."""
    links, said = _links(read(('mep="oneway" binding="push"', 'mep="twoway" binding="pushAndPush"')))
    assert links["east_ridge"] == [("announceLeg", True), ("announceLeg", False)]
    assert {f.level for f in said} == {"changed"}
    assert all("is a two-way exchange" in f.reason for f in said)


def test_what_nothing_was_made_of_is_said():
    """Legs that no process uses, and parties that no process joins with us."""
    pmode = read(('<leg name="confirmLeg"/>', '<leg name="announceLeg"/>'), ('<responderParty name="East_Ridge"/>', ""))
    left = [f"{f.level}: {f.element}: {f.reason}" for f in unused(pmode, US, links_of(pmode, US, _Said()))]
    assert left == [
        "left out: legConfiguration confirmLeg: no process uses it",
        "left out: party East_Ridge: no push process joins it with us",
    ]


# --- one value for a partner ------------------------------------------------------------------------------------------


def _link(sends: bool = True, *, leg: str = "leg", **changes: object) -> Link:
    pmode = read()
    of_leg = {k: v for k, v in changes.items() if k in ("signature_method", "compress", "retry")}
    of_process = {k: v for k, v in changes.items() if k not in of_leg}
    return Link(
        replace(pmode.processes[0], **of_process),  # type: ignore[arg-type]
        replace(pmode.legs[0], name=leg, **of_leg),  # type: ignore[arg-type]
        sends,
    )


def test_a_link_knows_its_exchange_and_its_roles():
    """Whoever sends has the initiator's role."""
    link = _link()
    assert link.key == (Typed("urn:fictitious:service:arrivals", "urn:fictitious:services"), "announce")
    assert link.roles == (names.INITIATOR, names.RESPONDER)
    assert _link(False).roles == (names.RESPONDER, names.INITIATOR)
    assert link.label == "process announcing: legConfiguration leg"


def test_what_agrees_is_kept_whole():
    """Both directions with the plain roles fit one document."""
    links, said = [_link(), _link(False)], _Said()
    assert agreed(links, said) == (links, None)
    assert said == []


def test_the_commonest_agreement_is_taken():
    """A leg under another one would send a wrong AgreementRef, and is left out."""
    port, other, none = (
        _link(leg=n, agreement=a) for n, a in (("a", Typed("urn:p")), ("b", Typed("urn:o")), ("c", None))
    )
    said = _Said()
    assert agreed([other, port, port, none], said) == ([port, port], None)
    assert said.lines() == [
        "left out: process announcing: legConfiguration b: its agreement is urn:o; the partner's document says urn:p",
        "left out: process announcing: legConfiguration c: its agreement is none; the partner's document says urn:p",
    ]


def test_the_first_of_equals_is_taken():
    """Document order decides between two that are equally common."""
    none, port = _link(leg="a", agreement=None), _link(leg="b", agreement=Typed("urn:p"))
    said = _Said()
    assert agreed([none, port], said) == ([none], None)
    assert "its agreement is urn:p; the partner's document says none" in said[0].reason


def test_one_security_profile_is_taken():
    """Elliptic curves and RSA do not go into one document."""
    rsa, curve = _link(leg="a"), _link(leg="b", signature_method="ECDSA_SHA256")
    said = _Said()
    assert agreed([rsa, curve], said)[0] == [rsa]
    assert said.lines() == [
        "left out: process announcing: legConfiguration b: needs the profile edelivery-2.0-ec; the partner's document says"
        " edelivery-1.15"
    ]


def test_business_roles_are_written_down():
    """Roles that belong to the parties, whoever sends, are the document's own."""
    ours = _link(initiator_role=PILOT, responder_role=f"{EB}responder")
    theirs = _link(False, initiator_role=f"{EB}responder", responder_role=PILOT)
    said = _Said()
    assert agreed([ours, theirs], said) == ([ours, theirs], (PILOT, f"{EB}responder"))
    assert said == []


def test_roles_that_follow_the_sender_do_not_fit():
    """Other roles than initiator and responder that change sides with the direction: one direction is left out."""
    ours, theirs = _link(initiator_role=PILOT), _link(False, leg="back", initiator_role=PILOT)
    said = _Said()
    assert agreed([ours, theirs], said) == ([ours], (PILOT, f"{EB}responder"))
    assert said.lines() == [
        f"left out: process announcing: legConfiguration back: needs the roles {EB}responder (we) and {PILOT} (they), which"
        " change with the direction or the process"
    ]


def test_where_legs_only_differ_most_are_followed():
    """The leg is kept, and the difference is said."""
    links, said = [_link(leg="a", compress=False), _link(leg="b"), _link(leg="c")], _Said()
    assert same(links, "compressPayloads", lambda leg: leg.compress, said) is True
    assert said.lines() == [
        "changed: process announcing: legConfiguration a: compressPayloads is False in this leg; the partner's document has one"
        " for all: True"
    ]
