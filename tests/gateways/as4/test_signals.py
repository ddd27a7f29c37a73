"""Receipts and errors that come on their own: what they prove, whenever they come, and that no error answers them.

`Hospital` takes messages with 202 and says what it thinks of them later, at the municipality's own endpoint.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import pytest_asyncio

from accesspoint.errors import CATALOGUE, EbmsError
from accesspoint.receipts import error_xml
from accesspoint.server import Answer, Incoming, Server
from accesspoint.signals import unsigned_error
from conformance.estate import Estate
from core import explain
from core.clock import SystemClock
from core.ledger.tables import receipt as receipts
from core.node import Node
from core.receipt import Verdict
from gateways.as4.adapter import As4Gateway
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import stranger
from tests.gateways.as4.meps import SOAP
from tests.gateways.as4.running import (
    SMALL,
    Got,
    Peer,
    Request,
    anchors,
    handed_over,
    in_state,
    open_alarms,
    plain_http,
    post,
    refusals,
    row,
    running,
    told,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")


class Hospital:
    """Takes everything with 202; ``before`` may do something while the answer is still on its way."""

    def __init__(self, estate: Estate, node: Node) -> None:
        self.estate, self.node = estate, node
        self.peer = Peer(estate)
        self.requests: list[Request] = []
        self.before: Callable[[Request], Awaitable[object]] | None = None

    async def handle(self, _path: str, incoming: Incoming) -> Answer:
        """Take a message."""
        body = b"".join([chunk async for chunk in incoming.chunks()])
        request = Request(b"Content-Type: " + incoming.content_type.encode(), body)
        if self.before:
            await self.before(request)
        self.requests.append(request)
        return Answer(202)

    async def sent(self, **fields: object) -> tuple[str, Request]:
        """A parcel whose message is here and whose receipt is awaited."""
        before = len(self.requests)
        parcel = await handed_over(self.node, SMALL, **fields)  # type: ignore[arg-type]
        await in_state(self.node, parcel, "awaiting")
        return parcel, self.requests[before]

    async def say(self, signal: bytes) -> Got:
        """Post a signal to the municipality; it is taken, whatever it is, and no more is said of it."""
        got = await post(self.estate.municipality.port, signal, SOAP, anchors(self.estate))
        assert (got.status, got.body) == (202, b"")
        return got

    def message_id(self, request: Request) -> str:
        """The name of a message."""
        return self.peer.read(request)[0].message.message_id

    def error(self, code: str, request: Request, **more: object) -> bytes:
        """A signed error about a message."""
        name = self.message_id(request)
        error = EbmsError(CATALOGUE[code], field="here", cause="is wrong", ref_to_message_id=name)
        return self.peer.signal(error_xml(error), name, **more)  # type: ignore[arg-type]

    def kept(self, parcel: str) -> list[tuple[str, bytes]]:
        """The evidence about a parcel."""
        query = receipts.select().where(receipts.c.delivery_id == row(self.node.runtime, parcel).id)
        found = self.node.runtime.read_now(lambda connection: connection.execute(query).all())
        return [(r.verdict, r.raw) for r in found]


@asynccontextmanager
async def called_back(estate: CopiedEstate, **retry: object) -> AsyncIterator[Hospital]:
    """The municipality's node, and a hospital whose receipts come later."""
    plain_http(
        estate, reply_pattern="callback", retry={"attempts": 1000, "first_wait": 60, "longest_wait": 60, **retry}
    )
    async with running(estate.municipality.home) as (node,):
        hospital = Hospital(estate, node)
        server = Server(hospital.handle, "127.0.0.1", estate.hospital.port, None, lambda error: None)
        await server.start()
        try:
            yield hospital
        finally:
            await server.stop(1)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def hospital(tmp_path_factory: pytest.TempPathFactory, template) -> AsyncIterator[Hospital]:
    """One pair for this file."""
    estate = CopiedEstate(tmp_path_factory.mktemp("signals"), template=template)
    estate.make()
    async with called_back(estate) as made:
        yield made


# --- evidence ---------------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R67")
async def test_a_receipt_that_comes_later_settles(hospital: Hospital):
    """202 is no proof; the signal is, and it is kept octet for octet. The same signal again counts once."""
    parcel, request = await hospital.sent()
    signal = hospital.peer.receipt(request)
    for _ in range(3):
        await hospital.say(signal)
        await in_state(hospital.node, parcel, "delivered")
    assert hospital.kept(parcel) == [("accepted", signal)]
    assert len(told(hospital.node.runtime, parcel, "acknowledged")) == 1


async def test_a_receipt_may_overtake_the_answer_to_its_message(hospital: Hospital):
    """It comes while the 202 is still on its way: the attempt's own report changes nothing any more."""

    async def first(request: Request) -> None:
        await hospital.say(hospital.peer.receipt(request))

    hospital.before = first
    try:
        parcel = await handed_over(hospital.node, SMALL)
        await in_state(hospital.node, parcel, "delivered")
        await until(lambda: told(hospital.node.runtime, parcel, "sent"), "the attempt's report")
        assert row(hospital.node.runtime, parcel).state == "delivered"
        assert len(hospital.kept(parcel)) == 1
    finally:
        hospital.before = None


async def test_a_receipt_that_comes_after_all_was_given_up_still_counts(estate: CopiedEstate):
    """Evidence wins over what was believed."""
    async with called_back(estate, attempts=1, first_wait=0.2, longest_wait=0.2) as hospital:
        parcel = await handed_over(hospital.node, SMALL)
        delivery = await in_state(hospital.node, parcel, "failed")
        assert delivery.last_code == "EBMS:0301"
        assert open_alarms(hospital.node.runtime) == [("failed", parcel)]
        await hospital.say(hospital.peer.receipt(hospital.requests[0]))
        await in_state(hospital.node, parcel, "delivered")


async def test_a_message_whose_receipt_does_not_come_is_sent_again_as_it_was(estate: CopiedEstate):
    """The same octets, for as often as the plan says; one receipt is enough for all of them."""
    async with called_back(estate, first_wait=0.1, longest_wait=0.1) as hospital:
        parcel = await handed_over(hospital.node, SMALL)
        await until(lambda: len(hospital.requests) >= 3, "three attempts")
        assert len({(r.content_type, r.body) for r in hospital.requests}) == 1
        await hospital.say(hospital.peer.receipt(hospital.requests[0]))
        await in_state(hospital.node, parcel, "delivered")


@pytest.mark.parametrize("code", ["EBMS:0103", "EBMS:0303", "EBMS:0010"])
async def test_a_signed_error_about_what_was_sent_is_final(hospital: Hospital, code: str):
    """The same octets would be refused again: it is refused with their words, which are kept, and people are told."""
    parcel, request = await hospital.sent()
    signal = hospital.error(code, request)
    await hospital.say(signal)
    delivery = await in_state(hospital.node, parcel, "rejected")
    assert delivery.last_code == code
    assert delivery.last_reason.startswith(f"they say: {CATALOGUE[code].short_description}: here: is wrong")
    assert hospital.kept(parcel) == [(Verdict.REJECTED.value, signal)]
    assert ("rejected", parcel) in open_alarms(hospital.node.runtime)


async def test_an_error_may_name_its_message_in_the_error_alone(hospital: Hospital):
    """Some products leave RefToMessageId out of an error signal."""
    parcel, request = await hospital.sent()
    name = hospital.message_id(request)
    error = EbmsError(CATALOGUE["EBMS:0303"], field="here", cause="is wrong", ref_to_message_id=name)
    await hospital.say(hospital.peer.signal(error_xml(error), None))
    await in_state(hospital.node, parcel, "rejected")


@pytest.mark.parametrize("code", ["EBMS:0101", "EBMS:0102", "EBMS:0202", "EBMS:0004"])
async def test_a_signed_error_that_may_pass_is_told_and_nothing_ends(hospital: Hospital, code: str):
    """A key that is being changed, a full disk: the trace has their words, and a receipt still settles."""
    parcel, request = await hospital.sent()
    await hospital.say(hospital.error(code, request))
    (facts,) = await until(lambda: told(hospital.node.runtime, parcel, "reported"), "the trace")
    assert (facts["code"], facts["signal"]) == (code, "signal-1@hospital.example")
    assert row(hospital.node.runtime, parcel).state == "awaiting"
    await hospital.say(hospital.peer.receipt(request))
    await in_state(hospital.node, parcel, "delivered")


async def test_an_error_after_a_receipt_changes_nothing(hospital: Hospital):
    """They have it; both signals are kept."""
    parcel, request = await hospital.sent()
    await hospital.say(hospital.peer.receipt(request))
    await in_state(hospital.node, parcel, "delivered")
    await hospital.say(hospital.error("EBMS:0303", request, message_id="late-1@hospital.example"))
    assert [verdict for verdict, _ in hospital.kept(parcel)] == ["accepted", "rejected"]
    assert row(hospital.node.runtime, parcel).state == "delivered"


async def test_one_signal_id_for_two_messages_is_no_matter(hospital: Hospital):
    """Each receipt is judged by what it says of its own message."""
    first, second = await hospital.sent(), await hospital.sent()
    for parcel, request in (first, second):
        await hospital.say(hospital.peer.receipt(request))
        await in_state(hospital.node, parcel, "delivered")


# --- what proves nothing ----------------------------------------------------------------------------------------------


def _unsigned(octets: bytes) -> bytes:
    return octets[: octets.index(b"<wsse:Security ")] + octets[octets.index(b"</wsse:Security>") + 16 :]


def _unsigned_error(hospital: Hospital, request: Request) -> bytes:
    error = EbmsError(
        CATALOGUE["EBMS:0303"], field="here", cause="is wrong", ref_to_message_id=hospital.message_id(request)
    )
    return unsigned_error(error, message_id="forged-1@hospital.example", timestamp=SystemClock().now())


Forgery = Callable[[Hospital, Request], bytes]
FORGED: dict[str, tuple[Forgery, str]] = {
    "a stranger's receipt": (lambda h, r: h.peer.receipt(r, identity=stranger()), "EBMS:0302"),
    "an unsigned receipt": (lambda h, r: _unsigned(h.peer.receipt(r)), "EBMS:0302"),
    "a receipt changed after signing": (
        lambda h, r: h.peer.receipt(r).replace(b"signal-1@", b"signal-2@"),
        "EBMS:0302",
    ),
    "a receipt over other octets": (
        lambda h, r: h.peer.receipt(r, change=lambda x: (*x[:-1], replace(x[-1], digest=bytes(32)))),
        "EBMS:0302",
    ),
    "a receipt that leaves a part out": (lambda h, r: h.peer.receipt(r, change=lambda x: x[:-1]), "EBMS:0302"),
    "a receipt that repeats nothing": (lambda h, r: h.peer.receipt(r, change=lambda _: ()), "EBMS:0302"),
    "an unsigned error": (_unsigned_error, "EBMS:0303"),
    "a stranger's error": (lambda h, r: h.error("EBMS:0303", r, identity=stranger()), "EBMS:0303"),
}


@pytest.mark.parametrize("what", FORGED)
async def test_what_proves_nothing_is_taken_told_and_changes_nothing(hospital: Hospital, what: str):
    """202 as for every signal; the message's trace says what was wrong, and the true receipt still settles."""
    forge, code = FORGED[what]
    parcel, request = await hospital.sent()
    await hospital.say(forge(hospital, request))
    (facts,) = await until(lambda: told(hospital.node.runtime, parcel, "not-believed"), "the trace")
    assert facts["code"] == code
    assert facts["reason"]
    assert (row(hospital.node.runtime, parcel).state, hospital.kept(parcel)) == ("awaiting", [])
    await hospital.say(hospital.peer.receipt(request))
    await in_state(hospital.node, parcel, "delivered")


async def test_a_receipt_for_another_message_proves_nothing_about_this_one(hospital: Hospital):
    """It says whose digests it repeats: the message named is not theirs."""
    (other, request), (parcel, mine) = await hospital.sent(), await hospital.sent()
    await hospital.say(hospital.peer.receipt(request, reference=hospital.message_id(mine)))
    (facts,) = await until(lambda: told(hospital.node.runtime, parcel, "not-believed"), "the trace")
    assert facts["code"] == "EBMS:0302"
    assert {row(hospital.node.runtime, p).state for p in (other, parcel)} == {"awaiting"}
    for one, received in ((other, request), (parcel, mine)):
        await hospital.say(hospital.peer.receipt(received))
        await in_state(hospital.node, one, "delivered")


@pytest.mark.parametrize("kind", ["receipt", "error", "error that names nothing"])
async def test_a_signal_about_nothing_we_sent_is_remembered_and_not_answered(hospital: Hospital, kind: str):
    """Signed or not, known or not: 202 with nothing in it, or two products would go on for ever."""
    parcel, request = await hospital.sent()
    error = EbmsError(CATALOGUE["EBMS:0303"], field="here", cause="is wrong")
    name = f"never-sent-{kind.split()[-1]}@municipality.example"
    signal = {
        "receipt": lambda: hospital.peer.receipt(request, reference=name),
        "error": lambda: hospital.peer.signal(error_xml(error), name),
        "error that names nothing": lambda: hospital.peer.signal(error_xml(error), None),
    }[kind]()
    await hospital.say(signal)
    reference = "signal from 127.0.0.1" if kind.endswith("nothing") else name
    (refusal,) = await until(lambda: refusals(hospital.node.runtime, reference), "the refusal")
    words = "a receipt" if kind == "receipt" else "an error"
    assert (refusal["code"], refusal["cause"]) == ("unknown-message", f"{words} about a message that we did not send")
    assert explain.code("unknown-message", As4Gateway.explain)
    assert row(hospital.node.runtime, parcel).state == "awaiting"
    await hospital.say(hospital.peer.receipt(request))


async def test_many_at_once_settle_each_its_own(hospital: Hospital):
    """Thirty receipts in any order, each of them twice."""
    sent = [await hospital.sent() for _ in range(15)]
    signals = [
        hospital.peer.receipt(request, message_id=f"r-{n}@hospital.example") for n, (_, request) in enumerate(sent)
    ]
    await asyncio.gather(*(hospital.say(signal) for signal in reversed(signals * 2)))
    for (parcel, _), signal in zip(sent, signals, strict=True):
        await in_state(hospital.node, parcel, "delivered")
        assert hospital.kept(parcel) == [("accepted", signal)]


async def test_evidence_about_a_partner_that_is_gone_is_remembered_only(estate: CopiedEstate):
    """Nobody is left whose certificate could be believed."""
    async with called_back(estate) as hospital:
        parcel, request = await hospital.sent()
        gateway = hospital.node.gateways["as4"]
        gateway._partners = type(gateway._partners)((), SystemClock())  # type: ignore[attr-defined]
        await hospital.say(hospital.peer.receipt(request))
        await until(lambda: refusals(hospital.node.runtime, hospital.message_id(request)), "the refusal")
        assert row(hospital.node.runtime, parcel).state == "awaiting"
