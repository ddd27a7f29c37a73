"""trace, explain: what happened, why, and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, select

from core import explain as words
from core.cli import talk
from core.cli.output import Json, say, say_json, table
from core.clock import local
from core.delivery import OPEN_STATES, State
from core.errors import NotFound
from core.kernel import refusal_id
from core.ledger import deliveries, parcels, trace, unreachable
from core.ledger.tables import idempotency
from core.ledger.trace import Line
from core.runtime import Catalogue

Reference = Annotated[str, typer.Argument(help="A parcel, a delivery, or the name the far side knows it by.")]


@dataclass
class Journey:
    """What the ledger knows under a reference. ``parcel`` is "" for a refusal at the door."""

    parcel: str
    lines: list[Line]
    deliveries: list[Any]
    receipts: list[Any]


def _parcels_named(connection: Connection, reference: str) -> list[str]:
    """The parcels a reference may mean: by id, by delivery, by an outside name, by the sender's key."""
    if deliveries.of_parcel(connection, reference):
        return [reference]
    own = deliveries.by_outside_id(connection, reference) or reference
    found = deliveries.get(connection, own)
    if found is not None:
        return [found.parcel_id]
    query = select(idempotency.c.parcel_id).where(idempotency.c.value == reference)
    return list(connection.execute(query).scalars())


def find(connection: Connection, reference: str) -> Journey:
    """Everything under a reference. Raises `NotFound`."""
    refused = trace.of_parcel(connection, refusal_id(reference))
    named = _parcels_named(connection, reference)
    if not named and not refused:
        raise NotFound(f"nothing here is called {reference!r}: no parcel, delivery, message or refusal")
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
        via = f" through {one.gateway}" if one.gateway else ", who pulls"
        say(
            f"to {one.receiver}{via}: {one.state}" + (f", {kept} receipt{'s' if kept > 1 else ''} kept" if kept else "")
        )


def explain(
    reference: Annotated[str, typer.Argument(help="A reference as for trace, or a code.")], as_json: Json = False
) -> None:
    """Say where something stands, why, and what to change."""
    catalogue = Catalogue()
    meaning = words.code(reference, catalogue.explain)
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


def explanation(connection: Connection, found: Journey, catalogue: Catalogue) -> list[str]:
    """The sentences of `explain` for what was found."""
    sentences: list[str] = []
    for line in found.lines:
        if line.event == "refused" and line.facts.get("reference"):
            sentences += _refusal(line, catalogue)
    for one in found.deliveries:
        first, *more = words.standing(
            one.state, one.last_code, one.last_reason, catalogue.explain, pulled=not one.gateway
        )
        sentences += [f"to {one.receiver}: {first}", *more, *_kept_waiting(connection, one)]
    if found.parcel:
        sentences += _routing(connection, found, catalogue)
    return sentences


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
