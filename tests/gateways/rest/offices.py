"""A town with people in it: an owner and an operator of data in two authorities, a supplier, an administrator. All invented."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from conformance.town import AUTHORITY, Town
from tests.gateways.as4.running import running
from tests.gateways.rest.running import CATALOGUE, SYSTEMS, Place, documents

OTHER = SYSTEMS["egedal-care"]
OFFICES = {
    **SYSTEMS,
    "birkelund-owner": AUTHORITY,
    "birkelund-operator": AUTHORITY,
    "egedal-owner": OTHER,
    "egedal-journal": OTHER,
    "demo-supplier": "99887766",
    "node-admin": "99887700",
}
"""The systems of the town, and others that stand for an office each."""
_ROLES: Mapping[str, dict[str, Any]] = {
    "birkelund-owner": {"roles": ["owner"]},
    "birkelund-operator": {"roles": ["operator"]},
    "egedal-owner": {"roles": ["owner", "operator"]},
    "demo-supplier": {"roles": ["supplier"], "serves": ["birkelund-robot"]},
    "node-admin": {"roles": ["administrator"]},
}


def office_documents() -> list[dict[str, Any]]:
    """What the town has, and who has which role."""
    clients = [{"kind": "rest.client", "id": name, "system": name, **said} for name, said in _ROLES.items()]
    return [*documents(), *clients]


@asynccontextmanager
async def offices(
    root: Path, given: Iterable[Mapping[str, Any]] = (), database: str = "", **settings: Any
) -> AsyncIterator[Place]:
    """A town that serves until the block ends; ``given`` are documents beside its own."""
    made = Town(root, OFFICES, database=database, settings_beside=settings)
    town = made.make([*office_documents(), *given])
    async with running(town.home, catalogue=CATALOGUE) as (node,), aiohttp.ClientSession() as session:
        yield Place(town, node, session)
