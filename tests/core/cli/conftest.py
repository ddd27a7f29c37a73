"""A home folder without a gateway, and a way to call the command line in this process or to run a node beside it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from core.cli import main
from core.cli import talk as talk_module
from core.keys import create_kek
from core.local import ask

DOCUMENTS = [
    {"kind": "system", "id": "sender", "authority": "fictitious-town"},
    {"kind": "system", "id": "receiver", "authority": "fictitious-town"},
    {
        "kind": "integration",
        "id": "notes",
        "types": ["note"],
        "max_size": 2_000_000,
        "tests": [{"description": {"sender": "sender"}, "expect": ["receiver"]}],
    },
    {"kind": "service-agreement", "id": "notes-sender", "integration": "notes", "system": "sender", "may": "both"},
    {
        "kind": "service-agreement",
        "id": "notes-receiver",
        "integration": "notes",
        "system": "receiver",
        "may": "receive",
    },
    {"kind": "route", "id": "to-receiver", "match": {"sender": "sender"}, "to": [{"system": "receiver"}]},
]


@dataclass
class Result:
    """What a call came to."""

    code: int
    out: str
    err: str


Call = Callable[..., Result]


def make_home(home: Path) -> Path:
    """A complete home: settings, documents, a key-encryption key."""
    (home / "config").mkdir(parents=True)
    (home / "config" / "all.yaml").write_text(yaml.safe_dump_all(DOCUMENTS))
    (home / "node.yaml").write_text("node: test-node\nlog: {style: json}\n")
    create_kek(home / "keys", "kek-1")
    return home


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home nobody runs."""
    return make_home(tmp_path / "home")


@pytest.fixture
def call(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """Call `stafet --home HOME …` in this process."""

    def run(*words: str, at: Path | None = None) -> Result:
        monkeypatch.setattr(sys, "argv", ["stafet", "--home", str(at or home), *words])
        capfd.readouterr()
        with pytest.raises(SystemExit) as ending:
            main()
        out, err = capfd.readouterr()
        code = ending.value.code
        return Result(code if isinstance(code, int) else 0, out, err)

    yield_home = talk_module.set_home
    yield_home(home)
    return run


@pytest.fixture
def applied(call: Call) -> Call:
    """The same, with the configuration applied as version 1."""
    assert call("apply", "--yes", "--why", "first").code == 0
    return call


def start(home: Path) -> subprocess.Popen[bytes]:
    """Run a node and wait until it is ready."""
    with (home / "node.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "core.cli", "--home", str(home), "up"], stdout=log, stderr=log
        )
    until = time.monotonic() + 30
    while time.monotonic() < until and process.poll() is None:
        try:
            status = ask(home / "data" / "node.sock", "status", {})
            if status["pid"] == process.pid and not status["not_ready"]:
                return process
        except OSError:
            time.sleep(0.02)
    process.kill()
    raise AssertionError((home / "node.log").read_text())


@pytest.fixture
def node(home: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A running node in a process of its own; ended with the test."""
    process = start(home)
    yield process
    process.kill()
    process.wait()
