"""A system (*anvendersystem*): an IT system of an authority, as sender, receiver or both."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""An id inside the configuration: lower case letters, digits, dot, underscore, dash."""

RESIDUAL: Name = "residual"
"""The system whose mailbox takes what no route sends anywhere; it always exists."""


class Document(BaseModel):
    """What every configuration document is: immutable, and strict about unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class System(Document):
    """Kind ``system``: who sends or receives."""

    kind: Literal["system"] = "system"
    id: Name
    title: str = ""
    """What people call it."""
    authority: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """The authority that owns it (*myndighed*), by the identifier your network uses for it."""
    functions: tuple[Name, ...] = ()
    """Functions it serves, so that a sender can address a function instead of a system."""
