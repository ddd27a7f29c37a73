"""A configuration as files that load to the same version: what was agreed over the API can be read, reviewed and kept as text.

Rules:

1. What the files load to is the version, octet for octet of its canonical text. A field that has its default is left out only
   where leaving it out says the same.
2. One document a file, ``KIND/ID.yaml``: a change of one is a change of one file. Certificates and schemas lie where they lay.
3. Plain YAML as `core.documents` reads it: no anchors, no tags, texts that look like something else in quotes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import yaml
from pydantic import BaseModel

from core.config import Configuration
from core.documents import CERTIFICATE_SUFFIXES, SCHEMA_SUFFIXES
from core.errors import ConfigError

_COLUMNS = 120


class _Dumper(yaml.SafeDumper):
    """Safe YAML in which nothing stands for something else."""

    def ignore_aliases(self, data: Any) -> bool:
        """What occurs twice is written twice."""
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        """Items of a list stand below their field, not beside it."""
        return super().increase_indent(flow, False)


def files_of(configuration: Configuration) -> dict[str, bytes]:
    """Every file by its path below the directory. Raises `ConfigError` for a file's name that leads elsewhere."""
    for name in configuration.files:
        _check_name(name)
    taken = {str(folder) for name in configuration.files for folder in PurePosixPath(name).parents}
    made = dict(configuration.files)
    for kind, documents in configuration.documents.items():
        for name, item in documents.items():
            path = f"{kind}/{name}.yaml"
            while path in taken or path in made:
                path = path.removesuffix(".yaml") + "_.yaml"
            made[path] = text_of(item).encode()
    return made


def _check_name(name: str) -> None:
    path = PurePosixPath(name)
    strange = path.is_absolute() or any(part.startswith(".") for part in path.parts) or "\0" in name
    if strange or str(path) != name or path.suffix.lower() not in (*CERTIFICATE_SUFFIXES, *SCHEMA_SUFFIXES):
        raise ConfigError(name, "", "is no name of a certificate or schema in a configuration directory")


def text_of(item: BaseModel) -> str:
    """A document as YAML: kind and id first, then what it says beyond the defaults, in the order of its fields."""
    whole = item.model_dump(mode="json")
    first = {name: whole[name] for name in ("kind", "id")}
    said = first | _in_order(item.model_dump(mode="json", exclude_defaults=True), whole)
    if type(item).model_validate(said) != item:  # a default that depends on what else is said
        said = first | whole
    return yaml.dump(said, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=_COLUMNS)


def _in_order(said: Mapping[str, Any], whole: Mapping[str, Any]) -> dict[str, Any]:
    return {name: said[name] for name in whole if name in said and name not in ("kind", "id")}
