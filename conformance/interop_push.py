"""Messages pushed to and by phase4: the cases of the matrix that every profile has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from accesspoint import names
from accesspoint.errors import RemoteError
from conformance.estate import Estate
from conformance.pairs import Case, Cell, Deviates, Failed, Pair, cells, large_file, observations
from conformance.peer import Peer
from conformance.peers.phase4 import AGREED, Phase4
from conformance.wire import Captures
from gateways.as4.evidence import is_duplicate


def _one_out(pair: Pair) -> str:
    return pair.delivered(observations(pair, 1))


def _several_out(pair: Pair) -> str:
    return pair.delivered(observations(pair, 3))


def _nothing_out(pair: Pair) -> str:
    return pair.delivered([pair.file("empty.bin", b"")], "application/octet-stream")


def _large_out(pair: Pair) -> str:
    return pair.delivered(large_file(pair), "application/octet-stream")


def _one_in(pair: Pair) -> str:
    return pair.received(observations(pair, 1), media="application/json")


def _several_in(pair: Pair) -> str:
    return pair.received(observations(pair, 3), media="application/json")


def _nothing_in(pair: Pair) -> str:
    return pair.received([pair.file("empty.bin", b"")])


def _large_in(pair: Pair) -> str:
    return pair.received(large_file(pair))


def _duplicate_in(pair: Pair) -> str:
    """The peer signs afresh under the same MessageId: a receipt each time, one delivery."""
    files = observations(pair, 1)
    answers = [pair.peer.send(files, id="twice@peer.example", media="application/json") for _ in range(2)]
    taken = pair.taken()
    if not all(a.ok for a in answers) or len(taken) != 1:
        raise Failed(f"{[dict(a.facts) for a in answers]}, {len(taken)} parcels")
    return "a receipt each time, delivered once"


def _reused_in(pair: Pair) -> str:
    """The same MessageId with other content is refused."""
    first, second = observations(pair, 2)
    pair.peer.send([first], id="reused@peer.example", media="application/json")
    said = pair.peer.send([second], id="reused@peer.example", media="application/json")
    if "EBMS:0004" not in said.facts.get("errors", "") or len(pair.taken()) != 1:
        raise Failed(f"the peer says {dict(said.facts)}")
    return "refused with EBMS:0004, the first content stays"


def _unknown_action_in(pair: Pair) -> str:
    said = pair.peer.send(observations(pair, 1), action="no-such-action")
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
    sent = sender.message([observations(pair, 1)[0].read_bytes()])
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
        said = pair.peer.send(observations(pair, 1))
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


def run(root: Path, profiles: Sequence[str], say: Callable[[Cell], None], shown: Path) -> list[Cell]:
    """The whole matrix; what passed where the peer deviates goes to the folder ``shown``."""
    found = []
    for profile in profiles:
        estate = Estate(root / profile, profile=profile, partner=AGREED, doors=True)
        estate.make()
        peer, captures = Phase4(estate, profile), Captures(estate, shown)
        try:
            estate.start(estate.municipality)
            for cell in cells(Pair(estate, peer), profile, CASES, captures):
                say(cell)
                found.append(cell)
        finally:
            peer.stop()
            estate.stop_all()
            captures.stop()
    return found
