"""How an endpoint is declared: its name, its parameters, and what a request says of itself."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from gateways.rest.access import Caller
from gateways.rest.endpoint import Answer, Ask, Endpoint, Reply, Shape
from gateways.rest.settings import Role

CARE = Caller("birkelund-care", "system", frozenset({"birkelund-care"}), "birkelund", frozenset({Role.SYSTEM}), "token")


async def nothing(_: Ask) -> Reply:
    """Answers that all is well."""
    return Reply()


def endpoint(method: str, path: str) -> Endpoint:
    """An endpoint that does nothing."""
    return Endpoint(method, path, nothing, "Nothing", "Tests", {200: Answer("Nothing.")})


@pytest.mark.parametrize(
    ("method", "path", "name", "parameters"),
    [
        ("GET", "/v1/me", "get_me", ()),
        ("POST", "/v1/subscriptions/{subscription}/pull", "post_subscriptions_subscription_pull", ("subscription",)),
        ("PUT", "/v1/value-lists/{name}/{value}", "put_value_lists_name_value", ("name", "value")),
    ],
)
def test_an_endpoint_has_a_name_and_parameters_by_its_path(
    method: str, path: str, name: str, parameters: tuple[str, ...]
):
    """The name is an identifier, because programs are made from it; the parameters stand in their order."""
    made = endpoint(method, path)
    assert (made.name, made.parameters) == (name, parameters)
    assert made.name.isidentifier()


def test_who_calls_must_be_known_unless_an_endpoint_says_otherwise():
    """Nothing is open because something was left out."""
    assert endpoint("GET", "/v1/me").open is False


@pytest.mark.parametrize(
    ("header", "media_type"),
    [
        ("application/json", "application/json"),
        (" Application/JSON ; charset=utf-8", "application/json"),
        ("multipart/form-data; boundary=x", "multipart/form-data"),
        ("", ""),
        (";", ""),
    ],
)
def test_a_media_type_is_compared_without_its_parameters(header: str, media_type: str):
    """Upper and lower case are one, and white space is none of it."""
    assert Ask(CARE, {}, headers={"content-type": header}).media_type == media_type


def test_a_request_that_says_no_media_type_has_none():
    """A body without a name is for the endpoint to judge."""
    assert Ask(CARE, {}).media_type == ""


def test_what_goes_over_the_wire_has_no_other_fields():
    """A field that is misspelt is refused instead of being overlooked, and a shape cannot be changed afterwards."""

    class Wait(Shape):
        """How long to wait."""

        wait: float = 0

    with pytest.raises(ValidationError, match="wiat"):
        Wait.model_validate({"wiat": 5})
    with pytest.raises(ValidationError, match="frozen"):
        Wait().wait = 3
