"""Logs: one JSON object a line, and never payload octets."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator

import pytest
import structlog

from core import log

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


def test_an_error_comes_with_its_traceback(lines: Lines):
    """One line for machines all the same."""

    def act(logger: structlog.stdlib.BoundLogger) -> None:
        try:
            raise ValueError("odd")
        except ValueError:
            logger.exception("failed")

    (line,) = lines(act, "info", "json")
    assert "ValueError: odd" in json.loads(line)["exception"]


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
