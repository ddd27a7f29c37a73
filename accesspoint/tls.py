"""Which TLS is spoken: versions and cipher suites, said alike at either end [eD1.15 §1.4.2.6].

Rules:

1. Only what gives forward secrecy and authenticated encryption can be named; an agreement narrows, it never widens.
2. The suites of TLS 1.3 are all good and are not chosen between: whoever holds to a list leaves 1.3 out.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from typing import Final

VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
"""Versions that can be spoken, by the name that people write."""

SUITES: Final = (
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Cipher suites of TLS 1.2 that can be named, as OpenSSL writes them."""


def narrow(context: ssl.SSLContext, versions: Sequence[str] = (), suites: Sequence[str] = ()) -> None:
    """Hold a context to these versions and these suites of TLS 1.2; none named = at least 1.2, and the context's own suites."""
    spoken = sorted(VERSIONS[version] for version in versions or VERSIONS)
    context.minimum_version, context.maximum_version = spoken[0], spoken[-1]
    if suites:
        context.set_ciphers(":".join(suites))
