"""`stafet demo`: two organisations, one message, one crash, and the trace that both sides agree on.

Rule: nothing is shown that was not checked. The demo ends with 0 only when what was taken from the receiver's mailbox is octet
for octet what was sent, exactly once, and both traces name the same digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from conformance.estate import FILES, INTEGRATION, Estate, Organisation
from core import explain as words
from core.clock import local
from core.ledger import deliveries, parcels, trace
from core.ledger.trace import Line
from core.runtime import read_only_engine

OBSERVATION = Path(__file__).parent / "templates" / "homecare-observation.json"
LARGE = 64 * 1024 * 1024
_WAIT = 60.0
_WIDTH = 52


class DemoFailed(Exception):
    """Something the demo shows was not so."""


@dataclass
class Step:
    """One line of the timeline."""

    at: int
    who: str
    what: str
    detail: str


@dataclass
class Act:
    """What one act came to."""

    name: str
    parcel: str
    received: str
    sha256: str
    size: int
    milliseconds: float
    attempts: int
    steps: list[Step] = field(default_factory=list)
    killed: bool = False


def _say(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while octets := file.read(1024 * 1024):
            digest.update(octets)
    return digest.hexdigest()


class Demo:
    """Runs both acts on an estate."""

    def __init__(self, estate: Estate, console: Console) -> None:
        self.estate, self.console = estate, console

    # -- the acts

    def act_one(self, file: Path | None) -> Act:
        """A message travels, is taken, and its receipt is settled."""
        sender, receiver = self.estate.municipality, self.estate.hospital
        integration, media = (INTEGRATION, "application/fhir+json") if file is None else (FILES, "")
        path = file or OBSERVATION
        begun = time.perf_counter()
        parcel = self._send(path, integration, media)
        self._settled(parcel)
        took = (time.perf_counter() - begun) * 1000
        return self._checked("one message", parcel, path, took, sender, receiver)

    def act_two(self, file: Path) -> Act:
        """The receiver is killed in the middle of a transfer, started again, and the payload arrives exactly once."""
        sender, receiver = self.estate.municipality, self.estate.hospital
        begun = time.perf_counter()
        parcel = self._send(file, FILES, "application/octet-stream")
        seen = self._kill_mid_transfer(receiver, file.stat().st_size // 4)
        _say(self.console, f"   ✗ SIGKILL to {receiver.title}, with {seen >> 20} MiB of it on its disk")
        self.estate.start(receiver)
        _say(self.console, f"   ✓ {receiver.title} started again; the sender tries again by itself")
        self._settled(parcel)
        took = (time.perf_counter() - begun) * 1000
        act = self._checked("a crash in the middle", parcel, file, took, sender, receiver)
        act.killed = True
        if act.attempts < 2:
            raise DemoFailed("the transfer was over before the kill: nothing was shown; use a larger file")
        return act

    # -- steps

    def _send(self, path: Path, integration: str, media_type: str) -> str:
        sender = self.estate.municipality
        result = self.estate.ask(
            sender,
            "send",
            paths=[str(path.resolve())],
            sender=sender.system,
            integration=integration,
            media_type=media_type,
        )
        return str(result["parcel"])

    def _settled(self, parcel: str) -> None:
        """Until the sender's ledger says that the parcel is delivered."""
        engine, until = read_only_engine(self.estate.municipality.settings()), time.monotonic() + _WAIT
        try:
            while time.monotonic() < until:
                with engine.connect() as connection:
                    rows = deliveries.of_parcel(connection, parcel)
                if rows and all(row.state == "delivered" for row in rows):
                    return
                time.sleep(0.005)
        finally:
            engine.dispose()
        raise DemoFailed(f"parcel {parcel} was not delivered within {_WAIT:.0f} s: `stafet explain {parcel}` says why")

    def _kill_mid_transfer(self, receiver: Organisation, enough: int) -> int:
        """Watch what the receiver writes, and kill it once some of the payload is there; gives how much."""
        incoming, until = receiver.settings().store_path / "incoming", time.monotonic() + _WAIT
        while time.monotonic() < until:
            sizes = []
            for path in incoming.glob("*"):
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue
            if sum(sizes) >= enough:
                self.estate.kill(receiver)
                return sum(sizes)
            time.sleep(0.002)
        raise DemoFailed("the receiver never began to write")

    def _checked(
        self, name: str, parcel: str, path: Path, took: float, sender: Organisation, receiver: Organisation
    ) -> Act:
        """Take from the receiver's mailbox, compare, and put both traces together."""
        with tempfile.TemporaryDirectory(dir=self.estate.root) as folder:
            taken = self.estate.ask(receiver, "take", system=receiver.system, out=folder, wait=5, limit=50)
            if len(taken) != 1 or len(taken[0]["files"]) != 1:
                raise DemoFailed(f"{len(taken)} parcels in the mailbox of {receiver.system}, not exactly one")
            arrived = _digest(Path(taken[0]["files"][0]))
        sent = _digest(path)
        if arrived != sent:
            raise DemoFailed("what arrived is not what was sent")
        ours, attempts, known = self._trace(sender, parcel)
        theirs, _, there = self._trace(receiver, taken[0]["parcel"])
        if {known, there} != {sent}:
            raise DemoFailed("the two traces do not name the same digest")
        steps = sorted([*ours, *theirs], key=lambda step: step.at)
        return Act(name, parcel, taken[0]["parcel"], sent, path.stat().st_size, took, attempts, steps)

    def _trace(self, one: Organisation, parcel: str) -> tuple[list[Step], int, str]:
        """An organisation's trace of a parcel: steps, attempts, and the payload's digest as its ledger has it."""
        engine = read_only_engine(one.settings())
        try:
            with engine.connect() as connection:
                lines = trace.of_parcel(connection, parcel)
                rows = deliveries.of_parcel(connection, parcel)
                digest = parcels.load(connection, parcel).payloads[0].sha256.hex()
        finally:
            engine.dispose()
        steps = [Step(x.at, one.title, words.event(x.event, x.facts), _detail(x)) for x in lines]
        return steps, max(row.attempts for row in rows), digest


def _detail(line: Line) -> str:
    """Details for the timeline: without what both sides repeat, and long names cut."""
    parts = words.detail(line.event, line.facts).split("; ")
    parts = [part for part in parts if not part.startswith("from ")]
    return "; ".join(part if len(part) <= _WIDTH else part[: _WIDTH - 1] + "…" for part in parts)


# --- showing ----------------------------------------------------------------------------------------------------------


def _show(console: Console, act: Act) -> None:
    for step in act.steps:
        who = step.who.removeprefix("Demo ")
        console.print(f"{local(step.at)[11:]}  {who:<13}", style="bold", end="", markup=False)
        _say(console, step.what)
        for part in step.detail.split("; "):
            if part:
                console.print(" " * 27 + part, style="dim", markup=False)
    seconds = f"{act.milliseconds:.0f} ms" if act.milliseconds < 10_000 else f"{act.milliseconds / 1000:.1f} s"
    tries = "1 attempt" if act.attempts == 1 else f"{act.attempts} attempts"
    _say(console, f"   ✓ {act.size:,} octets, {tries}, {seconds} from handing over to receipt")
    _say(console, f"   ✓ both traces name SHA-256 {act.sha256[:16]}…; taken exactly once")
    _say(console, "")


def _set_up(home: Path, console: Console) -> Estate:
    estate = Estate(home)
    _say(console, f"Making two organisations in {home}: certificate authority, keys, partner files …")
    estate.make()
    for one in estate.both:
        estate.start(one, wait=0)
    for one in estate.both:
        estate.wait_ready(one)
        _say(console, f"   ✓ {one.title} is up: {one.system} behind https://localhost:{one.port}/as4")
    _say(console, "")
    return estate


def _ending(console: Console, home: Path, acts: list[Act]) -> None:
    _say(console, "Both nodes were stopped; what they know is still there. Look around:")
    _say(console, f"   . .venv/bin/activate; export STAFET_HOME={home / 'municipality'}")
    _say(console, f"   stafet trace {acts[0].parcel}")
    _say(console, f"   stafet explain {acts[0].parcel}")
    _say(console, "   stafet up            and in another terminal: stafet send, inbox, status")
    _say(console, "docs/tutorial.md goes on to a partner and keys of your own.")


def run(home: Path, file: Path | None, *, kill: bool, console: Console) -> list[Act]:
    """The whole demo. Raises `DemoFailed`; the nodes are stopped in every case."""
    begun = time.perf_counter()
    estate = _set_up(home, console)
    demo, acts = Demo(estate, console), []
    try:
        _say(console, "1. A message from one record system to the other")
        acts.append(demo.act_one(file))
        _show(console, acts[-1])
        if kill:
            _say(console, "2. The receiver is killed in the middle of a transfer")
            large = home / "large.bin"
            if file is not None and file.stat().st_size > LARGE:
                large = file
            else:
                with large.open("wb") as out:
                    for _ in range(LARGE // (1024 * 1024)):
                        out.write(os.urandom(1024 * 1024))
            acts.append(demo.act_two(large))
            _show(console, acts[-1])
            if large != file:
                large.unlink()
    finally:
        estate.stop_all()
    _say(console, f"Everything took {time.perf_counter() - begun:.1f} s.")
    _ending(console, home, acts)
    return acts


def command(
    file: Annotated[Path | None, typer.Option(help="Send this file instead of the observation.")] = None,
    home: Annotated[Path, typer.Option(help="Where the two homes are made (anew, each time).")] = Path("demo"),
    kill: Annotated[bool, typer.Option("--kill/--no-kill", help="With the second act.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
) -> None:
    """Two organisations, one message, one crash: see it arrive, and why."""
    console = Console(stderr=as_json, highlight=False, soft_wrap=False)
    if file is not None and not file.is_file():
        _say(Console(stderr=True), f"{file}: there is no such file")
        raise typer.Exit(2)
    try:
        acts = run(home, file, kill=kill, console=console)
    except (DemoFailed, RuntimeError) as error:
        _say(Console(stderr=True), str(error))
        raise typer.Exit(1) from None
    if as_json:
        listed = [{**vars(act), "steps": [vars(step) for step in act.steps]} for act in acts]
        print(json.dumps(listed, ensure_ascii=False, indent=1))


if __name__ == "__main__":
    typer.run(command)
