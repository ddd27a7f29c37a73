"""The usage log's rows: found by who, what and when, gone when their time is over."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from core.ledger import looking
from core.ledger.looking import Asked, Look
from core.parcel import new_id
from tests.core.making import NOW


def a_look(at: int = NOW, **changes: str) -> Look:
    """A clerk looks at a parcel."""
    facts = {"who": "clerk-1", "authority": "birkelund", "action": "read", "object": "p-1"} | changes
    return Look(new_id(at), at, **facts)


@pytest.mark.requirement("R81", "R102", "R129", "R132")
def test_looks_are_found_by_who_what_and_when(engine: Engine):
    """The newest first, page by page."""
    first, second = a_look(), a_look(NOW + 1000, who="clerk-2", outcome="not-allowed")
    third = a_look(NOW + 2000, object="p-2", action="apply", authority="egedal")
    with engine.begin() as connection:
        looking.add_many(connection, [first, second, third])
        assert looking.find(connection, Asked(), 10) == [third, second, first]
        assert looking.find(connection, Asked(who="clerk-1"), 10) == [third, first]
        assert looking.find(connection, Asked(object="p-1"), 10) == [second, first]
        assert looking.find(connection, Asked(authority="egedal", action="apply"), 10) == [third]
        assert looking.find(connection, Asked(since=NOW + 1000, until=NOW + 2000), 10) == [second]
        assert looking.find(connection, Asked(before=third.id), 1) == [second]


def test_words_are_cut_to_their_columns(engine: Engine):
    """A long name may not fail what it was written with."""
    with engine.begin() as connection:
        looking.add_many(connection, [a_look(who="w" * 999, object="o" * 999, action="a" * 99, authority="u" * 999)])
        (kept,) = looking.find(connection, Asked(), 10)
    assert [len(text) for text in (kept.who, kept.object, kept.action, kept.authority)] == [255, 255, 64, 255]


@pytest.mark.requirement("R106", "R129")
def test_old_looks_are_forgotten(engine: Engine):
    """Those before a time, and no others."""
    with engine.begin() as connection:
        looking.add_many(connection, [a_look(), a_look(NOW + 1)])
        assert looking.forget(connection, NOW + 1) == 1
        assert [look.at for look in looking.find(connection, Asked(), 10)] == [NOW + 1]
