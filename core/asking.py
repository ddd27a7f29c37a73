"""All that a gateway may ask of the kernel; what the kernel asks of a gateway is in `core.gateway`.

What is asked about one parcel on its way in or out stands here. What systems and people ask beyond that, each at a desk of its
own, is reached by `Kernel.desks`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from core.clock import Clock, Micros
from core.delivery import Delivery, Frozen
from core.desk.desks import Desks
from core.gateway import Answered
from core.parcel import Acceptance, Item, Key, Parcel, Payload
from core.receipt import Receipt
from core.trust import Identity


@dataclass(frozen=True, slots=True)
class Lease:
    """A delivery lent to a pulling system until ``until``."""

    delivery: Delivery
    parcel: Parcel
    until: Micros


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
