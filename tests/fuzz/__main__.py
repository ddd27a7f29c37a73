"""``python -m tests.fuzz --seconds N [--target NAME]``: every target, each in its own process; writes ``build/fuzz.json``.

Exit code 1 when a target was broken; what broke it lies under ``build/fuzz/``. ``--replay FILE`` runs one input again; ``--keep``
runs nothing and puts what earlier runs have found worth keeping into `tests.fuzz.corpus`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tests.fuzz.child import load_targets
from tests.fuzz.corpus import keep
from tests.fuzz.world import FOLDER, ROOT, make_keys

_START = 120.0
"""Seconds a target's process may take beside its budget: imports, seeds, the last input."""


@dataclass(frozen=True)
class Result:
    """What one target came to."""

    name: str
    seconds: float
    runs: int
    corpus: int
    crashes: list[dict[str, str]]
    engine: str

    def row(self) -> dict[str, Any]:
        """As it stands in the report."""
        rate = round(self.runs / self.seconds, 1) if self.seconds else 0.0
        return {
            "name": self.name,
            "seconds": self.seconds,
            "runs": self.runs,
            "runs_per_second": rate,
            "corpus": self.corpus,
            "crashes": self.crashes,
            "engine": self.engine,
        }


def run_target(name: str, seconds: float, folder: Path) -> Result:
    """Run one target in a process of its own."""
    state = folder / f"state-{name}.json"
    state.unlink(missing_ok=True)
    for old in folder.glob(f"crash-{name}-*"):
        old.unlink()
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        command = [sys.executable, "-m", "tests.fuzz.child", name, str(seconds), str(folder)]
        with subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT) as child:
            try:
                code = child.wait(seconds + _START)
            except subprocess.TimeoutExpired:
                child.kill()
                code = -9
    said: dict[str, Any] = {"runs": 0, "seconds": 0.0, "engine": "", "crashes": []}
    if state.exists():
        said = json.loads(state.read_text())
    crashes = list(said["crashes"])
    if code != 0 and not crashes:
        kept = sorted(p.name for p in folder.glob(f"crash-{name}-*"))
        crashes.append({"input": ", ".join(kept), "error": f"the process ended with {code}; see {log.name}"})
    corpus = folder / "corpus" / name
    count = sum(1 for _ in corpus.iterdir()) if corpus.is_dir() else 0
    return Result(name, said["seconds"], said["runs"], count, crashes, said["engine"])


def replay(path: Path) -> int:
    """Run one kept input again and say what comes of it."""
    name = path.name.removeprefix("crash-").rpartition("-")[0]
    try:
        load_targets()[name].run(path.read_bytes())
    except BaseException:  # whatever it is, it is what the person wants to see
        traceback.print_exc()
        return 1
    print(f"{path.name}: the target {name} takes it now")
    return 0


def main(arguments: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0, help="time for all targets together")
    parser.add_argument("--target", help="one target alone")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where inputs are kept; the report is beside it")
    parser.add_argument("--keep", action="store_true", help="keep what earlier runs found, and run nothing")
    parser.add_argument("--replay", type=Path, help="run one kept input again")
    options = parser.parse_args(arguments)
    if options.replay:
        return replay(options.replay)
    targets = load_targets()
    if options.target and options.target not in targets:
        parser.error(f"no such target: {options.target}; there are {', '.join(sorted(targets))}")
    names = [options.target] if options.target else [t.name for t in targets.values() if not t.hidden]
    make_keys(FOLDER / "keys")
    options.folder.mkdir(parents=True, exist_ok=True)
    console = Console()
    if options.keep:
        for name in names:
            found = [path.read_bytes() for path in (options.folder / "corpus" / name).glob("*")]
            console.print(f"{name}: {keep(name, found, targets[name].run)} of {len(found)} inputs kept")
        return 0
    results = []
    for name in names:
        result = run_target(name, options.seconds / len(names), options.folder)
        results.append(result)
        words = "ok" if not result.crashes else f"{len(result.crashes)} crashes"
        console.print(f"{name}: {result.runs} runs, {words}", highlight=False)
        for crash in result.crashes:
            console.print(f"  {crash['error']}  [{crash['input']}]", highlight=False, markup=False)
    report(results, options.folder.with_suffix(".json"), console)
    return 0 if all(not r.crashes for r in results) else 1


def report(results: list[Result], path: Path, console: Console) -> None:
    """The table people read, and the file machines do."""
    rows = [r.row() for r in results]
    ok = all(not r.crashes for r in results)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"targets": rows, "ok": ok}, indent=1) + "\n")
    table = Table("target", "seconds", "runs", "runs/s", "corpus", "crashes", "engine")
    for row in rows:
        table.add_row(*(str(len(v)) if isinstance(v, list) else str(v) for v in row.values()))
    console.print(table)
    if any(r.engine == "random" for r in results):
        console.print("atheris cannot be imported here: inputs were changed at random, coverage did not lead")


if __name__ == "__main__":
    sys.exit(main())
