"""A parcel (*forsendelse*): what a system asked us to get to others. Immutable once accepted.

`Item` is how a gateway hands one over: the parcel, the *key* under which it counts once, the *fingerprint* that tells a
repetition from another content under the same key, and the *answer* that is about to be given. The kernel stores all four in
one transaction, so that an answer never says more than the disk holds.
"""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from core.clock import Micros
from core.description import Description

_RANDOM: Final[deque[str]] = deque()
"""Random parts of ids that are still to come: the system is asked for many at once. A child process never uses its parent's."""
_DRAWN: Final = 12_800
"""Octets asked for at once: a thread that asks lets go of the interpreter, and has to wait for it again."""
os.register_at_fork(after_in_child=_RANDOM.clear)


def new_id(now: Micros) -> str:
    """A fresh 32-digit hexadecimal id that sorts by time: 48 bits of milliseconds, then 80 random bits."""
    try:
        random = _RANDOM.pop()
    except IndexError:
        drawn = os.urandom(_DRAWN).hex()
        _RANDOM.extend(drawn[start : start + 20] for start in range(20, len(drawn), 20))
        random = drawn[:20]
    return id_at(now) + random


def id_at(at: Micros) -> str:
    """What every id made at a time begins with, and those made later are greater than."""
    return f"{at // 1000:012x}"


@dataclass(frozen=True, slots=True)
class Payload:
    """One payload of a parcel as the store keeps it.

    Exactly one of ``inline`` (sealed octets kept in the database) and ``object_id`` (a file of the store) is set. ``size``
    and ``sha256`` are those of the plaintext.
    """

    name: str
    media_type: str
    size: int
    sha256: bytes
    inline: bytes | None = field(default=None, repr=False)
    object_id: str | None = None
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Parcel:
    """``wrapped_key`` is the parcel's data key under the key-encryption key named ``key_id``."""

    id: str
    sender: str
    integration: str
    description: Description
    payloads: tuple[Payload, ...]
    accepted_at: Micros
    key_id: str = ""
    wrapped_key: bytes = field(default=b"", repr=False)
    config_version: int = 0
    sealed_subjects: bytes = field(default=b"", repr=False)
    """Whom it concerns, sealed under its data key; its description as read back has none."""


def place_of_subjects(parcel_id: str) -> bytes:
    """What binds a parcel's sealed subjects to it."""
    return b"subjects/" + parcel_id.encode()


@dataclass(frozen=True, slots=True)
class Key:
    """An idempotency key. ``scope`` is gateway and authenticated sender, so that nobody can occupy another's keys."""

    scope: str
    value: str


@dataclass(frozen=True, slots=True)
class Item:
    """A parcel on its way in. ``fingerprint`` covers what makes a repetition the same; ``answer`` is what we will say."""

    parcel: Parcel
    key: Key | None = None
    fingerprint: bytes = b""
    answer: bytes = b""
    note: dict[str, str] = field(default_factory=dict)
    """Safe facts for the trace: who spoke, over what, with which verdict."""
    names: tuple[str, ...] = ()
    """Further names by which people outside will look for it, beside those of its description; never a person's."""


class Judgement(StrEnum):
    """What the kernel makes of an item."""

    NEW = "new"
    KNOWN = "known"
    CONFLICT = "conflict"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """The kernel's answer: for ``known`` the first parcel's id and first answer, for ``conflict`` neither is changed."""

    judgement: Judgement
    parcel_id: str
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Past:
    """What the ledger still knows of a parcel. ``description`` is None when retention has emptied it."""

    id: str
    sender: str
    integration: str
    accepted_at: Micros
    description: str | None
    largest: int
    """Octets of its largest payload."""
    has_subjects: bool
