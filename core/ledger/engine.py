"""Opening the database so that a commit is durable, and refusing to when it would not be.

Rules:

1. What durability rests on is set, then asked for; a database that answers otherwise stops the node.
2. One process alone writes a SQLite ledger: it holds a lock file for its lifetime.
3. A schema newer than this program refuses the start; an older one is migrated.
4. An error of the database never repeats the values of its statement: it may be logged.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import warnings
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.pool import NullPool

from core import limits
from core.errors import UnsafeDatabase

_NETWORK: Final = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "lustre", "afs"}
_WAL_FIXED: Final = ((3, 51, 3), (3, 50, 7), (3, 44, 6))


def has_wal_race(version: tuple[int, int, int]) -> bool:
    """Whether this SQLite has the known WAL-reset race between writers and checkpointers of several processes."""
    newest, *backports = _WAL_FIXED
    return version < newest and not any(version[:2] == fix[:2] and version >= fix for fix in backports)


def file_system(path: Path, mounts: str) -> str:
    """The type of the file system ``path`` is on, by the text of ``/proc/mounts``."""
    best, kind = "", ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) >= 3:
            point = fields[1].replace("\\040", " ")
            if (str(path) == point or str(path).startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
                best, kind = point, fields[2]
    return kind


def open_engine(url: str, *, read_only: bool = False) -> Engine:
    """An engine with durable settings, checked. Raises `UnsafeDatabase`."""
    if url.startswith("sqlite:///"):
        return _open_sqlite(Path(url.removeprefix("sqlite:///")), read_only=read_only)
    if url.startswith("postgresql+psycopg://"):
        return _open_postgresql(url, read_only=read_only)
    raise UnsafeDatabase("database: the URL must begin with sqlite:/// or postgresql+psycopg://")


class _Compiler(SQLiteCompiler):
    """Passes on which index a statement names: SQLite keeps no numbers to choose by."""

    def get_from_hint_text(self, table: Any, text: str | None) -> str | None:
        return text


def _open_sqlite(path: Path, *, read_only: bool) -> Engine:
    mounts = Path("/proc/mounts")
    kind = file_system(path.resolve().parent, mounts.read_text() if mounts.exists() else "")
    if kind in _NETWORK:
        raise UnsafeDatabase(f"database: {path} is on a network file system ({kind}); SQLite locks do not hold there")
    if has_wal_race(sqlite3.sqlite_version_info[:3]):
        warnings.warn(
            f"SQLite {sqlite3.sqlite_version} has the WAL-reset race; harmless while one process alone writes",
            stacklevel=2,
        )
    if not read_only:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
    mode = "?mode=ro&uri=true" if read_only else ""
    name = f"file:{path}{mode}" if read_only else str(path)
    engine = create_engine(
        f"sqlite:///{name}",
        connect_args={"timeout": 30, "check_same_thread": False, "isolation_level": None},
        poolclass=NullPool if read_only else None,
        hide_parameters=True,
    )

    engine.dialect.statement_compiler = _Compiler

    @event.listens_for(engine, "connect")
    def _settings(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(
            f"PRAGMA page_size={limits.SQLITE_PAGE}"
        )  # heard by a file that has no page yet, and by no other
        wanted = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "trusted_schema": 0}
        if read_only:
            wanted = {"query_only": 1}
        for name, value in wanted.items():
            cursor.execute(f"PRAGMA {name}={value}")
            found = cursor.execute(f"PRAGMA {name}").fetchone()[0]
            if found != value:
                raise UnsafeDatabase(f"database: SQLite answers {name}={found}, wanted {value}")
        cursor.execute("PRAGMA cache_size=-65536")
        cursor.execute(f"PRAGMA wal_autocheckpoint={limits.SQLITE_CHECKPOINT}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


def _open_postgresql(url: str, *, read_only: bool) -> Engine:
    engine = create_engine(
        url, pool_size=limits.CONNECTIONS - 2, max_overflow=1, pool_pre_ping=read_only, hide_parameters=True
    )
    # A plan is kept as it was first made, and an empty table is best read whole: what the writer does goes by an index always,
    # and what is only read is planned for the tables as they are.
    planning = "plan_cache_mode = force_custom_plan" if read_only else "enable_seqscan = off"

    @event.listens_for(engine, "connect")
    def _planning(connection: Any, _record: Any) -> None:
        connection.execute(f"SET {planning}")
        connection.commit()

    with engine.connect() as connection:
        for name, wanted in (("fsync", {"on"}), ("full_page_writes", {"on"}), ("synchronous_commit", _SYNCHRONOUS)):
            found = connection.execute(text(f"SHOW {name}")).scalar_one()
            if found not in wanted:
                raise UnsafeDatabase(f"database: PostgreSQL answers {name}={found}; a commit would not be durable")
    return engine


_SYNCHRONOUS: Final = {"on", "local", "remote_write", "remote_apply"}


class NodeLock:
    """The lock of one node's data directory, held for the life of the process (the kernel lets go of it at SIGKILL)."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._descriptor)
            raise UnsafeDatabase(
                f"{path}: another process is this node; ask it through the command line, or stop it"
            ) from None

    def release(self) -> None:
        """Let go."""
        os.close(self._descriptor)


# --- schema -----------------------------------------------------------------------------------------------------------

_UPGRADE_LOCK: Final = 0x57AFE7


def _alembic() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def upgrade(engine: Engine) -> None:
    """Bring the schema to this program's. Raises `UnsafeDatabase` when it is newer than the program."""
    config = _alembic()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # nodes that start together wait for each other
            connection.execute(text(f"SELECT pg_advisory_xact_lock({_UPGRADE_LOCK})"))
        found = MigrationContext.configure(connection).get_current_revision()
        if found is not None and found not in known:
            raise UnsafeDatabase(f"database: its schema ({found}) is newer than this program; run the newer version")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
