"""Which form of an answer a caller takes."""

from __future__ import annotations

import pytest

from gateways.rest.accepting import chosen
from gateways.rest.problems import ProblemError

OFFERED = ("application/json", "text/plain")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/plain", "text/plain"),
        ("text/*", "text/plain"),
        ("TEXT/PLAIN; charset=utf-8", "text/plain"),
        ("application/json;q=0.1, text/plain", "text/plain"),
        ("*/*;q=0.5, application/json;q=0", "text/plain"),
        ("text/plain;q=high, */*;q=0.1", "application/json"),
        ("image/png, application/*;q=0.2", "application/json"),
    ],
)
def test_the_form_that_is_liked_best_is_given(accept: str, form: str):
    """By weight; what names a form most exactly counts; of equals the first that is offered."""
    assert chosen(accept, OFFERED) == form


@pytest.mark.parametrize(
    "accept", ["image/png", "application/json;q=0, text/plain;q=0", "nonsense", ",", "text/plain;q=x"]
)
def test_what_cannot_be_given_is_said(accept: str):
    """406, with the forms there are."""
    with pytest.raises(ProblemError) as found:
        chosen(accept, OFFERED)
    assert (found.value.problem.type.status, "text/plain" in found.value.problem.detail) == (406, True)
