"""Putting a handover together: what was promised is compared, and nothing stays of what is given up."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from core.errors import TooLarge
from gateways.rest.problems import ProblemError
from gateways.rest.staging import Putting, in_thread
from tests.core.nodes import Site, make_settings
from tests.gateways.as4.running import until

LARGE = b"0123456789" * 20_000


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """An open runtime."""
    made = Site(make_settings(tmp_path / "home"))
    yield made
    made.runtime.close()


async def coming(octets: bytes) -> AsyncIterator[bytes]:
    """In pieces."""
    for at in range(0, len(octets), 7_000):
        yield octets[at : at + 7_000]


async def test_payloads_come_from_outside_and_from_what_is_stored(site: Site):
    """Both are described alike, and a digest that was promised and is right changes nothing."""
    putting = Putting(site.kernel, 1_000_000)
    one = await putting.add(coming(LARGE), name="a", media_type="x/y", promised=hashlib.sha256(LARGE).digest())
    two = await putting.copy(iter([LARGE[:99], LARGE[99:]]), name="b", media_type="x/y")
    assert putting.payloads == [one, two]
    assert (one.sha256, one.size) == (two.sha256, two.size) == (hashlib.sha256(LARGE).digest(), len(LARGE))


async def test_what_is_given_up_leaves_nothing(site: Site):
    """Another digest, too much, or a source that breaks: what was finished before goes as well."""

    def breaking() -> Iterator[bytes]:
        yield LARGE
        raise ConnectionResetError

    putting = Putting(site.kernel, len(LARGE))
    await putting.add(coming(LARGE), name="a", media_type="x/y")
    with pytest.raises(ProblemError, match="invalid-request"):
        await putting.add(coming(LARGE), name="b", media_type="x/y", promised=bytes(32))
    with pytest.raises(TooLarge):
        await putting.add(coming(LARGE + b"x"), name="c", media_type="x/y")
    with pytest.raises(ConnectionResetError):
        await putting.copy(breaking(), name="d", media_type="x/y")
    await putting.abort()
    await until(lambda: site.objects() == [] and site.incoming() == [], "nothing is left")


async def test_who_is_cancelled_waits_for_the_thread():
    """Nobody closes a file that is written to."""
    begun, end, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        end.wait(10)
        ended.set()

    task = asyncio.create_task(in_thread(work))
    await until(begun.is_set, "it works")
    task.cancel()
    await asyncio.sleep(0.05)
    assert not task.done()
    end.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
    assert await in_thread(len, b"abc") == 3
