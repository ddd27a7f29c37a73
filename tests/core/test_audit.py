"""Signed checkpoints of the trace, and what they find."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from sqlalchemy import Engine, delete, update

from core.audit import add_checkpoint, audit_key, heads, public_octets, verify_all
from core.ledger.tables import checkpoint, trace
from core.ledger.trace import Chain, Entry, append, erase_personal, verify_chain
from tests.core.making import NOW

KEY = Ed25519PrivateKey.generate()


def write(engine: Engine, chain: Chain, *entries: Entry) -> None:
    """Append entries to a chain."""
    with engine.begin() as connection:
        rows, seq, head = chain.rows(entries)
        append(connection, rows)
        chain.advance(seq, head)


def entry(parcel: str = "p1", at: int = NOW, personal: bytes = b"") -> Entry:
    """One thing that happened."""
    return Entry(parcel, at, "accepted", {"sender": "birkelund-post"}, personal)


@pytest.fixture
def traced(engine: Engine) -> Engine:
    """Two chains of two entries, and a checkpoint over both."""
    for name in ("north.1", "south.1"):
        write(engine, Chain(name), entry(), entry("p2", NOW + 1, b"sealed words"))
    with engine.begin() as connection:
        add_checkpoint(connection, "north", NOW + 2, KEY)
    return engine


def problems(engine: Engine, key: Ed25519PrivateKey = KEY) -> list[str]:
    """What the audit finds."""
    with engine.connect() as connection:
        return verify_all(connection, key.public_key())


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path):
    """A second start signs with the same key."""
    first = audit_key(tmp_path)
    assert stat.S_IMODE((tmp_path / "audit.key").stat().st_mode) == 0o600
    assert public_octets(audit_key(tmp_path).public_key()) == public_octets(first.public_key())
    assert load_pem_public_key(public_octets(first.public_key())) == first.public_key()


def test_an_empty_ledger_is_whole(engine: Engine):
    """Nothing written, nothing wrong."""
    with engine.begin() as connection:
        assert heads(connection) == {}
        add_checkpoint(connection, "north", NOW, KEY)
    assert problems(engine) == []


@pytest.mark.requirement("R103")
def test_whole_chains_agree_with_their_checkpoints(traced: Engine):
    """Heads name each chain's last entry; the audit is content, also after more was written."""
    with traced.connect() as connection:
        assert {name: seq for name, (seq, _) in heads(connection).items()} == {"north.1": 2, "south.1": 2}
    write(traced, Chain("west.1"), entry())
    assert problems(traced) == []


def test_erasing_the_personal_part_leaves_everything_verifiable(traced: Engine):
    """Erasure is no tampering."""
    with traced.begin() as connection:
        erase_personal(connection, "p2")
    assert problems(traced) == []


def test_a_changed_entry_is_found_in_its_chain(traced: Engine):
    """Words put into an entry do not hash to what it says."""
    with traced.begin() as connection:
        changed = update(trace).where(trace.c.chain == "north.1", trace.c.seq == 1)
        connection.execute(changed.values(public='["p1",1772366400000000,"accepted",{"sender":"somebody-else"}]'))
    assert problems(traced) == ["chain north.1: entry 1: the hash does not follow from the one before"]


def test_entries_cut_off_at_the_end_are_found_by_the_checkpoint(traced: Engine):
    """A chain that only became shorter is whole in itself; the checkpoint knows better."""
    with traced.begin() as connection:
        connection.execute(delete(trace).where(trace.c.chain == "south.1", trace.c.seq == 2))
        assert verify_chain(connection, "south.1") is None
    assert problems(traced) == [f"chain south.1: entry 2 is not what the checkpoint of {NOW + 2} says"]


def test_a_chain_written_anew_is_found_by_the_checkpoint(traced: Engine):
    """Somebody who recomputes all hashes cannot recompute what was signed."""
    with traced.begin() as connection:
        connection.execute(delete(trace).where(trace.c.chain == "north.1"))
    write(traced, Chain("north.1"), entry("p9"), entry("p2", NOW + 1))
    assert problems(traced) == [f"chain north.1: entry 2 is not what the checkpoint of {NOW + 2} says"]


def test_a_chain_taken_away_whole_is_found_by_the_checkpoint(traced: Engine):
    """No chain is left to look wrong; each checkpoint that named it misses it."""
    with traced.begin() as connection:
        add_checkpoint(connection, "north", NOW + 3, KEY)
        connection.execute(delete(trace).where(trace.c.chain == "south.1"))
    assert problems(traced) == [f"chain south.1: entry 2 is not what the checkpoint of {NOW + n} says" for n in (2, 3)]


def test_a_checkpoint_nobody_here_signed_is_named(traced: Engine):
    """Changed heads or another key: the signature does not fit."""
    assert problems(traced, Ed25519PrivateKey.generate()) == [f"checkpoint {NOW + 2}: its signature is not this node's"]
    with traced.begin() as connection:
        connection.execute(update(checkpoint).values(heads='["north",1,{}]'))
    assert problems(traced) == [f"checkpoint {NOW + 2}: its signature is not this node's"]
