"""Three nodes on one ledger: the proof itself, short, and that its books would show what it promises not to find."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance import nodes
from conformance.nodes import BAD, NEAR, RECEIVERS, Books, Held, Tally
from core.clock import SECOND

JOURNAL, ARCHIVE = RECEIVERS


def held(delivery: str, epoch: int, got: int, until: int, receiver: str = JOURNAL, node: str = "birkelund") -> Held:
    """A loan of the event that its delivery is called after; times in seconds."""
    event = delivery.partition("-")[0]
    return Held(delivery, epoch, event, receiver, node, got * SECOND, until * SECOND, got * SECOND)


def compared(loans: list[Held], done: list[tuple[str, str, str]], accepted: tuple[str, ...] = ("e1",)) -> Tally:
    """What the books say of them."""
    books, tally = Books(), Tally()
    books.accepted, books.held, books.done = list(accepted), loans, done
    books.compare(tally)
    return tally


BOTH = [held("e1-j", 1, 10, 12), held("e1-a", 1, 10, 12, ARCHIVE)]
DONE = [("e1-j.1", JOURNAL, "birkelund"), ("e1-a.1", ARCHIVE, "nordby")]


def test_three_nodes_share_the_work(tmp_path: Path, postgresql_url: str):
    """With one clock ten seconds wrong and one node killed: nothing lost, nothing held by two, all taken over in time."""
    tally = nodes.run(tmp_path, postgresql_url, seconds=3)
    assert tally.ok, tally


def test_books_that_balance_are_in_order():
    """And what was acknowledged at another node is counted as such."""
    tally = compared(BOTH, DONE)
    assert (tally.accepted, tally.loans, tally.acknowledged, tally.elsewhere) == (1, 2, 2, 1)
    assert [getattr(tally, name) for name in BAD] == [0] * len(BAD)


def test_what_a_receiver_never_acknowledged_is_lost():
    """Though it held it once, and though another receiver had it."""
    assert compared(BOTH, DONE[:1]).lost == 1
    assert compared([], []).lost == len(RECEIVERS)


def test_what_was_acknowledged_twice_is_seen():
    """Under another loan of the same delivery too."""
    again = held("e1-j", 2, 13, 15)
    assert compared([*BOTH, again], [*DONE, ("e1-j.2", JOURNAL, "nordby")]).doubled == 1


@pytest.mark.parametrize(("got", "by_two"), [(11, 1), (12, 0), (13, 0)])
def test_two_holders_of_one_delivery_are_seen(got: int, by_two: int):
    """A loan that begins before the one before it has ended."""
    tally = compared([*BOTH, held("e1-j", 2, got, got + 2, node="nordby")], DONE)
    assert (tally.held_by_two, tally.lent_again) == (by_two, 1)
    assert NEAR < SECOND


@pytest.mark.parametrize(("got", "late"), [(13, 0), (14, 0), (15, 1)])
def test_what_is_lent_again_too_late_is_seen(got: int, late: int):
    """Counted from the end of the lease; a loan that nobody heard of in between is the dead node's."""
    tally = compared([*BOTH, held("e1-j", 2, got, got + 2)], DONE)
    assert (tally.late, tally.longest) == (late, got - 12)
    assert compared([*BOTH, held("e1-j", 3, got, got + 2)], DONE).late == 0


@pytest.mark.parametrize("name", BAD)
def test_nothing_bad_passes(name: str):
    """Nor does a run that has shown nothing: no loan again, no acknowledgement elsewhere, a node that lent nothing."""
    shown = {"accepted": 5, "elsewhere": 1, "lent_again": 1, "by_node": dict.fromkeys(nodes.NODES, 1)}
    assert Tally(**shown).ok
    assert not Tally(**shown, **{name: 1}).ok
    for missing in shown:
        assert not Tally(**{k: v for k, v in shown.items() if k != missing}).ok
