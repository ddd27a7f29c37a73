"""What a node deletes when its time is over, and how it states that it did [R106, R129].

Rules:

1. First the rows, in one commit a batch; then the objects that no row speaks of any more.
2. A run that deleted anything says so in the trace: `statements` reads it back.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from core import commands, limits, log, retention
from core.clock import DAY, SECOND, Micros
from core.commands import Call
from core.desk.uploads import sweep
from core.expectation import by_default
from core.ledger import alarms, looking, parcels, statistics, trace
from core.ledger.alarms import Alarm
from core.ledger.trace import Entry, Line
from core.runtime import Runtime

_log = log.get("keeping")


class Keeping:
    """Retention of one ledger."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def retain(self) -> Mapping[str, Any]:
        """Delete what is due, state it, and look for usual receipts that have not come; gives the statement."""
        runtime, now = self._runtime, self._runtime.clock.now()
        days = {i.id: i.retention_days for i in runtime.configuration.all("integration").values()}
        default = limits.RETENTION // DAY
        emptied: Counter[str] = Counter()
        while (expired := await self._call(retention.expire, days, default, now)).parcels:
            emptied.update(expired.integrations)
            await asyncio.to_thread(runtime.delete, expired.objects)
        kept = {name: days.get(name, default) for name in emptied}
        said: dict[str, Any] = {
            "parcels": {name: [emptied[name], now - kept[name] * DAY] for name in sorted(emptied)},
            **await self._forget(now),
        }
        said = {name: value for name, value in said.items() if value}
        if said:
            await runtime.do(commands.NOTE, Entry(retention.STATEMENT, now, "retention", said))
            _log.info("deleted what was kept long enough", **said)
        nobodys = await runtime.read(retention.unreferenced, runtime.store, now)
        await asyncio.to_thread(runtime.delete, nobodys)
        await self._usual_receipts(now)
        return said

    async def _call(self, function: Any, *arguments: Any) -> Any:
        return await self._runtime.do(commands.CALL, Call(function, arguments))

    async def _forget(self, now: Micros) -> dict[str, Any]:
        """Keys, the usage log, figures and transfers whose time is over: of each how many rows, and up to when."""
        runtime, keep = self._runtime, self._runtime.settings.keep
        windows = runtime.catalogue.windows(runtime.configuration)
        before = {scope: now - window for scope, window in windows.items()}
        until = {
            "keys": now - limits.KEY_WINDOW,
            "looks": now - keep.access_days * DAY,
            "figures": now - keep.statistics_days * DAY,
            "uploads": now,
        }
        dropped, _ = await sweep(runtime)
        gone = {
            "keys": await self._call(parcels.forget_keys, until["keys"], before),
            "looks": await self._call(looking.forget, until["looks"]),
            "figures": await self._call(statistics.forget, until["figures"]),
            "uploads": dropped,
        }
        return {name: [number, until[name]] for name, number in gone.items() if number}

    async def _usual_receipts(self, now: Micros) -> None:
        """One alarm for each parcel whose usual receipt has not come, of integrations that expect no other."""
        runtime = self._runtime
        integrations = runtime.configuration.all("integration")
        within = {i.id: int(i.receipt_within * SECOND) for i in integrations.values()}
        raised = [
            Alarm(f"no-receipt-{parcel_id}", now, "no-receipt", _WORDS.format(integration), parcel_id)
            for parcel_id, integration in await runtime.read(retention.waiting_receipts, within, now)
            if integration not in integrations or by_default(integrations[integration])
        ]
        if raised:
            await self._call(alarms.raise_once, raised)


_WORDS = "no receipt for a parcel of {} within the agreed time"


def statements(connection: Connection) -> Sequence[Line]:
    """What was deleted and when, the oldest first, as the trace keeps it."""
    return trace.of_parcel(connection, retention.STATEMENT)
