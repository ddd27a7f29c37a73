"""The node's local socket: how the command line writes through a running node.

Rules:

1. One process alone writes a node's ledger. While a node runs, commands go through this socket; otherwise the command takes
   the node's lock itself.
2. The socket is a file only its owner may open (mode 0600 in a directory of mode 0700): the file system is the login.
3. One request a connection: a JSON line in; then any number of ``{"progress": …}`` lines, and at the end one ``{"result": …}``
   or ``{"error": …, "exit_code": n}``. Payloads go by path, never through the socket.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core import limits, log
from core.errors import IllegalTransition, StafetError, UsageError

_log = log.get("local")

Progress = Callable[[Mapping[str, Any]], None]
"""Called now and then by long work, with ``done``, ``of`` and ``what``."""

Operation = Callable[[Mapping[str, Any], Progress], Awaitable[Any]]
"""One thing a node can be asked to do: arguments and a progress callback in, something JSON can hold out."""


class NodeError(StafetError):
    """The node refused or failed; carries its words and exit code."""

    def __init__(self, text: str, exit_code: int) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class LocalServer:
    """Serves operations on ``path`` until stopped."""

    def __init__(self, path: Path, operations: Mapping[str, Operation]) -> None:
        self._path, self._operations = path, operations
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to listen; a socket left by a killed node is replaced (the node's lock says that nobody uses it)."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        mask = os.umask(0o177)
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=limits.LOCAL_REQUEST)
        finally:
            os.umask(mask)

    async def stop(self) -> None:
        """Stop listening and remove the socket file."""
        if self._server:
            self._server.close()
            with suppress(FileNotFoundError):
                self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        def say(message: Mapping[str, Any]) -> None:
            writer.write(json.dumps(message).encode() + b"\n")

        try:
            try:
                request = json.loads(await reader.readuntil(b"\n"))
                operation, args = self._operations[request["op"]], request.get("args", {})
                if not isinstance(args, dict):
                    raise TypeError("arguments are not an object")
            except (ValueError, KeyError, TypeError, RecursionError, EOFError, asyncio.LimitOverrunError):
                say({"error": "not a request this node knows", "exit_code": UsageError.exit_code})
                return
            try:
                say({"result": await operation(args, _throttled(say))})
            except StafetError as error:
                say({"error": str(error), "exit_code": error.exit_code})
            except Exception as error:  # whatever an operation does, its caller gets an answer
                _log.exception("an operation failed in a way it does not document", op=request["op"])
                say({"error": f"a bug ({type(error).__name__}); the node's log has the detail", "exit_code": _BUG})
        finally:
            with suppress(ConnectionError):
                await writer.drain()
                writer.close()


def _throttled(say: Callable[[Mapping[str, Any]], None]) -> Progress:
    """Progress from any thread, at most ten lines a second."""
    loop = asyncio.get_running_loop()
    last = 0.0

    def progress(facts: Mapping[str, Any]) -> None:
        nonlocal last
        if loop.time() - last >= _PACE:
            last = loop.time()
            loop.call_soon_threadsafe(say, {"progress": dict(facts)})

    return progress


_PACE = 0.1
_BUG = IllegalTransition.exit_code


def ask(path: Path, op: str, args: Mapping[str, Any], progress: Progress | None = None) -> Any:
    """Ask the node listening on ``path``. Raises `ConnectionError` when none does, `NodeError` when it refuses or dies."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            raise ConnectionError(f"no node listens on {path}") from None
        with suppress(ConnectionError):  # it died: whether it did the work, nobody here can say
            connection.sendall(json.dumps({"op": op, "args": dict(args)}).encode() + b"\n")
            with connection.makefile("rb") as lines:
                for line in lines:
                    message = json.loads(line)
                    if "progress" in message:
                        if progress:
                            progress(message["progress"])
                    elif "error" in message:
                        raise NodeError(message["error"], int(message["exit_code"]))
                    else:
                        return message["result"]
    raise NodeError("the node went away before it answered; ask again", 1)
