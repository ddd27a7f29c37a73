"""The node's own private keys: how they are kept, replaced, refused, and taken from PKCS#12 files."""

from __future__ import annotations

import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    pkcs12,
)

from conformance.pki import Authority, Identity
from core.errors import Fatal, UsageError
from core.trust import identity_path, load_identity, read_p12, store_identity


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """Where a key folder will be."""
    return tmp_path / "keys"


def chain_of(identity: Identity, *above: Authority) -> tuple[x509.Certificate, ...]:
    """A certificate with its authorities."""
    return (identity.certificate, *(a.certificate for a in above))


def test_a_stored_key_comes_back_with_its_chain(keys: Path, below: Identity, issuing_ca: Authority):
    """The folder and the file are their owner's alone, and nothing else is left beside them."""
    chain = chain_of(below, issuing_ca)
    path = store_identity(keys, "egedal-sign", below.key, chain)
    assert path == keys / "egedal-sign.pem" == identity_path(keys, "egedal-sign")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert list(keys.iterdir()) == [path]
    found = load_identity(keys, "egedal-sign")
    assert (found.name, found.chain, found.certificate, found.path) == ("egedal-sign", chain, below.certificate, path)
    assert found.key.private_numbers() == below.key.private_numbers()  # type: ignore[union-attr]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601, 0o666])
def test_a_key_that_others_can_touch_is_not_used(keys: Path, leaf: Identity, mode: int):
    """Group or others, reading or writing: the remedy is a command."""
    path = store_identity(keys, "sign", leaf.key, chain_of(leaf))
    path.chmod(mode)
    with pytest.raises(Fatal) as caught:
        load_identity(keys, "sign")
    assert str(caught.value) == f"{path}: others may read this key file; run chmod 600 on it"
    path.chmod(0o400)
    assert load_identity(keys, "sign").certificate == leaf.certificate


def test_a_key_that_is_not_there_is_said_with_how_to_bring_it(keys: Path):
    """The message is a command that can be typed."""
    with pytest.raises(Fatal) as caught:
        load_identity(keys, "sign")
    assert str(caught.value) == (
        f"{keys}/sign.pem: no such key; import it with `stafet keys import FILE.p12 --name sign`"
    )


@pytest.mark.parametrize(
    "name", ["", "Sign", "../sign", "a/b", ".sign", "a b", "sign\n", "a" * 65, "a\x00", "..", "ærø"]
)
def test_a_key_name_is_no_path(keys: Path, leaf: Identity, name: str):
    """Whatever is asked for, no file outside the folder is looked at."""
    for act in (
        lambda: load_identity(keys, name),
        lambda: store_identity(keys, name, leaf.key, chain_of(leaf)),
        lambda: identity_path(keys, name),
    ):
        with pytest.raises(UsageError, match=r"^key name: .* is none; use lower case letters"):
            act()
    assert not keys.exists()


FORMS: dict[str, Callable[[Identity], bytes]] = {
    "nothing": lambda i: b"",
    "garbage": lambda i: b"\xff" * 50,
    "no certificate": lambda i: i.key_pem(),
    "no key": lambda i: i.certificate_pem(),
    "a key with a password": lambda i: (
        i.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x")) + i.certificate_pem()
    ),
    "DER": lambda i: i.key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
    "half a key": lambda i: i.key_pem()[:500] + i.certificate_pem(),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_file_that_holds_no_key_with_its_certificate_is_refused(keys: Path, leaf: Identity, form: str):
    """Nothing of what it holds is shown."""
    keys.mkdir()
    path = keys / "sign.pem"
    path.touch(0o600)
    path.write_bytes(FORMS[form](leaf))
    with pytest.raises(Fatal) as caught:
        load_identity(keys, "sign")
    assert str(caught.value) == f"{path}: not a private key in PEM followed by its certificate"
    assert caught.value.__suppress_context__


def test_a_key_and_a_certificate_that_do_not_belong_together_are_refused(
    keys: Path, leaf: Identity, issuing_ca: Authority
):
    """Neither stored nor loaded."""
    with pytest.raises(Fatal, match="the key does not belong to the certificate beside it"):
        store_identity(keys, "sign", issuing_ca.key, chain_of(leaf))
    assert not keys.exists()
    path = store_identity(keys, "sign", leaf.key, chain_of(leaf))
    path.write_bytes(leaf.key_pem() + issuing_ca.pem() + leaf.certificate_pem())
    with pytest.raises(Fatal, match="the key does not belong to the certificate beside it"):
        load_identity(keys, "sign")


def test_what_is_no_file_is_said(keys: Path):
    """A folder in the key's place is the system's refusal in words."""
    (keys / "sign.pem").mkdir(parents=True, mode=0o700)
    with pytest.raises(Fatal, match=r"sign\.pem: cannot be read: Is a directory$"):
        load_identity(keys, "sign")


def test_a_key_is_replaced_only_when_told_and_the_old_one_is_kept(keys: Path, ca: Authority, leaf: Identity):
    """Each replacement keeps the one before, also when the same file is imported again and again."""

    def stored(number: int) -> Identity:
        return replace(
            leaf, certificate=ca.issue(f"Egedal demonstration {number}", "signing", key=leaf.key).certificate
        )

    first, second, third = (stored(n) for n in (1, 2, 3))
    path = store_identity(keys, "sign", leaf.key, chain_of(first))
    before = path.read_bytes()
    with pytest.raises(UsageError, match="there is a key of that name already; choose another, or add --replace"):
        store_identity(keys, "sign", leaf.key, chain_of(second))
    assert path.read_bytes() == before
    for following in (second, third, third):
        assert store_identity(keys, "sign", leaf.key, chain_of(following), replace=True) == path
    assert load_identity(keys, "sign").certificate == third.certificate
    kept = sorted(p for p in keys.iterdir() if p != path)
    assert [p.name for p in kept] == [f"sign.until-20260228120000{n}.pem" for n in ("-2", "-3", "")]
    names = {load_identity(keys, p.stem).certificate for p in kept}
    assert names == {first.certificate, second.certificate, third.certificate}
    assert {stat.S_IMODE(p.stat().st_mode) for p in keys.iterdir()} == {0o600}


def test_an_interrupted_import_leaves_the_old_key_and_can_be_repeated(keys: Path, leaf: Identity):
    """A file half written under another name is no key, and the next import sweeps it away."""
    path = store_identity(keys, "sign", leaf.key, chain_of(leaf))
    (keys / "sign.new").write_bytes(b"half")
    assert load_identity(keys, "sign").certificate == leaf.certificate
    store_identity(keys, "sign", leaf.key, chain_of(leaf), replace=True)
    assert not (keys / "sign.new").exists()
    assert load_identity(keys, "sign").path == path


def test_replacing_what_is_not_there_is_storing_it(keys: Path, leaf: Identity):
    """Nothing is kept where nothing was."""
    path = store_identity(keys, "sign", leaf.key, chain_of(leaf), replace=True)
    assert list(keys.iterdir()) == [path]


# --- PKCS#12 ----------------------------------------------------------------------------------------------------------


def test_what_an_authority_hands_out_is_taken_leaf_first(ca: Authority, issuing_ca: Authority, below: Identity):
    """The chain is put in order whatever order the file has; what does not belong is left out."""
    above = (issuing_ca.certificate, ca.certificate)
    other = ca.issue("Nordby demonstration", "signing", key=below.key).certificate
    for extra in ((), above, above[::-1], (other, *above[::-1])):
        octets = replace(below, chain=tuple(extra)).p12(b"correct horse")
        key, chain = read_p12(octets, b"correct horse")
        assert key.private_numbers() == below.key.private_numbers()  # type: ignore[union-attr]
        assert chain == (below.certificate, *(above if extra else ()))


def test_a_file_without_a_password_is_taken(below: Identity):
    """An empty password is a password."""
    octets = pkcs12.serialize_key_and_certificates(None, below.key, below.certificate, None, NoEncryption())
    assert read_p12(octets, b"")[1] == (below.certificate,)


@pytest.mark.parametrize("password", [b"", b"wrong", b"correct horse ", "kørrekt".encode()])
def test_another_password_opens_nothing(leaf: Identity, password: bytes):
    """The refusal says what it can be, and holds neither password nor key."""
    with pytest.raises(UsageError) as caught:
        read_p12(leaf.p12(b"correct horse"), password)
    assert str(caught.value) == "the PKCS#12 file does not open: another password, or no PKCS#12 file"
    assert caught.value.__suppress_context__


def test_a_file_that_is_no_pkcs12_or_holds_no_key_is_refused(ca: Authority, leaf: Identity):
    """Damaged, cut short, something else, or certificates alone."""
    whole = leaf.p12(b"x")
    for octets in (b"", b"x", whole[:-5], whole[:40], leaf.key_pem(), whole[:400] + b"\x00" * 8 + whole[408:]):
        with pytest.raises(UsageError, match="does not open"):
            read_p12(octets, b"x")
    alone = pkcs12.serialize_key_and_certificates(None, None, None, [leaf.certificate, ca.certificate], NoEncryption())
    keyed = pkcs12.serialize_key_and_certificates(None, leaf.key, None, None, NoEncryption())
    for octets in (alone, keyed):
        with pytest.raises(UsageError, match="holds no private key with its certificate"):
            read_p12(octets, b"")
