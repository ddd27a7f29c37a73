"""Named points at which a process can be told to die, so that the crash proof can stand exactly there.

A point does nothing unless the environment names it when the process starts: ``STAFET_FAILPOINT=name:n`` kills the process with
SIGKILL the n-th time it comes by. Nothing at run time can arm one.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import Final

VARIABLE: Final = "STAFET_FAILPOINT"

#: Every point there is, by who passes it, for the proof to iterate over.
POINTS: Final = {
    "sender": (
        "before-commit:accept",
        "after-commit:accept",
        "after-commit:claim",
        "object-synced",
        "object-renamed",
        "before-commit:freeze",
        "after-commit:freeze",
        "before-post",
        "mid-body",
        "after-answer",
        "before-commit:settle",
        "after-commit:settle",
    ),
    "receiver": (
        "mid-message",
        "object-synced",
        "object-renamed",
        "before-accept",
        "before-commit:accept",
        "after-commit:accept",
        "before-answer",
    ),
}


def _armed() -> tuple[str, int]:
    name, _, count = os.environ.get(VARIABLE, "").rpartition(":")
    return (name, int(count)) if name and count.isdigit() else ("", 0)


_NAME, _COUNT = _armed()
_left = _COUNT
_lock = threading.Lock()


def reach(name: str) -> None:
    """Pass a named point; the process ends here when it is armed and its turn has come."""
    if not _NAME or name != _NAME:
        return
    global _left  # noqa: PLW0603 - one count for the whole process is the point
    with _lock:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
