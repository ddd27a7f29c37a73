"""The OpenAPI document that is kept beside the code."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

from scripts.api import URL, document_text

ROOT = Path(__file__).resolve().parents[2]


def test_the_document_is_the_one_that_is_kept():
    """Made twice it is the same, and it is what lies in the reference; its version is the program's."""
    made = document_text()
    assert made == document_text() == (ROOT / "docs" / "reference" / "openapi.json").read_text()
    said = json.loads(made)
    assert (said["servers"], said["info"]["version"]) == ([{"url": URL}], version("stafet"))


def test_the_document_names_no_machine():
    """Neither a port nor a path of where it was made."""
    assert "localhost" not in document_text()
    assert str(ROOT) not in document_text()
