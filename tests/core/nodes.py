"""Parts of a node, and whole nodes, for tests: an invented municipal post and a gateway that does what it is told."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict
from sqlalchemy import Connection, select

from core.asking import Kernel
from core.clock import Clock, SystemClock
from core.config import KERNEL_KINDS, Configuration, Problem, load
from core.delivery import Delivery, State
from core.description import Description
from core.dispatcher import Dispatcher
from core.gateway import Outcome
from core.kernel import NodeKernel
from core.keys import create_kek
from core.ledger import deliveries as queue
from core.ledger import trace
from core.ledger.alarms import Alarm, open_alarms
from core.ledger.tables import delivery as delivery_table
from core.ledger.tables import parcel as parcel_table
from core.mailroom import Mailroom
from core.node import Node
from core.parcel import Acceptance, Item, Key, Parcel
from core.radar import Watched
from core.receipt import Level, Receipt, Verdict
from core.runtime import Catalogue, Runtime
from core.schedule import RetryPlan
from core.settings import NodeSettings
from core.trust import Identity
from core.writer import Kind
from tests.core.making import NOW

SENDER, JOURNAL, ARCHIVE = "birkelund-post", "egedal-journal", "skovby-archive"
LARGE = bytes(range(256)) * 600
"""More than is kept in the database."""

DOCUMENTS: list[dict[str, Any]] = [
    *({"kind": "system", "id": name, "authority": "birkelund"} for name in (SENDER, JOURNAL, ARCHIVE)),
    {
        "kind": "integration",
        "id": "letters",
        "types": ["letter", "leaflet", "circular", "stray", "astray"],
        "max_size": 2_000_000,
    },
    {"kind": "service-agreement", "id": "sends", "integration": "letters", "system": SENDER, "may": "send"},
    {"kind": "service-agreement", "id": "journals", "integration": "letters", "system": JOURNAL, "may": "receive"},
    {"kind": "service-agreement", "id": "archives", "integration": "letters", "system": ARCHIVE, "may": "receive"},
    {
        "kind": "route",
        "id": "to-journal",
        "match": {"type": "letter"},
        "to": [{"system": JOURNAL, "gateway": "paper", "destination": "egedal"}],
    },
    {"kind": "route", "id": "to-archive", "match": {"type": "leaflet"}, "to": [{"system": ARCHIVE}]},
    {
        "kind": "route",
        "id": "to-both",
        "match": {"type": "circular"},
        "to": [{"system": JOURNAL, "gateway": "paper"}, {"system": ARCHIVE}],
    },
    {"kind": "route", "id": "to-a-stranger", "match": {"type": "astray"}, "to": [{"system": SENDER}]},
]


def received(item: Delivery, at: int = NOW, **changes: Any) -> Receipt:
    """A receipt that says they have it."""
    facts: dict[str, Any] = {"raw": b"<signed/>", "digest": b"d" * 32} | changes
    return Receipt(item.id, facts.pop("level", Level.TRANSPORT), facts.pop("verdict", Verdict.ACCEPTED), at, **facts)


class Paper:
    """A gateway that carries letters on paper: it does what its test tells it to."""

    name: ClassVar[str] = "paper"
    kinds: ClassVar[Mapping[str, type[BaseModel]]] = {}

    class Settings(BaseModel):
        """What ``node.yaml`` may say of it."""

        model_config = ConfigDict(extra="forbid")
        colour: str = "white"

    def __init__(self, kernel: Kernel, settings: Settings) -> None:
        self.kernel, self.settings = kernel, settings
        self.attempts: list[Delivery] = []
        self.plan = RetryPlan()
        self.act: Callable[[Delivery, Parcel], Awaitable[Outcome]] = self.hand_over
        self.refuses: Exception | None = None
        self.configured: list[int] = []
        self.runs = asyncio.Event()
        self.ends: BaseException | None = None
        self.ended, self.closed = False, False
        self.changed = asyncio.Event()

    @classmethod
    def check(cls, configuration: Configuration) -> Iterable[Problem]:
        """Nothing is ever wrong with paper."""
        return ()

    @classmethod
    def explain(cls, code: str) -> str:
        """Its one code."""
        return "the letter was wet" if code == "wet" else ""

    @classmethod
    def certificates(
        cls, configuration: Configuration, settings: Any, identity: Callable[[str], Identity]
    ) -> Iterable[Watched]:
        """Paper has none."""
        return ()

    def configure(self, configuration: Configuration) -> None:
        """Take a version, unless the test wants otherwise."""
        if self.refuses is not None and configuration.number not in self.configured:
            raise self.refuses
        self.configured.append(configuration.number)

    async def run(self) -> None:
        """Serve until cancelled, or until the test lets it end."""
        try:
            await self.runs.wait()
        finally:
            self.ended = True
        if self.ends is not None:
            raise self.ends

    async def close(self) -> None:
        """Let go."""
        self.closed = True

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """One attempt."""
        self.attempts.append(delivery)
        self.changed.set()
        return await self.act(delivery, parcel)

    def retry_plan(self, delivery: Delivery) -> RetryPlan:
        """The test's plan."""
        return self.plan

    async def hand_over(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """The journal takes it and signs for it."""
        return Outcome(receipt=received(delivery, self.kernel.clock.now()))

    async def attempted(self, number: int, seconds: float = 10) -> None:
        """Wait until so many attempts have begun."""
        async with asyncio.timeout(seconds):
            while len(self.attempts) < number:
                self.changed.clear()
                await self.changed.wait()


async def forever(delivery: Delivery, parcel: Parcel) -> Outcome:
    """An attempt that does not end by itself."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


def giving(*outcomes: Outcome | BaseException) -> Any:
    """An attempt for each, the last one again and again."""
    left = list(outcomes)

    async def act(delivery: Delivery, parcel: Parcel) -> Outcome:
        outcome = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return act


def make_settings(folder: Path, url: str = "", **changes: Any) -> NodeSettings:
    """A home with a key-encryption key, the documents above and a gateway, on SQLite unless ``url`` says otherwise."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    (folder / "config" / "all.yaml").write_text(yaml.safe_dump_all(DOCUMENTS))
    if not (folder / "keys" / "kek-1.kek").exists():
        create_kek(folder / "keys", "kek-1")
    facts: dict[str, Any] = {"node": "birkelund-a", "gateways": {"paper": {}}, "free_space_reserve": 0} | changes
    return NodeSettings(home=folder, database=url, **facts)


def open_runtime(settings: NodeSettings, clock: Clock | None = None) -> Runtime:
    """A runtime that knows the gateway, with the documents as version 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SQLite version
        runtime = Runtime.open(settings, clock=clock, catalogue=Catalogue({"paper": Paper}))
    loaded = load(settings.config_path, KERNEL_KINDS, [])
    runtime.configuration = Configuration(loaded.documents, loaded.files, 1)
    return runtime


class Site:
    """A runtime, a kernel and a gateway, with a dispatcher once one is asked for."""

    def __init__(self, settings: NodeSettings, clock: Clock | None = None) -> None:
        self.runtime = open_runtime(settings, clock)
        self.clock = self.runtime.clock
        self.mail = Mailroom(self.runtime)
        self.runtime.on_mail = self.mail.wake
        self.kernel = NodeKernel(self.runtime, "paper", self.mail)
        self.paper = Paper(self.kernel, Paper.Settings())
        self.dispatcher: Dispatcher | None = None

    @asynccontextmanager
    async def dispatching(self) -> AsyncIterator[Dispatcher]:
        """With a dispatcher that serves the queue."""
        self.dispatcher = dispatcher = Dispatcher(self.runtime, {"paper": self.paper})
        self.runtime.on_work, self.runtime.at_once = dispatcher.wake, dispatcher
        running = asyncio.create_task(dispatcher.run())
        try:
            yield dispatcher
            await dispatcher.drain(5_000_000)
            await self.written()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def written(self) -> None:
        """Wait until everything the writer was handed so far is committed: settling is not waited for."""
        await self.kernel.note("", "barrier", {})

    # -- in

    def make(self, *payloads: bytes, kind: str = "letter", **changes: Any) -> Parcel:
        """A parcel put together in the store."""
        stage = self.kernel.stage(size_limit=2_000_000)
        made = []
        for octets in payloads or (b"Dear neighbour,",):
            sink = stage.sink()
            sink.write(octets)
            made.append(sink.finish(name="letter.txt", media_type="text/plain"))
        facts: dict[str, Any] = {"sender": SENDER, "integration": "letters", "config_version": 1} | changes
        description = facts.pop("description", Description(type=kind, sender=SENDER))
        at, keys = self.clock.now(), {"key_id": stage.key_id, "wrapped_key": stage.wrapped_key}
        return Parcel(stage.parcel_id, description=description, payloads=tuple(made), accepted_at=at, **facts, **keys)

    def item(self, parcel: Parcel | None = None, key: str = "", scope: str = f"paper/{SENDER}", **changes: Any) -> Item:
        """What a gateway hands over."""
        facts: dict[str, Any] = {"fingerprint": b"print", "answer": b"answer"} | changes
        return Item(parcel or self.make(), Key(scope, key) if key else None, **facts)

    async def accept(self, *payloads: bytes, kind: str = "letter", key: str = "", **changes: Any) -> Acceptance:
        """Accept one parcel."""
        (acceptance,) = await self.kernel.accept(self.item(self.make(*payloads, kind=kind), key, **changes))
        return acceptance

    # -- what is stored

    def parcels(self) -> list[str]:
        """The ids of all parcels."""
        return list(self.runtime.read_now(_scalars, select(parcel_table.c.id).order_by(parcel_table.c.id)))

    def deliveries(self) -> list[Delivery]:
        """All deliveries, in the order of their receivers."""
        query = select(delivery_table).order_by(delivery_table.c.receiver, delivery_table.c.id)
        return [queue.from_row(row) for row in self.runtime.read_now(_rows, query)]

    def delivery(self) -> Delivery:
        """The only delivery there is."""
        (one,) = self.deliveries()
        return one

    def row(self, delivery_id: str = "") -> Any:
        """A delivery with what is said of its last attempt."""
        return self.runtime.read_now(queue.row, delivery_id or self.delivery().id)

    def alarms(self) -> list[Alarm]:
        """Open alarms, oldest first."""
        return self.runtime.read_now(open_alarms)[::-1]

    def trace(self, parcel_id: str) -> list[tuple[str, dict[str, Any]]]:
        """What happened to a parcel."""
        return [(line.event, line.facts) for line in self.runtime.read_now(trace.of_parcel, parcel_id)]

    def chain_fault(self) -> str | None:
        """None when this runtime's chain is whole."""
        return self.runtime.read_now(trace.verify_chain, self.runtime.chain)

    def objects(self) -> list[str]:
        """Durable objects in the store."""
        return sorted(name for name, _ in self.runtime.store.ids())

    def incoming(self) -> list[str]:
        """Objects that are being written."""
        return sorted(path.name for path in (self.runtime.settings.store_path / "incoming").iterdir())

    async def until(self, *states: State, seconds: float = 10) -> list[Delivery]:
        """Wait until all deliveries are in one of these states."""
        async with asyncio.timeout(seconds):
            while not (found := self.deliveries()) or any(d.state not in states for d in found):
                await asyncio.sleep(0.01)
        return found


def _scalars(connection: Connection, query: Any) -> Sequence[Any]:
    return connection.execute(query).scalars().all()


def _rows(connection: Connection, query: Any) -> Sequence[Any]:
    return connection.execute(query).all()


class Gate:
    """Holds the writer's transaction open once, after everything else in it has been applied."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.kind = Kind("gate", self._wait, order=90)

    def _wait(self, _connection: Connection, batch: Sequence[Any]) -> Sequence[Any]:
        self.reached.set()
        assert self.open.wait(10)
        return batch


class Moving:
    """The machine's clock, moved by as much as a test wants."""

    def __init__(self, by: int = 0) -> None:
        self.by = by

    def now(self) -> int:
        """The moved time."""
        return SystemClock().now() + self.by


def make_node(settings: NodeSettings, clock: Clock | None = None, gateways: Mapping[str, Any] | None = None) -> Node:
    """A node with the gateway that does what it is told."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the SQLite version
        return Node(settings, clock=clock, catalogue=Catalogue({"paper": Paper} if gateways is None else gateways))


@asynccontextmanager
async def running(node: Node, seconds: float = 20) -> AsyncIterator[Node]:
    """A node that serves; it is stopped, and must end well, when the test is done with it."""
    up = asyncio.Event()
    task = asyncio.create_task(node.run(on_ready=up.set))
    waiting = asyncio.create_task(up.wait())
    await asyncio.wait([task, waiting], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if not up.is_set():
        await task
        raise AssertionError("the node ended before it was up")
    try:
        yield node
    finally:
        node.stop()
    await asyncio.wait_for(task, seconds)
