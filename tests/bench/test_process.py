"""What a process has used."""

from __future__ import annotations

import os
import time

from bench import process


def test_cpu_grows_with_work():
    """A tenth of a second of work is seen."""
    before, until = process.cpu(os.getpid()), time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert process.cpu(os.getpid()) - before >= 0.05


def test_the_peak_outlives_the_memory_and_can_be_forgotten():
    """Sixty-four mebibytes that came and went."""
    pid = os.getpid()
    process.forget_peak(pid)
    before = process.peak(pid)
    octets = bytearray(os.urandom(64 * 1024 * 1024))
    del octets
    assert process.peak(pid) - before > 50 * 1024 * 1024
    assert process.resident(pid) < process.peak(pid)
    process.forget_peak(pid)
    assert process.peak(pid) - before < 50 * 1024 * 1024
