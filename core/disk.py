"""The file operations that durability rests on: the only file with fsync.

Rules:

1. A directory is made durable together with the names that were made in it.
2. After one fsync has failed, nothing is called durable any more: the page cache can no longer be trusted.
3. Everything goes through `Disk`, so that a test can record it and rebuild every state a power cut may leave.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from core.errors import DurabilityLost, Overloaded

_FULL: Final = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class Disk:
    """The file operations durability rests on. Directories are made durable together with what is made in them.

    A disk that failed to make something durable does nothing more: a second fsync would say yes to octets that are gone.
    ``on_lost`` is called once, from the thread it happened in, so that the node stops.
    """

    def __init__(self, on_lost: Callable[[BaseException], None] | None = None) -> None:
        self._on_lost = on_lost
        self._lost: DurabilityLost | None = None

    def make_directory(self, path: Path) -> None:
        """A directory, unless it is there."""
        path.mkdir(mode=0o700, exist_ok=True)

    def create(self, path: Path) -> int:
        """A new file, open for writing. Raises `FileExistsError`, `Overloaded` when there is no room."""
        self._demand()
        with _room():
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def write(self, descriptor: int, octets: bytes) -> None:
        """Write all of ``octets``. Raises `Overloaded` when there is no room."""
        self._demand()
        view = memoryview(octets)
        with _room():
            while view:
                view = view[os.write(descriptor, view) :]

    def sync(self, descriptor: int) -> None:
        """Make a file's octets durable. Raises `DurabilityLost`."""
        self._demand()
        try:
            os.fsync(descriptor)
        except OSError as error:
            self._lost = DurabilityLost(f"fsync failed: {error.strerror}")
            if self._on_lost is not None:
                self._on_lost(self._lost)
            raise self._lost from error

    def close(self, descriptor: int) -> None:
        """Close a file."""
        os.close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """Move within one file system. Raises `Overloaded` when there is no room."""
        self._demand()
        with _room():
            source.rename(target)

    def sync_directory(self, path: Path) -> None:
        """Make names in a directory durable. Raises `DurabilityLost`."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(descriptor)
        finally:
            os.close(descriptor)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink(missing_ok=True)

    def _demand(self) -> None:
        if self._lost is not None:
            raise DurabilityLost(str(self._lost))


@contextlib.contextmanager
def _room() -> Iterator[None]:
    """A full disk is no bug and no loss: the sender is asked to come back."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise Overloaded(f"the payload store has no room ({error.strerror}); try again later") from error


def write_secret(path: Path, octets: bytes) -> None:
    """A new file that its owner alone can read, durable when this returns. Raises `FileExistsError` rather than replace one."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    disk = Disk()
    descriptor = disk.create(path)
    try:
        disk.write(descriptor, octets)
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)
    for directory in (path.parent, path.parent.parent):
        disk.sync_directory(directory)
