"""The received samples, where they are."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def samples(shared: Path) -> Path:
    """The folder of the samples."""
    folder = shared / "samples" / "as4"
    if not folder.is_dir():
        pytest.skip("the AS4 samples are not among the shared reference material")
    return folder
