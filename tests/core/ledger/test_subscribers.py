"""When subscribers came, and since when their mail waits."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, update

from core.delivery import State
from core.ledger import parcels, subscribers
from core.ledger.tables import delivery
from tests.core.making import NOW, a_delivery, an_accept


@pytest.mark.requirement("R80")
def test_the_last_visit_counts_whoever_notes_it(engine: Engine):
    """A node whose note comes late does not set the time back."""
    with engine.begin() as connection:
        assert subscribers.last(connection) == {}
        for name, at in (("s-1", NOW), ("s-1", NOW + 5), ("s-1", NOW + 2), ("s-2", NOW)):
            subscribers.came(connection, name, at)
        assert subscribers.last(connection) == {"s-1": NOW + 5, "s-2": NOW}


@pytest.mark.requirement("R80")
def test_mail_waits_from_when_it_can_be_lent(engine: Engine):
    """The oldest of what is ready for that subscription; what is lent, settled, pushed or another's does not wait."""
    with engine.begin() as connection:
        assert subscribers.waiting_since(connection, "egedal-journal", "s-1", NOW) is None
        for due, name in ((NOW - 5, "s-1"), (NOW - 9, "s-1"), (NOW - 20, "s-2"), (NOW + 1, "s-3")):
            one = a_delivery(gateway="", destination=name, due_at=due)
            parcels.accept_many(connection, [an_accept(deliveries=(one,))])
        parcels.accept_many(connection, [an_accept(deliveries=(a_delivery(destination="s-1", due_at=NOW - 99),))])
        assert subscribers.waiting_since(connection, "egedal-journal", "s-1", NOW) == NOW - 9
        assert subscribers.waiting_since(connection, "egedal-journal", "s-3", NOW) is None
        assert subscribers.waiting_since(connection, "skovby-archive", "s-1", NOW) is None
        connection.execute(update(delivery).values(state=State.DELIVERED.value))
        assert subscribers.waiting_since(connection, "egedal-journal", "s-1", NOW) is None
