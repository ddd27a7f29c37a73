"""Value lists: named lists whose values their owner maintains, and of which only keyed digests are kept.

Rules:

1. Whoever reads the ledger or a backup of it cannot read who is on a list, nor whether two lists share anybody: a digest is an
   HMAC-SHA256 over the list's id and the value, under a key that lies among the node's keys and never in its data.
2. All nodes of a ledger need the same key file. A node with another one would find nobody on any list, so the ledger remembers a
   check value of the key, and another key is refused.
3. A value is one line of text; white space around it and how its accents are composed make no difference, anything else does.
"""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Final, Literal

from core import limits
from core.errors import UsageError
from core.system import Document, Name

KEY: Final = 32
"""Octets of the key."""


class ValueList(Document):
    """Kind ``value-list``: a list that subscriptions name; its values are kept over the API or with `stafet values`."""

    kind: Literal["value-list"] = "value-list"
    id: Name
    title: str = ""
    owner: Name
    """The system that maintains it."""


def digest(key: bytes, list_id: str, value: str) -> bytes:
    """What is kept of a value. Raises `UsageError` for one that is no value."""
    text = unicodedata.normalize("NFC", value.strip())
    try:
        octets = text.encode()
    except UnicodeEncodeError:
        raise UsageError("value: holds half a surrogate pair, which is no text") from None
    if not 0 < len(text) <= limits.LIST_VALUE or not text.isprintable():
        raise UsageError(f"value: must be one line of 1 to {limits.LIST_VALUE} printable characters")
    return hmac.digest(key, list_id.encode() + b"\x00" + octets, "sha256")


def digests(key: bytes, list_id: str, values: Iterable[str]) -> frozenset[bytes]:
    """What is kept of many. Raises `UsageError` naming the position of one that is no value, never the value."""
    return frozenset(_numbered(key, list_id, values))


def _numbered(key: bytes, list_id: str, values: Iterable[str]) -> Iterator[bytes]:
    for number, value in enumerate(values, start=1):
        if number > limits.LIST_VALUES:
            raise UsageError(f"values: more than {limits.LIST_VALUES}")
        try:
            yield digest(key, list_id, value)
        except UsageError as error:
            raise UsageError(f"value {number}: {str(error).partition(': ')[2]}") from None


def check_value(key: bytes) -> str:
    """What tells two keys apart without saying either."""
    return hmac.digest(key, b"stafet value lists", "sha256").hex()


class Snapshot:
    """The digests of one list at one version, in memory."""

    def __init__(self, list_id: str, version: int, held: frozenset[bytes]) -> None:
        self.list_id, self.version, self.held = list_id, version, held

    def has_any(self, key: bytes, values: Iterable[str]) -> bool:
        """Whether one of these is on the list. What could not be on any list is not."""
        return any(self._has(key, value) for value in values)

    def _has(self, key: bytes, value: str) -> bool:
        try:
            return digest(key, self.list_id, value) in self.held
        except UsageError:
            return False
