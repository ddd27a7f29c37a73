"""What a figure was measured on: processor, cores, and the versions that speed depends on."""

from __future__ import annotations

import os
import platform
import sqlite3
from functools import cache
from pathlib import Path

from cryptography.hazmat.backends.openssl import backend


@cache
def describe() -> dict[str, str]:
    """Processor, cores this process may use, Python, OpenSSL (as `cryptography` brings it), SQLite. No name of the machine."""
    return {
        "cpu": _processor(),
        "cores": str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()),
        "memory_gib": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f}",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": platform.python_version(),
        "openssl": backend.openssl_version_text().removeprefix("OpenSSL ").partition(" ")[0],
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
