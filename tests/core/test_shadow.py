"""Routes that never decide because of an earlier one, and subscriptions that ask twice."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.description import Classification, Description
from core.matching import Match
from core.route import Route, Routes
from core.shadow import Shadow, demands, repeated, shadowed
from core.subscription import Subscription


def a_route(name: str, order: int = 100, **changes: Any) -> Route:
    """A route to one system."""
    return Route.model_validate({"id": name, "order": order, "to": [{"system": "journal"}], **changes})


def a_subscription(name: str, **changes: Any) -> Subscription:
    """A subscription of one system."""
    return Subscription.model_validate({"id": name, "system": "journal", "integration": "moves", **changes})


def shadows(*routes: Route, **only_type: str) -> list[tuple[str, str, bool]]:
    """(shadowed, by, the very same) of some routes."""
    return [(s.name, s.by, s.same) for s in shadowed(routes, only_type)]


def test_what_a_filter_demands_is_told_by_field():
    """Fields that are left out demand nothing; each scheme of a classification is a field of its own."""
    match = Match.model_validate({"type": "letter", "classification": {"topic": "27.18", "facet": "G01"}})
    assert demands(match, "letters") == {
        ("type", ""): "letter",
        ("classification", "topic"): "27.18",
        ("classification", "facet"): "G01",
        ("integration", ""): "letters",
    }
    assert demands(Match.model_validate({}), None) == {}


def test_a_broader_route_that_comes_first_shadows():
    """Order decides: the same two routes the other way round are both asked."""
    narrow = {"integration": "letters", "match": {"type": "letter", "sender": "post"}}
    broad = {"integration": "letters", "match": {"type": "letter"}}
    assert shadows(a_route("narrow", 20, **narrow), a_route("broad", 10, **broad)) == [("narrow", "broad", False)]
    assert shadows(a_route("narrow", 10, **narrow), a_route("broad", 20, **broad)) == []


def test_equal_order_is_decided_by_the_id():
    """Of two that demand the same in the same order, the id that comes first wins, and they are called the same."""
    assert shadows(a_route("b"), a_route("a")) == [("b", "a", True)]


def test_a_condition_is_compared_as_text_alone():
    """A route with a condition shadows one with the same condition, and nothing that has another or none."""
    small, large = "parcel.size < 10", "parcel.size >= 10"
    assert shadows(a_route("a", when=small), a_route("b", when=small)) == [("b", "a", True)]
    assert shadows(a_route("a", when=small), a_route("b", when=large), a_route("c")) == []
    assert shadows(a_route("a"), a_route("b", when=small)) == [("b", "a", False)]


def test_the_first_of_several_is_named():
    """What two earlier routes would both take is said to be the first one's."""
    first, second = a_route("z", 1, match={"type": "letter"}), a_route("a", 2, match={"sender": "post"})
    both = a_route("both", 3, match={"sender": "post", "type": "letter"})
    assert shadows(both, second, first) == [("both", "z", False)]


def test_the_only_type_of_an_integration_is_known():
    """A route for a type takes all of an integration that moves nothing else, and not all of one that does."""
    by_type, by_name = a_route("type", 1, match={"type": "letter"}), a_route("name", 2, integration="letters")
    assert shadows(by_type, by_name, letters="letter") == [("name", "type", False)]
    assert shadows(by_type, by_name, letters="form") == []
    assert shadows(by_type, by_name) == []


def test_subscriptions_of_one_system_that_ask_for_the_same():
    """The same filter of another system, or with another list or condition, is no repetition."""
    twice = a_subscription("b", match={"type": "move"}), a_subscription("a", match={"type": "move"})
    others = (
        a_subscription("c", match={"type": "move"}, system="post"),
        a_subscription("d", match={"type": "move"}, subjects_in="ours"),
        a_subscription("e", match={"type": "move"}, when="parcel.size > 1"),
    )
    assert list(repeated([*twice, *others])) == [Shadow("b", "a", True)]


_FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["letter", "form"]),
        "sender": st.sampled_from(["post", "desk"]),
        "classification": st.dictionaries(st.sampled_from(["topic", "facet"]), st.sampled_from(["1", "2"])),
    },
)
_SAID = st.lists(
    st.tuples(_FILTERS, st.sampled_from(["", "parcel.size < 5"]), st.integers(1, 3)), min_size=1, max_size=6
)


@given(_SAID, st.lists(st.tuples(_FILTERS, st.integers(0, 9)), max_size=8))
def test_a_shadowed_route_never_decides(said: Any, parcels: Any):
    """Whatever routes there are and whatever comes: no parcel goes by a route that was said to be shadowed."""
    routes = [a_route(f"r{i}", order, match=match, when=when) for i, (match, when, order) in enumerate(said)]
    dark = {s.name for s in shadowed(routes, {})}
    for match, size in parcels:
        classes = tuple(Classification(scheme=s, code=c) for s, c in match.get("classification", {}).items())
        description = Description(
            type=match.get("type", "letter"), sender=match.get("sender", "post"), classifications=classes, size=size
        )
        assert Routes(routes).choose(description, "letters").route not in dark
