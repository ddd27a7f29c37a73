"""The server's TLS: who may connect at all. Who it is that connects, `gateways.rest.access` says for every request.

Rules:

1. TLS 1.2 or newer, forward secrecy, authenticated encryption.
2. A client's certificate is asked for unless settings say otherwise. Those that documents name are taken as they are, whoever
   issued them; others must be under ``client_anchors``. What has ended is refused in the handshake.
3. A new configuration version counts from the next handshake: no restart. A connection that is open stays, and each of its
   requests is judged anew.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from core.errors import ConfigError
from gateways.rest.settings import Settings

_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_ASKS: Final = {"required": ssl.CERT_REQUIRED, "optional": ssl.CERT_OPTIONAL, "off": ssl.CERT_NONE}


def make_context(settings: Settings, key: Path, pinned: Sequence[x509.Certificate]) -> ssl.SSLContext:
    """A context for one configuration version; ``key`` is a file of key and chain. Raises `ConfigError`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    spoken = [_VERSIONS[version] for version in settings.tls_versions]
    context.minimum_version, context.maximum_version = min(spoken), max(spoken)
    context.load_cert_chain(key, key)
    context.verify_mode = _ASKS[settings.client_certificates]
    # A pinned certificate is its own anchor, though its issuer is not believed in anything else.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # Resuming would carry a client's certificate past the dates that a handshake checks.
    context.num_tickets = 0
    context.options |= ssl.OP_NO_TICKET
    if settings.client_certificates != "off":
        if pinned:
            context.load_verify_locations(cadata=b"".join(one.public_bytes(Encoding.DER) for one in pinned))
        if settings.client_anchors is not None:
            try:
                context.load_verify_locations(settings.client_anchors)
            except OSError as error:  # ssl.SSLError, for what is no certificate, is one too
                cause = f"{settings.client_anchors} cannot be read: {error.strerror or 'no certificates in PEM'}"
                raise ConfigError("node.yaml", "gateways.rest.client_anchors", cause) from None
    return context


class Door:
    """The context that is handed to a server once, and what stands behind it, which `renew` replaces."""

    def __init__(self, settings: Settings, key: Path) -> None:
        self._settings, self._key = settings, key
        self._inner = make_context(settings, key, ())
        self.context = make_context(settings, key, ())
        self.context.sni_callback = self._choose

    def renew(self, pinned: Sequence[x509.Certificate]) -> None:
        """Take the certificates of a version, and read the server's key anew. Raises `ConfigError`: then the old ones stand."""
        self._inner = make_context(self._settings, self._key, pinned)

    def _choose(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._inner
