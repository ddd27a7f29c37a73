"""backup, restore, verify."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from tests.core.cli.conftest import Call

SEND = ("--from", "sender", "--integration", "notes")


@pytest.mark.requirement("R106")
def test_a_backup_is_restored_into_an_empty_home(applied: Call, home: Path, tmp_path: Path):
    """What was accepted is there, octet for octet; what was open is held until somebody says so."""
    small, large = tmp_path / "small.txt", tmp_path / "large.bin"
    small.write_text("a fictitious note")
    large.write_bytes(bytes(range(256)) * 1000)
    for path in (small, large):
        assert applied("send", str(path), *SEND).code == 0
    made = json.loads(applied("backup", str(tmp_path / "copy"), "--json").out)
    assert (made["objects"], made["missing"]) == (1, [])
    assert not list((tmp_path / "copy").rglob("*.kek"))
    other = tmp_path / "other"
    shutil.copytree(home / "keys", other / "keys")
    shutil.copytree(home / "config", other / "config")
    shutil.copy(home / "node.yaml", other)
    result = applied("restore", str(tmp_path / "copy"), at=other)
    assert "2 deliveries are held" in result.out
    assert json.loads(applied("inbox", "receiver", "--json", at=other).out)[0]["state"] == "held"
    assert applied("resend", "--held", at=other).code == 0
    taken = json.loads(applied("inbox", "receiver", "--take", "--out", str(tmp_path / "out"), "--json", at=other).out)
    contents = {Path(t["files"][0]).read_bytes() for t in taken}
    assert contents == {small.read_bytes(), large.read_bytes()}
    assert applied("restore", str(tmp_path / "copy"), at=other).code == 2


def test_a_backup_wants_a_folder_of_its_own(applied: Call, tmp_path: Path):
    """A folder that is not empty is refused."""
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    result = applied("backup", str(tmp_path / "full"))
    assert (result.code, "not empty" in result.err) == (2, True)


def test_what_is_no_whole_backup_is_not_restored(applied: Call, home: Path, tmp_path: Path):
    """A missing manifest, a damaged file and a missing key are each named, and nothing is written."""
    other = tmp_path / "other"
    shutil.copytree(home / "keys", other / "keys")
    shutil.copy(home / "node.yaml", other)
    assert "manifest.json" in applied("restore", str(tmp_path / "nothing"), at=other).err
    copy = tmp_path / "copy"
    assert "It holds no key" in applied("backup", str(copy)).out
    (copy / "ledger.db").write_bytes((copy / "ledger.db").read_bytes()[:-1])
    assert "damaged" in applied("restore", str(copy), at=other).err
    manifest = copy / "manifest.json"
    manifest.write_text(manifest.read_text().replace("kek-1", "kek-9"))
    assert "kek-9" in applied("restore", str(copy), at=other).err
    assert not (other / "data" / "ledger.db").exists()


def test_a_running_node_is_backed_up_but_not_restored(call: Call, node: subprocess.Popen[bytes], tmp_path: Path):
    """backup goes through the node; restore is refused while it runs."""
    assert call("backup", str(tmp_path / "copy")).code == 0
    result = call("restore", str(tmp_path / "copy"))
    assert (result.code, "another process is this node" in result.err) == (5, True)
    assert node.poll() is None


def test_a_changed_trace_is_found(applied: Call, home: Path, tmp_path: Path):
    """verify ends with 0 on a whole chain and with 4 on a changed one."""
    note = tmp_path / "note.txt"
    note.write_text("a fictitious note")
    applied("send", str(note), *SEND)
    assert "every link holds" in applied("verify").out
    engine = create_engine(f"sqlite:///{home / 'data' / 'ledger.db'}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE trace SET public = replace(public, 'sender', 'nobody')"))
    engine.dispose()
    result = applied("verify", "--json")
    assert (result.code, json.loads(result.out)["ok"]) == (4, False)
    assert "NOT whole" in applied("verify").out
