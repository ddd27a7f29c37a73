"""`stafet ping`: what comes back from a partner that answers, and what is said of each thing that can be wrong between two."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from conformance.estate import free_port
from conformance.pki import write
from core.cli.main import whole
from core.clock import DAY, SystemClock, to_datetime
from core.errors import Refused, UsageError
from core.ledger.tables import parcel as parcel_table
from core.node import Node
from tests.gateways.as4.conftest import CopiedEstate
from tests.gateways.as4.making import authority, count, edit, stored, stranger
from tests.gateways.as4.meps import pulled
from tests.gateways.as4.running import running


def _partner(home: Path, **fields: Any) -> None:
    edit(home, "as4.yaml", "as4.partner", **fields)


async def _ping(node: Node, partner: str = "hospital") -> dict[str, str]:
    said: dict[str, str] = await node.gateways["as4"].operations()["ping"]({"partner": partner}, lambda _: None)  # type: ignore[attr-defined]
    return said


async def test_a_partner_that_answers_is_told_with_its_receipt(estate: CopiedEstate):
    """Address, TLS, parties, certificates and clocks are right; nothing is delivered or kept on either side."""
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        said = await _ping(ours)
        assert said.keys() == {"message", "url", "receipt", "signed by"}
        assert said["url"] == f"https://localhost:{estate.hospital.port}/as4"
        assert said["signed by"] == "Demo Hospital signing"
        assert said["message"].endswith("@municipality.example")
        assert said["receipt"].endswith("@hospital.example")
        assert stored(ours.runtime) == stored(theirs.runtime) == (0, 0, 0)


async def test_a_partner_that_calls_back_says_that_it_took_it(estate: CopiedEstate):
    """The receipt itself comes later, on its own."""
    for one in estate.both:
        _partner(one.home, reply_pattern="callback")
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        said = await _ping(ours)
        assert said["receipt"] == "taken; receipts are called back"
        assert count(theirs.runtime, parcel_table.name) == 0


def _other_anchor(e: CopiedEstate) -> None:
    write(e.municipality.home / "config" / "certificates" / "other-ca.pem", authority().pem())
    _partner(e.municipality.home, tls={"anchors": "certificates/other-ca.pem"})


def _stranger_signs(e: CopiedEstate, home: Path) -> None:
    identity = stranger()
    write(home / "keys" / "signing.pem", identity.key_pem() + identity.chain_pem(), secret=True)


def _party(e: CopiedEstate) -> None:
    edit(e.hospital.home, "as4.yaml", "as4.partner", party_id={"value": "somebody-else", "type": "urn:demo:parties"})


def _expired(e: CopiedEstate) -> None:
    at = to_datetime(SystemClock().now() - 2 * DAY)
    identity = authority().issue("Demo Municipality signing", "signing", not_after=at + timedelta(days=1))
    write(e.municipality.home / "keys" / "signing.pem", identity.key_pem() + identity.chain_pem(), secret=True)
    write(e.hospital.home / "config" / "certificates" / "municipality-signing.pem", identity.certificate_pem())


FAULTS: dict[str, tuple[Callable[[CopiedEstate], Any], str, str]] = {
    "a closed port": (
        lambda e: _partner(e.municipality.home, url=f"https://localhost:{free_port()}/as4"),
        "connect",
        "",
    ),
    "another path": (
        lambda e: _partner(e.municipality.home, url=f"https://localhost:{e.hospital.port}/as5"),
        "EBMS:0301",
        "HTTP 404",
    ),
    "another authority for TLS": (_other_anchor, "tls", "not trusted"),
    "our certificate is not the one they pinned": (
        lambda e: _stranger_signs(e, e.municipality.home),
        "EBMS:0101",
        "signed with the certificate of 'Demo Stranger signing', agreed is 'Demo Municipality signing'",
    ),
    "theirs is not the one we pinned": (
        lambda e: _stranger_signs(e, e.hospital.home),
        "EBMS:0302",
        "Demo Stranger signing",
    ),
    "our certificate is over": (_expired, "EBMS:0101", "expired"),
    "they do not know our party": (_party, "EBMS:0010", "From/PartyId"),
    "they expect other roles": (
        lambda e: _partner(e.hospital.home, our_role="urn:demo:buyer", their_role="urn:demo:seller"),
        "EBMS:0003",
        "Role",
    ),
}


@pytest.mark.parametrize("what", FAULTS)
async def test_what_is_wrong_is_named_with_a_code_that_is_explained(estate: CopiedEstate, what: str):
    """Each fault between two partners has its own code, and a sentence that says what to compare."""
    make, code, words = FAULTS[what]
    make(estate)
    async with running(estate.municipality.home, estate.hospital.home) as (ours, theirs):
        said = await _ping(ours)
        assert "receipt" not in said
        assert said["code"] == code, said
        assert words in said["reason"]
        assert ours.gateways["as4"].explain(code)
        assert stored(ours.runtime) == stored(theirs.runtime) == (0, 0, 0)


async def test_who_cannot_be_pinged_is_said_with_what_there_is(estate: CopiedEstate):
    """An unknown name lists the known; a partner that only pulls has no address to push to."""
    _partner(estate.municipality.home, exchanges=[pulled("send")])
    async with running(estate.municipality.home) as (ours,):
        with pytest.raises(UsageError, match=r"no as4\.partner is called 'nobody'; known: hospital"):
            await _ping(ours, "nobody")
        with pytest.raises(UsageError, match="has no exchange that pushes"):
            await _ping(ours)


# --- the command ------------------------------------------------------------------------------------------------------


async def _run(home: Path, *arguments: str) -> Any:
    return await asyncio.to_thread(CliRunner().invoke, whole(), ["--home", str(home), "ping", *arguments])


async def test_the_command_asks_the_running_node_and_says_it_in_a_line(estate: CopiedEstate):
    """Exit code 0 for a receipt, and that of a refusal otherwise, with where to read on."""
    async with running(estate.municipality.home) as (_,):
        async with running(estate.hospital.home):
            good = await _run(estate.municipality.home, "hospital")
            as_json = await _run(estate.municipality.home, "hospital", "--json")
        bad = await _run(estate.municipality.home, "hospital")
    assert good.exit_code == 0, good.output
    assert f"hospital at https://localhost:{estate.hospital.port}/as4 answers: receipt " in good.output
    assert "signed by Demo Hospital signing" in good.output
    assert as_json.exit_code == 0
    assert '"receipt"' in as_json.output
    assert bad.exit_code == Refused.exit_code, bad.output
    assert ": connect: " in bad.output
    assert "`stafet explain connect` says more" in bad.output


async def test_the_command_needs_a_running_node(estate: CopiedEstate):
    """A ping comes from where messages come from: keys and routes of the node itself."""
    result = await _run(estate.municipality.home, "hospital")
    assert result.exit_code != 0
    assert "as4.ping needs a running node" in result.output + str(result.exception)
