"""A large payload from one organisation to the other, and back: megabytes a second, and how far each process's memory grows.

The time is from handing the file to the sender's node until its receipt is settled: sealed into the store, compressed, hashed,
signed, frozen, encrypted, sent over TLS, received, verified, unpacked, sealed into the other store, acknowledged. Beside it
stands what the same octets cost one core in the primitives that cannot be left out.
"""

from __future__ import annotations

import hashlib
import os
import time
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from isal import isal_zlib

from bench import usage
from conformance.estate import FILES, Estate, Organisation

MIB = 1024 * 1024


@dataclass(frozen=True)
class Transfer:
    """One direction. Peak resident memory, and how far it grew, in octets; CPU of both processes in seconds."""

    size: int
    seconds: float
    sender_growth: int
    receiver_growth: int
    sender_peak: int
    receiver_peak: int
    cpu: float

    @property
    def rate(self) -> float:
        """Megabytes (10**6) a second."""
        return self.size / self.seconds / 1e6


def random_file(path: Path, size: int) -> Path:
    """A file nobody can compress."""
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    return path


def one_way(estate: Estate, one: Organisation, path: Path) -> Transfer:
    """From handing over ``path`` at ``one`` until its receipt is settled there."""
    other = estate.other(one)
    pids = [estate.ask(o, "status")["pid"] for o in (one, other)]
    before = [usage.resident(pid) for pid in pids]
    for pid in pids:
        usage.forget_peak(pid)
    used = sum(usage.cpu(pid) for pid in pids)
    had = estate.ask(one, "status")["deliveries"].get("delivered", 0)
    begun = time.perf_counter()
    estate.ask(one, "send", paths=[str(path)], sender=one.system, integration=FILES)
    while estate.ask(one, "status")["deliveries"].get("delivered", 0) == had:
        time.sleep(0.02)
    seconds = time.perf_counter() - begun
    used = sum(usage.cpu(pid) for pid in pids) - used
    sender, receiver = (usage.peak(pid) for pid in pids)
    return Transfer(path.stat().st_size, seconds, sender - before[0], receiver - before[1], sender, receiver, used)


def run(folder: Path, size: int = 1024 * MIB) -> list[Transfer]:
    """Both directions, after a small one that warms both up."""
    estate = Estate(folder)
    estate.make()
    try:
        for one in estate.both:
            estate.start(one)
        small, large = random_file(folder / "small", 8 * MIB), random_file(folder / "large", size)
        for one in estate.both:
            one_way(estate, one, small)
        return [one_way(estate, one, large) for one in estate.both]
    finally:
        estate.stop_all()


def primitives(size: int = 64 * MIB) -> float:
    """What one core does a second (in MB) of everything both sides together must do to each octet."""
    octets, cipher, nonce = os.urandom(MIB), AESGCM(os.urandom(16)), bytes(12)
    packed = isal_zlib.compress(octets, 1)
    sealed = cipher.encrypt(nonce, octets, None)
    begun = time.perf_counter()
    for _ in range(size // MIB):
        for _ in range(5):  # store, kept part, message, TLS at the sender; store at the receiver
            cipher.encrypt(nonce, octets, None)
        for _ in range(4):  # store and kept part at the sender; TLS and message at the receiver
            cipher.decrypt(nonce, sealed, None)
        for _ in range(5):  # plain twice at the sender, packed at both, plain at the receiver
            hashlib.sha256(octets).digest()
        isal_zlib.compress(octets, 1)
        isal_zlib.decompress(packed)
    return size / (time.perf_counter() - begun) / 1e6
