"""The payload description over HTTP: as a sender says it, and as the two sides see it.

Rules:

1. The fields are those of `core.description.Description`. Times are RFC 3339; what the integration or the payloads decide is not
   said by senders.
2. Attributes of a sender are its own and lose nothing; those of other gateways stand beside them under their full names.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import Field, StringConstraints

from core import limits
from core.clock import from_datetime
from core.description import Description, Priority, Sensitivity, Text, ValidationDegree
from core.desk.handing import PARCEL
from core.errors import DescriptionError
from core.integration import Integration
from core.parcel import Parcel, Payload
from gateways.rest import problems
from gateways.rest.endpoint import Shape
from gateways.rest.events import rfc3339
from gateways.rest.problems import Flaw, Problem, ProblemError, invalid_request

_OWN: Final = "rest."
_ITEMS: Final = limits.DESCRIPTION_ITEMS
Own = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
"""An attribute's name."""
Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Class(Shape):
    """One classification."""

    scheme: Text
    code: Text


class Ref(Shape):
    """A case, a document or another object elsewhere."""

    kind: Text
    id: Text


class Receiver(Shape):
    """The intended receiver: a system, or a function that some system serves. Left out, the routes decide."""

    system: Text | None = None
    function: Text | None = None


class Moved(Shape):
    """A parcel that you sent by file exchange."""

    parcel: Id


class Given(Shape):
    """What a sender says of a handover."""

    integration: Annotated[str, Field(max_length=64)] = ""
    """Left out, the type must say which one."""
    type: Text | None = None
    """Left out, the integration's first."""
    version: Text = "1"
    receiver: Receiver = Receiver()
    classifications: Annotated[list[Class], Field(default_factory=list, max_length=_ITEMS)]
    references: Annotated[list[Ref], Field(default_factory=list, max_length=_ITEMS)]
    subjects: Annotated[list[Text], Field(default_factory=list, max_length=_ITEMS)]
    """Whom it concerns: kept sealed, and told to the receiver alone."""
    priority: Priority | None = None
    sensitivity: Sensitivity | None = None
    correlation_id: Text | None = None
    process_id: Text | None = None
    occurred: datetime | None = None
    expires: datetime | None = None
    attributes: Annotated[dict[Own, Text], Field(default_factory=dict, max_length=_ITEMS)]
    uploads: Annotated[list[Id], Field(default_factory=list, max_length=limits.PAYLOADS_PER_PARCEL)]
    """Finished uploads that become payloads, after those that come as parts."""
    files: Annotated[list[Moved], Field(default_factory=list, max_length=_ITEMS)]
    """Parcels of file exchange that belong to it: one receipt counts for all."""

    def flaws(self) -> list[Flaw]:
        """What is wrong though each field by itself is not."""
        said = [(name, getattr(self, name)) for name in ("occurred", "expires")]
        found = [Flaw(f"/{name}", "has no time zone") for name, at in said if at is not None and at.tzinfo is None]
        for index, one in enumerate(self.references):
            if one.kind == PARCEL:
                found.append(
                    Flaw(f"/references/{index}/kind", f"{PARCEL!r} is for parcels of file exchange: use files")
                )
        if not self.integration and self.type is None:
            found.append(Flaw("/integration", "is missing, and so is type"))
        if len(set(self.uploads)) != len(self.uploads):
            found.append(Flaw("/uploads", "names one upload twice"))
        if len(self.references) + len(self.files) > _ITEMS:
            found.append(Flaw("/files", f"with references these are more than {_ITEMS}"))
        return found


def describe(given: Given, integration: Integration, sender: str, payloads: Sequence[Payload]) -> Description:
    """The payload description. Raises `ProblemError` naming the field."""
    refs = [one.model_dump() for one in given.references]
    refs += [{"kind": PARCEL, "id": one.parcel} for one in given.files]
    said: dict[str, Any] = {
        "type": given.type or integration.types[0],
        "version": given.version,
        "sender": sender,
        "receiver": given.receiver.model_dump(),
        "classifications": [one.model_dump() for one in given.classifications],
        "references": refs,
        "subjects": given.subjects,
        "sensitivity": given.sensitivity or integration.sensitivity,
        "priority": given.priority or integration.priority,
        "correlation_id": given.correlation_id,
        "process_id": given.process_id,
        "occurred": _micros(given.occurred),
        "expires": _micros(given.expires),
        "degree": integration.degree,
        "media_type": payloads[0].media_type if payloads else "application/octet-stream",
        "size": sum(one.size for one in payloads),
        "digest": payloads[0].sha256.hex() if payloads else "",
        "attributes": {_OWN + name: value for name, value in given.attributes.items()},
    }
    try:
        return Description.parse(json.dumps(said))
    except DescriptionError as error:
        found = (Flaw(problems.pointer(error.field), error.cause),)
        raise ProblemError(Problem(problems.INVALID_DESCRIPTION, str(error), found)) from None


def _micros(at: datetime | None) -> int | None:
    try:
        return from_datetime(at.astimezone(UTC)) if at is not None else None
    except OverflowError:
        raise invalid_request([Flaw("", "a time is out of range")]) from None


class Described(Shape):
    """What is known of a handover."""

    type: str
    version: str
    sender: str
    receiver: Receiver
    classifications: list[Class]
    references: list[Ref]
    subjects: list[str]
    """Whom it concerns; empty for whoever may not know."""
    priority: Priority
    sensitivity: Sensitivity
    correlation_id: str | None = None
    process_id: str | None = None
    occurred: str | None = None
    expires: str | None = None
    degree: ValidationDegree
    attributes: dict[str, str]


class Carried(Shape):
    """One payload, and where to fetch it."""

    href: str
    name: str
    media_type: str
    size: int
    digest: str
    """SHA-256, in hexadecimal digits."""


def described(parcel: Parcel, subjects: Sequence[str]) -> Described:
    """A parcel's description as it is shown."""
    d = parcel.description
    return Described(
        type=d.type,
        version=d.version,
        sender=parcel.sender,
        receiver=Receiver(system=d.receiver.system, function=d.receiver.function),
        classifications=[Class(scheme=one.scheme, code=one.code) for one in d.classifications],
        references=[Ref(kind=one.kind, id=one.id) for one in d.references],
        subjects=list(subjects),
        priority=d.priority,
        sensitivity=d.sensitivity,
        correlation_id=d.correlation_id,
        process_id=d.process_id,
        occurred=rfc3339(d.occurred) if d.occurred is not None else None,
        expires=rfc3339(d.expires) if d.expires is not None else None,
        degree=d.degree,
        attributes={name.removeprefix(_OWN): value for name, value in d.attributes.items()},
    )


def carried(parcel: Parcel) -> list[Carried]:
    """A parcel's payloads as they are shown."""
    return [
        Carried(
            href=f"/v1/handovers/{parcel.id}/payloads/{number}",
            name=one.name,
            media_type=one.media_type,
            size=one.size,
            digest=one.sha256.hex(),
        )
        for number, one in enumerate(parcel.payloads)
    ]
