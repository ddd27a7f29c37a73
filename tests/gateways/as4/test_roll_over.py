"""Keys and certificates change while an exchange goes on: no step loses a message, and no hour has to be agreed.

Each step is what docs/how-to/change-keys.md says; after each, a message goes in both directions.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from conformance.estate import Organisation
from conformance.pki import Authority, Identity, write
from core.node import Node
from core.trust import load_identity
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import authority, edit, stage_parcel
from tests.gateways.as4.running import SMALL, applied, failed_with, handed_over, in_state, kernel, mailbox, running


class Pair:
    """Both nodes, serving. ``ours`` is the municipality's."""

    def __init__(self, estate: CopiedEstate, ours: Node, theirs: Node) -> None:
        self.estate, self.ours, self.theirs = estate, ours, theirs

    async def exchange(self) -> None:
        """A message in each direction arrives at the first attempt, and its receipt is believed."""
        before = len(mailbox(self.theirs.runtime)), len(mailbox(self.ours.runtime))
        out = await handed_over(self.ours, SMALL)
        item = await asyncio.to_thread(stage_parcel, self.theirs.runtime, "ward-record", SMALL)
        (back,) = await kernel(self.theirs).accept(item)
        for node, parcel in ((self.ours, out), (self.theirs, back.parcel_id)):
            delivery = await in_state(node, parcel, "delivered")
            assert delivery.attempts == 1, delivery.last_reason
        after = len(mailbox(self.theirs.runtime)), len(mailbox(self.ours.runtime))
        assert after == (before[0] + 1, before[1] + 1)

    async def change(self, one: Organisation, kind: str, **fields: object) -> None:
        """Edit one side's file and apply it, while both go on."""
        edit(one.home, "as4.yaml", kind, **fields)
        node = self.ours if one is self.estate.municipality else self.theirs
        await applied(node)
        assert node.reasons() == []


@pytest.fixture
async def pair(estate: CopiedEstate) -> AsyncIterator[Pair]:
    """Two organisations whose exchange goes on."""
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        made = Pair(estate, ours, theirs)
        await made.exchange()
        yield made


def key(one: Organisation, name: str, made: Identity) -> None:
    """A key in a key folder, as `stafet keys import` leaves it."""
    write(one.home / "keys" / f"{name}.pem", made.key_pem() + made.chain_pem(), secret=True)


def file(one: Organisation, name: str, octets: bytes) -> str:
    """A file beside the documents; gives how they name it."""
    write(one.home / "config" / "certificates" / name, octets)
    return f"certificates/{name}"


async def test_a_decryption_key_is_changed_without_losing_a_message(pair: Pair):
    """We keep both keys; they change their copy when it suits them; then the old one goes."""
    we, they = pair.estate.municipality, pair.estate.hospital
    fresh = authority().issue("Demo Municipality decryption 2027", "encryption")
    key(we, "decryption-2027", fresh)
    await pair.change(we, "as4.party", decryption_keys=["decryption-2027", "decryption"])
    await pair.exchange()
    named = file(they, "municipality-decryption-2027.pem", fresh.certificate_pem())
    await pair.change(they, "as4.partner", encryption_certificate=named)
    await pair.exchange()
    await pair.change(we, "as4.party", decryption_keys=["decryption-2027"])
    (we.home / "keys" / "decryption.pem").unlink()
    await pair.exchange()


async def test_a_decryption_key_that_goes_too_early_is_named_and_can_come_back(pair: Pair):
    """The sender learns why, and goes on trying; with the old key back, the message arrives."""
    we = pair.estate.municipality
    key(we, "decryption-2027", authority().issue("Demo Municipality decryption 2027", "encryption"))
    await pair.change(we, "as4.party", decryption_keys=["decryption-2027"])
    item = await asyncio.to_thread(stage_parcel, pair.theirs.runtime, "ward-record", SMALL)
    (sent,) = await kernel(pair.theirs).accept(item)
    failed = await failed_with(pair.theirs, sent.parcel_id, "EBMS:0102")
    assert "is for another certificate than ours" in failed.last_reason
    await pair.change(we, "as4.party", decryption_keys=["decryption-2027", "decryption"])
    await in_state(pair.theirs, sent.parcel_id, "delivered")
    await pair.exchange()


async def test_a_signing_key_is_changed_without_losing_a_message(pair: Pair):
    """They pin both certificates; we change the key; then they take the old one out."""
    we, they = pair.estate.municipality, pair.estate.hospital
    fresh = authority().issue("Demo Municipality signing 2027", "signing")
    old = "certificates/municipality-signing.pem"
    new = file(they, "municipality-signing-2027.pem", fresh.certificate_pem())
    await pair.change(they, "as4.partner", signing_certificates=[old, new])
    await pair.exchange()
    key(we, "signing-2027", fresh)
    await pair.change(we, "as4.party", signing_key="signing-2027")
    await pair.exchange()
    await pair.change(they, "as4.partner", signing_certificates=[new])
    await pair.exchange()


async def test_a_message_signed_before_the_change_is_believed_after_it(pair: Pair):
    """It waits for a partner who is away, is sent as it was signed, and the old certificate is pinned still."""
    we, they = pair.estate.municipality, pair.estate.hospital
    fresh = authority().issue("Demo Municipality signing 2027", "signing")
    old = "certificates/municipality-signing.pem"
    new = file(they, "municipality-signing-2027.pem", fresh.certificate_pem())
    await pair.change(they, "as4.partner", signing_certificates=[old, new])
    right = f"https://localhost:{they.port}/as4"
    await pair.change(we, "as4.partner", url="https://localhost:9/as4")
    waiting = await handed_over(pair.ours, SMALL)
    await failed_with(pair.ours, waiting, "connect")
    key(we, "signing-2027", fresh)
    await pair.change(we, "as4.party", signing_key="signing-2027")
    await pair.change(we, "as4.partner", url=right)
    await in_state(pair.ours, waiting, "delivered")
    await pair.exchange()


async def test_a_certificate_renewed_over_the_same_key_is_changed_in_any_order(pair: Pair):
    """The key is the same: they may pin the new one beside the old one before or after we send it."""
    we, they = pair.estate.municipality, pair.estate.hospital
    own = load_identity(we.home / "keys", "signing")
    renewed = authority().issue(
        "Demo Municipality signing",
        "signing",
        key=own.key,  # type: ignore[arg-type]
        not_before=authority().at - timedelta(hours=1),
    )
    new = file(they, "municipality-signing-renewed.pem", renewed.certificate_pem())
    await pair.change(they, "as4.partner", signing_certificates=["certificates/municipality-signing.pem", new])
    await pair.exchange()
    key(we, "signing-renewed", renewed)
    await pair.change(we, "as4.party", signing_key="signing-renewed")
    await pair.exchange()
    await pair.change(they, "as4.partner", signing_certificates=[new])
    await pair.exchange()


async def test_under_an_anchor_a_partner_changes_certificates_alone(pair: Pair):
    """The name is agreed, not the certificate; when the authority itself changes, both anchors stand for a while."""
    we, they = pair.estate.municipality, pair.estate.hospital
    first, second = authority(), Authority("Stafet Second CA", authority().at)
    anchors = [file(they, "first-ca.pem", first.pem())]
    named = "Demo Municipality signing"
    own = first.issue(named, "signing")
    key(we, "signing-1", own)
    overlap = file(they, "signing-1.pem", own.certificate_pem())
    pinned = ["certificates/municipality-signing.pem", overlap]
    await pair.change(they, "as4.partner", signing_certificates=pinned)
    await pair.change(we, "as4.party", signing_key="signing-1")
    await pair.exchange()
    await pair.change(they, "as4.partner", signing_certificates=[], anchors=anchors, signing_subject=named)
    await pair.exchange()
    key(we, "signing-2", first.issue(named, "signing"))
    await pair.change(we, "as4.party", signing_key="signing-2")
    await pair.exchange()
    anchors.append(file(they, "second-ca.pem", second.pem()))
    await pair.change(they, "as4.partner", anchors=anchors)
    await pair.exchange()
    key(we, "signing-3", second.issue(named, "signing"))
    await pair.change(we, "as4.party", signing_key="signing-3")
    await pair.exchange()
    await pair.change(they, "as4.partner", anchors=anchors[1:])
    await pair.exchange()


def test_the_page_says_these_steps():
    """Whoever reads it finds every field that is changed here."""
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "change-keys.md").read_text()
    for field in ("decryption_keys", "encryption_certificate", "signing_certificates", "signing_key", "anchors"):
        assert field in page, field
