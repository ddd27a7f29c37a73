"""approve, reject: a second person for changes of high risk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.core.cli.conftest import Call


@pytest.fixture
def careful(applied: Call, home: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    """A home that wants a second person, with a risky change in its directory, as one of two people."""
    (home / "node.yaml").write_text("node: test-node\nlog: {style: json}\nsecond_person: true\n")
    file = home / "config" / "all.yaml"
    file.write_text(file.read_text().replace("max_size: 2000000", "retention_days: 3"))
    monkeypatch.setenv("SUDO_USER", "first-operator")
    return applied


def propose(call: Call) -> str:
    """Apply the risky change; gives the proposal's id."""
    said = json.loads(call("apply", "--yes", "--json", "--why", "tidy").out)
    assert (said["version"], bool(said["proposal"])) == (1, True)
    return str(said["proposal"])


def test_a_risky_change_waits_for_somebody_else(careful: Call, monkeypatch: pytest.MonkeyPatch):
    """It is listed with who and why, shown as a plan, refused from its own author, and in force once another says yes."""
    result = careful("apply", "--yes", "--why", "tidy")
    assert "version 1 stays in force" in result.out
    (waits,) = json.loads(careful("approve", "--json").out)
    assert (waits["asked_by"], waits["why"], waits["risk"], waits["too_late"]) == (
        "first-operator",
        "tidy",
        "high",
        False,
    )
    assert waits["proposal"] in careful("approve").out
    own = careful("approve", waits["proposal"], "--yes")
    assert (own.code, "somebody else must approve it" in own.err) == (2, True)
    monkeypatch.setenv("SUDO_USER", "second-operator")
    result = careful("approve", waits["proposal"], "--yes")
    assert "what is older than 3 days is deleted for good" in result.out
    assert "version 2 is in force" in result.out
    newest = json.loads(careful("history", "--json").out)[0]
    assert (newest["who"], newest["why"]) == ("first-operator, approved by second-operator", "tidy")
    assert "approved by second-operator already" in careful("approve", waits["proposal"], "--yes").err
    assert "proposals: none" in careful("approve").out


def test_a_change_of_less_risk_waits_for_nobody(careful: Call, home: Path):
    """It is in force at once."""
    file = home / "config" / "all.yaml"
    file.write_text(file.read_text().replace("retention_days: 3", "max_size: 3000000"))
    assert "version 2 is in force" in careful("apply", "--yes").out


def test_a_proposal_can_be_rejected(careful: Call):
    """By anybody, with a reason; then it is over."""
    name = propose(careful)
    assert "rejected" in careful("reject", name, "--why", "too soon").out
    assert careful("reject", name).code == 2
    assert json.loads(careful("approve", "--json").out) == []
    assert "no proposal is called" in careful("approve", "nonsense", "--yes").err


def test_a_proposal_over_an_older_version_is_too_late(careful: Call, home: Path, monkeypatch: pytest.MonkeyPatch):
    """Nobody has seen what it would change by now."""
    name = propose(careful)
    file = home / "config" / "all.yaml"
    file.write_text(file.read_text().replace("retention_days: 3", "max_size: 3000000"))
    assert careful("apply", "--yes").code == 0
    monkeypatch.setenv("SUDO_USER", "second-operator")
    assert "(too late)" in careful("approve").out
    result = careful("approve", name, "--json")
    assert (result.code, "version 2 is in force" in result.err) == (2, True)
    assert json.loads(careful("reject", name, "--json").out) == {"proposal": name}


def test_going_back_is_a_change_like_any_other(careful: Call, home: Path):
    """A rollback of high risk waits as well."""
    (home / "node.yaml").write_text("node: test-node\nlog: {style: json}\n")
    file = home / "config" / "all.yaml"
    file.write_text(file.read_text().replace("retention_days: 3", "retention_days: 3000"))
    assert careful("apply", "--yes").code == 0
    (home / "node.yaml").write_text("node: test-node\nlog: {style: json}\nsecond_person: true\n")
    result = careful("rollback", "1")
    assert "version 2 stays in force" in result.out
    assert json.loads(careful("approve", "--json").out)[0]["why"] == "back to version 1"
