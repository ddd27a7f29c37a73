"""Quotas: who has which, what is charged and given back, and what other nodes have used."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from core import limits
from core.clock import DAY, HOUR, MINUTE, SECOND
from core.errors import OverQuota
from core.quota import Allowance, Load, Quota, Quotas
from core.system import System
from tests.core.making import NOW

MIDNIGHT = NOW - NOW % DAY + DAY
POST, JOURNAL, EGEDAL = "birkelund-post", "birkelund-journal", "egedal-journal"
SYSTEMS = {
    name: System(id=name, authority=authority)
    for name, authority in ((POST, "birkelund"), (JOURNAL, "birkelund"), (EGEDAL, "egedal"))
}


def a_quota(**said: Any) -> Quota:
    """A document."""
    return Quota.model_validate({"id": "q"} | said)


def quotas(*said: dict[str, Any]) -> Quotas:
    """What is in force for three systems of two authorities."""
    made = Quotas()
    made.configure({f"q{i}": a_quota(**{"id": f"q{i}"} | one) for i, one in enumerate(said)}, SYSTEMS)
    return made


def send(
    under: Quotas, sender: str = POST, octets: int = 1, *, number: int = 1, at: int = NOW, stored: bool = True
) -> None:
    """Charge for parcels and store them."""
    loads = [Load(f"{sender}-{i}", sender, octets) for i in range(number)]
    under.charge(loads, at)
    for load in loads:
        under.settle(load.parcel_id, stored=stored, deliveries=1)


def refused(under: Quotas, sender: str = POST, octets: int = 1, *, number: int = 1, at: int = NOW) -> OverQuota:
    """Why it is not charged; looking says the same."""
    with pytest.raises(OverQuota) as caught:
        under.charge([Load(f"x-{i}", sender, octets) for i in range(number)], at)
    if number == 1:
        with pytest.raises(OverQuota, match=r"^quota "):
            under.look(sender, at, octets)
    assert caught.value.code == "quota"
    assert str(caught.value).startswith(f"quota {caught.value.quota}: {caught.value.which}: ")
    return caught.value


def left(under: Quotas, system: str = POST, at: int = NOW) -> dict[str, int]:
    """What is left of each limit."""
    return {one.which: one.left for one in under.allowances(system, at)}


# --- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"rate": 1}, "say system, authority or each"),
        ({"system": "a", "authority": "b", "rate": 1}, "say system, authority or each"),
        ({"system": "a", "each": "system", "rate": 1}, "say system, authority or each"),
        ({"system": "a"}, "it limits nothing"),
        ({"system": "a", "burst": 5, "waiting": 1}, "say rate too"),
        ({"system": "a", "rate": 0}, "greater than 0"),
        ({"system": "a", "octets_a_day": 0}, "greater than or equal to 1"),
    ],
)
def test_a_quota_that_says_nothing_is_refused(said: dict[str, Any], why: str):
    """For whom, and how much, must be said."""
    with pytest.raises(ValidationError, match=why):
        a_quota(**said)


def test_a_burst_is_ten_seconds_worth_unless_said():
    """And never less than one parcel."""
    assert a_quota(system="a", rate=5).depth == 5 * limits.QUOTA_BURST
    assert a_quota(system="a", rate=0.001).depth == 1
    assert a_quota(system="a", rate=5, burst=7).depth == 7
    assert a_quota(system="a", waiting=5).depth == 1


# --- for whom ---------------------------------------------------------------------------------------------------------


def test_without_quotas_nothing_is_limited():
    """No document, no cost; who is in no document is not limited either."""
    for under in (quotas(), quotas({"system": EGEDAL, "rate": 1, "burst": 1})):
        send(under, number=1000)
        under.look(POST, NOW)
        assert under.allowances(POST, NOW) == []
        assert under.ask(NOW) is None
        send(under, "nobody-knows")
    assert (quotas().in_force, quotas({"each": "system", "rate": 1}).in_force) == (False, True)


def test_a_system_that_uses_up_its_own_takes_nothing_from_others():
    """Each of a default has a bucket of its own."""
    under = quotas({"each": "system", "rate": 1, "burst": 2})
    send(under, number=2)
    assert refused(under).which == "rate"
    send(under, JOURNAL, number=2)
    send(under, EGEDAL, number=2)


def test_the_systems_of_an_authority_share_what_it_has():
    """Together, not each; another authority's are not touched."""
    under = quotas({"authority": "birkelund", "octets_a_day": 10})
    send(under, POST, 6)
    send(under, JOURNAL, 4)
    error = refused(under, JOURNAL)
    assert "10 of 10 octets a day of authority birkelund" in str(error)
    send(under, EGEDAL, 100)


def test_the_nearer_document_counts_instead_of_the_default():
    """A quota of its own replaces that of each, be it larger or smaller; both kinds of subject hold beside each other."""
    under = quotas(
        {"each": "system", "rate": 1, "burst": 1},
        {"system": POST, "rate": 1, "burst": 3},
        {"each": "authority", "rate": 1, "burst": 100},
        {"authority": "egedal", "octets_a_day": 5},
    )
    send(under, POST, number=3)
    send(under, JOURNAL)
    assert refused(under, JOURNAL).quota == "q0"
    assert refused(under, EGEDAL, 6).quota == "q3"
    assert [one.most for one in under.allowances(POST, NOW)] == [3, 100]


def test_all_that_apply_must_have_room_else_none_is_charged():
    """A refusal by the authority's quota leaves the system's own as it was."""
    under = quotas({"system": POST, "rate": 1, "burst": 5}, {"authority": "birkelund", "octets_a_day": 10})
    assert refused(under, octets=11).quota == "q1"
    assert left(under) == {"rate": 5, "octets": 10}


# --- rate -------------------------------------------------------------------------------------------------------------


def test_a_rate_refills_with_time_and_says_when():
    """Two a second, four at once: after a second two more."""
    under = quotas({"system": POST, "rate": 2, "burst": 4})
    send(under, number=4)
    assert refused(under).retry_after == SECOND // 2
    send(under, at=NOW + SECOND, number=2)
    assert refused(under, at=NOW + SECOND).retry_after == SECOND // 2
    assert refused(under, at=NOW).which == "rate"  # a clock that goes back refills nothing
    send(under, at=NOW + HOUR, number=4)
    refused(under, at=NOW + HOUR)


def test_a_batch_larger_than_the_bucket_passes_a_full_one():
    """Else it could never come; what follows waits until its debt is paid."""
    under = quotas({"system": POST, "rate": 10, "burst": 10})
    send(under, number=30)
    assert refused(under).retry_after == pytest.approx(2.1 * SECOND, abs=SECOND // 100)
    assert refused(under, number=30).retry_after == 3 * SECOND
    assert left(under) == {"rate": 0}


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 2 * SECOND), min_size=1, max_size=200))
def test_no_more_comes_than_rate_and_burst_allow(pauses: list[int]):
    """Whatever the rhythm: at most the bucket and what flowed in; who waits as long as he is told is let in."""
    under, at, taken = quotas({"system": POST, "rate": 3, "burst": 5}), NOW, 0
    for pause in pauses:
        at += pause
        try:
            send(under, at=at)
        except OverQuota as error:
            at += error.retry_after
            send(under, at=at)
        taken += 1
    assert taken <= 5 + 3 * (at - NOW) / SECOND + 0.001


# --- once -------------------------------------------------------------------------------------------------------------


def test_what_is_not_stored_costs_nothing():
    """A repetition, a conflict, a refusal: the charge goes back, and settling twice changes nothing."""
    under = quotas({"system": POST, "rate": 1, "burst": 2, "octets_a_day": 10, "waiting": 3})
    for _ in range(10):
        send(under, octets=10, stored=False)
    assert left(under) == {"rate": 2, "octets": 10, "waiting": 3}
    send(under, octets=4)
    under.settle(f"{POST}-0", stored=False)
    assert left(under) == {"rate": 1, "octets": 6, "waiting": 2}


def test_what_is_under_way_counts_already():
    """Many requests at once cannot pass a limit together."""
    under = quotas({"system": POST, "octets_a_day": 10})
    under.charge([Load("a", POST, 6)], NOW)
    assert refused(under, octets=5).which == "octets_a_day"
    under.settle("a", stored=False)
    send(under, octets=5)


def test_what_waits_is_limited():
    """Open deliveries, as counted and since; told to come back later."""
    under = quotas({"system": POST, "waiting": 3})
    send(under, number=3)
    error = refused(under)
    assert (error.which, error.retry_after) == ("waiting", limits.COME_BACK)
    asked = under.ask(NOW)
    assert asked is not None
    assert (asked.senders, asked.waiting) == ((), (POST,))
    under.counted(asked, {}, {POST: 1})
    assert left(under) == {"waiting": 2}


def test_requests_under_way_are_limited():
    """Each takes a place and gives it back, also when it fails."""
    under = quotas({"system": POST, "connections": 2}, {"authority": "birkelund", "rate": 1})
    with under.connection(POST), under.connection(POST):
        with pytest.raises(OverQuota, match="has 2 requests under way") as caught, under.connection(POST):
            raise AssertionError("let in")
        assert (caught.value.which, caught.value.retry_after) == ("connections", SECOND)
        assert left(under)["connections"] == 0
        with under.connection(EGEDAL), under.connection(JOURNAL):
            pass
    with pytest.raises(RuntimeError), under.connection(POST):
        raise RuntimeError("the request failed")
    assert left(under)["connections"] == 2


# --- days -------------------------------------------------------------------------------------------------------------


def test_a_day_ends_at_midnight():
    """The refusal says when; what is counted late belongs to the day before."""
    under = quotas({"system": POST, "octets_a_day": 10})
    send(under, octets=10)
    assert refused(under).retry_after == MIDNIGHT - NOW
    asked = under.ask(MIDNIGHT - 1)
    send(under, octets=10, at=MIDNIGHT)
    assert asked is not None
    under.counted(asked, {POST: (10, 0)}, {})
    assert left(under, at=MIDNIGHT) == {"octets": 0}
    assert left(under, at=MIDNIGHT + DAY) == {"octets": 10}


def test_what_was_used_before_the_start_is_used():
    """The first question is about the whole day; the answer counts."""
    under = quotas({"system": POST, "octets_a_day": 100})
    asked = under.ask(NOW)
    assert asked is not None
    assert (asked.senders, asked.since, asked.cut) == ((POST,), MIDNIGHT - DAY, NOW - limits.QUOTA_LAG)
    under.counted(asked, {POST: (60, 30)}, {})
    assert left(under) == {"octets": 10}


def test_what_other_nodes_accept_is_seen_at_the_next_count():
    """And what this node accepts is never counted less than it is, nor twice for longer than until the next count."""
    under = quotas({"system": POST, "octets_a_day": 100})
    first = under.ask(NOW)
    assert first is not None
    send(under, octets=5)  # after the question: it may be in the answer or not
    under.charge([Load("flying", POST, 7)], NOW)
    under.counted(first, {POST: (0, 20)}, {})
    assert left(under) == {"octets": 100 - 20 - 5 - 7}
    second = under.ask(NOW + limits.COUNT)
    assert second is not None
    assert second.since == first.cut
    under.counted(second, {POST: (0, 40)}, {})
    assert left(under) == {"octets": 100 - 40 - 7}
    under.settle("flying", stored=True)
    assert left(under) == {"octets": 100 - 40 - 7}


def test_only_what_is_new_is_counted_and_now_and_then_all_of_it():
    """What was begun before the cut is not read again; what was committed late is found by the next whole count."""
    under = quotas({"system": POST, "octets_a_day": 1000})
    asked = under.ask(NOW)
    assert asked is not None
    under.counted(asked, {POST: (100, 10)}, {})
    asked = under.ask(NOW + MINUTE)
    assert asked is not None
    assert (asked.since, asked.cut) == (NOW - limits.QUOTA_LAG, NOW + MINUTE - limits.QUOTA_LAG)
    under.counted(asked, {POST: (5, 8)}, {})
    assert left(under) == {"octets": 1000 - 113}
    whole = under.ask(NOW + limits.QUOTA_WHOLE)
    assert whole is not None
    assert whole.since == MIDNIGHT - DAY
    under.counted(whole, {POST: (150, 0)}, {})
    assert left(under) == {"octets": 850}


def test_an_answer_that_never_came_is_asked_for_again():
    """A ledger that is away for a while loses nothing."""
    under = quotas({"system": POST, "octets_a_day": 1000})
    first = under.ask(NOW)
    assert first is not None
    again = under.ask(NOW + MINUTE)
    assert again is not None
    assert again.since == MIDNIGHT - DAY


# --- configuration ----------------------------------------------------------------------------------------------------


def test_a_new_version_gives_nothing_back():
    """What was used stays used, a smaller bucket is cut, and a sender that is new to a limit is counted as a whole."""
    under = quotas({"system": POST, "rate": 1, "burst": 10, "octets_a_day": 100})
    send(under, octets=60, number=1)
    asked = under.ask(NOW)
    assert asked is not None
    under.counted(asked, {POST: (0, 60)}, {})
    smaller = a_quota(id="q0", system=POST, rate=1, burst=4, octets_a_day=70)
    under.configure({"q0": smaller}, SYSTEMS)
    assert left(under) == {"rate": 4, "octets": 10}
    wider = a_quota(id="q1", authority="egedal", octets_a_day=50)
    under.configure({"q0": smaller, "q1": wider}, SYSTEMS)
    asked = under.ask(NOW + SECOND)
    assert asked is not None
    assert (asked.senders, asked.since) == ((POST, EGEDAL), MIDNIGHT - DAY)
    under.configure({}, SYSTEMS)
    assert under.allowances(POST, NOW) == []


def test_what_is_left_is_told_with_its_window():
    """For headers: of each limit how much, of how much, and when there is more."""
    under = quotas({"system": POST, "rate": 2, "burst": 10, "octets_a_day": 50, "waiting": 7, "connections": 3})
    send(under, octets=20, number=2)
    assert under.allowances(POST, NOW) == [
        Allowance("q0", "rate", 10, 8, 5 * SECOND, SECOND),
        Allowance("q0", "octets", 50, 10, DAY, MIDNIGHT - NOW),
        Allowance("q0", "waiting", 7, 5, 0, 0),
        Allowance("q0", "connections", 3, 3, 0, 0),
    ]
