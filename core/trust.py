"""Certificates: whom to believe, until when; and the node's own private keys.

Rules:

1. A certificate is believed because it was pinned, or because a chain leads to a pinned anchor. Paths are validated by a library
   (`cryptography.x509.verification`), against explicit anchors, never the system's.
2. Where revocation is asked about, a certificate that nobody believed vouches for now is refused: fail closed. What was said is
   given; nothing is fetched while a certificate is judged (`core.revocation`).
3. Every refusal names the certificate's subject and what to change. None holds key material.
4. A private key lives in the node's key folder under a name, with its chain, readable by its owner alone.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.verification import Criticality, ExtensionPolicy, PolicyBuilder, Store, VerificationError

from core.clock import Micros, from_datetime, local, to_datetime
from core.disk import Disk, write_secret
from core.errors import Fatal, UsageError
from core.revocation import UNREADABLE, Evidence, Standing, Window, issuer_of, standing


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


def _check_readable(chain: Iterable[x509.Certificate]) -> None:
    """Raises `Untrusted` for a certificate with a name or extension that cannot be read (the library reads them late)."""
    for certificate in chain:
        try:
            for read in (certificate.subject, certificate.issuer, certificate.extensions):
                assert read is not None
        except UNREADABLE:
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


Source = Callable[[Sequence[x509.Certificate]], Evidence]
"""What is known about a path (leaf first) at once; whoever gives it also sees to it that more is known later."""
_ANYWAY = (x509.CertificatePolicies, Criticality.AGNOSTIC, None)
_AUTHORITIES = ExtensionPolicy.webpki_defaults_ca().may_be_present(*_ANYWAY)
_LEAVES = ExtensionPolicy.permit_all().may_be_present(*_ANYWAY)


@dataclass(frozen=True)
class Trust:
    """Anchors and revocation lists of one neighbour. ``subject_name`` is the common name a leaf under them must bear.

    ``organisation`` is its organizationIdentifier, ``policies`` are policies of which it must carry one. ``issuers`` are
    authorities below the anchors that a partner need not send along. ``fetched`` gives what lists and responders have said about
    a path; where it is there, or lists are, a certificate that nobody vouches for now is refused.
    """

    anchors: tuple[x509.Certificate, ...]
    lists: tuple[x509.CertificateRevocationList, ...] = ()
    subject_name: str = ""
    organisation: str = ""
    policies: tuple[str, ...] = ()
    issuers: tuple[x509.Certificate, ...] = ()
    fetched: Source | None = None
    window: Window = field(default_factory=Window)

    def check_chain(self, chain: Sequence[x509.Certificate], at: Micros) -> None:
        """Validate ``chain`` (leaf first) at a time. Raises `Untrusted`."""
        leaf, *others = chain
        if not self.anchors:
            raise Untrusted("no anchor is agreed", "name the issuer of the partner's certificate in anchors")
        _check_readable(chain)
        check_dates(leaf, at)
        check_usage(leaf)
        self._check_names(leaf)
        verifier = (
            PolicyBuilder()
            .store(Store(list(self.anchors)))
            .time(to_datetime(at))
            .extension_policies(ca_policy=_AUTHORITIES, ee_policy=_LEAVES)
            .build_client_verifier()
        )
        try:
            path = verifier.verify(leaf, [*others, *self.issuers]).chain
        except VerificationError as error:
            raise Untrusted(
                f"no chain leads from {subject(leaf)} to an anchor: {str(error).splitlines()[0]}",
                "compare anchors with the issuer of the partner's certificate",
            ) from None
        if self.policies:
            _check_policies(path, self.policies)
        self.check_revocation(path, at)

    def _check_names(self, leaf: x509.Certificate) -> None:
        agreed = (
            ("signing_subject", self.subject_name, x509.NameOID.COMMON_NAME, ""),
            ("signing_organisation", self.organisation, x509.NameOID.ORGANIZATION_IDENTIFIER, "the organisation "),
        )
        for where, wanted, oid, what in agreed:
            found = [str(name.value) for name in leaf.subject.get_attributes_for_oid(oid)]
            if wanted and found != [wanted]:
                named = " and ".join(map(repr, found)) or "nobody"
                raise Untrusted(
                    f"the certificate is for {what}{named}, agreed is {wanted!r}",
                    f"compare {where} with the partner's certificate",
                )

    def check_revocation(self, path: Sequence[x509.Certificate], at: Micros) -> None:
        """Raises `Untrusted` when a certificate of ``path`` is revoked, or nobody believed has said lately that it is not."""
        if not self.lists and self.fetched is None:
            return
        found = self.fetched(path) if self.fetched is not None else Evidence()
        evidence = replace(found, lists=(*self.lists, *found.lists))
        authorities = (*self.anchors, *path[1:])
        for certificate in path:
            if self._is_end(certificate):
                continue  # who is believed for their own sake is not revoked by themselves
            state = standing(certificate, authorities, evidence, self.window, at)
            if state is Standing.REVOKED:
                raise Untrusted(
                    f"the certificate of {subject(certificate)} is revoked", "ask the partner for another one"
                )
            if state is not Standing.GOOD:
                raise self._unsaid(certificate, state)

    def _is_end(self, certificate: x509.Certificate) -> bool:
        """Whether nobody that is known here stands above this anchor."""
        if certificate not in self.anchors:
            return False
        return certificate.issuer == certificate.subject or issuer_of(certificate, self.anchors) is None

    def _unsaid(self, certificate: x509.Certificate, state: Standing) -> Untrusted:
        if self.fetched is None:
            return Untrusted(
                f"the revocation list of {certificate.issuer.rfc4514_string()} {state.value}", "fetch the list anew"
            )
        what = "what was said is out of date" if state is Standing.STALE else "no list and no responder has said it yet"
        return Untrusted(
            f"whether the certificate of {subject(certificate)} is revoked is not known: {what}",
            "the receiver is asking; send again in some minutes, and see the receiver's alarms if it stays so",
        )

    def above(self, certificate: x509.Certificate) -> tuple[x509.Certificate, ...]:
        """A certificate and who of the authorities known here stands above it."""
        path, known = [certificate], (*self.issuers, *self.anchors)
        while (found := issuer_of(path[-1], known)) is not None and found not in path:
            path.append(found)
        return tuple(path)


def _check_policies(path: Sequence[x509.Certificate], wanted: Sequence[str]) -> None:
    """Raises `Untrusted` unless the leaf carries one of the policies, and every authority below the anchor may issue under it."""
    leaf, *authorities = path[:-1] if len(path) > 1 else path
    for certificate in (leaf, *authorities):
        carried = _policies(certificate)
        allowed = carried if certificate is leaf or ANY_POLICY not in carried else set(wanted)
        wanted = [policy for policy in wanted if policy in allowed]
        if not wanted:
            listed = ", ".join(sorted(carried)) or "none"
            whose = f"the certificate of {subject(certificate)}"
            raise Untrusted(
                f"certificate policies: {whose} carries {listed}, and none that is agreed",
                "compare certificate_policies with the partner's certificate and those above it",
            )


ANY_POLICY: Final = "2.5.29.32.0"


def _policies(certificate: x509.Certificate) -> set[str]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    except x509.ExtensionNotFound:
        return set()
    return {policy.policy_identifier.dotted_string for policy in found}


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
