"""Each page that says so is followed as a newcomer would, word for word."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.pages import ROOT, Reader, Step, agrees, followed, steps


@pytest.mark.timeout(240)
@pytest.mark.parametrize("page", followed(), ids=lambda page: page.stem)
def test_a_page_can_be_followed(page: Path, tmp_path: Path):
    """Every command ends well and prints what the page shows."""
    for tool in ("bash", "curl", "jq", "openssl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{page.relative_to(ROOT)} needs {tool}, which is not here")
    reader = Reader(tmp_path)
    try:
        for step in steps(page.read_text(encoding="utf-8")):
            reader.follow(step)
    finally:
        reader.close()


def test_there_are_pages_to_follow():
    """A run that follows nothing shows nothing."""
    assert followed()


def test_what_a_page_asks_for():
    """Commands go on over lines, output belongs to its command, and a file is written where the page says."""
    page = (
        "<!-- file: a/b.yaml -->\n\n```yaml\nx: 1\n```\n\n"
        "```console\n$ cat <<E\n> one\n> E\none\n$ true\n```\n```text\nno\n```\n"
    )
    assert steps(page) == [Step("", "x: 1\n", "a/b.yaml"), Step("cat <<E\none\nE", "one"), Step("true", "")]


@pytest.mark.parametrize(
    ("expected", "printed", "same"),
    [
        ("", "anything", True),
        ("one", "one", True),
        ("one", "two", False),
        ("id …", "id 5", True),
        ("a …\nb", "a\nb", False),
        ("a\n…\nd", "a\nb\nc\nd", True),
        ("a\n…\nd", "a\nb\nc", False),
        ("(x)", "(x)", True),
    ],
)
def test_what_counts_as_the_same(expected: str, printed: str, same: bool):
    """An ellipsis is anything; everything else is itself."""
    assert agrees(expected, printed) is same


def test_a_command_that_fails_is_no_page(tmp_path: Path):
    """Neither is one that prints something else."""
    reader = Reader(tmp_path)
    try:
        reader.follow(Step("echo fine", "fine"))
        with pytest.raises(AssertionError, match="ended with 3"):
            reader.follow(Step("(exit 3)"))
        with pytest.raises(AssertionError, match="the page shows"):
            reader.follow(Step("echo other", "fine"))
    finally:
        reader.close()


def test_a_command_that_hangs_is_ended_with_all_it_started(tmp_path: Path):
    """Rather than the whole suite waiting for it; the page does not go on."""
    reader = Reader(tmp_path, patience=0.3)
    try:
        with pytest.raises(AssertionError, match="ended with -1"):
            reader.follow(Step("sleep 100 & until false; do sleep 0.1; done"))
    finally:
        reader.close()
