"""The tables: what migrations make is what the program means."""

from __future__ import annotations

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import BigInteger, Engine, LargeBinary, inspect

from core.ledger.tables import inline_payload, metadata, payload


def test_the_migrated_schema_is_the_one_the_program_means(engine: Engine):
    """No table, column or index is missing or left over on either database."""
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}


def test_times_are_64_bit_integers():
    """Microseconds since 1970 do not fit 32 bits: every column of a time is a BigInteger."""
    times = [c for t in metadata.tables.values() for c in t.columns if c.name == "at" or c.name.endswith("_at")]
    assert len(times) > 10
    assert all(isinstance(c.type, BigInteger) for c in times)


def test_payload_octets_have_a_table_of_their_own():
    """Listing parcels and payloads reads no payload octets; the digest is all that is binary there."""
    assert isinstance(inline_payload.c.octets.type, LargeBinary)
    assert [c.name for c in payload.columns if isinstance(c.type, LargeBinary)] == ["sha256"]
