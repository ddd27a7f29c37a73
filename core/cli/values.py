"""values: what is on a value list, changed from a file and counted; nobody can read it back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core.cli import talk
from core.cli.output import Json, say, say_json
from core.errors import UsageError

Lines = typer.Option(help="A file of one value a line.", exists=True, dir_okay=False)


def values(
    list_id: Annotated[str, typer.Argument(metavar="LIST", help="The value list's id.")],
    add: Annotated[Path | None, Lines] = None,
    remove: Annotated[Path | None, Lines] = None,
    replace: Annotated[Path | None, Lines] = None,
    count: Annotated[bool, typer.Option("--count", help="Only say how many there are.")] = False,
    as_json: Json = False,
) -> None:
    """Add, remove or replace the values of a value list, and say how many there are."""
    files = {"add": add, "remove": remove, "replace": replace}
    named = {word: str(path.resolve()) for word, path in files.items() if path is not None}
    if len(named) + count != 1:
        raise UsageError("say one of --add FILE, --remove FILE, --replace FILE, --count")
    result = talk.do("values", {"list": list_id, **named}, "values")
    if as_json:
        say_json(result)
    elif count:
        say(f"{list_id}: {result['count']} values")
    else:
        say(f"{list_id}: {result['added']} added, {result['removed']} removed, {result['count']} now")


def add_to(app: typer.Typer) -> None:
    """Register this module's command."""
    app.command()(values)
