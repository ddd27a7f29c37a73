#!/usr/bin/env python3
"""Writes the pages that are made from code: docs/requirements.md and docs/reference/*.md.

Rules:

1. A page is a function of the repository alone: no clock, no machine, no order of a dictionary that could differ.
2. An unknown requirement id is an error, never a line that is left out; so is a mark on something that is no test.
3. ``--check`` writes nothing and exits 1 if a page differs from the one on disk.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import yaml
from pydantic import BaseModel

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from core.schema import attribute_docs, models_in  # noqa: E402 - the folder above has to be known first
from scripts.marks import DocsError, marks_in  # noqa: E402 - as above

KINDS: Final = (
    ("system", "core.system", "System"),
    ("integration", "core.integration", "Integration"),
    ("route", "core.route", "Route"),
    ("table", "core.enrichment", "Table"),
    ("value-list", "core.lists", "ValueList"),
    ("service-agreement", "core.agreement", "ServiceAgreement"),
    ("subscription", "core.subscription", "Subscription"),
    ("function", "core.system", "Function"),
    ("quota", "core.quota", "Quota"),
    ("as4.party", "gateways.as4.settings", "Party"),
    ("as4.partner", "gateways.as4.settings", "Partner"),
    ("rest.issuer", "gateways.rest.settings", "Issuer"),
    ("rest.client", "gateways.rest.settings", "Client"),
    ("node settings", "core.settings", "NodeSettings"),
    ("node settings: as4", "gateways.as4.settings", "Listen"),
    ("node settings: rest", "gateways.rest.settings", "Settings"),
)
"""What settings.md describes: (kind, module, class). A module that does not exist yet is left out."""
LIMIT_MODULES: Final = ("core.limits", "accesspoint.limits")
ERROR_MODULES: Final = ("core.errors", "accesspoint.errors")
COMMAND_LINE: Final = ("core.cli.main", "whole")
HOW_TO_MARK: Final = re.compile(r"^<!-- requirement: (.+?) -->$", re.MULTILINE)
MADE: Final = "<!-- Made by scripts/docs.py; change the source and run it again. -->"


class Shown(NamedTuple):
    """Where a requirement is shown: test ids, and pages for people."""

    tests: list[str]
    pages: list[str]


# ------------------------------------------------------------------------------------------------------ requirements


def read_requirements(path: Path) -> dict[str, dict[str, str]]:
    """The list, checked: R1, R2, … without a gap, each with an area and one line of text."""
    listed = yaml.safe_load(path.read_text(encoding="utf-8"))
    for number, (name, entry) in enumerate(listed.items(), start=1):
        if name != f"R{number}":
            raise DocsError(f"{path.name}: {name} stands where R{number} should")
        if set(entry) != {"area", "text"} or "\n" in entry["text"]:
            raise DocsError(f"{path.name}: {name} needs area and text, each one line")
    return dict(listed)


def gather(root: Path, known: Iterable[str]) -> dict[str, Shown]:
    """Where each requirement is shown."""
    shown = {name: Shown([], []) for name in known}

    def place(name: str, where: str) -> Shown:
        if name not in shown:
            raise DocsError(f"{where}: there is no requirement {name!r} in docs/requirements.yaml")
        return shown[name]

    for path in sorted((root / "tests").rglob("*.py")):
        where = path.relative_to(root).as_posix()
        for name, test in marks_in(path.read_text(encoding="utf-8"), where):
            place(name, where).tests.append(test)
    for path in sorted((root / "docs" / "how-to").glob("*.md")):
        where = path.relative_to(root).as_posix()
        for line in HOW_TO_MARK.findall(path.read_text(encoding="utf-8")):
            for name in line.split():
                place(name, where).pages.append(where)
    return shown


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _shown_cell(shown: Shown) -> str:
    tests = [f"`{test.removeprefix('tests/')}`" for test in dict.fromkeys(shown.tests)]
    pages = [f"[{Path(page).stem}]({page.removeprefix('docs/')})" for page in dict.fromkeys(shown.pages)]
    return "<br>".join(tests + pages)


def requirements_page(listed: Mapping[str, Mapping[str, str]], shown: Mapping[str, Shown]) -> str:
    """docs/requirements.md."""
    by_test = sum(bool(at.tests) for at in shown.values())
    by_page = sum(bool(at.pages) and not at.tests for at in shown.values())
    lines = [
        "# Requirements",
        "",
        MADE,
        "",
        f"{len(listed)} requirements: **{by_test}** shown by tests, **{by_page}** by a page alone, "
        f"**{len(listed) - by_test - by_page}** not yet.",
        "",
        "A requirement counts as shown when a test in `tests/` carries its id "
        '(`@pytest.mark.requirement("R62")`) or a page in `docs/how-to/` names it '
        "(`<!-- requirement: R62 -->`). Shown means: that test passes, that page exists. It does not mean that "
        "nothing is left to wish for.",
    ]
    area = ""
    for name, entry in listed.items():
        if entry["area"] != area:
            area = entry["area"]
            lines += [
                "",
                f"## {area[0].upper()}{area[1:]}",
                "",
                "| Id | What | Status | Where |",
                "| --- | --- | --- | --- |",
            ]
        at = shown[name]
        status = "shown" if at.tests or at.pages else "not yet"
        lines.append(f"| {name} | {_cell(entry['text'])} | {status} | {_shown_cell(at)} |")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------------------ errors


def _exceptions(module: Any) -> Iterator[type[BaseException]]:
    for value in vars(module).values():
        if inspect.isclass(value) and issubclass(value, BaseException) and value.__module__ == module.__name__:
            yield value


def _prose(text: str | None) -> str:
    """Docstring markup as Markdown."""
    return _cell(inspect.cleandoc(text or "").replace("``", "`"))


def errors_page() -> str:
    """docs/reference/errors.md."""
    from accesspoint.errors import CATALOGUE

    lines = [
        "# Errors",
        "",
        MADE,
        "",
        "## Codes of the ebMS error catalogue",
        "",
        "| Code | Short description | Severity | Category | Origin | Means |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in sorted(CATALOGUE.values(), key=lambda entry: entry.code):
        cells = (f"`{row.code}`", row.short_description, row.severity, row.category, row.origin, row.meaning)
        lines.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    for name in ERROR_MODULES:
        module = importlib.import_module(name)
        head, _, rest = inspect.cleandoc(module.__doc__ or "").partition("::\n")
        tree, _, rules = rest.lstrip("\n").partition("\n\n")
        lines += ["", f"## Classes of `{name}`", "", _prose(head), "", "```text", inspect.cleandoc(tree), "```"]
        lines += [
            "",
            _prose(rules),
            "",
            "| Class | Is a | Exit code | Word | Means |",
            "| --- | --- | --- | --- | --- |",
        ]
        for kind in _exceptions(module):
            code, word = getattr(kind, "exit_code", ""), getattr(kind, "code", "")
            word = f"`{word}`" if isinstance(word, str) and word else ""
            lines.append(
                f"| `{kind.__name__}` | `{kind.__bases__[0].__name__}` | {code} | {word} | {_prose(kind.__doc__)} |"
            )
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------------------ limits

_TIMES: Final = {"SECOND": 1_000_000, "MINUTE": 60_000_000, "HOUR": 3_600_000_000, "DAY": 86_400_000_000}


def readable(value: Any, expression: str) -> str:
    """A limit as a person would say it, with the unit its expression gives away."""
    if isinstance(value, int) and (units := [unit for unit in _TIMES if unit in expression]):
        count = value // _TIMES[units[0]]
        return f"{count:,} {units[0].lower()}{'s' if count != 1 else ''}".replace(",", " ")
    if isinstance(value, int) and "1024" in expression:
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if value >= size and value % size == 0:
                return f"{value // size} {unit}"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def _comment_above(lines: list[str], number: int) -> str:
    """The ``#:`` comment that ends on the line before line ``number`` (counted from 1)."""
    words: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.startswith("#:"):
            break
        words.insert(0, line[2:].strip())
    return " ".join(words)


def limits_page() -> str:
    """docs/reference/limits.md."""
    lines = ["# Limits", "", MADE]
    for name in LIMIT_MODULES:
        module = importlib.import_module(name)
        source = inspect.getsource(module)
        lines += [
            "",
            f"## `{name}`",
            "",
            _prose(module.__doc__),
            "",
            "| Name | Value | Reason |",
            "| --- | --- | --- |",
        ]
        for node in ast.parse(source).body:
            if not (isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value):
                continue
            reason = _comment_above(source.splitlines(), node.lineno)
            if not reason:
                raise DocsError(f"{name}: {node.target.id} has no reason; write it in a #: comment above")
            value = readable(getattr(module, node.target.id), ast.unparse(node.value))
            lines.append(f"| `{node.target.id}` | {value} | {_cell(reason)} |")
    return "\n".join(lines) + "\n"


# ---------------------------------------------------------------------------------------------------------- settings


def _numbers(schema: Mapping[str, Any]) -> str:
    words = {
        "minimum": "at least {}",
        "exclusiveMinimum": "more than {}",
        "maximum": "at most {}",
        "exclusiveMaximum": "less than {}",
        "minLength": "at least {} characters",
        "maxLength": "at most {} characters",
        "minItems": "at least {}",
        "maxItems": "at most {}",
        "maxProperties": "at most {}",
        "pattern": "`{}`",
        "format": "{}",
    }
    return ", ".join(text.format(schema[key]) for key, text in words.items() if key in schema)


def kind_of(schema: Mapping[str, Any]) -> str:
    """A JSON schema as a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(kind_of(one) for one in schema["anyOf"] if one.get("type") != "null")
    limits = _numbers(schema)
    tail = f" ({limits})" if limits else ""
    match schema.get("type"):
        case "array":
            return f"list{tail} of {kind_of(schema.get('items', {}))}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"mapping{tail} to {kind_of(schema['additionalProperties'])}"
        case "object":
            return "mapping"
        case "integer":
            return f"whole number{tail}"
        case "string":
            return f"text{tail}"
        case None:
            return "anything"
        case other:
            return f"{other}{tail}"


def _default(schema: Mapping[str, Any], required: bool) -> str:
    if required:
        return "**required**"
    value = schema.get("default")
    if value in (None, "", [], {}) or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _model_section(model: type[BaseModel], heading: str) -> list[str]:
    schema = model.model_json_schema()
    schema = schema.get("$defs", {}).get(schema["$ref"].rpartition("/")[2], schema) if "$ref" in schema else schema
    docs = attribute_docs(model)
    names = {field.alias or name: name for name, field in model.model_fields.items() if not field.exclude}
    lines = ["", heading, "", _prose(model.__doc__), ""]
    if not schema.get("properties"):
        return [*lines, "No settings."]
    lines += ["| Setting | Is | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, field in schema["properties"].items():
        if name not in names:  # excluded: the program fills it in
            continue
        meaning = field.get("description") or docs.get(names[name], "")
        required = name in schema.get("required", ())
        lines.append(f"| `{name}` | {_cell(kind_of(field))} | {_cell(_default(field, required))} | {_prose(meaning)} |")
    return lines


def _load(module: str, name: str) -> Any:
    """``module.name``, or None if the module does not exist yet."""
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        if error.name == module:
            return None
        raise


def settings_page() -> str:
    """docs/reference/settings.md."""
    lines = ["# Settings", "", MADE, "", "One section a kind of document, then the parts they are made of."]
    listed: list[type[BaseModel]] = []
    for kind, module, name in KINDS:
        model = _load(module, name)
        if model is not None:
            listed.append(model)
            lines += _model_section(model, f"## {kind}")
    parts: dict[str, type[BaseModel]] = {}
    waiting = list(listed)
    while waiting:
        for field in waiting.pop(0).model_fields.values():
            for part in models_in(field.annotation):
                if part in listed or parts.get(part.__name__) is part:
                    continue
                if part.__name__ in parts:
                    raise DocsError(f"two parts of the settings are called {part.__name__}: rename one")
                parts[part.__name__] = part
                waiting.append(part)
    lines += ["", "## Parts"]
    for name in sorted(parts):
        lines += _model_section(parts[name], f"### {name}")
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------------ command line


def _command_section(command: Any, words: str, level: int) -> list[str]:
    lines = ["", f"{'#' * level} `{words}`", "", _prose((command.help or "").replace("\f", ""))]
    rows = []
    for parameter in command.params:
        if parameter.name == "help" or getattr(parameter, "hidden", False):
            continue
        option = parameter.param_type_name == "option"
        name = ", ".join([*parameter.opts, *parameter.secondary_opts]) if option else str(parameter.name).upper()
        default = parameter.default if isinstance(parameter.default, str | int | float) else ""
        shown = "**required**" if parameter.required else f"`{default}`" if default not in ("", False) else ""
        rows.append(f"| `{name}` | {shown} | {_prose(getattr(parameter, 'help', '') or '')} |")
    if rows:
        lines += ["", "| Argument or option | Default | Meaning |", "| --- | --- | --- |", *rows]
    for name, child in sorted(getattr(command, "commands", {}).items()):
        if not child.hidden:
            lines += _command_section(child, f"{words} {name}", min(level + 1, 6))
    return lines


def cli_page() -> str | None:
    """docs/reference/cli.md, or None while there is no command line."""
    whole = _load(*COMMAND_LINE)
    if whole is None:
        return None
    from typer.main import get_command

    return "\n".join(["# Command line", "", MADE, *_command_section(get_command(whole()), "stafet", 2)]) + "\n"


# --------------------------------------------------------------------------------------------------------------- run


def pages(root: Path = ROOT) -> dict[Path, str]:
    """Every page that is made, by its path in the repository."""
    listed = read_requirements(root / "docs" / "requirements.yaml")
    made = {
        Path("docs/requirements.md"): requirements_page(listed, gather(root, listed)),
        Path("docs/reference/errors.md"): errors_page(),
        Path("docs/reference/limits.md"): limits_page(),
        Path("docs/reference/settings.md"): settings_page(),
        Path("docs/reference/cli.md"): cli_page(),
        Path("docs/reference/problems.md"): _load("gateways.rest.problems", "problems_page")(MADE),
        Path("docs/reference/as4-samples.md"): _load("scripts.sample_table", "samples_page")(root, MADE),
        Path("docs/reference/openapi.json"): _load("scripts.api", "document_text")(),
        Path("docs/reference/conformance.md"): _load("scripts.assertions", "assertions_page")(root, MADE),
        Path("docs/reference/payload-description.md"): _load("scripts.payload_description", "page")(MADE),
        **_load("scripts.schema_pages", "pages")(),
    }
    return {path: text for path, text in made.items() if text is not None}


def main(arguments: list[str] | None = None) -> int:
    """Write the pages, or with ``--check`` say which differ."""
    parser = argparse.ArgumentParser(description="Writes docs/requirements.md and docs/reference/ from the code.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a page differs")
    check = parser.parse_args(arguments).check
    try:
        made = pages()
    except DocsError as error:
        print(error, file=sys.stderr)
        return 1
    stale = 0
    for path, text in made.items():
        target = ROOT / path
        present = target.read_text(encoding="utf-8") if target.exists() else ""
        if present == text:
            continue
        stale += 1
        if check:
            print(f"{path} is out of date; run scripts/docs.py", file=sys.stderr)
            difference = difflib.unified_diff(present.splitlines(), text.splitlines(), lineterm="", n=0)
            print("\n".join(list(difference)[:20]), file=sys.stderr)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text, encoding="utf-8")
            print(f"wrote {path}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
