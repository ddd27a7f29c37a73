"""Tables, sentences, JSON, progress."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from core.cli import output


def test_json_is_one_document(capsys: pytest.CaptureFixture[str]):
    """Danish letters stay readable; what JSON does not know becomes text."""
    output.say_json({"ord": "kvittering på dansk", "at": io})
    assert json.loads(capsys.readouterr().out)["ord"] == "kvittering på dansk"


def test_brackets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]):
    """Nothing that is shown is taken for markup."""
    output.say("[bold]x[/bold]")
    output.table("t", ("a",), [("[red]y",)])
    shown = capsys.readouterr().out
    assert "[bold]x[/bold]" in shown
    assert "[red]y" in shown


def test_an_empty_table_says_so(capsys: pytest.CaptureFixture[str]):
    """No rows, no heads."""
    output.table("alarms", ("a",), [])
    assert capsys.readouterr().out == "alarms: none\n"


def test_progress_is_shown_to_people_alone(monkeypatch: pytest.MonkeyPatch):
    """A terminal gets a bar, a file nothing."""
    for terminal in (True, False):
        seen = io.StringIO()
        monkeypatch.setattr(output, "ERR", Console(file=seen, force_terminal=terminal))
        with output.progress("copying") as show:
            show({"what": "objects", "done": 1, "of": 2})
            show({"what": "objects", "done": 1, "of": 0})
        assert bool(seen.getvalue()) is terminal
