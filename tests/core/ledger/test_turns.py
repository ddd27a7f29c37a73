"""Turns: one at a time, and a node that dies holds nothing up."""

from __future__ import annotations

from sqlalchemy import Engine

from core.ledger import turns
from tests.core.making import NOW


def test_one_has_the_turn_until_it_ends(engine: Engine):
    """Another gets it when its time is up or when it was given back; another's end changes nothing."""
    with engine.begin() as connection:
        turns.end(connection, "mail", "node-a")
        assert turns.take(connection, "mail", "node-a", NOW, NOW + 10)
        assert not turns.take(connection, "mail", "node-b", NOW + 9, NOW + 20)
        assert turns.take(connection, "statistics", "node-b", NOW, NOW + 10)
        turns.end(connection, "mail", "node-b")
        assert turns.take(connection, "mail", "node-a", NOW + 5, NOW + 15)
        assert turns.take(connection, "mail", "node-b", NOW + 15, NOW + 25)
        turns.end(connection, "mail", "node-a")
        assert not turns.take(connection, "mail", "node-a", NOW + 16, NOW + 30)
        turns.end(connection, "mail", "node-b")
        assert turns.take(connection, "mail", "node-a", NOW + 16, NOW + 30)
