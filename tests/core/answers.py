"""Answers of responders with what a test wants of them; every authority is invented."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from conformance.pki import Authority, Identity
from tests.core.certificates import AT

GOOD, REVOKED, UNKNOWN = ocsp.OCSPCertStatus.GOOD, ocsp.OCSPCertStatus.REVOKED, ocsp.OCSPCertStatus.UNKNOWN
RESPONDS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING])


def an_answer(
    certificate: x509.Certificate,
    issuer: x509.Certificate,
    signer: Authority | Identity,
    *,
    status: ocsp.OCSPCertStatus = GOOD,
    at: datetime = AT - timedelta(hours=1),
    until: datetime | None = AT + timedelta(hours=12),
    along: Sequence[x509.Certificate] = (),
    digest: Any = hashes.SHA256(),
    naming: hashes.HashAlgorithm | None = None,
    nonce: bytes | None = None,
    beside: bytes | None = None,
) -> ocsp.OCSPResponse:
    """What ``signer`` says about a certificate, with certificates sent along."""
    ended = at if status is REVOKED else None
    builder = ocsp.OCSPResponseBuilder().add_response(
        certificate, issuer, naming or hashes.SHA1(), status, at, until, ended, None
    )
    builder = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    if along:
        builder = builder.certificates(list(along))
    if nonce is not None:
        builder = builder.add_extension(x509.OCSPNonce(nonce), critical=False)
    if beside is not None:
        unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.5.5.7.48.1.127"), beside)
        builder = builder.add_extension(unknown, critical=False)
    return builder.sign(signer.key, digest)  # type: ignore[arg-type]


def points_to(*lists: str, responder: str = "") -> list[x509.ExtensionType]:
    """The extensions by which a certificate says where its lists and its responder are."""
    found: list[x509.ExtensionType] = []
    if lists:
        names = [[x509.UniformResourceIdentifier(url)] for url in lists]
        found.append(x509.CRLDistributionPoints([x509.DistributionPoint(n, None, None, None) for n in names]))
    if responder:
        place = x509.UniformResourceIdentifier(responder)
        access = [x509.AccessDescription(AuthorityInformationAccessOID.OCSP, place)]
        found.append(x509.AuthorityInformationAccess(access))
    return found
