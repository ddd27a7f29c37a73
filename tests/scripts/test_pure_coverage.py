"""The check of the pure modules' coverage finds what only other tests execute, and is content with the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts import pure_coverage

MODULE = "def sign(x):\n    if x < 0:\n        return -1\n    return 1\n"
OWN_HALF = "from pure import sign\n\ndef test_plus():\n    assert sign(1) == 1\n"
OWN_WHOLE = OWN_HALF + "\ndef test_minus():\n    assert sign(-1) == -1\n"
OTHER = "from pure import sign\n\ndef test_from_elsewhere():\n    assert sign(-1) == -1\n"


def recorded(folder: Path, own: str) -> list[pure_coverage.Gap]:
    """A project of one pure module, its own tests and another's; gives what is missing."""
    (folder / "tests").mkdir()
    (folder / "pure.py").write_text(MODULE)
    (folder / "tests" / "test_pure.py").write_text(own)
    (folder / "tests" / "test_other.py").write_text(OTHER)
    (folder / "pyproject.toml").write_text(
        '[tool.pytest.ini_options]\npythonpath = ["."]\n[tool.coverage.run]\nbranch = true\n'
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--cov=pure",
        "--cov-branch",
        "--cov-context=test",
        "--cov-report=",
    ]
    subprocess.run([*command, "-p", "no:cacheprovider", "tests"], cwd=folder, check=True, capture_output=True)
    return pure_coverage.gaps(folder / ".coverage", {"pure.py": "tests/test_pure.py"}, folder)


def test_what_only_another_test_executes_is_a_gap(tmp_path: Path):
    """A line and a branch that the module's own file never takes are named."""
    (gap,) = recorded(tmp_path, OWN_HALF)
    assert (gap.module, gap.lines, gap.branches) == ("pure.py", [3], [[2, 3]])
    assert str(gap) == "pure.py: lines 3 branches 2->3"


def test_a_module_its_own_tests_cover_has_no_gap(tmp_path: Path):
    """Full coverage is content."""
    assert recorded(tmp_path, OWN_WHOLE) == []


def test_the_list_is_of_files_that_exist():
    """Every pure module named is there, and no shell that does input and output is among them."""
    listed = pure_coverage.modules()
    assert all((pure_coverage.ROOT / module).exists() for module in listed)
    assert "accesspoint/soap.py" in listed
    assert "accesspoint/client.py" not in listed


def test_a_module_that_is_not_pure_is_refused(capsys: pytest.CaptureFixture[str]):
    """Asking for another module is a mistake in the command."""
    with pytest.raises(SystemExit) as ending:
        pure_coverage.main(["core/store.py"])
    assert ending.value.code == 2
    assert "not a pure module: core/store.py" in capsys.readouterr().err
