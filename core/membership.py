"""What one node remembers of value lists, so that a subscription that asks whom a parcel concerns waits for no ledger.

Rules:

1. A list is loaded whole when it is first asked for; then its version is asked for at most once in `limits.POLL`, in a thread, by
   whoever asks of a list. What changed on another node is seen that late, plus the time to load it.
2. Until a list has been loaded nobody is told that somebody is not on it: the question raises `Overloaded` when it cannot be.
3. The key is the file ``values.key`` among the node's keys, made when the first value of all is written. **All nodes of a ledger
   need the same file.** A node with another one, or none, is refused.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from core import limits, log
from core.clock import Clock, Micros
from core.disk import write_secret
from core.errors import ConfigError, Overloaded
from core.ledger import lists as ledger
from core.lists import KEY, Snapshot, check_value

FILE: Final = "values.key"
_log = log.get("membership")


class Membership:
    """The lists of one node in memory. ``read`` runs a query of the ledger here and now."""

    def __init__(self, keys: Path, read: Callable[..., Any], clock: Clock, threads: Executor) -> None:
        self._path, self._read, self._clock, self._threads = keys / FILE, read, clock, threads
        self._known: dict[str, Snapshot] = {}
        self._asked_at: Micros = 0
        self._loading = threading.Lock()
        self._key: bytes | None = None
        self.changing: dict[str, asyncio.Lock] = {}
        """Held by whoever changes a list: one change at a time on a node."""

    def any_of(self, list_id: str, values: Iterable[str]) -> bool:
        """Whether one of these is on a list, by what this node remembers. Raises `Overloaded`."""
        wanted = tuple(values)
        if not wanted:
            return False
        snapshot = self._known.get(list_id)
        if snapshot is None:
            snapshot = self.load(list_id)
        elif self._clock.now() - self._asked_at >= limits.POLL:
            self._asked_at = self._clock.now()
            self._threads.submit(self._catch_up)
        # An empty list needs no key: the node that fills it makes one.
        return bool(snapshot.held) and snapshot.has_any(self._usable_key(), wanted)

    def remembers(self, list_id: str) -> bool:
        """Whether a question of a list waits for nothing."""
        return list_id in self._known

    def load(self, list_id: str) -> Snapshot:
        """A list as the ledger has it now; blocking. Raises `Overloaded`."""
        with self._loading:
            found = self._known[list_id] = Snapshot(list_id, *self._read(ledger.load, list_id))
        return found

    def _catch_up(self) -> None:
        """Load again what has moved."""
        try:
            now = self._read(ledger.versions)
            for name, snapshot in list(self._known.items()):
                if now.get(name, 0) != snapshot.version:
                    self.load(name)
        except Overloaded as error:
            _log.warning("value lists are as they were; the ledger is asked again", cause=str(error))

    def changed(self, list_id: str, change: ledger.Changed, added: frozenset[bytes], removed: frozenset[bytes]) -> None:
        """This node has changed a list: what it remembers follows at once, unless somebody else was between."""
        with self._loading:
            snapshot = self._known.get(list_id)
            if snapshot is not None and snapshot.version == change.before:
                self._known[list_id] = Snapshot(list_id, change.after, (snapshot.held | added) - removed)

    # -- the key

    def key(self) -> bytes:
        """The key of all lists, made when no node has one. Raises `ConfigError` for another than the ledger's lists are under."""
        if self._key is None:
            check = self._read(ledger.key_check)
            if not self._path.exists():
                if check:
                    raise ConfigError(str(self._path), "", "is missing", "copy it from another node of this ledger")
                with suppress(FileExistsError):
                    write_secret(self._path, os.urandom(KEY))
            octets = self._path.read_bytes()
            if len(octets) != KEY:
                raise ConfigError(str(self._path), "", f"is no key of {KEY} octets")
            if check and check_value(octets) != check:
                raise _another(self._path)
            self._key = octets
        return self._key

    def forget_key(self) -> ConfigError:
        """The ledger's values are under another key: it is read again when next asked for. Gives what to raise."""
        self._key = None
        return _another(self._path)

    def _usable_key(self) -> bytes:
        try:
            return self.key()
        except ConfigError as error:
            raise Overloaded(f"value lists cannot be read by this node: {error}", limits.COME_BACK) from None


def _another(path: Path) -> ConfigError:
    remedy = "copy the file from another node of this ledger; if it is lost, empty every list and fill them again"
    return ConfigError(str(path), "", "is another key than the values of this ledger are kept under", remedy)
