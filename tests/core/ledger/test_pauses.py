"""Pauses of deletion: each has its owner and its end."""

from __future__ import annotations

from sqlalchemy import Engine, insert, select

from core.ledger import pauses
from core.ledger.tables import meta
from tests.core.making import NOW


def until(engine: Engine) -> int:
    """When the last one ends."""
    with engine.connect() as connection:
        return pauses.paused_until(connection)


def test_nobody_pauses_until_somebody_does(engine: Engine):
    """What else the table holds is no pause, whatever it is called."""
    with engine.begin() as connection:
        for name in ("installation", "deletion-pause", "deletion_pause/a", "DELETION-PAUSE/a"):
            connection.execute(insert(meta).values(name=name, value="not a time"))
    assert until(engine) == 0


def test_a_pause_is_renewed_and_ended_by_its_owner(engine: Engine):
    """The later of two counts, and one that ends leaves the other; ending none is harmless."""
    with engine.begin() as connection:
        pauses.pause(connection, "a", NOW, NOW + 10)
        pauses.pause(connection, "b", NOW, NOW + 20)
    assert until(engine) == NOW + 20
    with engine.begin() as connection:
        pauses.pause(connection, "a", NOW, NOW + 30)
    assert until(engine) == NOW + 30
    with engine.begin() as connection:
        pauses.end(connection, "a")
        pauses.end(connection, "nobody")
    assert until(engine) == NOW + 20


def test_a_pause_that_is_over_is_forgotten_at_the_next(engine: Engine):
    """A node that died in a backup leaves no row for ever."""
    with engine.begin() as connection:
        connection.execute(insert(meta).values(name="installation", value="1"))
        pauses.pause(connection, "dead", NOW, NOW + 10)
        pauses.pause(connection, "alive", NOW, NOW + 11)
        pauses.pause(connection, "next", NOW + 10, NOW + 40)
    with engine.connect() as connection:
        names = connection.execute(select(meta.c.name).order_by(meta.c.name)).scalars().all()
    assert names == ["deletion-pause/alive", "deletion-pause/next", "installation"]


def test_a_restored_ledger_has_no_pause_of_its_former_life(engine: Engine):
    """All of them go, and nothing else."""
    with engine.begin() as connection:
        connection.execute(insert(meta).values(name="installation", value="1"))
        for who in ("a", "b"):
            pauses.pause(connection, who, NOW, NOW + 10)
        pauses.end_all(connection)
    with engine.connect() as connection:
        assert connection.execute(select(meta.c.name)).scalars().all() == ["installation"]
