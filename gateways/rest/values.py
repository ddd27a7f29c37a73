"""Value lists over the API: the system that owns one puts values on it, takes them off, and asks; nobody reads them back.

Rules:

1. Only the owner's system itself, whatever others administer. For other authorities a list is not there.
2. No value is repeated in an answer or a log: what is wrong is named by its position.
3. A whole list comes as lines of text, and is read as it comes; as JSON it is smaller, and is read as a whole.
"""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Final

from pydantic import Field

from core import limits
from core.desk.values import Done
from core.lists import ValueList
from gateways.rest import problems
from gateways.rest.endpoint import OWN, Answer, Ask, Body, Endpoint, Reply, Shape
from gateways.rest.gate import Gate
from gateways.rest.problems import Flaw, Problem, ProblemError, absent, forbidden, invalid_request
from gateways.rest.server import parse_json

_TAG: Final = "Value lists"
_JSON, _TEXT = "application/json", "text/plain"
_SCHEMA: Final = {"type": "array", "items": {"type": "string", "maxLength": limits.LIST_VALUE}}
Value = Annotated[str, Field(max_length=limits.LIST_VALUE)]


class SomeValues(Shape):
    """Some values."""

    values: Annotated[list[Value], Field(max_length=limits.LIST_CALL)]


class AskedValues(Shape):
    """Values to ask about."""

    values: Annotated[list[Value], Field(min_length=1, max_length=limits.LIST_ASKED)]


class ListView(Shape):
    """A value list."""

    id: str
    title: str
    owner: str
    """The system that maintains it."""
    count: int


class Lists(Shape):
    """Your systems' value lists."""

    lists: list[ListView]


class ListChange(Shape):
    """What a change came to."""

    added: int
    removed: int
    count: int
    """How many are on the list now."""


class Contained(Shape):
    """Whether each is on the list, in the order asked."""

    contains: list[bool]


class ValueLists:
    """Endpoints of value lists."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    def endpoints(self) -> Sequence[Endpoint]:
        """All of them."""
        path = "/v1/value-lists/{list}"
        done = {200: Answer("What it came to.", ListChange)}
        whole = Body((_TEXT, _JSON), streamed=True, schema=_SCHEMA)
        return (
            Endpoint("GET", "/v1/value-lists", self.listed, "List your value lists", _TAG, {200: Answer("All.", Lists)},
                     audited="saw", unaudited=OWN),
            Endpoint("PUT", f"{path}/values", self.replace, "Replace all values", _TAG, done, body=whole, audited="changed"),
            Endpoint("POST", f"{path}/values", self.add, "Add values", _TAG, done, body=Body(model=SomeValues),
                     audited="changed"),
            Endpoint("POST", f"{path}/values/remove", self.remove, "Take values off", _TAG, done,
                     body=Body(model=SomeValues), audited="changed"),
            Endpoint("POST", f"{path}/contains", self.contains, "Ask whether values are on a list", _TAG,
                     {200: Answer("For each.", Contained)}, body=Body(model=AskedValues), audited="saw"),
        )  # fmt: skip

    async def listed(self, ask: Ask) -> Reply:
        """With how many values each has; the values themselves are not kept, and cannot be read."""
        desk, caller = self._gate.kernel.desks.values, ask.caller
        own = [
            one
            for _, one in sorted(self._gate.configuration().all("value-list").items())
            if caller.may_act_as(one.owner) or caller.administers
        ]
        views = [ListView(id=one.id, title=one.title, owner=one.owner, count=await desk.count(one.id)) for one in own]
        return Reply(Lists(lists=views))

    def _own(self, ask: Ask) -> ValueList:
        found = self._gate.configuration().all("value-list").get(ask.path["list"])
        if not isinstance(found, ValueList):
            raise absent()
        if ask.caller.may_act_as(found.owner):
            return found
        owner = self._gate.configuration().all("system").get(found.owner)
        if ask.caller.administers or (owner is not None and owner.authority == ask.caller.authority):
            raise forbidden("only the system that owns the list keeps its values")
        raise absent()

    async def replace(self, ask: Ask) -> Reply:
        """The body is the whole list: text with one value a line, of any length; or a JSON list, of some MiB at most.
        Until the last is written, the list counts as it was."""
        found = self._own(ask)
        assert ask.stream is not None, "the endpoint's body is streamed"
        values = await (_lines(ask.stream) if ask.media_type == _TEXT else _listed(ask.stream))
        return _done(await self._gate.kernel.desks.values.replace(found.id, values))

    async def add(self, ask: Ask) -> Reply:
        """Values that are on it already are no matter."""
        found = self._own(ask)
        return _done(await self._gate.kernel.desks.values.add(found.id, ask.body.values))

    async def remove(self, ask: Ask) -> Reply:
        """Values that are not on it are no matter."""
        found = self._own(ask)
        return _done(await self._gate.kernel.desks.values.remove(found.id, ask.body.values))

    async def contains(self, ask: Ask) -> Reply:
        """As the list is now."""
        found, desk = self._own(ask), self._gate.kernel.desks.values
        return Reply(Contained(contains=[await desk.contains(found.id, one) for one in ask.body.values]))


def _done(done: Done) -> Reply:
    return Reply(ListChange(added=done.added, removed=done.removed, count=done.count))


async def _lines(stream: AsyncIterator[bytes]) -> list[str]:
    """One value a line, as they come; empty lines are none. Raises `ProblemError` naming the line."""
    decoder, found, rest = codecs.getincrementaldecoder("utf-8")(), list[str](), ""
    try:
        async for piece in stream:
            *whole, rest = (rest + decoder.decode(piece)).split("\n")
            found += [one for one in whole if one.strip()]
            if len(found) > limits.LIST_VALUES:
                raise ProblemError(Problem(problems.TOO_LARGE, f"values: more than {limits.LIST_VALUES}"))
            if len(rest) > limits.LIST_LINE:
                cause = f"is longer than {limits.LIST_LINE} characters"
                raise invalid_request([Flaw(f"/{len(found)}", cause)])
        rest += decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise ProblemError(
            Problem(problems.UNREADABLE, f"value {len(found) + 1} or one soon after it is no UTF-8")
        ) from None
    return [*found, rest] if rest.strip() else found


async def _listed(stream: AsyncIterator[bytes]) -> list[str]:
    """A JSON list of texts. Raises `ProblemError` naming the position."""
    octets = bytearray()
    async for piece in stream:
        octets += piece
        if len(octets) > limits.LIST_BODY:
            words = f"a JSON list is at most {limits.LIST_BODY} octets; send {_TEXT} with one value a line"
            raise ProblemError(Problem(problems.TOO_LARGE, words))
    values = parse_json(bytes(octets))
    if not isinstance(values, list):
        raise invalid_request([Flaw("", "is no list")])
    wrong = [Flaw(f"/{n}", "is no text") for n, one in enumerate(values) if not isinstance(one, str)]
    if wrong:
        raise invalid_request(wrong[:20])
    return values
