"""The index that routes and subscriptions share: what could match is found, in order, and nothing that could is left out."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from core.description import Address, Classification, Description
from core.matching import Facts, Index, Match, Rule
from core.system import Document


class Filter(Document):
    """The least that is a filter."""

    id: str
    integration: str | None = None
    match: Match = Match.model_validate({})
    when: str = ""


def rule(name: str, rank: int = 0, when: str = "", integration: str | None = None, **match: Any) -> Rule[Filter]:
    """A filter made ready."""
    document = Filter(id=name, integration=integration, match=Match.model_validate(match), when=when)
    return Rule(document, (rank, name))


def seen(**changes: Any) -> Facts:
    """What filters see of a letter of Birkelund's."""
    facts = {"type": "letter", "sender": "birkelund-post"} | changes
    return Facts(Description(**facts), "letters")


def test_every_equality_must_hold_and_the_first_that_does_not_is_named():
    """Type, sender, receiver, classification and integration alike."""
    letter = seen(
        receiver=Address(system="egedal-journal", function="benefits"),
        classifications=(Classification(scheme="form", code="A1"),),
    )
    assert rule("all", type="letter", receiver="egedal-journal", function="benefits").differs(letter) == ""
    assert rule("form", classification={"form": "A1"}).differs(letter) == ""
    assert rule("other", type="note").differs(letter) == "type is 'letter', the filter wants 'note'"
    assert rule("code", classification={"form": "B2"}).differs(letter) == "has no classification 'B2' in 'form'"
    assert rule("of", integration="forms").differs(letter) == "integration is 'letters', the filter wants 'forms'"


def test_a_condition_is_asked_after_the_equalities():
    """Without one the equalities decide; one that cannot be evaluated says why."""
    assert rule("plain").holds(seen()) == (True, "")
    assert rule("small", when="parcel.size < 10").holds(seen(size=5)) == (True, "")
    assert rule("small", when="parcel.size < 10").holds(seen(size=50)) == (False, "")
    holds, problem = rule("odd", when="parcel.attributes['rest.x'] == 'y'").holds(seen())
    assert not holds
    assert problem.startswith("its condition cannot be evaluated")


def test_what_a_condition_sees_is_made_once():
    """However many conditions ask for it."""
    facts = seen()
    assert facts.parcel is facts.parcel


def test_candidates_come_in_the_order_of_their_rank():
    """Those found under an equality and those that match everything are one order."""
    index = Index(
        [rule("c", 3), rule("b", 2, type="letter"), rule("a", 1, sender="birkelund-post"), rule("d", 4, type="x")]
    )
    assert [one.document.id for one in index.candidates(seen())] == ["a", "b", "c"]
    assert [one.document.id for one in index.rules] == ["a", "b", "c", "d"]


def met(rules: list[Rule[Filter]], **changes: Any) -> list[str]:
    """What a description meets of an index."""
    return [one.document.id for one in Index(rules).candidates(seen(**changes))]


A1 = (Classification(scheme="form", code="A1"), Classification(scheme="form", code="C3"))


def test_a_filter_lies_under_the_equality_that_the_fewest_share():
    """A hundred filters of one sender are not met by what only has that sender in common with them."""
    many = [rule(f"r{n}", sender="birkelund-post", priority="normal", function=f"f{n}") for n in range(100)]
    assert met(many, receiver=Address(function="f7")) == ["r7"]
    assert met(many) == []


def test_filters_by_classification_alone_are_met_only_by_what_has_it():
    """They lie under their rarest pair, and come in the order of their rank with all others."""
    rules = [
        rule("open", 3),
        rule("b2", classification={"form": "B2"}),
        rule("a1", 4, classification={"form": "A1", "case": "7"}),
        rule("c3", 2, classification={"form": "C3"}),
        rule("letter", 1, type="letter"),
        rule("any-a1", 5, classification={"form": "A1"}),
    ]
    assert met(rules, classifications=A1) == ["letter", "c3", "open", "any-a1"]
    both = (*A1, Classification(scheme="case", code="7"))
    assert met(rules, classifications=both) == ["letter", "c3", "open", "a1", "any-a1"]
    assert met(rules) == ["letter", "open"]


def test_one_list_alone_is_not_sorted_again():
    """Only filters under one equality, only open ones, or none at all."""
    assert [one.document.id for one in Index([rule("a", 1, type="letter")]).candidates(seen())] == ["a"]
    assert [one.document.id for one in Index([rule("a")]).candidates(seen())] == ["a"]
    assert list(Index([rule("a", 1, type="note")]).candidates(seen())) == []


NAMES = st.sampled_from(["x", "y"])
FILTERS = st.fixed_dictionaries({}, optional={"type": NAMES, "sender": NAMES, "receiver": NAMES, "version": NAMES})


@given(st.lists(FILTERS, max_size=12), NAMES, NAMES, NAMES)
def test_nothing_that_matches_is_left_out(filters: list[dict[str, str]], kind: str, sender: str, receiver: str):
    """What asking every filter finds is what asking the candidates finds."""
    rules = [rule(f"f{i}", i, **one) for i, one in enumerate(filters)]
    facts = seen(type=kind, sender=sender, receiver=Address(system=receiver), version="x")
    wanted = [one.document.id for one in rules if not one.differs(facts)]
    assert [one.document.id for one in Index(rules).candidates(facts) if not one.differs(facts)] == wanted
