"""What a node remembers of value lists, and how it learns that they have moved."""

from __future__ import annotations

import asyncio
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core import commands, limits
from core.commands import Call
from core.errors import ConfigError, Overloaded
from core.ledger import lists as ledger
from core.lists import KEY, check_value, digests
from core.membership import FILE, Membership
from tests.core.nodes import Site


async def write(site: Site, *values: str, key: bytes | None = None, gone: tuple[str, ...] = ()) -> None:
    """Change the list ``affected`` in the ledger, as another node would."""
    key = key or site.runtime.membership.key()
    added, removed = (sorted(digests(key, "affected", some)) for some in (values, gone))
    call = Call(ledger.change, ("affected", check_value(key), added, removed, True))
    assert await site.runtime.do(commands.CALL, call) is not None


def fresh(site: Site) -> Membership:
    """A memory of its own, as of a node that has just started."""
    runtime = site.runtime
    return Membership(runtime.settings.keys_path, runtime.read_now, runtime.clock, runtime.reading)


async def soon(question: Callable[[], bool]) -> None:
    """Wait until a question is answered with yes."""
    end = time.monotonic() + 10
    while not question():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_a_list_is_loaded_when_it_is_first_asked_for(site: Site):
    """And remembered; who asks of nobody asks nothing."""
    await write(site, "subject-1", "subject-2")
    held = fresh(site)
    assert not held.remembers("affected")
    assert not held.any_of("affected", [])
    assert not held.remembers("affected")
    assert held.any_of("affected", ["subject-9", "subject-2"])
    assert not held.any_of("affected", ["subject-9"])
    assert held.remembers("affected")


async def test_an_empty_list_needs_no_key(site: Site):
    """Asking makes none: the node that fills the first list does."""
    assert not site.runtime.membership.any_of("affected", ["subject-1"])
    assert not (site.runtime.settings.keys_path / FILE).exists()


async def test_what_moves_is_seen_within_the_interval(live: Site):
    """By whoever asks, from a thread; until then the answer is what is remembered."""
    held = fresh(live)
    assert not held.any_of("affected", ["subject-1"])
    await write(live, "subject-1")
    await soon(lambda: held.any_of("affected", ["subject-1"]))
    await write(live, gone=("subject-1",))
    await soon(lambda: not held.any_of("affected", ["subject-1"]))


async def test_versions_are_asked_for_once_an_interval(site: Site, monkeypatch: pytest.MonkeyPatch):
    """However many ask."""
    asked = []
    held = Membership(site.runtime.settings.keys_path, lambda *a: (0, frozenset()), site.clock, site.runtime.reading)
    monkeypatch.setattr(held, "_catch_up", lambda: asked.append(1))
    for _ in range(5):
        held.any_of("affected", ["subject-1"])
    await asyncio.sleep(0.05)
    assert len(asked) == 1


async def test_a_ledger_that_cannot_be_read_is_no_answer(site: Site):
    """First there is none; later what is remembered stays."""
    working = True

    def read(function: object, *arguments: object) -> object:
        if not working:
            raise Overloaded("the ledger cannot be read now")
        return site.runtime.read_now(function, *arguments)  # type: ignore[arg-type]

    await write(site, "subject-1")
    held = Membership(site.runtime.settings.keys_path, read, site.clock, site.runtime.reading)
    working = False
    with pytest.raises(Overloaded, match="cannot be read now"):
        held.any_of("affected", ["subject-1"])
    working = True
    assert held.any_of("affected", ["subject-1"])
    working = False
    held._catch_up()
    assert held.any_of("affected", ["subject-1"])


async def test_a_change_of_this_node_is_remembered_at_once(site: Site, monkeypatch: pytest.MonkeyPatch):
    """Unless another node's change was between: then the list is loaded again when it is next looked at."""
    held = fresh(site)
    monkeypatch.setattr(held, "_catch_up", lambda: None)
    held.changed("affected", ledger.Changed(1, 0, 0, 1), frozenset([b"x"]), frozenset())
    assert not held.remembers("affected")
    await write(site, "subject-1")
    held.load("affected")
    new = digests(held.key(), "affected", ["subject-2"])
    old = digests(held.key(), "affected", ["subject-1"])
    held.changed("affected", ledger.Changed(1, 1, 1, 2), new, old)
    assert held.any_of("affected", ["subject-2"])
    assert not held.any_of("affected", ["subject-1"])
    held.changed("affected", ledger.Changed(1, 0, 3, 4), old, frozenset())
    assert not held.any_of("affected", ["subject-1"])


# --- the key ----------------------------------------------------------------------------------------------------------


def path(site: Site) -> Path:
    """The key file."""
    return site.runtime.settings.keys_path / FILE


async def test_the_key_is_made_at_first_use_and_its_owner_s_alone(site: Site):
    """It is not in the data, and it is the same the next time."""
    made = fresh(site).key()
    assert len(made) == KEY
    assert stat.S_IMODE(path(site).stat().st_mode) == 0o600
    assert fresh(site).key() == made
    assert not path(site).is_relative_to(site.runtime.settings.data_path)


async def test_a_node_with_another_key_is_refused(site: Site):
    """It would find nobody on any list; what is asked of it is refused for now, and not answered with no."""
    await write(site, "subject-1")
    path(site).write_bytes(b"o" * KEY)
    held = fresh(site)
    with pytest.raises(
        ConfigError, match=r"is another key than the values of this ledger are kept under \(copy the file"
    ):
        held.key()
    with pytest.raises(Overloaded, match="value lists cannot be read by this node") as caught:
        held.any_of("affected", ["subject-1"])
    assert caught.value.retry_after == limits.COME_BACK


async def test_a_node_without_the_key_is_refused_and_makes_none(site: Site):
    """Where values are kept under a key already, it has to be copied."""
    await write(site, "subject-1")
    path(site).unlink()
    with pytest.raises(ConfigError, match=r"values\.key: is missing \(copy it from another node of this ledger\)"):
        fresh(site).key()
    assert not path(site).exists()


async def test_a_file_that_is_no_key_is_refused(site: Site):
    """By its length."""
    path(site).write_bytes(b"short")
    with pytest.raises(ConfigError, match=r"values\.key: is no key of 32 octets"):
        fresh(site).key()


async def test_a_key_that_lost_against_another_node_s_is_read_again(site: Site):
    """Two nodes may fill their first list at once; the second is told, and the next time it looks at the file."""
    held = fresh(site)
    held.key()
    assert "is another key" in str(held.forget_key())
    path(site).write_bytes(b"o" * KEY)
    assert held.key() == b"o" * KEY
