"""Hot statements straight to the driver: the same on both databases, with errors as the statement layer gives them."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, text
from sqlalchemy.exc import IntegrityError, OperationalError

from core.ledger.driver import Insert, Query, Select, Update
from core.ledger.tables import meta, trace
from core.ledger.trace import COLUMNS
from tests.core.making import NOW

PUT = Insert(meta, ("name", "value"))
PUT_NEW = Insert(meta, ("name", "value"), unless_there=True)
COUNTS = [0, 1, 2, 3, 63, 64, 65, 100, 300]


def rows(count: int, value: str = "x") -> list[tuple[str, str]]:
    """So many rows with names of their own."""
    return [(f"n{i}", value) for i in range(count)]


def stored(engine: Engine) -> dict[str, str]:
    """What is in the table."""
    with engine.connect() as connection:
        return {r.name: r.value for r in connection.execute(select(meta))}


@pytest.mark.parametrize("count", COUNTS)
def test_any_number_of_rows_goes_in_and_comes_out(engine: Engine, count: int):
    """Whatever powers of two it takes, each row is stored once and found once."""
    with engine.begin() as connection:
        assert PUT.run(connection, rows(count)) == count
        found = Select(meta, ("value", "name"), "name").run(connection, [name for name, _ in rows(count)])
    assert sorted(found) == sorted((value, name) for name, value in rows(count))
    assert stored(engine) == dict(rows(count))


def test_rows_that_are_there_are_left_alone_and_not_counted(engine: Engine):
    """Of before and of the same statement: the first stays, and the number says how many were new."""
    with engine.begin() as connection:
        PUT.run(connection, rows(3, "old"))
        wanted = [*rows(5, "new"), ("n4", "again"), ("n9", "new"), ("n9", "again")]
        assert PUT_NEW.run(connection, wanted) == 3
    assert stored(engine) == {**dict(rows(3, "old")), "n3": "new", "n4": "new", "n9": "new"}


@pytest.mark.parametrize("locking", [False, True])
def test_a_selection_gives_each_row_once(engine: Engine, locking: bool):
    """Names asked for twice, or that are not there, change nothing; locking reads the same rows."""
    read = Select(meta, ("name",), "name", locking=locking)
    with engine.begin() as connection:
        PUT.run(connection, rows(3))
        assert sorted(read.run(connection, ["n0", "n0", "n2", "gone"])) == [("n0",), ("n2",)]
        assert read.run(connection, []) == []


def test_a_locking_selection_keeps_other_nodes_from_the_row(postgresql_url: str):
    """On PostgreSQL a row that is being settled is nobody else's until the commit."""
    from core.ledger.engine import open_engine, upgrade

    engine = open_engine(postgresql_url)
    upgrade(engine)
    with engine.begin() as connection:
        PUT.run(connection, rows(1))
    with engine.begin() as one, engine.begin() as two:
        Select(meta, ("name",), "name", locking=True).run(one, ["n0"])
        with pytest.raises(OperationalError, match="could not obtain lock"):
            two.execute(text("SELECT name FROM meta FOR UPDATE NOWAIT"))
    engine.dispose()


def test_an_update_sets_each_row_and_its_constants(engine: Engine):
    """Row by row by the key; a key that is not there changes nothing."""
    with engine.begin() as connection:
        PUT.run(connection, rows(3))
        Update(meta, ("value",), "name").run(connection, [("a", "n0"), ("b", "n2"), ("c", "gone")])
        assert stored_within(connection) == {"n0": "a", "n1": "x", "n2": "b"}
        Update(meta, ("name",), "name", constants=", value = 'fixed'").run(connection, [("m1", "n1")])
    assert stored(engine) == {"n0": "a", "m1": "fixed", "n2": "b"}


def stored_within(connection: object) -> dict[str, str]:
    """What an open transaction sees."""
    return {r.name: r.value for r in connection.execute(select(meta))}  # type: ignore[attr-defined]


def test_an_error_is_the_statement_layers_without_the_values(engine: Engine):
    """Callers tell errors apart as ever, the transaction can be rolled back, and no value is repeated by us."""
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        PUT.run(connection, [("n0", "secret"), ("n0", "secret")])
    assert "secret" not in str(caught.value)
    assert stored(engine) == {}


def test_values_are_never_part_of_the_text(engine: Engine):
    """Quotes, marks and percent signs of any database are only characters."""
    odd = [("n'); DROP TABLE meta; --", "%s ? :x %(y)s"), ('"', "\\")]
    with engine.begin() as connection:
        PUT.run(connection, odd)
        assert Select(meta, ("value",), "name").run(connection, [odd[0][0]]) == [(odd[0][1],)]
    assert stored(engine) == dict(odd)


def test_only_columns_that_exist_can_be_named():
    """A slip shows at import, not at the first message."""
    for make in (
        lambda: Insert(trace, ("chain", "nothing")),
        lambda: Select(trace, ("chain",), "nothing"),
        lambda: Update(trace, ("nothing",), "chain"),
    ):
        with pytest.raises(AssertionError):
            make()


def test_a_connection_that_broke_is_not_used_again(postgresql_url: str):
    """The next transaction gets a new one, as it does behind the statement layer."""
    from core.ledger.engine import open_engine, upgrade

    engine = open_engine(postgresql_url)
    upgrade(engine)
    with engine.connect() as writing, engine.connect() as other:
        mine = writing.execute(text("SELECT pg_backend_pid()")).scalar_one()
        writing.rollback()
        other.execute(text("SELECT pg_terminate_backend(:p, 5000)"), {"p": mine})
        transaction = writing.begin()
        with pytest.raises(OperationalError):
            PUT.run(writing, rows(1))
        transaction.rollback()
        with writing.begin():
            assert PUT.run(writing, rows(2)) == 2
    assert stored(engine) == dict(rows(2))
    engine.dispose()


ODD = ["", "\\", "\\N", "\\.", "a\tb", "a\nb", "a\rb", "\\t", "tab\\\t", "æøå €", '"quoted', "%s ?", "null", " x "]


@pytest.mark.parametrize("count", [1, 40])
def test_any_text_and_octets_go_in_and_come_out(engine: Engine, count: int):
    """Whichever way the rows take: what the database's own format would mean something else by is only text."""
    texts = [text for text in ODD for _ in range(count)]
    octets = [bytes(range(256)), b"", b"\\x00", None]
    rows = [
        ("c", number, "p", NOW, value, value, octets[number % 3] or b"", octets[number % 4], None, b"h")
        for number, value in enumerate(texts)
    ]
    with engine.begin() as connection:
        assert Insert(trace, COLUMNS).run(connection, rows) == len(rows)
        found = connection.execute(select(trace).order_by(trace.c.seq)).all()
    assert [tuple(row) for row in found] == rows


def test_a_copy_that_fails_stores_nothing_and_says_what_is_wrong(engine: Engine):
    """A key that is there, in the middle of many rows; without the values."""
    with engine.begin() as connection:
        PUT.run(connection, rows(1))
    with pytest.raises(IntegrityError) as caught, engine.begin() as connection:
        PUT.run(connection, [*((f"m{i}", "secret") for i in range(20)), ("n0", "secret")])
    assert "secret" not in str(caught.value).partition("DETAIL")[0]
    assert stored(engine) == {"n0": "x"}


def test_a_list_of_any_length_goes_into_a_query(engine: Engine):
    """Powers of two on SQLite, one array on PostgreSQL; values before and behind it."""
    asked = Query("SELECT name FROM meta WHERE value = ? AND name IN ({names}) ORDER BY name LIMIT ?")
    with engine.begin() as connection:
        PUT.run(connection, rows(100))
        for count in (1, 2, 3, 64, 100):
            found = asked.run(connection, ("x",), (1000,), names=[f"n{i}" for i in range(count)])
            assert len(found) == count
        assert asked.run(connection, ("x",), (2,), names=["n3", "n1", "n2"]) == [("n1",), ("n2",)]
        assert asked.run(connection, ("y",), (2,), names=["n3"]) == []
