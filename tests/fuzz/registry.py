"""What a target is, and the list of them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final


class Broken(AssertionError):
    """A rule does not hold: the message says which."""


@dataclass(frozen=True)
class Target:
    """``run`` takes one input and raises when the rule is broken. ``hidden`` ones run only when named."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterable[bytes]]
    max_len: int = 16_384
    hidden: bool = False


TARGETS: Final[dict[str, Target]] = {}
"""All targets by name."""


def target(
    seeds: Callable[[], Iterable[bytes]], *, max_len: int = 16_384, hidden: bool = False
) -> Callable[[Callable[[bytes], None]], Callable[[bytes], None]]:
    """Register a function as the target of its own name."""

    def register(run: Callable[[bytes], None]) -> Callable[[bytes], None]:
        TARGETS[run.__name__] = Target(run.__name__, run, seeds, max_len, hidden)
        return run

    return register


def check(holds: object, rule: str) -> None:
    """Raise `Broken` unless ``holds``."""
    if not holds:
        raise Broken(rule)


@contextmanager
def refusing(*documented: type[Exception]) -> Iterator[None]:
    """The block may end in one of the ``documented`` refusals; everything else comes out."""
    try:
        yield
    except documented:
        return


def pieces_of(data: bytes, seed: int) -> list[bytes]:
    """``data`` cut into pieces: one octet each for small inputs and even seeds, else sizes drawn from ``seed``."""
    if seed % 2 == 0 and len(data) <= 2048:
        return [data[i : i + 1] for i in range(len(data))]
    found, at, state = [], 0, seed or 1
    while at < len(data):
        state = (state * 1_103_515_245 + 12_345) & 0x7FFFFFFF
        size = (1, 3, 17, 70, 1000, 9000)[state >> 16 & 0xFFFF and (state >> 16) % 6]
        found.append(data[at : at + size])
        at += size
    return found


@target(lambda: [b"quiet", b"loud"], hidden=True)
def broken(data: bytes) -> None:
    """Raises what nobody documents: shows that the fuzzer can fail."""
    if len(data) > 2:
        raise KeyError(data[:1])


@target(lambda: [b"a"], hidden=True)
def dying(data: bytes) -> None:
    """Takes its process with it, as a fault in a native library would."""
    if len(data) > 2:
        os.abort()
