"""A receiving system that may be killed at any moment: fetches from a subscription, writes down what it did, acknowledges.

``python -m conformance.fetching URL CA CERTIFICATE SUBSCRIPTION BOOK``. Its book is a file that only grows: ``got`` once an event
has been worked on and synced, ``told`` once its acknowledgement was answered ``done``. Nothing else is believed.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from pathlib import Path
from typing import Any, Final

import aiohttp

from core.disk import Disk

BATCH: Final = 16
_AGAIN: Final = 0.05


class Book:
    """What a system remembers, whatever happens to it."""

    def __init__(self, path: Path) -> None:
        self._file, self._disk = path.open("ab"), Disk()

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Add lines, and have them on the disk when this returns."""
        self._file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        self._file.flush()
        self._disk.sync(self._file.fileno())


def read_book(path: Path) -> list[dict[str, Any]]:
    """The lines of a book; one that was being written when its system died is left out."""
    if not path.exists():
        return []
    *whole, _ = path.read_bytes().split(b"\n")
    return [json.loads(line) for line in whole if line]


async def fetch(url: str, tls: ssl.SSLContext, subscription: str, book: Book) -> None:
    """Until killed."""
    base = f"{url}/v1/subscriptions/{subscription}"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=tls)) as session:

        async def ask(verb: str, body: Any) -> Any:
            async with session.post(f"{base}/{verb}", json=body) as answer:
                return await answer.json() if answer.status == 200 else None

        while True:
            try:
                said = await ask("pull", {"max": BATCH, "wait": 2})
                lent = said["deliveries"] if said else []
                if not lent:
                    await asyncio.sleep(_AGAIN)
                    continue
                book.write([_line("got", one) for one in lent])
                told = await ask("ack", {"leases": [one["lease"] for one in lent]})
                if told:
                    done = [
                        one for one, result in zip(lent, told["results"], strict=True) if result["result"] == "done"
                    ]
                    book.write([_line("told", one) for one in done])
            except (aiohttp.ClientError, OSError, TimeoutError):
                await asyncio.sleep(_AGAIN)  # the node is down


def _line(what: str, one: dict[str, Any]) -> dict[str, Any]:
    event = one["event"]
    return {"what": what, "id": event["id"], "key": event.get("correlationid", ""), "lease": one["lease"]}


def main() -> None:
    """Fetch until killed."""
    url, authority, certificate, subscription, book = sys.argv[1:]
    tls = ssl.create_default_context(cafile=authority)
    tls.load_cert_chain(certificate)
    asyncio.run(fetch(url, tls, subscription, Book(Path(book))))


if __name__ == "__main__":
    main()
