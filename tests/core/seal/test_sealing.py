"""Sealing: what it writes, in which pieces, and when it refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from asn1crypto import cms
from hypothesis import given, settings
from hypothesis import strategies as st

from core import limits
from core.errors import SealError, UsageError
from core.seal.algorithms import Cipher
from core.seal.opening import open_sealed
from core.seal.sealing import seal
from tests.core.seal.holders import KINDS, holder


def content_info(octets: bytes) -> cms.ContentInfo:
    """The library's own reading of all of it."""
    return cms.ContentInfo.load(octets, strict=True)


@pytest.mark.requirement("R64")
@pytest.mark.parametrize("cipher", Cipher)
@pytest.mark.parametrize("kind", KINDS)
def test_the_holder_alone_reads_what_is_sealed(kind, cipher):
    """The plaintext is nowhere in what is written, and comes back under the key."""
    plain = b"a fictitious note about nobody" * 100
    sealed = b"".join(seal([plain], [holder(kind).certificate], cipher))
    assert b"fictitious note" not in sealed
    assert b"".join(open_sealed([sealed], [holder(kind)])) == plain
    with pytest.raises(SealError, match="not sealed for this certificate"):
        open_sealed([sealed], [holder("rsa-2048", "birkelund-sag")])


@pytest.mark.parametrize(
    ("kinds", "cipher", "kind", "version"),
    [
        (("rsa-2048", "p256"), Cipher.AES_256_GCM, "authenticated_enveloped_data", "v0"),
        (("rsa-2048",), Cipher.AES_256_CBC, "enveloped_data", "v0"),
        (("rsa-2048", "p256"), Cipher.AES_256_CBC, "enveloped_data", "v2"),
    ],
)
def test_the_structure_is_the_standard_s(kinds, cipher, kind, version):
    """Types, versions and tag where RFC 5652 and 5083 put them, as another reader finds them."""
    found = content_info(b"".join(seal([b"abc"], [holder(one).certificate for one in kinds], cipher)))
    assert found["content_type"].native == kind
    assert found["content"]["version"].native == version
    assert len(found["content"]["recipient_infos"]) == len(kinds)
    if cipher.authenticated:
        assert len(found["content"]["mac"].native) == 16


@given(st.lists(st.integers(0, 3 * limits.SEAL_CHUNK), max_size=6))
@settings(max_examples=30, deadline=None)
def test_the_chunks_given_do_not_show(sizes):
    """Whatever the chunks, the content is cut in the same places, and none is larger than the limit."""
    pieces = list(seal([b"x" * size for size in sizes], [holder("p256").certificate]))
    whole, rest = divmod(sum(sizes), limits.SEAL_CHUNK)
    assert len(pieces) == 2 + whole + bool(rest)
    assert max(map(len, pieces)) <= limits.SEAL_CHUNK + 8
    assert sum(map(len, open_sealed(pieces, [holder("p256")]))) == sum(sizes)


def test_nothing_is_pulled_ahead():
    """A chunk is asked for when the one before has been written: memory holds one of them."""
    asked = 0

    def endless() -> Iterator[bytes]:
        nonlocal asked
        while True:
            asked += 1
            yield bytes(limits.SEAL_CHUNK)

    sealed = seal(endless(), [holder("p256").certificate])
    for number in range(50):
        next(sealed)
        assert asked == number


def test_what_is_wrong_shows_before_the_first_octet():
    """A call that cannot end well begins nothing."""
    with pytest.raises(UsageError, match="nobody is named"):
        seal([b"x"], [])


def test_one_key_has_its_end(monkeypatch):
    """More than the mode is safe for is refused, when it shows."""
    monkeypatch.setattr(limits, "SEAL_SIZE", 10)
    one = [holder("p256").certificate]
    assert list(seal([b"x" * 10], one))
    with pytest.raises(SealError, match="more than 10 octets"):
        list(seal([b"x" * 11], one))
