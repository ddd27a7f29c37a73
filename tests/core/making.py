"""Small parcels, items and deliveries for tests; every name is invented."""

from __future__ import annotations

import hashlib
from typing import Any

from core.delivery import Delivery, State
from core.description import Description
from core.ledger.parcels import Accept
from core.pace import Pace
from core.parcel import Item, Key, Parcel, Payload, new_id

NOW = 1_772_366_400_000_000
"""Noon (UTC) on 1 March 2026."""


def a_payload(octets: bytes = b"hello", **changes: Any) -> Payload:
    """An inline payload; its octets stand in for sealed ones."""
    facts: dict[str, Any] = {"inline": octets, "attributes": {}} | changes
    return Payload("letter.txt", "text/plain", len(octets), hashlib.sha256(octets).digest(), **facts)


def a_parcel(*payloads: Payload, at: int = NOW, **changes: Any) -> Parcel:
    """A parcel of Birkelund Kommune's invented post system."""
    facts: dict[str, Any] = {
        "id": new_id(at),
        "sender": "birkelund-post",
        "integration": "letters",
        "description": Description(type="letter", sender="birkelund-post"),
        "payloads": payloads or (a_payload(),),
        "accepted_at": at,
        "key_id": "k1",
        "wrapped_key": b"w" * 40,
        "config_version": 1,
    }
    return Parcel(**(facts | changes))


def a_delivery(parcel_id: str = "p1", **changes: Any) -> Delivery:
    """A delivery that is due now through the gateway called paper."""
    facts: dict[str, Any] = {
        "id": new_id(NOW),
        "parcel_id": parcel_id,
        "receiver": "egedal-journal",
        "gateway": "paper",
        "state": State.READY,
        "due_at": NOW,
        "rule": "letters-first",
        "config_version": 1,
        "destination": "" if changes.get("gateway") == "" else "egedal",
    }
    return Delivery(**(facts | changes))


def an_accept(key: str | None = None, fingerprint: bytes = b"f", answer: bytes = b"a", **changes: Any) -> Accept:
    """An item as the kernel hands it to the ledger, with one delivery."""
    parcel = changes.pop("parcel", None) or a_parcel()
    deliveries = changes.pop("deliveries", (a_delivery(parcel.id),))
    scope = changes.pop("scope", "paper/birkelund-post")
    item = Item(parcel, Key(scope, key) if key is not None else None, fingerprint, answer)
    return Accept(item, deliveries, "paper", **changes)


def unhurried(gateway: str, destination: str, integration: str) -> Pace:
    """Nothing is agreed."""
    return Pace()
