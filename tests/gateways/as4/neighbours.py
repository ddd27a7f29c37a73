"""The partners of a municipality and its files, as the tests of partners read and change them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from conformance.estate import Estate
from conformance.pki import Authority, write
from core.clock import FrozenClock, from_datetime
from core.trust import Identity, load_identity
from gateways.as4.partners import Neighbour, Partners, build
from tests.gateways.as4.making import configuration, edit


def identities(home: Path) -> Callable[[str], Identity]:
    return lambda name: load_identity(home / "keys", name)


def built(estate: Estate) -> Partners:
    """The municipality's partners, at the hour its keys were made."""
    home = estate.municipality.home
    return build(configuration(home), identities(home), FrozenClock(from_datetime(estate.at)))


def hospital(estate: Estate) -> Neighbour:
    return built(estate).by_id["hospital"]


def certificate_file(home: Path, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((home / "config" / "certificates" / name).read_bytes())


def edit_partner(estate: Estate, **fields: object) -> None:
    edit(estate.municipality.home, "as4.yaml", "as4.partner", **fields)


def anchored(estate: Estate, above: Authority, revoked: list[x509.Certificate] | None = None) -> Neighbour:
    folder = estate.municipality.home / "config" / "certificates"
    write(folder / "above.pem", above.pem())
    if revoked is not None:
        write(folder / "above.crl", above.revocation_list(revoked))
    edit_partner(
        estate,
        signing_certificates=[],
        anchors=["certificates/above.pem"],
        signing_subject="Demo Hospital signing",
        revocation_lists=["certificates/above.crl"] if revoked is not None else [],
    )
    return hospital(estate)
