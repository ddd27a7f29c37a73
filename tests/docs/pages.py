"""Pages that can be followed: the commands of a page are run in order in an empty folder, and what it shows must come.

In a ``console`` block a line that begins with ``$ `` is a command; lines that begin with ``> `` go on with it; the rest is
what it prints. ``…`` stands for anything in a line, and alone in a line for any lines.

A page without ``<!-- followed -->`` is not run.

A block under ``<!-- file: NAME -->`` is written to that file. Fixed ports are replaced by free ones, so that pages can be
followed side by side.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from conformance.estate import free_port

ROOT: Final = Path(__file__).resolve().parents[2]
FOLLOWED: Final = "<!-- followed -->"
_BLOCK: Final = re.compile(
    r"(?:<!-- file: (?P<file>\S+) -->\n+)?```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
_PORTS: Final = ("8444", "2525")
_END: Final = "--followed--"
_LONG: Final = 60
"""Seconds after which a command is hung."""
_ENDING: Final = 30


@dataclass(frozen=True)
class Step:
    """One command and what it prints, or a file to be written."""

    command: str
    expected: str = ""
    file: str = ""


def steps(text: str) -> list[Step]:
    """What a page asks its reader to do."""
    found: list[Step] = []
    for block in _BLOCK.finditer(text):
        if block["file"]:
            found.append(Step("", block["text"], block["file"]))
        elif block["kind"] == "console":
            found += _commands(block["text"])
    return found


def _commands(text: str) -> list[Step]:
    found: list[tuple[list[str], list[str]]] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(([line[2:]], []))
        elif line.startswith("> ") or line == ">":
            found[-1][0].append(line[2:])
        else:
            found[-1][1].append(line)
    return [Step("\n".join(command), "\n".join(output)) for command, output in found]


def agrees(expected: str, printed: str) -> bool:
    """Whether what was printed is what a page shows."""
    wanted = ""
    for line in expected.strip().splitlines():
        exact = re.escape(line.rstrip()).replace("…", "[^\\n]*") + "\\n"
        wanted += r"(?:[^\n]*\n)*" if line.strip() == "…" else exact
    return not wanted or re.fullmatch(wanted, printed.strip() + "\n") is not None


class Reader:
    """Follows a page in a folder, in one shell."""

    def __init__(self, folder: Path, patience: float = _LONG) -> None:
        self._folder, self._patience = folder, patience
        self._ports = {port: str(free_port()) for port in _PORTS}
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "COLUMNS": "200", "TERM": "dumb"}
        environment.pop("STAFET_HOME", None)
        self._shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def follow(self, step: Step) -> str:
        """Do one step; gives what was printed. Raises `AssertionError` when it failed or printed something else."""
        if step.file:
            path = self._folder / step.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(self._here(step.expected))
            return ""
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f"{self._here(step.command)}\nended=$?; echo; echo {_END} $ended\n")
        self._shell.stdin.flush()
        lines: list[str] = []
        line, watch = "", threading.Timer(self._patience, self._kill)
        watch.start()
        for line in self._shell.stdout:
            if line.startswith(_END):
                break
            lines.append(line.rstrip())
        watch.cancel()
        printed = self._there("\n".join(lines).rstrip())
        code = int(line.split()[1]) if line.startswith(_END) else -1
        assert code == 0, f"$ {step.command}\n{printed}\nended with {code}"
        assert agrees(step.expected, printed), (
            f"$ {step.command}\nprinted\n{printed}\nand the page shows\n{step.expected}"
        )
        return printed

    def _here(self, text: str) -> str:
        for port, own in self._ports.items():
            text = text.replace(port, own)
        return text

    def _there(self, text: str) -> str:
        for port, own in self._ports.items():
            text = text.replace(own, port)
        return text

    def close(self) -> None:
        """End the shell and what it left running."""
        assert self._shell.stdin is not None
        with suppress(BrokenPipeError):
            self._shell.stdin.write("kill $(jobs -p) 2>/dev/null; wait; exit\n")
            self._shell.stdin.close()
        try:
            self._shell.wait(_ENDING)
        except subprocess.TimeoutExpired:
            self._kill()
            self._shell.wait()

    def _kill(self) -> None:
        """End the shell and all that it started, at once."""
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)


def followed() -> list[Path]:
    """The pages that are run."""
    pages = [ROOT / "docs" / "tutorial-distribution.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]
    return [page for page in pages if page.exists() and FOLLOWED in page.read_text(encoding="utf-8")]
