"""What the kernel asks of a gateway; all that a gateway may ask of the kernel is in `core.asking`.

A gateway speaks one language to one neighbour. It is found by the entry point group ``stafet.gateways``, ours registered the
way a stranger's would be; installed is not active until ``node.yaml`` names it.

Not here yet: ``report(delivery, receipts)``, by which the kernel would have a gateway tell a sender what came of its parcel.
Receipts are kept, and nobody is told of them. What else is left for later, and where it will go:
``docs/decisions/0003-left-for-later.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, ClassVar, Protocol, runtime_checkable

from pydantic import BaseModel

from core.clock import Micros
from core.config import Configuration, Problem
from core.delivery import Delivery
from core.errors import ConfigError
from core.local import Operation
from core.pace import Pace
from core.parcel import Parcel
from core.radar import Watched
from core.receipt import Receipt
from core.schedule import RetryPlan
from core.trust import Identity


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
