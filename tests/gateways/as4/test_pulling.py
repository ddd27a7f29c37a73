"""Pulling: who gets what from a channel, how long it is lent, and what becomes of what is pulled.

`OtherPuller` stands where the hospital should be and asks the municipality's node; where both sides are Stafet, both nodes run.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
import yaml

from accesspoint.names import DEFAULT_MPC
from conformance.pki import Identity
from core import limits
from core.clock import SECOND
from core.ledger.tables import receipt as receipts
from core.node import Node
from core.operations import Operations
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import edit, objects, stranger
from tests.gateways.as4.meps import CHANNEL, SOAP, OtherPuller, agree_to_pull, pulled, pushed
from tests.gateways.as4.running import (
    SMALL,
    Got,
    anchors,
    handed_over,
    in_state,
    kernel,
    open_alarms,
    refusals,
    row,
    running,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Office:
    """The municipality's node with files for the hospital, and a hospital of another make."""

    node: Node
    puller: OtherPuller

    async def file(self, octets: bytes = b"a file", **fields: object) -> str:
        """A file that waits; gives its parcel."""
        return await handed_over(self.node, [("a.json", "application/json", octets)], **fields)  # type: ignore[arg-type]

    async def settle(self, parcel: str, got: Got) -> None:
        """The hospital has it."""
        assert (await self.puller.say(self.puller.receipt(got))).status == 202
        await in_state(self.node, parcel, "delivered")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def office(tmp_path_factory: pytest.TempPathFactory, template: Path) -> AsyncIterator[Office]:
    """One node for this file; every test leaves its channel empty."""
    estate = CopiedEstate(tmp_path_factory.mktemp("office"), template=template)
    estate.make()
    agree_to_pull(estate, sub_channels=True)
    async with running(estate.municipality.home) as (node,):
        yield Office(node, OtherPuller(estate))


@pytest.fixture
def short(estate: CopiedEstate) -> CopiedEstate:
    """An agreement under which a message is lent for a fifth of a second, three times."""
    agree_to_pull(estate, attempts=3, first=0.2)
    edit(
        estate.municipality.home,
        "as4.yaml",
        "as4.partner",
        retry={"attempts": 3, "first_wait": 0.2, "longest_wait": 0.2},
    )
    return estate


# --- what a partner gets ----------------------------------------------------------------------------------------------


async def test_a_waiting_message_is_the_answer_and_its_receipt_settles_it(office: Office):
    """It goes under the channel's own name, signed and encrypted as if pushed; the receipt is kept octet for octet."""
    parcel = await office.file(b"what the hospital shall have")
    got = await office.puller.pull()
    said, read = office.puller.read(got)
    assert read == [b"what the hospital shall have"]
    assert (said.message.mpc, said.message.action) == (CHANNEL, "deliver-file")
    assert b"what the hospital shall have" not in got.body
    assert row(office.node.runtime, parcel).state == "ready", "handed out is not delivered"
    signal = office.puller.receipt(got)
    answer = await office.puller.say(signal)
    assert (answer.status, answer.body) == (202, b"")
    delivery = await in_state(office.node, parcel, "delivered")
    query = receipts.select().where(receipts.c.delivery_id == delivery.id)
    (kept,) = office.node.runtime.read_now(lambda connection: connection.execute(query).all())
    assert (kept.raw, kept.outside_id, kept.verdict) == (signal, said.message.message_id, "accepted")


async def test_an_empty_channel_is_a_signed_warning(office: Office):
    """0006 says that nothing waits; it is no failure, and nothing is remembered of it."""
    request = office.puller.request(message_id="empty-1@hospital.example")
    got = await office.puller.say(request)
    error = office.puller.error_in(got)
    assert (error.code, error.severity, error.ref_to_message) == ("EBMS:0006", "warning", "empty-1@hospital.example")
    assert office.puller.is_signed(got)
    assert refusals(office.node.runtime, "empty-1@hospital.example") == []


async def test_the_oldest_message_comes_first(office: Office):
    """One question, one message."""
    waiting = [(octets, await office.file(octets)) for octets in (b"first", b"second", b"third")]
    for octets, parcel in waiting:
        got = await office.puller.pull()
        assert office.puller.read(got)[1] == [octets]
        await office.settle(parcel, got)


async def test_a_sub_channel_gives_what_waits_in_its_channel(office: Office):
    """The message keeps the channel's own name [AS4 §3.5]; the bare slash is no name below it."""
    parcel = await office.file()
    for other in (f"{CHANNEL}/", f"{CHANNEL}-ward-7"):
        assert office.puller.error_in(await office.puller.pull(other)).code == "EBMS:0001"
    got = await office.puller.pull(f"{CHANNEL}/ward-7")
    assert office.puller.read(got)[0].message.mpc == CHANNEL
    await office.settle(parcel, got)


async def test_sub_channels_are_nothing_where_they_are_not_agreed(short: CopiedEstate):
    """Only the name itself is a channel then."""
    async with running(short.municipality.home) as (node,):
        office = Office(node, OtherPuller(short))
        await office.file()
        assert office.puller.error_in(await office.puller.pull(f"{CHANNEL}/ward-7")).code == "EBMS:0001"
        assert office.puller.read(await office.puller.pull())[1] == [b"a file"]


async def test_only_what_was_agreed_for_the_channel_comes_through_it(office: Office):
    """What waits for the same system under another integration is not taken, lent or counted."""
    other = await handed_over(office.node, SMALL, integration="homecare")
    assert office.puller.error_in(await office.puller.pull()).code == "EBMS:0006"
    assert row(office.node.runtime, other).gateway == "as4", "it is pushed"


@pytest.mark.parametrize("many", [2, 12])
async def test_pullers_at_the_same_time_get_different_messages(office: Office, many: int):
    """Each message goes to one of them; who comes too late is told that nothing waits."""
    parcels_ = {str(n).encode(): await office.file(str(n).encode()) for n in range(many - 1)}
    answers = await asyncio.gather(*(office.puller.pull() for _ in range(many + 3)))
    messages = [got for got in answers if got.content_type.startswith("multipart/related")]
    errors = [office.puller.error_in(got).code for got in answers if got not in messages]
    assert errors == ["EBMS:0006"] * 4
    read = {office.puller.read(got)[1][0]: got for got in messages}
    assert read.keys() == parcels_.keys()
    for octets, got in read.items():
        await office.settle(parcels_[octets], got)


# --- who gets nothing -------------------------------------------------------------------------------------------------


def _same(body: bytes) -> bytes:
    """An answer without what is new each time: ids and the time."""
    return re.sub(rb"<eb:(Timestamp|MessageId)>[^<]*</eb:\1>", b"", body)


async def test_whoever_may_not_pull_hears_the_same_as_who_asks_for_nothing(office: Office):
    """Unknown, somebody else's, the default channel, unsigned, a stranger's signature: no name can be found out."""
    parcel = await office.file()
    puller, mid = office.puller, "probe-1@hospital.example"
    asked = {
        "unknown": puller.request("urn:stafet:demo:channels:nobody", message_id=mid),
        "default": puller.request(DEFAULT_MPC, message_id=mid),
        "stranger": puller.request(identity=stranger(), message_id=mid),
        "stranger, unknown": puller.request("urn:stafet:demo:x", identity=stranger(), message_id=mid),
        "unsigned": puller.unsigned().replace(b"pull-1@hospital.example", mid.encode()),
        "changed": puller.request("urn:stafet:demo:channels:other", message_id=mid).replace(
            b"channels:other", b"channels:hospital"
        ),
        "twice signed": _signed_twice(puller.request(message_id=mid)),
    }
    answers = {what: await puller.say(octets) for what, octets in asked.items()}
    assert {got.status for got in answers.values()} == {200}
    assert len({_same(got.body) for got in answers.values()}) == 1, "apart from id and time"
    assert len({tuple(sorted(k for k in got.headers if k != "Date")) for got in answers.values()}) == 1
    error = puller.error_in(answers["unknown"])
    assert (error.code, error.severity, error.ref_to_message) == ("EBMS:0001", "failure", mid)
    assert not any(puller.is_signed(got) for got in answers.values())
    waiting = row(office.node.runtime, parcel)
    assert waiting.attempts == 0, "nothing was lent to any of them"
    found = await until(lambda: _when(refusals(office.node.runtime, mid), len(asked)), "the refusals")
    causes = [refusal["cause"] for refusal in found]
    assert "is not a channel here" in causes
    assert any("signed with the certificate of 'Demo Stranger signing'" in cause for cause in causes)
    await office.settle(parcel, await puller.pull())


def _when(found: list[dict[str, object]], many: int) -> list[dict[str, object]]:
    return found if len(found) == many else []


def _signed_twice(octets: bytes) -> bytes:
    end = octets.index(b"</ds:Signature>") + 15
    signature = octets[octets.index(b"<ds:Signature ") : end]
    return octets[:end] + signature + octets[end:]


async def test_another_partner_may_not_pull(estate: CopiedEstate, tmp_path: Path, template: Path):
    """A partner's own valid signature opens their own channels only."""
    agree_to_pull(estate)
    _add_clinic(estate)
    async with running(estate.municipality.home) as (node,):
        puller = OtherPuller(estate)
        await handed_over(node, SMALL)
        for mpc, identity in ((CHANNEL, _clinic()), ("urn:stafet:demo:channels:clinic", None)):
            got = await puller.say(puller.request(mpc, identity=identity))
            assert puller.error_in(got).code == "EBMS:0001"
        theirs = await puller.say(puller.request("urn:stafet:demo:channels:clinic", identity=_clinic()))
        assert puller.error_in(theirs).code == "EBMS:0006"
        assert puller.read(await puller.pull())[1] == [SMALL[0][2]]


def _clinic() -> Identity:
    return stranger("Demo Clinic signing")


def _add_clinic(estate: CopiedEstate) -> None:
    """A second partner of the municipality with a channel of their own."""
    home = estate.municipality.home
    (home / "config" / "certificates" / "clinic-signing.pem").write_bytes(_clinic().certificate_pem())
    path = home / "config" / "as4.yaml"
    documents = list(yaml.safe_load_all(path.read_text()))
    partner = next(d for d in documents if d["kind"] == "as4.partner")
    clinic = {
        **partner,
        "id": "clinic",
        "system": "clinic-record",
        "party_id": {**partner["party_id"], "value": "demo-clinic"},
        "signing_certificates": ["certificates/clinic-signing.pem"],
        "exchanges": [pushed(), pulled("send", "urn:stafet:demo:channels:clinic")],
    }
    path.write_text(yaml.safe_dump_all([*documents, clinic], sort_keys=False))
    systems = home / "config" / "systems.yaml"
    found = list(yaml.safe_load_all(systems.read_text()))
    extra = {**found[0], "id": "clinic-record", "title": "Demo Clinic's record system", "authority": "demo-clinic"}
    systems.write_text(yaml.safe_dump_all([*found, extra], sort_keys=False))


# --- lent, and lent again ---------------------------------------------------------------------------------------------


async def test_without_a_receipt_it_is_there_again_and_at_last_has_failed(short: CopiedEstate):
    """Octet for octet the same each time, never before its interval is over; then EBMS:0301, and people are told."""
    async with running(short.municipality.home) as (node,):
        office = Office(node, OtherPuller(short))
        parcel = await office.file()
        bodies = []
        for attempt in (1, 2, 3):
            got = await until(lambda: _message(office), f"attempt {attempt}")
            bodies.append(got.body)
            assert office.puller.error_in(await office.puller.pull()).code == "EBMS:0006", "it is lent"
        assert len(set(bodies)) == 1
        await until(lambda: row(node.runtime, parcel).due_at < node.runtime.clock.now(), "the last interval")
        assert office.puller.error_in(await office.puller.pull()).code == "EBMS:0006"
        delivery = row(node.runtime, parcel)
        assert (delivery.state, delivery.last_code) == ("failed", "EBMS:0301")
        assert delivery.last_reason == "it was pulled 3 times, and no receipt came"
        assert open_alarms(node.runtime) == [("failed", parcel)]
        assert (await office.puller.say(office.puller.receipt(got))).status == 202
        await in_state(node, parcel, "delivered")


async def _message(office: Office) -> Got | None:
    got = await office.puller.pull()
    return got if got.content_type.startswith("multipart/related") else None


async def test_a_failed_message_can_be_offered_again(short: CopiedEstate):
    """`stafet resend` puts the frozen octets back into the channel: whatever arrived of them is known there."""
    async with running(short.municipality.home) as (node,):
        office = Office(node, OtherPuller(short))
        parcel = await office.file()
        first = await office.puller.pull()
        for _ in range(2):
            await until(lambda: _message(office), "again")
        await until(lambda: _failed(office, parcel), "failed")
        await Operations(node.runtime, kernel(node, "local"), node.follow).table()["resend"](
            {"reference": parcel, "who": "test", "why": "the ward was closed"}, lambda _: None
        )
        got = await until(lambda: _message(office), "offered again")
        assert got.body == first.body
        await office.settle(parcel, got)


async def _failed(office: Office, parcel: str) -> bool:
    await office.puller.pull()
    return bool(row(office.node.runtime, parcel).state == "failed")


async def test_what_no_header_can_hold_is_settled_and_the_next_one_is_given(office: Office):
    """One bad parcel does not close the channel."""
    bad = await office.file(attributes={"as4.property.bell": "ding\ufffedong"})
    good = await office.file(b"next")
    got = await office.puller.pull()
    assert office.puller.read(got)[1] == [b"next"]
    assert row(office.node.runtime, bad).state == "rejected"
    assert row(office.node.runtime, bad).last_code == "cannot-be-sent"
    await office.settle(good, got)


async def test_a_damaged_payload_is_never_given(office: Office):
    """Its digest is checked before it is signed; the reason says that it is the payload."""
    earlier = set(objects(office.node.runtime))
    bad = await handed_over(office.node, [("c.json", "application/json", b'{"number": 1}\n' * 200_000)])
    (name,) = set(objects(office.node.runtime)) - earlier
    path = next(office.node.runtime.store.root.rglob(name))
    octets = bytearray(path.read_bytes())
    octets[-5] ^= 1
    path.write_bytes(octets)
    assert office.puller.error_in(await office.puller.pull()).code == "EBMS:0006"
    assert (row(office.node.runtime, bad).state, row(office.node.runtime, bad).last_code) == ("rejected", "payload")


async def test_an_answer_that_is_cut_off_leaves_the_message_where_it_is(short: CopiedEstate):
    """The puller goes in the middle of a large message: it is offered again, the same octets, and nothing is a bug."""
    payload = os.urandom(8_000_000)
    async with running(short.municipality.home) as (node,):
        office = Office(node, OtherPuller(short))
        bugs: list[BaseException] = []
        node.gateways["as4"]._server._on_bug = bugs.append  # type: ignore[attr-defined]
        parcel = await handed_over(node, [("scan.bin", "application/octet-stream", payload)])
        url = f"https://localhost:{short.municipality.port}/as4"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=office.puller.request(), headers=SOAP, ssl=anchors(short)) as response,
        ):
            begun = await response.content.readexactly(100_000)
            response.close()
        got = await until(lambda: _message(office), "offered again")
        assert got.body.startswith(begun)
        assert office.puller.read(got)[1] == [payload]
        assert row(node.runtime, parcel).attempts == 2
        await office.settle(parcel, got)
        assert bugs == []


async def test_a_message_is_lent_for_as_long_as_it_takes_to_give_it(
    short: CopiedEstate, monkeypatch: pytest.MonkeyPatch
):
    """A slow puller keeps it: no other gets it in the meantime, however short the interval."""
    monkeypatch.setattr(limits, "LEASE", SECOND * 6 // 10)
    payload = os.urandom(12_000_000)
    async with running(short.municipality.home) as (node,):
        office = Office(node, OtherPuller(short))
        parcel = await handed_over(node, [("scan.bin", "application/octet-stream", payload)])
        url = f"https://localhost:{short.municipality.port}/as4"
        async with (
            aiohttp.ClientSession() as session,
            session.post(url, data=office.puller.request(), headers=SOAP, ssl=anchors(short)) as response,
        ):
            for _ in range(15):
                assert office.puller.error_in(await office.puller.pull()).code == "EBMS:0006"
                await asyncio.sleep(0.1)
            body = await response.read()
        got = Got(200, {"Content-Type": response.headers["Content-Type"]}, body)
        assert office.puller.read(got)[1] == [payload]
        assert row(node.runtime, parcel).attempts == 1
        await office.settle(parcel, got)
