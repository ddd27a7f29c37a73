"""`make interop`: real exchanges with other makers' access points, and the matrix of what came of them.

Rules:

1. A cell is an exchange that happened: what arrived is compared octet for octet, and both sides' receipts must hold.
2. Where a peer does otherwise than the specification, the cell says so in its own words (``peer``) and shows what passed; it is
   never called green, and the default policy is never loosened for it.
3. A new peer is one file in `conformance.peers` with the methods of `conformance.pairs.Foreign`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from conformance import interop_peppol, interop_pull, interop_push
from conformance.pairs import Cell

_SIGNS: Final = {"ok": "✓", "peer": "△", "failed": "✗"}


def page(found: Sequence[Cell]) -> str:
    """The matrix for people. Nothing in it differs from run to run but what the exchanges came to."""
    lines = [
        "# Interoperability",
        "",
        "<!-- Made by `make interop` from exchanges that really happened. -->",
        "",
        "Signed, encrypted, over TLS with real certificates, each side in a process of its own. ✓ exchanged and verified on both"
        " sides, △ as far as that product can, for the cause given, ✗ failed.",
    ]
    groups = dict.fromkeys((c.implementation, c.version, c.profile) for c in found)
    for name, version, profile in groups:
        lines += ["", f"## {name} {version}, {profile}", "", "| | Direction | Case | What came of it |"]
        lines.append("| --- | --- | --- | --- |")
        rows = [c for c in found if (c.implementation, c.version, c.profile) == (name, version, profile)]
        lines += [f"| {_SIGNS[c.result]} | {c.direction} | {c.case} | {_told(c)} |" for c in rows]
    return "\n".join(lines) + "\n"


def _told(cell: Cell) -> str:
    seen = f" ([what passed](interop/{cell.capture}))" if cell.capture else ""
    return cell.detail.replace("|", "/") + seen


def main(arguments: list[str] | None = None) -> int:
    """``python -m conformance.interop``; leaves ``build/interop.json``; 1 when a cell failed."""
    parser = argparse.ArgumentParser(description="Exchange messages with other makers' access points.")
    parser.add_argument("--out", type=Path, default=Path("build/interop.json"))
    parser.add_argument("--page", type=Path, help="Also write the matrix for people here.")
    parser.add_argument("--profiles", nargs="*", default=["edelivery-1.15", "edelivery-2.0", "edelivery-2.0-ec"])
    parser.add_argument("--peers", nargs="*", default=["phase4", "as4"], choices=["phase4", "as4"])
    options = parser.parse_args(arguments)

    def say(cell: Cell) -> None:
        took = f"{cell.milliseconds:,.0f} ms"
        print(
            f"{_SIGNS[cell.result]} {cell.profile}: {cell.direction}: {cell.case}: {cell.detail} ({took})", flush=True
        )

    with tempfile.TemporaryDirectory(prefix="stafet-interop-") as folder:
        found: list[Cell] = []
        shown = Path(folder) / "captures"
        if "phase4" in options.peers:
            found += interop_push.run(Path(folder), options.profiles, say, shown)
            found += interop_pull.run(Path(folder), options.profiles, say, shown)
        if "as4" in options.peers:
            for cell in interop_peppol.run(Path(folder), shown):
                say(cell)
                found.append(cell)
        captures = {c.capture: (shown / c.capture).read_text(encoding="utf-8") for c in found if c.capture}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps([asdict(c) for c in found], indent=1, ensure_ascii=False) + "\n")
    if options.page:
        options.page.write_text(page(found))
        _write(options.page.with_suffix(""), captures)
    return 1 if any(c.result == "failed" for c in found) else 0


def _write(folder: Path, captures: Mapping[str, str]) -> None:
    """What passed, a file each; what earlier runs left goes."""
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.txt"):
        old.unlink()
    for name, text in captures.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
