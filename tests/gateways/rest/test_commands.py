"""`stafet init`, `add-system` and `add-person`, called as the command line calls them: from nothing to a node that answers."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import aiohttp
import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from conformance.estate import free_port
from core.cli import talk
from core.config import load
from core.errors import StafetError, UsageError
from core.settings import load_settings
from gateways.rest.commands import add_person, add_system, init
from tests.gateways.as4.running import applied, running
from tests.gateways.rest.callers import KINDS
from tests.gateways.rest.running import CATALOGUE

Call = Callable[..., Result]


@pytest.fixture
def call() -> Iterator[Call]:
    """Call a command with words, as `whole` in core/cli/main.py adds it; errors come out as they are raised."""
    app = typer.Typer()
    app.command("init")(init)
    app.command("add-system")(add_system)
    app.command("add-person")(add_person)

    def run(*words: object, home: Path | None = None) -> Result:
        talk.set_home(home or Path())
        result = CliRunner().invoke(app, [str(word) for word in words])
        if isinstance(result.exception, StafetError):
            raise result.exception
        return result

    yield run
    talk.set_home(Path())


async def test_from_nothing_to_a_node_that_knows_its_caller(call: Call, tmp_path: Path):
    """Three commands, one `apply`: the system connects with the key that was made for it, and the node says who it is."""
    home = tmp_path / "Birkelund"
    assert call("init", home, "--port", free_port()).exit_code == 0
    assert load_settings(home).node == "birkelund"
    assert call("add-system", "care", "--authority", "11223344", home=home).exit_code == 0
    assert call("add-person", "desk", "--authority", "11223344", "--role", "operator", home=home).exit_code == 0
    async with running(home, catalogue=CATALOGUE) as (node,):
        await applied(node)
        for name, kind in (("care", "system"), ("desk", "person")):
            context = await asyncio.to_thread(ssl.create_default_context, cafile=str(home / "rest.crt"))
            context.load_cert_chain(home / "clients" / f"{name}.pem")
            url = f"https://localhost:{node.gateways['rest'].port}/v1/me"  # type: ignore[attr-defined]
            async with aiohttp.ClientSession() as session, session.get(url, ssl=context) as answer:
                said = json.loads(await answer.read())
                assert (answer.status, said["name"], said["kind"]) == (200, name, kind)


def test_what_was_made_is_said(call: Call, tmp_path: Path):
    """Each file by its path, and who is to have the only copy of the key."""
    said = call("init", tmp_path / "node").stdout
    assert "rest.pem" in said
    assert "add-system" in said
    said = call("add-system", "care", "--authority", "11223344", home=tmp_path / "node").stdout.replace("\n", "")
    assert "clients/care.pem" in said
    assert "only copy of its key" in said


@pytest.mark.parametrize("name", ["Care", "ca re", "../care", "", "-care.", "x" * 65, "café"])
def test_a_name_that_is_no_id_makes_nothing(call: Call, tmp_path: Path, name: str):
    """What would lead out of the folder, or that no document may be called, is refused before a file is written."""
    home = tmp_path / "node"
    call("init", home)
    before = sorted(home.rglob("*"))
    for command in (("add-system",), ("add-person", "--role", "owner")):
        with pytest.raises(UsageError, match="is no id; use lower case letters"):
            call(*command, "--authority", "11223344", "--", name, home=home)
    assert sorted(home.rglob("*")) == before


def test_a_folder_whose_name_is_no_id_makes_no_home(call: Call, tmp_path: Path):
    """The node is called as its folder is, so the folder must have a name that a node may have."""
    with pytest.raises(UsageError, match="is no id"):
        call("init", tmp_path / "my node")
    assert not (tmp_path / "my node").exists()


def test_a_role_that_is_none_is_not_written(call: Call, tmp_path: Path):
    """A document that no version would take is not left behind for the next `apply` to stumble over."""
    home = tmp_path / "node"
    call("init", home)
    with pytest.raises(UsageError, match=r"'boss' is no role; known: .*operator"):
        call("add-person", "desk", "--authority", "11223344", "--role", "boss", home=home)
    assert load(home / "config", KINDS, ()).documents == {}
    assert not (home / "clients").exists()


@pytest.mark.requirement("R70")
def test_a_system_that_serves_functions(call: Call, tmp_path: Path):
    """They are written into its document; a word that is no id makes nothing."""
    call("init", tmp_path / "node")
    words = ("add-system", "pupils", "--authority", "11223344")
    with pytest.raises(UsageError, match="is no id"):
        call(*words, "--function", "School Psychology", home=tmp_path / "node")
    call(*words, "--function", "school-psychology", "--function", "reception", home=tmp_path / "node")
    document = yaml.safe_load((tmp_path / "node" / "config" / "systems" / "pupils.yaml").read_text())
    assert document["functions"] == ["school-psychology", "reception"]
