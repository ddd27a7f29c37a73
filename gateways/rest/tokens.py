"""Tokens (JWT): their issuers' keys, and whether one is genuine, for us, and for now."""

from __future__ import annotations


class KeySets:
    """The public keys of issuers, kept between configuration versions."""
