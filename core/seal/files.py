"""Sealing a file and opening one, so that a file under its final name is always whole and, when opened, verified.

Rules:

1. What is written has no name until all of it is there and, when opening, its tag is checked: a process that is killed leaves
   nothing. (Where the file system cannot do that, it has a hidden name, which everything but a kill removes.) Its owner alone can
   read it.
2. A file that is there is never replaced, unless told to.
3. It is durable when these functions return: who then deletes the source has lost nothing.
"""

from __future__ import annotations

import errno
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cryptography import x509

from core import limits
from core.disk import Disk
from core.errors import UsageError
from core.seal.algorithms import Cipher
from core.seal.header import SealedFacts
from core.seal.opening import open_sealed
from core.seal.recipients import KeyPair
from core.seal.sealing import seal

Progress = Callable[[int, int], None]
"""Is told how many octets of the source are read, and of how many."""


def _quiet(_done: int, _of: int) -> None:
    """Nobody looks."""


def seal_file(
    source: Path,
    target: Path,
    recipients: Sequence[x509.Certificate],
    cipher: Cipher = Cipher.AES_256_GCM,
    *,
    replace: bool = False,
    progress: Progress = _quiet,
) -> int:
    """Write the sealed form of ``source``; gives its octets. Raises `UsageError`."""
    with _source(source) as file:
        return _write(target, seal(_chunks(file, progress), recipients, cipher), replace=replace)


def unseal_file(
    source: Path,
    target: Path,
    pairs: Sequence[KeyPair],
    *,
    authenticated: bool = False,
    replace: bool = False,
    progress: Progress = _quiet,
) -> tuple[SealedFacts, int]:
    """Write what ``source`` holds, once it is verified; gives how it was sealed, and its octets. Raises as `open_sealed`."""
    with _source(source) as file:
        opened = open_sealed(_chunks(file, progress), pairs, authenticated=authenticated)
        return opened.facts, _write(target, opened, replace=replace)


@contextmanager
def _source(path: Path) -> Iterator[BinaryIO]:
    try:
        file = path.open("rb")
        file.peek(1)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None
    with file:
        yield file


def _chunks(file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    done, of = 0, os.fstat(file.fileno()).st_size
    while chunk := file.read(limits.SEAL_CHUNK):
        yield chunk
        done += len(chunk)
        progress(done, of)


def _write(target: Path, pieces: Iterable[bytes], *, replace: bool) -> int:
    """Everything or nothing under ``target``; gives the octets."""
    taken = UsageError(f"{target}: there is such a file already; choose another name, or add --replace")
    if target.exists() and not replace:
        raise taken
    fresh, disk, size = target.with_name(f".{target.name}.{uuid.uuid4().hex[:12]}.part"), Disk(), 0
    try:
        unnamed = _unnamed(target.parent)
        with os.fdopen(disk.create(fresh) if unnamed is None else unnamed, "wb") as file:
            for piece in pieces:
                size += file.write(piece)
            file.flush()
            disk.sync(file.fileno())
            if unnamed is not None:
                _link(unnamed, fresh)
        if replace:
            disk.rename(fresh, target)
        else:
            _name(fresh, target)
        disk.sync_directory(target.parent)
    except FileExistsError:
        raise taken from None
    except OSError as error:
        raise UsageError(f"{target}: cannot be written: {error.strerror}") from None
    finally:
        fresh.unlink(missing_ok=True)
    return size


def _unnamed(folder: Path) -> int | None:
    """A file without a name, open for writing; None where the file system has none such."""
    try:
        return os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
            raise
        return None


def _link(descriptor: int, path: Path) -> None:
    """Give an open file a first name."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.link(f"/proc/self/fd/{descriptor}", path.name, dst_dir_fd=folder)  # with a folder, Python follows the link
    finally:
        os.close(folder)


def _name(fresh: Path, target: Path) -> None:
    """Give a file its name. Raises `FileExistsError` where somebody has taken it in the meantime."""
    try:
        target.hardlink_to(fresh)
    except FileExistsError:
        raise
    except OSError:  # a file system without links
        fresh.rename(target)
