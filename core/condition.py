"""Conditions of routes: CEL that ends, speaks of what there is, and says so when it cannot be evaluated.

Rules:

1. A condition speaks of ``parcel`` and its fields, with the functions listed here. What it could not find at run time is refused
   when it is written: a route that stops every parcel because of a slip of the pen helps nobody.
2. It has no loops, so its cost is bounded by its length: loops in loops would hold up every parcel for ever.
3. A pattern of ``matches`` stands in the condition itself: were it taken from a parcel, its sender would choose its cost.
4. It gives true or false. Anything else is a problem in words, never a guess.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import cel

from core.description import Description

LOOPS: Final = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
FUNCTIONS: Final = frozenset(
    {
        *("has", "size", "contains", "startsWith", "endsWith", "matches"),
        *("int", "uint", "double", "string", "bytes", "timestamp", "duration"),
        *("getFullYear", "getMonth", "getDayOfYear", "getDayOfMonth", "getDate", "getDayOfWeek"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    }
)
_WORDS: Final = frozenset({"parcel", "true", "false", "null", "in"})
_STRING: Final = r'[bB]?(?:[rR](?:"""[\s\S]*?"""|\'\'\'[\s\S]*?\'\'\'|"[^"\n\r]*"|\'[^\'\n\r]*\')|' + (
    r'"""(?:\\[\s\S]|[^\\])*?"""|\'\'\'(?:\\[\s\S]|[^\\])*?\'\'\'|"(?:\\.|[^\\"\n\r])*"|\'(?:\\.|[^\\\'\n\r])*\')'
)
_TOKEN: Final = re.compile(rf"(?P<skip>\s+|//[^\n]*)|(?P<text>{_STRING})|(?P<name>[A-Za-z_]\w*)|\.?\d[\w.]*|[\s\S]")


def facts(description: Description, integration: str) -> dict[str, Any]:
    """What a condition sees as ``parcel``. Subjects are personal and are not among it."""
    found = description.model_dump(mode="json", exclude={"subjects", "receiver"})
    found["integration"] = integration
    found["receiver"] = description.receiver.system or ""
    found["function"] = description.receiver.function or ""
    found["classifications"] = {c.scheme: c.code for c in description.classifications}
    return {name: "" if value is None else value for name, value in found.items()}


_SPECIMEN: Final = facts(Description(type="x", sender="x", occurred=0, expires=0), "x")
FIELDS: Final = frozenset(_SPECIMEN)
"""What ``parcel`` has."""


def compiled(source: str) -> Any:
    """The condition made ready. Raises `ValueError` saying what is wrong with it."""
    try:
        program = cel.compile(source)
    except ValueError as error:
        raise ValueError(f"not a CEL condition: {str(error).splitlines()[0]}") from None
    _check_words(source)
    try:
        value = program.execute({"parcel": _SPECIMEN})
    except (TypeError, RuntimeError) as error:
        words = _first_line(error)
        if isinstance(error, TypeError) or words.startswith("Undefined"):
            raise ValueError(f"cannot be evaluated: {words}") from None
    except (ValueError, ArithmeticError, LookupError):
        pass  # it depends on the parcel: an attribute that only some have
    else:
        if not isinstance(value, bool):
            raise ValueError(f"gives {type(value).__name__}, not true or false")
    return program


def evaluate(program: Any, parcel: Mapping[str, Any]) -> tuple[bool, str]:
    """Whether it holds for these `facts`, and why that cannot be said, or ""."""
    try:
        value = program.execute({"parcel": parcel})
    except (ValueError, RuntimeError, TypeError, ArithmeticError, LookupError) as error:
        return False, f"its condition cannot be evaluated: {_first_line(error)}"
    if not isinstance(value, bool):
        return False, f"its condition gives {type(value).__name__}, not true or false"
    return value, ""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]


def _tokens(source: str) -> list[tuple[str, str]]:
    """(kind, text) of every token, with an empty one before and three after, so that a neighbour can always be asked for."""
    found = [(m.lastgroup or "sign", m.group()) for m in _TOKEN.finditer(source) if m.lastgroup != "skip"]
    return [("sign", ""), *found, *[("sign", "")] * 3]


def _check_words(source: str) -> None:
    """Raises `ValueError` for a loop, a name that nothing has, or a pattern that is taken from elsewhere."""
    tokens = _tokens(source)
    for index in range(1, len(tokens) - 3):
        (kind, word), before, after = tokens[index], tokens[index - 1][1], tokens[index + 1][1]
        if kind != "name":
            continue
        if after == "(" and word != "in":
            _check_call(word, tokens[index + 2 : index + 4])
        elif before == ".":
            if tokens[index - 2][1] == "parcel" and word not in FIELDS:
                raise ValueError(f"a parcel has no {word!r}; it has {', '.join(sorted(FIELDS))}")
        elif word not in _WORDS:
            raise ValueError(f"knows nothing called {word!r}; conditions speak of parcel")


def _check_call(word: str, following: list[tuple[str, str]]) -> None:
    if word in LOOPS:
        raise ValueError(f"has a loop, {word!r}; conditions have none")
    if word not in FUNCTIONS:
        raise ValueError(f"knows no function called {word!r}; it knows {', '.join(sorted(FUNCTIONS))}")
    if word != "matches":
        return
    (kind, pattern), (_, end) = following
    if kind != "text" or end != ")":
        raise ValueError("takes a pattern from elsewhere; write it out, as matches('^A-[0-9]+$')")
    try:
        cel.compile(f"''.matches({pattern})").execute({})
    except RuntimeError:
        raise ValueError(f"{pattern[:200]} is no pattern that can be used") from None
