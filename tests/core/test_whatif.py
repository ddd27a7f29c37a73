"""Where something would go, and what every filter says of it, before it is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from core.clock import from_datetime
from core.deciding import decide
from core.description import Classification, Description
from core.whatif import Answer, Place, Sent, answers, enriched, place, refusal
from tests.core.estates import small
from tests.core.making import a_parcel

AT = from_datetime(datetime(2026, 3, 1, 12, tzinfo=UTC))


def sent(integration: str = "letters", *, largest: int = 10, about: bool = False, **changes: Any) -> Sent:
    """What Birkelund's invented post system sends."""
    fields = {"type": "move" if integration == "moves" else "letter", "sender": "birkelund-post"} | changes
    description = Description(**fields)
    return Sent(description.sender, integration, description, largest, about)


def test_a_handover_goes_by_its_first_route():
    """The route, and the system with the way to it."""
    assert place(small(), sent(), AT) == Place(("to-journal",), ("egedal-journal",))
    through = {
        "kind": "route",
        "id": "to-journal",
        "to": [{"system": "egedal-journal", "gateway": "as4", "destination": "e"}],
    }
    assert place(small(through), sent(), AT).receivers == ("egedal-journal through as4 e",)


def test_what_no_route_takes_is_residual_and_says_why():
    """No route, a route that cannot be evaluated, and one whose target may not receive."""
    assert place(small(without="to-journal"), sent(), AT) == Place((), ("residual",), "no route matches")
    broken = {"kind": "route", "id": "to-journal", "when": "parcel.attributes['x'] == 'y'"}
    assert "cannot be evaluated" in place(small(broken), sent(), AT).cause
    lost = place(small(without="journal"), sent(), AT)
    assert lost.cause == "route to-journal names egedal-journal, which may not receive under letters"
    residual = {"kind": "route", "id": "to-journal", "to": [{"system": "residual"}]}
    assert place(small(residual), sent(), AT) == Place(("to-journal",), ("residual",))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (sent("dreams"), "nothing is called dreams"),
        (sent(type="dream"), "type 'dream' is not moved under letters"),
        (sent(largest=10**12), "a payload is larger than"),
        (sent(sender="egedal-journal"), "egedal-journal has no service agreement to send under letters"),
    ],
)
def test_what_would_be_refused_goes_nowhere(asked: Sent, said: str):
    """The cause is the kernel's own."""
    assert refusal(small(), asked, AT).startswith(said)
    found = place(small(), asked, AT)
    assert (found.is_refused, found.receivers) == (True, ())
    assert not place(small(), sent(), AT).is_refused


def test_a_notification_goes_to_every_subscription():
    """By all that match and whose systems may receive; nobody is an answer as well."""
    assert place(small(), sent("moves"), AT) == Place(("journal-moves",), ("egedal-journal",))
    nobody = place(small(without="journal-moves"), sent("moves"), AT)
    assert nobody == Place((), (), "no subscription matches")
    assert place(small(without="told"), sent("moves"), AT) == nobody


def test_a_value_list_decides_where_there_are_subjects():
    """With subjects the subscription is undecided; without any it does not match."""
    listed = {"kind": "subscription", "id": "journal-moves", "subjects_in": "ours"}
    assert place(small(listed), sent("moves", about=True), AT).undecided == {"journal-moves"}
    assert place(small(listed), sent("moves", about=True), AT).receivers == ()
    assert place(small(listed), sent("moves"), AT).undecided == frozenset()


def test_every_route_says_why():
    """Those before the one that decides say why not, those after it are not asked, those of others are left out."""
    first = {"kind": "route", "id": "first", "order": 1, "match": {"classification": {"topic": "1"}}}
    last = {"kind": "route", "id": "last", "order": 200, "to": [{"system": "residual"}]}
    other = {"kind": "route", "id": "other", "order": 2, "integration": "moves", "to": [{"system": "residual"}]}
    asked = small(first | {"to": [{"system": "egedal-journal"}]}, last, other)
    assert list(answers(asked, sent(), AT)) == [
        Answer("route", "first", False, "has no classification '1' in 'topic'"),
        Answer("route", "to-journal", True, "first route whose conditions all hold"),
        Answer("route", "last", None, "not asked: to-journal decides before it"),
    ]
    topical = sent(classifications=(Classification(scheme="topic", code="1"),))
    assert [a.matches for a in answers(asked, topical, AT)] == [True, None, None]


def test_a_route_that_matches_in_vain_says_so():
    """Its target may not receive, so it goes to the residual mailbox."""
    (answer,) = answers(small(without="journal"), sent(), AT)
    assert answer.why.endswith("but egedal-journal may not receive under letters, so it goes to the residual mailbox")
    assert answers(small(), sent("dreams"), AT) == []


def test_every_subscription_says_why():
    """Matched, not matched, matched in vain, and what only its list decides."""
    urgent = {"kind": "subscription", "id": "urgent", "system": "egedal-journal", "integration": "moves"}
    vain = {"kind": "subscription", "id": "vain", "system": "birkelund-post", "integration": "moves"}
    listed = {"kind": "subscription", "id": "listed", "system": "egedal-journal", "integration": "moves"}
    asked = small(urgent | {"match": {"priority": "urgent"}}, vain, listed | {"subjects_in": "ours"})
    found = {a.id: a for a in answers(asked, sent("moves", about=True), AT)}
    assert {name: a.matches for name, a in found.items()} == {
        "journal-moves": True,
        "urgent": False,
        "vain": False,
        "listed": None,
    }
    assert "birkelund-post may not receive" in found["vain"].why
    assert "value list ours" in found["listed"].why


@pytest.mark.parametrize("without", ["", "journal", "to-journal"])
def test_it_says_what_the_kernel_decides(without: str):
    """A parcel that comes goes where was said that it would."""
    description = Description(type="letter", sender="birkelund-post")
    decided = decide(small(without=without), a_parcel(description=description), AT)
    said = place(small(without=without), sent(), AT)
    assert said.receivers == tuple(target.system for target in decided.targets)
    assert said.rules == ((decided.route,) if decided.route else ())


def test_routes_see_what_a_table_adds():
    """And a step that fails leads to the residual mailbox."""
    rows = {"letter": {"classifications": [{"scheme": "unit", "code": "751"}]}}
    table = {"kind": "table", "id": "units", "key": {"field": "type"}, "rows": rows}
    route = {"kind": "route", "id": "to-journal", "match": {"classification": {"unit": "751"}}}
    steps = [{"step": "table", "settings": {"table": "units", "required": True}}]
    letters = {"kind": "integration", "id": "letters", "enrichment": steps}
    estate = small(table, route, letters)
    assert place(estate, sent(), AT).rules == ("to-journal",)
    assert next(one.matches for one in answers(estate, sent(), AT)) is True
    assert enriched(estate, sent()).added[0]["origin"] == "table units: row letter"
    table["rows"] = {"form": rows["letter"]}
    lost = place(small(table, route, letters), sent(), AT)
    assert lost == Place((), ("residual",), "enrichment table: table units has no row for it")
