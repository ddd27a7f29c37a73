"""What ends, and when people are told: keys of ours, certificates of neighbours, revocation lists.

Rules:

1. Pure: what is watched and a time in, words out.
2. People are told once for each threshold a thing passes, and once when it has ended; who looks seldom hears of the nearest only.
3. A thing that never lasts long (a list of a week) is not announced two months ahead: a threshold counts when it is at most half
   of the thing's whole life.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.clock import DAY, Micros, from_datetime, local
from core.config import Configuration
from core.trust import Identity, fingerprint, subject

THRESHOLDS: Final = (60, 30, 14, 7, 1)
"""Days before the end: enough for an order at an authority, then for a reminder, then for haste."""


@dataclass(frozen=True, slots=True)
class Watched:
    """Something that ends. ``owner`` is "own" or a neighbour's id, ``use`` what it is for, ``name`` the key's or file's name."""

    owner: str
    use: str
    name: str
    subject: str
    fingerprint: str
    begin: Micros
    end: Micros


@dataclass(frozen=True, slots=True)
class Notice:
    """What people are told. ``id`` is the same whoever says it, and however often."""

    id: str
    text: str


Lister = Callable[[Configuration, Any, Callable[[str], Identity]], Iterable[Watched]]
"""What a gateway watches under a configuration, its node-local settings and this node's keys."""


def certificate(owner: str, use: str, name: str, made: x509.Certificate) -> Watched:
    """A certificate to watch."""
    begin, end = from_datetime(made.not_valid_before_utc), from_datetime(made.not_valid_after_utc)
    return Watched(owner, use, name, subject(made), fingerprint(made), begin, end)


def revocation_list(owner: str, use: str, name: str, made: x509.CertificateRevocationList) -> Watched:
    """A list to watch; one that names no end has ended."""
    begin = from_datetime(made.last_update_utc)
    end = from_datetime(made.next_update_utc) if made.next_update_utc is not None else begin
    digest = hashlib.sha256(made.public_bytes(Encoding.DER)).hexdigest()
    return Watched(owner, use, name, made.issuer.rfc4514_string(), digest, begin, end)


def days_left(item: Watched, at: Micros) -> int:
    """Whole days until it ends; below nothing when it has ended."""
    return (item.end - at) // DAY


def passed(item: Watched, at: Micros) -> int | None:
    """The nearest threshold in days that it has passed, 0 when it has ended, None when there is time."""
    if at > item.end:
        return 0
    counting = [days for days in THRESHOLDS if days * DAY <= (item.end - item.begin) // 2]
    return min((days for days in counting if item.end - at <= days * DAY), default=None)


def notices(items: Iterable[Watched], at: Micros) -> list[Notice]:
    """What people are to be told now, one for each thing, however often it is used."""
    uses: dict[str, list[Watched]] = {}
    for item in items:
        uses.setdefault(item.fingerprint, []).append(item)
    found = []
    for print_, used in uses.items():
        days = passed(used[0], at)
        if days is not None:
            found.append(Notice(f"expiry-{print_[:40]}-{days}", _words(used, days, at)))
    return found


def _words(used: Sequence[Watched], days: int, at: Micros) -> str:
    first = used[0]
    where = ", ".join(sorted({f"{item.use} of {item.owner} ({item.name})" for item in used}))
    if days == 0:
        when = f"has ended on {local(first.end)}"
    else:
        left = days_left(first, at)
        when = f"ends on {local(first.end)}, in {left} days" if left != 1 else f"ends on {local(first.end)}, in 1 day"
    remedy = "get the next one, and follow docs/how-to/change-keys.md"
    return f"{where}: {first.subject} {when}. What to do: {remedy}"
