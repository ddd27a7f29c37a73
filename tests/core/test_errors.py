"""The error tree: whose fault it is, and what the command line ends with."""

from __future__ import annotations

import inspect
import re
from types import SimpleNamespace

import pytest

from core import errors
from core.errors import (
    ConfigError,
    DescriptionError,
    Finding,
    Invalid,
    Overloaded,
    OverQuota,
    Refused,
    SealError,
    StafetError,
    Unfit,
    WrongOffset,
)

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, StafetError)]


def test_the_tree_in_the_docstring_is_the_tree():
    """Every class is drawn once, under the parent it has, with the exit code it has or inherits."""
    lines = []
    for line in (errors.__doc__ or "").splitlines():
        if drawn := re.match(r"(?: {4}[│├└ ─]*)([A-Z]\w+)(?:.*\(exit code (\d+)\))?", line):
            lines.append((drawn.start(1) // 4 - 1, drawn[1], drawn[2]))
    assert sorted(name for _, name, _ in lines) == sorted(c.__name__ for c in CLASSES)
    for index, (depth, name, code) in enumerate(lines):
        found = getattr(errors, name)
        if depth:
            parent = next(n for d, n, _ in reversed(lines[:index]) if d == depth - 1)
            assert found.__bases__[0].__name__ == parent
        if code:
            assert found.exit_code == int(code)


@pytest.mark.parametrize("kind", [c for c in CLASSES if issubclass(c, Refused)])
def test_every_refusal_has_a_code_of_its_own_for_machines(kind: type[Refused]):
    """Stable lower-case words, no two alike."""
    assert re.fullmatch(r"[a-z-]+", kind.code)
    assert [c for c in CLASSES if issubclass(c, Refused) and c.code == kind.code] == [kind]


def test_a_configuration_error_says_where_why_and_what_to_do():
    """File and field first, then the cause, then the remedy; a missing part leaves no empty punctuation."""
    full = ConfigError("routes.yaml", "to.0.system", "nothing is called 'egedal'", "add a system")
    assert str(full) == "routes.yaml: to.0.system: nothing is called 'egedal' (add a system)"
    assert (full.file, full.field, full.cause) == ("routes.yaml", "to.0.system", "nothing is called 'egedal'")
    assert full.remedy == "add a system"
    assert str(ConfigError("node.yaml", "", "cannot be read")) == "node.yaml: cannot be read"


def test_a_description_error_names_the_field():
    """The field is a part of the message and an attribute."""
    error = DescriptionError("receiver.system", "is empty")
    assert (str(error), error.field, error.cause) == ("receiver.system: is empty", "receiver.system", "is empty")


def test_a_seal_error_names_the_field():
    """Field and cause, as for a description; it ends as damaged octets do."""
    error = SealError("mac", "it does not open")
    assert (str(error), error.field, error.cause, error.exit_code) == (
        "mac: it does not open",
        "mac",
        "it does not open",
        4,
    )


def test_overloaded_says_when_to_come_back():
    """Five seconds unless said otherwise, in microseconds."""
    assert Overloaded("busy").retry_after == 5_000_000
    assert Overloaded("full", 60_000_000).retry_after == 60_000_000


def test_a_payload_that_is_not_what_was_agreed_is_named_place_by_place():
    """The integration, then each finding: a path and the rule."""
    findings = [Finding("/a/n", "line 3: is no value of the type xs:int"), Finding("media_type", "is text/plain")]
    error = Invalid("letters", findings)
    assert error.findings == tuple(findings)
    assert (
        str(error)
        == "payload: not what letters moves: /a/n: line 3: is no value of the type xs:int; media_type: is text/plain"
    )


def test_an_upload_says_where_it_goes_on():
    """As an attribute and in words."""
    assert WrongOffset(7).received == 7
    assert str(WrongOffset(7)) == "the upload goes on from octet 7"


def test_a_quota_that_is_used_up_is_named_with_its_limit():
    """It is an overload to whoever knows no more, and says which quota, which of its limits, and when to come back."""
    error = OverQuota("post", "rate", "5 parcels a second", 2_000_000)
    assert str(error) == "quota post: rate: 5 parcels a second"
    assert (error.quota, error.which, error.retry_after, error.code) == ("post", "rate", 2_000_000, "quota")


def test_a_change_that_would_not_fit_names_each_document():
    """With the field and the cause."""
    one = SimpleNamespace(kind="route", id="r", field="to.0.system", cause="nothing is called 'x'")
    error = Unfit([one, one])
    assert error.problems == (one, one)
    assert str(error) == "; ".join(["route r: to.0.system: nothing is called 'x'"] * 2)
