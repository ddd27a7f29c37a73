"""What a benchmark's report says, and what it is measured against."""

from __future__ import annotations

import json

import pytest

from bench import crypto_floor, machine
from bench.rows import Row, number, ratio_row, write


@pytest.mark.parametrize(
    ("value", "least", "ok"), [(50.0, True, True), (49.0, True, False), (50.0, False, True), (51.0, False, False)]
)
def test_a_ratio_is_held_against_its_bar(value, least, ok):
    """Half of the base is the bar: at least, or at most."""
    row = ratio_row("rate", value, "1/s", "the floor", 100.0, 0.5, least=least)
    assert (row.ratio, row.ok) == (value / 100.0, ok)


def test_nothing_to_compare_with_is_a_miss():
    """A base of zero means that the comparison did not run."""
    assert ratio_row("rate", 1.0, "1/s", "the floor", 0.0, 0.5).ok is False


def test_the_report_is_written_and_shown(tmp_path, capsys):
    """One missed bar makes the whole report not ok; people see the same rows."""
    rows = [Row("growth", 12.5, "MiB"), ratio_row("rate", 40.0, "1/s", "the floor", 100.0, 0.5)]
    assert write(rows, tmp_path / "build" / "bench.json") is False
    report = json.loads((tmp_path / "build" / "bench.json").read_text())
    assert report["ok"] is False
    assert [set(row) for row in report["rows"]] == [{"name", "value", "unit", "against", "ratio", "bar", "ok"}] * 2
    assert report["machine"] == machine.describe()
    assert "missed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("value", "words"), [(None, ""), (12345.6, "12,346"), (12.345, "12.3"), (1.234, "1.23"), (0.1234, "0.123")]
)
def test_three_digits_count(value, words):
    """Digits that mean nothing are not shown."""
    assert number(value) == words


def test_the_machine_is_described_without_its_name():
    """Everything that speed depends on is said; nothing that says where it is."""
    described = machine.describe()
    assert set(described) == {"cpu", "cores", "memory_gib", "system", "python", "openssl", "sqlite"}
    assert all(described.values())


def test_the_floor_counts_whole_exchanges():
    """Two processes come to more than one of them alone in the same time would, and less than three would."""
    sender, receiver = crypto_floor.costs(2048, 0.1)
    found = crypto_floor.floor(2048, 0.5)
    assert 0 < found < 3 * 1e6 / (sender + receiver)
