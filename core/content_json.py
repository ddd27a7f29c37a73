"""JSON payloads, JSON Schema and OpenAPI: compiled from the files of a configuration, said without a value.

Rules:

1. Nothing is fetched: what a schema refers to must be one of the configuration's ``.json`` files, by path or by its own ``$id``.
2. A payload is one JSON text of RFC 8259 that everybody reads the same: UTF-8, no name twice in an object, no NaN, no number
   beyond what a double holds, nothing nested beyond `limits.CONTENT_DEPTH`.
3. A finding names fields that the schema knows; any other name is ``*``, because names of fields are data in many a document. It
   says which rule is broken in words of the schema, never what stands there.
4. A schema says with ``$schema`` which draft it is; else it is 2020-12. The component schemas of OpenAPI 3.0 are draft 4 with
   ``nullable``, those of 3.1 are 2020-12. ``format`` is checked where its draft says so: up to draft 7.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate, islice
from math import isfinite
from typing import Any, Final
from urllib.parse import quote

import jsonschema_rs
import yaml

from core import limits
from core.errors import ConfigError, Finding

_BASE: Final = "config:///"
_STRINGS: Final = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_BRACKETS: Final = b"[]{}"
_NO_BRACKETS: Final = bytes(set(range(256)) - set(_BRACKETS))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_DRAFT_4: Final = int(jsonschema_rs.Draft4)
_SHOWN: Final = 8
"""Values of a list in the schema that are written out."""


class _Unread(Exception):
    """The octets are no JSON text that everybody reads the same."""


def _object(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unread("names a field twice in one object")
    return found


def _constant(_word: str) -> Any:
    raise _Unread("holds NaN or Infinity, which JSON does not have")


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise _Unread("holds a number beyond what a double can hold")
    return value


def _depth(octets: bytes) -> int:
    """How deep objects and lists lie in each other, at most."""
    brackets = _STRINGS.sub(b"", octets).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0)


def _read(octets: bytes) -> Any:
    """The value. Raises `_Unread`, and `json.JSONDecodeError` with a place."""
    if _depth(octets) > limits.CONTENT_DEPTH:
        raise _Unread(f"is nested more than {limits.CONTENT_DEPTH} levels deep")
    try:
        text = octets.decode("utf-8")
        return json.loads(text, object_pairs_hook=_object, parse_constant=_constant, parse_float=_number)
    except UnicodeDecodeError as error:
        raise _Unread(f"is not UTF-8 at octet {error.start}") from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        raise _Unread("holds a whole number of too many digits") from None


class JsonSchema:
    """A compiled schema. ``component`` is the name of an OpenAPI component, "" for a schema that is the file itself.

    Raises `ConfigError` with file and line when it cannot be compiled.
    """

    def __init__(self, file: str, component: str, files: Mapping[str, bytes]) -> None:
        known = {name: _schema_file(name, octets, name == file) for name, octets in files.items() if _is_json(name)}
        documents = {name: value for name, value in known.items() if isinstance(value, dict | bool)}
        if file not in documents:
            raise ConfigError(f"{file}:1", "", "is no JSON Schema: neither an object nor true or false")
        self._names = set(_names(documents.values()))
        root: Any = documents[file]
        draft, base = None, _BASE + quote(file)
        if component:
            pointer = _component(file, root, component)
            if str(root["openapi"]).startswith("3.0"):
                documents, draft = {name: _without_nullable(value) for name, value in documents.items()}, _DRAFT_4
            root, base = {"$ref": f"{base}#{pointer}"}, _BASE
        try:
            self._validator: Any = _compiled(root, base, documents, draft)
        except jsonschema_rs.ValidationError as error:
            raise _problem(error, file, documents, files) from None

    def judge(self, octets: bytes) -> list[Finding]:
        """What is wrong with a payload."""
        try:
            value = _read(octets)
            if len(octets) <= limits.FINDINGS_SIZE:
                return [self._finding(error) for error in islice(self._validator.iter_errors(value), limits.FINDINGS)]
            self._validator.validate(value)
        except json.JSONDecodeError as error:
            return [Finding("/", f"line {error.lineno}, column {error.colno}: is no JSON: {error.msg}")]
        except _Unread as error:
            return [Finding("/", str(error))]
        except UnicodeEncodeError:
            return [Finding("/", "holds half a surrogate pair, which is no text")]
        except jsonschema_rs.ValidationError as error:
            return [self._finding(error)]
        return []

    def _finding(self, error: Any) -> Finding:
        steps = [step if isinstance(step, int) else self._shown(step) for step in error.instance_path]
        return Finding("/" + "/".join(map(str, steps)), _words(error.kind))

    def _shown(self, name: str) -> str:
        return name.replace("~", "~0").replace("/", "~1") if name in self._names else "*"


# --- words ------------------------------------------------------------------------------------------------------------


def _listed(values: Sequence[Any]) -> str:
    shown = ", ".join(json.dumps(value, ensure_ascii=False)[:80] for value in values[:_SHOWN])
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"


_SIZES: Final = {
    "MaxLength": "is longer than {} characters",
    "MinLength": "is shorter than {} characters",
    "MaxItems": "has more than {} items",
    "MinItems": "has fewer than {} items",
    "MaxProperties": "has more than {} fields",
    "MinProperties": "has fewer than {} fields",
    "Maximum": "is above {}",
    "Minimum": "is below {}",
    "ExclusiveMaximum": "is not below {}",
    "ExclusiveMinimum": "is not above {}",
}
_PLAIN: Final = {
    "AnyOf": "is none of the alternatives (anyOf)",
    "OneOfNotValid": "is none of the alternatives (oneOf)",
    "OneOfMultipleValid": "is more than one of the alternatives (oneOf)",
    "Not": "is what the schema excludes (not)",
    "UniqueItems": "holds an item twice",
    "Contains": "lacks an item that must be among them (contains)",
    "FalseSchema": "is not known to the schema",
    "BacktrackLimitExceeded": "costs too much to compare with the schema's pattern",
    "PropertyNames": "has a field whose name is not one the schema takes",
}


def _words(kind: Any) -> str:
    """A broken rule in words of the schema: what a kind holds of the schema, never what it holds of the payload."""
    name = type(kind).__name__.rpartition("_")[2]
    if name in _SIZES:
        return _SIZES[name].format(kind.limit)
    if name in _PLAIN:
        return _PLAIN[name]
    match name:
        case "Required":
            return f"lacks {json.dumps(kind.property, ensure_ascii=False)}"
        case "Type":
            return f"must be {' or '.join(sorted(kind.types))}"
        case "Enum":
            return f"is none of {_listed(kind.options)}"
        case "Constant":
            return f"must be {_listed([kind.expected_value])}"
        case "Pattern":
            return f"does not match {kind.pattern[:200]}"
        case "Format":
            return f"is no {kind.format}"
        case "MultipleOf":
            return f"is no multiple of {kind.multiple_of}"
        case "AdditionalProperties" | "UnevaluatedProperties":
            count = len(kind.unexpected)
            return f"has {count} field{'s' if count > 1 else ''} that the schema does not know"
    return f"breaks the rule {kind.name}"


# --- compiling --------------------------------------------------------------------------------------------------------


def _is_json(name: str) -> bool:
    return name.lower().endswith(".json")


def _schema_file(name: str, octets: bytes, wanted: bool) -> Any:
    """A file's value; of one that is no JSON None, unless it is ``wanted``: then it raises `ConfigError`."""
    try:
        return _read(octets)
    except json.JSONDecodeError as error:
        cause, line = f"is no JSON: {error.msg}", error.lineno
    except _Unread as error:
        cause, line = str(error), 1
    if wanted:
        raise ConfigError(f"{name}:{line}", "", cause)
    return None


def _names(values: Iterable[Any]) -> Iterable[str]:
    """Every field that some schema speaks of."""
    waiting = list(values)
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            properties = value.get("properties")
            yield from properties if isinstance(properties, dict) else ()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _component(file: str, document: Any, name: str) -> str:
    """Where an OpenAPI document has a component, as a pointer. Raises `ConfigError`."""
    version = str(document.get("openapi", "")) if isinstance(document, dict) else ""
    if not version.startswith(("3.0", "3.1")):
        raise ConfigError(f"{file}:1", "openapi", "is no OpenAPI document of version 3.0 or 3.1")
    components = document.get("components")
    schemas = components.get("schemas") if isinstance(components, dict) else None
    if not isinstance(schemas, dict) or name not in schemas:
        known = ", ".join(sorted(schemas)[:_SHOWN]) if isinstance(schemas, dict) else "none"
        raise ConfigError(f"{file}:1", "components.schemas", f"has no {name!r}", f"known: {known}")
    return "/components/schemas/" + quote(name.replace("~", "~0").replace("/", "~1"), safe="~")


def _without_nullable(value: Any) -> Any:
    """OpenAPI 3.0 says ``nullable`` where JSON Schema names null among the types."""
    if isinstance(value, list):
        return [_without_nullable(item) for item in value]
    if not isinstance(value, dict):
        return value
    changed = {key: _without_nullable(item) for key, item in value.items()}
    if value.get("nullable") is True and isinstance(value.get("type"), str):
        changed["type"] = [value["type"], "null"]
    return changed


def _nothing_else(_uri: str) -> Any:
    raise ValueError("nothing is fetched")


def _compiled(root: Any, base: str, documents: Mapping[str, Any], draft: int | None) -> Any:
    """The validator; each document is known by its path and by the address it gives itself."""
    resources = [(_BASE + quote(name), value) for name, value in documents.items()]
    resources += [
        (value["$id"], value) for value in documents.values() if isinstance(value, dict) and _has_address(value)
    ]
    others = [(address, value) for address, value in resources if value is not root]
    if draft is None:
        registry = jsonschema_rs.Registry(others, retriever=_nothing_else)
        return jsonschema_rs.validator_for(root, registry=registry, retriever=_nothing_else, base_uri=base)
    registry = jsonschema_rs.Registry(others, draft=draft, retriever=_nothing_else)
    return jsonschema_rs.Draft4Validator(root, registry=registry, retriever=_nothing_else, base_uri=base)


def _has_address(value: Mapping[str, Any]) -> bool:
    return isinstance(value.get("$id"), str) and ":" in value["$id"]


_ABSENT: Final = re.compile(r"^Resource '([^']*)' is not present in a registry.*")


def _problem(error: Any, file: str, documents: Mapping[str, Any], files: Mapping[str, bytes]) -> ConfigError:
    """What the compiler says, with the file and line where that can be found: it names the place inside a file, not the file."""
    path = list(error.instance_path)
    cause = _ABSENT.sub(
        r"refers to \1, which is no file of the configuration directory", error.message.partition("\n")[0]
    )
    where = next((name for name in (file, *sorted(documents)) if _leads_on(documents[name], path)), file)
    return ConfigError(f"{where}:{_line(files[where], path)}", ".".join(map(str, path)), cause.replace(_BASE, ""))


def _leads_on(value: Any, path: Sequence[str | int]) -> bool:
    for step in path:
        try:
            value = value[step]
        except (LookupError, TypeError):
            return False
    return True


def _line(octets: bytes, path: Sequence[str | int]) -> int:
    """The line of a field, 1 where it cannot be told: JSON is YAML, nearly, and that reader knows lines."""
    try:
        node: Any = yaml.compose(octets.decode(), Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return 1
    for step in path:
        node = node.value[step] if isinstance(step, int) else {key.value: value for key, value in node.value}[step]
    return int(node.start_mark.line) + 1
