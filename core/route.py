"""Routes (*fordelingsregler*): the first that matches says where a parcel goes, and the answer says why.

Rules:

1. Routes are tried in ``order``, then by id; the first that matches wins.
2. Plain equality is looked up in an index; a CEL condition (``when``) is evaluated only for routes whose equalities hold.
3. A condition that cannot be evaluated stops the search: guessing on would send a parcel where nobody meant it. The parcel goes
   to the residual mailbox, with an alarm, as it does when nothing matches. Never silence.
4. `choose` is cheap and says what was decided; `explain` runs the same rules again and says of each route why not.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, StringConstraints, field_validator

from core import limits
from core.condition import compiled
from core.description import Description
from core.matching import Facts, Index, Match, Rule
from core.system import RESIDUAL, Document, Name


class Target(Document):
    """Where a parcel goes: a system, and the gateway that reaches it. Without a gateway the system pulls."""

    system: Name
    gateway: Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{0,32}$")] = ""
    destination: Name | Literal[""] = ""
    """The gateway's own document for the neighbour, as ``as4.partner``'s id."""


class Route(Document):
    """Kind ``route``."""

    kind: Literal["route"] = "route"
    id: Name
    title: str = ""
    order: int = 100
    integration: Name | None = None
    match: Match = Field(default_factory=lambda: Match.model_validate({}))
    when: Annotated[str, StringConstraints(max_length=limits.CONDITION_SIZE)] = ""
    """A CEL condition over ``parcel``, as ``parcel.size < 1000000 && parcel.version in ['1', '2']``. Ask whether an attribute is
    there before asking for it: ``'x' in parcel.attributes && parcel.attributes['x'] == 'y'``."""
    to: Annotated[tuple[Target, ...], Field(min_length=1, max_length=100)]

    @field_validator("when")
    @classmethod
    def _compiles(cls, value: str) -> str:
        if value:
            compiled(value)
        return value


@dataclass(frozen=True, slots=True)
class Decision:
    """Where a parcel goes. ``route`` is "" for the residual mailbox, and ``cause`` then says why."""

    route: str
    targets: tuple[Target, ...]
    cause: str = ""
    examined: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one route said of a parcel: matched, or why not."""

    route: str
    matched: bool
    why: str


_RESIDUAL = (Target(system=RESIDUAL),)


class Routes:
    """All routes of a configuration, indexed. Immutable."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._index = Index([Rule(route, (route.order, route.id)) for route in routes])

    def choose(self, description: Description, integration: str, without: Collection[str] = ()) -> Decision:
        """The first route that matches, or the residual mailbox with the cause.

        Systems ``without`` are not among the targets, and a route that names no other is passed over.
        """
        seen = Facts(description, integration)
        examined = 0
        for rule in self._index.candidates(seen):
            examined += 1
            if rule.differs(seen):
                continue
            holds, problem = rule.holds(seen)
            if problem:
                return Decision("", _RESIDUAL, f"route {rule.document.id}: {problem}", examined)
            targets = tuple(target for target in rule.document.to if target.system not in without)
            if holds and targets:
                return Decision(rule.document.id, targets, "", examined)
        return Decision("", _RESIDUAL, "no route matches", examined)

    def explain(self, description: Description, integration: str) -> tuple[Verdict, ...]:
        """What each route says, in order, up to the one that decides."""
        seen = Facts(description, integration)
        verdicts: list[Verdict] = []
        for rule in self._index.rules:
            name = rule.document.id
            why = rule.differs(seen)
            if why:
                verdicts.append(Verdict(name, False, why))
                continue
            holds, problem = rule.holds(seen)
            if problem:
                return (*verdicts, Verdict(name, False, problem))
            if holds:
                return (*verdicts, Verdict(name, True, "first route whose conditions all hold"))
            verdicts.append(Verdict(name, False, f"its condition is false: {rule.document.when}"))
        return tuple(verdicts)
