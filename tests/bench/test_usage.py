"""What a process has used."""

from __future__ import annotations

import os
import time

from bench import usage


def test_cpu_grows_with_work():
    """A tenth of a second of work is seen."""
    before, until = usage.cpu(os.getpid()), time.process_time() + 0.1
    while time.process_time() < until:
        pass
    assert usage.cpu(os.getpid()) - before >= 0.05


def test_the_peak_outlives_the_memory_and_can_be_forgotten():
    """Sixty-four mebibytes that came and went."""
    pid = os.getpid()
    usage.forget_peak(pid)
    before = usage.peak(pid)
    octets = bytearray(os.urandom(64 * 1024 * 1024))
    del octets
    assert usage.peak(pid) - before > 50 * 1024 * 1024
    assert usage.resident(pid) < usage.peak(pid)
    usage.forget_peak(pid)
    assert usage.peak(pid) - before < 50 * 1024 * 1024
