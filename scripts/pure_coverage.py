#!/usr/bin/env python3
"""Shows that each pure module is wholly covered, lines and branches, by its own tests alone.

One run of those test files records which test executed what; each module is then judged by what its own file, those
beside it that carry its name on (`test_partners_trust.py` after `test_partners.py`), and the import of the module did, so that a
line another module's tests happen to pass does not count.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final, NamedTuple

from coverage import Coverage

ROOT: Final = Path(__file__).resolve().parent.parent
WITH_EFFECTS: Final = frozenset({"client", "server", "entropy"})
"""What speaks to the network or asks the system for randomness in `accesspoint`, where everything else is pure."""
PURE: Final = {
    "core": ("agreement", "backtest", "condition", "content", "content_json", "content_xml", "deciding", "delivery",
             "description", "enrichment", "errors", "estate", "expectation", "explain", "fitting", "integration", "limits",
             "lint", "lists",
             "matching", "pace", "parcel", "quota", "radar", "recent", "receipt", "revocation", "risk",
             "route", "schedule", "schema", "shadow", "subscription", "system", "whatif", "written"),
    "core/seal": ("algorithms", "ber", "header", "opening", "recipients", "sealing", "structures"),
    "gateways/as4": ("checks", "demands", "evidence", "hosts", "inventory", "mapping", "partners", "questions", "settings"),
    "gateways/rest": ("accepting", "access", "checks", "conditional", "describing", "endpoint", "events", "gate", "inventory",
                      "openapi", "paging", "parts", "problems", "ratelimit", "settings", "times", "tokens"),
    "gateways/as4/moving": ("domibus", "importing", "links", "shape", "terms", "truststore"),
    "gateways/as4/sheets": ("domibus", "holodeck", "java", "sheet"),
}  # fmt: skip
"""Pure modules of packages that also have others."""


class Gap(NamedTuple):
    """What a module's own tests never do."""

    module: str
    lines: list[int]
    branches: list[list[int]]

    def __str__(self) -> str:
        lines = f" lines {', '.join(map(str, self.lines))}" if self.lines else ""
        branches = f" branches {', '.join(f'{a}->{b}' for a, b in self.branches)}" if self.branches else ""
        return f"{self.module}:{lines}{branches}"


def modules(root: Path = ROOT) -> dict[str, str]:
    """Each pure module's path and the path of its own tests."""
    own = [p for p in sorted((root / "accesspoint").glob("*.py")) if p.stem not in WITH_EFFECTS | {"__init__"}]
    own += [root / folder / f"{name}.py" for folder, names in PURE.items() for name in names]
    paths = [p.relative_to(root) for p in own]
    return {p.as_posix(): f"tests/{p.parent.as_posix()}/test_{p.name}" for p in paths}


def own_tests(test: str, known: Collection[str], root: Path = ROOT) -> list[str]:
    """The test file and those that carry its name on, unless another module calls them its own."""
    beside = (p.relative_to(root).as_posix() for p in sorted((root / test).parent.glob(f"{Path(test).stem}_*.py")))
    return [test, *(name for name in beside if name not in known)]


def gaps(data: Path, judged: dict[str, str], root: Path = ROOT) -> list[Gap]:
    """What is missing, from one recorded run."""
    found = []
    coverage = Coverage(data_file=str(data), config_file=str(root / "pyproject.toml"), branch=True)
    coverage.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        for module, test in judged.items():
            own = own_tests(test, modules(root).values(), root)
            contexts = [rf"^{name.removesuffix('.py').replace('/', '[./]')}\b" for name in own] + ["^$"]
            coverage.json_report(
                morfs=[str(root / module)], outfile=str(report), contexts=contexts, ignore_errors=False
            )
            (file,) = json.loads(report.read_text())["files"].values()
            if file["missing_lines"] or file["missing_branches"]:
                found.append(Gap(module, file["missing_lines"], file["missing_branches"]))
    return found


def main(arguments: list[str] | None = None) -> int:
    """Run the tests and say what is not covered; exit 1 if anything is not."""
    parser = argparse.ArgumentParser(description="Full branch coverage of each pure module by its own test file.")
    parser.add_argument("-n", dest="workers", default="2", help="processes that run tests")
    parser.add_argument("modules", nargs="*", help="only these, such as core/route.py (default: every pure module)")
    asked = parser.parse_args(arguments)
    known = modules()
    strange = [name for name in asked.modules if name not in known]
    if strange:
        parser.error(f"not a pure module: {', '.join(strange)}")
    judged = {name: known[name] for name in asked.modules} or known
    absent = [test for test in judged.values() if not (ROOT / test).exists()]
    if absent:
        print("no such test file: " + ", ".join(absent), file=sys.stderr)
        return 1
    packages = sorted({Path(module).parent.as_posix().replace("/", ".") for module in judged})
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-n",
        asked.workers,
        "--cov-branch",
        "--cov-context=test",
        "--cov-report=",
    ]
    command += [
        *(f"--cov={package}" for package in packages),
        *(t for test in judged.values() for t in own_tests(test, known.values())),
    ]
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        return 1
    found = gaps(ROOT / ".coverage", judged)
    for gap in found:
        print(gap, file=sys.stderr)
    print(f"{len(judged) - len(found)} of {len(judged)} pure modules are fully covered by their own tests")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
