"""The schemas in docs/reference/schemas/: one file for the payload description, and one for each kind of document."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from core.runtime import Catalogue
from core.schema import named, published


def text_of(schema: dict[str, Any]) -> str:
    """A schema as it stands in its file."""
    return json.dumps(schema, ensure_ascii=False, indent=2) + "\n"


def pages() -> dict[Path, str]:
    """Every schema by its path in the repository."""
    folder = Path("docs/reference/schemas")
    return {
        folder / f"{name}.json": text_of(published(name, model)) for name, model in named(Catalogue().kinds).items()
    }
