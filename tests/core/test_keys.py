"""Keys at rest: outside the data, private, durable, and nothing opens without the right one."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import Fatal, PayloadError
from core.keys import KEY, KeyRing, create_kek, derive, seal, unseal


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one key-encryption key."""
    create_kek(tmp_path / "keys", "2026-01")
    return tmp_path / "keys"


def test_a_key_file_is_its_owners_alone_and_never_replaced(folder: Path):
    """Mode 0600 in a folder of mode 0700; a second key of one name is refused and the first stands."""
    path = folder / "2026-01.kek"
    before = path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert len(before) == KEY
    with pytest.raises(FileExistsError):
        create_kek(folder, "2026-01")
    assert path.read_bytes() == before


def test_a_new_key_is_durable_before_anything_is_sealed_under_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A power cut may not take the key of payloads that were acknowledged: file, folder and the folder's name are synced."""
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    path = create_kek(tmp_path / "keys", "k")
    assert synced == [str(path), str(tmp_path / "keys"), str(tmp_path)]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_key_that_others_may_read_stops_the_start(folder: Path, mode: int):
    """The message names the file and the command that mends it."""
    (folder / "2026-01.kek").chmod(mode)
    with pytest.raises(Fatal, match=r"2026-01\.kek.*chmod 600"):
        KeyRing(folder)


def test_no_key_and_a_broken_key_stop_the_start(folder: Path):
    """An empty folder says what to run; a file of another length is named."""
    with pytest.raises(Fatal, match="stafet keys new"):
        KeyRing(folder.parent)
    (folder / "2026-01.kek").write_bytes(b"short")
    with pytest.raises(Fatal, match="not a key"):
        KeyRing(folder)


@pytest.mark.requirement("R38")
def test_a_data_key_opens_only_with_the_key_that_wrapped_it(folder: Path, tmp_path: Path):
    """The stored form is not the key; another key of the same name, a missing key and damage are documented errors."""
    ring = KeyRing(folder)
    plain, wrapped, key_id = ring.new()
    assert key_id == "2026-01"
    assert plain not in wrapped
    assert ring.unwrap(wrapped, key_id) == plain
    create_kek(tmp_path / "other", "2026-01")
    for wrong in (lambda: KeyRing(tmp_path / "other").unwrap(wrapped, key_id), lambda: ring.unwrap(wrapped, "gone")):
        with pytest.raises(PayloadError, match=r"2026-01|gone"):
            wrong()
    with pytest.raises(PayloadError):
        ring.unwrap(wrapped[:-1] + bytes([wrapped[-1] ^ 1]), key_id)


def test_every_parcel_gets_a_key_of_its_own(folder: Path):
    """No two alike."""
    ring = KeyRing(folder)
    assert len({ring.new()[0] for _ in range(100)}) == 100


def test_rotation_wraps_the_same_key_anew(folder: Path):
    """The youngest key by name wraps; what the old one wrapped still opens, and rewrapped it no longer needs the old."""
    plain, wrapped, old = KeyRing(folder).new()
    create_kek(folder, "2026-02")
    ring = KeyRing(folder)
    rewrapped, key_id = ring.rewrap(wrapped, old)
    assert (ring.current, key_id) == ("2026-02", "2026-02")
    assert ring.unwrap(wrapped, old) == plain
    (folder / "2026-01.kek").unlink()
    after = KeyRing(folder)
    assert after.unwrap(rewrapped, key_id) == plain
    with pytest.raises(PayloadError):
        after.unwrap(wrapped, old)


@given(st.binary(max_size=300), st.binary(max_size=40))
def test_sealed_octets_open_with_their_key_and_place_alone(octets: bytes, context: bytes):
    """Another key, another place, or any changed octet is a documented error."""
    key = bytes(range(32))
    sealed = seal(key, octets, context)
    assert unseal(key, sealed, context) == octets
    changed = bytearray(sealed)
    changed[len(octets) // 2] ^= 1
    attempts = ((bytes(32), sealed, context), (key, sealed, context + b"x"), (key, bytes(changed), context))
    for wrong in attempts:
        with pytest.raises(PayloadError):
            unseal(*wrong)


@pytest.mark.parametrize("length", [0, 1, 11, 12, 27])
def test_octets_too_short_to_be_sealed_do_not_open(length: int):
    """Damage down to nothing is damage."""
    with pytest.raises(PayloadError):
        unseal(bytes(32), b"x" * length, b"")


def test_every_object_has_a_key_of_its_own():
    """Chunk nonces count from zero in each object, so no two may share a key."""
    key = bytes(32)
    assert len({derive(key, b"a"), derive(key, b"b"), derive(bytes([1]) * 32, b"a"), key}) == 4
    assert derive(key, b"a") == derive(key, b"a")
    assert len(derive(key, b"a")) == KEY
