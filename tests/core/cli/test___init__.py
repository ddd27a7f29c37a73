"""The command line as a package: what it exports, and the rules its docstring promises, for every command there is."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import click
import pytest
import typer

import core.cli
from core import errors
from core.cli import app, main
from tests.core.cli.conftest import Call

TREE = typer.main.get_command(app)


def commands(tree: click.Command = TREE, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that name it."""
    if isinstance(tree, click.Group) or hasattr(tree, "commands"):
        found = [commands(one, (*path, name)) for name, one in tree.commands.items()]  # type: ignore[attr-defined]
        return [pair for several in found for pair in several]
    return [(path, tree)]


def test_it_exports_the_application_and_its_entry_point():
    """Two names: one for those who add commands, one that the installed `stafet` calls."""
    assert sorted(core.cli.__all__) == ["app", "main"]
    assert isinstance(app, typer.Typer)
    assert inspect.signature(main).parameters == {}


@pytest.mark.parametrize(
    ("path", "command"), commands(), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_every_command_speaks_json_and_says_what_it_does(path: tuple[str, ...], command: click.Command):
    """`--json` is there for scripts (a node that runs has nothing to answer), and the help is a sentence."""
    names = {name for parameter in command.params for name in parameter.opts}
    assert ("--json" in names) or path == ("up",)
    assert command.help
    assert command.help.strip().endswith(".")


def test_the_exit_codes_are_those_of_the_errors():
    """What the docstring promises is what the errors carry."""
    promised = {2: errors.UsageError, 3: errors.Refused, 4: errors.PayloadError, 5: errors.Fatal}
    assert {code: kind.exit_code for code, kind in promised.items()} == {code: code for code in promised}
    words = core.cli.__doc__ or ""
    assert "0 done, 2 asked wrongly, 3 refused, 4 payload damaged, 5 the node must not go on" in words


@pytest.mark.parametrize("words", [("status",), ("alarms",), ("inbox", "receiver"), ("keys", "list"), ("verify",)])
def test_json_is_one_document_and_nothing_else(applied: Call, words: tuple[str, ...]):
    """What a script reads from standard output can be parsed whole."""
    result = applied(*words, "--json")
    assert result.code == 0
    json.loads(result.out)


def test_a_mistake_is_one_sentence_and_no_traceback(call: Call, tmp_path: Path):
    """Whatever is wrong with a home, people read what to change."""
    result = call("status", at=tmp_path / "nowhere")
    assert (result.code, result.out) == (2, "")
    assert "node.yaml" in result.err
    assert "Traceback" not in result.err
