"""The group committer: one thread per node that writes the ledger [design §5, with the measurements].

Rules:

1. Everything waiting goes into one transaction, at most `limits.WRITER_BATCH` commands; while one commit is under way the next
   batch gathers by itself, so an idle node commits at once and a busy one shares its fsyncs. What one turn of an event loop asks
   for is handed over together, at its end.
2. Commands of one kind are handed to their batch function together. If the batch fails, its commands are retried singly, so that
   one bad command never takes its neighbours with it.
3. Cancelling a caller never cancels a commit.
4. Trace entries are written in the transaction of their cause.
5. What may wait, such as accepting bulk, goes behind all else and gets a small part of each transaction that others wait for: an
   urgent parcel waits for a short commit, never for a queue, and bulk never stands still.
6. A commit whose fate is unknown, or a failed fsync below it, stops the node: better silent than wrong.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, OperationalError

from core import failpoint, limits
from core.errors import DurabilityLost, Overloaded, Refused
from core.ledger import trace
from core.ledger.trace import Chain, Entry, Written

Batch = Callable[[Connection, Sequence[Any]], Sequence[Any]]
"""Applies commands of one kind inside the open transaction; gives one result a command."""

Explain = Callable[[Any, Any], Sequence[Entry | Written]]
"""Trace entries for one command and its result."""


@dataclass(frozen=True)
class Kind:
    """A kind of command. ``order`` says which kinds go first in a transaction; ``always`` passes a full queue.

    ``waits`` gives how many things of a command may wait for others; 0 for one that is in a hurry.
    """

    name: str
    apply: Batch
    explain: Explain | None = None
    order: int = 50
    always: bool = False
    waits: Callable[[Any], int] | None = None


Unheard = Callable[[Any], None]
"""Told what came of a command, a result or an exception, when its caller has gone away."""


class _Reply:
    """Wakes a coroutine in one turn of its loop. A caller that has gone away changes nothing; ``unheard`` is told instead."""

    __slots__ = ("_answer", "_done", "_loop", "_unheard")

    def __init__(self, loop: asyncio.AbstractEventLoop, answer: asyncio.Future[Any], unheard: Unheard | None) -> None:
        self._loop, self._answer, self._unheard, self._done = loop, answer, unheard, False

    def done(self) -> bool:
        """Whether an answer was given."""
        return self._done

    def set_result(self, result: Any) -> None:
        """Committed."""
        self._give(self._answer.set_result, result)

    def set_exception(self, error: BaseException) -> None:
        """Not committed, or nobody can say."""
        self._give(self._answer.set_exception, error)

    def _give(self, give: Callable[[Any], None], value: Any) -> None:
        self._done = True
        with suppress(RuntimeError):  # the loop has ended, and with it whoever asked
            self._loop.call_soon_threadsafe(self._wake, give, value)

    def _wake(self, give: Callable[[Any], None], value: Any) -> None:
        if not self._answer.done():
            give(value)
        elif self._unheard is not None:
            self._unheard(value)


def _future() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # from here on nobody can cancel it
    return future


@dataclass(slots=True)
class _Command:
    kind: Kind
    item: Any
    future: Future[Any] | _Reply


@dataclass
class Statistics:
    """What the writer did so far. ``cpu`` in seconds of its thread."""

    commits: int = 0
    commands: int = 0
    cpu: float = 0.0
    singly: int = 0
    by_kind: dict[str, int] = field(default_factory=dict)


class Writer:
    """Owns the writing connection. ``on_fatal`` is called once, from the writer's thread, when the node must stop."""

    def __init__(self, engine: Engine, chain: str, on_fatal: Callable[[BaseException], None]) -> None:
        self._engine, self._on_fatal = engine, on_fatal
        self._chain = Chain(chain)
        self._queue: queue.SimpleQueue[Sequence[_Command]] = queue.SimpleQueue()
        """What is handed over together; nothing only wakes. Its `put` never waits: a lock that a caller shares with this thread
        would make it wait for its turn."""
        self._door = threading.Lock()
        """Shared by those who hand over, and never by this thread."""
        self._handed = self._taken = 0
        self._pending: deque[_Command] = deque()
        """What has been taken from the queue and is in no batch yet; the thread's own."""
        self._patient: deque[_Command] = deque()
        """The same of what may wait."""
        self._turn: list[_Command] = []
        """What the event loop has asked for in this turn."""
        self._turning: asyncio.AbstractEventLoop | None = None
        self._open = True
        self._stopping = False
        self._busy = False
        self._dead: BaseException | None = None
        self.statistics = Statistics()
        self._thread = threading.Thread(target=self._run, name="ledger-writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def submit(self, kind: Kind, item: Any) -> Future[Any]:
        """Hand over a command; the future gives its result once it is committed.

        Raises `Overloaded` when too many wait (not for kinds that are ``always`` taken).
        """
        future = _future()
        self._check(kind)
        self._put([_Command(kind, item, future)])
        return future

    def post(self, loop: asyncio.AbstractEventLoop, kind: Kind, item: Any) -> Future[Any]:
        """The same from within ``loop``, together with what else its turn asks for; it must not block there for the result."""
        future = _future()
        self._gather_turn(loop, _Command(kind, item, future))
        return future

    def _check(self, kind: Kind) -> None:
        if self._dead is not None or self._stopping:
            raise DurabilityLost("the ledger's writer has stopped")
        if self._handed - self._taken + len(self._turn) >= limits.WRITER_QUEUE and not kind.always:
            raise Overloaded("the ledger is busy; try again shortly")

    def _put(self, commands: Sequence[_Command]) -> None:
        with self._door:
            self._handed += len(commands)
        self._queue.put(commands)
        if not self._open:  # it stopped between the question and the answer: nobody would take it
            self._fail_rest([])

    def _gather_turn(self, loop: asyncio.AbstractEventLoop, command: _Command) -> None:
        self._check(command.kind)
        self._turn.append(command)
        if self._turning is not loop:  # another one's turn may never have ended: it stopped
            self._turning = loop
            loop.call_soon(self._end_turn)

    def _end_turn(self) -> None:
        self._turning, gathered, self._turn = None, self._turn, []
        self._put(gathered)

    async def do(self, kind: Kind, item: Any, unheard: Unheard | None = None) -> Any:
        """`submit` and wait. Cancelling the wait does not cancel the command; ``unheard`` is then told what came of it."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        self._gather_turn(loop, _Command(kind, item, _Reply(loop, answer, unheard)))
        try:
            return await answer
        except asyncio.CancelledError:
            if unheard is not None and not answer.cancelled():  # the answer had come, and nobody took it any more
                unheard(answer.exception() or answer.result())
            raise

    def close(self) -> None:
        """Commit what waits, then stop the thread."""
        self._end_turn()
        self._stopping = True
        self._queue.put(())
        if self._thread.is_alive():
            self._thread.join()

    # -- the thread

    def _run(self) -> None:
        batch: list[_Command] = []
        try:
            with self._engine.connect() as connection:
                while batch := self._take():
                    self._commit(connection, batch)
                    self.statistics.cpu = time.thread_time()
            self._open = False
            self._fail_rest([])
        except BaseException as error:  # whatever it is, nothing may be written after it
            self._die(error, batch)

    def _take(self) -> list[_Command]:
        """What waits, at most a batch; nothing when the writer is to stop and nothing waits any more."""
        self._busy = self._busy or not self._queue.empty()
        if not self._pending and not self._patient and (not self._stopping or not self._queue.empty()):
            self._sort(self._queue.get())
        if self._busy:  # others are on their way: one commit for all of them costs less than two
            time.sleep(limits.WRITER_WAIT / 1_000_000)
        with suppress(queue.Empty):
            while len(self._pending) < limits.WRITER_BATCH:
                self._sort(self._queue.get_nowait())
        batch = [self._pending.popleft() for _ in range(min(limits.WRITER_BATCH, len(self._pending)))]
        most = limits.WRITER_PATIENT if batch else limits.WRITER_BATCH
        while self._patient and most > 0:
            batch.append(command := self._patient.popleft())
            most -= _waits(command)
        self._taken += len(batch)
        self._busy = len(batch) > 1
        return batch or (self._take() if not self._queue.empty() else [])

    def _sort(self, commands: Sequence[_Command]) -> None:
        for command in commands:
            (self._patient if _waits(command) else self._pending).append(command)

    def _die(self, error: BaseException, batch: list[_Command]) -> None:
        self._dead = error
        self._open = False
        self._fail_rest(batch)
        self._on_fatal(_documented(error) if isinstance(error, Exception) else error)

    def _fail_rest(self, batch: list[_Command]) -> None:
        """Nobody will commit these."""
        left = list(batch)
        for waiting in (self._pending, self._patient):
            with suppress(IndexError):
                while True:  # one by one: a caller that comes too late may be doing the same
                    left.append(waiting.popleft())
        with suppress(queue.Empty):
            while True:
                left += self._queue.get_nowait()
        for command in left:
            if not command.future.done():
                command.future.set_exception(DurabilityLost("the ledger's writer has stopped"))

    def _commit(self, connection: Connection, batch: list[_Command]) -> None:
        try:
            done = self._transaction(connection, batch)
        except _Unknown:
            for command in batch:
                command.future.set_exception(DurabilityLost("a commit's fate is unknown"))
            raise
        except Exception as error:  # whichever it is, each is then tried alone
            if len(batch) == 1:
                batch[0].future.set_exception(_documented(error))
                return
            self.statistics.singly += 1
            for command in batch:
                self._commit(connection, [command])
            return
        self.statistics.commits += 1
        self.statistics.commands += len(batch)
        for command, result in done:
            command.future.set_result(result)

    def _transaction(self, connection: Connection, batch: list[_Command]) -> list[tuple[_Command, Any]]:
        groups: dict[str, list[_Command]] = {}
        for command in batch:
            groups.setdefault(command.kind.name, []).append(command)
        done: list[tuple[_Command, Any]] = []
        transaction = connection.begin()
        try:
            entries: list[Entry | Written] = []
            for group in sorted(groups.values(), key=lambda g: g[0].kind.order):
                kind = group[0].kind
                results = kind.apply(connection, [c.item for c in group])
                assert len(results) == len(group), kind.name
                for command, result in zip(group, results, strict=True):
                    done.append((command, result))
                    if kind.explain is not None:
                        entries.extend(kind.explain(command.item, result))
            rows, seq, head = self._chain.rows(entries)
            trace.append(connection, rows)
        except BaseException as error:  # nothing of a broken batch may stay
            self._rollback(transaction)
            if _is_io_error(error):
                raise _Unknown(words_of(error)) from error
            raise
        for name in groups:
            failpoint.reach(f"before-commit:{name}")
        try:
            transaction.commit()
        except Exception as error:  # a commit that raised may still have happened
            raise _Unknown(words_of(error)) from error
        self._chain.advance(seq, head)
        for name in groups:
            failpoint.reach(f"after-commit:{name}")
        return done

    def _rollback(self, transaction: Any) -> None:
        try:
            transaction.rollback()
        except DBAPIError as error:
            raise _Unknown(words_of(error)) from error


def _waits(command: _Command) -> int:
    return command.kind.waits(command.item) if command.kind.waits is not None else 0


class _Unknown(DurabilityLost):
    """Nobody can say whether the commit happened, or what is on the disk."""


def _is_io_error(error: BaseException) -> bool:
    """Whether SQLite could not read, write or sync its files: what it holds can no longer be trusted."""
    code = getattr(getattr(error, "orig", None), "sqlite_errorcode", 0)
    return code & 0xFF == sqlite3.SQLITE_IOERR


def words_of(error: BaseException) -> str:
    """What the database says, without its second line, which quotes rows; of anything else the type."""
    return str(error.orig).partition("\n")[0] if isinstance(error, DBAPIError) else type(error).__name__


def _documented(error: Exception) -> Exception:
    """What the database says, as an error the kernel documents; without the values, which may be personal."""
    if isinstance(error, OperationalError):  # a full disk, a lock, a server that went away
        failure: Exception = Overloaded(f"the ledger cannot be written now ({words_of(error)}); try again shortly")
    elif isinstance(error, DataError):
        failure = Refused("a text is too long for the ledger or has a character it cannot hold")
    else:
        return error
    failure.__cause__ = error
    return failure
