"""Open alarms, for those whom they are about."""

from __future__ import annotations

import pytest

from core import commands
from core.desk.alarming import Alarming, before
from core.errors import UsageError
from core.ledger.alarms import Alarm, Asked
from tests.core.nodes import ARCHIVE, JOURNAL, SENDER, Site


@pytest.mark.requirement("R74", "R79")
async def test_alarms_are_seen_and_cleared_by_whom_they_are_about(site: Site):
    """Pages follow each other; what is another's is not cleared, and what was cleared is open for nobody."""
    both = (await site.accept(kind="circular")).parcel_id
    now = site.clock.now()
    for number, parcel_id in enumerate((both, "", both)):
        await site.runtime.do(commands.ALARM, Alarm(f"a-{number}", now + number // 2, "failed", "it failed", parcel_id))
    desk, sender = Alarming(site.runtime), frozenset({SENDER})
    first = await desk.find(Asked(), limit=2)
    assert [one.id for one in first.items] == ["a-2", "a-1"]
    second = await desk.find(Asked(before=before(first.next)), limit=2)
    assert ([one.id for one in second.items], second.next) == (["a-0"], "")
    assert [one.id for one in (await desk.find(Asked(systems=sender))).items] == ["a-2", "a-0"]
    assert (await desk.find(Asked(systems=frozenset({JOURNAL})))).items == ()
    assert await desk.clear(["a-0", "a-1", "nothing"], frozenset({JOURNAL, ARCHIVE})) == ["a-0"]
    assert await desk.clear(["a-1"], sender) == []
    assert await desk.clear(["a-0"], sender) == ["a-0"]
    assert [one.id for one in (await desk.find(Asked())).items] == ["a-2", "a-1"]


async def test_a_wrong_question_names_its_field(site: Site):
    """Before a database sees it."""
    for field in ("code", "parcel_id"):
        with pytest.raises(UsageError, match=f"^{field}: "):
            await Alarming(site.runtime).find(Asked(**{field: "\x00"}))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"^limit: "):
        await Alarming(site.runtime).find(Asked(), limit=0)
    assert before("") is None
    assert before("17/idle-1") == (17, "idle-1")
    for wrong in ("x", "1/", "/a", "1" * 18 + "/a", "1/" + "a" * 65, "\u0661/a", "1/a\n"):
        with pytest.raises(UsageError, match=r"^before: "):
            before(wrong)
