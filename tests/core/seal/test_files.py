"""Files: whole and verified under their name, or not there."""

from __future__ import annotations

import errno
import filecmp
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.large import MIB, random_file
from bench.seal import ours
from core import limits
from core.errors import SealError, UsageError
from core.seal import files
from core.seal.algorithms import Cipher
from core.seal.files import seal_file, unseal_file
from core.seal.recipients import KeyPair
from tests.core.seal.holders import holder, write_pair

PAIR = holder("p256")
SIZE = 3 * limits.SEAL_CHUNK + 7


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """A file of several chunks."""
    path = tmp_path / "plain"
    path.write_bytes(bytes(range(256)) * (SIZE // 256) + b"the end")
    return path


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.requirement("R64")
@pytest.mark.parametrize("cipher", Cipher)
def test_there_and_back(plain, tmp_path, cipher):
    """What was sealed comes back; nothing else is left, and its owner alone can read it."""
    sealed, out, told = tmp_path / "sealed", tmp_path / "out", []
    size = seal_file(plain, sealed, [PAIR.certificate], cipher, progress=lambda done, of: told.append((done, of)))
    facts, octets = unseal_file(sealed, out, [PAIR])
    assert out.read_bytes() == plain.read_bytes()
    assert (size, octets) == (sealed.stat().st_size, plain.stat().st_size)
    assert facts.cipher == cipher
    assert told[-1] == (octets, octets)
    assert len(told) == 4
    assert names(tmp_path) == {"plain", "sealed", "out"}
    assert out.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("at", [-1, -20, limits.SEAL_CHUNK * 2, 4])
def test_altered_octets_leave_no_file(plain, tmp_path, at):
    """Neither under the name nor beside it, although most of the plaintext had come out before the tag was wrong."""
    sealed, out = tmp_path / "sealed", tmp_path / "out"
    seal_file(plain, sealed, [PAIR.certificate])
    octets = bytearray(sealed.read_bytes())
    octets[at] ^= 1
    sealed.write_bytes(octets)
    with pytest.raises(SealError):
        unseal_file(sealed, out, [PAIR])
    assert names(tmp_path) == {"plain", "sealed"}


def test_interruption_leaves_no_file(plain, tmp_path):
    """Ctrl-C in the middle."""

    def interrupt(done: int, _of: int) -> None:
        if done > limits.SEAL_CHUNK:
            raise KeyboardInterrupt

    for work in (
        lambda out: seal_file(plain, out, [PAIR.certificate], progress=interrupt),
        lambda out: unseal_file(tmp_path / "sealed", out, [PAIR], progress=interrupt),
    ):
        with pytest.raises(KeyboardInterrupt):
            work(tmp_path / "out")
        assert "out" not in names(tmp_path)
        assert not any(name.endswith(".part") for name in names(tmp_path))
        seal_file(plain, tmp_path / "sealed", [PAIR.certificate], replace=True)


def test_a_killed_process_leaves_nothing(plain, tmp_path):
    """Not a word of plaintext that nobody verified, under any name."""
    write_pair(tmp_path, PAIR)
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from core.seal.files import seal_file, unseal_file\n"
        "from tests.core.seal.test_files import read_pair\n"
        "folder = Path(sys.argv[1])\n"
        "pair = read_pair(folder)\n"
        "seal_file(folder / 'plain', folder / 'sealed', [pair.certificate])\n"
        "def kill(done, of):\n"
        "    if done > of // 2: os.kill(os.getpid(), signal.SIGKILL)\n"
        "unseal_file(folder / 'sealed', folder / 'out', [pair], progress=kill)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    left = names(tmp_path) - {"plain", "sealed", "certificate.pem", "key.pem"}
    unnamed = files._unnamed(tmp_path)
    if unnamed is None:
        pytest.skip("this file system has no files without a name")
    os.close(unnamed)
    assert left == set()


def read_pair(folder: Path) -> KeyPair:
    """What `write_pair` has written."""
    key = serialization.load_pem_private_key((folder / "key.pem").read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return KeyPair(x509.load_pem_x509_certificate((folder / "certificate.pem").read_bytes()), key)


def test_a_file_system_without_unnamed_files_will_do(plain, tmp_path, monkeypatch):
    """A hidden name stands for none there, and is gone whatever goes wrong."""
    opened = os.open

    def refuse(path, flags, *more, **others):
        if flags & os.O_TMPFILE == os.O_TMPFILE:
            raise OSError(errno.EOPNOTSUPP, "Operation not supported")
        return opened(path, flags, *more, **others)

    monkeypatch.setattr(os, "open", refuse)
    sealed, seen = tmp_path / "sealed", set()
    seal_file(plain, sealed, [PAIR.certificate], progress=lambda done, of: seen.update(names(tmp_path)))
    assert any(name.startswith(".sealed.") for name in seen)
    sealed.write_bytes(sealed.read_bytes()[:-1])
    with pytest.raises(SealError):
        unseal_file(sealed, tmp_path / "out", [PAIR])
    assert names(tmp_path) == {"plain", "sealed"}


def test_a_file_is_replaced_only_when_told_to(plain, tmp_path):
    """And then in one step."""
    sealed = tmp_path / "sealed"
    sealed.write_text("something else")
    with pytest.raises(UsageError, match=r"sealed: there is such a file already.*--replace"):
        seal_file(plain, sealed, [PAIR.certificate])
    assert sealed.read_text() == "something else"
    seal_file(plain, sealed, [PAIR.certificate], replace=True)
    unseal_file(sealed, plain, [PAIR], replace=True)
    assert plain.stat().st_size == SIZE


def test_a_name_taken_in_the_meantime_is_left(plain, tmp_path):
    """Whoever makes the file while we write keeps it."""
    out = tmp_path / "out"

    def taken(_done: int, _of: int) -> None:
        out.write_text("theirs")

    with pytest.raises(UsageError, match="there is such a file already"):
        seal_file(plain, out, [PAIR.certificate], progress=taken)
    assert out.read_text() == "theirs"
    assert names(tmp_path) == {"plain", "out"}


def test_a_file_system_without_links_will_do(plain, tmp_path, monkeypatch):
    """The name is given by renaming there."""

    def refuse(self: Path, _target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    assert seal_file(plain, tmp_path / "out", [PAIR.certificate])
    assert names(tmp_path) == {"plain", "out"}


def test_what_cannot_be_read_or_written_is_named(plain, tmp_path):
    """A missing source, a folder, a target in no folder: the path and the reason, and nothing is made."""
    for source, target, said in (
        (tmp_path / "nothing", tmp_path / "out", "nothing: cannot be read: No such file"),
        (tmp_path, tmp_path / "out", "cannot be read: Is a directory"),
        (plain, tmp_path / "no" / "out", "out: cannot be written: No such file"),
    ):
        with pytest.raises(UsageError, match=said):
            seal_file(source, target, [PAIR.certificate])
    assert names(tmp_path) == {"plain"}


@pytest.mark.parametrize("kind", ["rsa-3072", "p256"])
def test_memory_does_not_grow_with_the_file(tmp_path, kind):
    """64 MiB are sealed and opened in a few MiB; `make bench ONLY=seal` shows the same of 1 GiB."""
    plain = random_file(tmp_path / "plain", 64 * MIB)
    write_pair(tmp_path, holder(kind))
    sealing = ours("seal", plain, tmp_path / "sealed", tmp_path)
    opening = ours("open", tmp_path / "sealed", tmp_path / "out", tmp_path)
    assert max(sealing.growth, opening.growth) < 16 * MIB
    assert filecmp.cmp(plain, tmp_path / "out", shallow=False)
