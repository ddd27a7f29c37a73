"""Configuration versions: numbered by the ledger, immutable, with who, when and why."""

from __future__ import annotations

from sqlalchemy import Engine, select

from core.ledger import versions
from core.ledger.tables import config_version
from core.ledger.versions import Version
from tests.core.making import NOW


def test_versions_are_numbered_by_the_ledger(engine: Engine):
    """Whatever number the caller had in mind, the next free ones are given, also within one batch."""
    with engine.begin() as connection:
        assert versions.latest_number(connection) == 0
        batch = [Version(99, NOW, "bodil", "first", "{}"), Version(0, NOW, "bodil", "second", "{}")]
        assert versions.add(connection, batch) == [1, 2]
    with engine.begin() as connection:
        assert versions.add(connection, [Version(1, NOW + 1, "anker", "third", "{}")]) == [3]
        assert versions.latest_number(connection) == 3


def test_a_version_reads_back_as_it_was_applied(engine: Engine):
    """Who, when, why and the text itself; one that does not exist is None."""
    with engine.begin() as connection:
        versions.add(connection, [Version(0, NOW, "bodil", "new route", '{"æ": 1}')])
        assert versions.get(connection, 1) == Version(1, NOW, "bodil", "new route", '{"æ": 1}')
        assert versions.get(connection, 2) is None


def test_a_version_is_stored_with_its_digest(engine: Engine):
    """The digest is of the text, so that two versions with one content can be told to be the same."""
    with engine.begin() as connection:
        versions.add(connection, [Version(0, NOW, "a", "", "x"), Version(0, NOW, "b", "", "x")])
        digests = connection.execute(select(config_version.c.digest)).scalars().all()
    assert len(set(digests)) == 1
    assert len(digests[0]) == 32


def test_history_is_newest_first_and_limited(engine: Engine):
    """A list view does not carry the contents."""
    with engine.begin() as connection:
        versions.add(connection, [Version(0, NOW + i, "bodil", f"change {i}", "long text") for i in range(5)])
        listed = versions.history(connection, limit=3)
    assert [(v.number, v.why, v.content) for v in listed] == [
        (5, "change 4", ""),
        (4, "change 3", ""),
        (3, "change 2", ""),
    ]


def test_a_version_follows_the_one_it_was_made_from(engine: Engine):
    """One made from another than the newest is not stored."""
    with engine.begin() as connection:
        assert versions.add_next(connection, Version(0, NOW, "bodil", "first", "a"), 0) == 1
        assert versions.add_next(connection, Version(0, NOW, "anker", "second", "b"), 0) is None
        assert versions.add_next(connection, Version(0, NOW, "anker", "second", "b"), 1) == 2
        assert versions.get(connection, 2) == Version(2, NOW, "anker", "second", "b")
