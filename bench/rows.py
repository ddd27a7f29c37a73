"""What a benchmark says: rows, as a table for people and as ``build/bench.json`` for machines.

Rule: a figure of one machine alone says little. A row that matters names what it is compared ``against``, the ``ratio`` taken in
the same run, and the ``bar`` that ratio is to reach; ``ok`` is whether it does. A row without a bar informs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.machine import describe


@dataclass(frozen=True)
class Row:
    """One figure. ``against`` says in words what ``ratio`` is taken of; a ``bar`` of None passes always."""

    name: str
    value: float
    unit: str
    against: str = ""
    ratio: float | None = None
    bar: float | None = None
    ok: bool = True


def ratio_row(name: str, value: float, unit: str, against: str, base: float, bar: float, *, least: bool = True) -> Row:
    """A row whose ``value / base`` must be at ``least`` the bar, or at most it."""
    ratio = value / base if base else 0.0
    return Row(name, value, unit, against, ratio, bar, bool(base) and (ratio >= bar if least else ratio <= bar))


def write(rows: Sequence[Row], path: Path) -> bool:
    """Write the report and print the table. Gives whether every row is ok."""
    ok = all(row.ok for row in rows)
    report = {"machine": describe(), "rows": [asdict(row) for row in rows], "ok": ok}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    console = Console()
    console.print(table(rows))
    console.print(", ".join(f"{name} {value}" for name, value in describe().items()), highlight=False, style="dim")
    return ok


def table(rows: Sequence[Row]) -> Table:
    """The rows for people."""
    made = Table("figure", "value", "unit", "against", "ratio", "bar", "")
    for column in (1, 4, 5):
        made.columns[column].justify = "right"
    for row in rows:
        verdict = "" if row.bar is None else "[green]ok[/]" if row.ok else "[red]missed[/]"
        made.add_row(row.name, number(row.value), row.unit, row.against, number(row.ratio), number(row.bar), verdict)
    return made


def number(value: float | None) -> str:
    """Three digits that count; nothing for None."""
    if value is None:
        return ""
    size = abs(value)
    return (
        f"{value:,.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 1
        else f"{value:.3f}"
    )
