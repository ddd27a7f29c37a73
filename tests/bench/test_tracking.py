"""The benchmark of search fills what it says, asks every question, and judges by its bar."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from sqlalchemy import Engine, text

from bench import tracking
from core.ledger.search import find
from tests.core.making import NOW


def test_the_ledger_is_filled_and_every_question_can_be_asked(engine: Engine):
    """On either database; what a name finds is the one parcel it belongs to."""
    filled = tracking.fill(engine, 3000, NOW)
    with engine.connect() as connection:
        for name in ("parcel", "delivery", "idempotency", "outside_id", "lookup"):
            assert connection.execute(text(f"SELECT count(*) FROM {name}")).scalar() == 3000
        asked = tracking.questions(filled, 3000)
        for name, expected in (
            ("by parcel", 1),
            ("by the sender's key", 1),
            ("by the name on the wire", 1),
            ("by case", 3),
        ):
            found = find(connection, asked[name](random.Random(1)), 51)
            assert len(found) == expected, name
    taken = tracking.measure(engine, filled, 3000, 2)
    assert set(taken) == set(asked)
    assert all(len(times) == 2 and min(times) > 0 for times in taken.values())


def test_rows_have_a_bar():
    """Each kind of question on each database: its middle, and 99 of 100 against 300 ms."""
    with tempfile.TemporaryDirectory(prefix="stafet-bench-") as folder:  # where a database server of another user comes
        rows = list(tracking.rows(Path(folder), 500, 2))
    judged = [row for row in rows if row.bar is not None]
    assert len(judged) == 2 * len(tracking.questions(tracking.Filled([""], [""], NOW), 500))
    assert {row.name.split(":")[0] for row in rows} == {"SQLite", "PostgreSQL"}
    assert all(row.against == "300 ms" for row in judged)
