"""find, failures, statistics, looked, retention: what went through, what went wrong, who looked, what was deleted."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer

from core.cli import talk
from core.cli.output import Json, say, say_json, table
from core.clock import DAY, HOUR, MINUTE, Micros, SystemClock, from_datetime, local
from core.delivery import State
from core.desk import keeping, looking, search
from core.desk import statistics as figures
from core.desk.page import Page
from core.errors import UsageError
from core.ledger import looking as look_rows
from core.ledger import search as parcel_rows
from core.ledger import statistics as sum_rows
from core.limits import PAGE, PAGE_MOST, STATISTIC_LOOK
from core.runtime import Catalogue

Since = Annotated[str, typer.Option(help="From then on: 7d, 24h, 30m, a date or a time (Danish).")]
Until = Annotated[str, typer.Option(help="Until before then.")]
Limit = Annotated[int, typer.Option(min=1, max=PAGE_MOST, help="Rows at most.")]
Before = Annotated[str, typer.Option(help="What the page before said comes next.")]
_AGO = re.compile(r"(\d{1,6})([dhm])")
_UNITS = {"d": DAY, "h": HOUR, "m": MINUTE}


def moment(name: str, value: str, now: Micros) -> Micros | None:
    """A time as people type it; None for nothing. Raises `UsageError` naming the option."""
    if not value:
        return None
    ago = _AGO.fullmatch(value)
    if ago:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        when = datetime.fromisoformat(value)
        return from_datetime(when if when.tzinfo else when.replace(tzinfo=ZoneInfo("Europe/Copenhagen")))
    except (ValueError, OverflowError):
        raise UsageError(
            f"--{name}: {value!r} is no time; write 7d, 24h, 30m, 2026-03-01 or 2026-03-01T13:00"
        ) from None


def _states(value: str) -> tuple[State, ...]:
    try:
        return tuple(State(word.strip()) for word in value.split(",")) if value else ()
    except ValueError:
        raise UsageError(f"--state: {value!r} is none of {', '.join(State)}") from None


def _more(page: Page[Any]) -> None:
    if page.next:
        say(f"there is more: --before {page.next}")


def find(
    reference: Annotated[str, typer.Argument(metavar="[ID]", help="Any name: of a parcel, message, key, case.")] = "",
    sender: Annotated[str, typer.Option(help="The sending system.")] = "",
    receiver: Annotated[str, typer.Option(help="A receiving system.")] = "",
    integration: Annotated[str, typer.Option(help="Under which integration.")] = "",
    state: Annotated[str, typer.Option(help="One of the states of a delivery, or several with commas.")] = "",
    rule: Annotated[str, typer.Option(help="The route or subscription that decided.")] = "",
    since: Since = "",
    until: Until = "",
    before: Before = "",
    limit: Limit = PAGE,
    as_json: Json = False,
) -> None:
    """Find parcels, the newest first."""
    now = SystemClock().now()
    times = (moment("since", since, now), moment("until", until, now))
    asked = parcel_rows.Asked(reference, sender, receiver, integration, _states(state), rule, *times, before=before)
    with talk.looking() as connection:
        page = search.page_of(connection, asked, limit)
    if as_json:
        say_json({"items": [asdict(one) for one in page.items], "next": page.next})
        return
    rows = [
        (
            one.parcel_id,
            local(one.accepted_at),
            one.sender,
            one.integration,
            one.type,
            ", ".join(f"{d.receiver}: {d.state} {d.code}".rstrip() for d in one.deliveries) or "nobody",
        )
        for one in page.items
    ]
    table("parcels", ("parcel", "accepted", "from", "integration", "type", "to"), rows)
    _more(page)


def failures(
    state: Annotated[str, typer.Option(help="held, failed, rejected or quarantined; all when left out.")] = "",
    receiver: Annotated[str, typer.Option(help="A receiving system, or residual.")] = "",
    integration: Annotated[str, typer.Option(help="Under which integration.")] = "",
    since: Since = "",
    before: Before = "",
    limit: Limit = PAGE,
    as_json: Json = False,
) -> None:
    """List what waits for a person, with why; `stafet resend` sends it again."""
    asked = parcel_rows.Asked(
        receiver=receiver,
        integration=integration,
        states=_states(state),
        since=moment("since", since, SystemClock().now()),
        before=before,
    )
    with talk.looking() as connection:
        page = search.failures(connection, asked, limit)
    if as_json:
        say_json({"items": [asdict(one) for one in page.items], "next": page.next})
        return
    rows = [
        (one.parcel_id, local(one.accepted_at), one.sender, one.receiver, one.state, f"{one.code} {one.reason}".strip())
        for one in page.items
    ]
    table("failures", ("parcel", "accepted", "from", "to", "state", "why"), rows)
    _more(page)


def statistics(
    by: Annotated[str, typer.Option(help="integration, sender, receiver, rule, state or hour; several with commas.")],
    since: Since = "7d",
    until: Until = "",
    integration: Annotated[str, typer.Option(help="Of this one only.")] = "",
    sender: Annotated[str, typer.Option(help="Of this one only.")] = "",
    receiver: Annotated[str, typer.Option(help="To this one only.")] = "",
    unused: Annotated[bool, typer.Option("--unused", help="Routes and subscriptions nothing went by, too.")] = False,
    limit: Limit = PAGE_MOST,
    as_json: Json = False,
) -> None:
    """Count parcels and octets; by receiver, rule or state it counts deliveries."""
    now = SystemClock().now()
    begin, end = moment("since", since, now), moment("until", until, now)
    only = {"integration": integration, "sender": sender, "receiver": receiver}
    asked = figures.asking(by, begin or 0, end or now + HOUR, only)
    idle: list[figures.Unused] = []
    with talk.looking() as connection:
        found = sum_rows.sums(connection, asked, limit)
        if unused:
            idle = figures.unused(connection, talk.stored(connection, Catalogue()), begin or 0)
    if as_json:
        sums = [
            {**dict(zip(asked.by, one.of, strict=True)), "parcels": one.parcels, "octets": one.octets} for one in found
        ]
        say_json({"sums": sums, "unused": [asdict(one) for one in idle]})
        return
    hour = asked.by.index("hour") if "hour" in asked.by else None
    rows = [
        (
            *(local(value)[:16] if place == hour else value for place, value in enumerate(one.of)),
            one.parcels,
            one.octets,
        )
        for one in found
    ]
    table("statistics", (*asked.by, "parcels", "octets"), rows)
    say(f"brought up to date every {STATISTIC_LOOK // MINUTE} minutes while a node runs")
    if unused:
        table("unused", ("kind", "id"), [(one.kind, one.id) for one in idle])


def looked(
    who: Annotated[str, typer.Option(help="A person or system.")] = "",
    object_id: Annotated[str, typer.Option("--object", help="What was looked at or changed.")] = "",
    since: Since = "",
    until: Until = "",
    before: Before = "",
    limit: Limit = PAGE,
    as_json: Json = False,
) -> None:
    """Who looked at what, and who changed what, the newest first."""
    now = SystemClock().now()
    times = (moment("since", since, now), moment("until", until, now))
    asked = look_rows.Asked(who, "", "", object_id, *times, before=before)
    with talk.looking() as connection:
        page = looking.page_of(connection, asked, limit)
    if as_json:
        say_json({"items": [asdict(one) for one in page.items], "next": page.next})
        return
    rows = [(local(one.at), one.who, one.authority, one.action, one.object, one.outcome) for one in page.items]
    table("looked", ("when", "who", "authority", "action", "what", "outcome"), rows)
    _more(page)


def retention(as_json: Json = False) -> None:
    """What was deleted when its time was over, as the trace states it."""
    with talk.looking() as connection:
        lines = keeping.statements(connection)
    if as_json:
        say_json([{"at": line.at, "chain": line.chain, "seq": line.seq, **line.facts} for line in lines])
        return
    rows = [
        (local(line.at), what, number, local(until))
        for line in lines
        for what, (number, until) in [
            *((f"parcels of {name}", said) for name, said in line.facts.get("parcels", {}).items()),
            *((name, said) for name, said in line.facts.items() if name != "parcels"),
        ]
    ]
    table("deleted", ("when", "what", "how many", "from before"), rows)


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (find, failures, statistics, looked, retention):
        app.command()(command)
