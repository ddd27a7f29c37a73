"""values: filling a list from a file, and counting it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.core.cli.conftest import Call


@pytest.fixture
def listed(applied: Call, home: Path) -> Call:
    """A home whose configuration has a value list."""
    document = {"kind": "value-list", "id": "affected", "owner": "receiver"}
    (home / "config" / "lists.yaml").write_text(yaml.safe_dump(document))
    assert applied("apply", "--yes").code == 0
    return applied


def a_file(folder: Path, *lines: str) -> str:
    """A file of values."""
    path = folder / "values.txt"
    path.write_text("\n".join(lines) + "\n")
    return str(path)


def test_a_list_is_filled_counted_and_replaced(listed: Call, tmp_path: Path):
    """Blank lines are none, and what is there already is not counted again."""
    said = listed("values", "affected", "--add", a_file(tmp_path, "subject-1", "", "subject-2"))
    assert said.out.strip() == "affected: 2 added, 0 removed, 2 now"
    told = json.loads(
        listed("values", "affected", "--replace", a_file(tmp_path, "subject-2", "subject-3"), "--json").out
    )
    assert told == {"list": "affected", "added": 1, "removed": 1, "count": 2}
    assert listed("values", "affected", "--remove", a_file(tmp_path, "subject-9")).out.strip() == (
        "affected: 0 added, 0 removed, 2 now"
    )
    assert listed("values", "affected", "--count").out.strip() == "affected: 2 values"


def test_one_thing_is_asked_at_a_time(listed: Call, tmp_path: Path):
    """Nothing is guessed."""
    for arguments in ((), ("--count", "--add", a_file(tmp_path, "a"))):
        result = listed("values", "affected", *arguments)
        assert result.code == 2
        assert "say one of --add FILE" in result.err


def test_what_is_wrong_is_said_without_quoting_a_value(listed: Call, tmp_path: Path):
    """An unknown list, a file that is no text, a line that is no value."""
    assert "nothing is called 'nobody'; known: affected" in listed("values", "nobody", "--count").err
    (tmp_path / "latin").write_bytes(b"subject-\xe6\n")
    assert "latin: is not UTF-8 at octet 8" in listed("values", "affected", "--add", str(tmp_path / "latin")).err
    said = listed("values", "affected", "--add", a_file(tmp_path, "good", "Canary-7" * 40))
    assert (said.code, "value 2: must be one line" in said.err, "Canary" in said.err) == (2, True, False)
