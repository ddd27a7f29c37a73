"""An integration: one entry of the catalogue of what is moved here.

Rule: one document a kind of exchange; creating or changing one never touches another.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from core import limits
from core.description import Priority, Sensitivity, Text, ValidationDegree
from core.system import Document, Name

Capability = Literal["notification", "handover", "file"]
"""``notification``: small, many subscribers; ``handover``: one receiver, receipt; ``file``: large."""


class RouteTest(Document):
    """An example that `check` runs through the routes: where this description must go."""

    description: dict[str, Any]
    """Fields of a payload description that differ from the integration's own defaults."""
    expect: tuple[Name, ...]
    """The receiving systems, in any order; ``residual`` when no route shall match."""


class Integration(Document):
    """Kind ``integration``: what is moved, how large, how long it is kept, which evidence is expected."""

    kind: Literal["integration"] = "integration"
    id: Name
    title: str = ""
    capability: Capability = "handover"
    types: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Payload types that may be sent under it; the first is the default."""
    degree: ValidationDegree = "declared"
    sensitivity: Sensitivity = "confidential"
    priority: Priority = "normal"
    max_size: Annotated[int, Field(ge=1)] = limits.PAYLOAD_SIZE
    """Octets of one payload."""
    receipt: Literal["transport", "envelope", "business"] = "transport"
    """The level of evidence at which a delivery counts as done."""
    receipt_within: Annotated[float, Field(gt=0, le=3_153_600_000)] = 86_400.0
    """Seconds within which that evidence must come, else an alarm is raised."""
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = limits.RETENTION // 86_400_000_000
    tests: tuple[RouteTest, ...] = ()
