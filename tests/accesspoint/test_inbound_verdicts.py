"""One message has one verdict: however its body is cut, and whatever else is wrong with it (no oracle)."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accesspoint import names
from accesspoint.compression import compress
from tests.accesspoint.messages import (
    CIDS,
    JSON,
    NAMED,
    PNG,
    build,
    cut,
    encrypted,
    flipped,
    other_content,
    part_body,
    pieces,
    plain_part,
    rooted,
    swapped,
    verdict,
    with_parts,
)
from tests.fuzz import world as w

PARTNERS, PINNED = w.world().partners, w.world().pinned


@cache
def right(name: str = "pinned") -> bytes:
    """A right message under the P-Mode of this name."""
    message, octets = build(getattr(w.world(), name))
    return message.whole(octets)


# --- any split --------------------------------------------------------------------------------------------------------


@cache
def bodies() -> dict[str, bytes]:
    """Messages that end in every way: accepted, and refused at each stage."""
    return {
        "accepted": right(),
        "accepted, signed only": right("plain"),
        "header changed": rooted(swapped((b"c-1<", b"c-2<"))),
        "tag": flipped(right(), 1, -1),
        "digest": other_content(PINNED, (1, b"other")),
        "gzip": w.assemble(PINNED, w.messaging_of(PINNED, NAMED), pieces(b"no gzip")),
        "gzip cut short": w.assemble(PINNED, w.messaging_of(PINNED, NAMED), pieces(compress(JSON)[:-3])),
        "a part too many": with_parts(right(), plain_part("c@x", b"c")),
        "cut short": right()[:-30],
    }


@pytest.mark.parametrize("name", bodies())
def test_octet_by_octet_comes_to_the_same(name):
    """One octet at a time gives the same accepted message, or the same refusal in the same words."""
    body = bodies()[name]
    whole = verdict([body], PARTNERS)
    assert (whole[0] == "accepted") == name.startswith("accepted")
    assert verdict(cut(body, 1), PARTNERS) == whole


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(sorted(bodies())), data=st.data())
def test_any_split_comes_to_the_same(name, data):
    """Wherever a body is cut, empty pieces included, the verdict is the one of the whole."""
    body = bodies()[name]
    places = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=12)))
    split = [body[a:b] for a, b in itertools.pairwise([0, *places, len(body)])]
    assert verdict(split, PARTNERS) == verdict([body], PARTNERS)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, len(right()) - 5))
def test_a_message_cut_short_is_never_accepted(end):
    """Whatever its last octet is, without the closing boundary it is 0007."""
    assert verdict([right()[:end]], PARTNERS)[:2] == ("EBMS:0007", "MIME")


# --- no oracle --------------------------------------------------------------------------------------------------------

ORDER = ("0102", "0101", "0303")
"""What is told first, whatever else is wrong and in whichever part."""


def broken(first: str, second: str) -> bytes:
    """A message with a fault in each of its two compressed parts ("" for none)."""
    named = tuple((cid, "application/json", True) for cid in CIDS)
    made = [compress(JSON) if fault != "0303" else b"no gzip at all" for fault in (first, second)]
    sent = [o if fault != "0101" else compress(PNG) for fault, o in zip((first, second), made, strict=True)]
    shown = [w.Piece(cid, names.GZIP, o) for cid, o in zip(CIDS, made, strict=True)]
    signed = w.assemble(PINNED, w.messaging_of(PINNED, named), shown)
    body = bytearray(signed)
    for index, octets in reversed(list(enumerate(sent))):
        begin, end = part_body(signed, index)
        body[begin:end] = encrypted(octets)
    for index, fault in enumerate((first, second)):
        if fault == "0102":
            body = bytearray(flipped(bytes(body), index, 14))
    return bytes(body)


@pytest.mark.parametrize(("first", "second"), [p for p in itertools.product(("", *ORDER), repeat=2) if any(p)])
def test_a_wrong_tag_is_told_before_a_wrong_digest_before_broken_gzip(first, second):
    """Of two faults the earlier in that order is told, so that a changed ciphertext never shows as anything else."""
    expected = next(code for code in ORDER if code in (first, second))
    assert verdict([broken(first, second)], PARTNERS)[0] == f"EBMS:{expected}"


def test_a_message_broken_in_no_way_is_accepted():
    """The faults above are the only ones."""
    assert verdict([broken("", "")], PARTNERS)[0] == "accepted"


@settings(max_examples=80, deadline=None)
@given(index=st.integers(0, 1), at=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_changed_octet_of_a_ciphertext_reads_alike(index, at, mask):
    """IV, ciphertext or tag, first part or second, gzip header or trailer: the same code, field and words."""
    begin, end = part_body(right(), index)
    changed = flipped(right(), index, int(at * (end - begin)), mask)
    assert verdict([changed], PARTNERS) == ("EBMS:0102", "EncryptedData", "could not be decrypted")


@pytest.mark.parametrize("size", [0, 1, 12, 27, 28])
def test_a_ciphertext_too_short_for_a_tag_reads_like_a_changed_one(size):
    """Nothing tells an attacker which of the two it was."""
    begin, end = part_body(right(), 0)
    body = right()[:begin] + right()[begin : begin + size] + right()[end:]
    assert verdict([body], PARTNERS) == ("EBMS:0102", "EncryptedData", "could not be decrypted")
