"""A disk that remembers every operation, and what a power cut may leave of them.

The model is hostile on purpose: a file's octets since its last fsync may be whole, cut short, zeroed or gone; each change of a
directory since its last fsync may or may not be there, whatever became of the others. Only an fsync settles anything.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from core.parcel import Parcel
from core.store import Disk


@dataclass(frozen=True)
class Op:
    """One operation. ``what`` is mkdir, create, write, sync, rename, sync-directory, unlink, commit or answer."""

    what: str
    path: Path = Path()
    target: Path = Path()
    inode: int = 0
    octets: bytes = field(default=b"", repr=False)
    parcels: tuple[Parcel, ...] = ()


class RecordingDisk(Disk):
    """Does what it is told, and writes it down before it does: a commit may rest on what is written above it only."""

    def __init__(self) -> None:
        super().__init__()
        self.log: list[Op] = []
        self._inodes: dict[int, int] = {}
        self._next = itertools.count(1)

    def make_directory(self, path: Path) -> None:
        """A directory that is made; one that was there before the test is as durable as the test."""
        if not path.exists():
            self.log.append(Op("mkdir", path))
        super().make_directory(path)

    def create(self, path: Path) -> int:
        """A new file."""
        descriptor = super().create(path)
        self._inodes[descriptor] = next(self._next)
        self.log.append(Op("create", path, inode=self._inodes[descriptor]))
        return descriptor

    def write(self, descriptor: int, octets: bytes) -> None:
        """Octets at the end of a file."""
        super().write(descriptor, octets)
        self.log.append(Op("write", inode=self._inodes[descriptor], octets=octets))

    def sync(self, descriptor: int) -> None:
        """A file's octets become durable; a directory's descriptor is written down by `sync_directory`."""
        super().sync(descriptor)
        if descriptor in self._inodes:
            self.log.append(Op("sync", inode=self._inodes[descriptor]))

    def close(self, descriptor: int) -> None:
        """The descriptor's number may come again for another file."""
        self._inodes.pop(descriptor, None)
        super().close(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        """A name moves."""
        super().rename(source, target)
        self.log.append(Op("rename", source, target))

    def sync_directory(self, path: Path) -> None:
        """A directory's names become durable."""
        super().sync_directory(path)
        self.log.append(Op("sync-directory", path))

    def unlink(self, path: Path) -> None:
        """A name goes."""
        super().unlink(path)
        self.log.append(Op("unlink", path))


@dataclass
class _File:
    """A file's octets: those that are durable, and what was written since."""

    durable: bytes = b""
    since: bytes = b""

    def fates(self) -> list[bytes]:
        """What a power cut may leave: everything, a part, zeros where octets should be, nothing new."""
        half = self.since[: len(self.since) // 2]
        return sorted({self.durable + s for s in (self.since, half, bytes(len(self.since)), b"")})


Names = dict[Path, int]
"""Which file (or directory, 0) a path names."""


class Machine:
    """A machine's disk at one moment of a log."""

    def __init__(self, log: Sequence[Op]) -> None:
        self.files: dict[int, _File] = {}
        self.names: Names = {}
        self.durable: Names = {}
        self.pending: list[tuple[Path, int | None]] = []
        """Changes of names since their directory's last fsync: what the path names now, or None."""
        self.parcels: tuple[Parcel, ...] = ()
        self.answered: set[str] = set()
        for op in log:
            self._do(op)

    def _do(self, op: Op) -> None:
        if op.what in ("mkdir", "create"):
            self._name(op.path, op.inode)
            if op.inode:
                self.files[op.inode] = _File()
        elif op.what == "write":
            self.files[op.inode].since += op.octets
        elif op.what == "sync":
            file = self.files[op.inode]
            self.files[op.inode] = _File(file.durable + file.since)
        elif op.what == "rename":
            self._name(op.target, self.names[op.path])
            self._name(op.path, None)
        elif op.what == "unlink":
            self._name(op.path, None)
        elif op.what == "sync-directory":
            self._settle(op.path)
        elif op.what == "commit":
            self.parcels = op.parcels
        elif op.what == "answer":
            self.answered |= {p.id for p in op.parcels}

    def _name(self, path: Path, inode: int | None) -> None:
        self.pending.append((path, inode))
        if inode is None:
            self.names.pop(path, None)
        else:
            self.names[path] = inode

    def _settle(self, directory: Path) -> None:
        for path, inode in self.pending:
            if path.parent == directory:
                _apply(self.durable, path, inode)
        self.pending = [(path, inode) for path, inode in self.pending if path.parent != directory]

    def states(self, wanted: Sequence[Path], made: set[Path]) -> Iterator[dict[Path, bytes | None]]:
        """For every subset of what is not settled: the octets at each wanted path, or None. Nothing else is looked at.

        ``made`` are the directories that the log itself made: without their names nothing below them can be found.
        """
        ways = {p for path in wanted for p in (path, *path.parents) if p in made or p == path}
        pending = [change for change in self.pending if change[0] in ways]
        for kept in itertools.product((False, True), repeat=len(pending)):
            names = dict(self.durable)
            for keep, (path, inode) in zip(kept, pending, strict=True):
                if keep:
                    _apply(names, path, inode)
            found = [_look(names, path, made) for path in wanted]
            fates = [self.files[inode].fates() if inode else [None] for inode in found]
            for octets in itertools.product(*fates):
                yield dict(zip(wanted, octets, strict=True))


def _apply(names: Names, path: Path, inode: int | None) -> None:
    if inode is None:
        names.pop(path, None)
    else:
        names[path] = inode


def _look(names: Names, path: Path, made: set[Path]) -> int:
    """The file a path leads to when every directory on the way is there, else 0."""
    if any(folder in made and folder not in names for folder in path.parents):
        return 0
    return names.get(path, 0)
