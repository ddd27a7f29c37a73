"""Test assertions about sending: what leaves a node, read without the access point's own reader, and what follows the answer.

Ids are those of docs/assertions.yaml.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import re
from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

import pytest
from lxml import etree

from accesspoint import names
from accesspoint.compression import compress
from conformance.estate import INTEGRATION, PARTY_TYPE
from core.errors import TooLarge
from core.ledger import parcels, trace
from core.ledger.tables import receipt
from core.node import Node
from core.parcel import Acceptance
from tests.gateways.as4.asserting import content_ids, envelope, part_properties, texts
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import edit, stage_parcel, stranger
from tests.gateways.as4.running import (
    SMALL,
    Line,
    Peer,
    Request,
    busy,
    failed_with,
    handed_over,
    in_state,
    kernel,
    mailbox,
    open_alarms,
    plain_http,
    response,
    rows,
    running,
    told,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

XML: Final = b"<?xml version='1.0'?>\n<letter  a='1'>one\ntwo</letter>\n"
LETTER: Final = ("letter.xml", "application/xml", XML)
THREE: Final = [LETTER, ("a.pdf", "application/pdf", b"%PDF-1.7 " + bytes(90)), ("b.txt", "text/plain", b"one\ntwo\n")]


async def one_sent(line: Line, payloads: Sequence[tuple[str, str, bytes]], **fields: Any) -> tuple[Request, str]:
    """The request with which a parcel went to a peer that took it, and the parcel's id."""
    parcel = await line.hand_over(payloads, **fields)
    await in_state(line.node, parcel, "delivered")
    (request,) = line.peer.requests
    return request, parcel


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA05", "CP_TA23", "CP_TA24", "CP_TA25")
async def test_an_xml_payload_travels_compressed_in_a_part_of_its_own(line: Line):
    """One MIME part that unpacks to it, CompressionType and the given MimeType beside it, and nothing in the SOAP body."""
    request, _ = await one_sent(line, [LETTER])
    root = envelope(request)
    (properties,) = part_properties(root)
    assert (properties["CompressionType"], properties["MimeType"]) == ("application/gzip", "application/xml")
    (href,) = [info.get("href") for info in root.iter(names.tag(names.EB, "PartInfo"))]
    assert [href] == [f"cid:{name}" for name in content_ids(request)]
    (digest,) = [
        r.findtext(names.tag(names.DS, "DigestValue"))
        for r in root.iter(names.tag(names.DS, "Reference"))
        if r.get("URI") == href
    ]
    packed = compress(XML)
    assert gzip.decompress(packed) == XML and b64decode(digest or "") == hashlib.sha256(packed).digest()
    assert line.peer.read(request)[1] == [XML]
    (body,) = root.iter(names.tag(names.S12, "Body"))
    assert len(body) == 0 and not body.text


@pytest.mark.assertion("CP_TA27", "CP_TA28")
@pytest.mark.parametrize("charset", ["UTF-16", "UTF-8"])
async def test_a_character_set_is_carried(line: Line, charset: str):
    """As the part property, as the sending system wrote it; MimeType stays what it gave."""
    kind = f"text/xml; charset={charset}"
    octets = f'<?xml version="1.0" encoding="{charset}"?><letter>kære ven</letter>'.encode(charset)
    request, _ = await one_sent(line, [("letter.xml", kind, octets)])
    (properties,) = part_properties(envelope(request))
    assert (properties["CharacterSet"], properties["MimeType"]) == (charset, kind)
    assert line.peer.read(request)[1] == [octets]


@pytest.mark.assertion("ENTSOG_TA12")
async def test_no_payload_is_larger_than_the_integration_says(estate: CopiedEstate):
    """Ten million octets are taken from the sending system, and one more is refused before anything is sent."""
    edit(estate.municipality.home, "integrations.yaml", "integration", max_size=10_000_000)
    async with running(estate.municipality.home) as (node,):
        assert await handed_over(node, [("a.xml", "text/xml", bytes(10_000_000))])
        with pytest.raises(TooLarge, match="larger than 10000000 octets"):
            await handed_over(node, [("a.xml", "text/xml", bytes(10_000_001))])


@pytest.mark.assertion("CP_TA06", "CP_TA45")
async def test_several_payloads_keep_their_order_behind_an_empty_body(line: Line):
    """The leading XML is the first PartInfo, each PartInfo has a MIME part, and they come as they were given."""
    request, _ = await one_sent(line, THREE)
    root = envelope(request)
    hrefs = [info.get("href") for info in root.iter(names.tag(names.EB, "PartInfo"))]
    assert [f"cid:{name}" for name in content_ids(request)] == hrefs
    assert [p["MimeType"] for p in part_properties(root)] == ["application/xml", "application/pdf", "text/plain"]
    (body,) = root.iter(names.tag(names.S12, "Body"))
    assert len(body) == 0 and not body.text
    assert line.peer.read(request)[1] == [octets for _, _, octets in THREE]


@pytest.mark.assertion("CP_TA03", "4CT_TA03")
async def test_a_message_is_from_one_access_point_to_one(line: Line):
    """One PartyId on either side: the access points' own, and not the systems behind them."""
    request, _ = await one_sent(line, SMALL)
    root = envelope(request)
    for side, name in (("From", "demo-municipality"), ("To", "demo-hospital")):
        (party,) = root.iter(names.tag(names.EB, side))
        assert [(e.text, e.get("type")) for e in party.iter(names.tag(names.EB, "PartyId"))] == [(name, PARTY_TYPE)]
    assert not {"care-record", "ward-record"} & set(texts(root, "PartyId"))


@pytest.mark.assertion("CP_TA12")
async def test_the_signature_covers_header_body_and_every_part(line: Line):
    """With RSA-SHA256 over SHA-256 digests and the sender's own certificate; `xmlsec` has the second word elsewhere."""
    request, _ = await one_sent(line, THREE)
    root = envelope(request)
    (info,) = root.iter(names.tag(names.DS, "SignedInfo"))
    assert info.find(names.tag(names.DS, "SignatureMethod")).get("Algorithm") == names.RSA_SHA256
    assert {m.get("Algorithm") for m in info.iter(names.tag(names.DS, "DigestMethod"))} == {names.SHA256}
    ids = {
        f"#{e.get(names.tag(names.WSU, 'Id'))}"
        for e in root.iter(names.tag(names.EB, "Messaging"), names.tag(names.S12, "Body"))
    }
    uris = [r.get("URI") for r in info.iter(names.tag(names.DS, "Reference"))]
    assert sorted(uris) == sorted(ids | {f"cid:{name}" for name in content_ids(request)})
    assert (len(ids), len(uris)) == (2, 5)
    said, _ = line.peer.read(request)
    assert said.certificate == kernel(line.node).identity("signing").certificate


@pytest.mark.assertion("CP_TA13")
async def test_every_part_is_encrypted_for_the_receiver(line: Line):
    """With AES-128-GCM; only the key of the receiver's certificate opens it."""
    request, _ = await one_sent(line, THREE)
    root = envelope(request)
    methods = [
        data.find(names.tag(names.XENC, "EncryptionMethod")).get("Algorithm")
        for data in root.iter(names.tag(names.XENC, "EncryptedData"))
    ]
    assert methods == ["http://www.w3.org/2009/xmlenc11#aes128-gcm"] * 3
    assert line.peer.read(request)[1] == [octets for _, _, octets in THREE]
    assert not any(octets in request.body or gzip.compress(octets, mtime=0) in request.body for _, _, octets in THREE)


@pytest.mark.assertion("CP_TA18")
async def test_a_conversation_is_made_where_none_is_given(line: Line):
    """The parcel's own id, another one each time."""
    first = await line.hand_over(SMALL)
    second = await line.hand_over(SMALL)
    for parcel in (first, second):
        await in_state(line.node, parcel, "delivered")
    said = [texts(envelope(request), "ConversationId") for request in line.peer.requests]
    assert sorted(said) == sorted([[first], [second]])


@pytest.mark.assertion("4CT_TA01", "4CT_TA02")
async def test_the_outer_corners_are_carried(estate: CopiedEstate):
    """Both parties of the partner file, and a tracking identifier that the sending system gave."""
    corners = {
        "original_sender": {"value": "demo-clinic", "type": "urn:demo:corners"},
        "final_recipient": {"value": "demo-ward", "type": "urn:demo:corners"},
    }
    for one in estate.both:
        edit(one.home, "as4.yaml", "as4.partner", profile="edelivery-1.15-four-corner", four_corner=corners)
    plain_http(estate)
    peer = Peer(estate)
    peer.script = [peer.accept]
    tracking = {f"as4.property.{names.TRACKING_IDENTIFIER}": "track-77"}
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL, attributes=tracking)
        await in_state(node, parcel, "delivered")
    (found,) = envelope(peer.requests[0]).iter(names.tag(names.EB, "MessageProperties"))
    assert {(e.get("name"), e.text, e.get("type")) for e in found} == {
        ("originalSender", "demo-clinic", "urn:demo:corners"),
        ("finalRecipient", "demo-ward", "urn:demo:corners"),
        ("trackingIdentifier", "track-77", None),
    }


EIC: Final = "http://www.entsoe.eu/eic-codes/eic-party-codes-x"
AS4_ACTION: Final = "http://docs.oasis-open.org/ebxml-msg/as4/200902/action"


@pytest.mark.assertion("ENTSOG_TA01", "ENTSOG_TA02", "ENTSOG_TA03", "ENTSOG_TA04", "ENTSOG_TA05", "ENTSOG_TA06")
@pytest.mark.assertion("ENTSOG_TA08", "ENTSOG_TA09", "ENTSOG_TA11")
async def test_a_partner_file_can_say_what_the_gas_sector_has_agreed(estate: CopiedEstate):
    """Energy codes, EDIGAS service, default action, roles of the sector, agreement, default channel, XML."""
    ours, theirs = "21X-DEMO-A-A0A0A", "21X-DEMO-B-B0B0B"
    exchange = {
        "integration": "files",
        "service": {"value": "A06", "type": "http://edigas.org/service"},
        "action": AS4_ACTION,
    }
    agreed = {"agreement": {"value": "https://agreements.example/gas"}, "exchanges": [exchange]}
    for one, (us, them), roles in (
        (estate.municipality, (ours, theirs), ("ZSH", "ZSO")),
        (estate.hospital, (theirs, ours), ("ZSO", "ZSH")),
    ):
        edit(one.home, "as4.yaml", "as4.party", party_id={"value": us, "type": EIC})
        fields = {"party_id": {"value": them, "type": EIC}, "our_role": roles[0], "their_role": roles[1], **agreed}
        edit(one.home, "as4.yaml", "as4.partner", **fields)
    plain_http(estate)
    peer = Peer(estate)
    peer.script = [peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, [LETTER])
        await in_state(node, parcel, "delivered")
    root = envelope(peer.requests[0])
    parties = [(e.text, e.get("type")) for e in root.iter(names.tag(names.EB, "PartyId"))]
    assert parties == [(ours, EIC), (theirs, EIC)]
    assert all(re.fullmatch(r"\d{2}[A-Z][A-Z\d-]{12}[A-Z\d]", value or "") for value, _ in parties)
    (service,) = root.iter(names.tag(names.EB, "Service"))
    assert (service.get("type"), service.text) == ("http://edigas.org/service", "A06")
    assert texts(root, "Action") == [AS4_ACTION]
    assert texts(root, "Role") == ["ZSH", "ZSO"]
    assert texts(root, "AgreementRef") == ["https://agreements.example/gas"]
    (message,) = root.iter(names.tag(names.EB, "UserMessage"))
    assert message.get("mpc") in (None, names.DEFAULT_MPC)
    assert [p["MimeType"] for p in part_properties(root)] == ["application/xml"]


# --- two ways ---------------------------------------------------------------------------------------------------------


async def _answer(node: Node, question: str, **fields: Any) -> str:
    """The ward's answer to a parcel it has: in the same dialogue, about the message that brought it; gives its id."""
    asked = node.runtime.read_now(parcels.load, question).description
    about = {"as4.ref-to-message-id": asked.attributes["as4.message-id"]}
    item = await asyncio.to_thread(
        stage_parcel, node.runtime, "ward-record", SMALL, integration=INTEGRATION, attributes=about
    )
    described = item.parcel.description.model_copy(update={"correlation_id": asked.correlation_id, **fields})
    (taken,) = await kernel(node).accept(replace(item, parcel=replace(item.parcel, description=described)))
    assert isinstance(taken, Acceptance)
    return taken.parcel_id


@pytest.mark.assertion("CP_TA02", "CP_TA14", "CP_TA19")
async def test_a_reply_names_what_it_answers_in_the_same_conversation(estate: CopiedEstate):
    """Pushed both ways between two nodes, and each of the two messages has its receipt."""
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        question = await handed_over(ours, SMALL, integration=INTEGRATION)
        await in_state(ours, question, "delivered")
        (there,) = await until(lambda: mailbox(theirs.runtime), "the question is there")
        answer = await _answer(theirs, there)
        await in_state(theirs, answer, "delivered")
        (here,) = await until(lambda: mailbox(ours.runtime), "the answer is here")
        (sent,) = told(ours.runtime, question, "frozen")
        got = ours.runtime.read_now(parcels.load, here).description
        assert got.attributes["as4.ref-to-message-id"] == sent["message"]
        assert got.correlation_id == question
        for node, parcel in ((ours, question), (theirs, answer)):
            (proof,) = node.runtime.read_now(lambda c: c.execute(receipt.select()).all())
            assert (proof.outside_id, proof.verdict) == (told(node.runtime, parcel, "frozen")[0]["message"], "accepted")


# --- reception awareness ----------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA09")
async def test_without_a_receipt_a_message_is_sent_again(line: Line):
    """An empty answer, a broken line and a receipt about nothing: each time the same octets once more."""
    peer = line.peer
    peer.script = [
        lambda _: response(status=202),
        lambda _: None,
        lambda r: response(peer.receipt(r, change=lambda _: ())),
    ]
    peer.script.append(peer.accept)
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    assert delivery.attempts >= 3
    assert len(peer.requests) >= 4 and len({request.body for request in peer.requests}) == 1


@pytest.mark.assertion("CP_TA10")
async def test_when_the_line_is_back_it_is_delivered_once_and_sending_stops(estate: CopiedEstate):
    """The receiver was not there; then it is, has the message once, and hears no more of it."""
    async with running(estate.municipality.home) as (ours,):
        parcel = await handed_over(ours, SMALL)
        await failed_with(ours, parcel, "connect")
        async with running(estate.hospital.home) as (theirs,):
            delivery = await in_state(ours, parcel, "delivered")
            assert delivery.attempts >= 2
            await asyncio.sleep(0.5)  # five times as long as the longest wait between two attempts
            assert rows(ours.runtime, parcel)[0].attempts == delivery.attempts
            (there,) = mailbox(theirs.runtime)
            assert [e.event for e in theirs.runtime.read_now(trace.of_parcel, there)].count("accepted") == 1
        (proof,) = ours.runtime.read_now(lambda c: c.execute(receipt.select()).all())
        assert proof.delivery_id == delivery.id


@pytest.mark.assertion("CP_TA11", "CP_TA15")
async def test_after_the_last_attempt_the_sender_is_told_and_nobody_else(estate: CopiedEstate):
    """The delivery has failed with EBMS:0301 and an alarm says so; the peer got the message thrice and no error signal."""
    plain_http(estate, retry={"attempts": 3, "first_wait": 0.02, "longest_wait": 0.02})
    peer = Peer(estate, [busy])
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        delivery = await in_state(node, parcel, "failed")
        assert delivery.last_code == "EBMS:0301"
        assert open_alarms(node.runtime) == [("failed", parcel)]
        last = node.runtime.read_now(trace.of_parcel, parcel)[-1].facts
        assert (last["state"], last["code"]) == ("failed", "EBMS:0301")
        await asyncio.sleep(0.2)
    assert len(peer.requests) == delivery.attempts == 3
    assert len({request.body for request in peer.requests}) == 1
    assert not any(b"SignalMessage" in request.body for request in peer.requests)


@pytest.mark.assertion("CP_TA22")
async def test_the_receipt_is_there_for_the_sending_system(line: Line):
    """The delivery is done, the receipt kept as it came, and the trace says when and under which id."""
    _, parcel = await one_sent(line, SMALL)
    (delivery,) = rows(line.node.runtime, parcel)
    (kept,) = line.kept(receipt, delivery.id)
    (facts,) = told(line.node.runtime, parcel, "acknowledged")
    assert (delivery.state, kept.verdict, facts["receipt"]) == ("delivered", "accepted", "signal-1@hospital.example")
    assert texts(etree.fromstring(kept.raw), "RefToMessageId") == [kept.outside_id]


@pytest.mark.assertion("DS_TA03")
async def test_a_receipt_under_another_certificate_is_an_error_at_the_sender(line: Line):
    """EBMS:0302, and the delivery is not done."""
    peer = line.peer
    peer.script = [lambda request: response(peer.receipt(request, identity=stranger()))]
    parcel = await line.hand_over()
    delivery = await failed_with(line.node, parcel, "EBMS:0302")
    assert delivery.state != "delivered" and line.kept(receipt, delivery.id) == []


# --- ping -------------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA16")
async def test_a_ping_is_sent_under_the_test_service(line: Line):
    """Service and action of the specification, no payload, signed; its receipt is told."""
    said = await line.node.gateways["as4"].operations()["ping"]({"partner": "hospital"}, lambda *_: None)
    (request,) = line.peer.requests
    root = envelope(request)
    base = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
    assert (texts(root, "Service"), texts(root, "Action")) == ([base + "service"], [base + "test"])
    assert list(root.iter(names.tag(names.EB, "PartInfo"))) == []
    assert said["receipt"] == "signal-1@hospital.example"
    assert said["message"] in texts(root, "MessageId")
