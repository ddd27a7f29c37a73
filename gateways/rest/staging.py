"""Putting a handover together: payloads go to the store as they come, and nothing stays of one that is not accepted.

Rules:

1. Work on disk is done in threads, one piece at a time. Who is cancelled waits for the piece under way: nobody closes a file that
   is written to.
2. A digest that was promised is compared before the payload counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from typing import Any

from core.asking import Kernel, Sink
from core.parcel import Payload
from gateways.rest.problems import Flaw, invalid_request


class Putting:
    """One parcel while it is put together; leave it by `accepted` or by `abort`."""

    def __init__(self, kernel: Kernel, size_limit: int) -> None:
        self._kernel = kernel
        self.staging = kernel.stage(size_limit=size_limit)
        self.payloads: list[Payload] = []

    async def add(
        self, octets: AsyncIterator[bytes], *, name: str, media_type: str, promised: bytes | None = None
    ) -> Payload:
        """The next payload, from where it comes. Raises `TooLarge`, `Overloaded`, `ProblemError` for another digest."""
        sink = self.staging.sink()
        async for chunk in octets:
            await in_thread(sink.write, chunk)
        return await self._finish(sink, name, media_type, promised)

    async def copy(self, chunks: Iterator[bytes], *, name: str, media_type: str) -> Payload:
        """The next payload, from what is stored already."""
        sink = self.staging.sink()
        while await in_thread(_pass_on, chunks, sink):
            pass
        return await self._finish(sink, name, media_type, None)

    async def _finish(self, sink: Sink, name: str, media_type: str, promised: bytes | None) -> Payload:
        payload: Payload = await in_thread(partial(sink.finish, name=name, media_type=media_type))
        self.payloads.append(payload)
        if promised is not None and promised != payload.sha256:
            raise invalid_request([Flaw(f"{name}: Repr-Digest", "the octets that came have another SHA-256", "header")])
        return payload

    async def abort(self) -> None:
        """Forget all of it. Never after it was handed to the kernel: what a commit may speak of is the kernel's to forget."""
        await in_thread(self.staging.abort)
        self._kernel.desks.handing.forget(self.payloads)


def _pass_on(chunks: Iterator[bytes], sink: Sink) -> bool:
    chunk = next(chunks, None)
    if chunk is not None:
        sink.write(chunk)
    return chunk is not None


async def in_thread(function: Callable[..., Any], *arguments: Any) -> Any:
    """Run it in a thread; who is cancelled waits until it has ended."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait([running])
        raise
