"""Seeded faults: every one is explained, and the page shows what is really said."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from conformance import faults
from conformance.faults import FAULTS, Told

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "explain-a-refusal.md"


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Told]:
    """What was said of every fault; the nodes run once for all tests here."""
    return asyncio.run(faults.run(tmp_path_factory.mktemp("faults")))


def test_every_fault_is_explained(found: list[Told]):
    """Of each fault the code is named and somebody is told what to do; there are at least ten."""
    assert [told.name for told in found] == [fault.name for fault in FAULTS]
    assert len(found) >= 10
    assert [told.name for told in found if not told.ok] == []


def test_both_sides_can_explain_what_crossed(found: list[Told]):
    """Where a message reached the receiver, its own ledger explains the refusal too, though nothing was stored."""
    at_the_door = {"certificate", "clock", "algorithm", "unencrypted", "encryption", "partner", "action", "size"}
    silent = [told.name for told in found if told.name in at_the_door and told.code not in " ".join(told.receiver)]
    assert silent == []


def test_the_page_shows_what_is_really_said(found: list[Told]):
    """docs/how-to/explain-a-refusal.md is what `make faults` writes, word for word."""
    assert PAGE.read_text() == faults.page(found), "the words have changed: run `make faults`"


def test_a_fault_without_a_remedy_is_not_explained():
    """The proof can fail: a code alone, or a remedy for something else, is not enough."""
    assert Told("x", "x", "EBMS:0101", sender=["EBMS:0101. What to do: compare certificates"]).ok
    assert not Told("x", "x", "EBMS:0101", sender=["EBMS:0101: certificate"]).ok
    assert not Told("x", "x", "EBMS:0101", sender=["EBMS:0102. What to do: compare keys"]).ok
