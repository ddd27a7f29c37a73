"""Two organisations on one machine: homes, keys, partner files, and the processes that run them.

What is made here is what a real organisation starts from: copy a home, change names, urls and keys. Everything is fictitious, all
keys are made on the spot, and everything listens on loopback only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import yaml

from conformance.pki import Authority, Kind, Use, write
from core.clock import SystemClock, to_datetime
from core.keys import create_kek
from core.local import NodeError, ask
from core.settings import NodeSettings, load_settings

PARTY_TYPE: Final = "urn:oasis:names:tc:ebcore:partyid-type:unregistered:stafet-demo"
SERVICE: Final = "urn:stafet:demo:homecare"
SERVICE_TYPE: Final = "urn:stafet:demo:services"
ACTION: Final = "deliver-observation"
TYPE: Final = "homecare-observation"
INTEGRATION: Final = "homecare"
FILES: Final = "files"
_KINDS: Final[dict[str, tuple[Kind, Kind]]] = {
    "edelivery-2.0": ("ed25519", "x25519"),
    "edelivery-2.0-ec": ("p256", "p256"),
}
"""Keys to sign and to encrypt with, by profile; RSA where nothing else is said."""


@dataclass(frozen=True)
class Organisation:
    """One of the two: ``name`` is its node and party, ``system`` the system behind it."""

    name: str
    title: str
    authority: str
    system: str
    port: int
    home: Path
    door: int = 0
    """Where others reach it, when something stands before its own port."""

    @property
    def reached(self) -> int:
        """The port that others are told."""
        return self.door or self.port

    def settings(self) -> NodeSettings:
        """Its node's settings."""
        return load_settings(self.home)


def free_port() -> int:
    """A port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Estate:
    """Both organisations below ``root``. ``databases`` gives a ledger URL by organisation name; left out = SQLite."""

    root: Path
    bits: int = 2048
    databases: Mapping[str, str] = field(default_factory=dict)
    retry_first: float = 1.0
    retry_longest: float = 5.0
    mutual_tls: bool = False
    profile: str = "edelivery-1.15"
    partner: Mapping[str, Any] = field(default_factory=dict)
    """What both partner files say beside the rest."""
    doors: bool = False
    """Whether others reach each at another port than its own, so that something can stand before it."""
    nodes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    at: datetime = field(default_factory=lambda: to_datetime(SystemClock().now()))

    def __post_init__(self) -> None:
        self.municipality = Organisation(
            "municipality",
            "Demo Municipality",
            "demo-municipality",
            "care-record",
            free_port(),
            self.root / "municipality",
            free_port() if self.doors else 0,
        )
        self.hospital = Organisation(
            "hospital",
            "Demo Hospital",
            "demo-hospital",
            "ward-record",
            free_port(),
            self.root / "hospital",
            free_port() if self.doors else 0,
        )
        self.both = (self.municipality, self.hospital)

    def other(self, one: Organisation) -> Organisation:
        """The neighbour."""
        return self.hospital if one is self.municipality else self.municipality

    # -- making

    def make(self) -> Authority:
        """Write both homes anew: keys, certificates, documents, ``node.yaml``; gives the authority behind the keys."""
        for one in self.both:
            shutil.rmtree(one.home, ignore_errors=True)
        authority = Authority("Stafet Demo CA", self.at, bits=self.bits)
        for one in self.both:
            self._keys(one, authority)
        for one in self.both:
            self.write_documents(one, authority)
            self._node(one)
        return authority

    def _keys(self, one: Organisation, authority: Authority) -> None:
        keys = one.home / "keys"
        create_kek(keys, f"kek-{self.at:%Y-%m-%d}")
        signing, decryption = _KINDS.get(self.profile, ("rsa", "rsa"))
        wanted: tuple[tuple[str, Use, Kind], ...] = (
            ("signing", "signing", signing),
            ("decryption", "encryption", decryption),
            ("tls", "tls-server", "rsa"),
            ("client", "tls-client", "rsa"),
        )
        for name, use, kind in wanted:
            identity = authority.issue(
                f"{one.title} {name}", use, organisation=one.title, hosts=("localhost", "127.0.0.1"), kind=kind
            )
            write(keys / f"{name}.pem", identity.key_pem() + identity.chain_pem(), secret=True)
            for reader in self.both:
                write(reader.home / "config" / "certificates" / f"{one.name}-{name}.pem", identity.certificate_pem())

    def write_documents(self, one: Organisation, authority: Authority) -> None:
        """Write an organisation's configuration directory as it was agreed."""
        config = one.home / "config"
        write(config / "certificates" / "demo-ca.pem", authority.pem())
        write(one.home / "client-anchors.pem", authority.pem())
        for name, documents in self.documents(one).items():
            _dump(config / name, documents)

    def documents(self, one: Organisation) -> dict[str, list[dict[str, Any]]]:
        """An organisation's configuration, file by file."""
        other = self.other(one)
        return {
            "systems.yaml": [
                {"kind": "system", "id": o.system, "title": f"{o.title}'s record system", "authority": o.authority}
                for o in self.both
            ],
            "integrations.yaml": [
                {
                    "kind": "integration",
                    "id": INTEGRATION,
                    "title": "Observations from home care",
                    "types": [TYPE],
                    "sensitivity": "sensitive",
                    "tests": [
                        {"description": {"sender": one.system}, "expect": [other.system]},
                        {"description": {"sender": other.system}, "expect": [one.system]},
                    ],
                },
                {
                    "kind": "integration",
                    "id": FILES,
                    "title": "Files of any kind and size",
                    "capability": "file",
                    "types": ["file"],
                },
            ],
            "agreements.yaml": [
                {
                    "kind": "service-agreement",
                    "id": f"{integration}-{o.system}",
                    "integration": integration,
                    "system": o.system,
                    "may": "both",
                    "approved_by": o.authority,
                }
                for integration in (INTEGRATION, FILES)
                for o in self.both
            ],
            "routes.yaml": [
                {
                    "kind": "route",
                    "id": f"to-{other.name}",
                    "title": f"What {one.title} sends goes to {other.title} over AS4",
                    "match": {"sender": one.system},
                    "to": [{"system": other.system, "gateway": "as4", "destination": other.name}],
                },
                {
                    "kind": "route",
                    "id": f"from-{other.name}",
                    "title": f"What {other.title} sends waits for the record system",
                    "match": {"sender": other.system},
                    "to": [{"system": one.system}],
                },
            ],
            "as4.yaml": [self._party(one), self._partner(one, other)],
        }

    def _party(self, one: Organisation) -> dict[str, Any]:
        return {
            "kind": "as4.party",
            "id": one.name,
            "title": one.title,
            "party_id": {"value": one.authority, "type": PARTY_TYPE},
            "signing_key": "signing",
            "decryption_keys": ["decryption"],
            "message_id_domain": f"{one.name}.example",
        }

    def _partner(self, one: Organisation, other: Organisation) -> dict[str, Any]:
        service = {"value": SERVICE, "type": SERVICE_TYPE}
        partner: dict[str, Any] = {
            "kind": "as4.partner",
            "id": other.name,
            "title": other.title,
            "party": one.name,
            "party_id": {"value": other.authority, "type": PARTY_TYPE},
            "system": other.system,
            "profile": self.profile,
            "url": f"https://localhost:{other.reached}/as4",
            "signing_certificates": [f"certificates/{other.name}-signing.pem"],
            "encryption_certificate": f"certificates/{other.name}-decryption.pem",
            "exchanges": [
                {"integration": INTEGRATION, "service": service, "action": ACTION},
                {"integration": FILES, "service": dict(service), "action": "deliver-file"},
            ],
            "retry": {"attempts": 1000, "first_wait": self.retry_first, "longest_wait": self.retry_longest},
            "tls": {"anchors": "certificates/demo-ca.pem"},
            **self.partner,
        }
        if self.mutual_tls:
            partner["tls"]["client_key"] = "client"
        return partner

    def _node(self, one: Organisation) -> None:
        gateway: dict[str, Any] = {"port": one.port, "tls_key": "tls"}
        if self.mutual_tls:
            gateway |= {
                "client_anchors": str(one.home / "client-anchors.pem"),
                "demand_client_certificate": True,
            }
        node: dict[str, Any] = {
            "node": one.name,
            "gateways": {"as4": gateway},
            "operations": {"port": free_port()},
            "log": {"style": "json"},
        }
        if one.name in self.databases:
            node["database"] = self.databases[one.name]
        _dump(one.home / "node.yaml", [node])

    # -- running

    def start(self, one: Organisation, *, environment: Mapping[str, str] | None = None, wait: float = 60) -> None:
        """Start an organisation's node and wait until it is ready."""
        log = (one.home / "node.log").open("ab")
        self.nodes[one.name] = subprocess.Popen(
            [sys.executable, "-m", "core.cli", "--home", str(one.home), "up"],
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
        )
        log.close()
        if wait:
            self.wait_ready(one, wait)

    def wait_ready(self, one: Organisation, wait: float = 60) -> dict[str, Any]:
        """Until the node takes what comes. Raises `RuntimeError` with the end of its log."""
        path, until = one.settings().socket_path, time.monotonic() + wait
        while time.monotonic() < until:
            process = self.nodes.get(one.name)
            if process is not None and process.poll() is not None:
                break
            try:
                status: dict[str, Any] = ask(path, "status", {})
                if not status["not_ready"] and (process is None or status["pid"] == process.pid):
                    return status
            except (NodeError, OSError):  # it is not there yet, or not any more
                pass
            time.sleep(0.02)
        tail = (one.home / "node.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{one.title} did not come up:\n{tail}")

    def kill(self, one: Organisation) -> None:
        """SIGKILL a node that this estate started."""
        process = self.nodes.pop(one.name)
        process.kill()
        process.wait()

    def stop(self, one: Organisation, wait: float = 60) -> int:
        """SIGTERM a node that this estate started, and wait until it has drained; gives its exit code."""
        process = self.nodes.pop(one.name)
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def stop_all(self) -> None:
        """End every node that this estate started."""
        for one in self.both:
            if one.name in self.nodes:
                self.stop(one)

    def ask(self, one: Organisation, op: str, **args: Any) -> Any:
        """Ask a node through its local socket, as the command line does."""
        return ask(one.settings().socket_path, op, args)


def _dump(path: Path, documents: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump_all(documents, sort_keys=False, allow_unicode=True))


def read_json(path: Path) -> Any:
    """A JSON file."""
    return json.loads(path.read_text())
