"""Both ways with another maker's program: what `openssl cms` writes is opened, what we write it opens."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from core.errors import SealError
from core.seal.algorithms import DAMAGED, Cipher
from core.seal.header import peek
from core.seal.opening import open_sealed
from core.seal.sealing import seal
from tests.core.seal.holders import holder, needs_openssl, openssl, write_pair

pytestmark = needs_openssl
KINDS = ("rsa-2048", "rsa-3072", "p256", "p384", "p521")
PLAIN = os.urandom(1000)
OAEP = ("-keyopt", "rsa_padding_mode:oaep", "-keyopt", "rsa_oaep_md:sha256")


def sealed_by_openssl(folder: Path, kind: str, *words: str, plain: bytes = PLAIN) -> bytes:
    certificate, _ = write_pair(folder, holder(kind))
    source, target = folder / "plain", folder / "theirs"
    source.write_bytes(plain)
    ended = openssl("-encrypt", "-binary", "-outform", "DER", "-in", source, "-out", target, *words, certificate)
    assert ended.returncode == 0, ended.stderr
    return target.read_bytes()


def opened_by_openssl(folder: Path, kind: str, octets: bytes) -> subprocess.CompletedProcess[bytes]:
    certificate, key = write_pair(folder, holder(kind))
    source = folder / "ours"
    source.write_bytes(octets)
    return openssl("-decrypt", "-binary", "-inform", "DER", "-in", source, "-inkey", key, "-recip", certificate)


@pytest.mark.requirement("R64")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cipher", Cipher)
@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_openssl_opens_what_we_seal(tmp_path, kind, cipher, size):
    """Every key and both ciphers, nothing and several chunks among the sizes."""
    plain = os.urandom(size)
    ended = opened_by_openssl(tmp_path, kind, b"".join(seal([plain], [holder(kind).certificate], cipher)))
    assert (ended.returncode, ended.stdout) == (0, plain), ended.stderr


def test_openssl_opens_as_each_of_several(tmp_path):
    """RSA and two curves in one payload."""
    kinds = ("rsa-2048", "p256", "p384")
    octets = b"".join(seal([PLAIN], [holder(kind).certificate for kind in kinds]))
    for kind in kinds:
        assert opened_by_openssl(tmp_path, kind, octets).stdout == PLAIN


def test_openssl_finds_what_was_altered(tmp_path):
    """Our tag is a tag: an altered octet of content is refused by the other maker too."""
    octets = bytearray(b"".join(seal([PLAIN], [holder("p256").certificate])))
    octets[-200] ^= 1
    assert opened_by_openssl(tmp_path, "p256", bytes(octets)).returncode != 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-128-gcm", "aes-128-cbc", "aes-192-cbc", "aes-256-cbc"])
@pytest.mark.parametrize("stream", [(), ("-stream",)], ids=["definite", "streamed"])
def test_we_open_what_openssl_seals(tmp_path, kind, cipher, stream):
    """As it does without being told more: PKCS#1 v1.5, and SHA-1 in the agreement."""
    octets = sealed_by_openssl(tmp_path, kind, f"-{cipher}", *stream)
    assert peek(octets).is_for(holder(kind).certificate)
    assert peek(octets).cipher == cipher
    assert b"".join(open_sealed([octets], [holder(kind)])) == PLAIN


@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_we_are_found_by_key_identifier(tmp_path, kind):
    """Where openssl is told to name recipients that way."""
    octets = sealed_by_openssl(tmp_path, kind, "-aes-256-gcm", "-keyid")
    assert "key identifier" in str(peek(octets).recipients[0].addressee)
    assert b"".join(open_sealed([octets], [holder(kind)])) == PLAIN


@pytest.mark.parametrize("kind", ["rsa-2048", "rsa-3072"])
def test_we_open_what_openssl_seals_the_way_we_do(tmp_path, kind):
    """RSAES-OAEP with SHA-256, streamed, of several chunks."""
    plain = os.urandom(300_000)
    certificate = ("-recip",)
    octets = sealed_by_openssl(
        tmp_path, kind, "-aes-256-gcm", "-stream", *certificate, *_recip(tmp_path, kind), plain=plain
    )
    assert {one.way for one in peek(octets).recipients} == {"rsa-oaep", "rsa-pkcs1v15"}
    assert b"".join(open_sealed([octets], [holder(kind)])) == plain


def _recip(folder: Path, kind: str) -> tuple[str, ...]:
    certificate, _ = write_pair(folder, holder(kind))
    return (str(certificate), *OAEP)


def test_we_open_the_key_agreement_openssl_can_be_told(tmp_path):
    """SHA-256 and SHA-384 in the agreement, and a wrap of another size than the content key."""
    for digest, wrap in (("sha256", "-aes256-wrap"), ("sha384", "-aes128-wrap"), ("sha512", "-aes192-wrap")):
        certificate, _ = write_pair(tmp_path, holder("p384"))
        words = ("-aes-256-cbc", wrap, "-recip", str(certificate), "-keyopt", f"ecdh_kdf_md:{digest}")
        source, target = tmp_path / "plain", tmp_path / "theirs"
        source.write_bytes(PLAIN)
        ended = openssl("-encrypt", "-binary", "-outform", "DER", "-in", source, "-out", target, *words)
        assert ended.returncode == 0, ended.stderr
        octets = target.read_bytes()
        assert [one.way for one in peek(octets).recipients] == [f"ecdh-{digest}"]
        assert b"".join(open_sealed([octets], [holder("p384")])) == PLAIN


@pytest.mark.parametrize("kind", ["rsa-2048", "p256"])
def test_what_openssl_writes_by_default_in_old_versions_is_refused_by_name(tmp_path, kind):
    """3DES."""
    octets = sealed_by_openssl(tmp_path, kind, "-des3")
    with pytest.raises(SealError, match="3DES"):
        open_sealed([octets], [holder(kind)])


def test_text_forms_are_told_what_to_do(tmp_path):
    """What it writes without -outform DER is S/MIME, with PEM a text: both get advice."""
    for form, said in (("SMIME", "S/MIME"), ("PEM", "PEM")):
        octets = sealed_by_openssl(tmp_path, "p256", "-aes-256-gcm", "-outform", form)
        with pytest.raises(SealError, match=f"{said}.*-outform DER"):
            peek(octets)


@pytest.mark.parametrize("cipher", ["aes-256-gcm", "aes-256-cbc"])
def test_what_openssl_sealed_for_somebody_else_shows_nothing(tmp_path, cipher):
    """Under PKCS#1 v1.5 another key of the same certificate's name is refused in the words of altered content."""
    octets = sealed_by_openssl(tmp_path, "rsa-2048", f"-{cipher}", plain=b"x" * 1000)
    at = octets.index(bytes.fromhex("0500048201 00".replace(" ", ""))) + 30
    altered = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
    try:
        assert b"".join(open_sealed([altered], [holder("rsa-2048")])) != b"x" * 1000, (
            "one random key in 256 looks padded"
        )
    except SealError as error:
        assert error.cause == DAMAGED
