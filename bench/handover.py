"""A handover of 120 MB to a node and to its receiver over REST: megabytes a second each way, and how far the node's memory grows.

The time up is from the first octet of the request until the answer, which says that the payload is sealed, hashed, durable and
committed; in one body, and as an upload that can be resumed. The time down is from the question until the last octet, read and
hashed by the client. Beside it stands what the same octets cost one core in the primitives that cannot be left out.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bench import usage
from conformance.town import AUTHORITY, Town, agreement

MIB = 1024 * 1024
SIZE = 120_000_000
SENDER, RECEIVER, CASES = "birkelund-care", "birkelund-journal", "cases"


@dataclass(frozen=True)
class Way:
    """One way to move ``size`` octets: how long it took, and how far the node's peak memory grew."""

    name: str
    size: int
    seconds: float
    growth: int

    @property
    def rate(self) -> float:
        """Megabytes (10**6) a second."""
        return self.size / self.seconds / 1e6


def documents() -> list[dict[str, Any]]:
    """Cases go from care to journal."""
    return [
        {"kind": "integration", "id": CASES, "types": ["case"], "owner": AUTHORITY, "max_size": 2 * SIZE},
        {"kind": "route", "id": "to-journal", "integration": CASES, "to": [{"system": RECEIVER}]},
        agreement(CASES, SENDER, "send"),
        agreement(CASES, RECEIVER, "receive"),
    ]


class Client:
    """One system's connection."""

    def __init__(self, town: Town, system: str) -> None:
        self._http = http.client.HTTPSConnection(
            "localhost", town.port, context=town.client_context(system), timeout=300
        )

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        """One request, which must be taken; its answer is for the caller to read."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._http.request(method, path, body, named)
        answer = self._http.getresponse()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {answer.read()[:500]!r}")
        return answer

    def json(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The same with JSON both ways."""
        text = json.dumps(body) if body is not None else None
        return json.loads(self.ask(method, path, text, Content_Type="application/json", **headers).read())


def _pieces(octets: bytes) -> Iterator[bytes]:
    view = memoryview(octets)
    for at in range(0, len(octets), MIB):
        yield bytes(view[at : at + MIB])


def _in_one(client: Client, octets: bytes, key: str) -> str:
    """As one multipart body."""
    head = (
        '--b\r\nContent-Disposition: form-data; name="description"\r\nContent-Type: application/json\r\n\r\n'
        f'{{"integration": "{CASES}"}}\r\n--b\r\n'
        'Content-Disposition: form-data; name="payload"; filename="case.bin"\r\n\r\n'
    ).encode()
    tail = b"\r\n--b--\r\n"

    def body() -> Iterator[bytes]:
        yield head
        yield from _pieces(octets)
        yield tail

    length = str(len(head) + len(octets) + len(tail))
    kind = {"Content_Type": "multipart/form-data; boundary=b", "Content_Length": length, "Idempotency_Key": key}
    return str(json.loads(client.ask("POST", "/v1/handovers", body(), **kind).read())["parcel"])


def _resumable(client: Client, octets: bytes, key: str) -> str:
    """As an upload, and then by its name."""
    tus = {"Tus_Resumable": "1.0.0"}
    begun = client.ask("POST", "/v1/uploads", None, Upload_Length=str(len(octets)), **tus)
    begun.read()
    path = begun.headers["Location"]
    kind = {"Content_Type": "application/offset+octet-stream", "Content_Length": str(len(octets)), "Upload_Offset": "0"}
    client.ask("PATCH", path, _pieces(octets), **kind, **tus).read()
    asked = {"integration": CASES, "uploads": [path.rpartition("/")[2]]}
    return str(client.json("POST", "/v1/handovers", asked, Idempotency_Key=key)["parcel"])


def _down(client: Client, parcel: str, digest: str) -> None:
    """Every octet, compared with what was sent."""
    answer, taken = client.ask("GET", f"/v1/handovers/{parcel}/payloads/0"), hashlib.sha256()
    while piece := answer.read(MIB):
        taken.update(piece)
    if taken.hexdigest() != digest:
        raise RuntimeError("what came down is not what went up")


def _measured(name: str, size: int, pid: int, work: Callable[[], Any]) -> tuple[Way, Any]:
    before = usage.resident(pid)
    usage.forget_peak(pid)
    begun = time.perf_counter()
    given = work()
    seconds = time.perf_counter() - begun
    return Way(name, size, seconds, usage.peak(pid) - before), given


def run(folder: Path, size: int = SIZE) -> list[Way]:
    """Up in one body, up as an upload, and down, after a small one that warms everything up."""
    town = Town(folder, {SENDER: AUTHORITY, RECEIVER: AUTHORITY}).make(documents())
    town.start()
    try:
        assert town.process is not None
        pid, sender, receiver = town.process.pid, Client(town, SENDER), Client(town, RECEIVER)
        small, octets = os.urandom(4 * MIB), os.urandom(size)
        digest = hashlib.sha256(octets).hexdigest()
        for key, up in (("warm-1", _in_one), ("warm-2", _resumable)):
            _down(receiver, up(sender, small, key), hashlib.sha256(small).hexdigest())
        one, parcel = _measured("up, in one body", size, pid, lambda: _in_one(sender, octets, "one"))
        two, other = _measured("up, as an upload", size, pid, lambda: _resumable(sender, octets, "two"))
        three, _ = _measured("down", size, pid, lambda: _down(receiver, parcel, digest))
        _down(receiver, other, digest)
        return [one, two, three]
    finally:
        town.kill()


def primitives(size: int = 64 * MIB) -> float:
    """What one core does a second (in MB) of what client and node must do to each octet on the way up: TLS, hash, store."""
    octets, cipher, nonce = os.urandom(MIB), AESGCM(os.urandom(16)), bytes(12)
    sealed = cipher.encrypt(nonce, octets, None)
    begun = time.perf_counter()
    for _ in range(size // MIB):
        cipher.encrypt(nonce, octets, None)
        cipher.decrypt(nonce, sealed, None)
        hashlib.sha256(octets).digest()
        cipher.encrypt(nonce, octets, None)
    return size / (time.perf_counter() - begun) / 1e6
