"""Value lists in the ledger: digests, versions, and the one key they are under."""

from __future__ import annotations

from sqlalchemy import Engine

from core.ledger import lists
from core.ledger.lists import Changed

ONE, TWO, THREE = (bytes([n]) * 32 for n in (1, 2, 3))


def change(
    engine: Engine, added: list[bytes], removed: list[bytes], check: str = "k", *, moves: bool = True
) -> Changed | None:
    """Change the list ``affected``."""
    with engine.begin() as connection:
        return lists.change(connection, "affected", check, added, removed, moves)


def test_values_are_added_and_removed_and_the_version_moves(engine: Engine):
    """What was there already is not added again, and what was not there is not removed."""
    assert change(engine, [ONE, TWO], []) == Changed(2, 0, 0, 1)
    assert change(engine, [TWO, THREE], [ONE, bytes(32)]) == Changed(1, 1, 1, 2)
    with engine.begin() as connection:
        assert lists.load(connection, "affected") == (2, {TWO, THREE})
        assert (lists.count(connection, "affected"), lists.version(connection, "affected")) == (2, 2)
        assert lists.contains(connection, "affected", TWO)
        assert not lists.contains(connection, "affected", ONE)
        assert not lists.contains(connection, "other", TWO)
        assert lists.versions(connection) == {"affected": 2}


def test_a_list_that_never_had_a_value_is_empty(engine: Engine):
    """At version 0."""
    with engine.begin() as connection:
        assert lists.load(connection, "affected") == (0, frozenset())
        assert (lists.count(connection, "affected"), lists.versions(connection)) == (0, {})


def test_a_piece_of_a_change_leaves_the_version(engine: Engine):
    """Only the last piece tells the nodes to look."""
    assert change(engine, [ONE], [], moves=False) == Changed(1, 0, 0, 0)
    assert change(engine, [TWO], [], moves=True) == Changed(1, 0, 0, 1)


def test_more_than_a_statement_takes_is_written(engine: Engine):
    """In one call."""
    many = [n.to_bytes(32, "big") for n in range(2000)]
    assert change(engine, many, []) == Changed(2000, 0, 0, 1)
    assert change(engine, [], many) == Changed(0, 2000, 1, 2)


def test_all_values_are_under_one_key(engine: Engine):
    """A node with another key changes nothing; once every list is empty, any key may be the one."""
    with engine.begin() as connection:
        assert lists.key_check(connection) == ""
    assert change(engine, [ONE], [], "k") is not None
    assert change(engine, [TWO], [ONE], "other") is None
    with engine.begin() as connection:
        assert (lists.key_check(connection), lists.count(connection, "affected")) == ("k", 1)
    assert change(engine, [], [ONE], "") == Changed(0, 1, 1, 2)
    with engine.begin() as connection:
        assert lists.key_check(connection) == ""
    assert change(engine, [TWO], [], "other") == Changed(1, 0, 2, 3)
    with engine.begin() as connection:
        assert lists.key_check(connection) == "other"
