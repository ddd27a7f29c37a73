"""One endpoint: a message, a receipt, an error and a request to pull each get their own answer; and dialogues over it."""

from __future__ import annotations

import asyncio

import pytest

from accesspoint.errors import CATALOGUE, EbmsError, HttpRefusal
from accesspoint.pull import pull_request_xml
from accesspoint.receipts import error_xml
from conformance.estate import FILES
from core.ledger import parcels
from core.node import Node
from core.parcel import Acceptance
from gateways.as4.endpoint import Endpoint
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, stage_parcel, stored
from tests.gateways.as4.meps import SOAP, agree_to_pull
from tests.gateways.as4.running import (
    SMALL,
    Peer,
    anchors,
    handed_over,
    in_state,
    kernel,
    mailbox,
    post,
    post_sent,
    running,
    told,
    until,
)


async def test_each_kind_of_signal_message_gets_its_own_answer(estate: CopiedEstate):
    """A receipt for a message, 202 for receipts and errors, a message or a signed word for a pull; nothing for another path."""
    sender = OtherSender(estate)
    peer = Peer(estate)
    peer.identity = sender.identity
    async with running(estate.hospital.home) as (node,):
        sent = sender.message()
        got = await post_sent(estate, sent)
        assert b"<eb:Receipt>" in got.body
        before = stored(node.runtime)
        error = EbmsError(CATALOGUE["EBMS:0303"], field="x", cause="y", ref_to_message_id="m@hospital.example")
        answers = {}
        for what, octets in {
            "a receipt": got.body,
            "an error": peer.signal(error_xml(error), "m@hospital.example"),
            "a pull": peer.signal(pull_request_xml("urn:demo:none"), None),
        }.items():
            answers[what] = await post(estate.hospital.port, octets, SOAP, anchors(estate))
        assert [(a.status, bool(a.body)) for a in answers.values()] == [(202, False), (202, False), (200, True)]
        assert b'errorCode="EBMS:0001"' in answers["a pull"].body
        assert stored(node.runtime) == before


async def test_only_its_own_path_is_an_endpoint():
    """Nothing is read of what goes elsewhere; the answer says where messages are taken."""
    endpoint = Endpoint("/as4", None, None, None)  # type: ignore[arg-type]
    with pytest.raises(HttpRefusal, match="AS4 messages are taken at /as4") as caught:
        await endpoint.handle("/as4/", None)  # type: ignore[arg-type]
    assert caught.value.status == 404


# --- dialogues --------------------------------------------------------------------------------------------------------


async def _answer(node: Node, received: str, system: str, integration: str = FILES) -> str:
    """A system answers a parcel it got: same conversation, and the message that is answered."""
    question = node.runtime.read_now(parcels.load, received).description
    item = await asyncio.to_thread(
        stage_parcel,
        node.runtime,
        system,
        [("reply.json", "application/json", b'{"answer": true}')],
        integration=integration,
        attributes={"as4.ref-to-message-id": question.attributes["as4.message-id"]},
        correlation_id=question.correlation_id,
    )
    (acceptance,) = await kernel(node).accept(item)
    assert isinstance(acceptance, Acceptance)
    return acceptance.parcel_id


def _about(node: Node, parcel: str) -> tuple[str | None, str | None]:
    """Conversation and answered message of a received parcel."""
    said = node.runtime.read_now(parcels.load, parcel).description
    return said.correlation_id, said.attributes.get("as4.ref-to-message-id")


async def test_two_way_push_and_push(estate: CopiedEstate):
    """The reply names the message it answers and stays in its conversation; each leg has its own receipt."""
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        question = await handed_over(ours, SMALL)
        await in_state(ours, question, "delivered")
        (received,) = mailbox(theirs.runtime)
        assert _about(theirs, received) == (question, None)
        reply = await _answer(theirs, received, "ward-record")
        await in_state(theirs, reply, "delivered")
        (answered,) = mailbox(ours.runtime)
        (frozen,) = told(ours.runtime, question, "frozen")
        assert _about(ours, answered) == (question, frozen["message"])


async def test_two_way_push_and_pull(estate: CopiedEstate):
    """The hospital pushes its question and pulls the reply: conversation and reference are the same as if pushed."""
    agree_to_pull(estate, first=1.0)
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        question = await handed_over(theirs, SMALL, integration="homecare", sender="ward-record")
        await in_state(theirs, question, "delivered")
        (received,) = await until(lambda: mailbox(ours.runtime), "the question")
        reply = await _answer(ours, received, "care-record")
        await in_state(ours, reply, "delivered")
        (answered,) = mailbox(theirs.runtime)
        (frozen,) = told(theirs.runtime, question, "frozen")
        assert _about(theirs, answered) == (question, frozen["message"])
