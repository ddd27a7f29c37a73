"""A node is ready when its gateways listen, and not before."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from core import commands
from core.errors import ConfigError, StafetError
from core.ledger import deliveries as queue
from core.ledger.engine import NodeLock
from core.node import Node
from tests.core.making import a_parcel, an_accept
from tests.core.nodes import Paper, make_node, make_settings

pytestmark = pytest.mark.filterwarnings("ignore:SQLite")


async def until(condition: Any, seconds: float = 10) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


class Door(Paper):
    """A gateway that takes its time to open, or never does."""

    opened: asyncio.Event

    async def listening(self) -> None:
        await self.opened.wait()


@pytest.fixture
def door(tmp_path: Path) -> Node:
    """A node whose gateway is not open yet."""
    Door.opened = asyncio.Event()
    return make_node(make_settings(tmp_path / "home"), gateways={"paper": Door})


async def test_a_node_is_ready_when_its_gateways_listen(door: Node):
    """Not a moment earlier; what was accepted before is sent meanwhile."""
    up: list[bool] = []
    task = asyncio.create_task(door.run(on_ready=lambda: up.append(Door.opened.is_set())))
    await until(lambda: door.settings.socket_path.exists())
    await door.runtime.do(commands.ACCEPT, an_accept(parcel=a_parcel(at=door.runtime.clock.now())))
    await until(lambda: door.runtime.read_now(queue.count_by_state) == {"delivered": 1})
    assert (up, door.ready.is_set(), door.reasons()) == ([], False, ["the node is starting"])
    Door.opened.set()
    await until(door.ready.is_set)
    assert (up, door.reasons()) == ([True], [])
    door.stop()
    await task


@pytest.mark.parametrize("how", ["stopped", "broken", "broken door"])
async def test_a_node_that_ends_before_its_gateways_listen_was_never_ready(
    door: Node, how: str, monkeypatch: pytest.MonkeyPatch
):
    """It waits for nobody, and the reason is what broke."""
    up: list[bool] = []

    async def broken(self: Door) -> None:
        raise ConfigError("paper", "door", "has no handle")

    if how == "broken door":
        monkeypatch.setattr(Door, "listening", broken)
    task = asyncio.create_task(door.run(on_ready=lambda: up.append(True)))
    await until(lambda: door.settings.socket_path.exists() or task.done())
    if how == "stopped":
        door.stop()
        await asyncio.wait_for(task, 10)
    else:
        gateway = door.gateways["paper"]
        assert isinstance(gateway, Door)
        gateway.ends = ConfigError("paper", "door", "has no handle")
        gateway.runs.set()
        with pytest.raises(StafetError, match="paper: door: has no handle"):
            await asyncio.wait_for(task, 10)
    assert (up, door.ready.is_set(), "the node is starting" in door.reasons()) == ([], False, True)
    NodeLock(door.settings.lock_path).release()
