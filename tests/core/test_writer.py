"""The group committer under hostile conditions: one bad command, cancelled callers, full disks, unknown commits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import RootTransaction
from sqlalchemy.exc import OperationalError

from core import limits
from core.errors import DurabilityLost, Fatal, Overloaded, Refused
from core.ledger import trace
from core.ledger.parcels import accept_many
from core.ledger.trace import Entry
from core.parcel import Judgement
from core.writer import Kind, Writer
from tests.core.making import NOW, an_accept


def _put(connection: Connection, batch: Sequence[str]) -> Sequence[str]:
    """Store names; a name "bad" fails, "octets" too long for anything, …"""
    if "bad" in batch:
        raise ValueError("bad")
    for name in batch:
        connection.execute(text("INSERT INTO meta VALUES (:n, 'x')"), {"n": name})
    return batch


PUT = Kind("put", _put, lambda name, _: [Entry(name, NOW, "put", {})])
ALWAYS = Kind("always", _put, always=True)


class Held:
    """A command that keeps the writer busy until told, so that what is submitted meanwhile becomes one batch."""

    def __init__(self, writer: Writer) -> None:
        self.let_go, self.busy = threading.Event(), threading.Event()
        self.future = writer.submit(Kind("hold", self._hold), None)
        assert self.busy.wait(10)

    def _hold(self, _connection: Connection, batch: Sequence[None]) -> Sequence[None]:
        self.busy.set()
        assert self.let_go.wait(10)
        return batch


@pytest.fixture
def deaths() -> list[BaseException]:
    """What stopped the writer."""
    return []


@pytest.fixture
def writer(engine: Engine, deaths: list[BaseException]) -> Iterator[Writer]:
    """A running writer on either database."""
    made = Writer(engine, "node-a.1", deaths.append)
    made.start()
    yield made
    made.close()


def stored(engine: Engine) -> list[str]:
    """The names that are stored, and a check that the trace is whole."""
    with engine.connect() as connection:
        assert trace.verify_chain(connection, "node-a.1") is None
        return sorted(connection.execute(text("SELECT name FROM meta")).scalars())


def traced(engine: Engine) -> list[str]:
    """The names in the trace."""
    with engine.connect() as connection:
        return sorted(connection.execute(text("SELECT parcel_id FROM trace")).scalars())


def test_what_waits_together_is_committed_together(writer: Writer, engine: Engine):
    """A batch shares one commit; every command gets its own result."""
    held = Held(writer)
    futures = [writer.submit(PUT, f"n{i}") for i in range(20)]
    held.let_go.set()
    assert [f.result(10) for f in futures] == [f"n{i}" for i in range(20)]
    assert len(stored(engine)) == len(traced(engine)) == 20
    assert (writer.statistics.commits, writer.statistics.commands, writer.statistics.singly) == (2, 21, 0)


async def test_what_one_turn_of_the_loop_asks_for_is_committed_together(writer: Writer, engine: Engine):
    """An idle writer does not run ahead with the first of several that come in one turn."""

    async def posted() -> Any:
        return await asyncio.wrap_future(writer.post(asyncio.get_running_loop(), PUT, "posted"))

    asked = (writer.do(PUT, f"n{i}") for i in range(8))
    assert await asyncio.gather(posted(), *asked) == ["posted", *(f"n{i}" for i in range(8))]
    assert len(stored(engine)) == len(traced(engine)) == 9
    assert writer.statistics.commits == 1


def test_a_turn_that_never_ended_keeps_nobody_waiting(writer: Writer, engine: Engine):
    """What a loop asked for in its last turn is written with what the next one asks for, or when the writer closes."""

    async def last(name: str) -> Future[Any]:
        future = writer.post(asyncio.get_running_loop(), PUT, name)
        asyncio.get_running_loop().stop()
        return future

    for name in ("n1", "n2"):
        loop = asyncio.new_event_loop()
        task = loop.create_task(last(name))
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert task.done()
        loop.close()
    writer.close()
    assert stored(engine) == ["n1", "n2"]


def test_a_batch_has_a_size(writer: Writer):
    """No more than the limit go into one transaction."""
    held = Held(writer)
    futures = [writer.submit(PUT, f"n{i}") for i in range(limits.WRITER_BATCH + 1)]
    held.let_go.set()
    for future in futures:
        future.result(10)
    assert writer.statistics.commits == 3


def test_one_bad_command_never_takes_its_neighbours_with_it(writer: Writer, engine: Engine):
    """The batch fails, its items are tried singly: the bad one gets its error, the others are stored and traced once."""
    held = Held(writer)
    names = ["n1", "n2", "bad", "n3", "n1"]
    futures = [writer.submit(PUT, name) for name in names]
    held.let_go.set()
    errors = [type(f.exception(10)).__name__ for f in futures]
    assert errors == ["NoneType", "NoneType", "ValueError", "NoneType", "IntegrityError"]
    assert stored(engine) == traced(engine) == ["n1", "n2", "n3"]
    assert writer.statistics.singly == 1
    assert writer.submit(PUT, "n4").result(10) == "n4"


def test_items_accepted_in_one_batch_are_judged_alone(writer: Writer, engine: Engine):
    """Through the writer: new, known, conflict and one that fails, all handed over at once."""
    kind = Kind("accept", accept_many)
    first = an_accept("k-1", b"one")
    batch = [first, an_accept("k-1", b"one"), an_accept("k-1", b"two"), an_accept("k-2", parcel=first.item.parcel)]
    held = Held(writer)
    futures = [writer.submit(kind, accept) for accept in batch]
    held.let_go.set()
    assert [f.result(10).judgement for f in futures[:3]] == [Judgement.NEW, Judgement.KNOWN, Judgement.CONFLICT]
    assert type(futures[3].exception(10)).__name__ == "IntegrityError"


def test_kinds_have_an_order_within_a_transaction(writer: Writer):
    """What must come first comes first, whatever was submitted first."""
    seen: list[str] = []

    def kind(name: str, order: int) -> Kind:
        def apply(_connection: Connection, batch: Sequence[None]) -> Sequence[None]:
            seen.append(name)
            return batch

        return Kind(name, apply, order=order)

    held = Held(writer)
    futures = [writer.submit(kind(*k), None) for k in (("settle", 50), ("accept", 10), ("claim", 40))]
    held.let_go.set()
    for future in futures:
        future.result(10)
    assert seen == ["accept", "claim", "settle"]


def _counted(names: str) -> int:
    return 0 if names == "now" else len(names)


CALM = Kind("calm", lambda _connection, batch: batch, order=10, waits=_counted)


def test_what_may_wait_goes_behind_what_is_in_a_hurry(writer: Writer, monkeypatch: pytest.MonkeyPatch):
    """It gets a small part of the commit that others wait for, whoever came first, and the rest when nobody does."""
    monkeypatch.setattr(limits, "WRITER_PATIENT", 4)
    seen: list[str] = []
    note = Kind("note", lambda _connection, batch: [seen.append(f"hurry {one}") for one in batch])
    calm = Kind("calm", lambda _connection, batch: [seen.append(f"calm {one}") for one in batch], waits=_counted)
    held = Held(writer)
    futures = [writer.submit(calm, name) for name in ("aaa", "bbb", "ccc", "ddd")]
    futures += [writer.submit(note, "x"), writer.submit(note, "y")]
    held.let_go.set()
    for future in futures:
        future.result(10)
    assert sorted(seen[:4]) == ["calm aaa", "calm bbb", "hurry x", "hurry y"], "no call is divided"
    assert seen[4:] == ["calm ccc", "calm ddd"]
    assert writer.statistics.commits == 3


def test_one_that_is_in_a_hurry_among_those_that_may_wait(writer: Writer, monkeypatch: pytest.MonkeyPatch):
    """A command says for itself whether it may wait; its kind does not."""
    monkeypatch.setattr(limits, "WRITER_PATIENT", 1)
    held = Held(writer)
    patient = [writer.submit(CALM, name) for name in ("a", "b", "c")]
    hurried = writer.submit(CALM, "now")
    held.let_go.set()
    hurried.result(10)
    assert [future.result(10) for future in patient] == ["a", "b", "c"]
    assert writer.statistics.commits == 3


def test_closing_commits_what_may_wait_as_well(writer: Writer, monkeypatch: pytest.MonkeyPatch):
    """However little of it goes into one commit."""
    monkeypatch.setattr(limits, "WRITER_PATIENT", 1)
    held = Held(writer)
    futures = [writer.submit(CALM, name) for name in ("a", "b", "now", "c")]
    threading.Timer(0.1, held.let_go.set).start()
    writer.close()
    assert [future.result(0) for future in futures] == ["a", "b", "now", "c"]


async def test_cancelling_a_caller_never_cancels_a_commit(writer: Writer, engine: Engine):
    """The caller is gone, the command is stored all the same."""
    held = Held(writer)
    task = asyncio.create_task(writer.do(PUT, "n1"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    held.let_go.set()
    assert await writer.do(PUT, "n2") == "n2"
    assert stored(engine) == ["n1", "n2"]


async def test_what_came_of_a_command_is_told_when_nobody_waits(writer: Writer):
    """Its result or its error, once, in the caller's loop; who waits for its answer is told nothing beside it."""
    told: list[Any] = []
    held = Held(writer)
    tasks = [asyncio.create_task(writer.do(PUT, name, told.append)) for name in ("n1", "bad", "n2")]
    await asyncio.sleep(0)
    for task in tasks[:2]:
        task.cancel()
    held.let_go.set()
    assert await tasks[2] == "n2"
    assert await asyncio.gather(*tasks[:2], return_exceptions=True) != []
    await writer.do(PUT, "n3", told.append)
    assert (told[0], type(told[1]), len(told)) == ("n1", ValueError, 2)


def test_a_future_that_was_handed_out_cannot_be_cancelled(writer: Writer, engine: Engine, deaths: list[BaseException]):
    """Not even by who holds it: neither the command nor the writer may be lost by it."""
    held = Held(writer)
    future = writer.submit(PUT, "n1")
    assert not future.cancel()
    held.let_go.set()
    assert future.result(10) == "n1"
    assert writer.submit(PUT, "n2").result(10) == "n2"
    assert deaths == []


def test_a_full_queue_refuses_new_work_and_takes_what_ends_it(writer: Writer, monkeypatch: pytest.MonkeyPatch):
    """Accepting is refused with a time to come back; settling goes on."""
    monkeypatch.setattr(limits, "WRITER_QUEUE", 2)
    held = Held(writer)
    futures = [writer.submit(PUT, "n1"), writer.submit(PUT, "n2")]
    with pytest.raises(Overloaded) as caught:
        writer.submit(PUT, "n3")
    assert caught.value.retry_after > 0
    futures.append(writer.submit(ALWAYS, "n4"))
    held.let_go.set()
    assert [f.result(10) for f in futures] == ["n1", "n2", "n4"]


def test_closing_commits_what_waits(writer: Writer, engine: Engine):
    """Nothing that was taken is dropped; afterwards nothing is taken."""
    held = Held(writer)
    futures = [writer.submit(PUT, f"n{i}") for i in range(3)]
    held.let_go.set()
    writer.close()
    assert [f.result(0) for f in futures] == ["n0", "n1", "n2"]
    with pytest.raises(DurabilityLost):
        writer.submit(PUT, "late")
    assert stored(engine) == ["n0", "n1", "n2"]


# --- when the database fails ------------------------------------------------------------------------------------------


def _wait_dead(writer: Writer) -> None:
    writer._thread.join(10)
    assert not writer._thread.is_alive()


def failing_commits(monkeypatch: pytest.MonkeyPatch, when: Callable[[int], bool]) -> None:
    """Let commits fail: the n-th (from 1) when ``when(n)``."""
    count, commit = [0], RootTransaction.commit

    def instead(self: RootTransaction) -> None:
        count[0] += 1
        if when(count[0]):
            raise OperationalError("COMMIT", {}, Exception("disk I/O error"))
        commit(self)

    monkeypatch.setattr(RootTransaction, "commit", instead)


def test_a_commit_whose_fate_is_unknown_stops_the_node(
    writer: Writer, deaths: list[BaseException], monkeypatch: pytest.MonkeyPatch
):
    """Nobody is told yes, nothing more is taken, and the node is told once to stop."""
    held = Held(writer)
    futures = [writer.submit(PUT, "n1"), writer.submit(PUT, "n2")]
    failing_commits(monkeypatch, lambda n: n > 1)
    held.let_go.set()
    for future in futures:
        assert isinstance(future.exception(10), DurabilityLost)
    _wait_dead(writer)
    assert [isinstance(d, Fatal) for d in deaths] == [True]
    with pytest.raises(DurabilityLost):
        writer.submit(PUT, "n3")


def test_no_caller_waits_for_ever_when_the_writer_dies_among_single_retries(
    writer: Writer, deaths: list[BaseException], monkeypatch: pytest.MonkeyPatch
):
    """A batch is being retried singly and the second commit is lost: those behind it get an answer too."""
    held = Held(writer)
    futures = [writer.submit(PUT, name) for name in ("bad", "n1", "n2", "n3")]
    failing_commits(monkeypatch, lambda n: n == 3)
    held.let_go.set()
    outcomes = [type(f.exception(10)).__name__ for f in futures]
    assert outcomes == ["ValueError", "NoneType", "DurabilityLost", "DurabilityLost"]
    _wait_dead(writer)
    assert len(deaths) == 1


def test_whatever_a_commit_raises_its_fate_is_unknown(
    writer: Writer, deaths: list[BaseException], monkeypatch: pytest.MonkeyPatch
):
    """An error that is not the driver's is no licence to try again: the first try may be on the disk."""
    monkeypatch.setattr(RootTransaction, "commit", lambda self: (_ for _ in ()).throw(RuntimeError("odd")))
    assert isinstance(writer.submit(PUT, "n1").exception(10), DurabilityLost)
    _wait_dead(writer)
    assert len(deaths) == 1


def test_a_rollback_that_fails_stops_the_node(
    writer: Writer, deaths: list[BaseException], monkeypatch: pytest.MonkeyPatch
):
    """What is still in the transaction is unknown."""

    def fail(self: RootTransaction) -> None:
        raise OperationalError("ROLLBACK", {}, Exception("disk I/O error"))

    monkeypatch.setattr(RootTransaction, "rollback", fail)
    assert isinstance(writer.submit(PUT, "bad").exception(10), DurabilityLost)
    _wait_dead(writer)
    assert len(deaths) == 1


def test_a_failed_sync_inside_sqlite_stops_the_node(writer: Writer, deaths: list[BaseException]):
    """An input or output error, a failed fsync among them, is not retried: the page cache can no longer be trusted."""

    class Io(Exception):
        sqlite_errorcode = 1034  # SQLITE_IOERR_FSYNC

    def fail(_connection: Connection, _batch: Sequence[Any]) -> Sequence[Any]:
        raise OperationalError("INSERT", {}, Io("disk I/O error"))

    assert isinstance(writer.submit(Kind("fail", fail), None).exception(10), DurabilityLost)
    _wait_dead(writer)
    assert [isinstance(d, DurabilityLost) for d in deaths] == [True]


def test_a_writer_that_cannot_connect_says_so(engine: Engine, deaths: list[BaseException]):
    """No connection at the start: what was handed over fails, the node is told."""

    @event.listens_for(engine, "do_connect")
    def refuse(*_: Any) -> None:
        raise OSError("no route to host")

    engine.dispose()
    writer = Writer(engine, "node-a.1", deaths.append)
    future: Future[Any] = writer.submit(PUT, "n1")
    writer.start()
    assert isinstance(future.exception(10), DurabilityLost)
    _wait_dead(writer)
    assert isinstance(deaths[0], OSError)


def test_a_full_disk_is_a_documented_error_and_leaves_nothing_half_stored(sqlite_engine: Engine):
    """SQLite has no room for one large item: it is refused for later, its small neighbours are stored, work goes on."""
    room: list[int] = []

    @event.listens_for(sqlite_engine, "begin")
    def limit(connection: Connection) -> None:
        room[:] = room or [int(connection.exec_driver_sql("PRAGMA page_count").scalar_one()) + 40]
        connection.exec_driver_sql(f"PRAGMA max_page_count={room[0]}")

    def fill(connection: Connection, batch: Sequence[int]) -> Sequence[int]:
        for size in batch:
            connection.execute(text("INSERT INTO meta VALUES (:n, 'first')"), {"n": f"begin-{size}"})
            connection.execute(text("INSERT INTO meta VALUES (:n, :v)"), {"n": f"end-{size}", "v": "x" * size})
        return batch

    deaths: list[BaseException] = []
    writer = Writer(sqlite_engine, "node-a.1", deaths.append)
    writer.start()
    kind = Kind("fill", fill)
    held = Held(writer)
    futures = [writer.submit(kind, size) for size in (10, 1_000_000, 20)]
    held.let_go.set()
    assert [type(f.exception(10)) for f in futures] == [type(None), Overloaded, type(None)]
    assert "full" in str(futures[1].exception())
    assert writer.submit(kind, 30).result(10) == 30
    writer.close()
    assert deaths == []
    assert stored(sqlite_engine) == [f"{w}-{n}" for w in ("begin", "end") for n in (10, 20, 30)]


def test_a_text_the_database_cannot_hold_is_refused_with_a_documented_error(postgresql_url: str):
    """PostgreSQL has widths and no NUL: what a peer may send is a refusal without the value, never a bug."""
    from core.ledger.engine import open_engine, upgrade

    engine = open_engine(postgresql_url)
    upgrade(engine)
    writer = Writer(engine, "node-a.1", lambda error: None)
    writer.start()
    for name in ("x" * 65, "nul\x00"):
        error = writer.submit(PUT, name).exception(10)
        assert isinstance(error, Refused)
        assert name not in str(error)
    assert writer.submit(PUT, "fine").result(10) == "fine"
    writer.close()
    engine.dispose()


@pytest.mark.parametrize("hot", [False, True])
def test_a_server_that_went_away_is_found_again(postgresql_url: str, hot: bool):
    """A connection that broke before a commit loses one command with a documented error, and no more."""
    from core.ledger.engine import open_engine, upgrade

    engine = open_engine(postgresql_url)
    upgrade(engine)
    deaths: list[BaseException] = []
    writer = Writer(engine, "node-a.1", deaths.append)
    writer.start()
    assert writer.submit(PUT, "n1").result(10) == "n1"
    with engine.connect() as connection:
        mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> :p"
            ),
            {"p": mine},
        )
    kind, item = (Kind("accept", accept_many), an_accept("k")) if hot else (PUT, "n2")
    outcome = writer.submit(kind, item).exception(10)
    assert outcome is None or isinstance(outcome, Overloaded)
    assert writer.submit(PUT, "n3").result(10) == "n3"
    writer.close()
    assert deaths == []
    assert "n3" in stored(engine)
    engine.dispose()
