"""An agreed partner for the tests of sheets: a harbour and a valley, with certificates made once."""

from __future__ import annotations

import functools
from typing import Any

from gateways.as4.settings import Partner, Party
from gateways.as4.sheets.sheet import Agreed, agreed
from tests.gateways.as4.making import authority

URL = "https://as4.harbour.example/as4"
EB = "http://docs.oasis-open.org/ebxml-msg/ebms/v3.0/ns/core/200704/"
CORNERS = {
    "original_sender": {"value": "harbour-office", "type": "urn:fictitious:offices"},
    "final_recipient": {"value": "valley-office", "type": "urn:fictitious:offices"},
}


@functools.cache
def certificate(name: str) -> Any:
    """One of our certificates."""
    return authority().issue(name, "signing").certificate


def partner(**fields: Any) -> Partner:
    """The valley, as the harbour has written it down."""
    service = {"value": "urn:fictitious:service:arrivals", "type": "urn:fictitious:services"}
    return Partner.model_validate(
        {
            "id": "valley",
            "title": "South Valley",
            "party": "harbour",
            "party_id": {"value": "south-valley", "type": "urn:fictitious:towns"},
            "system": "valley-record",
            "url": "https://south.valley.example/msh",
            "signing_certificates": ["certificates/valley-signing.pem"],
            "encryption_certificate": "certificates/valley-encryption.pem",
            "agreement": {"value": "urn:fictitious:agreement:port"},
            "exchanges": [
                {"integration": "announcing", "service": service, "action": "announce", "direction": "send"},
                {"integration": "confirming", "service": service, "action": "confirm", "direction": "receive"},
            ],
            "retry": {"attempts": 5, "first_wait": 180, "longest_wait": 180},
            **fields,
        }
    )


def party(**fields: Any) -> Party:
    """The harbour: we."""
    return Party.model_validate(
        {
            "id": "harbour",
            "title": "North Harbour",
            "party_id": {"value": "north-harbour", "type": "urn:fictitious:towns"},
            "signing_key": "signing",
            "decryption_keys": ["decryption"],
            **fields,
        }
    )


def sheet_of(*, url: str = URL, us: Party | None = None, one_certificate: bool = False, **fields: Any) -> Agreed:
    """What both have in common; ``fields`` are the partner's."""
    signing = certificate("North Harbour signing")
    return agreed(
        partner(**fields),
        us or party(),
        url,
        signing,
        signing if one_certificate else certificate("North Harbour decryption"),
    )
