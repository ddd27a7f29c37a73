"""What the contract for gateway authors is proved on: one gateway on a real kernel, and the world around it.

Rule: everything is real but the dispatcher, whose part the contract's tests play: they decide when an attempt is made, repeated
or cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, Protocol

from sqlalchemy import func, select

from core import commands, config
from core.gateway import Gateway
from core.kernel import NodeKernel
from core.ledger import tables, versions
from core.mailroom import Mailroom
from core.runtime import Catalogue, Runtime
from core.settings import load_settings

PATIENCE: Final = 10.0
"""Seconds in which a gateway has to do what it is asked."""
Behaviour = Literal["up", "down", "silent"]
"""What the neighbour does with what is sent to it: take it, be away, or say nothing for ever."""


@dataclass
class Bench:
    """One gateway on a kernel of its own: everything is real but the dispatcher."""

    runtime: Runtime
    kernel: NodeKernel
    gateway: Gateway
    serving: asyncio.Task[None]

    def count(self, table: str) -> int:
        """Rows of a table of the ledger."""
        query = select(func.count()).select_from(tables.metadata.tables[table])
        return int(self.runtime.read_now(lambda connection: connection.execute(query).scalar_one()))

    def files(self) -> list[str]:
        """Files of the payload store, durable or half-made."""
        return sorted(path.name for path in self.runtime.store.root.rglob("*") if path.is_file())


class World(Protocol):
    """What surrounds the gateway under test."""

    gateway: type[Any]
    home: Path
    """A home with ``node.yaml`` and a configuration in which the gateway is active."""
    sender: str
    """A system; what it sends under `integration` is routed out through the gateway."""
    integration: str

    async def bring_in(self, bench: Bench, key: str, octets: bytes) -> bool:
        """Bring an item in as a neighbour does, under a key of its choice; True when it was told "accepted"."""
        ...

    async def neighbour(self, behaviour: Behaviour) -> None:
        """How the neighbour behaves from now on."""
        ...

    async def left(self) -> Mapping[str, bytes]:
        """All that the neighbour has taken, half things too: the payload by the name it has there."""
        ...


@asynccontextmanager
async def opened(world: World) -> AsyncIterator[Bench]:
    """The gateway of a world, configured and serving."""
    settings = load_settings(world.home)
    name = world.gateway.name
    catalogue = Catalogue({name: world.gateway})
    runtime = Runtime.open(settings, catalogue=catalogue)
    gateway, serving = None, None
    try:
        first = config.load(settings.config_path, catalogue.kinds, catalogue.checks)
        version = versions.Version(0, runtime.clock.now(), "contract", "the world's configuration", first.to_json())
        await runtime.do(commands.VERSION, version)
        runtime.configuration = runtime.latest()
        kernel = NodeKernel(runtime, name, Mailroom(runtime))
        gateway = world.gateway(kernel, world.gateway.Settings.model_validate(settings.gateways[name]))
        gateway.configure(runtime.configuration)
        serving = asyncio.create_task(gateway.run())
        yield Bench(runtime, kernel, gateway, serving)
    finally:
        if serving is not None:
            serving.cancel()
            await asyncio.wait([serving], timeout=PATIENCE)
        if gateway is not None:
            await gateway.close()
        await asyncio.to_thread(runtime.close)
