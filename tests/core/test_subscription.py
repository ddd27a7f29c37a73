"""Subscriptions: every one that matches, and of the others why not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from pydantic import ValidationError

from core import limits
from core.description import Description
from core.subscription import Subscription, Subscriptions, Verdict


def a_subscription(name: str, **changes: Any) -> Subscription:
    """A subscription of the system of its own name."""
    return Subscription.model_validate({"id": name, "system": f"s-{name}", "integration": "stays"} | changes)


def a_stay(**changes: Any) -> Description:
    """What Birkelund's invented care system tells of a stay."""
    return Description(**({"type": "stay.began", "sender": "birkelund-care"} | changes))


def test_the_least_a_subscription_says():
    """A system and an integration: it then gets everything, unordered, lent for a minute and twenty times at most."""
    one = a_subscription("all")
    assert (one.kind, one.when, one.subjects_in, one.ordered_by, one.paused) == ("subscription", "", None, "", False)
    assert (one.max_attempts, one.lease, one.idle_after) == (limits.LOANS, 60.0, 3600.0)


@pytest.mark.parametrize(
    ("changes", "field", "cause"),
    [
        ({"when": "parcel.size"}, ("when",), "gives int, not true or false"),
        ({"when": "[1].all(x, true)"}, ("when",), "has a loop"),
        ({"when": "parcel.wrong == 'x'"}, ("when",), "a parcel has no 'wrong'"),
        ({"when": "'" + "x" * limits.CONDITION_SIZE + "' == 'x'"}, ("when",), "at most 4096 characters"),
        ({"match": {"subject": "x"}}, ("match", "subject"), "Extra inputs are not permitted"),
        ({"ordered_by": "sender"}, ("ordered_by",), "'', 'correlation_id' or 'process_id'"),
        ({"max_attempts": 0}, ("max_attempts",), "greater than or equal to 1"),
        ({"lease": 0.5}, ("lease",), "greater than or equal to 1"),
        ({"idle_after": 1}, ("idle_after",), "greater than or equal to 60"),
        ({"system": "No"}, ("system",), "should match pattern"),
    ],
)
def test_a_subscription_that_makes_no_sense_is_refused(changes: dict[str, Any], field: tuple[Any, ...], cause: str):
    """Each mistake is found when the document is read, at its field and with its cause."""
    with pytest.raises(ValidationError) as caught:
        a_subscription("wrong", **changes)
    (error,) = caught.value.errors()
    assert error["loc"] == field
    assert cause in error["msg"]


@pytest.mark.requirement("R14", "R26")
def test_every_one_that_matches_gets_it():
    """Not the first alone; of another integration none does."""
    all_ = Subscriptions(
        [
            a_subscription("all"),
            a_subscription("ends", match={"type": "stay.ended"}),
            a_subscription("urgent", when="parcel.priority == 'urgent'"),
            a_subscription("elsewhere", integration="moves"),
        ]
    )
    matched, broken = all_.matching(a_stay(type="stay.ended", priority="urgent"), "stays")
    assert [one.id for one in matched] == ["all", "ends", "urgent"]
    assert broken == []
    matched, _ = all_.matching(a_stay(), "stays")
    assert [one.id for one in matched] == ["all"]


def test_every_equality_must_hold():
    """Not the one alone that the subscription is found by; and no condition is one that always holds."""
    both = a_subscription("both", match={"type": "stay.began", "sender": "birkelund-care"}, when="")
    matched, broken = Subscriptions([both]).matching(a_stay(sender="egedal-care"), "stays")
    assert (matched, broken) == ([], [])
    both = a_subscription("both", match={"type": "stay.began", "priority": "urgent"})
    assert Subscriptions([both]).matching(a_stay(), "stays") == ([], [])
    assert Subscriptions([both]).matching(a_stay(priority="urgent", type="stay.ended"), "stays") == ([], [])


def test_one_that_cannot_be_asked_stops_no_other():
    """It is named with its cause, and those beside it get theirs."""
    all_ = Subscriptions([a_subscription("odd", when="parcel.attributes['rest.x'] == 'y'"), a_subscription("all")])
    matched, broken = all_.matching(a_stay(), "stays")
    assert [one.id for one in matched] == ["all"]
    (verdict,) = broken
    assert (verdict.subscription, verdict.matched, verdict.broken) == ("odd", False, True)
    assert verdict.why.startswith("its condition cannot be evaluated")


def test_a_value_list_is_asked_about_the_subjects():
    """Only who is on the list; without lists at hand, nobody is."""
    asked: list[tuple[str, Sequence[str]]] = []

    def on_list(name: str, subjects: Sequence[str]) -> bool:
        asked.append((name, subjects))
        return "person-7" in subjects

    all_ = Subscriptions([a_subscription("followed", subjects_in="followed-people")])
    assert [one.id for one in all_.matching(a_stay(subjects=("person-7",)), "stays", on_list)[0]] == ["followed"]
    assert all_.matching(a_stay(subjects=("person-8",)), "stays", on_list) == ([], [])
    assert asked == [("followed-people", ("person-7",)), ("followed-people", ("person-8",))]
    assert all_.matching(a_stay(subjects=("person-7",)), "stays") == ([], [])


@pytest.mark.requirement("R16")
def test_explaining_says_of_each_why():
    """Of the integration's own subscriptions alone, in the order of their ids."""
    all_ = Subscriptions(
        [
            a_subscription("e-odd", when="parcel.attributes['rest.x'] == 'y'"),
            a_subscription("a-all"),
            a_subscription("b-ends", match={"type": "stay.ended"}),
            a_subscription("c-urgent", when="parcel.priority == 'urgent'"),
            a_subscription("d-followed", subjects_in="people"),
            a_subscription("f-elsewhere", integration="moves"),
        ]
    )
    *plain, odd = all_.explain(a_stay(), "stays")
    assert plain == [
        Verdict("a-all", True, "everything it asks for holds"),
        Verdict("b-ends", False, "type is 'stay.began', the subscription wants 'stay.ended'"),
        Verdict("c-urgent", False, "its condition is false: parcel.priority == 'urgent'"),
        Verdict("d-followed", False, "none of the subjects is on the value list people"),
    ]
    assert (odd.subscription, odd.broken) == ("e-odd", True)
