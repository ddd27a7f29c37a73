"""What senders have used, as the ledger says."""

from __future__ import annotations

from sqlalchemy import Engine, update

from core import limits
from core.clock import HOUR, MINUTE
from core.delivery import State
from core.ledger import parcels, usage
from core.ledger.tables import delivery
from core.parcel import id_at, new_id
from tests.core.making import NOW, a_delivery, a_parcel, a_payload, an_accept


def store(engine: Engine, sender: str, *sizes: int, at: int = NOW, deliveries: int = 1) -> str:
    """A parcel of one payload of each size, begun at a time."""
    made = a_parcel(*(a_payload(b"x" * size) for size in sizes), at=at, sender=sender)
    with engine.begin() as connection:
        made_for = tuple(a_delivery(made.id, id=new_id(at)) for _ in range(deliveries))
        parcels.accept_many(connection, [an_accept(parcel=made, deliveries=made_for)])
    return made.id


def test_octets_are_summed_by_sender_before_and_after_the_cut(engine: Engine):
    """All payloads of what was begun since the time, and of nobody else."""
    for at, sizes in ((NOW - HOUR, (100,)), (NOW, (1, 2)), (NOW + MINUTE, (10,)), (NOW + HOUR, (20,))):
        store(engine, "birkelund-post", *sizes, at=at)
    store(engine, "egedal-journal", 7)
    store(engine, "skovby-archive", 500)
    with engine.connect() as connection:
        asked = ["birkelund-post", "egedal-journal", "nobody"]
        assert usage.octets(connection, asked, NOW, NOW + HOUR) == {
            "birkelund-post": (13, 20),
            "egedal-journal": (7, 0),
        }
        assert usage.octets(connection, [], NOW, NOW) == {}


def test_open_deliveries_are_counted_by_sender(engine: Engine):
    """Those that are settled wait no more."""
    store(engine, "birkelund-post", 1, deliveries=3)
    done = store(engine, "birkelund-post", 1)
    store(engine, "egedal-journal", 1)
    with engine.begin() as connection:
        connection.execute(update(delivery).where(delivery.c.parcel_id == done).values(state=State.DELIVERED.value))
    with engine.connect() as connection:
        assert usage.waiting(connection, ["birkelund-post", "nobody"]) == {"birkelund-post": 3}


def test_many_senders_are_asked_about_in_parts(engine: Engine):
    """More than one question takes, and the answer is whole."""
    store(engine, "birkelund-post", 5)
    senders = [f"system-{i}" for i in range(limits.QUOTA_SENDERS)] + ["birkelund-post"]
    with engine.connect() as connection:
        assert usage.octets(connection, senders, NOW, NOW) == {"birkelund-post": (0, 5)}
        assert usage.waiting(connection, senders) == {"birkelund-post": 1}


def test_ids_begin_with_their_time():
    """What was made at a time is not less than its beginning, and less than the next millisecond's."""
    assert id_at(NOW) <= new_id(NOW) < id_at(NOW + 1000)
