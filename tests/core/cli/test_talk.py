"""How a command reaches its node."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from core.cli import talk
from core.errors import ConfigError, UsageError
from core.local import NodeError
from core.runtime import Catalogue
from tests.core.cli.conftest import Call


def test_without_a_node_the_command_does_it_itself(applied: Call, home: Path):
    """The same operation, under the lock."""
    talk.set_home(home)
    assert talk.do("status", {}, "asking")["version"] == 1


def test_with_a_node_the_node_does_it(call: Call, node: subprocess.Popen[bytes], home: Path):
    """Its answer and its refusal both come back; the process id says who answered."""
    talk.set_home(home)
    assert talk.do("status", {}, "asking")["pid"] == node.pid
    with pytest.raises(NodeError, match="no configuration version 9"):
        talk.do("rollback", {"number": 9, "who": "x", "why": ""}, "asking")


def test_a_refusal_without_a_node_is_the_same_error(applied: Call, home: Path):
    """The caller need not know who did it."""
    talk.set_home(home)
    with pytest.raises(UsageError, match="no configuration version 9"):
        talk.do("rollback", {"number": 9, "who": "x", "why": ""}, "asking")


def test_looking_needs_a_ledger(home: Path):
    """Before the first start there is nothing to look at, and that is said."""
    talk.set_home(home)
    with pytest.raises(ConfigError, match="stafet up"), talk.looking():
        pass


def test_a_stored_version_is_read_back(applied: Call, home: Path):
    """The newest, one by number, and none."""
    talk.set_home(home)
    with talk.looking() as connection:
        assert talk.stored(connection, Catalogue()).number == 1
        assert talk.stored(connection, Catalogue(), 1).all("system").keys() == {"sender", "receiver"}
        assert talk.stored(connection, Catalogue(), 7).number == 0


def test_who_types_is_always_somebody(monkeypatch: pytest.MonkeyPatch):
    """Without a name in the system, the user's number."""

    def nobody() -> str:
        raise KeyError

    monkeypatch.setattr(talk.getpass, "getuser", nobody)
    assert talk.who().startswith("uid ")
