"""Documents, certificates and tokens of invented callers."""

from __future__ import annotations

from functools import cache
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from conformance.pki import Authority, Identity
from core.clock import FrozenClock
from core.config import KERNEL_KINDS, Configuration
from gateways.rest.access import Access
from gateways.rest.issuers import KeySets
from gateways.rest.settings import Client, Issuer
from tests.core.certificates import AT, NOW
from tests.gateways.rest.issuer import AUDIENCE, key_set, sign, thumbprint

KINDS = {**KERNEL_KINDS, "rest.issuer": Issuer, "rest.client": Client}
LOGIN = "https://login.birkelund.example"
SECONDS = NOW // 1_000_000


@cache
def authority() -> Authority:
    """An invented authority."""
    return Authority("Birkelund demonstration CA", AT)


@cache
def certificate_of(name: str, **changes: Any) -> Identity:
    """A client certificate."""
    return authority().issue(name, "tls-client", kind="p256", **changes)


def der(identity: Identity) -> bytes:
    """The certificate as a connection shows it."""
    return identity.certificate.public_bytes(Encoding.DER)


def documents(*more: dict[str, Any]) -> list[dict[str, Any]]:
    """Two systems of Birkelund, one of Egedal, an issuer; then what a test adds."""
    return [
        {"kind": "system", "id": "birkelund-post", "authority": "birkelund", "certificates": ["post.pem"]},
        {"kind": "system", "id": "birkelund-journal", "authority": "birkelund"},
        {"kind": "system", "id": "egedal-journal", "authority": "egedal", "certificates": ["egedal.pem"]},
        {"kind": "rest.issuer", "id": "login", "issuer": LOGIN, "audience": AUDIENCE, "jwks": "login.json"},
        *more,
    ]


def configuration(*more: dict[str, Any], files: dict[str, bytes] | None = None) -> Configuration:
    """A version of these documents with the certificates they name."""
    made: dict[str, dict[str, Any]] = {}
    for said in documents(*more):
        item = KINDS[said["kind"]].model_validate(said)
        made.setdefault(said["kind"], {})[item.id] = item  # type: ignore[attr-defined]
    known = {
        "post.pem": certificate_of("post").certificate_pem(),
        "egedal.pem": certificate_of("egedal").certificate_pem(),
        "hub.pem": certificate_of("hub").certificate_pem(),
        "login.json": key_set("es-1", "rs-1"),
    }
    return Configuration(made, known | (files or {}), 1)


async def no_alarm(code: str, text: str) -> None:
    """Nobody is told."""
    raise AssertionError(f"{code}: {text}")


def access(*more: dict[str, Any], files: dict[str, bytes] | None = None) -> Access:
    """Who is known under these documents."""
    version = configuration(*more, files=files)
    keys = KeySets(FrozenClock(NOW), no_alarm)
    keys.configure(version)
    return Access(version, keys)


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says; a claim of None is left out."""
    said = {
        "iss": LOGIN,
        "aud": AUDIENCE,
        "client_id": "post-program",
        "sub": "post-program",
        "iat": SECONDS - 10,
        "exp": SECONDS + 290,
        "cnf": {"x5t#S256": thumbprint(der(certificate_of("post")))},
    } | changes
    return {name: value for name, value in said.items() if value is not None}


def bearer(key: str = "es-1", header: dict[str, Any] | None = None, **changes: Any) -> str:
    """The header ``Authorization`` with a token that is good but for the changes."""
    return "Bearer " + sign(claims(**changes), key, **(header or {}))
