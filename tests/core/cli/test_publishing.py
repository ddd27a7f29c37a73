"""schema, pull-config."""

from __future__ import annotations

import json
from pathlib import Path

from tests.core.cli.conftest import Call


def test_a_schema_is_printed_by_kind(call: Call):
    """The schema of a kind, and of the payload description, is one JSON document."""
    said = json.loads(call("schema", "integration").out)
    assert said["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert "types" in said["required"]
    assert json.loads(call("schema", "payload-description").out)["properties"]["type"]["description"]


def test_kinds_are_listed(call: Call):
    """Without a kind, all that have a schema are named; an unknown one is refused with those there are."""
    assert "service-agreement" in call("schema").out
    assert "as4.partner" in json.loads(call("schema", "--json").out)
    result = call("schema", "nonsense")
    assert (result.code, "known: payload-description" in result.err) == (2, True)


def test_the_version_in_force_comes_back_as_files(applied: Call, home: Path, tmp_path: Path):
    """What is pulled is the version itself: planning it changes nothing, and what is in it can be found by name."""
    out = tmp_path / "pulled"
    result = applied("pull-config", str(out))
    assert (result.code, "version 1 is in" in result.out) == (0, True)
    assert (out / "route" / "to-receiver.yaml").exists()
    assert json.loads(applied("plan", str(out), "--json").out)["changes"] == []


def test_an_older_version_can_be_pulled(applied: Call, home: Path, tmp_path: Path):
    """A version is named by number; one that does not exist is said so."""
    file = home / "config" / "all.yaml"
    file.write_text(file.read_text().replace("2000000", "3000000"))
    assert applied("apply", "--yes").code == 0
    assert json.loads(applied("pull-config", str(tmp_path / "a"), "--version", "1", "--json").out)["version"] == 1
    assert "max_size: 2000000" in (tmp_path / "a" / "integration" / "notes.yaml").read_text()
    result = applied("pull-config", str(tmp_path / "b"), "--version", "9")
    assert (result.code, "no configuration version 9" in result.err) == (2, True)


def test_what_is_there_is_not_mixed_with_what_is_pulled(applied: Call, home: Path):
    """A folder of documents is left alone unless it may be replaced; hidden files and other texts stay."""
    config = home / "config"
    (config / "README.txt").write_text("ours")
    (config / ".git").mkdir()
    (config / ".git" / "old.yaml").write_text("kind: nothing")
    (config / "old.pem").write_text("old")
    (config / "folder.yaml").mkdir()
    result = applied("pull-config", str(config))
    assert (result.code, "holds all.yaml and 1 more files" in result.err) == (2, True)
    result = applied("pull-config", str(config), "--replace")
    assert (result.code, "2 deleted" in result.out) == (0, True)
    assert sorted(p.name for p in config.iterdir() if p.is_file()) == ["README.txt"]
    assert (config / ".git" / "old.yaml").exists()
    assert json.loads(applied("plan", "--json").out)["changes"] == []


def test_a_link_in_the_way_is_replaced_and_not_followed(applied: Call, tmp_path: Path):
    """What a link leads to is somebody else's file."""
    out, other = tmp_path / "out", tmp_path / "other.yaml"
    other.write_text("mine")
    (out / "route").mkdir(parents=True)
    (out / "route" / "to-receiver.yaml").symlink_to(other)
    assert applied("pull-config", str(out), "--replace").code == 0
    assert other.read_text() == "mine"


def test_where_nothing_can_be_written(applied: Call, call: Call, tmp_path: Path):
    """A file instead of a folder is refused by its name, and so is a file where a folder must be."""
    (tmp_path / "file").write_text("")
    result = applied("pull-config", str(tmp_path / "file"))
    assert (result.code, "file: is no directory" in result.err) == (2, True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "route").write_text("")
    assert applied("pull-config", str(tmp_path / "out")).code == 2


def test_before_there_is_a_version_there_is_nothing_to_pull(call: Call, tmp_path: Path):
    """A home that was never applied says so."""
    assert call("pull-config", str(tmp_path / "out")).code == 2
    assert not (tmp_path / "out").exists()
