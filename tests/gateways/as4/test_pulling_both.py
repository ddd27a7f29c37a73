"""Pulling with Stafet on both sides, or a partner of another make who is asked: nothing is lost, nothing is delivered twice."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest

from accesspoint.errors import SoapFault
from accesspoint.pull import empty_channel, no_such_channel
from accesspoint.receipts import error_xml, receipt_xml
from accesspoint.signals import fault_envelope
from core.ledger import parcels
from core.ledger.engine import open_engine
from core.ledger.tables import delivery as delivery_table
from core.node import Node
from core.store import FileStore, inline_place, read_payload
from gateways.as4 import receiving
from gateways.as4.pulling import Puller
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, count, edit, objects
from tests.gateways.as4.meps import CHANNEL, OtherPuller, agree_to_pull, applied, pulled, pushed
from tests.gateways.as4.running import (
    SMALL,
    Peer,
    Request,
    busy,
    handed_over,
    in_state,
    mailbox,
    response,
    row,
    running,
    told,
    until,
)


@pytest.fixture
def both(estate: CopiedEstate) -> CopiedEstate:
    """The hospital pulls from the municipality; what is not acknowledged is offered again soon."""
    agree_to_pull(estate, first=0.5)
    return estate


def _payloads(node: Node) -> list[bytes]:
    """What waits for a node's own system, oldest first."""
    found = []
    for name in mailbox(node.runtime):
        parcel = node.runtime.read_now(parcels.load, name)
        store: FileStore = node.runtime.store
        key = node.runtime.ring.unwrap(parcel.wrapped_key, parcel.key_id)
        for n, payload in enumerate(parcel.payloads):
            found.append(b"".join(read_payload(store, key, inline_place(parcel.id, n), payload, payload.inline)))
    return found


# --- both are Stafet --------------------------------------------------------------------------------------------------


async def test_what_waits_here_arrives_there(both: CopiedEstate):
    """Judged, stored, acknowledged at the address it came from: delivered on one side, once on the other, in order."""
    async with running(both.municipality.home, both.hospital.home) as (giver, taker):
        sent = [await handed_over(giver, [("a", "text/plain", str(n).encode())]) for n in range(5)]
        for parcel in sent:
            delivery = await in_state(giver, parcel, "delivered")
            assert delivery.attempts == 1
        assert _payloads(taker) == [b"0", b"1", b"2", b"3", b"4"]
        (facts,) = told(taker.runtime, mailbox(taker.runtime)[0], "accepted")
        assert (facts["gateway"], facts["peer"], facts["sender"]) == ("as4", "localhost", "care-record")


@pytest.mark.requirement("R19")
async def test_a_puller_needs_no_inbound_opening_for_what_it_gets(both: CopiedEstate):
    """Its receipts go out as its questions do: the giver never calls in."""
    edit(both.municipality.home, "as4.yaml", "as4.partner", url="http://localhost:9/closed")
    async with running(both.municipality.home, both.hospital.home) as (giver, taker):
        parcel = await handed_over(giver, SMALL)
        await in_state(giver, parcel, "delivered")
        assert _payloads(taker) == [SMALL[0][2]]


async def test_a_large_message_is_pulled_in_bounded_memory(both: CopiedEstate):
    """48 MiB go from one store to the other in pieces, on both sides of the process."""
    payload = os.urandom(1024 * 1024) * 48
    edit(both.municipality.home, "integrations.yaml", "integration", max_size=100_000_000)
    edit(both.hospital.home, "integrations.yaml", "integration", max_size=100_000_000)
    async with running(both.municipality.home, both.hospital.home) as (giver, taker):
        edit(both.municipality.home, "as4.yaml", "as4.partner", compress=False)
        await applied(giver)
        tracemalloc.start()
        try:
            parcel = await handed_over(giver, [("scan.bin", "application/octet-stream", payload)])
            await in_state(giver, parcel, "delivered", 60)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert most < 24 * 1024 * 1024
        (received,) = mailbox(taker.runtime)
        (stored,) = taker.runtime.read_now(parcels.load, received).payloads
        (sent,) = giver.runtime.read_now(parcels.load, parcel).payloads
        assert (stored.size, stored.sha256) == (len(payload), sent.sha256)


@pytest.mark.parametrize("point", ["mid-body", "after-commit:freeze", "before-commit:settle"])
async def test_a_giver_that_dies_loses_nothing(both: CopiedEstate, point: str):
    """Killed while it freezes, gives, or writes the receipt down: its next life offers the same octets, which count once."""
    async with running(both.municipality.home) as (giver,):
        payload = [("scan.bin", "application/octet-stream", os.urandom(300_000))]
        parcel = await handed_over(giver, payload)
    await asyncio.to_thread(both.start, both.municipality, environment={"STAFET_FAILPOINT": f"{point}:1"}, wait=30)
    async with running(both.hospital.home) as (taker,):
        assert await asyncio.to_thread(both.nodes.pop("municipality").wait, 20) == -9
        _end_leases(both)
        async with running(both.municipality.home) as (giver,):
            await in_state(giver, parcel, "delivered")
            assert count(giver.runtime, "frozen") == 1
        assert _payloads(taker) == [payload[0][2]]


def _end_leases(estate: CopiedEstate) -> None:
    """As if the minute had passed for which a dead node's loan is respected."""
    engine = open_engine(estate.municipality.settings().database_url)
    with engine.begin() as connection:
        assert connection.execute(delivery_table.update().values(due_at=1)).rowcount == 1
    engine.dispose()


@pytest.mark.parametrize("point", ["mid-message", "before-accept", "before-answer"])
async def test_a_taker_that_dies_loses_and_doubles_nothing(both: CopiedEstate, point: str):
    """Killed before it has the message, or when it has it and has not said so."""
    payload = os.urandom(900_000)
    async with running(both.municipality.home) as (giver,):
        parcel = await handed_over(giver, [("scan.bin", "application/octet-stream", payload)])
        await asyncio.to_thread(both.start, both.hospital, environment={"STAFET_FAILPOINT": f"{point}:1"}, wait=0)
        assert await asyncio.to_thread(both.nodes.pop("hospital").wait, 20) == -9
        assert row(giver.runtime, parcel).state == "ready"
        async with running(both.hospital.home) as (taker,):
            delivery = await in_state(giver, parcel, "delivered")
            assert delivery.attempts == 2
            assert _payloads(taker) == [payload]


async def test_a_channel_comes_and_goes_with_the_configuration(both: CopiedEstate):
    """Taken out, nothing is asked any more; put back, or made quicker, it takes effect at once and without a restart."""
    async with running(both.municipality.home, both.hospital.home) as (giver, taker):
        await in_state(giver, await handed_over(giver, SMALL), "delivered")
        edit(both.hospital.home, "as4.yaml", "as4.partner", exchanges=[pushed()])
        await applied(taker)
        puller = _puller(taker)
        await until(lambda: all(task.done() for task in puller._tasks.values()), "nobody asks")
        parcel = await handed_over(giver, SMALL)
        await asyncio.sleep(0.3)
        assert row(giver.runtime, parcel).attempts == 0
        edit(both.hospital.home, "as4.yaml", "as4.partner", exchanges=[pushed(), pulled("receive", every=3600)])
        await applied(taker)
        await in_state(giver, parcel, "delivered")
        late = await handed_over(giver, SMALL)
        edit(both.hospital.home, "as4.yaml", "as4.partner", exchanges=[pushed(), pulled("receive", every=0.05)])
        await applied(taker)
        await in_state(giver, late, "delivered", 5)


def _puller(node: Node) -> Puller:
    for task in asyncio.all_tasks():
        frame = task.get_coro().cr_frame  # type: ignore[union-attr]
        own = frame.f_locals.get("self") if frame else None
        if isinstance(own, Puller) and own._partners() is node.gateways["as4"]._partners:  # type: ignore[attr-defined]
            return own
    raise AssertionError("nobody pulls")


async def test_a_receipt_counts_when_its_channel_was_taken_out_in_between(both: CopiedEstate):
    """Evidence stays evidence: it is judged by what is agreed with that partner now."""
    async with running(both.municipality.home) as (giver,):
        puller = OtherPuller(both)
        parcel = await handed_over(giver, SMALL)
        got = await puller.pull()
        edit(both.municipality.home, "as4.yaml", "as4.partner", exchanges=[pushed()])
        await applied(giver)
        assert puller.error_in(await puller.pull()).code == "EBMS:0001"
        assert (await puller.say(puller.receipt(got))).status == 202
        await in_state(giver, parcel, "delivered")


# --- a giver of another make ------------------------------------------------------------------------------------------


class _Giver:
    """The municipality, if it were not Stafet: gives what it is told to whoever pulls, and keeps what it is told."""

    def __init__(self, estate: CopiedEstate) -> None:
        self.sender = OtherSender(estate)
        pmode = self.sender.pmode
        # The hospital begins when it pulls, so it is the initiator.
        self.pmode = replace(
            pmode,
            mpc=CHANNEL,
            action="deliver-file",
            us=replace(pmode.us, role=pmode.them.role),
            them=replace(pmode.them, role=pmode.us.role),
        )
        self.peer = Peer(estate, [], [])
        self.peer.identity = self.sender.identity
        self.asked = 0
        self.told: list[Request] = []

    def answers(self, *what: Callable[[Request], bytes]) -> None:
        """What is given to each question, the last for ever; anything else that comes is told."""
        waiting = list(what)

        def answer(request: Request) -> bytes:
            if b"<eb:PullRequest" not in request.body:
                self.told.append(request)
                return response(status=202)
            self.asked += 1
            return (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request)

        self.peer.script = [answer]

    def message(self, **more: object) -> Callable[[Request], bytes]:
        """A message as the answer."""
        sent = self.sender.message(pmode=self.pmode, **more)  # type: ignore[arg-type]
        return lambda _: response(sent.body, headers=sent.headers)

    def empty(self, _request: Request) -> bytes:
        """Nothing waits."""
        return response(self.peer.signal(error_xml(empty_channel("")), None))


@asynccontextmanager
async def _giving(estate: CopiedEstate) -> AsyncIterator[_Giver]:
    giver = _Giver(estate)
    url = f"http://localhost:{estate.municipality.port}/as4"
    edit(estate.hospital.home, "as4.yaml", "as4.partner", url=url)
    server = await asyncio.start_server(giver.peer._serve, "127.0.0.1", estate.municipality.port)
    try:
        yield giver
    finally:
        server.close()
        giver.peer.hang_up()


async def test_a_message_that_is_given_again_is_acknowledged_again_and_delivered_once(both: CopiedEstate):
    """Its receipt was lost: it is known here, gets the same receipt, and is no reason to ask at once again."""
    edit(both.hospital.home, "as4.yaml", "as4.partner", exchanges=[pushed(), pulled("receive", every=0.3)])
    async with _giving(both) as giver:
        giver.answers(giver.message())
        async with running(both.hospital.home) as (taker,):
            await until(lambda: len(giver.told) >= 3, "three receipts")
            assert len(mailbox(taker.runtime)) == 1
            assert len({request.body for request in giver.told}) == 1
            assert giver.asked <= len(giver.told) + 2, "it is asked as often as agreed, not in circles"


NONSENSE: dict[str, Callable[[_Giver], Callable[[Request], bytes]]] = {
    "a broken envelope": lambda g: lambda r: response(b"<oops"),
    "a fault": lambda g: lambda r: response(fault_envelope(SoapFault("Receiver", "asleep")), status=500),
    "a web page": lambda g: lambda r: response(b"<html/>", headers={"Content-Type": "text/html"}),
    "an outage": lambda g: busy,
    "nothing": lambda g: lambda r: response(headers={}),
    "nothing, 204": lambda g: lambda r: response(status=204, headers={}),
    "a hung-up line": lambda g: lambda r: None,  # type: ignore[dict-item,return-value]
    "half a message": lambda g: lambda r: g.message(payloads=[os.urandom(200_000)])(r)[:-70_000],
    "a refusal": lambda g: lambda r: response(g.peer.signal(error_xml(no_such_channel("")), None)),
    "its own question": lambda g: lambda r: response(r.body),
    "a receipt for nothing": lambda g: lambda r: response(g.peer.signal(receipt_xml(()), "x@hospital.example")),
}


@pytest.mark.parametrize("what", NONSENSE)
async def test_nonsense_is_not_answered_and_the_next_message_is_taken(both: CopiedEstate, what: str):
    """It is asked again after the agreed pause; nothing is stored, and nobody is sent what nobody can relate to a message."""
    edit(both.hospital.home, "as4.yaml", "as4.partner", exchanges=[pushed(), pulled("receive", every=0.1)])
    async with _giving(both) as giver:
        nonsense = NONSENSE[what](giver)
        closing = what == "half a message"
        giver.answers(nonsense, nonsense, nonsense, giver.message(), giver.empty)
        begun = asyncio.get_running_loop().time()
        async with running(both.hospital.home) as (taker,):
            if closing:
                while giver.asked < 3:
                    await asyncio.sleep(0.05)
                    giver.peer.hang_up()
            await until(lambda: mailbox(taker.runtime), "the message")
            assert asyncio.get_running_loop().time() - begun > 0.3, "not in circles"
            await until(lambda: giver.told, "its receipt")
            assert len(giver.told) == 1
            assert b"<eb:Receipt>" in giver.told[0].body
            assert len(mailbox(taker.runtime)) == 1


async def test_a_pulled_message_that_is_refused_is_answered_with_a_signed_error(both: CopiedEstate):
    """Posted to the address it was pulled from, so that the giver knows why; nothing of it stays."""
    async with _giving(both) as giver:
        giver.answers(giver.message(prepare=bytes, message_id="bad-1@municipality.example"), giver.empty)
        async with running(both.hospital.home) as (taker,):
            await until(lambda: giver.told, "the error")
            assert b"EBMS:0303" in giver.told[0].body
            assert b"<eb:RefToMessageId>bad-1@municipality.example<" in giver.told[0].body
            assert b"<ds:Signature" in giver.told[0].body
            assert mailbox(taker.runtime) == []
            assert objects(taker.runtime) == []


async def test_a_bug_does_not_end_a_channel(both: CopiedEstate, monkeypatch: pytest.MonkeyPatch):
    """Whatever one answer does to us, the next is asked for; the operator finds it in the log."""
    broken = [True]
    own = receiving.facts

    def facts(*arguments: Any) -> Any:
        if broken:
            raise ZeroDivisionError(str(broken.pop()))
        return own(*arguments)

    monkeypatch.setattr(receiving, "facts", facts)
    async with running(both.municipality.home, both.hospital.home) as (giver, taker):
        parcel = await handed_over(giver, SMALL)
        assert (await in_state(giver, parcel, "delivered")).attempts == 2
        assert len(mailbox(taker.runtime)) == 1
