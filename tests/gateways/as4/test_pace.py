"""What a partner's file says of pace, over sockets: pauses, order, too much that waits, and evidence that never comes."""

from __future__ import annotations

import pytest

from conformance.estate import FILES, SERVICE, SERVICE_TYPE
from core import limits
from core.cli.journey import explanation, find
from core.clock import SECOND
from core.ledger import unreachable
from core.node import Node
from core.operations import Operations
from gateways.as4.adapter import As4Gateway
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, configuration
from tests.gateways.as4.running import (
    SMALL,
    Peer,
    Request,
    Script,
    anchors,
    busy,
    failed_with,
    handed_over,
    in_state,
    kernel,
    open_alarms,
    plain_http,
    post,
    post_sent,
    response,
    row,
    running,
    until,
)

SLOW = {"attempts": 100, "first_wait": 0.05, "longest_wait": 0.1}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses and looks of a moment."""
    monkeypatch.setattr(limits, "PAUSE_FIRST", SECOND // 2)
    monkeypatch.setattr(limits, "POLL", SECOND // 20)


def explained(node: Node, parcel: str) -> str:
    """What `stafet explain` says."""
    runtime = node.runtime
    said = runtime.read_now(lambda connection: explanation(connection, find(connection, parcel), runtime.catalogue))
    return "\n".join(said)


def page(_request: Request) -> bytes:
    """A server that fails before it reads."""
    return response(b"<html>sorry</html>", status=502, headers={"Content-Type": "text/html"})


def hung_up(_request: Request) -> None:
    """Nothing is said."""


@pytest.mark.parametrize(("script", "code"), [(busy, "EBMS:0301"), (page, "EBMS:0301"), (hung_up, "closed")])
async def test_a_partner_whose_server_fails_is_paused_until_it_answers(estate: CopiedEstate, script: Script, code: str):
    """An alarm, a line in status, an explanation; nothing else is attempted; then all is delivered by itself."""
    plain_http(estate, pause_after=2, retry=SLOW)
    peer = Peer(estate)
    peer.script = [script]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        first = await handed_over(node, SMALL)
        await until(lambda: node.runtime.read_now(unreachable.all_paused), "a pause")
        second = await handed_over(node, SMALL)
        assert open_alarms(node.runtime) == [("unreachable", "")]
        words = explained(node, second)
        assert "not attempted: the destination has not answered since" in words
        assert "next probe" in words
        assert code in words
        status = await Operations(node.runtime, kernel(node), lambda c: None).status({}, lambda step: None)
        assert [(p["gateway"], p["destination"], p["code"]) for p in status["paused"]] == [("as4", "hospital", code)]
        assert 'stafet_destination_paused{destination="hospital",gateway="as4"} 1.0' in node._metrics().decode()
        peer.script = [peer.accept]
        for parcel in (first, second):
            await in_state(node, parcel, "delivered")
        assert node.runtime.read_now(unreachable.all_paused) == []
        assert row(node.runtime, second).attempts <= 2
        assert "not attempted" not in explained(node, second)


async def test_an_answer_that_proves_nothing_is_an_answer(estate: CopiedEstate):
    """They are there: it is tried again by the plan, and other messages go on."""
    plain_http(estate, pause_after=1, retry=SLOW)
    peer = Peer(estate)
    peer.script = [lambda request: response(status=202), lambda request: response(b"<html/>", status=404), peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        await in_state(node, parcel, "delivered")
        assert (row(node.runtime, parcel).attempts, open_alarms(node.runtime)) == (3, [])


async def test_nothing_listens(estate: CopiedEstate):
    """A port without a server is the plainest case of being away."""
    plain_http(estate, pause_after=2, retry=SLOW)
    async with running(estate.municipality.home) as (node,):
        await handed_over(node, SMALL)
        await until(lambda: node.runtime.read_now(unreachable.all_paused), "a pause")
        (pause,) = node.runtime.read_now(unreachable.all_paused)
        assert (pause.where, pause.code) == (("as4", "hospital"), "connect")


async def test_messages_of_one_conversation_leave_one_after_the_other(estate: CopiedEstate):
    """A failed attempt in between does not let the next overtake."""
    service = {"value": SERVICE, "type": SERVICE_TYPE}
    exchange = {"integration": FILES, "service": service, "action": "deliver-file", "ordered": True}
    plain_http(estate, exchanges=[exchange], retry=SLOW)
    peer = Peer(estate)
    peer.script = [peer.accept, hung_up, peer.accept]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcels = [await handed_over(node, [("n.txt", "text/plain", b"%d" % n)]) for n in range(6)]
        for parcel in parcels:
            await in_state(node, parcel, "delivered")
    heard = [peer.read(request)[1][0] for request in peer.requests]
    assert list(dict.fromkeys(heard)) == [b"%d" % n for n in range(6)]
    assert len(heard) == 7


async def test_too_much_that_waits_asks_the_sender_to_come_back(estate: CopiedEstate):
    """HTTP 503 with Retry-After, nothing kept; the same message is taken when there is room."""
    async with running(estate.hospital.home) as (node,):
        sent = OtherSender(estate).message()
        most, node.runtime.backlog.in_all = node.runtime.backlog.in_all, 0
        got = await post_sent(estate, sent)
        assert (got.status, got.headers["Retry-After"]) == (503, str(limits.COME_BACK // SECOND))
        node.runtime.backlog.in_all = most
        node.runtime.backlog.count({("", "ward-record"): limits.WAITING_FOR_ONE})
        got = await post_sent(estate, sent)
        assert (got.status, got.headers["Retry-After"]) == (503, str(limits.COME_BACK // SECOND))
        await node._count()
        got = await post_sent(estate, sent)
        assert (got.status, b"Receipt" in got.body) == (200, True)


async def test_a_receipt_that_never_comes_is_0301_and_a_late_one_delivers(estate: CopiedEstate):
    """Where receipts are called back: the plan's end is a failure with an alarm, and evidence afterwards wins."""
    retry = {"attempts": 2, "first_wait": 0.1, "longest_wait": 0.1}
    plain_http(estate, reply_pattern="callback", retry=retry)
    peer = Peer(estate)
    peer.script = [lambda request: response(status=202)]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        failed = await in_state(node, parcel, "failed")
        assert (failed.last_code, len(peer.requests)) == ("EBMS:0301", 2)
        assert open_alarms(node.runtime) == [("failed", parcel)]
        words = explained(node, parcel)
        assert "MissingReceipt" in words
        assert "What to do" in words
        kind = {"Content-Type": "application/soap+xml; charset=UTF-8"}
        late = peer.receipt(peer.requests[0])
        got = await post(estate.municipality.port, late, kind, anchors(estate))
        assert got.status in (200, 202)
        await in_state(node, parcel, "delivered")


async def test_an_empty_answer_to_the_last_attempt_is_0301_as_well(estate: CopiedEstate):
    """Where receipts come with the answer."""
    plain_http(estate, retry={"attempts": 1, "first_wait": 0.1, "longest_wait": 0.1})
    peer = Peer(estate)
    peer.script = [lambda request: response(status=202)]
    async with peer.listening(), running(estate.municipality.home) as (node,):
        parcel = await handed_over(node, SMALL)
        await in_state(node, parcel, "failed")
        await failed_with(node, parcel, "EBMS:0301")


def test_the_gateway_says_what_is_agreed(estate: CopiedEstate):
    """Pace and memory come from the configuration alone: also where no node runs."""
    plain_http(estate, at_once=3, pause_after=7, waiting=9, duplicate_window=120)
    made = configuration(estate.municipality.home)
    pace = As4Gateway.pace(made, "hospital", FILES)
    assert (pace.at_once, pace.pause_after, pace.waiting, pace.ordered) == (3, 7, 9, False)
    assert pace.no_receipt == "EBMS:0301"
    assert As4Gateway.windows(made) == {"as4:hospital": 120 * 86_400 * SECOND}
