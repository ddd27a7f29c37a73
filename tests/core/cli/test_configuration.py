"""check, plan, apply, rollback, history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.core.cli.conftest import Call


def test_a_good_directory_is_counted(call: Call):
    """check says what is there and ends with 0."""
    result = call("check")
    assert (result.code, result.out.startswith("in order: 1 integration")) == (0, True)
    assert json.loads(call("check", "--json").out)["documents"]["system"] == 2


@pytest.mark.requirement("R31")
def test_everything_that_is_wrong_is_said_at_once(call: Call, home: Path):
    """Each problem names file, line, field and cause; the end is 2 and nothing is applied."""
    (home / "config" / "bad.yaml").write_text(
        "kind: system\nid: x\nauthority: a\nfunny: 1\n---\nkind: nonsense\nid: y\n"
    )
    result = call("check")
    assert result.code == 2
    assert "bad.yaml:4: funny" in result.err
    assert "bad.yaml:6: kind" in result.err
    assert "nothing is applied" in result.err
    problems = json.loads(call("check", "--json").out)["problems"]
    assert [p["field"] for p in problems] == ["funny", "kind"]
    assert call("apply", "--yes").code == 2
    assert call("history").code == 2  # there is no ledger yet: nothing was begun


def test_a_plan_speaks_of_documents_and_fields(applied: Call, home: Path):
    """A changed field is shown with both values, an added document with a plus."""
    file = home / "config" / "all.yaml"
    file.write_text(file.read_text().replace("2000000", "3000000"))
    (home / "config" / "more.yaml").write_text("kind: system\nid: third\nauthority: a\n")
    result = applied("plan")
    assert "~ integration notes" in result.out
    assert "max_size: 2000000 -> 3000000" in result.out
    assert "+ system third" in result.out
    listed = json.loads(applied("plan", "--json").out)
    assert (listed["from"], [c["what"] for c in listed["changes"]]) == (1, ["changed", "added"])


def test_a_plan_says_how_risky_it_is(applied: Call, home: Path):
    """Each change with its level and reason, and the whole by its riskiest change."""
    file = home / "config" / "all.yaml"
    file.write_text(file.read_text().replace("max_size: 2000000", "max_size: 2000000\nretention_days: 3\ntitle: Notes"))
    (home / "config" / "more.yaml").write_text("kind: system\nid: third\nauthority: a\n")
    result = applied("plan")
    assert "~ integration notes: high risk: what is older than 3 days is deleted for good" in result.out
    assert "+ system third: low risk" in result.out
    assert "risk of the whole: high (1 high, 1 low)" in result.out
    said = json.loads(applied("plan", "--json").out)
    assert (said["risk"], [c["risk"] for c in said["changes"]]) == ("high", ["high", "low"])


def test_what_deliveries_wait_for_is_a_high_risk(applied: Call, home: Path, tmp_path: Path):
    """Removing a route whose deliveries nobody has fetched yet says how many."""
    path = tmp_path / "note.txt"
    path.write_text("a fictitious note")
    assert applied("send", str(path), "--from", "sender", "--integration", "notes").code == 0
    file = home / "config" / "all.yaml"
    text = file.read_text().replace("  expect:\n  - receiver", "  expect:\n  - residual")
    file.write_text(text.partition("---\nid: to-receiver")[0].partition("---\nkind: route")[0])
    assert "- route to-receiver: high risk: 1 open delivery waits for it" in applied("plan").out


def test_applying_the_same_again_changes_nothing(applied: Call):
    """No version is made for no change."""
    assert "already version 1" in applied("apply", "--yes").out
    assert "nothing would change" in applied("plan").out


def test_versions_are_numbered_and_can_come_back(applied: Call, home: Path):
    """A rollback is a new version with old content; the history says who and why."""
    file = home / "config" / "all.yaml"
    before = file.read_text()
    file.write_text(before.replace("2000000", "3000000"))
    assert json.loads(applied("apply", "--json", "--why", "larger").out)["version"] == 2
    assert "version 3 is in force" in applied("rollback", "1", "--why", "smaller").out
    listed = json.loads(applied("history", "--json").out)
    assert [(v["number"], v["why"]) for v in listed] == [(3, "smaller"), (2, "larger"), (1, "first")]
    file.write_text(before)
    assert "nothing would change" in applied("plan").out
    assert applied("rollback", "9").code == 2


def test_a_private_key_is_kept_out(call: Call, home: Path):
    """A private key in the directory is refused with where it belongs."""
    (home / "config" / "key.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    result = call("check")
    assert result.code == 2
    assert "stafet keys import" in result.err


ODD = """\
kind: system
id: third
authority: fictitious-town
---
kind: route
id: half
order: 1
integration: notes
match: {type: note, priority: bulk}
to: [{system: third}]
"""


@pytest.mark.requirement("R46")
def test_what_is_odd_is_said_with_its_place_and_code(call: Call, home: Path):
    """Errors end with 2, each finding with file, line, field, cause, remedy and code; the code can be explained."""
    (home / "config" / "odd.yaml").write_text(ODD)
    result = call("check")
    assert (result.code, result.out) == (2, "")
    assert (
        "odd.yaml:10: error: to.0.system: third may not receive under notes: no service agreement says so" in result.err
    )
    assert "odd.yaml:2: warning: id: no service agreement names it (write one, or remove the system)" in result.err
    assert "[half-route]" in result.err
    assert "1 error, 1 warning" in result.err
    said = json.loads(call("check", "--json").out)
    assert (said["ok"], [f["code"] for f in said["findings"]]) == (False, ["half-route", "unagreed-system"])
    assert said["findings"][0]["file"] == "odd.yaml:10"
    assert "residual mailbox" in call("explain", "half-route").out
    assert "`stafet check` finds 1 error: look at them first" in call("plan").out


def test_warnings_alone_are_no_failure_unless_asked(call: Call, home: Path):
    """check ends with 0 for warnings, and with 2 when told to be strict."""
    (home / "config" / "odd.yaml").write_text(ODD.partition("---")[0])
    (home / "config" / "old.pem").write_text("nothing")
    result = call("check")
    assert (result.code, "in order" in result.out, "file old.pem: warning: no document" in result.err) == (
        0,
        True,
        True,
    )
    assert call("check", "--strict").code == 2
    assert json.loads(call("check", "--strict", "--json").out)["ok"] is False


NEW = """\
kind: integration
id: visits
types: [visit]
title: Visits
responsible: {name: Birkelund Kommune}
---
{kind: service-agreement, id: visits-out, integration: visits, system: sender, may: send}
---
{kind: service-agreement, id: visits-in, integration: visits, system: receiver, may: receive}
---
{kind: route, id: visits, order: 1, integration: visits, to: [{system: receiver}]}
"""


@pytest.mark.requirement("R31", "R83")
def test_a_new_integration_is_one_file_and_touches_nothing(applied: Call, home: Path, tmp_path: Path):
    """Metadata, who may, and a route: it moves parcels at once, no other document changes, and what came goes as it went."""
    note = tmp_path / "note.txt"
    note.write_text("a fictitious note")
    assert applied("send", str(note), "--from", "sender", "--integration", "notes").code == 0
    (home / "config" / "visits.yaml").write_text(NEW)
    assert applied("check", "--strict").code == 0
    planned = json.loads(applied("plan", "--json").out)
    assert {change["what"] for change in planned["changes"]} == {"added"}
    assert json.loads(applied("backtest", "--json").out)["differences"] == []
    assert applied("apply", "--yes").code == 0
    sent = json.loads(applied("send", str(note), "--from", "sender", "--integration", "visits", "--json").out)
    assert "route visits: matched" in applied("explain", sent["parcel"]).out
    assert len(json.loads(applied("inbox", "receiver", "--take", "--out", str(tmp_path / "out"), "--json").out)) == 2
