"""Structured logs: one JSON object a line for machines, aligned words for a terminal.

Rules:

1. A log line holds ids, codes, counts and digests: never payload octets, personal data or keys. A value that is ``bytes``
   is counted by the processor below instead of printed, however deep it is hidden.
2. The text of an error that nobody documents may quote what it met: of such an error a line has the type and where it was
   raised. Our own errors promise to hold nothing (`core.errors`), and are said whole.
3. Observability fails open: a log that cannot be written never stops a delivery.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Iterator, Mapping, MutableMapping
from traceback import walk_tb
from typing import Any, Literal

import structlog

from core import limits
from core.errors import StafetError


def cause(error: BaseException) -> str:
    """What may be said of an error to anybody: our own words, the system's, or else its type alone."""
    if isinstance(error, StafetError):
        return str(error)
    kind = type(error).__name__
    return f"{kind}: {error.strerror}" if isinstance(error, OSError) and error.strerror else kind


def _story(error: BaseException, seen: set[int], said: str = "") -> Iterator[str]:
    """The type of an error and where it was raised, then the same of what caused it; no word of its text."""
    seen.add(id(error))
    named = f"{type(error).__name__}: {error}" if isinstance(error, StafetError) else cause(error)
    yield said + named
    for frame, line in deque(walk_tb(error.__traceback__), maxlen=limits.LOG_FRAMES):
        yield f"  {frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _story(member, seen, "one of them: ")
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _story(before, seen, "after: ")


def _where(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    found = event.pop("exc_info", None)
    if isinstance(found, tuple):
        found = found[1]
    elif found and not isinstance(found, BaseException):
        found = sys.exc_info()[1]
    if found:
        event["exception"] = "\n".join(_story(found, set()))
    return event


class _Formatter(logging.Formatter):
    """For lines of other libraries: their errors as ours."""

    def formatException(self, ei: Any) -> str:
        return "\n".join(_story(ei[1], set())) if ei[1] else ""


def unheard(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What an event loop says of errors that nobody took; asyncio's own words would quote them."""
    error = context.get("exception")
    words = {} if error else {"words": str(context.get("message", ""))}
    get("loop").error("an error that nobody waited for", exc_info=error, **words)


def _no_octets(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key, value in event.items():
        event[key] = _safe(value)
    return event


def _safe(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} octets not logged>"
    if isinstance(value, Mapping):
        return {_safe(k): _safe(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_safe(item) for item in value]
    return value


def configure(level: str = "info", style: Literal["json", "console", "auto"] = "auto") -> None:
    """Set up logging for the process. ``auto`` is ``console`` on a terminal, else ``json``. Lines go to standard error."""
    if style == "auto":
        style = "console" if sys.stderr.isatty() else "json"
    renderer: Any = structlog.dev.ConsoleRenderer() if style == "console" else structlog.processors.JSONRenderer()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _where,
            _no_octets,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(logging.BASIC_FORMAT))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])


def get(name: str) -> Any:
    """A logger whose lines carry ``part=name``."""
    return structlog.get_logger(part=name)
