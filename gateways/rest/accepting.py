"""Which form of an answer a caller takes, by its ``Accept`` [RFC 9110 §12.5.1]."""

from __future__ import annotations

from collections.abc import Sequence

from gateways.rest import problems
from gateways.rest.problems import Problem, ProblemError


def chosen(accept: str, offered: Sequence[str]) -> str:
    """The form of ``offered`` that the caller likes best, the first of those it likes the same. Raises 406 for none."""
    if not accept.strip():
        return offered[0]
    ranges = [_range(one) for one in accept.split(",")]
    liked = [(_weight(form, ranges), -index, form) for index, form in enumerate(offered)]
    weight, _, form = max(liked)
    if weight <= 0:
        raise ProblemError(Problem(problems.NOT_ACCEPTABLE, f"there is {', '.join(offered)}"))
    return form


def _range(text: str) -> tuple[str, float]:
    form, *parameters = (part.strip().lower() for part in text.split(";"))
    for one in parameters:
        name, _, value = one.partition("=")
        if name.strip() == "q":
            try:
                return form, min(1.0, max(0.0, float(value)))
            except ValueError:
                return form, 0.0
    return form, 1.0


def _weight(form: str, ranges: Sequence[tuple[str, float]]) -> float:
    """How much a form is liked: what names it most exactly counts."""
    for wanted in (form, f"{form.partition('/')[0]}/*", "*/*"):
        found = [weight for name, weight in ranges if name == wanted]
        if found:
            return max(found)
    return 0.0
