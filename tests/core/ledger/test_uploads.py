"""Uploads in the ledger: whose they are, how they grow, how they end."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine

from core.ledger import uploads
from core.ledger.uploads import Bounds, Piece, Upload
from tests.core.making import NOW

LIMITS = Bounds(3, 100)
ONE, TWO = Piece("a" * 32, 4), Piece("b" * 32, 6)


def an_upload(name: str = "u-1", **changes: Any) -> Upload:
    """An upload of ten octets of the post system's."""
    facts: dict[str, Any] = {"system": "birkelund-post", "name": "letter.txt", "media_type": "text/plain", "size": 10}
    facts |= {"received": 0, "key_id": "k1", "wrapped_key": b"w" * 40, "pieces": (), "expires_at": NOW + 100}
    return Upload(name, **(facts | changes))


def add(engine: Engine, *items: Upload, now: int = NOW) -> list[str]:
    """Begin them; gives what is said of each."""
    with engine.begin() as connection:
        return [uploads.add(connection, item, LIMITS, now) for item in items]


def get(engine: Engine, name: str = "u-1", system: str = "birkelund-post", now: int = NOW) -> Upload | None:
    """As its system sees it."""
    with engine.connect() as connection:
        return uploads.get(connection, name, system, now)


def test_an_upload_reads_back_as_it_was_begun_and_for_its_system_alone(engine: Engine):
    """Another system, another name and a time after its end find nothing."""
    assert add(engine, an_upload()) == [""]
    assert get(engine) == an_upload()
    assert get(engine, system="egedal-journal") is None
    assert get(engine, "u-2") is None
    assert get(engine, now=NOW + 100) is None


def test_it_grows_from_where_it_is_and_from_nowhere_else(engine: Engine):
    """Of two that saw the same, the second is told no and changes nothing; it is finished when all has come."""
    add(engine, an_upload())
    with engine.begin() as connection:
        assert uploads.append(connection, an_upload(), [ONE], NOW + 200)
        assert not uploads.append(connection, an_upload(), [TWO], NOW + 300)
    found = get(engine, now=NOW + 150)
    assert found == an_upload(received=4, pieces=(ONE,), expires_at=NOW + 200)
    assert not found.finished
    with engine.begin() as connection:
        assert uploads.append(connection, found, [TWO], NOW + 200)
        assert not uploads.append(connection, an_upload("gone"), [TWO], NOW)
        assert uploads.objects(connection) == {ONE.object_id, TWO.object_id}
    found = get(engine)
    assert found is not None
    assert (found.finished, found.pieces) == (True, (ONE, TWO))


def test_a_system_has_so_many_and_so_much_under_way(engine: Engine):
    """Its own count, what has expired does not, and another system has its own bounds."""
    said = add(engine, *(an_upload(f"u-{n}") for n in range(4)))
    assert said[:3] == ["", "", ""]
    assert "3 are under way" in said[3]
    assert add(engine, an_upload("other", system="egedal-journal", size=101))[0].startswith("uploads: together")
    assert add(engine, an_upload("other", system="egedal-journal", size=100)) == [""]
    assert add(engine, an_upload("late", expires_at=NOW + 999), now=NOW + 100) == [""]


def test_what_ends_gives_its_objects(engine: Engine):
    """Removed by name, or because its time is over; once."""
    add(engine, an_upload(pieces=(ONE,)), an_upload("u-2", pieces=(TWO,), expires_at=NOW))
    with engine.begin() as connection:
        assert uploads.expire(connection, NOW) == (1, [TWO.object_id])
        assert uploads.expire(connection, NOW) == (0, [])
        assert uploads.remove(connection, "u-1") == [ONE.object_id]
        assert uploads.remove(connection, "u-1") == []
        assert uploads.objects(connection) == set()


def test_data_keys_are_wrapped_anew(engine: Engine):
    """Those under older keys are found, and are under the new one afterwards."""
    add(engine, an_upload())
    with engine.begin() as connection:
        assert uploads.under_older_keys(connection, "k1", 10) == []
        (row,) = uploads.under_older_keys(connection, "k2", 10)
        assert (row.id, row.wrapped_key, row.key_id) == ("u-1", b"w" * 40, "k1")
        uploads.rewrap(connection, [("u-1", b"n" * 40, "k2")])
    found = get(engine)
    assert found is not None
    assert (found.wrapped_key, found.key_id) == (b"n" * 40, "k2")
