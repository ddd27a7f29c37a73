"""Track and trace as a caller asks for it: pages, failures, and questions that cannot be."""

from __future__ import annotations

import pytest

from core.delivery import State
from core.desk.search import Search
from core.errors import UsageError
from core.ledger.search import Asked
from core.receipt import Level, Verdict
from tests.core.nodes import ARCHIVE, JOURNAL, SENDER, Site, received


async def rejected(site: Site, kind: str = "letter") -> str:
    """A parcel that its receiver's application rejects."""
    parcel_id = (await site.accept(kind=kind)).parcel_id
    for one in site.deliveries():
        if one.parcel_id == parcel_id and one.receiver == JOURNAL:
            facts = {"level": Level.BUSINESS, "verdict": Verdict.REJECTED, "code": "unknown", "reason": "no such case"}
            await site.kernel.settle(received(one, site.clock.now(), **facts))
    return parcel_id


@pytest.mark.requirement("R75", "R130")
async def test_pages_follow_each_other(site: Site):
    """The cursor of a page begins the next; the last has none."""
    made = []
    for _ in range(5):
        made.append((await site.accept()).parcel_id)
        site.clock.tick(1000)
    desk, seen, before = Search(site.runtime), [], ""
    while True:
        page = await desk.find(Asked(sender=SENDER, before=before), limit=2)
        seen += [found.parcel_id for found in page.items]
        if not (before := page.next):
            break
    assert seen == made[::-1]


@pytest.mark.requirement("R79", "R131", "R134")
async def test_failures_are_listed_with_why(site: Site):
    """Only the deliveries that wait for a person; what lies in the residual mailbox is one of them."""
    first = await rejected(site, "circular")
    site.clock.tick(1000)
    stray = (await site.accept(kind="stray")).parcel_id
    site.clock.tick(1000)
    await site.accept()
    desk = Search(site.runtime)
    page = await desk.failures(Asked())
    assert [(f.parcel_id, f.receiver, f.state) for f in page.items] == [
        (stray, "residual", "held"),
        (first, JOURNAL, "rejected"),
    ]
    assert (page.items[1].code, page.items[1].reason) == ("unknown", "no such case")
    assert [f.parcel_id for f in (await desk.failures(Asked(states=(State.REJECTED,)))).items] == [first]
    assert (await desk.failures(Asked(receiver=ARCHIVE))).items == ()
    assert [f.state for f in (await desk.failures(Asked(rule="to-both"))).items] == ["rejected"]
    assert (await desk.failures(Asked(systems=frozenset({ARCHIVE})))).items == ()
    assert len((await desk.failures(Asked(systems=frozenset({SENDER})))).items) == 2


@pytest.mark.parametrize("field", ["reference", "sender", "receiver", "integration", "rule", "before"])
async def test_a_wrong_value_names_its_field(site: Site, field: str):
    """Before a database sees it."""
    with pytest.raises(UsageError, match=f"^{field}: "):
        await Search(site.runtime).find(Asked(**{field: "a\x00"}))


async def test_a_question_that_cannot_be_is_refused(site: Site):
    """Times in the wrong order, too many rows, a state that is no failure."""
    desk = Search(site.runtime)
    with pytest.raises(UsageError, match=r"^until: "):
        await desk.find(Asked(since=5, until=5))
    with pytest.raises(UsageError, match=r"^limit: "):
        await desk.find(Asked(), limit=10**9)
    with pytest.raises(UsageError, match=r"^state: delivered is no failure"):
        await desk.failures(Asked(states=(State.DELIVERED,)))
    assert (await desk.find(Asked(reference="' OR 1=1 --"))).items == ()
