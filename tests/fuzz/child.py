"""One target in a process of its own: ``python -m tests.fuzz.child NAME SECONDS FOLDER``.

The engine is atheris when it can be imported, else random changes to the seeds. What breaks the target is saved and
counted, and the run goes on: one run finds as many different faults as its time allows. The parent reads ``state-NAME.json``.
"""

from __future__ import annotations

import faulthandler
import hashlib
import importlib
import json
import os
import random
import resource
import signal
import sys
import time
import traceback
from itertools import chain
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn

from tests.fuzz.corpus import kept
from tests.fuzz.mutations import mutate

MEMORY: Final = 3 * 1024**3
"""Address space of a target, in octets."""
RESIDENT: Final = 1024
"""Resident memory of a target, in mebibytes."""
ONE_INPUT: Final = 10
"""Seconds one input may take."""
MODULES: Final = (
    "tests.fuzz.wire",
    "tests.fuzz.security",
    "tests.fuzz.kernel",
    "tests.fuzz.sealed",
    "tests.fuzz.registry",
)


def load_targets() -> dict[str, Any]:
    """Import every target; gives them by name."""
    for name in MODULES:
        importlib.import_module(name)
    found: dict[str, Any] = importlib.import_module("tests.fuzz.registry").TARGETS
    return found


class Judge:
    """Runs a target on inputs, counts, and keeps what broke it, one input for each place it broke at."""

    def __init__(self, target: Any, seconds: float, folder: Path, engine: str) -> None:
        self.target, self.folder, self.engine = target, folder, engine
        self.seconds, self.runs = seconds, 0
        self.crashes: dict[str, dict[str, str]] = {}
        self.begun = self.told = time.monotonic()

    def __call__(self, data: bytes) -> None:
        """Judge one input. Never returns once the time is up."""
        now = time.monotonic()
        if now - self.begun > self.seconds:
            self.end()
        if now - self.told > 1:
            self.tell()
        self.runs += 1
        try:
            self.target.run(data)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # a panic of a native library is no Exception
            self.keep(data, error)

    def keep(self, data: bytes, error: BaseException) -> None:
        """Save the input, unless the same place has broken in the same way before."""
        frames = traceback.extract_tb(error.__traceback__)
        inner = next(
            (f for f in reversed(frames) if "/fuzz/" not in f.filename and "site-packages" not in f.filename), None
        )
        frame = inner or frames[-1]
        place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.name}:{frame.lineno}"
        if isinstance(error, AssertionError):
            place = f"{type(error).__name__}: {error}"
        digest = hashlib.sha256(place.encode()).hexdigest()[:12]
        if digest in self.crashes or len(self.crashes) >= 20:
            return
        path = self.folder / f"crash-{self.target.name}-{digest}"
        path.write_bytes(data)
        words = "".join(traceback.format_exception(error))
        path.with_suffix(".txt").write_text(words, errors="backslashreplace")
        self.crashes[digest] = {"input": path.name, "error": place}
        self.tell()

    def tell(self) -> None:
        """Write down how far it is, so that the parent knows even if this process dies."""
        self.told = time.monotonic()
        state = {
            "runs": self.runs,
            "seconds": round(self.told - self.begun, 2),
            "engine": self.engine,
            "crashes": list(self.crashes.values()),
        }
        made = self.folder / f"state-{self.target.name}.new"
        made.write_text(json.dumps(state))
        made.rename(self.folder / f"state-{self.target.name}.json")

    def end(self) -> NoReturn:
        """The time is up."""
        self.tell()
        (self.folder / f"crash-{self.target.name}-last").unlink(missing_ok=True)
        os._exit(1 if self.crashes else 0)


def fuzz(judge: Judge, corpus: Path, atheris: Any) -> None:
    """Coverage leads: libFuzzer, with our own mutator half of the time. Does not return."""

    def change(data: bytes, max_size: int, seed: int) -> bytes:
        return mutate(data, max_size, seed, atheris.Mutate)

    flags = [
        f"-rss_limit_mb={RESIDENT}",
        f"-timeout={ONE_INPUT}",
        f"-max_len={judge.target.max_len}",
        f"-artifact_prefix={judge.folder}/crash-{judge.target.name}-",
        "-len_control=0",
        "-verbosity=0",
    ]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], judge, custom_mutator=change)
    judge.begun = time.monotonic()
    atheris.Fuzz()


def drive(judge: Judge, corpus: Path) -> NoReturn:
    """Without atheris: seeds, changed at random."""

    def too_slow(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError(f"one input took more than {ONE_INPUT} seconds")

    faulthandler.enable()  # not with atheris: libFuzzer saves the input only where no other handler is
    signal.signal(signal.SIGALRM, too_slow)
    rng = random.Random(judge.target.name)
    seeds = [path.read_bytes() for path in sorted(corpus.iterdir())]
    for data in seeds:
        judge(data)
    last = judge.folder / f"crash-{judge.target.name}-last"
    while True:
        data = mutate(rng.choice(seeds), judge.target.max_len, rng.getrandbits(32))
        last.write_bytes(data)
        signal.alarm(ONE_INPUT)
        judge(data)
        signal.alarm(0)


def main(name: str, seconds: float, folder: Path) -> None:
    """Run one target until its time is up."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    atheris: Any = None
    if os.environ.get("STAFET_FUZZ_ENGINE") != "random":
        try:
            atheris = importlib.import_module("atheris")
        except ImportError:
            atheris = None
    if atheris is None:
        targets = load_targets()
    else:
        with atheris.instrument_imports(include=["accesspoint", "core", "gateways"]):
            targets = load_targets()
    target = targets[name]
    corpus = folder / "corpus" / name
    corpus.mkdir(parents=True, exist_ok=True)
    for seed in chain(target.seeds(), kept(name)):
        (corpus / hashlib.sha256(seed).hexdigest()[:40]).write_bytes(seed)
    judge = Judge(target, seconds, folder, "atheris" if atheris else "random")
    judge.tell()
    fuzz(judge, corpus, atheris) if atheris else drive(judge, corpus)


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), Path(sys.argv[3]))
