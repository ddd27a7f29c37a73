"""Systems, and the ids all documents use."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from core.system import RESIDUAL, SENSITIVITIES, Function, Name, System

NAMES: TypeAdapter[str] = TypeAdapter(Name)


@pytest.mark.parametrize("name", ["a", "7", "birkelund-post", "a.b_c-d", "0" * 64, RESIDUAL])
def test_a_name_is_short_and_plain(name: str):
    """Lower case letters, digits, dot, underscore and dash, up to 64 of them."""
    assert NAMES.validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "-a", ".a", "_a", "a b", "a/b", "../a", "ærø", "a\n", "a\x00", "\na", "0" * 65, 5, None, True]
)
def test_what_could_be_misread_is_no_name(name: object):
    """Neither capitals, spaces, paths, line ends nor what only looks like text."""
    with pytest.raises(ValidationError):
        NAMES.validate_python(name)


def test_a_system_belongs_to_an_authority():
    """Id and authority are enough."""
    system = System.model_validate({"id": "birkelund-post", "authority": "dk-birkelund"})
    assert system.model_dump(mode="json") == {
        "kind": "system",
        "id": "birkelund-post",
        "title": "",
        "authority": "dk-birkelund",
        "functions": [],
        "certificates": [],
        "sealing_certificates": [],
    }


@pytest.mark.parametrize(
    ("changes", "place", "cause"),
    [
        ({"authority": ""}, ("authority",), "at least 1 character"),
        ({"authority": "x" * 256}, ("authority",), "at most 255 characters"),
        ({"authority": None}, ("authority",), "valid string"),
        ({"functions": ["benefits", "Benefits"]}, ("functions", 1), "should match pattern"),
        ({"functions": "benefits"}, ("functions",), "valid tuple"),
        ({"kind": "route"}, ("kind",), "Input should be 'system'"),
        ({"certificate": "a.pem"}, ("certificate",), "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_field_is_named(changes: dict[str, Any], place: tuple[object, ...], cause: str):
    """Unknown fields are wrong fields."""
    with pytest.raises(ValidationError) as caught:
        System.model_validate({"id": "a", "authority": "b"} | changes)
    (error,) = caught.value.errors()
    assert error["loc"] == place
    assert cause in error["msg"]


def test_a_document_is_a_value():
    """Equal facts are equal documents, and none can be changed in place."""
    one, two = (System(id="a", authority="b", functions=("c",)) for _ in range(2))
    assert one == two
    assert hash(one) == hash(two)
    with pytest.raises(ValidationError, match="frozen"):
        one.id = "c"


@pytest.mark.requirement("R70", "R107")
def test_a_function_takes_what_is_no_more_sensitive_than_it_may_be_sent():
    """From public to sensitive, each takes itself and what is less."""
    for place, own in enumerate(SENSITIVITIES):
        function = Function(id="school-psychology", authority="birkelund", sensitivity=own)
        assert [function.takes(one) for one in SENSITIVITIES] == [n <= place for n in range(len(SENSITIVITIES))]
