"""What ends some day, in words people know it by: key names, partner ids, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.estate import Estate
from conformance.pki import write
from core.clock import DAY, from_datetime
from core.errors import Fatal
from core.trust import Identity, load_identity
from gateways.as4.inventory import inventory
from gateways.as4.settings import Listen
from tests.gateways.as4.making import authority, configuration, edit


def _identity(home: Path) -> Callable[[str], Identity]:
    return lambda name: load_identity(home / "keys", name)


def _found(estate: Estate, settings: Listen | None = None) -> list[tuple[str, str, str]]:
    home = estate.municipality.home
    items = inventory(configuration(home), settings or Listen(tls_key="tls"), _identity(home))
    return [(item.owner, item.use, item.name) for item in items]


def test_everything_in_use_is_listed_under_each_use(estate: Estate):
    """Our keys by name, a partner's certificates by file; the encryption certificate and the TLS anchor too."""
    theirs = [
        ("hospital", "signing", "certificates/hospital-signing.pem"),
        ("hospital", "encryption", "certificates/hospital-decryption.pem"),
        ("hospital", "tls-anchor", "certificates/demo-ca.pem"),
    ]
    own = [("own", "signing", "signing"), ("own", "decryption", "decryption")]
    assert _found(estate) == [*own, ("own", "tls-server", "tls"), *theirs]
    assert _found(estate, Listen(behind_proxy=True)) == [*own, *theirs]
    edit(estate.municipality.home, "as4.yaml", "as4.partner", tls={"client_key": "client"})
    assert _found(estate) == [*own, ("own", "tls-client", "client"), ("own", "tls-server", "tls"), *theirs[:2]]


def test_in_a_roll_over_old_and_new_are_both_listed(estate: Estate):
    """Anchors, authorities in between and lists too; each certificate of a file by itself."""
    home = estate.municipality.home
    fresh = authority().issue("Demo Municipality decryption 2", "encryption")
    write(home / "keys" / "decryption-2.pem", fresh.key_pem() + fresh.chain_pem(), secret=True)
    edit(home, "as4.yaml", "as4.party", decryption_keys=["decryption-2", "decryption"])
    folder = home / "config" / "certificates"
    write(folder / "above.pem", authority().pem() + fresh.certificate_pem())
    write(folder / "above.crl", authority().revocation_list([]))
    above = {"anchors": ["certificates/above.pem"], "issuers": ["certificates/above.pem"], "signing_subject": "x"}
    lists = {"revocation_lists": ["certificates/above.crl"]}
    edit(home, "as4.yaml", "as4.partner", signing_certificates=[], tls={}, **above, **lists)
    made = list(inventory(configuration(home), Listen(behind_proxy=True), _identity(home)))
    assert [(item.owner, item.use, item.name) for item in made] == [
        ("own", "signing", "signing"),
        ("own", "decryption", "decryption"),
        ("own", "decryption", "decryption-2"),
        ("hospital", "anchor", "certificates/above.pem"),
        ("hospital", "anchor", "certificates/above.pem"),
        ("hospital", "issuer", "certificates/above.pem"),
        ("hospital", "issuer", "certificates/above.pem"),
        ("hospital", "encryption", "certificates/hospital-decryption.pem"),
        ("hospital", "revocation list", "certificates/above.crl"),
    ]
    at = from_datetime(authority().at.replace(microsecond=0))
    assert [(item.end - at) // DAY for item in (made[2], made[3], made[-1])] == [825, 3650, 30]


def test_a_key_that_is_not_there_is_named(estate: Estate):
    """With what to do."""
    (estate.municipality.home / "keys" / "signing.pem").unlink()
    with pytest.raises(Fatal, match="no such key; import it with"):
        _found(estate)
