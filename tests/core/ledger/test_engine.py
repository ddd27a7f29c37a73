"""Opening the database: durable settings are set, checked, and anything else refuses the start."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

from core.errors import UnsafeDatabase
from core.ledger import engine as module
from core.ledger.engine import NodeLock, file_system, has_wal_race, open_engine, upgrade

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
tmpfs /srv tmpfs rw 0 0
files.birkelund.example:/data /srv/data nfs4 rw 0 0
/dev/sdb1 /srv/data/fast xfs rw 0 0
//files/share /srv/my\\040share cifs rw 0 0
/dev/sdc1 /srv/data/fast btrfs rw 0 0
short line
"""


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """A ledger of its own, because these tests break it."""
    opened = open_engine(database_url)
    upgrade(opened)
    yield opened
    opened.dispose()


# --- what durability rests on -----------------------------------------------------------------------------------------


def test_sqlite_is_opened_so_that_a_commit_is_durable(sqlite_engine: Engine, tmp_path: Path):
    """Every connection has WAL and full synchronisation, and the file is its owner's alone."""
    for _ in range(2):
        with sqlite_engine.connect() as connection:
            pragmas = {n: connection.exec_driver_sql(f"PRAGMA {n}").scalar() for n in ("journal_mode", "synchronous")}
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        sqlite_engine.dispose()
    assert (tmp_path / "ledger.db").stat().st_mode & 0o077 == 0


def test_a_sqlite_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A connection that does not take the setting stops the node, with the setting's name."""

    class Deaf(sqlite3.Connection):
        def cursor(self, factory: type[sqlite3.Cursor] = sqlite3.Cursor) -> sqlite3.Cursor:
            class Cursor(factory):  # type: ignore[valid-type, misc]
                def execute(self, statement: str, *arguments: object) -> sqlite3.Cursor:
                    return super().execute(statement.replace("synchronous=2", "synchronous=1"), *arguments)

            return super().cursor(Cursor)

    connect = sqlite3.dbapi2.connect
    monkeypatch.setattr(sqlite3.dbapi2, "connect", lambda *a, **k: connect(*a, **{**k, "factory": Deaf}))
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    with pytest.raises(UnsafeDatabase, match="synchronous=1, wanted 2"):
        engine.connect()


def test_a_memory_file_system_without_wal_would_be_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where SQLite cannot do WAL it says so, and the start is refused."""
    monkeypatch.setattr(module, "create_engine", lambda url, **k: create_engine("sqlite:///:memory:", **k))
    with pytest.raises(UnsafeDatabase, match="journal_mode=memory, wanted wal"):
        open_engine(f"sqlite:///{tmp_path / 'x.db'}").connect()


def test_postgresql_without_synchronous_commit_is_refused(postgresql_url: str):
    """A role or URL that turns it off is found at the start."""
    joiner = "&" if "?" in postgresql_url else "?"
    with pytest.raises(UnsafeDatabase, match="synchronous_commit=off"):
        open_engine(f"{postgresql_url}{joiner}options=-csynchronous_commit%3Doff")


@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_postgresql_without_durable_writes_is_refused(postgresql_url: str, name: str):
    """A server configured to forget at a power cut is refused with the setting's name."""
    admin = create_engine(postgresql_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"ALTER SYSTEM SET {name} = off"))
        connection.execute(text("SELECT pg_reload_conf()"))
        try:
            with pytest.raises(UnsafeDatabase, match=f"{name}=off"):
                for _ in range(200):
                    open_engine(postgresql_url).dispose()
        finally:
            connection.execute(text(f"ALTER SYSTEM RESET {name}"))
            connection.execute(text("SELECT pg_reload_conf()"))
    admin.dispose()


@pytest.mark.parametrize("url", ["mysql://x/y", "postgresql://x/y", "sqlite://", "ledger.db", ""])
def test_any_other_url_is_refused(url: str):
    """The message says what a URL begins with."""
    with pytest.raises(UnsafeDatabase, match="sqlite:///"):
        open_engine(url)


# --- where the file is ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/opt/x", "ext4"),
        ("/srv", "tmpfs"),
        ("/srv/other", "tmpfs"),
        ("/srv/data", "nfs4"),
        ("/srv/data/deep/er", "nfs4"),
        ("/srv/data/fast/x", "btrfs"),
        ("/srv/database", "tmpfs"),
        ("/srv/my share/x", "cifs"),
    ],
)
def test_the_nearest_mount_decides(path: str, kind: str):
    """Longest mount point wins, the last one of a point wins, a common beginning of a name is no mount."""
    assert file_system(Path(path), MOUNTS) == kind
    assert file_system(Path(path), "") == ""


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """SQLite's locks do not hold there; the message names the file system, also through a symbolic link."""
    (tmp_path / "remote").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "remote")
    asked: list[Path] = []

    def pretend(path: Path, mounts: str) -> str:
        asked.append(path)
        return "nfs4"

    monkeypatch.setattr(module, "file_system", pretend)
    with pytest.raises(UnsafeDatabase, match=r"network file system \(nfs4\)"):
        open_engine(f"sqlite:///{tmp_path / 'link' / 'ledger.db'}")
    assert asked == [(tmp_path / "remote").resolve()]
    assert not (tmp_path / "remote" / "ledger.db").exists()


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 50, 7), False),
        ((3, 50, 6), True),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
        ((4, 0, 0), False),
    ],
)
def test_which_sqlite_has_the_wal_race(version: tuple[int, int, int], has: bool):
    """The fix and its backports."""
    assert has_wal_race(version) is has


@pytest.mark.parametrize("race", [True, False])
def test_a_sqlite_with_the_race_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, race: bool):
    """It is harmless with one writing process, so it warns and goes on."""
    monkeypatch.setattr(module, "has_wal_race", lambda version: race)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_engine(f"sqlite:///{tmp_path / 'x.db'}").dispose()
    assert [w for w in caught if "WAL-reset race" in str(w.message)] != [] or not race


# --- reading and writing ----------------------------------------------------------------------------------------------


def test_a_read_only_engine_cannot_write(sqlite_url: str, sqlite_engine: Engine):
    """Commands that only look cannot change anything, and see what is committed."""
    reader = open_engine(sqlite_url, read_only=True)
    with sqlite_engine.begin() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
    with reader.connect() as connection:
        assert connection.execute(text("SELECT value FROM meta")).scalar() == "b"
    with pytest.raises(DBAPIError, match="readonly"), reader.begin() as connection:
        connection.execute(text("DELETE FROM meta"))


def test_a_read_only_engine_makes_no_file(tmp_path: Path):
    """Looking at a ledger that is not there fails and leaves nothing behind."""
    reader = open_engine(f"sqlite:///{tmp_path / 'none.db'}", read_only=True)
    with pytest.raises(DBAPIError, match="unable to open"):
        reader.connect()
    assert os.listdir(tmp_path) == []


def test_a_read_only_postgresql_is_checked_too(postgresql_url: str):
    """It opens like the other and answers."""
    reader = open_engine(postgresql_url, read_only=True)
    with reader.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    reader.dispose()


def test_an_error_of_the_database_does_not_repeat_values(engine: Engine):
    """Errors are logged: a statement that fails shows no parameter, which may be personal data or payload octets."""
    with pytest.raises(DBAPIError) as caught, engine.begin() as connection:
        connection.execute(
            text("INSERT INTO nowhere VALUES (:cpr, :octets)"), {"cpr": "6101012222", "octets": b"secret"}
        )
    assert "6101012222" not in str(caught.value)
    assert "secret" not in str(caught.value)


# --- one process a node -----------------------------------------------------------------------------------------------


def test_a_node_lock_is_held_once_and_can_be_had_again(tmp_path: Path):
    """A second holder is refused with what to do; after release it may be taken; only the owner may read it."""
    path = tmp_path / "data" / "node.lock"
    lock = NodeLock(path)
    with pytest.raises(UnsafeDatabase, match="another process is this node"):
        NodeLock(path)
    assert path.stat().st_mode & 0o077 == 0
    lock.release()
    NodeLock(path).release()


def test_a_killed_process_leaves_no_lock(tmp_path: Path):
    """The operating system lets go of it, even at SIGKILL."""
    path = tmp_path / "node.lock"
    ready, tell = os.pipe()
    child = os.fork()
    if child == 0:
        NodeLock(path)
        os.write(tell, b"1")
        threading.Event().wait()
    os.read(ready, 1)
    with pytest.raises(UnsafeDatabase):
        NodeLock(path)
    os.kill(child, 9)
    os.waitpid(child, 0)
    NodeLock(path).release()


# --- schema -----------------------------------------------------------------------------------------------------------


def test_upgrading_twice_changes_nothing(engine: Engine):
    """A start with a schema of this program leaves it alone."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO meta VALUES ('a', 'b')"))
    upgrade(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT value FROM meta")).scalar() == "b"


def test_a_newer_schema_refuses_the_start(engine: Engine):
    """A program that does not know the schema touches nothing and says which it found."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UnsafeDatabase, match=r"9999.*newer than this program"):
        upgrade(engine)


def test_an_upgrade_that_fails_leaves_nothing(database_url: str, monkeypatch: pytest.MonkeyPatch):
    """Tables and version are one transaction: a crash in between leaves an empty database, not half a schema."""
    engine = open_engine(database_url)
    monkeypatch.setattr(module.command, "upgrade", _half)
    with pytest.raises(OSError, match="cut"):
        upgrade(engine)
    assert inspect(engine).get_table_names() == []
    engine.dispose()


def _half(config: module.Config, revision: str) -> None:
    config.attributes["connection"].execute(text("CREATE TABLE half (a integer)"))
    raise OSError("cut")


def test_nodes_may_upgrade_at_once(postgresql_url: str):
    """Processes that start together on an empty PostgreSQL wait for each other instead of failing."""
    program = (
        "import sys; from core.ledger.engine import *; e = open_engine(sys.argv[1]); sys.stdin.read(1); upgrade(e)"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", program, postgresql_url], stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in started:
        assert process.stdin is not None
        process.stdin.write(b"x")
        process.stdin.flush()
    ended = [process.communicate(timeout=60) for process in started]
    assert [process.returncode for process in started] == [0, 0, 0], ended
    engine = create_engine(postgresql_url)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM alembic_version")).scalar() == 1
    engine.dispose()
