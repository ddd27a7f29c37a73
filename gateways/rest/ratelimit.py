"""What is left of a caller's quotas, as header fields [draft-ietf-httpapi-ratelimit-headers-10].

Rule: only what the fields have a unit for is said in them: parcels over time, octets of a day, requests under way. That too much
waits is said by the problem ``quota`` alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from core.clock import SECOND
from core.quota import Allowance

_UNITS: Final = {"rate": "", "octets": ';qu="content-bytes"', "connections": ';qu="concurrent-requests"'}


def fields(allowances: Sequence[Allowance]) -> dict[str, str]:
    """``RateLimit-Policy`` and ``RateLimit``; nothing where there is no quota."""
    said = [one for one in allowances if one.which in _UNITS]
    if not said:
        return {}
    policy = ", ".join(f'"{_name(one)}";q={one.most}{_UNITS[one.which]}{_window(one.window, "w")}' for one in said)
    left = ", ".join(f'"{_name(one)}";r={one.left}{_window(one.reset, "t")}' for one in said)
    return {"RateLimit-Policy": policy, "RateLimit": left}


def _name(one: Allowance) -> str:
    return f"{one.quota}-{one.which}"


def _window(time: int, letter: str) -> str:
    """Whole seconds, rounded up; nothing for what has no time."""
    return f";{letter}={-(-time // SECOND)}" if time else ""
