"""Words for what happened."""

from __future__ import annotations

import pytest

from core import explain
from core.delivery import State


def test_every_code_ends_in_something_to_do():
    """A code without a remedy helps nobody; the two that need none say that it goes on by itself."""
    for code, words in explain.CODES.items():
        assert "What to do" in words or code in ("nack", "bug"), code
    assert "report it" in explain.CODES["bug"]


def test_a_code_is_the_kernels_or_a_gateways():
    """The kernel's own words win; a gateway is asked for the rest."""
    assert explain.code("residual", lambda code: "theirs") == explain.CODES["residual"]
    assert explain.code("X-1", lambda code: f"meaning of {code}") == "meaning of X-1"
    assert explain.code("X-2", lambda code: "") == ""


def test_why_nothing_is_attempted_is_said_with_times():
    """Since when, for what reason, and when it is asked again."""
    said = explain.not_attempted(1_700_000_000_000_000, 1_700_000_010_000_000, "connect", "nobody listens")
    assert said == (
        "not attempted: the destination has not answered since 2023-11-14 23:13:20.000 (connect nobody listens);"
        " next probe 2023-11-14 23:13:30.000, and this costs nothing of its retry plan"
    )


def test_what_stands_in_line_names_what_comes_first():
    """With something to do when that one has failed."""
    assert explain.behind("p1", "ready", stopped=False) == (
        "not attempted: order is agreed, and parcel p1 comes first; that is ready"
    )
    assert explain.behind("p1", "failed", stopped=True).endswith("`stafet resend p1`, or `stafet skip p1`")


@pytest.mark.parametrize(
    ("name", "facts", "said"),
    [
        ("accepted", {"sender": "a", "integration": "i"}, "accepted from a under i"),
        ("retry", {"attempt": 2}, "attempt 2 failed"),
        ("acknowledged", {}, "delivered: ? has it"),
        (
            "expected",
            {"level": "business", "of": "system a", "expected": "met"},
            "the business receipt that is expected of system a: met",
        ),
        (
            "expected",
            {"level": "business", "of": "system a", "expected": "met-late"},
            "the business receipt that is expected of system a: it came after all, too late",
        ),
        ("something-new", {"x": 1}, "something-new"),
    ],
)
def test_an_event_is_one_sentence(name: str, facts: dict[str, object], said: str):
    """Missing facts leave a question mark, unknown events their name."""
    assert explain.event(name, facts) == said


def test_details_name_route_digest_and_next_attempt():
    """What is worth knowing, and nothing that is empty."""
    facts = {
        "route": "r",
        "receivers": ["a", "b"],
        "payloads": [["n", 3, "ab" * 32]],
        "code": "connect",
        "reason": "",
        "next": 1_700_000_000_000_000,
    }
    said = explain.detail("accepted", facts)
    assert said.startswith("route r to a, b; 3 octets, SHA-256 abababababababab; code connect; next attempt 2023-11-14")
    assert explain.detail("accepted", {"route": ""}) == "residual mailbox"
    assert explain.detail("retry", {}) == ""


@pytest.mark.requirement("R75")
def test_what_was_added_is_said_with_its_origin():
    """And which step failed, and what a declared schema warns of."""
    facts = {
        "step": "table",
        "origin": "table units: row 751",
        "added": ["classification unit 751", "attribute unit.name"],
    }
    assert explain.event("enriched", facts) == "enriched by the step table"
    said = explain.detail("enriched", facts)
    assert said == "added: classification unit 751, attribute unit.name; origin table units: row 751"
    failed = {"step": "register", "cause": "took longer than 5 seconds"}
    assert explain.event("not-enriched", failed) == "not enriched: the step register failed"
    assert explain.detail("not-enriched", failed) == "cause took longer than 5 seconds"
    assert explain.detail("accepted", {"warnings": ["/a: line 1: is no value"]}) == "warnings: /a: line 1: is no value"


@pytest.mark.parametrize("state", list(State))
def test_every_state_is_said(state: State):
    """No state shows its bare name alone."""
    lines = explain.standing(state.value, "connect", "nobody listens", lambda code: "look at the port")
    assert lines[0] != state.value
    settled = state in (State.DELIVERED, State.ACCEPTED)
    assert lines[1:] == ([] if settled else ["last word: connect: nobody listens", "look at the port"])
    assert explain.standing(state.value, "", "", lambda code: "") == lines[:1]


def test_an_unknown_state_or_code_is_shown_as_it_is():
    """What is not known is not dressed up."""
    assert explain.standing("odd", "x", "y", lambda code: "") == ["odd", "last word: x: y"]


def test_where_a_delivery_goes_is_said_with_how():
    """Through a gateway, or fetched: by the system, or by one of its subscriptions."""
    assert explain.whither("journal", "as4", "egedal") == "to journal through as4"
    assert explain.whither("journal", "", "stays") == "to journal (subscription stays), who pulls"
    assert explain.whither("journal", "", "") == "to journal, who pulls"


def test_what_waits_in_a_mailbox_is_not_attempted():
    """A delivery that its receiver pulls waits for the receiver, not for us."""
    assert explain.standing("ready", "", "", lambda code: "", pulled=True) == ["it waits until the system takes it"]
    assert explain.standing("ready", "", "", lambda code: "") == ["it waits for its next attempt"]
