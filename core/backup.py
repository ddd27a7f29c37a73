"""Backup and restore: the ledger first, then the objects it speaks of, with a manifest that proves both.

Rules:

1. Database first: every object that a committed row names was durable before its commit, so copying objects afterwards finds
   all of them. Deletion is paused meanwhile, on every node of the ledger (`core.ledger.pauses`).
2. A backup is one folder: ``ledger.db`` (SQLite whatever the node's database is), ``objects/``, and ``manifest.json`` with the
   SHA-256 of each file. It holds no key-encryption key: without the node's key folder it cannot be read.
3. Restoring goes into an empty place, checks every digest first, and starts with all open deliveries *held*: what happened
   after the backup is unknown, and sending again is a decision (`stafet resend --held`).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from itertools import chain
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, func, insert, inspect, select, text, update
from sqlalchemy.pool import NullPool

from core import limits, log
from core.clock import SECOND, Clock, rfc3339
from core.commands import CALL, Call
from core.delivery import OPEN_STATES, REPEATABLE_STATES, State
from core.errors import Overloaded, PayloadError, StafetError, UsageError
from core.keys import KeyRing
from core.ledger import pauses
from core.ledger.engine import open_engine, upgrade
from core.ledger.tables import delivery, frozen, metadata, parcel, payload
from core.local import Progress
from core.runtime import Runtime
from core.settings import NodeSettings
from core.store import FileStore

_log = log.get("backup")
_ROWS = 1000
FORMAT = 1
_OBJECT: Final = re.compile(r"objects/[0-9a-f]{32}")


def make(runtime: Runtime, directory: Path, progress: Progress) -> dict[str, Any]:
    """Write a backup into an empty ``directory``. Raises `UsageError` when it is not empty."""
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory}: is not empty; a backup gets a folder of its own")
    objects = directory / "objects"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    objects.mkdir(mode=0o700)
    (directory / "ledger.db").touch(mode=0o600)  # it holds descriptions: its owner's alone, whatever the folder is
    with _nobody_deletes(runtime), runtime.deleting:
        progress({"what": "ledger", "done": 0, "of": 1})
        _copy_ledger(runtime.engine, directory / "ledger.db")
        digests = {"ledger.db": _digest(directory / "ledger.db")}
        names = _objects_in(directory / "ledger.db")
        missing = []
        for done, name in enumerate(names, start=1):
            try:
                digests[f"objects/{name}"] = _copy(runtime.store.path(name), objects / name)
            except FileNotFoundError:
                missing.append(name)
            progress({"what": "objects", "done": done, "of": len(names)})
    manifest = {
        "format": FORMAT,
        "node": runtime.settings.node,
        "at": rfc3339(runtime.clock.now()),
        "keys": sorted(p.stem for p in runtime.settings.keys_path.glob("*.kek")),
        "missing": missing,
        "files": digests,
    }
    FileStore.make_durable(directory)  # the manifest last: a backup that was cut short has none
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    FileStore.make_durable(directory)
    return {"directory": str(directory), "objects": len(digests) - 1, "missing": missing}


@contextmanager
def _nobody_deletes(runtime: Runtime) -> Iterator[None]:
    """Before the copy begins until it has ended, no node that shares this ledger deletes objects."""

    def say() -> None:
        now = runtime.clock.now()
        arguments = (runtime.boot, now, now + limits.DELETION_PAUSE)
        runtime.writer.submit(CALL, Call(pauses.pause, arguments)).result()

    def renew() -> None:
        while not over.wait(limits.DELETION_PAUSE / 3 / SECOND):
            try:
                say()
            except Overloaded as error:
                _log.warning("the pause of deletion could not be renewed now; it is tried again", cause=str(error))

    over = threading.Event()
    say()
    renewing = threading.Thread(target=renew, name="deletion-pause", daemon=True)
    renewing.start()
    try:
        yield
    finally:
        over.set()
        renewing.join()
        with suppress(StafetError):  # it ends by itself
            runtime.writer.submit(CALL, Call(pauses.end, (runtime.boot,))).result()


def _copy_ledger(engine: Engine, target: Path) -> None:
    """A consistent copy as a SQLite file: by SQLite's own online backup, or row by row from one PostgreSQL snapshot."""
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(engine.url.database))) as source, closing(sqlite3.connect(target)) as copy:
            # One snapshot for the whole copy: without it, every commit meanwhile would begin the copy anew.
            source.execute("BEGIN")
            source.execute("SELECT count(*) FROM sqlite_schema").fetchone()
            source.backup(copy, pages=256, sleep=0.001)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, readable where nothing can be written
        return
    written = create_engine(f"sqlite:///{target}")
    upgrade(written)
    with engine.connect() as source_connection, written.begin() as copy_connection:
        source_connection.execution_options(isolation_level="REPEATABLE READ")
        _copy_rows(source_connection, copy_connection)
    written.dispose()


def _copy_rows(source: Connection, target: Connection) -> None:
    for table in metadata.sorted_tables:
        rows = source.execution_options(yield_per=_ROWS).execute(select(table)).mappings()
        while batch := [dict(row) for row in rows.fetchmany(_ROWS)]:
            target.execute(insert(table), batch)


def _objects_in(ledger: Path) -> list[str]:
    """The objects that a copied ledger speaks of: payloads, and parts kept for what may be sent again."""
    engine = _looking_at(ledger)
    with engine.connect() as connection:
        names = set(connection.execute(select(payload.c.object_id).where(payload.c.object_id.is_not(None))).scalars())
        kept_wires = (
            select(frozen.c.objects)
            .join(delivery, delivery.c.id == frozen.c.delivery_id)
            .where(delivery.c.state.in_([s.value for s in REPEATABLE_STATES]))
        )
        for listed in connection.execute(kept_wires).scalars():
            names.update(json.loads(listed))
    engine.dispose()
    return sorted(str(name) for name in names)


def _looking_at(ledger: Path) -> Engine:
    """The ledger of a backup, which may lie where nothing can be written."""
    where = f"{ledger.resolve().as_uri()}?mode=ro"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(where, uri=True), poolclass=NullPool)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while octets := file.read(1024 * 1024):
            yield octets


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for octets in _pieces(path):
        digest.update(octets)
    return digest.hexdigest()


def _owners_alone(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _copy(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    octets_of = _pieces(source)
    first = next(octets_of, b"")  # a source that is not there leaves no empty copy
    with open(target, "xb", opener=_owners_alone) as file:
        for octets in chain((first,), octets_of):
            digest.update(octets)
            file.write(octets)
    return digest.hexdigest()


# --- restore ----------------------------------------------------------------------------------------------------------


def restore(settings: NodeSettings, directory: Path, clock: Clock, progress: Progress) -> dict[str, Any]:
    """Rebuild a node from a backup, everything open held. Raises `UsageError` before anything is written."""
    manifest = _manifest(directory)
    files: dict[str, str] = manifest["files"]
    ledger = directory / "ledger.db"
    ring = KeyRing(settings.keys_path)
    lacking = sorted(set(manifest["keys"]) - {p.stem for p in settings.keys_path.glob("*.kek")})
    if lacking:
        raise UsageError(f"{settings.keys_path}: lacks the key-encryption keys {', '.join(lacking)}; bring them first")
    for done, (name, expected) in enumerate(files.items(), start=1):
        path = directory / name
        if not path.is_file() or _digest(path) != expected:
            raise UsageError(f"{path}: is missing or damaged; nothing was restored")
        progress({"what": "checking", "done": done, "of": len(files)})
    _demand_fitting_keys(ring, ledger)
    _demand_empty(settings)
    # The ledger last: a restore that is cut short leaves octets that nobody refers to, and can be begun again.
    store = FileStore(settings.store_path)
    objects = [name.removeprefix("objects/") for name in files if name.startswith("objects/")]
    for done, name in enumerate(objects, start=1):
        target = store.path(name)
        target.unlink(missing_ok=True)
        _copy(directory / "objects" / name, target)
        progress({"what": "objects", "done": done, "of": len(objects)})
    FileStore.make_durable(settings.store_path)
    held = _restore_ledger(settings, ledger)
    return {"objects": len(objects), "held": held, "backup_of": manifest["at"]}


def _manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a backup, checked: no name in it leads anywhere else."""
    try:
        manifest = json.loads((directory / "manifest.json").read_bytes())
        number, files, keys = manifest["format"], dict(manifest["files"]), list(manifest["keys"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{directory}: holds no readable manifest.json; is it a backup, and complete?") from None
    if number != FORMAT:
        raise UsageError(f"{directory}: format {number}; this program reads {FORMAT}")
    wrong = [name for name in files if name != "ledger.db" and not _OBJECT.fullmatch(name)]
    if wrong or "ledger.db" not in files:
        raise UsageError(f"{directory}: its manifest.json names {wrong or 'no ledger.db'}; no backup looks so")
    return {"files": files, "keys": [str(key) for key in keys], "at": str(manifest.get("at", ""))}


def _demand_fitting_keys(ring: KeyRing, ledger: Path) -> None:
    """A key file of the right name may hold another key, and then not one payload could be read."""
    engine = _looking_at(ledger)
    query = select(parcel.c.key_id, func.min(parcel.c.wrapped_key).label("wrapped"))
    with engine.connect() as connection:
        rows = connection.execute(query.where(parcel.c.wrapped_key != b"").group_by(parcel.c.key_id)).all()
    engine.dispose()
    for row in rows:
        try:
            ring.unwrap(row.wrapped, row.key_id)
        except PayloadError as error:
            raise UsageError(f"keys: {error}; bring the key folder that belongs to this backup") from None


def _demand_empty(settings: NodeSettings) -> None:
    url = settings.database_url
    if url.startswith("sqlite:///"):
        target = Path(url.removeprefix("sqlite:///"))
        if target.exists():
            raise UsageError(f"{target}: exists; restore into an empty data directory")
        return
    engine = open_engine(url)
    there = inspect(engine).get_table_names()
    with engine.connect() as connection:
        for table in metadata.sorted_tables:
            if table.name in there and connection.execute(select(table).limit(1)).first() is not None:
                raise UsageError(f"database: {table.name} is not empty; restore into an empty database")
    engine.dispose()


def _restore_ledger(settings: NodeSettings, source: Path) -> int:
    """Put the ledger in its place, everything open held: nobody sees one that is not. Gives how many are held."""
    url = settings.database_url
    if url.startswith("sqlite:///"):
        target = Path(url.removeprefix("sqlite:///"))
        part = target.with_suffix(".restoring")
        part.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.unlink(missing_ok=True)
        _copy(source, part)
        engine = create_engine(f"sqlite:///{part}")
        upgrade(engine)
        with engine.begin() as connection:
            held = _hold(connection)
        engine.dispose()
        FileStore.make_durable(part)
        part.rename(target)
        FileStore.make_durable(target.parent)
        return held
    engine, copy = open_engine(url), _looking_at(source)
    upgrade(engine)
    with engine.begin() as connection, copy.connect() as source_connection:
        _copy_rows(source_connection, connection)
        for table in ("frozen", "receipt"):
            statement = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"  # noqa: S608
            connection.execute(text(statement))
        held = _hold(connection)
    engine.dispose()
    copy.dispose()
    return held


def _hold(connection: Connection) -> int:
    pauses.end_all(connection)  # of the backup itself
    return connection.execute(
        update(delivery)
        .where(delivery.c.state.in_([s.value for s in OPEN_STATES]))
        .values(
            state=State.HELD.value,
            lease_owner="",
            epoch=delivery.c.epoch + 1,
            last_code="restored",
            last_reason="restored from a backup; what happened since is unknown",
        )
    ).rowcount
