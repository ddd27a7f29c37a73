"""What one process holds of a node: settings, keys, store, ledger, writer, current configuration.

A running node and a command that finds no node running both open one; whoever does so holds the node's lock, so that one process
alone writes.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from core import config, limits, log
from core.clock import SECOND, SKEW, AgreedClock, Clock, Micros, SystemClock, from_datetime
from core.config import Configuration
from core.delivery import Delivery
from core.disk import Disk
from core.errors import ConfigError, NotFound, Overloaded
from core.gateway import Agreeing, load_gateways
from core.keys import KeyRing
from core.ledger import parcels, pauses, versions
from core.ledger.engine import NodeLock, open_engine, upgrade
from core.membership import Membership
from core.metrics import Metrics
from core.pace import Backlog, Pace, Where
from core.parcel import Parcel, new_id
from core.quota import Quotas
from core.recent import Recent
from core.settings import NodeSettings
from core.store import FileStore
from core.subscription import OnList
from core.trust import Identity, load_identity
from core.writer import Kind, Unheard, Writer, words_of

T = TypeVar("T")
_log = log.get("runtime")


class Catalogue:
    """The installed gateways and the document kinds that all of Stafet's parts know."""

    def __init__(self, gateways: Mapping[str, Any] | None = None) -> None:
        self.gateways = dict(gateways) if gateways is not None else load_gateways()

    @cached_property
    def kinds(self) -> dict[str, type[BaseModel]]:
        """Kind → model, of the kernel and of every installed gateway."""
        kinds = dict(config.KERNEL_KINDS)
        for gateway in self.gateways.values():
            kinds.update(gateway.kinds)
        return kinds

    @property
    def checks(self) -> list[config.Check]:
        """Every installed gateway's own check."""
        return [*(gateway.check for gateway in self.gateways.values()), self._targets]

    def _targets(self, configuration: Configuration) -> Sequence[config.Problem]:
        """That routes name gateways that are installed."""
        return [
            config.Problem(
                "route",
                route.id,
                f"to.{index}.gateway",
                f"no installed gateway is called {target.gateway!r}",
                f"installed: {', '.join(sorted(self.gateways))}",
            )
            for route in configuration.all("route").values()
            for index, target in enumerate(route.to)
            if target.gateway and target.gateway not in self.gateways
        ]

    def pace(self, configuration: Configuration, gateway: str, destination: str, integration: str) -> Pace:
        """What a gateway has agreed for a destination; the default where it says nothing."""
        asked = self.gateways.get(gateway)
        return asked.pace(configuration, destination, integration) if isinstance(asked, Agreeing) else Pace()

    def windows(self, configuration: Configuration) -> dict[str, Micros]:
        """How long keys are remembered, by scope, where a gateway has agreed otherwise."""
        asked = [gateway for gateway in self.gateways.values() if isinstance(gateway, Agreeing)]
        return {scope: window for gateway in asked for scope, window in gateway.windows(configuration).items()}

    def explain(self, code: str) -> str:
        """What a code means, asked of every gateway."""
        return next((words for g in self.gateways.values() if (words := g.explain(code))), "")


class AtOnce(Protocol):
    """Who can attempt a delivery as soon as it is accepted: the dispatcher of a running node."""

    def take(self, where: Where) -> bool:
        """Keep room for one attempt; False when there is none."""
        ...

    def give_back(self, where: Where) -> None:
        """The room is not needed."""
        ...

    def expect(self, wheres: Iterable[Where]) -> None:
        """There is something due for these destinations."""
        ...

    def start(self, delivery: Delivery, parcel: Parcel) -> None:
        """Attempt a delivery that was stored under this node's lease."""
        ...


class _Never:
    """Nobody dispatches here."""

    def take(self, where: Where) -> bool:
        return False

    def give_back(self, where: Where) -> None:
        """Nothing was taken."""

    def expect(self, wheres: Iterable[Where]) -> None:
        """Nobody waits."""

    def start(self, delivery: Delivery, parcel: Parcel) -> None:
        """Nothing was taken."""


class Runtime:
    """Opened by `Runtime.open`; `close` commits what waits. ``fatal`` is set when the node must stop."""

    def __init__(
        self,
        settings: NodeSettings,
        clock: Clock,
        catalogue: Catalogue,
        engine: Engine,
        reader: Engine,
        lock: NodeLock,
    ) -> None:
        self.settings, self.clock, self.catalogue = settings, clock, catalogue
        self.engine, self.reader, self._lock = engine, reader, lock
        self.ring = KeyRing(settings.keys_path)
        self.store = FileStore(settings.store_path, Disk(self._on_writer_death))
        self.metrics = Metrics()
        self.boot = new_id(clock.now())
        self.chain = f"{chain_prefix(settings.node)}.{self.boot[:20]}"
        self.configuration: Configuration = config.EMPTY
        self._paces: tuple[Configuration, dict[tuple[str, str, str], Pace]] = (config.EMPTY, {})
        self.recent: Recent[Parcel] = Recent(limits.RECENT)
        self._quotas: tuple[Configuration, Quotas] = (config.EMPTY, Quotas())
        self.backlog = Backlog(settings.waiting_in_all)
        self.fatal: BaseException | None = None
        self.on_fatal: Callable[[BaseException], object] = lambda error: None
        self.at_once: AtOnce = _Never()
        self.on_work: Callable[[], None] = lambda: None
        self.on_mail: Callable[[Sequence[tuple[str, str]]], None] = lambda boxes: None
        self.on_version: Callable[[Configuration], None] = lambda made: None
        """Told of a version that an API has just stored."""
        self.on_replay: Callable[[str], None] = lambda name: None
        """Told of a replay that was begun on this node."""
        self.on_settled: Callable[[Delivery], None] = lambda delivery: None
        """Told of every delivery that has moved by an attempt, from the writer's thread, after the commit."""
        self.deleting = threading.Lock()
        """Held by whoever deletes objects; a backup holds it while it copies. Of other nodes `core.ledger.pauses` tells."""
        self._closing = threading.Event()
        self.deletions = ThreadPoolExecutor(1, "delete")
        """A thread of its own: while a backup pauses deletion, nothing else may wait for it."""
        self.bulk = ThreadPoolExecutor(4, "bulk")
        self.private = ThreadPoolExecutor(2, "private-key")
        self.reading = ThreadPoolExecutor(2, "ledger-read")
        self.membership = Membership(settings.keys_path, self.read_now, clock, self.reading)
        self.on_list: OnList = self.membership.any_of
        """Whether one of these subjects is on a value list, by what this node remembers of it."""
        self._identities: dict[str, Identity] = {}
        self._free: tuple[Micros, int] = (0, 0)
        self.writer = Writer(engine, self.chain, self._on_writer_death)

    @classmethod
    def open(cls, settings: NodeSettings, *, clock: Clock | None = None, catalogue: Catalogue | None = None) -> Runtime:
        """Take the node's lock, bring the schema up, start the writer. Raises `Fatal` with what to do.

        Without a ``clock`` it is the machine's; where nodes may share a database, put right by the database's.
        """
        if SKEW:
            _log.warning("this process' clock is wrong on purpose: a proof has asked for it", seconds=SKEW / SECOND)
        settings.data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = NodeLock(settings.lock_path)
        try:
            engine = open_engine(settings.database_url)
            upgrade(engine)
            reader = open_engine(settings.database_url, read_only=True)
            shared = engine.dialect.name == "postgresql"
            clock = clock or (AgreedClock(SystemClock()) if shared else SystemClock())
            if shared and isinstance(clock, AgreedClock):  # before its first use: a node's name has a time in it
                with reader.connect() as connection:
                    clock.offset = ahead_of(connection, clock.own) or 0
            runtime = cls(settings, clock, catalogue or Catalogue(), engine, reader, lock)
        except BaseException:  # whatever it is, the lock is not kept
            lock.release()
            raise
        runtime.writer.start()
        return runtime

    def _on_writer_death(self, error: BaseException) -> None:
        self.fatal = error
        _log.error("the ledger's writer has stopped", cause=log.cause(error))
        self.on_fatal(error)

    def close(self) -> None:
        """Commit what waits and let go of everything."""
        self.writer.close()
        self._closing.set()
        for pool in (self.deletions, self.bulk, self.private, self.reading):
            pool.shutdown(wait=True)
        self.engine.dispose()
        self.reader.dispose()
        self._lock.release()

    # -- asking

    async def do(self, kind: Kind, item: Any, unheard: Unheard | None = None) -> Any:
        """Hand a command to the writer and wait until it is committed; see `core.writer.Writer.do`."""
        return await self.writer.do(kind, item, unheard)

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a query in a thread, read-only. Raises `Overloaded` when the ledger cannot be read now."""
        return await asyncio.get_running_loop().run_in_executor(self.reading, self.read_now, function, *arguments)

    def read_now(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run a query here and now. Raises `Overloaded` when the ledger cannot be read now."""
        try:
            with self.reader.connect() as connection:
                return function(connection, *arguments)
        except (
            OperationalError,
            InterfaceError,
            PoolTimeout,
        ) as error:  # a server that went away, a lock, no connection
            raise Overloaded(f"the ledger cannot be read now ({words_of(error)}); try again shortly") from error

    def remember(self, parcel: Parcel) -> None:
        """Keep a parcel at hand if it is small: what is accepted is often fetched at once, and by many."""
        octets = sum(len(p.inline or b"") for p in parcel.payloads)
        self.recent.put(parcel.id, parcel, octets + limits.PARCEL_OVERHEAD)

    async def parcels_of(self, items: Iterable[Delivery]) -> dict[str, Parcel]:
        """The parcels of some deliveries by id, from memory where they are at hand."""
        wanted = {one.parcel_id for one in items}
        found = {name: parcel for name in wanted if (parcel := self.recent.get(name)) is not None}
        if missing := sorted(wanted - found.keys()):
            read = await self.read(parcels.load_many, missing)
            for parcel in read.values():
                self.remember(parcel)
            found |= read
        return found

    def delete(self, objects: Sequence[str]) -> None:
        """Delete objects that no committed row speaks of, as soon as no backup is being made, here or by another node.

        Blocking. When the runtime closes meanwhile they are left, to be swept as unreferenced.
        """
        while objects:
            with self.deleting:
                if not self._paused():
                    for name in objects:
                        self.store.delete(name)
                    return
            if self._closing.wait(limits.POLL / SECOND):
                return

    def _paused(self) -> bool:
        """Whether another node makes a backup; a SQLite ledger is one process' alone."""
        return self.engine.dialect.name != "sqlite" and self.read_now(pauses.paused_until) > self.clock.now()

    def delete_later(self, objects: Sequence[str]) -> None:
        """The same without waiting for it; what a crash leaves is swept as unreferenced."""
        if objects:
            self.deletions.submit(self.delete, objects)

    def identity(self, name: str) -> Identity:
        """A private key by name, read once. Raises `Fatal`."""
        found = self._identities.get(name)
        if found is None:
            found = self._identities[name] = load_identity(self.settings.keys_path, name)
        return found

    def forget_identities(self) -> None:
        """Read key files again when next asked: after a new configuration or an import."""
        self._identities.clear()

    def demand_space(self) -> None:
        """Raises `Overloaded` below the free-space reserve; looks at the disk at most once a second."""
        reserve = self.settings.free_space_reserve
        now = self.clock.now()
        if now - self._free[0] > SECOND:
            self._free = (now, self.store.free())
            self.metrics.free_bytes.set(self._free[1])
        if self._free[1] < reserve:
            raise Overloaded(
                f"free space {self._free[1] >> 20} MiB is below the reserve of {reserve >> 20} MiB", 60 * SECOND
            )

    def demand_queue(self) -> None:
        """Raises `Overloaded` when too much waits in all."""
        if excess := self.backlog.excess_in_all():
            raise Overloaded(excess, limits.COME_BACK)

    # -- configuration

    def pace(self, gateway: str, destination: str, integration: str = "") -> Pace:
        """What is agreed for a destination under the configuration in force."""
        configuration, known = self._paces
        if configuration is not self.configuration:
            configuration, known = self._paces = (self.configuration, {})
        asked = (gateway, destination, integration)
        found = known.get(asked)
        if found is None:
            try:
                found = self.catalogue.pace(configuration, *asked)
            except Exception as error:  # whatever a gateway does, what is queued goes on at the kernel's pace
                _log.error("a gateway could not say what is agreed", gateway=gateway, exc_info=error)
                found = Pace()
            known[asked] = found
        return found

    @property
    def quotas(self) -> Quotas:
        """What systems and authorities may use, under the configuration in force."""
        configuration, quotas = self._quotas
        if configuration is not self.configuration:
            quotas.configure(self.configuration.all("quota"), self.configuration.all("system"))
            self._quotas = (self.configuration, quotas)
        return quotas

    def version(self, number: int) -> Configuration:
        """A stored configuration version. Raises `NotFound`, `ConfigError`."""
        if number == 0:
            return config.EMPTY
        stored = self.read_now(versions.get, number)
        if stored is None:
            raise NotFound(f"there is no configuration version {number}")
        return Configuration.from_json(stored.content, self.catalogue.kinds, number)

    def latest(self) -> Configuration:
        """The newest configuration version."""
        return self.version(self.read_now(versions.latest_number))


def ahead_of(connection: Connection, clock: Clock) -> Micros | None:
    """How far the database's clock is ahead of ``clock``; None when it takes so long to answer that nobody can say."""
    asked: list[tuple[Micros, Micros]] = []
    for _ in range(limits.CLOCK_LOOKS):
        before = clock.now()
        theirs = from_datetime(connection.execute(_THEIR_TIME).scalar_one())
        after = clock.now()
        asked.append((after - before, theirs - (before + after) // 2))
    took, ahead = min(asked)
    return ahead if took <= limits.CLOCK_ANSWER else None


_THEIR_TIME = text("SELECT clock_timestamp()")


def chain_prefix(node: str) -> str:
    """What the chains of all of a node's boots begin with: of no other node's, and short enough for its column with the boot."""
    node = node.replace(".", "~")  # a dot ends it: else the leases of `a.b` would look like those of `a`
    return node if len(node) <= _PREFIX else f"{node[: _PREFIX - 9]}-{hashlib.sha256(node.encode()).hexdigest()[:8]}"


_PREFIX = 43


def read_only_engine(settings: NodeSettings) -> Engine:
    """The ledger for commands that only look. Raises `ConfigError` when there is none yet."""
    url = settings.database_url
    if url.startswith("sqlite:///") and not settings.path(type(settings.data)(url.removeprefix("sqlite:///"))).exists():
        raise ConfigError(str(settings.data_path), "", "has no ledger yet", "start the node with `stafet up`")
    return open_engine(url, read_only=True)
