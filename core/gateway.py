"""The two seams: what the kernel asks of a gateway, and all that a gateway may ask of the kernel.

A gateway speaks one language to one neighbour. It is found by the entry point group ``stafet.gateways``, ours registered the
way a stranger's would be; installed is not active until a configuration document of its kind names it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from core.clock import Clock, Micros
from core.delivery import Delivery, Frozen
from core.errors import ConfigError
from core.parcel import Acceptance, Item, Key, Parcel, Payload
from core.receipt import Receipt


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
    free_retry: bool = False
    """The attempt never reached the far side's application (a stale connection): it does not count."""
    note: Mapping[str, str] = field(default_factory=dict)


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
    """What the kernel asks of a gateway. Built as ``cls(kernel, documents)`` for each applied configuration."""

    name: ClassVar[str]
    kinds: ClassVar[Mapping[str, type[BaseModel]]]
    """Configuration kinds it owns: ``kind`` value → model."""

    async def run(self) -> None:
        """Serve until cancelled."""
        ...

    async def deliver(self, delivery: Delivery, parcel: Parcel) -> Outcome:
        """One attempt; safe to repeat."""
        ...

    def configure(self, documents: Mapping[str, Mapping[str, BaseModel]]) -> None:
        """Take a new configuration version: kind → id → document. Called before `run`, and again at every apply."""
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

    async def freeze(self, delivery: Delivery, wire: Frozen) -> None:
        """Commit what will be sent and its outside names before the first octet leaves."""
        ...

    async def frozen(self, delivery_id: str) -> Frozen | None:
        """The newest frozen wire of a delivery."""
        ...

    async def delivery_of(self, outside_id: str) -> str | None:
        """The delivery that a receipt speaks of, by any name it was ever frozen under."""
        ...

    async def pull(self, system: str, *, limit: int, wait: Micros) -> Sequence[Lease]:
        """Lend deliveries to a pulling system. Then `settle`, `nack` or `extend`."""
        ...

    def read(self, parcel: Parcel, payload: Payload) -> AsyncIterator[bytes]:
        """The plaintext of a payload in chunks, checked against its digest at the end (raises `PayloadError`)."""
        ...

    async def alarm(self, code: str, text: str, *, parcel_id: str = "") -> None:
        """Raise an alarm people shall see."""
        ...

    async def note(self, parcel_id: str, event: str, facts: Mapping[str, str]) -> None:
        """Add a line to a parcel's trace."""
        ...


def load_gateways() -> dict[str, Any]:
    """The installed gateway classes by name. Raises `ConfigError` for one that cannot be imported."""
    found: dict[str, Any] = {}
    for point in entry_points(group="stafet.gateways"):
        try:
            found[point.name] = point.load()
        except ImportError as error:
            raise ConfigError(f"gateway {point.name}", "", f"cannot be loaded: {error}", "install its extra") from error
    return found
