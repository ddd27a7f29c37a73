"""keys list, new, import, rewrap."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from conformance.pki import Authority
from core.clock import SystemClock, to_datetime
from tests.core.cli.conftest import Call


@pytest.fixture(scope="module")
def p12() -> bytes:
    """What a fictitious authority hands out; its password is ``open``."""
    at = to_datetime(SystemClock().now())
    authority = Authority("Fictitious CA", datetime(at.year, at.month, 1, tzinfo=UTC))
    return authority.issue("Fictitious Town signing", "signing").p12(b"open")


@pytest.fixture
def password(tmp_path: Path) -> str:
    """A file with the password."""
    path = tmp_path / "password"
    path.write_text("open\n")
    return str(path)


@pytest.fixture
def file(tmp_path: Path, p12: bytes) -> str:
    """The file handed out."""
    path = tmp_path / "signing.p12"
    path.write_bytes(p12)
    return str(path)


def test_what_an_authority_hands_out_is_taken(call: Call, file: str, password: str, home: Path):
    """Subject, end and fingerprint are shown; the key is readable by its owner alone and never printed."""
    result = call("keys", "import", file, "--name", "signing", "--password-file", password)
    assert (result.code, "CN=Fictitious Town signing" in result.out) == (0, True)
    path = home / "keys" / "signing.pem"
    assert path.stat().st_mode & 0o077 == 0
    assert "PRIVATE" not in result.out + call("keys", "list").out
    listed = json.loads(call("keys", "list", "--json").out)
    assert (listed["keys"][0]["name"], listed["key_encryption_keys"]) == ("signing", ["kek-1"])


def test_a_name_is_not_taken_twice_unless_told(call: Call, file: str, password: str, home: Path):
    """Replacing keeps the old file beside the new one."""
    words = ("keys", "import", file, "--name", "signing", "--password-file", password)
    assert call(*words).code == 0
    again = call(*words)
    assert (again.code, "--replace" in again.err) == (2, True)
    assert json.loads(call(*words, "--replace", "--json").out)["name"] == "signing"
    assert len(list((home / "keys").glob("signing*.pem"))) == 2


def test_wrong_files_and_passwords_are_named(call: Call, file: str, password: str, tmp_path: Path):
    """A wrong password, no PKCS#12, no file, a bad name: each ends with 2 and nothing is stored."""
    wrong = tmp_path / "wrong"
    wrong.write_text("shut\n")
    empty = tmp_path / "empty"
    empty.write_text("")
    for words, said in (
        ((file, "--name", "a", "--password-file", str(wrong)), "another password"),
        ((file, "--name", "a", "--password-file", str(empty)), "another password"),
        ((password, "--name", "a", "--password-file", password), "no PKCS#12"),
        ((file, "--name", "../a", "--password-file", password), "key name"),
        (("no-such-file", "--name", "a", "--password-file", password), "No such file"),
    ):
        result = call("keys", "import", *words)
        assert (result.code, said in result.err) == (2, True), result.err
    assert json.loads(call("keys", "list", "--json").out)["keys"] == []


def test_a_key_others_can_read_is_named(call: Call, file: str, password: str, home: Path):
    """list says which file is not to be used, and why."""
    call("keys", "import", file, "--name", "signing", "--password-file", password)
    (home / "keys" / "signing.pem").chmod(0o644)
    assert "chmod 600" in call("keys", "list").out


def test_a_new_wrapping_key_takes_over(applied: Call, tmp_path: Path):
    """After rewrap nothing is under the old key; the parcel can still be taken."""
    note = tmp_path / "note.txt"
    note.write_text("a fictitious note")
    assert applied("send", str(note), "--from", "sender", "--integration", "notes").code == 0
    assert "kek-2" in applied("keys", "new", "--id", "kek-2").out
    assert applied("keys", "new", "--id", "kek-2").code == 2
    assert applied("keys", "new", "--id", "a/b").code == 2
    assert "1 data keys are now under kek-2" in applied("keys", "rewrap").out
    assert json.loads(applied("keys", "rewrap", "--json").out)["rewrapped"] == 0
    taken = json.loads(applied("inbox", "receiver", "--take", "--out", str(tmp_path / "out"), "--json").out)
    assert Path(taken[0]["files"][0]).read_text() == "a fictitious note"
    assert json.loads(applied("keys", "new", "--json").out)["id"].startswith("kek-")
