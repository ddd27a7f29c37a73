"""Our own assertions about eDelivery AS4 2.0, under both of its curves, over real sockets to whole nodes.

There is no official list: ids beginning with E2_ and their words are those of docs/assertions.yaml.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, cast

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from lxml import etree

from accesspoint import ebms, names
from accesspoint.compression import compress
from accesspoint.errors import EbmsError
from accesspoint.inbound import Accepted, Receiver
from accesspoint.profiles import EDELIVERY_1_15, PROFILES
from accesspoint.signals import signed_signal
from conformance.estate import PARTY_TYPE, SERVICE_TYPE, Estate
from conformance.pki import Identity, Kind, write
from core.clock import SystemClock, to_datetime
from core.ledger import parcels
from core.ledger.tables import receipt
from core.trust import load_identity
from gateways.as4.partners import build
from tests.accesspoint.headers import against_schema
from tests.fuzz.world import Buffer
from tests.gateways.as4.asserting import (
    algorithms,
    content_ids,
    envelope,
    header_changed,
    part_properties,
    soap_part,
    texts,
)
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, Sent, authority, configuration, edit, sign_with, stored
from tests.gateways.as4.running import (
    Door,
    Got,
    Line,
    Peer,
    busy,
    handed_over,
    in_state,
    kernel,
    mailbox,
    plain_http,
    running,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS: Final[dict[str, tuple[Kind, Kind]]] = {
    "edelivery-2.0": ("ed25519", "x25519"),
    "edelivery-2.0-ec": ("p256", "p256"),
}
METHODS: Final = {
    "edelivery-2.0": (names.ED25519, names.X25519),
    "edelivery-2.0-ec": (names.ECDSA_SHA256, names.ECDH_ES),
}
XML: Final = ("letter.xml", "application/xml", b"<?xml version='1.0'?>\n<letter  a='1'>one\ntwo</letter>\n")
PDF: Final = ("letter.pdf", "application/pdf", b"%PDF-1.7 " + bytes(range(200)))


class NewPeer(Peer):
    """The hospital's access point under the newer profile."""

    def signal(self, content: bytes, reference: str | None, **_: Any) -> bytes:
        """A signal as the estate's profile says."""
        return signed_signal(
            content,
            message_id="signal-1@hospital.example",
            timestamp=SystemClock().now(),
            reference=reference,
            profile=PROFILES[self.estate.profile],
            certificate=self.identity.certificate,
            form="binary-security-token",
            sign=sign_with(self.identity),
        )


@dataclass
class World:
    """Under one profile: a hospital behind its door, a municipality before a peer, and an estate that does not run."""

    profile: str
    door: Door
    line: Line
    estate: Estate

    def stranger(self, use: Any = "signing") -> Identity:
        """Somebody nobody knows, with keys as the profile has them."""
        kind = KINDS[self.profile][0 if use == "signing" else 1]
        return authority().issue("Demo Stranger", use, kind=kind)

    async def refused(self, sent: Sent, code: str) -> etree._Element:
        """The answer is this error, signed and about the message, and nothing stays."""
        before = stored(self.door.node.runtime)
        got = await self.door.post(sent)
        assert self.door.refused(sent, got).code == code
        await until(lambda: stored(self.door.node.runtime) == before, "what was refused left nothing")
        return etree.fromstring(got.body)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=list(KINDS))
async def world(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[World]:
    """One for each of the two profiles."""
    profile, root = request.param, tmp_path_factory.mktemp(request.param)
    Estate(root / "template", profile=profile).make()
    estates = [
        CopiedEstate(root / name, retry_first=0.05, retry_longest=0.1, profile=profile, template=root / "template")
        for name in ("door", "line", "still")
    ]
    for one in estates:
        one.make()
    behind, before, still = estates
    plain_http(before)
    peer = NewPeer(before)
    sender = OtherSender(behind)
    sender.pmode = replace(sender.pmode, profile=PROFILES[profile])
    async with peer.listening(), running(behind.hospital.home, before.municipality.home) as (theirs, ours):
        yield World(profile, Door(behind, theirs, sender), Line(before, ours, peer), still)


@pytest.fixture
def peer(world: World) -> Peer:
    """A peer that has seen nothing."""
    world.line.peer.script, world.line.peer.requests = [world.line.peer.accept], []
    return world.line.peer


# --- the cases of the interoperability events -------------------------------------------------------------------------


@pytest.mark.assertion("E2_TC00")
async def test_a_ping_is_answered(world: World, peer: Peer):
    """Ours by another access point, and another's by us; nobody is given anything."""
    said = await world.line.node.gateways["as4"].operations()["ping"]({"partner": "hospital"}, lambda *_: None)
    assert said["receipt"] == "signal-1@hospital.example"
    before = stored(world.door.node.runtime)
    sent = world.door.sender.message([], ping=True)
    world.door.acknowledged(sent, await world.door.post(sent))
    assert stored(world.door.node.runtime) == before


@pytest.mark.assertion("E2_TC01")
async def test_a_message_without_payload_is_signed_alone(world: World):
    """And answered with its receipt."""
    sent = world.door.sender.message([])
    assert b"EncryptedKey" not in sent.body and b"SignatureValue" in sent.body
    world.door.acknowledged(sent, await world.door.post(sent))


@pytest.mark.parametrize(
    "payloads",
    [
        pytest.param([XML], marks=pytest.mark.assertion("E2_TC02"), id="one"),
        pytest.param([XML, PDF], marks=pytest.mark.assertion("E2_TC03"), id="two"),
    ],
)
async def test_payloads_arrive_as_they_were(world: World, payloads: list[tuple[str, str, bytes]]):
    """Between two nodes: octets, types and order on the other side, and a receipt on this one."""
    estate = world.estate
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        known = mailbox(theirs.runtime)
        parcel = await handed_over(ours, payloads)
        delivery = await in_state(ours, parcel, "delivered")
        (there,) = set(mailbox(theirs.runtime)) - set(known)
        got = theirs.runtime.read_now(parcels.load, there)
        read = [(p.name, p.media_type, b"".join(kernel(theirs).read_now(got, p))) for p in got.payloads]
        assert read == payloads
        proofs = ours.runtime.read_now(lambda c: c.execute(receipt.select()).all())
        assert delivery.id in {proof.delivery_id for proof in proofs if proof.verdict == "accepted"}


# --- what is sent -----------------------------------------------------------------------------------------------------


@pytest.mark.assertion("E2_S01", "E2_S02", "E2_S03", "E2_S04", "E2_S05", "E2_S07", "E2_S08")
async def test_what_is_sent_is_as_the_profile_says(world: World, peer: Peer, shared: Path):
    """Valid, SOAP 1.2, signed over everything, compressed, encrypted under keys of its own, with its own id and a time in UTC."""
    for _ in range(2):
        await in_state(world.line.node, await world.line.hand_over([XML, PDF]), "delivered")
    first, second = peer.requests
    assert against_schema(shared, soap_part(first)) == ""
    root, other = envelope(first), envelope(second)
    assert root.tag == "{http://www.w3.org/2003/05/soap-envelope}Envelope"
    cids = {f"cid:{name}" for name in content_ids(first)}
    ids = {
        f"#{e.get(names.tag(names.WSU, 'Id'))}"
        for e in root.iter(names.tag(names.EB, "Messaging"), names.tag(names.S12, "Body"))
    }
    assert {r.get("URI") for r in root.iter(names.tag(names.DS, "Reference"))} == cids | ids
    assert {r.get("URI") for r in root.iter(names.tag(names.XENC, "CipherReference"))} == cids and len(cids) == 2
    assert {p["CompressionType"] for p in part_properties(root)} == {"application/gzip"}
    for name in (names.tag(names.XENC, "CipherValue"), names.tag(names.DS, "SignatureValue")):
        assert [e.text for e in root.iter(name)] != [e.text for e in other.iter(name)]
    (agreed,), (again,) = (list(e.iter(names.tag(names.XENC, "OriginatorKeyInfo"))) for e in (root, other))
    assert etree.tostring(agreed) != etree.tostring(again), "a fresh key for every message"
    (ours,), (another,) = texts(root, "MessageId"), texts(other, "MessageId")
    assert ours != another and re.fullmatch(r"[^@\s<>]{16,}@municipality\.example", ours or "")
    (time,) = texts(root, "Timestamp")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", time or "")
    assert peer.read(first)[1] == [XML[2], PDF[2]]


@pytest.mark.assertion("E2_A01", "E2_A02")
async def test_the_algorithms_are_those_of_the_profile(world: World, peer: Peer):
    """All that an envelope names: nothing else, and nothing more."""
    await in_state(world.line.node, await world.line.hand_over([XML]), "delivered")
    signature, agreement = METHODS[world.profile]
    root = envelope(peer.requests[0])
    said = algorithms(root)
    assert said.pop("SignedInfo/SignatureMethod") == {signature}
    assert said.pop("Reference/DigestMethod") == {"http://www.w3.org/2001/04/xmlenc#sha256"}
    assert said.pop("KeyInfo/AgreementMethod") == {agreement}
    assert said.pop("AgreementMethod/KeyDerivationMethod") == {"http://www.w3.org/2021/04/xmldsig-more#hkdf"}
    assert said.pop("HKDFParams/PRF") == {"http://www.w3.org/2001/04/xmldsig-more#hmac-sha256"}
    assert said.pop("EncryptedKey/EncryptionMethod") == {"http://www.w3.org/2001/04/xmlenc#kw-aes128"}
    assert said.pop("EncryptedData/EncryptionMethod") == {"http://www.w3.org/2009/xmlenc11#aes128-gcm"}
    assert said.pop("SignedInfo/CanonicalizationMethod") == {"http://www.w3.org/2001/10/xml-exc-c14n#"}
    assert set(said) == {"Transforms/Transform"}
    keys = {"edelivery-2.0": "1.3.101.112", "edelivery-2.0-ec": "1.2.840.10045.2.1"}
    certificate = peer.read(peer.requests[0])[0].certificate
    assert certificate is not None and certificate.public_key_algorithm_oid.dotted_string == keys[world.profile]


@pytest.mark.assertion("E2_S06")
async def test_without_a_receipt_the_same_octets_are_sent_again(world: World, peer: Peer):
    """Until one comes."""
    peer.script = [busy, busy, peer.accept]
    delivery = await in_state(world.line.node, await world.line.hand_over([XML]), "delivered")
    assert delivery.attempts == len(peer.requests) == 3
    assert len({request.body for request in peer.requests}) == 1


# --- what is received -------------------------------------------------------------------------------------------------


@pytest.mark.assertion("E2_R06")
async def test_a_receipt_is_signed_as_the_profile_says(world: World):
    """It repeats every digest of the message."""
    sent = world.door.sender.message([b"one", b"two"])
    got = await world.door.post(sent)
    world.door.acknowledged(sent, got)
    _signed(world, got)
    digests = [e.text for e in etree.fromstring(sent.message.root).iter(names.tag(names.DS, "DigestValue"))]
    told = etree.fromstring(got.body).find(f".//{names.tag(names.EB, 'Receipt')}")
    assert sorted(e.text for e in told.iter(names.tag(names.DS, "DigestValue"))) == sorted(digests)
    assert len(digests) == 4


def _signed(world: World, got: Got) -> None:
    said = algorithms(etree.fromstring(got.body))
    assert said["SignedInfo/SignatureMethod"] == {METHODS[world.profile][0]}


@pytest.mark.assertion("E2_R05")
async def test_a_repetition_is_not_delivered_again(world: World):
    """It gets the receipt that it had."""
    sent = world.door.sender.message()
    first = await world.door.post(sent)
    before = stored(world.door.node.runtime)
    assert (await world.door.post(sent)).body == first.body
    assert stored(world.door.node.runtime) == before


@pytest.mark.assertion("E2_R01")
@pytest.mark.parametrize("missing", ["Action", "ConversationId", "Role"])
async def test_a_header_that_breaks_the_schema_is_refused(world: World, missing: str, monkeypatch: pytest.MonkeyPatch):
    """Although it is signed as it stands."""
    gone = re.compile(rf"<eb:{missing}>[^<]*</eb:{missing}>".encode())
    with header_changed(monkeypatch, lambda xml: gone.sub(b"", xml)):
        sent = world.door.sender.message()
    got = await world.door.post(sent)
    error = world.door.refused(sent, got, authenticated=False)
    assert (error.code, missing in error.description) == ("EBMS:0009", True)


@pytest.mark.assertion("E2_R02")
@pytest.mark.parametrize("what", ["somebody else's", "header changed", "payload changed"])
async def test_a_signature_covers_what_came(world: World, what: str):
    """And it is the partner's."""
    sender = world.door.sender
    sent = sender.message([b"final"], identity=world.stranger() if what == "somebody else's" else None)
    if what == "header changed":
        sent = Sent(sent.message, sent.body.replace(b"conversation-1", b"conversation-2"), sent.pmode)
    if what == "payload changed":
        sent = Sent(sent.message, sent.message.whole([compress(b"draft")]), sent.pmode)
    await world.refused(sent, "EBMS:0101")


@pytest.mark.assertion("E2_R03")
@pytest.mark.parametrize("what", ["ciphertext", "content key", "another receiver"])
async def test_what_cannot_be_decrypted_is_refused(world: World, what: str):
    """One bit of a payload, one of the wrapped key, and a message for somebody else's key."""
    sender = world.door.sender
    theirs = world.stranger("encryption").certificate
    pmode = replace(sender.pmode, their_encryption_certificate=theirs) if what == "another receiver" else None
    sent = sender.message([os.urandom(300)], pmode=pmode)
    body = bytearray(sent.body)
    if what == "ciphertext":
        body[len(body) - len(sent.message.end()) - 40] ^= 1
    if what == "content key":
        at = sent.body.index(b"<xenc:CipherValue>") + 18
        body[at] = ord("A") if body[at] != ord("A") else ord("B")
    await world.refused(Sent(sent.message, bytes(body), sent.pmode), "EBMS:0102")


@pytest.mark.assertion("E2_R04")
async def test_a_damaged_gzip_is_refused(world: World):
    """Signed and encrypted as it should be."""
    await world.refused(world.door.sender.message(prepare=lambda octets: compress(octets)[:-5]), "EBMS:0303")


@pytest.mark.assertion("E2_R07", "E2_R08")
@pytest.mark.parametrize("what", ["party", "service", "action"])
async def test_what_is_not_agreed_is_refused_with_a_signed_error(world: World, what: str):
    """Each with its code; the error names the message and is signed as the profile says."""
    sender = world.door.sender
    fields: dict[str, Any] = {
        "party": {"us": ebms.Party(ebms.Typed("demo-nobody", PARTY_TYPE), names.INITIATOR)},
        "service": {"service": ebms.Typed("urn:demo:other", SERVICE_TYPE)},
        "action": {"action": "dance"},
    }[what]
    sent = sender.message(pmode=replace(sender.pmode, **fields))
    before = stored(world.door.node.runtime)
    got = await world.door.post(sent)
    assert world.door.refused(sent, got).code == ("EBMS:0010" if what == "party" else "EBMS:0001")
    (error,) = etree.fromstring(got.body).iter(names.tag(names.EB, "Error"))
    assert error.get("refToMessageInError") == sent.message.message_id
    _signed(world, got)
    await until(lambda: stored(world.door.node.runtime) == before, "what was refused left nothing")


@pytest.mark.assertion("E2_A04")
@pytest.mark.parametrize("other", ["edelivery-1.15", "the other curve"])
async def test_a_message_under_another_profile_is_refused(world: World, other: str):
    """Whole in itself, and not what was agreed."""
    (curve,) = set(KINDS) - {world.profile}
    kinds: tuple[Kind, Kind] = ("rsa", "rsa") if other == "edelivery-1.15" else KINDS[curve]
    signing = authority().issue("Demo Municipality signing", "signing", kind=kinds[0])
    for_us = authority().issue("Demo Hospital decryption", "encryption", kind=kinds[1]).certificate
    profile = EDELIVERY_1_15 if other == "edelivery-1.15" else PROFILES[curve]
    pmode = replace(world.door.sender.pmode, profile=profile, their_encryption_certificate=for_us)
    for payloads in ([b"one"], []):
        sent = world.door.sender.message(payloads, identity=signing, pmode=pmode)
        got = await world.door.post(sent)
        agreed = Sent(sent.message, sent.body, world.door.sender.pmode)
        error = world.door.refused(agreed, got)
        assert error.code == "EBMS:0103" and " is not agreed" in error.description
        assert error.description.startswith(("AgreementMethod", "EncryptedKey/") if payloads else "SignatureMethod")


# --- certificates -----------------------------------------------------------------------------------------------------

NAME: Final = "Demo Municipality signing"
ISSUERS: Final[dict[str, Any]] = {
    "RSA": lambda: rsa.generate_private_key(65537, 2048),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
    "ECDSA": lambda: ec.generate_private_key(ec.SECP256R1()),
}


def _issued(kind: str, signing: Identity) -> tuple[x509.Certificate, Identity]:
    """An authority whose own key is of this kind, and the key of ``signing`` under a certificate of its."""
    key, at = ISSUERS[kind](), to_datetime(SystemClock().now())
    digest = None if kind == "EdDSA" else hashes.SHA256()
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Stafet {kind} CA")])
    key_id = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    usage = signing.certificate.extensions.get_extension_for_class(x509.KeyUsage)
    base = x509.CertificateBuilder().issuer_name(subject).serial_number(x509.random_serial_number())
    base = base.not_valid_before(at - timedelta(days=1)).not_valid_after(at + timedelta(days=30))
    ca_usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
    above = base.subject_name(subject).public_key(key.public_key())
    above = above.add_extension(x509.BasicConstraints(True, 0), True).add_extension(ca_usage, True)
    leaf = base.subject_name(signing.certificate.subject).public_key(signing.key.public_key())
    leaf = leaf.add_extension(x509.BasicConstraints(False, None), True).add_extension(usage.value, True)
    leaf = leaf.add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), False)
    return above.add_extension(key_id, False).sign(key, digest), Identity(signing.key, leaf.sign(key, digest))


def _judged(world: World, folder: Path, issuer: str, **fields: Any) -> tuple[Identity, Accepted]:
    """Who signed, and what a hospital that has agreed ``fields`` makes of a message under a certificate of this issuer."""
    estate = CopiedEstate(folder / "estate", profile=world.profile, template=world.estate.root.parent / "template")
    estate.make()
    own = load_identity(estate.municipality.home / "keys", "signing")
    above, signing = _issued(issuer, Identity(cast(Any, own.key), own.certificate))
    config = estate.hospital.home / "config"
    write(config / "certificates" / "above.pem", above.public_bytes(Encoding.PEM))
    write(config / "certificates" / "own.pem", signing.certificate_pem())
    edit(estate.hospital.home, "as4.yaml", "as4.partner", **fields)
    keys = estate.hospital.home / "keys"
    partners = build(configuration(estate.hospital.home), lambda name: load_identity(keys, name), SystemClock())
    sender = OtherSender(estate)
    sender.pmode = replace(sender.pmode, profile=PROFILES[world.profile])
    sent = sender.message([XML[2]], identity=signing)
    receiver = Receiver(sent.message.content_type, partners, lambda *_: Buffer())
    receiver.feed(sent.body)
    said = receiver.finish()
    assert isinstance(said, Accepted)
    assert [bytes(cast(Buffer, part.sink).octets) for part in said.parts] == [XML[2]]
    return signing, said


@pytest.mark.assertion("E2_A03")
@pytest.mark.parametrize("issuer", ISSUERS)
async def test_whoever_issued_an_agreed_certificate_it_is_believed(world: World, tmp_path: Path, issuer: str):
    """The authority's own key may be of any of three kinds."""
    signing, said = _judged(world, tmp_path, issuer, signing_certificates=["certificates/own.pem"])
    assert said.certificate == signing.certificate


UNDER: Final = {"signing_certificates": [], "anchors": ["certificates/above.pem"], "signing_subject": NAME}


@pytest.mark.parametrize("issuer", ["RSA", "ECDSA"])
async def test_under_an_anchor_two_kinds_of_authority_are_believed(world: World, tmp_path: Path, issuer: str):
    """The certificates below them have the keys of the profile."""
    signing, said = _judged(world, tmp_path, issuer, **UNDER)
    assert said.certificate == signing.certificate


async def test_under_an_anchor_an_eddsa_authority_is_refused(world: World, tmp_path: Path):
    """The library that validates chains does not know it: when it does, this fails and E2_A05 can be shown."""
    with pytest.raises(EbmsError, match=r"no chain leads from .*Forbidden public key algorithm") as caught:
        _judged(world, tmp_path, "EdDSA", **UNDER)
    assert caught.value.error.code == "EBMS:0101"
