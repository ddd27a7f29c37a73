"""Two organisations for the gateway's tests: their keys are made once, everything else anew for each test."""

from __future__ import annotations

import functools
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from conformance.estate import Estate
from conformance.pki import Authority, write
from core.ledger import deliveries
from tests.gateways.as4.making import OtherSender, edit
from tests.gateways.as4.responding import AT, Bench, Site, site
from tests.gateways.as4.running import Door, Line, Peer, plain_http, running, until


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
def templates(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Homes whose keys are copied, by profile; made when they are first asked for."""

    @functools.cache
    def of(profile: str) -> Path:
        root = tmp_path_factory.mktemp("template")
        Estate(root, profile=profile).make()
        return root

    return of


@pytest.fixture(scope="session")
def template(templates: Callable[[str], Path]) -> Path:
    """Homes whose keys are copied."""
    return templates("edelivery-1.15")


MakeEstate = Callable[[str], CopiedEstate]


@pytest.fixture
def make_estate(tmp_path: Path, templates: Callable[[str], Path]) -> MakeEstate:
    """Makes two organisations under a profile, with SQLite ledgers; nothing runs."""

    def make(profile: str) -> CopiedEstate:
        made = CopiedEstate(
            tmp_path / profile.rpartition("-")[2],
            retry_first=0.05,
            retry_longest=0.1,
            profile=profile,
            template=templates(profile),
        )
        made.make()
        return made

    return make


@pytest.fixture
def estate(make_estate: MakeEstate) -> CopiedEstate:
    """Two organisations with SQLite ledgers; nothing runs."""
    return make_estate("edelivery-1.15")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def whole_file(tmp_path_factory: pytest.TempPathFactory, template: Path) -> AsyncIterator[Line]:
    """The municipality of this file."""
    folder = tmp_path_factory.mktemp("line")
    estate = CopiedEstate(folder, retry_first=0.05, retry_longest=0.1, template=template)
    estate.make()
    plain_http(estate)
    peer = Peer(estate)
    async with peer.listening(), running(estate.municipality.home) as (node,):
        yield Line(estate, node, peer)


@pytest_asyncio.fixture(loop_scope="module")
async def line(whole_file: Line) -> AsyncIterator[Line]:
    """The same line for every test, with a peer that has seen nothing; nothing is left on its way."""
    peer = whole_file.peer
    peer.script, peer.requests, peer.on_first_octet = [peer.accept], [], lambda: None
    yield whole_file
    peer.script = [peer.accept]
    settled = lambda: not whole_file.node.runtime.read_now(deliveries.count_by_state).get("ready")  # noqa: E731
    await until(settled, "everything was delivered")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def door(tmp_path_factory: pytest.TempPathFactory, template: Path) -> AsyncIterator[Door]:
    """The hospital of this file."""
    estate = CopiedEstate(tmp_path_factory.mktemp("door"), template=template)
    estate.make()
    edit(estate.hospital.home, "integrations.yaml", "integration", max_size=3_000_000)
    async with running(estate.hospital.home) as (node,):
        yield Door(estate, node, OtherSender(estate))


# --- who answers about certificates ---


@pytest.fixture(scope="session")
def ca() -> Authority:
    """An authority that a partner is known by."""
    return Authority("Birkelund demonstration CA", AT)


@pytest.fixture(scope="session")
def key(ca: Authority) -> Any:
    """One key for all holders: making one takes long."""
    return ca.issue("x", "signing").key


@pytest.fixture
async def server() -> AsyncIterator[Site]:
    """A server of lists and prepared answers."""
    async with site() as made:
        yield made


@pytest.fixture
def bench(tmp_path: Path, server: Site) -> Bench:
    """A fetcher that may ask the server."""
    return Bench(tmp_path / "fetcher", [server.host])
