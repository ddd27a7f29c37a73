"""Subscriptions (*abonnementer*): every one that matches gets a delivery, and the answer says why the others did not.

Rules:

1. A subscription is of one system and one integration; its queue is its own, and no other waits behind it.
2. Plain equality is looked up in an index; a CEL condition is evaluated only where the equalities hold.
3. A condition that cannot be evaluated is no match and no silence: its subscription is named in the trace, with an alarm, and the
   others get their deliveries.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from core import limits
from core.condition import compiled
from core.route import Match
from core.system import Document, Name


class Subscription(Document):
    """Kind ``subscription``: what one system wants to be told of."""

    kind: Literal["subscription"] = "subscription"
    id: Name
    title: str = ""
    system: Name
    integration: Name
    match: Match = Field(default_factory=lambda: Match.model_validate({}))
    when: Annotated[str, StringConstraints(max_length=limits.CONDITION_SIZE)] = ""
    """A CEL condition over ``parcel``, as in a route."""
    subjects_in: Name | None = None
    """A value list: only parcels one of whose subjects is on it."""
    ordered_by: Literal["", "correlation_id", "process_id"] = ""
    """Lend one at a time of those that have this in common, oldest first; "" = no order."""
    paused: bool = False
    """Nothing is lent while it is; what matches is kept."""
    max_attempts: Annotated[int, Field(ge=1, le=1000)] = limits.LOANS
    """Loans without an acknowledgement after which a delivery is a dead letter."""
    lease: Annotated[float, Field(ge=1, le=43_200)] = limits.LEASE / 1_000_000
    """Seconds a delivery is lent for, unless the pull asks for another time."""
    idle_after: Annotated[float, Field(ge=60, le=31_536_000)] = limits.IDLE / 1_000_000
    """Seconds without a pull, while something waits, after which an alarm is raised."""

    @field_validator("when")
    @classmethod
    def _compiles(cls, value: str) -> str:
        if value:
            compiled(value)
        return value
