"""The framing: any split, both forms of length, and nothing beyond its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import limits
from core.errors import SealError
from core.seal import ber

FAR = 10_000


def reader(text: str) -> ber.Reader:
    return ber.Reader([bytes.fromhex(text)])


def refused(what: str):
    return pytest.raises(SealError, match=what)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 255, 256, 65_535, 65_536])
def test_what_is_written_is_read(size):
    """A length of any size comes back, whole."""
    octets = ber.element(ber.OCTET_STRING, bytes(size))
    found = ber.Reader([octets])
    assert found.whole(ber.OCTET_STRING, "x", FAR * 10) == octets
    assert found.position == len(octets)
    assert found.at_end()


@given(st.binary(max_size=400), st.lists(st.integers(0, 30), max_size=30))
def test_any_split_reads_the_same(content, cuts):
    """Chunks of every size, empty ones among them, give the same elements."""
    octets = ber.opening(ber.SEQUENCE) + ber.element(ber.OCTET_STRING, content) + ber.END
    chunks, rest = [], octets
    for cut in cuts:
        chunks.append(rest[:cut])
        rest = rest[cut:]
    found = ber.Reader([*chunks, rest])
    assert found.begin(3) == octets[:3]
    found.enter(ber.SEQUENCE, "x")
    assert found.whole(ber.OCTET_STRING, "x", FAR) == octets[2:-2]
    assert found.next_tag("x") is None
    found.leave("x")
    assert found.at_end()


def test_the_begin_is_looked_at_and_not_taken():
    """Fewer octets than asked for are given at the end, and all are still there."""
    found = ber.Reader([b"\x04", b"", b"\x01", b"a"])
    assert found.begin(10) == b"\x04\x01a"
    assert (found.position, found.whole(4, "x", FAR)) == (0, b"\x04\x01a")


def test_an_indefinite_element_becomes_a_definite_one():
    """Nested frames get lengths, so that the library need not look for their ends."""
    assert reader("30 80 30 80 02 01 05 00 00 04 00 00 00").whole(ber.SEQUENCE, "x", FAR).hex() == "300730030201050400"


def test_nesting_has_an_end():
    """One level more than allowed is refused, the allowed ones are read."""
    deep = limits.SEAL_DEPTH
    assert reader("3080" * deep + "0000" * deep).whole(ber.SEQUENCE, "x", FAR)
    with refused("nested more than"):
        reader("3080" * (deep + 1) + "0000" * (deep + 1)).whole(ber.SEQUENCE, "x", FAR)


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("04 84 7f ff ff ff", "does not end within 100 octets"),
        ("30 80" + "04 00" * 100, "does not end within 100 octets"),
        ("30 80 04 70", "does not end within 100 octets"),
        ("04 89 01 02 03 04 05 06 07 08 09", "9 octets"),
        ("04 80 00 00", "tag 30 belongs here|indefinite length belongs to constructed"),
        ("1f 20 00", "above 30"),
        ("05 00", "tag .. belongs here, found is 05"),
        ("30", "the octets end inside"),
        ("30 05 00", "the octets end inside"),
        ("30 82 01", "the octets end inside"),
        ("30 80 02 01 05", "the octets end inside"),
        ("", "the octets end inside"),
    ],
)
def test_what_is_wrong_is_said(text, cause):
    """Each breach has its cause and names the field."""
    octets = bytes.fromhex(text)
    for chunks in ([octets], [octets[i : i + 1] for i in range(len(octets))]):
        with refused(cause) as caught:
            ber.Reader(chunks).whole(octets[0] if octets[:1] in (b"\x04", b"\x1f") else ber.SEQUENCE, "fieldName", 100)
        assert caught.value.field == "fieldName"


def test_an_inner_end_never_lies_behind_an_outer_one():
    """A definite frame bounds everything in it."""
    found = reader("30 04 04 03 61 62 63")
    found.enter(ber.SEQUENCE, "outer")
    with refused("longer than what it is part of"):
        found.whole(ber.OCTET_STRING, "inner", FAR)


@pytest.mark.parametrize("text", ["30 03 02 01 05", "30 80 02 01 05 00 00", "30 03 00 00 00"])
def test_a_frame_is_left_where_it_ends(text):
    """What nobody asked for is more than belongs there."""
    found = reader(text)
    found.enter(ber.SEQUENCE, "x")
    with refused("holds more than belongs there"):
        found.leave("x")


def test_the_end_of_a_frame_shows_before_it_is_left():
    """Both forms of length; a frame that is cut short is said to be."""
    for text in ("30 02 04 00", "30 80 04 00 00 00"):
        found = reader(text)
        found.enter(ber.SEQUENCE, "x")
        assert found.next_tag("x") == ber.OCTET_STRING
        found.whole(ber.OCTET_STRING, "x", FAR)
        assert found.next_tag("x") is None
        found.leave("x")
    found = reader("30 80")
    found.enter(ber.SEQUENCE, "x")
    with refused("the octets end inside"):
        found.next_tag("x")


@pytest.mark.parametrize(
    "text", ["80 03 61 62 63", "a0 80 04 01 61 04 00 04 02 62 63 00 00", "a0 07 04 02 61 62 04 01 63"]
)
def test_a_string_in_one_or_in_several_pieces_is_the_same(text):
    """Primitive, cut within an indefinite frame, cut within a definite one."""
    found = reader("30 80" + text + "00 00")
    found.enter(ber.SEQUENCE, "x")
    assert b"".join(found.octets(0, "x")) == b"abc"
    found.leave("x")


@pytest.mark.parametrize("text", ["a0 80 24 80 04 00 00 00 00 00", "a0 80 02 01 05 00 00", "a1 80 00 00"])
def test_a_string_is_cut_into_strings_alone(text):
    """Cut pieces that are cut themselves, other elements and other tags are refused."""
    found = reader("30 80" + text + "00 00")
    found.enter(ber.SEQUENCE, "x")
    with refused("belongs here"):
        list(found.octets(0, "x"))


def test_no_more_than_a_chunk_is_given_at_a_time():
    """However large the chunks of the source are."""
    size = 3 * limits.SEAL_CHUNK + 5
    found = ber.Reader([ber.opening(ber.SEQUENCE) + ber.element(0x80, bytes(size)) + ber.END])
    found.enter(ber.SEQUENCE, "x")
    pieces = [len(piece) for piece in found.octets(0, "x")]
    assert (sum(pieces), max(pieces)) == (size, limits.SEAL_CHUNK)
