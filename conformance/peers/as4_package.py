"""The Python package ``as4`` as a peer: in an environment of its own, run as a process, told what to do over standard input.

Rules:

1. What the package does is the package's; an access point around it (`as4_package/access_point.py`) moves octets and keeps what
   came.
2. It stands where the estate's hospital would: same keys, same names, same port.
3. It needs an older `cryptography` than Stafet has, so its environment is made from its own pinned list at first use.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from conformance.peers.phase4 import PeerFailed
from conformance.peppol import NOTE, PARTICIPANT, PROCESS, PeppolEstate

SOURCE: Final = Path(__file__).parent / "as4_package"
_BUILT: Final = Path(__file__).resolve().parents[2] / "build" / "as4-package"


def python() -> str:
    """The interpreter of the package's own environment, which is made unless it is there. Raises `PeerFailed`."""
    wanted, stamp, interpreter = SOURCE / "requirements.txt", _BUILT / "done", _BUILT / "bin" / "python"
    if stamp.exists() and wanted.stat().st_mtime < stamp.stat().st_mtime:
        return str(interpreter)
    commands = (
        [sys.executable, "-m", "venv", str(_BUILT)],
        [
            str(interpreter),
            "-m",
            "pip",
            "install",
            "-q",
            "--disable-pip-version-check",
            "--require-hashes",
            "-r",
            str(wanted),
        ],
    )
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerFailed(f"the environment of the package as4 could not be made:\n{done.stderr[-2000:]}")
    stamp.touch()
    return str(interpreter)


@dataclass(frozen=True)
class Answer:
    """What the package says of a message it sent; ``sent`` is the document it made."""

    facts: Mapping[str, Any]
    sent: Path

    @property
    def ok(self) -> bool:
        """A receipt came, was signed by whom it should be, and repeats every digest."""
        return bool(self.facts.get("state") == "acknowledged")


class As4Package:
    """One running access point around the package."""

    name = "as4 (Python)"
    version = "0.2.0"

    def __init__(self, estate: PeppolEstate) -> None:
        self._root, self.inbox = estate.root, estate.root / "as4-package-inbox"
        self.inbox.mkdir(parents=True, exist_ok=True)
        self._process = self._start(estate)
        self._lock, self._count = threading.Lock(), 0
        self.pid = self._process.pid
        if "port" not in self._read():
            raise PeerFailed(f"the package as4 did not start; see {estate.root / 'as4-package.log'}")

    def _start(self, estate: PeppolEstate) -> subprocess.Popen[str]:
        us, them = estate.hospital, estate.municipality
        keys, certificates = us.home / "keys", us.home / "config" / "certificates"
        facts = {
            "port": us.port,
            "tls": keys / "tls.pem",
            "key": keys / "signing.pem",
            "anchors": certificates / "demo-ca.pem",
            "certificate": certificates / f"{them.name}-signing.pem",
            "inbox": self.inbox,
            "us": us.authority,
            "them": them.authority,
            "serves": PARTICIPANT[us.name],
            "recipient": PARTICIPANT[them.name],
            "process": PROCESS,
            "document_type": NOTE,
            "their_url": f"https://localhost:{them.reached}/as4",
        }
        path = estate.root / "as4-package.json"
        path.write_text(json.dumps(facts, default=str))
        with (estate.root / "as4-package.log").open("ab") as log:
            return subprocess.Popen(
                [python(), str(SOURCE / "access_point.py"), str(path)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                encoding="utf-8",
            )

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        return dict(json.loads(line)) if line else {}

    def ask(self, command: str, **wanted: str) -> dict[str, Any]:
        """One command and its answer. Raises `PeerFailed` when the process has ended."""
        with self._lock:
            assert self._process.stdin is not None
            try:
                self._process.stdin.write(json.dumps({"command": command, **wanted}) + "\n")
                self._process.stdin.flush()
            except BrokenPipeError:
                raise PeerFailed("the package as4 has ended") from None
            return self._read()

    def send(self, files: Sequence[Path], **wanted: str) -> Answer:
        """Have the package put the one file's content into a document of its own, and send that."""
        (file,) = files
        self._count += 1
        sent = self._root / f"as4-package-sent-{self._count}.xml"
        return Answer(self.ask("send", file=str(file), sent=str(sent), **wanted), sent)

    def arrived(self, message_id: str) -> list[bytes] | None:
        """The document it stored for a message, or None."""
        path = self.inbox / message_id / "part-0"
        return [path.read_bytes()] if path.exists() else None

    def times(self, message_id: str) -> int:
        """How often it took a message."""
        return len((self.inbox / message_id / "arrivals").read_text().splitlines())

    def stop(self) -> None:
        """End it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
