"""The AS4 gateway keeps the contract every gateway keeps."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack

import pytest_asyncio

from accesspoint import outbound
from accesspoint.errors import RemoteError
from conformance.estate import FILES
from conformance.gateway_contract import GatewayContract
from conformance.workbench import Behaviour, Bench
from gateways.as4.adapter import As4Gateway
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import OtherSender
from tests.gateways.as4.running import Peer, Request, anchors, plain_http, post


class Municipality:
    """The municipality's gateway; the hospital is a foreign sender and a foreign receiver."""

    gateway = As4Gateway
    sender = "care-record"
    integration = FILES

    def __init__(self, estate: CopiedEstate, stack: AsyncExitStack) -> None:
        plain_http(estate)
        self.home, self._estate, self._stack = estate.municipality.home, estate, stack
        self._peer = Peer(estate)
        self._listens = False
        self._taken: list[Request] = []
        other = copy.copy(estate)
        other.municipality, other.hospital = estate.hospital, estate.municipality
        self._outside = OtherSender(other)

    async def bring_in(self, bench: Bench, key: str, octets: bytes) -> bool:
        """Post a message of that id, signed afresh each time."""
        assert isinstance(bench.gateway, As4Gateway)
        await bench.gateway._started.wait()
        sent = self._outside.message([octets], message_id=f"{key}@hospital.example")
        got = await post(bench.gateway.port, sent.body, sent.headers, anchors(self._estate))
        try:
            outbound.judge_answer(
                sent.message, sent.pmode, self._outside.trust(), got.status, got.content_type, got.body
            )
        except RemoteError as error:
            assert error.authenticated
            return False
        return True

    async def neighbour(self, behaviour: Behaviour) -> None:
        """The peer answers, says nothing, or does not listen."""
        self._peer.script = [(lambda _: b"") if behaviour == "silent" else self._take]
        if behaviour != "down" and not self._listens:
            await self._stack.enter_async_context(self._peer.listening())
            self._listens = True

    def _take(self, request: Request) -> bytes:
        self._taken.append(request)
        return self._peer.accept(request)

    async def left(self) -> Mapping[str, bytes]:
        """What the peer has taken, by message id."""
        taken: dict[str, bytes] = {}
        for request in self._taken:
            said, (octets,) = self._peer.read(request)
            assert taken.setdefault(said.message.message_id, octets) == octets
        return taken


class TestAs4Gateway(GatewayContract):
    """Every rule of the contract, over real sockets."""

    @pytest_asyncio.fixture
    async def world(self, estate: CopiedEstate) -> AsyncIterator[Municipality]:
        """Two organisations, one of them foreign."""
        async with AsyncExitStack() as stack:
            yield Municipality(estate, stack)
