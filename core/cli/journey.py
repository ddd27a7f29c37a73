"""trace, explain: what happened, why, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import Connection

from core import explain as words
from core import limits
from core.cli import talk
from core.cli.configuration import read_configuration
from core.cli.output import Json, say, say_json, table
from core.clock import SystemClock, local
from core.delivery import OPEN_STATES, State
from core.documents import read_value
from core.errors import NotFound, UsageError
from core.kernel import refusal_id
from core.ledger import deliveries, expectations, parcels, search, trace, unreachable
from core.ledger.handing import MISDELIVERED, wrong_here
from core.ledger.trace import Line
from core.lint import CODES as ODDITIES
from core.runtime import Catalogue
from core.whatif import Sent, answers, enriched, place

Reference = Annotated[str, typer.Argument(help="A parcel, a delivery, or the name the far side knows it by.")]


@dataclass
class Journey:
    """What the ledger knows under a reference. ``parcel`` is "" for a refusal at the door."""

    parcel: str
    lines: list[Line]
    deliveries: list[Any]
    receipts: list[Any]


def find(connection: Connection, reference: str) -> Journey:
    """Everything under a reference. Raises `NotFound`."""
    refused = trace.of_parcel(connection, refusal_id(reference))
    named = list(search.named(connection, reference))
    if not named and not refused:
        kinds = (
            "no parcel, delivery, message or refusal; what parcels have in common, such as a case, is for `stafet find`"
        )
        raise NotFound(f"nothing here is called {reference!r}: {kinds}")
    parcel = named[0] if named else ""
    lines = [*(trace.of_parcel(connection, parcel) if parcel else []), *refused]
    rows = deliveries.of_parcel(connection, parcel) if parcel else []
    receipts = deliveries.receipts_of(connection, [r.id for r in rows]) if rows else []
    return Journey(parcel, sorted(lines, key=lambda line: line.at), rows, receipts)


def trace_of(reference: Reference, as_json: Json = False) -> None:
    """Show what happened to a parcel or message, step by step."""
    with talk.looking() as connection:
        found = find(connection, reference)
    if as_json:
        lines = [{"at": x.at, "event": x.event, "chain": x.chain, "seq": x.seq, "facts": x.facts} for x in found.lines]
        states = [{"delivery": d.id, "receiver": d.receiver, "state": d.state} for d in found.deliveries]
        say_json({"parcel": found.parcel, "lines": lines, "deliveries": states, "receipts": len(found.receipts)})
        return
    rows = [(local(x.at), words.event(x.event, x.facts), words.detail(x.event, x.facts)) for x in found.lines]
    table(f"parcel {found.parcel}" if found.parcel else f"refused: {reference}", ("when", "what", "details"), rows)
    for one in found.deliveries:
        kept = sum(r.delivery_id == one.id for r in found.receipts)
        where = words.whither(one.receiver, one.gateway, one.destination)
        state = "sent on" if wrong_here(one) else one.state
        say(f"{where}: {state}" + (f", {kept} receipt{'s' if kept > 1 else ''} kept" if kept else ""))


def explain(
    reference: Annotated[str, typer.Argument(help="A reference as for trace, or a code.")] = "",
    description: Annotated[
        Path | None, typer.Option(help="Instead: a payload description (JSON or YAML) that nobody has sent yet.")
    ] = None,
    integration: Annotated[str, typer.Option(help="The integration it would be sent under.")] = "",
    directory: Annotated[
        Path | None, typer.Option(help="Ask this configuration directory instead of the version in force.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say where something stands, why, and what to change; or where something would go, and what each filter says of it."""
    catalogue = Catalogue()
    if description is not None:
        _explain_unsent(description, integration, directory, catalogue, as_json)
        return
    if not reference:
        raise UsageError("reference: say a parcel, message or code, or --description FILE with --integration")
    meaning = words.code(reference, catalogue.explain) or ODDITIES.get(reference, "")
    if meaning:
        sentences = [meaning]
    else:
        with talk.looking() as connection:
            sentences = explanation(connection, find(connection, reference), catalogue)
    if as_json:
        say_json({"reference": reference, "explanation": sentences})
        return
    for sentence in sentences:
        say(sentence)


def _explain_unsent(path: Path, name: str, directory: Path | None, catalogue: Catalogue, as_json: bool) -> None:
    """Where a description would go now, and what every route or subscription says of it."""
    if directory is not None:
        wanted = read_configuration(directory, catalogue, as_json)
    else:
        with talk.looking() as connection:
            wanted = talk.stored(connection, catalogue)
    integration = wanted.all("integration").get(name)
    if integration is None:
        known = ", ".join(sorted(wanted.all("integration"))) or "none"
        raise UsageError(f"integration: nothing is called {name!r}; known: {known}")
    said = integration.describe(_fields(path))
    now = SystemClock().now()
    sent = Sent(said.sender, name, said.without_subjects(), said.size, has_subjects=bool(said.subjects))
    where, asked, gained = place(wanted, sent, now), answers(wanted, sent, now), enriched(wanted, sent)
    if as_json:
        listed = [{"kind": a.kind, "id": a.id, "matches": a.matches, "why": a.why} for a in asked]
        say_json(
            {
                "rules": where.rules,
                "receivers": where.receivers,
                "cause": where.cause,
                "added": gained.added,
                "answers": listed,
            }
        )
        return
    why = f"by {', '.join(where.rules)}" if where.rules else where.cause
    say(f"to {', '.join(where.receivers) or 'nobody'}: {why}")
    for facts in gained.added:
        say(f"{words.event('enriched', facts)}: {words.detail('enriched', facts)}")
    for one in asked:
        matched = {True: "matches", False: "does not match", None: "cannot be said"}[one.matches]
        say(f"{one.kind} {one.id}: {matched}: {one.why}")


def _fields(path: Path) -> dict[str, Any]:
    """What a file says of a description. Raises `UsageError`, `ConfigError`."""
    try:
        with path.open("rb") as file:
            octets = file.read(limits.DESCRIPTION_SIZE + 1)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from None
    if len(octets) > limits.DESCRIPTION_SIZE:
        raise UsageError(f"{path}: longer than {limits.DESCRIPTION_SIZE} octets")
    value = read_value(octets, str(path))
    if not isinstance(value, dict):
        raise UsageError(f"{path}: is no mapping of fields; see docs/reference/payload-description.md")
    return value


def explanation(connection: Connection, found: Journey, catalogue: Catalogue) -> list[str]:
    """The sentences of `explain` for what was found."""
    sentences: list[str] = []
    for line in found.lines:
        if line.event == "refused" and line.facts.get("reference"):
            sentences += _refusal(line, catalogue)
    for one in found.deliveries:
        if wrong_here(one):
            sentences.append(f"to {one.receiver}: {words.code(MISDELIVERED, catalogue.explain)}")
            continue
        first, *more = words.standing(
            one.state, one.last_code, one.last_reason, catalogue.explain, pulled=not one.gateway
        )
        sentences += [f"to {one.receiver}: {first}", *more, *_kept_waiting(connection, one)]
    if found.parcel:
        sentences += _expected(connection, found.parcel)
        sentences += _routing(connection, found, catalogue)
    return sentences


def _expected(connection: Connection, parcel_id: str) -> list[str]:
    """The receipts that are or were expected, and how that stands."""
    return [
        f"{row.level} receipt expected of {row.kind} {row.name or 'whoever it is'} by {local(row.due_at)}: {row.state}"
        for row in expectations.of_parcel(connection, parcel_id)
    ]


def _kept_waiting(connection: Connection, one: Any) -> list[str]:
    """Why a delivery that is due is not attempted."""
    if one.state not in OPEN_STATES or not one.gateway:
        return []
    said = [
        words.not_attempted(pause.since, pause.probe_at, pause.code, pause.reason)
        for pause in unreachable.all_paused(connection)
        if pause.where == (one.gateway, one.destination)
    ]
    first = deliveries.ahead_of(connection, one)
    if first is not None:
        said.append(words.behind(first.parcel_id, first.state, stopped=first.state not in (*OPEN_STATES, State.HELD)))
    return said


def _refusal(line: Line, catalogue: Catalogue) -> list[str]:
    facts = line.facts
    said = f"refused {local(line.at)} with {facts['code']}: {facts.get('field', '')}: {facts.get('cause', '')}"
    sentences = [said.replace(": : ", ": ")]
    if facts.get("remedy"):
        sentences.append(f"What to do: {facts['remedy']}")
    if meaning := words.code(facts["code"], catalogue.explain):
        sentences.append(meaning)
    return sentences


def _routing(connection: Connection, found: Journey, catalogue: Catalogue) -> list[str]:
    """Which route decided, and why those before it did not."""
    accepted = next((line for line in found.lines if line.event == "accepted"), None)
    if accepted is None:
        return []
    parcel = parcels.load(connection, found.parcel)
    sentences = []
    if accepted.facts.get("cause"):
        sentences.append(f"residual mailbox: {accepted.facts['cause']}")
        sentences.append(words.CODES["residual"])
    sentences += [
        f"{words.event(line.event, line.facts)}: {words.detail(line.event, line.facts)}"
        for line in found.lines
        if line.event in ("enriched", "not-enriched")
    ]
    configuration = talk.stored(connection, catalogue, int(accepted.facts.get("version", 0)))
    for verdict in configuration.routes.explain(parcel.description, parcel.integration):
        sentences.append(f"route {verdict.route}: {'matched' if verdict.matched else 'did not match'}: {verdict.why}")
    return sentences


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command("trace")(trace_of)
    app.command()(explain)
