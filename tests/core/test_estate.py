"""The indexes over a whole configuration: who is agreed, which routes lead where, what may be moved."""

from __future__ import annotations

from datetime import date

from core.agreement import ServiceAgreement
from core.estate import Estate, directions
from tests.core.estates import small

DAY = date(2026, 3, 1)


def an_agreement(**changes: object) -> ServiceAgreement:
    """An agreement of one system."""
    value = {"id": "a", "integration": "letters", "system": "birkelund-post", "may": "both"}
    return ServiceAgreement.model_validate(value | changes)


def test_both_is_two_directions():
    """What may both send and receive counts in either."""
    assert directions(an_agreement()) == ("send", "receive")
    assert directions(an_agreement(may="send")) == ("send",)


def test_an_agreement_stands_by_the_day():
    """Its first and its last day are days on which it holds."""
    estate = Estate(small(), DAY)
    assert estate.standing(an_agreement(since="2026-03-01", until="2026-03-01")) == "now"
    assert estate.standing(an_agreement(since="2026-03-02")) == "later"
    assert estate.standing(an_agreement(until="2026-02-28")) == "ended"


def test_the_best_of_several_agreements_counts():
    """One that holds now beats one that has ended and one that comes."""
    kind = {"kind": "service-agreement", "integration": "letters", "system": "egedal-journal", "may": "receive"}
    ended, later = kind | {"id": "e", "until": "2026-01-31"}, kind | {"id": "l", "since": "2026-04-01"}
    assert Estate(small(ended, later), DAY).agreed("letters", "receive", "egedal-journal") == "now"
    without = Estate(small(ended, later, without="journal"), DAY)
    assert without.agreed("letters", "receive", "egedal-journal") == "later"
    assert without.anybody("letters", "receive")
    assert not Estate(small(ended, without="journal"), DAY).anybody("letters", "receive")
    assert Estate(small(), DAY).agreed("letters", "send", "egedal-journal") == "never"


def test_routes_are_found_by_what_they_are_for():
    """A route with an integration is its own; one without is open, and known by the type it demands."""
    openly = {"kind": "route", "id": "open", "match": {"type": "form"}, "to": [{"system": "residual"}]}
    estate = Estate(small(openly), DAY)
    assert [route.id for route in estate.routes_of["letters"]] == ["to-journal"]
    assert [route.id for route in estate.open_routes] == ["open"]
    assert estate.open_to == {"form": {"residual"}}


def test_what_routes_may_move():
    """Notifications are not moved by routes; a receiver is reachable for the types of what it may receive."""
    estate = Estate(small(), DAY)
    assert estate.movers == {None: ["letters"], "letter": ["letters"], "form": ["letters"]}
    assert estate.reachable["form"] == {"egedal-journal": "now"}
