"""What `python -m bench` runs, and how it ends."""

from __future__ import annotations

import json

import pytest

from bench import __main__ as bench
from bench.rows import Row
from conformance.peers.phase4 import PeerFailed


@pytest.fixture
def ran(monkeypatch):
    """Groups that do nothing but say that they ran."""
    found = []

    def rows(group, folder, quick):
        assert folder.is_dir()
        found.append((group, quick))
        yield Row(group, 1.0, "s")

    monkeypatch.setattr(bench, "_rows", rows)
    return found


def test_every_group_runs_when_none_is_named(ran, tmp_path):
    """In one run, so that ratios hold."""
    assert bench.main(["--out", str(tmp_path / "all.json")]) == 0
    assert ran == [(group, False) for group in bench.GROUPS]
    assert [row["name"] for row in json.loads((tmp_path / "all.json").read_text())["rows"]] == [*bench.GROUPS]


def test_one_group_can_run_alone(ran, tmp_path):
    """The others are left."""
    assert bench.main(["--quick", "--only", "phase4", "--out", str(tmp_path / "one.json")]) == 0
    assert ran == [("phase4", True)]


def test_a_peer_that_cannot_be_measured_is_a_miss(monkeypatch, tmp_path, capsys):
    """Not a comparison that is quietly left out."""

    def rows(_folder, _plan):
        yield Row("before", 1.0, "s")
        raise PeerFailed("mvn is not installed")

    monkeypatch.setattr(bench.phase4, "rows", rows)
    assert bench.main(["--only", "phase4", "--out", str(tmp_path / "one.json")]) == 1
    assert "mvn is not installed" in capsys.readouterr().err
