"""Test assertions about receiving, over real sockets: what a foreign sender posts, what it is answered, what is delivered.

Ids are those of docs/assertions.yaml. A message that is wrong in its header is signed over what is wrong.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from lxml import etree

from accesspoint import mime, names, outbound
from accesspoint.compression import compress
from accesspoint.ebms import Property, UserMessage
from accesspoint.outbound import Part, new_cid
from conformance.pki import Authority, write
from core.clock import SystemClock
from core.ledger import parcels
from core.parcel import Key
from tests.gateways.as4.asserting import header_changed
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, Sent, authority, edit, sign_with, stored, stranger
from tests.gateways.as4.running import Door, kernel, mailbox, running, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

XML = "<?xml version='1.0'?>\n<letter  a='1'>kære\nven</letter>\n".encode()
OTHERS = [("application/pdf", b"%PDF-1.7 " + os.urandom(90)), ("image/png", os.urandom(3000))]
THREE = [("application/xml", XML), *OTHERS]
Payloads = Sequence[tuple[str, bytes]]


def sent(
    door: Door,
    payloads: Payloads = THREE[:1],
    *,
    compressed: bool = True,
    properties: tuple[Property, ...] = (),
    part_properties: tuple[Property, ...] = (),
) -> tuple[Sent, list[bytes]]:
    """A message of (media type, octets), and its parts as they were signed."""
    sender = door.sender
    bodies = [compress(octets) if compressed else octets for _, octets in payloads]
    parts = [
        Part(
            new_cid(), kind, compressed, len(octets), hashlib.sha256(_digested(kind, octets)).digest(), part_properties
        )
        for (kind, _), octets in zip(payloads, bodies, strict=True)
    ]
    pmode, us = sender.pmode, sender.identity
    message_id = new_cid().replace("@stafet", "@municipality.example")
    header = UserMessage(message_id, SystemClock().now(), pmode.us, pmode.them, pmode.service, pmode.action, "c-1")
    message = outbound.build(pmode, replace(header, properties=properties), parts, us.certificate, sign_with(us))
    return Sent(message, message.whole(bodies), pmode), bodies


def _digested(kind: str, octets: bytes) -> bytes:
    """What is digested of a part: XML that goes as it is counts in its canonical form."""
    return etree.tostring(etree.fromstring(octets), method="c14n", exclusive=True) if octets == XML else octets


def delivered(door: Door, one: Sent) -> list[tuple[str, bytes]]:
    """The payloads of a message, as the record system reads them."""
    found = door.node.runtime.read_now(parcels.recall, Key("as4:municipality", one.message.message_id))
    assert found is not None and found.parcel_id in mailbox(door.node.runtime)
    parcel, mine = door.node.runtime.read_now(parcels.load, found.parcel_id), kernel(door.node)
    return [(p.media_type, b"".join(mine.read_now(parcel, p))) for p in parcel.payloads]


async def refused(door: Door, one: Sent, code: str, *, known: bool = True) -> etree._Element:
    """Post; the answer is one ebMS error of this code about the message, signed for whom is ``known``. Gives the element."""
    before = stored(door.node.runtime)
    got = await door.post(one)
    assert door.refused(one, got, authenticated=known).code == code
    (error,) = etree.fromstring(got.body).iter(names.tag(names.EB, "Error"))
    assert error.get("refToMessageInError") == one.message.message_id
    await until(lambda: stored(door.node.runtime) == before, "what was refused left nothing")
    return error


# --- taken ------------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA01", "CP_TA21")
async def test_a_pushed_message_is_answered_with_a_receipt(door: Door):
    """HTTP 200, and a signed receipt with the digest of every reference of the message's own signature."""
    one, _ = sent(door, THREE)
    got = await door.post(one)
    assert (got.status, got.content_type.partition(";")[0]) == (200, "application/soap+xml")
    door.acknowledged(one, got)
    answer = etree.fromstring(got.body)
    (told,) = answer.iter(names.tag(names.EB, "RefToMessageId"))
    assert told.text == one.message.message_id
    digests = {
        e.text for e in answer.find(f".//{names.tag(names.EB, 'Receipt')}").iter(names.tag(names.DS, "DigestValue"))
    }
    theirs = etree.fromstring(one.message.root).find(f".//{names.tag(names.DS, 'SignedInfo')}")
    assert digests == {e.text for e in theirs.iter(names.tag(names.DS, "DigestValue"))} and len(digests) == 5


@pytest.mark.assertion("CP_TA04")
async def test_an_uncompressed_payload_is_taken(door: Door):
    """A receipt, and the octets as they were, also of XML whose digest is that of its canonical form."""
    one, _ = sent(door, THREE, compressed=False)
    assert b"CompressionType" not in one.message.root
    door.acknowledged(one, await door.post(one))
    assert delivered(door, one) == THREE


@pytest.mark.assertion("CP_TA07", "CP_TA33", "CP_TA38", "CP_TA45")
async def test_several_payloads_are_delivered_as_they_were(door: Door):
    """Compressed, signed, encrypted, in this order; a receipt, and all of them in their order under their own types."""
    one, signed = sent(door, THREE)
    assert [gzip.decompress(octets) for octets in signed] == [octets for _, octets in THREE]
    assert not any(octets in one.body for octets in signed), "they are encrypted"
    door.acknowledged(one, await door.post(one))
    assert delivered(door, one) == THREE


@pytest.mark.assertion("CP_TA32")
async def test_a_compressed_payload_is_delivered_decompressed(door: Door):
    """One XML payload that was compressed and then encrypted."""
    one, (signed,) = sent(door)
    assert one.message.key and signed not in one.body
    door.acknowledged(one, await door.post(one))
    assert delivered(door, one) == [("application/xml", XML)]


@pytest.mark.assertion("CP_TA27", "CP_TA28")
@pytest.mark.parametrize("charset", ["UTF-16", "UTF-8"])
async def test_a_character_set_reaches_the_receiving_system(door: Door, charset: str):
    """With the media type of the payload, whose octets are not touched."""
    octets = f'<?xml version="1.0" encoding="{charset}"?><letter>kære ven</letter>'.encode(charset)
    one, _ = sent(door, [("text/xml", octets)], part_properties=(Property(names.CHARACTER_SET, charset),))
    door.acknowledged(one, await door.post(one))
    assert delivered(door, one) == [(f"text/xml; charset={charset}", octets)]


@pytest.mark.assertion("CP_TA20", "CP_TA44")
async def test_properties_are_taken_with_a_type_and_without(door: Door):
    """Of the message, which are kept, and of a part."""
    both = (Property("colour", "green", "urn:demo:colours"), Property("weight", "7"))
    one, _ = sent(door, properties=both, part_properties=both)
    assert one.message.root.count(b'type="urn:demo:colours"') == 2
    door.acknowledged(one, await door.post(one))
    found = door.node.runtime.read_now(parcels.recall, Key("as4:municipality", one.message.message_id))
    assert found is not None
    kept = door.node.runtime.read_now(parcels.load, found.parcel_id).description.attributes
    assert (kept["as4.property.colour"], kept["as4.property.weight"]) == ("green", "7")


@pytest.mark.assertion("CP_TA17")
async def test_a_ping_is_answered_and_delivered_to_nobody(door: Door):
    """A receipt, and no mailbox has more than before."""
    before = mailbox(door.node.runtime), stored(door.node.runtime)
    one = door.sender.message(ping=True)
    door.acknowledged(one, await door.post(one))
    assert (mailbox(door.node.runtime), stored(door.node.runtime)) == before


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA08")
async def test_a_hyperlink_is_no_payload(door: Door, monkeypatch: pytest.MonkeyPatch):
    """It is not fetched; the answer to the message says so, to whoever it is: a header that is wrong has no sender."""
    with header_changed(monkeypatch, lambda xml: re.sub(b'href="cid:[^"]+"', b'href="https://files.example/a"', xml)):
        one, _ = sent(door)
    error = await refused(door, one, "EBMS:0011", known=False)
    assert (error.get("category"), error.get("shortDescription")) == ("Content", "ExternalPayloadError")


@pytest.mark.assertion("CP_TA26")
async def test_a_compressed_payload_says_what_it_was(door: Door, monkeypatch: pytest.MonkeyPatch):
    """Without MimeType nobody could hand it on."""
    without = re.compile(b'<eb:Property name="MimeType">[^<]+</eb:Property>')
    with header_changed(monkeypatch, lambda xml: without.sub(b"", xml)):
        one, _ = sent(door)
    assert b"CompressionType" in one.message.root and b"MimeType>" not in one.message.root
    error = await refused(door, one, "EBMS:0003")
    assert "PartProperties/MimeType" in error.findtext(names.tag(names.EB, "Description"))


@pytest.mark.assertion("CP_TA29")
@pytest.mark.parametrize("name", ["!utf*", "utf 8", "8"])
async def test_a_character_set_has_a_name_of_one(door: Door, name: str):
    """What can be none is refused while the sender waits."""
    one, _ = sent(door, part_properties=(Property(names.CHARACTER_SET, name),))
    error = await refused(door, one, "EBMS:0003")
    assert "PartProperties/CharacterSet" in error.findtext(names.tag(names.EB, "Description"))


@pytest.mark.assertion("CP_TA30")
async def test_a_damaged_gzip_is_a_failure_of_decompression(door: Door):
    """Signed and encrypted as it should be, and no gzip any more."""
    one = door.sender.message([XML], prepare=lambda octets: compress(octets)[:-4] + bytes(4))
    error = await refused(door, one, "EBMS:0303")
    assert (error.get("severity"), error.get("category")) == ("failure", "Communication")
    assert error.get("shortDescription") == "DecompressionFailure"


@pytest.mark.assertion("CP_TA35")
async def test_what_was_signed_before_it_was_compressed_is_refused(door: Door):
    """The digest is that of the plain octets, and the signature has to cover the compressed ones."""
    one = door.sender.message([b"plain octets"], prepare=bytes)
    wrong = Sent(one.message, one.message.whole([compress(b"plain octets")]), one.pmode)
    await refused(door, wrong, "EBMS:0101")


@pytest.mark.assertion("CP_TA37")
async def test_what_was_encrypted_before_it_was_compressed_is_refused(door: Door):
    """A gzip of the ciphertext is no ciphertext."""
    one, (signed,) = sent(door)
    (cid, *_), writer = one.message.parts[0], one.message.part(0)
    head = mime.part_head(one.message.boundary, cid, "application/octet-stream")
    cipher = writer.head.removeprefix(head) + writer.update(signed) + writer.finish()
    assert one.message.start() + head + cipher + one.message.end() == one.body
    body = one.message.start() + head + compress(cipher) + one.message.end()
    await refused(door, Sent(one.message, body, one.pmode), "EBMS:0102")


# --- under an anchor --------------------------------------------------------------------------------------------------

NAME: Final = "Demo Municipality signing"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def anchored(tmp_path_factory: pytest.TempPathFactory, template: Path) -> AsyncIterator[Door]:
    """A hospital that believes the municipality's name under one authority, and no certificate by itself."""
    estate = CopiedEstate(tmp_path_factory.mktemp("anchored"), template=template)
    estate.make()
    config = estate.hospital.home / "config"
    write(config / "certificates" / "above.pem", authority().pem())
    fields = {"signing_certificates": [], "anchors": ["certificates/above.pem"], "signing_subject": NAME}
    edit(estate.hospital.home, "as4.yaml", "as4.partner", **fields)
    async with running(estate.hospital.home) as (node,):
        yield Door(estate, node, OtherSender(estate))


@pytest.mark.assertion("DR_TA02", "DR_TA04")
@pytest.mark.parametrize("what", ["another anchor", "another subject"])
async def test_under_an_anchor_one_name_is_believed(anchored: Door, what: str):
    """The agreed name under the agreed authority is; the same name under another authority and another name are not."""
    right = anchored.sender.message(identity=authority().issue(NAME, "signing"))
    anchored.acknowledged(right, await anchored.post(right))
    other = Authority("Stafet Other CA", authority().at)
    identity = other.issue(NAME, "signing") if what == "another anchor" else stranger()
    error = await refused(anchored, anchored.sender.message(identity=identity), "EBMS:0101")
    assert error.get("shortDescription") == "FailedAuthentication"
