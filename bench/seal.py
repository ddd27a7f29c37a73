"""Sealing and opening a large file, beside `openssl cms` with the same keys, ciphers and files in the same run.

Rules:

1. Every job is a process of its own, so that memory is its own. What ours grew by is its peak less what was resident when its
   work began; openssl's is its whole peak, which is small when it begins.
2. Time is wall clock, until what was written is durable: a disk that still writes what one job left would slow the next.
3. Jobs take turns, and each has two: the better one counts.
4. What comes out is compared with what went in, both ways: a figure of something that does not open counts for nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import rsa

from bench import usage
from bench.large import MIB, random_file
from bench.rows import Row, ratio_row
from conformance.peers.phase4 import PeerFailed
from conformance.pki import Authority, Identity
from core.disk import Disk

GROWTH: Final = 64 * MIB
RATE: Final = 1.0
"""Times what openssl does with the same file."""
OAEP: Final = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256")


@dataclass(frozen=True)
class Done:
    """One job: seconds, and octets its memory grew by."""

    seconds: float
    growth: int


def holders(folder: Path, at: datetime) -> dict[str, Path]:
    """A folder with ``certificate.pem`` and ``key.pem`` for each kind of key."""
    authority = Authority("Fictitious CA", at)
    made = {
        "RSA-3072": authority.issue("egedal-journal", "encryption", bits=3072),
        "P-256": authority.issue("egedal-journal", "encryption", kind="p256"),
    }
    return {name: _written(folder / name, identity) for name, identity in made.items()}


def _written(folder: Path, identity: Identity) -> Path:
    folder.mkdir(parents=True)
    (folder / "certificate.pem").write_bytes(identity.certificate_pem())
    (folder / "key.pem").write_bytes(identity.key_pem())
    return folder


# --- jobs -------------------------------------------------------------------------------------------------------------


def ours(verb: str, source: Path, target: Path, holder: Path) -> Done:
    """Seal or open with `core.seal`, in a process of its own."""
    command = [sys.executable, "-m", "bench.seal", verb, str(source), str(target), str(holder)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return Done(**json.loads(ended.stdout))


def work(verb: str, source: Path, target: Path, holder: Path) -> Done:
    """What the process does."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from core.seal.files import seal_file, unseal_file
    from core.seal.recipients import KeyPair

    certificate = x509.load_pem_x509_certificate((holder / "certificate.pem").read_bytes())
    key = serialization.load_pem_private_key((holder / "key.pem").read_bytes(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    pid = os.getpid()
    before = usage.resident(pid)
    usage.forget_peak(pid)
    begun = time.perf_counter()
    if verb == "seal":
        seal_file(source, target, [certificate])
    else:
        unseal_file(source, target, [KeyPair(certificate, key)])
    return Done(time.perf_counter() - begun, usage.peak(pid) - before)


def theirs(verb: str, source: Path, target: Path, holder: Path) -> Done:
    """The same with openssl. Raises `PeerFailed`."""
    certificate, key = holder / "certificate.pem", holder / "key.pem"
    files = ["-binary", "-in", str(source), "-out", str(target)]
    if verb == "seal":
        transport = OAEP if holder.name.startswith("RSA") else ()
        words = [
            "-encrypt",
            "-stream",
            "-aes-256-gcm",
            "-outform",
            "DER",
            *files,
            "-recip",
            str(certificate),
            *transport,
        ]
    else:
        words = ["-decrypt", "-inform", "DER", *files, "-inkey", str(key), "-recip", str(certificate)]
    begun = time.perf_counter()
    try:
        child = subprocess.Popen(["openssl", "cms", *words], stderr=subprocess.PIPE)
    except FileNotFoundError:
        raise PeerFailed("openssl is not installed") from None
    peak = 0
    while child.poll() is None:
        with contextlib.suppress(OSError):  # it has just ended
            peak = max(peak, usage.peak(child.pid))
        time.sleep(0.005)
    if child.returncode:
        said = child.stderr.read() if child.stderr else b""
        raise PeerFailed(f"openssl cms: {said[-300:].decode('utf-8', 'replace')}")
    with target.open("rb") as file:
        Disk().sync(file.fileno())
    return Done(time.perf_counter() - begun, peak)


# --- rows -------------------------------------------------------------------------------------------------------------


def rows(folder: Path, size: int, at: datetime) -> Iterator[Row]:
    """Both makers seal and open a file of ``size``, and each opens what the other sealed."""
    plain = random_file(folder / "plain", size)
    digest = _digest(plain)
    for kind, holder in holders(folder / "keys", at).items():
        sealed, foreign, out = folder / "sealed", folder / "sealed-by-openssl", folder / "out"
        seals = _turns(("seal", plain, sealed), ("seal", plain, foreign), holder)
        yield from _rows(f"{size >> 20} MiB sealed for {kind}", size, *seals)
        opened = _turns(("open", sealed, out), ("open", sealed, folder / "out-of-openssl"), holder)
        yield from _rows(f"{size >> 20} MiB opened with {kind}", size, *opened)
        done = ours("open", foreign, folder / "out-of-foreign", holder)
        yield Row(f"{size >> 20} MiB sealed by openssl opened with {kind}", size / done.seconds / 1e6, "MB/s")
        for path in folder.glob("out*"):
            if _digest(path) != digest:
                raise PeerFailed(f"{path.name}: what was sealed for {kind} opens as something else")
            path.unlink()
        sealed.unlink()
        foreign.unlink()


def _turns(our: tuple[str, Path, Path], their: tuple[str, Path, Path], holder: Path) -> tuple[Done, Done]:
    """Two turns of each; the better one counts, and the larger memory."""
    done: dict[bool, list[Done]] = {True: [], False: []}
    for _ in range(2):
        for mine, job in ((True, our), (False, their)):
            job[2].unlink(missing_ok=True)
            done[mine].append((ours if mine else theirs)(*job, holder))
    first, second = (Done(min(d.seconds for d in turns), max(d.growth for d in turns)) for turns in done.values())
    return first, second


def _rows(label: str, size: int, our: Done, their: Done) -> Iterator[Row]:
    rate, base = (size / done.seconds / 1e6 for done in (our, their))
    yield ratio_row(label, rate, "MB/s", f"openssl cms, {base:.0f} MB/s", base, RATE)
    name = f"{label}: growth of memory"
    yield ratio_row(name, our.growth / MIB, "MiB", "64 MiB", GROWTH / MIB, 1.0, least=False)
    yield Row(f"{label}: peak memory of openssl", their.growth / MIB, "MiB")


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


if __name__ == "__main__":
    word, *paths = sys.argv[1:]
    done = work(word, *map(Path, paths))
    print(json.dumps({"seconds": done.seconds, "growth": done.growth}))
