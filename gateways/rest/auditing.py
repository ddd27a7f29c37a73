"""The usage log of the gateway: what each endpoint declares is written here, so that no handler can forget it [R81, R102, R132].

Rules:

1. An endpoint declares that whoever asks it sees something, or changes something; or why nobody need know who did.
2. A change is in the log before its answer leaves; a look soon after.
3. Who is known and is turned away from something (403, 404) is in the log as well, with the problem's word; the very same again
   within a minute is not: a program that asks in vain all day must not fill the ledger. So is a change that ended in an error
   nobody foresaw: it may have been made.
4. What a system does as itself, and what it reads of its own where it has no other role, need not be in the log where the
   endpoint says why: mostly because the trace tells of it. Of people it always is.
5. An entry names ids, whatever somebody wrote in their place is made harmless and short. Nothing of a body or an answer is in it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Final

from core import limits
from core.clock import Clock, Micros
from core.desk.looking import Looking
from gateways.rest.access import Caller
from gateways.rest.endpoint import Endpoint, Reply
from gateways.rest.problems import ProblemType
from gateways.rest.settings import Role

_REFUSALS: Final = frozenset({403, 404})
_UNFORESEEN: Final = 500
_ONLY_ITSELF: Final = frozenset({Role.SYSTEM})
OK: Final = "ok"


class Auditing:
    """Writes what endpoints declare. ``looking`` gives the desk."""

    def __init__(self, looking: Callable[[], Looking], clock: Clock) -> None:
        self._looking, self._clock = looking, clock
        self._told: OrderedDict[tuple[str, ...], Micros] = OrderedDict()
        """Refusals that are in the log, and since when."""

    async def answered(self, one: Endpoint, caller: Caller, path: Mapping[str, str], query: Any, reply: Reply) -> None:
        """A request was answered: one entry for each thing it was about."""
        if one.audited is None or is_nobodys_business(one, caller):
            return
        named = [clean(name) for name in reply.about[: limits.LOOKS_AT_ONCE]] or [about(one, path, query)]
        for name in named[1:] if one.audited == "changed" else named:
            self._looking().saw(caller.name, caller.authority, action(one), name)
        if one.audited == "changed":  # the last is waited for: what was handed over before it is committed by then
            await self._looking().changed(caller.name, caller.authority, action(one), named[0])

    async def refused(
        self, one: Endpoint, caller: Caller, path: Mapping[str, str], query: Any, kind: ProblemType
    ) -> None:
        """A request ended in a problem."""
        if one.open or not caller.name:
            return
        if kind.status in _REFUSALS or (kind.status == _UNFORESEEN and one.audited == "changed"):
            said = (caller.name, caller.authority, action(one), about(one, path, query), kind.word)
            if self._is_news(said):
                self._looking().saw(*said)

    def _is_news(self, said: tuple[str, ...]) -> bool:
        now = self._clock.now()
        last = self._told.get(said)
        if last is not None and now - last < limits.REFUSED_AGAIN:
            return False
        self._told[said] = now
        self._told.move_to_end(said)
        while len(self._told) > limits.REFUSED_TOLD:
            self._told.popitem(last=False)
        return True


def is_nobodys_business(one: Endpoint, caller: Caller) -> bool:
    """Whether a system did what its trace tells of, or read what is its own, and the endpoint says that this is enough."""
    if not one.unaudited or caller.kind != "system":
        return False
    return one.audited == "changed" or caller.roles == _ONLY_ITSELF


def action(one: Endpoint) -> str:
    """What somebody did, as the log has it."""
    return f"{one.method} {one.path}"


def about(one: Endpoint, path: Mapping[str, str], query: Any) -> str:
    """What a request was about, by what its path or its query names: the outermost, of which the others are parts."""
    for name in one.parameters:
        if name in path:
            return clean(path[name])
    return clean(str(getattr(query, "system", None) or ""))


def clean(text: str) -> str:
    """An id as it may stand in a log, whatever somebody sent in its place."""
    return "".join(c if c.isprintable() else "?" for c in text[: limits.LOOKED_AT])
