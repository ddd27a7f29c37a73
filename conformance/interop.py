"""`make interop`: real exchanges with other makers' access points, and the matrix of what came of them.

Rules:

1. A cell is an exchange that happened: what arrived is compared octet for octet, and both sides' receipts must hold.
2. Where a peer does otherwise than the specification, the cell says so in its own words (``peer``); it is never called green, and
   the default policy is never loosened for it.
3. A new peer is one file in `conformance.peers` with the methods of `Foreign`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from accesspoint import names
from accesspoint.errors import RemoteError
from conformance.estate import INTEGRATION, Estate
from conformance.peer import Peer
from conformance.peers.phase4 import PeerFailed, Phase4
from core.ledger import deliveries, trace
from core.runtime import read_only_engine
from gateways.as4.evidence import is_duplicate

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
            row = self._look(deliveries.of_parcel, parcel)[0]
            if row.last_code or row.state == "delivered":
                lines = self._look(trace.of_parcel, parcel)
                message = next((x.facts["message"] for x in lines if x.event == "frozen"), "")
                return message, row.state if row.state == "delivered" else f"{row.last_code}: {row.last_reason}"
            time.sleep(0.02)
        raise Failed("nothing was heard of the message")

    def _look(self, query: Callable[..., Any], *arguments: Any) -> Any:
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


def _observations(pair: Pair, count: int) -> list[Path]:
    return [pair.file(f"observation-{i}.json", os.urandom(1875).hex().encode()) for i in range(count)]


def _large(pair: Pair) -> list[Path]:
    path = pair.folder / "large.bin"
    if not path.exists():
        with path.open("wb") as out:
            for _ in range(LARGE // (1024 * 1024)):
                out.write(os.urandom(1024 * 1024))
    return [path]


def _one_out(pair: Pair) -> str:
    return pair.delivered(_observations(pair, 1))


def _several_out(pair: Pair) -> str:
    return pair.delivered(_observations(pair, 3))


def _nothing_out(pair: Pair) -> str:
    return pair.delivered([pair.file("empty.bin", b"")], "application/octet-stream")


def _large_out(pair: Pair) -> str:
    return pair.delivered(_large(pair), "application/octet-stream")


def _one_in(pair: Pair) -> str:
    return pair.received(_observations(pair, 1), media="application/json")


def _several_in(pair: Pair) -> str:
    return pair.received(_observations(pair, 3), media="application/json")


def _nothing_in(pair: Pair) -> str:
    return pair.received([pair.file("empty.bin", b"")])


def _large_in(pair: Pair) -> str:
    return pair.received(_large(pair))


def _duplicate_in(pair: Pair) -> str:
    """The peer signs afresh under the same MessageId: a receipt each time, one delivery."""
    files = _observations(pair, 1)
    answers = [pair.peer.send(files, id="twice@peer.example", media="application/json") for _ in range(2)]
    taken = pair.taken()
    if not all(a.ok for a in answers) or len(taken) != 1:
        raise Failed(f"{[dict(a.facts) for a in answers]}, {len(taken)} parcels")
    return "a receipt each time, delivered once"


def _reused_in(pair: Pair) -> str:
    """The same MessageId with other content is refused."""
    first, second = _observations(pair, 2)
    pair.peer.send([first], id="reused@peer.example", media="application/json")
    said = pair.peer.send([second], id="reused@peer.example", media="application/json")
    if "EBMS:0004" not in said.facts.get("errors", "") or len(pair.taken()) != 1:
        raise Failed(f"the peer says {dict(said.facts)}")
    return "refused with EBMS:0004, the first content stays"


def _unknown_action_in(pair: Pair) -> str:
    said = pair.peer.send(_observations(pair, 1), action="no-such-action")
    if "EBMS:0001" not in said.facts.get("errors", "") or pair.taken():
        raise Failed(f"the peer says {dict(said.facts)}")
    return "refused with EBMS:0001; the peer reads our signed error"


def _ping_out(pair: Pair) -> str:
    said = pair.estate.ask(pair.us, "as4.ping", partner=pair.estate.hospital.name)
    if "signed by" not in said:
        raise Failed(f"{said}")
    if pair.peer.arrived(said["message"]) is not None:
        raise Deviates("answers with a signed receipt, and hands the test message to its application all the same")
    return "answered with a signed receipt, delivered to nobody"


def _ping_in(pair: Pair) -> str:
    said = pair.peer.send([], service=names.TEST_SERVICE, serviceType="", action=names.TEST_ACTION)
    if not said.ok or pair.taken():
        raise Failed(f"the peer says {dict(said.facts)}")
    return "answered with a signed receipt, delivered to nobody"


def _again_out(pair: Pair) -> str:
    """The same octets twice, as after a receipt that was lost."""
    sender = Peer(pair.estate)
    sent = sender.message([_observations(pair, 1)[0].read_bytes()])
    sender.judge(sent, asyncio.run(sender.post(sent)))
    try:
        sender.judge(sent, asyncio.run(sender.post(sent)))
    except RemoteError as error:
        if not is_duplicate(error):
            raise Failed(f"answered {error}") from None
        code = error.errors[0].code
        raise Deviates(
            f"answers a signed {code} instead of the receipt; `answers_duplicates: error` in its partner file counts that as one"
        ) from None
    return "answered with a receipt again"


def _stranger_in(pair: Pair) -> str:
    """Another certificate is agreed than the one they sign with."""
    config = pair.us.home / "config"
    path = config / "as4.yaml"
    agreed = path.read_text()
    other = agreed.replace("certificates/hospital-signing.pem", "certificates/municipality-signing.pem")
    try:
        _apply(pair, path, other)
        said = pair.peer.send(_observations(pair, 1))
    finally:
        _apply(pair, path, agreed)
    if "EBMS:0101" not in said.facts.get("errors", "") or pair.taken():
        raise Failed(f"the peer says {dict(said.facts)}")
    return "refused with EBMS:0101; the peer reads our signed error"


def _apply(pair: Pair, path: Path, text: str) -> None:
    path.write_text(text)
    pair.estate.ask(pair.us, "apply", directory=str(path.parent), who="interop", why="a case")


CASES: Final[Sequence[tuple[str, str, Case]]] = (
    ("Stafet sends", "one payload, 3.75 kB", _one_out),
    ("Stafet sends", "three payloads", _several_out),
    ("Stafet sends", "a payload of 0 bytes", _nothing_out),
    ("Stafet sends", "100 MiB", _large_out),
    ("Stafet sends", "the same octets again", _again_out),
    ("Stafet sends", "a ping", _ping_out),
    ("Stafet receives", "one payload, 3.75 kB", _one_in),
    ("Stafet receives", "three payloads", _several_in),
    ("Stafet receives", "a payload of 0 bytes", _nothing_in),
    ("Stafet receives", "100 MiB", _large_in),
    ("Stafet receives", "the same message again, signed afresh", _duplicate_in),
    ("Stafet receives", "a MessageId used again for other content", _reused_in),
    ("Stafet receives", "an action that was not agreed", _unknown_action_in),
    ("Stafet receives", "a certificate that was not agreed", _stranger_in),
    ("Stafet receives", "a ping", _ping_in),
)


def cells(pair: Pair, profile: str, cases: Sequence[tuple[str, str, Case]] = CASES) -> Iterator[Cell]:
    """Every case of a pair, in turn."""
    for direction, name, case in cases:
        begun = time.perf_counter()
        try:
            result, detail = "ok", case(pair)
        except Deviates as deviation:
            result, detail = "peer", str(deviation)
        except (Failed, PeerFailed) as failure:
            result, detail = "failed", str(failure)
        took = (time.perf_counter() - begun) * 1000
        yield Cell(pair.peer.name, pair.peer.version, profile, direction, name, result, detail, took)


def run(root: Path, profiles: Sequence[str], say: Callable[[Cell], None]) -> list[Cell]:
    """The whole matrix."""
    found = []
    for profile in profiles:
        estate = Estate(root / profile, profile=profile, partner=_AGREED)
        estate.make()
        peer = Phase4(estate, profile)
        try:
            estate.start(estate.municipality)
            for cell in cells(Pair(estate, peer), profile):
                say(cell)
                found.append(cell)
        finally:
            peer.stop()
            estate.stop_all()
    return found


# --- the report -------------------------------------------------------------------------------------------------------

_AGREED: Final = {"answers_duplicates": "error", "answer_within": 900}
"""What phase4's partner file says beside the rest: it answers a duplicate with an error, and takes long over large messages."""
_SIGNS: Final = {"ok": "✓", "peer": "△", "failed": "✗"}


def page(found: Sequence[Cell]) -> str:
    """The matrix for people. Nothing in it differs from run to run but what the exchanges came to."""
    lines = [
        "# Interoperability",
        "",
        "<!-- Made by `make interop` from exchanges that really happened. -->",
        "",
        "Signed, encrypted, over TLS with real certificates, each side in a process of its own. ✓ exchanged and verified on both"
        " sides, △ as far as that product can, for the cause given, ✗ failed.",
    ]
    groups = dict.fromkeys((c.implementation, c.version, c.profile) for c in found)
    for name, version, profile in groups:
        lines += ["", f"## {name} {version}, {profile}", "", "| | Direction | Case | What came of it |"]
        lines.append("| --- | --- | --- | --- |")
        rows = [c for c in found if (c.implementation, c.version, c.profile) == (name, version, profile)]
        lines += [f"| {_SIGNS[c.result]} | {c.direction} | {c.case} | {c.detail.replace('|', '/')} |" for c in rows]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """``python -m conformance.interop``; leaves ``build/interop.json``; 1 when a cell failed."""
    parser = argparse.ArgumentParser(description="Exchange messages with other makers' access points.")
    parser.add_argument("--out", type=Path, default=Path("build/interop.json"))
    parser.add_argument("--page", type=Path, help="Also write the matrix for people here.")
    parser.add_argument("--profiles", nargs="*", default=["edelivery-1.15", "edelivery-2.0", "edelivery-2.0-ec"])
    parser.add_argument("--peers", nargs="*", default=["phase4", "as4"], choices=["phase4", "as4"])
    options = parser.parse_args(arguments)

    def say(cell: Cell) -> None:
        took = f"{cell.milliseconds:,.0f} ms"
        print(
            f"{_SIGNS[cell.result]} {cell.profile}: {cell.direction}: {cell.case}: {cell.detail} ({took})", flush=True
        )

    with tempfile.TemporaryDirectory(prefix="stafet-interop-") as folder:
        found = run(Path(folder), options.profiles, say) if "phase4" in options.peers else []
        if "as4" in options.peers:
            from conformance import interop_peppol  # it is made of what stands here

            for cell in interop_peppol.run(Path(folder)):
                say(cell)
                found.append(cell)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([asdict(c) for c in found], indent=1, ensure_ascii=False) + "\n")
    if options.page:
        options.page.write_text(page(found))
    return 1 if any(c.result == "failed" for c in found) else 0


if __name__ == "__main__":
    sys.exit(main())
