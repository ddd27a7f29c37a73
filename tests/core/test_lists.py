"""Value lists: what is kept of a value, and what cannot be told from it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from core import limits
from core.errors import UsageError
from core.lists import Snapshot, ValueList, check_value, digest, digests

KEY, OTHER = b"k" * 32, b"o" * 32


def test_a_document_names_its_owner():
    """And nothing that is on the list."""
    made = ValueList.model_validate({"id": "affected", "owner": "birkelund-post", "title": "Who is affected"})
    assert (made.kind, made.owner) == ("value-list", "birkelund-post")
    with pytest.raises(ValidationError, match="values"):
        ValueList.model_validate({"id": "affected", "owner": "birkelund-post", "values": ["a"]})


@pytest.mark.requirement("R106")
def test_a_digest_tells_nothing_without_the_key():
    """Another key, another list or another value gives another digest."""
    first = digest(KEY, "affected", "subject-1")
    assert len(first) == 32
    others = {
        digest(OTHER, "affected", "subject-1"),
        digest(KEY, "known", "subject-1"),
        digest(KEY, "affected", "subject-2"),
    }
    assert len(others - {first}) == 3


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20))
def test_white_space_around_and_how_accents_are_composed_make_no_difference(value: str):
    """Anything else does."""
    import unicodedata

    same = {
        digest(KEY, "a", value),
        digest(KEY, "a", f" {value}\t"),
        digest(KEY, "a", unicodedata.normalize("NFD", value)),
    }
    assert len(same) == 1
    assert digest(KEY, "a", f"{value}x") not in same


@pytest.mark.parametrize("value", ["", "  ", "a\nb", "a\x00b", "x" * (limits.LIST_VALUE + 1), "\ud800"])
def test_what_is_no_value_is_refused_without_quoting_it(value: str):
    """Among many its position is named."""
    with pytest.raises(UsageError, match=r"^value: ") as caught:
        digest(KEY, "a", value)
    assert not value.strip() or value not in str(caught.value)
    with pytest.raises(UsageError, match=r"^value 2: "):
        digests(KEY, "a", ["good", value])


def test_many_values_are_a_set(monkeypatch: pytest.MonkeyPatch):
    """And no more than a list may have."""
    monkeypatch.setattr(limits, "LIST_VALUES", 3)
    assert digests(KEY, "a", ["x", "y", " x"]) == {digest(KEY, "a", "x"), digest(KEY, "a", "y")}
    with pytest.raises(UsageError, match=r"^values: more than 3$"):
        digests(KEY, "a", "wxyz")


def test_keys_are_told_apart_without_being_said():
    """The check value is neither the key nor the digest of any value."""
    assert check_value(KEY) == check_value(KEY) != check_value(OTHER)
    assert KEY.hex() not in check_value(KEY)


def test_a_snapshot_knows_who_is_on_it():
    """One of several is enough; what could be on no list is not, and is no error of who asks."""
    held = Snapshot("a", 3, digests(KEY, "a", ["x", "y"]))
    assert held.has_any(KEY, ["w", "x"])
    assert not held.has_any(KEY, ["w", "", "x\ny"])
    assert not held.has_any(KEY, [])
    assert not held.has_any(OTHER, ["x"])
