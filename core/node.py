"""A running node: the task group of `stafet up`.

Rules:

1. Start: lock → schema → writer → configuration → gateways → dispatcher → local socket; ready once all gateways listen. Anything
   unsafe stops it with the reason.
2. SIGTERM drains: no new work, attempts in flight finish, what waits is committed; a second signal ends it at once.
3. A ledger that cannot be reached for a while ends nothing: the node is not ready meanwhile, and goes on afterwards.
4. A node that cannot load the newest configuration keeps running the one it has, says so, and is not ready.
5. A failed fsync or a commit whose fate is unknown ends the process (exit code 5); its leases end by themselves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, delete, insert, update

from core import audit, commands, config, limits, log, radar
from core.clock import DAY, MINUTE, SECOND, AgreedClock, Clock
from core.config import Configuration
from core.desk import mailing
from core.desk.backlog import Backlogs
from core.desk.keeping import Keeping
from core.desk.mailbox import Mailbox
from core.desk.replay import Replayer
from core.desk.statistics import Statistics
from core.desk.watch import Watch
from core.dispatcher import Dispatcher
from core.errors import ConfigError, Fatal, Overloaded, StafetError, UsageError
from core.gateway import Gateway, Listens, Operated, watched
from core.health import HealthServer
from core.kernel import NodeKernel
from core.ledger import alarms, deliveries, unreachable, usage, versions
from core.ledger.alarms import Alarm
from core.ledger.tables import node as node_table
from core.local import LocalServer, Operation
from core.mailroom import Mailroom
from core.operations import Operations
from core.parcel import new_id
from core.radar import Watched
from core.runtime import Catalogue, Runtime, ahead_of, chain_prefix
from core.settings import NodeSettings

_log = log.get("node")


class Node:
    """One node. `run` serves until `stop` is called or a fatal error ends it."""

    def __init__(
        self, settings: NodeSettings, *, clock: Clock | None = None, catalogue: Catalogue | None = None
    ) -> None:
        self.settings = settings
        account = mailing.Account.of(settings)
        self.runtime = Runtime.open(settings, clock=clock, catalogue=catalogue)
        self.mail = Mailroom(self.runtime)
        self.keeping, self.watch = Keeping(self.runtime), Watch(self.runtime)
        self.statistics, self.mailing = Statistics(self.runtime), mailing.Mailing(self.runtime, account)
        self.gateways: dict[str, Gateway] = {}
        self.ready = asyncio.Event()
        self._ending = asyncio.Event()
        self._reasons: dict[str, str] = {"start": "the node is starting"}
        self._counts: dict[str, int] = {}
        self._health: HealthServer | None = None
        self._dispatcher: Dispatcher | None = None
        self._alarmed: set[str] = set()

    def stop(self) -> None:
        """Drain and end."""
        self._ending.set()

    async def run(self, *, on_ready: Callable[[], None] | None = None) -> None:
        """Serve. Raises `Fatal` when the node had to stop by itself."""
        loop = asyncio.get_running_loop()
        runtime = self.runtime
        runtime.on_fatal = lambda error: loop.call_soon_threadsafe(self._ending.set)
        tasks: list[asyncio.Task[None]] = []
        dispatcher = local = None
        try:
            # In a store that other nodes share, what is young may be theirs and being written.
            runtime.store.clear_incoming(runtime.clock.now() - limits.TRANSFER if self.settings.store else None)
            self._make_gateways()
            self._begin_configuration()
            if self.settings.operations.port:
                operations = self.settings.operations
                self._health = HealthServer(operations.host, operations.port, self.reasons, self._metrics)
            dispatcher = self._dispatcher = Dispatcher(runtime, self.gateways)
            runtime.on_work, runtime.at_once = dispatcher.wake, dispatcher
            runtime.on_mail, runtime.on_version = self.mail.wake, self.follow
            replayer = Replayer(runtime, self.mail)
            runtime.on_replay = replayer.wake
            await runtime.do(commands.CALL, commands.Call(self._enter))
            await self._count()  # what was used before the start is used
            for gateway in self.gateways.values():
                tasks.append(asyncio.create_task(gateway.run(), name=f"gateway {gateway.name}"))
            tasks.append(asyncio.create_task(dispatcher.run(), name="dispatcher"))
            tasks.append(asyncio.create_task(self.mail.run(), name="mailroom"))
            tasks.append(asyncio.create_task(replayer.run(), name="replays"))
            for name, every, work in self._chores():
                tasks.append(asyncio.create_task(self._repeat(every, work), name=name))
            local = LocalServer(self.settings.socket_path, self._operations())
            await local.start()
            if await self._all_listen(tasks):
                self._reasons.pop("start", None)
                self.ready.set()
                number, gateways = runtime.configuration.number, sorted(self.gateways)
                _log.info("up", node=self.settings.node, version=number, gateways=gateways)
                if on_ready:
                    on_ready()
            await self._until_end(tasks)
        finally:
            self._reasons["end"] = "the node is stopping"
            await self._end(tasks, dispatcher, local)
        if runtime.fatal is not None:
            raise Fatal(f"the node stopped by itself: {log.cause(runtime.fatal)}")

    async def _all_listen(self, tasks: list[asyncio.Task[None]]) -> bool:
        """Wait until every gateway takes what comes; False when the node ends before."""

        async def listen() -> None:
            for gateway in self.gateways.values():
                if isinstance(gateway, Listens):
                    await gateway.listening()

        listening: asyncio.Task[Any] = asyncio.create_task(listen())
        ending: asyncio.Task[Any] = asyncio.create_task(self._ending.wait())
        try:
            await asyncio.wait([listening, ending, *tasks], return_when=asyncio.FIRST_COMPLETED)
            if ending.done() or any(task.done() for task in tasks):
                return False
            await listening
            return True
        finally:
            listening.cancel()
            ending.cancel()

    async def _until_end(self, tasks: list[asyncio.Task[None]]) -> None:
        """Wait for a signal, or for a task that ends though it should not."""
        ending = asyncio.create_task(self._ending.wait())
        done, _ = await asyncio.wait([ending, *tasks], return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        for task in done - {ending}:
            error = None if task.cancelled() else task.exception()
            cause = log.cause(error) if error else "it ended by itself"
            _log.error("a part of the node ended", task=task.get_name(), cause=cause)
            if self.runtime.fatal is None:
                self.runtime.fatal = error or Fatal(f"{task.get_name()} ended by itself")

    async def _end(
        self, tasks: list[asyncio.Task[None]], dispatcher: Dispatcher | None, local: LocalServer | None
    ) -> None:
        _log.info("draining")
        if local:
            await local.stop()
        gateways = [task for task in tasks if task.get_name().startswith("gateway")]
        for task in gateways:
            task.cancel()  # a gateway stops taking, and finishes what it has begun: cancelled once, not twice
        if dispatcher and self.runtime.fatal is None:
            await dispatcher.drain(limits.DRAIN)
        for task in tasks:
            if task not in gateways:
                task.cancel()
        with suppress(TimeoutError):
            async with asyncio.timeout(limits.DRAIN / SECOND):
                await asyncio.gather(*tasks, return_exceptions=True)
        for gateway in self.gateways.values():
            try:
                await gateway.close()
            except Exception as error:  # whatever a gateway does, what waits for the ledger is committed
                _log.error("a gateway failed while it was closed", gateway=gateway.name, exc_info=error)
        if self._health:
            await asyncio.to_thread(self._health.stop)
        await asyncio.to_thread(self.runtime.close)
        _log.info("down", node=self.settings.node)

    def _operations(self) -> dict[str, Operation]:
        """What people can ask: the kernel's own, and what gateways add under their names."""
        table = dict(Operations(self.runtime, self._kernel("local"), self.follow, self.reasons).table())
        for gateway in self.gateways.values():
            if isinstance(gateway, Operated):
                table |= {f"{gateway.name}.{name}": operation for name, operation in gateway.operations().items()}
        return table

    # -- gateways and configuration

    def _kernel(self, gateway: str) -> NodeKernel:
        return NodeKernel(self.runtime, gateway, self.mail)

    def _make_gateways(self) -> None:
        for name, values in self.settings.gateways.items():
            gateway = self.runtime.catalogue.gateways.get(name)
            if gateway is None:
                installed = ", ".join(sorted(self.runtime.catalogue.gateways)) or "none"
                raise ConfigError("node.yaml", f"gateways.{name}", "is not installed", f"installed: {installed}")
            try:
                settings = gateway.Settings.model_validate({**values})
            except ValidationError as error:
                first = error.errors()[0]
                field = ".".join(map(str, ("gateways", name, *first["loc"])))
                raise ConfigError("node.yaml", field, first["msg"]) from None
            self.gateways[name] = gateway(self._kernel(name), settings)

    def _begin_configuration(self) -> None:
        """The newest version; at the very first start, the configuration directory becomes version 1."""
        runtime = self.runtime
        if runtime.read_now(versions.latest_number) == 0 and self.settings.config_path.is_dir():
            catalogue = runtime.catalogue
            try:
                first = config.load(self.settings.config_path, catalogue.kinds, catalogue.checks)
            except ExceptionGroup as group:
                raise UsageError("\n".join(str(problem) for problem in group.exceptions)) from None
            version = versions.Version(
                0, runtime.clock.now(), "first start", "the configuration directory", first.to_json()
            )
            runtime.writer.submit(commands.VERSION, version).result()
        self.follow(runtime.latest(), raising=True)

    def follow(self, wanted: Configuration, *, raising: bool = False) -> None:
        """Take a configuration version; if a part cannot, go on with the old one and be unready."""
        old = self.runtime.configuration
        try:
            self.runtime.forget_identities()
            for gateway in self.gateways.values():
                gateway.configure(wanted)
        except Exception as error:  # whatever a gateway does with a version, the node goes on with the one it has
            for gateway in self.gateways.values():
                with suppress(Exception):
                    gateway.configure(old)
            if raising:
                raise
            self._reasons["configuration"] = f"version {wanted.number} cannot be used here: {log.cause(error)}"
            _log.error("a configuration cannot be used", version=wanted.number, exc_info=error)
            return
        self._reasons.pop("configuration", None)
        self.runtime.configuration = wanted
        self.runtime.metrics.config_version.set(wanted.number)
        self.runtime.on_work()

    def reasons(self) -> list[str]:
        """Why the node is not ready; empty when it is."""
        return list(self._reasons.values())

    def _metrics(self) -> bytes:
        metrics, statistics = self.runtime.metrics, self.runtime.writer.statistics
        for state, count in self._counts.items():
            metrics.deliveries.labels(state).set(count)
        paused = self._dispatcher.traffic.paused if self._dispatcher else ()
        metrics.show_destinations(self.runtime.backlog.counted, paused)
        metrics.show_writer(statistics.commits, statistics.commands, statistics.cpu)
        return metrics.text()

    # -- chores

    def _chores(self) -> list[tuple[str, int, Callable[[], Awaitable[object]]]]:
        return [
            ("follow", limits.POLL, self._follow_newest),
            ("seen", 10 * SECOND, self._be_seen),
            ("checkpoint", limits.CHECKPOINT, self._checkpoint),
            ("retention", 60 * MINUTE, self.keeping.retain),
            ("overdue", limits.OVERDUE_LOOK, self.watch.overdue),
            ("idle", limits.IDLE_LOOK, self.watch.idle),
            ("statistics", limits.STATISTIC_LOOK, self.statistics.sum_up),
            ("mail", limits.MAIL_LOOK, self.mailing.send),
            ("radar", 10 * MINUTE, self._watch),
            ("count", limits.COUNT, self._count),
            ("abandoned", limits.ABANDONED_LOOK, self._let_go),
        ]

    async def _repeat(self, every: int, work: Callable[[], Awaitable[object]]) -> None:
        while True:
            try:
                await work()
            except StafetError as error:
                if isinstance(error, Fatal):
                    raise
                _log.error("a chore failed; it is tried again", cause=str(error))
            await asyncio.sleep(every / SECOND)

    async def _follow_newest(self) -> None:
        try:
            number = await self.runtime.read(versions.latest_number)
        except Overloaded as error:
            self._reasons["ledger"] = str(error)
            raise
        self._reasons.pop("ledger", None)
        if number > self.runtime.configuration.number:
            try:
                self.follow(self.runtime.version(number))
            except ConfigError as error:
                self._reasons["configuration"] = str(error)

    def _enter(self, connection: Connection) -> None:
        now = self.runtime.clock.now()
        # Whoever held this node's lock before is gone: its leases need not run out.
        deliveries.end_leases_of(connection, chain_prefix(self.settings.node), now)
        connection.execute(delete(node_table).where(node_table.c.seen_at < now - DAY))
        values = {"id": self.runtime.boot, "chain": self.runtime.chain, "started_at": now, "seen_at": now}
        connection.execute(insert(node_table).values(**values, config_version=self.runtime.configuration.number))

    async def _be_seen(self) -> None:
        runtime = self.runtime
        mine = update(node_table).where(node_table.c.id == runtime.boot)
        values = {"seen_at": runtime.clock.now(), "config_version": runtime.configuration.number}
        await runtime.do(commands.CALL, commands.Call(_execute, (mine.values(**values),)))
        self._counts = await runtime.read(deliveries.count_by_state)
        runtime.metrics.alarms.set(await runtime.read(alarms.count_open))
        try:
            runtime.demand_space()
            self._reasons.pop("space", None)
        except StafetError as error:
            self._reasons["space"] = str(error)
        if runtime.engine.dialect.name == "postgresql":
            await self._compare_clocks()

    async def _let_go(self) -> None:
        await Backlogs(self.runtime, Mailbox(self.runtime, self.mail)).let_go()

    async def _count(self) -> None:
        runtime = self.runtime
        runtime.backlog.count(await runtime.read(unreachable.waiting))
        if (asked := runtime.quotas.ask(runtime.clock.now())) is not None:
            octets = await runtime.read(usage.octets, asked.senders, asked.since, asked.cut)
            runtime.quotas.counted(asked, octets, await runtime.read(usage.waiting, asked.waiting))

    async def _compare_clocks(self) -> None:
        """Between nodes the database's time counts: ours is put right by it, and people are told when the machine's is off."""
        clock = self.runtime.clock
        ahead = await self.runtime.read(ahead_of, clock.own if isinstance(clock, AgreedClock) else clock)
        if ahead is None:  # it took too long to answer: what was found before still holds
            return
        if isinstance(clock, AgreedClock):
            clock.offset = ahead
        if abs(ahead) > limits.SKEW_STOP:
            raise Fatal(
                f"clock: {abs(ahead) // SECOND} s off the database's; leases would lie. Set the clock, then start again"
            )
        if abs(ahead) > limits.SKEW_ALARM:
            await self._alarm_once("clock", f"this node's clock is {abs(ahead) / SECOND:.1f} s off the database's")
        else:
            self._alarmed.discard("clock")

    async def _checkpoint(self) -> None:
        key = await asyncio.to_thread(audit.audit_key, self.settings.keys_path)
        arguments = (self.runtime.boot, self.runtime.clock.now(), key)
        await self.runtime.do(commands.CALL, commands.Call(audit.add_checkpoint, arguments))

    async def _watch(self) -> None:
        """Tell people, once a threshold, of keys and certificates that end; all nodes of a ledger say it under one id."""
        runtime, now = self.runtime, self.runtime.clock.now()
        found = await asyncio.to_thread(self._in_use)
        runtime.metrics.show_certificates([(item, radar.days_left(item, now)) for item in found])
        said = [Alarm(notice.id, now, "expiry", notice.text) for notice in radar.notices(found, now)]
        if said:
            for alarm in await runtime.do(commands.CALL, commands.Call(alarms.raise_once, (said,))):
                _log.warning(alarm.text, code=alarm.code)

    def _in_use(self) -> list[Watched]:
        runtime, found = self.runtime, []
        for name in self.gateways:
            gateway, values = runtime.catalogue.gateways[name], self.settings.gateways[name]
            try:
                found += watched(gateway, runtime.configuration, values, runtime.identity)
            except Exception as error:  # a key file that is gone or whatever a gateway does: it ends no node that runs
                _log.error("what a gateway has in use cannot be listed", gateway=name, exc_info=error)
        return found

    async def _alarm_once(self, code: str, words: str) -> None:
        """What lasts is said once, not at every look."""
        if code not in self._alarmed:
            self._alarmed.add(code)
            now = self.runtime.clock.now()
            await self.runtime.do(commands.ALARM, Alarm(new_id(now), now, code, words))


def _execute(connection: Connection, statement: Any) -> None:
    connection.execute(statement)
