"""Two organisations as agreed, to be spoilt on purpose, and both their nodes in this process.

Both nodes are real, on real sockets with real TLS; they run here so that a clock can be set wrong.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import yaml

from conformance.estate import Estate, Organisation
from conformance.pki import Authority
from core.cli.journey import explanation, find
from core.clock import Micros, SystemClock
from core.node import Node
from core.runtime import Catalogue, read_only_engine


class _Shifted:
    """A clock that is wrong by so much."""

    def __init__(self, by: Micros) -> None:
        self._by = by

    def now(self) -> Micros:
        """The wrong time."""
        return SystemClock().now() + self._by


@dataclass
class Scene:
    """Two organisations as agreed, to be spoilt; then their nodes."""

    estate: Estate
    authority: Authority
    catalogue: Catalogue
    clocks: dict[str, Micros] = field(default_factory=dict)

    @property
    def sender(self) -> Organisation:
        """The municipality."""
        return self.estate.municipality

    @property
    def receiver(self) -> Organisation:
        """The hospital."""
        return self.estate.hospital

    def reset(self) -> None:
        """As agreed again: documents written anew, ledgers and stores gone."""
        self.clocks.clear()
        for one in self.estate.both:
            shutil.rmtree(one.home / "data", ignore_errors=True)
            self.estate.write_documents(one, self.authority)

    def edit(self, one: Organisation, file: str, kind: str, change: Callable[[dict[str, Any]], object]) -> None:
        """Change every document of a kind in one of an organisation's files."""
        path = one.home / "config" / file
        documents = list(yaml.safe_load_all(path.read_text()))
        for document in documents:
            if document["kind"] == kind:
                change(document)
        path.write_text(yaml.safe_dump_all(documents, sort_keys=False))

    def partner(self, one: Organisation, **fields: Any) -> None:
        """Change fields of an organisation's partner file."""
        self.edit(one, "as4.yaml", "as4.partner", lambda d: d.update(fields))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Both nodes, up."""
        nodes = []
        try:
            for one in (self.receiver, self.sender):
                clock = _Shifted(self.clocks[one.name]) if one.name in self.clocks else None
                node = Node(one.settings(), clock=clock, catalogue=self.catalogue)
                task = asyncio.create_task(node.run())
                nodes.append((node, task))
                ready = asyncio.create_task(node.ready.wait())
                await asyncio.wait([ready, task], return_when=asyncio.FIRST_COMPLETED)
                ready.cancel()
                if task.done():
                    task.result()
            yield
        finally:
            for node, _ in nodes:
                node.stop()
            await asyncio.gather(*(task for _, task in nodes), return_exceptions=True)

    def explain(self, one: Organisation, reference: str) -> list[str]:
        """What `stafet explain` says there."""
        engine = read_only_engine(one.settings())
        try:
            with engine.connect() as connection:
                return explanation(connection, find(connection, reference), self.catalogue)
        finally:
            engine.dispose()

    def look(self, one: Organisation, query: Callable[..., Any], *arguments: Any) -> Any:
        """Ask a ledger."""
        engine = read_only_engine(one.settings())
        try:
            with engine.connect() as connection:
                return query(connection, *arguments)
        finally:
            engine.dispose()
