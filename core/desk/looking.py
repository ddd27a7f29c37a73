"""The usage log: who looked at which items, who changed what, and who was turned away.

Rules:

1. A change is in the log when its answer leaves: `changed` returns after the commit.
2. A look is handed to the writer and not waited for; what is handed over shares a commit with whatever else is written. A process
   that dies at once loses the looks of its last moment, and nothing else.
3. The log names ids and outcomes. What was seen is not in it.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

from sqlalchemy import Connection

from core import commands, limits, log
from core.clock import Micros
from core.desk.page import Page, cut, line, size
from core.ledger import looking
from core.ledger.looking import Asked, Look
from core.parcel import new_id
from core.runtime import Runtime

_log = log.get("looking")


class Looking:
    """The usage log of a ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def saw(self, who: str, authority: str, action: str, object_id: str, outcome: str = "ok") -> None:
        """Somebody looked at something, or was not let; not waited for."""
        made = self._look(who, authority, action, object_id, outcome)
        self._runtime.writer.submit(commands.ACCESS, made).add_done_callback(_tell)

    async def changed(self, who: str, authority: str, action: str, object_id: str, outcome: str = "ok") -> None:
        """Somebody changed something; in the log when this returns."""
        await self._runtime.do(commands.ACCESS, self._look(who, authority, action, object_id, outcome))

    def _look(self, who: str, authority: str, action: str, object_id: str, outcome: str) -> Look:
        now: Micros = self._runtime.clock.now()
        return Look(new_id(now), now, who, authority, action, object_id, outcome)

    async def find(self, asked: Asked, limit: int = limits.PAGE) -> Page[Look]:
        """A page, the newest first; its cursor is the next one's `Asked.before`. Raises `UsageError` naming the field."""
        return await self._runtime.read(page_of, asked, limit)


def page_of(connection: Connection, asked: Asked, limit: int) -> Page[Look]:
    """The same for whoever has a connection."""
    for field in ("who", "authority", "action", "object", "before"):
        line(field, getattr(asked, field))
    return cut(looking.find(connection, asked, size(limit) + 1), limit, lambda look: look.id)


def _tell(done: Future[Any]) -> None:
    """Nobody waits for a look; that one could not be written must be seen all the same."""
    error = done.exception()
    if error is not None:
        _log.error("a look could not be written to the usage log", cause=log.cause(error))
