"""A system (*anvendersystem*): an IT system of an authority, as sender, receiver or both."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, StringConstraints

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
"""An id inside the configuration: lower case letters, digits, dot, underscore, dash."""

RESIDUAL: Name = "residual"
"""The system whose mailbox takes what no route sends anywhere; it always exists."""

SENSITIVITIES: Final = ("public", "internal", "confidential", "sensitive")
"""From the least to the most sensitive."""


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
    certificates: tuple[str, ...] = ()
    """Files with the certificates it identifies itself by when it connects; several while one replaces another."""
    sealing_certificates: tuple[str, ...] = ()
    """Files with the certificates others seal payloads for it with; the newest valid one first."""


class Function(Document):
    """Kind ``function``: an address of a function or group (*funktion*), which one or more systems serve."""

    kind: Literal["function"] = "function"
    id: Name
    title: str = ""
    authority: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    """The authority whose function it is."""
    sensitivity: Literal["public", "internal", "confidential", "sensitive"] = "confidential"
    """The most sensitive that may be sent to it."""

    def takes(self, sensitivity: str) -> bool:
        """Whether what is that sensitive may be sent to it."""
        return SENSITIVITIES.index(sensitivity) <= SENSITIVITIES.index(self.sensitivity)
