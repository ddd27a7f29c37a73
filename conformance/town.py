"""One municipality's node with the systems around it: documents, keys, and the process that runs it.

What `conformance.estate` is for two organisations that exchange over AS4, this is for one node that IT systems come to over REST.
Everything is fictitious, all keys are made on the spot, and everything listens on loopback only.
"""

from __future__ import annotations

import os
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from conformance.estate import free_port
from conformance.pki import Authority, write
from core.clock import SystemClock, to_datetime
from core.keys import create_kek
from core.local import NodeError, ask
from core.settings import NodeSettings, load_settings

AUTHORITY: Final = "11223344"
"""The invented municipality of Birkelund, by an invented business register number."""


@dataclass
class Town:
    """A home below ``root``. ``systems`` are ids with the authority that owns each."""

    root: Path
    systems: Mapping[str, str] = field(default_factory=dict)
    node: str = "birkelund"
    database: str = ""
    settings_beside: Mapping[str, Any] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    at: datetime = field(default_factory=lambda: to_datetime(SystemClock().now()))

    @property
    def home(self) -> Path:
        """The node's home folder."""
        return self.root / self.node

    @property
    def url(self) -> str:
        """Where the REST gateway is."""
        return f"https://localhost:{self.port}"

    # -- making

    def make(self, documents: Iterable[Mapping[str, Any]] = (), *, rest: Mapping[str, Any] | None = None) -> Town:
        """Write the home anew: keys, a certificate for each system, documents, ``node.yaml``."""
        shutil.rmtree(self.home, ignore_errors=True)
        authority = Authority("Stafet Demo CA", self.at)
        create_kek(self.home / "keys", f"kek-{self.at:%Y-%m-%d}")
        server = authority.issue("Birkelund rest", "tls-server", hosts=("localhost", "127.0.0.1"), kind="p256")
        write(self.home / "keys" / "rest.pem", server.key_pem() + server.chain_pem(), secret=True)
        write(self.root / "ca.pem", authority.pem())
        for system in self.systems:
            self.issue(system, authority)
        self.write("all.yaml", [*self.system_documents(), *documents])
        self._write_settings(rest)
        return self

    def beside(self, node: str) -> Town:
        """Another node of the same configuration, keys, ledger and store: this one must name a database and a store."""
        assert self.database
        assert "store" in self.settings_beside
        shared = {"keys": str(self.home / "keys"), "config": str(self.home / "config"), **self.settings_beside}
        other = Town(self.root, self.systems, node=node, database=self.database, settings_beside=shared, at=self.at)
        shutil.rmtree(other.home, ignore_errors=True)
        other._write_settings()
        return other

    def _write_settings(self, rest: Mapping[str, Any] | None = None) -> None:
        values = {
            "node": self.node,
            "gateways": {"rest": {"port": self.port, **(rest or {"certificate": "rest"})}},
            "log": {"style": "json"},
            "free_space_reserve": 0,
            **self.settings_beside,
        }
        if self.database:
            values["database"] = self.database
        write(self.home / "node.yaml", yaml.safe_dump(values, sort_keys=False).encode())

    def issue(self, system: str, authority: Authority) -> None:
        """A key and certificate for a system: the key is the system's own, the certificate becomes part of the configuration."""
        identity = authority.issue(f"{system} client", "tls-client", kind="p256")
        write(self.root / "clients" / f"{system}.pem", identity.key_pem() + identity.chain_pem(), secret=True)
        write(self.home / "config" / "certificates" / f"{system}.pem", identity.certificate_pem())

    def system_documents(self) -> list[dict[str, Any]]:
        """One document a system."""
        return [
            {"kind": "system", "id": name, "authority": owner, "certificates": [f"certificates/{name}.pem"]}
            for name, owner in self.systems.items()
        ]

    def write(self, name: str, documents: Sequence[Mapping[str, Any]]) -> None:
        """Write a file of the configuration directory."""
        text = yaml.safe_dump_all([dict(one) for one in documents], sort_keys=False, allow_unicode=True)
        write(self.home / "config" / name, text.encode())

    def settings(self) -> NodeSettings:
        """The node's settings."""
        return load_settings(self.home)

    def client_context(self, system: str | None = None) -> ssl.SSLContext:
        """A client's TLS context: with a system's certificate, or with none."""
        context = ssl.create_default_context(cafile=str(self.root / "ca.pem"))
        if system is not None:
            context.load_cert_chain(self.root / "clients" / f"{system}.pem")
        return context

    # -- running

    def start(self, *, environment: Mapping[str, str] | None = None, wait: float = 60) -> None:
        """Start the node and wait until it is ready. Raises `RuntimeError` with the end of its log."""
        with (self.home / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "core.cli", "--home", str(self.home), "up"],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env={**os.environ, **(environment or {})},
            )
        path, until = self.settings().socket_path, time.monotonic() + wait
        while time.monotonic() < until and self.process.poll() is None:
            try:
                status = ask(path, "status", {})
                if not status["not_ready"] and status["pid"] == self.process.pid:
                    return
            except (NodeError, OSError):  # it is not there yet, or not any more
                pass
            time.sleep(0.02)
        tail = (self.home / "node.log").read_text(errors="replace")[-2000:]
        self.kill()
        raise RuntimeError(f"the node did not come up:\n{tail}")

    def kill(self) -> None:
        """SIGKILL the node."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self, wait: float = 60) -> int:
        """SIGTERM the node and wait until it has drained; gives its exit code."""
        assert self.process is not None
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def notification(name: str, *types: str, **more: Any) -> dict[str, Any]:
    """An integration that notifies."""
    return {"kind": "integration", "id": name, "capability": "notification", "types": list(types or (name,)), **more}


def agreement(integration: str, system: str, may: str) -> dict[str, Any]:
    """A service agreement."""
    ids = {"id": f"{integration}-{system}-{may}", "integration": integration, "system": system}
    return {"kind": "service-agreement", **ids, "may": may, "approved_by": AUTHORITY}


def subscription(name: str, system: str, integration: str, **more: Any) -> dict[str, Any]:
    """A subscription."""
    return {"kind": "subscription", "id": name, "system": system, "integration": integration, **more}
