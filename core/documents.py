"""Reading configuration files: YAML into documents, with the file and line of everything that is wrong.

Rules:

1. All that is wrong in a directory is found in one go, each with file, line, field, cause and remedy.
2. Plain YAML only: no anchors, no tags, no duplicate keys; what is read twice by two people must read the same.
3. Certificates lie beside the documents that name them and become part of the version; private keys never do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from core import limits
from core.errors import ConfigError

CERTIFICATE_SUFFIXES: Final = (".pem", ".crt", ".cer", ".crl")


class _Loader(yaml.SafeLoader):
    """Safe YAML that also refuses what people misread."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} is no text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} stands twice", key_node.start_mark)
        seen.add(key)
    return {loader.construct_object(k): loader.construct_object(v, deep=True) for k, v in node.value}


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


@dataclass(frozen=True)
class Read:
    """One document as read: its model, and where its fields stand."""

    model: Any
    file: str
    lines: Mapping[tuple[str, ...], int]

    def where(self, path: Iterable[object]) -> str:
        """``file:line`` of the deepest part of ``path`` that has a place of its own."""
        parts = tuple(str(p) for p in path)
        while parts and parts not in self.lines:
            parts = parts[:-1]
        return f"{self.file}:{self.lines.get(parts, 1)}"


@dataclass
class Directory:
    """A configuration directory as read. ``problems`` is empty when every document could be read."""

    documents: list[Read] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    problems: list[ConfigError] = field(default_factory=list)


def _lines(node: yaml.Node, path: tuple[str, ...], found: dict[tuple[str, ...], int]) -> None:
    found.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = (*path, str(key.value))
            found[name] = key.start_mark.line + 1
            _lines(value, name, found)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _lines(value, (*path, str(index)), found)


def read_directory(root: Path, kinds: Mapping[str, type[BaseModel]]) -> Directory:
    """Read every document and certificate under ``root``. Problems are collected, not raised."""
    directory = Directory()
    if not root.is_dir():
        directory.problems.append(ConfigError(str(root), "", "is no directory", "name the configuration directory"))
        return directory
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if not path.is_file() or any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.stat().st_size > limits.DOCUMENT_SIZE:
            directory.problems.append(ConfigError(name, "", f"larger than {limits.DOCUMENT_SIZE} octets"))
        elif path.suffix in (".yaml", ".yml"):
            _read_file(path, name, kinds, directory)
        elif path.suffix in CERTIFICATE_SUFFIXES:
            octets = path.read_bytes()
            if b"PRIVATE KEY" in octets:
                remedy = "move it to the node's key folder with `stafet keys import`"
                directory.problems.append(ConfigError(name, "", "holds a private key", remedy))
            else:
                directory.files[name] = octets
    return directory


def _read_file(path: Path, name: str, kinds: Mapping[str, type[BaseModel]], directory: Directory) -> None:
    try:
        text = path.read_bytes().decode("utf-8")
        for event in yaml.parse(text, Loader=_Loader):
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not taken", _mark(event))
            if getattr(event, "tag", None):
                raise yaml.MarkedYAMLError(None, None, "tags are not taken", _mark(event))
        nodes = list(yaml.compose_all(text, Loader=_Loader))
    except UnicodeDecodeError as error:
        directory.problems.append(ConfigError(name, "", f"is not UTF-8 at octet {error.start}"))
        return
    except (yaml.YAMLError, RecursionError) as error:
        directory.problems.append(_yaml_problem(name, error))
        return
    for node in nodes:
        if node is None or (isinstance(node, yaml.ScalarNode) and node.value == ""):
            continue
        lines: dict[tuple[str, ...], int] = {}
        try:
            _lines(node, (), lines)
            loader = _Loader("")
            value = loader.construct_document(node)
        except (yaml.YAMLError, RecursionError, ValueError, ArithmeticError) as error:
            directory.problems.append(_yaml_problem(name, error))
            continue
        _read_document(value, name, lines, kinds, directory)


def _mark(event: yaml.Event) -> Any:
    return event.start_mark


def _yaml_problem(name: str, error: Exception) -> ConfigError:
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"{name}:{mark.line + 1}" if mark else name
    words = getattr(error, "problem", None) or str(error).splitlines()[0]
    return ConfigError(where, "", f"is no plain YAML: {words}")


def _read_document(
    value: Any,
    name: str,
    lines: dict[tuple[str, ...], int],
    kinds: Mapping[str, type[BaseModel]],
    directory: Directory,
) -> None:
    here = f"{name}:{lines.get((), 1)}"
    if not isinstance(value, dict):
        directory.problems.append(ConfigError(here, "", "is no document", "begin with `kind:` and `id:`"))
        return
    kind = value.get("kind")
    model = kinds.get(kind) if isinstance(kind, str) else None
    if model is None:
        known = ", ".join(sorted(kinds))
        cause = "is missing" if kind is None else f"is {kind!r}, which no installed part of Stafet knows"
        directory.problems.append(ConfigError(here, "kind", cause, f"one of {known}"))
        return
    blank = Read(None, name, lines)
    try:
        parsed = model.model_validate(value)
    except ValidationError as error:
        for problem in error.errors():
            words = problem["msg"].removeprefix("Value error, ")
            remedy = (
                "this field does not exist; see docs/reference/settings.md"
                if problem["type"] == ("extra_forbidden")
                else ""
            )
            directory.problems.append(
                ConfigError(
                    blank.where(problem["loc"]),
                    ".".join(map(str, problem["loc"])) or str(value.get("id", "")),
                    words,
                    remedy,
                )
            )
        return
    directory.documents.append(Read(parsed, name, lines))
