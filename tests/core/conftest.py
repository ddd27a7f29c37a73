"""Parts of a node on either kind of database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from core.clock import FrozenClock
from tests.core.nodes import Site, make_settings


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    """An empty ledger's URL, "" for SQLite in the data directory: the test runs once for each kind."""
    if request.param == "sqlite":
        return ""
    url: str = request.getfixturevalue("emptied_postgresql")()
    return url


@pytest.fixture
async def site(tmp_path: Path, ledger_url: str, clock: FrozenClock) -> AsyncIterator[Site]:
    """An open runtime with kernel and gateway, whose clock stands still."""
    made = Site(make_settings(tmp_path / "home", ledger_url), clock)
    yield made
    made.runtime.close()


@pytest.fixture
async def live(tmp_path: Path, ledger_url: str) -> AsyncIterator[Site]:
    """The same with the machine's clock."""
    made = Site(make_settings(tmp_path / "home", ledger_url))
    yield made
    made.runtime.close()
