"""Random octets in pieces."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

from accesspoint.entropy import entropy


def test_as_many_as_asked_and_never_the_same():
    """Small, large and none; a thousand draws differ."""
    assert [len(entropy(n)) for n in (0, 1, 16, 5000)] == [0, 1, 16, 5000]
    assert len({entropy(16) for _ in range(1000)}) == 1000


def test_threads_never_share_a_piece():
    """Drawn from several threads at once, nothing comes twice."""
    with ThreadPoolExecutor(4) as pool:
        drawn = list(pool.map(lambda _: entropy(12), range(4000)))
    assert len(set(drawn)) == 4000


def test_a_forked_process_throws_its_copy_away():
    """Parent and child never give the same octets."""
    entropy(16)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, entropy(16))
        os._exit(0)
    mine = entropy(16)
    theirs = os.read(reading, 16)
    os.waitpid(child, 0)
    os.close(reading)
    os.close(writing)
    assert mine != theirs
