"""Signals of ours that go out on their own: tried a few times, bounded, and nothing is lost when one does not arrive."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from accesspoint.client import Client
from accesspoint.server import Answer, Incoming, Server
from core.clock import SystemClock
from core.trust import load_identity
from gateways.as4 import callbacks
from gateways.as4.callbacks import Callbacks
from gateways.as4.partners import Neighbour, build
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import configuration, edit
from tests.gateways.as4.meps import applied
from tests.gateways.as4.running import SMALL, handed_over, in_state, mailbox, plain_http, row, running, told, until

SIGNAL = b"<signal/>"


class Ear:
    """Hears signals at the hospital's address; ``statuses`` are its answers, the last for ever."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.heard: list[tuple[str, bytes]] = []

    async def handle(self, _path: str, incoming: Incoming) -> Answer:
        """Hear one."""
        self.heard.append((incoming.content_type, b"".join([chunk async for chunk in incoming.chunks()])))
        return Answer(self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0])


@asynccontextmanager
async def listening(port: int, ear: Ear) -> AsyncIterator[None]:
    """An ear at a port."""
    server = Server(ear.handle, "127.0.0.1", port, None, lambda error: None)
    await server.start()
    try:
        yield
    finally:
        await server.stop(1)


@pytest.fixture
def hospital(estate: CopiedEstate) -> Neighbour:
    """The hospital as the municipality knows it, over a line without TLS."""
    plain_http(estate)
    home = estate.municipality.home
    made = build(configuration(home), lambda name: load_identity(home / "keys", name), SystemClock())
    return made.by_id["hospital"]


@pytest.fixture
async def posting(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callbacks]:
    """Callbacks that wait a fiftieth as long."""
    monkeypatch.setattr(callbacks, "_WAITS", tuple(wait / 50 for wait in callbacks._WAITS))
    client = Client()
    made = Callbacks(client)
    yield made
    await made.finish(1)
    await client.close()


async def test_a_signal_goes_to_the_partners_address_and_nobody_waits(
    estate: CopiedEstate, hospital: Neighbour, posting: Callbacks
):
    """Once, under the media type of a signal."""
    ear = Ear(202)
    async with listening(estate.hospital.port, ear):
        posting.post(hospital, SIGNAL)
        assert ear.heard == []
        await until(lambda: not posting._tasks, "it is posted")
    assert ear.heard == [("application/soap+xml; charset=UTF-8", SIGNAL)]


@pytest.mark.parametrize(("statuses", "tries"), [((500, 503, 202), 3), ((200,), 1), ((404,), 4)])
async def test_it_is_tried_a_few_times_and_then_left(
    estate: CopiedEstate, hospital: Neighbour, posting: Callbacks, statuses: tuple[int, ...], tries: int
):
    """Any success ends it; a partner who never takes it will ask again."""
    ear = Ear(*statuses)
    async with listening(estate.hospital.port, ear):
        posting.post(hospital, SIGNAL)
        await until(lambda: not posting._tasks, "it is over")
    assert len(ear.heard) == tries


async def test_a_partner_that_comes_back_gets_it(estate: CopiedEstate, hospital: Neighbour, posting: Callbacks):
    """Nobody listens at the first try."""
    ear = Ear(202)
    posting.post(hospital, SIGNAL)
    await asyncio.sleep(0.01)
    async with listening(estate.hospital.port, ear):
        await until(lambda: not posting._tasks, "it is posted")
    assert len(ear.heard) == 1


async def test_a_partner_out_of_reach_takes_up_bounded_room(
    hospital: Neighbour, posting: Callbacks, monkeypatch: pytest.MonkeyPatch
):
    """What is more than that is left at once: they will ask again."""
    monkeypatch.setattr(callbacks, "MOST", 5)
    for _ in range(50):
        posting.post(hospital, SIGNAL)
    assert len(posting._tasks) == 5
    await until(lambda: not posting._tasks, "all are left")


async def test_at_the_end_only_what_is_under_way_is_waited_for(hospital: Neighbour):
    """Who waits for the next try is let go: a partner that is away does not hold up a node that stops."""
    client = Client()
    posting = Callbacks(client)
    posting.post(hospital, SIGNAL)
    await asyncio.sleep(0.2)
    begun = time.monotonic()
    await posting.finish(10)
    assert time.monotonic() - begun < 1
    assert not posting._tasks
    await client.close()


async def test_what_is_still_silent_at_the_end_is_left(estate: CopiedEstate, hospital: Neighbour):
    """A partner that takes the signal and never answers has the moment it was given."""
    silent = await asyncio.start_server(lambda reader, writer: asyncio.sleep(30), "127.0.0.1", estate.hospital.port)
    client = Client()
    posting = Callbacks(client)
    posting.post(hospital, SIGNAL)
    await asyncio.sleep(0.05)
    begun = time.monotonic()
    await posting.finish(0.3)
    assert 0.2 < time.monotonic() - begun < 2
    await until(lambda: not posting._tasks, "it is cancelled")
    await client.close()
    silent.close()


async def test_a_lost_receipt_is_asked_for_again_and_the_message_counts_once(estate: CopiedEstate):
    """Two nodes: the receipt goes nowhere, the sender sends again, and the second receipt arrives."""
    edit(estate.municipality.home, "as4.yaml", "as4.partner", reply_pattern="callback")
    edit(estate.hospital.home, "as4.yaml", "as4.partner", reply_pattern="callback", url="http://localhost:9/nowhere")
    async with running(estate.municipality.home, estate.hospital.home) as (sender, receiver):
        parcel = await handed_over(sender, SMALL)
        await in_state(sender, parcel, "awaiting")
        (received,) = await until(lambda: mailbox(receiver.runtime), "it arrived")
        await until(lambda: told(receiver.runtime, received, "repeated"), "it was sent again")
        assert row(sender.runtime, parcel).state == "awaiting"
        url = f"https://localhost:{estate.municipality.port}/as4"
        edit(estate.hospital.home, "as4.yaml", "as4.partner", url=url)
        await applied(receiver)
        await in_state(sender, parcel, "delivered")
        assert mailbox(receiver.runtime) == [received]
