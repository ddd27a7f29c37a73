"""How a document's filter meets a description: equalities from an index first, then a condition.

Routes and subscriptions share it: a route is the first filter that matches, a subscription is any of them.

Rules:

1. Each filter lies in the index under one of its equalities, the one that the fewest filters share: a description meets only
   those that could match, however many filters say the same sender or priority besides.
2. A condition is evaluated only where all equalities hold; what it cannot be evaluated on is said in words, never guessed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Annotated, Any, Final, Generic, Protocol, TypeVar

from pydantic import Field

from core.condition import compiled, evaluate, facts
from core.description import Description, Priority, Sensitivity
from core.limits import DESCRIPTION_ITEMS
from core.system import Document, Name


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
    classification: Annotated[dict[str, str], Field(default_factory=dict, max_length=DESCRIPTION_ITEMS)]
    """Scheme → code; every named one must be among the parcel's."""


class Filtering(Protocol):
    """A document with a filter."""

    @property
    def id(self) -> Name:
        """What it is called."""
        ...

    @property
    def integration(self) -> Name | None:
        """What it is about; None for all."""
        ...

    @property
    def match(self) -> Match:
        """What has to be equal."""
        ...

    @property
    def when(self) -> str:
        """A condition, or ""."""
        ...


D = TypeVar("D", bound=Filtering)

_EQUALITIES: Final = ("receiver", "function", "type", "sender", "version", "priority", "sensitivity")


class Facts:
    """What filters see of one description; what a condition sees is made when the first one asks."""

    def __init__(self, description: Description, integration: str) -> None:
        self._description, self._integration = description, integration
        self.plain = {
            "receiver": description.receiver.system or "",
            "function": description.receiver.function or "",
            "type": description.type,
            "sender": description.sender,
            "version": description.version,
            "priority": description.priority,
            "sensitivity": description.sensitivity,
            "integration": integration,
        }
        self.classes = frozenset((c.scheme, c.code) for c in description.classifications)
        self._parcel: dict[str, Any] | None = None

    @property
    def parcel(self) -> Mapping[str, Any]:
        """What a condition calls ``parcel``."""
        if self._parcel is None:
            self._parcel = facts(self._description, self._integration)
        return self._parcel


class Rule(Generic[D]):
    """One document's filter made ready."""

    __slots__ = ("classification", "document", "equalities", "program", "rank")

    def __init__(self, document: D, rank: tuple[int, str]) -> None:
        self.document, self.rank = document, rank
        wanted = [(name, getattr(document.match, name)) for name in _EQUALITIES]
        self.equalities = tuple((name, value) for name, value in wanted if value is not None)
        if document.integration is not None:
            self.equalities = (*self.equalities, ("integration", document.integration))
        self.classification = tuple(document.match.classification.items())
        self.program = compiled(document.when) if document.when else None

    def differs(self, seen: Facts) -> str:
        """Why its equalities do not hold, or ""."""
        for name, value in self.equalities:
            if seen.plain[name] != value:
                return f"{name} is {seen.plain[name]!r}, the {self.document_kind} wants {value!r}"
        for pair in self.classification:
            if pair not in seen.classes:
                return f"has no classification {pair[1]!r} in {pair[0]!r}"
        return ""

    @property
    def document_kind(self) -> str:
        """What people call such a document."""
        return str(getattr(self.document, "kind", "filter"))

    def holds(self, seen: Facts) -> tuple[bool, str]:
        """Whether its condition holds where its equalities do, and why that cannot be said, or ""."""
        return evaluate(self.program, seen.parcel) if self.program is not None else (True, "")


class Index(Generic[D]):
    """Filters by one of their equalities, in the order of their rank. Immutable."""

    def __init__(self, rules: Sequence[Rule[D]]) -> None:
        self.rules = sorted(rules, key=lambda rule: rule.rank)
        self._index: dict[tuple[str, str], list[Rule[D]]] = {}
        self._by_class: dict[tuple[str, str], list[Rule[D]]] = {}
        self._open: list[Rule[D]] = []
        plain = Counter(pair for rule in self.rules for pair in rule.equalities)
        classes = Counter(pair for rule in self.rules for pair in rule.classification)
        for rule in self.rules:
            choices = [(plain[pair], self._index, pair) for pair in rule.equalities]
            choices += [(classes[pair], self._by_class, pair) for pair in rule.classification]
            if choices:
                _, index, pair = min(choices, key=itemgetter(0))
                index.setdefault(pair, []).append(rule)
            else:
                self._open.append(rule)

    def candidates(self, seen: Facts) -> Iterator[Rule[D]]:
        """Those that could match, in order."""
        lists = [found for item in seen.plain.items() if (found := self._index.get(item))]
        if self._by_class:
            lists += [found for pair in seen.classes if (found := self._by_class.get(pair))]
        if self._open:
            lists.append(self._open)
        if len(lists) <= 1:
            return iter(lists[0] if lists else ())
        return iter(sorted(chain.from_iterable(lists), key=lambda rule: rule.rank))
