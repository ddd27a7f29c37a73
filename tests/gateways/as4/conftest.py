"""Two organisations for the gateway's tests: their keys are made once, everything else anew for each test."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conformance.estate import Estate
from conformance.pki import write


@dataclass(frozen=True)
class _Anchor:
    """The authority's certificate, as `Estate` asks for it."""

    octets: bytes

    def pem(self) -> bytes:
        return self.octets


@dataclass
class CopiedEstate(Estate):
    """An estate whose keys and certificates are those of ``template``."""

    template: Path = field(default=Path())

    def make(self) -> None:
        """Copy keys and certificates; write documents and ``node.yaml`` with this estate's own ports."""
        for one in self.both:
            shutil.copytree(self.template / one.name / "keys", one.home / "keys")
            folder = Path("config", "certificates")
            shutil.copytree(self.template / one.name / folder, one.home / folder)
        anchor = _Anchor((self.municipality.home / "config" / "certificates" / "demo-ca.pem").read_bytes())
        for one in self.both:
            self.write_documents(one, anchor)  # type: ignore[arg-type]
            self._node(one)
            write(one.home / "client-anchors.pem", anchor.pem())


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Homes whose keys are copied."""
    root = tmp_path_factory.mktemp("template")
    Estate(root).make()
    return root


@pytest.fixture
def estate(tmp_path: Path, template: Path) -> CopiedEstate:
    """Two organisations with SQLite ledgers; nothing runs."""
    made = CopiedEstate(tmp_path / "estate", retry_first=0.05, retry_longest=0.1, template=template)
    made.make()
    return made
