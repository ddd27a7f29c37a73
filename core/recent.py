"""What was used of late, kept in memory up to a number of octets: the oldest use goes first.

Rule: only what never changes is kept, so that nobody can read something old.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

V = TypeVar("V")


class Recent(Generic[V]):
    """Values by id. Of one thread. ``most`` is in octets; what is larger than a tenth of it is not kept at all."""

    def __init__(self, most: int) -> None:
        self._most, self._held = most, 0
        self._values: OrderedDict[str, tuple[V, int]] = OrderedDict()

    def get(self, name: str) -> V | None:
        """The value, or None."""
        found = self._values.get(name)
        if found is None:
            return None
        self._values.move_to_end(name)
        return found[0]

    def put(self, name: str, value: V, octets: int) -> None:
        """Keep a value that takes about so many octets."""
        if octets > self._most // 10 or name in self._values:
            return
        self._values[name] = (value, octets)
        self._held += octets
        while self._held > self._most:
            _, (_, freed) = self._values.popitem(last=False)
            self._held -= freed
