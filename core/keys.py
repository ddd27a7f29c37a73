"""Keys at rest: key-encryption keys outside the data directory, one data key per parcel.

Rules:

1. A data key seals everything personal of one parcel: payload octets, subjects, frozen wires. Losing it is erasure.
2. Data keys are stored wrapped (AES key wrap, RFC 3394) under a key-encryption key named by ``key_id``; rotating makes a new one
   and rewraps rows, no payload is touched.
3. Key files are readable by their owner alone; a file others can read stops the start.
"""

from __future__ import annotations

import os
import stat
from collections import OrderedDict
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from core.disk import write_secret
from core.errors import Fatal, PayloadError

KEY: Final = 32
NONCE: Final = 12
_KNOWN: Final = 4096
"""Data keys kept unwrapped, the youngest."""


class KeyRing:
    """The key-encryption keys in a folder: ``<key_id>.kek``, 32 octets each. The youngest by name wraps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._keys: dict[str, bytes] = {}
        for path in sorted(folder.glob("*.kek")):
            if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                raise Fatal(f"{path}: others may read this key file; run chmod 600 on it")
            octets = path.read_bytes()
            if len(octets) != KEY:
                raise Fatal(f"{path}: not a key of {KEY} octets")
            self._keys[path.stem] = octets
        if not self._keys:
            raise Fatal(f"{folder}: no key-encryption key; run `stafet keys new`")
        self.current = max(self._keys)
        self._known: OrderedDict[tuple[bytes, str], bytes] = OrderedDict()

    def new(self) -> tuple[bytes, bytes, str]:
        """A fresh data key: (plain, wrapped, id of the wrapping key)."""
        key = os.urandom(KEY)
        wrapped = aes_key_wrap(self._keys[self.current], key)
        self._remember(key, wrapped, self.current)
        return key, wrapped, self.current

    def unwrap(self, wrapped: bytes, key_id: str) -> bytes:
        """A data key. Raises `PayloadError` when its wrapping key is not here or does not fit."""
        found = self._known.get((wrapped, key_id))
        if found is None:
            found = self._unwrapped(wrapped, key_id)
            self._remember(found, wrapped, key_id)
        return found

    def _remember(self, key: bytes, wrapped: bytes, key_id: str) -> None:
        """Unwrapping costs more than opening a small payload, and what is new is asked for most."""
        self._known[wrapped, key_id] = key
        while len(self._known) > _KNOWN:
            self._known.popitem(last=False)

    def _unwrapped(self, wrapped: bytes, key_id: str) -> bytes:
        kek = self._keys.get(key_id)
        if kek is None:
            raise PayloadError(f"the key-encryption key {key_id!r} is not in {self._folder}")
        try:
            return aes_key_unwrap(kek, wrapped)
        except InvalidUnwrap:
            raise PayloadError(
                f"a data key cannot be opened with {key_id!r}: another key of that name, or damage"
            ) from None

    def rewrap(self, wrapped: bytes, key_id: str) -> tuple[bytes, str]:
        """The same data key under the current key-encryption key."""
        return aes_key_wrap(self._keys[self.current], self.unwrap(wrapped, key_id)), self.current


def create_kek(folder: Path, key_id: str) -> Path:
    """Make a key-encryption key file, durable before anything is sealed under it. Raises `FileExistsError`."""
    path = folder / f"{key_id}.kek"
    write_secret(path, os.urandom(KEY))
    return path


def seal(key: bytes, octets: bytes, context: bytes) -> bytes:
    """Small octets under a data key: nonce, ciphertext, tag. ``context`` must be the same to open."""
    nonce = os.urandom(NONCE)
    return nonce + AESGCM(key).encrypt(nonce, octets, context)


def unseal(key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The inverse of `seal`. Raises `PayloadError`."""
    try:
        return AESGCM(key).decrypt(sealed[:NONCE], sealed[NONCE:], context)
    except (InvalidTag, ValueError):
        raise PayloadError("stored octets do not open: damaged, or under another key") from None


def derive(key: bytes, context: bytes) -> bytes:
    """A key of its own for one object, so that chunk nonces can count from zero."""
    return HKDFExpand(SHA256(), KEY, context).derive(key)
