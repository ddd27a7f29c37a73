"""The root: up, exit codes, commands of other packages."""

from __future__ import annotations

import importlib
import signal
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer

from core.errors import Fatal
from tests.core.cli.conftest import Call, make_home, start

module = importlib.import_module("core.cli.main")


def test_a_node_comes_up_says_so_and_drains(home: Path):
    """One line when ready; SIGTERM ends it with 0."""
    process = start(home)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert "test-node is up: configuration version 1" in (home / "node.log").read_text()


def test_a_killed_node_leaves_a_socket_that_is_in_nobodys_way(home: Path, call: Call):
    """After SIGKILL a command works by itself, and the node starts again."""
    process = start(home)
    process.kill()
    process.wait()
    assert (home / "data" / "node.sock").exists()
    assert call("status").code == 0
    again = start(home)
    again.kill()
    again.wait()


def test_a_home_that_is_none_is_named(call: Call, tmp_path: Path):
    """No node.yaml, an unknown field, a key folder inside data: each ends with 2."""
    assert "node.yaml" in call("status", at=tmp_path).err
    (tmp_path / "node.yaml").write_text("nodes: x\n")
    assert "nodes" in call("status", at=tmp_path).err
    (tmp_path / "node.yaml").write_text("keys: data/keys\n")
    result = call("up", at=tmp_path)
    assert (result.code, "outside data" in result.err) == (2, True)


def test_a_gateway_that_is_not_installed_stops_the_start(tmp_path: Path, call: Call):
    """The field is named, and what is installed."""
    home = make_home(tmp_path / "h")
    (home / "node.yaml").write_text("gateways: {telex: {}}\n")
    result = subprocess.run(
        [sys.executable, "-m", "core.cli", "--home", str(home), "up"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 2
    assert "gateways.telex: is not installed" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_bad_configuration_starts_nothing(home: Path):
    """The first start with a broken document ends with 2, names it, and stores no version."""
    (home / "config" / "bad.yaml").write_text("kind: system\nid: BAD\nauthority: x\n")
    result = subprocess.run(
        [sys.executable, "-m", "core.cli", "--home", str(home), "up"], capture_output=True, text=True, timeout=60
    )
    assert (result.returncode, "bad.yaml:2" in result.stderr) == (2, True)
    assert "Traceback" not in result.stderr


def test_wrong_words_end_with_two(call: Call):
    """An unknown command or option is no crash."""
    for words in (("nonsense",), ("check", "--funny"), ("rollback", "one")):
        result = call(*words)
        assert (result.code, "--help" in result.err) == (2, True)


def test_other_packages_add_commands(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A function or an application by entry point; one that cannot be loaded is named and harms nobody."""
    monkeypatch.setattr(module, "app", typer.Typer())
    module.app.command("taken")(lambda: None)
    points = [
        EntryPoint("one", f"{__name__}:a_command", "stafet.commands"),
        EntryPoint("many", f"{__name__}:SEVERAL", "stafet.commands"),
        EntryPoint("taken", f"{__name__}:a_command", "stafet.commands"),
        EntryPoint("broken", "no_such_module:x", "stafet.commands"),
    ]
    monkeypatch.setattr(module, "entry_points", lambda group: points)
    module.whole()
    assert [c.name for c in module.app.registered_commands] == ["taken", "one"]
    assert [g.name for g in module.app.registered_groups] == ["many"]
    assert "'broken' cannot be loaded" in capsys.readouterr().err


def a_command() -> None:
    """A command of another package."""


SEVERAL = typer.Typer()


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (Fatal("the disk is gone"), 5, "the disk is gone"),
        (PermissionError(13, "Permission denied", "keys"), 5, "keys: Permission denied"),
        (typer.Abort(), 130, ""),
    ],
)
def test_what_goes_wrong_ends_in_one_sentence(
    raised: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A documented error has its exit code and no traceback."""

    def fail(**_: object) -> None:
        raise raised

    monkeypatch.setattr(module, "whole", lambda: fail)
    with pytest.raises(SystemExit) as ending:
        module.main()
    assert ending.value.code == code
    assert capsys.readouterr().err.strip() == said


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch):
    """What nobody documented is raised, so that it is seen."""

    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(module, "whole", lambda: fail)
    with pytest.raises(ZeroDivisionError):
        module.main()
