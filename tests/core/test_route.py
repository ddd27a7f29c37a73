"""Routes: who wins, what stops the search, and that explaining says what choosing does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core import limits
from core.description import Address, Classification, Description
from core.route import Decision, Match, Route, Routes, Target, Verdict
from core.system import RESIDUAL

RESIDUAL_TARGETS = (Target(system=RESIDUAL),)
FIRST = "first route whose conditions all hold"


def a_route(name: str, **changes: Any) -> Route:
    """A route to the system of its own name."""
    return Route.model_validate({"id": name, "to": [{"system": name}]} | changes)


def a_letter(**changes: Any) -> Description:
    """What Birkelund's invented post system says of a letter."""
    return Description(**({"type": "letter", "sender": "birkelund-post"} | changes))


def chosen(routes: list[Route], description: Description | None = None, integration: str = "letters") -> str:
    """The id of the route that wins."""
    return Routes(routes).choose(description or a_letter(), integration).route


# --- what a document may say ------------------------------------------------------------------------------------------


def test_the_least_a_route_says():
    """An id and a target are enough: it then matches everything, and comes among the hundreds."""
    route = a_route("egedal-journal")
    assert (route.kind, route.order, route.integration, route.when, route.title) == ("route", 100, None, "", "")
    assert route.match == Match.model_validate({})
    assert route.to == (Target(system="egedal-journal", gateway="", destination=""),)


@pytest.mark.parametrize(
    ("changes", "field", "cause"),
    [
        ({"to": []}, ("to",), "at least 1 item"),
        ({"to": [{"system": "a"}] * 101}, ("to",), "at most 100 items"),
        ({"to": [{"system": "A"}]}, ("to", 0, "system"), "should match pattern"),
        ({"to": [{"system": "a", "gateway": "AS4"}]}, ("to", 0, "gateway"), "should match pattern"),
        ({"to": [{"system": "a", "gateway": "paper\n"}]}, ("to", 0, "gateway"), "should match pattern"),
        ({"to": [{"system": "a", "port": 1}]}, ("to", 0, "port"), "Extra inputs are not permitted"),
        ({"match": {"subject": "x"}}, ("match", "subject"), "Extra inputs are not permitted"),
        ({"match": {"priority": "urgnt"}}, ("match", "priority"), "Input should be 'urgent', 'normal' or 'bulk'"),
        ({"match": {"sensitivity": "secret"}}, ("match", "sensitivity"), "Input should be 'public', 'internal'"),
        ({"match": {"classification": {str(i): "" for i in range(101)}}}, ("match", "classification"), "at most 100"),
        ({"order": "soon"}, ("order",), "valid integer"),
        ({"when": "parcel.size"}, ("when",), "Value error, gives int, not true or false"),
        ({"when": "[1].all(x, true)"}, ("when",), "Value error, has a loop"),
        ({"when": " "}, ("when",), "Value error, not a CEL condition"),
        ({"when": "'" + "x" * limits.CONDITION_SIZE + "' == 'x'"}, ("when",), "at most 4096 characters"),
    ],
)
def test_a_route_that_makes_no_sense_is_refused(changes: dict[str, Any], field: tuple[Any, ...], cause: str):
    """Each mistake is found when the document is read, at its field and with its cause."""
    with pytest.raises(ValidationError) as caught:
        a_route("r", **changes)
    error = caught.value.errors()[0]
    assert error["loc"] == field
    assert cause in error["msg"]


# --- which one wins ---------------------------------------------------------------------------------------------------


@pytest.mark.requirement("R35")
def test_the_first_that_matches_wins_by_order_then_by_id():
    """The order counts before the id, whatever order the documents are read in."""
    routes = [
        a_route("c", order=5),
        a_route("a", order=10),
        a_route("b", order=5),
        a_route("d", order=-1, when="false"),
    ]
    assert chosen(routes) == "b"
    assert chosen(routes[::-1]) == "b"


MARKS: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"match": {"type": "letter"}}, {"type": "form"}, "type is 'form', the route wants 'letter'"),
    ({"match": {"sender": "birkelund-post"}}, {"sender": "x"}, "sender is 'x', the route wants 'birkelund-post'"),
    ({"match": {"version": "2"}}, {"version": "1"}, "version is '1', the route wants '2'"),
    ({"match": {"receiver": "a"}}, {"receiver": Address(system="b")}, "receiver is 'b', the route wants 'a'"),
    ({"match": {"receiver": "a"}}, {}, "receiver is '', the route wants 'a'"),
    ({"match": {"function": "a"}}, {"receiver": Address(function="b")}, "function is 'b', the route wants 'a'"),
    ({"match": {"priority": "urgent"}}, {}, "priority is 'normal', the route wants 'urgent'"),
    ({"match": {"sensitivity": "public"}}, {}, "sensitivity is 'confidential', the route wants 'public'"),
    ({"integration": "forms"}, {}, "integration is 'letters', the route wants 'forms'"),
    (
        {"match": {"classification": {"topics": "27.18"}}},
        {"classifications": (Classification(scheme="topics", code="27.19"), Classification(scheme="x", code="27.18"))},
        "has no classification '27.18' in 'topics'",
    ),
    ({"when": "parcel.size > 5"}, {"size": 5}, "its condition is false: parcel.size > 5"),
]


@pytest.mark.parametrize(("route", "facts", "why"), MARKS)
def test_a_route_that_does_not_match_says_why(route: dict[str, Any], facts: dict[str, Any], why: str):
    """It is passed over for the next one; what differs is named with both values."""
    routes = Routes([a_route("wanted", order=1, **route), a_route("rest")])
    letter = a_letter(**facts)
    assert routes.choose(letter, "letters").route == "rest"
    assert routes.explain(letter, "letters") == (Verdict("wanted", False, why), Verdict("rest", True, FIRST))


@pytest.mark.requirement("R124")
def test_every_mark_that_a_route_names_must_hold():
    """Type, function, classification among others, integration and a condition over the rest hold together."""
    match = {
        "type": "letter",
        "function": "benefits",
        "priority": "urgent",
        "classification": {"topics": "27.18", "x": "1"},
    }
    routes = [
        a_route("wanted", integration="letters", match=match, when="parcel.size < 100 && parcel.degree == 'known'")
    ]
    marks = tuple(Classification(scheme=s, code=c) for s, c in (("topics", "27.1"), ("topics", "27.18"), ("x", "1")))
    said = {"receiver": Address(function="benefits"), "priority": "urgent", "classifications": marks, "degree": "known"}
    assert chosen(routes, a_letter(**said)) == "wanted"
    for missing in said:
        assert chosen(routes, a_letter(**{k: v for k, v in said.items() if k != missing})) == "", missing
    assert chosen(routes, a_letter(**said, size=100)) == ""
    assert chosen(routes, a_letter(**said), "forms") == ""


def test_only_routes_whose_first_mark_fits_are_looked_at():
    """Among thousands of routes for others, a parcel's own one is found without asking them."""
    routes = Routes([a_route(f"r{n}", match={"sender": f"system-{n}"}) for n in range(3000)])
    assert routes.choose(a_letter(sender="system-1234"), "letters") == Decision(
        "r1234", (Target(system="r1234"),), "", examined=1
    )
    assert routes.choose(a_letter(), "letters").examined == 0


def test_marked_and_unmarked_routes_are_tried_in_one_order():
    """A route that matches everything does not wait for those that name a mark, nor the other way round."""
    by_type, by_sender = a_route("b", match={"type": "letter"}), a_route("a", match={"sender": "birkelund-post"})
    assert chosen([by_type, by_sender, a_route("c")]) == "a"
    assert chosen([by_type, by_sender, a_route("c", order=1)]) == "c"
    assert chosen([by_type, a_route("a", integration="letters")]) == "a"


def test_a_decision_names_all_targets_of_the_route():
    """Several systems, each through its gateway, in the order they were written."""
    to = [{"system": "b", "gateway": "paper", "destination": "east"}, {"system": "a"}]
    decision = Routes([a_route("r", to=to)]).choose(a_letter(), "letters")
    assert decision.targets == (Target(system="b", gateway="paper", destination="east"), Target(system="a"))


# --- never silence ----------------------------------------------------------------------------------------------------


def test_what_no_route_wants_goes_to_the_residual_mailbox():
    """The decision names no route and says so; every route says why not."""
    assert Routes([]).choose(a_letter(), "letters") == Decision("", RESIDUAL_TARGETS, "no route matches", 0)
    assert Routes([]).explain(a_letter(), "letters") == ()
    routes = Routes([a_route("a", match={"type": "form"}), a_route("b", when="parcel.size > 9")])
    assert routes.choose(a_letter(), "letters") == Decision("", RESIDUAL_TARGETS, "no route matches", 1)
    assert [v.matched for v in routes.explain(a_letter(), "letters")] == [False, False]


@pytest.mark.parametrize(
    ("when", "problem"),
    [
        ("parcel.attributes['case'] == 'x'", "its condition cannot be evaluated: 'case'"),
        ("1 / parcel.size == 1", "its condition cannot be evaluated: division by zero in CEL expression"),
        ("parcel.occurred == '' ? parcel.size : true", "its condition gives int, not true or false"),
    ],
)
def test_a_condition_that_cannot_be_evaluated_stops_the_search(when: str, problem: str):
    """What would have matched behind it gets nothing: the parcel is residual, and the route and the problem are named."""
    routes = Routes([a_route("first", order=1, when="false"), a_route("odd", order=2, when=when), a_route("rest")])
    assert routes.choose(a_letter(), "letters") == Decision("", RESIDUAL_TARGETS, f"route odd: {problem}", 2)
    assert routes.explain(a_letter(), "letters") == (
        Verdict("first", False, "its condition is false: false"),
        Verdict("odd", False, problem),
    )


def test_a_condition_is_asked_only_where_the_marks_hold():
    """A condition that would stop other parcels harms none of those its route does not speak of."""
    odd = a_route("odd", order=1, match={"type": "form"}, when="parcel.attributes['case'] == 'x'")
    assert chosen([odd, a_route("rest")]) == "rest"
    assert chosen([odd, a_route("rest")], a_letter(type="form")) == ""
    assert chosen([odd, a_route("rest")], a_letter(type="form", attributes={"case": "x"})) == "odd"


def test_the_route_that_decides_is_explained_however_many_come_before_it():
    """Each of a thousand routes says why not, and the last one that it matched."""
    routes = Routes([*(a_route(f"r{n:03}", match={"sender": "x"}) for n in range(999)), a_route("z")])
    verdicts = routes.explain(a_letter(), "letters")
    assert len(verdicts) == 1000
    assert verdicts[-1] == Verdict("z", True, FIRST)
    assert routes.choose(a_letter(), "letters").route == "z"


# --- choosing and explaining agree ------------------------------------------------------------------------------------

TEXTS = st.sampled_from(["a", "b"])
CONDITIONS = st.sampled_from(
    [
        "",
        "",
        "true",
        "false",
        "parcel.size > 1",
        "parcel.attributes['a'] == 'b'",
        "parcel.size == 1 ? parcel.size : true",
    ]
)
MATCHES = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(("type", "version", "sender", "receiver", "function"), TEXTS)
    | {"priority": st.sampled_from(["urgent", "normal"]), "sensitivity": st.sampled_from(["public", "confidential"])}
    | {"classification": st.dictionaries(TEXTS, TEXTS, max_size=2)},
)
ROUTES: Any = st.lists(
    st.builds(
        lambda name, **changes: a_route(name, **changes),
        st.sampled_from([f"r{n}" for n in range(30)]),
        order=st.integers(0, 3),
        integration=st.none() | TEXTS,
        match=MATCHES,
        when=CONDITIONS,
    ),
    unique_by=lambda route: route.id,
    max_size=12,
)
DESCRIPTIONS = st.builds(
    Description,
    type=TEXTS,
    sender=TEXTS,
    version=TEXTS,
    receiver=st.builds(Address, system=st.none() | TEXTS, function=st.none() | TEXTS),
    classifications=st.lists(st.builds(Classification, scheme=TEXTS, code=TEXTS), max_size=3).map(tuple),
    priority=st.sampled_from(["urgent", "normal"]),
    sensitivity=st.sampled_from(["public", "confidential"]),
    size=st.integers(0, 2),
    attributes=st.sampled_from([{}, {"a": "b"}]),
)


@settings(max_examples=300, deadline=None)
@given(ROUTES, DESCRIPTIONS, TEXTS)
@example([a_route("r1", when="parcel.attributes['a'] == 'b'"), a_route("r2")], a_letter(), "a")
@example([], a_letter(), "a")
def test_choosing_and_explaining_always_agree(routes: list[Route], description: Description, integration: str):
    """Whatever the routes: the same one decides, for the same cause, after the same ones were passed over in order."""
    made = Routes(routes)
    decision, verdicts = made.choose(description, integration), made.explain(description, integration)
    in_order = [route.id for route in sorted(routes, key=lambda route: (route.order, route.id))]
    assert [v.route for v in verdicts] == in_order[: len(verdicts)]
    assert not any(v.matched for v in verdicts[:-1])
    assert decision.examined <= len(verdicts)
    if decision.route:
        assert verdicts[-1] == Verdict(decision.route, True, FIRST)
        assert decision == Decision(decision.route, (Target(system=decision.route),), "", decision.examined)
        return
    assert decision.targets == RESIDUAL_TARGETS
    assert not any(v.matched for v in verdicts)
    if decision.cause == "no route matches":
        assert len(verdicts) == len(routes)
    else:
        assert decision.cause == f"route {verdicts[-1].route}: {verdicts[-1].why}"
        assert verdicts[-1].why.startswith("its condition ")


def test_a_route_is_passed_over_when_nobody_is_left_of_it():
    """Systems that are out of the question are no targets; the next route that names another wins."""
    both = a_route("a-both", to=[{"system": "one"}, {"system": "two"}])
    routes = Routes([both, a_route("b-last")])
    assert routes.choose(a_letter(), "letters", {"one"}).targets == (Target(system="two"),)
    assert routes.choose(a_letter(), "letters", {"one", "two"}).route == "b-last"
    decision = routes.choose(a_letter(), "letters", {"one", "two", "b-last"})
    assert (decision.route, decision.targets, decision.examined) == ("", RESIDUAL_TARGETS, 2)
