"""How a command reaches its node: through the local socket while it runs, under the node's lock when it does not."""

from __future__ import annotations

import asyncio
import getpass
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from core.cli.output import progress
from core.config import Configuration
from core.errors import UsageError
from core.kernel import NodeKernel
from core.ledger import versions
from core.local import ask
from core.mailroom import Mailroom
from core.operations import Operations
from core.runtime import Catalogue, Runtime, read_only_engine
from core.settings import NodeSettings, load_settings

_home = Path()


def set_home(home: Path) -> None:
    """The home folder of this call."""
    global _home  # noqa: PLW0603 - one home a process
    _home = home


def settings() -> NodeSettings:
    """The home's settings. Raises `ConfigError`."""
    return load_settings(_home)


def who() -> str:
    """Who types, also where that is somebody else's hands: behind `sudo` it is who called it."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def do(op: str, args: Mapping[str, Any], what: str) -> Any:
    """Ask for an operation, with progress. Raises `StafetError` with the node's words."""
    mine, args = settings(), {"who": who(), **args}
    with progress(what) as show:
        try:
            return ask(mine.socket_path, op, args, show)
        except ConnectionError:
            return asyncio.run(_alone(mine, op, args, show))


async def _alone(
    mine: NodeSettings, op: str, args: Mapping[str, Any], show: Callable[[Mapping[str, Any]], None]
) -> Any:
    """Do it here, under the node's lock."""
    runtime = await asyncio.to_thread(Runtime.open, mine)
    try:
        runtime.configuration = runtime.latest()
        kernel = NodeKernel(runtime, "local", Mailroom(runtime))
        operation = Operations(runtime, kernel, lambda changed: None).table().get(op)
        if operation is None:
            raise UsageError(f"{op} needs a running node: start it with `stafet up`")
        return await operation(args, show)
    finally:
        await asyncio.to_thread(runtime.close)


@contextmanager
def looking() -> Iterator[Connection]:
    """The ledger, read-only."""
    engine = read_only_engine(settings())
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def stored(connection: Connection, catalogue: Catalogue, number: int | None = None) -> Configuration:
    """A stored configuration version, the newest when none is named; empty when there is none."""
    wanted = versions.latest_number(connection) if number is None else number
    found = versions.get(connection, wanted) if wanted else None
    if found is None:
        return Configuration({}, {}, 0)
    return Configuration.from_json(found.content, catalogue.kinds, found.number)
