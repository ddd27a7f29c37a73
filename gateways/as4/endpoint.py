"""One endpoint for everything that comes in by POST: messages, receipts, errors, requests to pull."""

from __future__ import annotations

from accesspoint.errors import HttpRefusal
from accesspoint.server import Answer, Incoming
from gateways.as4.pulling import Channels
from gateways.as4.receiving import Reception, Taken
from gateways.as4.signals import Evidence


class Endpoint:
    """The handler of the gateway's server."""

    def __init__(self, path: str, reception: Reception, evidence: Evidence, channels: Channels) -> None:
        self._path, self._reception, self._evidence, self._channels = path, reception, evidence, channels

    async def handle(self, path: str, incoming: Incoming) -> Answer:
        """Answer one request. Raises `HttpRefusal` for what is no exchange at all."""
        if path != self._path:
            raise HttpRefusal(404, f"AS4 messages are taken at {self._path}")
        received = await self._reception.receive(incoming)
        if isinstance(received, Taken):
            return received.answer
        if received.signal.pull_mpc is not None:
            return await self._channels.serve(received.signal, received.envelope, incoming.peer)
        return await self._evidence.take(received.signal, received.envelope, received.octets, incoming.peer)
