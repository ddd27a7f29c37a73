"""Sealing beside openssl: what the rows say, and when there are none."""

from __future__ import annotations

import subprocess

import pytest

from bench import __main__ as bench
from bench import seal
from bench.large import MIB
from conformance.peers.phase4 import PeerFailed
from tests.core.seal.holders import AT, needs_openssl


@needs_openssl
def test_both_makers_are_measured_and_compared(tmp_path):
    """For both kinds of key a row each for sealing, opening, memory and the other maker's file; nothing is left behind."""
    rows = list(seal.rows(tmp_path, MIB, AT))
    assert len(rows) == 14
    assert [row.ok for row in rows if "growth" in row.name] == [True] * 4
    assert all(row.value > 0 for row in rows)
    assert {row.against for row in rows if row.unit == "MB/s"} - {""}
    assert {path.name for path in tmp_path.iterdir()} == {"plain", "keys"}


@needs_openssl
def test_what_opens_as_something_else_is_no_figure(tmp_path, monkeypatch):
    """A maker that writes other octets than went in fails the run."""
    theirs = seal.theirs

    def lying(verb, source, target, holder):
        done = theirs(verb, source, target, holder)
        if verb == "open":
            target.write_bytes(b"something else")
        return done

    monkeypatch.setattr(seal, "theirs", lying)
    with pytest.raises(PeerFailed, match="opens as something else"):
        list(seal.rows(tmp_path, MIB, AT))


@needs_openssl
def test_what_openssl_says_is_passed_on(tmp_path):
    """A job that fails is no figure either."""
    with pytest.raises(PeerFailed, match="openssl cms: "):
        seal.theirs("open", tmp_path / "nothing", tmp_path / "out", tmp_path)


def test_without_openssl_the_row_is_a_miss(monkeypatch, tmp_path, capsys):
    """Not a comparison that is quietly left out."""

    def none(*_words, **_more):
        raise FileNotFoundError("openssl")

    with monkeypatch.context() as patched:
        patched.setattr(subprocess, "Popen", none)
        with pytest.raises(PeerFailed, match="not installed"):
            seal.theirs("seal", tmp_path, tmp_path, tmp_path)

    def rows(*_arguments):
        raise PeerFailed("openssl is not installed")

    monkeypatch.setattr(seal, "rows", rows)
    assert bench.main(["--only", "seal", "--out", str(tmp_path / "one.json")]) == 1
    assert "openssl is not installed" in capsys.readouterr().err
