"""The payload description: one metadata model for all capabilities and all protocols.

Rules it holds:

1. The same words over every protocol (a gateway maps its header to these fields and back; nothing else is routed on).
2. Facts only: what it is, from whom, for whom, when, how sensitive. No payload bytes.
3. ``subjects`` are personal data: they are never logged, never in a list view, and encrypted under the parcel's key.
4. ``attributes`` are opaque to the kernel; each name starts with the gateway that wrote it (``"as4"`` and a dot, …).
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self, get_args

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from core import limits
from core.errors import DescriptionError

Text = Annotated[
    str, StringConstraints(min_length=1, max_length=limits.DESCRIPTION_VALUE, pattern=r"^[^\x00-\x1f\x7f]+$")
]
"""One line of printable text."""

ValidationDegree = Literal["known", "declared", "encrypted"]
Sensitivity = Literal["public", "internal", "confidential", "sensitive"]
Priority = Literal["urgent", "normal", "bulk"]
_SENSITIVITIES: Final[tuple[Sensitivity, ...]] = get_args(Sensitivity)


def rank(sensitivity: Sensitivity) -> int:
    """How sensitive that is: the higher, the more."""
    return _SENSITIVITIES.index(sensitivity)


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Classification(_Model):
    """One (scheme, code) pair, as a subject taxonomy or an action facet."""

    scheme: Text
    code: Text


class Reference(_Model):
    """A case, document or other object elsewhere: what it is called there, and in which scheme."""

    kind: Text
    id: Text


class Address(_Model):
    """The intended receiver: a system, or a function that some system serves. Both unset = decided by routes."""

    system: Text | None = None
    function: Text | None = None


class Description(_Model):
    """What is known of a parcel's payload. Times are UTC microseconds."""

    type: Text
    """What kind of payload it is, in the words of its integration."""
    version: Text = "1"
    """The version of the payload's contract."""
    sender: Text
    """The sending system."""
    receiver: Address = Address()
    """The intended receiver, where the sender says one."""
    classifications: tuple[Classification, ...] = Field(default=(), max_length=limits.DESCRIPTION_ITEMS)
    """What it is about, as codes of taxonomies: a subject, an action."""
    references: tuple[Reference, ...] = Field(default=(), max_length=limits.DESCRIPTION_ITEMS)
    """Cases, documents and other objects elsewhere that it belongs to."""
    subjects: tuple[Text, ...] = Field(default=(), max_length=limits.DESCRIPTION_ITEMS, repr=False)
    """Whom it is about: persons and companies, by number. Personal data."""
    sensitivity: Sensitivity = "confidential"
    """How sensitive the payload is."""
    occurred: int | None = None
    """When what it tells of happened, in microseconds since 1970, UTC."""
    expires: int | None = None
    """When it is of no use any more, in microseconds since 1970, UTC."""
    priority: Priority = "normal"
    """How soon it is delivered beside others."""
    correlation_id: Text | None = None
    """What the messages of one dialogue have in common."""
    process_id: Text | None = None
    """What the steps of one process across systems have in common."""
    degree: ValidationDegree = "declared"
    """How much of the payload the platform knows: its contract, what its sender declares, or nothing because it is encrypted."""
    media_type: Text = "application/octet-stream"
    """Of the first payload."""
    size: int = Field(default=0, ge=0)
    """Octets of all payloads together."""
    digest: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{64})?$")] = ""
    """SHA-256 of the first payload, in hexadecimal."""
    attributes: dict[Text, Text] = Field(default_factory=dict, max_length=limits.DESCRIPTION_ITEMS)
    """What a protocol says beyond the other fields; each name begins with the gateway that wrote it."""

    @classmethod
    def parse(cls, data: str | bytes) -> Self:
        """Read the JSON form. Raises `DescriptionError` naming the first wrong field."""
        if len(data.encode(errors="replace") if isinstance(data, str) else data) > limits.DESCRIPTION_SIZE:
            raise DescriptionError("description", f"longer than {limits.DESCRIPTION_SIZE} octets")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            raise DescriptionError(".".join(map(str, first["loc"])) or "description", first["msg"]) from None

    def without_subjects(self) -> Self:
        """The part that may be shown, logged and kept in clear."""
        return self.model_copy(update={"subjects": ()})
