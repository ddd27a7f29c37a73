"""seal, unseal: what a sender and a receiver do with a payload that nobody between them can read. No node is asked."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from core.cli.output import ERR, Json, progress, say, say_json
from core.clock import SystemClock
from core.errors import UsageError
from core.seal.algorithms import Cipher
from core.seal.files import seal_file, unseal_file
from core.seal.recipients import KeyPair
from core.trust import check_dates, fingerprint, subject

Replace = Annotated[bool, typer.Option("--replace", help="Replace the output file if it is there.")]


def _octets(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from None


def _certificate(path: Path) -> x509.Certificate:
    """The first certificate of a file, in PEM or DER."""
    octets = _octets(path)
    try:
        return (
            x509.load_pem_x509_certificates(octets)[0]
            if b"-----BEGIN" in octets
            else x509.load_der_x509_certificate(octets)
        )
    except ValueError:
        raise UsageError(f"{path}: no certificate in PEM or DER") from None


def _pair(key_path: Path, certificate_path: Path, password_path: Path | None) -> KeyPair:
    words = _octets(password_path).splitlines() if password_path else []
    try:
        key = serialization.load_pem_private_key(_octets(key_path), words[0] if words else None)
    except TypeError:
        hint = "it has no password; leave --password-file out" if words else "it has a password; give --password-file"
        raise UsageError(f"{key_path}: {hint}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError(f"{key_path}: no private key in PEM, or another password") from None
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise UsageError(f"{key_path}: payloads are sealed for RSA and elliptic curve keys; this is neither")
    return KeyPair(_certificate(certificate_path), key)


def seal(
    file: Annotated[Path, typer.Argument(help="The file to seal, of any size.")],
    to: Annotated[
        list[Path],
        typer.Option("--to", help="A receiver's certificate, in PEM or DER. Give it again for more receivers."),
    ],
    out: Annotated[Path, typer.Option("--out", help="The sealed file to write.")],
    cipher: Annotated[
        Cipher, typer.Option(help="aes-256-cbc is for openers that know no other; it does not show alterations.")
    ] = Cipher.AES_256_GCM,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Seal a file so that only the receivers can read it (CMS, as `openssl cms` reads it)."""
    receivers = [_certificate(path) for path in to]
    now = SystemClock().now()
    for certificate in receivers:
        check_dates(certificate, now)
    with progress("sealing") as show:
        size = seal_file(
            file,
            out,
            receivers,
            cipher,
            replace=replace,
            progress=lambda done, of: show({"what": "sealing", "done": done, "of": of}),
        )
    if as_json:
        named = [{"subject": subject(c), "sha256": fingerprint(c)} for c in receivers]
        say_json({"file": str(out), "octets": size, "cipher": cipher, "receivers": named})
        return
    say(f"{out}: sealed with {cipher} for")
    for certificate in receivers:
        say(f"  {subject(certificate)} (SHA-256 {fingerprint(certificate)[:16]}…)")


def unseal(
    file: Annotated[Path, typer.Argument(help="The sealed file, of any size.")],
    key: Annotated[Path, typer.Option("--key", help="The receiver's private key, in PEM.")],
    certificate: Annotated[Path, typer.Option("--cert", help="The certificate it was sealed for, in PEM or DER.")],
    out: Annotated[Path, typer.Option("--out", help="The file to write: whole and verified, or not at all.")],
    authenticated: Annotated[
        bool, typer.Option("--authenticated", help="Refuse what has no tag, so that no alteration goes unseen.")
    ] = False,
    password_file: Annotated[Path | None, typer.Option(help="A file whose first line is the key's password.")] = None,
    replace: Replace = False,
    as_json: Json = False,
) -> None:
    """Open a sealed file with the receiver's private key."""
    pair = _pair(key, certificate, password_file)
    with progress("opening") as show:
        facts, size = unseal_file(
            file,
            out,
            [pair],
            authenticated=authenticated,
            replace=replace,
            progress=lambda done, of: show({"what": "opening", "done": done, "of": of}),
        )
    if as_json:
        say_json({"file": str(out), "octets": size, "cipher": facts.cipher, "authenticated": facts.authenticated})
        return
    say(f"{out}: {size} octets, sealed with {facts.cipher} for {len(facts.recipients)} receivers")
    if not facts.authenticated:
        ERR.print(
            f"{facts.cipher} does not show whether the content was altered on the way; ask for aes-256-gcm, then --authenticated"
        )


def add_to(app: typer.Typer) -> None:
    """Register this module's commands."""
    for command in (seal, unseal):
        app.command()(command)
