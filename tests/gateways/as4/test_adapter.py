"""The gateway as the kernel sees it: what it demands of its settings, how it begins and ends, and messages from end to end."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest

from conformance.estate import FILES, INTEGRATION, Organisation
from conformance.pki import write
from core.config import EMPTY
from core.delivery import Delivery, State
from core.errors import ConfigError, Fatal, UsageError
from core.ledger import parcels
from core.ledger.tables import idempotency, receipt
from core.node import Node
from core.operations import Operations
from core.schedule import RetryPlan
from gateways.as4.adapter import As4Gateway
from gateways.as4.settings import Listen
from tests.gateways.as4.conftest import CopiedEstate, MakeEstate
from tests.gateways.as4.making import OtherSender, authority, count, edit, edit_node, node_of, objects, stage_parcel
from tests.gateways.as4.running import (
    SMALL,
    anchors,
    failed_with,
    handed_over,
    in_state,
    kernel,
    mailbox,
    post,
    post_sent,
    row,
    running,
    told,
    until,
)


def _gateway(estate: CopiedEstate, **fields: object) -> dict[str, dict[str, object]]:
    """The gateways of ``node.yaml``, with other settings for ours."""
    return {"as4": {"port": estate.hospital.port, "tls_key": "tls", **fields}}


def _received(node: Node, parcel_id: str) -> list[tuple[str, str, bytes]]:
    """Name, media type and octets of every payload of a parcel."""
    parcel = node.runtime.read_now(parcels.load, parcel_id)
    mine = kernel(node)
    return [(p.name, p.media_type, b"".join(mine.read_now(parcel, p))) for p in parcel.payloads]


# --- from end to end --------------------------------------------------------------------------------------------------


@pytest.mark.assertion("CP_TA21", "CP_TA22")
@pytest.mark.requirement("R67", "R75")
@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_message_goes_end_to_end_and_its_receipt_settles_it(
    estate: CopiedEstate, database: str, request: pytest.FixtureRequest
):
    """The receiver has it octet for octet, the sender has the receipt that the receiver keeps, both traces name one id."""
    if database == "postgresql":
        new: Callable[[], str] = request.getfixturevalue("new_postgresql")
        for one in estate.both:
            edit_node(one.home, database=new())
    payloads = [*SMALL, ("large.bin", "application/octet-stream", os.urandom(300_000))]
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        parcel = await handed_over(ours, payloads)
        delivery = await in_state(ours, parcel, "delivered")
        assert (delivery.attempts, delivery.receiver, delivery.last_code) == (1, "ward-record", "")
        (there,) = await until(lambda: mailbox(theirs.runtime), "it is in the mailbox")
        assert _received(theirs, there) == payloads
        (proof,) = ours.runtime.read_now(lambda c: c.execute(receipt.select()).all())
        (key,) = theirs.runtime.read_now(lambda c: c.execute(idempotency.select()).all())
        assert proof.raw == key.answer[32:]
        assert proof.outside_id == key.value
        (sent,), (accepted,) = told(ours.runtime, parcel, "frozen"), told(theirs.runtime, there, "accepted")
        assert sent["message"] == accepted["message"] == key.value
        assert [p[2] for p in told(ours.runtime, parcel, "accepted")[0]["payloads"]] == [
            p[2] for p in accepted["payloads"]
        ]


async def test_both_send_at_once_and_nothing_is_mixed_up(estate: CopiedEstate):
    """Thirty messages, some of them back: each arrives once."""

    async def back(node: Node, n: int) -> str:
        item = await asyncio.to_thread(stage_parcel, node.runtime, "ward-record", [(f"{n}", "text/plain", b"%d" % n)])
        (acceptance,) = await kernel(node).accept(item)
        return acceptance.parcel_id

    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        out = await asyncio.gather(*(handed_over(ours, [(f"{n}", "text/plain", b"%d" % n)]) for n in range(20)))
        home = await asyncio.gather(*(back(theirs, n) for n in range(100, 110)))
        for node, sent in ((ours, out), (theirs, home)):
            for parcel in sent:
                await in_state(node, parcel, "delivered")
        arrived = sorted(int(_received(theirs, p)[0][2]) for p in mailbox(theirs.runtime))
        returned = sorted(int(_received(ours, p)[0][2]) for p in mailbox(ours.runtime))
        assert (arrived, returned) == (list(range(20)), list(range(100, 110)))


@pytest.mark.assertion("CP_TA18")
async def test_a_dialogue_keeps_together_on_both_sides(estate: CopiedEstate):
    """The conversation is the first parcel's id on the receiver's side too."""
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        parcel = await handed_over(ours, SMALL, integration=INTEGRATION)
        await in_state(ours, parcel, "delivered")
        (there,) = mailbox(theirs.runtime)
        assert theirs.runtime.read_now(parcels.load, there).description.correlation_id == parcel


@pytest.mark.assertion("CP_TA09", "CP_TA10")
@pytest.mark.parametrize("killed", ["before-answer", "after-commit:accept", "before-commit:accept"])
async def test_a_receiver_that_dies_around_its_commit_doubles_nothing(estate: CopiedEstate, killed: str):
    """The sender tries again by itself; what was committed is answered with the receipt that was committed with it."""
    payloads = [("large.bin", "application/octet-stream", os.urandom(200_000))]
    await asyncio.to_thread(estate.start, estate.hospital, environment={"STAFET_FAILPOINT": f"{killed}:1"})
    async with running(estate.municipality.home) as (ours,):
        parcel = await handed_over(ours, payloads)
        assert await asyncio.to_thread(estate.nodes.pop("hospital").wait, 20) == -9
        async with running(estate.hospital.home) as (theirs,):
            delivery = await in_state(ours, parcel, "delivered")
            assert delivery.attempts >= 2
            (there,) = mailbox(theirs.runtime)
            assert _received(theirs, there) == payloads
            (proof,) = ours.runtime.read_now(lambda c: c.execute(receipt.select()).all())
            (key,) = theirs.runtime.read_now(lambda c: c.execute(idempotency.select()).all())
            assert proof.raw == key.answer[32:]
            assert len(told(theirs.runtime, there, "repeated")) == (killed != "before-commit:accept")


def _peak(process_id: int) -> int:
    """The most octets of memory a process ever held."""
    for line in Path(f"/proc/{process_id}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise AssertionError("the kernel does not say")


async def test_a_large_payload_passes_in_bounded_memory(estate: CopiedEstate, tmp_path: Path):
    """64 MiB: neither side ever holds more than a few pieces of it."""
    file, warm = tmp_path / "large.bin", tmp_path / "warm.bin"
    piece = os.urandom(1 << 20)
    with file.open("wb") as out:
        for number in range(64):
            out.write(number.to_bytes(2, "big") + piece[2:])
    warm.write_bytes(piece * 4)

    async def send(path: Path) -> None:
        asked = {"paths": [str(path)], "sender": "care-record", "integration": FILES}
        sent = await asyncio.to_thread(estate.ask, estate.municipality, "send", **asked)
        out = tmp_path / "out"
        take = {"system": "ward-record", "out": str(out), "wait": 30}
        (taken,) = await asyncio.to_thread(estate.ask, estate.hospital, "take", **take)
        (arrived,) = taken["files"]
        same = await asyncio.to_thread(lambda: Path(arrived).read_bytes() == path.read_bytes())
        assert sent["judgement"] == "new"
        assert same

    try:
        for one in estate.both:
            await asyncio.to_thread(estate.start, one)
        await send(warm)
        before = {name: _peak(process.pid) for name, process in estate.nodes.items()}
        await send(file)
        for name, process in estate.nodes.items():
            assert _peak(process.pid) - before[name] < 24 * 1024 * 1024, name
    finally:
        await asyncio.to_thread(estate.stop_all)


# --- beginning --------------------------------------------------------------------------------------------------------


def test_plain_http_is_refused_unless_tls_ends_in_front(estate: CopiedEstate):
    """Nobody listens in the open by leaving a field out."""
    node = node_of(estate.hospital.home)
    try:
        with pytest.raises(ConfigError, match=r"gateways\.as4\.tls_key: is missing.*behind_proxy: true"):
            As4Gateway(kernel(node), Listen())
        assert As4Gateway(kernel(node), Listen(behind_proxy=True)).port == 0
    finally:
        node.runtime.close()


async def test_behind_a_proxy_it_speaks_plain_http(estate: CopiedEstate):
    """On a port of the system's choice, if none is named, and under the path that is."""
    edit_node(estate.hospital.home, gateways={"as4": {"port": 0, "behind_proxy": True, "path": "/from/the/proxy"}})
    sender = OtherSender(estate)
    sent = sender.message()
    async with running(estate.hospital.home) as (node,):
        gateway = node.gateways["as4"]
        assert isinstance(gateway, As4Gateway) and gateway.port != 0
        assert (await post(gateway.port, sent.body, sent.headers, None)).status == 404
        assert (await post(gateway.port, sent.body, sent.headers, None, path="/from/the/proxy")).status == 200
        assert len(mailbox(node.runtime)) == 1


async def test_a_port_that_is_taken_ends_the_start_with_its_name(estate: CopiedEstate):
    """Nothing runs half-way."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", estate.hospital.port))
        taken.listen()
        node = node_of(estate.hospital.home)
        with pytest.raises(Fatal, match=rf"gateways\.as4\.port: cannot listen on 127\.0\.0\.1:{estate.hospital.port}"):
            await node.run()


async def test_a_node_that_is_ready_has_its_port_open(estate: CopiedEstate):
    """Whoever is told so can connect in the same moment."""
    node = node_of(estate.hospital.home)
    tried: list[int] = []

    def connect() -> None:
        with socket.socket() as client:
            tried.append(client.connect_ex(("127.0.0.1", estate.hospital.port)))
        node.stop()

    await node.run(on_ready=connect)
    assert tried == [0]


async def test_anchors_that_are_not_there_are_named(estate: CopiedEstate):
    """A door that should demand a certificate never opens without knowing which."""
    edit_node(estate.hospital.home, gateways=_gateway(estate, client_anchors="nowhere.pem"))
    with pytest.raises(Fatal, match=r"gateways\.as4\.client_anchors: nowhere\.pem is not there"):
        await node_of(estate.hospital.home).run()


@pytest.mark.parametrize("key", ["signing", "decryption", "tls"])
async def test_a_key_that_is_missing_is_named(estate: CopiedEstate, key: str):
    """The node does not start, and the words say where the key should lie."""
    (estate.hospital.home / "keys" / f"{key}.pem").unlink()
    with pytest.raises(Fatal, match=key):
        await node_of(estate.hospital.home).run()


async def test_an_unknown_setting_is_refused_by_its_name(estate: CopiedEstate):
    """A misspelt field is never a default in silence."""
    edit_node(estate.hospital.home, gateways=_gateway(estate, prot=1))
    with pytest.raises(ConfigError, match=r"gateways\.as4\.prot"):
        await node_of(estate.hospital.home).run()


# --- mutual TLS -------------------------------------------------------------------------------------------------------


def _demand_certificates(estate: CopiedEstate) -> None:
    pem = str(estate.hospital.home / "client-anchors.pem")
    edit_node(estate.hospital.home, gateways=_gateway(estate, client_anchors=pem, demand_client_certificate=True))


async def test_where_a_client_certificate_is_demanded_nobody_enters_without(estate: CopiedEstate):
    """None and a stranger's are refused before any octet of a message; the agreed one is let in."""
    _demand_certificates(estate)
    sent = OtherSender(estate).message()
    keys = estate.municipality.home / "keys"
    other = authority().issue("Demo Stranger client", "tls-client")
    pem = str(write(estate.root / "stranger.pem", other.key_pem() + other.chain_pem(), secret=True))
    async with running(estate.hospital.home) as (node,):
        for chain in ("", pem):
            tls = anchors(estate)
            if chain:
                tls.load_cert_chain(chain)
            with pytest.raises((ssl.SSLError, OSError, aiohttp.ClientError)):
                await post(estate.hospital.port, sent.body, sent.headers, tls)
        assert count(node.runtime, "parcel") == 0
        tls = anchors(estate)
        tls.load_cert_chain(str(keys / "client.pem"))
        assert (await post(estate.hospital.port, sent.body, sent.headers, tls)).status == 200


async def test_a_node_shows_its_client_certificate_where_the_partner_asks(estate: CopiedEstate):
    """Without one configured the attempt fails and says at which step; with it the message goes through."""
    _demand_certificates(estate)
    async with running(estate.municipality.home, estate.hospital.home) as (ours, _):
        parcel = await handed_over(ours, SMALL)
        delivery = await until(lambda: (r := row(ours.runtime, parcel)).last_code and r, "a failed attempt")
        assert delivery.last_code in ("tls", "send", "closed")
        tls = {"anchors": "certificates/demo-ca.pem", "client_key": "client"}
        edit(estate.municipality.home, "as4.yaml", "as4.partner", tls=tls)
        await _applied(ours)
        await in_state(ours, parcel, "delivered")


# --- configuration ----------------------------------------------------------------------------------------------------


async def _applied(node: Node) -> None:
    """The configuration directory as it is now becomes the next version."""
    operations = Operations(node.runtime, kernel(node, "local"), node.follow)
    asked = {"directory": str(node.settings.config_path), "who": "test", "why": "a change"}
    await operations.table()["apply"](asked, lambda _: None)


@pytest.mark.requirement("R85")
async def test_a_changed_address_counts_from_the_next_attempt(estate: CopiedEstate):
    """No restart, and no new message: what is on its way goes to where the partner is now."""
    right = f"https://localhost:{estate.hospital.port}/as4"
    edit(estate.municipality.home, "as4.yaml", "as4.partner", url="https://localhost:9/as4")
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        parcel = await handed_over(ours, SMALL)
        await failed_with(ours, parcel, "connect")
        edit(estate.municipality.home, "as4.yaml", "as4.partner", url=right)
        await _applied(ours)
        await in_state(ours, parcel, "delivered")
        assert len(mailbox(theirs.runtime)) == 1


async def test_a_version_that_cannot_be_used_leaves_the_old_one_in_force(estate: CopiedEstate):
    """The node says why it is not ready, and goes on receiving as before."""
    sender = OtherSender(estate)
    async with running(estate.hospital.home) as (node,):
        edit(estate.hospital.home, "as4.yaml", "as4.party", signing_key="not-there")
        await _applied(node)
        assert any("not-there" in reason for reason in node.reasons())
        assert (await post_sent(estate, sender.message())).status == 200
        assert len(mailbox(node.runtime)) == 1
        edit(estate.hospital.home, "as4.yaml", "as4.party", signing_key="signing")
        await _applied(node)
        assert node.reasons() == []


async def test_a_key_of_ours_that_does_not_fit_the_agreement_leaves_the_old_one_in_force(
    estate: CopiedEstate, make_estate: MakeEstate
):
    """Their certificates were changed for another profile and our keys were not: that is said, and nothing is lost meanwhile."""
    other, sender = make_estate("edelivery-2.0"), OtherSender(estate)
    folder = Path("config", "certificates")
    async with running(estate.hospital.home) as (node,):
        for name in ("municipality-signing.pem", "municipality-decryption.pem"):
            shutil.copy(other.hospital.home / folder / name, estate.hospital.home / folder / name)
        edit(estate.hospital.home, "as4.yaml", "as4.partner", profile="edelivery-2.0")
        await _applied(node)
        (reason,) = node.reasons()
        assert "as4.party hospital: signing_key: no key for eddsa-ed25519, which edelivery-2.0 of as4.partner" in reason
        assert (await post_sent(estate, sender.message())).status == 200
        assert len(mailbox(node.runtime)) == 1


async def test_a_configuration_that_is_wrong_between_documents_is_not_applied(estate: CopiedEstate):
    """The gateway's own check is asked before anything counts."""
    async with running(estate.hospital.home) as (node,):
        before = node.runtime.configuration.number
        edit(estate.hospital.home, "as4.yaml", "as4.partner", party="nobody")
        with pytest.raises(UsageError, match=r"no as4\.party is called 'nobody'"):
            await _applied(node)
        assert node.runtime.configuration.number == before


async def test_a_partner_has_its_own_plan_and_a_stranger_the_usual_one(estate: CopiedEstate):
    """A delivery whose partner was taken out is still repeated, until somebody decides."""
    edit(
        estate.hospital.home,
        "as4.yaml",
        "as4.partner",
        retry={"attempts": 4, "first_wait": 2, "longest_wait": 60},
    )
    async with running(estate.hospital.home) as (node,):
        gateway = node.gateways["as4"]

        def plan(destination: str) -> RetryPlan:
            return gateway.retry_plan(Delivery("d", "p", "care-record", "as4", State.READY, 0, destination=destination))

        assert plan("municipality") == RetryPlan(4, 2_000_000, 60_000_000)
        assert plan("nobody") == RetryPlan()
        gateway.configure(EMPTY)
        assert plan("municipality") == RetryPlan()


def test_its_words_are_its_own():
    """What it explains is what can happen in it; the rest is left to others."""
    assert "certificate" in As4Gateway.explain("EBMS:0101")
    assert As4Gateway.explain("quarantined") == ""
    assert list(As4Gateway.check(EMPTY)) == []
    assert (As4Gateway.name, sorted(As4Gateway.kinds)) == ("as4", ["as4.partner", "as4.party"])


# --- ending -----------------------------------------------------------------------------------------------------------


GET = b"GET /as4 HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def test_what_has_begun_is_answered_before_the_end(estate: CopiedEstate):
    """A message that is half here when the node is told to stop is taken whole; who asks anew is sent away."""
    sent = OtherSender(estate).message([os.urandom(1_000_000)])
    head = f"POST /as4 HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(sent.body)}\r\nConnection: close\r\n"
    begin = f"{head}Content-Type: {sent.headers['Content-Type']}\r\n\r\n".encode() + sent.body[:700_000]
    async with running(estate.hospital.home) as (node,):
        old_reader, old = await asyncio.open_connection("localhost", estate.hospital.port, ssl=anchors(estate))
        old.write(GET)
        assert (await old_reader.readuntil(b"POST.\n")).startswith(b"HTTP/1.1 405 ")
        reader, writer = await asyncio.open_connection("localhost", estate.hospital.port, ssl=anchors(estate))
        writer.write(begin)
        await writer.drain()
        await until(lambda: objects(node.runtime), "the first part is on disk")
        node.stop()
        await until(lambda: _refused(estate.hospital), "nobody new is let in")
        old.write(GET)
        again = await old_reader.read()
        assert again.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 5\r\n" in again
        old.close()
        writer.write(sent.body[700_000:])
        await writer.drain()
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"<eb:Receipt>" in answer
    async with running(estate.hospital.home) as (node,):
        assert len(mailbox(node.runtime)) == 1


async def _refused(one: Organisation) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", one.port)
    except ConnectionRefusedError:
        return True
    writer.close()
    return False


async def test_an_idle_connection_does_not_delay_the_end(estate: CopiedEstate):
    """Partners keep connections open; that is no work."""
    loop = asyncio.get_running_loop()
    async with running(estate.hospital.home) as (node,):
        _, writer = await asyncio.open_connection("localhost", estate.hospital.port, ssl=anchors(estate))
        begun = loop.time()
        node.stop()
        await until(lambda: _refused(estate.hospital), "it has stopped")
    assert loop.time() - begun < 5
    writer.close()


async def test_it_can_be_closed_though_it_never_ran(estate: CopiedEstate):
    """A start that fails elsewhere closes what has not begun."""
    node = node_of(estate.hospital.home)
    gateway = As4Gateway(kernel(node), Listen(tls_key="tls"))
    await gateway.close()
    assert gateway.port == 0
    node.runtime.close()
