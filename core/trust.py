"""Certificates: whom to believe, until when; and the node's own private keys.

Rules:

1. A certificate is believed because it was pinned, or because a chain leads to a pinned anchor. Paths are validated by a library
   (`cryptography.x509.verification`), against explicit anchors, never the system's.
2. Revocation lists are configuration; a list that is out of date, or that speaks of a part only, counts as missing, and where
   lists are demanded a missing one is a refusal: fail closed.
3. Every refusal names the certificate's subject and what to change. None holds key material.
4. A private key lives in the node's key folder under a name, with its chain, readable by its owner alone.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.verification import ExtensionPolicy, PolicyBuilder, Store, VerificationError

from core.clock import Micros, from_datetime, local, to_datetime
from core.disk import Disk, write_secret
from core.errors import Fatal, UsageError


class Untrusted(UsageError):
    """A certificate is not believed. ``cause`` says why, ``remedy`` what to change."""

    def __init__(self, cause: str, remedy: str = "") -> None:
        self.cause, self.remedy = cause, remedy
        super().__init__(cause + (f" ({remedy})" if remedy else ""))


def subject(certificate: x509.Certificate) -> str:
    """The subject in one line."""
    return certificate.subject.rfc4514_string()


def fingerprint(certificate: x509.Certificate) -> str:
    """SHA-256 of the DER form, in hexadecimal."""
    return hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).hexdigest()


def common_name(certificate: x509.Certificate) -> str:
    """The common name, or ""."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else ""


_UNREADABLE = (ValueError, TypeError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType)


def _check_readable(chain: Iterable[x509.Certificate]) -> None:
    """Raises `Untrusted` for a certificate with a name or extension that cannot be read (the library reads them late)."""
    for certificate in chain:
        try:
            for read in (certificate.subject, certificate.issuer, certificate.extensions):
                assert read is not None
        except _UNREADABLE:
            raise Untrusted(
                "a certificate has a name or an extension that cannot be read", "ask for another one"
            ) from None


def check_dates(certificate: x509.Certificate, at: Micros) -> None:
    """Raises `Untrusted` outside the certificate's validity."""
    begin, end = from_datetime(certificate.not_valid_before_utc), from_datetime(certificate.not_valid_after_utc)
    if at > end:
        raise Untrusted(
            f"the certificate of {subject(certificate)} expired on {local(end)}", "ask the partner for the new one"
        )
    if at < begin:
        raise Untrusted(
            f"the certificate of {subject(certificate)} is not valid before {local(begin)}",
            "compare both machines' clocks",
        )


def check_usage(certificate: x509.Certificate) -> None:
    """Raises `Untrusted` for a certificate whose key usage does not allow signatures."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return
    if not (usage.digital_signature or usage.content_commitment):
        raise Untrusted(f"the certificate of {subject(certificate)} is not for signing", "ask for the signing one")


@dataclass(frozen=True)
class Trust:
    """Anchors and revocation lists of one neighbour. ``subject_name`` is the common name a leaf under them must bear."""

    anchors: tuple[x509.Certificate, ...]
    lists: tuple[x509.CertificateRevocationList, ...] = ()
    subject_name: str = ""

    def check_chain(self, chain: Sequence[x509.Certificate], at: Micros) -> None:
        """Validate ``chain`` (leaf first) at a time. Raises `Untrusted`."""
        leaf, *others = chain
        if not self.anchors:
            raise Untrusted("no anchor is agreed", "name the issuer of the partner's certificate in anchors")
        _check_readable(chain)
        check_dates(leaf, at)
        check_usage(leaf)
        if self.subject_name and common_name(leaf) != self.subject_name:
            raise Untrusted(
                f"the certificate is for {common_name(leaf)!r}, agreed is {self.subject_name!r}",
                "compare signing_subject with the partner's certificate",
            )
        verifier = (
            PolicyBuilder()
            .store(Store(list(self.anchors)))
            .time(to_datetime(at))
            .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=ExtensionPolicy.permit_all())
            .build_client_verifier()
        )
        try:
            path = verifier.verify(leaf, others).chain
        except VerificationError as error:
            raise Untrusted(
                f"no chain leads from {subject(leaf)} to an anchor: {str(error).splitlines()[0]}",
                "compare anchors with the issuer of the partner's certificate",
            ) from None
        self.check_revocation(path, at)

    def check_revocation(self, path: Sequence[x509.Certificate], at: Micros) -> None:
        """Raises `Untrusted` when a certificate of ``path`` is on a list, or a demanded list is missing or out of date."""
        if not self.lists:
            return
        for certificate in path:
            if certificate in self.anchors and certificate.issuer == certificate.subject:
                continue  # who is believed for their own sake is not revoked by themselves
            mine = [
                item
                for item in self.lists
                if item.issuer == certificate.issuer and self._signed(item, path[1:]) and _speaks_of(item, certificate)
            ]
            fresh = [i for i in mine if i.next_update_utc is not None and from_datetime(i.next_update_utc) >= at]
            if not fresh:
                what = "is out of date" if mine else "is missing"
                raise Untrusted(
                    f"the revocation list of {certificate.issuer.rfc4514_string()} {what}", "fetch the list anew"
                )
            for item in fresh:
                if item.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
                    raise Untrusted(
                        f"the certificate of {subject(certificate)} is revoked", "ask the partner for another one"
                    )

    def _signed(self, item: x509.CertificateRevocationList, path: Iterable[x509.Certificate]) -> bool:
        """Whether the list is signed by an authority that is itself believed."""
        for authority in (*self.anchors, *path):
            if authority.subject == item.issuer and _may_sign_lists(authority):
                try:
                    if item.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
                        return True
                except (InvalidSignature, TypeError, ValueError):
                    continue
        return False


def _may_sign_lists(authority: x509.Certificate) -> bool:
    try:
        return authority.extensions.get_extension_for_class(x509.KeyUsage).value.crl_sign
    except x509.ExtensionNotFound:
        return True


def _speaks_of(item: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether the list is all there is to know of ``certificate``: no change to another list, and not for other certificates."""
    try:
        critical = [extension.value for extension in item.extensions if extension.critical]
    except _UNREADABLE:
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


_LIST = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)


def lists_in(octets: bytes) -> list[x509.CertificateRevocationList]:
    """The revocation lists of a file: one or more in PEM, or one in DER. Raises `ValueError`."""
    if b"-----BEGIN" not in octets:
        return [x509.load_der_x509_crl(octets)]
    return [x509.load_pem_x509_crl(block) for block in _LIST.findall(octets)] or [x509.load_pem_x509_crl(octets)]


# --- our own keys -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Identity:
    """A private key of ours with its certificate chain (leaf first). ``path`` is the file, for TLS."""

    name: str
    key: PrivateKeyTypes
    chain: tuple[x509.Certificate, ...]
    path: Path

    @property
    def certificate(self) -> x509.Certificate:
        """The leaf."""
        return self.chain[0]


_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def identity_path(folder: Path, name: str) -> Path:
    """Where the key called ``name`` is. Raises `UsageError` for a name that is none."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"key name: {name!r} is none; use lower case letters, digits, dot, underscore and dash")
    return folder / f"{name}.pem"


def load_identity(folder: Path, name: str) -> Identity:
    """A private key and its chain from the node's key folder. Raises `Fatal` saying what to do."""
    path = identity_path(folder, name)
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise Fatal(f"{path}: others may read this key file; run chmod 600 on it")
        octets = path.read_bytes()
    except FileNotFoundError:
        raise Fatal(f"{path}: no such key; import it with `stafet keys import FILE.p12 --name {name}`") from None
    except OSError as error:
        raise Fatal(f"{path}: cannot be read: {error.strerror}") from None
    try:
        key = serialization.load_pem_private_key(octets, None)
        chain = tuple(x509.load_pem_x509_certificates(octets))
    except (ValueError, TypeError):
        raise Fatal(f"{path}: not a private key in PEM followed by its certificate") from None
    _check_pair(path, key, chain[0])
    return Identity(name, key, chain, path)


def _check_pair(path: Path, key: PrivateKeyTypes, certificate: x509.Certificate) -> None:
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise Fatal(f"{path}: the key does not belong to the certificate beside it")


def store_identity(
    folder: Path, name: str, key: PrivateKeyTypes, chain: Sequence[x509.Certificate], *, replace: bool = False
) -> Path:
    """Write a key with its chain. Raises `UsageError` rather than replace one, unless told to: then the old file is kept."""
    path, fresh = identity_path(folder, name), folder / f"{name}.new"
    _check_pair(path, key, chain[0])
    if path.exists() and not replace:
        raise UsageError(f"{path}: there is a key of that name already; choose another, or add --replace")
    octets = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + b"".join(c.public_bytes(serialization.Encoding.PEM) for c in chain)
    fresh.unlink(missing_ok=True)  # what an interrupted import left
    write_secret(fresh, octets)
    if path.exists():
        kept = _kept(path, f"{name}.until-{chain[0].not_valid_before_utc:%Y%m%d%H%M%S}")
        write_secret(kept, path.read_bytes())
    disk = Disk()
    disk.rename(fresh, path)
    disk.sync_directory(folder)
    return path


def _kept(path: Path, name: str) -> Path:
    """A name beside ``path`` that nothing has yet."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(free for n in names if not (free := path.with_name(f"{n}.pem")).exists())


def read_p12(octets: bytes, password: bytes) -> tuple[PrivateKeyTypes, tuple[x509.Certificate, ...]]:
    """What a certificate authority hands out: a key and its chain, ordered leaf first. Raises `UsageError`."""
    try:
        key, leaf, others = pkcs12.load_key_and_certificates(octets, password)
    except (ValueError, UnsupportedAlgorithm):
        raise UsageError("the PKCS#12 file does not open: another password, or no PKCS#12 file") from None
    if key is None or leaf is None:
        raise UsageError("the PKCS#12 file holds no private key with its certificate")
    chain = [leaf]
    while following := next((c for c in others if c.subject == chain[-1].issuer and c not in chain), None):
        chain.append(following)
    return key, tuple(chain)
