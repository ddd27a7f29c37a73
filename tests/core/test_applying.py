"""Applying, rolling back, proposing and approving: how a configuration comes into force on a node."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from sqlalchemy import text

from core import commands
from core.applying import Applying
from core.config import Configuration
from core.errors import ConfigError, NotFound, UsageError
from core.ledger.versions import Version
from tests.core.nodes import DOCUMENTS, Site


class Asked:
    """The operations of a site about its configuration; remembers which one was stored."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.changed: list[Configuration] = []
        self.table = Applying(site.runtime, self._follow).table()

    def _follow(self, configuration: Configuration) -> None:
        self.changed.append(configuration)
        self.site.runtime.configuration = configuration

    async def __call__(self, op: str, **args: Any) -> Any:
        """Ask; what comes back must fit through the local socket."""
        answer = await self.table[op]({"who": "clerk", "why": "", **args}, lambda facts: None)
        return json.loads(json.dumps(answer))


@pytest.fixture
async def ask(site: Site) -> AsyncIterator[Asked]:
    """Operations on either database."""
    yield Asked(site)


def documents(folder: Path, wanted: list[dict[str, Any]]) -> Path:
    """A configuration directory."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "all.yaml").write_text(yaml.safe_dump_all(wanted))
    return folder


async def test_applying_stores_a_version_and_follows_it(ask: Asked, site: Site, tmp_path: Path):
    """With who and why; the same again changes nothing; an old one comes back as a new number."""
    more = {"kind": "system", "id": "herlev-school", "authority": "herlev"}
    folder = documents(tmp_path / "new", [*DOCUMENTS, more])
    applied = await ask("apply", directory=str(folder), who="clerk", why="a school")
    assert applied == {"version": 1, "changes": [["added", "system", "herlev-school"]]}
    assert await ask("apply", directory=str(folder), who="clerk", why="again") == {"version": 1, "changes": []}
    assert (await ask("apply", directory=str(documents(folder, DOCUMENTS)), who="x" * 300, why="y" * 2000))[
        "version"
    ] == 2
    back = await ask("rollback", number=1, who="clerk", why="")
    assert back == {"version": 3, "as": 1}
    assert [c.number for c in ask.changed] == [1, 2, 3]
    assert ask.changed[2].documents == ask.changed[0].documents
    rows = site.runtime.read_now(lambda c: c.execute(text("SELECT who, why FROM config_version ORDER BY number")).all())
    assert [tuple(row) for row in rows] == [
        ("clerk", "a school"),
        ("x" * 255, "y" * 1024),
        ("clerk", "back to version 1"),
    ]


async def test_a_directory_with_a_mistake_is_not_applied(ask: Asked, tmp_path: Path):
    """All that is wrong is said, and no version is stored."""
    wrong = documents(tmp_path / "new", [{"kind": "system", "id": "A"}, {"kind": "route", "id": "r", "to": []}])
    with pytest.raises(UsageError) as caught:
        await ask("apply", directory=str(wrong), who="clerk", why="")
    assert len(str(caught.value).splitlines()) >= 3
    assert ask.changed == []
    with pytest.raises(NotFound, match="there is no configuration version 4"):
        await ask("rollback", number=4, who="clerk", why="")


async def test_a_version_this_program_cannot_read_does_not_come_back(ask: Asked, site: Site):
    """The newest stays the newest."""
    content = '{"documents":[{"kind":"pigeon.loft","id":"north"}],"files":{}}'
    await site.runtime.do(commands.VERSION, Version(0, 1, "clerk", "", content))
    with pytest.raises(ConfigError, match=r"pigeon\.loft"):
        await ask("rollback", number=1, who="clerk", why="")
    assert ask.changed == []


# --- a second person --------------------------------------------------------------------------------------------------


def shorter(days: int) -> list[dict[str, Any]]:
    """The documents with another retention of everything."""
    return [one | {"retention_days": days} if one["kind"] == "integration" else one for one in DOCUMENTS]


@pytest.fixture
def careful(ask: Asked) -> Asked:
    """The same where node.yaml wants a second person."""
    runtime = ask.site.runtime
    runtime.settings = runtime.settings.model_copy(update={"second_person": True})
    return ask


async def test_a_change_of_high_risk_becomes_a_proposal(careful: Asked, tmp_path: Path):
    """What is in force stays until somebody else approves; then it is the proposal, and the node follows it."""
    assert (await careful("apply", directory=str(documents(tmp_path / "a", shorter(100)))))["version"] == 1
    said = await careful("apply", directory=str(documents(tmp_path / "b", shorter(3))))
    assert (said["version"], len(careful.changed)) == (1, 1)
    with pytest.raises(UsageError, match="somebody else"):
        await careful("approve", proposal=said["proposal"])
    assert await careful("approve", proposal=said["proposal"], who="other") == {
        "version": 2,
        "proposal": said["proposal"],
    }
    assert {one.retention_days for one in careful.changed[-1].all("integration").values()} == {3}
    assert careful.changed[-1].number == 2


async def test_going_back_at_high_risk_is_proposed_as_well(careful: Asked, tmp_path: Path):
    """And a rejected proposal changes nothing."""
    await careful("apply", directory=str(documents(tmp_path / "a", shorter(100))))
    await careful("apply", directory=str(documents(tmp_path / "b", shorter(200))))
    back = await careful("rollback", number=1)
    assert (back["version"], back["as"]) == (2, 1)
    assert await careful("reject", proposal=back["proposal"], who="other") == {"proposal": back["proposal"]}
    with pytest.raises(UsageError, match="rejected by other already"):
        await careful("approve", proposal=back["proposal"], who="third")
    assert [one.number for one in careful.changed] == [1, 2]


async def test_going_back_to_what_is_in_force_is_no_change(careful: Asked, tmp_path: Path):
    """Nobody is asked for it."""
    await careful("apply", directory=str(documents(tmp_path / "a", shorter(100))))
    assert (await careful("rollback", number=1))["version"] == 2
