"""The file operations that durability rests on."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from core.disk import Disk, write_secret
from core.errors import DurabilityLost, Overloaded


def test_octets_are_written_whole_and_synced(tmp_path: Path):
    """A file is there under its final name, its owner's alone."""
    disk = Disk()
    disk.make_directory(tmp_path / "a")
    disk.make_directory(tmp_path / "a")
    descriptor = disk.create(tmp_path / "a" / "part")
    disk.write(descriptor, bytes(100_000))
    disk.sync(descriptor)
    disk.close(descriptor)
    disk.rename(tmp_path / "a" / "part", tmp_path / "a" / "whole")
    disk.sync_directory(tmp_path / "a")
    assert (tmp_path / "a" / "whole").stat().st_size == 100_000
    assert (tmp_path / "a" / "whole").stat().st_mode & 0o077 == 0
    disk.unlink(tmp_path / "a" / "whole")
    disk.unlink(tmp_path / "a" / "whole")
    assert list((tmp_path / "a").iterdir()) == []


def test_after_a_failed_sync_nothing_is_called_durable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The node is told once; a second fsync that would say yes is not asked."""
    told: list[BaseException] = []
    disk = Disk(told.append)
    descriptor = disk.create(tmp_path / "x")

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DurabilityLost, match="Input/output error"):
        disk.sync(descriptor)
    monkeypatch.undo()
    for work in (
        lambda: disk.sync(descriptor),
        lambda: disk.write(descriptor, b"x"),
        lambda: disk.create(tmp_path / "y"),
    ):
        with pytest.raises(DurabilityLost):
            work()
    os.close(descriptor)
    assert len(told) == 1


def test_a_failed_sync_without_a_listener_still_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody needs to listen for it to be an error."""

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DurabilityLost):
        Disk().sync_directory(tmp_path)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_asks_to_come_back(code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is no bug and no loss."""
    disk = Disk()
    descriptor = disk.create(tmp_path / "x")

    def full(*_: object) -> int:
        raise OSError(code, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(Overloaded, match="no room"):
        disk.write(descriptor, b"x")
    os.close(descriptor)


def test_other_errors_of_the_system_are_not_renamed(tmp_path: Path):
    """A name that is taken is the caller's to handle."""
    (tmp_path / "x").touch()
    with pytest.raises(FileExistsError):
        Disk().create(tmp_path / "x")


def test_a_secret_is_written_once(tmp_path: Path):
    """Readable by its owner alone, its folder too; never over another."""
    write_secret(tmp_path / "keys" / "k", b"secret")
    assert (tmp_path / "keys" / "k").read_bytes() == b"secret"
    assert (tmp_path / "keys").stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        write_secret(tmp_path / "keys" / "k", b"other")
