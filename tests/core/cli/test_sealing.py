"""seal, unseal."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conformance.pki import Authority, Identity
from core.clock import SystemClock, to_datetime
from tests.core.cli.conftest import Call
from tests.core.seal.holders import needs_openssl, openssl


@cache
def authority() -> Authority:
    """A fictitious authority of this month."""
    at = to_datetime(SystemClock().now())
    return Authority("Fictitious CA", datetime(at.year, at.month, 1, tzinfo=UTC))


@cache
def identity(kind: str, use: str = "encryption") -> Identity:
    """A system of a fictitious municipality."""
    key = rsa.generate_private_key(65537, 2048) if kind == "rsa" else ec.generate_private_key(ec.SECP384R1())
    return authority().issue("birkelund-sag", use, organisation="Birkelund Kommune", key=key)  # type: ignore[arg-type]


@pytest.fixture(params=["rsa", "ec"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with certificate.pem, key.pem and a note to seal."""
    one = identity(request.param)
    (tmp_path / "certificate.pem").write_bytes(one.chain_pem())
    (tmp_path / "key.pem").write_bytes(one.key_pem())
    (tmp_path / "note").write_bytes(b"a fictitious note" * 50_000)
    return tmp_path


def opening(folder: Path, *more: str, sealed: str = "sealed", out: str = "out") -> tuple[str, ...]:
    pair = ("--key", str(folder / "key.pem"), "--cert", str(folder / "certificate.pem"))
    return ("unseal", str(folder / sealed), *pair, "--out", str(folder / out), *more)


def sealing(folder: Path, *more: str, out: str = "sealed") -> tuple[str, ...]:
    return ("seal", str(folder / "note"), "--to", str(folder / "certificate.pem"), "--out", str(folder / out), *more)


@pytest.mark.requirement("R64")
def test_a_file_goes_there_and_comes_back(call: Call, files: Path):
    """Sealed for a certificate, opened with its key; sentences for people, documents for scripts."""
    sealed = call(*sealing(files))
    assert (sealed.code, "CN=birkelund-sag" in sealed.out, "aes-256-gcm" in sealed.out) == (0, True, True)
    opened = call(*opening(files))
    assert (opened.code, "850000 octets" in opened.out, opened.err) == (0, True, "")
    assert (files / "out").read_bytes() == (files / "note").read_bytes()
    as_json = json.loads(call(*sealing(files, "--json", "--replace")).out)
    assert as_json["receivers"][0]["subject"].startswith("CN=birkelund-sag")
    facts = json.loads(call(*opening(files, "--json", "--replace")).out)
    assert (facts["octets"], facts["cipher"], facts["authenticated"]) == (850_000, "aes-256-gcm", True)


def test_an_old_opener_is_served_and_told_of(call: Call, files: Path):
    """aes-256-cbc has to be asked for, and opening it says what it does not show."""
    assert call(*sealing(files, "--cipher", "aes-256-cbc")).code == 0
    demanded = call(*opening(files, "--authenticated"))
    assert (demanded.code, "which is demanded" in demanded.err, (files / "out").exists()) == (4, True, False)
    opened = call(*opening(files))
    assert (opened.code, "does not show whether the content was altered" in opened.err) == (0, True)


def test_each_of_several_receivers_opens(call: Call, tmp_path: Path):
    """--to may be given more than once; certificates may be DER."""
    (tmp_path / "note").write_text("for two")
    to: list[str] = []
    for kind in ("rsa", "ec"):
        path = tmp_path / f"{kind}.der"
        path.write_bytes(identity(kind).certificate.public_bytes(serialization.Encoding.DER))
        to += ["--to", str(path)]
        (tmp_path / f"{kind}.key").write_bytes(identity(kind).key_pem())
    assert call("seal", str(tmp_path / "note"), *to, "--out", str(tmp_path / "sealed")).code == 0
    for kind in ("rsa", "ec"):
        pair = ("--key", str(tmp_path / f"{kind}.key"), "--cert", str(tmp_path / f"{kind}.der"))
        assert call("unseal", str(tmp_path / "sealed"), *pair, "--out", str(tmp_path / kind)).code == 0
        assert (tmp_path / kind).read_text() == "for two"


def test_an_altered_file_leaves_nothing(call: Call, files: Path):
    """Exit code 4, a sentence, and no output: neither whole nor in part."""
    call(*sealing(files))
    octets = bytearray((files / "sealed").read_bytes())
    octets[len(octets) // 2] ^= 1
    (files / "sealed").write_bytes(octets)
    before = {path.name for path in files.iterdir()}
    opened = call(*opening(files))
    assert (opened.code, "encryptedContent: it does not open" in opened.err) == (4, True)
    assert {path.name for path in files.iterdir()} == before


def test_what_is_not_sealed_or_not_for_us_is_said(call: Call, files: Path):
    """The recipients that are named help to find the right key."""
    plain = call(*opening(files, sealed="note"))
    assert (plain.code, "not sealed" in plain.err) == (4, True)
    call(*sealing(files))
    other = authority().issue("egedal-journal", "encryption")
    (files / "certificate.pem").write_bytes(other.certificate_pem())
    (files / "key.pem").write_bytes(other.key_pem())
    opened = call(*opening(files))
    assert (opened.code, "not sealed for this certificate, but for: serial number" in opened.err) == (4, True)
    assert not (files / "out").exists()


def test_nothing_is_replaced_unless_told(call: Call, files: Path):
    """Both ways."""
    for words in (sealing(files), opening(files)):
        assert call(*words).code == 0
        again = call(*words)
        assert (again.code, "--replace" in again.err) == (2, True)
        assert call(*words, "--replace").code == 0


def test_a_certificate_out_of_date_or_for_signing_is_refused(call: Call, tmp_path: Path):
    """Before anything is written, with what to ask for."""
    (tmp_path / "note").write_text("a note")
    at = authority().at
    late = authority().issue(
        "birkelund-sag", "encryption", not_before=at - timedelta(days=9), not_after=at - timedelta(days=2)
    )
    for one, said in ((late, "expired on"), (identity("rsa", "signing"), "does not allow encryption")):
        (tmp_path / "certificate.pem").write_bytes(one.certificate_pem())
        result = call(*sealing(tmp_path))
        assert (result.code, said in result.err) == (2, True), result.err
        assert not (tmp_path / "sealed").exists()


def test_wrong_files_are_named(call: Call, files: Path):
    """No certificate, no key, another's key, a key of no use, a missing password, one too many: 2 and the file's name."""
    call(*sealing(files))
    good = (files / "key.pem").read_bytes()
    key = serialization.load_pem_private_key(good, None)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    locked = key.private_bytes(*form, serialization.BestAvailableEncryption(b"open"))
    (files / "password").write_text("open\n")
    (files / "wrong").write_text("shut\n")
    with_password, with_wrong = (("--password-file", str(files / name)) for name in ("password", "wrong"))
    signing = authority().issue("birkelund-sag", "signing", kind="ed25519").key_pem()
    other = identity("ec" if isinstance(key, rsa.RSAPrivateKey) else "rsa").key_pem()
    for octets, more, said in (
        (b"nothing", (), "key.pem: no private key in PEM"),
        (other, (), "does not belong to the certificate"),
        (signing, (), "key.pem: payloads are sealed for RSA and elliptic curve keys"),
        (locked, (), "key.pem: it has a password"),
        (locked, with_wrong, "key.pem: no private key in PEM, or another password"),
        (good, with_password, "key.pem: it has no password"),
        (good, ("--password-file", str(files / "none")), "none: cannot be read"),
    ):
        (files / "key.pem").write_bytes(octets)
        result = call(*opening(files, *more))
        assert (result.code, said in result.err) == (2, True), result.err
        assert not (files / "out").exists()
    (files / "key.pem").write_bytes(locked)
    assert call(*opening(files, *with_password)).code == 0
    (files / "certificate.pem").write_text("nothing")
    assert "certificate.pem: no certificate" in call(*sealing(files, "--replace")).err
    assert "none: cannot be read" in call("seal", str(files / "note"), "--to", "none", "--out", "x").err


@needs_openssl
def test_the_receiver_may_use_openssl(call: Call, files: Path):
    """What the page tells a receiver to type."""
    call(*sealing(files))
    words = ("-decrypt", "-binary", "-inform", "DER", "-in", files / "sealed", "-out", files / "out")
    assert openssl(*words, "-inkey", files / "key.pem", "-recip", files / "certificate.pem").returncode == 0
    assert (files / "out").read_bytes() == (files / "note").read_bytes()


@pytest.mark.requirement("R62", "R64")
def test_a_sealed_payload_passes_a_node_unread(applied: Call, files: Path):
    """It is accepted, routed and handed out as it came; nothing the node keeps holds a word of it; the receiver opens it."""
    assert applied(*sealing(files)).code == 0
    assert applied("send", str(files / "sealed"), "--from", "sender", "--integration", "notes").code == 0
    taken = json.loads(applied("inbox", "receiver", "--take", "--out", str(files / "taken"), "--json").out)
    (handed,) = taken[0]["files"]
    assert Path(handed).read_bytes() == (files / "sealed").read_bytes()
    kept = [path for path in (files / "home").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"fictitious note" in path.read_bytes() for path in kept)
    Path(handed).rename(files / "sealed")
    assert applied(*opening(files)).code == 0
    assert (files / "out").read_bytes() == (files / "note").read_bytes()


def commands() -> list[str]:
    """The lines people are told to type."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "seal-a-payload.md"
    text = page.read_text().replace("\\\n", "")
    return [line[2:] for line in text.splitlines() if line.startswith("$ ")]


@needs_openssl
@pytest.mark.parametrize("opener", ["stafet", "openssl"])
@pytest.mark.parametrize(
    ("kind", "sealer"),
    [("rsa", "stafet seal"), ("ec", "stafet seal"), ("rsa", "openssl cms -encrypt"), ("ec", "openssl cms -encrypt")],
)
def test_the_page_s_commands_work(call: Call, tmp_path: Path, monkeypatch, kind: str, sealer: str, opener: str):
    """Each of them, word for word, and each sealed file opened by both programs."""
    monkeypatch.chdir(tmp_path)
    for name, one in (("receiver", identity(kind)), ("archive", identity("ec"))):
        Path(f"{name}.pem").write_bytes(one.certificate_pem())
        Path(f"{name}.key").write_bytes(one.key_pem())
    Path("letter.pdf").write_bytes(b"%PDF-1.7\r\n a fictitious letter\n" * 10_000)
    mine = [line for line in commands() if line.startswith(sealer)]
    if sealer.startswith("openssl"):
        mine = [line for line in mine if ("rsa" if kind == "rsa" else "ecdh") in line]
    assert mine
    for line in mine:
        run(call, line)
    (opening_line,) = [
        line
        for line in commands()
        if line.startswith(("stafet unseal", "openssl cms -decrypt")) and line.startswith(opener)
    ]
    run(call, opening_line)
    (opened,) = Path().glob("letter.opened*")
    assert opened.read_bytes() == Path("letter.pdf").read_bytes()


def run(call: Call, line: str) -> None:
    """One line of the page."""
    program, *words = line.split()
    if program == "stafet":
        result = call(*words)
        assert result.code == 0, result.err
    else:
        ended = openssl(*words[1:])
        assert ended.returncode == 0, ended.stderr
