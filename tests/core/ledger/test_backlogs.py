"""What waits for a subscription, on both databases."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, text

from core.delivery import Delivery, State
from core.ledger import backlogs, deliveries
from tests.core.making import NOW, a_delivery

BOX = ("journal", "all")
MOST = 100


def waiting(name: str, **changes: Any) -> Delivery:
    """A delivery of the journal's subscription."""
    facts: dict[str, Any] = {"id": name, "receiver": "journal", "gateway": "", "rule": "all"} | changes
    made = a_delivery("p1", **facts)
    return Delivery(
        **{f: getattr(made, f) for f in Delivery.__dataclass_fields__}
        | {"destination": changes.get("destination", "all")}
    )


def store(engine: Engine, *items: Delivery, owner: str = "") -> None:
    """Store deliveries."""
    with engine.begin() as connection:
        deliveries.add_deliveries(connection, [(one, owner) for one in items])


def test_a_backlog_is_counted_by_lane(engine: Engine):
    """What is lent is among it and counted by itself; others' is not, nor what is settled."""
    store(engine, waiting("a", due_at=NOW - 5), waiting("b", lane="urgent"), waiting("c", lane="bulk", due_at=NOW + 9))
    store(engine, waiting("d", due_at=NOW + 60), owner="journal")
    store(
        engine, waiting("e", destination="other"), waiting("f", receiver="robot"), waiting("g", state=State.DELIVERED)
    )
    store(
        engine,
        waiting("h", state=State.FAILED),
        waiting("i", state=State.QUARANTINED),
        waiting("j", state=State.REJECTED),
    )
    with engine.begin() as connection:
        found = backlogs.of_subscription(connection, *BOX, NOW, MOST)
    assert (found.waiting, found.lent, found.dead, found.oldest, found.more) == (
        {"normal": 2, "urgent": 1, "bulk": 1}, 1, 2, NOW - 5, False,
    )  # fmt: skip


def test_counting_has_an_end(engine: Engine):
    """Beyond it the answer says that there is more."""
    store(engine, *(waiting(f"w{n}") for n in range(5)), *(waiting(f"x{n}", state=State.FAILED) for n in range(5)))
    with engine.begin() as connection:
        found = backlogs.of_subscription(connection, *BOX, NOW, 3)
        nothing = backlogs.of_subscription(connection, "journal", "none", NOW, 3)
    assert (sum(found.waiting.values()), found.dead, found.more) == (4, 3, True)
    assert (nothing.waiting, nothing.oldest, nothing.more) == ({}, None, False)


def test_dead_letters_come_in_pages(engine: Engine):
    """Oldest first, after an id; of the subscription alone, also when they are named."""
    store(engine, *(waiting(f"x{n}", state=State.FAILED) for n in range(3)))
    store(engine, waiting("y", destination="other", state=State.FAILED), waiting("z"))
    with engine.begin() as connection:
        first = backlogs.dead_letters(connection, *BOX, "", 2)
        rest = backlogs.dead_letters(connection, *BOX, first[-1].id, 2)
        assert [row.id for row in (*first, *rest)] == ["x0", "x1", "x2"]
        assert [row.id for row in backlogs.named(connection, *BOX, ["x1", "y", "z", "none"])] == ["x1"]
        assert backlogs.named(connection, *BOX, []) == []


def test_a_dead_letter_is_discarded_once(engine: Engine):
    """It counts as refused, with the reason; what is no dead letter of the box stays."""
    store(engine, waiting("x", state=State.FAILED), waiting("y", destination="other", state=State.FAILED), waiting("z"))
    with engine.begin() as connection:
        done = backlogs.discard(connection, BOX, ["x", "y", "z"], "old", NOW)
        assert [one.id for one in done] == ["x"]
        assert backlogs.discard(connection, BOX, ["x"], "again", NOW) == []
        assert backlogs.discard(connection, BOX, [], "nothing", NOW) == []
        row = deliveries.row(connection, "x")
    assert (row.state, row.last_code, row.last_reason, row.settled_at) == ("rejected", "discarded", "old", NOW)


def test_what_waits_for_nobody_is_let_go_in_pieces(engine: Engine):
    """The oldest up to an id; every box with something in it can be asked for."""
    store(engine, *(waiting(f"w{n}") for n in range(4)), waiting("v", destination="other"))
    with engine.begin() as connection:
        assert sorted(backlogs.boxes(connection)) == [BOX, ("journal", "other")]
        assert len(backlogs.let_go(connection, BOX, "w3", NOW, 2)) == 2
        assert len(backlogs.let_go(connection, BOX, "w3", NOW, 2)) == 1
        assert backlogs.let_go(connection, BOX, "w3", NOW, 2) == []
        assert backlogs.of_subscription(connection, *BOX, NOW, MOST).waiting == {"normal": 1}


def test_a_backlog_is_counted_by_an_index(engine: Engine):
    """Whatever else there is: no statement of a backlog looks through the whole table."""
    if engine.dialect.name != "sqlite":
        return
    with engine.begin() as connection:
        for statement in (backlogs._WAITING, backlogs._LENT, backlogs._DEAD_COUNT, backlogs._LETTERS):
            values = dict.fromkeys(statement.compile().params, "1")
            plan = " ".join(
                str(row) for row in connection.execute(text(f"EXPLAIN QUERY PLAN {statement.text}"), values)
            )
            assert "ix_delivery_mail" in plan or "ix_delivery_dead" in plan, plan
