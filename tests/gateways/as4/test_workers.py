"""Where blocking work runs."""

from __future__ import annotations

import asyncio
import threading

import pytest

from gateways.as4.workers import TURN, Workers


@pytest.fixture(params=[True, False], ids=["in threads", "in place"])
def workers(request: pytest.FixtureRequest):
    """Both ways to do small work."""
    made = Workers(beside=request.param)
    yield made
    made.close()


async def test_results_and_errors_come_back(workers: Workers):
    """A function's result or its error is the caller's, small or large."""
    for run in (workers.small, workers.large):
        assert await run(lambda a, b: a + b, 1, 2) == 3
        with pytest.raises(ZeroDivisionError):
            await run(lambda: 1 // 0)


async def test_many_at_once_all_end(workers: Workers):
    """In place, a few pieces of work a turn; nobody is forgotten."""
    assert await asyncio.gather(*(workers.small(lambda n=n: n * n) for n in range(100))) == [n * n for n in range(100)]


async def test_between_two_pieces_of_work_the_loop_turns():
    """What is ready to leave leaves: a callback set by the first piece runs before the last of many pieces."""
    workers, seen = Workers(beside=False), []
    loop = asyncio.get_running_loop()

    def work(n: int) -> None:
        seen.append(n)
        loop.call_soon(seen.append, f"turn {n}")

    await asyncio.gather(*(workers.small(work, n) for n in range(TURN + 1)))
    assert seen.index("turn 0") < seen.index(TURN)
    workers.close()


async def test_short_pieces_of_work_share_a_turn():
    """What follows from them, a commit above all, is then shared as well."""
    workers, seen = Workers(beside=False), []
    loop = asyncio.get_running_loop()

    def work(n: int) -> None:
        seen.append(n)
        loop.call_soon(seen.append, "turn")

    await asyncio.gather(*(workers.small(work, n) for n in range(TURN)))
    assert seen[:TURN] == list(range(TURN))
    workers.close()


async def test_cancelled_work_is_not_begun():
    """A caller that went away before its turn costs nothing."""
    workers, seen = Workers(beside=False), []
    task = asyncio.create_task(workers.small(seen.append, 1))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await workers.small(lambda: "next") == "next"
    assert seen == []
    workers.close()


async def test_large_work_never_blocks_the_loop():
    """It is in another thread, whatever the number of cores."""
    workers = Workers(beside=False)
    assert await workers.large(threading.get_ident) != threading.get_ident()
    assert await workers.small(threading.get_ident) == threading.get_ident()
    workers.close()
