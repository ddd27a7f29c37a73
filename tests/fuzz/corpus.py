"""The kept corpus: what long runs have found worth keeping, so that a short run begins where they ended.

Rules:

1. A target's inputs lie in one archive, ``tests/fuzz/corpus/NAME.tar.xz``: the fewest, shortest inputs that together take every
   branch of the product that all of them take.
2. Nothing of the official samples goes in: an archive is made of a run where they were not at hand.
"""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.fuzz.world import ROOT

KEPT: Final = Path(__file__).parent / "corpus"
_PRODUCT: Final = tuple(str(ROOT / part) for part in ("accesspoint", "core", "gateways"))

Branch = tuple[str, int, int]
"""A file, a line, and the line after it."""


def kept(name: str, folder: Path = KEPT) -> Iterator[bytes]:
    """A target's kept inputs; none when it has no archive yet."""
    path = folder / f"{name}.tar.xz"
    if path.exists():
        with tarfile.open(path, "r:xz") as archive:
            for member in archive:
                file = archive.extractfile(member)
                if file is not None:
                    yield file.read()


def keep(name: str, inputs: Iterable[bytes], run: Callable[[bytes], None], folder: Path = KEPT) -> int:
    """Write a target's archive anew of the inputs that are worth it; gives how many."""
    chosen = distil(inputs, run)
    folder.mkdir(exist_ok=True)
    with tarfile.open(folder / f"{name}.tar.xz", "w:xz") as archive:
        for octets in chosen:
            entry = tarfile.TarInfo(hashlib.sha256(octets).hexdigest()[:16])
            entry.size = len(octets)
            archive.addfile(entry, io.BytesIO(octets))
    return len(chosen)


def distil(inputs: Iterable[bytes], run: Callable[[bytes], None]) -> list[bytes]:
    """Shortest first, each input that takes a branch which none before it has taken."""
    seen: set[Branch] = set()
    chosen = []
    for octets in sorted(set(inputs), key=lambda one: (len(one), one)):
        taken = branches(octets, run)
        if taken - seen:
            seen |= taken
            chosen.append(octets)
    return chosen


def branches(octets: bytes, run: Callable[[bytes], None]) -> set[Branch]:
    """The branches of the product that one input takes."""
    taken: set[Branch] = set()

    def called(frame: FrameType, _event: str, _argument: Any) -> Any:
        name, before = frame.f_code.co_filename, frame.f_lineno
        if not name.startswith(_PRODUCT):
            return None

        def line(frame: FrameType, _event: str, _argument: Any) -> Any:
            nonlocal before
            taken.add((name, before, frame.f_lineno))
            before = frame.f_lineno
            return line

        return line

    traced = sys.gettrace()
    sys.settrace(called)
    try:
        run(octets)
    finally:
        sys.settrace(traced)
    return taken
