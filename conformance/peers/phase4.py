"""phase4 (Java) as a peer: built with Maven, run as a process of its own, told what to do over its standard input.

Rules:

1. What phase4 does is phase4's: this side builds it, starts it, and hands it the agreement.
2. It stands where one of the estate's organisations would, the hospital unless it is told otherwise: same keys, names, port.
"""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.estate import ACTION, PARTY_TYPE, SERVICE, SERVICE_TYPE, Estate, Organisation

_SOURCE: Final = Path(__file__).parent / "phase4"
_BUILT: Final = Path(__file__).resolve().parents[2] / "build" / "phase4"
_VERSION: Final = re.compile(r"/jvm/[a-z-]*?-?(\d+)")
_QUIET: Final = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=error", "-Dphase4.dump=false")


AGREED: Final = {"answers_duplicates": "error", "answer_within": 900}
"""What a partner's file says of phase4 beside the profile."""


class PeerFailed(Exception):
    """The peer could not be built, started or asked."""


def java() -> str:
    """The newest Java on this machine that is at least 17: phase4 encrypts large payloads many times faster on newer ones."""
    found = {
        path: int(m.group(1)) for path in Path("/usr/lib/jvm").glob("*/bin/java") if (m := _VERSION.search(str(path)))
    }
    newest = max((p for p, v in found.items() if v >= 17), key=lambda p: found[p], default=None)
    return str(newest) if newest is not None else "java"


def build() -> None:
    """Compile the harness and fetch what it needs, unless that is done already. Raises `PeerFailed`."""
    stamp = _BUILT / "done"
    sources = [path for path in _SOURCE.rglob("*") if path.is_file()]
    if stamp.exists() and all(path.stat().st_mtime < stamp.stat().st_mtime for path in sources):
        return
    command = ["mvn", "-q", "-B", "-f", str(_SOURCE / "pom.xml"), "compile", "dependency:copy-dependencies"]
    for last in (False, True):  # a registry may fail once in some hundred downloads
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise PeerFailed("mvn is not installed: phase4 needs a JDK 17 and Maven") from None
        if not done.returncode:
            break
        if last:
            raise PeerFailed(f"Maven failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    stamp.touch()


@dataclass(frozen=True)
class Answer:
    """What phase4 says of a message it sent."""

    facts: Mapping[str, str]

    @property
    def ok(self) -> bool:
        """A receipt came, was signed, and repeats every digest."""
        return (
            self.facts.get("result") == "SUCCESS"
            and self.facts.get("digests") == "match"
            and self.facts.get("signed") == "true"
        )


class Phase4:
    """One running phase4."""

    name = "phase4"
    version = "4.4.1"

    def __init__(
        self, estate: Estate, profile: str = "edelivery-1.15", one: Organisation | None = None, **more: str
    ) -> None:
        build()
        self.one = one or estate.hospital
        self.inbox = estate.root / f"phase4-{self.one.name}-inbox"
        self.log = estate.root / f"phase4-{self.one.name}.log"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self._process = self._start(estate, profile, more)
        self._lock = threading.Lock()
        said = self._read()
        if "port" not in said:
            raise PeerFailed(f"phase4 did not start; see {self.log}")
        self.pid = self._process.pid

    def _start(self, estate: Estate, profile: str, more: Mapping[str, str]) -> subprocess.Popen[str]:
        us, them = self.one, estate.other(self.one)
        certificates = us.home / "config" / "certificates"
        facts = {
            "profile": profile,
            "port": us.port,
            "tls": us.home / "keys" / "tls.pem",
            "signing": us.home / "keys" / "signing.pem",
            "decryption": us.home / "keys" / "decryption.pem",
            "anchors": certificates / "demo-ca.pem",
            "encryptFor": certificates / f"{them.name}-decryption.pem",
            "inbox": self.inbox,
            "us": us.authority,
            "them": them.authority,
            "partyType": PARTY_TYPE,
            "service": SERVICE,
            "serviceType": SERVICE_TYPE,
            "action": ACTION,
            "url": f"https://localhost:{us.port}/as4",
            "theirUrl": f"https://localhost:{them.reached}/as4",
            **more,
        }
        path = self.log.with_suffix(".properties")
        path.write_text("".join(f"{name}={value}\n" for name, value in facts.items()))
        log = self.log.open("ab")
        path_of_classes = f"{_BUILT / 'classes'}:{_BUILT / 'dependency'}/*"
        command = [java(), "-Xmx2g", *_QUIET, "-cp", path_of_classes, "peer.Main", str(path)]
        with log:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, encoding="utf-8"
            )

    def _read(self) -> dict[str, str]:
        assert self._process.stdout is not None
        words = self._process.stdout.readline().rstrip("\n").split("\t")[1:]
        return dict(word.partition("=")[::2] for word in words)

    def ask(self, command: str, **wanted: str) -> dict[str, str]:
        """One command and its answer. Raises `PeerFailed` when the process has ended."""
        line = "\t".join([command, *(f"{name}={value}" for name, value in wanted.items())])
        with self._lock:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise PeerFailed("phase4 has ended") from None
            return self._read()

    def send(self, files: Sequence[Path], **wanted: str) -> Answer:
        """Have phase4 send ``files`` as one message."""
        return Answer(self.ask("send", files=":".join(str(file) for file in files), **wanted))

    def arrived(self, message_id: str) -> list[bytes] | None:
        """The payloads that phase4 stored for a message, or None."""
        folder = self.inbox / message_id
        if not (folder / "facts").exists():
            return None
        return [path.read_bytes() for path in sorted(folder.glob("part-*"))]

    def facts(self, message_id: str) -> dict[str, str]:
        """What phase4 noted of a message it received."""
        text = (self.inbox / message_id / "facts").read_text()
        return dict(line.partition("=")[::2] for line in text.splitlines())

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
