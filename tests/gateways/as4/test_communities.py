"""Nodes under the profiles of communities: a document between two of them, and what neither lets pass."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from accesspoint.names import EDIGAS_SERVICE, EIC_PARTY, PARTICIPANTS
from conformance.peppol import PARTICIPANT, PeppolEstate, document, note
from core.ledger import parcels
from core.node import Node
from gateways.as4.packing import part_ids
from tests.accesspoint.documents import alone, manifest
from tests.accesspoint.documents import document as business_document
from tests.gateways.as4.conftest import CopiedEstate, MakeEstate
from tests.gateways.as4.making import edit
from tests.gateways.as4.running import failed_with, handed_over, in_state, mailbox, running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
OURS, THEIRS = PARTICIPANT["municipality"], PARTICIPANT["hospital"]
XML = "application/xml"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def peppol(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Node, Node]]:
    """Two access points of a network like Peppol."""
    estate = PeppolEstate(tmp_path_factory.mktemp("peppol"), retry_first=0.05, retry_longest=0.1)
    estate.make()
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        yield ours, theirs


async def _arrives(theirs: Node, before: int) -> Any:
    await until(lambda: len(mailbox(theirs.runtime)) > before, "it arrived")
    return theirs.runtime.read_now(parcels.load, mailbox(theirs.runtime)[-1])


@pytest.mark.parametrize("size", [100, 3_000_000])
async def test_a_document_travels_between_two_access_points(peppol: tuple[Node, Node], size: int):
    """Addressed by its own header, compressed, small and large."""
    ours, theirs = peppol
    octets = document(OURS, THEIRS, note(os.urandom(size)), f"note-{size}")
    before = len(mailbox(theirs.runtime))
    parcel = await handed_over(ours, [("note.xml", XML, octets)])
    await in_state(ours, parcel, "delivered")
    arrived = await _arrives(theirs, before)
    assert [payload.size for payload in arrived.payloads] == [len(octets)]
    attributes = arrived.description.attributes
    assert attributes["as4.property.originalSender"] == OURS
    assert attributes["as4.property.finalRecipient"] == THEIRS


@pytest.mark.parametrize(
    ("payloads", "words"),
    [
        ([("a.json", "application/json", b"{}")], "payload/StandardBusinessDocumentHeader: is missing or cut short"),
        ([("a.xml", XML, b"<Invoice/>")], "is not where the payload begins"),
        ([("a.xml", "text/xml", document(OURS, THEIRS, b"", "a"))], "PartProperties/MimeType: is 'text/xml'"),
        ([("a.xml", XML, document(OURS, THEIRS, b"", "a")), ("b.pdf", "application/pdf", b"%PDF")], "PayloadInfo: 2 payloads"),
    ],
)  # fmt: skip
async def test_what_does_not_fit_is_not_sent_and_says_why(peppol: tuple[Node, Node], payloads: Any, words: str):
    """The field is in the reason; nothing leaves."""
    ours, theirs = peppol
    before = len(mailbox(theirs.runtime))
    parcel = await handed_over(ours, payloads)
    row = await failed_with(ours, parcel, "cannot-be-sent")
    assert "EBMS:0010" in row.last_reason
    assert words in row.last_reason
    assert len(mailbox(theirs.runtime)) == before


async def test_whoever_is_not_served_is_refused_by_the_receiver(peppol: tuple[Node, Node]):
    """In the words that Peppol has for it."""
    ours, _ = peppol
    parcel = await handed_over(ours, [("note.xml", XML, document(OURS, "0088:5790000000999", b"", "a"))])
    row = await failed_with(ours, parcel, "EBMS:0004")
    assert "PEPPOL:NOT_SERVICED" in row.last_reason


async def test_a_ping_is_answered_under_a_community_s_profile(peppol: tuple[Node, Node]):
    """Without a document."""
    ours, _ = peppol
    said = await ours.gateways["as4"]._sender.ping("hospital")  # type: ignore[attr-defined]
    assert said["signed by"] == "demo-hospital"


def _agreed(estate: CopiedEstate, profile: str, **partner: Any) -> None:
    for one in estate.both:
        edit(one.home, "as4.yaml", "as4.partner", profile=profile, **partner)


@pytest.mark.assertion("SBDH_TA01", "SBDH_TA02")
async def test_a_header_alone_leads_other_payloads(make_estate: MakeEstate):
    """They are called what its Manifest calls them, in its order; a payload that it does not name is not sent."""
    estate = make_estate("edelivery-1.15")
    _agreed(estate, "edelivery-1.15-sbdh")
    listed = alone(("<BusinessScope>", manifest("cid:a@b.example", "&lt;c@b.example&gt;")))
    files = [
        ("head.xml", XML, listed),
        ("a.pdf", "application/pdf", b"%PDF a"),
        ("c.pdf", "application/pdf", b"%PDF c"),
    ]
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        parcel = await handed_over(ours, files)
        await in_state(ours, parcel, "delivered")
        arrived = await _arrives(theirs, 0)
        assert [payload.name for payload in arrived.payloads] == ["head.xml", "a.pdf", "c.pdf"]
        parcel = await handed_over(ours, [*files, ("d.pdf", "application/pdf", b"%PDF d")])
        row = await failed_with(ours, parcel, "cannot-be-sent")
        assert "has no Manifest that names every further payload" in row.last_reason


async def test_corners_in_the_partner_s_file_are_held_against_the_document(make_estate: MakeEstate):
    """Another sender than agreed is not sent: the field says which."""
    estate = make_estate("edelivery-1.15")
    corner = {"value": "0088:5790000000999", "type": PARTICIPANTS}
    _agreed(estate, "ehmi", four_corner={"original_sender": corner, "final_recipient": dict(corner)})
    async with running(estate.municipality.home) as (ours,):
        parcel = await handed_over(ours, [("a.xml", XML, business_document())])
        row = await failed_with(ours, parcel, "cannot-be-sent")
        assert "EBMS:0003" in row.last_reason
        assert "MessageProperties/originalSender: is not the Sender of the business document" in row.last_reason


@pytest.mark.assertion("ENTSOG_TA07", "ENTSOG_TA10", "ENTSOG_TA12")
async def test_a_nomination_travels_with_its_document_type(make_estate: MakeEstate):
    """From an attribute to an attribute; what is too large is not sent."""
    estate = make_estate("edelivery-1.15")
    eic = {"municipality": "12XBKW-HANDEL--X", "hospital": "21X-NL-A-A0A0A-Z"}
    gas = {
        "service": {"value": "A06", "type": EDIGAS_SERVICE},
        "action": "http://docs.oasis-open.org/ebxml-msg/as4/200902/action",
    }
    for one in estate.both:
        other = estate.other(one)
        edit(one.home, "as4.yaml", "as4.party", party_id={"value": eic[one.name], "type": EIC_PARTY})
        edit(
            one.home, "as4.yaml", "as4.partner",
            profile="entsog-3",
            party_id={"value": eic[other.name], "type": EIC_PARTY},
            agreement={"value": "urn:fictitious:gas"},
            exchanges=[{"integration": "files", **gas}],
        )  # fmt: skip
    said = {"as4.part-property.EDIGASDocumentType": "01G"}
    files = [("nomination.xml", XML, b"<Nomination_Document/>")]
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        parcel = await handed_over(ours, files, attributes=said)
        await in_state(ours, parcel, "delivered")
        arrived = await _arrives(theirs, 0)
        assert arrived.description.attributes["as4.part-property.EDIGASDocumentType"] == "01G"
        assert arrived.description.correlation_id is None
        parcel = await handed_over(ours, [("a.xml", XML, b"x" * 10_000_001)], attributes=said)
        row = await failed_with(ours, parcel, "cannot-be-sent")
        assert "payload: larger than 10000000 octets, which entsog-3 allows" in row.last_reason


async def test_payloads_have_ids_of_ours_unless_a_manifest_names_them():
    """As many as there are; what is listed beyond them is nobody's."""
    assert part_ids(0, None) == []
    assert len(set(part_ids(3, None))) == 3
