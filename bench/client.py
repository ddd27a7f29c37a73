"""One system of a benchmark, over connections that are kept."""

from __future__ import annotations

from typing import Any

import aiohttp

from conformance.town import Town


class Client:
    """Asks one node; ``most`` connections at once."""

    def __init__(self, place: Town, system: str, most: int) -> None:
        self._url = place.url
        connector = aiohttp.TCPConnector(ssl=place.client_context(system), limit=most)
        self._session = aiohttp.ClientSession(connector=connector)

    async def ask(self, path: str, body: Any, *, busy: bool = False) -> Any:
        """What was answered; None where the node is ``busy`` and that was to be expected. Raises `RuntimeError`."""
        async with self._session.post(self._url + path, json=body) as answer:
            said = await answer.json(content_type=None)
            if busy and answer.status == 503:
                return None
            if answer.status not in (200, 201):
                raise RuntimeError(f"{path}: {answer.status} {said}")
            return said

    async def close(self) -> None:
        """Let the connections go."""
        await self._session.close()
