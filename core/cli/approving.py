"""approve, reject: a second person looks at a change of high risk before it comes into force."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from core.cli import talk
from core.cli.configuration import Planned, plan_over, show_plan
from core.cli.output import Json, say, say_json, table
from core.clock import local
from core.config import Configuration
from core.ledger import proposals, versions
from core.ledger.proposals import Proposal
from core.risk import total
from core.runtime import Catalogue

Why = Annotated[str, typer.Option("--why", help="Why, for whoever reads the history.")]


def approve(
    proposal: Annotated[str, typer.Argument(help="A proposal; left out = list those that wait.")] = "",
    why: Why = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Say yes to a proposed configuration that somebody else has asked for; without one, list those that wait."""
    if not proposal:
        _list(as_json)
        return
    if not as_json:
        with talk.looking() as connection:
            one, planned = _planned(connection, proposal)
        say(
            f"asked for by {one.asked_by} {local(one.asked_at)}, over version {one.over}: {one.why or 'no reason given'}"
        )
        show_plan(planned)
        if not yes and sys.stdin.isatty() and not typer.confirm("Approve?"):
            raise typer.Exit(1)
    result = talk.do("approve", {"proposal": proposal, "who": talk.who(), "why": why}, "approving")
    if as_json:
        say_json(result)
    else:
        say(f"version {result['version']} is in force")


def _planned(connection: Connection, name: str) -> tuple[Proposal, Planned]:
    """A proposal, and what it would change now."""
    catalogue = Catalogue()
    one = proposals.get(connection, name)
    wanted = Configuration.from_json(one.content, catalogue.kinds, 0)
    return one, plan_over(connection, talk.stored(connection, catalogue), wanted)


def _list(as_json: bool) -> None:
    with talk.looking() as connection:
        found = proposals.waiting(connection)
        in_force = versions.latest_number(connection)
        risks = {one.id: total(_planned(connection, one.id)[1].risks) for one in found}
    if as_json:
        said: list[dict[str, Any]] = [
            {
                **{"proposal": one.id, "asked_by": one.asked_by, "at": one.asked_at, "why": one.why, "over": one.over},
                **{"risk": risks[one.id], "too_late": one.over != in_force},
            }
            for one in found
        ]
        say_json(said)
        return
    rows = [
        (
            one.id,
            local(one.asked_at),
            one.asked_by,
            one.why,
            f"{one.over}{'' if one.over == in_force else ' (too late)'}",
        )
        for one in found
    ]
    table("proposals", ("proposal", "when", "asked by", "why", "over version"), rows)


def reject(
    proposal: Annotated[str, typer.Argument(help="A proposal, somebody's or one's own.")],
    why: Why = "",
    as_json: Json = False,
) -> None:
    """Say no to a proposed configuration; what is in force stays."""
    result = talk.do("reject", {"proposal": proposal, "who": talk.who(), "why": why}, "rejecting")
    if as_json:
        say_json(result)
    else:
        say(f"proposal {proposal} is rejected; the version in force stays")


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (approve, reject):
        app.command()(command)
