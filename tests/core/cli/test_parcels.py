"""send, inbox, resend, status, alarms."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from tests.core.cli.conftest import Call


@pytest.fixture
def note(tmp_path: Path) -> Path:
    """A small file."""
    path = tmp_path / "note.txt"
    path.write_text("a fictitious note\n")
    return path


SEND = ("--from", "sender", "--integration", "notes")


def test_a_file_is_sent_seen_and_taken_without_a_node(applied: Call, note: Path, tmp_path: Path):
    """Under the lock the command does it all itself; what is taken is what was sent."""
    sent = json.loads(applied("send", str(note), *SEND, "--json").out)
    assert sent["judgement"] == "new"
    (waiting,) = json.loads(applied("inbox", "receiver", "--json").out)
    assert (waiting["parcel"], waiting["payloads"]) == (sent["parcel"], [["note.txt", 18]])
    assert sent["parcel"] in applied("inbox", "receiver").out
    taken = json.loads(applied("inbox", "receiver", "--take", "--out", str(tmp_path / "out"), "--json").out)
    assert Path(taken[0]["files"][0]).read_bytes() == note.read_bytes()
    assert "nothing waits" in applied("inbox", "receiver", "--take", "--out", str(tmp_path / "out")).out
    assert "none" in applied("inbox", "receiver").out


def test_a_running_node_is_asked_through_its_socket(
    call: Call, node: subprocess.Popen[bytes], note: Path, tmp_path: Path
):
    """While a node runs, commands go through it; the first start applied the directory."""
    assert "accepted" in call("send", str(note), *SEND, "--wait", "5").out
    assert "receiver: ready" in call("send", str(note), *SEND, "--wait", "5").out
    result = call("status")
    assert "configuration version 1" in result.out
    said = json.loads(call("status", "--json").out)
    assert (said["pid"], said["not_ready"]) == (node.pid, [])
    assert str(tmp_path / "out") in call("inbox", "receiver", "--take", "--out", str(tmp_path / "out")).out


@pytest.mark.requirement("R62")
def test_a_key_counts_once(applied: Call, note: Path):
    """The same key and content is the same parcel; other content is refused with 3."""
    first = json.loads(applied("send", str(note), *SEND, "--key", "k1", "--json").out)
    again = applied("send", str(note), *SEND, "--key", "k1")
    assert (again.code, "sent before under this key" in again.out) == (0, True)
    assert first["parcel"] in again.out
    note.write_text("something else")
    other = applied("send", str(note), *SEND, "--key", "k1")
    assert (other.code, "choose another key" in other.err) == (3, True)
    assert "conflict" in applied("alarms").out


def test_what_cannot_be_sent_says_why(applied: Call, note: Path):
    """Unknown names, missing files and missing agreements each name what to change."""
    for words, code, said in (
        ((str(note), "--from", "sender", "--integration", "nothing"), 2, "known: notes"),
        ((str(note), "--from", "receiver", "--integration", "notes"), 3, "service agreement"),
        ((str(note), *SEND, "--type", "letter"), 3, "its types: note"),
        (("no-such-file", *SEND), 2, "there is no such file"),
        ((str(note), *SEND, "--priority", "soon"), 2, "priority"),
        ((str(note),), 2, "--from"),
    ):
        result = applied("send", *words)
        assert (result.code, said in result.err) == (code, True), result.err
    assert applied("inbox", "receiver", "--take", "--json").out.strip() == "[]"
    assert applied("inbox", "nobody", "--take").code == 2


def test_too_large_is_refused_and_nothing_stays(applied: Call, tmp_path: Path, home: Path):
    """The integration's limit is met while reading; no object is left behind."""
    big = tmp_path / "big.bin"
    big.write_bytes(bytes(2_100_000))
    result = applied("send", str(big), *SEND)
    assert (result.code, "2000000 octets" in result.err) == (3, True)
    assert not [p for p in (home / "data" / "store").rglob("*") if p.is_file()]


def test_what_no_route_takes_waits_as_residual_and_is_routed_later(applied: Call, note: Path, home: Path):
    """The residual mailbox holds it with an alarm; after the route is added, resend sends it there."""
    file = home / "config" / "all.yaml"
    good = file.read_text()
    documents = list(yaml.safe_load_all(good))
    documents[-1]["match"] = {"sender": "somebody-else"}
    documents[2]["tests"] = []
    file.write_text(yaml.safe_dump_all(documents))
    assert applied("apply", "--yes").code == 0
    parcel = json.loads(applied("send", str(note), *SEND, "--json").out)["parcel"]
    (held,) = json.loads(applied("inbox", "residual", "--json").out)
    assert (held["parcel"], held["state"]) == (parcel, "held")
    assert "residual" in applied("alarms").out
    assert "no route matches" in applied("resend", parcel).out
    file.write_text(good)
    assert applied("apply", "--yes").code == 0
    assert "ready by route to-receiver" in applied("resend", parcel).out
    assert parcel in applied("inbox", "receiver", "--json").out
    assert "cleared" in applied("alarms", "--clear").out
    assert applied("alarms", "--json").out.strip() == "[]"


def test_resend_wants_exactly_one_thing(applied: Call):
    """Neither nothing nor both; an unknown reference is named."""
    assert applied("resend").code == 2
    assert applied("resend", "x", "--held").code == 2
    assert applied("resend", "no-such-parcel").code == 2


def test_two_commands_at_once_do_not_both_write(applied: Call, note: Path, home: Path):
    """While another process holds the node's lock without a socket, a command says so."""
    from core.ledger.engine import NodeLock

    lock = NodeLock(home / "data" / "node.lock")
    try:
        result = applied("send", str(note), *SEND)
    finally:
        lock.release()
    assert (result.code, "another process is this node" in result.err) == (5, True)


def test_what_is_paused_is_shown_with_its_next_probe(applied: Call, home: Path):
    """Since when, why and when it is asked again."""
    assert "has not answered" not in applied("status").out
    (home / "data").mkdir(exist_ok=True)
    with closing(sqlite3.connect(home / "data" / "ledger.db")) as connection, connection:
        row = ("as4", "egedal", 1_700_000_000_000_000, 1_700_000_010_000_000, 3, "connect", "nobody listens")
        connection.execute("INSERT INTO pause VALUES (?, ?, ?, ?, ?, ?, ?)", row)
    said = applied("status").out
    words = "as4 egedal has not answered since 2023-11-14 23:13:20.000 (connect); next probe 2023-11-14 23:13:30.000"
    assert words in " ".join(said.split())
    (paused,) = json.loads(applied("status", "--json").out)["paused"]
    assert (paused["destination"], paused["next"], paused["reason"]) == ("egedal", row[3], "nobody listens")


def test_a_failed_one_is_skipped_so_that_its_line_goes_on(applied: Call, note: Path, home: Path):
    """By a person, with a reason; what keeps nobody waiting cannot be skipped."""
    sent = json.loads(applied("send", str(note), *SEND, "--json").out)["parcel"]
    nothing = applied("skip", sent)
    assert (nothing.code, "keeps others waiting" in nothing.err) == (2, True)
    with closing(sqlite3.connect(home / "data" / "ledger.db")) as connection, connection:
        connection.execute("UPDATE delivery SET state = 'failed', line = 'a', turn = 1, stops = 1, gateway = 'as4'")
    later = json.loads(applied("send", str(note), *SEND, "--json").out)["parcel"]
    with closing(sqlite3.connect(home / "data" / "ledger.db")) as connection, connection:
        connection.execute("UPDATE delivery SET line = 'a', turn = 2, gateway = 'as4' WHERE parcel_id = ?", (later,))
    said = " ".join(applied("explain", later).out.split())
    assert f"parcel {sent} comes first; that is failed. What to do: `stafet resend {sent}`, or `stafet skip" in said
    assert "to receiver is failed and passed by" in " ".join(applied("skip", sent, "--why", "agreed").out.split())
    assert "comes first" not in applied("explain", later).out
    assert "passed by" in applied("trace", sent).out
