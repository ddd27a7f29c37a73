"""What this gateway has in use that ends some day: the server's key, clients' certificates, issuers' authorities."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from core.config import Configuration, certificates_in
from core.radar import Watched, certificate
from core.trust import Identity
from gateways.rest.access import pins
from gateways.rest.settings import Settings

OWN = "own"


def inventory(
    configuration: Configuration, settings: Settings, identity: Callable[[str], Identity]
) -> Iterator[Watched]:
    """Each certificate of each file, and our own. Raises `Fatal` or `ValueError` for what cannot be read."""
    if settings.certificate is not None:
        yield certificate(OWN, "tls-server", settings.certificate, identity(settings.certificate).certificate)
    for pin in pins(configuration):
        yield certificate(pin.id, "tls-client", pin.file, pin.certificate)
    for issuer in configuration.all("rest.issuer").values():
        if issuer.jwks_anchors is not None:
            for made in certificates_in(configuration.files, issuer.jwks_anchors):
                yield certificate(issuer.id, "tls-anchor", issuer.jwks_anchors, made)
