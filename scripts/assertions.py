"""Makes docs/reference/conformance.md: each test assertion with the tests that show it, and the verdict.

The page is a function of docs/assertions.yaml and the marks in tests/ alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

from scripts.marks import DocsError, marks_in

Row = Mapping[str, Any]

SHOWN: Final = "shown"
NOT_YET: Final = "not yet"
NOT_APPLICABLE: Final = "not applicable"

_FIELDS: Final = {"profile", "level", "applies", "text"}
_LEVELS: Final = {"M": "mandatory", "P": "preferred", "O": "permitted"}

INTRO: Final = """\
What test suites for AS4 access points assert, and which of our tests show it. The ids are those of the European
Commission's *eDelivery AS4 Test Assertions Description*, version 1.2 of 2019, without the `AS4_` in front; the words are
ours. For eDelivery AS4 2.0 no such description exists: the lines that say *ours* are our own, made of the cases of the
European interoperability events and of the profile's clauses.

An assertion is *shown* when a test in `tests/` carries its id (`@pytest.mark.assertion("CP_TA01")`): that test passes.
*Not yet* says what is missing, and *not applicable* why it does not concern this access point. No conformance service
has judged any of this."""


def read_assertions(path: Path) -> dict[str, Row]:
    """The list, checked. Raises `DocsError` naming the line that is wrong."""
    listed: dict[str, Row] = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, row in listed.items():
        if set(row) - {"why"} != _FIELDS:
            raise DocsError(f"{path.name}: {name} needs {', '.join(sorted(_FIELDS))}, and may have why")
        if row["level"] not in _LEVELS or not isinstance(row["applies"], bool):
            raise DocsError(f"{path.name}: {name}: level is M, P or O, and applies is yes or no")
        if not row["applies"] and "why" not in row:
            raise DocsError(f"{path.name}: {name} does not apply: why has to say it")
        if any("\n" in row.get(field, "") for field in ("profile", "text", "why")):
            raise DocsError(f"{path.name}: {name}: every field is one line")
    return listed


def gather(root: Path, listed: Mapping[str, Row]) -> dict[str, list[str]]:
    """The tests that show each assertion, by its id. Raises `DocsError` for an id that is not listed or does not apply."""
    shown: dict[str, list[str]] = {name: [] for name in listed}
    for path in sorted((root / "tests").rglob("*.py")):
        where = path.relative_to(root).as_posix()
        for name, test in marks_in(path.read_text(encoding="utf-8"), where, "assertion"):
            if name not in listed:
                raise DocsError(f"{where}: there is no assertion {name!r} in docs/assertions.yaml")
            if not listed[name]["applies"]:
                raise DocsError(f"{where}: {name} does not apply, and a test shows it: one of them is wrong")
            shown[name].append(test)
    for name, tests in shown.items():
        if not tests and "why" not in listed[name]:
            raise DocsError(f"docs/assertions.yaml: no test shows {name}: mark one, or say in why what is missing")
    return shown


def verdict(row: Row, tests: Sequence[str]) -> str:
    """One of the three."""
    if not row["applies"]:
        return NOT_APPLICABLE
    return SHOWN if tests else NOT_YET


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _where(row: Row, tests: Sequence[str]) -> str:
    cells = [f"`{test.removeprefix('tests/')}`" for test in dict.fromkeys(tests)]
    return "<br>".join([*cells, *([_cell(row["why"])] if "why" in row else [])])


def _counts(verdicts: Sequence[str]) -> str:
    return ", ".join(f"**{verdicts.count(word)}** {word}" for word in (SHOWN, NOT_YET, NOT_APPLICABLE))


def _section(profile: str, rows: Mapping[str, Row], shown: Mapping[str, list[str]]) -> Iterator[str]:
    verdicts = [verdict(row, shown[name]) for name, row in rows.items()]
    yield from ("", f"## {profile[0].upper()}{profile[1:]}", "", f"{len(rows)}: {_counts(verdicts)}.", "")
    yield from (
        "| Id | Level | Assertion | Verdict | Tests, and what is to be said |",
        "| --- | --- | --- | --- | --- |",
    )
    for (name, row), said in zip(rows.items(), verdicts, strict=True):
        cells = (name, _LEVELS[row["level"]], _cell(row["text"]), said, _where(row, shown[name]))
        yield f"| {' | '.join(cells)} |"


def assertions_page(root: Path, made: str) -> str:
    """The page; ``made`` is the line that says how it came about."""
    listed = read_assertions(root / "docs" / "assertions.yaml")
    shown = gather(root, listed)
    verdicts = [verdict(row, shown[name]) for name, row in listed.items()]
    lines = ["# Conformance", "", made, "", f"{len(listed)} assertions: {_counts(verdicts)}.", "", INTRO]
    for profile in dict.fromkeys(row["profile"] for row in listed.values()):
        lines += _section(profile, {n: r for n, r in listed.items() if r["profile"] == profile}, shown)
    return "\n".join(lines) + "\n"
