"""A running node: starting in order, following configuration, draining, chores, and stopping by itself when it must."""

from __future__ import annotations

import asyncio
import json
import os
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import Connection, text

from core import audit, commands, limits, retention
from core.clock import DAY, HOUR, SECOND, FrozenClock, SystemClock
from core.commands import Call, Settlement
from core.delivery import Delivery
from core.errors import ConfigError, DurabilityLost, Fatal, Overloaded, UsageError
from core.gateway import Outcome
from core.ledger import deliveries as queue
from core.ledger.alarms import open_alarms
from core.ledger.claiming import Claim
from core.ledger.deliveries import of_receipt
from core.ledger.engine import NodeLock
from core.ledger.versions import Version
from core.local import ask
from core.node import Node
from core.parcel import Parcel
from core.runtime import chain_prefix
from core.schedule import RetryPlan
from tests.core.making import a_parcel, an_accept
from tests.core.nodes import (
    DOCUMENTS,
    LARGE,
    Paper,
    Site,
    forever,
    giving,
    make_node,
    make_settings,
    open_runtime,
    received,
    running,
)

pytestmark = pytest.mark.filterwarnings("ignore:SQLite")


def paper(node: Node) -> Paper:
    """The node's gateway."""
    found = node.gateways["paper"]
    assert isinstance(found, Paper)
    return found


def states(node: Node) -> dict[str, int]:
    """Deliveries by state."""
    return node.runtime.read_now(queue.count_by_state)


async def stored(node: Node, **changes: Any) -> None:
    """A letter accepted by another process, as far as this node knows."""
    await node.runtime.do(commands.ACCEPT, an_accept(parcel=a_parcel(**changes)))


async def until(condition: Any, seconds: float = 10) -> None:
    """Wait until something holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


async def version(node: Node, wanted: list[dict[str, Any]] | str) -> int:
    """Store a version beside the node, as another node would."""
    if isinstance(wanted, str):
        content = wanted
    else:
        kinds = node.runtime.catalogue.kinds
        models = [kinds[d["kind"]].model_validate(d).model_dump(mode="json") for d in wanted]
        content = json.dumps({"documents": models, "files": {}})
    number = await node.runtime.do(commands.VERSION, Version(0, node.runtime.clock.now(), "clerk", "", content))
    return int(number)


# --- starting ---------------------------------------------------------------------------------------------------------


async def test_a_first_start_takes_the_configuration_directory(tmp_path: Path, ledger_url: str):
    """It becomes version 1, gateways get it before they run, and the node answers on its socket."""
    settings = make_settings(tmp_path / "home", ledger_url)
    async with running(make_node(settings)) as node:
        status = await asyncio.to_thread(ask, settings.socket_path, "status", {})
        assert (status["node"], status["version"]) == ("birkelund-a", 1)
        assert (paper(node).configured, node.reasons(), node.ready.is_set()) == ([1], [], True)
        assert len(node.runtime.configuration.all("route")) == 4
    assert not settings.socket_path.exists()
    (settings.config_path / "all.yaml").write_text("")
    async with running(make_node(settings)) as node:  # from now on the ledger counts, not the directory
        assert len(node.runtime.configuration.all("route")) == 4


async def test_what_is_accepted_is_delivered(tmp_path: Path, ledger_url: str):
    """A whole node: a file handed over at its socket is carried by its gateway."""
    settings = make_settings(tmp_path / "home", ledger_url)
    letter = tmp_path / "letter.bin"
    letter.write_bytes(LARGE)
    sent = {"paths": [str(letter)], "sender": "birkelund-post", "integration": "letters"}
    async with running(make_node(settings)) as node:
        await asyncio.to_thread(ask, settings.socket_path, "send", sent)
        await until(lambda: states(node) == {"delivered": 1})


@pytest.mark.parametrize(
    ("changes", "gateways", "words"),
    [
        ({"gateways": {"pigeon": {}}}, None, r"node\.yaml: gateways\.pigeon: is not installed \(installed: paper\)"),
        ({}, {}, r"gateways\.paper: is not installed \(installed: none\)"),
        ({"gateways": {"paper": {"size": 4}}}, None, r"gateways\.paper\.size: Extra inputs are not permitted"),
        ({"gateways": {"paper": {"colour": 7}}}, None, r"gateways\.paper\.colour: Input should be a valid string"),
    ],
)
async def test_wrong_settings_stop_the_start(tmp_path: Path, changes: dict[str, Any], gateways: Any, words: str):
    """File and field are named, and no lock is kept."""
    settings = make_settings(tmp_path / "home", **changes)
    with pytest.raises(ConfigError, match=words):
        await make_node(settings, gateways=gateways).run()
    NodeLock(settings.lock_path).release()


async def test_a_wrong_configuration_starts_nothing(tmp_path: Path):
    """All that is wrong is said; no version is stored, so that the next start reads the directory again."""
    settings = make_settings(tmp_path / "home")
    good = (settings.config_path / "all.yaml").read_text()
    (settings.config_path / "all.yaml").write_text(good.replace("kind: system", "kind: sistem"))
    with pytest.raises(UsageError, match="sistem"):
        await make_node(settings).run()
    (settings.config_path / "all.yaml").write_text(good)
    async with running(make_node(settings)) as node:
        assert node.runtime.configuration.number == 1


async def test_a_gateway_that_cannot_start_stops_the_start(tmp_path: Path):
    """With its own words: nothing runs half."""

    class Broken(Paper):
        def configure(self, configuration: Any) -> None:
            raise ConfigError("paper", "colour", "is not to be had")

    settings = make_settings(tmp_path / "home")
    with pytest.raises(ConfigError, match="paper: colour: is not to be had"):
        await make_node(settings, gateways={"paper": Broken}).run()
    NodeLock(settings.lock_path).release()


async def test_a_start_ends_the_leases_of_the_nodes_former_boots(tmp_path: Path, ledger_url: str):
    """What its killed predecessor held is attempted at once; what other nodes hold is left alone."""
    settings = make_settings(tmp_path / "home", ledger_url)
    first = Site(settings)
    await first.accept(kind="letter")
    await first.accept(kind="letter")
    now = first.clock.now()
    rows = [(settings.node, "boot-1"), (f"{settings.node}.two", "boot-2")]
    for name, boot in rows:
        await first.runtime.do(commands.CALL, Call(_boot, (name, boot, now)))
        assert (await first.runtime.do(commands.CLAIM, Claim(1, boot, now, now + HOUR))).deliveries
    first.runtime.close()
    async with running(make_node(settings)) as node:
        await until(lambda: states(node).get("delivered") == 1)
        await asyncio.sleep(0.1)
        assert states(node) == {"delivered": 1, "ready": 1}


def _boot(connection: Connection, name: str, boot: str, at: int) -> None:
    insert = text("INSERT INTO node (id, chain, started_at, seen_at, config_version) VALUES (:b, :c, :t, :t, 1)")
    connection.execute(insert, {"b": boot, "c": f"{chain_prefix(name)}.{'0' * 20}", "t": at})


async def test_what_a_killed_process_left_half_written_is_cleared(tmp_path: Path):
    """At start, before anything comes in."""
    settings = make_settings(tmp_path / "home")
    runtime = open_runtime(settings)
    runtime.store.create(b"k" * 32).write(b"half")
    runtime.close()
    incoming = settings.store_path / "incoming"
    assert len(list(incoming.iterdir())) == 1
    async with running(make_node(settings)):
        assert list(incoming.iterdir()) == []


async def test_a_start_leaves_alone_what_another_node_is_writing(tmp_path: Path):
    """In a store that several share, only what is older than the longest transfer was left by a killed process."""
    settings = make_settings(tmp_path / "home", store=tmp_path / "shared")
    runtime = open_runtime(settings)
    young, old = (runtime.store.create(b"k" * 32) for _ in range(2))
    at = (SystemClock().now() - limits.TRANSFER) / SECOND - 1
    os.utime(runtime.store.incoming(old.object_id), (at, at))
    runtime.close()
    async with running(make_node(settings)) as node:
        assert [path.name for path in (node.runtime.store.root / "incoming").iterdir()] == [young.object_id]


# --- following --------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nodes look for news twenty times a second."""
    monkeypatch.setattr(limits, "POLL", SECOND // 20)


@pytest.mark.parametrize("error", [ConfigError("paper", "", "no"), ValueError("no"), KeyError("no"), RecursionError()])
async def test_a_version_a_gateway_cannot_use_leaves_the_old_one_in_force(
    quick: None, tmp_path: Path, error: Exception
):
    """The node goes on, says so and is not ready; the next good version makes it ready again."""
    async with running(make_node(make_settings(tmp_path / "home"))) as node:
        paper(node).refuses = error
        await version(node, DOCUMENTS[:1])
        await until(node.reasons)
        (reason,) = node.reasons()
        words = str(error) if isinstance(error, ConfigError) else type(error).__name__
        assert reason == f"version 2 cannot be used here: {words}"
        assert (node.runtime.configuration.number, len(node.runtime.configuration.all("route"))) == (1, 4)
        assert paper(node).configured[-1] == 1
        await stored(node, at=node.runtime.clock.now())
        await until(lambda: "delivered" in states(node))
        paper(node).refuses = None
        await version(node, DOCUMENTS)
        # Version 2 may be followed on the way, now that nothing refuses it.
        await until(lambda: node.runtime.configuration.number == 3)
        assert node.reasons() == []


async def test_a_version_nobody_here_can_read_makes_the_node_unready(quick: None, tmp_path: Path):
    """A part of Stafet is not installed on this node: it names the kind, and keeps what it has."""
    async with running(make_node(make_settings(tmp_path / "home"))) as node:
        await version(node, '{"documents":[{"kind":"pigeon.loft","id":"north"}],"files":{}}')
        await until(node.reasons)
        assert "no installed part of Stafet knows this kind" in node.reasons()[0]
        assert node.runtime.configuration.number == 1


async def test_all_nodes_follow_what_one_applied(quick: None, tmp_path: Path, postgresql_url: str):
    """Within one look, without a restart."""
    homes = [make_settings(tmp_path / x, postgresql_url, node=f"birkelund-{x}") for x in "ab"]
    more = [*DOCUMENTS, {"kind": "system", "id": "herlev-school", "authority": "herlev"}]
    async with running(make_node(homes[0])) as one, running(make_node(homes[1])) as two:
        (homes[0].config_path / "all.yaml").write_text(yaml.safe_dump_all(more))
        args = {"directory": str(homes[0].config_path), "who": "clerk", "why": "a school"}
        assert (await asyncio.to_thread(ask, homes[0].socket_path, "apply", args))["version"] == 2
        await until(lambda: two.runtime.configuration.number == 2)
        assert "herlev-school" in two.runtime.configuration.all("system")
        assert paper(one).configured == paper(two).configured == [1, 2]


# --- ending -----------------------------------------------------------------------------------------------------------


async def test_stopping_drains(tmp_path: Path, ledger_url: str):
    """The gateway takes nothing more, what is in flight finishes and is committed, then connections close."""
    settings, finish, order = make_settings(tmp_path / "home", ledger_url), asyncio.Event(), []

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        await finish.wait()
        order.append(("delivered", gateway.ended, gateway.closed))
        return Outcome(receipt=received(delivery))

    node = make_node(settings)
    async with running(node):
        gateway = paper(node)
        gateway.act = act
        await stored(node, at=node.runtime.clock.now())
        await gateway.attempted(1)
        node.stop()
        await until(lambda: gateway.ended)
        assert node.reasons() == ["the node is stopping"]
        await stored(node, at=node.runtime.clock.now())
        finish.set()
    assert (order, gateway.closed, len(gateway.attempts)) == ([("delivered", True, False)], True, 1)
    again = open_runtime(settings)
    assert again.read_now(queue.count_by_state) == {"delivered": 1, "ready": 1}
    again.close()


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        (None, "gateway paper ended by itself"),
        (OSError(98, "Address already in use"), "OSError: Address already in use"),
        (KeyError("x"), "KeyError$"),
        (Overloaded("too much"), "too much"),
    ],
)
async def test_a_part_that_ends_though_it_should_not_stops_the_node(
    tmp_path: Path, ends: BaseException | None, words: str
):
    """Better silent than half there: the node drains nothing, says which part it was, and lets go of its lock."""
    settings = make_settings(tmp_path / "home")
    node = make_node(settings)
    with pytest.raises(Fatal, match=f"the node stopped by itself: .*{words}") as caught:
        async with running(node):
            paper(node).ends = ends
            paper(node).runs.set()
            await until(lambda: node.runtime.fatal)
    assert (caught.value.exit_code, paper(node).closed) == (5, True)
    NodeLock(settings.lock_path).release()


async def test_a_failed_fsync_stops_the_node(tmp_path: Path):
    """What the page cache holds can no longer be trusted: nothing is drained, nothing more is accepted."""
    node = make_node(make_settings(tmp_path / "home"))
    with pytest.raises(Fatal, match="fsync failed"):
        async with running(node):
            paper(node).act = forever
            await stored(node, at=node.runtime.clock.now())
            await paper(node).attempted(1)
            node.runtime._on_writer_death(DurabilityLost("fsync failed: input/output error"))
            await until(lambda: paper(node).closed)


async def test_a_gateway_that_breaks_while_it_is_closed_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What waits for the ledger is committed and the lock is let go all the same."""
    settings = make_settings(tmp_path / "home")
    async with running(make_node(settings)) as node:

        async def broken() -> None:
            raise KeyError("connections")

        monkeypatch.setattr(paper(node), "close", broken)
    open_runtime(settings).close()


# --- chores -----------------------------------------------------------------------------------------------------------


async def test_a_chore_that_fails_is_tried_again(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A busy ledger is no reason to end; what is fatal is."""
    async with running(make_node(make_settings(tmp_path / "home"))) as node:
        tries = []

        async def work() -> None:
            tries.append(1)
            if len(tries) == 3:
                raise Fatal("enough")
            raise Overloaded("later")

        with pytest.raises(Fatal, match="enough"):
            await asyncio.wait_for(node._repeat(SECOND // 100, work), 5)
        assert len(tries) == 3


@pytest.mark.requirement("R106")
async def test_retention_empties_all_that_is_due(tmp_path: Path, ledger_url: str, monkeypatch: pytest.MonkeyPatch):
    """In one go, however many, also parcels that have no object of the store; keys go after their window."""
    monkeypatch.setattr(retention, "_BATCH", 5)
    settings = make_settings(tmp_path / "home", ledger_url)
    runtime = open_runtime(settings)
    old = SystemClock().now() - 91 * DAY
    for number in range(12):
        made = an_accept(f"k-{number}", parcel=a_parcel(at=old))
        runtime.writer.submit(commands.ACCEPT, made).result(10)
        runtime.writer.submit(commands.SETTLE, Settlement(of_receipt(received(made.deliveries[0])), {})).result(10)
    runtime.close()
    left = text("SELECT count(*) FROM parcel WHERE length(wrapped_key) > 0")
    async with running(make_node(settings)) as node:
        await until(lambda: node.runtime.read_now(lambda c: c.execute(left).scalar_one()) == 0)
        keys = text("SELECT count(*) FROM idempotency")
        await until(lambda: node.runtime.read_now(lambda c: c.execute(keys).scalar_one()) == 0)


@pytest.mark.requirement("R71")
async def test_a_receipt_that_does_not_come_is_one_alarm(tmp_path: Path):
    """However often the node looks."""
    settings = make_settings(tmp_path / "home")
    async with running(make_node(settings)) as node:
        paper(node).plan = RetryPlan(first=DAY, ceiling=DAY)
        paper(node).act = giving(Outcome(sent=True))
        await stored(node, at=node.runtime.clock.now() - 2 * DAY)
        await until(lambda: states(node) == {"awaiting": 1})
        for _ in range(3):
            await node.keeping.retain()
        found = node.runtime.read_now(open_alarms)
        words = "no receipt for a parcel of letters within the agreed time"
        assert [(a.code, a.text) for a in found] == [("no-receipt", words)]


async def test_checkpoints_are_signed_with_the_nodes_own_key(tmp_path: Path, ledger_url: str):
    """Whoever has the public key can check every chain."""
    settings = make_settings(tmp_path / "home", ledger_url)
    async with running(make_node(settings)) as node:
        await stored(node, at=node.runtime.clock.now())
        await until(lambda: states(node) == {"delivered": 1})
        await node._checkpoint()
        public = audit.audit_key(settings.keys_path).public_key()
        assert node.runtime.read_now(audit.verify_all, public) == []
        assert node.runtime.chain in node.runtime.read_now(audit.heads)


# --- what others see --------------------------------------------------------------------------------------------------


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_health_and_metrics_are_served(tmp_path: Path, unused_tcp_port: int):
    """Ready with a reason why not; deliveries by state, commits, the version."""
    changes = {"operations": {"port": unused_tcp_port}, "free_space_reserve": 1 << 62}
    async with running(make_node(make_settings(tmp_path / "home", **changes))) as node:
        await until(lambda: node.reasons())
        status, body = await asyncio.to_thread(get, unused_tcp_port, "/ready")
        assert (status, "below the reserve" in body) == (503, True)
        node.runtime.settings = node.runtime.settings.model_copy(update={"free_space_reserve": 0})
        await stored(node, at=node.runtime.clock.now())
        await until(lambda: states(node) == {"delivered": 1})
        await node._be_seen()
        assert (await asyncio.to_thread(get, unused_tcp_port, "/ready"))[0] == 200
        _, text_of = await asyncio.to_thread(get, unused_tcp_port, "/metrics")
        assert 'stafet_deliveries{state="delivered"} 1.0' in text_of
        assert "stafet_config_version 1.0" in text_of
        assert 'stafet_delivery_attempts_total{gateway="paper",result="acknowledged"} 1.0' in text_of


async def test_nodes_that_are_gone_are_forgotten_after_a_day(tmp_path: Path, clock: FrozenClock):
    """The list of nodes is of those that are there."""
    settings = make_settings(tmp_path / "home")
    for expected, after in ((1, HOUR), (2, DAY + SECOND), (1, 0)):
        async with running(make_node(settings, clock)) as node:
            rows = node.runtime.read_now(lambda c: c.execute(text("SELECT id, config_version FROM node")).all())
            assert len(rows) == expected
            assert (node.runtime.boot, 1) in [tuple(row) for row in rows]
        clock.tick(after)
