"""Migrations: from nothing to this program's schema on either database, and back; a newer schema refuses the start."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, Engine, Inspector, Integer, LargeBinary, String, Text, inspect, text

from core.errors import UnsafeDatabase
from core.ledger import migrations
from core.ledger.engine import open_engine, upgrade
from core.ledger.tables import metadata

FOLDER = Path(migrations.__file__).parent


def config_for(connection: Any) -> Config:
    """What alembic is told, as the program tells it."""
    config = Config()
    config.set_main_option("script_location", str(FOLDER))
    config.attributes["connection"] = connection
    return config


@pytest.fixture
def empty(database_url: str) -> Iterator[Engine]:
    """A database without a single table: the test runs once for each kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = open_engine(database_url)
    yield opened
    opened.dispose()


def kind_of(column: Any) -> str:
    """A column's type in words that hold for every database."""
    words = {BigInteger: "64-bit", Integer: "integer", LargeBinary: "octets", Text: "text", String: "text"}
    found = next(word for kind, word in words.items() if isinstance(column["type"], kind))
    length = getattr(column["type"], "length", None)
    return f"{found} {length}" if length else found


def shape(inspector: Inspector) -> dict[str, Any]:
    """Tables with columns, keys and indexes, said the same for either database."""
    return {
        table: {
            "columns": {c["name"]: (kind_of(c), c["nullable"]) for c in inspector.get_columns(table)},
            "key": inspector.get_pk_constraint(table)["constrained_columns"],
            "indexes": sorted(
                str((i["name"], i["column_names"], bool(i["unique"]))) for i in inspector.get_indexes(table)
            ),
        }
        for table in inspector.get_table_names()
        if table != "alembic_version"
    }


def widened(tables: dict[str, Any]) -> dict[str, Any]:
    """Where the databases differ by design: a row number that SQLite gives by itself is a plain integer there."""
    for table in ("frozen", "receipt"):
        tables[table]["columns"]["id"] = ("64-bit", False)
    return tables


def test_an_empty_database_becomes_what_the_program_means(empty: Engine):
    """Every table and column of the program is there, and nothing else."""
    assert inspect(empty).get_table_names() == []
    upgrade(empty)
    assert sorted(inspect(empty).get_table_names()) == sorted([*metadata.tables, "alembic_version"])
    with empty.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


@pytest.mark.filterwarnings("ignore:SQLite")
def test_both_databases_get_the_same_tables(sqlite_url: str, postgresql_url: str):
    """Columns, types, keys and indexes: a ledger can be copied from one to the other, row by row."""
    shapes = []
    for url in (sqlite_url, postgresql_url):
        engine = open_engine(url)
        upgrade(engine)
        shapes.append(widened(shape(inspect(engine))))
        engine.dispose()
    assert shapes[0] == shapes[1]
    assert len(shapes[0]) == len(metadata.tables) > 10


def test_a_schema_of_tomorrow_refuses_the_start(empty: Engine):
    """The program says which it found, and changes nothing."""
    upgrade(empty)
    with empty.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9000'"))
        connection.execute(text("ALTER TABLE parcel ADD COLUMN of_tomorrow INTEGER"))
    with pytest.raises(UnsafeDatabase, match=r"its schema \(9000\) is newer than this program; run the newer version"):
        upgrade(empty)
    assert "of_tomorrow" in {c["name"] for c in inspect(empty).get_columns("parcel")}
    with empty.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() == ["9000"]


def test_upgrading_again_keeps_what_is_stored(empty: Engine):
    """Each start of a node upgrades; rows stay."""
    for number in range(3):
        upgrade(empty)
        with empty.begin() as connection:
            connection.execute(text(f"INSERT INTO meta VALUES ('{number}', 'x')"))
    with empty.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM meta")).scalar_one() == 3


def test_every_step_can_be_gone_back(empty: Engine):
    """Down to nothing and up again gives the same tables."""
    upgrade(empty)
    before = shape(inspect(empty))
    with empty.begin() as connection:
        command.downgrade(config_for(connection), "base")
    assert inspect(empty).get_table_names() == ["alembic_version"]
    upgrade(empty)
    assert shape(inspect(empty)) == before


def test_revisions_are_one_line_numbered_from_the_first():
    """No branches: nodes of two versions on one database would not agree on the next step."""
    script = ScriptDirectory(str(FOLDER))
    line = [revision.revision for revision in script.walk_revisions()][::-1]
    assert line == [f"{number:04d}" for number in range(1, len(line) + 1)]
    assert script.get_heads() == [line[-1]]
    assert [script.get_revision(one).down_revision for one in line] == [None, *line[:-1]]


def test_every_revision_says_what_it_is_for():
    """A reader learns from its first line what it changes; its file is named after its number."""
    files = sorted(path for path in (FOLDER / "versions").glob("*.py") if path.stem != "__init__")
    assert files
    for path in files:
        module = importlib.import_module(f"core.ledger.migrations.versions.{path.stem}")
        assert module.__doc__
        assert path.stem.startswith(f"{module.revision}_")
