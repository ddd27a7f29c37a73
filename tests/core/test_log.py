"""Logs: one JSON object a line, and never payload octets."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from core import limits, log
from core.errors import Overloaded

Lines = Callable[..., list[str]]


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    """Configures the log, runs something with a logger and gives the lines that came out."""

    def run(act: Callable[[structlog.stdlib.BoundLogger], object], *arguments: str) -> list[str]:
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        log.configure(*arguments)
        act(log.get("test"))
        return stream.getvalue().splitlines()

    yield run
    structlog.reset_defaults()


def test_a_line_is_a_json_object_with_time_level_and_part(lines: Lines):
    """Machines read it line by line."""
    (line,) = lines(lambda logger: logger.info("accepted", parcel="p1", count=3), "info", "json")
    said = json.loads(line)
    assert (said["event"], said["parcel"], said["count"]) == ("accepted", "p1", 3)
    assert (said["level"], said["part"]) == ("info", "test")
    assert said["timestamp"].endswith("Z")


def test_below_its_level_nothing_is_said(lines: Lines):
    """Warnings pass where infos do not."""

    def act(logger: structlog.stdlib.BoundLogger) -> None:
        logger.info("quiet")
        logger.warning("loud")

    assert [json.loads(line)["event"] for line in lines(act, "warning", "json")] == ["loud"]


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        b"secret",
        bytearray(b"secret"),
        memoryview(b"secret"),
        [b"secret"],
        ("x", {"deep": [b"secret"]}),
        {"payload": b"secret"},
        {b"secret": 1},
        {b"secret"},
    ],
)
def test_octets_are_counted_and_not_printed(lines: Lines, style: str, value: object):
    """However deep a careless caller hides them."""
    text = "\n".join(lines(lambda logger: logger.info("got", value=value), "info", style))
    assert "secret" not in text
    assert "115, 101, 99" not in text
    assert "6 octets not logged" in text


CANARY = "Jens-Peter-Canary"
"""Stands for what a payload says."""


def _quote(value: str) -> None:
    """Three errors that each have the value in their text, one after another; the last has a note as well."""
    try:
        try:
            raise KeyError(value)
        except KeyError as error:
            raise ValueError(f"odd: {value}") from error
    except ValueError:
        try:
            raise ExceptionGroup(value, [OSError(28, "No space left on device", value), Overloaded("busy; try later")])
        except ExceptionGroup as group:
            group.add_note(value)
            raise


def _failing(logger: structlog.stdlib.BoundLogger) -> None:
    try:
        _quote(CANARY)
    except ExceptionGroup:
        logger.exception("failed", parcel="p1")


@pytest.mark.parametrize("style", ["json", "console"])
def test_an_error_that_nobody_documents_is_where_it_was_raised_and_not_what_it_quotes(lines: Lines, style: str):
    """Types, files, lines and functions of it and of what it came after; our own errors and the system's with their words."""
    text = "\n".join(lines(_failing, "info", style))
    assert CANARY not in text
    assert f"{__file__}:" in text
    assert "in _quote" in text
    for said in (
        "ExceptionGroup",
        "one of them: OSError: No space left on device",
        "after: ValueError",
        "after: KeyError",
    ):
        assert said in text
    assert "one of them: Overloaded: busy; try later" in text


def test_an_error_is_one_line_for_machines(lines: Lines):
    """Whatever it is made of."""
    (line,) = lines(_failing, "info", "json")
    said = json.loads(line)
    assert (said["event"], said["parcel"], said["level"]) == ("failed", "p1", "error")
    assert "exc_info" not in said
    story = said["exception"].splitlines()
    assert story[0] == "ExceptionGroup"
    assert re.fullmatch(rf"  {re.escape(__file__)}:\d+ in _failing", story[1])


@pytest.mark.parametrize("given", ["error", "tuple", "nothing"])
def test_an_error_may_be_handed_over_or_not(lines: Lines, given: str):
    """As itself, as the system has it; and without one nothing is said of any."""

    def act(logger: structlog.stdlib.BoundLogger) -> None:
        error = ValueError(CANARY)
        value = {"error": error, "tuple": (ValueError, error, None), "nothing": None}[given]
        logger.error("failed", exc_info=value)

    (line,) = lines(act, "info", "json")
    assert json.loads(line).get("exception") == (None if given == "nothing" else "ValueError")


def test_an_endless_recursion_is_short(lines: Lines):
    """Only its innermost frames are shown, and an error that caused itself is said once."""

    def deeper() -> None:
        deeper()

    def act(logger: structlog.stdlib.BoundLogger) -> None:
        try:
            deeper()
        except RecursionError as error:
            again = KeyError("x")
            error.__cause__, again.__cause__ = again, error
            logger.exception("failed")

    (line,) = lines(act, "info", "json")
    story = json.loads(line)["exception"].splitlines()
    assert len(story) == limits.LOG_FRAMES + 2
    assert (story[0], story[-1]) == ("RecursionError", "after: KeyError")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError(CANARY), "ValueError"),
        (OSError(28, "No space left on device", CANARY), "OSError: No space left on device"),
        (OSError(CANARY), "OSError"),
        (Overloaded("busy; try later"), "busy; try later"),
    ],
)
def test_a_cause_has_no_words_but_ours_and_the_systems(error: Exception, words: str):
    """What is said on pages and in outcomes."""
    assert log.cause(error) == words


def test_other_libraries_errors_are_told_like_ours(monkeypatch: pytest.MonkeyPatch):
    """They log by Python's own means, to the same place."""
    stream, root = io.StringIO(), logging.getLogger()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(root, "handlers", [])
    log.configure("info", "json")
    try:
        _quote(CANARY)
    except ExceptionGroup:
        logging.getLogger("somebody").exception("failed")
    structlog.reset_defaults()
    assert stream.getvalue().startswith("ERROR:somebody:failed\nExceptionGroup\n")
    assert "in _quote" in stream.getvalue()
    assert CANARY not in stream.getvalue()


def test_an_event_loops_errors_are_told_like_ours(lines: Lines):
    """Asyncio would print the task with its error's text."""

    def act(_logger: structlog.stdlib.BoundLogger) -> None:
        async def fail() -> None:
            _quote(CANARY)

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(log.unheard)
            task = asyncio.create_task(fail())
            await asyncio.sleep(0)
            del task
            gc.collect()
            asyncio.get_running_loop().call_exception_handler({"message": "something odd"})

        asyncio.run(main())

    first, second = lines(act, "info", "json")
    assert CANARY not in first
    assert "in _quote" in json.loads(first)["exception"]
    assert json.loads(second)["words"] == "something odd"


def test_without_a_terminal_it_is_json(lines: Lines):
    """`auto` looks at standard error."""
    (line,) = lines(lambda logger: logger.info("plain"))
    assert json.loads(line)["event"] == "plain"


def test_on_a_terminal_it_is_words(monkeypatch: pytest.MonkeyPatch):
    """Aligned words instead of JSON."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    log.configure()
    log.get("test").info("words")
    structlog.reset_defaults()
    assert "words" in stream.getvalue()
    assert not stream.getvalue().startswith("{")
