"""How commands speak: tables and sentences for people, one JSON document for scripts, progress on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for scripts.")]
"""The option that every command has."""

_WIDE = 240
"""Columns where nobody looks: rows stay whole for ``grep`` and for files."""

OUT = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else _WIDE)
ERR = Console(stderr=True, highlight=False, soft_wrap=True)


def say_json(value: Any) -> None:
    """One JSON document."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=1, default=str) + "\n")


def say(text: str = "") -> None:
    """A sentence. Square brackets are printed as they are."""
    OUT.print(text, markup=False)


def table(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Rows for people; says so when there are none."""
    if not rows:
        say(f"{title}: none")
        return
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for head in heads:
        made.add_column(head, overflow="fold", no_wrap=head in ("parcel", "delivery"))
    for row in rows:
        made.add_row(*(str(cell).replace("[", "\\[") for cell in row))
    OUT.print(made)


@contextmanager
def progress(what: str) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A bar on standard error while something takes long; nothing when nobody looks."""
    if not ERR.is_terminal:
        yield lambda facts: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=ERR, transient=True) as bar:
        task = bar.add_task(what, total=None)

        def show(facts: Mapping[str, Any]) -> None:
            bar.update(task, description=facts["what"], completed=facts["done"], total=facts["of"] or None)

        yield show
