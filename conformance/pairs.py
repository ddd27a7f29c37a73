"""Stafet beside another make: what a pair of them can be asked to do, and how a case becomes a row of the matrix.

A cell is an exchange that happened: what arrived is compared octet for octet, and both sides' receipts must hold.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from conformance.estate import INTEGRATION, Estate
from conformance.peers.phase4 import PeerFailed
from conformance.wire import Captures
from core.ledger import deliveries, trace
from core.runtime import read_only_engine

LARGE: Final = 100 * 1024 * 1024
_WAIT: Final = 120.0


class Failed(Exception):
    """A cell that is not green, and why."""


class Deviates(Exception):
    """The peer does otherwise than the specification says; the exchange came as far as it can with that peer."""


@dataclass(frozen=True)
class Cell:
    """One row of the matrix. ``result`` is "ok", "peer" (a deviation of theirs) or "failed"."""

    implementation: str
    version: str
    profile: str
    direction: str
    case: str
    result: str
    detail: str
    milliseconds: float
    capture: str = ""
    """The file that shows what passed, where the peer does otherwise than the specification."""


class Said(Protocol):
    """What a peer says of a message that it sent."""

    @property
    def ok(self) -> bool:
        """A receipt came, was signed, and repeats every digest."""
        ...

    @property
    def facts(self) -> Any:
        """Its own words."""
        ...


class Foreign(Protocol):
    """What `interop` needs of a peer."""

    name: str
    version: str

    def send(self, files: Sequence[Path], **wanted: str) -> Said:
        """Have it send ``files`` as one message."""
        ...

    def arrived(self, message_id: str) -> list[bytes] | None:
        """The payloads it stored for a message."""
        ...

    def stop(self) -> None:
        """End it."""
        ...


class Pair:
    """Stafet (a node process of its own) and a running peer, on one estate."""

    def __init__(self, estate: Estate, peer: Foreign) -> None:
        self.estate, self.peer = estate, peer
        self.us = estate.municipality
        self.folder = estate.root / "files"
        self.folder.mkdir(exist_ok=True)

    def file(self, name: str, octets: bytes) -> Path:
        """A file to send."""
        path = self.folder / name
        path.write_bytes(octets)
        return path

    # -- Stafet sends

    def send(self, files: Sequence[Path], media_type: str = "application/json") -> tuple[str, str]:
        """Hand ``files`` over; gives the MessageId and the delivery's state once something was heard of it."""
        args = {"paths": [str(f) for f in files], "sender": self.us.system, "integration": INTEGRATION}
        parcel = self.estate.ask(self.us, "send", **args, media_type=media_type)["parcel"]
        until = time.monotonic() + _WAIT
        while time.monotonic() < until:
            row = self.look(deliveries.of_parcel, parcel)[0]
            if row.last_code or row.state == "delivered":
                lines = self.look(trace.of_parcel, parcel)
                message = next((x.facts["message"] for x in lines if x.event == "frozen"), "")
                return message, row.state if row.state == "delivered" else f"{row.last_code}: {row.last_reason}"
            time.sleep(0.02)
        raise Failed("nothing was heard of the message")

    def look(self, query: Callable[..., Any], *arguments: Any) -> Any:
        """Ask our node's ledger."""
        engine = read_only_engine(self.us.settings())
        try:
            with engine.connect() as connection:
                return query(connection, *arguments)
        finally:
            engine.dispose()

    def delivered(self, files: Sequence[Path], media_type: str = "application/json") -> str:
        """Send, and compare what the peer stored."""
        message, state = self.send(files, media_type)
        if state != "delivered":
            raise Failed(f"not delivered: {state}")
        if self.peer.arrived(message) != [f.read_bytes() for f in files]:
            raise Failed("what the peer stored is not what was sent")
        return f"receipt verified, {len(files)} payload{'s' * (len(files) != 1)} equal"

    # -- the peer sends

    def taken(self) -> list[list[bytes]]:
        """What waits for our record system: each parcel's payloads."""
        with tempfile.TemporaryDirectory(dir=self.estate.root) as out:
            found = self.estate.ask(self.us, "take", system=self.us.system, out=out, limit=50, wait=0.5)
            return [[Path(f).read_bytes() for f in parcel["files"]] for parcel in found]

    def received(self, files: Sequence[Path], **wanted: str) -> str:
        """Have the peer send, and compare what we hold."""
        said = self.peer.send(files, **wanted)
        if not said.ok:
            raise Failed(f"the peer says {dict(said.facts)}")
        taken = self.taken()
        if taken != [[f.read_bytes() for f in files]]:
            raise Failed(f"{len(taken)} parcels arrived, or other octets than were sent")
        return f"peer verified our receipt, {len(files)} payload{'s' * (len(files) != 1)} equal"


# --- cases ------------------------------------------------------------------------------------------------------------

Case = Callable[[Pair], str]


def observations(pair: Pair, count: int) -> list[Path]:
    """Small files, each different."""
    return [pair.file(f"observation-{i}.json", os.urandom(1875).hex().encode()) for i in range(count)]


def large_file(pair: Pair) -> list[Path]:
    """`LARGE` octets that nobody can compress."""
    path = pair.folder / "large.bin"
    if not path.exists():
        with path.open("wb") as out:
            for _ in range(LARGE // (1024 * 1024)):
                out.write(os.urandom(1024 * 1024))
    return [path]


def cells(pair: Pair, profile: str, cases: Sequence[tuple[str, str, Case]], captures: Captures) -> Iterator[Cell]:
    """Every case of a pair, in turn."""
    for direction, name, case in cases:
        captures.begin()
        begun, capture = time.perf_counter(), ""
        try:
            result, detail = "ok", case(pair)
        except Deviates as deviation:
            result, detail = "peer", str(deviation)
            capture = captures.keep(pair.peer.name, profile, direction, name)
        except (Failed, PeerFailed) as failure:
            result, detail = "failed", str(failure)
        took = (time.perf_counter() - begun) * 1000
        yield Cell(pair.peer.name, pair.peer.version, profile, direction, name, result, detail, took, capture)
