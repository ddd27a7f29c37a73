"""eDelivery AS4 2.0 and its elliptic curve alternative between real nodes, and beside 1.15 on one endpoint."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization

from accesspoint import ebms, names
from accesspoint.agreement import Agreement, PublicKey
from accesspoint.errors import EbmsError
from accesspoint.profiles import EDELIVERY_1_15, PROFILES
from accesspoint.soap import parse_envelope
from accesspoint.xmlenc import parse_encryption
from conformance.estate import FILES
from conformance.pki import Kind, write
from core.ledger import parcels
from core.ledger.tables import receipt
from core.node import Node
from core.trust import load_identity
from tests.gateways.as4.conftest import CopiedEstate, MakeEstate
from tests.gateways.as4.making import OBSERVATION, OtherSender, authority, edit
from tests.gateways.as4.running import (
    SMALL,
    Door,
    Peer,
    applied,
    busy,
    handed_over,
    in_state,
    kernel,
    mailbox,
    plain_http,
    rows,
    running,
    told,
    until,
)
from tests.vectors.opinions import plain_payloads

pytestmark = pytest.mark.asyncio

BOTH = ["edelivery-2.0", "edelivery-2.0-ec"]
METHODS = {
    "edelivery-1.15": (names.RSA_SHA256, names.RSA_OAEP),
    "edelivery-2.0": (names.ED25519, names.X25519),
    "edelivery-2.0-ec": (names.ECDSA_SHA256, names.ECDH_ES),
}
"""How a message is signed and how its content key travels, by profile."""

PAYLOADS = [
    *SMALL,
    ("large.json", "application/json", b'{"number": 1}\n' * 60_000),
    ("dense.zip", "application/zip", os.urandom(300_000)),
]


def _arrived(node: Node) -> list[bytes]:
    """The payloads of the one parcel that waits for the node's own system."""
    (parcel_id,) = mailbox(node.runtime)
    return _payloads(node, parcel_id)


def _payloads(node: Node, parcel_id: str) -> list[bytes]:
    parcel = node.runtime.read_now(parcels.load, parcel_id)
    return [b"".join(kernel(node).read_now(parcel, payload)) for payload in parcel.payloads]


def _kept(node: Node, delivery_id: str) -> bytes:
    """The evidence kept of a delivery."""
    query = receipt.select().where(receipt.c.delivery_id == delivery_id)
    (found,) = node.runtime.read_now(lambda connection: connection.execute(query).all())
    return bytes(found.raw)


# --- between two nodes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", BOTH)
async def test_two_nodes_exchange_messages_both_ways(make_estate: MakeEstate, profile: str):
    """Over TLS, small and large payloads; signatures, content keys and receipts are those of the profile."""
    estate = make_estate(profile)
    signature, transport = METHODS[profile]
    async with running(estate.municipality.home, estate.hospital.home) as (city, hospital):
        for here, there, sender in ((city, hospital, "care-record"), (hospital, city, "ward-record")):
            parcel = await handed_over(here, PAYLOADS, sender=sender)
            delivery = await in_state(here, parcel, "delivered")
            assert delivery.attempts == 1
            assert _arrived(there) == [octets for _, _, octets in PAYLOADS]
            (facts,) = told(there.runtime, mailbox(there.runtime)[0], "accepted")
            assert (facts["signature"], facts["key transport"]) == (signature, transport)
            assert f'<ds:SignatureMethod Algorithm="{signature}">'.encode() in _kept(here, delivery.id)


@pytest.mark.parametrize("profile", BOTH)
@pytest.mark.parametrize("form", ["binary-security-token", "subject-key-identifier", "issuer-serial"])
async def test_what_goes_over_the_wire_is_read_without_our_code(make_estate: MakeEstate, profile: str, form: str):
    """Agreement, derivation, key wrap and payloads, by a reader of its own, however the receiver's key is referred to."""
    estate = make_estate(profile)
    plain_http(estate, key_reference=form)
    peer = Peer(estate)
    peer.script = [peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        await in_state(node, await handed_over(node, PAYLOADS), "delivered")
    (request,) = peer.requests
    key = load_identity(estate.hospital.home / "keys", "decryption").key
    found = plain_payloads(request.content_type, request.body, [key])
    assert [size for size, _ in found] == [len(octets) for _, _, octets in PAYLOADS]
    assert peer.read(request)[1] == [octets for _, _, octets in PAYLOADS]
    assert OBSERVATION not in request.body


@pytest.mark.parametrize("profile", BOTH)
async def test_each_message_has_an_agreement_of_its_own_and_a_retry_has_the_same(make_estate: MakeEstate, profile: str):
    """What was frozen is sent again octet for octet; the next message names another key and another salt."""
    estate = make_estate(profile)
    plain_http(estate)
    peer = Peer(estate)
    peer.script = [busy, busy, peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        first = await in_state(node, await handed_over(node, PAYLOADS), "delivered")
        await in_state(node, await handed_over(node, PAYLOADS), "delivered")
    assert first.attempts == 3
    assert len({request.body for request in peer.requests[:3]}) == 1
    one, other = (_agreement(request.body, profile) for request in (peer.requests[0], peer.requests[3]))
    assert one.salt != other.salt and _octets(one.originator) != _octets(other.originator)


def _agreement(body: bytes, profile: str) -> Agreement:
    start, end = body.index(b"<?xml"), body.index(b"</S12:Envelope>") + 15
    encryption = parse_encryption(parse_envelope(body[start:end]), PROFILES[profile])
    assert encryption is not None and encryption.key.agreement is not None
    return encryption.key.agreement


def _octets(key: PublicKey) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize("profile", BOTH)
async def test_a_new_key_of_theirs_is_used_for_what_waits(make_estate: MakeEstate, profile: str):
    """Only the encryption is made anew: another agreement, the same signed octets."""
    estate = make_estate(profile)
    kind: Kind = "x25519" if profile == "edelivery-2.0" else "p256"
    plain_http(estate)
    peer = Peer(estate, [busy])
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, PAYLOADS)
        await until(lambda: peer.requests, "an attempt")
        new = authority().issue("Demo Hospital decryption of tomorrow", "encryption", kind=kind)
        write(estate.hospital.home / "keys" / "tomorrow.pem", new.key_pem() + new.chain_pem(), secret=True)
        write(estate.municipality.home / "config" / "certificates" / "tomorrow.pem", new.certificate_pem())
        edit(estate.hospital.home, "as4.yaml", "as4.party", decryption_keys=["tomorrow"])
        plain_http(estate, encryption_certificate="certificates/tomorrow.pem")
        later = Peer(estate)
        peer.script = [later.accept]
        await applied(node)
        await in_state(node, parcel, "delivered")
    old, newest = peer.requests[0], peer.requests[-1]
    assert later.read(newest)[0].references == peer.read(old)[0].references
    assert later.read(newest)[1] == [octets for _, _, octets in PAYLOADS]
    with pytest.raises(EbmsError, match="0102"):
        peer.read(newest)


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", BOTH)
async def test_what_is_not_of_the_profile_is_refused_in_an_error_signed_under_it(make_estate: MakeEstate, profile: str):
    """Another signature, another way for the content key, another key of the right kind, one changed bit."""
    estate = make_estate(profile)
    sender = OtherSender(estate)
    rsa = authority().issue("Demo Municipality RSA", "both")
    kind: Kind = "x25519" if profile == "edelivery-2.0" else "p256"
    other = authority().issue("Demo Other decryption", "encryption", kind=kind).certificate
    old = replace(EDELIVERY_1_15, signatures=PROFILES[profile].signatures)
    signed = replace(PROFILES[profile], signatures=(names.RSA_SHA256,))
    wrong = {
        "signed": sender.message(identity=rsa, pmode=replace(sender.pmode, profile=signed)),
        "wrapped": sender.message(
            pmode=replace(sender.pmode, profile=old, their_encryption_certificate=rsa.certificate)
        ),
        "for another": sender.message(pmode=replace(sender.pmode, their_encryption_certificate=other)),
        "changed": _changed(sender.message([os.urandom(200)])),
    }
    answers = {
        "signed": ("EBMS:0103", "SignatureMethod"),
        "wrapped": ("EBMS:0103", "EncryptedKey/EncryptionMethod"),
        "for another": ("EBMS:0102", "EncryptedKey"),
        "changed": ("EBMS:0102", "EncryptedData"),
    }
    async with running(estate.hospital.home) as (node,):
        door = Door(estate, node, sender)
        for what, sent in wrong.items():
            error = door.refused(replace(sent, pmode=sender.pmode), await door.post(sent))
            assert (error.code, error.description.partition(":")[0]) == answers[what], what
        good = sender.message()
        door.acknowledged(good, await door.post(good))


def _changed(sent: Any) -> Any:
    """With one bit of the payload's ciphertext another."""
    body = bytearray(sent.body)
    body[len(body) - len(sent.message.end()) - 40] ^= 1
    return replace(sent, body=bytes(body))


# --- one endpoint, two profiles ---------------------------------------------------------------------------------------

CLINIC = {"value": "urn:demo:clinic"}


@dataclass
class Town:
    """A hospital that speaks 1.15 with the municipality and 2.0 with a clinic, under one name at one endpoint."""

    city: CopiedEstate
    beside: CopiedEstate
    """Its municipality is the clinic; its hospital's keys are the second ones of the hospital."""

    @property
    def homes(self) -> tuple[Path, Path, Path]:
        """City, hospital, clinic."""
        return self.city.municipality.home, self.city.hospital.home, self.beside.municipality.home


@pytest.fixture
def town(make_estate: MakeEstate) -> Town:
    """Three organisations; nothing runs."""
    city, beside = make_estate("edelivery-1.15"), make_estate("edelivery-2.0")
    hospital, clinic = city.hospital.home, beside.municipality.home
    for name in ("signing", "decryption"):
        shutil.copy(beside.hospital.home / "keys" / f"{name}.pem", hospital / "keys" / f"{name}-2.pem")
        certificate = clinic / "config" / "certificates" / f"municipality-{name}.pem"
        shutil.copy(certificate, hospital / "config" / "certificates" / f"clinic-{name}.pem")
    _anchor(hospital, clinic)
    _anchor(clinic, hospital)
    edit(clinic, "as4.yaml", "as4.party", party_id=CLINIC)
    at_the_hospital = {
        "url": f"https://localhost:{city.hospital.port}/as4",
        "tls": {"anchors": "certificates/far-ca.pem"},
    }
    edit(clinic, "as4.yaml", "as4.partner", **at_the_hospital)
    party, partner = yaml.safe_load_all((hospital / "config" / "as4.yaml").read_text())
    second = {"id": "hospital-2", "signing_key": "signing-2", "decryption_keys": ["decryption-2"]}
    theirs = {
        "id": "clinic",
        "party": "hospital-2",
        "party_id": CLINIC,
        "system": "clinic-record",
        "profile": "edelivery-2.0",
        "url": f"https://localhost:{beside.municipality.port}/as4",
        "signing_certificates": ["certificates/clinic-signing.pem"],
        "encryption_certificate": "certificates/clinic-decryption.pem",
        "tls": {"anchors": "certificates/far-ca.pem"},
    }
    _rewrite(hospital, "as4.yaml", [party, {**party, **second}, partner, {**partner, **theirs}])
    _add_clinic(hospital)
    return Town(city, beside)


def _anchor(here: Path, there: Path) -> None:
    folder = Path("config", "certificates")
    shutil.copy(there / folder / "demo-ca.pem", here / folder / "far-ca.pem")


def _rewrite(home: Path, file: str, documents: list[Mapping[str, Any]]) -> None:
    unshared = json.loads(json.dumps(documents))  # no aliases are taken
    (home / "config" / file).write_text(yaml.safe_dump_all(unshared, sort_keys=False))


def _add_clinic(hospital: Path) -> None:
    """The clinic's system, what it may do, and the ways to it and from it."""

    def more(file: str, change: Callable[[list[Any]], list[Any]]) -> None:
        _rewrite(hospital, file, change(list(yaml.safe_load_all((hospital / "config" / file).read_text()))))

    system = {
        "kind": "system",
        "id": "clinic-record",
        "title": "The clinic's record system",
        "authority": "demo-clinic",
    }
    allowed = {"kind": "service-agreement", "id": "files-clinic", "integration": FILES, "system": "clinic-record"}
    target = {"system": "clinic-record", "gateway": "as4", "destination": "clinic"}
    more("systems.yaml", lambda found: [*found, system])
    more("agreements.yaml", lambda found: [*found, {**allowed, "may": "both", "approved_by": "demo-hospital"}])
    more("integrations.yaml", lambda found: [{k: v for k, v in one.items() if k != "tests"} for one in found])
    more(
        "routes.yaml",
        lambda found: [
            {**found[0], "to": [*found[0]["to"], target]},
            found[1],
            {**found[1], "id": "from-clinic", "match": {"sender": "clinic-record"}},
        ],
    )


async def test_one_endpoint_serves_partners_of_both_profiles(town: Town):
    """Each message is judged, decrypted and acknowledged under its own partner's profile and keys, both ways."""
    async with running(*town.homes) as (city, hospital, clinic):
        for node, profile in ((city, "edelivery-1.15"), (clinic, "edelivery-2.0")):
            before = set(mailbox(hospital.runtime))
            delivery = await in_state(node, await handed_over(node, PAYLOADS), "delivered")
            (arrived,) = set(mailbox(hospital.runtime)) - before
            (facts,) = told(hospital.runtime, arrived, "accepted")
            assert (facts["signature"], facts["key transport"]) == METHODS[profile]
            assert f'<ds:SignatureMethod Algorithm="{METHODS[profile][0]}">'.encode() in _kept(node, delivery.id)
            assert _payloads(hospital, arrived) == [octets for _, _, octets in PAYLOADS]
        parcel = await handed_over(hospital, PAYLOADS, sender="ward-record")
        await until(lambda: {r.state for r in rows(hospital.runtime, parcel)} == {"delivered"}, "both have it")
        assert {r.destination for r in rows(hospital.runtime, parcel)} == {"municipality", "clinic"}
        for node, profile in ((city, "edelivery-1.15"), (clinic, "edelivery-2.0")):
            assert _arrived(node) == [octets for _, _, octets in PAYLOADS]
            (facts,) = told(node.runtime, mailbox(node.runtime)[0], "accepted")
            assert (facts["signature"], facts["key transport"]) == METHODS[profile]


async def test_a_partners_profile_is_not_the_other_partners(town: Town):
    """Whoever comes with the other one's algorithms or key is refused, under the profile of whom they say they are."""
    old, new = OtherSender(town.city), OtherSender(town.beside)
    new.pmode = replace(new.pmode, us=replace(new.pmode.us, id=ebms.Typed(CLINIC["value"])))
    old.pmode, new.pmode = (replace(one.pmode, action="deliver-file") for one in (old, new))
    async with running(town.city.hospital.home) as (node,):
        for mine, other in ((old, new), (new, old)):
            door = Door(town.city, node, mine)
            good = mine.message()
            door.acknowledged(good, await door.post(good))
            theirs = replace(other.pmode, us=mine.pmode.us)
            for sent, code, field in (
                (mine.message(identity=other.identity, pmode=theirs), "EBMS:0103", "EncryptedKey/EncryptionMethod"),
                (mine.message([], identity=other.identity, pmode=theirs), "EBMS:0103", "SignatureMethod"),
            ):
                error = door.refused(replace(sent, pmode=mine.pmode), await door.post(sent))
                assert (error.code, error.description.partition(":")[0]) == (code, field)
