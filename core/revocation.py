"""Whether a certificate is still good: what lists and answers of responders say, judged at a time.

Rules:

1. Pure: octets, certificates and a time in, a verdict out. Nothing is fetched here.
2. Only what the certificate's own issuer said counts, or a responder to whom the issuer gave that right. Whoever carries it (a
   file, a server, somebody on the way) is not believed.
3. One that says "revoked" outweighs all others. Without a fresh word there is no good certificate: fail closed.
4. A word is fresh until its own end. An answer of a responder is never fresh for longer than the window, whatever it says.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import islice
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID, ExtendedKeyUsageOID

from core import limits
from core.clock import Micros, from_datetime

UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises, late, for a name or an extension that cannot be read."""
_STRONG: Final = (hashes.SHA224, hashes.SHA256, hashes.SHA384, hashes.SHA512)


class Unusable(ValueError):
    """A list or an answer that does not count; the words say why."""


class Standing(Enum):
    """What is known of a certificate."""

    GOOD = "is good"
    REVOKED = "is revoked"
    STALE = "is out of date"
    MISSING = "is missing"


@dataclass(frozen=True, slots=True)
class Window:
    """How old a word may be. ``age`` counts from a responder's answer; ``grace`` is added to the end of answers and lists."""

    age: Micros = limits.RESPONSE_AGE
    grace: Micros = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What somebody said: lists, and responders' answers. Nothing of it need be true."""

    lists: tuple[x509.CertificateRevocationList, ...] = ()
    answers: tuple[ocsp.OCSPResponse, ...] = ()


def standing(
    certificate: x509.Certificate,
    authorities: Sequence[x509.Certificate],
    evidence: Evidence,
    window: Window,
    at: Micros,
) -> Standing:
    """What ``evidence`` says of a certificate now. ``authorities`` are believed; its issuer must be among them."""
    stale, good = False, False
    for item in evidence.lists:
        if item.issuer != certificate.issuer or not signed_by(item, authorities) or not speaks_of(item, certificate):
            continue
        if list_end(item, window) < at:
            stale = True
        elif item.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
            return Standing.REVOKED
        else:
            good = True
    for answer in evidence.answers:
        try:
            single = said_of(answer, certificate, authorities, evidence.lists, at)
        except Unusable:
            continue
        if not answer_begin(single) <= at <= answer_end(single, window):
            stale = True
        elif single.certificate_status is ocsp.OCSPCertStatus.REVOKED:
            return Standing.REVOKED
        elif single.certificate_status is ocsp.OCSPCertStatus.GOOD:
            good = True
    return Standing.GOOD if good else Standing.STALE if stale else Standing.MISSING


# --- lists ------------------------------------------------------------------------------------------------------------


def list_end(item: x509.CertificateRevocationList, window: Window) -> Micros:
    """The last moment a list counts; one that names no end never does."""
    return from_datetime(item.next_update_utc) + window.grace if item.next_update_utc is not None else 0


def signed_by(item: x509.CertificateRevocationList, authorities: Iterable[x509.Certificate]) -> bool:
    """Whether one of the authorities that may sign lists has signed this one."""
    for authority in authorities:
        if authority.subject == item.issuer and _may_sign_lists(authority):
            try:
                if item.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
                    return True
            except (InvalidSignature, *UNREADABLE):
                continue
    return False


def _may_sign_lists(authority: x509.Certificate) -> bool:
    try:
        return authority.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def speaks_of(item: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether the list is all there is to know of ``certificate``: no change to another list, and not for other certificates."""
    try:
        critical = [extension.value for extension in item.extensions if extension.critical]
    except UNREADABLE:
        return False
    return all(isinstance(value, x509.IssuingDistributionPoint) and _covers(value, certificate) for value in critical)


def _covers(scope: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> bool:
    extensions = {extension.oid: extension.value for extension in certificate.extensions}
    constraints = extensions.get(x509.BasicConstraints.oid)
    is_authority = isinstance(constraints, x509.BasicConstraints) and constraints.ca
    others_only = scope.only_contains_user_certs if is_authority else scope.only_contains_ca_certs
    in_part = (
        scope.indirect_crl or scope.only_some_reasons or scope.only_contains_attribute_certs or scope.relative_name
    )
    if others_only or in_part:
        return False
    points = extensions.get(x509.CRLDistributionPoints.oid, ())
    names = {name for point in points if isinstance(point, x509.DistributionPoint) for name in point.full_name or ()}
    return scope.full_name is None or not names.isdisjoint(scope.full_name)


# --- answers of responders --------------------------------------------------------------------------------------------


def said_of(
    answer: ocsp.OCSPResponse,
    certificate: x509.Certificate,
    authorities: Sequence[x509.Certificate],
    lists: Sequence[x509.CertificateRevocationList],
    at: Micros,
) -> ocsp.OCSPSingleResponse:
    """What a responder says of one certificate, whatever its age. Raises `Unusable` when it says nothing or may not say it."""
    try:
        if answer.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            raise Unusable(f"the responder answers {answer.response_status.name.lower()}")
        issuer = issuer_of(certificate, authorities)
        if issuer is None:
            raise Unusable("nobody believed has issued the certificate")
        _check_signer(answer, issuer, lists, at)
        for single in answer.responses:
            if _is_about(single, certificate, issuer):
                return single
    except UNREADABLE as error:
        if isinstance(error, Unusable):
            raise
        raise Unusable("the answer cannot be read") from None
    raise Unusable("the answer is about another certificate")


def answer_begin(single: ocsp.OCSPSingleResponse) -> Micros:
    """The first moment an answer counts: responders' clocks may be ahead a little."""
    return from_datetime(single.this_update_utc) - limits.RESPONSE_SKEW


def answer_end(single: ocsp.OCSPSingleResponse, window: Window) -> Micros:
    """The last moment an answer counts: its own end or the window's, whichever comes first."""
    end = from_datetime(single.this_update_utc) + window.age
    if single.next_update_utc is not None:
        end = min(end, from_datetime(single.next_update_utc))
    return end + window.grace


def issuer_of(certificate: x509.Certificate, authorities: Iterable[x509.Certificate]) -> x509.Certificate | None:
    """Who of the authorities signed a certificate."""
    return next((a for a in authorities if _issued(a, certificate)), None)


def _issued(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, *UNREADABLE):
        return False
    return True


def _is_about(single: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Serial, issuer's name and issuer's key are those of the certificate."""
    if single.serial_number != certificate.serial_number:
        return False
    own = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, single.hash_algorithm).build()
    theirs = single.issuer_name_hash, single.issuer_key_hash
    return theirs == (own.issuer_name_hash, own.issuer_key_hash)


def _check_signer(
    answer: ocsp.OCSPResponse,
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
    at: Micros,
) -> None:
    if _signature_holds(answer, issuer):
        return
    for candidate in islice(answer.certificates, limits.RESPONSE_CERTIFICATES):
        if _may_answer(candidate, issuer, lists, at) and _signature_holds(answer, candidate):
            return
    raise Unusable("the answer is not signed by the issuer, nor by a responder it gave the right")


def _may_answer(
    candidate: x509.Certificate,
    issuer: x509.Certificate,
    lists: Sequence[x509.CertificateRevocationList],
    at: Micros,
) -> bool:
    """Whether the issuer itself certified it for this purpose, it is within its dates, and no list of the issuer names it."""
    begin, end = from_datetime(candidate.not_valid_before_utc), from_datetime(candidate.not_valid_after_utc)
    if not begin <= at <= end or not _issued(issuer, candidate):
        return False
    try:
        purposes = candidate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    if ExtendedKeyUsageOID.OCSP_SIGNING not in purposes:
        return False
    named = (i for i in lists if i.get_revoked_certificate_by_serial_number(candidate.serial_number) is not None)
    return not any(signed_by(item, (issuer,)) for item in named)


def _signature_holds(answer: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, digest = signer.public_key(), answer.signature_hash_algorithm
    signature, octets = answer.signature, answer.tbs_response_bytes
    try:
        if isinstance(key, ed25519.Ed25519PublicKey | ed448.Ed448PublicKey):
            key.verify(signature, octets)
        elif not isinstance(digest, _STRONG):
            return False
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, octets, padding.PKCS1v15(), digest)
        elif isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, octets, ec.ECDSA(digest))
        else:
            return False
    except InvalidSignature:
        return False
    return True


def check_nonce(answer: ocsp.OCSPResponse, nonce: bytes) -> None:
    """Raises `Unusable` when an answer carries another nonce than the one that was sent; many carry none."""
    try:
        found = answer.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
    except x509.ExtensionNotFound:
        return
    except UNREADABLE:
        raise Unusable("the answer cannot be read") from None
    if found != nonce:
        raise Unusable("the answer is to another question: its nonce is not ours")


# --- where to ask -----------------------------------------------------------------------------------------------------


def list_urls(certificate: x509.Certificate) -> list[str]:
    """Where the certificate says that its issuer's whole list is, at most `limits.REVOCATION_POINTS`."""
    return list(islice(_points(certificate), limits.REVOCATION_POINTS))


def _points(certificate: x509.Certificate) -> Iterator[str]:
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return
    for point in points:
        if point.reasons is None and point.crl_issuer is None:
            yield from _http(point.full_name or ())


def responder_urls(certificate: x509.Certificate) -> list[str]:
    """Who the certificate says will answer for it, at most `limits.REVOCATION_POINTS`."""
    try:
        access = certificate.extensions.get_extension_for_class(x509.AuthorityInformationAccess).value
    except (x509.ExtensionNotFound, *UNREADABLE):
        return []
    places = (d.access_location for d in access if d.access_method == AuthorityInformationAccessOID.OCSP)
    return list(islice(_http(places), limits.REVOCATION_POINTS))


def _http(names: Iterable[x509.GeneralName]) -> Iterator[str]:
    for name in names:
        if isinstance(name, x509.UniformResourceIdentifier) and name.value.lower().startswith(("http://", "https://")):
            yield name.value
