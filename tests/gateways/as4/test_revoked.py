"""Revocation from end to end: real nodes, a real list over HTTP, and messages that are believed until it names their signer."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import web

from conformance.pki import Identity, write
from core import limits
from core.node import Node
from gateways.as4.adapter import As4Gateway
from tests.core.answers import points_to
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, authority, edit, edit_node
from tests.gateways.as4.responding import Site, clean
from tests.gateways.as4.running import mailbox, open_alarms, post_sent, refusals, running, until


def _gateway(node: Node) -> As4Gateway:
    gateway = node.gateways["as4"]
    assert isinstance(gateway, As4Gateway)
    return gateway


async def _asked_anew(node: Node) -> None:
    """The next answers, and the minute over in which a certificate found good is remembered."""
    gateway = _gateway(node)
    for state in gateway._fetcher._states.values():
        state.due = 0
    await gateway._fetcher.round()
    for neighbour in gateway._partners.by_id.values():
        neighbour._good.clear()


def _receiver(estate: CopiedEstate, server: Site, **fields: Any) -> Identity:
    """The hospital believes a municipality that is under the authority's anchor; revocation is fetched."""
    home = estate.hospital.home
    write(home / "config" / "certificates" / "above.pem", authority().pem())
    names = {"anchors": ["certificates/above.pem"], "signing_subject": "Demo Municipality signing"}
    edit(home, "as4.yaml", "as4.partner", **({"signing_certificates": [], **names, "revocation": "fetch"} | fields))
    gateway = {"port": estate.hospital.port, "tls_key": "tls", "revocation_hosts": [server.host]}
    edit_node(home, gateways={"as4": gateway})
    return authority().issue("Demo Municipality signing", "signing", extensions=points_to(server.url("/all.crl")))


async def test_a_pinned_signer_is_believed_until_the_list_names_it(estate: CopiedEstate, server: Site):
    """Known before the first message; refused with 0101 after; and after a restart without the server still."""
    mine = _receiver(estate, server)
    home, sender = estate.hospital.home, OtherSender(estate)
    write(home / "config" / "certificates" / "pinned.pem", mine.certificate_pem())
    pinned = {"signing_certificates": ["certificates/pinned.pem"], "issuers": ["certificates/above.pem"], "anchors": []}
    edit(home, "as4.yaml", "as4.partner", **pinned, signing_subject=None)
    server.pages["/all.crl"] = clean(authority())
    async with running(home) as (node,):
        assert (await post_sent(estate, sender.message(identity=mine))).status == 200
        assert len(mailbox(node.runtime)) == 1
        server.pages["/all.crl"] = clean(authority(), mine.certificate)
        await _asked_anew(node)
        sent = sender.message(identity=mine, message_id="revoked@municipality.example")
        await post_sent(estate, sent)
        (why,) = await until(lambda: refusals(node.runtime, "revoked@municipality.example"), "it is refused")
        assert (why["code"], why["field"]) == ("EBMS:0101", "certificate")
        assert why["cause"] == f"the certificate of {mine.certificate.subject.rfc4514_string()} is revoked"
        assert open_alarms(node.runtime) == []
    server.pages.clear()
    async with running(home) as (node,):
        await post_sent(estate, sender.message(identity=mine, message_id="again@municipality.example"))
        (why,) = await until(lambda: refusals(node.runtime, "again@municipality.example"), "it is refused")
        assert why["cause"].endswith("is revoked")
        assert len(mailbox(node.runtime)) == 1


async def test_a_signer_nobody_knew_is_refused_once_and_then_believed(estate: CopiedEstate, server: Site):
    """While its first message is judged nothing is fetched; soon after it is known. Nothing else needs to be done."""
    mine, sender = _receiver(estate, server), OtherSender(estate)
    server.pages["/all.crl"] = clean(authority())
    async with running(estate.hospital.home) as (node,):
        assert server.asked == []
        await post_sent(estate, sender.message(identity=mine, message_id="first@municipality.example"))
        (why,) = await until(lambda: refusals(node.runtime, "first@municipality.example"), "it is refused")
        assert why["cause"].endswith("is revoked is not known: no list and no responder has said it yet")
        assert "send again in some minutes" in why["remedy"]
        await until(lambda: _held(node), "the list is there")
        await post_sent(estate, sender.message(identity=mine, message_id="first@municipality.example"))
        assert len(mailbox(node.runtime)) == 1


def _held(node: Node) -> bool:
    return any(state.held for state in _gateway(node)._fetcher._states.values())


async def test_a_list_that_is_named_beforehand_spares_the_first_refusal(estate: CopiedEstate, server: Site):
    """The partner's file says where the authority's list is."""
    mine, sender = _receiver(estate, server, revocation_urls=[server.url("/all.crl")]), OtherSender(estate)
    server.pages["/all.crl"] = clean(authority())
    async with running(estate.hospital.home) as (node,):
        await post_sent(estate, sender.message(identity=mine))
        assert len(mailbox(node.runtime)) == 1


@pytest.mark.parametrize("grace", [0, 1])
async def test_without_an_answer_a_message_is_refused_and_people_are_told(
    estate: CopiedEstate, server: Site, grace: int
):
    """The server is away from the beginning: no grace helps where nothing was ever said."""
    mine = _receiver(estate, server, revocation_grace=grace, revocation_urls=[server.url("/all.crl")])
    sender = OtherSender(estate)
    async with running(estate.hospital.home) as (node,):
        assert open_alarms(node.runtime) == [("revocation", "")]
        await post_sent(estate, sender.message(identity=mine, message_id="first@municipality.example"))
        assert await until(lambda: refusals(node.runtime, "first@municipality.example"), "it is refused")
        assert mailbox(node.runtime) == []


async def test_a_start_does_not_wait_for_ever_for_answers(
    estate: CopiedEstate, server: Site, monkeypatch: pytest.MonkeyPatch
):
    """It serves though a server never answers; whoever needs no answer of it is served."""
    monkeypatch.setattr(limits, "REVOCATION_FIRST", 200_000)

    async def never(_request: web.Request) -> web.StreamResponse:
        await asyncio.sleep(2)
        return web.Response()

    server.pages["/all.crl"] = never
    _receiver(estate, server, revocation_urls=[server.url("/all.crl")])
    async with running(estate.hospital.home) as (node,):
        assert server.asked
        assert open_alarms(node.runtime) == []
        assert _gateway(node).port != 0
