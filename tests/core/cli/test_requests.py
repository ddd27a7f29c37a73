"""requests and agreements on the command line, with and without a node that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from core.ledger import requests
from core.ledger.requests import Request
from tests.core.cli.conftest import Call
from tests.core.making import NOW

DOCUMENT = '{"id":"receiver-all","integration":"notes","system":"receiver","may":"both"}'


def asked(home: Path, name: str, **changes: str) -> None:
    """Somebody has asked over the API."""
    facts = {"document": DOCUMENT, "owner": "fictitious-town", "asked_by": "receiver"} | changes
    made = Request(
        name, "service-agreement", "receiver-all", system="receiver", integration="notes", authority="x", asked_at=NOW,
        why="[more] notes", **facts,
    )  # fmt: skip
    with create_engine(f"sqlite:///{home / 'data' / 'ledger.db'}").begin() as connection:
        requests.add(connection, made)


@pytest.fixture
def waiting(applied: Call, home: Path) -> Call:
    """Two requests wait."""
    asked(home, "r-one")
    asked(home, "r-two", document="")
    return applied


@pytest.mark.requirement("R91")
def test_requests_are_listed(waiting: Call):
    """With who, what and why, for people and for scripts; by state."""
    out = waiting("requests", "list").out
    assert "r-one" in out
    assert "remove service-agreement receiver-all" in out
    assert "[more] notes" in out
    listed = json.loads(waiting("requests", "list", "--state", "pending", "--json").out)
    assert [one["id"] for one in listed] == ["r-two", "r-one"]
    assert waiting("requests", "list", "--state", "refused").out.strip() == "requests: none"
    assert waiting("requests", "list", "--state", "magic").code == 2


def test_a_request_is_approved_and_refused(waiting: Call):
    """By the beginning of its id; the version, the agreement with who approved it, and the history are there."""
    said = waiting("requests", "approve", "r-o", "--why", "fine")
    assert (said.code, "version 2 is in force" in said.out) == (0, True)
    (found,) = [one for one in json.loads(waiting("agreements", "--json").out) if one["id"] == "receiver-all"]
    assert (found["approved_by"], found["in_force"], found["may"]) == ("fictitious-town", True, "both")
    assert "request r-one by receiver approved by" in waiting("history", "--json").out
    assert waiting("requests", "approve", "r-one").code == 2
    assert json.loads(waiting("requests", "refuse", "r-two", "--json").out) == {"request": "r-two", "state": "refused"}
    assert "refused" in waiting("requests", "list").out


def test_a_request_is_named_by_what_only_one_has(waiting: Call):
    """None and several are refused in words."""
    assert "several begin with 'r-'" in waiting("requests", "approve", "r-").err
    assert "none begins with 'x'" in waiting("requests", "refuse", "x").err


def test_agreements_are_listed(applied: Call):
    """All, or of one integration or system."""
    assert "notes-sender" in applied("agreements").out
    assert "notes-sender" not in applied("agreements", "--system", "receiver").out
    assert applied("agreements", "--integration", "none").out.strip() == "agreements: none"
