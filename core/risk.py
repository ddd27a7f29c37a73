"""How risky a change of the configuration is, and why: what people want to know before they say yes, and when a second one must.

Rules:

1. High is what cannot be taken back by the next version: somebody gets data who did not, something is deleted sooner, what waits
   has nowhere to go, somebody else decides, others are believed by other keys.
2. Low is what moves no parcel: names, texts, examples; and what is new and that nothing uses yet. Everything else is medium, and
   so is whatever is not known here, such as a gateway's own field.
3. A change is as risky as the riskiest thing about it, and a plan as its riskiest change. The reason names that thing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, Literal, get_args

from core.config import Change, Configuration
from core.description import ValidationDegree, rank

Level = Literal["low", "medium", "high"]
LEVELS: Final[tuple[Level, ...]] = get_args(Level)
_DEGREES: Final[tuple[str, ...]] = get_args(ValidationDegree)
_RECEIPTS: Final = ("transport", "envelope", "business")
_TEXTS: Final = frozenset({"title", "summary", "tests"})
_KEYS: Final = ("certificate", "anchor", "key", "issuer", "jwks", "revocation", "tls", "client_id", "role")
"""What the name of a field contains by which somebody is believed, or may do more."""


@dataclass(frozen=True, slots=True)
class Risk:
    """How risky one change is, and the reason."""

    level: Level
    reason: str


@dataclass(frozen=True, slots=True)
class WaitingGroup:
    """How many open deliveries have these in common."""

    rule: str
    receiver: str
    integration: str
    gateway: str
    destination: str
    count: int


class Waiting:
    """Open deliveries, counted by what they depend on."""

    def __init__(self, groups: Iterable[WaitingGroup] = ()) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        for one in groups:
            for key in (
                ("rule", one.rule),
                ("system", one.receiver),
                ("integration", one.integration),
                ("service-agreement", one.integration, one.receiver),
                (one.gateway, one.destination),
            ):
                self._counts[key] += one.count

    def on(self, kind: str, document: Any) -> int:
        """How many need this document."""
        match kind:
            case "route" | "subscription":
                return self._counts["rule", document.id]
            case "service-agreement":
                wanted = (kind, document.integration, document.system)
                return self._counts[wanted] if document.may != "send" else 0
            case "system" | "integration":
                return self._counts[kind, document.id]
            case _:
                gateway, _, rest = kind.partition(".")
                return self._counts[gateway, document.id] if rest else 0


def assess(old: Configuration, new: Configuration, changes: Sequence[Change], waiting: Waiting) -> list[Risk]:
    """The risk of each change, in their order."""
    return [_worst(_of(old, new, change, waiting)) for change in changes]


def total(risks: Sequence[Risk]) -> Level:
    """The risk of the whole."""
    return max((one.level for one in risks), key=LEVELS.index, default="low")


def _worst(found: Iterator[Risk]) -> Risk:
    """The riskiest, and of several the last: what is known of a kind of document comes after what is said of every field."""
    ordered = sorted(found, key=lambda risk: LEVELS.index(risk.level))
    return ordered[-1] if ordered else Risk("medium", "it is written otherwise")


def _of(old: Configuration, new: Configuration, change: Change, waiting: Waiting) -> Iterator[Risk]:
    if change.kind == "file":
        yield _file(change)
        return
    before, after = old.all(change.kind).get(change.id), new.all(change.kind).get(change.id)
    if change.what == "removed":
        yield _removed(change.kind, waiting.on(change.kind, before))
    elif change.what == "added":
        yield _added(old, new, change.kind, after)
    else:
        judge = _JUDGES.get(change.kind, _no_more)
        for name in dict.fromkeys(path.partition(".")[0] for path, _, _ in change.fields):
            if name in _TEXTS:
                yield Risk("low", f"{name} is for people")
            else:
                yield Risk("medium", f"{name} changes")
                if any(word in name for word in _KEYS):
                    yield Risk("high", f"{name}: others are believed, by other keys, or may do more")
        yield from judge(before, after)


def _file(change: Change) -> Risk:
    if change.what == "added":
        return Risk("low", "a file that was not there; what names it says what it is for")
    said = change.fields[0] if change.fields else ("", "", "")
    if said[1].startswith("SHA-256") and said[2].startswith(("SHA-256", "-")):
        return Risk("medium", f"the file is {'replaced' if change.what == 'changed' else 'removed'}")
    return Risk("high", "certificates are replaced" if change.what == "changed" else "certificates are removed")


def _removed(kind: str, count: int) -> Risk:
    if count:
        return Risk("high", f"{count} open {'deliveries wait' if count > 1 else 'delivery waits'} for it")
    if kind == "integration":
        return Risk("high", "nothing is accepted under it any more, and its retention is the default from then on")
    return Risk("medium", "what it allowed or decided is over")


def _added(old: Configuration, new: Configuration, kind: str, after: Any) -> Risk:
    match kind:
        case "service-agreement" if after.may != "send":
            if after.integration in old.all("integration"):
                return Risk("high", f"{after.system} may receive under {after.integration}")
            return Risk("medium", f"{after.system} may receive under {after.integration}, which is new too")
        case "route" if after.integration in new.all("integration") and after.integration not in old.all("integration"):
            return Risk("low", f"it is for {after.integration}, which is new too")
        case "route":
            return Risk("medium", "what other routes took may go by this one")
        case "subscription":
            return Risk("medium", f"{after.system} is told more of {after.integration}, as far as it may receive")
        case "service-agreement":
            return Risk("medium", f"{after.system} may send under {after.integration}")
        case "system" | "integration" | "function" | "value-list" | "table":
            return Risk("low", "nothing uses it until another document names it")
        case _:
            return Risk("medium", "a gateway follows it at once")


# --- what a change of fields means ------------------------------------------------------------------------------------


def _no_more(before: Any, after: Any) -> Iterator[Risk]:
    yield from ()


def _integration(before: Any, after: Any) -> Iterator[Risk]:
    if before.owner != after.owner:
        yield Risk(
            "high", f"its owner is {after.owner or 'whoever administers this node'}: others decide who may receive"
        )
    if rank(after.sensitivity) < rank(before.sensitivity):
        yield Risk("high", f"sensitivity is lowered from {before.sensitivity} to {after.sensitivity}")
    if before.degree != after.degree and (before.degree == "encrypted" or after.degree == "declared"):
        yield Risk("high", f"the validation degree is lowered from {before.degree} to {after.degree}")
    if after.retention_days < before.retention_days:
        yield Risk("high", f"what is older than {after.retention_days} days is deleted for good")
    if _RECEIPTS.index(after.receipt) < _RECEIPTS.index(before.receipt):
        yield Risk("high", f"less evidence counts as delivered: {after.receipt} instead of {before.receipt}")
    if gone := [name for name in before.types if name not in after.types]:
        yield Risk("medium", f"{', '.join(gone)} is not accepted any more")
    if before.capability != after.capability:
        yield Risk("high", f"it goes to others: as a {after.capability} instead of a {before.capability}")


def _agreement(before: Any, after: Any) -> Iterator[Risk]:
    if after.may == "send":
        return
    if before.may == "send" or (before.system, before.integration) != (after.system, after.integration):
        yield Risk("high", f"{after.system} may receive under {after.integration}")
    elif (after.until or date.max) > (before.until or date.max) or (after.since or date.min) < (
        before.since or date.min
    ):
        yield Risk("high", f"{after.system} may receive under {after.integration} for a longer time")
    elif before.on_behalf_of != after.on_behalf_of:
        yield Risk("high", f"{after.system} may receive on behalf of {after.on_behalf_of or 'its own authority'}")


def _route(before: Any, after: Any) -> Iterator[Risk]:
    if more := sorted({target.system for target in after.to} - {target.system for target in before.to}):
        yield Risk("high", f"{', '.join(more)} receives what it did not")
    if _is_wider(before, after):
        yield Risk("high", f"it takes more than it did, to {', '.join(target.system for target in after.to)}")


def _subscription(before: Any, after: Any) -> Iterator[Risk]:
    if (before.system, before.integration) != (after.system, after.integration):
        yield Risk("high", f"{after.system} is told of {after.integration}")
    elif _is_wider(before, after) or (before.subjects_in is not None and before.subjects_in != after.subjects_in):
        yield Risk("high", f"{after.system} is told of more than it was")


def _is_wider(before: Any, after: Any) -> bool:
    """Whether a filter may take something that it did not: unless it only demands more, it may."""
    if before.when and before.when != after.when:
        return True
    if before.integration is not None and before.integration != after.integration:
        return True
    return not _demanded(before) <= _demanded(after)


def _demanded(one: Any) -> set[tuple[str, Any]]:
    said = one.match.model_dump(mode="json", exclude_none=True)
    classes = said.pop("classification")
    return {*said.items(), *(("classification", pair) for pair in classes.items())}


def _function(before: Any, after: Any) -> Iterator[Risk]:
    if rank(after.sensitivity) > rank(before.sensitivity):
        yield Risk(
            "high", f"more sensitive things may be sent to it: {after.sensitivity} instead of {before.sensitivity}"
        )


def _system(before: Any, after: Any) -> Iterator[Risk]:
    if before.authority != after.authority:
        yield Risk("high", f"it is another authority's: {after.authority}")
    if more := sorted(set(after.functions) - set(before.functions)):
        yield Risk("high", f"it receives what is addressed to {', '.join(more)}")


_JUDGES: Final[Mapping[str, Callable[[Any, Any], Iterator[Risk]]]] = {
    "integration": _integration,
    "service-agreement": _agreement,
    "route": _route,
    "subscription": _subscription,
    "function": _function,
    "system": _system,
}
