"""Holders of certificates that are sealed for, and the other maker's program; every authority is invented."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from conformance.pki import Authority, Key
from core.seal.recipients import KeyPair

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
KINDS = ("rsa-2048", "rsa-3072", "p256", "p384", "p521")
CURVES = {"p256": ec.SECP256R1, "p384": ec.SECP384R1, "p521": ec.SECP521R1}


@cache
def authority() -> Authority:
    """Who issues all of them."""
    return Authority("Fictitious CA", AT)


def _key(kind: str) -> Key:
    if kind.startswith("rsa-"):
        return rsa.generate_private_key(65537, int(kind[4:]))
    return ec.generate_private_key(CURVES[kind]())


@cache
def holder(kind: str, name: str = "egedal-journal") -> KeyPair:
    """A fictitious system with a key of a kind, the same one for every test."""
    made = authority().issue(name, "encryption", organisation="Egedal Kommune", key=_key(kind))
    assert isinstance(made.key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey)
    return KeyPair(made.certificate, made.key)


def write_pair(folder: Path, pair: KeyPair) -> tuple[Path, Path]:
    """Certificate and key as files."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    certificate.write_bytes(pair.certificate.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        pair.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return certificate, key


def der(certificate: x509.Certificate) -> bytes:
    """The certificate in DER."""
    return certificate.public_bytes(serialization.Encoding.DER)


def _version() -> int:
    if shutil.which("openssl") is None:
        return 0
    said = subprocess.run(["openssl", "version"], check=True, capture_output=True, text=True).stdout
    found = re.match(r"OpenSSL (\d+)", said)
    return int(found[1]) if found else 0


needs_openssl = pytest.mark.skipif(_version() < 3, reason="there is no openssl of version 3 or later here")


def openssl(*words: str | Path) -> subprocess.CompletedProcess[bytes]:
    """Run `openssl cms`."""
    return subprocess.run(["openssl", "cms", *map(str, words)], capture_output=True, check=False, timeout=120)
