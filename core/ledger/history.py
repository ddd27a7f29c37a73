"""Stored parcels of one integration in the order they came, without their payloads: what filters are tried on."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from core.clock import Micros
from core.description import Description
from core.ledger.tables import parcel
from core.parcel import Parcel


def floor(at: Micros) -> str:
    """What the ids of everything that came at ``at`` or later are not below."""
    return f"{max(0, at) // 1000:012x}"


def page(
    connection: Connection, integration: str, after: str, before: str, limit: int, *, newest_first: bool = False
) -> Sequence[Parcel]:
    """Parcels with ids between two, both left out; what was deleted when its time was over is left out as well."""
    c = parcel.c
    query = select(
        c.id, c.sender, c.description, c.sealed_subjects, c.accepted_at, c.key_id, c.wrapped_key, c.config_version
    ).where(c.integration == integration, c.id > after, c.id < before, c.wrapped_key != b"")
    rows = connection.execute(query.order_by(c.id.desc() if newest_first else c.id).limit(limit))
    return [
        Parcel(
            row.id,
            row.sender,
            integration,
            Description.model_validate_json(row.description),
            (),
            row.accepted_at,
            row.key_id,
            row.wrapped_key,
            row.config_version,
            row.sealed_subjects or b"",
        )
        for row in rows
    ]
