"""What both products are given to send, and what is made of what they did with it."""

from __future__ import annotations

import pytest
from lxml import etree

from bench import phase4
from bench.large import MIB
from bench.phase4 import Measured, Rival
from conformance.peers.phase4 import PeerFailed


def _measured(rate: float, peak: int) -> Measured:
    return Measured(round(rate * 10), 10.0, 5.0, peak * MIB, peak * MIB)


@pytest.mark.parametrize("size", [1000, 123_457])
def test_a_document_is_whole_and_as_long_as_asked(tmp_path, size):
    """Neither cut off in a record, nor longer or shorter."""
    octets = phase4.xml_file(tmp_path / "one.xml", size).read_bytes()
    assert len(octets) == size
    assert {etree.QName(child).localname for child in etree.fromstring(octets)} == {"observation"}


def test_no_two_records_are_alike():
    """Else compression would find nothing to do."""
    assert len({phase4.record(7) for _ in range(100)}) == 100


@pytest.mark.parametrize(("ours", "peak", "ok"), [(40.0, 50, True), (39.0, 50, False), (40.0, 51, False)])
def test_small_messages_are_held_against_rate_and_memory(ours, peak, ok):
    """Four times the rate, half the memory at 5 kB: missing either is a miss."""
    rows = phase4.small_rows("RSA-2048", 5_000, _measured(ours, peak), _measured(10.0, 100), 4, 4.0)
    assert all(row.ok for row in rows) is ok


def test_memory_has_no_bar_at_other_sizes():
    """It is shown all the same."""
    rows = list(phase4.memory_rows("1 kB", _measured(1.0, 300), _measured(1.0, 100), None))
    assert [(row.ratio, row.bar) for row in rows] == [(3.0, None)] * 2


@pytest.mark.parametrize(("ours", "peak", "ok"), [(5.0, 25, True), (4.9, 25, False), (5.0, 26, False)])
def test_large_messages_are_held_against_rate_and_memory(ours, peak, ok):
    """Five times the megabytes a second, a quarter of the memory at 100 MiB."""
    rows = phase4.large_rows("XML", 100 * MIB, _measured(ours, peak), _measured(1.0, 100))
    assert all(row.ok for row in rows) is ok


class _Process:
    """A phase4 that says what it is told to."""

    def __init__(self, pid, inbox, **said):
        self.pid, self.inbox, self._said = pid, inbox, said

    def ask(self, command, **_wanted):
        return self._said[command].pop(0)


@pytest.mark.parametrize(
    ("loaded", "synced", "complaint"),
    [
        ({"good": "3", "seconds": "1.5"}, "8", "acknowledged 3 messages and synced 2"),
        ({"good": "3", "seconds": "1.5", "bad": "1", "words": "{digests=none}"}, "9", "digests=none"),
        ({"good": "0", "seconds": "1.5", "bad": "0"}, "6", "good"),
        ({"exception": "no such file"}, "6", "no such file"),
    ],
)
def test_figures_that_are_worth_nothing_are_not_taken(tmp_path, monkeypatch, loaded, synced, complaint):
    """A receipt before the payload is safe, or one that does not hold, ends the run."""
    for name, answer in (("cpu", 1.0), ("peak", 1), ("forget_peak", None)):
        monkeypatch.setattr(phase4.usage, name, lambda _pid, answer=answer: answer)
    rival = Rival.__new__(Rival)
    rival.threads, rival.failed = 2, 0
    rival._client = _Process(1, tmp_path, load=[loaded])
    rival._server = _Process(2, tmp_path, stored=[{"synced": "6"}, {"synced": synced}])
    with pytest.raises(PeerFailed, match=complaint):
        rival.run(tmp_path / "payload", 1.0)


def test_one_failure_in_a_hundred_is_told_and_not_counted(tmp_path, monkeypatch):
    """It is phase4's; the rest of the figures stands."""
    for name, answer in (("cpu", 1.0), ("peak", 1), ("forget_peak", None)):
        monkeypatch.setattr(phase4.usage, name, lambda _pid, answer=answer: answer)
    rival = Rival.__new__(Rival)
    rival.threads, rival.failed = 2, 0
    rival._client = _Process(1, tmp_path, load=[{"good": "200", "seconds": "2.0", "bad": "2"}])
    rival._server = _Process(2, tmp_path, stored=[{"synced": "0"}, {"synced": "200"}])
    (tmp_path / "message").mkdir()
    assert rival.run(tmp_path / "payload", 1.0).rate == 100.0
    assert rival.failed == 2
    assert not (tmp_path / "message").exists()


def test_sizes_are_said_as_people_do():
    """Decimal below a mebibyte, binary above."""
    assert [phase4.named(n) for n in (1_000, 100_000, 10 * MIB)] == ["1 kB", "100 kB", "10 MiB"]
