"""The books of the crash proof: they would show what it promises not to find."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.crash_pull import POINTS, SYSTEMS, Series, Tally, make, plan
from conformance.fetching import Book, read_book

ACCEPTED = [("e-1", "a"), ("e-2", "a"), ("e-3", "b")]


def got(path: Path, *events: tuple[str, str]) -> None:
    """A receiver's book."""
    Book(path).write([{"what": "got", "id": name, "key": key, "lease": "x.1"} for name, key in events])


@pytest.mark.parametrize(
    ("events", "wrong"),
    [
        ([("e-1", "a"), ("e-2", "a"), ("e-3", "b")], 0),
        ([("e-3", "b"), ("e-1", "a"), ("e-1", "a"), ("e-2", "a")], 0),
        ([("e-2", "a"), ("e-1", "a")], 1),
        ([("e-1", "a"), ("e-2", "a"), ("e-1", "a"), ("e-2", "a")], 1),
    ],
)
def test_disorder_is_seen(tmp_path: Path, events: list[tuple[str, str]], wrong: int):
    """An event that comes after a later one of its key counts; of another key, or the same again, does not."""
    series = Series(make(tmp_path), Tally(), 0)
    got(tmp_path / "journal.book", *events)
    assert series._disorder(ACCEPTED) == wrong


def test_a_line_that_was_being_written_is_left_out(tmp_path: Path):
    """A receiver that is killed while it writes has not written."""
    path = tmp_path / "b.book"
    got(path, ("e-1", "a"))
    with path.open("ab") as file:
        file.write(json.dumps({"what": "got"}).encode()[:9])
    assert [line["id"] for line in read_book(path)] == ["e-1"]
    assert read_book(tmp_path / "none.book") == []


@pytest.mark.parametrize("changes", [{"lost": 1}, {"doubled": 1}, {"out_of_order": 1}, {"accepted": 0}])
def test_nothing_else_passes(changes: dict[str, int]):
    """Anything lost, doubled or out of order fails the proof, and so does a run in which nothing was sent."""
    assert Tally(accepted=5).ok
    assert not Tally(**({"accepted": 5} | changes)).ok


def test_every_point_and_every_receiver_gets_its_turn():
    """In a run of the length that counts."""
    kills = plan(200, 1)
    assert set(kills) == {*POINTS, *SYSTEMS, "node"}
