"""``python -m core.cli`` is ``stafet``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def run(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Call it as a process of its own."""
    environment = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-m", "core.cli", "--home", str(home), *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=60)


def test_it_runs_a_command_and_ends_with_its_code(home: Path):
    """The answer on standard output, 0 for done."""
    done = run("keys", "list", home=home)
    assert (done.returncode, done.stderr) == (0, "")
    assert "key-encryption keys: kek-1" in done.stdout


def test_a_mistake_ends_with_its_code_and_words(tmp_path: Path):
    """Nothing on standard output, one sentence on standard error, no traceback."""
    wrong = run("status", home=tmp_path)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "node.yaml" in wrong.stderr
    assert "Traceback" not in wrong.stderr


def test_help_names_it_as_people_call_it(tmp_path: Path):
    """Also when it was started as a module."""
    shown = run("--help", home=tmp_path)
    assert shown.returncode == 0
    assert "Moves messages and files between systems" in shown.stdout
