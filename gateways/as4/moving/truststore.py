"""Certificates out of a Java truststore: PKCS#12 octets in, PEM files out, found by the aliases that Domibus gives them.

Rules:

1. Domibus looks a counterpart's certificate up by the party's name; with a security profile the alias goes on with what the
   certificate is for (``party_rsa_sign``, ``party_rsa_encrypt``). The more exact alias wins; one that only begins alike is
   another party's.
2. Only certificates are taken. A private key in the file is neither written nor named.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

from core.errors import UsageError
from gateways.as4.moving.importing import Wanted
from gateways.as4.moving.shape import Finding

_SUFFIXES: Final = {"signing": ("_sign",), "encryption": ("_encrypt", "_decrypt")}
_KINDS: Final = ("_rsa", "_ecc", "")
_JKS: Final = b"\xfe\xed\xfe\xed"


def certificates_of(octets: bytes, password: bytes) -> dict[str, x509.Certificate]:
    """The certificates of a PKCS#12 file by alias, in lower case. Raises `UsageError` saying what to do."""
    if octets.startswith(_JKS):
        raise UsageError(
            "the truststore is a JKS file: convert it with `keytool -importkeystore -srckeystore OLD.jks"
            " -destkeystore NEW.p12 -deststoretype PKCS12`"
        )
    try:
        store = pkcs12.load_pkcs12(octets, password)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("the truststore does not open: another password, or no PKCS#12 file") from None
    found: dict[str, x509.Certificate] = {}
    for entry in (*([store.cert] if store.cert else []), *store.additional_certs):
        alias = (entry.friendly_name or b"").decode("utf-8", "replace").casefold()
        if alias:
            found.setdefault(alias, entry.certificate)
    return found


def placed(wanted: Iterable[Wanted], found: Mapping[str, x509.Certificate]) -> tuple[dict[str, bytes], list[Finding]]:
    """PEM files for what is wanted and was found, and a finding for every certificate that was not."""
    files: dict[str, bytes] = {}
    missing = []
    for one in wanted:
        certificate = _find(one, found)
        if certificate is not None:
            files[one.file] = certificate.public_bytes(Encoding.PEM)
        else:
            reason = f"the truststore has no {one.use} certificate under {one.party}"
            missing.append(Finding("to do", f"party {one.party}", reason, f"put it into {one.file}"))
    return files, missing


def _find(one: Wanted, found: Mapping[str, x509.Certificate]) -> x509.Certificate | None:
    name = one.party.casefold()
    exact = [f"{name}{kind}{suffix}" for kind in _KINDS for suffix in _SUFFIXES[one.use]]
    return next((found[alias] for alias in (*exact, name) if alias in found), None)
