"""Routes (*fordelingsregler*): the first that matches says where a parcel goes, and the answer says why.

Rules:

1. Routes are tried in ``order``, then by id; the first that matches wins.
2. Plain equality is looked up in an index; a CEL condition (``when``) is evaluated only for routes whose equalities hold.
3. A condition that cannot be evaluated stops the search: guessing on would send a parcel where nobody meant it. The parcel goes
   to the residual mailbox, with an alarm, as it does when nothing matches. Never silence.
4. `choose` is cheap and says what was decided; `explain` runs the same rules again and says of each route why not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator

from core import limits
from core.condition import compiled, evaluate, facts
from core.description import Description, Priority, Sensitivity
from core.system import RESIDUAL, Document, Name


class Match(Document):
    """Equalities; what is left out matches everything."""

    type: str | None = None
    version: str | None = None
    sender: str | None = None
    receiver: str | None = None
    """The intended receiving system."""
    function: str | None = None
    priority: Priority | None = None
    sensitivity: Sensitivity | None = None
    classification: Annotated[dict[str, str], Field(default_factory=dict, max_length=limits.DESCRIPTION_ITEMS)]
    """Scheme → code; every named one must be among the parcel's."""


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
_EQUALITIES = ("receiver", "function", "type", "sender", "version", "priority", "sensitivity")


class _Rule:
    """One route made ready."""

    __slots__ = ("classification", "equalities", "program", "rank", "route")

    def __init__(self, route: Route) -> None:
        self.route = route
        self.rank = (route.order, route.id)
        wanted = [(name, getattr(route.match, name)) for name in _EQUALITIES]
        self.equalities = tuple((name, value) for name, value in wanted if value is not None)
        if route.integration is not None:
            self.equalities = (*self.equalities, ("integration", route.integration))
        self.classification = tuple(route.match.classification.items())
        self.program = compiled(route.when) if route.when else None

    def differs(self, plain: Mapping[str, str], classes: frozenset[tuple[str, str]]) -> str:
        """Why its equalities do not hold, or ""."""
        for name, value in self.equalities:
            if plain[name] != value:
                return f"{name} is {plain[name]!r}, the route wants {value!r}"
        for pair in self.classification:
            if pair not in classes:
                return f"has no classification {pair[1]!r} in {pair[0]!r}"
        return ""


def _plain(description: Description, integration: str) -> dict[str, str]:
    return {
        "receiver": description.receiver.system or "",
        "function": description.receiver.function or "",
        "type": description.type,
        "sender": description.sender,
        "version": description.version,
        "priority": description.priority,
        "sensitivity": description.sensitivity,
        "integration": integration,
    }


class Routes:
    """All routes of a configuration, indexed. Immutable."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._rules = sorted((_Rule(route) for route in routes), key=lambda rule: rule.rank)
        self._index: dict[tuple[str, str], list[_Rule]] = {}
        self._open: list[_Rule] = []
        for rule in self._rules:
            if rule.equalities:
                self._index.setdefault(rule.equalities[0], []).append(rule)
            else:
                self._open.append(rule)

    def _candidates(self, plain: Mapping[str, str]) -> Iterator[_Rule]:
        lists = [found for item in plain.items() if (found := self._index.get(item))]
        if len(lists) + bool(self._open) <= 1:
            return iter(lists[0] if lists else self._open)
        return iter(sorted((rule for found in (*lists, self._open) for rule in found), key=lambda rule: rule.rank))

    def choose(self, description: Description, integration: str) -> Decision:
        """The first route that matches, or the residual mailbox with the cause."""
        plain = _plain(description, integration)
        classes = frozenset((c.scheme, c.code) for c in description.classifications)
        parcel: dict[str, Any] | None = None
        examined = 0
        for rule in self._candidates(plain):
            examined += 1
            if rule.differs(plain, classes):
                continue
            if rule.program is not None:
                parcel = parcel or facts(description, integration)
                holds, problem = evaluate(rule.program, parcel)
                if problem:
                    return Decision("", _RESIDUAL, f"route {rule.route.id}: {problem}", examined)
                if not holds:
                    continue
            return Decision(rule.route.id, rule.route.to, "", examined)
        return Decision("", _RESIDUAL, "no route matches", examined)

    def explain(self, description: Description, integration: str) -> tuple[Verdict, ...]:
        """What each route says, in order, up to the one that decides."""
        plain = _plain(description, integration)
        classes = frozenset((c.scheme, c.code) for c in description.classifications)
        parcel = facts(description, integration)
        verdicts: list[Verdict] = []
        for rule in self._rules:
            why = rule.differs(plain, classes)
            if why:
                verdicts.append(Verdict(rule.route.id, False, why))
                continue
            holds, problem = evaluate(rule.program, parcel) if rule.program is not None else (True, "")
            if problem:
                return (*verdicts, Verdict(rule.route.id, False, problem))
            if holds:
                return (*verdicts, Verdict(rule.route.id, True, "first route whose conditions all hold"))
            verdicts.append(Verdict(rule.route.id, False, f"its condition is false: {rule.route.when}"))
        return tuple(verdicts)
