"""The usage log: a change is in it when its answer leaves, a look soon after."""

from __future__ import annotations

from concurrent.futures import Future

import pytest

from core.desk import looking
from core.desk.looking import Looking
from core.desk.page import Page
from core.errors import Overloaded, UsageError
from core.ledger.looking import Asked
from tests.core.nodes import Site


@pytest.mark.requirement("R81", "R102", "R132")
async def test_changes_are_there_at_once_and_looks_with_the_next_commit(site: Site):
    """Both by the same questions, the newest first."""
    desk = Looking(site.runtime)
    await desk.changed("clerk-1", "birkelund", "redrive", "p-1")
    (change,) = (await desk.find(Asked())).items
    assert (change.who, change.action, change.object, change.outcome) == ("clerk-1", "redrive", "p-1", "ok")
    site.clock.tick(1000)
    desk.saw("clerk-2", "birkelund", "read", "p-1", "not-allowed")
    await site.written()
    page = await desk.find(Asked(object="p-1"), limit=1)
    assert [(one.who, one.outcome) for one in page.items] == [("clerk-2", "not-allowed")]
    last = await desk.find(Asked(object="p-1", before=page.next), limit=1)
    assert last == Page((change,), "")


async def test_many_looks_share_commits(site: Site):
    """Nobody waits for them, and none is lost."""
    desk = Looking(site.runtime)
    before = site.runtime.writer.statistics.commits
    for number in range(300):
        desk.saw("clerk-1", "birkelund", "read", f"p-{number}")
    await site.written()
    assert site.runtime.writer.statistics.commits - before < 100
    assert len((await desk.find(Asked(), limit=1000)).items) == 300


def test_a_look_that_cannot_be_written_is_said(monkeypatch: pytest.MonkeyPatch):
    """Nobody waits for it, so the log says it."""
    said: list[str] = []
    monkeypatch.setattr(looking._log, "error", lambda text, **facts: said.append(f"{text}: {facts['cause']}"))
    failed: Future[None] = Future()
    failed.add_done_callback(looking._tell)
    failed.set_exception(Overloaded("the ledger is away"))
    well: Future[None] = Future()
    well.add_done_callback(looking._tell)
    well.set_result(None)
    assert len(said) == 1
    assert "the ledger is away" in said[0]


@pytest.mark.parametrize("field", ["who", "authority", "action", "object", "before"])
async def test_a_wrong_question_names_its_field(site: Site, field: str):
    """Before a database sees it."""
    with pytest.raises(UsageError, match=f"^{field}: "):
        await Looking(site.runtime).find(Asked(**{field: "\x00"}))
    with pytest.raises(UsageError, match=r"^limit: "):
        await Looking(site.runtime).find(Asked(), limit=0)
