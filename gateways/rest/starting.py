"""A first home, and the systems and people that come to it: what would otherwise be written by hand.

Rules:

1. Every key is made here and now, on this machine, and readable by its owner alone. A certificate signs itself: whoever connects
   is believed because its document names the certificate, not because of who issued it.
2. Nothing that is there is written over.
3. What is written is what people would write: the files are theirs from then on.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from core import limits
from core.clock import DAY, Micros, to_datetime
from core.disk import write_secret
from core.errors import UsageError
from core.keys import create_kek
from core.settings import FILE

HOSTS: Final = ("localhost", "127.0.0.1")


def self_signed(name: str, at: Micros, *, server: bool, hosts: Sequence[str] = ()) -> tuple[bytes, bytes]:
    """A P-256 key and a certificate that signs itself, both in PEM, good from an hour ago for `limits.OWN_CERTIFICATE`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    use = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    begin = to_datetime(at)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begin - timedelta(hours=1))
        .not_valid_after(begin + timedelta(days=limits.OWN_CERTIFICATE // DAY))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    )
    if hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False)
    certificate = builder.sign(key, hashes.SHA256())
    octets = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return octets, certificate.public_bytes(serialization.Encoding.PEM)


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def make_home(home: Path, at: Micros, *, name: str, port: int, hosts: Sequence[str] = HOSTS) -> list[Path]:
    """A home whose node serves REST on ``port``; gives what was made. Raises `UsageError` when there is one already."""
    if (home / FILE).exists():
        raise UsageError(f"{home / FILE} is there already; choose another folder")
    (home / "config").mkdir(parents=True, exist_ok=True)
    key, certificate = self_signed(f"{name} rest", at, server=True, hosts=hosts)
    kek = create_kek(home / "keys", f"kek-{to_datetime(at):%Y-%m-%d}")
    write_secret(home / "keys" / "rest.pem", key + certificate)
    (home / "rest.crt").write_bytes(certificate)
    values = {"node": name, "gateways": {"rest": {"port": port, "certificate": "rest"}}}
    (home / FILE).write_text(yaml.safe_dump(values, sort_keys=False))
    return [home / FILE, kek, home / "keys" / "rest.pem", home / "rest.crt"]


def make_system(
    home: Path, config: Path, at: Micros, *, name: str, authority: str, title: str, functions: Sequence[str] = ()
) -> list[Path]:
    """A system with a key and certificate of its own. Raises `UsageError` when there is one already."""
    values: dict[str, Any] = {"kind": "system", "id": name, "title": title, "authority": authority}
    if functions:
        values["functions"] = list(functions)
    return _make(home, config, at, name, values, "systems")


def make_person(
    home: Path, config: Path, at: Micros, *, name: str, authority: str, title: str, roles: Sequence[str]
) -> list[Path]:
    """Somebody who may call with a certificate: a client document. Raises `UsageError` when there is one already."""
    values = {"kind": "rest.client", "id": name, "title": title, "person": True, "roles": list(roles)}
    return _make(home, config, at, name, {**values, "authority": authority}, "clients")


def _make(home: Path, config: Path, at: Micros, name: str, values: Mapping[str, Any], folder: str) -> list[Path]:
    key_file, certificate_file = home / "clients" / f"{name}.pem", config / "certificates" / f"{name}.pem"
    document = config / folder / f"{name}.yaml"
    for path in (key_file, certificate_file, document):
        if path.exists():
            raise UsageError(f"{path} is there already; choose another id")
        path.parent.mkdir(parents=True, exist_ok=True)
    key, certificate = self_signed(name, at, server=False)
    write_secret(key_file, key + certificate)
    certificate_file.write_bytes(certificate)
    written = {k: v for k, v in values.items() if v != ""} | {"certificates": [f"certificates/{name}.pem"]}
    document.write_text(yaml.safe_dump(written, sort_keys=False, allow_unicode=True))
    return [key_file, certificate_file, document]
