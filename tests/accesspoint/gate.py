"""A server over TLS that receives into a node's own store, judges, and keeps nothing: what hostile messages are sent to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from accesspoint.errors import EbmsError, SoapFault
from accesspoint.inbound import Agreements, Receiver
from accesspoint.server import Answer, Incoming, Server
from core.keys import KeyRing, create_kek
from core.store import FileStore, Stage
from tests.accesspoint import attacks
from tests.accesspoint.sockets import pki


class Gate:
    """A server's handler that receives into a node's store and answers with a code; whatever it keeps is thrown away."""

    def __init__(self, folder: Path) -> None:
        create_kek(folder / "keys", "k1")
        self._ring, self.store = KeyRing(folder / "keys"), FileStore(folder / "store")
        self.agreements: Callable[[], Agreements] = attacks.partners
        self.ended: list[str] = []
        self.bugs: list[BaseException] = []

    async def __call__(self, path: str, incoming: Incoming) -> Answer:
        stage = Stage(self.store, self._ring, "0" * 32, 1 << 40)
        try:
            receiver = Receiver(incoming.content_type, self.agreements(), lambda info, pmode: stage.sink())
            async for chunk in incoming.chunks():
                receiver.feed(chunk)
            receiver.finish()
            self.ended.append("accepted")
        except EbmsError as error:
            self.ended.append(error.error.code.removeprefix("EBMS:"))
        except SoapFault as fault:
            self.ended.append(fault.code)
        except BaseException as error:  # what the server makes of it is the test
            self.ended.append(type(error).__name__)
            raise
        finally:
            assert list(self.store.ids()) == [], "nothing is visible while it is judged"
            stage.abort()
        return Answer(200, self.ended[-1].encode())

    def left(self) -> list[Path]:
        """Files that are still there, visible or not."""
        return [path for path in self.store.root.rglob("*") if path.is_file()]


@asynccontextmanager
async def guarded(folder: Path) -> AsyncIterator[tuple[Gate, int]]:
    """A gate behind TLS and its port; no bug may show and no file may stay."""
    gate = Gate(folder)
    server = Server(gate, "127.0.0.1", 0, pki().serving(), gate.bugs.append)
    await server.start()
    try:
        yield gate, server.port
    finally:
        await server.stop()
    assert (gate.bugs, gate.left()) == ([], [])
