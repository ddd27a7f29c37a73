"""Seeded faults: each is made on purpose between two organisations, a message is sent, and what Stafet says of it is collected.

Rules:

1. Both nodes are real, in this process (so that a clock can be set wrong), on real sockets with real TLS; only what the fault
   names is changed.
2. What is collected is what `stafet explain` says on each side, from that side's own ledger and nothing else.
3. A fault counts as explained when its code is named and a sentence says what to do.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from accesspoint import names
from accesspoint.errors import RemoteError
from accesspoint.profiles import EDELIVERY_1_15
from conformance.estate import INTEGRATION, Estate, free_port
from conformance.peer import Peer
from conformance.pki import Authority, write
from conformance.scene import Scene
from core import config, log
from core.clock import DAY
from core.errors import NotFound, StafetError
from core.ledger import deliveries, trace
from core.local import ask
from core.runtime import Catalogue
from core.system import RESIDUAL

OBSERVATION: Final = Path(__file__).parent / "templates" / "homecare-observation.json"
_WAIT: Final = 30.0
_MOMENT: Final = 3.0


@dataclass
class Told:
    """What was said of one fault. Lines are what `stafet explain` prints, or the refusal itself where nothing was accepted."""

    name: str
    made: str
    code: str
    sender: list[str] = field(default_factory=list)
    receiver: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether the code was named and somebody was told what to do."""
        lines = [*self.sender, *self.receiver]
        remedied = any("What to do:" in line or line.startswith("stafet ") for line in lines)
        return any(self.code in line for line in lines) and remedied


# --- what is seeded ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One fault: what is made wrong (in words and in deed), the code it must be given, and how it is brought about."""

    name: str
    made: str
    code: str
    seed: Callable[[Scene], None]
    happen: Callable[[Scene, Told], Awaitable[None]]


async def _send(scene: Scene, told: Told) -> None:
    """Our own sender hands over an observation; both sides explain."""
    args = {"paths": [str(OBSERVATION)], "sender": scene.sender.system, "integration": INTEGRATION}
    async with scene.running():
        try:
            answer = await asyncio.to_thread(ask, scene.sender.settings().socket_path, "send", args)
        except StafetError as error:
            told.sender = [f"stafet send: not-allowed: {error}"]
            return
        parcel = answer["parcel"]
        message = await _until(lambda: _said(scene, parcel))
        told.sender = scene.explain(scene.sender, parcel)
        if message:
            told.receiver = await _receivers_words(scene, message, told.code)


def _said(scene: Scene, parcel: str) -> str | None:
    """Once the sender has heard something of its parcel: the MessageId it went under, or "" when nothing was sent."""
    rows = scene.look(scene.sender, deliveries.of_parcel, parcel)
    if not rows or not all(row.last_code or row.state == "delivered" for row in rows):
        return None
    lines = scene.look(scene.sender, trace.of_parcel, parcel)
    return next((line.facts["message"] for line in lines if line.event == "frozen"), "")


async def _receivers_words(scene: Scene, message: str, code: str) -> list[str]:
    """What the receiver explains. A refusal at the door is answered before it is stored, so it may come a moment later."""
    until, words = time.monotonic() + _MOMENT, list[str]()
    while code not in " ".join(words) and time.monotonic() < until:
        await asyncio.sleep(0.02)
        with contextlib.suppress(NotFound):
            words = await asyncio.to_thread(scene.explain, scene.receiver, message)
    return words


async def _until(condition: Callable[[], str | None]) -> str:
    until = time.monotonic() + _WAIT
    while time.monotonic() < until:
        found = await asyncio.to_thread(condition)
        if found is not None:
            return found
        await asyncio.sleep(0.02)
    raise TimeoutError("nothing was heard of the message")


async def _check(scene: Scene, told: Told) -> None:
    """Nothing is started: `stafet check` finds it."""
    try:
        config.load(scene.sender.home / "config", scene.catalogue.kinds, scene.catalogue.checks)
    except ExceptionGroup as group:
        root = f"{scene.sender.home}/"
        told.sender = [f"stafet check: {str(problem).replace(root, '')}" for problem in group.exceptions]


def _peer(*changes: Callable[[Peer], Any]) -> Callable[[Scene, Told], Awaitable[None]]:
    """A sender of another make posts what each of ``changes`` builds; the last answer counts."""

    async def happen(scene: Scene, told: Told) -> None:
        async with scene.running():
            peer = Peer(scene.estate)
            for change in changes:
                sent = change(peer)
                response = await peer.post(sent)
                try:
                    peer.judge(sent, response)
                except RemoteError as error:
                    told.sender = [
                        f"their access point is answered: {one.code} {one.description}" for one in error.errors
                    ]
            told.receiver = await _receivers_words(scene, sent.message.message_id, told.code)

    return happen


def _nothing(_scene: Scene) -> None:
    """The agreement is in order; the message is not."""


def _other_authority(scene: Scene) -> None:
    stranger = Authority("Another Demo CA", scene.estate.at)
    write(scene.sender.home / "config" / "certificates" / "another-ca.pem", stranger.pem())
    scene.partner(scene.sender, tls={"anchors": "certificates/another-ca.pem"})


def _old_encryption_key(scene: Scene) -> None:
    old = scene.authority.issue("Demo Hospital decryption, the year before", "encryption")
    write(scene.sender.home / "config" / "certificates" / "hospital-decryption-old.pem", old.certificate_pem())
    scene.partner(scene.sender, encryption_certificate="certificates/hospital-decryption-old.pem")


def _other_action(document: dict[str, Any]) -> None:
    document["exchanges"][0]["action"] = "deliver-observations"


def _other_destination(document: dict[str, Any]) -> None:
    target = document["to"][0]
    if target.get("gateway"):
        target["destination"] = "clinic"


def _no_route(scene: Scene) -> None:
    scene.edit(scene.receiver, "routes.yaml", "route", lambda d: d.update(match={"sender": "another-system"}))
    # The integration's own examples would have found it at `stafet check`.
    scene.edit(scene.receiver, "integrations.yaml", "integration", lambda d: d.pop("tests", None))


def _under(pmode_profile: Any) -> Callable[[Peer], Any]:
    return lambda peer: peer.message([OBSERVATION.read_bytes()], pmode=replace(peer.pmode, profile=pmode_profile))


_REUSED: Final = "reused@municipality.example"
_PARTY: Final = {"value": "demo-municipality", "type": "urn:oasis:names:tc:ebcore:partyid-type:unregistered:other"}

FAULTS: Final[Sequence[Fault]] = (
    Fault(
        "certificate",
        "The receiver has agreed on another signing certificate than the one the sender signs with.",
        "EBMS:0101",
        lambda s: s.partner(s.receiver, signing_certificates=["certificates/hospital-signing.pem"]),
        _send,
    ),
    Fault(
        "clock",
        "The receiver's clock is three years ahead.",
        "EBMS:0101",
        lambda s: s.clocks.update({s.receiver.name: 3 * 365 * DAY}),
        _send,
    ),
    Fault(
        "algorithm",
        "A sender signs with RSA and SHA-1.",
        "EBMS:0103",
        _nothing,
        _peer(_under(replace(EDELIVERY_1_15, signatures=(names.RSA_SHA1,)))),
    ),
    Fault(
        "unencrypted",
        "A sender signs its message but does not encrypt it.",
        "EBMS:0103",
        _nothing,
        _peer(_under(replace(EDELIVERY_1_15, demand_encryption=False))),
    ),
    Fault(
        "encryption",
        "The sender still encrypts for the receiver's certificate of the year before.",
        "EBMS:0102",
        _old_encryption_key,
        _send,
    ),
    Fault(
        "partner",
        "The receiver's partner file has another type for the sender's PartyId.",
        "EBMS:0010",
        lambda s: s.partner(s.receiver, party_id=_PARTY),
        _send,
    ),
    Fault(
        "action",
        "The two partner files name different actions for the same exchange.",
        "EBMS:0001",
        lambda s: s.edit(s.receiver, "as4.yaml", "as4.partner", _other_action),
        _send,
    ),
    Fault(
        "receipt",
        "The receiver signs its receipts with a certificate that the sender has not agreed on.",
        "EBMS:0302",
        lambda s: s.partner(s.sender, signing_certificates=["certificates/municipality-signing.pem"]),
        _send,
    ),
    Fault(
        "message id",
        "A sender uses a MessageId again for other content.",
        "EBMS:0004",
        _nothing,
        _peer(
            lambda peer: peer.message([b'{"first": true}'], message_id=_REUSED),
            lambda peer: peer.message([b'{"second": true}'], message_id=_REUSED),
        ),
    ),
    Fault(
        "size",
        "The receiver's integration takes less than what is sent.",
        "EBMS:0004",
        lambda s: s.edit(s.receiver, "integrations.yaml", "integration", lambda d: d.update(max_size=100)),
        _send,
    ),
    Fault("tls", "The sender trusts another authority for the receiver's server.", "tls", _other_authority, _send),
    Fault(
        "address",
        "The partner's url leads to a port where nobody listens.",
        "connect",
        lambda s: s.partner(s.sender, url=f"https://localhost:{free_port()}/as4"),
        _send,
    ),
    Fault(
        "exchange",
        "The sender's partner file has no exchange for the integration.",
        "no-exchange",
        lambda s: s.edit(s.sender, "as4.yaml", "as4.partner", lambda d: d["exchanges"].pop(0)),
        _send,
    ),
    Fault(
        "route",
        "No route at the receiver takes what the sender sends.",
        RESIDUAL,
        _no_route,
        _send,
    ),
    Fault(
        "service agreement",
        "The sender's service agreement has ended.",
        "not-allowed",
        lambda s: s.edit(s.sender, "agreements.yaml", "service-agreement", lambda d: d.update(until="2026-01-01")),
        _send,
    ),
    Fault(
        "destination",
        "A route names a partner that is not there.",
        "routes.yaml",
        lambda s: s.edit(s.sender, "routes.yaml", "route", _other_destination),
        _check,
    ),
)  # fmt: skip
"""All seeded faults."""


async def tell(scene: Scene, fault: Fault) -> Told:
    """Make one fault and collect what is said of it."""
    scene.reset()
    fault.seed(scene)
    told = Told(fault.name, fault.made, fault.code)
    await fault.happen(scene, told)
    told.sender, told.receiver = _plain(told.sender), _plain(told.receiver)
    return told


async def run(
    folder: Path, faults: Sequence[Fault] = FAULTS, *, say: Callable[[Told], None] = lambda told: None
) -> list[Told]:
    """Every fault in turn."""
    estate = Estate(folder, retry_first=30.0, retry_longest=60.0)
    authority = estate.make()
    scene, found = Scene(estate, authority, Catalogue()), []
    for fault in faults:
        told = await tell(scene, fault)
        say(told)
        found.append(told)
    return found


_VARYING: Final = (
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d+)?"), "DATE TIME"),
    (re.compile(r"[0-9a-f]{32}(?:\.[0-9a-f]{32})?@[\w.-]+"), "MESSAGE-ID"),
    (re.compile(r"\b[0-9a-f]{32}\b"), "PARCEL"),
    (re.compile(r"localhost:\d+"), "localhost:PORT"),
    (re.compile(r"\('127\.0\.0\.1', \d+\)|\b127\.0\.0\.1:\d+"), "ADDRESS"),
    (re.compile(r" \(_ssl\.c:\d+\)"), ""),
)  # fmt: skip


def _plain(lines: Sequence[str]) -> list[str]:
    """Without what differs from one run to the next."""
    plain = []
    for line in lines:
        for pattern, name in _VARYING:
            line = pattern.sub(name, line)
        plain.append(line)
    return plain


# --- the page ---------------------------------------------------------------------------------------------------------

_HEAD: Final = """# Explain a refusal

<!-- Made by `make faults` from faults that were made on purpose. -->

Whatever was not delivered, refused or left lying says what to change. Ask by the parcel's id, or by the name the far side uses:

```console
$ stafet trace PARCEL          # what happened, step by step
$ stafet explain PARCEL        # where it stands, why, and what to change
$ stafet explain MESSAGE-ID    # at the receiver: also for what it refused at the door and never stored
$ stafet explain EBMS:0101     # what a code means
$ stafet alarms                # what waits for a person
```

When you have corrected the cause: `stafet check`, `stafet apply`, and at the sender `stafet resend PARCEL` for what has failed
or was refused (what is still being retried goes by itself).

Below are {count} faults made on purpose between the two organisations of the demo, one at a time, and what each side's
`stafet explain` said of it. Ids, times and ports are replaced by words.
"""


def page(found: Sequence[Told]) -> str:
    """The how-to page: each fault and its explanations, word for word."""
    pieces = [_HEAD.format(count=len(found))]
    for told in found:
        pieces.append(f"\n## {told.made.removesuffix('.')}\n")
        for who, lines in (("sender", told.sender), ("receiver", told.receiver)):
            if lines:
                body = "\n".join(lines)
                pieces.append(f"\nThe {who}:\n\n```text\n{body}\n```\n")
    return "".join(pieces)


def main(arguments: list[str] | None = None) -> int:
    """``python -m conformance.faults``; leaves ``build/faults.json``; 1 when a fault is not explained."""
    parser = argparse.ArgumentParser(description="Make faults on purpose and show what is said of each.")
    parser.add_argument("--out", type=Path, default=Path("build/faults.json"))
    parser.add_argument("--page", type=Path, help="Also write the how-to page here.")
    options = parser.parse_args(arguments)
    log.configure("critical", "json")

    def say(told: Told) -> None:
        print(f"{'✓' if told.ok else '✗'} {told.made}\n  {told.code}", flush=True)
        for who, lines in (("sender", told.sender), ("receiver", told.receiver)):
            for line in lines:
                print(f"    {who}: {line}")

    with tempfile.TemporaryDirectory(prefix="stafet-faults-") as folder:
        found = asyncio.run(run(Path(folder), say=say))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([{**asdict(t), "ok": t.ok} for t in found], indent=1, ensure_ascii=False) + "\n")
    if options.page:
        options.page.write_text(page(found))
    print(f"{sum(t.ok for t in found)} of {len(found)} faults explained")
    return 0 if all(t.ok for t in found) else 1


if __name__ == "__main__":
    sys.exit(main())
