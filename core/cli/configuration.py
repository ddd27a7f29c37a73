"""check, plan, apply, rollback, history: what an organisation has agreed, in versions."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from core import config
from core.cli import talk
from core.cli.output import ERR, Json, say, say_json, table
from core.clock import SystemClock, local
from core.config import Change, Configuration
from core.errors import ConfigError, UsageError
from core.ledger import deliveries, versions
from core.lint import Finding, lint
from core.risk import LEVELS, Risk, Waiting, WaitingGroup, assess, total
from core.runtime import Catalogue

Directory = Annotated[Path | None, typer.Argument(help="The configuration directory; else the one node.yaml names.")]
Why = Annotated[str, typer.Option("--why", help="Why, for whoever reads the history.")]


def directory_or_own(given: Path | None) -> Path:
    """The directory that was named, or the one node.yaml names."""
    return given if given is not None else talk.settings().config_path


def read_configuration(directory: Path, catalogue: Catalogue, as_json: bool) -> Configuration:
    """The directory's configuration; prints everything that is wrong and ends with 2."""
    try:
        return config.load(directory, catalogue.kinds, catalogue.checks)
    except ExceptionGroup as group:
        problems = [p for p in group.exceptions if isinstance(p, ConfigError)]
        if as_json:
            named = [{"file": p.file, "field": p.field, "cause": p.cause, "remedy": p.remedy} for p in problems]
            say_json({"ok": False, "problems": named})
        for problem in problems:
            ERR.print(str(problem), markup=False)
        ERR.print(f"{_many(len(problems), 'problem')}; nothing is applied", markup=False)
        raise typer.Exit(UsageError.exit_code) from None


Strict = Annotated[bool, typer.Option("--strict", help="End with 2 for warnings as well.")]


def check(directory: Directory = None, strict: Strict = False, as_json: Json = False) -> None:
    """Find everything that is wrong or odd in a configuration directory, with file, line, field, cause and remedy."""
    wanted = read_configuration(directory_or_own(directory), Catalogue(), as_json)
    found = lint(wanted, SystemClock().now())
    errors = sum(one.severity == "error" for one in found)
    bad = bool(errors or (strict and found))
    counts = {kind: len(documents) for kind, documents in sorted(wanted.documents.items())}
    if as_json:
        named = [_named(wanted, one) for one in found]
        say_json({"ok": not bad, "documents": counts, "files": len(wanted.files), "findings": named})
    for one in found if not as_json else ():
        where = wanted.where(one.kind, one.id, one.field) or f"{one.kind} {one.id}"
        field = f"{one.field}: " if one.field else ""
        ERR.print(f"{where}: {one.severity}: {field}{one.cause} ({one.remedy}) [{one.code}]", markup=False)
    if found and not as_json:
        ERR.print(f"{_many(errors, 'error')}, {_many(len(found) - errors, 'warning')}", markup=False)
    if bad:
        raise typer.Exit(UsageError.exit_code)
    if not as_json:
        say("in order: " + ", ".join(f"{count} {kind}" for kind, count in counts.items()))


def _many(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _named(wanted: Configuration, one: Finding) -> dict[str, str]:
    where = {"file": wanted.where(one.kind, one.id, one.field), "kind": one.kind, "id": one.id, "field": one.field}
    return {**where, "severity": one.severity, "code": one.code, "cause": one.cause, "remedy": one.remedy}


@dataclass(frozen=True)
class Planned:
    """What applying a directory would change, and how risky each change is."""

    number: int
    changes: list[Change]
    risks: list[Risk]
    errors: int
    """Of what `check` finds odd: parcels that will not go where the documents mean them to."""


def _planned(directory: Path, as_json: bool) -> Planned:
    catalogue = Catalogue()
    wanted = read_configuration(directory, catalogue, as_json)
    try:
        with talk.looking() as connection:
            return plan_over(connection, talk.stored(connection, catalogue), wanted)
    except ConfigError as error:
        if error.field:
            raise
    changes = config.plan(config.EMPTY, wanted)  # there is no ledger yet
    return Planned(0, changes, assess(config.EMPTY, wanted, changes, Waiting()), _errors(wanted))


def _errors(wanted: Configuration) -> int:
    return sum(one.severity == "error" for one in lint(wanted, SystemClock().now()))


def plan_over(connection: Connection, old: Configuration, wanted: Configuration) -> Planned:
    """What a configuration would change over another, with the deliveries that wait now."""
    waiting = Waiting(WaitingGroup(*row) for row in deliveries.open_by_cause(connection))
    changes = config.plan(old, wanted)
    return Planned(old.number, changes, assess(old, wanted, changes, waiting), _errors(wanted))


def show_plan(planned: Planned) -> None:
    """A plan for people."""
    if not planned.changes:
        say(f"nothing would change: the directory is version {planned.number}")
        return
    for change, risk in zip(planned.changes, planned.risks, strict=True):
        mark = {"added": "+", "removed": "-", "changed": "~"}[change.what]
        say(f"{mark} {change.kind} {change.id}: {risk.level} risk: {risk.reason}")
        for path, old, new in change.fields:
            say(f"    {path}: {old} -> {new}")
    counts = Counter(risk.level for risk in planned.risks)
    listed = ", ".join(f"{counts[level]} {level}" for level in reversed(LEVELS) if counts[level])
    say(f"risk of the whole: {total(planned.risks)} ({listed})")
    if planned.errors:
        say(f"it can be applied, and `stafet check` finds {_many(planned.errors, 'error')}: look at them first")


def _listed(planned: Planned) -> list[dict[str, object]]:
    return [
        {
            "what": c.what,
            "kind": c.kind,
            "id": c.id,
            "risk": risk.level,
            "reason": risk.reason,
            "fields": [dict(zip(("path", "old", "new"), f, strict=True)) for f in c.fields],
        }
        for c, risk in zip(planned.changes, planned.risks, strict=True)
    ]


def plan(directory: Directory = None, as_json: Json = False) -> None:
    """Say what applying the directory would change, document by document and field by field, and how risky that is."""
    planned = _planned(directory_or_own(directory), as_json)
    if as_json:
        say_json({"from": planned.number, "risk": total(planned.risks), "changes": _listed(planned)})
    else:
        show_plan(planned)


def apply(
    directory: Directory = None,
    why: Why = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Store the directory as the next numbered version; running nodes follow it."""
    root = directory_or_own(directory)
    planned = _planned(root, as_json)
    if planned.changes and not as_json:
        show_plan(planned)
        if not yes and sys.stdin.isatty() and not typer.confirm("Apply?"):
            raise typer.Exit(1)
    result = talk.do("apply", {"directory": str(root.resolve()), "who": talk.who(), "why": why}, "applying")
    if as_json:
        say_json(result)
    elif "proposal" in result:
        _say_proposed(result)
    else:
        say(f"version {result['version']} is in force" if result["changes"] else f"already version {result['version']}")


def _say_proposed(result: dict[str, Any]) -> None:
    say(f"version {result['version']} stays in force: the change is of high risk, and a second person must approve it")
    say(f"they say: stafet approve {result['proposal']}")


def rollback(
    number: Annotated[int, typer.Argument(help="The version whose content shall come back.")],
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Store an old version's content as the next version."""
    result = talk.do("rollback", {"number": number, "who": talk.who(), "why": why}, "rolling back")
    if as_json:
        say_json(result)
    elif "proposal" in result:
        _say_proposed(result)
    else:
        say(f"version {result['version']} is in force, with the content of version {number}")


def history(as_json: Json = False) -> None:
    """List the configuration versions: number, when, who, why."""
    with talk.looking() as connection:
        found = versions.history(connection)
    if as_json:
        say_json([{"number": v.number, "at": v.at, "who": v.who, "why": v.why} for v in found])
    else:
        table("versions", ("number", "when", "who", "why"), [(v.number, local(v.at), v.who, v.why) for v in found])


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (check, plan, apply, rollback, history):
        app.command()(command)
