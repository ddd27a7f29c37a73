"""Stored parcels in the order they came, on both databases."""

from __future__ import annotations

from sqlalchemy import Engine, update

from core.clock import SECOND
from core.ledger import history, parcels
from core.ledger.tables import parcel
from tests.core.making import NOW, a_parcel, an_accept


def test_parcels_come_in_pages_in_either_order(engine: Engine):
    """Of one integration and one time, without their payloads; what is erased is left out."""
    made = [a_parcel(at=NOW + n * SECOND) for n in range(4)]
    other = a_parcel(at=NOW, integration="others")
    with engine.begin() as connection:
        parcels.accept_many(connection, [an_accept(parcel=one, deliveries=()) for one in (*made, other)])
        connection.execute(update(parcel).where(parcel.c.id == made[3].id).values(wrapped_key=b""))

        def ids(since: int, until: int, limit: int = 10, **more: bool) -> list[str]:
            floors = history.floor(since), history.floor(until)
            return [one.id for one in history.page(connection, "letters", *floors, limit, **more)]

        names = [one.id for one in made]
        assert ids(NOW, NOW + 60 * SECOND) == names[:3]
        assert ids(NOW + SECOND, NOW + 2 * SECOND) == names[1:2]
        assert ids(0, NOW + 60 * SECOND, 2, newest_first=True) == names[2:0:-1]
        (one, *_) = history.page(connection, "letters", "", "g", 1)
    assert (one.payloads, one.description, one.wrapped_key) == ((), made[0].description, made[0].wrapped_key)


def test_a_floor_is_below_everything_of_its_time():
    """And never below nothing."""
    assert history.floor(NOW) < a_parcel(at=NOW).id < history.floor(NOW + 2000)
    assert history.floor(-5) == "0" * 12
