"""Alarms, for those whom they are about: see what is open, and say that one has seen to it.

Rules:

1. Who administers a node has all of them. Others have those about parcels that their systems sent, and about those that their
   systems alone receive; for an alarm that is another's it is as if it were not there.
2. An alarm is one, whoever sees it: once somebody has seen to it, it is open for nobody.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection

from core import commands, limits
from core.clock import Micros
from core.commands import Call
from core.desk.page import Page, cut, line, size
from core.errors import UsageError
from core.ledger import alarms
from core.ledger.alarms import Alarm, Asked
from core.runtime import Runtime

_CURSOR: Final = re.compile(r"([0-9]{1,17})/(.{1,64})")


class Alarming:
    """The open alarms of a ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def find(self, asked: Asked, limit: int = limits.PAGE) -> Page[Alarm]:
        """A page, the newest first; `before` reads its cursor. Raises `UsageError` naming the field."""
        return await self._runtime.read(page_of, asked, limit)

    async def clear(self, ids: Sequence[str], systems: frozenset[str] | None) -> list[str]:
        """Somebody who speaks for these systems (None = all) has seen to them; gives those that are theirs."""
        now = self._runtime.clock.now()
        cleared: list[str] = await self._runtime.do(commands.CALL, Call(alarms.clear_theirs, (list(ids), now, systems)))
        return cleared


def page_of(connection: Connection, asked: Asked, limit: int) -> Page[Alarm]:
    """The same for whoever has a connection."""
    for field in ("code", "parcel_id"):
        line(field, getattr(asked, field))
    return cut(alarms.find(connection, asked, size(limit) + 1), limit, lambda one: f"{one.at}/{one.id}")


def before(cursor: str) -> tuple[Micros, str] | None:
    """Where a page goes on, for `Asked.before`; None for "". Raises `UsageError`."""
    if not cursor:
        return None
    found = _CURSOR.fullmatch(line("before", cursor))
    if found is None:
        raise UsageError("before: is no cursor of a page of alarms")
    return int(found[1]), found[2]
