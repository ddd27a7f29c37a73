"""Test assertions about what lies below the message: TLS and addresses, over real sockets to whole nodes.

Ids are those of docs/assertions.yaml.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from accesspoint.outbound import judge_answer
from conformance.estate import Estate
from core.node import Node
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender, edit, edit_node, stage_parcel
from tests.gateways.as4.running import (
    SMALL,
    Door,
    anchors,
    handed_over,
    in_state,
    kernel,
    mailbox,
    plain_http,
    post,
    running,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

LISTED: Final = "ECDHE-RSA-AES256-GCM-SHA384"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def narrow(tmp_path_factory: pytest.TempPathFactory, template: Path) -> AsyncIterator[Door]:
    """A hospital that is told which TLS to speak: version 1.2 with one cipher suite."""
    estate = CopiedEstate(tmp_path_factory.mktemp("narrow"), template=template)
    estate.make()
    gateway = {"port": estate.hospital.port, "tls_key": "tls", "tls_versions": ["1.2"], "tls_suites": [LISTED]}
    edit_node(estate.hospital.home, gateways={"as4": gateway})
    async with running(estate.hospital.home) as (node,):
        yield Door(estate, node, OtherSender(estate))


def calling(estate: Estate, version: ssl.TLSVersion, suites: str = "ALL:@SECLEVEL=0") -> ssl.SSLContext:
    """A client that speaks one version of TLS, with these suites where it is 1.2 or older."""
    context = anchors(estate)
    context.set_ciphers(suites)
    context.minimum_version = context.maximum_version = version
    return context


async def spoken(estate: Estate, context: ssl.SSLContext) -> tuple[str, str]:
    """Version and suite of a connection to the hospital.

    Raises `ConnectionResetError` when the node ends the connection at the client's first words; what the client itself cannot
    say would be an `ssl.SSLError`.
    """
    _, writer = await asyncio.open_connection("localhost", estate.hospital.port, ssl=context)
    secure = writer.get_extra_info("ssl_object")
    writer.close()
    return secure.version(), secure.cipher()[0]


async def answered(door: Door, context: ssl.SSLContext) -> None:
    """A message over this TLS is answered with its receipt under a 2xx."""
    sent = door.sender.message()
    got = await post(door.estate.hospital.port, sent.body, sent.headers, context)
    assert 200 <= got.status < 300
    judge_answer(sent.message, sent.pmode, door.sender.trust(), got.status, got.content_type, got.body)


# --- versions ---------------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA39")
async def test_versions_and_suites_are_what_the_node_is_told(door: Door, narrow: Door):
    """One node as it comes speaks 1.2 and 1.3 with several suites; another, told so, 1.2 with one."""
    for version, name in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
        assert (await spoken(door.estate, calling(door.estate, version)))[0] == name
    other = "ECDHE-RSA-AES128-GCM-SHA256"
    for suite in (LISTED, other):
        assert await spoken(door.estate, calling(door.estate, ssl.TLSVersion.TLSv1_2, suite)) == ("TLSv1.2", suite)
    assert await spoken(narrow.estate, calling(narrow.estate, ssl.TLSVersion.TLSv1_2)) == ("TLSv1.2", LISTED)
    with pytest.raises(ConnectionResetError):
        await spoken(narrow.estate, calling(narrow.estate, ssl.TLSVersion.TLSv1_3))


@pytest.mark.assertion("CP_TA40")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("old", ["TLSv1", "TLSv1_1"])
async def test_an_old_tls_gets_no_connection(door: Door, old: str):
    """The node ends the connection at the first words of the handshake."""
    with pytest.raises(ConnectionResetError):
        await spoken(door.estate, calling(door.estate, ssl.TLSVersion[old]))


SSL_3: Final = b"\x16\x03\x00\x00\x2d\x01\x00\x00\x29\x03\x00" + bytes(range(32)) + b"\x00\x00\x02\x00\x2f\x01\x00"
SSL_2: Final = b"\x80\x1c\x01\x00\x02\x00\x03\x00\x00\x00\x10\x01\x00\x80" + bytes(range(16))
"""The first octets that a client of each says."""


@pytest.mark.assertion("CP_TA41")
@pytest.mark.parametrize("hello", [SSL_3, SSL_2], ids=["SSL 3", "SSL 2"])
async def test_ssl_gets_no_connection(door: Door, hello: bytes):
    """At most an alert comes back, and the connection ends."""
    reader, writer = await asyncio.open_connection("localhost", door.estate.hospital.port)
    writer.write(hello)
    said = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    assert said == b"" or (said[0] == 0x15 and len(said) == 7 and said[5] == 2), "nothing, or a fatal alert"
    await answered(door, anchors(door.estate))


# --- cipher suites ----------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA42")
@pytest.mark.parametrize("suite", ["ECDHE-RSA-AES128-GCM-SHA256", "AES256-GCM-SHA384", "ECDHE-RSA-AES256-SHA384"])
async def test_a_suite_that_is_not_listed_gets_no_connection(narrow: Door, suite: str):
    """Whether it would be strong or not."""
    with pytest.raises(ConnectionResetError):
        await spoken(narrow.estate, calling(narrow.estate, ssl.TLSVersion.TLSv1_2, suite))


@pytest.mark.assertion("CP_TA43")
async def test_under_a_suite_that_is_listed_a_message_is_answered(narrow: Door):
    """With its receipt."""
    await answered(narrow, calling(narrow.estate, ssl.TLSVersion.TLSv1_2, LISTED))


# --- addresses --------------------------------------------------------------------------------------------------------


def _has_ipv6() -> bool:
    with closing(socket.socket(socket.AF_INET6)) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
        return True


async def _back(node: Node) -> str:
    """A parcel of the ward's, accepted; gives its id."""
    item = await asyncio.to_thread(stage_parcel, node.runtime, "ward-record", SMALL, integration="files")
    (acceptance,) = await kernel(node).accept(item)
    return acceptance.parcel_id


@pytest.mark.assertion("CP_TA46")
@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
async def test_an_access_point_at_an_ipv6_address_and_one_at_an_ipv4_address_reach_each_other(estate: CopiedEstate):
    """Each listens on one kind of address alone; messages go both ways."""
    plain_http(estate)
    edit(estate.hospital.home, "as4.yaml", "as4.partner", url=f"http://[::1]:{estate.municipality.port}/as4")
    for one, host in ((estate.municipality, "::1"), (estate.hospital, "127.0.0.1")):
        edit_node(one.home, gateways={"as4": {"host": host, "port": one.port, "behind_proxy": True}})
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        there, here = await handed_over(ours, SMALL), await _back(theirs)
        await in_state(ours, there, "delivered")
        await in_state(theirs, here, "delivered")
        assert len(mailbox(ours.runtime)) == len(mailbox(theirs.runtime)) == 1
