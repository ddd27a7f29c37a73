"""backtest: what a proposed configuration would have done with what came."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from core import limits
from core.cli.replaying import span
from core.clock import DAY, MINUTE
from core.errors import UsageError
from tests.core.cli.conftest import Call

SEND = ("--from", "sender", "--integration", "notes")


@pytest.fixture
def came(applied: Call, tmp_path: Path) -> list[str]:
    """Five parcels that went to the receiver."""
    path = tmp_path / "note.txt"
    path.write_text("a fictitious note\n")
    return [json.loads(applied("send", str(path), *SEND, "--json").out)["parcel"] for _ in range(5)]


@pytest.fixture
def proposed(home: Path, tmp_path: Path) -> Path:
    """A copy of the configuration in which another route comes first."""
    folder = tmp_path / "proposed"
    shutil.copytree(home / "config", folder)
    text = (folder / "all.yaml").read_text()
    (folder / "all.yaml").write_text(text.replace("  expect:\n  - receiver", "  expect:\n  - sender"))
    route = "kind: route\nid: back\norder: 1\nmatch: {sender: sender}\nto: [{system: sender}]\n"
    (folder / "more.yaml").write_text(route)
    return folder


@pytest.mark.requirement("R46")
def test_what_would_go_elsewhere_is_shown(
    applied: Call, came: list[str], proposed: Path, monkeypatch: pytest.MonkeyPatch
):
    """Coverage, counts by integration, and each difference with both rules, both receivers and examples."""
    monkeypatch.setattr(limits, "BACKTEST_PAGE", 2)
    result = applied("backtest", str(proposed))
    assert result.code == 0
    assert "5 parcels from" in result.out
    assert f"notes: 5 would go elsewhere, as {', '.join(came[:3])}" in result.out
    assert "to receiver (by to-receiver) -> to sender (by back)" in result.out
    said = json.loads(applied("backtest", str(proposed), "--since", "1h", "--json").out)
    assert (said["from"], said["coverage"]["parcels"]) == (1, 5)
    assert said["integrations"] == {"notes": {"parcels": 5, "elsewhere": 5, "by_another": 0}}
    (difference,) = said["differences"]
    assert (difference["before"]["rules"], difference["after"]["receivers"]) == (["to-receiver"], ["sender"])
    assert difference["examples"] == came[:3]


def test_nothing_is_written_and_nothing_differs(applied: Call, came: list[str]):
    """The configuration in force would do the same again; no parcel moves by asking."""
    before = applied("trace", came[0], "--json").out
    assert "nothing would go another way" in applied("backtest").out
    assert applied("trace", came[0], "--json").out == before


def test_what_is_no_span_or_integration_is_refused(applied: Call):
    """A field is named with what can be said."""
    result = applied("backtest", "--since", "yesterday")
    assert (result.code, "since: 'yesterday' is no time span" in result.err) == (2, True)
    result = applied("backtest", "--integration", "dreams")
    assert (result.code, "known: notes" in result.err) == (2, True)
    assert "nothing to replay" in applied("backtest", "--integration", "notes").out


def test_spans():
    """A number and a unit; nothing else, and no number that reaches beyond all time."""
    assert (span("30d"), span("5m"), span("1w")) == (30 * DAY, 5 * MINUTE, 7 * DAY)
    for wrong in ("", "d", "0d", "-1d", "1.5d", "999999d", "1 d", "1y", "1d1h"):
        with pytest.raises(UsageError, match="since"):
            span(wrong)
