"""The fuzzer itself: it runs every target, writes what it did, and can fail."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from accesspoint.compression import compress
from accesspoint.inbound import Accepted
from core import config
from tests.fuzz import kernel, wire, world
from tests.fuzz.__main__ import main
from tests.fuzz.child import load_targets
from tests.fuzz.mutations import mutate
from tests.fuzz.registry import Broken, pieces_of
from tests.fuzz.world import ROOT

WANTED = {
    "soap_part",
    "mime_reader",
    "content_type",
    "receiver",
    "answer",
    "receipts",
    "tokens",
    "certificates",
    "encryption",
    "compression",
    "attachment_digest",
    "message_bytes",
    "description",
    "documents",
    "conditions",
    "mapping",
    "sealed",
}
ENGINES = ["atheris", "random"]


def run(folder: Path, *arguments: str, engine: str = "atheris") -> subprocess.CompletedProcess[str]:
    """The command as people run it, its files under ``folder``."""
    if engine == "atheris":
        pytest.importorskip("atheris", reason="the group `fuzz` is not installed")
    command = [sys.executable, "-m", "tests.fuzz", "--folder", str(folder / "fuzz"), *arguments]
    environment = {**os.environ, "STAFET_FUZZ_ENGINE": engine}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280)


def written(folder: Path) -> dict:
    """The report."""
    return json.loads((folder / "fuzz.json").read_text())


@pytest.mark.slow
def test_every_target_runs_and_nothing_breaks(tmp_path):
    """A second for each target: the report has a row for each, with runs and without crashes."""
    ended = run(tmp_path, "--seconds", str(len(WANTED)))
    report = written(tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert report["ok"] is True
    assert {row["name"] for row in report["targets"]} == WANTED
    for row in report["targets"]:
        assert set(row) == {"name", "seconds", "runs", "runs_per_second", "corpus", "crashes", "engine"}
        assert row["crashes"] == []
        assert row["engine"] == "atheris"
        assert row["corpus"] > 0, row
        assert row["runs"] > row["corpus"] / 2, row
        assert row["runs_per_second"] == pytest.approx(row["runs"] / row["seconds"], rel=0.01)
        assert row["seconds"] < 12, row


@pytest.mark.parametrize("engine", ENGINES)
def test_a_broken_target_is_caught(tmp_path, engine):
    """The fuzzer can fail: exit code 1, the report says so, the input is kept and breaks the target again."""
    ended = run(tmp_path, "--seconds", "2", "--target", "broken", engine=engine)
    report = written(tmp_path)
    (row,) = report["targets"]
    assert ended.returncode == 1
    assert report["ok"] is False
    assert row["engine"] == engine
    assert "KeyError" in row["crashes"][0]["error"]
    assert ("changed at random" in ended.stdout) == (engine == "random")
    kept = tmp_path / "fuzz" / row["crashes"][0]["input"]
    with pytest.raises(KeyError):
        load_targets()["broken"].run(kept.read_bytes())
    assert main(["--replay", str(kept)]) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_a_target_that_takes_its_process_with_it_is_caught(tmp_path, engine):
    """A fault in a native library leaves no exception, but the input is kept all the same."""
    ended = run(tmp_path, "--seconds", "3", "--target", "dying", engine=engine)
    (row,) = written(tmp_path)["targets"]
    assert ended.returncode == 1
    assert "the process ended" in row["crashes"][0]["error"]
    kept = tmp_path / "fuzz" / row["crashes"][0]["input"]
    assert len(kept.read_bytes()) > 2


def test_an_unknown_target_is_named(tmp_path, capsys):
    """A wrong name ends with what there is."""
    with pytest.raises(SystemExit):
        main(["--target", "nothing"])
    assert "receiver" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(WANTED))
def test_seeds_pass(name):
    """What inputs are grown from breaks nothing."""
    target = load_targets()[name]
    seeds = list(target.seeds())
    assert seeds
    for seed in seeds:
        target.run(seed)


@pytest.mark.parametrize("mark", range(8))
def test_the_receiver_is_reached_behind_the_signature(mark):
    """Each kind of input has a seed that is accepted: what is grown from it is judged by every step."""
    seed = next(s for s in wire._received() if s[0] == mark)
    assert isinstance(world.receive(wire.body_of(mark, seed[1:]), step=11), Accepted)


def test_a_configuration_seed_is_one(tmp_path):
    """Configuration documents grow from a directory that loads."""
    (tmp_path / "all.yaml").write_bytes(next(iter(load_targets()["documents"].seeds())))
    assert config.load(tmp_path, kernel._KINDS, []).all("route")


def test_a_rule_that_does_not_hold_is_found(monkeypatch):
    """The oracle of splits notices a reader that depends on them."""
    from accesspoint import mime

    def forgetful(self, octets):
        yield mime.PartBegin(len(octets), "", "")

    monkeypatch.setattr(mime.MultipartReader, "feed", forgetful)
    monkeypatch.setattr(mime.MultipartReader, "close", lambda self: None)
    with pytest.raises(Broken, match="split"):
        load_targets()["mime_reader"].run(b"\x00abc")


@pytest.mark.parametrize("seed", range(12))
def test_pieces_are_the_whole(seed):
    """Cutting loses nothing, and mutations stay within their size."""
    data = compress(bytes(range(256)) * 40) * 5
    assert b"".join(pieces_of(data, seed)) == data
    assert len(mutate(b"<a b='c'>d</a>" * 20, 300, seed)) <= 300
