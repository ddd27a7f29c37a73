"""The documents that pages show: each is one the program takes, in the words it takes."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.runtime import Catalogue
from core.settings import NodeSettings

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^([ ]*)```yaml\n(.*?)^[ ]*```$", re.MULTILINE | re.DOTALL)
NAMED = re.compile(r"`([a-z_]+): (?:true|false)` in `node\.yaml`")


def documents(text: str) -> Iterator[Any]:
    """Every whole document in the YAML blocks of a page: one that says its kind."""
    for _, block in BLOCK.findall(text):
        for value in yaml.safe_load_all(textwrap.dedent(block)):
            if isinstance(value, dict) and "kind" in value:
                yield value


def pages() -> list[Path]:
    """The tutorial and the pages of tasks."""
    return [ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "how-to").glob("*.md"))]


def test_a_block_is_found_in_a_list_and_elsewhere():
    """Indented or not, one document or several; what says no kind is a part of one and is left out."""
    text = (
        "1. So:\n\n   ```yaml\n   kind: a\n   ```\n\n```yaml\nkind: b\n---\nkind: c\n```\n\n```yaml\nretry: {}\n```\n"
    )
    assert [value["kind"] for value in documents(text)] == ["a", "b", "c"]


@pytest.mark.requirement("R99")
def test_every_document_that_is_shown_is_taken():
    """A field that was renamed in the program and not on a page is found here."""
    kinds, seen = Catalogue().kinds, 0
    for page in pages():
        for value in documents(page.read_text(encoding="utf-8")):
            assert value["kind"] in kinds, f"{page.name}: {value['kind']}"
            kinds[value["kind"]].model_validate(value)
            seen += 1
    assert seen >= 6


@pytest.mark.requirement("R99")
def test_every_setting_of_a_node_that_is_named_is_there():
    """What a page says of node.yaml by name and value is a field of it."""
    named = {name for page in pages() for name in NAMED.findall(page.read_text(encoding="utf-8"))}
    assert "second_person" in named
    assert named <= set(NodeSettings.model_fields)
