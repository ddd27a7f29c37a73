"""Proposed versions that wait for a second person, on either database."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine

from core.errors import NotFound, UsageError
from core.ledger import proposals, versions
from core.ledger.proposals import Proposal
from core.ledger.versions import Version
from tests.core.making import NOW

ONE = Proposal("p1", "first-operator", NOW, "tidy", 1, '{"documents": [], "files": {}}')


@pytest.fixture
def waiting(engine: Engine) -> Engine:
    """A ledger with a version and a proposal over it."""
    with engine.begin() as connection:
        versions.add(connection, [Version(0, NOW, "somebody", "first", "{}")])
        proposals.add(connection, ONE, 2)
    return engine


def test_a_proposal_reads_back_as_it_was(waiting: Engine):
    """It waits, and is found by its id."""
    with waiting.connect() as connection:
        assert proposals.get(connection, "p1") == ONE
        assert list(proposals.waiting(connection)) == [ONE]
        with pytest.raises(NotFound, match="'p2'"):
            proposals.get(connection, "p2")


def test_approving_makes_it_the_next_version(waiting: Engine):
    """Version and mark are there together, with both names."""
    with waiting.begin() as connection:
        assert proposals.approve(connection, "p1", "second-operator", "seen", NOW + 1) == 2
        made = versions.get(connection, 2)
        decided = proposals.get(connection, "p1")
    assert made is not None
    assert (made.content, made.who, made.why) == (ONE.content, "first-operator, approved by second-operator", "tidy")
    assert (decided.state, decided.over, decided.decided_by) == ("approved", 2, "second-operator")


def test_nobody_approves_their_own(waiting: Engine):
    """However long a name is, and whatever else is true."""
    with waiting.begin() as connection, pytest.raises(UsageError, match="somebody else"):
        proposals.approve(connection, "p1", "first-operator", "", NOW)


def test_what_came_in_between_makes_it_too_late(waiting: Engine):
    """The version in force is another one than was looked at."""
    with waiting.begin() as connection:
        versions.add(connection, [Version(0, NOW, "somebody", "second", "{}")])
    with waiting.begin() as connection, pytest.raises(UsageError, match="version 2 is in force"):
        proposals.approve(connection, "p1", "second-operator", "", NOW)


def test_a_proposal_is_decided_once(waiting: Engine):
    """After a rejection neither yes nor no counts; one's own may be taken back."""
    with waiting.begin() as connection:
        proposals.reject(connection, "p1", "first-operator", "a slip", NOW)
        with pytest.raises(UsageError, match="rejected by first-operator already"):
            proposals.reject(connection, "p1", "first-operator", "", NOW)
        with pytest.raises(UsageError, match="already"):
            proposals.approve(connection, "p1", "second-operator", "", NOW)
        assert versions.latest_number(connection) == 1


def test_not_more_wait_than_people_can_look_at(waiting: Engine):
    """The limit counts those that are open."""
    with waiting.begin() as connection:
        with pytest.raises(UsageError, match="1 proposals wait"):
            proposals.add(connection, Proposal("p2", "a", NOW, "", 1, "{}"), 1)
        proposals.reject(connection, "p1", "a", "", NOW)
        proposals.add(connection, Proposal("p3", "a", NOW, "", 1, "{}"), 1)
