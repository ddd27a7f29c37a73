"""What ends some day: the server's key, clients' certificates, issuers' authorities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.trust import Identity
from gateways.rest.inventory import inventory
from gateways.rest.settings import Settings
from tests.gateways.rest.callers import certificate_of, configuration
from tests.gateways.rest.test_access import HUB

FETCHED = {
    "kind": "rest.issuer",
    "id": "fetched",
    "issuer": "https://fetched.example",
    "audience": "us",
    "jwks_uri": "https://fetched.example/jwks",
    "jwks_anchors": "post.pem",
}


def listed(said: dict[str, Any], *more: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Owner, use and name of everything that is watched."""

    def identity(name: str) -> Identity:
        made = certificate_of("server")
        return Identity(name, made.key, (made.certificate,), Path(name))

    found = inventory(configuration(*more), Settings.model_validate(said), identity)
    return [(one.owner, one.use, one.name) for one in found]


def test_everything_in_use_is_watched():
    """Of systems, of clients, of issuers, and our own."""
    assert listed({"certificate": "server"}, HUB, FETCHED) == [
        ("own", "tls-server", "server"),
        ("hub", "tls-client", "hub.pem"),
        ("birkelund-post", "tls-client", "post.pem"),
        ("egedal-journal", "tls-client", "egedal.pem"),
        ("fetched", "tls-anchor", "post.pem"),
    ]


def test_without_tls_there_is_no_key_of_ours():
    """Behind a proxy on the same machine; clients' certificates are watched all the same."""
    assert [name for _, _, name in listed({"plain": True})] == ["post.pem", "egedal.pem"]
