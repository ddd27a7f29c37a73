"""trace, explain."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from sqlalchemy import create_engine

from core.expectation import Expectation
from core.kernel import NodeKernel
from core.ledger import expectations
from core.mailroom import Mailroom
from core.receipt import Level
from core.runtime import Runtime
from core.settings import load_settings
from tests.core.cli.conftest import Call
from tests.core.making import NOW

SEND = ("--from", "sender", "--integration", "notes")


@pytest.fixture
def parcel(applied: Call, tmp_path: Path) -> str:
    """A parcel that waits in the receiver's mailbox."""
    path = tmp_path / "note.txt"
    path.write_text("a fictitious note\n")
    return str(json.loads(applied("send", str(path), *SEND, "--key", "key-1", "--json").out)["parcel"])


@pytest.mark.requirement("R62")
def test_a_trace_says_who_what_and_which_rule(applied: Call, parcel: str):
    """The timeline names sender, integration, route, receiver and digest; JSON has the same facts."""
    shown = applied("trace", parcel).out
    for words in ("accepted from sender", "route to-receiver", "SHA-256", "to receiver, who pulls: ready"):
        assert words in " ".join(shown.split()), words
    told = json.loads(applied("trace", parcel, "--json").out)
    assert told["lines"][0]["facts"]["version"] == 1
    assert told["deliveries"][0]["state"] == "ready"


def test_it_is_found_by_every_name_it_has(applied: Call, parcel: str):
    """A delivery's id and the sender's key lead to the same parcel."""
    delivery = json.loads(applied("trace", parcel, "--json").out)["deliveries"][0]["delivery"]
    for name in (delivery, "key-1"):
        assert json.loads(applied("trace", name, "--json").out)["parcel"] == parcel


def test_an_explanation_says_which_route_and_why_not_the_others(applied: Call, parcel: str):
    """Standing and routing, each in a sentence."""
    said = applied("explain", parcel).out
    assert "it waits until the system takes it" in said
    assert "route to-receiver: matched" in said


@pytest.mark.requirement("R71", "R73")
def test_an_explanation_says_which_receipts_are_expected(applied: Call, home: Path, parcel: str):
    """Of whom, by when, and how that stands."""
    one = Expectation(f"{parcel}-0", parcel, Level.BUSINESS, "function", "school-psychology", NOW)
    with create_engine(f"sqlite:///{home / 'data' / 'ledger.db'}").begin() as connection:
        expectations.add(connection, [one])
    said = applied("explain", parcel).out
    assert "business receipt expected of function school-psychology by 2026-03-01 13:00:00.000: open" in said


@pytest.mark.requirement("R37")
def test_what_was_sent_on_was_refused_by_nobody(applied: Call, home: Path, parcel: str):
    """Neither the trace nor the explanation says so."""
    with create_engine(f"sqlite:///{home / 'data' / 'ledger.db'}").begin() as connection:
        connection.exec_driver_sql("UPDATE delivery SET state = 'rejected', last_code = 'misdelivered'")
    assert "who pulls: sent on" in applied("trace", parcel).out
    said = " ".join(applied("explain", parcel).out.split())
    assert "is for somebody else, and sent it on" in said
    assert "resend" not in said


def test_what_has_no_trace_of_its_own_is_looked_for_elsewhere(applied: Call):
    """A case or a correlation id may be of many parcels: who asks for its trace is told of `find`."""
    assert "`stafet find`" in applied("trace", "case-42").err


def test_a_parcel_that_nobody_gets_is_found(applied: Call, home: Path, parcel: str):
    """What no subscription matched has a trace as well."""
    with create_engine(f"sqlite:///{home / 'data' / 'ledger.db'}").begin() as connection:
        connection.exec_driver_sql("DELETE FROM delivery")
    assert "accepted from sender" in " ".join(applied("trace", parcel).out.split())


def test_a_code_is_explained_by_itself(call: Call):
    """The kernel's codes and a gateway's both end in something to do."""
    for code in ("residual", "conflict", "EBMS:0101", "connect"):
        said = json.loads(call("explain", code, "--json").out)["explanation"]
        assert said, code
    assert "What to do" in call("explain", "residual").out


def test_a_refusal_at_the_door_is_explained_by_its_name(applied: Call, home: Path):
    """What was refused without becoming a parcel is found by the name the far side used."""

    async def refuse() -> None:
        runtime = Runtime.open(load_settings(home))
        kernel = NodeKernel(runtime, "demo", Mailroom(runtime))
        facts = {"field": "certificate", "cause": "expired", "remedy": "ask for the new one"}
        await kernel.refusal("message-7@example", "EBMS:0101", facts)
        await asyncio.to_thread(runtime.close)

    asyncio.run(refuse())
    said = applied("explain", "message-7@example").out
    assert "refused" in said
    assert "certificate: expired" in said
    assert "What to do: ask for the new one" in said
    assert "refused: message-7@example" in applied("trace", "message-7@example").out


def test_nothing_of_that_name(applied: Call):
    """An unknown reference ends with 2 and repeats what was asked."""
    for command in ("trace", "explain"):
        result = applied(command, "no-such-thing")
        assert (result.code, "'no-such-thing'" in result.err) == (2, True)


@pytest.mark.requirement("R75", "R127")
def test_an_explanation_says_which_rule_added_what(applied: Call, home: Path, tmp_path: Path):
    """The step, its origin and what was added, before the routes that saw it."""
    documents = list(yaml.safe_load_all((home / "config" / "all.yaml").read_text()))
    (notes,) = (one for one in documents if one["kind"] == "integration")
    notes["enrichment"] = [{"step": "table", "settings": {"table": "units"}}]
    rows = {"note": {"classifications": [{"scheme": "unit", "code": "751"}]}}
    documents.append({"kind": "table", "id": "units", "key": {"field": "type"}, "rows": rows})
    (home / "config" / "all.yaml").write_text(yaml.safe_dump_all(documents))
    assert applied("apply", "--yes").code == 0
    path = tmp_path / "more.txt"
    path.write_text("a fictitious note")
    sent = json.loads(applied("send", str(path), *SEND, "--json").out)["parcel"]
    said = applied("explain", sent).out
    assert "enriched by the step table: added: classification unit 751; origin table units: row note" in said
    assert "added: classification unit 751" in " ".join(applied("trace", sent).out.split())
    asked = tmp_path / "description.yaml"
    asked.write_text("sender: sender\n")
    before = ("explain", "--description", str(asked), "--integration", "notes")
    assert "enriched by the step table: added: classification unit 751" in applied(*before).out
    (told,) = json.loads(applied(*before, "--json").out)["added"]
    assert told["origin"] == "table units: row note"


def test_a_description_is_explained_before_anything_is_sent(applied: Call, home: Path, tmp_path: Path):
    """Where it would go, and of each route why; in the version in force, or in a directory."""
    path = tmp_path / "description.yaml"
    path.write_text("sender: sender\npriority: urgent\n")
    asked = ("explain", "--description", str(path), "--integration", "notes")
    said = applied(*asked).out
    assert "to receiver: by to-receiver" in said
    assert "route to-receiver: matches: first route" in said
    path.write_text('{"sender": "receiver"}')
    told = json.loads(applied(*asked, "--json").out)
    assert told["cause"] == "refused: receiver has no service agreement to send under notes"
    assert told["answers"][0]["why"] == "sender is 'receiver', the route wants 'sender'"
    (home / "config" / "more.yaml").write_text(
        "kind: service-agreement\nid: more\nintegration: notes\nsystem: receiver\nmay: send\n"
    )
    assert "residual: no route matches" in applied(*asked, "--directory", str(home / "config")).out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sender: sender\ncolour: red\n", "colour: Extra inputs"),
        ("- a\n", "is no mapping"),
        ("", "is no mapping"),
        ("priority: urgent\n", "sender: Field required"),
        ("sender: &a x\n", "is no plain YAML"),
        ("sender: " + "x" * 70_000, "longer than"),
    ],
)
def test_a_description_that_is_none_is_refused_by_field(applied: Call, tmp_path: Path, text: str, said: str):
    """The field or the file is named with the cause."""
    path = tmp_path / "description.yaml"
    path.write_text(text)
    result = applied("explain", "--description", str(path), "--integration", "notes")
    assert (result.code, said in result.err) == (2, True), result.err


def test_explain_says_what_it_needs(applied: Call, tmp_path: Path):
    """Nothing to explain, no such file, no such integration."""
    assert "say a parcel, message or code" in applied("explain").err
    gone = applied("explain", "--description", str(tmp_path / "gone"), "--integration", "notes")
    assert (gone.code, "gone: No such file" in gone.err) == (2, True)
    lost = applied("explain", "--description", str(tmp_path / "gone"), "--integration", "dreams")
    assert (lost.code, "known: notes" in lost.err) == (2, True)
