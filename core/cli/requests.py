"""requests, agreements: what is asked over the API and waits for somebody, and what has been agreed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from core import limits
from core.cli import talk
from core.cli.output import Json, say, say_json, table
from core.clock import SystemClock, local
from core.errors import UsageError
from core.ledger import requests
from core.ledger.requests import Request, RequestState, Wanted
from core.runtime import Catalogue

app = typer.Typer(no_args_is_help=True, help="What systems ask for over the API: list it, approve it, refuse it.")
Named = Annotated[str, typer.Argument(help="The request's id, or as much of its beginning as only one has.")]
Why = Annotated[str, typer.Option("--why", help="Why: the asker reads it.")]


@app.command("list")
def listed(
    state: Annotated[str, typer.Option(help="pending, approved, refused or withdrawn; all when left out.")] = "",
    as_json: Json = False,
) -> None:
    """List requests, the newest first."""
    known = [one.value for one in RequestState]
    if state and state not in known:
        raise UsageError(f"--state: {state!r} is none of {', '.join(known)}")
    wanted = Wanted(everything=True, state=RequestState(state) if state else None)
    with talk.looking() as connection:
        found = requests.find(connection, wanted, limits.LIST_MOST)
    if as_json:
        say_json([_fields(one) for one in found])
        return
    rows = [
        (
            one.id,
            local(one.asked_at),
            one.asked_by,
            _what(one),
            one.integration,
            one.owner or "-",
            one.state.value,
            one.why,
        )
        for one in found
    ]
    table("requests", ("request", "asked", "by", "what", "integration", "owner", "state", "why"), rows)


def _what(one: Request) -> str:
    return f"{'remove ' if one.removes else ''}{one.kind} {one.name}"


def _fields(one: Request) -> dict[str, Any]:
    return {name: getattr(one, name) for name in Request.__dataclass_fields__}


@app.command()
def approve(request: Named, why: Why = "", as_json: Json = False) -> None:
    """Make what is asked for the next configuration version; running nodes follow it."""
    result = talk.do("approve-request", {"request": _whole(request), "who": talk.who(), "why": why}, "approving")
    if as_json:
        say_json(result)
    else:
        say(f"approved: version {result['version']} is in force")


@app.command()
def refuse(request: Named, why: Why = "", as_json: Json = False) -> None:
    """Say no; nothing is changed."""
    result = talk.do("refuse-request", {"request": _whole(request), "who": talk.who(), "why": why}, "refusing")
    if as_json:
        say_json(result)
    else:
        say("refused")


def _whole(beginning: str) -> str:
    """The one request whose id begins so. Raises `UsageError` for none and for several."""
    with talk.looking() as connection:
        found = requests.beginning(connection, beginning, 2)
    if len(found) != 1:
        raise UsageError(f"request: {'several begin' if found else 'none begins'} with {beginning!r}")
    return found[0]


def agreements(
    integration: Annotated[str, typer.Option(help="Only of this integration.")] = "",
    system: Annotated[str, typer.Option(help="Only of this system.")] = "",
    as_json: Json = False,
) -> None:
    """List service agreements: who may send and receive what, from when to when, approved by whom."""
    now = SystemClock().now()
    with talk.looking() as connection:
        configuration = talk.stored(connection, Catalogue())
    found = [
        (one, one.covers("send", now) or one.covers("receive", now))
        for _, one in sorted(configuration.all("service-agreement").items())
        if integration in ("", one.integration) and system in ("", one.system)
    ]
    if as_json:
        say_json([{**one.model_dump(mode="json", exclude={"kind"}), "in_force": holds} for one, holds in found])
        return
    rows = [
        (one.id, one.integration, one.system, one.may, one.since or "-", one.until or "-", "yes" if holds else "no",
         one.approved_by or "-")
        for one, holds in found
    ]  # fmt: skip
    table("agreements", ("id", "integration", "system", "may", "since", "until", "in force", "approved by"), rows)
