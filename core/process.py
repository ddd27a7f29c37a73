"""The process around a node: its event loop, its signals, its memory.

The interpreter frees most objects by counting references; its collector looks for cycles among all that are left. A node that
serves has hundreds of thousands of objects that live as long as it does, and makes a few hundred for every message, nearly none
of them in cycles. Left alone the collector walks through all of them many times a second, for nothing.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

from core import log
from core.node import Node
from core.settings import NodeSettings

_YOUNG: Final = 10_000
"""Objects made and not yet freed after which the collector looks at the young ones: some megabytes at most."""


def serve(settings: NodeSettings, on_ready: Callable[[Node], None] | None = None) -> None:
    """Run a node until SIGTERM or SIGINT. Raises `Fatal` when it had to stop by itself."""

    async def main() -> None:
        node = Node(settings)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(log.unheard)
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, _signalled, node, loop)

        def ready() -> None:
            settle_memory()
            if on_ready:
                on_ready(node)

        await node.run(on_ready=ready)

    run(main())


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run to the end on the fastest event loop there is."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main)


def settle_memory() -> None:
    """Tell the collector that what is there now stays, and to look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, 20, 50)


def _signalled(node: Node, loop: asyncio.AbstractEventLoop) -> None:
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(name)  # a second signal ends the process at once
    node.stop()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop
