"""send, inbox, resend, status, alarms: moving things and seeing what waits."""

from __future__ import annotations

import mimetypes
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli import talk
from core.cli.output import Json, say, say_json, table
from core.clock import SECOND, SystemClock, local
from core.delivery import State
from core.errors import Refused, UsageError
from core.ledger import alarms as alarm_rows
from core.ledger import deliveries, parcels

_BAD = {State.FAILED.value, State.REJECTED.value, State.QUARANTINED.value}
_DONE = {*_BAD, State.DELIVERED.value, State.ACCEPTED.value}


def send(
    files: Annotated[list[Path], typer.Argument(help="The payloads of one parcel.")],
    sender: Annotated[str, typer.Option("--from", help="The sending system.")],
    integration: Annotated[str, typer.Option(help="Under which integration.")],
    kind: Annotated[str, typer.Option("--type", help="Payload type; else the integration's first.")] = "",
    to: Annotated[str, typer.Option(help="The intended receiving system; else routes decide.")] = "",
    function: Annotated[str, typer.Option(help="The intended receiving function.")] = "",
    priority: Annotated[str, typer.Option(help="urgent, normal or bulk.")] = "",
    media_type: Annotated[str, typer.Option(help="Else guessed by the file's name.")] = "",
    correlation_id: Annotated[str, typer.Option(help="What it belongs together with.")] = "",
    key: Annotated[str, typer.Option(help="Counts once: the same key again is the same parcel.")] = "",
    wait: Annotated[float, typer.Option(help="Seconds to wait until it is delivered or refused.")] = 0.0,
    as_json: Json = False,
) -> None:
    """Hand files over as one parcel."""
    for file in files:
        if not file.is_file():
            raise UsageError(f"{file}: there is no such file")
    description: dict[str, Any] = {"type": kind, "priority": priority, "correlation_id": correlation_id}
    description = {name: value for name, value in description.items() if value}
    if to or function:
        description["receiver"] = {"system": to or None, "function": function or None}
    args = {
        "paths": [str(file.resolve()) for file in files],
        "sender": sender,
        "integration": integration,
        "media_type": media_type or mimetypes.guess_type(files[0].name)[0] or "application/octet-stream",
        "description": description,
        "key": key,
    }
    result = talk.do("send", args, "sending")
    states = _wait(result["parcel"], wait) if wait else []
    if as_json:
        say_json({**result, "deliveries": states})
    else:
        again = " (it was sent before under this key)" if result["judgement"] == "known" else ""
        say(f"parcel {result['parcel']} accepted{again}")
        for one in states:
            say(f"  {one['receiver']}: {one['state']} {one['code']} {one['reason']}".rstrip())
    if result["judgement"] == "conflict":
        raise Refused(f"--key: {key!r} was used before for other content; choose another key")
    if any(one["state"] in _BAD for one in states):
        raise typer.Exit(Refused.exit_code)


def _wait(parcel: str, seconds: float) -> list[dict[str, str]]:
    """The deliveries' states, once all are settled or the time is up."""
    clock = SystemClock()
    until = clock.now() + int(seconds * SECOND)
    while True:
        with talk.looking() as connection:
            rows = deliveries.of_parcel(connection, parcel)
        settled = all(row.state in _DONE or row.gateway == "" for row in rows)
        if settled or clock.now() > until:
            return [
                {"receiver": r.receiver, "state": r.state, "code": r.last_code, "reason": r.last_reason} for r in rows
            ]
        time.sleep(0.05)


def inbox(
    system: Annotated[str, typer.Argument(help="A system that pulls, or residual.")],
    take: Annotated[bool, typer.Option("--take", help="Write the payloads to --out and acknowledge them.")] = False,
    out: Annotated[Path, typer.Option(help="Where to write.")] = Path("inbox"),
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 50,
    wait: Annotated[float, typer.Option(help="Seconds to wait for the first, with --take.")] = 0.0,
    as_json: Json = False,
) -> None:
    """List what waits for a system; --take takes it."""
    if take:
        args = {"system": system, "out": str(out.resolve()), "limit": limit, "wait": wait}
        taken = talk.do("take", args, "taking")
        if as_json:
            say_json(taken)
            return
        for one in taken:
            for file in one["files"]:
                say(f"{one['parcel']} {one['integration']}: {file}")
        if not taken:
            say("nothing waits")
        return
    with talk.looking() as connection:
        rows = deliveries.mailbox(connection, system, limit)
        found = parcels.load_many(connection, [r.parcel_id for r in rows]) if rows else {}
    listed = []
    for row in rows:
        parcel = found[row.parcel_id]
        listed.append(
            {
                "parcel": row.parcel_id,
                "delivery": row.id,
                "state": row.state,
                "integration": parcel.integration,
                "sender": parcel.sender,
                "accepted": parcel.accepted_at,
                "payloads": [[p.name, p.size] for p in parcel.payloads],
            }
        )
    if as_json:
        say_json(listed)
        return
    heads = ("parcel", "accepted", "from", "integration", "payloads", "state")
    shown = [
        (i["parcel"], local(i["accepted"]), i["sender"], i["integration"], len(i["payloads"]), i["state"])
        for i in listed
    ]
    table(f"waiting for {system}", heads, shown)


def resend(
    reference: Annotated[str, typer.Argument(help="A parcel or a delivery.")] = "",
    held: Annotated[bool, typer.Option("--held", help="Everything that is held, as after a restore.")] = False,
    why: Annotated[str, typer.Option("--why", help="Why, for the trace.")] = "",
    as_json: Json = False,
) -> None:
    """Send again what failed, was refused, is held or lies in the residual mailbox."""
    if bool(reference) == held:
        raise UsageError("name one parcel or delivery, or say --held")
    args = {"reference": reference, "held": held, "who": talk.who(), "why": why}
    result = talk.do("resend", args, "resending")
    if as_json:
        say_json(result)
        return
    for one in result:
        route = f" by route {one['route']}" if "route" in one else ""
        say(f"{one['delivery']} to {one['receiver']}: {one['state']}{route} {one.get('cause', '')}".rstrip())


def skip(
    reference: Annotated[str, typer.Argument(help="A parcel or a delivery that failed.")],
    why: Annotated[str, typer.Option("--why", help="Why, for the trace.")] = "",
    as_json: Json = False,
) -> None:
    """Where order is agreed: let what comes after a failed delivery go on without it."""
    result = talk.do("skip", {"reference": reference, "who": talk.who(), "why": why}, "skipping")
    if as_json:
        say_json(result)
        return
    for one in result:
        say(f"{one['delivery']} to {one['receiver']} is {one['state']} and passed by")


def status(as_json: Json = False) -> None:
    """Who the node is and what it has to do."""
    result = talk.do("status", {}, "asking")
    if as_json:
        say_json(result)
        return
    say(f"node {result['node']}, configuration version {result['version']}")
    for reason in result["not_ready"]:
        say(f"  not ready: {reason}")
    for state, count in sorted(result["deliveries"].items()):
        say(f"  {state}: {count}")
    for one in result["paused"]:
        named = f"{one['gateway']} {one['destination']}".strip()
        say(f"{named} has not answered since {local(one['since'])} ({one['code']}); next probe {local(one['next'])}")


def alarms(
    clear: Annotated[bool, typer.Option("--clear", help="Somebody has seen to all of these.")] = False,
    as_json: Json = False,
) -> None:
    """What waits for a person."""
    with talk.looking() as connection:
        found = alarm_rows.open_alarms(connection)
    if clear and found:
        talk.do("clear", {"alarms": [a.id for a in found]}, "clearing")
    if as_json:
        say_json([{"at": a.at, "code": a.code, "text": a.text, "parcel": a.parcel_id} for a in found])
        return
    table("alarms", ("when", "code", "what", "parcel"), [(local(a.at), a.code, a.text, a.parcel_id) for a in found])
    if clear and found:
        say(f"{len(found)} cleared")


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (send, inbox, resend, skip, status, alarms):
        app.command()(command)
