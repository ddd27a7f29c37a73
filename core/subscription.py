"""Subscriptions (*abonnementer*): every one that matches gets a delivery, and the answer says why the others did not.

Rules:

1. A subscription is of one system and one integration; its queue is its own, and no other waits behind it.
2. Plain equality is looked up in an index; a CEL condition is evaluated only where the equalities hold.
3. A condition that cannot be evaluated is no match and no silence: its subscription is named in the trace, with an alarm, and the
   others get their deliveries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, field_validator

from core import limits
from core.condition import compiled
from core.description import Description
from core.matching import Facts, Index, Match, Rule
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


OnList = Callable[[str, Sequence[str]], bool]
"""Whether one of these subjects is on the value list of this name."""


def _nobody(_name: str, _subjects: Sequence[str]) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one subscription said of a parcel: matched, or why not; ``broken`` when that cannot be said."""

    subscription: str
    matched: bool
    why: str
    broken: bool = False


_MATCHED: Final = "everything it asks for holds"


class Subscriptions:
    """All subscriptions of a configuration, indexed. Immutable."""

    def __init__(self, subscriptions: Sequence[Subscription]) -> None:
        self._index = Index([Rule(one, (0, one.id)) for one in subscriptions])

    def matching(
        self, description: Description, integration: str, on_list: OnList = _nobody
    ) -> tuple[list[Subscription], list[Verdict]]:
        """Those that match, and those of which it cannot be said."""
        seen = Facts(description, integration)
        matched: list[Subscription] = []
        broken: list[Verdict] = []
        for rule in self._index.candidates(seen):
            if rule.differs(seen):
                continue
            holds, problem = rule.holds(seen)
            if problem:
                broken.append(Verdict(rule.document.id, False, problem, broken=True))
            elif holds and _is_listed(rule.document, description, on_list):
                matched.append(rule.document)
        return matched, broken

    def explain(self, description: Description, integration: str, on_list: OnList = _nobody) -> tuple[Verdict, ...]:
        """What each subscription of the integration says."""
        seen = Facts(description, integration)
        return tuple(
            self._say(rule, seen, description, on_list)
            for rule in self._index.rules
            if rule.document.integration == integration
        )

    @staticmethod
    def _say(rule: Rule[Subscription], seen: Facts, description: Description, on_list: OnList) -> Verdict:
        one = rule.document
        why = rule.differs(seen)
        if why:
            return Verdict(one.id, False, why)
        holds, problem = rule.holds(seen)
        if problem:
            return Verdict(one.id, False, problem, broken=True)
        if not holds:
            return Verdict(one.id, False, f"its condition is false: {one.when}")
        if not _is_listed(one, description, on_list):
            return Verdict(one.id, False, f"none of the subjects is on the value list {one.subjects_in}")
        return Verdict(one.id, True, _MATCHED)


def _is_listed(one: Subscription, description: Description, on_list: OnList) -> bool:
    return one.subjects_in is None or on_list(one.subjects_in, description.subjects)
