"""What came, replayed under two configurations: what differs, how often, and what could not be said."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from core import limits
from core.backtest import OTHERS, Backtest, Tally
from core.clock import from_datetime
from core.config import Configuration
from core.description import Description
from core.parcel import Past
from core.whatif import Place
from tests.core.estates import small

AT = from_datetime(datetime(2026, 3, 1, 12, tzinfo=UTC))
JOURNAL = Place(("to-journal",), ("egedal-journal",))


def past(name: str, integration: str = "letters", *, at: int = AT, about: bool = False, **fields: Any) -> Past:
    """A parcel that came from Birkelund's invented post system."""
    said = {"type": "move" if integration == "moves" else "letter", "sender": "birkelund-post"} | fields
    text = Description(**said).model_dump_json(exclude={"subjects"})
    return Past(name, "birkelund-post", integration, at, text, 10, about)


def replayed(after: Configuration, *parcels: Past, before: Configuration | None = None) -> Backtest:
    """Some parcels under the small configuration and another."""
    made = Backtest(before or small(), after, AT)
    for one in parcels:
        made.take(one)
    return made


def test_the_same_configuration_changes_nothing():
    """Every parcel is counted, and there is no difference."""
    made = replayed(small(), past("a"), past("b", "moves"))
    assert list(made.groups) == []
    assert made.integrations == {"letters": Tally(1), "moves": Tally(1)}
    assert (made.coverage.parcels, made.coverage.first_at, made.coverage.last_at) == (2, AT, AT)


@pytest.mark.requirement("R46")
def test_what_would_go_elsewhere_is_grouped_with_examples():
    """Old rule and receivers, new rule and receivers, how many, and the first three."""
    urgent = {"kind": "route", "id": "urgent", "order": 1, "match": {"priority": "urgent"}}
    after = small(urgent | {"to": [{"system": "residual"}]})
    parcels = [past(f"p{i}", priority="urgent" if i % 2 else "normal") for i in range(10)]
    (group,) = replayed(after, *parcels).groups
    assert (group.before, group.after) == (JOURNAL, Place(("urgent",), ("residual",)))
    assert (group.count, group.examples, group.elsewhere) == (5, ["p1", "p3", "p5"], True)


def test_another_rule_with_the_same_receivers_is_told_apart():
    """It is a difference, and nobody gets what they did not get."""
    again = {"kind": "route", "id": "again", "order": 1, "to": [{"system": "egedal-journal"}]}
    made = replayed(small(again), past("a"))
    assert [group.elsewhere for group in made.groups] == [False]
    assert made.integrations["letters"] == Tally(1, 0, 1)


def test_what_would_be_refused_goes_elsewhere():
    """An agreement that is gone, and a notification that nobody would have got anyway."""
    (group,) = replayed(small(without="post-sends"), past("a")).groups
    assert (group.elsewhere, group.after.is_refused) == (True, True)
    silent = small(without="journal-moves")
    refused = {"kind": "integration", "id": "moves", "types": ["other"]}
    (group,) = replayed(small(refused, without="journal-moves"), past("a", "moves"), before=silent).groups
    assert (group.elsewhere, group.before.receivers, group.after.receivers) == (True, (), ())


def test_subscriptions_are_compared_one_by_one():
    """A new subscription is a new receiver, by name."""
    more = {"kind": "subscription", "id": "post-moves", "system": "birkelund-post", "integration": "moves"}
    may = {"kind": "service-agreement", "id": "post-tells", "may": "both"}
    (group,) = replayed(small(more, may), past("a", "moves")).groups
    assert group.before == Place(("journal-moves",), ("egedal-journal",))
    assert group.after.receivers == ("birkelund-post", "egedal-journal")


def test_what_a_value_list_decides_is_counted_and_left_out():
    """A subscription that gets a list is no difference that can be told; others beside it are compared all the same."""
    listed = {"kind": "subscription", "id": "journal-moves", "subjects_in": "ours"}
    made = replayed(small(listed), past("a", "moves", about=True), past("b", "moves", about=True))
    assert (list(made.groups), made.coverage.undecided) == ([], {"journal-moves": 2})
    more = {"kind": "subscription", "id": "post-moves", "system": "birkelund-post", "integration": "moves"}
    may = {"kind": "service-agreement", "id": "post-tells", "may": "both"}
    (group,) = replayed(small(listed, more, may), past("a", "moves", about=True)).groups
    assert (group.before.receivers, group.after.receivers) == ((), ("birkelund-post",))
    handed = {"kind": "integration", "id": "moves", "capability": "handover"}
    (group,) = replayed(small(handed), past("a", "moves", about=True), before=small(listed)).groups
    assert group.after.receivers == ("residual",)
    (group,) = replayed(small(listed), past("a", "moves")).groups
    assert group.after == Place((), (), "no subscription matches")


def test_what_cannot_be_replayed_is_counted():
    """Emptied by retention, or written by another program: neither is replayed, both are in the coverage."""
    emptied = Past("a", "birkelund-post", "letters", AT - 5, None, 0, False)
    strange = Past("b", "birkelund-post", "letters", AT + 5, '{"colour": "red"}', 0, False)
    seen = replayed(small(), emptied, strange).coverage
    assert (seen.parcels, seen.emptied, seen.unreadable) == (0, 1, 1)
    assert (seen.first_at, seen.last_at) == (AT - 5, AT + 5)


def test_differences_have_an_end(monkeypatch: pytest.MonkeyPatch):
    """Beyond the limit they are counted as one, so that memory stays flat."""
    monkeypatch.setattr(limits, "BACKTEST_GROUPS", 1)
    made = replayed(Configuration({}), past("a"), past("b", "moves"), past("c", "moves"))
    told = [(group.integration, group.count, group.before == OTHERS) for group in made.groups]
    assert told == [("moves", 2, True), ("letters", 1, False)]
    assert all(group.elsewhere for group in made.groups)
