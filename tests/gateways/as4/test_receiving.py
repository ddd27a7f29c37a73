"""What comes in from outside: accepted once per key, answered with a receipt or with a reason, and nothing half-made stays.

One hospital serves the whole file; each test sends messages of its own and looks at what has changed.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
import yaml

from accesspoint import ebms, names, outbound
from accesspoint.errors import EbmsError, RemoteError
from conformance.estate import INTEGRATION, PARTY_TYPE, Estate
from conformance.pki import write
from core.ledger import parcels
from core.ledger.tables import further_answer, idempotency
from core.parcel import Key
from gateways.as4.receiving import IN_PLACE, SMALL
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import (
    OBSERVATION,
    OtherSender,
    count,
    edit,
    edit_node,
    objects,
    stored,
    stranger,
)
from tests.gateways.as4.running import (
    Door,
    anchors,
    kernel,
    mailbox,
    open_alarms,
    post,
    post_sent,
    running,
    told,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _plain(door: Door, parcel_id: str) -> list[bytes]:
    """The payloads of a parcel, as its system would read them."""
    parcel = door.node.runtime.read_now(parcels.load, parcel_id)
    return [b"".join(kernel(door.node).read_now(parcel, payload)) for payload in parcel.payloads]


def _answer(door: Door, message_id: str) -> tuple[str, bytes]:
    """The parcel and the first answer kept under a message id."""
    found = door.node.runtime.read_now(parcels.recall, Key("as4:municipality", message_id))
    assert found is not None
    return found.parcel_id, found.answer[hashlib.sha256().digest_size :]


# --- accepted ---------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA01")
@pytest.mark.requirement("R75")
async def test_a_message_is_stored_before_its_signed_receipt_leaves(door: Door):
    """The receipt repeats every digest, and the trace says who sent what under which certificate."""
    sent = door.sender.message([OBSERVATION, b"second"])
    got = await door.post(sent)
    proof = door.acknowledged(sent, got)
    assert proof.message_id.endswith("@hospital.example")
    parcel_id, kept = _answer(door, sent.message.message_id)
    assert kept == got.body
    assert _plain(door, parcel_id) == [OBSERVATION, b"second"]
    parcel = door.node.runtime.read_now(parcels.load, parcel_id)
    assert (parcel.sender, parcel.integration) == ("care-record", INTEGRATION)
    assert parcel.description.correlation_id == "conversation-1"
    assert parcel.description.attributes["as4.message-id"] == sent.message.message_id
    (facts,) = told(door.node.runtime, parcel_id, "accepted")
    assert facts["message"] == sent.message.message_id
    assert facts["signed by"] == "Demo Municipality signing"
    assert facts["from"] == str(sent.pmode.us.id)
    assert facts["key transport"] == names.RSA_OAEP
    assert parcel_id in mailbox(door.node.runtime)


@pytest.mark.parametrize("size", [0, IN_PLACE, SMALL + 1, 1_500_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_any_size_in_any_pieces_is_the_same_message(door: Door, size: int, chunked: bool):
    """Small ones in one hop, large ones piece by piece, with a length or without one."""
    octets = os.urandom(size)
    sent = door.sender.message([octets])

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(sent.body), 100_001):
            yield sent.body[start : start + 100_001]

    body = pieces() if chunked else sent.body
    got = await post(door.estate.hospital.port, body, sent.headers, anchors(door.estate))
    door.acknowledged(sent, got)
    parcel_id, _ = _answer(door, sent.message.message_id)
    assert _plain(door, parcel_id) == [octets]


async def test_a_message_without_payload_is_a_message(door: Door):
    """Its description says nothing of a payload."""
    sent = door.sender.message([])
    door.acknowledged(sent, await door.post(sent))
    parcel_id, _ = _answer(door, sent.message.message_id)
    assert _plain(door, parcel_id) == []


# --- once per key -----------------------------------------------------------------------------------------------------


async def test_identical_octets_get_the_first_receipt_octet_for_octet(door: Door):
    """A repetition is delivered once, however often it comes."""
    sent = door.sender.message([os.urandom(200_000)])
    first = await door.post(sent)
    door.acknowledged(sent, first)
    before = stored(door.node.runtime), count(door.node.runtime, "delivery")
    for _ in range(2):
        again = await door.post(sent)
        assert (again.status, again.body) == (200, first.body)
    assert (stored(door.node.runtime), count(door.node.runtime, "delivery")) == before
    parcel_id, _ = _answer(door, sent.message.message_id)
    assert len(told(door.node.runtime, parcel_id, "repeated")) == 2


async def test_the_same_message_five_times_at_once_is_one_message(door: Door):
    """Whoever comes first is kept, and everybody gets the receipt of that one."""
    sent = door.sender.message([os.urandom(140_000)])
    before = stored(door.node.runtime)
    answers = await asyncio.gather(*(door.post(sent) for _ in range(5)))
    assert len({got.body for got in answers}) == 1
    door.acknowledged(sent, answers[0])
    parcels_, keys, files = before
    await until(lambda: stored(door.node.runtime) == (parcels_ + 1, keys + 1, files + 1), "the others were removed")


async def test_signed_afresh_it_gets_a_fresh_receipt_and_no_second_delivery(door: Door):
    """Many stacks sign every retry anew: the first receipt would prove nothing to them."""
    first = door.sender.message(message_id="afresh-1@municipality.example")
    again = door.sender.message(message_id="afresh-1@municipality.example")
    assert first.message.references != again.message.references
    one = await door.post(first)
    before = stored(door.node.runtime), count(door.node.runtime, "delivery")
    two = await door.post(again)
    door.acknowledged(again, two)
    assert two.body != one.body
    with pytest.raises(EbmsError) as caught:
        door.acknowledged(again, one)
    assert caught.value.error.code == "EBMS:0302"
    assert (stored(door.node.runtime), count(door.node.runtime, "delivery")) == before
    assert (await door.post(first)).body == one.body, "the first octets still get the first receipt"
    query = further_answer.select().where(further_answer.c.value == "afresh-1@municipality.example")
    (kept,) = door.node.runtime.read_now(lambda connection: connection.execute(query).all())
    assert kept.answer.endswith(two.body), "what was said is kept"


@pytest.mark.parametrize("what", ["payload", "header", "number of payloads", "order of payloads"])
async def test_the_same_id_with_other_content_is_refused_and_somebody_is_told(door: Door, what: str):
    """Nothing is overwritten: it is a mistake of the sender's, or an attack."""
    message_id = f"conflict-{what.replace(' ', '-')}@municipality.example"
    large = os.urandom(200_000)
    first = door.sender.message([large, b"one"], message_id=message_id)
    changed = {
        "payload": lambda: door.sender.message([large, b"other"], message_id=message_id),
        "header": lambda: door.sender.message([large, b"one"], message_id=message_id, conversation="conversation-2"),
        "number of payloads": lambda: door.sender.message([large], message_id=message_id),
        "order of payloads": lambda: door.sender.message([b"one", large], message_id=message_id),
    }[what]()
    door.acknowledged(first, await door.post(first))
    before = stored(door.node.runtime)
    error = door.refused(changed, await door.post(changed))
    assert (error.code, error.ref_to_message) == ("EBMS:0004", message_id)
    assert error.description == (
        "MessageInfo/MessageId: was used before for a message with other content."
        " give every new message a new MessageId"
    )
    parcel_id, _ = _answer(door, message_id)
    assert _plain(door, parcel_id) == [large, b"one"]
    assert ("conflict", parcel_id) in open_alarms(door.node.runtime)
    assert len(told(door.node.runtime, parcel_id, "conflict")) == 1
    (refusal,) = await door.refusals(message_id)
    assert (refusal["code"], refusal["field"]) == ("EBMS:0004", "MessageInfo/MessageId")
    await until(lambda: stored(door.node.runtime) == before, "what was refused left nothing")


async def test_the_same_payload_under_two_ids_is_two_messages(door: Door):
    """What counts once is the message, not its content."""
    one, two = door.sender.message(), door.sender.message()
    for sent in (one, two):
        door.acknowledged(sent, await door.post(sent))
    assert _answer(door, one.message.message_id)[0] != _answer(door, two.message.message_id)[0]


async def test_a_message_id_belongs_to_its_sender(tmp_path: Path, template: Path):
    """Nobody can occupy another partner's ids: the same id from both is two messages."""
    estate = CopiedEstate(tmp_path / "two", template=template)
    estate.make()
    config = estate.hospital.home / "config"
    write(config / "certificates" / "clinic.pem", stranger().certificate_pem())
    documents = list(yaml.safe_load_all((config / "as4.yaml").read_text()))
    clinic = {**documents[1], "id": "clinic", "signing_certificates": ["certificates/clinic.pem"]}
    clinic["party_id"] = {"value": "demo-clinic", "type": PARTY_TYPE}
    (config / "clinic.yaml").write_text(yaml.safe_dump(clinic))
    sender = OtherSender(estate)
    of_clinic = replace(sender.pmode, us=replace(sender.pmode.us, id=ebms.Typed("demo-clinic", PARTY_TYPE)))
    sent = [
        sender.message([b"theirs"], message_id="same-id@partners.example"),
        sender.message([b"ours"], message_id="same-id@partners.example", pmode=of_clinic, identity=stranger()),
    ]
    async with running(estate.hospital.home) as (node,):
        for one in sent:
            got = await post_sent(estate, one)
            outbound.judge_answer(one.message, one.pmode, sender.trust(), got.status, got.content_type, got.body)
        assert stored(node.runtime)[:2] == (2, 2)
        keys = node.runtime.read_now(lambda connection: connection.execute(idempotency.select()).all())
        assert {(k.scope, k.value) for k in keys} == {
            ("as4:municipality", "same-id@partners.example"),
            ("as4:clinic", "same-id@partners.example"),
        }


async def test_a_replay_after_a_restart_is_still_a_repetition(tmp_path: Path, template: Path):
    """What was recorded on the wire is worth nothing: the first receipt comes, and no second delivery."""
    estate = CopiedEstate(tmp_path / "replay", template=template)
    estate.make()
    sent = OtherSender(estate).message()
    async with running(estate.hospital.home):
        first = await post_sent(estate, sent)
    async with running(estate.hospital.home) as (node,):
        assert (await post_sent(estate, sent)).body == first.body
        assert stored(node.runtime) == (1, 1, 0)
        assert count(node.runtime, "delivery") == 1


# --- the test service -------------------------------------------------------------------------------------------------


def _mirrored(estate: Estate) -> Estate:
    """The same two organisations, seen from the other side."""
    other = copy.copy(estate)
    other.municipality, other.hospital = estate.hospital, estate.municipality
    return other


@pytest.mark.assertion("CP_TA17")
@pytest.mark.parametrize("way", ["to the hospital", "to the municipality"])
async def test_a_ping_is_answered_and_leaves_nothing(tmp_path: Path, template: Path, way: str):
    """A signed receipt proves that keys and agreement fit; no system is given anything."""
    estate: Estate = CopiedEstate(tmp_path / "ping", template=template)
    estate.make()
    if way == "to the municipality":
        estate = _mirrored(estate)
    sender = OtherSender(estate)
    async with running(estate.hospital.home) as (node,):
        for payloads in ((), (OBSERVATION,), (os.urandom(200_000),)):
            sent = sender.message(payloads, ping=True)
            got = await post_sent(estate, sent)
            outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        assert stored(node.runtime) == (0, 0, 0)


async def test_a_ping_by_a_stranger_is_refused(door: Door):
    """The test service is no way around the signature."""
    sent = door.sender.message(ping=True, identity=stranger())
    assert door.refused(sent, await door.post(sent)).code == "EBMS:0101"


# --- interrupted, and full --------------------------------------------------------------------------------------------


async def test_a_sender_that_goes_in_the_middle_leaves_nothing(door: Door):
    """Half a large payload is forgotten, and the same message is taken when it comes whole."""
    sent = door.sender.message([os.urandom(2_500_000)])
    before = stored(door.node.runtime)
    _, writer = await asyncio.open_connection("localhost", door.estate.hospital.port, ssl=anchors(door.estate))
    head = f"POST /as4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent.body)}\r\n"
    writer.write(f"{head}Content-Type: {sent.headers['Content-Type']}\r\n\r\n".encode() + sent.body[:1_500_000])
    await writer.drain()
    await until(lambda: len(objects(door.node.runtime)) > before[2], "the first part is on disk")
    writer.transport.abort()
    await until(lambda: stored(door.node.runtime) == before, "the half is gone")
    door.acknowledged(sent, await door.post(sent))


@pytest.mark.parametrize("large", [False, True])
async def test_below_the_reserve_senders_are_asked_to_come_back(tmp_path: Path, template: Path, large: bool):
    """HTTP 503 with the wait; the disk is left for what was accepted already."""
    estate = CopiedEstate(tmp_path / "full", template=template)
    estate.make()
    edit_node(estate.hospital.home, free_space_reserve=1 << 60)
    sent = OtherSender(estate).message([os.urandom(300_000 if large else 10)])
    async with running(estate.hospital.home) as (node,):
        got = await post_sent(estate, sent)
        assert (got.status, got.headers["Retry-After"], got.body) == (503, "60", b"Try again later.\n")
        assert stored(node.runtime) == (0, 0, 0)


async def test_a_sender_without_a_service_agreement_is_refused(tmp_path: Path, template: Path):
    """A partner's signature is not enough: the data's owner must have agreed."""
    estate = CopiedEstate(tmp_path / "agreement", template=template)
    estate.make()
    edit(estate.hospital.home, "agreements.yaml", "service-agreement", may="receive")
    sender = OtherSender(estate)
    sent = sender.message([os.urandom(200_000)])
    async with running(estate.hospital.home) as (node,):
        got = await post_sent(estate, sent)
        with pytest.raises(RemoteError) as caught:
            outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        (error,) = caught.value.errors
        assert error.code == "EBMS:0004"
        assert "service agreement: care-record may not send under homecare now" in error.description
        await until(lambda: stored(node.runtime) == (0, 0, 0), "what was refused left nothing")


@pytest.mark.requirement("R22")
async def test_a_payload_that_breaks_its_contract_is_refused(tmp_path: Path, template: Path):
    """The sender is told the place and the rule, never what stands there; nothing is stored."""
    estate = CopiedEstate(tmp_path / "contract", template=template)
    estate.make()
    contract = {"format": "json-schema", "file": "note.json"}
    edit(
        estate.hospital.home, "integrations.yaml", "integration", degree="known", contract=contract, max_size=1_000_000
    )
    (estate.hospital.home / "config" / "note.json").write_text('{"properties": {"number": {"type": "integer"}}}')
    sender = OtherSender(estate)
    bad, good = sender.message([b'{"number": "Canary-7"}']), sender.message([b'{"number": 7}'])
    async with running(estate.hospital.home) as (node,):
        got = await post_sent(estate, bad)
        with pytest.raises(RemoteError) as caught:
            outbound.judge_answer(bad.message, bad.pmode, sender.trust(), got.status, got.content_type, got.body)
        (error,) = caught.value.errors
        assert (error.code, "/number: must be integer" in error.description) == ("EBMS:0004", True)
        assert b"Canary" not in got.body
        await until(lambda: stored(node.runtime) == (0, 0, 0), "what was refused left nothing")
        got = await post_sent(estate, good)
        outbound.judge_answer(good.message, good.pmode, sender.trust(), got.status, got.content_type, got.body)


@pytest.mark.requirement("R71")
async def test_a_message_no_route_takes_is_kept_and_somebody_is_told(tmp_path: Path, template: Path):
    """The receipt says that it cannot be lost: it waits in the residual mailbox, with an alarm."""
    estate = CopiedEstate(tmp_path / "residual", template=template)
    estate.make()
    edit(estate.hospital.home, "routes.yaml", "route", match={"sender": "nobody-at-all"})
    edit(estate.hospital.home, "integrations.yaml", "integration", tests=[])
    sender = OtherSender(estate)
    sent = sender.message()
    async with running(estate.hospital.home) as (node,):
        got = await post_sent(estate, sent)
        outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        ((code, parcel_id),) = open_alarms(node.runtime)
        assert code == "residual"
        assert mailbox(node.runtime) == [parcel_id]


# --- four corners -----------------------------------------------------------------------------------------------------


CORNERS = {
    "original_sender": {"value": "demo-clinic", "type": "urn:demo:corners"},
    "final_recipient": {"value": "demo-ward", "type": "urn:demo:corners"},
}


@pytest.mark.assertion("4CT_TA01")
async def test_four_corners_demand_their_properties_and_keep_them(tmp_path: Path, template: Path):
    """Without original sender and final recipient a message is refused; with them they are in the description."""
    estate = CopiedEstate(tmp_path / "corners", template=template)
    estate.make()
    edit(estate.hospital.home, "as4.yaml", "as4.partner", profile="edelivery-1.15-four-corner", four_corner=CORNERS)
    sender = OtherSender(estate)
    both = (
        ebms.Property(names.ORIGINAL_SENDER, "demo-clinic", "urn:demo:corners"),
        ebms.Property(names.FINAL_RECIPIENT, "demo-ward", "urn:demo:corners"),
    )
    async with running(estate.hospital.home) as (node,):
        for missing, present in ((names.FINAL_RECIPIENT, both[:1]), (names.ORIGINAL_SENDER, both[1:])):
            sent = sender.message(properties=present)
            got = await post_sent(estate, sent)
            with pytest.raises(RemoteError) as caught:
                outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
            (error,) = caught.value.errors
            assert error.code == "EBMS:0010"
            assert error.description.startswith(f"MessageProperties/{missing}: is missing")
        assert stored(node.runtime) == (0, 0, 0)
        sent = sender.message(properties=both)
        got = await post_sent(estate, sent)
        outbound.judge_answer(sent.message, sent.pmode, sender.trust(), got.status, got.content_type, got.body)
        parcel = node.runtime.read_now(parcels.load, mailbox(node.runtime)[0])
        assert parcel.description.attributes["as4.property.originalSender"] == "demo-clinic"
        assert parcel.description.attributes["as4.property.finalRecipient"] == "demo-ward"


# --- a crash between the commit and the receipt -----------------------------------------------------------------------


async def test_a_crash_between_commit_and_receipt_loses_and_doubles_nothing(tmp_path: Path, template: Path):
    """The sender hears nothing and sends again; it gets the receipt that was committed with the message."""
    estate = CopiedEstate(tmp_path / "crash", retry_first=0.05, retry_longest=0.1, template=template)
    estate.make()
    sent = OtherSender(estate).message([os.urandom(200_000)])
    await asyncio.to_thread(estate.start, estate.hospital, environment={"STAFET_FAILPOINT": "before-answer:1"})
    with pytest.raises(aiohttp.ClientError):
        await post_sent(estate, sent)
    assert await asyncio.to_thread(estate.nodes.pop("hospital").wait, 10) == -9
    async with running(estate.hospital.home) as (node,):
        found = node.runtime.read_now(parcels.recall, Key("as4:municipality", sent.message.message_id))
        assert found is not None, "the message was committed before the crash"
        got = await post_sent(estate, sent)
        assert got.body == found.answer[32:]
        outbound.judge_answer(
            sent.message, sent.pmode, OtherSender(estate).trust(), got.status, got.content_type, got.body
        )
        assert stored(node.runtime) == (1, 1, 1)
        assert mailbox(node.runtime) == [found.parcel_id]
