"""backup, restore, verify: keeping what was promised."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from core import audit
from core import backup as copies
from core.cli import talk
from core.cli.output import Json, progress, say, say_json
from core.clock import SystemClock
from core.errors import PayloadError
from core.ledger.engine import NodeLock


def backup(
    directory: Annotated[Path, typer.Argument(help="An empty folder for the backup.")], as_json: Json = False
) -> None:
    """Copy ledger and payload store while work goes on."""
    result = talk.do("backup", {"directory": str(directory.resolve())}, "backup")
    if as_json:
        say_json(result)
        return
    say(f"{result['directory']}: ledger and {result['objects']} objects")
    for name in result["missing"]:
        say(f"missing in the store: object {name}")
    say("It holds no key-encryption key: keep the key folder elsewhere.")


def restore(
    directory: Annotated[Path, typer.Argument(help="A backup made by `stafet backup`.")], as_json: Json = False
) -> None:
    """Rebuild this home's node from a backup; everything open starts held."""
    settings = talk.settings()
    settings.data_path.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = NodeLock(settings.lock_path)
    try:
        with progress("restore") as show:
            result = copies.restore(settings, directory, SystemClock(), show)
    finally:
        lock.release()
    if as_json:
        say_json(result)
        return
    say(f"restored the backup of {result['backup_of']}: {result['objects']} objects")
    say(f"{result['held']} deliveries are held; `stafet resend --held` sends them again when you have looked")


def verify(as_json: Json = False) -> None:
    """Check every chain of the trace against itself and against the signed checkpoints."""
    key = audit.audit_key(talk.settings().keys_path).public_key()
    with talk.looking() as connection:
        problems = audit.verify_all(connection, key)
        heads = audit.heads(connection)
    if as_json:
        say_json({"ok": not problems, "chains": len(heads), "problems": problems})
    else:
        for problem in problems:
            say(problem)
        entries = sum(seq for seq, _ in heads.values())
        say(f"{len(heads)} chains, {entries} entries: " + ("every link holds" if not problems else "NOT whole"))
    if problems:
        raise typer.Exit(PayloadError.exit_code)


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (backup, restore, verify):
        app.command()(command)
