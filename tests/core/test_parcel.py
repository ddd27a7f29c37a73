"""Parcels: immutable, with ids that sort by time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.parcel import Acceptance, Item, Judgement, Key, new_id, place_of_subjects
from tests.core.making import NOW, a_parcel, a_payload


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(0, 2**48 * 1000 - 1))
def test_ids_sort_by_the_millisecond_they_were_made(one: int, two: int):
    """Text order is time order, for all times up to the year 10889."""
    first, second = new_id(one), new_id(two)
    assert len(first) == len(second) == 32
    assert int(first, 16) >= 0
    if one // 1000 != two // 1000:
        assert (first < second) == (one < two)


def test_ids_of_one_moment_differ():
    """Eighty random bits each."""
    assert len({new_id(NOW) for _ in range(10_000)}) == 10_000


def test_a_parcel_cannot_be_changed():
    """Immutable once put together."""
    parcel = a_parcel()
    with pytest.raises(AttributeError):
        parcel.sender = "somebody-else"  # type: ignore[misc]


def test_octets_and_keys_do_not_show():
    """What is printed by mistake holds neither payload octets nor data keys."""
    parcel = a_parcel(a_payload(b"very secret octets"), wrapped_key=b"wrapped secret")
    assert "secret" not in repr(Item(parcel, Key("s", "v"), b"f", b"a"))


def test_judgements_are_words_and_an_answer_may_be_empty():
    """The words are part of metrics and traces."""
    assert [str(j) for j in Judgement] == ["new", "known", "conflict"]
    assert Acceptance(Judgement.CONFLICT, "p").answer == b""
    assert Item(a_parcel()).note == {}


def test_sealed_subjects_are_bound_to_their_parcel():
    """Another parcel's place is another one."""
    assert place_of_subjects("p1") != place_of_subjects("p2")
