"""JSON payloads, JSON Schema and OpenAPI: what is found, where, in which words, and what never happens."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.content_json import JsonSchema
from core.errors import ConfigError

CANARY = "Canary-7"
"""A value that must never be said."""
ORDER: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["number"],
    "additionalProperties": False,
    "properties": {
        "number": {"type": "integer", "minimum": 1, "maximum": 9},
        "name": {"$ref": "../common/types.json#/$defs/short"},
        "by/whom~": {"type": "string"},
        "lines": {"type": "array", "items": {"type": "number"}, "maxItems": 2, "minItems": 1, "uniqueItems": True},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}, "maxProperties": 2},
        "kind": {"$ref": "https://schemas.example/kind"},
        "rule": {},
    },
}
FILES: dict[str, Any] = {
    "post/order.json": ORDER,
    "common/types.json": {
        "$defs": {"short": {"type": "string", "maxLength": 3, "minLength": 1, "pattern": "^[a-z]*$"}}
    },
    "kind.json": {"$id": "https://schemas.example/kind", "enum": ["x", "y"]},
    "list.json": ["no schema"],
}


def files(**changes: Any) -> dict[str, bytes]:
    """The files, with broken ones beside that nobody asks for."""
    texts = {name: json.dumps(value, indent=1).encode() for name, value in {**FILES, **changes}.items()}
    return {**texts, "broken.json": b"{", "bytes.json": b"\xff", "letter.xsd": b"<schema/>"}


def schema(rule: Any = None, changes: Mapping[str, Any] | None = None) -> JsonSchema:
    """The order's schema, with a rule for its field of that name."""
    order = {**ORDER, "properties": {**ORDER["properties"], "rule": rule}} if rule is not None else ORDER
    return JsonSchema("post/order.json", "", files(**{"post/order.json": order, **(changes or {})}))


def found(value: Any, rule: Any = None) -> list[str]:
    """What is wrong, in words."""
    octets = value if isinstance(value, bytes) else json.dumps(value).encode()
    return [str(one) for one in schema(rule).judge(octets)]


@pytest.mark.requirement("R58")
def test_what_conforms_is_let_through():
    """Also by what stands in other files, found by path and by their own id."""
    order = {"number": 1, "name": "abc", "lines": [1.5], "counts": {"a": 1}, "kind": "x", "by/whom~": "k"}
    assert found(order) == found({"number": 9}) == []


@pytest.mark.requirement("R22", "R36")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"number": 10}, "/number: is above 9"),
        ({"number": 0}, "/number: is below 1"),
        ({"number": CANARY}, "/number: must be integer"),
        ({"name": "secret"}, "/name: is longer than 3 characters"),
        ({"name": ""}, "/name: is shorter than 1 characters"),
        ({"name": "A"}, "/name: does not match ^[a-z]*$"),
        ({"by/whom~": 1}, "/by~1whom~0: must be string"),
        ({"lines": [1, CANARY]}, "/lines/1: must be number"),
        ({"lines": [1, 2, 3]}, "/lines: has more than 2 items"),
        ({"lines": []}, "/lines: has fewer than 1 items"),
        ({"lines": [1, 1]}, "/lines: holds an item twice"),
        ({"counts": {CANARY: CANARY}}, "/counts/*: must be integer"),
        ({"counts": {"a": 1, "b": 2, "c": 3}}, "/counts: has more than 2 fields"),
        ({"kind": CANARY}, '/kind: is none of "x", "y"'),
        ({CANARY: 1}, "/: has 1 field that the schema does not know"),
        ({CANARY: 1, f"{CANARY}-2": 1}, "/: has 2 fields that the schema does not know"),
    ],
)
def test_a_finding_names_the_place_and_the_rule_and_no_value(change: dict[str, Any], said: str):
    """A field the schema does not know is a star: its name may be anything, in a map it is data."""
    findings = found({"number": 1, **change})
    assert findings == [said]
    assert CANARY not in str(findings)


@pytest.mark.parametrize(
    ("rule", "value", "said"),
    [
        ({"const": 3}, CANARY, "must be 3"),
        ({"enum": list(range(20))}, CANARY, "is none of 0, 1, 2, 3, 4, 5, 6, 7 and 12 more"),
        ({"type": ["integer", "null"]}, CANARY, "must be integer or null"),
        ({"multipleOf": 2}, 77777, "is no multiple of 2"),
        ({"exclusiveMaximum": 2}, 2, "is not below 2"),
        ({"exclusiveMinimum": 2}, 2, "is not above 2"),
        ({"required": ["x"]}, {CANARY: 1}, 'lacks "x"'),
        ({"minProperties": 2}, {CANARY: 1}, "has fewer than 2 fields"),
        ({"anyOf": [{"type": "integer"}, {"maxLength": 1}]}, CANARY, "is none of the alternatives (anyOf)"),
        ({"oneOf": [{"type": "integer"}, {"maxLength": 1}]}, CANARY, "is none of the alternatives (oneOf)"),
        ({"oneOf": [{}, {"maxLength": 99}]}, CANARY, "is more than one of the alternatives (oneOf)"),
        ({"not": {"type": "string"}}, CANARY, "is what the schema excludes (not)"),
        ({"contains": {"type": "integer"}}, [CANARY], "lacks an item that must be among them (contains)"),
        (False, CANARY, "is not known to the schema"),
        ({"propertyNames": {"maxLength": 2}}, {CANARY: 1}, "has a field whose name is not one the schema takes"),
        ({"unevaluatedProperties": False}, {CANARY: 1}, "has 1 field that the schema does not know"),
        ({"unevaluatedItems": False}, [CANARY], "breaks the rule unevaluatedItems"),
        ({"pattern": "^(a|a)+(?=b)$"}, "a" * 40, "costs too much to compare with the schema's pattern"),
    ],
)
def test_every_rule_has_words_that_quote_nothing(rule: Any, value: Any, said: str):
    """Limits, names and patterns of the schema are said; of the payload nothing is."""
    (finding,) = found({"number": 1, "rule": value}, rule)
    assert finding == f"/rule: {said}"
    assert CANARY not in finding


def test_a_format_is_checked_where_the_draft_says_so():
    """Up to draft 7 it is a rule, later it is an annotation."""
    old = {"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}
    (finding,) = JsonSchema("a.json", "", {"a.json": json.dumps(old).encode()}).judge(b'"' + CANARY.encode() + b'"')
    assert str(finding) == "/: is no date"
    assert found({"number": 1, "rule": CANARY}, {"format": "date"}) == []


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(_JSON)
@settings(max_examples=200, deadline=None)
def test_whatever_comes_is_judged_and_not_quoted(value: Any):
    """Any JSON, with a canary in every place of the order."""
    canary = {CANARY: [CANARY, value], "number": value, "name": f"{CANARY}{value}", "counts": {f"{CANARY}": value}}
    findings = [str(one) for one in schema().judge(json.dumps(canary).encode())]
    assert findings
    assert CANARY not in str(findings)


@given(st.binary(max_size=60))
def test_octets_that_are_no_json_are_a_finding(octets: bytes):
    """Never an exception."""
    assert all(one.cause for one in schema().judge(octets))


@pytest.mark.parametrize(
    ("octets", "said"),
    [
        (b"", "/: line 1, column 1: is no JSON: Expecting value"),
        (b'{"number":\n 1', "/: line 2, column 3: is no JSON: Expecting ',' delimiter"),
        (b'{"number": 1} {}', "/: line 1, column 15: is no JSON: Extra data"),
        (b'{"number": 1, "number": 2}', "/: names a field twice in one object"),
        (b'{"number": NaN}', "/: holds NaN or Infinity, which JSON does not have"),
        (b'{"number": 1e999}', "/: holds a number beyond what a double can hold"),
        (b'{"number": ' + b"9" * 5000 + b"}", "/: holds a whole number of too many digits"),
        (b"[" * 201 + b"]" * 201, "/: is nested more than 200 levels deep"),
        (b'{"a":' * 1_000_000, "/: is nested more than 200 levels deep"),
        (b'{"number": "\xff"}', "/: is not UTF-8 at octet 12"),
        (b'{"name": "\\ud800"}', "/: holds half a surrogate pair, which is no text"),
        ("\ufeff{}".encode(), "/: line 1, column 1: is no JSON: Unexpected UTF-8 BOM (decode using utf-8-sig)"),
    ],
)
def test_json_that_not_everybody_reads_the_same_is_refused(octets: bytes, said: str):
    """Two readers of one payload must not see two things; and depth is counted before anything recurses."""
    assert found(octets) == [said]


def test_brackets_in_texts_are_no_depth():
    """Nor are escaped quotation marks their end."""
    assert found({"number": 1, "by/whom~": '\\"' + "[{" * 500 + '"'}) == []


def test_of_a_large_payload_the_first_mistake_is_named(monkeypatch: pytest.MonkeyPatch):
    """Collecting all of a million costs minutes; of a small one twenty are listed."""
    many = {"number": 1, "counts": {str(i): "x" for i in range(30)}}
    assert len(found(many)) == limits.FINDINGS
    monkeypatch.setattr(limits, "FINDINGS_SIZE", 10)
    assert len(found(many)) == 1
    assert found({"number": 1}) == []


@pytest.mark.requirement("R90")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"$ref": "file:///etc/hostname"},
            "post/order.json:1: refers to file:///etc/hostname, which is no file of the",
        ),
        (
            {"$ref": "http://127.0.0.1:9/x"},
            "post/order.json:1: refers to http://127.0.0.1:9/x, which is no file of the",
        ),
        ({"$ref": "../../etc/hostname"}, "post/order.json:1: refers to etc/hostname, which is no file of the"),
        ({"$ref": "../broken.json"}, "post/order.json:1: refers to broken.json, which is no file of the"),
        ({"$schema": "urn:unknown"}, "post/order.json:1: refers to urn:unknown, which is no file of the"),
        ({"$ref": "#/nowhere"}, "post/order.json:1: Pointer '/nowhere' does not exist"),
        ({"properties": {"a": {"type": "strin"}}}, "post/order.json:4: properties.a.type: "),
        ({"allOf": [{}, {"pattern": "(("}]}, "post/order.json:5: allOf.1.pattern: "),
        ([1], "post/order.json:1: is no JSON Schema: neither an object nor true or false"),
        ({"$ref": "../bad.json"}, "bad.json:4: $defs.x.type: Unexpected type"),
        ({"$ref": "../bad.json#/$defs/x"}, "bad.json:4: $defs.x.type: Unexpected type"),
    ],
)
def test_a_schema_that_cannot_be_compiled_is_named_by_file_and_line(change: Any, said: str):
    """Nothing is fetched, and nothing outside the directory is opened."""
    bad = {"$defs": {"x": {"type": "strin"}}, "$ref": "#/$defs/x"}
    with pytest.raises(ConfigError) as caught:
        schema(changes={"post/order.json": change, "bad.json": bad})
    assert str(caught.value).startswith(said)


def test_a_schema_that_is_no_json_is_named_by_line():
    """Also when YAML could read it, or when not even that."""
    with pytest.raises(ConfigError, match=r"^a\.json:2: is no JSON: Expecting"):
        JsonSchema("a.json", "", {"a.json": b"{\na: 1}"})
    with pytest.raises(ConfigError, match=r"^a\.json:1: names a field twice in one object"):
        JsonSchema("a.json", "", {"a.json": b'{"a": 1, "a": 2}'})
    with pytest.raises(ConfigError, match=r"^a\.json:1: type: "):
        JsonSchema("a.json", "", {"a.json": b'{\n\t"type": "strin"}'})


# --- OpenAPI ----------------------------------------------------------------------------------------------------------

DOCUMENT: dict[str, Any] = {
    "openapi": "3.0.3",
    "components": {
        "schemas": {
            "An order/line": {
                "type": "object",
                "properties": {
                    "amount": {"type": "integer", "nullable": True, "minimum": 3, "exclusiveMinimum": True},
                    "unit": {"$ref": "#/components/schemas/Unit"},
                    "name": {"$ref": "common/types.json#/$defs/short"},
                    "nullable": {"type": "array", "items": {"allOf": [{"type": "string", "nullable": False}]}},
                },
            },
            "Unit": {"enum": ["each"]},
        }
    },
}


def component(document: Any, value: Any, name: str = "An order/line") -> list[str]:
    """What is wrong with a value by a component schema."""
    compiled = JsonSchema("api.json", name, files(**{"api.json": document}))
    return [str(one) for one in compiled.judge(json.dumps(value).encode())]


@pytest.mark.requirement("R90")
def test_a_component_schema_of_openapi_3_0_is_draft_4_with_nullable():
    """Null where it is allowed, the old meaning of exclusive, and references inside and to other files."""
    assert component(DOCUMENT, {"amount": None, "unit": "each", "name": "abc", "nullable": ["x"]}) == []
    wrong = {"amount": 3, "unit": CANARY, "name": CANARY, "nullable": [None]}
    assert sorted(component(DOCUMENT, wrong)) == [
        "/amount: is not above 3",
        "/name: does not match ^[a-z]*$",
        "/name: is longer than 3 characters",
        "/nullable/0: must be string",
        '/unit: is none of "each"',
    ]


@pytest.mark.requirement("R90")
def test_a_component_schema_of_openapi_3_1_is_2020_12():
    """Null is one of the types, and exclusive is a number."""
    later = {
        "openapi": "3.1.0",
        "components": {"schemas": {"Line": {"type": ["integer", "null"], "exclusiveMinimum": 3}}},
    }
    assert component(later, None, "Line") == component(later, 4, "Line") == []
    assert component(later, 3, "Line") == ["/: is not above 3"]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"openapi": "2.0"}, "is no OpenAPI document of version 3.0 or 3.1"),
        ({"swagger": "2.0"}, "is no OpenAPI document of version 3.0 or 3.1"),
        (True, "is no OpenAPI document of version 3.0 or 3.1"),
        ({"openapi": "3.1.0"}, r"has no 'Line' \(known: none\)"),
        ({"openapi": "3.1.0", "components": {"schemas": {"B": {}, "A": {}}}}, r"has no 'Line' \(known: A, B\)"),
    ],
)
def test_a_component_that_is_not_there_is_named_with_those_that_are(document: Any, said: str):
    """The document's kind and version come first."""
    with pytest.raises(ConfigError, match=said):
        component(document, 1, "Line")
