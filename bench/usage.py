"""What a process has used, read from the kernel: CPU and memory, of a process of any make."""

from __future__ import annotations

import os
from pathlib import Path


def cpu(pid: int) -> float:
    """User and system time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    """Resident memory of a process now, in octets."""
    return _memory(pid, "VmRSS")


def peak(pid: int) -> int:
    """The most resident memory of a process since it began, or since `forget_peak`, in octets."""
    return _memory(pid, "VmHWM")


def forget_peak(pid: int) -> None:
    """Count the peak from what is resident now."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _memory(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    return 0
