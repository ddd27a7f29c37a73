"""Two channels of a pair of access points, one each way: what waits in them, and what came of it on either side.

Rule: nothing of Stafet's defaults is changed. Whatever is set is what two partners agree, in `AGREED`.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml

from conformance.estate import ACTION, FILES, INTEGRATION, SERVICE, SERVICE_TYPE, Estate
from conformance.pairs import Failed, Pair
from conformance.peers import phase4
from conformance.peers.phase4 import Phase4
from core.ledger import deliveries

OUT: Final = "urn:stafet:demo:channels:hospital"
"""The hospital's messages wait here, at Stafet."""
IN: Final = "urn:stafet:demo:channels:municipality"
"""The municipality's messages wait here, at the peer."""
FILE_ACTION: Final = "deliver-file"
_WAIT: Final = 60.0
EVERY: Final = 0.2


def _exchanges() -> list[dict[str, Any]]:
    def exchange(integration: str, action: str, **more: Any) -> dict[str, Any]:
        service = {"value": SERVICE, "type": SERVICE_TYPE}
        return {"integration": integration, "service": service, "action": action, **more}

    return [
        exchange(INTEGRATION, ACTION),
        exchange(FILES, FILE_ACTION, direction="send", pull={"mpc": OUT}),
        exchange(FILES, FILE_ACTION, direction="receive", pull={"mpc": IN, "every": EVERY}),
    ]


AGREED: Final = {**phase4.AGREED, "exchanges": _exchanges()}
"""What the partner file says beside the rest: a channel each way for files."""


def estate_of(root: Path, profile: str) -> Estate:
    """An estate in which files for the hospital wait at the municipality until they are pulled."""
    estate = Estate(root, profile=profile, partner=AGREED, doors=True)
    estate.make()
    us, them = estate.municipality, estate.hospital
    path = us.home / "config" / "routes.yaml"
    match = {"sender": us.system, "type": "file"}
    waits = {"kind": "route", "id": "waits", "title": "Files wait", "order": 10, "match": match}
    routes = [{**waits, "to": [{"system": them.system}]}, *yaml.safe_load_all(path.read_text())]
    path.write_text(yaml.safe_dump_all(routes, sort_keys=False))
    return estate


# --- what each side did -----------------------------------------------------------------------------------------------


def until(what: str, found: Callable[[], Any], wait: float = _WAIT) -> Any:
    """What ``found`` gives once it is true. Raises `Failed`, saying that ``what`` did not happen."""
    end = time.monotonic() + wait
    while time.monotonic() < end:
        if answer := found():
            return answer
        time.sleep(0.05)
    raise Failed(f"within {wait:.0f} s, {what} did not happen")


class Channels:
    """Both channels of a pair: what waits in them, and what came of it."""

    def __init__(self, pair: Pair) -> None:
        assert isinstance(pair.peer, Phase4)
        self.pair, self.peer, self.us = pair, pair.peer, pair.us
        self._log = self.us.home / "node.log"
        self._from = self._log.stat().st_size

    def files(self, count: int = 1) -> list[Path]:
        """Some files of 3.75 kB; no two are alike."""
        return [self.pair.file(f"{os.urandom(8).hex()}.json", os.urandom(1875).hex().encode()) for _ in range(count)]

    # -- they give

    def offer(self, files: Sequence[Path], **wanted: str) -> str:
        """A message waits at the peer; gives its id."""
        name = f"{os.urandom(16).hex()}@peer.example"
        said = {"mpc": IN, "said": IN, "action": FILE_ACTION, "media": "application/json", "id": name, **wanted}
        self.peer.ask("offer", files=":".join(map(str, files)), **{k: v for k, v in said.items() if v})
        return name

    def arrived(self, count: int, wait: float = 30) -> list[tuple[str, list[bytes]]]:
        """The next ``count`` parcels for our record system, each with its payloads."""
        found: list[tuple[str, list[bytes]]] = []
        out = self.pair.estate.root / "taken"

        def more() -> bool:
            ask = self.pair.estate.ask
            for one in ask(self.us, "take", system=self.us.system, out=str(out), limit=50, wait=0.2):
                found.append((one["parcel"], [Path(f).read_bytes() for f in one["files"]]))
            return len(found) >= count

        until(f"the arrival of {count} parcels", more, wait)
        shutil.rmtree(out)
        return found

    def receipt_held(self, message: str) -> None:
        """Wait until the peer has our receipt for ``message``. Raises `Failed` where it does not hold."""
        said = until("our receipt", lambda: (t := self.told(message)).get("signed") and t)
        if (said["signed"], said.get("digests")) != ("true", "match"):
            raise Failed(f"the peer says of our receipt {said}")

    def told(self, message: str = "") -> dict[str, str]:
        """How often the peer was asked, how many messages wait there, and what it heard of one of them."""
        return self.peer.ask("told", id=message)

    def logged(self, event: str) -> list[dict[str, Any]]:
        """What our node has logged under ``event`` since this case began."""
        with self._log.open("rb") as log:
            log.seek(self._from)
            lines = [json.loads(line) for line in log if line.startswith(b"{") and line.endswith(b"\n")]
        return [line for line in lines if event in line.values()]

    # -- we give

    def give(self, files: Sequence[Path], media: str = "application/json", **description: Any) -> str:
        """A message waits at Stafet; gives its parcel."""
        args: dict[str, Any] = {"paths": [str(f) for f in files], "sender": self.us.system, "integration": FILES}
        said = self.pair.estate.ask(self.us, "send", **args, media_type=media, description=description)
        return str(said["parcel"])

    def pull(self, **wanted: str) -> dict[str, str]:
        """Have the peer pull once."""
        return self.peer.ask("pull", **{"mpc": OUT, **wanted})

    def message(self, **wanted: str) -> str:
        """Have the peer pull a message, and check that it was signed and encrypted; gives its id."""
        said = self.pull(**wanted)
        if "message" not in said or (said["signed"], said["decrypted"]) != ("true", "true"):
            raise Failed(f"the peer pulled {said}")
        return said["message"]

    def state(self, parcel: str) -> str:
        """What our ledger says of a parcel's one delivery."""
        return str(self.pair.look(deliveries.of_parcel, parcel)[0].state)

    def settled(self, parcel: str) -> None:
        """Wait until the peer's receipt is believed."""
        until("a receipt of the peer's that we believe", lambda: self.state(parcel) == "delivered", 20)

    def same(self, message: str, files: Sequence[Path]) -> None:
        """Raises `Failed` unless the peer stored under ``message`` what was sent."""
        if self.peer.arrived(message) != [f.read_bytes() for f in files]:
            raise Failed("what the peer stored is not what was sent")

    def refused(self, code: str, *, signed: str, **wanted: str) -> None:
        """Have the peer pull, and be refused with an error that is ``signed`` ("true" or "false")."""
        said = self.pull(**wanted)
        if code not in said.get("errors", "") or said.get("signed") != signed:
            raise Failed(f"the peer pulled {said}")


@contextmanager
def agreed_otherwise(pair: Pair, old: str, new: str) -> Iterator[None]:
    """Our side's AS4 file with ``new`` in place of ``old`` for a while."""
    path = pair.us.home / "config" / "as4.yaml"
    agreed = path.read_text()
    assert old in agreed

    def apply(text: str) -> None:
        path.write_text(text)
        pair.estate.ask(pair.us, "apply", directory=str(path.parent), who="interop", why="a case")

    apply(agreed.replace(old, new))
    try:
        yield
    finally:
        apply(agreed)
