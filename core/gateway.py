"""The two seams: what the kernel asks of a gateway, and all that a gateway may ask of the kernel.

A gateway speaks one language to one neighbour. It is found by the entry point group ``stafet.gateways``, ours registered the
way a stranger's would be; installed is not active until ``node.yaml`` names it.

Not here yet: ``report(delivery, receipts)``, by which the kernel would have a gateway tell a sender what came of its parcel.
Receipts are kept, and nobody is told of them. What else is left for later, and where it will go:
``docs/decisions/0003-left-for-later.md``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from core.clock import Clock, Micros
from core.config import Configuration, Problem
from core.delivery import Delivery, Frozen
from core.errors import ConfigError
from core.local import Operation
from core.pace import Pace
from core.parcel import Acceptance, Item, Key, Parcel, Payload
from core.radar import Watched
from core.receipt import Receipt
from core.schedule import RetryPlan
from core.trust import Identity

if TYPE_CHECKING:
    from core.desk.desks import Desks


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one attempt came to.

    Exactly one of: ``receipt`` (evidence), ``sent`` (taken, receipt comes later), ``retry`` (try again; ``retry_after`` if the
    far side named a wait), ``refused`` (never try again). ``code``/``reason`` are safe words; ``note`` goes to the trace.
    """

    receipt: Receipt | None = None
    sent: bool = False
    refused: bool = False
    code: str = ""
    reason: str = ""
    retry_after: Micros | None = None
    note: Mapping[str, str] = field(default_factory=dict)
    reached: bool | None = None
    """False when the far side could not be reached or said that its server fails: after some of these in a row it is paused.
    True when it answered, whatever it said; evidence and ``sent`` say so by themselves. None: nothing was learned of it."""
    spent: tuple[str, ...] = ()
    """Objects of the store that were kept for repeating this attempt, and are not needed once the far side has spoken."""


@dataclass(frozen=True, slots=True)
class Answered:
    """What was once answered under a key."""

    parcel_id: str
    fingerprint: bytes
    answer: bytes
    at: Micros


@dataclass(frozen=True, slots=True)
class Lease:
    """A delivery lent to a pulling system until ``until``."""

    delivery: Delivery
    parcel: Parcel
    until: Micros


@runtime_checkable
class Gateway(Protocol):
    """What the kernel asks of a gateway. Built once as ``cls(kernel, settings)``."""

    name: ClassVar[str]
    kinds: ClassVar[Mapping[str, type[BaseModel]]]
    """Configuration kinds it owns: ``kind`` value → model."""
    Settings: ClassVar[type[BaseModel]]
    """Its part of ``node.yaml``: what one machine says of itself."""

    @classmethod
    def check(cls, configuration: Configuration) -> Iterable[Problem]:
        """What is wrong between documents, before anything is applied."""
        ...

    @classmethod
    def explain(cls, code: str) -> str:
        """What one of this gateway's codes means to a newcomer, or "" for one that is not its own."""
        ...

    @classmethod
    def certificates(
        cls, configuration: Configuration, settings: Any, identity: Callable[[str], Identity]
    ) -> Iterable[Watched]:
        """Keys and certificates in use that end some day, so that people are told in time. A gateway may leave it out.

        ``settings`` are its node-local ones, ``identity`` gives this node's keys by name. Raises as `configure` does.
        """
        return ()

    def configure(self, configuration: Configuration) -> None:
        """Take a configuration version: before `run`, and again at every apply. Raises what makes the node unready."""
        ...

    async def run(self) -> None:
        """Serve until cancelled; what was begun is answered first. Attempts go on until `close`."""
        ...

    async def close(self) -> None:
        """Everything has drained: let go of connections."""
        ...

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """One attempt; safe to repeat."""
        ...

    def retry_plan(self, delivery: Delivery) -> RetryPlan:
        """When an attempt that failed is repeated."""
        ...


@runtime_checkable
class Listens(Protocol):
    """What a gateway may say beside: when it takes what comes. One that opens a port should; one that only sends need not."""

    async def listening(self) -> None:
        """Return once whoever comes is served: the node is ready no earlier. Asked once, while `run` runs."""
        ...


@runtime_checkable
class Operated(Protocol):
    """A gateway that people can also ask for something themselves. Leave it out where there is nothing to ask."""

    def operations(self) -> Mapping[str, Operation]:
        """What can be asked through the node's local socket, by short name; the command line says ``gateway.name``."""
        ...


@runtime_checkable
class Agreeing(Protocol):
    """A gateway whose neighbours differ in pace, order or memory. Leave it out where the kernel's defaults are good for all.

    Both are asked of the class, with a configuration: also where no node runs.
    """

    @classmethod
    def pace(cls, configuration: Configuration, destination: str, integration: str) -> Pace:
        """What is agreed for one destination (an id of this gateway's documents) and integration."""
        ...

    @classmethod
    def windows(cls, configuration: Configuration) -> Mapping[str, Micros]:
        """How long keys are remembered, by scope, where it is not `core.limits.KEY_WINDOW`."""
        ...


class Sink(Protocol):
    """Takes one payload's octets. Not thread-safe; may be used from a worker thread."""

    def write(self, data: bytes | memoryview) -> None:
        """Take the next octets. Raises `TooLarge`."""
        ...

    def finish(self, *, name: str, media_type: str, attributes: Mapping[str, str] | None = None) -> Payload:
        """Make it durable (if it is a file) and describe it. Blocking: may fsync."""
        ...

    def abort(self) -> None:
        """Forget it; harmless after `finish`."""
        ...


class Keeper(Protocol):
    """Takes one kept object's octets; blocking. ``object_id`` names it once `commit` has made it durable."""

    object_id: str

    def write(self, octets: bytes) -> None:
        """The next octets."""
        ...

    def commit(self) -> None:
        """Make it durable."""
        ...

    def abort(self) -> None:
        """Forget it."""
        ...


class Staging(Protocol):
    """A parcel being put together: it has its id and data key already, and nothing is visible until `Kernel.accept`."""

    parcel_id: str
    key_id: str
    wrapped_key: bytes

    def sink(self) -> Sink:
        """A place for one payload."""
        ...

    def abort(self) -> None:
        """Forget everything staged; harmless after acceptance."""
        ...


class Kernel(Protocol):
    """All that a gateway may ask of the kernel."""

    clock: Clock
    desks: Desks
    """What the systems and people of a gateway ask beyond moving parcels."""

    def identity(self, name: str) -> Identity:
        """A private key of this node with its certificate. Raises `Fatal` saying what to do."""
        ...

    def folder(self) -> Path:
        """A folder of this gateway's own in the node's data, for what can be got anew: no backup holds it. Blocking."""
        ...

    def stage(self, *, size_limit: int) -> Staging:
        """Begin a parcel. Raises `Overloaded` below the free-space reserve."""
        ...

    async def accept(self, *items: Item) -> Sequence[Acceptance]:
        """Store keys, parcels, deliveries and answers in one transaction; each item is judged alone."""
        ...

    async def settle(self, receipt: Receipt, *, key: Key | None = None, answer: bytes | None = None) -> Acceptance:
        """Record evidence and move its delivery. Never fenced."""
        ...

    async def recall(self, key: Key) -> Answered | None:
        """What was once answered under this key."""
        ...

    async def answer_again(self, key: Key, answer: bytes) -> None:
        """Keep a further answer given under a known key (a repetition signed afresh)."""
        ...

    async def freeze(self, delivery: Delivery, wire: Frozen, facts: Mapping[str, str] | None = None) -> None:
        """Commit what will be sent and its outside names before the first octet leaves; ``facts`` go to the trace."""
        ...

    async def frozen(self, delivery_id: str) -> Frozen | None:
        """The newest frozen wire of a delivery."""
        ...

    async def delivery_of(self, outside_id: str) -> str | None:
        """The delivery that a receipt speaks of, by any name it was ever frozen under."""
        ...

    async def carried(self, delivery_id: str) -> tuple[Delivery, Parcel] | None:
        """A delivery and what it carries: for evidence that comes on its own."""
        ...

    async def pull(self, system: str, *, limit: int, wait: Micros, integrations: Sequence[str] = ()) -> Sequence[Lease]:
        """Lend deliveries to a pulling system, waiting up to ``wait`` for the first. Then `ack`, `nack`, `extend` or `reject`.

        ``integrations`` narrows it down to some; none named means all.
        """
        ...

    async def ack(self, lease: Lease) -> None:
        """The system has it. Raises `StaleLease` when the lease had ended and somebody else has it."""
        ...

    async def nack(self, lease: Lease, *, delay: Micros, reason: str) -> None:
        """Not now: due again after ``delay``. Raises `StaleLease`."""
        ...

    async def extend(self, lease: Lease, by: Micros) -> Lease:
        """More time. Raises `StaleLease`."""
        ...

    async def reject(self, lease: Lease, *, code: str, reason: str) -> None:
        """The system will never take it. Raises `StaleLease`."""
        ...

    async def give_up(self, lease: Lease, *, code: str, reason: str) -> None:
        """Lent often enough, and the system never said a word; evidence that comes late still counts. Raises `StaleLease`."""
        ...

    def subjects(self, parcel: Parcel) -> tuple[str, ...]:
        """Whom a parcel concerns: personal, for its receiver alone."""
        ...

    def read_now(self, parcel: Parcel, payload: Payload) -> Iterator[bytes]:
        """As `read`, blocking: for worker threads."""
        ...

    def read(self, parcel: Parcel, payload: Payload) -> AsyncIterator[bytes]:
        """The plaintext of a payload in chunks, checked against its digest at the end (raises `PayloadError`)."""
        ...

    async def alarm(self, code: str, text: str, *, parcel_id: str = "") -> None:
        """Raise an alarm people shall see."""
        ...

    async def refusal(self, reference: str, code: str, facts: Mapping[str, str]) -> None:
        """Remember a refusal at the door, where no parcel exists, so that it can be explained; a flood is only counted."""
        ...

    def data_key(self, parcel: Parcel) -> bytes:
        """The key that seals everything personal of one parcel, for what a gateway freezes."""
        ...

    def keep(self, parcel: Parcel) -> Keeper:
        """A place for an object that a gateway keeps until a delivery settles."""
        ...

    def kept(self, parcel: Parcel, object_id: str) -> Iterator[bytes]:
        """An object made with `keep`, in chunks; blocking."""
        ...

    async def note(self, parcel_id: str, event: str, facts: Mapping[str, str]) -> None:
        """Add a line to a parcel's trace."""
        ...


def watched(
    gateway: Any, configuration: Configuration, values: Mapping[str, Any], identity: Callable[[str], Identity]
) -> list[Watched]:
    """What an installed gateway has that ends some day; nothing for one that does not say. ``values`` are as in ``node.yaml``."""
    lister = getattr(gateway, "certificates", None)
    if lister is None:
        return []
    return list(lister(configuration, gateway.Settings.model_validate({**values}), identity))


def load_gateways() -> dict[str, Any]:
    """The installed gateway classes by name. Raises `ConfigError` for one that cannot be imported."""
    found: dict[str, Any] = {}
    for point in entry_points(group="stafet.gateways"):
        try:
            found[point.name] = point.load()
        except Exception as error:  # a stranger's module may fail in any way while it is imported
            raise ConfigError(f"gateway {point.name}", "", f"cannot be loaded: {error}", "install its extra") from error
    return found
