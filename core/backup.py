"""Backup and restore: the ledger first, then the objects it speaks of, with a manifest that proves both.

Rules:

1. Database first: every object that a committed row names was durable before its commit, so copying objects afterwards finds
   all of them. Deletion is paused meanwhile.
2. A backup is one folder: ``ledger.db`` (SQLite whatever the node's database is), ``objects/``, and ``manifest.json`` with the
   SHA-256 of each file. It holds no key-encryption key: without the node's key folder it cannot be read.
3. Restoring goes into an empty place, checks every digest first, and starts with all open deliveries *held*: what happened
   after the backup is unknown, and sending again is a decision (`stafet resend --held`).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, insert, select, text, update

from core.clock import Clock, rfc3339
from core.delivery import OPEN_STATES, State
from core.errors import UsageError
from core.keys import KeyRing
from core.ledger.engine import open_engine, upgrade
from core.ledger.tables import delivery, frozen, metadata, payload
from core.local import Progress
from core.runtime import Runtime
from core.settings import NodeSettings
from core.store import FileStore

_ROWS = 1000
FORMAT = 1


def make(runtime: Runtime, directory: Path, progress: Progress) -> dict[str, Any]:
    """Write a backup into an empty ``directory``. Raises `UsageError` when it is not empty."""
    if directory.exists() and any(directory.iterdir()):
        raise UsageError(f"{directory}: is not empty; a backup gets a folder of its own")
    objects = directory / "objects"
    objects.mkdir(parents=True, exist_ok=True, mode=0o700)
    with runtime.deleting:
        progress({"what": "ledger", "done": 0, "of": 1})
        _copy_ledger(runtime.engine, directory / "ledger.db")
        digests = {"ledger.db": _digest(directory / "ledger.db")}
        names = _objects_in(directory / "ledger.db")
        missing = []
        for done, name in enumerate(names, start=1):
            source = runtime.store.path(name)
            if not source.exists():
                missing.append(name)
                continue
            digests[f"objects/{name}"] = _copy(source, objects / name)
            progress({"what": "objects", "done": done, "of": len(names)})
    manifest = {
        "format": FORMAT,
        "node": runtime.settings.node,
        "at": rfc3339(runtime.clock.now()),
        "keys": sorted(p.stem for p in runtime.settings.keys_path.glob("*.kek")),
        "missing": missing,
        "files": digests,
    }
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    FileStore.make_durable(directory)
    return {"directory": str(directory), "objects": len(digests) - 1, "missing": missing}


def _copy_ledger(engine: Engine, target: Path) -> None:
    """A consistent copy as a SQLite file: by SQLite's own online backup, or row by row from one PostgreSQL snapshot."""
    if engine.dialect.name == "sqlite":
        with sqlite3.connect(str(engine.url.database)) as source, sqlite3.connect(target) as copy:
            source.backup(copy, pages=256, sleep=0.001)
        copy.close()
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
    """The objects that a copied ledger speaks of: payloads, and parts kept for deliveries that are still open."""
    engine = create_engine(f"sqlite:///{ledger}")
    with engine.connect() as connection:
        names = set(connection.execute(select(payload.c.object_id).where(payload.c.object_id.is_not(None))).scalars())
        open_wires = (
            select(frozen.c.objects)
            .join(delivery, delivery.c.id == frozen.c.delivery_id)
            .where(delivery.c.state.in_([s.value for s in OPEN_STATES]))
        )
        for listed in connection.execute(open_wires).scalars():
            names.update(json.loads(listed))
    engine.dispose()
    return sorted(str(name) for name in names)


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while octets := file.read(1024 * 1024):
            yield octets


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    for octets in _pieces(path):
        digest.update(octets)
    return digest.hexdigest()


def _copy(source: Path, target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("xb") as file:
        for octets in _pieces(source):
            digest.update(octets)
            file.write(octets)
    return digest.hexdigest()


# --- restore ----------------------------------------------------------------------------------------------------------


def restore(settings: NodeSettings, directory: Path, clock: Clock, progress: Progress) -> dict[str, Any]:
    """Rebuild a node from a backup, everything open held. Raises `UsageError` before anything is written."""
    try:
        manifest = json.loads((directory / "manifest.json").read_text())
        files: dict[str, str] = manifest["files"]
    except (OSError, ValueError, KeyError):
        raise UsageError(f"{directory}: holds no readable manifest.json; is it a backup, and complete?") from None
    if manifest.get("format") != FORMAT:
        raise UsageError(f"{directory}: format {manifest.get('format')}; this program reads {FORMAT}")
    ring = KeyRing(settings.keys_path)
    del ring  # it is enough that it opens; which keys it holds is compared by name
    lacking = sorted(set(manifest["keys"]) - {p.stem for p in settings.keys_path.glob("*.kek")})
    if lacking:
        raise UsageError(f"{settings.keys_path}: lacks the key-encryption keys {', '.join(lacking)}; bring them first")
    for done, (name, expected) in enumerate(files.items(), start=1):
        path = directory / name
        if not path.exists() or _digest(path) != expected:
            raise UsageError(f"{path}: is missing or damaged; nothing was restored")
        progress({"what": "checking", "done": done, "of": len(files)})
    _restore_ledger(settings, directory / "ledger.db")
    store = FileStore(settings.store_path)
    objects = [name for name in files if name.startswith("objects/")]
    for done, name in enumerate(objects, start=1):
        target = store.path(name.removeprefix("objects/"))
        _copy(directory / name, target)
        progress({"what": "objects", "done": done, "of": len(objects)})
    FileStore.make_durable(settings.store_path)
    held = _hold(settings)
    return {"objects": len(objects), "held": held, "backup_of": manifest["at"]}


def _restore_ledger(settings: NodeSettings, source: Path) -> None:
    url = settings.database_url
    settings.data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    if url.startswith("sqlite:///"):
        target = Path(url.removeprefix("sqlite:///"))
        if target.exists():
            raise UsageError(f"{target}: exists; restore into an empty data directory")
        part = target.with_suffix(".restoring")
        shutil.copyfile(source, part)
        part.chmod(0o600)
        part.rename(target)
        FileStore.make_durable(settings.data_path)
        return
    engine, copy = open_engine(url), create_engine(f"sqlite:///{source}")
    upgrade(engine)
    with engine.begin() as connection, copy.connect() as source_connection:
        if connection.execute(select(delivery.c.id).limit(1)).first() is not None:
            raise UsageError("database: is not empty; restore into an empty one")
        _copy_rows(source_connection, connection)
        for table in ("frozen", "receipt"):
            statement = f"SELECT setval(pg_get_serial_sequence('{table}', 'id'), (SELECT max(id) FROM {table}))"  # noqa: S608
            connection.execute(text(statement))
    engine.dispose()
    copy.dispose()


def _hold(settings: NodeSettings) -> int:
    engine = open_engine(settings.database_url)
    upgrade(engine)
    with engine.begin() as connection:
        held = connection.execute(
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
    engine.dispose()
    return held
