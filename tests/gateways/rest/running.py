"""A node inside the test that systems come to over real TLS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from conformance.town import AUTHORITY, Town, agreement, notification, subscription
from core.node import Node
from core.runtime import Catalogue
from gateways.rest.adapter import RestGateway
from tests.gateways.as4.running import running

CATALOGUE = Catalogue({"rest": RestGateway})

SYSTEMS = {
    "birkelund-care": AUTHORITY,
    "birkelund-journal": AUTHORITY,
    "birkelund-robot": AUTHORITY,
    "birkelund-desk": AUTHORITY,
    "egedal-care": "55667788",
}
"""Four systems of Birkelund's, one of another authority; all are invented."""


def documents() -> list[dict[str, Any]]:
    """Stays in hospital are told to whoever subscribes."""
    return [
        notification("stays", "stay.began", "stay.ended", owner=AUTHORITY),
        agreement("stays", "birkelund-care", "send"),
        agreement("stays", "birkelund-journal", "receive"),
        agreement("stays", "birkelund-robot", "receive"),
        subscription("journal-stays", "birkelund-journal", "stays"),
        subscription("robot-ends", "birkelund-robot", "stays", match={"type": "stay.ended"}),
    ]


def event(name: str = "e-1", kind: str = "stay.began", **more: Any) -> dict[str, Any]:
    """An event about an invented stay."""
    said = {"specversion": "1.0", "id": name, "source": "/birkelund/care", "type": kind, "data": {"ward": "K4"}}
    return {k: v for k, v in (said | more).items() if v is not None}


class System:
    """One system's client: JSON in, status and JSON out."""

    def __init__(self, town: Town, session: aiohttp.ClientSession, name: str | None) -> None:
        self.name, self._url, self._session = name, town.url, session
        self._tls = town.client_context(name)

    async def ask(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        """One request; ``body`` is JSON, unless ``data`` is given."""
        status, said, _ = await self.full(method, path, body, **more)
        return status, said

    async def full(self, method: str, path: str, body: Any = None, **more: Any) -> tuple[int, Any, Mapping[str, str]]:
        """The same with the answer's headers."""
        if body is not None:
            more["json"] = body
        async with self._session.request(method, self._url + path, ssl=self._tls, **more) as answer:
            octets = await answer.read()
            is_json = answer.headers.get("Content-Type", "").partition(";")[0].endswith(("/json", "+json"))
            said = await answer.json(content_type=None) if octets and is_json else octets
            return answer.status, said, answer.headers

    async def publish(self, *given: Mapping[str, Any]) -> list[Any]:
        """Publish events; all must be taken."""
        found = []
        for one in given:
            status, said = await self.ask("POST", "/v1/notifications", one)
            assert status in (200, 201), said
            found.append(said)
        return found

    async def pull(self, name: str, **wanted: Any) -> list[Any]:
        """Fetch from a subscription."""
        status, said = await self.ask("POST", f"/v1/subscriptions/{name}/pull", wanted)
        assert status == 200, said
        return list(said["deliveries"])

    async def say(self, name: str, verb: str, *leases: str, **more: Any) -> list[str]:
        """Say something of loans; gives the results."""
        status, said = await self.ask("POST", f"/v1/subscriptions/{name}/{verb}", {"leases": list(leases), **more})
        assert status == 200, said
        return [one["result"] for one in said["results"]]


class Place:
    """A running town and the clients of its systems."""

    def __init__(self, town: Town, node: Node, session: aiohttp.ClientSession) -> None:
        self.town, self.node, self._session = town, node, session

    def system(self, name: str | None) -> System:
        """The client of a system; None = somebody without a certificate."""
        return System(self.town, self._session, name)


@asynccontextmanager
async def place(
    root: Path,
    given: Iterable[Mapping[str, Any]] | None = None,
    database: str = "",
    rest: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Place]:
    """A town that serves until the block ends. ``rest`` is what ``node.yaml`` says of the gateway beside its port."""
    town = Town(root, SYSTEMS, database=database, settings_beside=settings).make(
        documents() if given is None else given
    )
    async with running(town.home, catalogue=CATALOGUE) as (node,), aiohttp.ClientSession() as session:
        yield Place(town, node, session)
