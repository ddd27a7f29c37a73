"""The desk for value lists: adding, removing, replacing, asking."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import select

from core import limits
from core.desk.values import Done, Values
from core.errors import ConfigError, NotFound, TooLarge, UsageError
from core.ledger.tables import list_value, metadata
from core.lists import KEY, ValueList
from core.membership import FILE
from tests.core.nodes import SENDER, Site


@pytest.fixture
def values(site: Site) -> Values:
    """A desk of a node that knows one list."""
    know(site)
    return Values(site.runtime)


def know(site: Site) -> None:
    """Add a list to the configuration in force."""
    documents = {
        **site.runtime.configuration.documents,
        "value-list": {"affected": ValueList(id="affected", owner=SENDER)},
    }
    site.runtime.configuration = replace(site.runtime.configuration, documents=documents)


async def test_values_come_and_go(site: Site, values: Values):
    """What changes is counted; what is there already, or is not there, changes nothing."""
    assert await values.add("affected", ["subject-1", "subject-2"]) == Done(2, 0, 2)
    assert await values.add("affected", [" subject-2", "subject-3"]) == Done(1, 0, 3)
    assert await values.remove("affected", ["subject-1", "subject-9"]) == Done(0, 1, 2)
    assert await values.add("affected", ["subject-2"]) == Done(0, 0, 2)
    assert await values.contains("affected", "subject-3")
    assert not await values.contains("affected", "subject-1")
    assert await values.count("affected") == 2


async def test_a_replacement_is_all_there_is(values: Values):
    """The rest goes, and what stays is not written again."""
    await values.add("affected", ["subject-1", "subject-2"])
    assert await values.replace("affected", ["subject-2", "subject-3"]) == Done(1, 1, 2)
    assert not await values.contains("affected", "subject-1")
    assert await values.replace("affected", []) == Done(0, 2, 0)


async def test_a_change_is_remembered_at_once_on_this_node(site: Site, values: Values):
    """What a subscription asks is answered from memory."""
    assert not values.any_of("affected", ["subject-1"])
    await values.add("affected", ["subject-1"])
    assert values.any_of("affected", ["subject-9", "subject-1"])
    assert site.runtime.on_list("affected", ("subject-1",))
    await values.remove("affected", ["subject-1"])
    assert not values.any_of("affected", ["subject-1"])


@pytest.mark.requirement("R106")
async def test_no_value_is_stored(site: Site, values: Values):
    """Nothing in the whole ledger says who is on a list."""
    await values.add("affected", ["Canary-7"])
    for table in metadata.sorted_tables:
        rows = site.runtime.read_now(lambda connection, t=table: connection.execute(select(t)).all())
        assert "Canary-7" not in str(rows)


async def test_many_are_written_in_pieces(site: Site, values: Values, monkeypatch: pytest.MonkeyPatch):
    """Accepting goes on between them, and the list is whole in the end."""
    monkeypatch.setattr(limits, "LIST_BATCH", 10)
    commits = site.runtime.writer.statistics.commands
    many = [f"subject-{n}" for n in range(35)]
    assert await values.add("affected", many) == Done(35, 0, 35)
    assert site.runtime.writer.statistics.commands - commits == 4
    assert await values.replace("affected", [f"subject-{n}" for n in range(20, 60)]) == Done(25, 20, 40)
    assert values.any_of("affected", ["subject-59"])
    assert not values.any_of("affected", ["subject-0"])


async def test_a_list_has_no_more_values_than_it_may(values: Values, monkeypatch: pytest.MonkeyPatch):
    """Nothing of what is too much is written."""
    monkeypatch.setattr(limits, "LIST_VALUES", 3)
    await values.add("affected", ["a", "b"])
    with pytest.raises(TooLarge, match="affected would have 4; at most 3"):
        await values.add("affected", ["c", "d"])
    assert await values.count("affected") == 2
    assert await values.replace("affected", ["c", "d", "e"]) == Done(3, 2, 3)


async def test_changes_of_one_list_wait_for_each_other(values: Values):
    """Two at once are as good as one after the other."""
    await asyncio.gather(
        values.replace("affected", ["a", "b"]), values.add("affected", ["c"]), values.remove("affected", ["a"])
    )
    assert await values.count("affected") in (2, 1)
    assert await values.contains("affected", "b")


@pytest.mark.parametrize("ask", ["add", "remove", "replace"])
async def test_what_is_no_value_is_refused_whole(values: Values, ask: str):
    """With its position, never the value."""
    with pytest.raises(UsageError, match=r"^value 2: must be one line of 1 to 255 printable characters$"):
        await getattr(values, ask)("affected", ["a", "Canary-7\nb"])
    assert await values.count("affected") == 0


async def test_an_unknown_list_is_named_with_those_that_are_known(values: Values):
    """Whatever is asked."""
    for question in (values.add("x", ["a"]), values.count("x"), values.contains("x", "a"), values.replace("x", [])):
        with pytest.raises(NotFound, match=r"^value list: nothing is called 'x'; known: affected$"):
            await question


async def test_a_node_that_lost_against_another_s_key_is_told(site: Site, values: Values):
    """Its own key was made at the same time; nothing it wrote counts."""
    path = site.runtime.settings.keys_path / FILE
    mine = site.runtime.membership.key()
    path.write_bytes(b"o" * KEY)
    other = Values(site.runtime)
    site.runtime.membership._key = None
    await other.add("affected", ["a"])
    site.runtime.membership._key = mine
    with pytest.raises(ConfigError, match="is another key"):
        await values.add("affected", ["b"])
    assert await values.count("affected") == 1


async def test_emptying_helps_when_the_key_is_lost(site: Site, values: Values):
    """It needs no key; then a new one is made."""
    await values.add("affected", ["a"])
    (site.runtime.settings.keys_path / FILE).unlink()
    site.runtime.membership._key = None
    with pytest.raises(ConfigError, match="is missing"):
        await values.add("affected", ["b"])
    assert await values.replace("affected", []) == Done(0, 1, 0)
    assert await values.add("affected", ["b"]) == Done(1, 0, 1)


async def test_another_node_sees_what_this_one_writes(live: Site, neighbour: Site):
    """With the same key file, within the interval."""
    for one in (live, neighbour):
        know(one)
    await Values(live.runtime).add("affected", ["a"])
    there = Values(neighbour.runtime)
    assert there.any_of("affected", ["a"])
    await Values(live.runtime).replace("affected", ["b"])
    async with asyncio.timeout(10):
        while not there.any_of("affected", ["b"]):
            await asyncio.sleep(0.05)
    assert not there.any_of("affected", ["a"])
    assert len(live.runtime.read_now(lambda connection: connection.execute(select(list_value)).all())) == 1
