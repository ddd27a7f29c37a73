"""Parts of a node on either kind of database; two authorities of one name, one below, and a partner under each."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from conformance.pki import Authority, Identity
from core.clock import FrozenClock
from tests.core.certificates import AT, under
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


@pytest.fixture
async def neighbour(tmp_path: Path, live: Site) -> AsyncIterator[Site]:
    """Another node on the same PostgreSQL and store."""
    url = live.runtime.settings.database
    if not url:
        pytest.skip("one process alone writes a SQLite ledger")
    settings = make_settings(tmp_path / "home", url, node="birkelund-b", data=Path("data-b"), store=Path("data/store"))
    made = Site(settings)
    yield made
    made.runtime.close()


@pytest.fixture(scope="session")
def ca() -> Authority:
    """An authority that a partner is known by."""
    return Authority("Birkelund demonstration CA", AT)


@pytest.fixture(scope="session")
def issuing_ca(ca: Authority) -> Authority:
    """An authority below it that issues."""
    return under(ca, Authority("Birkelund issuing demonstration CA", AT))


@pytest.fixture(scope="session")
def other_ca() -> Authority:
    """Another authority that calls itself by the same name."""
    return Authority("Birkelund demonstration CA", AT)


@pytest.fixture(scope="session")
def leaf(ca: Authority) -> Identity:
    """A signing certificate of a partner, directly under the ca."""
    return ca.issue("Egedal demonstration", "signing")


@pytest.fixture(scope="session")
def below(issuing_ca: Authority, leaf: Identity) -> Identity:
    """The same key, certified by the issuing authority."""
    return issuing_ca.issue("Egedal demonstration", "signing", key=leaf.key)
