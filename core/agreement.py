"""A service agreement (*serviceaftale*): which system may send or receive under which integration, and from when to when.

Rule: nothing moves without one. It is asked for by one side and approved by the owner of the data; a configuration version makes
it effective.
"""

from __future__ import annotations

from datetime import date
from typing import Literal

from pydantic import model_validator

from core.clock import Micros, to_datetime
from core.system import Document, Name


class ServiceAgreement(Document):
    """Kind ``service-agreement``. Dates are whole days in UTC; ``until`` is the last day."""

    kind: Literal["service-agreement"] = "service-agreement"
    id: Name
    title: str = ""
    integration: Name
    system: Name
    may: Literal["send", "receive", "both"]
    on_behalf_of: str = ""
    """The authority for whose data it holds, where that is not the system's own."""
    approved_by: str = ""
    """Who approved it for the owner of the data."""
    since: date | None = None
    until: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> ServiceAgreement:
        if self.since and self.until and self.until < self.since:
            raise ValueError("until lies before since")
        return self

    def covers(self, direction: Literal["send", "receive"], at: Micros) -> bool:
        """Whether it allows ``direction`` at the time ``at``."""
        if self.may not in (direction, "both"):
            return False
        if self.since is None and self.until is None:
            return True
        day = to_datetime(at).date()
        return (self.since is None or self.since <= day) and (self.until is None or day <= self.until)
