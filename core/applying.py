"""How a configuration comes into force on a node: applied, rolled back, or proposed and approved by a second person.

Rules:

1. Everything is checked before anything is stored, and what is stored is one version, which all nodes follow.
2. Where node.yaml says ``second_person: true``, a change of high risk is kept as a proposal until somebody else approves it.
   Going back to an old version is a change like any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from core import commands, config, limits
from core.config import Change, Configuration
from core.errors import NotFound, UsageError
from core.ledger import deliveries, proposals, versions
from core.ledger.proposals import Proposal
from core.ledger.versions import Version
from core.local import Operation, Progress
from core.parcel import new_id
from core.risk import Waiting, WaitingGroup, assess, total
from core.runtime import Runtime


class Applying:
    """The operations about the configuration. ``changed`` is told of one that has just been stored."""

    def __init__(self, runtime: Runtime, changed: Callable[[Configuration], None]) -> None:
        self._runtime, self._changed = runtime, changed

    def table(self) -> Mapping[str, Operation]:
        """All operations by name."""
        return {"apply": self.apply, "rollback": self.rollback, "approve": self.approve, "reject": self.reject}

    async def apply(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Check a directory whole, store it as the next version or as a proposal, and follow it."""
        catalogue = self._runtime.catalogue
        root = Path(args["directory"])
        loop = asyncio.get_running_loop()
        try:
            wanted = await loop.run_in_executor(None, config.load, root, catalogue.kinds, catalogue.checks)
        except ExceptionGroup as group:
            raise UsageError("\n".join(str(problem) for problem in group.exceptions)) from None
        changes = config.plan(self._runtime.configuration, wanted)
        in_force = self._runtime.configuration.number
        # When the newest version cannot be used, going back to what is in force is a change.
        if not changes and await self._runtime.read(versions.latest_number) == in_force:
            return {"version": self._runtime.configuration.number, "changes": []}
        listed = [[c.what, c.kind, c.id] for c in changes]
        if proposed := await self._proposed(wanted, changes, args["who"], args["why"]):
            return {"version": in_force, "changes": listed, "proposal": proposed}
        return {"version": await self._store(wanted.to_json(), args["who"], args["why"]), "changes": listed}

    async def rollback(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Store an old version's content as the next version or as a proposal, and follow it."""
        old = await self._runtime.read(versions.get, int(args["number"]))
        if old is None:
            raise NotFound(f"there is no configuration version {args['number']}")
        wanted = self._runtime.version(old.number)
        why = args["why"] or f"back to version {old.number}"
        changes = config.plan(self._runtime.configuration, wanted)
        if proposed := await self._proposed(wanted, changes, args["who"], why):
            return {"version": self._runtime.configuration.number, "as": old.number, "proposal": proposed}
        return {"version": await self._store(old.content, args["who"], why), "as": old.number}

    async def _proposed(self, wanted: Configuration, changes: list[Change], who: str, why: str) -> str:
        """The id of a proposal, where a second person is needed; else ""."""
        if not self._runtime.settings.second_person or not changes:
            return ""
        in_force = self._runtime.configuration
        waiting = Waiting(WaitingGroup(*row) for row in await self._runtime.read(deliveries.open_by_cause))
        if total(assess(in_force, wanted, changes, waiting)) != "high":
            return ""
        now, over = self._runtime.clock.now(), await self._runtime.read(versions.latest_number)
        one = Proposal(new_id(now), who[:255], now, why[:1024], over, wanted.to_json())
        await self._runtime.do(commands.CALL, commands.Call(proposals.add, (one, limits.PROPOSALS)))
        return one.id

    async def approve(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Make somebody else's proposal the next version, and follow it."""
        one = await self._runtime.read(proposals.get, args["proposal"])
        Configuration.from_json(
            one.content, self._runtime.catalogue.kinds, 0
        )  # raises for one that cannot be read any more
        arguments = (one.id, args["who"], args["why"], self._runtime.clock.now())
        number: int = await self._runtime.do(commands.CALL, commands.Call(proposals.approve, arguments))
        self._changed(Configuration.from_json(one.content, self._runtime.catalogue.kinds, number))
        return {"version": number, "proposal": one.id}

    async def reject(self, args: Mapping[str, Any], _progress: Progress) -> Any:
        """Say no to a proposal."""
        arguments = (args["proposal"], args["who"], args["why"], self._runtime.clock.now())
        await self._runtime.do(commands.CALL, commands.Call(proposals.reject, arguments))
        return {"proposal": args["proposal"]}

    async def _store(self, content: str, who: str, why: str) -> int:
        version = Version(0, self._runtime.clock.now(), who[:255], why[:1024], content)
        number: int = await self._runtime.do(commands.VERSION, version)
        self._changed(Configuration.from_json(content, self._runtime.catalogue.kinds, number))
        return number
