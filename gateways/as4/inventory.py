"""What this gateway has in use that ends some day: our keys, partners' certificates, their lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.config import Configuration, certificates_in
from core.radar import Watched, certificate, revocation_list
from core.trust import Identity, lists_in
from gateways.as4.settings import Listen, Partner

OWN = "own"


def inventory(configuration: Configuration, settings: Listen, identity: Callable[[str], Identity]) -> Iterator[Watched]:
    """Each key under each use, each certificate of each file. Raises `Fatal` or `ValueError` for what cannot be read."""
    keys: dict[str, set[str]] = {}
    for party in configuration.all("as4.party").values():
        keys.setdefault("signing", set()).add(party.signing_key)
        keys.setdefault("decryption", set()).update(party.decryption_keys)
    for partner in configuration.all("as4.partner").values():
        if partner.tls.client_key:
            keys.setdefault("tls-client", set()).add(partner.tls.client_key)
    if settings.tls_key:
        keys["tls-server"] = {settings.tls_key}
    for use, names in keys.items():
        for name in sorted(names):
            yield certificate(OWN, use, name, identity(name).certificate)
    for partner in configuration.all("as4.partner").values():
        for use, name in _files(partner):
            for made in certificates_in(configuration.files, name):
                yield certificate(partner.id, use, name, made)
        for name in partner.revocation_lists:
            for item in lists_in(configuration.files[name]):
                yield revocation_list(partner.id, "revocation list", name, item)


def _files(partner: Partner) -> Iterator[tuple[str, str]]:
    yield from (("signing", name) for name in partner.signing_certificates)
    yield from (("anchor", name) for name in partner.anchors)
    yield from (("issuer", name) for name in partner.issuers)
    yield "encryption", partner.encryption_certificate
    if partner.tls.anchors:
        yield "tls-anchor", partner.tls.anchors
