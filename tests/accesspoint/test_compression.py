"""Gzip as it flows: what is written is the same every time, what is read is bounded and whole."""

from __future__ import annotations

import gzip
import random
import struct
import tracemalloc
import zlib
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from accesspoint import limits
from accesspoint.compression import Compressor, Decompressor, compress, worth_compressing
from accesspoint.errors import DECOMPRESSION_FAILURE, EbmsError

MIB = 1024 * 1024
PLENTY = 1 << 40


def unpacked(pieces: Iterable[bytes | memoryview], limit: int = PLENTY) -> bytes:
    """What the pieces of a stream amount to."""
    stream, plain = Decompressor(limit), []
    for piece in pieces:
        plain += stream.feed(piece)
    stream.finish()
    return b"".join(plain)


def counted(pieces: Iterable[bytes | memoryview], limit: int = PLENTY) -> int:
    """How many octets the pieces amount to, none of them kept."""
    stream = Decompressor(limit)
    size = sum(len(plain) for piece in pieces for plain in stream.feed(piece))
    stream.finish()
    return size


def refused(pieces: Iterable[bytes | memoryview], limit: int = PLENTY) -> str:
    """Why the stream is refused."""
    with pytest.raises(EbmsError) as refusal:
        counted(pieces, limit)
    assert refusal.value.error is DECOMPRESSION_FAILURE
    assert refusal.value.field == "attachment"
    return refusal.value.cause


def cut(octets: bytes, size: int) -> Iterable[memoryview]:
    """``octets`` in pieces of ``size``."""
    view = memoryview(octets)
    return (view[at : at + size] for at in range(0, len(view), size))


def noise(size: int) -> bytes:
    """Octets that cannot be compressed, the same every time."""
    return random.Random(size).randbytes(size)


def plain_or_none(pieces: Iterable[bytes | memoryview], limit: int) -> bytes | None:
    """The plain octets, or None for a refusal."""
    try:
        return unpacked(pieces, limit)
    except EbmsError as error:
        assert error.error is DECOMPRESSION_FAILURE
        return None


# --- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("plain", [b"", b"x", b"demo " * 100_000, noise(300_000)])
def test_what_is_written_can_be_read_by_anyone(plain):
    """One gzip member, read by another implementation and by our own."""
    stream = compress(plain)
    assert gzip.decompress(stream) == plain
    assert unpacked([stream]) == plain


def test_the_same_octets_twice():
    """No time stamp and no name: a message prepared again has the same digests."""
    assert compress(b"demo") == compress(b"demo")
    assert compress(b"demo")[:10] == bytes.fromhex("1f8b08000000000000ff")


def test_the_trailer_is_checksum_and_size():
    """As RFC 1952 has them: little-endian, of the plain octets."""
    plain = noise(100_000)
    assert compress(plain)[-8:] == struct.pack("<LL", zlib.crc32(plain), len(plain))


def test_nothing_is_a_stream_too():
    """An empty payload is twenty octets or so, not none."""
    assert 18 < len(compress(b"")) <= 23
    assert Compressor().finish() == compress(b"")
    assert unpacked([Compressor().finish()]) == b""


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=2000) | st.integers(1, 3000).map(bytes), max_size=6))
def test_a_stream_fed_in_pieces_is_the_stream_of_the_whole(pieces):
    """However a payload is read from disk, its compressed octets unpack to it, and the header is written once."""
    compressor = Compressor()
    stream = b"".join(compressor.feed(memoryview(piece)) for piece in pieces) + compressor.finish()
    assert gzip.decompress(stream) == b"".join(pieces)


@pytest.mark.parametrize(
    ("media_type", "worth"),
    [
        ("application/xml", True),
        ("text/plain; charset=utf-8", True),
        ("application/octet-stream", True),
        ("image/svg+xml", True),
        ("", True),
        ("image/jpeg", False),
        (" Image/PNG ; name=a.png", False),
        ("application/gzip", False),
        ("application/zip", False),
    ],
)
def test_what_is_packed_already_is_not_packed_again(media_type, worth):
    """Parameters and capitals mean nothing; everything unknown is tried."""
    assert worth_compressing(media_type) is worth


# --- reading ----------------------------------------------------------------------------------------------------------


def test_pieces_are_small_and_memory_stays():
    """Sixty megabytes come in pieces of at most one, and never lie in memory together."""
    stream = compress(bytes(60 * MIB))
    tracemalloc.start()
    try:
        sizes = [len(piece) for piece in Decompressor(PLENTY).feed(stream)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(sizes) == 60 * MIB
    assert max(sizes) <= limits.PIECE
    assert peak < 6 * MIB


def test_several_members_are_one_payload():
    """RFC 1952 allows them to be concatenated; empty ones add nothing."""
    stream = compress(b"a") + compress(b"") + gzip.compress(b"b" * 100_000) + compress(b"c")
    for size in (1, 7, len(stream)):
        assert unpacked(cut(stream, size)) == b"a" + b"b" * 100_000 + b"c"


def test_members_are_counted():
    """A stream of nothing but headers costs time and gives nothing."""
    fits = compress(b"") * limits.GZIP_MEMBERS
    assert unpacked([fits]) == b""
    assert refused([fits + compress(b"")]) == f"more than {limits.GZIP_MEMBERS} gzip members"


def test_optional_fields_of_the_header_are_read_over():
    """A name, a comment, an extra field and a checksum of the header, as other makers write them."""
    head = b"\x1f\x8b\x08\x1e\1\2\3\4\0\3" + b"\2\0xy" + b"demo.xml\0" + b"for the demo ward\0"
    head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    stream = head + compress(b"demo")[10:]
    assert unpacked([stream]) == unpacked(cut(stream, 1)) == b"demo"
    assert refused([head[:-1] + b"\0" + compress(b"demo")[10:]]) == "is not a valid gzip stream"


def test_a_name_without_end_takes_no_memory():
    """Eight megabytes of header are read over as they come."""
    tracemalloc.start()
    try:
        assert refused([b"\x1f\x8b\x08\x08\0\0\0\0\0\3", *[b"n" * 65_536] * 128]) == "the gzip stream is cut short"
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < MIB


@pytest.mark.parametrize("plain", [b"", b"demo", noise(5000)])
def test_a_stream_that_is_cut_short_is_refused(plain):
    """At every place, also inside the trailer, and when there is nothing at all."""
    stream = compress(plain)
    for end in {*range(min(40, len(stream))), *range(max(0, len(stream) - 40), len(stream))}:
        assert refused([stream[:end]]) == "the gzip stream is cut short"
    assert refused([]) == "the gzip stream is cut short"
    assert unpacked([b"", stream, b""]) == plain


@pytest.mark.parametrize("behind", [b"\0", b"x", b"\n", bytes(512), b"\x1f", b"\x1f\x8b\x08", compress(b"more")[:-1]])
@pytest.mark.parametrize("size", [1, 10_000])
def test_nothing_may_follow_the_stream(behind, size):
    """Neither padding nor the beginning of another member."""
    assert refused(cut(compress(b"demo") + behind, size)) in (
        "is not a valid gzip stream",
        "the gzip stream is cut short",
    )


@pytest.mark.parametrize(
    "stream",
    [
        b"demo, not packed at all",
        zlib.compress(b"demo"),
        zlib.compress(b"demo")[2:-4],
        b"\x1f\x8b\x07" + compress(b"demo")[3:],
        b"\x1f\x8b\x08\xe0" + compress(b"demo")[4:],
        b"\xef\xbb\xbf" + compress(b"demo"),
    ],
)
def test_what_is_no_gzip_is_refused(stream):
    """Zlib and raw deflate neither: the property says gzip."""
    assert refused([stream]) == "is not a valid gzip stream"


def test_a_changed_bit_never_gives_other_octets():
    """Data, checksum and length are checked against each other; only the padding of a block may change unnoticed."""
    plain, unnoticed = noise(64), 0
    stream = compress(plain)
    for index in range(10, len(stream)):
        for bit in range(8):
            broken = bytearray(stream)
            broken[index] ^= 1 << bit
            result = plain_or_none([bytes(broken)], PLENTY)
            assert result in (None, plain)
            unnoticed += result == plain
    assert unnoticed < 8


def test_what_the_library_holds_back_comes_too_and_is_checked():
    """All input is taken, some output waits behind a full piece, and behind that is a block of a type that does not exist."""
    # Fixed codes: one literal, then copies of 258 octets from one octet before, until they do not fit into a piece.
    copies = limits.PIECE // 258 + 1
    bits = "0" + "10" + "00110000" + "1100010100000" * copies + "0000000"

    def stream(end: str) -> bytes:
        whole = bits + end
        deflated = bytes(int(whole[at : at + 8].ljust(8, "0")[::-1], 2) for at in range(0, len(whole), 8))
        return compress(b"")[:10] + deflated

    plain = bytes(1 + 258 * copies)
    good = stream("1" + "10" + "0000000") + struct.pack("<LL", zlib.crc32(plain), len(plain))
    pieces = list(Decompressor(PLENTY).feed(good))
    assert [len(piece) for piece in pieces] == [limits.PIECE, len(plain) - limits.PIECE]
    assert b"".join(pieces) == unpacked(cut(good, 1)) == plain
    assert refused([stream("1" + "11")]) == "is not a valid gzip stream"


# --- bombs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 1000, 1 << 30])
def test_the_agreed_size_is_a_limit_to_the_octet(size):
    """Not one more, whatever the ratio."""
    plain = noise(5000)
    stream = compress(plain)
    assert unpacked(cut(stream, size), len(plain)) == plain
    assert refused(cut(stream, size), len(plain) - 1) == "more than 4999 octets after decompression, the agreed limit"
    assert unpacked([compress(b"")], 0) == b""


def test_a_bomb_goes_no_further_than_the_agreed_size():
    """What was given out before the refusal is at most the limit."""
    stream, given_out = Decompressor(3 * MIB), 0
    with pytest.raises(EbmsError, match="agreed limit"):
        for piece in stream.feed(compress(bytes(50 * MIB))):
            given_out += len(piece)
    assert given_out <= 3 * MIB


ZEROS = gzip.compress(bytes(limits.GZIP_RATIO_FLOOR + MIB), 9)


def test_a_ratio_counts_above_the_floor_alone():
    """Zeros reach a thousand to one: as much as the floor passes, more is a bomb."""
    assert counted([gzip.compress(bytes(limits.GZIP_RATIO_FLOOR), 9)]) == limits.GZIP_RATIO_FLOOR
    for size in (1000, len(ZEROS)):
        assert refused(cut(ZEROS, size)) == f"expands more than {limits.GZIP_RATIO}:1"


def test_honest_repetition_passes():
    """Eighty to one is what lists reach."""
    chunk = noise(12_000) + bytes(MIB - 12_000)
    packed = compress(chunk)
    assert 70 < len(chunk) / len(packed) < limits.GZIP_RATIO
    assert counted([packed] * 70) == 70 * MIB


@pytest.mark.parametrize("size", [500, 65_536, 1 << 30])
def test_a_bomb_is_a_bomb_however_it_comes(size):
    """What follows the zeros does not dilute them, also when it arrives together with them."""
    stream = ZEROS + compress(noise(3 * MIB))
    assert refused(cut(stream, size)) == f"expands more than {limits.GZIP_RATIO}:1"


# --- any split --------------------------------------------------------------------------------------------------------

STREAMS = st.one_of(
    st.lists(st.binary(max_size=300) | st.integers(0, 5000).map(bytes), min_size=1, max_size=4).map(
        lambda plains: b"".join(compress(plain) for plain in plains)
    ),
    st.binary(max_size=50),
)


@settings(max_examples=150, deadline=None)
@given(
    st.tuples(STREAMS, st.binary(max_size=3)).map(b"".join),
    st.integers(0, 200),
    st.integers(0, 3),
    st.lists(st.integers(1, 400), max_size=20),
    st.integers(0, 6000),
)
@example(compress(bytes(5000)), 0, 0, [1] * 20, 5000)
def test_any_split_gives_the_same_result(stream, at, flip, sizes, limit):
    """Whole or broken, in pieces of any size or one octet at a time: the same octets or a refusal each time."""
    broken = bytearray(stream)
    if broken:
        broken[at % len(broken)] ^= flip
    octets, pieces = bytes(broken), []
    for size in sizes:
        piece, octets = octets[:size], octets[size:]
        pieces.append(piece)
    whole = plain_or_none([bytes(broken)], limit)
    assert plain_or_none([*pieces, octets], limit) == whole
    assert plain_or_none(cut(bytes(broken), 1), limit) == whole
