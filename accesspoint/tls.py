"""Which TLS is spoken: versions and cipher suites, said alike at either end [eD1.15 §1.4.2.6].

Rules:

1. Only what gives forward secrecy and authenticated encryption can be named; an agreement narrows, it never widens.
2. The suites of TLS 1.3 are all good and are not chosen between: whoever holds to a list leaves 1.3 out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

VERSIONS: Final = {"1.2": 0x0303, "1.3": 0x0304}
"""Versions that can be spoken, by the name that people write, with the number that stands on the wire."""

SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Cipher suites of TLS 1.2 that can be named, as OpenSSL writes them."""


def spoken(versions: Sequence[str] = ()) -> tuple[int, int]:
    """The least and the greatest of these versions as they stand on the wire; of all where none is named."""
    numbers = [VERSIONS[version] for version in versions or VERSIONS]
    return min(numbers), max(numbers)
