"""The rules that the cost of routing is measured with are what they claim to be."""

from __future__ import annotations

import pytest

from bench import routing
from core.subscription import Subscriptions


@pytest.mark.parametrize("count", [10, 1_000])
def test_each_parcel_meets_its_rule_and_no_other(count: int):
    """Whichever of the five kinds it is, with or without a condition."""
    routes, found = routing.routes(count), Subscriptions(routing.subscriptions(count))
    for number in range(10):
        assert routes.choose(routing.parcel_of(number), "news").route == f"r-{number}"
        assert [one.id for one in found.matching(routing.parcel_of(number), "news")[0]] == [f"s-{number}"]


@pytest.mark.parametrize("count", routing.SIZES)
def test_what_is_asked_is_alike_at_every_size(count: int):
    """Two parcels for each kind of rule: else a condition more would look like the cost of rules."""
    kinds = [int(one.type.removeprefix("type-")) % 5 for one in routing.asked_of(count)]
    assert sorted(kinds) == sorted([*range(5), *range(5)])


@pytest.mark.parametrize("count", [10, 1_000])
def test_the_index_leaves_one_candidate_however_many_rules_there_are(count: int):
    """What makes the cost flat: of a thousand rules as of ten, a parcel meets the one that takes it."""
    routes = routing.routes(count)
    assert {routes.choose(description, "news").examined for description in routing.asked_of(count)} == {1}
