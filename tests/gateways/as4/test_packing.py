"""From a parcel to a message and back: frozen once, thawed as it was, whole in memory or piece by piece.

What goes over the wire, attempt by attempt, is in `test_sending.py`.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
from cryptography.hazmat.primitives.hashes import SHA256

from accesspoint.errors import EbmsError
from core.delivery import Delivery
from core.errors import PayloadError
from core.ledger import deliveries, parcels
from core.node import Node
from core.parcel import Parcel
from gateways.as4 import packing
from gateways.as4.packing import Packer
from gateways.as4.partners import Neighbour
from gateways.as4.workers import Workers
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import count, objects, stranger
from tests.gateways.as4.meps import agree_to_pull
from tests.gateways.as4.running import Peer, Request, handed_over, kernel, row, running, told

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def node(tmp_path_factory: pytest.TempPathFactory, template: Path) -> AsyncIterator[Node]:
    """A node whose files wait to be pulled, so that nobody but the test packs them."""
    estate = CopiedEstate(tmp_path_factory.mktemp("packing"), template=template)
    estate.make()
    agree_to_pull(estate)
    async with running(estate.municipality.home) as (made,):
        made.peer = Peer(estate)  # type: ignore[attr-defined]
        yield made


@pytest_asyncio.fixture(loop_scope="module")
async def packer(node: Node) -> AsyncIterator[Packer]:
    """A packer of its own."""
    workers = Workers(1)
    yield Packer(kernel(node, "as4"), workers)
    workers.close()


def _neighbour(node: Node) -> Neighbour:
    found: Neighbour = node.gateways["as4"]._partners.by_id["hospital"]  # type: ignore[attr-defined]
    return found


async def _lent(node: Node, payloads: list[tuple[str, str, bytes]], attempts: int = 1) -> tuple[Delivery, Parcel]:
    parcel = await handed_over(node, payloads)
    found = node.runtime.read_now(deliveries.get, row(node.runtime, parcel).id)
    assert found is not None
    return replace(found, attempts=attempts), node.runtime.read_now(parcels.load, parcel)


async def _octets(packer: Packer, parcel: Parcel, wire: packing.Wire) -> bytes:
    body = packer.body(parcel, wire)
    return body if isinstance(body, bytes) else b"".join([piece async for piece in body])


PAYLOADS = {
    "none": [],
    "small": [("a", "application/json", b"{}"), ("b", "text/plain", b"one\ntwo")],
    "large": [
        ("a", "application/json", b'{"n": 1}' * 40_000),
        ("b", "application/octet-stream", os.urandom(300_000)),
        ("c", "application/json", b"{}"),
    ],
}


@pytest.mark.parametrize("kind", PAYLOADS)
async def test_a_message_is_made_once_and_thawed_as_it_was(node: Node, packer: Packer, kind: str):
    """A later attempt has the same octets and freezes nothing; a receipt can be judged by them alone."""
    delivery, parcel = await _lent(node, PAYLOADS[kind])
    neighbour = _neighbour(node)
    pmode = neighbour.pulled_pmode("files")
    assert pmode is not None
    before = count(node.runtime, "frozen")
    packed = await packer.pack(delivery, parcel, neighbour, pmode)
    wire, frozen = packed.wire, packed.frozen
    later = await packer.pack(replace(delivery, attempts=2), parcel, neighbour, pmode)
    again, kept = later.wire, later.frozen
    assert (packed.again, later.again) == (False, True)
    assert (again, kept.wire) == (wire, frozen.wire) == (packer.thaw(parcel, kept), kept.wire)
    assert count(node.runtime, "frozen") == before + 1
    assert frozen.outside_ids == (wire.message.message_id,)
    assert re.fullmatch(delivery.id + r"\.[0-9a-f]{24}@municipality\.example", wire.message.message_id)
    octets = await _octets(packer, parcel, wire)
    assert len(octets) == wire.message.length
    assert await _octets(packer, parcel, again) == octets
    if kind != "none":
        assert wire.encrypted_for == pmode.their_encryption_certificate.fingerprint(SHA256())  # type: ignore[union-attr]
        request = Request(b"Content-Type: " + wire.message.content_type.encode(), octets)
        assert node.peer.read(request)[1] == [plain for _, _, plain in PAYLOADS[kind]]  # type: ignore[attr-defined]
    else:
        assert wire.encrypted_for == b""


async def test_what_is_frozen_is_sealed_for_its_own_delivery(node: Node, packer: Packer):
    """The content key is not readable in the ledger, and the wire of one delivery is none of another."""
    delivery, parcel = await _lent(node, PAYLOADS["small"])
    neighbour = _neighbour(node)
    pmode = neighbour.pulled_pmode("files")
    assert pmode is not None
    packed = await packer.pack(delivery, parcel, neighbour, pmode)
    wire, frozen = packed.wire, packed.frozen
    assert wire.message.key not in frozen.wire
    with pytest.raises(PayloadError):
        packer.thaw(parcel, replace(frozen, delivery_id="another"))


async def test_small_messages_are_whole_and_large_ones_come_in_pieces(node: Node, packer: Packer):
    """Nothing large is ever in memory at once; an unfinished reading leaves nothing behind."""
    neighbour = _neighbour(node)
    pmode = neighbour.pulled_pmode("files")
    assert pmode is not None
    for kind, whole in (("small", True), ("large", False)):
        delivery, parcel = await _lent(node, PAYLOADS[kind])
        wire = (await packer.pack(delivery, parcel, neighbour, pmode)).wire
        body = packer.body(parcel, wire)
        assert isinstance(body, bytes) is whole
        if not isinstance(body, bytes):
            first = await anext(body)
            assert first == wire.message.start()
            await body.aclose()


async def test_only_the_encryption_is_made_anew_for_a_new_certificate(node: Node, packer: Packer):
    """The signed octets stay, under the same name; the trace says why there is a second wire."""
    delivery, parcel = await _lent(node, PAYLOADS["small"])
    neighbour = _neighbour(node)
    pmode = neighbour.pulled_pmode("files")
    assert pmode is not None
    wire = (await packer.pack(delivery, parcel, neighbour, pmode)).wire
    renewed = replace(pmode, their_encryption_certificate=stranger("Demo Ward decryption").certificate)
    later = await packer.pack(replace(delivery, attempts=2), parcel, neighbour, renewed)
    again, frozen = later.wire, later.frozen
    assert again.message.references == wire.message.references
    assert again.message.message_id == wire.message.message_id
    assert again.encrypted_for != wire.encrypted_for
    assert packer.thaw(parcel, frozen) == again
    assert "certificate has changed" in told(node.runtime, parcel.id, "frozen")[-1]["cause"]


async def test_what_cannot_be_made_freezes_and_keeps_nothing(node: Node, packer: Packer):
    """A header no XML can hold, or an agreement without a certificate that fits its profile."""
    neighbour = _neighbour(node)
    pmode = neighbour.pulled_pmode("files")
    assert pmode is not None
    delivery, parcel = await _lent(node, PAYLOADS["small"])
    before = count(node.runtime, "frozen"), objects(node.runtime)
    with pytest.raises(ValueError, match=r"U\+0007|U\+FFFE|cannot"):
        await packer.pack(delivery, parcel, neighbour, replace(pmode, action="ding\ufffedong"))
    with pytest.raises(EbmsError, match="0103"):
        await packer.pack(delivery, parcel, neighbour, replace(pmode, their_encryption_certificate=None))
    assert (count(node.runtime, "frozen"), objects(node.runtime)) == before
