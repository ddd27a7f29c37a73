"""Random octets for ids, keys and nonces, drawn from the system in larger pieces.

A message needs a dozen small random values; asking the system for each costs more than making the header. A piece is used once,
front to back; a forked process throws its copy away.
"""

from __future__ import annotations

import os
import threading
from typing import Final

_PIECE: Final = 4096


class _Pool:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._octets, self._at = b"", 0

    def take(self, count: int) -> bytes:
        """So many random octets."""
        with self._lock:
            if self._at + count > len(self._octets):
                self._octets, self._at = os.urandom(max(_PIECE, count)), 0
            self._at += count
            return self._octets[self._at - count : self._at]

    def forget(self) -> None:
        """After a fork, in the child: what the parent may also have is not used."""
        self._lock = threading.Lock()
        self._octets, self._at = b"", 0


_pool: Final = _Pool()
os.register_at_fork(after_in_child=_pool.forget)


def entropy(count: int) -> bytes:
    """So many octets nobody can predict."""
    return _pool.take(count)
