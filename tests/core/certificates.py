"""Certificates and revocation lists with what a test wants of them; every authority is invented."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from conformance.pki import Authority, Identity
from core.clock import from_datetime
from core.trust import Trust, Untrusted

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW = from_datetime(AT)


def under(ca: Authority, authority: Authority, **changes: Any) -> Authority:
    """The authority, certified by ``ca`` instead of by itself."""
    facts = {"path": 0, "usage": True, "subject": authority.certificate.subject} | changes
    builder = (
        x509.CertificateBuilder(ca.certificate.subject, facts["subject"], authority.key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(AT - timedelta(days=1))
        .not_valid_after(AT + timedelta(days=1000))
        .add_extension(x509.BasicConstraints(ca=facts["path"] is not None, path_length=facts["path"]), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(authority.key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca.key.public_key()), critical=False)
    )
    usage = x509.KeyUsage(True, False, False, False, False, True, bool(facts["usage"]), False, False)
    made = Authority.__new__(Authority)
    made.at, made.bits, made.key = authority.at, authority.bits, authority.key
    made.certificate = builder.add_extension(usage, critical=True).sign(ca.key, hashes.SHA256())
    return made


def a_list(
    authority: Authority,
    *revoked: x509.Certificate,
    extensions: Sequence[x509.ExtensionType] = (),
    until: datetime = AT + timedelta(days=30),
    critical: bool = True,
) -> x509.CertificateRevocationList:
    """A revocation list with what a test wants of it."""
    builder = x509.CertificateRevocationListBuilder(authority.certificate.subject, AT - timedelta(hours=1), until)
    for certificate in revoked:
        entry = x509.RevokedCertificateBuilder(certificate.serial_number, AT - timedelta(hours=1))
        builder = builder.add_revoked_certificate(entry.build())
    for extension in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(authority.key, hashes.SHA256())


def with_extensions(ca: Authority, leaf: Identity, *extensions: x509.ExtensionType) -> x509.Certificate:
    """A certificate of the leaf's key with these extensions alone."""
    builder = x509.CertificateBuilder(
        ca.certificate.subject,
        leaf.certificate.subject,
        leaf.key.public_key(),
        7,
        AT - timedelta(days=1),
        AT + timedelta(days=9),
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(ca.key, hashes.SHA256())


def twin_of(ca: Authority, leaf: Identity) -> Authority:
    """A holder's certificate under the authority's own name."""
    holder = Authority.__new__(Authority)
    holder.at, holder.bits, holder.key, holder.certificate = AT, 2048, leaf.key, leaf.certificate
    return under(ca, holder, path=None, subject=ca.certificate.subject)


def refused(trust: Trust, *chain: x509.Certificate, at: int = NOW) -> Untrusted:
    """Why a chain is not believed."""
    with pytest.raises(Untrusted) as caught:
        trust.check_chain(chain, at)
    assert caught.value.cause
    assert caught.value.remedy
    assert str(caught.value) == f"{caught.value.cause} ({caught.value.remedy})"
    return caught.value
