"""What senders have used: octets begun since a time, and deliveries that are open.

Rule: a parcel's id begins with the time it was begun at, so a day of one sender is one range of an index.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sqlalchemy import Connection, case, func, select

from core import limits
from core.clock import Micros
from core.delivery import OPEN_STATES
from core.ledger.tables import delivery, parcel, payload
from core.parcel import id_at


def _parts(senders: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(senders), limits.QUOTA_SENDERS):
        yield senders[first : first + limits.QUOTA_SENDERS]


def octets(connection: Connection, senders: Sequence[str], since: Micros, cut: Micros) -> dict[str, tuple[int, int]]:
    """Octets of payload of each sender's parcels begun since ``since``: before ``cut``, and after."""
    found: dict[str, tuple[int, int]] = {}
    before = func.sum(case((parcel.c.id < id_at(cut), payload.c.size), else_=0))
    join = parcel.join(payload, payload.c.parcel_id == parcel.c.id)
    for some in _parts(senders):
        query = (
            select(parcel.c.sender, before, func.sum(payload.c.size))
            .select_from(join)
            .where(parcel.c.sender.in_(some), parcel.c.id >= id_at(since))
            .group_by(parcel.c.sender)
        )
        for sender, early, whole in connection.execute(query):
            found[sender] = (int(early), int(whole) - int(early))
    return found


def waiting(connection: Connection, senders: Sequence[str]) -> dict[str, int]:
    """How many deliveries of what each has sent are open."""
    found: dict[str, int] = {}
    join = delivery.join(parcel, parcel.c.id == delivery.c.parcel_id)
    states = [state.value for state in OPEN_STATES]
    for some in _parts(senders):
        query = (
            select(parcel.c.sender, func.count())
            .select_from(join)
            .where(delivery.c.state.in_(states), parcel.c.sender.in_(some))
            .group_by(parcel.c.sender)
        )
        found.update((row[0], row[1]) for row in connection.execute(query))
    return found
