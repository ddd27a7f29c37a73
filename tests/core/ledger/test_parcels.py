"""Parcels and idempotency keys: each item is judged alone, in one transaction."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.exc import IntegrityError

from core import limits
from core.clock import DAY
from core.description import Description
from core.errors import NotFound
from core.ledger import parcels
from core.ledger.tables import delivery, idempotency, inline_payload, parcel, payload
from core.parcel import Judgement, Key, new_id
from core.retention import expire
from tests.core.making import NOW, a_parcel, a_payload, an_accept

NEW, KNOWN, CONFLICT = Judgement.NEW, Judgement.KNOWN, Judgement.CONFLICT


def counts(engine: Engine) -> tuple[int, ...]:
    """How many parcels, payloads, inline octets, deliveries and keys are stored."""
    with engine.connect() as connection:
        tables = (parcel, payload, inline_payload, delivery, idempotency)
        return tuple(connection.execute(select(func.count()).select_from(t)).scalar_one() for t in tables)


def accept(engine: Engine, *batch: parcels.Accept) -> list[Judgement]:
    """Accept in a transaction of its own; gives the judgements."""
    with engine.begin() as connection:
        return [a.judgement for a in parcels.accept_many(connection, batch)]


def test_a_new_item_is_stored_whole(engine: Engine):
    """Parcel, payloads, octets, delivery and key appear together and read back as they went in."""
    large = a_payload(b"", inline=None, object_id="0" * 32, attributes={"paper.pages": "3"})
    item = an_accept("k-1", parcel=a_parcel(a_payload(b"one"), large), answer=b"signed answer")
    assert accept(engine, item) == [NEW]
    assert counts(engine) == (1, 2, 1, 1, 1)
    with engine.connect() as connection:
        assert parcels.load(connection, item.item.parcel.id) == item.item.parcel
        recalled = parcels.recall(connection, Key("paper/birkelund-post", "k-1"))
    assert recalled is not None
    assert (recalled.parcel_id, recalled.answer, recalled.fingerprint) == (item.item.parcel.id, b"signed answer", b"f")
    assert recalled.at == item.item.parcel.accepted_at


def test_a_repetition_gets_the_first_answer_and_stores_nothing(engine: Engine):
    """Same key and fingerprint: the first parcel's id and answer come back, whatever the repetition would have said."""
    first, again = an_accept("k-1", answer=b"first"), an_accept("k-1", answer=b"second")
    accept(engine, first)
    with engine.begin() as connection:
        (judged,) = parcels.accept_many(connection, [again])
    assert (judged.judgement, judged.parcel_id, judged.answer) == (KNOWN, first.item.parcel.id, b"first")
    assert counts(engine) == (1, 1, 1, 1, 1)


def test_other_content_under_a_key_is_a_conflict_without_the_first_answer(engine: Engine):
    """Same key, other fingerprint: nothing is stored and the first answer is not handed to it."""
    first = an_accept("k-1", fingerprint=b"one", answer=b"first")
    accept(engine, first)
    with engine.begin() as connection:
        (judged,) = parcels.accept_many(connection, [an_accept("k-1", fingerprint=b"two")])
    assert (judged.judgement, judged.parcel_id, judged.answer) == (CONFLICT, first.item.parcel.id, b"")
    assert counts(engine) == (1, 1, 1, 1, 1)


def test_each_item_of_a_batch_is_judged_alone(engine: Engine):
    """New, known and conflicting items may stand in one batch, about keys of before and of the batch itself."""
    accept(engine, an_accept("old", fingerprint=b"1"))
    judged = accept(
        engine,
        an_accept("old", fingerprint=b"1"),
        an_accept("fresh", fingerprint=b"2"),
        an_accept("fresh", fingerprint=b"2"),
        an_accept("fresh", fingerprint=b"3"),
        an_accept("old", fingerprint=b"9"),
        an_accept(None),
        an_accept("other"),
    )
    assert judged == [KNOWN, NEW, KNOWN, CONFLICT, CONFLICT, NEW, NEW]
    assert counts(engine) == (4, 4, 4, 4, 3)


def test_items_without_a_key_are_always_new(engine: Engine):
    """No key means no duplicate elimination: the same content twice is two parcels."""
    assert accept(engine, an_accept(None), an_accept(None)) == [NEW, NEW]
    assert counts(engine) == (2, 2, 2, 2, 0)


def test_a_scope_keeps_senders_apart(engine: Engine):
    """Nobody can occupy another sender's key: the same value under another scope is new."""
    assert accept(engine, an_accept("k"), an_accept("k", b"other", scope="paper/solbjerg-post")) == [NEW, NEW]


def test_a_batch_of_more_than_a_thousand_keys_is_one_judgement_each(engine: Engine):
    """The driver splits large inserts; the judgements may not notice."""
    batch = [an_accept(f"k-{i % 1200}", fingerprint=b"same") for i in range(1500)]
    judged = accept(engine, *batch)
    assert judged[:1200] == [NEW] * 1200
    assert judged[1200:] == [KNOWN] * 300


def test_a_transaction_that_fails_stores_nothing(engine: Engine):
    """A parcel id that exists already fails the whole transaction: keys of its neighbours included."""
    first = an_accept("k-1")
    accept(engine, first)
    with pytest.raises(IntegrityError):
        accept(engine, an_accept("k-2"), an_accept("k-3", parcel=first.item.parcel))
    assert counts(engine) == (1, 1, 1, 1, 1)


def test_subjects_are_never_stored_in_clear(engine: Engine):
    """The description's row leaves the subjects out; they are kept only as sealed octets."""
    described = Description(type="letter", sender="birkelund-post", subjects=("6101012222",))
    accept(engine, an_accept(None, parcel=a_parcel(description=described), sealed_subjects=b"sealed"))
    with engine.connect() as connection:
        row = connection.execute(select(parcel)).one()
    assert "6101012222" not in row.description
    assert row.sealed_subjects == b"sealed"


def test_a_key_may_be_occupied_by_what_is_no_parcel(engine: Engine):
    """A receipt counts once: new, then known with the first answer; other content is a conflict without it."""
    key = Key("paper/egedal-journal", "receipt-1")
    with engine.begin() as connection:
        judged = [
            parcels.claim_key(connection, key, fingerprint, "p1", answer, NOW)
            for fingerprint, answer in ((b"one", b"first"), (b"one", b"second"), (b"two", b"third"))
        ]
    assert [(j.judgement, j.parcel_id, j.answer) for j in judged] == [
        (NEW, "p1", b"first"),
        (KNOWN, "p1", b"first"),
        (CONFLICT, "p1", b""),
    ]


def test_what_is_accepted_under_a_lease_belongs_to_its_owner(engine: Engine):
    """Born claimed: its row names the owner, and a death before the first word is counted as one."""
    accept(engine, an_accept(None, owner="node-a"), an_accept(None))
    with engine.connect() as connection:
        owners = connection.execute(select(delivery.c.lease_owner)).scalars().all()
    assert sorted(owners) == ["", "node-a"]


def test_further_answers_are_kept_and_forgotten_with_their_key(engine: Engine):
    """`forget_keys` removes keys and further answers older than the window, and only those."""
    accept(engine, an_accept("old"), an_accept("young", parcel=a_parcel(at=NOW + 10)))
    with engine.begin() as connection:
        parcels.add_answers(connection, [(Key("paper/birkelund-post", "old"), b"again", NOW)])
        assert parcels.forget_keys(connection, NOW + 5) == 1
        assert parcels.recall(connection, Key("paper/birkelund-post", "old")) is None
        assert parcels.recall(connection, Key("paper/birkelund-post", "young")) is not None
        assert connection.execute(select(func.count()).select_from(parcels.further_answer)).scalar_one() == 0


def test_a_scope_may_remember_longer_or_shorter(engine: Engine):
    """Its keys and further answers go by its own time, and nobody else's by it."""
    names = {"paper/a": NOW + 1, "paper/b": NOW - 1}
    for scope in (*names, "paper/c"):
        accept(engine, an_accept("k", scope=scope))
    with engine.begin() as connection:
        parcels.add_answers(connection, [(Key(scope, "k"), b"again", NOW) for scope in (*names, "paper/c")])
        assert parcels.forget_keys(connection, NOW - 5, names) == 1
        known = {scope: parcels.recall(connection, Key(scope, "k")) is not None for scope in (*names, "paper/c")}
        assert known == {"paper/a": False, "paper/b": True, "paper/c": True}
        assert parcels.forget_keys(connection, NOW + 5, names) == 1
        left = connection.execute(select(parcels.further_answer.c.scope)).scalars().all()
        assert left == ["paper/b"]


def test_loading_what_is_not_there_says_so(engine: Engine):
    """`load` names the parcel it does not have; `load_many` leaves it out."""
    with engine.connect() as connection:
        assert parcels.load_many(connection, ["nothing"]) == {}
        with pytest.raises(NotFound, match="nothing"):
            parcels.load(connection, "nothing")


def test_rewrapping_touches_the_key_and_nothing_else(engine: Engine):
    """Rotation stores the data key under its new name; the payload is the same."""
    item = an_accept(None)
    accept(engine, item)
    with engine.begin() as connection:
        parcels.rewrap(connection, [(item.item.parcel.id, b"new wrap", "k2")])
        loaded = parcels.load(connection, item.item.parcel.id)
        assert parcels.under_older_keys(connection, "k2", 10) == []
        assert [row[0] for row in parcels.under_older_keys(connection, "k3", 10)] == [loaded.id]
    assert (loaded.wrapped_key, loaded.key_id) == (b"new wrap", "k2")
    assert loaded.payloads == item.item.parcel.payloads


def test_which_objects_are_referenced(engine: Engine):
    """Deletion may only take objects that no payload refers to."""
    kept = a_payload(b"", inline=None, object_id="a" * 32)
    accept(engine, an_accept(None, parcel=a_parcel(kept)))
    with engine.connect() as connection:
        assert parcels.referenced(connection, ["a" * 32, "b" * 32]) == {"a" * 32}


def test_a_parcel_is_described_anew(engine: Engine):
    """With what a step added since; its subjects stay sealed and are not written in clear."""
    accept = an_accept()
    more = accept.item.parcel.description.model_copy(
        update={"attributes": {"unit.name": "North"}, "subjects": ("Canary-7",)}
    )
    with engine.begin() as connection:
        parcels.accept_many(connection, [accept])
        parcels.describe_anew(connection, accept.item.parcel.id, more)
        found = parcels.load(connection, accept.item.parcel.id).description
    assert (found.attributes, found.subjects) == ({"unit.name": "North"}, ())


def test_what_came_since_then_is_read_by_pages(engine: Engine):
    """In the order of ids, without what came before, with the largest payload; one integration alone where it is named."""
    large = a_parcel(a_payload(b"one"), a_payload(b"three"), at=NOW - 2000)
    other = a_parcel(at=NOW, integration="moves")
    old = a_parcel(at=NOW - 10_000)
    accept(engine, an_accept(parcel=large, sealed_subjects=b"sealed"), an_accept(parcel=other), an_accept(parcel=old))
    with engine.connect() as connection:
        since = NOW - 5000
        (first,) = parcels.described_since(connection, since, "", "", 1)
        assert (first.id, first.largest, first.has_subjects, first.accepted_at) == (large.id, 5, True, NOW - 2000)
        assert Description.parse(first.description or "") == large.description
        (second,) = parcels.described_since(connection, since, "", first.id, 10)
        assert (second.id, second.integration, second.has_subjects) == (other.id, "moves", False)
        assert parcels.described_since(connection, since, "", second.id, 10) == []
        assert [p.id for p in parcels.described_since(connection, since, "moves", "", 10)] == [other.id]
        assert parcels.count_since(connection, since, "") == 2
        assert parcels.count_since(connection, since, "letters") == 1
        assert parcels.count_since(connection, 0, "") == 3


def test_what_took_long_to_arrive_is_among_what_came_since_then(engine: Engine):
    """A parcel whose transfer began before that time counts by when it was accepted."""
    slow = a_parcel(id=new_id(NOW - limits.TRANSFER // 2), at=NOW)
    accept(engine, an_accept(parcel=slow))
    with engine.connect() as connection:
        assert [p.id for p in parcels.described_since(connection, NOW - 1, "", "", 10)] == [slow.id]


def test_what_retention_has_emptied_has_no_description(engine: Engine):
    """It is listed all the same, so that it can be counted."""
    gone = a_parcel(at=NOW - 100 * DAY)
    accept(engine, an_accept(parcel=gone, deliveries=()))
    with engine.begin() as connection:
        assert expire(connection, {}, 90, NOW).parcels == 1
        (found,) = parcels.described_since(connection, 0, "", "", 10)
    assert (found.id, found.description) == (gone.id, None)
