"""backtest: what a proposed configuration would have done with what came."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from sqlalchemy import Connection

from core import limits
from core.backtest import OTHERS, Backtest, Group
from core.cli import talk
from core.cli.configuration import directory_or_own, read_configuration
from core.cli.output import Json, progress, say, say_json, table
from core.clock import DAY, HOUR, MINUTE, Micros, SystemClock, local, rfc3339
from core.config import Configuration
from core.errors import UsageError
from core.ledger import parcels
from core.local import Progress
from core.runtime import Catalogue
from core.whatif import Place

_UNITS: Final = {"m": MINUTE, "h": HOUR, "d": DAY, "w": 7 * DAY}
_DEFAULT: Final = f"{limits.BACKTEST_SINCE // DAY}d"


def backtest(
    directory: Annotated[
        Path | None, typer.Argument(help="The proposed configuration; else the directory node.yaml names.")
    ] = None,
    since: Annotated[str, typer.Option(help="How far back: a number and m, h, d or w, as 30d.")] = _DEFAULT,
    integration: Annotated[str, typer.Option(help="Only what came under this integration.")] = "",
    as_json: Json = False,
) -> None:
    """Replay what came against a proposed configuration, and show what would go elsewhere than under the version in force."""
    now, catalogue = SystemClock().now(), Catalogue()
    begin = now - span(since)
    wanted = read_configuration(directory_or_own(directory), catalogue, as_json)
    with talk.looking() as connection, progress("replaying") as show:
        before = talk.stored(connection, catalogue)
        _demand_known(integration, before, wanted)
        made = Backtest(before, wanted, now)
        replay(connection, made, begin, integration, show)
    if as_json:
        say_json({"from": before.number, "since": rfc3339(begin), **_listed(made)})
    else:
        _show(made, before.number, begin)


def span(text: str) -> Micros:
    """``30d`` as microseconds. Raises `UsageError`."""
    found = re.fullmatch(r"([1-9]\d{0,4})([mhdw])", text)
    if found is None:
        raise UsageError(f"since: {text!r} is no time span; say a number and m, h, d or w, as 30d")
    return int(found[1]) * _UNITS[found[2]]


def _demand_known(integration: str, *configurations: Configuration) -> None:
    known = {name for one in configurations for name in one.all("integration")}
    if integration and integration not in known:
        listed = ", ".join(sorted(known)[:8]) or "none"
        raise UsageError(f"integration: nothing is called {integration!r}; known: {listed}")


def replay(connection: Connection, into: Backtest, since: Micros, integration: str, show: Progress) -> None:
    """Everything that came since then, a page at a time; between two pages the database is let go of."""
    total, done, after = parcels.count_since(connection, since, integration), 0, ""
    while page := parcels.described_since(connection, since, integration, after, limits.BACKTEST_PAGE):
        connection.rollback()
        for past in page:
            into.take(past)
        done, after = done + len(page), page[-1].id
        show({"what": "replaying", "done": done, "of": total})


def _listed(made: Backtest) -> dict[str, Any]:
    seen = made.coverage
    coverage = {
        "parcels": seen.parcels,
        "from": rfc3339(seen.first_at) if seen.first_at else None,
        "to": rfc3339(seen.last_at) if seen.last_at else None,
        "emptied": seen.emptied,
        "unreadable": seen.unreadable,
        "decided_by_value_list": dict(seen.undecided),
    }
    tallies = {name: vars(tally) for name, tally in sorted(made.integrations.items())}
    groups = [
        {
            "integration": group.integration,
            "elsewhere": group.elsewhere,
            "before": _place(group.before),
            "after": _place(group.after),
            "count": group.count,
            "examples": group.examples,
        }
        for group in made.groups
    ]
    return {"coverage": coverage, "integrations": tallies, "differences": groups}


def _place(place: Place) -> dict[str, Any]:
    return {"rules": place.rules, "receivers": place.receivers, "cause": place.cause}


def _show(made: Backtest, number: int, begin: Micros) -> None:
    seen = made.coverage
    if seen.parcels:
        say(f"{seen.parcels} parcels from {local(seen.first_at)} to {local(seen.last_at)}, against version {number}")
    else:
        say(f"nothing to replay since {local(begin)}")
    if seen.emptied:
        say(f"not replayed: {seen.emptied} whose description retention has emptied")
    if seen.unreadable:
        say(f"not replayed: {seen.unreadable} whose description this program cannot read")
    for name, count in sorted(seen.undecided.items()):
        say(
            f"not replayed: subscription {name} for {count} parcels: its value list decides, and subjects are kept sealed"
        )
    heads = ("integration", "parcels", "would go elsewhere", "decided otherwise")
    rows = [(name, t.parcels, t.elsewhere, t.by_another) for name, t in sorted(made.integrations.items())]
    if rows:
        table("replayed", heads, rows)
    for group in made.groups:
        _show_group(group)
    if rows and not made.groups:
        say("nothing would go another way")


def _show_group(group: Group) -> None:
    what = "go elsewhere" if group.elsewhere else "go where they went, decided otherwise"
    say(f"{group.integration}: {group.count} would {what}, as {', '.join(group.examples)}")
    if group.before == OTHERS:
        say("    in further ways than are told apart here")
    else:
        say(f"    {_in_words(group.before)} -> {_in_words(group.after)}")


def _in_words(place: Place) -> str:
    to = f"to {', '.join(place.receivers) or 'nobody'}"
    return f"{to} (by {', '.join(place.rules)})" if place.rules else f"{to} ({place.cause})"


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(backtest)
