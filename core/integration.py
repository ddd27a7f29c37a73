"""An integration: one entry of the catalogue of what is moved here.

Rule: one document a kind of exchange; creating or changing one never touches another.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from core import limits
from core.description import Description, Priority, Sensitivity, Text, ValidationDegree
from core.system import Document, Name

Capability = Literal["notification", "handover", "file"]
"""``notification``: small, many subscribers; ``handover``: one receiver, receipt; ``file``: large."""


_SIZES: Final[dict[Any, int]] = {"notification": limits.NOTIFICATION_SIZE, "handover": limits.HANDOVER_SIZE}


class RouteTest(Document):
    """An example that `check` runs through the routes, or the subscriptions: where this description must go."""

    description: dict[str, Any]
    """Fields of a payload description that differ from the integration's own defaults."""
    expect: tuple[Name, ...]
    """The receiving systems, in any order; ``residual`` when no route shall match, none when nobody shall be notified."""


class Party(Document):
    """Who is responsible for what is moved: a name people know, and where to reach them (of a function, not a person)."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    contact: Annotated[str, StringConstraints(max_length=255)] = ""


class Declaration(Document):
    """The declaration of data processing (*databehandling*): who made it, where it lies, what it says of personal data."""

    by: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    reference: Annotated[str, StringConstraints(max_length=1024)] = ""
    """Where the declaration itself can be read."""
    personal_data: Literal["none", "personal", "sensitive"] = "personal"
    purpose: Annotated[str, StringConstraints(max_length=1024)] = ""


class Contract(Document):
    """What the payload must look like: a file of the configuration directory, or only what is declared of it."""

    format: Literal["xsd", "json-schema", "openapi", "declared"]
    file: str = ""
    """The schema, beside the documents. Needed unless the format is ``declared``."""
    part: str = ""
    """OpenAPI: the component's name under ``components/schemas``. XSD: the root element that must come, in Clark notation."""
    media_types: tuple[Text, ...] = ()
    """Media types that may come; empty = any."""
    version: Text = "1"

    @model_validator(mode="after")
    def _has_its_schema(self) -> Contract:
        if (self.format == "declared") == bool(self.file):
            raise ValueError(f"a contract of format {self.format} {'has no' if self.file else 'needs a'} file")
        return self


class Enriching(Document):
    """One step of enrichment: an installed step by name, and what it is told."""

    step: Name
    settings: Annotated[dict[str, Any], Field(default_factory=dict)]
    on_failure: Literal["route", "residual"] = "residual"
    """What becomes of a parcel when the step fails: it goes on without the addition, or to the residual mailbox. Either raises
    an alarm."""


class ExpectedReceipt(Document):
    """A receipt that is expected of somebody within a time; when it is missing, an alarm is raised."""

    level: Literal["transport", "envelope", "business"] = "business"
    system: Name | None = None
    """Of this system; with neither system nor function, of whoever the parcel is delivered to."""
    function: Name | None = None
    """Of any system that serves this function."""
    within: Annotated[float, Field(gt=0, le=3_153_600_000)] | None = None
    """Seconds."""
    business_days: Annotated[int, Field(ge=1, le=366)] | None = None
    """Whole business days: until the end of the last one."""
    calendar: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] = "DK"
    """Whose public holidays are no business days, as a country code."""

    @model_validator(mode="after")
    def _one_of_each(self) -> ExpectedReceipt:
        if self.system and self.function:
            raise ValueError("a receipt is expected of a system or of a function, not of both")
        if (self.within is None) == (self.business_days is None):
            raise ValueError("say within (seconds) or business_days, one of them")
        return self


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
    summary: str = ""
    """What it is for, in a few sentences: people choose from the catalogue by it."""
    owner: str = ""
    """The authority that owns the data and approves service agreements; "" = whoever administers this node."""
    responsible: Party | None = None
    declaration: Declaration | None = None
    contract: Contract | None = None
    legal_basis: str = ""
    """Law or consent that allows it (*hjemmel*)."""
    max_size: Annotated[int, Field(ge=1)] = limits.PAYLOAD_SIZE
    """Octets of one payload; when it is not said, the capability's."""
    receipt: Literal["transport", "envelope", "business"] = "transport"
    """The level of evidence at which a delivery counts as done."""
    receipt_within: Annotated[float, Field(gt=0, le=3_153_600_000)] = 86_400.0
    """Seconds within which that evidence must come, else an alarm is raised."""
    receipts: tuple[ExpectedReceipt, ...] = ()
    """Further receipts that are expected, of whom and when."""
    enrichment: tuple[Enriching, ...] = ()
    """Steps between accept and route, in order."""
    retention_days: Annotated[int, Field(ge=1, le=36_500)] = limits.RETENTION // 86_400_000_000
    tests: tuple[RouteTest, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _size_of_its_capability(cls, value: Any) -> Any:
        if isinstance(value, dict) and "max_size" not in value:
            return {**value, "max_size": _SIZES.get(value.get("capability", "handover"), limits.PAYLOAD_SIZE)}
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> Integration:
        if self.degree == "encrypted" and self.capability == "notification":
            raise ValueError("an encrypted payload needs a known receiver: a notification has none")
        if self.degree == "known" and (self.contract is None or self.contract.format == "declared"):
            raise ValueError("degree known needs a contract with a schema")
        if self.degree == "encrypted" and self.contract is not None:
            raise ValueError("an encrypted payload cannot be checked: leave the contract out")
        return self

    def describe(self, fields: Mapping[str, Any]) -> Description:
        """A description that says ``fields``, and what the integration says of the rest. Raises `DescriptionError`."""
        base = {
            "type": self.types[0],
            "sensitivity": self.sensitivity,
            "priority": self.priority,
            "degree": self.degree,
        }
        return Description.parse(json.dumps({**base, **fields}, default=str))
