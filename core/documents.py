"""Reading configuration files: YAML into documents, with the file and line of everything that is wrong.

Rules:

1. All that is wrong in a directory is found in one go, each with file, line, field, cause and remedy.
2. Plain YAML only: no anchors, no tags, no duplicate keys; what is read twice by two people must read the same.
   Links are followed to files of the directory alone: what is not in it is not what was looked at.
3. Certificates and schemas lie beside the documents that name them and become part of the version; private keys never do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import BaseModel, ValidationError

from core import limits
from core.errors import ConfigError

DOCUMENT_SUFFIXES: Final = (".yaml", ".yml")
CERTIFICATE_SUFFIXES: Final = (".pem", ".crt", ".cer", ".crl")
SCHEMA_SUFFIXES: Final = (".xsd", ".json")


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
    return {loader.construct_object(k): _value(loader, v) for k, v in node.value}


def _value(loader: _Loader, node: yaml.Node) -> Any:
    """A field's value; one that is no date or number is wrong at its own place."""
    try:
        return loader.construct_object(node, deep=True)
    except (ValueError, ArithmeticError) as error:
        raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from None


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
        name = os.fsencode(path.relative_to(root)).decode("utf-8", "backslashreplace")
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        try:
            octets = _octets(path, root, name)
            if octets is not None:
                _take(octets, path.suffix.lower(), name, kinds, directory)
        except ConfigError as problem:
            directory.problems.append(problem)
        except OSError as error:
            directory.problems.append(ConfigError(name, "", f"cannot be read: {error.strerror}"))
    return directory


def _octets(path: Path, root: Path, name: str) -> bytes | None:
    """What a document or certificate holds, None for anything else. Raises `ConfigError` for no file of this directory."""
    if path.is_symlink() and not _leads_to_a_file_here(path, root):
        raise ConfigError(name, "", "is a link that leads to no file of this directory", "put the file itself here")
    if path.is_dir() or path.suffix.lower() not in (*DOCUMENT_SUFFIXES, *CERTIFICATE_SUFFIXES, *SCHEMA_SUFFIXES):
        return None
    if not path.is_file():
        raise ConfigError(name, "", "is no file")
    with path.open("rb") as file:
        octets = file.read(limits.DOCUMENT_SIZE + 1)
    if len(octets) > limits.DOCUMENT_SIZE:
        raise ConfigError(name, "", f"larger than {limits.DOCUMENT_SIZE} octets")
    return octets


def _leads_to_a_file_here(path: Path, root: Path) -> bool:
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # nothing there, or a circle
        return False
    return target.is_file() and target.is_relative_to(root.resolve())


def _take(octets: bytes, suffix: str, name: str, kinds: Mapping[str, type[BaseModel]], directory: Directory) -> None:
    if suffix in DOCUMENT_SUFFIXES:
        for node in _nodes(octets, name):
            try:
                value, lines = _construct(node, name)
            except ConfigError as problem:
                directory.problems.append(problem)
            else:
                _read_document(value, name, lines, kinds, directory)
    elif b"PRIVATE KEY" in octets:
        remedy = "move it to the node's key folder with `stafet keys import`"
        raise ConfigError(name, "", "holds a private key", remedy)
    else:
        directory.files[name] = octets


def read_value(octets: bytes, name: str) -> Any:
    """The one value of a plain YAML file, None when it is empty. Raises `ConfigError`."""
    nodes = _nodes(octets, name)
    if len(nodes) > 1:
        raise ConfigError(f"{name}:{nodes[1].start_mark.line + 1}", "", "begins a second document; one is taken")
    return _construct(nodes[0], name)[0] if nodes else None


def _nodes(octets: bytes, name: str) -> list[yaml.Node]:
    """The documents of a file that are not empty. Raises `ConfigError` for what is no plain YAML."""
    try:
        text = octets.decode("utf-8")
        _check_plain(text)
        nodes = list(yaml.compose_all(text, Loader=_Loader))
    except UnicodeDecodeError as error:
        raise ConfigError(name, "", f"is not UTF-8 at octet {error.start}") from None
    except yaml.YAMLError as error:
        raise _yaml_problem(name, 0, error) from None
    return [node for node in nodes if node is not None and not (isinstance(node, yaml.ScalarNode) and node.value == "")]


def _check_plain(text: str) -> None:
    """Raises `yaml.YAMLError` for what people misread, and for what would cost more than it is worth."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        here: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise yaml.MarkedYAMLError(None, None, "anchors and aliases are not taken", here)
        if getattr(event, "tag", None):
            raise yaml.MarkedYAMLError(None, None, "tags are not taken", here)
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > limits.DOCUMENT_DEPTH:
            words = f"more than {limits.DOCUMENT_DEPTH} levels of lists and mappings are not taken"
            raise yaml.MarkedYAMLError(None, None, words, here)


def _construct(node: yaml.Node, name: str) -> tuple[Any, dict[tuple[str, ...], int]]:
    """A document's value, and the line of every field. Raises `ConfigError`."""
    lines: dict[tuple[str, ...], int] = {}
    _lines(node, (), lines)
    try:
        return _Loader("").construct_document(node), lines
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        raise _yaml_problem(name, lines[()], error) from None


def _yaml_problem(name: str, line: int, error: Exception) -> ConfigError:
    """``line`` is where the document begins, 0 for nowhere; the error may know better."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    line = mark.line + 1 if mark else line
    words = getattr(error, "problem", None) or str(error).splitlines()[0]
    return ConfigError(f"{name}:{line}" if line else name, "", f"is no plain YAML: {words}")


def _worth_saying(problems: list[Any]) -> list[Any]:
    """Without "too short" of a list that is short of its wrong items alone."""
    wrong_items = {one["loc"][:-n] for one in problems for n in range(1, len(one["loc"]))}
    return [one for one in problems if one["type"] != "too_short" or one["loc"] not in wrong_items]


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
        for problem in _worth_saying(error.errors()):
            words = problem["msg"].removeprefix("Value error, ")
            remedy = (
                "this field does not exist; see docs/reference/settings.md"
                if problem["type"] == "extra_forbidden"
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
