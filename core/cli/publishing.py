"""schema, pull-config: what documents may say, for editors; and what is in force, as documents."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from core.cli import talk
from core.cli.output import Json, say, say_json, table
from core.config import Configuration
from core.documents import CERTIFICATE_SUFFIXES, DOCUMENT_SUFFIXES, SCHEMA_SUFFIXES, read_directory
from core.errors import NotFound, UsageError
from core.runtime import Catalogue
from core.schema import named, published
from core.written import files_of

_SUFFIXES = (*DOCUMENT_SUFFIXES, *CERTIFICATE_SUFFIXES, *SCHEMA_SUFFIXES)


def schema(
    kind: Annotated[str, typer.Argument(help="A kind of document, or payload-description; left out = list them.")] = "",
    as_json: Json = False,
) -> None:
    """Print the JSON Schema (draft 2020-12) of a kind of document, or of the payload description."""
    models = named(Catalogue().kinds)
    if kind:
        if kind not in models:
            raise UsageError(f"kind: nothing is called {kind!r}; known: {', '.join(models)}")
        say_json(published(kind, models[kind]))
    elif as_json:
        say_json(list(models))
    else:
        rows = [(name, published(name, model).get("description", "")) for name, model in models.items()]
        table("schemas", ("kind", "what"), rows)


def pull_config(
    directory: Annotated[Path, typer.Argument(help="Where to write: a folder that is not there, or holds nothing.")],
    number: Annotated[int | None, typer.Option("--version", help="Another version than the one in force.")] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Write into a folder of documents: what the version does not have is deleted."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Write the version in force as files that load to the same version, whoever made it and by which way."""
    catalogue = Catalogue()
    with talk.looking() as connection:
        wanted = talk.stored(connection, catalogue, number)
    if not wanted.number:
        raise NotFound(f"there is no configuration version {number}" if number else "no version is in force yet")
    made = files_of(wanted)
    there = _there(directory)
    if there and not replace:
        remedy = "name a folder that is not there, or say --replace"
        raise UsageError(f"{directory}: holds {there[0]} and {len(there) - 1} more files; {remedy}")
    try:
        _write(directory, made, there)
    except OSError as error:
        raise UsageError(f"{error.filename or directory}: {error.strerror or error}") from None
    _demand_same(directory, wanted, catalogue)
    gone = sorted(set(there) - set(made))
    if as_json:
        say_json({"version": wanted.number, "files": sorted(made), "deleted": gone})
    else:
        removed = f", {len(gone)} deleted" if gone else ""
        say(f"version {wanted.number} is in {directory}: {len(made)} files{removed}")


def _there(directory: Path) -> list[str]:
    """What a configuration directory holds of what `check` would read, by its path in it."""
    if directory.exists() and not directory.is_dir():
        raise UsageError(f"{directory}: is no directory")
    paths = [path.relative_to(directory) for path in sorted(directory.rglob("*")) if path.suffix.lower() in _SUFFIXES]
    shown = [path for path in paths if not any(part.startswith(".") for part in path.parts)]
    return [path.as_posix() for path in shown if not (directory / path).is_dir()]


def _write(directory: Path, made: dict[str, bytes], there: list[str]) -> None:
    """Everything new is written before anything old is deleted."""
    for name, octets in made.items():
        path = directory / name
        if path.is_symlink():
            path.unlink()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(octets)
    for name in set(there) - set(made):
        (directory / name).unlink()


def _demand_same(directory: Path, wanted: Configuration, catalogue: Catalogue) -> None:
    """Raises `UsageError` when what was written does not read back as the version."""
    read = read_directory(directory, catalogue.kinds)
    documents: dict[str, dict[str, Any]] = {}
    for one in read.documents:
        documents.setdefault(one.model.kind, {})[one.model.id] = one.model
    if read.problems or json.loads(Configuration(documents, read.files).to_json()) != json.loads(wanted.to_json()):
        why = str(read.problems[0]) if read.problems else "a document or a file differs"
        raise UsageError(f"{directory}: what was written does not read back as version {wanted.number}: {why}")


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    app.command()(schema)
    app.command("pull-config")(pull_config)
