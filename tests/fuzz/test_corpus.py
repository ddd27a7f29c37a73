"""Keeping what a long run has found."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.child import load_targets
from tests.fuzz.corpus import KEPT, branches, distil, keep, kept

COMPRESSION = load_targets()["compression"].run


def test_an_input_that_takes_no_new_branch_is_not_kept(tmp_path: Path):
    """Of inputs that lead the same way the shortest stays; one that leads elsewhere stays as well."""
    seeds = [bytes(seed) for seed in load_targets()["compression"].seeds()]
    chosen = distil([*seeds, *(b"\0nonsense" + b"!" * n for n in range(50))], COMPRESSION)
    assert 1 < len(chosen) < len(seeds) + 3
    assert keep("some", chosen, COMPRESSION, tmp_path) == len(chosen)
    assert list(kept("some", tmp_path)) == chosen
    assert list(kept("none", tmp_path)) == []


def test_branches_are_the_product_s_alone():
    """What the fuzzer itself does is no reason to keep an input; nothing at all is taken by nothing."""
    taken = branches(b"\0" + b"\x1f\x8b", COMPRESSION)
    assert {Path(name).name for name, _, _ in taken} >= {"compression.py"}
    assert not any("/tests/" in name for name, _, _ in taken)
    assert branches(b"", lambda data: None) == set()


@pytest.mark.parametrize("path", sorted(KEPT.glob("*.tar.xz")), ids=lambda path: path.name)
def test_what_is_kept_is_taken_or_refused(path: Path):
    """Every kept input, once more: the targets raise when a rule is broken."""
    name = path.name.removesuffix(".tar.xz")
    inputs = list(kept(name))
    assert inputs
    for octets in inputs:
        load_targets()[name].run(octets)
