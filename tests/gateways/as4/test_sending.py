"""One attempt after the other: frozen before the first octet leaves, repeated octet for octet, settled by evidence alone.

Most tests stand a `Peer` where the hospital should be: it keeps what came over the wire and answers what it is told.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accesspoint import names, outbound
from accesspoint.errors import EbmsError
from conformance.estate import FILES, INTEGRATION, SERVICE, SERVICE_TYPE
from conformance.pki import write
from core import explain
from core.delivery import Delivery, State
from core.gateway import Outcome
from core.ledger import parcels
from core.ledger.tables import frozen
from gateways.as4.adapter import As4Gateway
from gateways.as4.packing import Wire
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import authority, count, edit, objects, stage_parcel
from tests.gateways.as4.running import (
    SMALL,
    Line,
    Peer,
    Request,
    applied,
    busy,
    failed_with,
    handed_over,
    in_state,
    kernel,
    plain_http,
    running,
    told,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA23", "CP_TA25")
@pytest.mark.parametrize(
    ("media_type", "octets", "compressed"),
    [
        ("application/json", b'{"a": 1}' * 50, True),
        ("text/plain", b"one\ntwo\r\nthree\n", True),
        ("application/xml", b"<a  b='1'/>", True),
        ("application/pdf", b"%PDF-1.7 not really", True),
        ("application/gzip", os.urandom(500), False),
        ("image/jpeg", os.urandom(500), False),
        ("application/octet-stream", b"", True),
    ],
)
async def test_what_the_peer_reads_is_what_was_handed_over(
    line: Line, media_type: str, octets: bytes, compressed: bool
):
    """Under its media type and name, compressed where that is worth it."""
    parcel = await line.hand_over([("a name.dat", media_type, octets)])
    await in_state(line.node, parcel, "delivered")
    (request,) = line.peer.requests
    said, (read,) = line.peer.read(request)
    (part,) = said.parts
    assert (read, part.media_type, part.size) == (octets, media_type, len(octets))
    assert part.info.get("PayloadName") == "a name.dat"
    assert (part.info.get(names.COMPRESSION_TYPE) is not None) is compressed
    assert octets not in request.body or not octets, "nothing goes over the wire readable"
    assert (said.message.service.value, said.message.action) == (SERVICE, "deliver-file")


async def test_a_partner_that_wants_no_compression_gets_none(estate: CopiedEstate):
    """Text and XML are signed in the form in which everyone computes their digest, whatever their size."""
    plain_http(estate, compress=False)
    peer = Peer(estate)
    peer.script = [peer.accept]
    small = b"<a z='1' b='2'>one\ntwo\r\n</a>"
    large = b"<a>" + b"line\n" * 40_000 + b"</a>"
    types = ("text/plain", "application/xml", "image/svg+xml", "application/octet-stream")
    payloads = [("a", media_type, octets) for media_type in types for octets in (small, large)]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, payloads)
        await in_state(node, parcel, "delivered")
        assert len(objects(node.runtime)) == 4, "only the payloads themselves"
    said, read = peer.read(peer.requests[0])
    assert read == [octets for _, _, octets in payloads]
    assert [part.info.get(names.COMPRESSION_TYPE) for part in said.parts] == [None] * 8


@pytest.mark.assertion("4CT_TA01")
@pytest.mark.requirement("R93")
async def test_four_corners_and_a_dialogue_travel_in_the_header(estate: CopiedEstate):
    """Original sender, final recipient, further properties, conversation and the message that is answered."""
    corners = {
        "original_sender": {"value": "demo-clinic", "type": "urn:demo:corners"},
        "final_recipient": {"value": "demo-ward", "type": "urn:demo:corners"},
    }
    plain_http(estate, profile="edelivery-1.15-four-corner", four_corner=corners)
    edit(estate.hospital.home, "as4.yaml", "as4.partner", profile="edelivery-1.15-four-corner", four_corner=corners)
    peer = Peer(estate)
    peer.script = [peer.accept]
    attributes = {
        "as4.property.colour": "green",
        "as4.property.originalSender": "somebody-else",
        "as4.ref-to-message-id": "question-1@hospital.example",
    }
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL, attributes=attributes)
        await in_state(node, parcel, "delivered")
    said, _ = peer.read(peer.requests[0])
    assert {(p.name, p.value, p.type) for p in said.message.properties} == {
        (names.ORIGINAL_SENDER, "demo-clinic", "urn:demo:corners"),
        (names.FINAL_RECIPIENT, "demo-ward", "urn:demo:corners"),
        ("colour", "green", None),
    }
    assert said.message.ref_to_message_id == "question-1@hospital.example"
    assert said.message.conversation_id == parcel
    assert said.message.message_id.endswith("@municipality.example")


# --- frozen, and repeated ---------------------------------------------------------------------------------------------


async def test_it_is_frozen_before_the_first_octet_leaves(line: Line):
    """Wire and outside name are committed when the peer sees the first octet."""
    runtime = line.node.runtime
    before = count(runtime, "frozen"), count(runtime, "outside_id")
    seen: list[tuple[int, int]] = []
    line.peer.on_first_octet = lambda: seen.append((count(runtime, "frozen"), count(runtime, "outside_id")))
    parcel = await line.hand_over()
    delivery = await in_state(line.node, parcel, "delivered")
    assert seen == [(before[0] + 1, before[1] + 1)]
    said, _ = line.peer.read(line.peer.requests[0])
    assert await kernel(line.node).delivery_of(said.message.message_id) == delivery.id
    (facts,) = told(runtime, parcel, "frozen")
    assert facts["message"] == said.message.message_id


PAYLOADS: dict[str, Callable[[], list[tuple[str, str, bytes]]]] = {
    "small": lambda: SMALL,
    "several": lambda: [*SMALL, ("b", "application/octet-stream", os.urandom(3000))],
    "large and compressible": lambda: [("c.json", "application/json", os.urandom(150_000).hex().encode())],
    "large and dense": lambda: [("d", "application/octet-stream", os.urandom(700_000))],
    "of every kind": lambda: [
        ("c.json", "application/json", os.urandom(150_000).hex().encode()),
        *SMALL,
        ("d.zip", "application/zip", os.urandom(300_000)),
    ],
}


@pytest.mark.assertion("CP_TA09")
@pytest.mark.parametrize("kind", PAYLOADS)
async def test_a_retry_sends_the_same_octets(line: Line, kind: str):
    """Header, signature, keys and ciphertext are those of the first attempt; what was kept for it goes when it is settled."""
    payloads = PAYLOADS[kind]()
    line.peer.script = [busy, busy, line.peer.accept]
    parcel = await line.hand_over(payloads)
    delivery = await in_state(line.node, parcel, "delivered")
    assert delivery.attempts == len(line.peer.requests) == 3
    assert len({(request.content_type, request.body) for request in line.peer.requests}) == 1
    _, read = line.peer.read(line.peer.requests[-1])
    assert read == [octets for _, _, octets in payloads]
    (kept,) = line.kept(frozen, delivery.id)
    assert len(json.loads(kept.objects)) == kind.count("compressible") + kind.count("every")
    await until(lambda: not set(json.loads(kept.objects)) & set(objects(line.node.runtime)), "what was kept is gone")


async def test_a_restart_between_two_attempts_changes_no_octet(estate: CopiedEstate):
    """All that a retry needs is on the disk: small parts in the frozen wire, large ones in the store."""
    plain_http(estate)
    payloads = PAYLOADS["of every kind"]()
    peer = Peer(estate, [busy])
    async with peer.listening():
        async with running(estate.municipality.home) as (node,):
            parcel = await handed_over(node, payloads)
            await until(lambda: len(peer.requests) >= 2, "two attempts")
        peer.script = [peer.accept]
        async with running(estate.municipality.home) as (node,):
            delivery = await in_state(node, parcel, "delivered")
            assert delivery.attempts == len(peer.requests) >= 3
            assert count(node.runtime, "frozen") == 1
            await until(lambda: len(objects(node.runtime)) == 2, "only the payloads are left")
    assert len({(request.content_type, request.body) for request in peer.requests}) == 1
    _, read = peer.read(peer.requests[-1])
    assert read == [octets for _, _, octets in payloads]


async def test_what_gzip_cannot_make_smaller_is_sent_from_where_it_lies(line: Line):
    """No second copy is kept beside the payload; what is compressed is kept until it is settled."""
    line.peer.script = [busy]
    earlier = len(objects(line.node.runtime))
    await line.hand_over(PAYLOADS["large and dense"]())
    await until(lambda: line.peer.requests, "an attempt")
    assert len(objects(line.node.runtime)) == earlier + 1
    await line.hand_over(PAYLOADS["large and compressible"]())
    await until(lambda: len({len(r.body) for r in line.peer.requests}) == 2, "an attempt at the other")
    assert len(objects(line.node.runtime)) == earlier + 3


@pytest.mark.parametrize("kind", ["small", "of every kind"])
async def test_a_changed_encryption_certificate_remakes_only_the_encryption(estate: CopiedEstate, kind: str):
    """The signed octets stay, the receipt still proves them; what was frozen for the old certificate is not sent again."""
    plain_http(estate)
    peer = Peer(estate, [busy])
    payloads = PAYLOADS[kind]()
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, payloads)
        await until(lambda: peer.requests, "an attempt")
        new = authority().issue("Demo Hospital decryption of tomorrow", "encryption")
        write(estate.hospital.home / "keys" / "tomorrow.pem", new.key_pem() + new.chain_pem(), secret=True)
        write(estate.municipality.home / "config" / "certificates" / "hospital-decryption-2.pem", new.certificate_pem())
        edit(estate.hospital.home, "as4.yaml", "as4.party", decryption_keys=["tomorrow"])
        plain_http(estate, encryption_certificate="certificates/hospital-decryption-2.pem")
        old = peer.requests[0]
        said_of_old, _ = peer.read(old)
        later = Peer(estate)
        peer.script = [later.accept]
        await applied(node)
        await in_state(node, parcel, "delivered")
        new_request = peer.requests[-1]
        assert count(node.runtime, "frozen") == 2
        assert count(node.runtime, "outside_id") == 1
        assert "certificate has changed" in told(node.runtime, parcel, "frozen")[1]["cause"]
    said, read = later.read(new_request)
    assert read == [octets for _, _, octets in payloads]
    assert said.references == said_of_old.references
    assert said.message == said_of_old.message
    signature = old.body[old.body.index(b"<ds:Signature ") : old.body.index(b"</S12:Envelope>")]
    assert signature in new_request.body
    assert len(new_request.body) == int(_header(new_request, b"content-length"))
    with pytest.raises(EbmsError, match="0102"):
        peer.read(new_request)


def _header(request: Request, name: bytes) -> str:
    lines = dict(line.split(b": ", 1) for line in request.head.split(b"\r\n") if b": " in line)
    return {key.lower(): value for key, value in lines.items()}[name].decode()


# --- what cannot be sent ----------------------------------------------------------------------------------------------


async def test_an_exchange_that_is_missing_is_named(estate: CopiedEstate):
    """It is repaired by configuration, so it is tried again."""
    service = {"value": SERVICE, "type": SERVICE_TYPE}
    plain_http(estate, exchanges=[{"integration": INTEGRATION, "service": service, "action": "tell"}])
    peer = Peer(estate)
    peer.script = [peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        delivery = await failed_with(node, parcel, "no-exchange")
        assert delivery.last_reason == "partner hospital has no exchange that sends files: add one"
        assert count(node.runtime, "frozen") == 0
        plain_http(estate, exchanges=[{"integration": FILES, "service": service, "action": "deliver-file"}])
        await applied(node)
        await in_state(node, parcel, "delivered")


async def test_a_partner_that_is_gone_is_named(line: Line):
    """A route may lead to a partner whose file was taken out since."""
    parcel = await line.hand_over()
    await in_state(line.node, parcel, "delivered")
    sent = line.node.runtime.read_now(parcels.load, parcel)
    delivery = Delivery("d", parcel, "ward-record", "as4", State.READY, 0, attempts=1, destination="nobody", rule="r")
    outcome = await line.node.gateways["as4"].deliver(delivery, sent)
    reason = "no as4.partner is called 'nobody': add it, or change the route 'r'"
    assert outcome == Outcome(code="no-partner", reason=reason)


async def test_a_value_no_header_can_hold_is_refused_at_once(line: Line):
    """The reason names it; no octet leaves, and nothing is frozen or kept."""
    parcel = await line.hand_over(attributes={"as4.property.bell": "ding\ufffedong"})
    delivery = await in_state(line.node, parcel, "rejected")
    assert (delivery.last_code, delivery.attempts) == ("cannot-be-sent", 1)
    assert "U+FFFE" in delivery.last_reason
    assert line.kept(frozen, delivery.id) == []
    assert line.peer.requests == []


async def test_a_payload_that_is_no_longer_what_was_stored_is_never_sent(estate: CopiedEstate):
    """Its digest is checked before it is signed; half a copy of it is not kept."""
    plain_http(estate)
    peer = Peer(estate)
    async with running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, [("c.json", "application/json", os.urandom(150_000).hex().encode())])
        await failed_with(node, parcel, "connect")
    for path in (estate.municipality.settings().store_path / "objects").rglob("*"):
        if path.is_file():
            octets = bytearray(path.read_bytes())
            octets[-5] ^= 1
            path.write_bytes(octets)
    peer.script = [peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        delivery = await in_state(node, parcel, "rejected")
        assert delivery.last_code == "payload"
        assert explain.code("payload", As4Gateway.explain)
        assert count(node.runtime, "receipt") == 0


async def test_a_payload_that_is_damaged_before_it_is_packed_leaves_no_copy(line: Line):
    """The damage is at its end: what was packed until then is forgotten."""
    earlier = set(objects(line.node.runtime))
    payloads = [("c.json", "application/json", os.urandom(150_000).hex().encode())]
    item = await asyncio.to_thread(stage_parcel, line.node.runtime, "care-record", payloads)
    (name,) = set(objects(line.node.runtime)) - earlier
    path = next(line.node.runtime.store.root.rglob(name))
    octets = bytearray(path.read_bytes())
    octets[-5] ^= 1
    path.write_bytes(octets)
    await kernel(line.node).accept(item)
    delivery = await in_state(line.node, item.parcel.id, "rejected")
    assert (delivery.last_code, delivery.attempts) == ("payload", 1)
    assert set(objects(line.node.runtime)) - earlier == {name}
    assert line.peer.requests == []


# --- the frozen form --------------------------------------------------------------------------------------------------


@given(
    st.lists(
        st.one_of(
            st.tuples(st.binary(max_size=50), st.none()),
            st.tuples(st.none(), st.uuids().map(lambda u: u.hex)),
            st.tuples(st.none(), st.none()),
        ),
        max_size=5,
    ),
    st.sampled_from([b"", bytes(range(32))]),
    st.booleans(),
    st.binary(max_size=40),
)
@settings(max_examples=60, deadline=None)
async def test_what_is_frozen_is_read_back(
    parts: list[tuple[bytes | None, str | None]], encrypted_for: bytes, doubted: bool, root: bytes
):
    """Octets in memory, names of kept objects, and parts that are sent from where they lie."""
    listed = tuple((f"p{n}@x", "application/json", n, bytes(12)) for n in range(len(parts)))
    message = outbound.Message("m@x", root, "b", bytes(16), listed, ())
    wire = Wire(message, tuple(parts), encrypted_for, doubted)
    assert Wire.from_bytes(wire.to_bytes()) == wire
    if not encrypted_for:
        assert not Wire.from_bytes(wire.to_bytes()).encrypted_for, "as wires were frozen before it was written down"
