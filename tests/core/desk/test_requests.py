"""The desk of requests, on both databases: what is asked is judged, what is approved is merged and followed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from core import commands, limits
from core.agreement import ServiceAgreement
from core.config import Configuration
from core.desk.requests import Asker, Requests
from core.errors import NotAllowed, NotFound, Overloaded, Unfit, WrongState
from core.fitting import put, without
from core.integration import Integration
from core.ledger import versions
from core.ledger.requests import RequestState, Wanted
from core.ledger.versions import Version
from core.parcel import Key
from core.subscription import Subscription
from tests.core.nodes import JOURNAL, SENDER, Site

ASKER = Asker(JOURNAL, "birkelund")
WISH = Subscription.model_validate({"id": "journal-news", "system": JOURNAL, "integration": "news"})
MAY = ServiceAgreement.model_validate({"id": "journal-may", "system": JOURNAL, "integration": "news", "may": "receive"})


async def apply(site: Site, configuration: Configuration) -> None:
    """Make it the next version."""
    version = Version(0, site.clock.now(), "bodil", "", configuration.to_json())
    number = await site.runtime.do(commands.VERSION, version)
    site.runtime.configuration = Configuration(configuration.documents, configuration.files, number)


@pytest.fixture
async def desk(site: Site) -> AsyncIterator[Requests]:
    """A desk whose node follows what it makes; news are moved, and owned by Birkelund."""
    news = {"id": "news", "capability": "notification", "types": ["news"], "owner": "birkelund"}
    await apply(site, put(site.runtime.configuration, Integration.model_validate(news)))
    site.runtime.on_version = lambda made: setattr(site.runtime, "configuration", made)
    yield Requests(site.runtime)


def there(site: Site, kind: str = "subscription") -> set[str]:
    """The documents of a kind in force."""
    return set(site.runtime.configuration.all(kind))


async def test_what_is_approved_is_followed(site: Site, desk: Requests):
    """The next version has the document, with who and why in the history; the request says which version."""
    asked = (await desk.ask(ASKER, WISH, "we read news")).request
    assert asked is not None
    made = await desk.approve(asked.id, "owner", "birkelund", "fine")
    assert (made.state, made.config_version, made.decided_by) == (RequestState.APPROVED, 2, "owner")
    assert "journal-news" in there(site)
    newest = (await desk.history(1))[0]
    assert newest.who == "owner"
    assert newest.why == f"request {asked.id} by {JOURNAL} approved by owner: we read news: fine"


async def test_an_agreement_says_who_approved_it(site: Site, desk: Requests):
    """The authority that is named, else the owner's."""
    for name, authority, expected in (("a", "egedal", "egedal"), ("b", "", "birkelund")):
        asked = (await desk.ask(ASKER, MAY.model_copy(update={"id": name}), "")).request
        assert asked is not None
        await desk.approve(asked.id, "owner", authority, "")
        assert site.runtime.configuration.all("service-agreement")[name].approved_by == expected


async def test_what_is_wrong_is_not_asked(site: Site, desk: Requests):
    """An integration that is not there, one that has no subscriptions, an id that stands for another system's document."""
    stranger = WISH.model_copy(update={"system": SENDER})
    await apply(site, put(site.runtime.configuration, stranger))
    for wish, field in (
        (WISH.model_copy(update={"integration": "none"}), "integration"),
        (WISH.model_copy(update={"integration": "letters"}), "integration"),
        (WISH, "id"),
    ):
        with pytest.raises(Unfit) as found:
            await desk.ask(ASKER, wish, "")
        assert [one.field for one in found.value.problems] == [field]
    unknown = MAY.model_copy(update={"system": "nobody"})
    with pytest.raises(Unfit, match="service-agreement journal-may: system: nothing is called 'nobody'"):
        await desk.ask(ASKER, unknown, "")
    assert (await desk.find(Wanted(everything=True), 10))[0] == []


async def test_nobody_decides_what_they_asked(desk: Requests):
    """Neither yes nor no; withdrawing is theirs."""
    asked = (await desk.ask(ASKER, WISH, "")).request
    assert asked is not None
    with pytest.raises(NotAllowed):
        await desk.approve(asked.id, JOURNAL, "birkelund", "")
    with pytest.raises(NotAllowed):
        await desk.refuse(asked.id, JOURNAL, "")
    assert (await desk.withdraw(asked.id, JOURNAL, "no more")).state is RequestState.WITHDRAWN
    for decided in (
        desk.approve(asked.id, "owner", "", ""),
        desk.refuse(asked.id, "owner", ""),
        desk.withdraw(asked.id, "x", ""),
    ):
        with pytest.raises(WrongState, match="withdrawn already"):
            await decided
    with pytest.raises(NotFound):
        await desk.refuse("none", "owner", "")


async def test_a_decision_that_comes_second_is_told_so(desk: Requests):
    """Of two refusals at once, and of an approval that a refusal overtakes, one counts."""
    asked = (await desk.ask(ASKER, WISH, "")).request
    assert asked is not None
    both = await asyncio.gather(
        desk.refuse(asked.id, "owner", ""), desk.approve(asked.id, "other", "", ""), return_exceptions=True
    )
    assert sum(isinstance(one, WrongState) for one in both) == 1


async def test_a_removal_is_of_what_is_there(site: Site, desk: Requests):
    """Approved it is gone; when it has gone meanwhile, or stands for another's by now, the request cannot be approved."""
    await apply(site, put(site.runtime.configuration, WISH))
    asked = [(await desk.ask_removal(ASKER, WISH, "")).request for _ in range(2)]
    assert all(one is not None and one.removes for one in asked)
    assert (await desk.approve(asked[0].id, "owner", "", "")).state is RequestState.APPROVED  # type: ignore[union-attr]
    assert "journal-news" not in there(site)
    with pytest.raises(WrongState, match="not there any more"):
        await desk.approve(asked[1].id, "owner", "", "")  # type: ignore[union-attr]


async def test_an_approval_is_merged_into_what_others_have_made(
    site: Site, desk: Requests, monkeypatch: pytest.MonkeyPatch
):
    """Whoever stores a version while it is being made: theirs stays, and the checks are run again on the new whole."""
    asked = (await desk.ask(ASKER, WISH, "")).request
    assert asked is not None
    other, rounds = WISH.model_copy(update={"id": "other"}), 0
    check = desk.check

    async def overtaken(wanted: Configuration) -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 1:  # between reading the newest version and storing the next
            text = put(site.runtime.configuration, other).to_json()
            await site.runtime.do(commands.VERSION, Version(0, site.clock.now(), "bodil", "", text))
        await check(wanted)

    monkeypatch.setattr(desk, "check", overtaken)
    await desk.approve(asked.id, "owner", "", "")
    assert {"journal-news", "other"} <= there(site)
    assert rounds == 2


async def test_who_is_overtaken_all_the_time_is_asked_to_come_back(
    site: Site, desk: Requests, monkeypatch: pytest.MonkeyPatch
):
    """Changing has an end."""
    monkeypatch.setattr(limits, "CHANGE_ROUNDS", 2)

    async def overtaken(_wanted: Configuration) -> None:
        text = site.runtime.configuration.to_json()
        await site.runtime.do(commands.VERSION, Version(0, site.clock.now(), "bodil", "", text))

    monkeypatch.setattr(desk, "check", overtaken)
    with pytest.raises(Overloaded):
        await desk.change(lambda newest: without(newest, "subscription", "x"), "who", "why")
    assert site.runtime.read_now(versions.latest_number) == 3


async def test_a_request_counts_once_under_its_key(desk: Requests, monkeypatch: pytest.MonkeyPatch):
    """Known, or a conflict; and with too many pending there is none."""
    key = Key("rest-requests/journal", "k1")
    first, again = await desk.ask(ASKER, WISH, "a", key), await desk.ask(ASKER, WISH, "a", key)
    assert (first.known, again.known, again.request) == (False, True, first.request)
    other = await desk.ask(ASKER, WISH, "b", key)
    assert (other.request, other.conflict) == (None, True)
    monkeypatch.setattr(limits, "REQUESTS_PENDING", 1)
    full = await desk.ask(ASKER, WISH, "c")
    assert (full.request, full.conflict) == (None, False)


async def test_documents_are_judged_without_storing_them(site: Site, desk: Requests):
    """Each wrong one is named; when all can be read, what is wrong between them."""
    values: list[dict[str, Any]] = [{"kind": "system", "id": "x"}]
    assert [one.field for one in await desk.judge(values)] == ["authority"]
    values = [MAY.model_dump(mode="json")]
    assert {one.field for one in await desk.judge(values)} == {"integration", "system"}
    assert await desk.judge([]) == []
    assert site.runtime.read_now(versions.latest_number) == 1


async def test_pages_of_requests(desk: Requests):
    """The newest first, each once."""
    asked = [(await desk.ask(ASKER, WISH, str(n))).request for n in range(3)]
    page, after = await desk.find(Wanted(ASKER.name), 2)
    rest, end = await desk.find(Wanted(ASKER.name, before=after), 2)
    assert sorted(one.id for one in (*page, *rest)) == sorted(one.id for one in asked if one)
    assert (len(page), len(rest), end) == (2, 1, "")
