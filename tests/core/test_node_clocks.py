"""A node and the time: between nodes of one ledger the database's counts, and people are told when a machine's is off."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.clock import SECOND, AgreedClock, SystemClock
from core.errors import Fatal
from core.ledger.alarms import open_alarms
from core.runtime import ahead_of
from tests.core.nodes import Moving, make_node, make_settings, running
from tests.core.test_node import until


@pytest.mark.parametrize("seconds", [-3, 3, 29])
async def test_a_clock_that_is_off_is_an_alarm(tmp_path: Path, postgresql_url: str, seconds: int):
    """One, as long as it lasts; when it was right in between, it is news again."""
    clock = Moving(seconds * SECOND)
    async with running(make_node(make_settings(tmp_path / "home", postgresql_url), clock)) as node:
        await until(lambda: node.runtime.read_now(open_alarms))
        await node._be_seen()
        (alarm,) = node.runtime.read_now(open_alarms)
        assert alarm.code == "clock"
        assert abs(float(alarm.text.split()[4]) - abs(seconds)) < 1
        clock.by = 0
        await node._be_seen()
        clock.by = seconds * SECOND
        await node._be_seen()
        assert len(node.runtime.read_now(open_alarms)) == 2


@pytest.mark.parametrize("seconds", [-10, 10])
async def test_a_clock_that_is_off_is_put_right_by_the_database(tmp_path: Path, postgresql_url: str, seconds: int):
    """From the start, and again at every look: what a node says of time is what the others say."""
    off = Moving(seconds * SECOND)
    clock = AgreedClock(off)
    async with running(make_node(make_settings(tmp_path / "home", postgresql_url), clock)) as node:
        assert node.runtime.clock is clock
        assert abs(clock.now() - SystemClock().now()) < SECOND // 5
        assert abs(int(node.runtime.boot[:12], 16) * 1000 - SystemClock().now()) < 20 * SECOND
        await until(lambda: node.runtime.read_now(open_alarms))
        assert [alarm.code for alarm in node.runtime.read_now(open_alarms)] == ["clock"], "the machine's is still off"
        off.by = 0
        await node._be_seen()
        assert abs(clock.now() - SystemClock().now()) < SECOND // 5


async def test_an_answer_that_comes_too_late_says_nothing_of_the_time(tmp_path: Path, postgresql_url: str):
    """What was found before it still holds."""

    class Slow:
        asked = 0

        def now(self) -> int:
            self.asked += 1
            return SystemClock().now() + self.asked * SECOND

    async with running(make_node(make_settings(tmp_path / "home", postgresql_url))) as node:
        assert await node.runtime.read(ahead_of, Slow()) is None
        clock = node.runtime.clock
        assert isinstance(clock, AgreedClock)
        clock.own, found = Slow(), clock.offset
        await node._compare_clocks()
        assert clock.offset == found


@pytest.mark.parametrize("seconds", [-33, 33])
async def test_a_clock_that_is_far_off_stops_the_node(tmp_path: Path, postgresql_url: str, seconds: int):
    """Leases would lie: other nodes would take what this one holds."""
    node = make_node(make_settings(tmp_path / "home", postgresql_url), Moving(seconds * SECOND))
    with pytest.raises(Fatal, match=r"clock: 3[23] s off the database's; leases would lie"):
        async with running(node):
            await until(lambda: node.runtime.fatal)


async def test_a_clock_that_is_right_is_no_alarm(tmp_path: Path, postgresql_url: str):
    """A second more or less is nothing."""
    async with running(make_node(make_settings(tmp_path / "home", postgresql_url), Moving(SECOND))) as node:
        await node._be_seen()
        assert node.runtime.read_now(open_alarms) == []
