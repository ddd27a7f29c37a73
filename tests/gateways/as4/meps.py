"""Exchanges in which the receiver asks or answers later: what is agreed for them, and a partner of another make who pulls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml

from accesspoint.ebms import Signal, body_xml, envelope_xml, parse_messaging, signal_xml
from accesspoint.errors import ReportedError
from accesspoint.inbound import Accepted
from accesspoint.pull import pull_request_xml
from accesspoint.receipts import parse_errors
from accesspoint.soap import parse_envelope
from accesspoint.wss import verify
from conformance.estate import ACTION, FILES, INTEGRATION, SERVICE, SERVICE_TYPE, Estate, Organisation
from conformance.pki import Identity
from core.clock import SystemClock
from core.node import Node
from core.operations import Operations
from tests.gateways.as4.making import edit
from tests.gateways.as4.running import Got, Peer, Request, anchors, kernel, post

CHANNEL: Final = "urn:stafet:demo:channels:hospital"
SOAP: Final = {"Content-Type": "application/soap+xml; charset=UTF-8"}
_SERVICE: Final = {"value": SERVICE, "type": SERVICE_TYPE}


def pushed(integration: str = INTEGRATION, action: str = ACTION) -> dict[str, Any]:
    """An exchange both ways by push."""
    return {"integration": integration, "service": dict(_SERVICE), "action": action}


def pulled(direction: str, mpc: str = CHANNEL, **channel: Any) -> dict[str, Any]:
    """Files over a channel: ``send`` = they pull from us."""
    channel = {"mpc": mpc, "every": 0.05, **channel}
    return {**pushed(FILES, "deliver-file"), "direction": direction, "pull": channel}


def agree_to_pull(
    estate: Estate, *, attempts: int = 1000, first: float = 60.0, mpc: str = CHANNEL, **channel: Any
) -> None:
    """Files for the hospital wait at the municipality until the hospital pulls them; the rest is pushed as before."""
    giver, taker = estate.municipality, estate.hospital
    edit(giver.home, "as4.yaml", "as4.partner", exchanges=[pushed(), pulled("send", mpc, **channel)])
    edit(
        giver.home,
        "as4.yaml",
        "as4.partner",
        retry={"attempts": attempts, "first_wait": first, "longest_wait": max(first, 60.0)},
    )
    edit(taker.home, "as4.yaml", "as4.partner", exchanges=[pushed(), pulled("receive", mpc, **channel)])
    path = giver.home / "config" / "routes.yaml"
    routes = list(yaml.safe_load_all(path.read_text()))
    match = {"sender": giver.system, "type": "file"}
    waits = {"kind": "route", "id": "waits", "order": 10, "match": match, "to": [{"system": taker.system}]}
    path.write_text(yaml.safe_dump_all([{**waits, "title": "Files wait for the hospital"}, *routes], sort_keys=False))


async def applied(node: Node) -> None:
    """The configuration directory as it is now becomes the next version."""
    operations = Operations(node.runtime, kernel(node, "local"), node.follow)
    directory = str(node.settings.config_path)
    await operations.table()["apply"]({"directory": directory, "who": "test", "why": "a change"}, lambda _: None)


@dataclass
class OtherPuller:
    """The hospital, if it were not Stafet: asks the municipality's node for messages and answers them."""

    estate: Estate

    def __post_init__(self) -> None:
        self.peer = Peer(self.estate)

    @property
    def giver(self) -> Organisation:
        """Whom it asks."""
        return self.estate.municipality

    async def say(self, signal: bytes) -> Got:
        """Post a signal."""
        return await post(self.giver.port, signal, SOAP, anchors(self.estate))

    def request(self, mpc: str = CHANNEL, *, identity: Identity | None = None, message_id: str = "") -> bytes:
        """A signed request to pull."""
        return self.peer.signal(pull_request_xml(mpc), None, identity=identity, message_id=message_id)

    def unsigned(self, mpc: str = CHANNEL) -> bytes:
        """The same without a signature."""
        said = signal_xml("pull-1@hospital.example", SystemClock().now(), None, pull_request_xml(mpc), "m")
        return envelope_xml(b"", said, body_xml("b"))

    async def pull(self, mpc: str = CHANNEL) -> Got:
        """Ask once."""
        return await self.say(self.request(mpc))

    def read(self, got: Got) -> tuple[Accepted, list[bytes]]:
        """A pulled message and its plain payloads."""
        assert got.status == 200, got
        return self.peer.read(_as_request(got))

    def receipt(self, got: Got, **more: Any) -> bytes:
        """The signed receipt for a pulled message."""
        return self.peer.receipt(_as_request(got), **more)

    def error_in(self, got: Got) -> ReportedError:
        """The one error of an answer."""
        assert got.status == 200, got
        (error,) = parse_errors(_signal_in(got))
        return error

    def is_signed(self, got: Got) -> bool:
        """Whether an answer is signed by the municipality."""
        pmode = self.peer.partners.pmodes()[0]
        try:
            verify(parse_envelope(got.body), pmode.profile, self.peer.partners.trust(pmode), signal=True)
        except Exception:  # whatever is wrong with it, it is not their signature
            return False
        return True


def _as_request(got: Got) -> Request:
    return Request(b"Content-Type: " + got.content_type.encode(), got.body)


def _signal_in(got: Got) -> Signal:
    said = parse_messaging(parse_envelope(got.body))
    assert isinstance(said, Signal)
    return said
