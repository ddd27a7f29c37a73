"""The trace: one hash chain a writer; tampering shows, erasure does not break it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select, update

from core.ledger import trace as module
from core.ledger.tables import trace
from core.ledger.trace import GENESIS, Chain, Entry, alike, canonical, link
from tests.core.making import NOW


def write(connection: Connection, chain: Chain, *entries: Entry) -> None:
    """Append entries as the writer does."""
    rows, seq, head = chain.rows(entries)
    module.append(connection, rows)
    chain.advance(seq, head)


@pytest.fixture
def chain(engine: Engine) -> Chain:
    """Three entries of two parcels, one with a personal part."""
    made = Chain("node-a.1")
    with engine.begin() as connection:
        write(connection, made, Entry("p1", NOW, "accepted", {"sender": "birkelund-post", "æ": [1, 2]}))
        write(
            connection,
            made,
            Entry("p2", NOW + 1, "accepted", {}, personal=b"sealed name"),
            Entry("p1", NOW + 2, "sent", {}),
        )
    return made


def verify(engine: Engine, chain: str = "node-a.1") -> str | None:
    """What verification says."""
    with engine.connect() as connection:
        return module.verify_chain(connection, chain)


@pytest.mark.requirement("R75")
def test_a_chain_is_whole_and_reads_back_by_parcel(engine: Engine, chain: Chain):
    """Entries verify, and a parcel's lines come in the order of time with their facts."""
    assert verify(engine) is None
    with engine.connect() as connection:
        lines = module.of_parcel(connection, "p1")
    assert [(x.seq, x.at, x.event, x.facts) for x in lines] == [
        (1, NOW, "accepted", {"sender": "birkelund-post", "æ": [1, 2]}),
        (3, NOW + 2, "sent", {}),
    ]


TAMPERING = {
    "public text": lambda c: update(trace).where(trace.c.seq == 2).values(public=canonical("p2", NOW + 1, "lost", {})),
    "text that is no longer JSON": lambda c: update(trace).where(trace.c.seq == 2).values(public="nonsense"),
    "JSON of another shape": lambda c: update(trace).where(trace.c.seq == 2).values(public="{}"),
    "event column": lambda c: update(trace).where(trace.c.seq == 2).values(event="lost"),
    "parcel column": lambda c: update(trace).where(trace.c.seq == 1).values(parcel_id="p9"),
    "time column": lambda c: update(trace).where(trace.c.seq == 3).values(at=NOW + 3),
    "commitment": lambda c: update(trace).where(trace.c.seq == 1).values(commitment=b"x" * 32),
    "personal part": lambda c: update(trace).where(trace.c.seq == 2).values(personal=b"another name"),
    "salt": lambda c: update(trace).where(trace.c.seq == 2).values(salt=None),
    "hash": lambda c: update(trace).where(trace.c.seq == 3).values(hash=b"x" * 32),
    "an entry in the middle": lambda c: delete(trace).where(trace.c.seq == 2),
    "the first entry": lambda c: delete(trace).where(trace.c.seq == 1),
    "a number": lambda c: update(trace).where(trace.c.seq == 3).values(seq=7),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_tampering_is_found(engine: Engine, chain: Chain, what: str):
    """Each single change to a stored entry is named with the entry it is about."""
    with engine.begin() as connection:
        connection.execute(TAMPERING[what](connection))
    found = verify(engine)
    assert found is not None
    assert "entry" in found


def test_a_last_entry_forged_with_its_own_hash_is_still_read_with_care(engine: Engine, chain: Chain):
    """Whoever can write the row can make its hash; text that is no entry is then named, not raised."""
    with engine.begin() as connection:
        before = connection.execute(select(trace.c.hash).where(trace.c.seq == 2)).scalar_one()
        for public in ("nonsense", "[1]", "7"):
            forged = {"public": public, "hash": link(before, public, b"")}
            connection.execute(update(trace).where(trace.c.seq == 3).values(**forged))
            found = module.verify_chain(connection, "node-a.1")
            assert found is not None
            assert "entry 3" in found


def test_an_entry_put_in_between_is_found(engine: Engine, chain: Chain):
    """An appended entry that does not follow from the head shows."""
    with engine.begin() as connection:
        rows, _, _ = Chain("node-a.1").rows([Entry("p1", NOW, "forged", {})])
        connection.execute(insert(trace), [{**dict(zip(module.COLUMNS, rows[0], strict=True)), "seq": 4}])
    assert verify(engine) == "entry 4: the hash does not follow from the one before"


def test_erasure_leaves_the_chain_verifiable(engine: Engine, chain: Chain):
    """Personal part and salt go, of that parcel alone; the commitment stays and the chain is whole."""
    with engine.begin() as connection:
        write(connection, chain, Entry("p3", NOW + 3, "accepted", {}, personal=b"other name"))
        module.erase_personal(connection, "p2")
        query = select(trace.c.parcel_id, trace.c.personal, trace.c.salt, trace.c.commitment).order_by(trace.c.seq)
        rows = {r.parcel_id: r for r in connection.execute(query.where(trace.c.commitment != b""))}
    assert (rows["p2"].personal, rows["p2"].salt) == (None, None)
    assert rows["p3"].personal == b"other name"
    assert len(rows["p2"].commitment) == 32
    assert verify(engine) is None


def test_a_commitment_does_not_give_the_personal_part_away(engine: Engine):
    """The same personal part twice gives two commitments: without the salt nobody can try names against it."""
    rows, _, _ = Chain("c").rows([Entry("p", NOW, "accepted", {}, b"name"), Entry("p", NOW, "accepted", {}, b"name")])
    one, two = (dict(zip(module.COLUMNS, row, strict=True)) for row in rows)
    assert one["commitment"] != two["commitment"]
    assert one["salt"] != two["salt"]


def test_every_writer_has_its_own_chain(engine: Engine, chain: Chain):
    """A second node's chain begins at its own genesis and both verify alone."""
    with engine.begin() as connection:
        write(connection, Chain("node-b.1"), Entry("p1", NOW + 1, "held", {}))
        assert sorted(module.chains(connection)) == ["node-a.1", "node-b.1"]
        assert [x.chain for x in module.of_parcel(connection, "p1")] == ["node-a.1", "node-b.1", "node-a.1"]
    assert verify(engine, "node-b.1") is None
    assert verify(engine, "of nobody") is None


def test_a_head_moves_only_when_told(engine: Engine):
    """Rows of a transaction that fails are made again from the same head."""
    chain = Chain("c")
    first, seq, head = chain.rows([Entry("p", NOW, "accepted", {})])
    again, _, _ = chain.rows([Entry("p", NOW, "accepted", {})])
    assert first == again
    assert (chain.seq, chain.head) == (0, GENESIS)
    chain.advance(seq, head)
    assert (chain.seq, chain.head) == (1, first[0][-1])


def test_no_entries_write_nothing(engine: Engine):
    """A transaction without anything to trace appends nothing."""
    with engine.begin() as connection:
        module.append(connection, [])
        assert connection.execute(select(trace)).all() == []


def test_the_public_part_is_the_same_whoever_writes_it():
    """Sorted keys and no spaces: the order in which facts were given does not change a hash."""
    one, two = canonical("p", 1, "e", {"b": 1, "a": "å"}), canonical("p", 1, "e", {"a": "å", "b": 1})
    assert one == two == '["p",1,"e",{"a":"å","b":1}]'
    assert json.loads(one) == ["p", 1, "e", {"a": "å", "b": 1}]


@given(st.text(max_size=40), st.text(max_size=40).filter(lambda name: "\x00" not in name), st.integers(0, 10**9))
def test_entries_that_are_alike_are_written_as_each_would_be_alone(receiver: str, parcel_id: str, attempt: int):
    """Octet for octet, whatever letters a name has: a chain cannot tell how its text was made."""
    facts = {"receiver": receiver, "state": "delivered", "by": receiver}
    made = alike(NOW, "acknowledged", facts, "attempt")(parcel_id, attempt)
    assert made.public == canonical(parcel_id, NOW, "acknowledged", {**facts, "attempt": attempt})
    assert (made.parcel_id, made.at, made.event) == (parcel_id, NOW, "acknowledged")
    chain, other = Chain("a"), Chain("a")
    alone = Entry(parcel_id, NOW, "acknowledged", {**facts, "attempt": attempt})
    assert chain.rows([made]) == other.rows([alone])
