"""Receipts: evidence, kept as raw bytes, that somebody on the far side has it.

The *level* says who speaks: ``transport`` the next machine, ``envelope`` the receiver's message handler, ``business`` the
receiver's application. People read the first two as *teknisk kvittering*, the third as *forretningskvittering*.

Rule: an attempt's result is fenced by its epoch, a receipt never is. An authenticated receipt settles its delivery even
when it overtakes the response, comes after the lease or after "failed".
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from core.clock import Micros


class Level(StrEnum):
    """Who gave the receipt."""

    TRANSPORT = "transport"
    ENVELOPE = "envelope"
    BUSINESS = "business"


class Verdict(StrEnum):
    """What the receipt says."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One piece of evidence about one delivery.

    ``raw`` is the octets as they came (signature and all); ``code`` and ``reason`` are safe words for people; ``outside_id``
    is the name the far side used for what it acknowledges.
    """

    delivery_id: str
    level: Level
    verdict: Verdict
    at: Micros
    raw: bytes = b""
    code: str = ""
    reason: str = ""
    outside_id: str = ""
    digest: bytes = b""
