"""A running node tells people of what ends: once a threshold, whichever node looks, and shows the days left."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from core.clock import DAY, FrozenClock
from core.config import Configuration
from core.ledger.alarms import clear, open_alarms
from core.node import Node
from core.radar import Watched
from core.trust import Identity
from tests.core.making import NOW
from tests.core.nodes import Paper, make_node, make_settings

KEY = Watched("own", "signing", "signing", "CN=Birkelund post", "ab" * 32, NOW - 700 * DAY, NOW + 61 * DAY)


class Dated(Paper):
    """Paper with a seal that wears out."""

    seen: ClassVar[list[tuple[int, Any]]] = []
    watched: ClassVar[list[Watched]] = [KEY]

    @classmethod
    def certificates(
        cls, configuration: Configuration, settings: BaseModel, identity: Callable[[str], Identity]
    ) -> Iterable[Watched]:
        """The seal."""
        cls.seen.append((configuration.number, settings.model_dump()))
        return cls.watched


def started(home: Path, clock: FrozenClock, node: str = "birkelund-a") -> Node:
    """A node that has its gateways and its configuration, and does no chores by itself."""
    made = make_node(make_settings(home, node=node), clock, {"paper": Dated})
    made._make_gateways()
    made._begin_configuration()
    return made


def metric(node: Node) -> list[str]:
    """What is shown of days left."""
    return [
        line for line in node._metrics().decode().splitlines() if line.startswith("stafet_certificate_expiry_days{")
    ]


async def test_people_are_told_once_a_threshold_and_after_a_restart_not_again(tmp_path: Path, clock: FrozenClock):
    """Sixty days before, not an hour later, not by the next start, not when it was cleared; then at the next threshold."""
    node = started(tmp_path, clock)
    try:
        await node._watch()
        assert node.runtime.read_now(open_alarms) == []
        assert metric(node) == ['stafet_certificate_expiry_days{name="signing",owner="own",use="signing"} 61.0']
        assert Dated.seen[-1] == (1, {"colour": "white"})
        clock.tick(DAY)
        for _ in range(3):
            await node._watch()
            clock.tick(DAY // 24)
        (alarm,) = node.runtime.read_now(open_alarms)
        assert (alarm.code, alarm.parcel_id) == ("expiry", "")
        assert alarm.text.startswith("signing of own (signing): CN=Birkelund post ends on 2026-")
        with node.runtime.engine.begin() as connection:
            clear(connection, [alarm.id], clock.now())
    finally:
        node.runtime.close()
    again = started(tmp_path, clock)
    try:
        await again._watch()
        assert again.runtime.read_now(open_alarms) == []
        for days in (30, 29, 0, -1, -400):
            clock.at = KEY.end - days * DAY
            await again._watch()
        found = again.runtime.read_now(open_alarms)
        assert len(found) == 3
        assert ["in 30 days" in found[2].text, "in 0 days" in found[1].text, "has ended" in found[0].text] == [True] * 3
    finally:
        again.runtime.close()


async def test_what_was_replaced_is_shown_no_more(tmp_path: Path, clock: FrozenClock, monkeypatch: Any):
    """The gauge has what is in use; nothing of it is a person's."""
    node = started(tmp_path, clock)
    try:
        await node._watch()
        new = replace(KEY, name="signing-2028", fingerprint="cd" * 32, end=NOW + 900 * DAY)
        monkeypatch.setattr(Dated, "watched", [new])
        await node._watch()
        assert metric(node) == ['stafet_certificate_expiry_days{name="signing-2028",owner="own",use="signing"} 900.0']
    finally:
        node.runtime.close()


async def test_a_key_file_that_is_gone_ends_no_node(tmp_path: Path, clock: FrozenClock, monkeypatch: Any):
    """What can be listed is; the chore goes on, and so does the node."""

    class Lost(Dated):
        """Its key was deleted under it."""

        name = "lost"

        @classmethod
        def certificates(cls, configuration: Configuration, settings: BaseModel, identity: Any) -> Iterable[Watched]:
            yield replace(KEY, name="other")
            identity("no-such-key")

    settings = make_settings(tmp_path, gateways={"lost": {}, "paper": {}})
    node = make_node(settings, clock, {"lost": Lost, "paper": Dated})
    try:
        node._make_gateways()
        await node._watch()
        assert metric(node) == ['stafet_certificate_expiry_days{name="signing",owner="own",use="signing"} 61.0']
    finally:
        node.runtime.close()


async def test_a_gateway_that_has_no_certificates_is_fine(tmp_path: Path, clock: FrozenClock):
    """It is among the chores of every node, and paper needs none."""
    node = make_node(make_settings(tmp_path), clock)
    try:
        node._make_gateways()
        await node._watch()
        assert metric(node) == []
        assert "radar" in [name for name, _, _ in node._chores()]
    finally:
        node.runtime.close()
