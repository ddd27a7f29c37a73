"""The rules of the house, held over every tracked file. Each finding names file, line and what to do.

A rule is a function from a file to findings; the same function is shown one thing it must find and one it must let pass.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import tokenize
from collections.abc import Callable, Iterator
from datetime import date
from functools import cache
from pathlib import Path
from statistics import median

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("core", "accesspoint", "gateways", "conformance", "bench", "tests", "scripts")
PRODUCT = ("core", "accesspoint", "gateways")
MEASURING = ("bench", "conformance", "tests")
SHELLS = ("accesspoint/server.py", "accesspoint/client.py", "accesspoint/entropy.py")
"""The two modules of the access point that may do I/O."""

FILE_LINES, FUNCTION_LINES, MEDIAN_LINES = 500, 70, 250
VAGUE = ("utils", "util", "helpers", "helper", "misc", "common")
IO_MODULES = ("socket", "asyncio", "aiohttp", "pathlib", "os", "time", "ssl", "subprocess", "tempfile", "shutil")
WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today", "date.today"}
STOPWATCH = {"time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"}

ACRONYMS = re.compile(r"(?<![A-Za-z0-9])(KLE|CPR|SBDH|AS4)(?![A-Za-z0-9])")
SECTOR_NAMES = re.compile(r"(?<![A-Za-z0-9])(medcom|memo|ebms)(?![A-Za-z0-9])", re.IGNORECASE)
UNFINISHED = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + "Error")) + r")\b")
MACHINE_PATH = re.compile(r"(?<![\w.~}$-])/(?:home|root|Users|tmp|var/tmp|work|workspace)(?:/[\w.]|(?![\w/-]))")
PACKAGE_INDEX = re.compile(
    r"\b(?:pypi|pythonhosted)\.(?:org|python)|(?:index-url|find-links)[ =]+\S*://|\bregistry\.npmjs\b", re.IGNORECASE
)
PERSON_NUMBER = re.compile(r"\b(\d{2})(\d{2})(\d{2})-?\d{4}\b")
OUTSIDE = re.compile(r"(?:\.\./)+(?:shared|main|\.library)\b|(?<!\w)shared/(?:design|reference|samples|schemas)\b")
NUMBERED = re.compile(r"(?i:\b(?:issue|pull request|ticket)) ?#?\d+\b|(?<![\w&#/(])(?<!PKCS )#\d+\b")
ADDRESS = re.compile(r"[\w.+-]+@(?!(?:[\w-]+\.)*(?:example|invalid|test|localhost)\b)(?:[\w-]+\.)+[A-Za-z]{2,}\b")
LINK = re.compile(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)")
PAGE_NAMED = re.compile(r"(?<![\w/.*<{-])((?:[\w-]+/)*[\w-]+\.md)\b")

Finding = tuple[int, str]


@cache
def tracked() -> tuple[str, ...]:
    """Every file git knows, that is also there (one being moved is judged when it is committed)."""
    answer = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    names = tuple(sorted(name for name in answer.stdout.split("\0") if name and (ROOT / name).is_file()))
    assert names, "git lists no files: these rules need a checkout"
    return names


@cache
def text_of(name: str) -> str | None:
    """A file's text, or None for one that is not text."""
    try:
        return (ROOT / name).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def texts(*folders: str) -> dict[str, str]:
    """Tracked text files, all or those under ``folders``."""
    chosen = (name for name in tracked() if not folders or name.split("/")[0] in folders)
    return {name: text for name in chosen if (text := text_of(name)) is not None}


def sources(*folders: str) -> dict[str, str]:
    """Tracked Python files under ``folders``."""
    return {name: text for name, text in texts(*folders).items() if name.endswith(".py")}


def report(files: dict[str, str], rule: Callable[[str], Iterator[Finding]]) -> None:
    """Fail with every finding of ``rule`` in ``files``."""
    found = [f"{name}:{line}: {what}" for name, text in files.items() for line, what in rule(text)]
    assert not found, f"{len(found)} findings\n" + "\n".join(found)


def matching(pattern: re.Pattern[str], advice: str) -> Callable[[str], Iterator[Finding]]:
    """The rule that ``pattern`` occurs nowhere."""

    def rule(text: str) -> Iterator[Finding]:
        for number, line in enumerate(text.splitlines(), start=1):
            for match in pattern.finditer(line):
                yield number, f"{match.group(0)!r}: {advice}"

    return rule


# ------------------------------------------------------------------------------------------------------------- rules


def too_long(text: str) -> Iterator[Finding]:
    """Files and functions above their size."""
    count = len(text.splitlines())
    if count > FILE_LINES:
        yield FILE_LINES, f"{count} lines, allowed {FILE_LINES}: split by responsibility"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            if length > FUNCTION_LINES:
                yield node.lineno, f"{node.name}: {length} lines, allowed {FUNCTION_LINES}"


def undescribed(text: str) -> Iterator[Finding]:
    """A module without a docstring."""
    if not ast.get_docstring(ast.parse(text)):
        yield 1, "open the module with a docstring: what it is for, and its rules"


def syncs(text: str) -> Iterator[Finding]:
    """Calls that make a file durable."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in ("fsync", "fdatasync"):
            yield node.lineno, "only core/disk.py may say when a file is durable"


def _imported(tree: ast.AST) -> Iterator[tuple[int, str, str]]:
    """(line, local name, what it stands for) of every import."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.asname or alias.name, alias.name
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                yield node.lineno, alias.asname or alias.name, f"{node.module}.{alias.name}"


def reading_time(*forbidden: str) -> Callable[[str], Iterator[Finding]]:
    """The rule that none of the ``forbidden`` functions is named, whatever it was imported as."""

    def rule(text: str) -> Iterator[Finding]:
        tree = ast.parse(text)
        stands_for = {local: full for _, local, full in _imported(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
                first, _, rest = ast.unparse(node).partition(".")
                full = stands_for.get(first, "") + (f".{rest}" if rest else "")
                if full.removeprefix("datetime.") in forbidden or full in forbidden:
                    yield node.lineno, f"{full} reads the time: only core/clock.py does"

    return rule


def doing_io(text: str) -> Iterator[Finding]:
    """Imports of modules that reach outside the program."""
    for line, _, full in _imported(ast.parse(text)):
        if full.partition(".")[0] in IO_MODULES:
            yield line, f"{full}: a codec does no I/O and reads no clock; server.py and client.py do"


def silent_excepts(text: str) -> Iterator[Finding]:
    """Handlers that catch everything without saying why."""
    comments: dict[int, str] = {}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            comments[token.start[0]] = re.sub(r"# (?:noqa|type: ignore|pragma)[^#]*", "", token.string)
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.ExceptHandler):
            continue
        if node.type is None:
            yield node.lineno, "name what is caught"
            continue
        everything = {"Exception", "BaseException"} & set(re.findall(r"\w+", ast.unparse(node.type)))
        if everything and not comments.get(node.lineno, "").startswith("# "):
            yield node.lineno, f"except {ast.unparse(node.type)}: say why in a comment on this line"


def person_numbers(text: str) -> Iterator[Finding]:
    """Digits that have the shape of a Danish person number with a date that exists."""
    for number, line in enumerate(text.splitlines(), start=1):
        for match in PERSON_NUMBER.finditer(line):
            day, month, year = (int(match.group(index)) for index in (1, 2, 3))
            try:
                date(2000 + year, month, day)
            except ValueError:
                continue
            yield (
                number,
                f"{match.group(0)[:6]}…: shaped like a person number; add 60 to the day or choose other digits",
            )


sector_acronyms = matching(ACRONYMS, "a sector word: it belongs in a gateway or a protocol package")
sector_names = matching(SECTOR_NAMES, "a sector word: it belongs in a gateway or a protocol package")
unfinished = matching(UNFINISHED, "finish it, or write what is missing where people look")
machine_paths = matching(MACHINE_PATH, "a path of one machine; take it from settings, or tmp_path in a test")
package_indexes = matching(PACKAGE_INDEX, "a package index address: the installer's settings name it")
outside_paths = matching(OUTSIDE, "a path outside this repository")
addresses = matching(ADDRESS, "an address that may be somebody's; use one under .example")
numbered = matching(NUMBERED, "a number only one tracker knows: say the thing itself")


# ------------------------------------------------------------------------------------------------ held over the files


def test_files_and_functions_are_short():
    """A file has at most 500 lines, a function at most 70."""
    report(sources(*PACKAGES), too_long)


@pytest.mark.parametrize("package", PRODUCT)
def test_the_median_module_is_small(package):
    """Half of a package's modules have at most 250 lines."""
    assert median(len(text.splitlines()) for text in sources(package).values()) <= MEDIAN_LINES


def test_every_python_file_is_under_a_rule():
    """No Python file lies where these rules do not look."""
    assert [name for name in tracked() if name.endswith(".py") and name.split("/")[0] not in PACKAGES] == []


def test_modules_say_what_they_are_for():
    """Neither a file nor a folder has a name that would fit anything."""
    vague = [name for name in tracked() if {Path(part).stem for part in name.split("/")} & set(VAGUE)]
    assert vague == []


def test_the_kernel_knows_no_sector():
    """No sector word occurs in the kernel, in code or in comments."""
    report(texts("core"), sector_acronyms)
    report(texts("core"), sector_names)


def test_one_file_makes_files_durable():
    """Only core/disk.py calls fsync."""
    files = sources(*PACKAGES)
    assert list(syncs(files.pop("core/disk.py"))), "the rule must recognise the one place where it is done"
    report(files, syncs)


def test_one_file_reads_the_time():
    """The product reads time in core/clock.py alone (an event loop's own time is free); what measures may use a stopwatch."""
    every = reading_time(*WALL_CLOCK, *STOPWATCH)
    product = sources(*PRODUCT, "scripts")
    assert list(every(product.pop("core/clock.py"))), "the rule must recognise the one place where it is done"
    product.pop("gateways/rest/client.py")  # systems take this one file to where there is no core
    report(product, every)
    measuring = sources(*MEASURING)
    measuring.pop("tests/core/test_clock.py")  # it compares the clock with the machine's
    report(measuring, reading_time(*WALL_CLOCK))


def test_every_module_opens_with_a_docstring():
    """A reader learns from a module's first line what it is for."""
    report(sources(*PRODUCT), undescribed)


def own_test(module: str) -> str:
    """Where a module's own tests are. A folder of migrations is tested as one."""
    path = Path(module)
    if "migrations" in path.parts:
        path = Path(*path.parts[: path.parts.index("migrations") + 1])
    return f"tests/{path.parent.as_posix()}/test_{path.stem}.py"


def has_code(text: str) -> bool:
    """Whether a module is more than a docstring."""
    return any(not isinstance(node, ast.Expr) for node in ast.parse(text).body)


def test_every_module_has_its_own_test_file():
    """What a module promises is shown in a test file of its own."""
    assert own_test("core/ledger/trace.py") == "tests/core/ledger/test_trace.py"
    wanted = {name: own_test(name) for name, text in sources(*PRODUCT).items() if has_code(text)}
    missing = [f"{name}: no {test}" for name, test in wanted.items() if test not in tracked()]
    assert not missing, f"{len(missing)} modules without a test file\n" + "\n".join(missing)


def test_codecs_do_no_io():
    """What was said is judged without sockets, files or clocks."""
    files = sources("accesspoint")
    shells = [files.pop(name) for name in SHELLS]
    assert all(list(doing_io(shell)) for shell in shells), "the rule must recognise the shells"
    report(files, doing_io)


def test_nothing_is_left_for_later():
    """Unfinished things are not marked in the code; they are not in it."""
    report(texts(), unfinished)


def test_nothing_is_caught_in_silence():
    """Who catches everything says why on the same line."""
    report(sources(*PACKAGES), silent_excepts)


def test_no_path_of_one_machine():
    """The repository works wherever it is put."""
    report(texts(), machine_paths)


def test_no_package_index_is_named():
    """Where packages come from is set up outside."""
    report(texts(), package_indexes)


def test_no_person_number():
    """No digits anywhere that could be somebody."""
    report(texts(), person_numbers)


def test_the_repository_speaks_of_itself_alone():
    """No path outside it, no number of a tracker."""
    report(texts(), outside_paths)
    report({name: text for name, text in texts().items() if name.endswith((".py", ".md", ".yaml"))}, numbered)


def test_names_are_fictitious():
    """Every address is under a name that is reserved for examples."""
    report(texts(), addresses)


def test_links_lead_somewhere():
    """A link between pages opens a file of this repository."""
    broken = [
        f"{name}: {target}"
        for name, text in texts().items()
        if name.endswith(".md")
        for target in LINK.findall(text)
        if not (ROOT / name).parent.joinpath(target).resolve().exists()
    ]
    assert broken == []


def test_named_pages_exist():
    """A page named in code or text can be opened. (Tests name pages they make up.)"""
    names = {part for name in tracked() for part in (name, name.rpartition("/")[2])}

    def rule(text: str) -> Iterator[Finding]:
        for number, line in enumerate(text.splitlines(), start=1):
            for match in PAGE_NAMED.finditer(line):
                page = match.group(1)
                if page not in names and not any(name.endswith(f"/{page}") for name in names):
                    yield number, f"{page}: there is no such page here"

    report({name: text for name, text in texts().items() if not name.startswith("tests/")}, rule)


# ------------------------------------------------------------------------------------------- the rules find what they say


def _line(*parts: str) -> str:
    """Text that this file itself does not contain."""
    return "".join(parts)


BITES = {
    "file": (too_long, "\n" * 501, "\n" * 499),
    "function": (too_long, "def f():\n" + "    1\n" * 70, "def f():\n" + "    1\n" * 69),
    "docstring": (undescribed, "import io\n", '"""Why."""\n'),
    "fsync": (syncs, "import os\nos.fsync(1)\n", "fsync = 1\n"),
    "time": (reading_time("time.time"), "import time as t\nt.time()\n", "import time\ntime.sleep(1)\n"),
    "from": (reading_time("time.time"), "from time import time as now\nnow()\n", "clock.time()\n"),
    "now": (reading_time("datetime.now"), "from datetime import datetime as d\nd.now(UTC)\n", "clock.now()\n"),
    "whole": (reading_time("date.today"), "import datetime\ndatetime.date.today()\n", "import datetime\n"),
    "codec": (doing_io, "from os import path\n", "import io\n"),
    "codec inside": (doing_io, "def f():\n    import asyncio.tasks\n", "from accesspoint.soap import os\n"),
    "bare": (silent_excepts, "try:\n    1\nexcept:\n    2\n", "try:\n    1\nexcept OSError:\n    2\n"),
    "broad": (
        silent_excepts,
        "try:\n    1\nexcept (OSError, Exception):  # noqa: BLE001\n    2\n",
        "try:\n    1\nexcept Exception:  # the plug-in is a stranger\n    2\n",
    ),
    "acronym": (sector_acronyms, "KLE = 1", "sparkle, KLEIN, as4"),
    "name": (sector_names, "a MEMO of memo_type", "memory"),
    "later": (unfinished, _line("# TO", "DO: later"), "# todos are for people"),
    "path": (machine_paths, _line("x = '/", "tmp/a' or '/", "home'"), "https://a.example/home/b and data/tmp/b"),
    "index": (package_indexes, _line("https://py", "pi.org/simple"), "no pypi mirror is named"),
    "person": (person_numbers, _line("0101", "70-1234"), "7101701234 and 3102701234 and 20260101-1234"),
    "outside": (outside_paths, _line("see ../sha", "red/design"), "a shared data key"),
    "tracker": (numbered, _line("see issue ", "12"), "a list of 3 issues; R62; &#12; PKCS #12"),
    "address": (addresses, _line("kim@", "kommune.dk"), "kim@kommune.example, id@x.stafet.invalid, @pytest.mark"),
}


@pytest.mark.parametrize("name", BITES)
def test_a_rule_finds_what_it_forbids_and_lets_the_rest_pass(name):
    """Each rule is shown a breach and something close to one."""
    rule, breach, fine = BITES[name]
    assert list(rule(breach)), "the breach was not found"
    assert list(rule(fine)) == []
