"""What one process holds of a node: the lock, the schema, configuration versions, keys, room on the disk."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import create_engine, text

from core import commands
from core.clock import SECOND, FrozenClock
from core.commands import Call
from core.config import KERNEL_KINDS, Configuration, Problem, load
from core.errors import ConfigError, DurabilityLost, Fatal, NotFound, Overloaded, UnsafeDatabase
from core.ledger.engine import NodeLock
from core.ledger.trace import Entry
from core.ledger.versions import Version
from core.runtime import Catalogue, Runtime, chain_prefix, read_only_engine
from tests.core.making import NOW
from tests.core.nodes import DOCUMENTS, Paper, Site, make_settings, open_runtime

pytestmark = pytest.mark.filterwarnings("ignore:SQLite")


class Pigeon(Paper):
    """Another gateway, with a kind of its own and a check."""

    name: ClassVar[str] = "pigeon"

    class Loft(BaseModel):
        """Kind ``pigeon.loft``."""

        kind: Literal["pigeon.loft"] = "pigeon.loft"
        id: str

    kinds: ClassVar[dict[str, type[BaseModel]]] = {"pigeon.loft": Loft}  # type: ignore[misc]

    @classmethod
    def check(cls, configuration: Configuration) -> list[Problem]:
        """Pigeons want a loft."""
        return [] if configuration.all("pigeon.loft") else [Problem("pigeon.loft", "", "id", "there is no loft")]

    @classmethod
    def explain(cls, code: str) -> str:
        """Its one code."""
        return "it flew elsewhere" if code == "astray" else ""


# --- the catalogue ----------------------------------------------------------------------------------------------------


def test_a_catalogue_knows_the_kernels_kinds_and_every_gateways():
    """A configuration may hold documents of all of them."""
    kinds = Catalogue({"paper": Paper, "pigeon": Pigeon}).kinds
    assert set(kinds) == {*KERNEL_KINDS, "pigeon.loft"}
    assert kinds["pigeon.loft"] is Pigeon.Loft


def test_installed_gateways_are_found_by_themselves():
    """Without being told, a catalogue asks the entry points."""
    assert "as4" in Catalogue().gateways


def test_a_code_is_explained_by_the_gateway_that_knows_it():
    """The first that has words for it; none gives none."""
    catalogue = Catalogue({"paper": Paper, "pigeon": Pigeon})
    assert catalogue.explain("wet") == "the letter was wet"
    assert catalogue.explain("astray") == "it flew elsewhere"
    assert catalogue.explain("no-such") == ""


def test_every_gateways_check_is_asked_and_routes_name_installed_ones(tmp_path: Path):
    """What is wrong is found before anything is applied, with file, field, cause and remedy."""
    settings = make_settings(tmp_path)
    catalogue = Catalogue({"pigeon": Pigeon})
    with pytest.raises(ExceptionGroup) as caught:
        load(settings.config_path, catalogue.kinds, catalogue.checks)
    said = sorted(str(problem) for problem in caught.value.exceptions)
    named = [words for words in said if "to.0.gateway" in words]
    assert [re.sub(r"^all\.yaml:\d+: ", "", words) for words in named] == [
        "to.0.gateway: no installed gateway is called 'paper' (installed: pigeon)"
    ] * 2
    assert any("there is no loft" in words for words in said)
    assert len(said) == 3


# --- opening ----------------------------------------------------------------------------------------------------------


def test_one_process_alone_is_a_node(tmp_path: Path, ledger_url: str):
    """A second one is refused until the first lets go; the data directory is its owner's."""
    settings = make_settings(tmp_path / "home", ledger_url)
    first = open_runtime(settings)
    with pytest.raises(UnsafeDatabase, match="another process is this node"):
        open_runtime(settings)
    assert settings.data_path.stat().st_mode & 0o077 == 0
    first.close()
    open_runtime(settings).close()


@pytest.mark.parametrize("what", ["database", "keys", "schema"])
def test_an_opening_that_fails_keeps_no_lock(tmp_path: Path, what: str):
    """Whatever is wrong is said, and whoever mends it can start at once."""
    settings = make_settings(tmp_path / "home")
    if what == "schema":
        open_runtime(settings).close()
        engine = read_only_engine(settings)
        engine.dispose()
        _spoil(settings.database_url)
    if what == "keys":
        (settings.keys_path / "kek-1.kek").unlink()
    wrong = settings.model_copy(update={"database": "mysql://x"}) if what == "database" else settings
    words = {"database": "must begin with", "keys": "no key-encryption key", "schema": "newer than this program"}[what]
    with pytest.raises(Fatal, match=words):
        open_runtime(wrong)
    NodeLock(settings.lock_path).release()


def _spoil(url: str) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()


def test_closing_commits_what_waits(tmp_path: Path, ledger_url: str):
    """Commands handed over before are stored; nothing is taken afterwards."""
    settings = make_settings(tmp_path / "home", ledger_url)
    runtime = open_runtime(settings)
    futures = [runtime.writer.submit(commands.NOTE, Entry("p", NOW, f"n{i}", {})) for i in range(50)]
    runtime.close()
    assert all(future.done() and future.exception() is None for future in futures)
    with pytest.raises(DurabilityLost):
        runtime.writer.submit(commands.NOTE, Entry("p", NOW, "late", {}))
    again = open_runtime(settings)
    assert again.read_now(lambda c: c.execute(text("SELECT count(*) FROM trace")).scalar_one()) == 50
    again.close()


def test_every_boot_has_a_chain_of_its_own(tmp_path: Path, clock: FrozenClock):
    """Also two in the same millisecond, and of a node whose name is as long as a name may be."""
    settings = make_settings(tmp_path / "home", node="n" * 64)
    chains = []
    for number in range(3):
        runtime = open_runtime(settings, clock)
        runtime.writer.submit(commands.NOTE, Entry("p", NOW, f"boot-{number}", {})).result(10)
        chains.append(runtime.chain)
        runtime.close()
    assert len(set(chains)) == 3
    assert all(len(chain) <= 64 and chain.startswith(f"{chain_prefix('n' * 64)}.") for chain in chains)


NODES = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,63}", fullmatch=True)


@given(one=NODES, end=NODES)
@bounded(max_examples=300, deadline=None)
def test_no_nodes_chains_look_like_anothers(one: str, end: str):
    """A node that starts ends the leases of its own former boots, found by how their chains begin: nobody else's."""
    for other in {end, f"{one}.{end}"[:64], f"{one}{end}"[:64]} - {one}:
        assert not f"{chain_prefix(other)}.{'0' * 20}".startswith(f"{chain_prefix(one)}.")
    assert len(chain_prefix(one)) <= 43


def test_a_writer_that_dies_is_told_to_the_node(tmp_path: Path):
    """The cause is kept, and whoever waits for it is called."""
    runtime = open_runtime(make_settings(tmp_path / "home"))
    told: list[BaseException] = []
    runtime.on_fatal = told.append
    runtime.store.disk._on_lost(error := DurabilityLost("fsync failed: no such disk"))  # type: ignore[misc]
    assert (runtime.fatal, told) == (error, [error])
    runtime.close()


def test_nobody_dispatches_until_somebody_does(tmp_path: Path):
    """A command without a node leaves what it accepts to the queue."""
    runtime = open_runtime(make_settings(tmp_path / "home"))
    assert runtime.at_once.take(("paper", "egedal")) is False
    runtime.at_once.give_back(("paper", "egedal"))
    runtime.at_once.expect([("paper", "egedal")])
    runtime.close()


# --- asking -----------------------------------------------------------------------------------------------------------


async def test_reading_is_read_only(site: Site):
    """A query cannot change anything, from any thread."""
    read = await site.runtime.read(lambda c, x: c.execute(text("SELECT 1 + :x"), {"x": x}).scalar_one(), 2)
    assert read == 3
    if site.runtime.engine.dialect.name == "sqlite":
        with pytest.raises(Exception, match="readonly"):
            await site.runtime.read(lambda c: c.execute(text("DELETE FROM parcel")))


async def test_what_is_written_can_be_read_when_it_is_answered(site: Site):
    """`do` comes back after the commit."""

    def put(connection: Any, name: str) -> None:
        connection.execute(text("INSERT INTO meta VALUES (:name, 'x')"), {"name": name})

    await site.runtime.do(commands.CALL, Call(put, ("a",)))
    assert site.runtime.read_now(lambda c: c.execute(text("SELECT name FROM meta")).scalars().all()) == ["a"]


def test_objects_are_deleted_once_nobody_copies(site: Site):
    """Later means later; asking for nothing starts nothing."""
    writer = site.runtime.store.create(b"k" * 32)
    writer.commit()
    with site.runtime.deleting:
        site.runtime.delete_later([])
        site.runtime.delete_later([writer.object_id, "no-such"])
        assert site.objects() == [writer.object_id]
    site.runtime.deletions.shutdown()
    assert site.objects() == []


def test_room_on_the_disk_is_asked_for_once_a_second(site: Site, monkeypatch: pytest.MonkeyPatch):
    """The answer is remembered that long; exactly the reserve is enough."""
    asked = []
    site.runtime.settings = site.runtime.settings.model_copy(update={"free_space_reserve": 5 << 20})
    monkeypatch.setattr(site.runtime.store, "free", lambda: asked.append(1) or free)
    free = 5 << 20
    for _ in range(3):
        site.runtime.demand_space()
    free = 3 << 20
    site.runtime.demand_space()
    assert len(asked) == 1
    site.clock.tick(SECOND + 1)
    with pytest.raises(Overloaded, match="free space 3 MiB is below the reserve of 5 MiB") as caught:
        site.runtime.demand_space()
    assert (len(asked), caught.value.retry_after) == (2, 60 * SECOND)


def test_a_private_key_is_read_once_until_it_is_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch):
    """A new configuration or an import reads it again."""
    read: list[str] = []
    monkeypatch.setattr(
        sys.modules["core.runtime"], "load_identity", lambda folder, name: read.append(name) or object()
    )
    first = site.runtime.identity("a")
    assert site.runtime.identity("a") is first
    site.runtime.forget_identities()
    assert site.runtime.identity("a") is not first
    assert read == ["a", "a"]


# --- configuration ----------------------------------------------------------------------------------------------------


def test_versions_are_read_from_the_ledger(site: Site):
    """Zero is the empty one, the newest is the latest, one that is not there is named."""
    runtime = site.runtime
    assert runtime.latest().number == runtime.version(0).number == 0
    content = runtime.configuration.to_json()
    assert runtime.writer.submit(commands.VERSION, Version(0, NOW, "clerk", "first", content)).result(10) == 1
    assert runtime.latest().number == 1
    assert runtime.latest().to_json() == content
    assert len(runtime.version(1).all("system")) == sum(d["kind"] == "system" for d in DOCUMENTS)
    with pytest.raises(NotFound, match="there is no configuration version 7"):
        runtime.version(7)


def test_a_version_with_a_kind_of_a_gateway_that_is_gone_says_so(site: Site):
    """The node cannot use it, and people read which kind it was."""
    content = '{"documents":[{"kind":"pigeon.loft","id":"north"}],"files":{}}'
    site.runtime.writer.submit(commands.VERSION, Version(0, NOW, "clerk", "", content)).result(10)
    with pytest.raises(ConfigError, match=r"version 1: pigeon\.loft: no installed part of Stafet knows this kind"):
        site.runtime.latest()


def test_looking_needs_a_ledger_that_is_there(tmp_path: Path, ledger_url: str):
    """A command that only looks makes none; one that is there is opened read-only."""
    settings = make_settings(tmp_path / "home", ledger_url)
    if not ledger_url:
        with pytest.raises(ConfigError, match="has no ledger yet"):
            read_only_engine(settings)
        assert not settings.data_path.exists()
    Runtime.close(open_runtime(settings))
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        engine = read_only_engine(settings)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM parcel")).scalar_one() == 0
    engine.dispose()
