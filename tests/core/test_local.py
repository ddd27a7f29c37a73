"""The node's local socket: owner only, one request a connection, errors with their exit code."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core import limits
from core.errors import NotFound, UsageError
from core.local import LocalServer, NodeError, Progress, ask


async def echo(args: Mapping[str, Any], progress: Progress) -> Any:
    """Say back what was asked, after some progress."""
    for done in range(args.get("steps", 0)):
        progress({"done": done + 1, "of": args["steps"], "what": "echo"})
        await asyncio.sleep(args.get("pace", 0))
    return dict(args)


async def refuse(_args: Mapping[str, Any], _progress: Progress) -> Any:
    """Refuse."""
    raise NotFound("no parcel p1")


async def break_down(_args: Mapping[str, Any], _progress: Progress) -> Any:
    """A bug."""
    raise ZeroDivisionError


async def unspeakable(_args: Mapping[str, Any], _progress: Progress) -> Any:
    """A result that JSON cannot hold."""
    return {1, 2}


OPERATIONS = {"echo": echo, "refuse": refuse, "break": break_down, "unspeakable": unspeakable}


@pytest_asyncio.fixture
async def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Path]:
    """A node that listens."""
    monkeypatch.chdir(tmp_path)  # a socket's path may have 107 octets
    server = LocalServer(Path("node.sock"), OPERATIONS)
    await server.start()
    yield Path("node.sock")
    await server.stop()


async def asked(path: Path, op: str, args: Mapping[str, Any] | None = None, progress: Progress | None = None) -> Any:
    """Ask from another thread, as another process would."""
    return await asyncio.to_thread(ask, path, op, args or {}, progress)


async def raw(path: Path, octets: bytes) -> list[Any]:
    """Send octets as they are; gives every line that came back."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    with contextlib.suppress(ConnectionError):
        writer.write(octets)
        await writer.drain()
        writer.write_eof()
    lines = [json.loads(line) async for line in reader]
    writer.close()
    return lines


async def test_an_answer_comes_after_its_progress(path: Path):
    """Progress in order, then the result."""
    seen: list[Mapping[str, Any]] = []
    assert await asked(path, "echo", {"steps": 2, "pace": 0.15}, seen.append) == {"steps": 2, "pace": 0.15}
    assert [(p["done"], p["of"], p["what"]) for p in seen] == [(1, 2, "echo"), (2, 2, "echo")]
    assert await asked(path, "echo", {"steps": 1, "æ": [None]}) == {"steps": 1, "æ": [None]}


async def test_progress_is_at_most_ten_lines_a_second(path: Path):
    """A thousand steps in a moment are not a thousand lines."""
    seen: list[Mapping[str, Any]] = []
    await asked(path, "echo", {"steps": 1000}, seen.append)
    assert len(seen) < 10


async def test_a_refusal_keeps_its_words_and_exit_code(path: Path):
    """The command ends as if it had done the work itself."""
    with pytest.raises(NodeError, match="no parcel p1") as caught:
        await asked(path, "refuse")
    assert caught.value.exit_code == NotFound.exit_code


@pytest.mark.parametrize("op", ["break", "unspeakable"])
async def test_a_bug_in_an_operation_is_an_answer_too(path: Path, op: str):
    """The caller is told that it is a bug and where to look, and the node goes on."""
    with pytest.raises(NodeError, match="log") as caught:
        await asked(path, op)
    assert caught.value.exit_code == 70
    assert await asked(path, "echo") == {}


@pytest.mark.parametrize(
    "request_",
    [
        b"\n",
        b"nonsense\n",
        b"[]\n",
        b"7\n",
        b"{}\n",
        b'{"op": "unknown"}\n',
        b'{"op": ["echo"]}\n',
        b'{"op": "echo"}',
        b"\xff\xfe\n",
        b'{"op": "echo", "args": 7}\n',
        b'{"op": "echo", "args": null}\n',
        b"[" * 100_000 + b"\n",
    ],
)
async def test_what_is_no_request_is_refused(path: Path, request_: bytes):
    """Whatever comes, one documented error goes back and the node goes on."""
    (answer,) = await raw(path, request_)
    assert answer["exit_code"] == UsageError.exit_code
    assert await asked(path, "echo") == {}


async def test_a_request_has_a_size(path: Path):
    """A longer one is refused before it is read whole."""
    with pytest.raises(NodeError):  # its words, or the connection cut under what is still on its way
        await asked(path, "echo", {"x": "x" * 2 * limits.LOCAL_REQUEST})
    assert await asked(path, "echo") == {}


async def test_a_caller_that_goes_away_harms_nothing(path: Path):
    """No answer can be given; the next caller gets one."""
    for _ in range(3):
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(b'{"op": "echo", "args": {"steps": 5000}}\n')
        writer.close()
    assert await asked(path, "echo") == {}


async def test_only_the_owner_may_open_the_socket(path: Path):
    """The file system is the login; the process's own mask is as it was."""
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o600
    assert mask != 0o177


async def test_a_socket_left_by_a_killed_node_is_replaced(path: Path):
    """The node's lock says that nobody uses it."""
    left = socket.socket(socket.AF_UNIX)
    left.bind("left.sock")
    left.close()
    server = LocalServer(Path("left.sock"), OPERATIONS)
    await server.start()
    assert await asked(Path("left.sock"), "echo") == {}
    await server.stop()
    assert not Path("left.sock").exists()
    await server.stop()


async def test_nobody_listening_is_told_apart_from_a_refusal(path: Path):
    """No socket, or one that nobody serves: the command takes the lock itself."""
    left = socket.socket(socket.AF_UNIX)
    left.bind("left.sock")
    left.close()
    for nobody in ("none.sock", "left.sock"):
        with pytest.raises(ConnectionError, match="no node listens"):
            ask(Path(nobody), "echo", {})


async def test_a_node_that_dies_before_it_answers_is_an_error(path: Path):
    """The caller does not wait for ever and does not take silence for success."""

    async def die(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_unix_server(die, "dying.sock")
    with pytest.raises(NodeError, match="went away"):
        await asked(Path("dying.sock"), "echo")
    server.close()


async def test_stopping_a_server_that_never_started_is_harmless(tmp_path: Path):
    """A node that failed early can still be taken down in order."""
    await LocalServer(tmp_path / "x", {}).stop()
