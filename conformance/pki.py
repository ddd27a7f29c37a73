"""A certificate authority for demonstrations and tests: fictitious names, real certificates.

Rules:

1. Keys are made where they are used and never shipped.
2. Names say what they are: nothing made here can be mistaken for a real organisation's certificate.
3. A caller can ask for what is wrong (expired, weak, wrong usage, revoked), because tests need it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Use = Literal["signing", "encryption", "both", "tls-server", "tls-client"]
Kind = Literal["rsa", "ed25519", "x25519", "p256"]
"""What key a certificate is for. An X25519 key cannot sign, so it never signs itself or a request."""
Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey | x25519.X25519PrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Identity:
    """A private key with its certificate and the authority's certificates above it."""

    key: Key
    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...] = ()

    def certificate_pem(self) -> bytes:
        """The certificate alone."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def chain_pem(self) -> bytes:
        """The certificate, then those above it (not the root), as servers present them."""
        return self.certificate_pem() + b"".join(c.public_bytes(serialization.Encoding.PEM) for c in self.chain)

    def key_pem(self) -> bytes:
        """The private key, unencrypted PKCS#8."""
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    def p12(self, password: bytes, name: str = "stafet") -> bytes:
        """What a certificate authority hands out: a PKCS#12 file."""
        assert not isinstance(self.key, x25519.X25519PrivateKey), "no PKCS#12 file is made for a key that cannot sign"
        encryption = serialization.BestAvailableEncryption(password)
        return pkcs12.serialize_key_and_certificates(name.encode(), self.key, self.certificate, self.chain, encryption)


def _name(common: str, organisation: str, organisation_id: str = "") -> x509.Name:
    names = [
        (NameOID.COUNTRY_NAME, "DK"),
        (NameOID.ORGANIZATION_NAME, organisation),
        (NameOID.ORGANIZATION_IDENTIFIER, organisation_id),
        (NameOID.COMMON_NAME, common),
    ]
    return x509.Name([x509.NameAttribute(oid, value) for oid, value in names if value])


class Authority:
    """A demonstration authority that issues certificates valid around ``at``."""

    def __init__(self, name: str, at: datetime, *, bits: int = 2048, days: int = 3650) -> None:
        self.at, self.bits = at, bits
        self.key = rsa.generate_private_key(65537, bits)
        subject = _name(name, "Stafet demonstration, not a real authority")
        key_id = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(at - timedelta(days=1))
            .not_valid_after(at + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
            .add_extension(_key_usage(sign_certificates=True), critical=True)
            .add_extension(key_id, critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def pem(self) -> bytes:
        """The authority's own certificate: the trust anchor."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def issue(
        self,
        common: str,
        use: Use,
        *,
        organisation: str = "Stafet demonstration",
        hosts: Sequence[str] = ("localhost",),
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key: Key | None = None,
        bits: int | None = None,
        kind: Kind = "rsa",
        extensions: Sequence[x509.ExtensionType] = (),
        organisation_id: str = "",
    ) -> Identity:
        """A certificate for ``common`` fit for ``use``; valid 825 days from the authority's date unless told otherwise."""
        key = key or _new_key(kind, bits or self.bits)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_name(common, organisation, organisation_id))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(not_before or self.at - timedelta(days=1))
            .not_valid_after(not_after or self.at + timedelta(days=825))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(use, agreement=not isinstance(key, rsa.RSAPrivateKey)), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
        )
        if use in ("tls-server", "tls-client"):
            purpose = ExtendedKeyUsageOID.SERVER_AUTH if use == "tls-server" else ExtendedKeyUsageOID.CLIENT_AUTH
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if use == "tls-server":
            names = [_general_name(host) for host in hosts]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return Identity(key, builder.sign(self.key, hashes.SHA256()))

    def revocation_list(self, revoked: Sequence[x509.Certificate]) -> bytes:
        """A CRL in PEM naming ``revoked``."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(self.at - timedelta(hours=1))
            .next_update(self.at + timedelta(days=30))
        )
        for certificate in revoked:
            entry = (
                x509.RevokedCertificateBuilder()
                .serial_number(certificate.serial_number)
                .revocation_date(self.at - timedelta(hours=1))
                .build()
            )
            builder = builder.add_revoked_certificate(entry)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _general_name(host: str) -> x509.GeneralName:
    import ipaddress

    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _new_key(kind: Kind, bits: int) -> Key:
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if kind == "x25519":
        return x25519.X25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1()) if kind == "p256" else rsa.generate_private_key(65537, bits)


def _key_usage(use: Use | None = None, *, sign_certificates: bool = False, agreement: bool = False) -> x509.KeyUsage:
    encrypts = use in ("encryption", "both", "tls-server")
    return x509.KeyUsage(
        digital_signature=use in ("signing", "both", "tls-server", "tls-client"),
        content_commitment=False,
        key_encipherment=encrypts and not agreement,
        data_encipherment=False,
        key_agreement=encrypts and agreement,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def write(path: Path, data: bytes, *, secret: bool = False) -> Path:
    """Write a PEM file, its folder too; a secret one readable by its owner alone."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if secret else 0o755)
    path.touch(mode=0o600 if secret else 0o644)
    path.write_bytes(data)
    return path
